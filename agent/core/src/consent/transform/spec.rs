//! One transform as a document writes it, and its parameters read strictly: what does not fit is `None`, and denies.

use super::super::decimal::Decimal;
use crate::limits::INTERVAL_MS_MAX;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// One transform as a document writes it: `{"op": "rate", "min_interval_ms": 1000}`.
///
/// Any name is read, so that a document of tomorrow can be read today; an op that is not built, or a parameter that
/// does not fit, denies its signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransformSpec {
    /// Name in the design's table.
    pub op: String,
    /// Its parameters.
    #[serde(flatten)]
    pub parameters: BTreeMap<String, Parameter>,
}

/// A parameter of a transform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the names are those of JSON")]
pub enum Parameter {
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Parameter>),
}

impl std::fmt::Display for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Integer(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::List(items) => {
                f.write_str(&items.iter().map(Self::to_string).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

impl Parameter {
    /// An exact number: a JSON number or a text.
    pub(super) fn decimal(&self) -> Option<Decimal> {
        match self {
            Self::Integer(number) => Decimal::new(i128::from(*number), 0),
            Self::Number(number) => Decimal::from_f64(*number),
            Self::Text(text) => Decimal::parse(text),
            Self::Flag(_) | Self::List(_) => None,
        }
    }
}

impl TransformSpec {
    /// No parameters but these.
    pub(super) fn only(&self, known: &[&str]) -> Option<()> {
        self.parameters.keys().all(|key| known.contains(&key.as_str())).then_some(())
    }

    /// An exact number.
    pub(super) fn decimal(&self, name: &str) -> Option<Decimal> {
        self.parameters.get(name)?.decimal()
    }

    /// The same; 0 if it is left out.
    pub(super) fn decimal_or_zero(&self, name: &str) -> Option<Decimal> {
        if self.has(name) { self.decimal(name) } else { Some(Decimal::ZERO) }
    }

    pub(super) fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        match self.parameters.get(name)? {
            Parameter::Integer(number) if range.contains(number) => Some(*number),
            _ => None,
        }
    }

    /// Whole milliseconds, 1 to [`INTERVAL_MS_MAX`]; answers microseconds.
    pub(super) fn interval_us(&self, name: &str) -> Option<i64> {
        self.integer(name, 1..=INTERVAL_MS_MAX).map(|ms| ms * 1000)
    }

    /// The same; 0 if it is left out.
    pub(super) fn interval_us_or_zero(&self, name: &str) -> Option<i64> {
        if self.has(name) { self.interval_us(name) } else { Some(0) }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.parameters.get(name)? {
            Parameter::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.parameters.contains_key(name)
    }
}
