//! Derived signals at work: the last reading of each input, and what follows of them whenever one is read.

use super::{Made, Predicate};
use crate::decode::leaves::number;
use crate::decode::{Leaf, LeafIndex, Leaves, Reading, SourceAddress, State, ValueType};
use crate::limits::PREDICATE_INPUTS_MAX;
use crate::names::Moment;

/// Those that somebody needs; empty in most cars.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Works {
    all: Vec<Work>,
}

#[derive(Debug, Clone)]
struct Work {
    leaf: LeafIndex,
    predicate: Predicate,
    inputs: Vec<Fed>,
}

/// One input, and what was last read of it.
#[derive(Debug, Clone, Copy)]
struct Fed {
    leaf: LeafIndex,
    value_type: ValueType,
    scale: f64,
    offset: f64,
    /// When, and its value, if it had one.
    last: Option<(Moment, Option<f64>)>,
}

impl Works {
    /// Those of `needed`, ascending, that are derived; nothing is known of their inputs yet.
    pub(in super::super) fn new(leaves: &Leaves, needed: &[LeafIndex]) -> Self {
        let work = |leaf: &LeafIndex| {
            let Made { predicate, inputs } = leaves.get(*leaf)?.made.as_ref()?;
            let inputs = inputs.iter().map(|input| Some(Fed::new(*input, leaves.get(*input)?)));
            Some(Work { leaf: *leaf, predicate: *predicate, inputs: inputs.collect::<Option<_>>()? })
        };
        Self { all: needed.iter().filter_map(work).collect() }
    }

    /// Goes on with what is known of the inputs of those that are in both; of the others nothing stays.
    pub(in super::super) fn carry(&mut self, old: &Self) {
        for work in &mut self.all {
            if let Some(old) = old.all.iter().find(|old| old.leaf == work.leaf) {
                work.inputs.clone_from(&old.inputs);
            }
        }
    }

    #[inline]
    pub(in super::super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Appends what follows of a frame's readings, which are those from `first` on.
    #[cold]
    pub(in super::super) fn add(&mut self, now: Moment, first: usize, readings: &mut Vec<Reading>) {
        let read = readings.len();
        for work in &mut self.all {
            let seen = readings.get(first..read).unwrap_or_default();
            readings.extend(work.look(now, seen));
        }
    }
}

impl Work {
    /// What follows, if one of the inputs was read. Nothing before each was read once; no value while one has none, or was
    /// not read for so long that it does not count any more.
    fn look(&mut self, now: Moment, readings: &[Reading]) -> Option<Reading> {
        let mut is_read = false;
        for reading in readings {
            for input in self.inputs.iter_mut().filter(|input| input.leaf == reading.leaf) {
                input.last = Some((now, input.value(reading)));
                is_read = true;
            }
        }
        if !is_read || self.inputs.iter().any(|input| input.last.is_none()) {
            return None;
        }
        let bits = self.value(now);
        let state = if bits.is_some() { State::Value } else { State::NotAvailable };
        Some(Reading { leaf: self.leaf, state, source: SourceAddress::NONE, bits: bits.unwrap_or(0) })
    }

    fn value(&self, now: Moment) -> Option<u64> {
        let mut values = [0.0; PREDICATE_INPUTS_MAX];
        let values = values.get_mut(..self.inputs.len())?;
        for (value, input) in values.iter_mut().zip(&self.inputs) {
            let (at, last) = input.last?;
            // A frame that came out of order makes none old.
            let counts = now.0.saturating_sub(at.0) <= self.predicate.counts_us();
            *value = last.filter(|_| counts)?;
        }
        self.predicate.of(values)
    }
}

impl Fed {
    fn new(index: LeafIndex, leaf: &Leaf) -> Self {
        let &Leaf { value_type, scale, offset, .. } = leaf;
        Self { leaf: index, value_type, scale, offset, last: None }
    }

    fn value(&self, reading: &Reading) -> Option<f64> {
        let value = number(self.value_type, reading.bits) * self.scale + self.offset;
        (reading.state == State::Value && value.is_finite()).then_some(value)
    }
}
