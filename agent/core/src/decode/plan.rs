//! The compiled plan: frame to readings, without allocation.
//!
//! ```text
//! bus ─▶ id ─▶ Entry ─▶ Group (one set of selectors) ─▶ Extraction, 32 bytes each, all in one flat list
//! ```

mod compile;
mod extract;
mod ids;

use super::{LeafIndex, Leaves, Reading};
use crate::frame::{BusIndex, CanId, Frame};
use extract::{Extraction, Rare, Select};
use ids::BusIds;
use std::ops::Range;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No needed leaf is in this frame.
    NotNeeded,
    /// All that is needed was decoded.
    Decoded,
    /// The frame is shorter than the database says: what is whole was decoded, so many leaves were not.
    Short(u32),
}

/// Per identifier a dense list of what to extract, for the leaves that somebody needs.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// By number of the bus; a number in it is an index into `entries`.
    buses: Vec<BusIds>,
    entries: Vec<Entry>,
    groups: Vec<Group>,
    extractions: Vec<Extraction>,
    selects: Vec<Select>,
    ranges: Vec<(u64, u64)>,
    rare: Vec<Rare>,
}

/// All that is needed of the frames of one identifier.
#[derive(Debug, Clone)]
struct Entry {
    groups: Span,
    /// A frame of this length holds everything.
    bytes: u32,
}

/// What is in a frame while all of `selects` hold.
#[derive(Debug, Clone)]
struct Group {
    selects: Span,
    extractions: Span,
}

/// A run of one of the flat lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: u32,
    end: u32,
}

impl Span {
    #[inline]
    fn range(self) -> Range<usize> {
        self.first as usize..self.end as usize
    }
}

impl Plan {
    /// A plan that extracts `needed` and nothing else.
    #[must_use]
    pub fn compile(leaves: &Leaves, needed: &[LeafIndex]) -> Self {
        compile::compile(leaves, needed)
    }

    /// The identifiers of a bus that some needed leaf is in, ascending: what a kernel filter must let through.
    #[must_use]
    pub fn ids(&self, bus: BusIndex) -> Vec<CanId> {
        self.buses.get(usize::from(bus.0)).map(BusIds::ids).unwrap_or_default()
    }

    /// Appends the frame's readings to `readings`; allocates only while that vector still grows.
    #[inline]
    pub fn decode(&self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        let entry = self.buses.get(usize::from(frame.bus.0)).and_then(|ids| ids.find(frame.id));
        let Some(entry) = entry.and_then(|entry| self.entries.get(entry)) else { return Outcome::NotNeeded };
        if frame.data().len() < entry.bytes.try_into().unwrap_or(usize::MAX) {
            return self.decode_short(entry, frame, readings);
        }
        let bytes = frame.padded();
        for group in self.groups.get(entry.groups.range()).unwrap_or_default() {
            if self.holds(group, bytes) {
                let extractions = self.extractions.get(group.extractions.range()).unwrap_or_default();
                readings.extend(extractions.iter().map(|extraction| self.read(extraction, bytes)));
            }
        }
        Outcome::Decoded
    }

    #[inline]
    fn read(&self, extraction: &Extraction, bytes: &[u8; 64]) -> Reading {
        match extraction {
            Extraction::Word(word) => word.read(bytes),
            Extraction::Rare { leaf, index } => self.read_rare(*leaf, *index, bytes),
        }
    }

    #[cold]
    fn read_rare(&self, leaf: LeafIndex, index: u16, bytes: &[u8; 64]) -> Reading {
        match self.rare.get(usize::from(index)) {
            Some(rare) => rare.read(leaf, bytes),
            None => Reading { leaf, state: super::State::Error, bits: 0 },
        }
    }

    #[inline]
    fn holds(&self, group: &Group, bytes: &[u8; 64]) -> bool {
        let selects = self.selects.get(group.selects.range()).unwrap_or_default();
        selects.iter().all(|select| self.selected(select, bytes))
    }

    fn selected(&self, select: &Select, bytes: &[u8; 64]) -> bool {
        let value = select.layout.bits(bytes);
        let ranges = self.ranges.get(select.ranges.range()).unwrap_or_default();
        ranges.iter().any(|(low, high)| (*low..=*high).contains(&value))
    }

    /// Only what is whole: a leaf whose bits, or whose multiplexor's bits, are cut off is counted.
    #[cold]
    fn decode_short(&self, entry: &Entry, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        let (bytes, length) = (frame.padded(), u32::try_from(frame.data().len()).unwrap_or(0));
        let mut missing = 0;
        for group in self.groups.get(entry.groups.range()).unwrap_or_default() {
            let selects = self.selects.get(group.selects.range()).unwrap_or_default();
            let whole = selects.iter().take_while(|select| select.layout.needs() <= length).count();
            if !selects[..whole].iter().all(|select| self.selected(select, bytes)) {
                continue;
            }
            for extraction in self.extractions.get(group.extractions.range()).unwrap_or_default() {
                if whole == selects.len() && self.needs(extraction) <= length {
                    readings.push(self.read(extraction, bytes));
                } else {
                    missing += 1;
                }
            }
        }
        if missing == 0 { Outcome::Decoded } else { Outcome::Short(missing) }
    }

    fn needs(&self, extraction: &Extraction) -> u32 {
        match extraction {
            Extraction::Word(word) => word.needs(),
            Extraction::Rare { index, .. } => {
                self.rare.get(usize::from(*index)).map_or(u32::MAX, |rare| rare.layout.needs())
            }
        }
    }
}
