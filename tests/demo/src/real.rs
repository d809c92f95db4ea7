//! A recorded drive of a real car: which of its signals each company asks for is chosen here, and what is true of them
//! is what `glovebox decode` says.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::agent::{AGENT, role};
use crate::story::{Asked, Company, Story};
use crate::truth::Truth;

/// Values of a signal that are told apart.
const DISTINCT_MAX: usize = 2_000;
/// Signals that the workshop asks for.
const WORKSHOP_SIGNALS: usize = 10;
/// Signals that the insurer asks for and does not get.
const DENIED_SIGNALS: usize = 4;
/// How many seconds the drive takes on the screen, and with `--fast`.
const SHOWN_S: f64 = 36.0;
const FAST_S: f64 = 8.0;

/// Words in names of signals that a workshop, and an insurer, would want.
const WEAR: [&str; 12] =
    ["tire", "tyre", "pressure", "batt", "volt", "soc", "temp", "current", "torque", "rpm", "brake", "wheel"];
const MILEAGE: [&str; 5] = ["odo", "mileage", "distance", "trip", "speed"];
/// Words in names of signals that tell where and how somebody drives.
const PRIVATE: [&str; 9] =
    ["latitude", "longitude", "speed", "heading", "altitude", "accel", "yaw", "steer", "gas"];
/// Words in names of signals that say nothing of the car.
const NOISE: [&str; 6] = ["checksum", "chksum", "crc", "counter", "_ctr", "unknown"];

/// What `--log` and its companions say.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) log: PathBuf,
    pub(crate) dbc: PathBuf,
    pub(crate) map: Option<PathBuf>,
    /// What the workshop asks for, if not chosen here.
    pub(crate) signals: Vec<String>,
}

/// One signal of the log.
#[derive(Debug, Default)]
struct Heard {
    bus: String,
    /// `Message.Signal`.
    name: String,
    path: String,
    readings: usize,
    values: HashSet<u64>,
}

/// One line of `decode --format csv`.
struct Line<'a> {
    time_us: i64,
    bus: &'a str,
    name: String,
    path: String,
    value: Option<f64>,
    unit: &'a str,
}

impl Files {
    /// Looks through the log and says who asks for what.
    pub(crate) fn story(self, is_fast: bool) -> Result<Story> {
        let of = |path: &PathBuf| {
            std::fs::canonicalize(path).with_context(|| format!("{}: cannot be read", path.display()))
        };
        let files = Self {
            log: of(&self.log)?,
            dbc: of(&self.dbc)?,
            map: self.map.as_ref().map(of).transpose()?,
            ..self
        };
        let heard = files.listen()?;
        let bus = busiest(&heard).context("no frame of this log is in this DBC: is it of the same car?")?;
        let mut of_bus: Vec<&Heard> =
            heard.values().filter(|heard| heard.bus == bus && is_telling(heard)).collect();
        of_bus.sort_by_key(|heard| (usize::MAX - heard.values.len(), heard.path.clone()));
        ensure!(of_bus.len() >= 3, "only {} signals of this log change; the demo needs three", of_bus.len());
        let (workshop, insurer, denied) = files.choose(&of_bus)?;
        let shown: Vec<&Heard> = workshop.iter().chain([&insurer]).chain(&denied).copied().collect();
        let truth = files.truth(&bus, &shown)?;
        let (first, last) = truth.span_us();
        #[expect(clippy::cast_precision_loss, reason = "a log is shorter than 2^53 microseconds")]
        let seconds = ((last - first) as f64 / 1e6).max(1.0);
        let speed = (seconds / if is_fast { FAST_S } else { SHOWN_S }).clamp(1.0, 1000.0);
        let name = files.log.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Story {
            title: format!("{name}, {bus}"),
            bus,
            companies: companies(&workshop, insurer, &denied, seconds),
            shown: shown.iter().map(|heard| heard.path.clone()).take(12).collect(),
            truth,
            speed,
            is_vss: false,
            log: files.log,
            dbc: files.dbc,
            map: files.map,
        })
    }

    fn decode(&self) -> Result<Command> {
        let mut command = role(AGENT)?;
        command.args(["decode", "--format", "csv"]).arg("--dbc").arg(&self.dbc);
        if let Some(map) = &self.map {
            command.arg("--map").arg(map);
        }
        Ok(command)
    }

    /// Runs `decode` and gives each of its lines to `take`.
    fn each(&self, command: &mut Command, mut take: impl FnMut(&Line<'_>)) -> Result<()> {
        let mut child = command.arg(&self.log).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let out = child.stdout.take().context("no output")?;
        // Read beside the lines: a full pipe would stop the command.
        let mut err = child.stderr.take().context("no output for errors")?;
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            std::io::Read::read_to_string(&mut err, &mut said).map(|_| said)
        });
        for line in BufReader::new(out).lines().skip(1) {
            let line = line?;
            if let Some(line) = parse(&line) {
                take(&line);
            }
        }
        let (status, said) = (child.wait()?, said.join().ok().transpose()?.unwrap_or_default());
        ensure!(status.success(), "the log cannot be decoded:\n{}", said.trim_end());
        Ok(())
    }

    /// Everything that is in the log.
    fn listen(&self) -> Result<BTreeMap<(String, String), Heard>> {
        let mut heard: BTreeMap<(String, String), Heard> = BTreeMap::new();
        self.each(&mut self.decode()?, |line| {
            let key = (line.bus.to_owned(), line.name.clone());
            let entry = heard.entry(key).or_insert_with(|| Heard {
                bus: line.bus.to_owned(),
                name: line.name.clone(),
                path: line.path.clone(),
                ..Heard::default()
            });
            entry.readings += 1;
            if let Some(value) = line.value.filter(|_| entry.values.len() < DISTINCT_MAX) {
                entry.values.insert(value.to_bits());
            }
        })?;
        Ok(heard)
    }

    /// For the workshop, for the insurer, and what the insurer would like too.
    fn choose<'a>(&self, heard: &[&'a Heard]) -> Result<(Vec<&'a Heard>, &'a Heard, Vec<&'a Heard>)> {
        let asked: Vec<&Heard> = match self.signals.is_empty() {
            true => {
                let is_private = |heard: &&&Heard| has_word(heard, &PRIVATE) && !has_word(heard, &WEAR);
                let others: Vec<&Heard> = heard.iter().filter(|heard| !is_private(heard)).copied().collect();
                ranked(if others.len() < 2 { heard } else { &others }, &WEAR)
            }
            false => {
                let fits = |heard: &&&Heard| self.signals.iter().any(|glob| matches(glob, heard));
                heard.iter().filter(fits).copied().collect()
            }
        };
        ensure!(!asked.is_empty(), "no signal that changes fits --signal; `glovebox decode` lists all");
        let insurer = ranked(heard, &MILEAGE)[0];
        // Some must be left over to be refused.
        let most = WORKSHOP_SIGNALS.min((heard.len() * 2 / 3).max(1));
        let workshop: Vec<&Heard> =
            asked.into_iter().filter(|heard| heard.path != insurer.path).take(most).collect();
        let is_free =
            |one: &&&Heard| one.path != insurer.path && workshop.iter().all(|other| other.path != one.path);
        let denied = ranked(heard, &PRIVATE).iter().filter(is_free).take(DENIED_SIGNALS).copied().collect();
        ensure!(!workshop.is_empty(), "the workshop and the insurer would get the same only signal");
        Ok((workshop, insurer, denied))
    }

    /// What is true of these signals.
    fn truth(&self, bus: &str, signals: &[&Heard]) -> Result<Truth> {
        let (mut truth, mut known) = (Truth::default(), BTreeMap::new());
        let mut command = self.decode()?;
        command.args(["--bus", bus]);
        command.args(signals.iter().flat_map(|heard| ["--signal", heard.name.as_str()]));
        self.each(&mut command, |line| {
            if signals.iter().any(|heard| heard.name == line.name) {
                truth.add_named(line.time_us, &line.path, line.unit, line.value, &mut known);
            }
        })?;
        Ok(truth)
    }
}

/// `t,bus,id,message,signal,path,value,raw,unit,label,state`; only unit and label may be quoted.
fn parse(line: &str) -> Option<Line<'_>> {
    let mut fields = line.splitn(9, ',');
    let mut next = || fields.next();
    let (time, bus, _, message, signal, path, value, _) =
        (next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?);
    let rest = next()?;
    let (seconds, micros) = time.split_once('.')?;
    let time_us = seconds.parse::<i64>().ok()? * 1_000_000 + micros.parse::<i64>().ok()?;
    let has_value = rest.rsplit(',').next()?.is_empty();
    let path = if path.is_empty() { format!("CAN.{bus}.{message}.{signal}") } else { path.to_owned() };
    let unit = if rest.starts_with('"') { "" } else { rest.split(',').next()? };
    let value = has_value.then(|| value.parse().ok()).flatten();
    Some(Line { time_us, bus, name: format!("{message}.{signal}"), path, value, unit })
}

fn busiest(heard: &BTreeMap<(String, String), Heard>) -> Option<String> {
    let mut readings: BTreeMap<&str, usize> = BTreeMap::new();
    for heard in heard.values() {
        *readings.entry(&heard.bus).or_default() += heard.readings;
    }
    readings.into_iter().max_by_key(|(_, count)| *count).map(|(bus, _)| bus.to_owned())
}

fn is_telling(heard: &Heard) -> bool {
    heard.values.len() >= 2 && !has_word(heard, &NOISE)
}

fn has_word(heard: &Heard, words: &[&str]) -> bool {
    let name = heard.name.to_lowercase();
    words.iter().any(|word| name.contains(word))
}

/// Those whose name has one of the words, in the words' order; then the rest in theirs.
fn ranked<'a>(heard: &[&'a Heard], words: &[&str]) -> Vec<&'a Heard> {
    let rank = |heard: &Heard| {
        let name = heard.name.to_lowercase();
        words.iter().position(|word| name.contains(word)).unwrap_or(words.len())
    };
    let mut ranked = heard.to_vec();
    ranked.sort_by_key(|heard| rank(heard));
    ranked
}

/// `*` is any number of any characters; in a path, in `Message.Signal`, or in either's last part.
fn matches(glob: &str, heard: &Heard) -> bool {
    let last = heard.name.rsplit('.').next().unwrap_or_default();
    let fits = glovebox::daemon::authority::glob_matches;
    [heard.path.as_str(), heard.name.as_str(), last].into_iter().any(|name| fits(glob, name))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped just before")]
fn companies(workshop: &[&Heard], insurer: &Heard, denied: &[&Heard], seconds: f64) -> [Company; 2] {
    let age = (seconds / 18.0).clamp(1.0, 60.0) as u32;
    let asks = |heard: &Heard| Asked::new(&heard.path);
    let mut company = crate::story::companies();
    company[0].batch_age_s = age;
    let each = |heard: &&Heard| Asked { rate: Some(1000), is_granted: true, ..asks(heard) };
    company[0].asked = workshop.iter().map(each).collect();
    company[1].batch_age_s = age;
    let rarely = if seconds > 120.0 { 10_000 } else { 1_000 };
    let granted = Asked { floor_rate: Some(rarely), is_granted: true, ..asks(insurer) };
    company[1].asked = [granted].into_iter().chain(denied.iter().map(|heard| asks(heard))).collect();
    company
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_decode_are_read() {
        let line = parse("1533151834.000250,can0,170,SPEEDS,FL,,12.5,1250,kph,,")
            .map(|l| (l.time_us, l.path, l.value));
        assert_eq!(line, Some((1_533_151_834_000_250, "CAN.can0.SPEEDS.FL".to_owned(), Some(12.5))));
        let line = parse("1.000000,can0,170,M,S,Vehicle.Speed,12.5,1250,\"a,b\",\"x,y\",out_of_range");
        assert_eq!(line.map(|l| (l.path, l.value)), Some(("Vehicle.Speed".to_owned(), None)));
        assert!(parse("t,bus").is_none());
    }

    #[test]
    fn names_with_the_first_words_come_first() {
        let heard = |name: &str| Heard { name: name.to_owned(), ..Heard::default() };
        let all = [heard("A.Steering"), heard("A.BattVolt"), heard("B.TirePressFL")];
        let names: Vec<&str> =
            ranked(&all.iter().collect::<Vec<_>>(), &WEAR).iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["B.TirePressFL", "A.BattVolt", "A.Steering"]);
    }
}
