//! The compiled plan: frame to readings, without allocation.
//!
//! ```text
//! bus ─▶ id ─▶ Entry ─▶ plain, ranged: Words that every frame has ─▶ Reading
//!                    └▶ groups, one a set of selectors; rare ones; derived ones of a mapping: off the short way
//! ```

mod compile;
mod derived;
mod extract;
mod ids;

use super::decoder::Between;
use super::j1939::{Address, Long};
use super::layout::ByteOrder;
use super::predicate::Works;
use super::sampling::Memories;
use super::{LeafIndex, Leaves, Reading, SourceAddress};
use crate::frame::{BusIndex, CanId, Frame, IdPattern};
use crate::names::Moment;
use derived::Derived;
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
    /// The leaves that a mapping derives or samples, in the order of their memories.
    mapped: Vec<LeafIndex>,
    /// What is derived of readings, with nothing known of them yet: a [`super::Decoder`] knows.
    works: Works,
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
    /// It is a group of J1939: readings tell who sent it.
    j1939: bool,
    /// It may come in several frames.
    long: bool,
    /// It carries parts of messages of several frames.
    carrier: bool,
    pattern: IdPattern,
}

/// The bytes of a frame or message, with zeros behind them, when they came and who sent them.
#[derive(Clone, Copy)]
struct Payload<'p> {
    bytes: &'p [u8],
    length: usize,
    moment: Moment,
    source: SourceAddress,
}

/// What is in a frame while all of `selects` hold.
#[derive(Debug, Clone, Default)]
struct Group {
    plain: Box<[Word]>,
    ranged: Box<[Ranged]>,
    rare: Box<[Rare]>,
    derived: Box<[Derived]>,
    selects: Box<[Select]>,
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
        patterns.sort_unstable();
        patterns.dedup();
        patterns
    }

    /// Appends the frame's readings to `readings`; allocates only while that vector still grows. Their order is fixed
    /// for a plan: signals of the same multiplexing together; of these first the unsigned ones without a range, last the
    /// floats and then the mapped ones. What those leave out over time is not left out here, and nothing is derived of
    /// several: see [`super::Decoder`].
    #[inline]
    pub fn decode(&self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        self.decode_between(frame, readings, None)
    }

    /// What is derived, before anything was read.
    pub(super) fn works(&self) -> &Works {
        &self.works
    }

    /// The mapped leaves, in the order of their memories.
    pub(super) fn mapped(&self) -> &[LeafIndex] {
        &self.mapped
    }

    /// As [`Plan::decode`], with what was remembered of the frames before: less what is not wanted so often, and more
    /// where the frame completes a message.
    #[inline]
    pub(super) fn decode_between(
        &self,
        frame: &Frame,
        readings: &mut Vec<Reading>,
        between: Option<&mut Between>,
    ) -> Outcome {
        let Some(entry) = self.entry(frame) else { return Outcome::NotNeeded };
        if frame.length() < entry.simple_from {
            return self.decode_any(entry, frame, readings, between);
        }
        let first = word(frame.padded(), 0, entry.order);
        read(&entry.always.plain, &entry.always.ranged, |_| first, readings);
        Outcome::Decoded
    }

    /// Whether messages of this sender and group are needed and may come in several frames.
    pub(super) fn wants_long(&self, bus: BusIndex, from: Address) -> bool {
        let found = self.buses.get(usize::from(bus.0)).and_then(|ids| ids.find_group(from));
        found.and_then(|entry| self.entries.get(entry)).is_some_and(|entry| entry.long)
    }

    /// A frame of any kind.
    #[inline(never)]
    fn decode_any(
        &self,
        entry: &Entry,
        frame: &Frame,
        readings: &mut Vec<Reading>,
        between: Option<&mut Between>,
    ) -> Outcome {
        let mut nothing = Between::default();
        let Between { transport, memories } = between.unwrap_or(&mut nothing);
        let from = match frame.id {
            CanId::Extended(id) if entry.j1939 => Address::of(id),
            _ => None,
        };
        let source = from.map_or(SourceAddress::NONE, |from| from.source);
        let payload =
            Payload { bytes: frame.padded(), length: frame.length().into(), moment: frame.moment, source };
        let outcome = entry.decode(payload, readings, memories);
        let long = from
            .filter(|_| entry.carrier)
            .and_then(|from| transport.take(frame, from, |bus, from| self.wants_long(bus, from)));
        let Some(Long { bus, address, padded, length }) = long else { return outcome };
        let found = self.buses.get(usize::from(bus.0)).and_then(|ids| ids.find_group(address));
        match found.and_then(|entry| self.entries.get(entry)) {
            Some(entry) => entry.decode(Payload { bytes: padded, length, ..payload }, readings, memories),
            None => outcome,
        }
    }

    #[inline]
    fn entry(&self, frame: &Frame) -> Option<&Entry> {
        let ids = self.buses.get(usize::from(frame.bus.0))?;
        self.entries.get(ids.find(frame.id)?)
    }
}

impl Entry {
    fn decode(&self, payload: Payload<'_>, readings: &mut Vec<Reading>, memories: &mut Memories) -> Outcome {
        let first = readings.len();
        let groups = std::iter::once(&self.always).chain(&self.multiplexed);
        let missing = match payload.length < self.bytes as usize {
            true => groups.map(|group| group.decode_short(payload, readings, memories)).sum(),
            false => {
                groups
                    .filter(|group| group.selects.iter().all(|select| select.holds(payload.bytes)))
                    .for_each(|group| group.decode(payload, readings, memories));
                0
            }
        };
        if self.j1939 {
            readings.iter_mut().skip(first).for_each(|reading| reading.source = payload.source);
        }
        match missing {
            0 if self.is_empty() => Outcome::NotNeeded,
            0 => Outcome::Decoded,
            missing => Outcome::Short(missing),
        }
    }

    /// It only carries.
    fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl Group {
    /// How many bytes a frame must have for each reading, in their order; without the derived ones.
    fn needs(&self) -> impl Iterator<Item = u32> {
        let words = self.plain.iter().chain(self.ranged.iter().map(Ranged::word));
        words.map(Word::needs).chain(self.rare.iter().map(|rare| rare.layout.needs()))
    }

    fn decode(&self, payload: Payload<'_>, readings: &mut Vec<Reading>, memories: &mut Memories) {
        self.extract(payload.bytes, readings);
        self.derive(payload, readings, memories);
    }

    fn extract(&self, bytes: &[u8], readings: &mut Vec<Reading>) {
        read(&self.plain, &self.ranged, |at| word(bytes, at.at, at.order), readings);
        readings.extend(self.rare.iter().map(|rare| rare.read(bytes)));
    }

    /// Appends the mapped leaves that are whole; tells how many are not.
    fn derive(&self, payload: Payload<'_>, readings: &mut Vec<Reading>, memories: &mut Memories) -> u32 {
        let mut missing = 0;
        for derived in &self.derived {
            if payload.length < derived.needs() as usize {
                missing += 1;
            } else {
                readings.extend(derived.read(payload.bytes, payload.moment, memories, payload.source));
            }
        }
        missing
    }

    /// Only what is whole: tells how many leaves are cut off, or their multiplexor.
    #[cold]
    fn decode_short(
        &self,
        payload: Payload<'_>,
        readings: &mut Vec<Reading>,
        memories: &mut Memories,
    ) -> u32 {
        let length = u32::try_from(payload.length).unwrap_or(0);
        let whole = self.selects.iter().take_while(|select| select.layout.needs() <= length).count();
        if !self.selects[..whole].iter().all(|select| select.holds(payload.bytes)) {
            return 0;
        }
        if whole < self.selects.len() {
            return u32::try_from(self.needs().count() + self.derived.len()).unwrap_or(u32::MAX);
        }
        let first = readings.len();
        self.extract(payload.bytes, readings);
        let (mut needs, mut at, mut missing) = (self.needs(), 0.., 0);
        readings.retain(|_| {
            let before = at.next() < Some(first);
            let whole = before || needs.next().is_some_and(|needs| needs <= length);
            missing += u32::from(!whole);
            whole
        });
        missing + self.derive(payload, readings, memories)
    }
}
