//! `trim_ends`: the first and the last minutes of a trip are absent, and so is what lies between two trips. What may be of
//! the last minutes waits until it is known that it is not.

use super::spec::TransformSpec;
use crate::limits::TRIM_MINUTES_MAX;

/// How much of a trip is absent, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// From its beginning.
    pub first_us: i64,
    /// Up to its end.
    pub last_us: i64,
}

const MINUTE_US: i64 = 60_000_000;

impl Ends {
    /// `{"op": "trim_ends", "first_min": 10, "last_min": 10}`
    pub(super) fn parse(spec: &TransformSpec) -> Option<Self> {
        spec.only(&["first_min", "last_min"])?;
        let us = |name| Some(spec.integer(name, 1..=TRIM_MINUTES_MAX)? * MINUTE_US);
        Some(Self { first_us: us("first_min")?, last_us: us("last_min")? })
    }

    /// As much as the stricter wants at each end.
    pub(super) fn meet(self, other: Self) -> Self {
        Self { first_us: self.first_us.max(other.first_us), last_us: self.last_us.max(other.last_us) }
    }

    pub(super) fn told(self) -> Vec<(&'static str, String)> {
        let min = |us: i64| (us / MINUTE_US).to_string();
        vec![("first_min", min(self.first_us)), ("last_min", min(self.last_us))]
    }
}
