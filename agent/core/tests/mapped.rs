//! Mapped signals: what transforms make of values, and how often they are let through, against a plain model.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, Leaf, Number};
use glovebox_core::decode::map::Mapping;
use glovebox_core::decode::plan::Outcome;
use glovebox_core::decode::{Decoder, LeafIndex, Leaves, Plan, Reading, Sampling, State, ValueType};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::{BusName, Digest, Moment, SignalPath};
use proptest::prelude::*;
use std::collections::HashSet;

const DBC: &str = r#"BO_ 1 Car: 8 X
 SG_ Gear : 0|3@1- (1,0) [0|0] "" X
 SG_ Speed : 8|16@1+ (0.5,-10) [-10|250] "km/h" X
 SG_ Level : 24|8@1+ (1,0) [0|0] "" X
 SG_ Ratio : 32|32@1- (1,0) [0|0] "" X
VAL_ 1 Gear 0 "P" 1 "R" -1 "D" 3 "P" ;
VAL_ 1 Speed 100 "slow" ;
SIG_VALTYPE_ 1 Ratio : 1;
"#;

/// Leaves of mapping entries `{…}`, each with the rest of its VSS leaf: `"Gear": {REST, "dbc2vss": ENTRY}`.
fn leaves(entries: &[(&str, &str, &str)]) -> Leaves {
    let nodes: Vec<String> = entries
        .iter()
        .map(|(name, rest, entry)| format!(r#""{name}": {{{rest} "dbc2vss": {entry}}}"#))
        .collect();
    let text = format!(r#"{{"Vehicle": {{"children": {{{}}}}}}}"#, nodes.join(","));
    let (mapping, notices) = Mapping::parse(text.as_bytes(), "map.json").unwrap();
    assert_eq!(notices, []);
    let bus = BusDatabase {
        bus: BusIndex(0),
        name: BusName::new("can0").unwrap(),
        databases: vec![Database::parse(DBC.as_bytes(), "a.dbc").unwrap().0],
        mapping: Some(mapping),
    };
    let (leaves, notices) = Leaves::build(&[bus]).unwrap();
    assert_eq!(notices, []);
    leaves
}

fn find<'l>(leaves: &'l Leaves, name: &str) -> (LeafIndex, &'l Leaf) {
    let index = leaves.find(&SignalPath::new(&format!("Vehicle.{name}")).unwrap()).unwrap();
    (index, leaves.get(index).unwrap())
}

fn frame(moment: i64, data: &[u8]) -> Frame {
    Frame::new(BusIndex(0), CanId::Standard(1), Moment(moment), data).unwrap()
}

/// The only mapped leaf, and what becomes of a frame.
fn one(rest: &str, entry: &str, data: [u8; 8]) -> (Leaf, Option<(State, u64)>) {
    let leaves = leaves(&[("A", rest, entry)]);
    let (index, leaf) = find(&leaves, "A");
    let mut readings = Vec::new();
    assert_eq!(Plan::compile(&leaves, &[index]).decode(&frame(0, &data), &mut readings), Outcome::Decoded);
    assert!(readings.len() <= 1);
    (leaf.clone(), readings.first().map(|reading| (reading.state, reading.bits)))
}

fn speed(raw: u16) -> [u8; 8] {
    let [low, high] = raw.to_le_bytes();
    [0, low, high, 0, 0, 0, 0, 0]
}

fn math(rest: &str, text: &str, raw: u16) -> Option<(State, f64)> {
    let entry = format!(r#"{{"signal": "Speed", "transform": {{"math": "{text}"}}}}"#);
    let (leaf, got) = one(rest, &entry, speed(raw));
    assert_eq!(
        (leaf.value_type, leaf.scale, leaf.offset, leaf.names.len()),
        (ValueType::Float64, 1.0, 0.0, 0)
    );
    got.map(|(state, bits)| (state, f64::from_bits(bits)))
}

#[test]
fn math_is_done_on_the_physical_value() {
    assert_eq!(math("", "floor(abs(x/5))", 72), Some((State::Value, 5.0)));
    assert_eq!(math("", "x", 0), Some((State::Value, -10.0)));
    assert_eq!(math("", "0 * x", 0).map(|(_, value)| value.to_bits()), Some(0), "no negative zero");
    assert_eq!(math("", "1 / x", 20), None, "a division by zero has no value");
    assert_eq!(math("", "min(1 / x, 5)", 20), None, "nor has what is made of it");
    assert_eq!(math("", "x", 100), None, "a value with a name is no number");
    assert_eq!(math("", "x", 1_000), Some((State::OutOfRange, 0.0)), "outside the range of the database");
    assert_eq!(math("", "1 / (x - 490)", 1_000), Some((State::OutOfRange, 0.0)), "which is never put in");
    let range = r#""min": 0, "max": 20,"#;
    assert_eq!(math(range, "x", 60), Some((State::Value, 20.0)));
    assert_eq!(math(range, "x", 61), Some((State::OutOfRange, 0.0)), "outside that of the VSS");
    assert_eq!(math(range, "x", 19), Some((State::OutOfRange, 0.0)));
    assert_eq!(math(r#""max": 20,"#, "x", 0), Some((State::Value, -10.0)), "no end on one side");
}

#[test]
fn a_float_that_is_no_number_stays_an_error() {
    let entry = r#"{"signal": "Ratio", "transform": {"math": "x + 1"}}"#;
    let data = |value: f32| {
        let [a, b, c, d] = value.to_le_bytes();
        [0, 0, 0, 0, a, b, c, d]
    };
    assert_eq!(one("", entry, data(1.5)).1, Some((State::Value, 2.5f64.to_bits())));
    assert_eq!(one("", entry, data(f32::NAN)).1, Some((State::Error, 0)));
}

#[test]
fn a_mapping_gives_numbers_truth_and_texts() {
    let map = |signal: &str, pairs: &[(&str, &str)], data: [u8; 8]| {
        let pairs: Vec<String> =
            pairs.iter().map(|(from, to)| format!(r#"{{"from": {from}, "to": {to}}}"#)).collect();
        let entry = format!(r#"{{"signal": "{signal}", "transform": {{"mapping": [{}]}}}}"#, pairs.join(","));
        let (leaf, got) = one("", &entry, data);
        let label = got.and_then(|(_, bits)| leaf.label(bits)).map(str::to_owned);
        (leaf.value_type, got.map(|(_, bits)| leaf.value(bits)), label)
    };
    let gear = |raw: u8| [raw, 0, 0, 0, 0, 0, 0, 0];
    let numbers = [(r#""D""#, "1"), (r#""R""#, "-1"), (r#""P""#, "0")];
    for (raw, want) in [(7, Some(1)), (1, Some(-1)), (0, Some(0)), (3, Some(0)), (2, None)] {
        let want = (ValueType::Signed, want.map(Number::Integer), None);
        assert_eq!(map("Gear", &numbers, gear(raw)), want, "{raw}");
    }
    let mixed = [(r#""D""#, "1"), (r#""R""#, "0.5")];
    assert_eq!(map("Gear", &mixed, gear(7)), (ValueType::Float64, Some(Number::Float(1.0)), None));
    let truth = [(r#""P""#, "true"), ("-1", "false")];
    assert_eq!(map("Gear", &truth, gear(0)).1, Some(Number::Integer(1)));
    assert_eq!(map("Gear", &truth, gear(7)), (ValueType::Boolean, Some(Number::Integer(0)), None));
    let texts = [(r#""D""#, r#""ahead""#), (r#""R""#, r#""back""#), ("2", r#""ahead""#)];
    let want = |number: i128, text: &str| {
        (ValueType::Unsigned, Some(Number::Integer(number)), Some(text.to_owned()))
    };
    assert_eq!(map("Gear", &texts, gear(7)), want(0, "ahead"));
    assert_eq!(map("Gear", &texts, gear(1)), want(1, "back"));
    assert_eq!(map("Gear", &texts, gear(2)), want(0, "ahead"));
    // Numbers are physical values, exact or in doubles; true is 1.
    let level = |raw: u8| [0, 0, 0, raw, 0, 0, 0, 0];
    assert_eq!(map("Level", &[("true", "7"), ("2.0", "8")], level(1)).1, Some(Number::Integer(7)));
    assert_eq!(map("Level", &[("true", "7"), ("2.0", "8")], level(2)).1, Some(Number::Integer(8)));
    assert_eq!(map("Speed", &[("-9.5", "7"), ("3", "8")], speed(1)).1, Some(Number::Integer(7)));
    assert_eq!(map("Speed", &[("-9.5", "7"), ("3", "8")], speed(26)).1, Some(Number::Integer(8)));
}

#[test]
fn unit_range_names_and_sampling_of_a_leaf() {
    let plain = r#"{"signal": "Speed"}"#;
    let every = r#"{"signal": "Speed", "interval_ms": 0}"#;
    let made = r#"{"signal": "Speed", "on_change": true, "transform": {"math": "x"}}"#;
    let leaf = |rest: &str, entry: &str| one(rest, entry, speed(0)).0;
    assert_eq!(leaf("", plain).unit, "km/h");
    assert_eq!(leaf(r#""unit": "m/s","#, plain).unit, "m/s");
    assert_eq!(leaf("", made).unit, "", "the unit of the database is that of another value");
    assert_eq!(leaf(r#""unit": "m/s","#, made).unit, "m/s");
    assert_eq!(leaf(r#""min": 0,"#, plain).range, Some((0.0, 250.0)));
    assert_eq!(leaf(r#""max": 500,"#, plain).range, Some((-10.0, 250.0)));
    assert_eq!(leaf(r#""max": 500,"#, made).range, Some((f64::NEG_INFINITY, 500.0)));
    assert_eq!(leaf("", made).source().range, Some((-10.0, 250.0)));
    assert_eq!((leaf("", plain).names.len(), leaf("", made).names.len()), (1, 0));
    let sampling = |interval_us, on_change| Some(Sampling { interval_us, on_change });
    assert_eq!(leaf("", plain).sampling, sampling(1_000_000, false));
    assert_eq!(leaf("", made).sampling, sampling(0, true));
    assert_eq!(leaf("", every).sampling, None);
    assert_eq!(
        leaf("", r#"{"signal": "Speed", "on_change": true, "interval_ms": 5}"#).sampling,
        sampling(5_000, true)
    );
    assert_eq!(
        one(r#""min": 0,"#, every, speed(19)).1,
        Some((State::OutOfRange, 0)),
        "narrower than the DBC"
    );
    assert!(leaf("", every).same_frames(&leaf("", every)));
    assert!(!leaf("", plain).same_frames(&leaf("", every)) && !leaf("", every).same_frames(&leaf("", made)));
    // For people: the result of a raw value, also outside the range.
    let (derived, data) = (leaf("", made), frame(0, &speed(1_000)));
    assert_eq!((derived.raw(&data), derived.result(1_000)), (Some(1_000), Some(490f64.to_bits())));
}

#[test]
fn what_a_short_frame_lacks_is_counted() {
    let leaves = leaves(&[
        ("A", "", r#"{"signal": "Gear"}"#),
        ("B", "", r#"{"signal": "Ratio", "transform": {"math": "x"}}"#),
    ]);
    let all: Vec<LeafIndex> = leaves.iter().map(|(index, _)| index).collect();
    let mut readings = Vec::new();
    let outcome = Plan::compile(&leaves, &all).decode(&frame(0, &[0, 1, 0, 2]), &mut readings);
    assert_eq!((outcome, readings.len()), (Outcome::Short(1), 3));
}

#[test]
fn digests_are_over_transform_and_sampling() {
    let mapping = |pairs: &str| format!(r#"{{"signal": "Gear", "transform": {{"mapping": [{pairs}]}}}}"#);
    let entries = [
        r#"{"signal": "Gear"}"#.to_owned(),
        r#"{"signal": "Gear", "interval_ms": 0}"#.to_owned(),
        r#"{"signal": "Gear", "interval_ms": 1}"#.to_owned(),
        r#"{"signal": "Gear", "interval_ms": 1, "on_change": true}"#.to_owned(),
        r#"{"signal": "Gear", "transform": {"math": "x"}}"#.to_owned(),
        r#"{"signal": "Gear", "transform": {"math": "x+1"}}"#.to_owned(),
        mapping(r#"{"from": "P", "to": 1}"#),
        mapping(r#"{"from": "P", "to": 2}"#),
        mapping(r#"{"from": "P", "to": true}"#),
        mapping(r#"{"from": "P", "to": "on"}"#),
        mapping(r#"{"from": "R", "to": 1}"#),
        mapping(r#"{"from": 1, "to": 1}"#),
        mapping(r#"{"from": 1.5, "to": 1}"#),
        mapping(r#"{"from": "P", "to": 1}, {"from": "R", "to": 1}"#),
    ];
    let digests: HashSet<Digest> = entries.iter().map(|entry| one("", entry, [0; 8]).0.digest).collect();
    assert_eq!(digests.len(), entries.len());
    let plain = one("", r#"{"signal": "Gear", "interval_ms": 0}"#, [0; 8]).0.digest;
    let leaves = leaves(&[("A", "", r#"{"signal": "Level"}"#)]);
    assert!(leaves.iter().any(|(_, leaf)| leaf.digest == plain), "a name alone changes nothing");
    for (rest, changed) in
        [(r#""unit": "m","#, true), (r#""min": 1,"#, true), (r#""description": "x","#, false)]
    {
        assert_eq!(one(rest, &entries[0], [0; 8]).0.digest != one("", &entries[0], [0; 8]).0.digest, changed);
    }
}

/// One frame: time since the last, raw gear, and whether the plan is swapped before it.
type Step = (i64, u8, bool);

/// Which of these a leaf lets through, by a model in whole numbers.
fn model(
    steps: &[Step],
    interval: i64,
    on_change: bool,
    results: impl Fn(u8) -> Option<u64>,
) -> Vec<Option<u64>> {
    let (mut now, mut passed, mut last) = (0i64, None::<i64>, None);
    let mut through = Vec::new();
    for (gap, gear, _) in steps {
        now += gap;
        let due = passed.is_none_or(|passed: i64| (now - passed).abs() >= interval);
        if due {
            passed = Some(now);
        }
        let result = results(*gear).filter(|_| due);
        through.push(result.filter(|result| !on_change || last != Some(*result)));
        last = result.or(last);
    }
    through
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sampling_is_that_of_the_model(
        steps in prop::collection::vec((-3i64..8, 0u8..8, any::<bool>()), 1..60),
        eighths in 0u8..8,
        on_change in any::<bool>(),
    ) {
        // In eighths of a second, which doubles hold exactly.
        let interval_ms = u16::from(eighths) * 125;
        let conditions = format!(r#""signal": "Gear", "interval_ms": {interval_ms}, "on_change": {on_change}"#);
        // The gears -4 to 3, of which -2 gives nothing and -1 and 0 the same.
        let mapping = r#"[{"from": "D", "to": 5}, {"from": "P", "to": 5}, {"from": "R", "to": 6}, {"from": 2, "to": 7}, {"from": -3, "to": 8}, {"from": -4, "to": 8}]"#;
        let leaves = leaves(&[
            ("Table", "", &format!(r#"{{{conditions}, "transform": {{"mapping": {mapping}}}}}"#)),
            ("Plain", "", &format!("{{{conditions}}}")),
        ]);
        let table = |gear: u8| [Some(5), Some(6), Some(7), Some(5), Some(8), Some(8), None, Some(5)][usize::from(gear)];
        let signed = |gear: u8| Some(u64::from(gear) | if gear > 3 { !7 } else { 0 });
        let interval = i64::from(eighths);
        let wanted = [model(&steps, interval, on_change, table), model(&steps, interval, on_change, signed)];
        let both = [find(&leaves, "Table").0, find(&leaves, "Plain").0];
        let others: Vec<LeafIndex> = leaves.iter().map(|(index, _)| index).collect();
        let mut decoder = Decoder::new(Plan::compile(&leaves, &both));
        let (mut now, mut readings): (i64, Vec<Reading>) = (0, Vec::new());
        for (number, (gap, gear, swap)) in steps.iter().enumerate() {
            now += gap;
            if *swap {
                decoder.swap(Plan::compile(&leaves, if number % 2 == 0 { &others } else { &both }));
            }
            readings.clear();
            decoder.decode(&frame(now * 125_000, &[*gear; 8]), &mut readings);
            for (leaf, wanted) in both.iter().zip(&wanted) {
                let got = readings.iter().find(|reading| reading.leaf == *leaf);
                prop_assert_eq!(got.map(|reading| reading.bits), wanted[number], "{} at {}", number, now);
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_back_silences_nothing_for_long() {
    let leaves = leaves(&[("A", "", r#"{"signal": "Gear", "interval_ms": 1000}"#)]);
    let mut decoder = Decoder::new(Plan::compile(&leaves, &[find(&leaves, "A").0]));
    let mut through = |moment: i64| {
        let mut readings = Vec::new();
        decoder.decode(&frame(moment, &[0; 8]), &mut readings);
        readings.len() == 1
    };
    let day = 86_400_000_000;
    assert!(through(day) && !through(day - 5_000) && !through(day + 999_999));
    assert!(through(0) && !through(500_000) && through(1_000_000), "set back by a day");
}

#[test]
fn what_was_not_needed_for_a_while_is_forgotten() {
    let leaves = leaves(&[("A", "", r#"{"signal": "Gear", "on_change": true}"#)]);
    let needed = [find(&leaves, "A").0];
    let mut decoder = Decoder::new(Plan::compile(&leaves, &needed));
    let through = |decoder: &mut Decoder| {
        let mut readings = Vec::new();
        decoder.decode(&frame(0, &[0; 8]), &mut readings);
        readings.len()
    };
    assert_eq!((through(&mut decoder), through(&mut decoder)), (1, 0));
    decoder.swap(Plan::compile(&leaves, &needed));
    assert_eq!(through(&mut decoder), 0);
    decoder.swap(Plan::default());
    decoder.swap(Plan::compile(&leaves, &needed));
    assert_eq!(through(&mut decoder), 1);
}

#[test]
fn each_sender_of_j1939_is_sampled_on_its_own() {
    let text =
        "BO_ 2364540158 EEC1: 8 X\n SG_ Speed : 0|8@1+ (1,0) [0|0] \"\" X\nBA_ \"ProtocolType\" \"J1939\";\n";
    let mapping =
        r#"{"Vehicle": {"children": {"Speed": {"dbc2vss": {"signal": "Speed", "on_change": true}}}}}"#;
    let bus = BusDatabase {
        bus: BusIndex(0),
        name: BusName::new("can0").unwrap(),
        databases: vec![Database::parse(text.as_bytes(), "a.dbc").unwrap().0],
        mapping: Some(Mapping::parse(mapping.as_bytes(), "map.json").unwrap().0),
    };
    let leaves = Leaves::build(&[bus]).unwrap().0;
    let plan = Plan::compile(&leaves, &[find(&leaves, "Speed").0]);
    let mut decoder = Decoder::new(plan.clone());
    let mut given = Vec::new();
    for (moment, sender, value) in [(0, 0, 7), (1, 3, 9), (2, 0, 7), (3, 3, 9), (4, 0, 8), (5, 3, 9)] {
        if moment == 3 {
            decoder.swap(plan.clone());
        }
        let id = CanId::Extended(0x0CF0_0400 | sender);
        let frame = Frame::new(BusIndex(0), id, Moment(moment), &[value; 8]).unwrap();
        let mut readings: Vec<Reading> = Vec::new();
        decoder.decode(&frame, &mut readings);
        given.extend(readings.iter().map(|reading| (moment, reading.source.0, reading.bits)));
    }
    assert_eq!(given, [(0, 0, 7), (1, 3, 9), (4, 0, 8)]);
}
