//! A signal that several controllers of a J1939 bus send is a series for each, from the frame to the batch.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "common/rules.rs"]
mod rules;

use glovebox_core::batch::{Batch, ClockQuality, TimeMapping};
use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::{Effective, FlowRules, SignalRules};
use glovebox_core::consent::transform::{Rule, Transform};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{Leaves, Plan};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::limits::BATCH_SOURCES_MAX;
use glovebox_core::names::*;
use glovebox_core::pipeline::{Compiled, Event, Output, Pipeline, Watches};
use glovebox_core::wire::{Descriptor, encode_batch};
use glovebox_proto::{column, v1};
use prost::Message as _;
use std::collections::BTreeMap;
use std::sync::Arc;

const DBC: &str = r#"
BO_ 2364540158 EEC1: 8 X
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|8031.875] "rpm" X
 SG_ Torque : 16|8@1+ (1,-125) [-125|125] "%" X
BA_ "ProtocolType" "J1939";
"#;

/// A pipeline that lets both signals out, each at most every `min_interval_us`.
fn pipeline(min_interval_us: i64) -> (Pipeline, Arc<FlowRules>) {
    let database = Database::parse(DBC.as_bytes(), "a.dbc").unwrap().0;
    let name = BusName::new("can0").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let leaves = Leaves::build(&[bus]).unwrap().0;
    let transform = Transform { min_interval_us, ..Transform::default() };
    let signals = leaves.iter().map(|(leaf, from)| SignalRules {
        leaf,
        path: from.path.clone(),
        unit: from.unit.clone(),
        value_type: from.value_type,
        scale: from.scale,
        offset: from.offset,
        names: Vec::new(),
        granted: transform,
        permitted: Rule::Pass(transform),
    });
    let rules = Arc::new(FlowRules { batch_age_us: 3_600_000_000, ..rules::flow(1, signals.collect()) });
    let effective = Effective { flows: vec![rules.clone()], ..Effective::default() };
    let gate = Gate::compile(&effective, &leaves);
    let plan = Plan::compile(&leaves, &gate.needed());
    let mapping = TimeMapping { offset_us: 0, quality: ClockQuality::Replay };
    let mut pipeline = Pipeline::new(mapping, 64 * 1024);
    pipeline.on_event(
        Event::Swap(Box::new(Compiled { plan, gate, watches: Watches::default() })),
        &mut Vec::new(),
    );
    (pipeline, rules)
}

fn send(pipeline: &mut Pipeline, ms: i64, source: u8, speed: u16, out: &mut Vec<Output>) {
    let [low, high] = speed.to_le_bytes();
    let id = CanId::Extended(0x0CF0_0400 | u32::from(source));
    let data = [0, 0, source, low, high, 0, 0, 0];
    let frame = Frame::new(BusIndex(0), id, Moment(ms * 1_000), &data).unwrap();
    pipeline.on_event(Event::Frame(&frame), out);
}

fn batches(out: Vec<Output>) -> Vec<Batch> {
    out.into_iter()
        .filter_map(|output| match output {
            Output::Batch(batch) => Some(batch),
            Output::Lost { .. } => None,
        })
        .collect()
}

type Series = BTreeMap<(u32, Option<u32>), Vec<(i64, u64)>>;

/// By signal and sender: times in milliseconds and raw values, as a recipient reads them.
fn series(batch: Batch, rules: &FlowRules) -> Series {
    let bytes = encode_batch(batch, &Descriptor::of(rules), false, &[]);
    let batch = v1::Batch::decode(bytes.as_slice()).unwrap();
    let mut series = Series::new();
    for one in &batch.columns {
        let times = &batch.times[one.time as usize];
        let times = column::decode_times(&times.deltas, times.count as usize).unwrap();
        let values = column::decode_values(v1::ValueType::Unsigned, &one.values, times.len()).unwrap();
        let base = batch.base_time_us / 1_000;
        let samples = times.into_iter().map(|ms| ms + base).zip(values).collect();
        assert!(series.insert((one.signal, one.source_address), samples).is_none(), "one column each");
    }
    series
}

#[test]
fn each_sender_has_columns_and_times_of_its_own() {
    let (mut pipeline, rules) = pipeline(0);
    let mut out = Vec::new();
    for (ms, source, speed) in
        [(10, 0, 800), (12, 3, 9_000), (20, 0, 810), (20, 3, 9_100), (21, 0x55, 7), (30, 0, 820)]
    {
        send(&mut pipeline, ms, source, speed, &mut out);
    }
    pipeline.on_event(Event::Flush, &mut out);
    let mut batches = batches(out);
    assert_eq!(batches.len(), 1);
    let series = series(batches.remove(0), &rules);
    let of = |source: u32| series[&(0, Some(source))].clone();
    assert_eq!(of(0), [(10, 800), (20, 810), (30, 820)]);
    assert_eq!(of(3), [(12, 9_000), (20, 9_100)]);
    assert_eq!(of(0x55), [(21, 7)]);
    assert_eq!(series[&(1, Some(3))], [(12, 3), (20, 3)]);
    assert_eq!(series.len(), 6);
}

#[test]
fn the_rate_holds_for_each_sender() {
    let (mut pipeline, rules) = pipeline(1_000_000);
    let mut out = Vec::new();
    for step in 0..50_u16 {
        let ms = i64::from(step) * 100;
        send(&mut pipeline, ms, 0, step, &mut out);
        send(&mut pipeline, ms + 50, 3, 1_000 + step, &mut out);
    }
    pipeline.on_event(Event::Flush, &mut out);
    let series = series(batches(out).remove(0), &rules);
    let times = |source: u32| series[&(0, Some(source))].iter().map(|(ms, _)| *ms).collect::<Vec<_>>();
    assert_eq!(times(0), [0, 1_000, 2_000, 3_000, 4_000]);
    assert_eq!(times(3), [50, 1_050, 2_050, 3_050, 4_050]);
}

#[test]
fn invariant_9_a_batch_of_too_many_senders_is_closed_and_nothing_is_lost() {
    let (mut pipeline, rules) = pipeline(0);
    let mut out = Vec::new();
    for source in 0..100_u8 {
        send(&mut pipeline, source.into(), source, source.into(), &mut out);
    }
    pipeline.on_event(Event::Flush, &mut out);
    let batches = batches(out);
    assert_eq!(batches.len(), 100_usize.div_ceil(BATCH_SOURCES_MAX));
    let mut senders: Vec<u32> = Vec::new();
    for batch in batches {
        senders.extend(
            series(batch, &rules).into_keys().filter(|(signal, _)| *signal == 0).filter_map(|key| key.1),
        );
    }
    assert_eq!(senders, (0..100).collect::<Vec<_>>());
}
