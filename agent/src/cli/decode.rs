//! `glovebox decode`: a recorded log into signals, for people and scripts.

mod lines;

use crate::bus::replay::Log;
use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, Leaf};
use glovebox_core::decode::map::Mapping;
use glovebox_core::decode::plan::Outcome;
use glovebox_core::decode::{self, Leaves, Notice, Plan, Reading};
use glovebox_core::frame::BusIndex;
use glovebox_core::limits::{BUSES_MAX, DBC_FILE_BYTES_MAX, MAPPING_FILE_BYTES_MAX};
use glovebox_core::names::BusName;
use lines::Lines;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Notices shown without `--notices`.
const NOTICES_SHOWN: usize = 10;

/// Decode a recorded log into signals
///
/// Prints one line for each signal of each frame, in the order of the log, and a summary on standard error.
/// Exit code 0: something was decoded; 1: no frame is in the databases; 2: a file cannot be used.
#[derive(Debug, Parser)]
pub struct Args {
    /// DBC file; may be given several times
    #[arg(long, required = true, value_name = "FILE")]
    pub dbc: Vec<PathBuf>,
    /// Decode only this interface of the log [default: all interfaces use the databases]
    #[arg(long, value_name = "NAME")]
    pub bus: Option<String>,
    /// Kuksa mapping file: VSS names of DBC signals, with its transforms and as often as it asks
    #[arg(long, value_name = "FILE")]
    pub map: Option<PathBuf>,
    /// Log as `candump -L` writes it, plain or gzip; `-` for standard input
    pub log: PathBuf,
    /// How lines are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Only signals whose path, `Message.Signal` or name matches (`*` and `?`); may be given several times
    #[arg(long, value_name = "GLOB")]
    pub signal: Vec<String>,
    /// Show all notices about the files
    #[arg(long)]
    pub notices: bool,
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values with a header
    Csv,
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be used, with its place.
#[expect(clippy::needless_pass_by_value, reason = "a command owns its arguments")]
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut input = Files::read(&args)?;
    let log = match args.log.as_os_str() == "-" {
        true => Log::new(io::stdin(), "standard input")?,
        false => Log::open(&args.log)?,
    };
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let result = input.decode(&args, log, &mut out);
    let result = result.and_then(|summary| out.flush().map(|()| summary).map_err(anyhow::Error::from));
    match result {
        Ok(decoded) => Ok(if decoded { ExitCode::SUCCESS } else { ExitCode::from(1) }),
        // The reader of a pipe may stop early, as `head` does.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What was read before the log.
struct Files {
    databases: Vec<Database>,
    mapping: Option<Mapping>,
    notices: Vec<Notice>,
}

/// The decoder of one interface of the log.
struct Decoder {
    leaves: Leaves,
    decoder: decode::Decoder,
    lines: Lines,
}

/// What became of the frames.
#[derive(Default)]
struct Tally {
    decoded: u64,
    unmatched: u64,
    short: u64,
}

impl Files {
    fn read(args: &Args) -> anyhow::Result<Self> {
        let mut files = Self { databases: Vec::new(), mapping: None, notices: Vec::new() };
        for path in &args.dbc {
            let bytes = read_bounded(path, DBC_FILE_BYTES_MAX)?;
            let (database, notices) = Database::parse(&bytes, &path.display().to_string())?;
            files.databases.push(database);
            files.notices.extend(notices);
        }
        if let Some(path) = &args.map {
            let bytes = read_bounded(path, MAPPING_FILE_BYTES_MAX)?;
            let (mapping, notices) = Mapping::parse(&bytes, &path.display().to_string())?;
            files.mapping = Some(mapping);
            files.notices.extend(notices);
        }
        Ok(files)
    }

    /// Decodes the log; whether anything was decoded.
    fn decode(&mut self, args: &Args, mut log: Log, out: &mut impl Write) -> anyhow::Result<bool> {
        let mut names: Vec<String> = args.bus.iter().cloned().collect();
        let mut decoders: Vec<Decoder> = Vec::new();
        let mut readings: Vec<Reading> = Vec::new();
        let mut tally = Tally::default();
        lines::header(args.format, out)?;
        // Faults between databases and mapping are known before the first frame.
        if let Some(bus) = &args.bus {
            decoders.push(self.decoder(args, bus)?);
        }
        while let Some(mut frame) = log.next_frame(|name| number(&mut names, name, args.bus.is_none()))? {
            let bus = usize::from(frame.bus.0);
            while let (true, Some(name)) = (decoders.len() <= bus, names.get(decoders.len())) {
                decoders.push(self.decoder(args, name)?);
            }
            let Some(decoder) = decoders.get_mut(bus) else { continue };
            readings.clear();
            // Each interface has its own plan.
            frame.bus = BusIndex(0);
            match decoder.decoder.decode(&frame, &mut readings) {
                Outcome::NotNeeded => tally.unmatched += 1,
                Outcome::Decoded => tally.decoded += 1,
                Outcome::Short(_) => tally.short += 1,
            }
            for reading in &readings {
                decoder.lines.write(&decoder.leaves, &frame, reading, out)?;
            }
        }
        out.flush()?;
        self.tell(args, &log, &tally)?;
        Ok(tally.decoded > 0)
    }

    fn decoder(&mut self, args: &Args, interface: &str) -> anyhow::Result<Decoder> {
        let bus = BusDatabase {
            bus: BusIndex(0),
            name: bus_name(interface)?,
            databases: self.databases.clone(),
            mapping: self.mapping.clone(),
        };
        let (leaves, notices) = Leaves::build(&[bus])?;
        // The same files give the same notices on each interface.
        for notice in notices {
            if !self.notices.contains(&notice) {
                self.notices.push(notice);
            }
        }
        let wanted = leaves.iter().filter(|(_, leaf)| wanted(&args.signal, leaf));
        let wanted: Vec<_> = wanted.map(|(index, _)| index).collect();
        if wanted.is_empty() {
            return Err(self.nothing_wanted(args));
        }
        let decoder = decode::Decoder::new(Plan::compile(&leaves, &wanted));
        let lines = Lines::new(args.format, interface, &leaves)?;
        Ok(Decoder { leaves, decoder, lines })
    }

    /// Why there is no signal to decode: the filter, or what is wrong with the files.
    fn nothing_wanted(&self, args: &Args) -> anyhow::Error {
        if !args.signal.is_empty() {
            return anyhow::anyhow!(
                "no signal of the databases matches `--signal {}`",
                args.signal.join(" ")
            );
        }
        match (self.notices.first(), args.dbc.first()) {
            (Some(notice), _) => anyhow::anyhow!("no signal can be decoded: {notice}"),
            (None, Some(file)) => anyhow::anyhow!("{}: no signal is in the database", file.display()),
            (None, None) => anyhow::anyhow!("no database was given"),
        }
    }

    /// Notices and the summary, on standard error.
    fn tell(&self, args: &Args, log: &Log, tally: &Tally) -> io::Result<()> {
        let mut err = io::stderr().lock();
        let shown = if args.notices { self.notices.len() } else { NOTICES_SHOWN };
        for notice in self.notices.iter().take(shown) {
            writeln!(err, "{notice}")?;
        }
        if self.notices.len() > shown {
            writeln!(err, "{} more notices; `--notices` shows all", self.notices.len() - shown)?;
        }
        let counts = log.counts();
        if let Some(bad) = log.first_bad() {
            let log = args.log.display();
            writeln!(err, "{log}:{}: {}; bad lines are passed over and counted", bad.line, bad.what)?;
        }
        writeln!(
            err,
            "{} lines: {} frames decoded, {} shorter than their message, {} without a wanted signal, {} of other interfaces, \
             {} remote, {} error, {} bad",
            counts.lines,
            tally.decoded,
            tally.short,
            tally.unmatched,
            counts.ignored,
            counts.remote,
            counts.error,
            counts.bad
        )
    }
}

/// Number of an interface; new ones are added if all are wanted.
fn number(names: &mut Vec<String>, name: &str, all: bool) -> Option<BusIndex> {
    let found = names.iter().position(|known| known == name);
    let index = match found {
        Some(index) => index,
        None if all && names.len() < BUSES_MAX => {
            names.push(name.to_owned());
            names.len() - 1
        }
        None => return None,
    };
    u8::try_from(index).ok().map(BusIndex)
}

/// An interface's name as the bus in signal names.
fn bus_name(interface: &str) -> anyhow::Result<BusName> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name: String = interface.chars().map(|c| if fits(c) { c } else { '_' }).take(32).collect();
    Ok(BusName::new(&name)?)
}

fn read_bounded(path: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    let place = path.display();
    let file = File::open(path).with_context(|| format!("{place}: cannot open the file"))?;
    let mut bytes = Vec::new();
    // One byte more than the bound: the reader then says that it is too large.
    let max = u64::try_from(max)?.saturating_add(1);
    file.take(max).read_to_end(&mut bytes).with_context(|| format!("{place}: cannot read the file"))?;
    Ok(bytes)
}

/// Whether some glob matches the path, `Message.Signal` or the signal's name; all if there is no glob.
fn wanted(globs: &[String], leaf: &Leaf) -> bool {
    let both = format!("{}.{}", leaf.message, leaf.signal);
    let names = [leaf.path.as_str(), both.as_str(), leaf.signal.as_str()];
    globs.is_empty()
        || globs.iter().any(|glob| names.iter().any(|name| matches(glob.as_bytes(), name.as_bytes())))
}

/// `*` stands for any characters, `?` for one.
fn matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => (g, n) = (g + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (g, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use super::{Args, Files, Log, matches};
    use clap::Parser as _;
    use std::path::Path;

    const DBC: &str = r#"
BO_ 170 M: 8 X
 SG_ Speed : 0|16@1+ (0.01,-1) [0|250] "k,h" X
 SG_ Gear : 16|3@1+ (1,0) [0|0] "" X
 SG_ Ratio : 32|32@1- (1,0) [0|0] "" X
BO_ 2147483649 E: 8 X
 SG_ Wide : 0|64@1- (1,0) [0|0] "" X
VAL_ 170 Gear 0 "P \"ark" 1 "D" ;
SIG_VALTYPE_ 170 Ratio : 1;
"#;
    const LOG: &str = "(1.000001) can0 0AA#6500010000000000\n(1.5) can0 0AA#0000000000C07F\n(2.25) can1 00000001#FFFFFFFFFFFFFFFF\n(2.5) can0 123#00\n(3.0) can0 0AA#00000000\n(3.5) can1 0AA#00000000000080FF\n";

    fn decode(extra: &[&str]) -> (String, bool) {
        let folder = tempfile::tempdir().unwrap();
        let dbc = folder.path().join("a.dbc");
        std::fs::write(&dbc, DBC).unwrap();
        let arguments = ["decode", "-", "--dbc", dbc.to_str().unwrap()];
        let args = Args::parse_from(arguments.iter().chain(extra));
        let log = Log::new(LOG.as_bytes(), "log").unwrap();
        let mut out = Vec::new();
        let decoded = Files::read(&args).unwrap().decode(&args, log, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), decoded)
    }

    #[test]
    fn json_lines_in_log_order() {
        let (out, decoded) = decode(&["--format", "jsonl"]);
        let want = r#"{"t":1.000001,"bus":"can0","id":170,"message":"M","signal":"Speed","value":0.010000000000000009,"raw":101,"unit":"k,h"}
{"t":1.000001,"bus":"can0","id":170,"message":"M","signal":"Gear","value":1,"raw":1,"unit":"","label":"D"}
{"t":1.000001,"bus":"can0","id":170,"message":"M","signal":"Ratio","value":0.0,"raw":0.0,"unit":""}
{"t":1.500000,"bus":"can0","id":170,"message":"M","signal":"Speed","value":-1.0,"raw":0,"unit":"k,h","state":"out_of_range"}
{"t":1.500000,"bus":"can0","id":170,"message":"M","signal":"Gear","value":0,"raw":0,"unit":"","label":"P \"ark"}
{"t":2.250000,"bus":"can1","id":1,"extended":true,"message":"E","signal":"Wide","value":-1,"raw":-1,"unit":""}
{"t":3.000000,"bus":"can0","id":170,"message":"M","signal":"Speed","value":-1.0,"raw":0,"unit":"k,h","state":"out_of_range"}
{"t":3.000000,"bus":"can0","id":170,"message":"M","signal":"Gear","value":0,"raw":0,"unit":"","label":"P \"ark"}
{"t":3.500000,"bus":"can1","id":170,"message":"M","signal":"Speed","value":-1.0,"raw":0,"unit":"k,h","state":"out_of_range"}
{"t":3.500000,"bus":"can1","id":170,"message":"M","signal":"Gear","value":0,"raw":0,"unit":"","label":"P \"ark"}
{"t":3.500000,"bus":"can1","id":170,"message":"M","signal":"Ratio","value":"-Infinity","raw":"-Infinity","unit":"","state":"error"}
"#;
        assert_eq!(out, want);
        assert!(decoded);
        for line in out.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn one_bus_and_one_signal() {
        let (out, _) = decode(&["--format", "csv", "--bus", "can1", "--signal", "M.S*"]);
        let want = "t,bus,id,message,signal,path,value,raw,unit,label,state\n\
                    3.500000,can1,170,M,Speed,,-1.0,0,\"k,h\",,out_of_range\n";
        assert_eq!(out, want);
        let (_, decoded) = decode(&["--bus", "can7"]);
        assert!(!decoded);
    }

    #[test]
    fn a_mapping_gives_vss_names() {
        let folder = tempfile::tempdir().unwrap();
        let map = folder.path().join("map.json");
        std::fs::write(&map, r#"{"Vehicle": {"children": {"Speed": {"dbc2vss": {"signal": "Speed"}}}}}"#)
            .unwrap();
        let (out, _) =
            decode(&["--map", map.to_str().unwrap(), "--format", "jsonl", "--signal", "Vehicle.*"]);
        assert!(out.starts_with(
            r#"{"t":1.000001,"bus":"can0","id":170,"message":"M","signal":"Speed","path":"Vehicle.Speed","#
        ));
        assert_eq!(out.lines().count(), 3, "once a second, as the mapping says nothing else");
    }

    #[test]
    fn a_mapped_value_stands_beside_its_raw_one() {
        let folder = tempfile::tempdir().unwrap();
        let map = folder.path().join("map.json");
        let entries = r#"{"Vehicle": {"children": {
            "Pace": {"unit": "m/s", "dbc2vss": {"signal": "Speed", "interval_ms": 0, "transform": {"math": "x/3.6"}}},
            "Gear": {"dbc2vss": {"signal": "Gear", "on_change": true, "transform": {"mapping": [
                {"from": "D", "to": "ahead"}, {"from": "P \"ark", "to": "still"}]}}}}}}"#;
        std::fs::write(&map, entries).unwrap();
        let (out, _) = decode(&[
            "--map",
            map.to_str().unwrap(),
            "--format",
            "jsonl",
            "--bus",
            "can0",
            "--signal",
            "M.*",
        ]);
        let want = r#"{"t":1.000001,"bus":"can0","id":170,"message":"M","signal":"Ratio","value":0.0,"raw":0.0,"unit":""}
{"t":1.000001,"bus":"can0","id":170,"message":"M","signal":"Speed","path":"Vehicle.Pace","value":0.00277777777777778,"raw":101,"unit":"m/s"}
{"t":1.000001,"bus":"can0","id":170,"message":"M","signal":"Gear","path":"Vehicle.Gear","value":0,"raw":1,"unit":"","label":"ahead"}
{"t":1.500000,"bus":"can0","id":170,"message":"M","signal":"Speed","path":"Vehicle.Pace","value":-0.2777777777777778,"raw":0,"unit":"m/s","state":"out_of_range"}
{"t":1.500000,"bus":"can0","id":170,"message":"M","signal":"Gear","path":"Vehicle.Gear","value":1,"raw":0,"unit":"","label":"still"}
{"t":3.000000,"bus":"can0","id":170,"message":"M","signal":"Speed","path":"Vehicle.Pace","value":-0.2777777777777778,"raw":0,"unit":"m/s","state":"out_of_range"}
"#;
        assert_eq!(out, want);
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let args = Args::parse_from(["decode", "log", "--dbc", "/absent.dbc"]);
        let error = Files::read(&args).err().unwrap();
        assert!(format!("{error:#}").starts_with("/absent.dbc: cannot open the file"), "{error:#}");
        let Err(error) = Log::open(Path::new("/absent.log")) else {
            panic!("opened a file that is not there")
        };
        assert!(error.to_string().starts_with("/absent.log: cannot open the log"), "{error}");
    }

    #[test]
    fn globs() {
        for (glob, name, want) in [
            ("", "", true),
            ("*", "", true),
            ("*", "Vehicle.Speed", true),
            ("Vehicle.*", "Vehicle.Speed", true),
            ("Vehicle.*", "Vehicles.Speed", false),
            ("*.Speed", "Vehicle.Speed", true),
            ("*S*d", "Vehicle.Speed", true),
            ("*S*x", "Vehicle.Speed", false),
            ("Wheel?", "Wheel1", true),
            ("Wheel?", "Wheel", false),
            ("a*b*c", "aXbXbc", true),
        ] {
            assert_eq!(matches(glob.as_bytes(), name.as_bytes()), want, "{glob} {name}");
        }
    }
}
