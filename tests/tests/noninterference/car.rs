//! The car of every life: its database, the VSS names in it, and what is derived of them.

use super::model::ALL;
use glovebox_core::decode::Leaves;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::map::Mapping;
use glovebox_core::frame::BusIndex;
use glovebox_core::names::{BusName, SignalPath};
use std::sync::LazyLock;

/// Signal, start bit, bits; all Intel. Two messages; 5 is in the second, which has a selector.
const DBC: &str = "VERSION \"\"\n\nNS_ :\n\nBS_:\n\nBU_: X\n\nBO_ 256 M: 8 X\n SG_ S0 : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ S1 : 8|16@1+ (0.1,-40) [0|0] \"\" X\n SG_ S2 : 24|12@1- (0.5,0) [-500|500] \"\" X\n SG_ S3 : 36|10@1+ (0.01,0) [0|0] \"\" X\n\nBO_ 512 N: 4 X\n SG_ X M : 0|4@1+ (1,0) [0|0] \"\" X\n SG_ S4 m1 : 8|8@1+ (1,-40) [0|0] \"\" X\n SG_ S5 m2 : 8|16@1+ (0.25,1) [0|0] \"\" X\n";

/// Names of the VSS for what something is derived of.
const MAPPING: &str = r#"{"Vehicle": {"children": {
    "Acceleration": {"children": {"Longitudinal": {"unit": "m/s^2", "dbc2vss": {"signal": "S2", "interval_ms": 0}}}},
    "Speed": {"unit": "km/h", "dbc2vss": {"signal": "S3", "interval_ms": 0}},
    "Chassis": {"children": {"ParkingBrake": {"children": {"IsEngaged":
        {"dbc2vss": {"signal": "S4", "interval_ms": 0}}}}}}}}}"#;

/// By number of the signal.
pub const PATHS: [&str; ALL] = [
    "CAN.b.M.S0",
    "CAN.b.M.S1",
    "Vehicle.Acceleration.Longitudinal",
    "Vehicle.Speed",
    "Vehicle.Chassis.ParkingBrake.IsEngaged",
    "CAN.b.N.S5",
    "Derived.IsBrakingHard",
    "Derived.IsParked",
];

pub static LEAVES: LazyLock<Leaves> = LazyLock::new(|| {
    let database = Database::parse(DBC.as_bytes(), "life.dbc").unwrap().0;
    let name = BusName::new("b").unwrap();
    let mapping = Some(Mapping::parse(MAPPING.as_bytes(), "map.json").unwrap().0);
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping };
    Leaves::build(&[bus]).unwrap().0
});

pub fn path(signal: usize) -> SignalPath {
    SignalPath::new(PATHS[signal]).unwrap()
}
