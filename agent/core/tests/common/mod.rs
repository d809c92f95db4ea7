//! What the tests on real data share: where the data is, and how values are compared with those of cantools.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may fail loudly and says what it skips"
)]
#![expect(unreachable_pub, reason = "shared by several test binaries")]

use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, Leaf, Leaves, Number};
use glovebox_core::decode::{Plan, Reading, State};
use glovebox_core::frame::{BusIndex, Frame};
use glovebox_core::names::BusName;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Folder of the shared data; tells and skips when it is absent, fails on a build machine.
pub fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let root = std::env::var_os("GLOVEBOX_SHARED").map_or_else(beside, PathBuf::from);
    if root.join("data").is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none(), "no test data at {}; set GLOVEBOX_SHARED", root.display());
    eprintln!("skipped: no test data at {}; set GLOVEBOX_SHARED", root.display());
    None
}

pub fn gz_lines(path: &Path) -> impl Iterator<Item = String> {
    let file = std::fs::File::open(path).unwrap();
    BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines().map(Result::unwrap)
}

/// One DBC file with all its leaves needed.
pub struct Oracle {
    pub leaves: Leaves,
    pub plan: Plan,
}

pub fn dbc_leaves(path: &Path) -> Oracle {
    let place = path.file_name().unwrap().to_str().unwrap();
    let (leaves, _) = match Database::parse(&std::fs::read(path).unwrap(), place) {
        Ok((database, _)) => Leaves::build(&[BusDatabase {
            bus: BusIndex(0),
            name: BusName::new("can0").unwrap(),
            databases: vec![database],
            mapping: None,
        }])
        .unwrap(),
        Err(error) => panic!("{error}"),
    };
    let needed: Vec<_> = leaves.iter().map(|(index, _)| index).collect();
    let plan = Plan::compile(&leaves, &needed);
    Oracle { leaves, plan }
}

/// A reading with its value, also where the value is out of range.
pub struct Checked<'l> {
    pub leaf: &'l Leaf,
    pub value: Number,
}

impl<'l> Checked<'l> {
    pub fn new(leaves: &'l Leaves, reading: &Reading, frame: &Frame) -> Self {
        let leaf = leaves.get(reading.leaf).unwrap();
        let raw = leaf.raw(frame).unwrap();
        match reading.state {
            State::Value => assert_eq!(reading.bits, raw),
            _ => assert_eq!(reading.bits, 0),
        }
        let value = leaf.value(raw);
        if let Some((minimum, maximum)) = leaf.range {
            let within = (minimum..=maximum).contains(&leaf.float(raw));
            assert_eq!(reading.state == State::Value, within);
        }
        Self { leaf, value }
    }

    pub fn equals(&self, want: &Value) -> bool {
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
