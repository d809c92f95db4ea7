//! What stands in one option: a recipient, a signal with its transforms, a category with its pattern.

use crate::daemon::authority::glob_matches;
use glovebox_core::consent::document::bundle::Category;
use glovebox_core::consent::transform::{Parameter, TransformSpec};
use glovebox_core::names::{RecipientId, SignalPath};
use std::path::PathBuf;
use std::str::FromStr;

/// `ID:NAME:COUNTRY:REQUEST.pub:HPKE.dsse[:HPKE.dsse]…`
#[derive(Debug, Clone)]
pub(super) struct RecipientSpec {
    pub(super) id: RecipientId,
    pub(super) name: String,
    pub(super) country: String,
    pub(super) request_key: PathBuf,
    pub(super) hpke_statements: Vec<PathBuf>,
}

impl FromStr for RecipientSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [id, name, country, request_key, hpke @ ..] = parts.as_slice() else {
            return Err("must be ID:NAME:COUNTRY:REQUEST.pub:HPKE.dsse".to_owned());
        };
        if hpke.is_empty() {
            return Err("the signed HPKE-key statement is missing at the end".to_owned());
        }
        Ok(Self {
            id: id.parse().map_err(|error: glovebox_core::names::NameError| error.to_string())?,
            name: (*name).to_owned(),
            country: (*country).to_owned(),
            request_key: request_key.into(),
            hpke_statements: hpke.iter().map(PathBuf::from).collect(),
        })
    }
}

/// `SIGNAL[:rate=MS][:quantise=STEP][:on_change=DELTA][:optional]`
#[derive(Debug, Clone)]
pub(super) struct SignalSpec {
    pub(super) signal: SignalPath,
    pub(super) optional: bool,
    pub(super) transforms: Vec<TransformSpec>,
}

impl FromStr for SignalSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let signal = SignalPath::new(parts.next().unwrap_or_default()).map_err(|error| error.to_string())?;
        let mut spec = Self { signal, optional: false, transforms: Vec::new() };
        for part in parts {
            if part == "optional" {
                spec.optional = true;
            } else {
                spec.transforms.push(transform(part)?);
            }
        }
        Ok(spec)
    }
}

fn transform(text: &str) -> Result<TransformSpec, String> {
    let (op, value) = text.split_once('=').ok_or_else(|| {
        format!("`{text}` is no transform: known are rate=MS, quantise=STEP, on_change=DELTA, optional")
    })?;
    let name = match op {
        "rate" => "min_interval_ms",
        "quantise" => "step",
        "on_change" => "min_delta",
        _ => return Err(format!("transform `{op}` is not known here: known are rate, quantise, on_change")),
    };
    let number = match (value.parse::<i64>(), value.parse::<f64>()) {
        (Ok(number), _) => Parameter::Integer(number),
        (_, Ok(number)) if op != "rate" && number.is_finite() => Parameter::Number(number),
        _ => return Err(format!("`{value}` is no number that {op} takes")),
    };
    let positive = match number {
        Parameter::Integer(number) => number > 0 || (number == 0 && op == "on_change"),
        Parameter::Number(number) => number > 0.0,
        _ => false,
    };
    if !positive {
        return Err(format!("{op} takes a number above zero, not `{value}`"));
    }
    Ok(TransformSpec { op: op.to_owned(), parameters: [(name.to_owned(), number)].into() })
}

/// `CATEGORY=GLOB`
#[derive(Debug, Clone)]
pub(super) struct CategorySpec {
    category: Category,
    glob: String,
}

impl FromStr for CategorySpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, glob) = text.split_once('=').ok_or("must be CATEGORY=GLOB, as `driving=CAN.can0.*`")?;
        let category = serde_json::from_value(serde_json::Value::String(name.to_owned())).map_err(|_| {
            format!(
                "`{name}` is no category: known are identity, details, location, trips, driving, people, energy, \
                 condition, access, comfort, media, surroundings, unknown"
            )
        })?;
        Ok(Self { category, glob: glob.to_owned() })
    }
}

/// VSS branches and their categories; the longest that fits counts.
const VSS: &[(&str, Category)] = &[
    ("Vehicle.VehicleIdentification", Category::Details),
    ("Vehicle.VehicleIdentification.VIN", Category::Identity),
    ("Vehicle.VehicleIdentification.LicensePlate", Category::Identity),
    ("Vehicle.VersionVSS", Category::Details),
    ("Vehicle.CurrentLocation", Category::Location),
    ("Vehicle.Cabin.Infotainment.Navigation", Category::Location),
    ("Vehicle.Powertrain.TractionBattery.Charging.Location", Category::Location),
    ("Vehicle.Powertrain.TractionBattery.Charging.EvseId", Category::Location),
    ("Vehicle.TraveledDistance", Category::Trips),
    ("Vehicle.TraveledDistanceSinceStart", Category::Trips),
    ("Vehicle.TripMeterReading", Category::Trips),
    ("Vehicle.StartTime", Category::Trips),
    ("Vehicle.TripDuration", Category::Trips),
    ("Vehicle.IsMoving", Category::Trips),
    ("Vehicle.Speed", Category::Driving),
    ("Vehicle.Acceleration", Category::Driving),
    ("Vehicle.AngularVelocity", Category::Driving),
    ("Vehicle.ADAS", Category::Driving),
    ("Vehicle.Chassis.Accelerator", Category::Driving),
    ("Vehicle.Chassis.Brake", Category::Driving),
    ("Vehicle.Chassis.SteeringWheel", Category::Driving),
    ("Vehicle.Chassis.Axle", Category::Condition),
    ("Vehicle.Driver", Category::People),
    ("Vehicle.Occupant", Category::People),
    ("Vehicle.Powertrain.TractionBattery", Category::Energy),
    ("Vehicle.Powertrain.FuelSystem", Category::Energy),
    ("Vehicle.Powertrain.ElectricMotor", Category::Energy),
    ("Vehicle.Powertrain.Range", Category::Energy),
    ("Vehicle.LowVoltageBattery", Category::Energy),
    ("Vehicle.Diagnostics", Category::Condition),
    ("Vehicle.Service", Category::Condition),
    ("Vehicle.Powertrain.CombustionEngine", Category::Condition),
    ("Vehicle.Cabin.Door", Category::Access),
    ("Vehicle.Cabin.Sunroof", Category::Access),
    ("Vehicle.Cabin.Light", Category::Comfort),
    ("Vehicle.Cabin.HVAC", Category::Comfort),
    ("Vehicle.Cabin.Seat", Category::Comfort),
    ("Vehicle.Cabin.Infotainment", Category::Media),
    ("Vehicle.Body.Trunk", Category::Access),
    ("Vehicle.Body.Lights", Category::Access),
    ("Vehicle.Exterior", Category::Surroundings),
];

/// The first `--category` that fits; else what the VSS branch says; else unknown.
pub(super) fn category_of(signal: &SignalPath, given: &[CategorySpec]) -> Category {
    if let Some(spec) = given.iter().find(|spec| glob_matches(&spec.glob, signal.as_str())) {
        return spec.category;
    }
    let below = |branch: &str| {
        signal.as_str().strip_prefix(branch).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let longest = VSS.iter().filter(|(branch, _)| below(branch)).max_by_key(|(branch, _)| branch.len());
    longest.map_or(Category::Unknown, |(_, category)| *category)
}
