//! Mapping files with one fault each: what is said, and which signals still have their VSS names.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test reads data, and may fail loudly")]

mod common;

use glovebox_core::decode::Leaves;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::map::Mapping;
use glovebox_core::frame::BusIndex;
use glovebox_core::names::BusName;
use std::fmt::Write as _;
use std::path::Path;

/// What becomes of a mapping file together with `signals.dbc`: `error: …`, or `notice: …` and `leaf: …`.
fn outcome(file: &Path) -> String {
    let name = file.file_name().unwrap().to_str().unwrap();
    let (mapping, mut notices) = match Mapping::parse(&std::fs::read(file).unwrap(), name) {
        Ok(parsed) => parsed,
        Err(error) => return format!("error: {error}\n"),
    };
    let dbc = include_bytes!("mapping_errors/signals.dbc");
    let databases = vec![Database::parse(dbc, "signals.dbc").unwrap().0];
    let bus = BusName::new("can0").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name: bus, databases, mapping: Some(mapping) };
    let (leaves, more) = match Leaves::build(&[bus]) {
        Ok(built) => built,
        Err(error) => return format!("error: {error}\n"),
    };
    notices.extend(more);
    let mut text = String::new();
    for notice in notices {
        writeln!(text, "notice: {notice}").unwrap();
    }
    for (_, leaf) in leaves.iter().filter(|(_, leaf)| !leaf.path.as_str().starts_with("CAN.")) {
        writeln!(text, "leaf: {} of {}", leaf.path.as_str(), leaf.signal).unwrap();
    }
    text
}

/// The faults are in `NAME.json`, what is wanted is in `expected.txt` below `## NAME`.
#[test]
fn each_fault_is_told_with_its_place_and_mend() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mapping_errors");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|ending| ending == "json")).collect();
    files.sort();
    let mut got = String::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        writeln!(got, "## {name}\n{}", outcome(file)).unwrap();
    }
    let want = std::fs::read_to_string(folder.join("expected.txt")).unwrap();
    for (got, want) in got.split("## ").zip(want.split("## ")) {
        assert_eq!(got, want);
    }
    assert_eq!(got, want);
}

/// Kuksa's own. What is wrong in `vss2dbc` does not matter here: nothing is ever written to a bus.
#[test]
fn kuksas_faulty_mappings_are_told() {
    let Some(root) = common::shared() else { return };
    let folder = root.join("data/vss/kuksa_mapping/test_mapping_error");
    let nothing = |file: &str| format!("notice: {file}: no leaf has `dbc2vss`: the mapping names nothing\n");
    let unknown = "error: test_unknown_transform.json: A.children.B.dbc.transform: has neither `math` nor `mapping`; write one of them\n";
    for (file, want) in [
        ("mapping_for_ambiguous_signal.json", nothing("mapping_for_ambiguous_signal.json")),
        ("mapping_for_unused_ambiguous_signal.json", nothing("mapping_for_unused_ambiguous_signal.json")),
        ("mapping_vss2dbc_not_actuator.json", nothing("mapping_vss2dbc_not_actuator.json")),
        ("test_unknown_transform.json", unknown.to_owned()),
    ] {
        assert_eq!(outcome(&folder.join(file)), want);
    }
}
