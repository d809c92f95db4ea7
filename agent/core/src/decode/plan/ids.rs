//! Identifier to entry: a table for the 2,048 standard ones, a hash for the extended ones.

use crate::frame::CanId;

const STANDARD_IDS: usize = 2_048;

/// The identifiers of one bus.
#[derive(Debug, Clone)]
pub(super) struct BusIds {
    /// Entry + 1 by identifier, 0 for none.
    standard: Box<[u32; STANDARD_IDS]>,
    /// Open addressing, at most half full: identifier and entry + 1, 0 for none. A power of two long, or empty.
    extended: Vec<(u32, u32)>,
    /// Bits to take from the top of the hash.
    shift: u32,
}

impl Default for BusIds {
    fn default() -> Self {
        Self { standard: Box::new([0; STANDARD_IDS]), extended: Vec::new(), shift: 0 }
    }
}

impl BusIds {
    /// Entries by identifier; each identifier once.
    pub(super) fn new(entries: &[(CanId, u32)]) -> Self {
        let mut ids = Self::default();
        let extended = entries.iter().filter(|(id, _)| matches!(id, CanId::Extended(_))).count();
        if extended > 0 {
            let slots = (extended * 2).next_power_of_two().max(2);
            ids.extended = vec![(0, 0); slots];
            ids.shift = 32 - slots.trailing_zeros();
        }
        for &(id, entry) in entries {
            match id {
                CanId::Standard(id) => {
                    if let Some(slot) = ids.standard.get_mut(usize::from(id)) {
                        *slot = entry + 1;
                    }
                }
                CanId::Extended(id) => {
                    let mut at = ids.slot(id);
                    while ids.extended[at].1 != 0 {
                        at = (at + 1) & (ids.extended.len() - 1);
                    }
                    ids.extended[at] = (id, entry + 1);
                }
            }
        }
        ids
    }

    fn slot(&self, id: u32) -> usize {
        (id.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }

    /// Index of the entry of an identifier.
    #[inline]
    pub(super) fn find(&self, id: CanId) -> Option<usize> {
        match id {
            CanId::Standard(id) => self
                .standard
                .get(usize::from(id))
                .and_then(|entry| entry.checked_sub(1))
                .map(|entry| entry as usize),
            CanId::Extended(id) => self.find_extended(id),
        }
    }

    fn find_extended(&self, id: u32) -> Option<usize> {
        let last = self.extended.len().checked_sub(1)?;
        let mut at = self.slot(id);
        loop {
            match self.extended.get(at)? {
                (_, 0) => return None,
                (found, entry) if *found == id => return Some(*entry as usize - 1),
                _ => at = (at + 1) & last,
            }
        }
    }

    /// All identifiers, ascending.
    pub(super) fn ids(&self) -> Vec<CanId> {
        let standard = (0u16..).zip(self.standard.iter()).filter(|(_, entry)| **entry != 0);
        let mut extended: Vec<u32> =
            self.extended.iter().filter(|(_, entry)| *entry != 0).map(|(id, _)| *id).collect();
        extended.sort_unstable();
        standard.map(|(id, _)| CanId::Standard(id)).chain(extended.into_iter().map(CanId::Extended)).collect()
    }
}
