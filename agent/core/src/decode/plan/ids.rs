//! Identifier to entry: a table for the 2,048 standard ones, a hash for the extended ones and the groups of J1939.

use crate::decode::SourceAddress;
use crate::decode::j1939::{Address, Pgn};
use crate::frame::{CanId, IdPattern};

const STANDARD_IDS: usize = 2_048;

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
    /// Entry + 1 by identifier, 0 for none.
    standard: Box<[u32; STANDARD_IDS]>,
    /// Open addressing, at most half full: identifier and entry + 1, 0 for none. A power of two long, or empty.
    extended: Vec<(u32, u32)>,
    /// Bits to take from the top of the hash.
    shift: u32,
    /// There are groups in the hash.
    groups: bool,
}

impl Default for BusIds {
    fn default() -> Self {
        Self { standard: Box::new([0; STANDARD_IDS]), extended: Vec::new(), shift: 0, groups: false }
    }
}

impl BusIds {
    /// Entries by key; each key once.
    pub(super) fn new(entries: &[(Key, u32)]) -> Self {
        let mut ids = Self::default();
        let hashed = entries.iter().filter(|(key, _)| key.hashed().is_some()).count();
        if hashed > 0 {
            let slots = (hashed * 2).next_power_of_two().max(2);
            ids.extended = vec![(0, 0); slots];
            ids.shift = 32 - slots.trailing_zeros();
        }
        for &(key, entry) in entries {
            ids.groups |= matches!(key, Key::Group(..));
            if let Some(hashed) = key.hashed() {
                let mut at = ids.slot(hashed);
                while ids.extended[at].1 != 0 {
                    at = (at + 1) & (ids.extended.len() - 1);
                }
                ids.extended[at] = (hashed, entry + 1);
            } else if let Key::Id(CanId::Standard(id)) = key
                && let Some(slot) = ids.standard.get_mut(usize::from(id))
            {
                *slot = entry + 1;
            }
        }
        ids
    }

    fn slot(&self, id: u32) -> usize {
        (id.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }

    /// Index of the entry of an identifier, and who sent the frame where it is of J1939.
    #[inline]
    pub(super) fn find(&self, id: CanId) -> Option<(usize, SourceAddress)> {
        match id {
            CanId::Standard(id) => {
                let entry = self.standard.get(usize::from(id))?.checked_sub(1)?;
                Some((entry as usize, SourceAddress::NONE))
            }
            CanId::Extended(id) => self.find_extended(id),
        }
    }

    fn find_extended(&self, id: u32) -> Option<(usize, SourceAddress)> {
        match self.look_up(id) {
            Some(entry) => Some((entry, SourceAddress::NONE)),
            None if self.groups => Address::of(id).and_then(|from| self.find_group(from)),
            None => None,
        }
    }

    /// The entry of a group from this source, else from any.
    pub(super) fn find_group(&self, from: Address) -> Option<(usize, SourceAddress)> {
        let sources = [from.source, SourceAddress::NONE];
        let keys = sources.map(|source| Key::Group(from.pgn, source).hashed());
        let entry = keys.into_iter().flatten().find_map(|key| self.look_up(key))?;
        Some((entry, from.source))
    }

    fn look_up(&self, key: u32) -> Option<usize> {
        let last = self.extended.len().checked_sub(1)?;
        let mut at = self.slot(key);
        loop {
            match self.extended.get(at)? {
                (_, 0) => return None,
                (found, entry) if *found == key => return Some(*entry as usize - 1),
                _ => at = (at + 1) & last,
            }
        }
    }

    /// The entries of all keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = usize> + '_ {
        let extended = self.extended.iter().map(|(_, entry)| entry);
        self.standard
            .iter()
            .chain(extended)
            .filter_map(|entry| entry.checked_sub(1).map(|entry| entry as usize))
    }
}
