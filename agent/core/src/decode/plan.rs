//! The compiled plan: frame to readings, without allocation.
//!
//! ```text
//! bus ─▶ id ─▶ Entry ─▶ Group (one set of selectors) ─▶ Word, 40 bytes each, all in one flat list; Rare beside it, then Derived
//! ```

mod compile;
mod derived;
mod extract;
mod ids;

use super::sampling::Memories;
use super::{LeafIndex, Leaves, Reading};
use crate::frame::{BusIndex, CanId, Frame};
use derived::Derived;
use extract::{Rare, Select, Word};
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
    words: Vec<Word>,
    rare: Vec<Rare>,
    derived: Vec<Derived>,
    selects: Vec<Select>,
    ranges: Vec<(u64, u64)>,
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
    words: Span,
    rare: Span,
    derived: Span,
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

    /// Appends the frame's readings to `readings`; allocates only while that vector still grows. Their order is fixed
    /// for a plan: signals of the same multiplexing together, integers before floats, those with VSS names last. What they
    /// leave out over time is not left out here; see [`super::Decoder`].
    pub fn decode(&self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        self.decode_sampled(frame, readings, &mut Memories::default())
    }

    /// The mapped leaves, in the order in which [`Plan::decode_sampled`] asks for their memory.
    pub(super) fn mapped(&self) -> impl Iterator<Item = LeafIndex> {
        self.derived.iter().map(Derived::leaf)
    }

    /// As [`Plan::decode`], less what the memory of a mapped leaf says is not wanted.
    #[inline]
    pub(super) fn decode_sampled(
        &self,
        frame: &Frame,
        readings: &mut Vec<Reading>,
        memories: &mut Memories,
    ) -> Outcome {
        let entry = self.buses.get(usize::from(frame.bus.0)).and_then(|ids| ids.find(frame.id));
        let Some(entry) = entry.and_then(|entry| self.entries.get(entry)) else { return Outcome::NotNeeded };
        if frame.data().len() < entry.bytes.try_into().unwrap_or(usize::MAX) {
            return self.decode_short(entry, frame, readings, memories);
        }
        let bytes = frame.padded();
        for group in self.groups.get(entry.groups.range()).unwrap_or_default() {
            if self.holds(group, bytes) {
                readings.extend(self.words(group).iter().map(|word| word.read(bytes)));
                readings.extend(self.rare(group).iter().map(|rare| rare.read(bytes)));
                if group.derived.first < group.derived.end {
                    self.derive(group, frame, readings, memories);
                }
            }
        }
        Outcome::Decoded
    }

    /// Appends the mapped leaves that are whole; tells how many are not.
    #[inline(never)]
    fn derive(
        &self,
        group: &Group,
        frame: &Frame,
        readings: &mut Vec<Reading>,
        memories: &mut Memories,
    ) -> u32 {
        let length = u32::try_from(frame.data().len()).unwrap_or(0);
        let mut missing = 0;
        for place in group.derived.range() {
            let Some(derived) = self.derived.get(place) else { continue };
            if derived.needs() > length {
                missing += 1;
            } else {
                readings.extend(derived.read(frame.padded(), frame.moment, memories.get(place)));
            }
        }
        missing
    }

    #[inline]
    fn words(&self, group: &Group) -> &[Word] {
        self.words.get(group.words.range()).unwrap_or_default()
    }

    #[inline]
    fn rare(&self, group: &Group) -> &[Rare] {
        self.rare.get(group.rare.range()).unwrap_or_default()
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
    fn decode_short(
        &self,
        entry: &Entry,
        frame: &Frame,
        readings: &mut Vec<Reading>,
        memories: &mut Memories,
    ) -> Outcome {
        let (bytes, length) = (frame.padded(), u32::try_from(frame.data().len()).unwrap_or(0));
        let mut missing = 0;
        for group in self.groups.get(entry.groups.range()).unwrap_or_default() {
            let selects = self.selects.get(group.selects.range()).unwrap_or_default();
            let whole = selects.iter().take_while(|select| select.layout.needs() <= length).count();
            if !selects[..whole].iter().all(|select| self.selected(select, bytes)) {
                continue;
            }
            let seen = whole == selects.len();
            let words = self.words(group).iter().map(|word| (word.needs(), word.read(bytes)));
            let rare = self.rare(group).iter().map(|rare| (rare.layout.needs(), rare.read(bytes)));
            for (needs, reading) in words.chain(rare) {
                if seen && needs <= length {
                    readings.push(reading);
                } else {
                    missing += 1;
                }
            }
            missing += match seen {
                true => self.derive(group, frame, readings, memories),
                false => group.derived.end - group.derived.first,
            };
        }
        if missing == 0 { Outcome::Decoded } else { Outcome::Short(missing) }
    }
}
