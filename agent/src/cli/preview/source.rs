//! The recorded drive and what its frames mean: by the files that are named, else by the configuration.

use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use glovebox_core::frame::BusIndex;
use glovebox_core::limits::BUSES_MAX;

use super::Args;
use crate::bus::replay::{Log, Replay};
use crate::cli::decode::files::bus_name;
use crate::cli::decode::progress::Progress;
use crate::config::{Config, Database, Decode};
use crate::daemon::databases::Databases;

/// The drive.
pub(super) struct Source {
    /// The log.
    pub(super) path: PathBuf,
    /// Interfaces of it that are decoded; the position is the number of the bus.
    pub(super) interfaces: Vec<String>,
    /// What the frames mean.
    pub(super) databases: Databases,
    /// What is in the log.
    pub(super) survey: Survey,
    /// The part of it that is driven, in its own microseconds.
    pub(super) span: Range<i64>,
}

/// What a first look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Survey {
    /// With the number of their frames, in the order in which they spoke.
    pub(super) interfaces: Vec<(String, u64)>,
    /// Time of the earliest and of the latest frame, in microseconds.
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Source {
    /// Looks through the log and reads the databases.
    pub(super) fn open(args: &Args, config: Option<&Config>) -> anyhow::Result<Self> {
        let path = args.log.clone().or_else(|| config?.bus.replay.clone());
        let path = path.context("no drive: name a recorded log with `--log`")?;
        let survey = survey(&path)?;
        let (interfaces, decode) = match config {
            Some(config) if args.dbc.is_empty() => {
                let interfaces = config.bus.interface.iter().map(|it| it.interface.clone()).collect();
                (interfaces, config.decode.clone())
            }
            _ => by_files(args, &survey)?,
        };
        let names: Vec<&str> = survey.interfaces.iter().map(|(name, _)| name.as_str()).collect();
        ensure!(
            interfaces.iter().any(|name| names.contains(&name.as_str())),
            "{}: no frame is of {}: the log has {}",
            path.display(),
            interfaces.join(", "),
            names.join(", ")
        );
        let databases = crate::cli::databases(&decode).map_err(|error| which_bus(error, args, &names))?;
        tell(&databases)?;
        let span = span(args, &survey)?;
        Ok(Self { path, interfaces, databases, survey, span })
    }

    /// Its frames from the beginning.
    pub(super) fn replay(&self) -> anyhow::Result<Replay> {
        Ok(Replay::new(Log::open(&self.path)?, self.interfaces.clone()))
    }
}

/// All interfaces by the same files, or the one that is wanted.
fn by_files(args: &Args, survey: &Survey) -> anyhow::Result<(Vec<String>, Decode)> {
    let all = survey.interfaces.iter().map(|(name, _)| name);
    let wanted = |name: &&String| args.bus.as_ref().is_none_or(|bus| bus == *name);
    let interfaces: Vec<String> = all.filter(wanted).cloned().collect();
    let database = |(number, interface): (usize, &String)| {
        Ok(Database {
            bus: bus_name(interface)?,
            index: BusIndex(u8::try_from(number)?),
            dbc: args.dbc.clone(),
            map: args.map.clone(),
            strict: false,
            j1939: args.j1939,
        })
    };
    let databases = interfaces.iter().enumerate().map(database).collect::<anyhow::Result<_>>()?;
    match (&args.bus, interfaces.is_empty()) {
        (Some(bus), true) => Ok((vec![bus.clone()], Decode { databases })),
        _ => Ok((interfaces, Decode { databases })),
    }
}

/// A mapping gives each bus the same names.
fn which_bus(error: anyhow::Error, args: &Args, names: &[&str]) -> anyhow::Error {
    if args.map.is_none() || args.bus.is_some() || args.dbc.is_empty() || names.len() < 2 {
        return error;
    }
    error.context(format!(
        "the log has {}: with `--map`, say by `--bus` which of them the files are for",
        names.join(", ")
    ))
}

fn survey(path: &Path) -> anyhow::Result<Survey> {
    let mut log = Log::open(path)?;
    let mut survey = Survey { interfaces: Vec::new(), first: i64::MAX, last: i64::MIN };
    let mut progress = Progress::new();
    loop {
        let next = log.next_frame(|name| {
            let found = survey.interfaces.iter().position(|(known, _)| known == name);
            let at = found.or_else(|| {
                // No car has more: the frames of others are passed over.
                (survey.interfaces.len() < BUSES_MAX)
                    .then(|| survey.interfaces.push((name.to_owned(), 0)))?;
                Some(survey.interfaces.len() - 1)
            });
            u8::try_from(at?).ok().map(BusIndex)
        })?;
        let Some(frame) = next else { break };
        survey.interfaces[usize::from(frame.bus.0)].1 += 1;
        survey.first = survey.first.min(frame.moment.0);
        survey.last = survey.last.max(frame.moment.0);
        progress.frame(frame.moment, || log.position());
    }
    ensure!(survey.first <= survey.last, "{}: no data frame is in the log", path.display());
    Ok(survey)
}

fn span(args: &Args, survey: &Survey) -> anyhow::Result<Range<i64>> {
    let after = |into: Offset| survey.first.saturating_add(into.0);
    let end = survey.last.saturating_add(1);
    let from = args.from.map_or(survey.first, after);
    let to = args.to.map_or(end, |to| after(to).min(end));
    if from >= to {
        let length = Offset(survey.last - survey.first);
        bail!("nothing lies between `--from` and `--to`: the log is {length} long");
    }
    Ok(from..to)
}

fn tell(databases: &Databases) -> std::io::Result<()> {
    let mut err = std::io::stderr().lock();
    match databases.notices.split_first() {
        None => Ok(()),
        Some((first, [])) => writeln!(err, "{first}"),
        Some((first, more)) => {
            writeln!(err, "{first}, and {} more notices: `glovebox dbc lint` shows all", more.len())
        }
    }
}

/// So far into the log, in microseconds: `90`, `1:30` or `0:01:30.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset(pub(super) i64);

impl std::str::FromStr for Offset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time into the log: write seconds, or h:mm:ss");
        let mut parts = text.rsplit(':');
        let seconds: f64 = parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong)?;
        let mut whole = 0i64;
        for (unit, part) in [60, 3_600].into_iter().zip(parts.by_ref()) {
            let part: u32 = part.parse().map_err(|_| wrong())?;
            whole = whole.saturating_add(i64::from(part) * unit);
        }
        let fits = (0.0..1e9).contains(&seconds) && parts.next().is_none();
        #[expect(clippy::cast_possible_truncation, reason = "bounded just here")]
        let us = fits.then(|| (seconds * 1e6).round() as i64).ok_or_else(wrong)?;
        Ok(Self(whole.saturating_mul(1_000_000).saturating_add(us)))
    }
}

impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0 / 1_000_000;
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{hours}:{minutes:02}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::Offset;

    #[test]
    fn times_into_the_log() {
        let into = |text: &str| text.parse::<Offset>().ok().map(|into| into.0);
        assert_eq!(into("90"), Some(90_000_000));
        assert_eq!(into("1:30.5"), Some(90_500_000));
        assert_eq!(into("2:00:00"), Some(7_200_000_000));
        for wrong in ["", "x", "-1", "1:2:3:4", "1:-2", "inf", "NaN", "1e12"] {
            assert_eq!(into(wrong), None, "{wrong}");
        }
        assert_eq!(Offset(3_661_000_000).to_string(), "1:01:01");
    }
}
