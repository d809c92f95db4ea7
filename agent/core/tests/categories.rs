//! Every leaf of the Vehicle Signal Specification 4.2, 5.1 and 6.0 falls into a category, and no place into a wrong one.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test reads data, and may fail loudly")]

mod common;

use glovebox_core::consent::category::{Category, Language, is_place};
use glovebox_core::names::SignalPath;
use serde_json::Value;
use std::collections::BTreeMap;

const RELEASES: [&str; 3] = ["4.2", "5.1", "6.0"];

/// Leaves with their units.
fn leaves(release: &str) -> Option<BTreeMap<String, String>> {
    let file = common::shared()?.join(format!("data/vss/vss_release_{release}.json"));
    let tree: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut found = BTreeMap::new();
    collect("", &tree, &mut found);
    Some(found)
}

fn collect(above: &str, branch: &Value, found: &mut BTreeMap<String, String>) {
    for (name, node) in branch.as_object().unwrap() {
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        match node.get("children") {
            Some(children) => collect(&path, children, found),
            None => drop(found.insert(path, node["unit"].as_str().unwrap_or_default().to_owned())),
        }
    }
}

fn category(path: &str) -> Category {
    Category::of(&SignalPath::new(path).unwrap())
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is worth reading")]
fn every_leaf_of_the_vss_is_in_a_category() {
    for release in RELEASES {
        let Some(leaves) = leaves(release) else { return };
        let mut counts: BTreeMap<Category, usize> = BTreeMap::new();
        for path in leaves.keys() {
            *counts.entry(category(path)).or_default() += 1;
        }
        let unknown: Vec<_> = leaves.keys().filter(|path| category(path) == Category::Unknown).collect();
        assert!(unknown.is_empty(), "of VSS {release} no rule fits {unknown:?}");
        assert_eq!(counts.len(), 12, "of VSS {release} a category is empty: {counts:?}");
        let words: Vec<_> =
            counts.iter().map(|(category, count)| format!("{count} {}", category.id())).collect();
        println!("VSS {release}: {} leaves: {}", leaves.len(), words.join(", "));
    }
}

/// Angles of a part of the car, of a body or of an engine's turn; any other leaf in degrees could be a place.
const ANGLES: [&str; 13] = [
    "SteeringAngle",
    "SteerAngle",
    "SteerAngleTarget",
    "SteerAngleOffsetTarget",
    "SteeringWheel",
    "Wiping",
    "Backrest",
    "Headrest",
    "Tilt",
    "HeadPosition",
    "MidEyeGaze",
    "FuelInjectionTiming",
    "TimingAdvance",
];

#[test]
fn no_place_is_outside_of_location() {
    let mut places = 0;
    for release in RELEASES {
        let Some(leaves) = leaves(release) else { return };
        for (path, unit) in &leaves {
            let angle = path.split('.').any(|part| ANGLES.contains(&part));
            let named = path.to_lowercase().contains("latitude") || path.to_lowercase().contains("longitude");
            if named || (unit.starts_with("degree") && !unit.contains('/') && !angle) {
                assert_eq!(category(path), Category::Location, "{path} of VSS {release}");
                assert!(is_place(&SignalPath::new(path).unwrap()), "{path} is not compiled in");
                places += 1;
            }
        }
    }
    assert!(places >= 3 * 7, "only {places} leaves in degrees: has the data changed?");
}

#[test]
fn the_most_specific_rule_counts() {
    for (path, want) in [
        ("Vehicle.VehicleIdentification.VIN", Category::Identity),
        ("Vehicle.VehicleIdentification.Brand", Category::Details),
        ("Vehicle.Cabin.Seat.Row1.DriverSide.IsBelted", Category::Driving),
        ("Vehicle.Cabin.Seat.Row2.Middle.OccupancyStatus", Category::People),
        ("Vehicle.Cabin.Seat.Row1.DriverSide.Position", Category::Comfort),
        ("Vehicle.Powertrain.TractionBattery.Charging.EvseId", Category::Location),
        ("Vehicle.Powertrain.TractionBattery.Charging.Mode", Category::Energy),
        ("Vehicle.Cabin.Infotainment.Navigation.Volume", Category::Media),
        ("Vehicle.ADAS.DMS.IsWarning", Category::People),
        ("Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure", Category::Condition),
        ("Vehicle.SpeedLimit", Category::Unknown),
        ("Vehicle.Private.Branch", Category::Unknown),
        ("CAN.can0.GNSS.PositionLatitude", Category::Location),
        ("CAN.can0.POSITION.LAT", Category::Location),
        ("CAN.can0.Position.Lon", Category::Location),
        ("CAN.can0.GPS_FIX.SPEED", Category::Location),
        ("CAN.can0.Fix.GpsHeading", Category::Location),
        ("CAN.can0.MOTION.LAT_ACC", Category::Unknown),
        ("CAN.can0.MOTION.LongAcceleration", Category::Unknown),
        ("CAN.can0.SPEED.SPEED", Category::Unknown),
        ("CAN.can0.Vehicle.Speed", Category::Unknown),
    ] {
        assert_eq!(category(path), want, "{path}");
    }
}

#[test]
fn every_category_has_its_words() {
    for language in Language::ALL {
        let labels: std::collections::BTreeSet<_> =
            Category::ALL.iter().map(|category| category.label(language)).collect();
        assert_eq!(labels.len(), 13, "two categories have one label in {language:?}");
        assert_eq!(Language::from_tag(language.tag()), Some(language));
    }
    let arabic = |text: &str| text.chars().any(|c| ('\u{0600}'..='\u{06ff}').contains(&c));
    assert!(Category::ALL.iter().all(|category| arabic(category.label(Language::Arabic))));
    assert_eq!(Language::from_tag("de-AT"), Some(Language::German));
    assert_eq!(Language::from_tag("fr"), None);
    let written = serde_json::to_value(Category::ALL).unwrap();
    let ids: Vec<_> = Category::ALL.iter().map(|category| category.id()).collect();
    assert_eq!(written, serde_json::json!(ids), "a document writes the same name");
}
