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

use glovebox::sealer::CarSealer;
use glovebox_core::batch::{ClockQuality, TimeMapping};
use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::{Effective, FlowRules, SignalRules};
use glovebox_core::consent::transform::{Rule, Transform};
use glovebox_core::decode::{LeafIndex, Leaves, Plan};
use glovebox_core::limits::BATCH_COLUMN_BYTES_MAX;
use glovebox_core::names::{Digest, Epoch, FlowId, HpkeKey, PurposeId, RecipientId, Sequence, WallTime};
use glovebox_core::pipeline::{Compiled, Event, Output, Pipeline, Watches};
use glovebox_core::seal::{Sealer as _, Sealing};
use glovebox_core::wire::batch_topic;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use stream::Stream;

#[path = "../core/benches/stream/mod.rs"]
mod stream;

const ROUNDS: usize = 15;

struct Measured {
    stream: Stream,
    rules: Arc<FlowRules>,
}

fn load(folder: &Path) -> Measured {
    let stream = stream::load(folder, false);
    let rules = FlowRules {
        flow: FlowId(0x1234_5678_9abc_def0),
        recipient: RecipientId::new("fleet.example").unwrap(),
        purpose: PurposeId::new("service-planning").unwrap(),
        request_digest: Digest([7; 32]),
        event: None,
        hpke_key: HpkeKey([9; 32]),
        live_until: WallTime(i64::MAX),
        batch_age_us: 10_000_000,
        age_us_max: None,
        bytes_per_day_max: None,
        microseconds: false,
        signals: stream.needed.iter().map(|leaf| granted(&stream.leaves, *leaf)).collect(),
    };
    Measured { stream, rules: Arc::new(rules) }
}

fn granted(leaves: &Leaves, leaf: LeafIndex) -> SignalRules {
    let from = leaves.get(leaf).unwrap();
    SignalRules {
        leaf,
        path: from.path.clone(),
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

fn compiled(measured: &Measured) -> Pipeline {
    let mapping = TimeMapping { offset_us: 0, quality: ClockQuality::Replay };
    let effective = Effective { flows: vec![measured.rules.clone()], ..Effective::default() };
    let gate = Gate::compile(&effective, &measured.stream.leaves);
    let plan = Plan::compile(&measured.stream.leaves, &gate.needed());
    let mut pipeline = Pipeline::new(mapping, BATCH_COLUMN_BYTES_MAX);
    pipeline.on_event(
        Event::Swap(Box::new(Compiled { plan, gate, watches: Watches::default() })),
        &mut Vec::new(),
    );
    pipeline
}

/// What is measured: from frame to sealed batch.
#[inline(never)]
fn spine_measured(
    measured: &Measured,
    pipeline: &mut Pipeline,
    sealing: &mut Sealing,
    sealer: &CarSealer,
) -> Totals {
    let mut totals = Totals::default();
    let mut outputs = Vec::new();
    for frame in &measured.stream.frames {
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

fn once(measured: &Measured) -> (Totals, f64) {
    let sealer = CarSealer::new(zeroize::Zeroizing::new([3; 32]), 1);
    let (mut pipeline, mut sealing) = (compiled(measured), Sealing::new().unwrap());
    // The cryptographic library gathers its entropy at the first draw: once a process, not once a batch.
    sealer.encrypt(&measured.rules.hpke_key, b"", b"", b"").unwrap();
    let begin = Instant::now();
    let totals = spine_measured(measured, &mut pipeline, &mut sealing, &sealer);
    (totals, begin.elapsed().as_secs_f64() * 1e9 / measured.stream.frames.len() as f64)
}

fn main() {
    let Some(folder) = stream::folder() else { return };
    let measured = load(&folder);
    if std::env::var_os(stream::INNER).is_some() {
        once(&measured);
        return;
    }
    let frames = measured.stream.frames.len() as f64;
    let mut times: Vec<f64> = Vec::new();
    let mut totals = Totals::default();
    for _ in 0..ROUNDS {
        let (found, nanoseconds) = once(&measured);
        totals = found;
        times.push(nanoseconds);
    }
    times.sort_by(f64::total_cmp);
    println!("bench stream: {frames} frames, {} samples, {} batches", totals.samples, totals.batches);
    println!("bytes a sample, all counted       {:9.3}", totals.bytes as f64 / totals.samples as f64);
    println!("ns a frame, best / median of {ROUNDS}   {:9.0} / {:.0}", times[0], times[ROUNDS / 2]);
    match stream::instructions("spine_measured", "1") {
        Some(count) => println!("instructions a frame              {:9.0}", count / frames),
        None => println!("instructions a frame              skipped: no valgrind here"),
    }
}
