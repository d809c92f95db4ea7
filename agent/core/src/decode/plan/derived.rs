//! Mapped leaves: the signal is taken out of the frame, looked at as often as wanted, and turned into the VSS value.

use super::extract::Rare;
use crate::decode::leaves::{Derivation, Leaf, number};
use crate::decode::sampling::{Memories, Sampling};
use crate::decode::{Reading, SourceAddress, State, ValueType};
use crate::names::Moment;

/// One mapped leaf.
#[derive(Debug, Clone)]
pub(super) struct Derived {
    source: Rare,
    derivation: Option<Derivation>,
    /// How the result is read, and its range.
    value_type: ValueType,
    range: Option<(f64, f64)>,
    sampling: Option<Sampling>,
    /// Where its memory is.
    place: usize,
}

impl Derived {
    /// `source` takes the signal as the DBC has it.
    pub(super) fn new(source: Rare, leaf: &Leaf, place: usize) -> Self {
        let (derivation, sampling) = (leaf.derivation.clone(), leaf.sampling);
        Self { source, derivation, value_type: leaf.value_type, range: leaf.range, sampling, place }
    }

    /// How many bytes a frame must have for it.
    pub(super) fn needs(&self) -> u32 {
        self.source.layout.needs()
    }

    /// The reading, if this observation is to give one; every one does where there is no memory.
    pub(super) fn read(
        &self,
        bytes: &[u8],
        now: Moment,
        memories: &mut Memories,
        sender: SourceAddress,
    ) -> Option<Reading> {
        let Some(sampling) = self.sampling else { return self.derive(bytes) };
        let Some(memory) = memories.get(self.place, sender) else { return self.derive(bytes) };
        if !memory.due(sampling, now) {
            return None;
        }
        self.derive(bytes).filter(|reading| memory.changed(sampling, reading))
    }

    /// The reading; `None` if its value has no result. What is no value stays what it is.
    fn derive(&self, bytes: &[u8]) -> Option<Reading> {
        let reading = self.source.read(bytes);
        let Some(derivation) = self.derivation.as_ref().filter(|_| reading.state == State::Value) else {
            return Some(reading);
        };
        let bits = derivation.apply(reading.bits)?;
        let value = number(self.value_type, bits);
        let within = self.range.is_none_or(|(least, most)| (least..=most).contains(&value));
        Some(match within {
            true => Reading { bits, ..reading },
            false => Reading { state: State::OutOfRange, bits: 0, ..reading },
        })
    }
}
