//! A CAN frame as the bus stage hands it over.

use crate::names::Moment;

/// Number of a bus in the configuration's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusIndex(pub u8);

/// A CAN identifier with its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CanId {
    /// 11 bits.
    Standard(u16),
    /// 29 bits.
    Extended(u32),
}

/// A data frame: classic (≤ 8 bytes) or FD (≤ 64 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The bus it came from.
    pub bus: BusIndex,
    /// Its identifier.
    pub id: CanId,
    /// When it was received.
    pub moment: Moment,
    length: u8,
    bytes: [u8; 64],
}

impl Frame {
    /// `None` if `data` is longer than 64 bytes.
    #[must_use]
    #[inline]
    pub fn new(bus: BusIndex, id: CanId, moment: Moment, data: &[u8]) -> Option<Self> {
        let mut bytes = [0; 64];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        Some(Self { bus, id, moment, length: u8::try_from(data.len()).ok()?, bytes })
    }

    /// The payload.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Bytes of payload.
    #[inline]
    pub(crate) fn length(&self) -> u8 {
        self.length
    }

    /// All 64 bytes, zero behind the payload: lets extraction read whole words.
    #[must_use]
    #[inline]
    pub fn padded(&self) -> &[u8; 64] {
        &self.bytes
    }
}

/// Identifiers that are alike but for some bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdPattern {
    /// One of them, with 0 for the bits that may be anything.
    pub id: CanId,
    /// The bits that may be anything.
    pub any: u32,
}

impl IdPattern {
    /// This one alone.
    #[must_use]
    pub fn exact(id: CanId) -> Self {
        Self { id, any: 0 }
    }

    /// 29-bit identifiers.
    #[must_use]
    pub fn extended(id: u32, any: u32) -> Self {
        Self { id: CanId::Extended(id & !any), any }
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn matches(&self, id: CanId) -> bool {
        match (self.id, id) {
            (CanId::Standard(one), CanId::Standard(id)) => (u32::from(one ^ id)) & !self.any == 0,
            (CanId::Extended(one), CanId::Extended(id)) => (one ^ id) & !self.any == 0,
            _ => false,
        }
    }
}
