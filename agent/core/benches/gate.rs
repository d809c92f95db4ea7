//! `cargo bench -p glovebox-core --bench gate`: from frame to closed batch on the bench stream, stage by stage, and how
//! long the rules of many grants take to compile.
//!
//! Each row does all stages up to its own, so that a stage costs the difference to the row above. Instructions are
//! counted where valgrind is installed.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads files and a clock, prints, and fails loudly"
)]

mod stream;

use glovebox_core::batch::{ClockQuality, TimeMapping};
use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::{Effective, FlowRules, SignalRules};
use glovebox_core::consent::transform::{Rule, Transform};
use glovebox_core::decode::{Decoder, LeafIndex, Leaves, Plan, Reading};
use glovebox_core::limits::BATCH_COLUMN_BYTES_MAX;
use glovebox_core::names::{Digest, FlowId, HpkeKey, PurposeId, RecipientId, WallTime};
use glovebox_core::pipeline::{Compiled, Event, Pipeline, Watches};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use stream::Stream;

const ROUNDS: usize = 51;
/// A large car: live grants, and signals of each.
const GRANTS: u64 = 200;
const SIGNALS: usize = 500;

/// What a row measures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upto {
    Decode,
    Gate,
    Batch,
}

struct Case {
    name: &'static str,
    upto: Upto,
    /// Every signal is granted to so many flows.
    flows: u64,
    rule: fn() -> Rule,
}

fn open() -> Rule {
    Rule::OPEN
}

fn thinned() -> Rule {
    Rule::Pass(Transform { min_interval_us: 1_000_000, ..Transform::default() })
}

const CASES: [Case; 7] = [
    Case { name: "decode", upto: Upto::Decode, flows: 1, rule: open },
    Case { name: "gate, no grant wants it", upto: Upto::Gate, flows: 0, rule: open },
    Case { name: "gate, one grant", upto: Upto::Gate, flows: 1, rule: open },
    Case { name: "gate, one grant, once a second", upto: Upto::Gate, flows: 1, rule: thinned },
    Case { name: "gate, three grants", upto: Upto::Gate, flows: 3, rule: open },
    Case { name: "batch, one grant", upto: Upto::Batch, flows: 1, rule: open },
    Case { name: "batch, one grant, once a second", upto: Upto::Batch, flows: 1, rule: thinned },
];

fn signal(leaves: &Leaves, leaf: LeafIndex, rule: &Rule) -> SignalRules {
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
        permitted: *rule,
    }
}

fn flow(number: u64, signals: Vec<SignalRules>) -> Arc<FlowRules> {
    Arc::new(FlowRules {
        flow: FlowId(number),
        recipient: RecipientId::new(&format!("r{number}.example")).unwrap(),
        purpose: PurposeId::new("service-planning").unwrap(),
        request_digest: Digest([7; 32]),
        event: None,
        hpke_key: HpkeKey([9; 32]),
        live_until: WallTime(i64::MAX),
        batch_age_us: 10_000_000,
        age_us_max: None,
        bytes_per_day_max: None,
        microseconds: false,
        signals,
    })
}

fn effective(stream: &Stream, case: &Case) -> Effective {
    let signals = || stream.needed.iter().map(|leaf| signal(&stream.leaves, *leaf, &(case.rule)())).collect();
    Effective {
        flows: (0..case.flows).map(|number| flow(number, signals())).collect(),
        ..Effective::default()
    }
}

/// Everything that one row needs.
struct Rig {
    decoder: Decoder,
    gate: Gate,
    pipeline: Pipeline,
    readings: Vec<Reading>,
}

fn rig(stream: &Stream, case: &Case) -> Rig {
    let effective = effective(stream, case);
    let compile = || Gate::compile(&effective, &stream.leaves);
    let mapping = TimeMapping { offset_us: 0, quality: ClockQuality::Replay };
    let mut pipeline = Pipeline::new(mapping, BATCH_COLUMN_BYTES_MAX);
    let plan = Plan::compile(&stream.leaves, &compile().needed());
    pipeline.on_event(
        Event::Swap(Box::new(Compiled { plan, gate: compile(), watches: Watches::default() })),
        &mut Vec::new(),
    );
    let decoder = Decoder::new(Plan::compile(&stream.leaves, &stream.needed));
    Rig { decoder, gate: compile(), pipeline, readings: Vec::with_capacity(64) }
}

/// What is measured; gives the number of readings or samples.
#[inline(never)]
fn stages_measured(stream: &Stream, upto: Upto, rig: &mut Rig) -> u64 {
    let mut count = 0;
    if upto == Upto::Batch {
        let mut outputs = Vec::new();
        for frame in &stream.frames {
            rig.pipeline.on_event(Event::Frame(frame), &mut outputs);
            outputs.clear();
        }
        rig.pipeline.on_event(Event::Flush, &mut outputs);
        return rig.pipeline.counts().samples;
    }
    for frame in &stream.frames {
        rig.readings.clear();
        rig.decoder.decode(frame, &mut rig.readings);
        count += rig.readings.len() as u64;
        if upto == Upto::Gate {
            rig.gate.pass(frame.moment, &rig.readings, |sample| count += sample.bits() & 1);
        }
    }
    count
}

fn row(stream: &Stream, number: usize, case: &Case) {
    if std::env::var_os(stream::INNER).is_some() {
        stages_measured(stream, case.upto, &mut rig(stream, case));
        return;
    }
    let frames = stream.frames.len() as f64;
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let mut rig = rig(stream, case);
            let begin = Instant::now();
            stages_measured(stream, case.upto, &mut rig);
            begin.elapsed().as_secs_f64() * 1e9 / frames
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (best, median) = (times[0], times[ROUNDS / 2]);
    let instructions = stream::instructions("stages_measured", &number.to_string())
        .map_or("no valgrind".to_owned(), |count| format!("{:.1}", count / frames));
    println!("{:40} {best:9.2} {median:9.2} {instructions:>13}", case.name);
}

/// Many grants over the signals of the stream's databases: from rules to gate and plan.
fn compile(stream: &Stream) {
    let leaves: Vec<LeafIndex> = stream.leaves.iter().map(|(leaf, _)| leaf).collect();
    let signals = |number: u64| -> Vec<SignalRules> {
        let from = usize::try_from(number).unwrap() * 7;
        let chosen = leaves.iter().cycle().skip(from).take(SIGNALS.min(leaves.len()));
        chosen.map(|leaf| signal(&stream.leaves, *leaf, &thinned())).collect()
    };
    let flows = (0..GRANTS).map(|number| flow(number, signals(number))).collect();
    let effective = Effective { flows, ..Effective::default() };
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            let gate = Gate::compile(&effective, &stream.leaves);
            let plan = Plan::compile(&stream.leaves, &gate.needed());
            let elapsed = begin.elapsed().as_secs_f64() * 1e3;
            drop((gate, plan));
            elapsed
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let signals = SIGNALS.min(leaves.len());
    println!(
        "compile {GRANTS} grants of {signals} signals: {:.1} ms best, {:.1} ms median",
        times[0],
        times[ROUNDS / 2]
    );
}

fn main() {
    let Some(folder) = stream::folder() else { return };
    let stream = stream::load(Path::new(&folder), false);
    if let Some(inner) = std::env::var_os(stream::INNER) {
        let number: usize = inner.to_str().unwrap().parse().unwrap();
        return row(&stream, number, &CASES[number]);
    }
    println!("bench stream, a frame of 5.5 readings: {ROUNDS} rounds");
    println!("{:40} {:>9} {:>9} {:>13}", "up to", "best ns", "median ns", "instructions");
    for (number, case) in CASES.iter().enumerate() {
        row(&stream, number, case);
    }
    compile(&stream);
}
