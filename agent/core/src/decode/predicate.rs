//! Derived signals: each a yes, a no or a level that is worked out in the car of signals which themselves stay there. They
//! are compiled into the release, by name: no document and no file can make one, or change what one says.
//!
//! ```text
//! readings of its inputs ─ the last value of each, while it counts ─ [`Predicate::of`] ─▶ a reading of its own
//! ```

mod digest;
mod work;

use super::{LeafIndex, ValueType};
use crate::limits::{INPUT_COUNTS_US, SLOW_INPUT_COUNTS_US};
use crate::names::SignalPath;

pub(super) use digest::digest;
pub(super) use work::Works;

/// What every derived signal's path begins with; nothing else is called so.
pub const DERIVED: &str = "Derived.";

/// A derived signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predicate {
    /// The car stands with its parking brake on.
    IsParked,
    /// No tyre is low.
    TyrePressureOk,
    /// The car slows down harder than most people like to. Its mean over a trip is the share of hard braking in it.
    IsBrakingHard,
    /// How high the car is, in three bands.
    AltitudeBand,
}

/// A signal that something is derived of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Its VSS path.
    pub path: &'static str,
    /// What its unit may be called; empty: it is true or false, as 1 or 0.
    pub units: &'static [&'static str],
}

/// A derived signal of this car, and its inputs in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Which.
    pub predicate: Predicate,
    /// Of what.
    pub inputs: Vec<LeafIndex>,
}

const SPEED: Input = Input { path: "Vehicle.Speed", units: &["km/h", "kph"] };
const PARKING_BRAKE: Input = yes_or_no("Vehicle.Chassis.ParkingBrake.IsEngaged");
const BRAKING: Input =
    Input { path: "Vehicle.Acceleration.Longitudinal", units: &["m/s^2", "m/s2", "m/s²"] };
const ALTITUDE: Input = Input { path: "Vehicle.CurrentLocation.Altitude", units: &["m"] };
const TYRES: [Input; 4] = [
    yes_or_no("Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.IsPressureLow"),
    yes_or_no("Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.IsPressureLow"),
    yes_or_no("Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.IsPressureLow"),
    yes_or_no("Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.IsPressureLow"),
];

const fn yes_or_no(path: &'static str) -> Input {
    Input { path, units: &[] }
}

/// Below this a car stands: slower than what wheel speed sensors tell from nothing. km/h.
const STANDING_KMH: f64 = 1.0;
/// Harder braking than this is uncomfortable to most people: the 11.2 ft/s² by which roads are laid out (AASHTO, A Policy
/// on Geometric Design of Highways and Streets, stopping sight distance). m/s².
const COMFORTABLE_BRAKING: f64 = 3.4;
/// Up to here electric machines are rated as at sea level (IEC 60034-1). m.
const HIGH_M: f64 = 1_000.0;
/// Up to here insulation distances are (IEC 60664-1). m.
const VERY_HIGH_M: f64 = 2_000.0;

impl Predicate {
    /// All.
    pub const ALL: [Self; 4] =
        [Self::IsParked, Self::TyrePressureOk, Self::IsBrakingHard, Self::AltitudeBand];

    /// The one of this path.
    #[must_use]
    pub fn named(path: &SignalPath) -> Option<Self> {
        if !path.as_str().starts_with(DERIVED) {
            return None;
        }
        Self::ALL.into_iter().find(|predicate| predicate.path() == path.as_str())
    }

    /// As documents name it.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::IsParked => "Derived.IsParked",
            Self::TyrePressureOk => "Derived.TyrePressureOk",
            Self::IsBrakingHard => "Derived.IsBrakingHard",
            Self::AltitudeBand => "Derived.AltitudeBand",
        }
    }

    /// Rises whenever it says something else of the same inputs: what was agreed to then waits for the owner.
    #[must_use]
    pub fn version(self) -> u32 {
        1
    }

    /// What it is made of, in the order of [`Self::of`].
    #[must_use]
    pub fn inputs(self) -> &'static [Input] {
        match self {
            Self::IsParked => &[SPEED, PARKING_BRAKE],
            Self::TyrePressureOk => &TYRES,
            Self::IsBrakingHard => &[BRAKING],
            Self::AltitudeBand => &[ALTITUDE],
        }
    }

    /// The same as paths.
    pub fn made_of(self) -> impl Iterator<Item = SignalPath> {
        // Each is a path: a test reads them all.
        self.inputs().iter().filter_map(|input| SignalPath::new(input.path).ok())
    }

    /// What it says, to follow "says".
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::IsParked => "whether the car stands (below 1 km/h) with its parking brake on",
            Self::TyrePressureOk => "whether the car's own monitoring calls no tyre low",
            Self::IsBrakingHard => "whether the car slows down by more than 3.4 m/s²",
            Self::AltitudeBand => "whether the car is below 1,000 m, below 2,000 m or higher",
        }
    }

    /// How long the last value of an input counts, in microseconds.
    #[must_use]
    pub fn counts_us(self) -> i64 {
        match self {
            Self::IsParked | Self::IsBrakingHard | Self::AltitudeBand => INPUT_COUNTS_US,
            Self::TyrePressureOk => SLOW_INPUT_COUNTS_US,
        }
    }

    /// How its values are read.
    #[must_use]
    pub fn value_type(self) -> ValueType {
        if self.names().is_empty() { ValueType::Boolean } else { ValueType::Unsigned }
    }

    /// What its values are called.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::AltitudeBand => &["low", "high", "very_high"],
            Self::IsParked | Self::TyrePressureOk | Self::IsBrakingHard => &[],
        }
    }

    /// What it is, of the values of its inputs in their order and in their units. `None`: of these it cannot be told.
    #[must_use]
    pub fn of(self, inputs: &[f64]) -> Option<u64> {
        match (self, inputs) {
            (Self::IsParked, [speed, brake]) => {
                let brake = truth(*brake)?;
                Some((brake && speed.abs() < STANDING_KMH).into())
            }
            (Self::TyrePressureOk, tyres @ [_, _, _, _]) => {
                tyres.iter().try_fold(true, |ok, low| Some(ok && !truth(*low)?)).map(u64::from)
            }
            (Self::IsBrakingHard, [along]) => Some((*along < -COMFORTABLE_BRAKING).into()),
            (Self::AltitudeBand, [metres]) => {
                Some(u64::from(*metres >= HIGH_M) + u64::from(*metres >= VERY_HIGH_M))
            }
            _ => None,
        }
    }
}

/// What is neither 0 nor 1 is neither true nor false.
fn truth(value: f64) -> Option<bool> {
    match value {
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests;
