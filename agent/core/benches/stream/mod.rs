//! The bench stream (`shared/data/bench`), and instructions counted by callgrind: shared by the benchmarks.
#![expect(unreachable_pub, reason = "shared by several benchmarks")]

use flate2::read::GzDecoder;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{LeafIndex, Leaves};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::{BusName, Moment, SignalPath};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set in the second run of a benchmark, the one under callgrind: what it is to do once.
pub const INNER: &str = "GLOVEBOX_BENCH_INNER";

/// A minute of two buses, and the signals that are counted.
pub struct Stream {
    pub frames: Vec<Frame>,
    pub leaves: Leaves,
    /// The 246 of `rav4_signals.txt`.
    pub needed: Vec<LeafIndex>,
}

/// Where the stream is; tells where it is absent.
pub fn folder() -> Option<PathBuf> {
    let shared = std::env::var_os("GLOVEBOX_SHARED").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join("../shared"));
    let mut places = shared.into_iter().chain(above).map(|shared| shared.join("data/bench"));
    let found = places.find(|folder| folder.join("rav4_once.log.gz").exists());
    if found.is_none() {
        println!("skipped: the bench stream is not beside this checkout (shared/data/bench)");
    }
    found
}

/// With identifiers of 29 bits instead of 11 if `extended`: the same numbers, in frames and databases.
pub fn load(folder: &Path, extended: bool) -> Stream {
    let database = |number: u8, name: &str, file: &str| {
        let mut text = std::fs::read_to_string(folder.join(file)).unwrap();
        if extended {
            text = text.lines().map(widened).collect();
        }
        let databases = vec![Database::parse(text.as_bytes(), file).unwrap().0];
        BusDatabase { bus: BusIndex(number), name: BusName::new(name).unwrap(), databases, mapping: None }
    };
    let buses = [
        database(0, "can0", "rav4_toyota_new_mc_pt_generated.dbc"),
        database(1, "can1", "rav4_toyota_adas.dbc"),
    ];
    let leaves = Leaves::build(&buses).unwrap().0;
    let mut log = String::new();
    let file = std::fs::File::open(folder.join("rav4_once.log.gz")).unwrap();
    GzDecoder::new(file).read_to_string(&mut log).unwrap();
    let frames = log.lines().map(|line| frame(line, extended)).collect();
    let list = std::fs::read_to_string(folder.join("rav4_signals.txt")).unwrap();
    let needed = list.lines().filter(|line| !line.starts_with('#')).map(|line| leaf(&leaves, line)).collect();
    Stream { frames, leaves, needed }
}

/// Bit 31 of a DBC's number says that the identifier has 29 bits.
fn widened(line: &str) -> String {
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("BO_"), Some(id), Some(rest)) => {
            format!("BO_ {} {rest}\n", id.parse::<u32>().unwrap() | 1 << 31)
        }
        _ => format!("{line}\n"),
    }
}

/// `(seconds.micros) canN ID#HEX`
fn frame(line: &str, extended: bool) -> Frame {
    let mut words = line.split(' ');
    let stamp = words.next().unwrap().trim_matches(['(', ')']).replace('.', "");
    let bus = words.next().unwrap().trim_start_matches("can").parse().unwrap();
    let (id, data) = words.next().unwrap().split_once('#').unwrap();
    let id = u16::from_str_radix(id, 16).unwrap();
    let id = if extended { CanId::Extended(id.into()) } else { CanId::Standard(id) };
    Frame::new(BusIndex(bus), id, Moment(stamp.parse().unwrap()), &hex::decode(data).unwrap()).unwrap()
}

fn leaf(leaves: &Leaves, line: &str) -> LeafIndex {
    let words: Vec<&str> = line.split(' ').collect();
    let path = SignalPath::new(&format!("CAN.can{}.{}.{}", words[1], words[12], words[13])).unwrap();
    leaves.find(&path).unwrap()
}

/// Instructions that this program takes within `function` when run again with [`INNER`] set; `None` where there is no
/// valgrind. Unlike times they do not vary from run to run.
pub fn instructions(function: &str, inner: &str) -> Option<f64> {
    let out = std::env::temp_dir().join(format!("glovebox-callgrind-{}-{inner}", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--dump-instr=yes"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().ok()?)
        .env(INNER, inner)
        .stdout(Stdio::null())
        .output()
        .ok()?;
    // For whoever looks where they go: callgrind_annotate reads it.
    if std::env::var_os("GLOVEBOX_KEEP_CALLGRIND").is_none() {
        std::fs::remove_file(&out).ok();
    } else {
        println!("callgrind's file: {}", out.display());
    }
    let text = String::from_utf8_lossy(&run.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(' ').next()?.parse().ok()
}
