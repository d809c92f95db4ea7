//! Neither decoding, mapped and derived signals included, nor the plain way through the gate takes memory per frame: counted by an
//! allocator that a test crate brings.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "common/rules.rs"]
mod rules;

use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::{Effective, SignalRules};
use glovebox_core::consent::transform::{Rule, Transform, TransformSpec};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, Leaf};
use glovebox_core::decode::map::Mapping;
use glovebox_core::decode::{Decoder, LeafIndex, Leaves, Plan, Reading, SourceAddress, State};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::{BusName, Moment};
use std::sync::Arc;

const DBC: &str = "BO_ 1 M: 8 X
 SG_ Mux M : 0|2@1+ (1,0) [0|3] \"\" X
 SG_ A m1 : 7|16@0- (0.1,0) [-5|5] \"\" X
 SG_ B m2 : 16|32@1- (1,0) [0|0] \"\" X
 SG_ C : 4|60@1+ (1,0) [0|0] \"\" X
 SG_ D : 0|4@1+ (1,0) [0|0] \"\" X
 SG_ F m1 : 8|8@1+ (1,0) [0|200] \"\" X
BO_ 2147483650 E: 64 X
 SG_ Wide : 65|64@1+ (1,0) [0|0] \"\" X
 SG_ Float : 128|32@1- (1,0) [0|0] \"\" X
VAL_ 1 D 0 \"off\" 1 \"on\" 2 \"broken\" ;
SIG_VALTYPE_ 2147483650 Float : 1;
";

const MAP: &str = r#"{"Vehicle": {"children": {
    "Math": {"min": 0, "max": 90, "dbc2vss": {"signal": "F", "interval_ms": 2,
        "transform": {"math": "floor(max(x*2, 10, abs(x) % 7)) + sin(x) ^ 2 / (x - 3)"}}},
    "Lamp": {"dbc2vss": {"signal": "D", "on_change": true,
        "transform": {"mapping": [{"from": "off", "to": "OFF"}, {"from": "on", "to": "ON"}, {"from": 7, "to": "ON"}]}}},
    "Acceleration": {"children": {"Longitudinal": {"unit": "m/s^2", "dbc2vss": {"signal": "A", "interval_ms": 0}}}},
    "Plain": {"dbc2vss": {"signal": "D", "interval_ms": 3}}}}}"#;

#[test]
fn no_frame_allocates() {
    let database = Database::parse(DBC.as_bytes(), "a.dbc").unwrap().0;
    let name = BusName::new("can0").unwrap();
    let bus = BusDatabase {
        bus: BusIndex(0),
        name,
        databases: vec![database],
        mapping: Some(Mapping::parse(MAP.as_bytes(), "map.json").unwrap().0),
    };
    let (leaves, _) = Leaves::build(&[bus]).unwrap();
    let needed: Vec<_> = leaves.iter().map(|(index, _)| index).collect();
    let mut decoder = Decoder::new(Plan::compile(&leaves, &needed));
    let ids = [CanId::Standard(1), CanId::Standard(2), CanId::Extended(2), CanId::Extended(3)];
    let mut readings = Vec::with_capacity(8);
    let is_mapped = |leaf| leaves.get(leaf).unwrap().sampling.is_some();
    let is_derived = |leaf| leaves.get(leaf).unwrap().path.as_str().starts_with("Derived.");
    let (mut count, mut mapped, mut derived) = (0, 0, 0);
    let info = allocation_counter::measure(|| {
        for round in 0..1_000u16 {
            for id in ids {
                let length = usize::from(round % 65);
                let byte = u8::try_from(round & 0xFF).unwrap();
                let frame =
                    Frame::new(BusIndex(0), id, Moment(i64::from(round) * 1_000), &[byte; 64][..length])
                        .unwrap();
                readings.clear();
                decoder.decode(&frame, &mut readings);
                count += readings.len();
                mapped += readings.iter().filter(|reading| is_mapped(reading.leaf)).count();
                derived += readings.iter().filter(|reading| is_derived(reading.leaf)).count();
            }
        }
    });
    assert_eq!(info.count_total, 0);
    assert!(count > 3_000 && mapped > 500 && derived > 200, "{count} {mapped} {derived}");
    let seen = allocation_counter::measure(|| readings.reserve(1_000));
    assert_eq!(seen.count_total, 1, "the counter counts");
}

/// A message of several frames takes its memory once: the next one of the same sender has it already.
#[test]
fn no_long_message_after_the_first_allocates() {
    let text = "BO_ 2566841342 EC1: 20 X\n SG_ Last : 152|8@1+ (1,0) [0|0] \"\" X\nBA_ \"ProtocolType\" \"J1939\";\n";
    let database = Database::parse(text.as_bytes(), "a.dbc").unwrap().0;
    let name = BusName::new("can0").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let (leaves, _) = Leaves::build(&[bus]).unwrap();
    let needed: Vec<_> = leaves.iter().map(|(index, _)| index).collect();
    let mut decoder = Decoder::new(Plan::compile(&leaves, &needed));
    let frames = [
        (0x1CEC_FF17, [32, 20, 0, 3, 0xFF, 0xE3, 0xFE, 0]),
        (0x1CEB_FF17, [1; 8]),
        (0x1CEB_FF17, [2; 8]),
        (0x1CEB_FF17, [3; 8]),
    ];
    let mut readings = Vec::with_capacity(8);
    let mut once = |decoder: &mut Decoder| {
        readings.clear();
        for (id, data) in frames {
            decoder.decode(
                &Frame::new(BusIndex(0), CanId::Extended(id), Moment(0), &data).unwrap(),
                &mut readings,
            );
        }
        readings.len()
    };
    assert_eq!(once(&mut decoder), 1);
    let mut whole = 0;
    let info = allocation_counter::measure(|| whole = (0..1_000).map(|_| once(&mut decoder)).sum());
    assert_eq!((info.count_total, whole), (0, 1_000));
}

/// Readings through the gate, as they are, made coarse, and thinned; what else an op does is off this way.
#[test]
fn no_reading_on_the_plain_way_through_the_gate_allocates() {
    let text = "BO_ 1 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ B : 8|8@1+ (1,0) [0|0] \"\" X\n SG_ C : 16|8@1+ (1,0) [0|0] \"\" X\n";
    let database = Database::parse(text.as_bytes(), "a.dbc").unwrap().0;
    let name = BusName::new("can0").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let (leaves, _) = Leaves::build(&[bus]).unwrap();
    let rules = ["[]", r#"[{"op":"quantise","step":4}]"#, r#"[{"op":"rate","min_interval_ms":5}]"#];
    let mut gate = gate(&leaves, rules);
    let readings: Vec<Reading> = leaves
        .iter()
        .map(|(leaf, _)| Reading { leaf, state: State::Value, source: SourceAddress::NONE, bits: 9 })
        .collect();
    let mut count = 0;
    gate.pass(Moment(0), &readings, |_| count += 1);
    let info = allocation_counter::measure(|| {
        for ms in 1..=1_000 {
            gate.release(Moment(ms * 1_000), |_| count += 1);
            gate.pass(Moment(ms * 1_000), &readings, |_| count += 1);
        }
    });
    assert_eq!((info.count_total, count), (0, 3 + 2_000 + 200));
}

fn gate(leaves: &Leaves, rules: [&str; 3]) -> Gate {
    let signal = |((leaf, from), rule): ((LeafIndex, &Leaf), &str)| {
        let specs: Vec<TransformSpec> = serde_json::from_str(rule).unwrap();
        SignalRules {
            leaf,
            path: from.path.clone(),
            unit: String::new(),
            value_type: from.value_type,
            scale: from.scale,
            offset: from.offset,
            names: Vec::new(),
            granted: Transform::OPEN,
            permitted: Rule::of(&specs),
        }
    };
    let rules = rules::flow(1, leaves.iter().zip(rules).map(signal).collect());
    Gate::compile(&Effective { flows: vec![Arc::new(rules)], ..Effective::default() }, leaves)
}
