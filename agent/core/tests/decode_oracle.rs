//! What cantools computed for thousands of frames of real DBC files must be what the plan computes, line by line.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test reads recorded data, may fail loudly and tells what it counted"
)]

mod common;

use common::shared;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, Leaf, Number};
use glovebox_core::decode::{Leaves, Plan, Reading, State, ValueType};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::{BusName, Moment};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

fn gz_lines(path: &Path) -> impl Iterator<Item = String> {
    let file = std::fs::File::open(path).unwrap();
    BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines().map(Result::unwrap)
}

/// One DBC file with all its leaves needed.
struct Oracle {
    leaves: Leaves,
    plan: Plan,
}

fn dbc_leaves(path: &Path) -> Oracle {
    let place = path.file_name().unwrap().to_str().unwrap();
    let (database, _) = Database::parse(&std::fs::read(path).unwrap(), place).unwrap();
    let name = BusName::new("can0").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let (leaves, _) = Leaves::build(&[bus]).unwrap();
    let needed: Vec<_> = leaves.iter().map(|(index, _)| index).collect();
    let plan = Plan::compile(&leaves, &needed);
    Oracle { leaves, plan }
}

/// A reading with its value, also where the value is out of range.
struct Checked<'l> {
    leaf: &'l Leaf,
    value: Number,
}

impl<'l> Checked<'l> {
    fn new(leaves: &'l Leaves, reading: &Reading, frame: &Frame) -> Self {
        let leaf = leaves.get(reading.leaf).unwrap();
        let raw = leaf.raw(frame).unwrap();
        match reading.state {
            State::Value => assert_eq!(reading.bits, raw),
            _ => assert_eq!(reading.bits, 0),
        }
        let value = leaf.value(raw);
        let within =
            leaf.range.is_none_or(|(minimum, maximum)| (minimum..=maximum).contains(&leaf.float(raw)));
        let float = matches!(leaf.value_type, ValueType::Float32 | ValueType::Float64);
        let finite = !float || leaf.raw_float(raw).is_finite();
        let code = leaf.j1939 && leaf.value_type == ValueType::Unsigned && is_code(leaf, raw);
        assert_eq!(reading.state == State::Value, within && finite && !code, "{}", leaf.path);
        Self { leaf, value }
    }

    fn equals(&self, want: &Value) -> bool {
        match (self.value, want) {
            (Number::Integer(value), Value::Number(want)) => {
                want.as_i64().map(i128::from).or(want.as_u64().map(i128::from)) == Some(value)
            }
            (Number::Float(value), Value::Number(want)) => want.is_f64() && want.as_f64().unwrap() == value,
            (Number::Float(value), Value::String(want)) => match want.as_str() {
                "NaN" => value.is_nan(),
                "Infinity" => value == f64::INFINITY,
                "-Infinity" => value == f64::NEG_INFINITY,
                _ => false,
            },
            _ => false,
        }
    }
}

/// SAE J1939-71: what is above the valid range of a parameter.
fn is_code(leaf: &Leaf, raw: u64) -> bool {
    match leaf.layout.length {
        1 => false,
        length @ (8 | 16 | 24 | 32) => raw >> (length - 8) > 0xFA,
        length => u128::from(raw) + 2 >= 1 << length,
    }
}

/// Equal lines, all lines, and why lines were not equal.
#[derive(Default)]
struct Tally {
    equal: usize,
    lines: usize,
    unequal: BTreeMap<String, usize>,
}

fn run(file: &str, folder: &str) -> Option<Tally> {
    let root = shared()?;
    let mut oracles: BTreeMap<String, Oracle> = BTreeMap::new();
    let mut tally = Tally::default();
    for line in gz_lines(&root.join("data/oracle").join(file)) {
        let line: Value = serde_json::from_str(&line).unwrap();
        let dbc = line["dbc"].as_str().unwrap();
        let oracle = oracles
            .entry(dbc.to_owned())
            .or_insert_with(|| dbc_leaves(&root.join("data").join(folder).join(dbc)));
        tally.lines += 1;
        match check(oracle, &line) {
            Ok(()) => tally.equal += 1,
            Err(why) => *tally.unequal.entry(format!("{dbc}: {why}")).or_default() += 1,
        }
    }
    eprintln!("{file}: {} / {}", tally.equal, tally.lines);
    for (why, lines) in &tally.unequal {
        eprintln!("  {lines} lines not equal: {why}");
    }
    Some(tally)
}

fn check(oracle: &Oracle, line: &Value) -> Result<(), String> {
    let number = u32::try_from(line["frame_id"].as_u64().unwrap()).unwrap();
    let id = if line["is_extended"].as_bool().unwrap() {
        CanId::Extended(number)
    } else {
        CanId::Standard(u16::try_from(number).unwrap())
    };
    let data = hex::decode(line["data_hex"].as_str().unwrap()).unwrap();
    let frame = Frame::new(BusIndex(0), id, Moment(0), &data).unwrap();
    let mut readings = Vec::new();
    oracle.plan.decode(&frame, &mut readings);
    let checked: Vec<Checked<'_>> =
        readings.iter().map(|reading| Checked::new(&oracle.leaves, reading, &frame)).collect();
    let message = line["message"].as_str().unwrap();
    if let Some(other) = checked.iter().find(|checked| checked.leaf.message != message) {
        return Err(format!("message {message} is called {}", other.leaf.message));
    }
    match line["signals"].as_object() {
        Some(signals) => {
            for checked in &checked {
                let want = signals
                    .get(&checked.leaf.signal)
                    .ok_or_else(|| format!("{message}.{} is not expected", checked.leaf.signal))?;
                if !checked.equals(want) {
                    return Err(format!("{message}.{}: {want} is {:?}", checked.leaf.signal, checked.value));
                }
            }
            match signals.keys().find(|name| checked.iter().all(|checked| checked.leaf.signal != **name)) {
                Some(missing) => Err(format!("{message}.{missing} is missing")),
                None => Ok(()),
            }
        }
        None => undefined_selector(oracle, &frame, &checked).then_some(()).ok_or_else(|| {
            format!("{message}: some multiplexor should hold a value that the database does not define")
        }),
    }
}

/// cantools refuses a frame whose multiplexor holds an undefined value: here no leaf of that multiplexor is decoded.
fn undefined_selector(oracle: &Oracle, frame: &Frame, checked: &[Checked<'_>]) -> bool {
    let of_message = |leaf: &&Leaf| leaf.id == frame.id;
    let multiplexors: Vec<_> = oracle
        .leaves
        .iter()
        .map(|(_, leaf)| leaf)
        .filter(of_message)
        .filter_map(|leaf| leaf.selectors.last())
        .map(|selector| selector.layout)
        .collect();
    multiplexors.iter().any(|layout| {
        !checked
            .iter()
            .any(|checked| checked.leaf.selectors.iter().any(|selector| selector.layout == *layout))
    })
}

#[test]
fn every_line_of_the_oracle_is_equal() {
    let Some(tally) = run("decode_oracle.jsonl.gz", "dbc") else { return };
    assert_eq!(tally.lines, 15_079);
    assert_eq!(tally.equal, tally.lines);
}

#[test]
fn files_that_others_refuse_are_read_as_their_mended_twins() {
    let Some(tally) = run("decode_oracle_lenient.jsonl.gz", "dbc_lenient") else { return };
    assert_eq!(tally.lines, 4_426);
    assert_eq!(tally.equal, tally.lines);
}

#[test]
fn states_of_the_plan_are_those_of_the_leaf() {
    let Some(root) = shared() else { return };
    let oracle = dbc_leaves(&root.join("data/dbc/cantools__floating_point.dbc"));
    for (index, leaf) in oracle.leaves.iter() {
        let plan = Plan::compile(&oracle.leaves, &[index]);
        let mut readings: Vec<Reading> = Vec::new();
        let frame = Frame::new(BusIndex(0), leaf.id, Moment(0), &[0xFF; 8]).unwrap();
        plan.decode(&frame, &mut readings);
        assert_eq!(readings.first().map(|reading| reading.state), Some(State::Error), "all ones are NaN");
    }
}
