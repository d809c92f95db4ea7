//! `cargo bench -p glovebox`: the spine on the bench stream, one recipient, all 246 signals, 10 s batches.
//!
//! Prints bytes a sample with everything counted, nanoseconds a frame, and instructions a frame. Instructions are
//! counted by callgrind, where valgrind is installed, in a second run of this program that does the same once: unlike
//! times they do not vary from run to run.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails loudly"
)]

use flate2::read::GzDecoder;
use glovebox::sealer::CarSealer;
use glovebox_core::batch::{ClockQuality, TimeMapping};
use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::{Effective, FlowRules, SignalRules};
use glovebox_core::consent::transform::{Rule, Transform};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{Leaves, Plan};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::limits::BATCH_COLUMN_BYTES_MAX;
use glovebox_core::names::{
    BusName, Digest, Epoch, FlowId, HpkeKey, Moment, PurposeId, RecipientId, Sequence, SignalPath, WallTime,
};
use glovebox_core::pipeline::{Compiled, Event, Output, Pipeline};
use glovebox_core::seal::{Sealer as _, Sealing};
use glovebox_core::wire::batch_topic;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

const INNER: &str = "GLOVEBOX_BENCH_INNER";
const ROUNDS: usize = 15;

fn folder() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared = std::env::var_os("GLOVEBOX_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    Some(shared.join("data/bench")).filter(|folder| folder.join("rav4_once.log.gz").exists())
}

struct Stream {
    frames: Vec<Frame>,
    leaves: Leaves,
    rules: Arc<FlowRules>,
}

fn load(folder: &std::path::Path) -> Stream {
    let database = |number: u8, name: &str, file: &str| {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let databases = vec![Database::parse(&bytes, file).unwrap().0];
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
    let frames: Vec<Frame> = log.lines().map(frame).collect();
    let list = std::fs::read_to_string(folder.join("rav4_signals.txt")).unwrap();
    let signals =
        list.lines().filter(|line| !line.starts_with('#')).map(|line| granted(&leaves, line)).collect();
    let rules = FlowRules {
        flow: FlowId(0x1234_5678_9abc_def0),
        recipient: RecipientId::new("fleet.example").unwrap(),
        purpose: PurposeId::new("service-planning").unwrap(),
        request_digest: Digest([7; 32]),
        hpke_key: HpkeKey([9; 32]),
        live_until: WallTime(i64::MAX),
        batch_age_us: 10_000_000,
        microseconds: false,
        signals,
    };
    Stream { frames, leaves, rules: Arc::new(rules) }
}

/// `(seconds.micros) canN ID#HEX`
fn frame(line: &str) -> Frame {
    let mut words = line.split(' ');
    let stamp = words.next().unwrap().trim_matches(['(', ')']).replace('.', "");
    let bus = words.next().unwrap().trim_start_matches("can").parse().unwrap();
    let (id, data) = words.next().unwrap().split_once('#').unwrap();
    let id = CanId::Standard(u16::from_str_radix(id, 16).unwrap());
    Frame::new(BusIndex(bus), id, Moment(stamp.parse().unwrap()), &hex::decode(data).unwrap()).unwrap()
}

fn granted(leaves: &Leaves, line: &str) -> SignalRules {
    let words: Vec<&str> = line.split(' ').collect();
    let path = SignalPath::new(&format!("CAN.can{}.{}.{}", words[1], words[12], words[13])).unwrap();
    let leaf = leaves.find(&path).unwrap();
    let from = leaves.get(leaf).unwrap();
    SignalRules {
        leaf,
        path,
        unit: from.unit.clone(),
        value_type: from.value_type,
        scale: from.scale,
        offset: from.offset,
        names: from.names.clone(),
        granted: Transform::default(),
        permitted: Rule::OPEN,
    }
}

#[derive(Default)]
struct Totals {
    batches: u64,
    samples: u64,
    bytes: u64,
}

fn compiled(stream: &Stream) -> Pipeline {
    let mapping = TimeMapping { offset_us: 0, quality: ClockQuality::Replay };
    let effective = Effective { flows: vec![stream.rules.clone()], ..Effective::default() };
    let gate = Gate::compile(&effective, &stream.leaves);
    let plan = Plan::compile(&stream.leaves, &gate.needed());
    let mut pipeline = Pipeline::new(mapping, BATCH_COLUMN_BYTES_MAX);
    pipeline.on_event(Event::Swap(Box::new(Compiled { plan, gate })), &mut Vec::new());
    pipeline
}

/// What is measured: from frame to sealed batch.
#[inline(never)]
fn spine_measured(
    stream: &Stream,
    pipeline: &mut Pipeline,
    sealing: &mut Sealing,
    sealer: &CarSealer,
) -> Totals {
    let mut totals = Totals::default();
    let mut outputs = Vec::new();
    for frame in &stream.frames {
        pipeline.on_event(Event::Frame(frame), &mut outputs);
        if !outputs.is_empty() {
            seal(&mut outputs, sealing, sealer, &mut totals);
        }
    }
    pipeline.on_event(Event::Flush, &mut outputs);
    seal(&mut outputs, sealing, sealer, &mut totals);
    totals
}

fn seal(outputs: &mut Vec<Output>, sealing: &mut Sealing, sealer: &CarSealer, totals: &mut Totals) {
    for output in outputs.drain(..) {
        let Output::Batch(batch) = output else { continue };
        totals.batches += 1;
        totals.samples += u64::from(batch.samples());
        let (recipient, place) =
            (batch.rules().recipient.clone(), (Epoch { counter: 1, tag: 1 }, Sequence(totals.batches)));
        let sealed = sealing.seal(batch, place, &[], sealer).unwrap();
        let topic = batch_topic(&recipient, sealed.header());
        // MQTT 5 PUBLISH, QoS 1: fixed header, topic length, packet id, property length.
        totals.bytes += sealed.envelope().len() as u64 + topic.len() as u64 + 4 + 2 + 2 + 1;
    }
}

fn once(stream: &Stream) -> (Totals, f64) {
    let sealer = CarSealer::new(zeroize::Zeroizing::new([3; 32]), 1);
    let (mut pipeline, mut sealing) = (compiled(stream), Sealing::new().unwrap());
    // The cryptographic library gathers its entropy at the first draw: once a process, not once a batch.
    sealer.encrypt(&stream.rules.hpke_key, b"", b"", b"").unwrap();
    let begin = Instant::now();
    let totals = spine_measured(stream, &mut pipeline, &mut sealing, &sealer);
    (totals, begin.elapsed().as_secs_f64() * 1e9 / stream.frames.len() as f64)
}

/// Instructions of `spine_measured`, by callgrind; `None` where there is no valgrind.
fn instructions() -> Option<f64> {
    let out = std::env::temp_dir().join(format!("glovebox-callgrind-{}", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*spine_measured*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().ok()?)
        .env(INNER, "1")
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

fn main() {
    let Some(folder) = folder() else {
        println!("skipped: the bench stream is not beside this checkout (shared/data/bench)");
        return;
    };
    let stream = load(&folder);
    if std::env::var_os(INNER).is_some() {
        once(&stream);
        return;
    }
    let frames = stream.frames.len() as f64;
    let mut times: Vec<f64> = Vec::new();
    let mut totals = Totals::default();
    for _ in 0..ROUNDS {
        let (found, nanoseconds) = once(&stream);
        totals = found;
        times.push(nanoseconds);
    }
    times.sort_by(f64::total_cmp);
    println!("bench stream: {frames} frames, {} samples, {} batches", totals.samples, totals.batches);
    println!("bytes a sample, all counted       {:9.3}", totals.bytes as f64 / totals.samples as f64);
    println!("ns a frame, best / median of {ROUNDS}   {:9.0} / {:.0}", times[0], times[ROUNDS / 2]);
    match instructions() {
        Some(count) => println!("instructions a frame              {:9.0}", count / frames),
        None => println!("instructions a frame              skipped: no valgrind here"),
    }
}
