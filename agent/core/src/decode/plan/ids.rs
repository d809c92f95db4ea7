//! Identifier to entry: a table for the 2,048 standard ones, a hash for the extended ones.

use crate::frame::CanId;

const STANDARD_IDS: usize = 2_048;
/// Beyond all entries, so that taking the entry is the test whether there is one.
const NONE: u32 = u32::MAX;

/// The identifiers of one bus.
#[derive(Debug, Clone)]
pub(super) struct BusIds {
    /// Entry by identifier, or `NONE`.
    standard: Box<[u32; STANDARD_IDS]>,
    /// Open addressing, at most an eighth full, so that most identifiers that are not there meet an empty place: identifier and entry, or `NONE`. A power of two long, or empty.
    extended: Box<[(u32, u32)]>,
    /// Bits to take from the top of the hash.
    shift: u32,
}

impl Default for BusIds {
    fn default() -> Self {
        Self { standard: Box::new([NONE; STANDARD_IDS]), extended: Box::default(), shift: 0 }
    }
}

impl BusIds {
    /// Entries by identifier; each identifier once.
    pub(super) fn new(entries: &[(CanId, u32)]) -> Self {
        let mut ids = Self::default();
        let extended = entries.iter().filter(|(id, _)| matches!(id, CanId::Extended(_))).count();
        if extended > 0 {
            let slots = (extended * 8).next_power_of_two();
            ids.extended = vec![(0, NONE); slots].into();
            ids.shift = 32 - slots.trailing_zeros();
        }
        for &(id, entry) in entries {
            match id {
                CanId::Standard(id) => {
                    if let Some(slot) = ids.standard.get_mut(usize::from(id)) {
                        *slot = entry;
                    }
                }
                CanId::Extended(id) => {
                    let mut at = ids.slot(id);
                    while ids.extended[at].1 != NONE {
                        at = (at + 1) & (ids.extended.len() - 1);
                    }
                    ids.extended[at] = (id, entry);
                }
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
            CanId::Extended(id) => self.find_extended(id).map(|entry| entry as usize),
        }
    }

    #[inline]
    fn find_extended(&self, id: u32) -> Option<u32> {
        let last = self.extended.len().checked_sub(1)?;
        let mut at = self.slot(id);
        loop {
            match self.extended.get(at)? {
                (found, entry) if *found == id || *entry == NONE => return Some(*entry),
                _ => at = (at + 1) & last,
            }
        }
    }

    /// All identifiers, ascending.
    pub(super) fn ids(&self) -> Vec<CanId> {
        let standard = (0u16..).zip(self.standard.iter()).filter(|(_, entry)| **entry != NONE);
        let mut extended: Vec<u32> =
            self.extended.iter().filter(|(_, entry)| *entry != NONE).map(|(id, _)| *id).collect();
        extended.sort_unstable();
        standard.map(|(id, _)| CanId::Standard(id)).chain(extended.into_iter().map(CanId::Extended)).collect()
    }
}
