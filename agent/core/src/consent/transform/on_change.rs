//! `on_change`: a value is told when it differs enough from the one told before, or after a long silence.

use super::super::decimal::Decimal;
use super::coding::{Coding, float};
use super::spec::TransformSpec;
use crate::decode::ValueType;

/// A change of at least `min_delta` (0: any change), or silence of `max_interval_us`, is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadBand {
    /// Least change, in the signal's unit.
    pub min_delta: Decimal,
    /// Repeat an unchanged value after so long, in microseconds; `None`: never.
    pub max_interval_us: Option<i64>,
}

impl DeadBand {
    /// `{"op": "on_change", "min_delta": 2, "max_interval_ms": 60000}`; both may be left out.
    pub(super) fn parse(spec: &TransformSpec) -> Option<Self> {
        spec.only(&["min_delta", "max_interval_ms"])?;
        let min_delta = spec.decimal_or_zero("min_delta")?;
        let max_interval_us =
            if spec.has("max_interval_ms") { Some(spec.interval_us("max_interval_ms")?) } else { None };
        (!min_delta.is_negative()).then_some(Self { min_delta, max_interval_us })
    }

    pub(super) fn meet(self, other: Self) -> Option<Self> {
        let min_delta = self.min_delta.larger(other.min_delta);
        // Never repeating tells less than repeating; seldom less than often.
        let max_interval_us = self.max_interval_us.zip(other.max_interval_us).map(|(a, b)| a.max(b));
        Some(Self { min_delta, max_interval_us })
    }

    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("min_delta", self.min_delta.to_string())];
        parameters.extend(self.max_interval_us.map(|us| ("max_interval_ms", (us / 1000).to_string())));
        parameters
    }
}

/// When two values differ enough.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Change {
    least: Least,
    pub(in super::super) max_interval_us: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
enum Least {
    Unsigned(u64),
    Signed(u64),
    Float {
        double: bool,
        scale: f64,
        delta: f64,
    },
    /// The dead band has no exact form for this coding: only the first reading and changes of state leave.
    Never,
}

impl Change {
    pub(in super::super) fn new(band: DeadBand, coding: Coding) -> Self {
        let least = Least::new(band.min_delta, coding).unwrap_or(Least::Never);
        Self { least, max_interval_us: band.max_interval_us }
    }

    pub(in super::super) fn differs(&self, a: u64, b: u64) -> bool {
        match self.least {
            Least::Unsigned(least) => a.abs_diff(b) >= least,
            Least::Signed(least) => a.cast_signed().abs_diff(b.cast_signed()) >= least,
            Least::Float { double, scale, delta } => {
                let gap = (float(double, a) * scale - float(double, b) * scale).abs();
                a != b && (gap >= delta || !gap.is_finite())
            }
            Least::Never => false,
        }
    }
}

impl Least {
    fn new(delta: Decimal, coding: Coding) -> Option<Self> {
        let Coding { value_type, scale, .. } = coding;
        let steps = || least_steps(delta, Decimal::from_f64(scale.abs())?);
        match value_type {
            ValueType::Float32 | ValueType::Float64 => {
                let double = value_type == ValueType::Float64;
                Some(Self::Float { double, scale, delta: delta.to_f64() })
            }
            ValueType::Signed => steps().map(Self::Signed),
            ValueType::Unsigned | ValueType::Boolean => steps().map(Self::Unsigned),
        }
    }
}

/// The least difference of raw values that is a difference of `delta`: `ceil(delta / step)`, at least 1.
fn least_steps(delta: Decimal, step: Decimal) -> Option<u64> {
    let (delta, step, _) = Decimal::aligned(delta, step)?;
    if step == 0 {
        return None;
    }
    let steps = delta / step + i128::from(delta % step != 0);
    Some(u64::try_from(steps.max(1)).unwrap_or(u64::MAX))
}
