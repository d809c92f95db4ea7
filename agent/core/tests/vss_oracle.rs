//! Kuksa mapping files on a real drive: the same updates, in the same order, as Kuksa's evaluation gives.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test reads data, and may fail loudly")]

mod common;

use flate2::read::GzDecoder;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, Leaf, Number};
use glovebox_core::decode::map::Mapping;
use glovebox_core::decode::{Decoder, Leaves, Notice, Plan, Reading, State, ValueType};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::{BusName, Moment};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

fn lines(path: &Path) -> impl Iterator<Item = String> + use<> {
    let bytes = std::io::Cursor::new(std::fs::read(path).unwrap());
    BufReader::new(GzDecoder::new(bytes)).lines().map(Result::unwrap)
}

/// Databases and mapping of one bus as leaves, with all notices.
fn build(root: &Path, dbc: &str, mapping: &str) -> (Leaves, Vec<Notice>) {
    let dbc = std::fs::read(root.join("data/dbc").join(dbc)).unwrap();
    let (mapping, mut notices) =
        Mapping::parse(&std::fs::read(root.join("data/vss").join(mapping)).unwrap(), "map.json").unwrap();
    let bus = BusDatabase {
        bus: BusIndex(0),
        name: BusName::new("can0").unwrap(),
        databases: vec![Database::parse(&dbc, "a.dbc").unwrap().0],
        mapping: Some(mapping),
    };
    let (leaves, more) = Leaves::build(&[bus]).unwrap();
    notices.extend(more);
    (leaves, notices)
}

/// A line of `candump -L`: moment in µs, and the frame.
fn frame(line: &str) -> Frame {
    let mut fields = line.split(' ');
    let time = fields.next().unwrap().trim_matches(['(', ')']).replace('.', "");
    let (id, data) = fields.nth(1).unwrap().split_once('#').unwrap();
    let id = CanId::Standard(u16::from_str_radix(id, 16).unwrap());
    let data = hex::decode(data).unwrap();
    Frame::new(BusIndex(0), id, Moment(time.parse().unwrap()), &data).unwrap()
}

/// As Kuksa would send it: names where the VSS has a text, true and false as such.
fn value(leaf: &Leaf, reading: &Reading, datatype: &str) -> Value {
    assert_eq!(reading.state, State::Value);
    if datatype == "string" {
        return leaf.label(reading.bits).unwrap().into();
    }
    match (leaf.value_type, leaf.value(reading.bits)) {
        (ValueType::Boolean, value) => (value == Number::Integer(1)).into(),
        (_, Number::Integer(value)) => i64::try_from(value).unwrap().into(),
        (_, Number::Float(value)) => value.into(),
    }
}

#[test]
fn a_drive_gives_the_updates_that_kuksa_gives() {
    let Some(root) = common::shared() else { return };
    let (leaves, _) = build(&root, "kuksa__Model3CAN.dbc", "kuksa_mapping/vss_4.2/vss_dbc.json");
    let mapped = leaves.iter().filter(|(_, leaf)| leaf.path.as_str().starts_with("Vehicle."));
    let mapped: Vec<_> = mapped.map(|(index, _)| index).collect();
    let mut decoder = Decoder::new(Plan::compile(&leaves, &mapped));
    let mut oracle = lines(&root.join("data/oracle/vss/tesla_model3_it0__kuksa_vss_4.2.jsonl.gz"));
    let (mut readings, mut equal) = (Vec::new(), 0);
    for (number, line) in lines(&root.join("data/logs/tesla_model3_it0.log.gz")).enumerate() {
        let frame = frame(&line);
        readings.clear();
        decoder.decode(&frame, &mut readings);
        for reading in &readings {
            let want: Value = serde_json::from_str(&oracle.next().unwrap()).unwrap();
            let leaf = leaves.get(reading.leaf).unwrap();
            let datatype = want["datatype"].as_str().unwrap();
            let time: i64 = format!("{:.6}", want["ts"].as_f64().unwrap()).replace('.', "").parse().unwrap();
            let got = value(leaf, reading, datatype);
            let same = match (&got, &want["value"]) {
                (Value::Number(got), Value::Number(want)) => got.as_f64() == want.as_f64(),
                (got, want) => got == want,
            };
            let told = (want["n"].as_u64(), time, want["path"].as_str(), same);
            assert_eq!(
                told,
                (Some(number as u64), frame.moment.0, Some(leaf.path.as_str()), true),
                "{got} {want}"
            );
            equal += 1;
        }
    }
    assert_eq!((equal, oracle.next()), (2_945, None));
}

/// Version, entries with a signal in the database, and notices.
#[test]
fn mapping_files_of_all_versions_load() {
    let Some(root) = common::shared() else { return };
    for (version, mapped) in
        [("3.0", 31), ("3.1.1", 31), ("4.0", 32), ("4.1", 32), ("4.2", 35), ("6.0_derived", 31)]
    {
        let path = format!("kuksa_mapping/vss_{version}/vss_dbc.json");
        let (leaves, notices) = build(&root, "kuksa__Model3CAN.dbc", &path);
        let vss = leaves.iter().filter(|(_, leaf)| leaf.path.as_str().starts_with("Vehicle.")).count();
        assert_eq!(vss, mapped, "{version}");
        // One entry names a signal that the database has in two messages.
        let [notice] = &notices[..] else { unreachable!("{version}: {notices:?}") };
        assert!(
            notice.what.contains(".IsCharging.") && notice.what.contains("in several messages"),
            "{notice}"
        );
    }
    for version in ["4.2", "5.1", "6.0"] {
        let (leaves, notices) = build(&root, "kuksa__Model3CAN.dbc", &format!("vss_release_{version}.json"));
        assert!(leaves.iter().all(|(_, leaf)| leaf.path.as_str().starts_with("CAN.can0.")));
        let told: Vec<String> = notices.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["map.json: no leaf has `dbc2vss`: the mapping names nothing"], "{version}");
    }
}
