//! The compiled plan: frame to readings, without allocation.
//!
//! ```text
//! bus ─▶ id ─▶ Entry ─▶ plain, ranged: Words that every frame has ─▶ Reading
//!                    └▶ groups, one a set of selectors, and rare ones: off the short way
//! ```

mod compile;
mod extract;
mod ids;

use super::layout::ByteOrder;
use super::{LeafIndex, Leaves, Reading};
use crate::frame::{BusIndex, CanId, Frame};
use extract::{Ranged, Rare, Select, Word, read, word};
use ids::BusIds;

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
}

/// All that is needed of the frames of one identifier.
#[derive(Debug, Clone)]
struct Entry {
    always: Group,
    /// What is there only sometimes.
    multiplexed: Box<[Group]>,
    /// A frame of this length holds everything.
    bytes: u32,
    /// From this length of a frame on everything is in its first 8 bytes, read in one byte order, and always there.
    /// More than any frame's length if that is not so.
    simple_from: u8,
    order: ByteOrder,
}

/// What is in a frame while all of `selects` hold.
#[derive(Debug, Clone, Default)]
struct Group {
    plain: Box<[Word]>,
    ranged: Box<[Ranged]>,
    rare: Box<[Rare]>,
    selects: Box<[Select]>,
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

    /// Appends the frame's readings to `readings`; allocates only while that vector still grows. Their order is fixed
    /// for a plan: signals of the same multiplexing together; of these first the unsigned ones without a range, last the
    /// floats.
    #[inline]
    pub fn decode(&self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        let Some(entry) = self.entry(frame) else { return Outcome::NotNeeded };
        if frame.length() < entry.simple_from {
            return entry.decode(frame, readings);
        }
        let first = word(frame.padded(), 0, entry.order);
        read(&entry.always.plain, &entry.always.ranged, |_| first, readings);
        Outcome::Decoded
    }

    #[inline]
    fn entry(&self, frame: &Frame) -> Option<&Entry> {
        let ids = self.buses.get(usize::from(frame.bus.0))?;
        self.entries.get(ids.find(frame.id)?)
    }
}

impl Entry {
    /// Any frame.
    #[inline(never)]
    fn decode(&self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        if u32::from(frame.length()) < self.bytes {
            return self.decode_short(frame, readings);
        }
        let bytes = frame.padded();
        for group in std::iter::once(&self.always).chain(&self.multiplexed) {
            if group.selects.iter().all(|select| select.holds(bytes)) {
                group.decode(bytes, readings);
            }
        }
        Outcome::Decoded
    }

    /// Only what is whole: a leaf whose bits, or whose multiplexor's bits, are cut off is counted.
    #[cold]
    fn decode_short(&self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        let (bytes, length) = (frame.padded(), u32::from(frame.length()));
        let mut missing = 0;
        for group in std::iter::once(&self.always).chain(&self.multiplexed) {
            let whole = group.selects.iter().take_while(|select| select.layout.needs() <= length).count();
            if !group.selects[..whole].iter().all(|select| select.holds(bytes)) {
                continue;
            }
            let seen = whole == group.selects.len();
            let first = readings.len();
            group.decode(bytes, readings);
            let mut needs = group.needs();
            let mut at = 0..;
            readings.retain(|_| {
                let before = at.next() < Some(first);
                let whole = before || needs.next().is_some_and(|needs| seen && needs <= length);
                missing += u32::from(!whole);
                whole
            });
        }
        if missing == 0 { Outcome::Decoded } else { Outcome::Short(missing) }
    }
}

impl Group {
    /// How many bytes a frame must have for each reading, in their order.
    fn needs(&self) -> impl Iterator<Item = u32> {
        let words = self.plain.iter().chain(self.ranged.iter().map(Ranged::word));
        words.map(Word::needs).chain(self.rare.iter().map(|rare| rare.layout.needs()))
    }

    fn decode(&self, bytes: &[u8; 64], readings: &mut Vec<Reading>) {
        read(&self.plain, &self.ranged, |at| word(bytes, at.at, at.order), readings);
        readings.extend(self.rare.iter().map(|rare| rare.read(bytes)));
    }
}
