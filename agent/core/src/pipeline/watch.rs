//! A signal of the car that decides when batches may be sent, or when a trip goes on. Its readings go nowhere: all that
//! comes out is whether it is as it must be. It needs no grant, for nothing of it leaves the pipeline.

use crate::decode::leaves::number;
use crate::decode::{Leaf, LeafIndex, Leaves, Reading, State, ValueType};
use crate::names::SignalPath;

/// What is asked of the signal, in its own unit.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// It is this number; true is 1, false is 0.
    Equals(f64),
    /// It is the value that the database calls so.
    Named(String),
    /// It lies between these, or is one of them.
    Within {
        /// The least; `None`: any.
        at_least: Option<f64>,
        /// The most; `None`: any.
        at_most: Option<f64>,
    },
}

/// Why a signal cannot be watched like this.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WatchError {
    /// No database has it.
    #[error("no database of this car has that signal")]
    Unknown,
    /// A float is hardly ever exactly a number.
    #[error("it is a float, which is hardly ever exactly a number: take `at_least` and `at_most`")]
    Float,
    /// It goes by steps, and none of them is the number.
    #[error("it is never that number: the nearest that it can be is {nearest}")]
    BetweenSteps {
        /// The nearest number that it can be.
        nearest: f64,
    },
    /// It would never hold.
    #[error("it is never so: its database gives it {least} to {most}")]
    Outside {
        /// Least value.
        least: f64,
        /// Greatest value.
        most: f64,
    },
    /// The database has other names, or none.
    #[error("its database does not call any of its values `{name}`{}", known(.names))]
    NoName {
        /// What was asked for.
        name: String,
        /// What there is.
        names: Vec<String>,
    },
}

fn known(names: &[String]) -> String {
    if names.is_empty() {
        " or anything else: take a number".to_owned()
    } else {
        format!(": {}", names.join(", "))
    }
}

/// A signal and what is asked of it, at work.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    leaf: LeafIndex,
    value_type: ValueType,
    scale: f64,
    offset: f64,
    low: f64,
    high: f64,
    holds: Option<bool>,
}

impl Watch {
    /// Watches `path`; nothing is known of it yet.
    ///
    /// # Errors
    /// [`WatchError`] if there is no such signal, or the test can never hold.
    pub fn new(leaves: &Leaves, path: &SignalPath, test: &Test) -> Result<Self, WatchError> {
        let index = leaves.find(path).ok_or(WatchError::Unknown)?;
        let leaf = leaves.get(index).ok_or(WatchError::Unknown)?;
        let (low, high) = bounds(leaf, test)?;
        let &Leaf { value_type, scale, offset, .. } = leaf;
        Ok(Self { leaf: index, value_type, scale, offset, low, high, holds: None })
    }

    /// The signal.
    #[must_use]
    pub fn leaf(&self) -> LeafIndex {
        self.leaf
    }

    /// Whether it is as it must be, by its last reading; `None` if there was none, or that had no value.
    #[must_use]
    pub fn holds(&self) -> Option<bool> {
        self.holds
    }

    /// Looks for it among the readings of a frame; whether it was there. Where several controllers send it, the last one
    /// counts.
    pub(super) fn look(&mut self, readings: &[Reading]) -> bool {
        let Some(reading) = readings.iter().rev().find(|reading| reading.leaf == self.leaf) else {
            return false;
        };
        let value = || number(self.value_type, reading.bits) * self.scale + self.offset;
        self.holds = (reading.state == State::Value).then(|| (self.low..=self.high).contains(&value()));
        true
    }

    /// Goes on with what was known.
    pub(super) fn inherit(&mut self, old: &Self) {
        if self.leaf == old.leaf {
            self.holds = old.holds;
        }
    }
}

/// A number in decimals is seldom exactly one in binary: values count as equal within this part of a step.
const STEP_PART: f64 = 1e-6;

/// Least and greatest value, inclusive, for which the test holds.
fn bounds(leaf: &Leaf, test: &Test) -> Result<(f64, f64), WatchError> {
    let is_float = matches!(leaf.value_type, ValueType::Float32 | ValueType::Float64);
    let margin = if is_float { 0.0 } else { leaf.scale.abs() * STEP_PART };
    let (low, high) = match test {
        Test::Equals(_) if is_float => return Err(WatchError::Float),
        Test::Equals(wanted) => {
            let nearest = ((wanted - leaf.offset) / leaf.scale).round() * leaf.scale + leaf.offset;
            if (nearest - wanted).abs() > margin {
                return Err(WatchError::BetweenSteps { nearest });
            }
            (nearest, nearest)
        }
        Test::Named(name) => {
            let Some((raw, _)) = leaf.names.iter().find(|(_, known)| known == name) else {
                let names = leaf.names.iter().map(|(_, name)| name.clone()).collect();
                return Err(WatchError::NoName { name: name.clone(), names });
            };
            let value = leaf.float(raw.cast_unsigned());
            (value, value)
        }
        Test::Within { at_least, at_most } => {
            (at_least.unwrap_or(f64::NEG_INFINITY), at_most.unwrap_or(f64::INFINITY))
        }
    };
    match leaf.range {
        Some((least, most)) if high < least || low > most => Err(WatchError::Outside { least, most }),
        _ => Ok((low - margin, high + margin)),
    }
}

#[cfg(test)]
mod tests;
