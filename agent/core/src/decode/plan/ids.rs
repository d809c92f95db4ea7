//! Identifier to entry: a table for the 2,048 standard ones, a hash for the extended ones and the groups of J1939.

use crate::decode::SourceAddress;
use crate::decode::j1939::{Address, Pgn};
use crate::frame::{CanId, IdPattern};

const STANDARD_IDS: usize = 2_048;
/// Beyond all entries, so that taking the entry is the test whether there is one.
const NONE: u32 = u32::MAX;

/// What the frames of an entry have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// This identifier.
    Id(CanId),
    /// A parameter group of J1939, from one source or, with [`SourceAddress::NONE`], from any.
    Group(Pgn, SourceAddress),
}

impl Key {
    /// Frames that have it.
    pub(super) fn pattern(self) -> IdPattern {
        match self {
            Self::Id(id) => IdPattern::exact(id),
            Self::Group(pgn, SourceAddress::NONE) => pgn.pattern(),
            Self::Group(pgn, SourceAddress(source)) => {
                let IdPattern { any, .. } = pgn.pattern();
                IdPattern::extended(pgn.0 << 8 | u32::from(source), any & !0xFF)
            }
        }
    }

    /// As the hash knows it: bit 31 tells groups from identifiers.
    fn hashed(self) -> Option<u32> {
        match self {
            Self::Id(CanId::Standard(_)) => None,
            Self::Id(CanId::Extended(id)) => Some(id),
            Self::Group(Pgn(pgn), SourceAddress(source)) => Some(1 << 31 | pgn << 8 | u32::from(source)),
        }
    }
}

/// The identifiers of one bus.
#[derive(Debug, Clone)]
pub(super) struct BusIds {
    /// Entry by identifier, or `NONE`.
    standard: Box<[u32; STANDARD_IDS]>,
    /// Open addressing, at most an eighth full, so that most identifiers that are not there meet an empty place: key and
    /// entry, or `NONE`. A power of two long, or empty.
    extended: Box<[(u32, u32)]>,
    /// Bits to take from the top of the hash.
    shift: u32,
    /// There are groups among the keys.
    groups: bool,
}

impl Default for BusIds {
    fn default() -> Self {
        Self { standard: Box::new([NONE; STANDARD_IDS]), extended: Box::default(), shift: 0, groups: false }
    }
}

impl BusIds {
    /// Entries by key; each key once.
    pub(super) fn new(entries: &[(Key, u32)]) -> Self {
        let mut ids = Self::default();
        let hashed = entries.iter().filter(|(key, _)| key.hashed().is_some()).count();
        if hashed > 0 {
            let slots = (hashed * 8).next_power_of_two();
            ids.extended = vec![(0, NONE); slots].into();
            ids.shift = 32 - slots.trailing_zeros();
        }
        for &(key, entry) in entries {
            ids.groups |= matches!(key, Key::Group(..));
            if let Some(hashed) = key.hashed() {
                let mut at = ids.slot(hashed);
                while ids.extended[at].1 != NONE {
                    at = (at + 1) & (ids.extended.len() - 1);
                }
                ids.extended[at] = (hashed, entry);
            } else if let Key::Id(CanId::Standard(id)) = key
                && let Some(slot) = ids.standard.get_mut(usize::from(id))
            {
                *slot = entry;
            }
        }
        ids
    }

    fn slot(&self, id: u32) -> usize {
        (id.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }

    /// Index of the entry of an identifier; if there is none, it is beyond all entries.
    #[inline]
    pub(super) fn find(&self, id: CanId) -> Option<usize> {
        match id {
            CanId::Standard(id) => self.standard.get(usize::from(id)).map(|entry| *entry as usize),
            CanId::Extended(id) => match self.look_up(id)? {
                NONE if self.groups => self.find_group(Address::of(id)?),
                entry => Some(entry as usize),
            },
        }
    }

    /// The entry of a group from this source, else from any.
    pub(super) fn find_group(&self, from: Address) -> Option<usize> {
        let sources = [from.source, SourceAddress::NONE];
        let keys = sources.map(|source| Key::Group(from.pgn, source).hashed());
        let mut found = keys.into_iter().flatten().filter_map(|key| self.look_up(key));
        found.find(|entry| *entry != NONE).map(|entry| entry as usize)
    }

    /// The entry of a key, or `NONE`.
    #[inline]
    fn look_up(&self, key: u32) -> Option<u32> {
        let last = self.extended.len().checked_sub(1)?;
        let mut at = self.slot(key);
        loop {
            match self.extended.get(at)? {
                (found, entry) if *found == key || *entry == NONE => return Some(*entry),
                _ => at = (at + 1) & last,
            }
        }
    }

    /// The entries of all keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = usize> + '_ {
        let extended = self.extended.iter().map(|(_, entry)| entry);
        self.standard.iter().chain(extended).filter(|entry| **entry != NONE).map(|entry| *entry as usize)
    }
}
