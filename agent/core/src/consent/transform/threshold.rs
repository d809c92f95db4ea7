//! `threshold`: of the values nothing is told, only that they crossed a level, and when.

use super::super::decimal::Decimal;
use super::coding::{Coding, float};
use super::spec::TransformSpec;
use crate::decode::ValueType;

/// An event when the value comes above or below `level`; another one only after it went back by `hysteresis`.
/// How long after an event no other is told (`cooldown_ms`) is the rate of the transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Which crossing is told.
    pub side: Side,
    /// In the signal's unit.
    pub level: Decimal,
    /// In the signal's unit, not negative.
    pub hysteresis: Decimal,
}

/// Which crossing is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From the level or below it to above it.
    Above,
    /// From the level or above it to below it.
    Below,
}

impl Threshold {
    /// `{"op": "threshold", "when": "above", "value": 100, "hysteresis": 5, "cooldown_ms": 60000}`; the last two may be
    /// left out. Answers the cool-down in microseconds as well.
    pub(super) fn parse(spec: &TransformSpec) -> Option<(Self, i64)> {
        spec.only(&["when", "value", "hysteresis", "cooldown_ms"])?;
        let side = match spec.text("when")? {
            "above" => Side::Above,
            "below" => Side::Below,
            _ => return None,
        };
        let (level, hysteresis) = (spec.decimal("value")?, spec.decimal_or_zero("hysteresis")?);
        let cooldown_us = spec.interval_us_or_zero("cooldown_ms")?;
        (!hysteresis.is_negative()).then_some((Self { side, level, hysteresis }, cooldown_us))
    }

    /// Two levels together would tell of a range: that is not what either of them grants.
    pub(super) fn meet(self, other: Self) -> Option<Self> {
        let same = self.side == other.side && self.level == other.level;
        same.then(|| self.with_hysteresis(other.hysteresis))
    }

    pub(super) fn with_hysteresis(self, least: Decimal) -> Self {
        Self { hysteresis: self.hysteresis.larger(least), ..self }
    }

    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        let side = match self.side {
            Side::Above => "above",
            Side::Below => "below",
        };
        let (level, hysteresis) = (self.level.to_string(), self.hysteresis.to_string());
        vec![("when", side.to_owned()), ("value", level), ("hysteresis", hysteresis)]
    }
}

/// Finds the crossings. With [`Side::Below`] all is turned around, so that only rising has to be thought of.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Trigger {
    /// `raw * factor + constant` against both levels, over one power of ten.
    Integer {
        signed: bool,
        factor: i128,
        constant: i128,
        fire: i128,
        rearm: i128,
    },
    Float {
        double: bool,
        scale: f64,
        offset: f64,
        fire: f64,
        rearm: f64,
    },
}

impl Trigger {
    /// `None` if a number has too many digits; then nothing may leave.
    pub(in super::super) fn new(threshold: Threshold, coding: Coding) -> Option<Self> {
        let Threshold { side, level, hysteresis } = threshold;
        let Coding { value_type, scale, offset } = coding;
        if let Some(double) = coding.float() {
            let sign = if side == Side::Above { 1.0 } else { -1.0 };
            let fire = sign * level.to_f64();
            let rearm = fire - hysteresis.to_f64();
            return Some(Self::Float { double, scale: sign * scale, offset: sign * offset, fire, rearm });
        }
        let numbers = [Decimal::from_f64(scale)?, Decimal::from_f64(offset)?, level, hysteresis];
        let digits = numbers.map(Decimal::scale).into_iter().max()?;
        let sign = if side == Side::Above { 1 } else { -1 };
        let whole = |number: Decimal| number.scaled(digits)?.checked_mul(sign);
        let (factor, constant, fire) = (whole(numbers[0])?, whole(numbers[1])?, whole(level)?);
        let rearm = fire.checked_sub(hysteresis.scaled(digits)?)?;
        Some(Self::Integer { signed: value_type == ValueType::Signed, factor, constant, fire, rearm })
    }

    /// Whether this value is an event. `armed`: it was on the other side before; at first nobody knows.
    pub(in super::super) fn crosses(&self, armed: &mut bool, bits: u64) -> bool {
        let (beyond, back) = self.place(bits);
        let event = *armed && beyond;
        *armed = (*armed || back) && !beyond;
        event
    }

    /// (beyond the level, far enough back). What has no number is neither.
    fn place(&self, bits: u64) -> (bool, bool) {
        match *self {
            Self::Integer { signed, factor, constant, fire, rearm } => {
                let raw = if signed { i128::from(bits.cast_signed()) } else { i128::from(bits) };
                let value = raw.checked_mul(factor).and_then(|value| value.checked_add(constant));
                value.map_or((false, false), |value| (value > fire, value <= rearm))
            }
            Self::Float { double, scale, offset, fire, rearm } => {
                let value = float(double, bits) * scale + offset;
                (value > fire, value <= rearm)
            }
        }
    }
}
