//! A small car that has all that is derived, for tests: each input in a message of its own but for the tyres.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use crate::decode::dbc::Database;
use crate::decode::leaves::BusDatabase;
use crate::decode::map::Mapping;
use crate::decode::{LeafIndex, Leaves, Notice};
use crate::frame::{BusIndex, CanId, Frame};
use crate::names::Moment;

pub(crate) const SPEED: &str = "Vehicle.Speed";
pub(crate) const BRAKE: &str = "Vehicle.Chassis.ParkingBrake.IsEngaged";
pub(crate) const ALONG: &str = "Vehicle.Acceleration.Longitudinal";
pub(crate) const ALTITUDE: &str = "Vehicle.CurrentLocation.Altitude";

/// Identifiers of the messages.
pub(crate) const SPEED_ID: u16 = 256;
pub(crate) const BRAKE_ID: u16 = 257;
pub(crate) const ALONG_ID: u16 = 258;
pub(crate) const TYRES_ID: u16 = 259;
pub(crate) const ALTITUDE_ID: u16 = 260;

const DBC: &str = "VERSION \"\"\n\nBS_:\n\nBU_: E\n\nBO_ 256 A: 2 E\n SG_ Speed : 0|16@1+ (0.1,0) [0|300] \"km/h\" E\n\n\
    BO_ 257 B: 1 E\n SG_ Brake : 0|2@1+ (1,0) [0|2] \"\" E\n\n\
    BO_ 258 C: 2 E\n SG_ Along : 0|16@1- (0.01,0) [-30|30] \"m/s^2\" E\n\n\
    BO_ 259 D: 1 E\n SG_ LowFL : 0|1@1+ (1,0) [0|1] \"\" E\n SG_ LowFR : 1|1@1+ (1,0) [0|1] \"\" E\n \
    SG_ LowRL : 2|1@1+ (1,0) [0|1] \"\" E\n SG_ LowRR : 3|1@1+ (1,0) [0|1] \"\" E\n\n\
    BO_ 260 F: 2 E\n SG_ Alt : 0|16@1+ (1,-500) [-500|9000] \"m\" E\n";

/// Each leaf with its signal.
const MAPPED: [(&str, &str); 8] = [
    (SPEED, "Speed"),
    (BRAKE, "Brake"),
    (ALONG, "Along"),
    (ALTITUDE, "Alt"),
    ("Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.IsPressureLow", "LowFL"),
    ("Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.IsPressureLow", "LowFR"),
    ("Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.IsPressureLow", "LowRL"),
    ("Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.IsPressureLow", "LowRR"),
];

pub(crate) fn leaves() -> Leaves {
    bent(DBC, "\"interval_ms\": 0").0
}

/// With a change of the database.
pub(crate) fn other(from: &str, to: &str) -> (Leaves, Vec<Notice>) {
    assert!(DBC.contains(from));
    bent(&DBC.replacen(from, to, 1), "\"interval_ms\": 0")
}

/// With another way to sample every signal.
pub(crate) fn sampled(entry: &str) -> (Leaves, Vec<Notice>) {
    bent(DBC, entry)
}

fn bent(dbc: &str, entry: &str) -> (Leaves, Vec<Notice>) {
    let mut tree = serde_json::json!({});
    for (path, signal) in MAPPED {
        let pointer = format!("/{}", path.replace('.', "/children/"));
        place(&mut tree, &pointer, signal, entry);
    }
    let (mapping, _) = Mapping::parse(tree.to_string().as_bytes(), "map.json").unwrap();
    let databases = vec![Database::parse(dbc.as_bytes(), "car.dbc").unwrap().0];
    let name = "can0".parse().unwrap();
    Leaves::build(&[BusDatabase { bus: BusIndex(0), name, databases, mapping: Some(mapping) }]).unwrap()
}

fn place(tree: &mut serde_json::Value, pointer: &str, signal: &str, entry: &str) {
    let node = pointer.split('/').skip(1).fold(tree, |node, part| {
        node.as_object_mut().unwrap().entry(part).or_insert_with(|| serde_json::json!({}))
    });
    let text = format!("{{\"dbc2vss\": {{\"signal\": \"{signal}\", {entry}}}}}");
    *node = serde_json::from_str(&text).unwrap();
}

pub(crate) fn find(leaves: &Leaves, path: &str) -> LeafIndex {
    leaves.find(&path.parse().unwrap()).unwrap()
}

/// A frame of one of the messages with its raw value.
pub(crate) fn frame(ms: i64, id: u16, raw: i16) -> Frame {
    let length = if matches!(id, BRAKE_ID | TYRES_ID) { 1 } else { 2 };
    let moment = Moment(ms * 1_000);
    Frame::new(BusIndex(0), CanId::Standard(id), moment, &raw.to_le_bytes()[..length]).unwrap()
}
