//! Whole recorded drives through replay and decode: for each signal the count, extremes, first and last value that
//! cantools found in the same log.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    reason = "a test may fail loudly and tells what it counted"
)]

use glovebox::bus::replay::{Log, Replay};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, Leaf, Number};
use glovebox_core::decode::{Leaves, Plan};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::BusName;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Folder of the shared data; tells and skips when it is absent, fails on a build machine.
fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("GLOVEBOX_SHARED").map_or_else(beside, PathBuf::from);
    if root.join("data").is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none(), "no test data at {}; set GLOVEBOX_SHARED", root.display());
    eprintln!("skipped: no test data at {}; set GLOVEBOX_SHARED", root.display());
    None
}

/// What is kept of one signal.
#[derive(Clone, Copy)]
struct Series {
    count: u64,
    min: Number,
    max: Number,
    first: Number,
    last: Number,
}

/// The databases of a drive as one decoder.
struct Drive {
    channels: Vec<String>,
    leaves: Leaves,
    plan: Plan,
    /// Bytes of each message, and the multiplexors in it.
    messages: HashMap<(BusIndex, CanId), Message>,
}

struct Message {
    size: usize,
    multiplexors: HashSet<glovebox_core::decode::leaves::Layout>,
}

impl Drive {
    fn new(data: &Path, oracle: &Value) -> Self {
        let mut buses = Vec::new();
        let mut channels = Vec::new();
        for (channel, dbc) in oracle["dbc"].as_object().unwrap() {
            let dbc = dbc.as_str().unwrap();
            let dbc = dbc.strip_prefix("j1939:").unwrap_or(dbc);
            let bytes = std::fs::read(data.join("dbc").join(dbc))
                .or_else(|_| std::fs::read(data.join("dbc_lenient").join(dbc)))
                .unwrap();
            let (database, _) = Database::parse(&bytes, dbc).unwrap();
            let bus = BusIndex(u8::try_from(channels.len()).unwrap());
            let name = BusName::new(channel).unwrap();
            channels.push(channel.clone());
            buses.push(BusDatabase { bus, name, databases: vec![database], mapping: None });
        }
        let (leaves, _) = Leaves::build(&buses).unwrap();
        let needed: Vec<_> = leaves.iter().map(|(index, _)| index).collect();
        let mut messages = HashMap::new();
        for bus in &buses {
            for message in &bus.databases[0].messages {
                let multiplexors = message.signals.iter().filter_map(|signal| signal.selectors.last());
                let multiplexors = multiplexors.map(|selector| selector.layout).collect();
                let size = usize::try_from(message.size).unwrap();
                messages.insert((bus.bus, message.id), Message { size, multiplexors });
            }
        }
        Self { channels, plan: Plan::compile(&leaves, &needed), leaves, messages }
    }

    /// The values of a frame, none where cantools refuses it: too short, or a multiplexor with an undefined value.
    fn decode(&self, frame: &Frame) -> Vec<(&Leaf, Number)> {
        let mut readings = Vec::new();
        self.plan.decode(frame, &mut readings);
        let found: Vec<&Leaf> =
            readings.iter().map(|reading| self.leaves.get(reading.leaf).unwrap()).collect();
        // By the leaf's identifier: in J1939 the frame's own has another sender or priority.
        let message = found.first().and_then(|leaf| self.messages.get(&(frame.bus, leaf.id)));
        let Some(message) = message else { return Vec::new() };
        let defined = |multiplexor| {
            found.iter().any(|leaf| leaf.selectors.iter().any(|selector| selector.layout == multiplexor))
        };
        if frame.data().len() < message.size || !message.multiplexors.iter().all(|layout| defined(*layout)) {
            return Vec::new();
        }
        found.into_iter().map(|leaf| (leaf, leaf.value(leaf.raw(frame).unwrap()))).collect()
    }
}

fn less(a: Number, b: Number) -> bool {
    match (a, b) {
        (Number::Integer(a), Number::Integer(b)) => a < b,
        (Number::Float(a), Number::Float(b)) => a < b,
        _ => false,
    }
}

fn is(value: Number, want: &Value) -> bool {
    match value {
        Number::Integer(value) => {
            want.as_i64().map(i128::from).or(want.as_u64().map(i128::from)) == Some(value)
        }
        Number::Float(value) => want.is_f64() && want.as_f64() == Some(value),
    }
}

/// Whether cantools was not asked: it gives up on messages with overlapping Motorola signals, which are in its list of
/// errors, and where one message has a name twice neither is in the oracle.
fn left_out(oracle: &Value, channel: &str, message: &str, signal: &str) -> bool {
    let twice = format!("{message}/{signal}");
    let twice = oracle["duplicate_signal_names_left_out"]
        .as_array()
        .is_some_and(|names| names.iter().any(|name| *name == twice.as_str()));
    let given_up = |error: &Value| {
        error["channel"] == channel
            && error["message"] == message
            && error["reason"] == "DecodeError: unpacking failed"
    };
    twice || oracle["errors"].as_array().unwrap().iter().any(given_up)
}

fn check(name: &str, signals: usize) {
    let Some(root) = shared() else { return };
    let data = root.join("data");
    let oracle = std::fs::read(data.join(format!("oracle/logs/{name}.json"))).unwrap();
    let oracle: Value = serde_json::from_slice(&oracle).unwrap();
    let drive = Drive::new(&data, &oracle);
    let log = Log::open(&data.join(format!("logs/{name}.log.gz"))).unwrap();
    let mut replay = Replay::new(log, drive.channels.clone());
    let mut series: BTreeMap<(String, String, String), Series> = BTreeMap::new();
    for frame in replay.by_ref() {
        let frame = frame.unwrap();
        for (leaf, value) in drive.decode(&frame) {
            let channel = &drive.channels[usize::from(frame.bus.0)];
            let key = (channel.clone(), leaf.message.clone(), leaf.signal.clone());
            let start = Series { count: 0, min: value, max: value, first: value, last: value };
            let this = series.entry(key).or_insert(start);
            this.count += 1;
            this.last = value;
            this.min = if less(value, this.min) { value } else { this.min };
            this.max = if less(this.max, value) { value } else { this.max };
        }
    }
    let counts = replay.counts();
    assert_eq!(counts.frames + counts.ignored, oracle["frames"].as_u64().unwrap());
    assert_eq!(counts.bad, 0);
    let wanted = oracle["signals"].as_array().unwrap();
    let mut equal = 0;
    for want in wanted {
        let [channel, message, signal] =
            ["channel", "message", "signal"].map(|key| want[key].as_str().unwrap());
        let key = (channel.to_owned(), message.to_owned(), signal.to_owned());
        match series.remove(&key) {
            Some(got)
                if want["count"].as_u64() == Some(got.count)
                    && is(got.min, &want["min"])
                    && is(got.max, &want["max"])
                    && is(got.first, &want["first"])
                    && is(got.last, &want["last"]) =>
            {
                equal += 1;
            }
            Some(got) => eprintln!(
                "{key:?}: {want} is {} {:?} {:?} {:?} {:?}",
                got.count, got.min, got.max, got.first, got.last
            ),
            None => eprintln!("{key:?} is missing"),
        }
    }
    eprintln!("{name}: {equal} / {} signals, {} frames", wanted.len(), counts.frames);
    assert_eq!(wanted.len(), signals);
    assert_eq!(equal, wanted.len());
    series.retain(|(channel, message, signal), _| !left_out(&oracle, channel, message, signal));
    assert_eq!(
        series.keys().collect::<Vec<_>>(),
        Vec::<&(String, String, String)>::new(),
        "signals nobody expects"
    );
}

#[test]
fn comma2k19_rav4() {
    check("comma2k19_rav4", 477);
}

#[test]
fn tesla_model3_it0() {
    check("tesla_model3_it0", 26);
}

#[test]
fn css_gnss_obd2_a() {
    check("css_gnss_obd2_a", 53);
}

#[test]
fn kona_ev_2019_power() {
    check("kona_ev_2019_power", 911);
}

#[test]
fn motec_frs() {
    check("motec_frs", 20);
}

/// A truck: found by group number, whoever sends.
#[test]
fn css_j1939_truck_a() {
    check("css_j1939_truck_a", 295);
}

/// What the log's publishers decoded themselves: the k-th frame of the wheels and of the steering, within what they
/// print (they write doubles; ours differ by their own division by 3.6).
#[test]
fn comma2k19_is_what_its_publishers_decoded() {
    let Some(root) = shared() else { return };
    let data = root.join("data");
    let oracle = std::fs::read(data.join("oracle/logs/comma2k19_rav4.json")).unwrap();
    let drive = Drive::new(&data, &serde_json::from_slice(&oracle).unwrap());
    let log = Log::open(&data.join("logs/comma2k19_rav4.log.gz")).unwrap();
    let (mut wheels, mut steering) = (Vec::new(), Vec::new());
    for frame in Replay::new(log, drive.channels.clone()) {
        let frame = frame.unwrap();
        if drive.channels[usize::from(frame.bus.0)] != "can0" {
            continue;
        }
        let values = drive.decode(&frame);
        let value = |signal: &str| match values.iter().find(|(leaf, _)| leaf.signal == signal).unwrap().1 {
            Number::Float(value) => value,
            Number::Integer(value) => panic!("{signal} is {value}, a whole number"),
        };
        match frame.id {
            CanId::Standard(0xAA) => {
                let speeds =
                    ["FL", "FR", "RL", "RR"].map(|wheel| value(&format!("WHEEL_SPEED_{wheel}")) / 3.6);
                wheels.push((frame.moment.0, speeds));
            }
            CanId::Standard(0x25) => steering.push(value("STEER_ANGLE") + value("STEER_FRACTION")),
            _ => {}
        }
    }
    let file = std::fs::File::open(data.join("oracle/comma2k19_truth.csv.gz")).unwrap();
    let truth = std::io::read_to_string(flate2::read::GzDecoder::new(file)).unwrap();
    let mut rows = 0;
    for (row, line) in truth.lines().skip(1).enumerate() {
        let numbers: Vec<f64> = line.split(',').map(|number| number.parse().unwrap()).collect();
        let (moment, speeds) = wheels[row];
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a day are exact")]
        let seconds = moment as f64 / 1e6;
        assert!((numbers[0] - seconds).abs() <= 1e-6, "row {row}");
        for (want, speed) in numbers[1..5].iter().zip(speeds) {
            assert!((want - speed).abs() <= 1e-14 * want.abs().max(1.0), "row {row}: {want} is {speed}");
        }
        assert!(
            (numbers[5] - steering[row]).abs() <= 1e-12,
            "row {row}: {} is {}",
            numbers[5],
            steering[row]
        );
        rows += 1;
    }
    assert_eq!((rows, wheels.len(), steering.len()), (4_974, 4_974, 4_974));
    eprintln!("comma2k19_truth: {rows} rows equal");
}
