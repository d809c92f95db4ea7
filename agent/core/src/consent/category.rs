//! The twelve categories that an owner sees, and which of them a signal is in by its name.
//!
//! A bundle's catalogue decides for each signal, with one exception: what is a place by its name stays a place. The
//! rules say what a catalogue that is made here holds, and are tested over the VSS of several versions.

use crate::decode::Predicate;
use crate::names::SignalPath;
use serde::{Deserialize, Serialize};

mod rules;
mod words;

pub use words::Language;

/// The twelve categories and what is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the design's table and of the owner page")]
pub enum Category {
    Identity,
    Details,
    Location,
    Trips,
    Driving,
    People,
    Energy,
    Condition,
    Access,
    Comfort,
    Media,
    Surroundings,
    Unknown,
}

/// What other ways to a car's data call what is in a category: for owners who know these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownAs {
    /// Permissions of the Smartcar API, as `read_odometer`.
    pub smartcar: &'static [&'static str],
    /// Keys of BMW CarData, `*` for whatever follows.
    pub cardata: &'static [&'static str],
    /// Permissions of Android Automotive OS, without `android.car.permission.`.
    pub android: &'static [&'static str],
}

impl Category {
    /// All, in the order in which they are shown; `Unknown` last.
    pub const ALL: [Self; 13] = [
        Self::Location,
        Self::People,
        Self::Identity,
        Self::Driving,
        Self::Access,
        Self::Media,
        Self::Trips,
        Self::Energy,
        Self::Comfort,
        Self::Surroundings,
        Self::Details,
        Self::Condition,
        Self::Unknown,
    ];

    /// What a signal is by its VSS path or `CAN.…` name: the most specific rule that fits, else `Unknown`. What is derived
    /// is what the most sensitive of its inputs is.
    #[must_use]
    pub fn of(signal: &SignalPath) -> Self {
        if let Some(predicate) = Predicate::named(signal) {
            let inputs = predicate.made_of().map(|input| Self::of(&input));
            return inputs.reduce(Self::or_more).unwrap_or(Self::Unknown);
        }
        if is_place(signal) { Self::Location } else { rules::find(signal.as_str()).unwrap_or(Self::Unknown) }
    }

    /// `other` if that says more of a person. Of the most sensitive what is not known says most, then a place.
    #[must_use]
    pub fn or_more(self, other: Self) -> Self {
        let rank = |category: Self| match category {
            Self::Unknown => (4, 2),
            Self::Location => (4, 1),
            other => (other.sensitivity(), 0),
        };
        if rank(other) > rank(self) { other } else { self }
    }

    /// How much it says of a person: 1 little, 4 most.
    #[must_use]
    pub fn sensitivity(self) -> u8 {
        match self {
            Self::Details | Self::Condition => 1,
            Self::Trips | Self::Energy | Self::Comfort | Self::Surroundings => 2,
            Self::Identity | Self::Driving | Self::Access | Self::Media => 3,
            Self::Location | Self::People | Self::Unknown => 4,
        }
    }

    /// Whether it tells where the car is, or of its trips.
    #[must_use]
    pub fn is_private(self) -> bool {
        matches!(self, Self::Location | Self::Trips)
    }

    /// As documents write it.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Details => "details",
            Self::Location => "location",
            Self::Trips => "trips",
            Self::Driving => "driving",
            Self::People => "people",
            Self::Energy => "energy",
            Self::Condition => "condition",
            Self::Access => "access",
            Self::Comfort => "comfort",
            Self::Media => "media",
            Self::Surroundings => "surroundings",
            Self::Unknown => "unknown",
        }
    }

    /// As the owner reads it.
    #[must_use]
    pub fn label(self, language: Language) -> &'static str {
        words::label(self, language)
    }

    /// What it is in W3C DPV's list of personal data (`pd:` is `https://w3id.org/dpv/pd#`); empty if nothing fits.
    #[must_use]
    pub fn pii_type(self) -> &'static str {
        words::pii_type(self)
    }

    /// What others call it.
    #[must_use]
    pub fn known_as(self) -> KnownAs {
        words::known_as(self)
    }
}

/// A place by its name, whatever a catalogue says: compiled into the release, so that a bundle may add to the places and
/// take none away. What is derived of a place is one.
#[must_use]
pub fn is_place(signal: &SignalPath) -> bool {
    if let Some(predicate) = Predicate::named(signal) {
        return predicate.made_of().any(|input| is_place(&input));
    }
    rules::find(signal.as_str()) == Some(Category::Location) || signal.as_str().split('.').any(names_one)
}

/// Words and short names by which makers' databases call coordinates and their receivers. A short one must be the whole
/// name: `LAT_ACC` is lateral.
fn names_one(part: &str) -> bool {
    let part = part.to_ascii_lowercase();
    let receives = |word: &str| word.starts_with("gps") || word.starts_with("gnss");
    part.contains("latitude")
        || part.contains("longitude")
        || matches!(part.as_str(), "lat" | "lon" | "lng" | "long")
        || part.split(|c: char| !c.is_ascii_alphanumeric()).any(receives)
}
