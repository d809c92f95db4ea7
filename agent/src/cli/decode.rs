//! `glovebox decode`: a recorded log, or what comes on a bus, into signals, for people and scripts.

pub(super) mod files;
mod lines;
mod live;
pub(super) mod progress;
mod work;

use crate::bus::replay::Log;
use clap::{Parser, ValueEnum};
use files::Files;
use glovebox_core::frame::BusIndex;
use glovebox_core::limits::BUSES_MAX;
use progress::Progress;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use work::{Tally, Work};

/// Decode a recorded log or a live CAN interface into signals
///
/// Prints one line for each signal of each frame, in the order of the log, and a summary on standard error.
/// Exit code 0: something was decoded; 1: no frame is in the databases; 2: a file or interface cannot be used.
#[derive(Debug, Parser)]
pub struct Args {
    /// DBC file; may be given several times
    #[arg(long, required = true, value_name = "FILE")]
    pub dbc: Vec<PathBuf>,
    /// Refuse a DBC file of which something has to be left out or mended
    #[arg(long)]
    pub strict: bool,
    /// All 29-bit messages are of J1939, whatever the files say
    #[arg(long)]
    pub j1939: bool,
    /// Decode only this interface of the log [default: all interfaces use the databases]
    #[arg(long, value_name = "NAME")]
    pub bus: Option<String>,
    /// Kuksa mapping file: VSS names of DBC signals, with its transforms and as often as it asks
    #[arg(long, value_name = "FILE")]
    pub map: Option<PathBuf>,
    /// A log, `-` for one on standard input, or a CAN interface, which is listened to until Ctrl-C
    ///
    /// A log is plain or gzip, and what `candump -L` or `candump -l` writes, or Vector ASC; its first line tells which.
    /// Channel N of an ASC file is the interface `canN`, and its times begin at 0. An interface is listened to if there
    /// is no file of its name.
    #[arg(value_name = "LOG|IFACE")]
    pub log: PathBuf,
    /// How lines are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Only signals whose path, `Message.Signal` or name matches (`*` and `?`); may be given several times
    #[arg(long, value_name = "GLOB")]
    pub signal: Vec<String>,
    /// Print frames that no database has, too
    #[arg(long, conflicts_with = "signal")]
    pub all: bool,
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
    let files = Files::read(&args)?;
    let source = Source::open(&args)?;
    let out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let work = Work::new(&args, files, out)?;
    let tally = match source {
        Source::Log(log) => decode(&args, log, work)?,
        Source::Live(name) => live::decode(&args, &name, work)?,
    };
    Ok(if tally.decoded > 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Where frames come from.
enum Source {
    Log(Log),
    Live(String),
}

impl Source {
    fn open(args: &Args) -> anyhow::Result<Self> {
        if args.log.as_os_str() == "-" {
            return Ok(Self::Log(Log::new(io::stdin(), "standard input")?));
        }
        match args.log.to_str().filter(|name| live::plausible(name)) {
            Some(name) if !args.log.exists() => {
                live::check(name)?;
                anyhow::ensure!(
                    args.bus.as_ref().is_none_or(|bus| bus == name),
                    "`--bus` names an interface of a log; `{name}` is one itself"
                );
                Ok(Self::Live(name.to_owned()))
            }
            _ => Ok(Self::Log(Log::open(&args.log)?)),
        }
    }
}

/// Decodes a whole log.
fn decode<W: Write>(args: &Args, mut log: Log, mut work: Work<'_, W>) -> anyhow::Result<Tally> {
    let mut names: Vec<String> = args.bus.iter().cloned().collect();
    // Faults between databases and mapping are known before the first frame.
    work.bus(0, &names)?;
    let mut progress = Progress::new();
    while let Some(frame) = log.next_frame(|name| number(&mut names, name, args.bus.is_none()))? {
        work.frame(frame, &names)?;
        if log.is_drained() {
            work.flush()?;
        }
        progress.frame(frame.moment, || log.position());
    }
    drop(progress);
    let (tally, counts) = (work.finish()?, log.counts());
    writeln!(
        io::stderr(),
        "{} lines: {tally}, {} of other interfaces, {} remote, {} error, {} other events, {} bad",
        counts.lines,
        counts.ignored,
        counts.remote,
        counts.error,
        counts.events,
        counts.bad
    )?;
    Ok(tally)
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

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use super::{Args, Files, Log, Source, Work};
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
        decode_log(LOG, extra)
    }

    fn decode_log(log: &str, extra: &[&str]) -> (String, bool) {
        decode_with(DBC, log, extra)
    }

    fn decode_with(dbc_text: &str, log: &str, extra: &[&str]) -> (String, bool) {
        let folder = tempfile::tempdir().unwrap();
        let dbc = folder.path().join("a.dbc");
        std::fs::write(&dbc, dbc_text).unwrap();
        let arguments = ["decode", "-", "--dbc", dbc.to_str().unwrap()];
        let args = Args::parse_from(arguments.iter().chain(extra));
        let log = Log::new(std::io::Cursor::new(log.as_bytes().to_vec()), "log").unwrap();
        let mut out = Vec::new();
        let work = Work::new(&args, Files::read(&args).unwrap(), &mut out).unwrap();
        let tally = super::decode(&args, log, work).unwrap();
        (String::from_utf8(out).unwrap(), tally.decoded > 0)
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
        let want = r#"{"t":1.000001,"bus":"can0","id":170,"message":"M","signal":"Speed","path":"Vehicle.Pace","value":0.00277777777777778,"raw":101,"unit":"m/s"}
{"t":1.000001,"bus":"can0","id":170,"message":"M","signal":"Gear","path":"Vehicle.Gear","value":0,"raw":1,"unit":"","label":"ahead"}
{"t":1.000001,"bus":"can0","id":170,"message":"M","signal":"Ratio","value":0.0,"raw":0.0,"unit":""}
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
    fn all_prints_frames_of_no_message_too() {
        let (out, _) = decode(&["--format", "jsonl", "--all", "--bus", "can0"]);
        let raw: Vec<&str> = out.lines().filter(|line| !line.contains("signal")).collect();
        assert_eq!(raw, [r#"{"t":2.500000,"bus":"can0","id":291,"data":"00"}"#]);
        let log = "(1.0) ca,n 12345678#00aBFF\n(1.5) ca,n 7FF#\n";
        let jsonl = concat!(
            r#"{"t":1.000000,"bus":"ca,n","id":305419896,"extended":true,"data":"00ABFF"}"#,
            "\n",
            r#"{"t":1.500000,"bus":"ca,n","id":2047,"data":""}"#,
            "\n"
        );
        assert_eq!(decode_log(log, &["--format", "jsonl", "--all"]), (jsonl.to_owned(), false));
        let (csv, _) = decode_log(&(log.to_owned() + LOG), &["--format", "csv", "--all"]);
        let lines: Vec<&str> = csv.lines().take(4).collect();
        let want = [
            "t,bus,id,message,signal,path,value,raw,unit,label,state,data",
            "1.000000,\"ca,n\",305419896,,,,,,,,,00ABFF",
            "1.500000,\"ca,n\",2047,,,,,,,,,",
            "1.000001,can0,170,M,Speed,,0.010000000000000009,101,\"k,h\",,,",
        ];
        assert_eq!(lines, want);
        let (table, _) = decode_log(log, &["--all"]);
        assert_eq!(table.lines().nth(1).unwrap(), "         1.000000  ca,n     12345678  00 AB FF");
    }

    /// The identifier tells who sent it, also where the message came in several frames.
    #[test]
    fn messages_of_j1939_bear_the_identifier_of_their_sender() {
        let dbc = "BO_ 2566844926 SHORT: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X\n\
                   BO_ 2566845182 LONG: 9 X\n SG_ B : 0|8@1+ (2,0) [0|0] \"\" X\n SG_ C : 64|8@1+ (1,0) [0|0] \"\" X\n\
                   BA_ \"ProtocolType\" \"J1939\";\n";
        // The group FEF2 of 9 bytes from 27, announced to all.
        let log = "(1.0) c 08FEF117#2A00000000000000\n(1.1) c 0CFEF10B#FF00000000000000\n\
                   (1.2) c 18ECFF27#20090002FFF2FE00\n(1.3) c 18EBFF27#0105000000000000\n(1.4) c 18EBFF27#0200FFFFFFFFFFFF\n";
        let (out, _) = decode_with(dbc, log, &["--format", "jsonl"]);
        let want = r#"{"t":1.000000,"bus":"c","id":150925591,"extended":true,"source":23,"message":"SHORT","signal":"A","value":42,"raw":42,"unit":""}
{"t":1.100000,"bus":"c","id":218034443,"extended":true,"source":11,"message":"SHORT","signal":"A","value":255,"raw":255,"unit":"","state":"not_available"}
{"t":1.400000,"bus":"c","id":419361319,"extended":true,"source":39,"message":"LONG","signal":"B","value":10,"raw":5,"unit":""}
{"t":1.400000,"bus":"c","id":419361319,"extended":true,"source":39,"message":"LONG","signal":"C","value":255,"raw":255,"unit":"","state":"not_available"}
"#;
        assert_eq!(out, want);
    }

    #[test]
    fn strict_refuses_a_database_with_a_finding() {
        let folder = tempfile::tempdir().unwrap();
        let dbc = folder.path().join("a.dbc");
        let fine = "BO_ 1 M: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" X\n";
        let read = |text: &str, extra: &[&str]| {
            std::fs::write(&dbc, text).unwrap();
            let arguments = ["decode", "-", "--dbc", dbc.to_str().unwrap()];
            Files::read(&Args::parse_from(arguments.iter().chain(extra))).map(|_| ())
        };
        let broken = format!("{fine}BO_ 2 N: 8 X\n SG_ T : 60|8@1+ (1,0) [0|0] \"\" X\n");
        assert!(read(fine, &["--strict"]).is_ok());
        assert!(read(&broken, &[]).is_ok());
        let error = format!("{:#}", read(&broken, &["--strict"]).err().unwrap());
        assert!(error.starts_with(&format!("{}:4:2: ", dbc.display())), "{error}");
    }

    #[test]
    fn neither_a_file_nor_an_interface() {
        for (name, want) in [
            ("nowhere0", "nowhere0: there is neither such a file nor such an interface"),
            ("./nowhere0", "./nowhere0: cannot open the log"),
            ("lo", "lo: there is no such file, and the interface of this name is not a CAN interface"),
        ] {
            let args = Args::parse_from(["decode", name, "--dbc", "a.dbc"]);
            let error = Source::open(&args).err().unwrap().to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
