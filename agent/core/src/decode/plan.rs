//! The compiled plan: frame to readings, without allocation.
//!
//! ```text
//! bus ─▶ id ─▶ Entry ─▶ Group (one set of selectors) ─▶ Word, 40 bytes each, all in one flat list; Rare beside it
//! ```

mod compile;
mod extract;
mod ids;

use super::j1939::{self, Address, Long};
use super::{LeafIndex, Leaves, Reading, SourceAddress};
use crate::frame::{BusIndex, Frame, IdPattern};
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
    /// By number of the bus: something of it may come in several frames.
    long: Vec<bool>,
    entries: Vec<Entry>,
    groups: Vec<Group>,
    words: Vec<Word>,
    rare: Vec<Rare>,
    selects: Vec<Select>,
    ranges: Vec<(u64, u64)>,
}

/// All that is needed of the frames of one identifier.
#[derive(Debug, Clone)]
struct Entry {
    groups: Span,
    /// A frame of this length holds everything.
    bytes: u32,
    /// It may come in several frames.
    long: bool,
    pattern: IdPattern,
}

/// What is in a frame while all of `selects` hold.
#[derive(Debug, Clone)]
struct Group {
    selects: Span,
    words: Span,
    rare: Span,
}

/// The bytes of a frame or message, with zeros behind them, and who sent them.
#[derive(Clone, Copy)]
struct Payload<'p> {
    bytes: &'p [u8],
    length: usize,
    source: SourceAddress,
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

    /// The identifiers of a bus that some needed leaf is in: what a kernel filter must let through. Where a message
    /// of J1939 may come in several frames, all those are among them: what they carry is known only inside.
    #[must_use]
    pub fn patterns(&self, bus: BusIndex) -> Vec<IdPattern> {
        let Some(ids) = self.buses.get(usize::from(bus.0)) else { return Vec::new() };
        let entries = ids.entries().filter_map(|entry| self.entries.get(entry));
        let mut patterns: Vec<IdPattern> = entries.map(|entry| entry.pattern).collect();
        if self.has_long(bus) {
            patterns.extend([j1939::CONNECTION, j1939::DATA].map(j1939::Pgn::pattern));
        }
        patterns.sort_unstable();
        patterns.dedup();
        patterns
    }

    /// Appends the frame's readings to `readings`; allocates only while that vector still grows. Their order is fixed
    /// for a plan: signals of the same multiplexing together, integers before floats.
    pub fn decode(&self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        let found = self.buses.get(usize::from(frame.bus.0)).and_then(|ids| ids.find(frame.id));
        let Some((entry, source)) = found else { return Outcome::NotNeeded };
        self.extract(entry, Payload { bytes: frame.padded(), length: frame.data().len(), source }, readings)
    }

    /// Whether anything needed of the bus may come in several frames.
    #[inline]
    pub(crate) fn has_long(&self, bus: BusIndex) -> bool {
        self.long.get(usize::from(bus.0)).is_some_and(|long| *long)
    }

    /// Whether messages of this sender and group are needed and may come in several frames.
    pub(crate) fn wants_long(&self, bus: BusIndex, from: Address) -> bool {
        let found = self.buses.get(usize::from(bus.0)).and_then(|ids| ids.find_group(from));
        found.and_then(|(entry, _)| self.entries.get(entry)).is_some_and(|entry| entry.long)
    }

    /// The same as [`Self::decode`] for a message that came in several frames.
    pub(crate) fn decode_long(&self, message: Long<'_>, readings: &mut Vec<Reading>) -> Outcome {
        let Long { bus, address, padded, length } = message;
        let found = self.buses.get(usize::from(bus.0)).and_then(|ids| ids.find_group(address));
        let Some((entry, source)) = found else { return Outcome::NotNeeded };
        self.extract(entry, Payload { bytes: padded, length, source }, readings)
    }

    #[inline]
    fn extract(&self, entry: usize, payload: Payload<'_>, readings: &mut Vec<Reading>) -> Outcome {
        let Some(entry) = self.entries.get(entry) else { return Outcome::NotNeeded };
        if payload.length < entry.bytes as usize {
            return self.extract_short(entry, payload, readings);
        }
        let Payload { bytes, source, .. } = payload;
        for group in self.groups.get(entry.groups.range()).unwrap_or_default() {
            if self.holds(group, bytes) {
                readings.extend(self.words(group).iter().map(|word| word.read(bytes, source)));
                readings.extend(self.rare(group).iter().map(|rare| rare.read(bytes, source)));
            }
        }
        Outcome::Decoded
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
    fn holds(&self, group: &Group, bytes: &[u8]) -> bool {
        let selects = self.selects.get(group.selects.range()).unwrap_or_default();
        selects.iter().all(|select| self.selected(select, bytes))
    }

    fn selected(&self, select: &Select, bytes: &[u8]) -> bool {
        let value = select.layout.bits(bytes);
        let ranges = self.ranges.get(select.ranges.range()).unwrap_or_default();
        ranges.iter().any(|(low, high)| (*low..=*high).contains(&value))
    }

    /// Only what is whole: a leaf whose bits, or whose multiplexor's bits, are cut off is counted.
    #[cold]
    fn extract_short(&self, entry: &Entry, payload: Payload<'_>, readings: &mut Vec<Reading>) -> Outcome {
        let Payload { bytes, length, source } = payload;
        let length = u32::try_from(length).unwrap_or(0);
        let mut missing = 0;
        for group in self.groups.get(entry.groups.range()).unwrap_or_default() {
            let selects = self.selects.get(group.selects.range()).unwrap_or_default();
            let whole = selects.iter().take_while(|select| select.layout.needs() <= length).count();
            if !selects[..whole].iter().all(|select| self.selected(select, bytes)) {
                continue;
            }
            let seen = whole == selects.len();
            let words = self.words(group).iter().map(|word| (word.needs(), word.read(bytes, source)));
            let rare = self.rare(group).iter().map(|rare| (rare.layout.needs(), rare.read(bytes, source)));
            for (needs, reading) in words.chain(rare) {
                if seen && needs <= length {
                    readings.push(reading);
                } else {
                    missing += 1;
                }
            }
        }
        if missing == 0 { Outcome::Decoded } else { Outcome::Short(missing) }
    }
}
