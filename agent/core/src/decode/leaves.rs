//! All signals of the car by name: databases of every bus, joined with their mappings.

use super::{LeafIndex, ValueType};
use crate::frame::{BusIndex, CanId};
use crate::names::{Digest, SignalPath};

/// Byte order of a signal in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Intel: `start` is the least significant bit.
    LittleEndian,
    /// Motorola: `start` is the most significant bit, numbered as in the DBC (bit 7 is the first of byte 0).
    BigEndian,
}

/// Where the bits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// DBC start bit.
    pub start: u16,
    /// 1 to 64 bits.
    pub length: u8,
    /// Byte order.
    pub order: ByteOrder,
}

/// The leaf is in a frame only while the multiplexor at `layout` holds a value in one of `ranges`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Where the multiplexor is (unsigned).
    pub layout: Layout,
    /// Inclusive ranges of its raw value.
    pub ranges: Vec<(u64, u64)>,
}

/// A signal of the car: what it is called, where it comes from and how it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// VSS path, or `CAN.<bus>.<Message>.<Signal>`.
    pub path: SignalPath,
    /// Bus it is on.
    pub bus: BusIndex,
    /// Identifier of its message.
    pub id: CanId,
    /// Message name in the DBC.
    pub message: String,
    /// Signal name in the DBC.
    pub signal: String,
    /// Unit in the DBC; empty if none.
    pub unit: String,
    /// How raw bits are read.
    pub value_type: ValueType,
    /// `value = raw * scale + offset`, in IEEE doubles, in that order.
    pub scale: f64,
    /// See `scale`.
    pub offset: f64,
    /// Value table: raw value to name, ascending.
    pub names: Vec<(i64, String)>,
    /// Range of the physical value, inclusive, if the database gives one (minimum < maximum).
    pub range: Option<(f64, f64)>,
    /// Where its bits are.
    pub layout: Layout,
    /// All must hold (cascaded multiplexing has several); empty: in every frame.
    pub selectors: Vec<Selector>,
    /// `signal_map_digest`: over all that is compiled (bus name, id, selectors, bits, order, type, scale, offset,
    /// enumeration), so that a leaf that changed waits for the owner.
    pub digest: Digest,
}

impl Leaf {
    /// Whether two leaves come in the same frames, so that their times can be kept once.
    #[must_use]
    pub fn same_frames(&self, other: &Leaf) -> bool {
        self.bus == other.bus && self.id == other.id && self.selectors == other.selectors
    }
}

/// All leaves, by number and by path.
#[derive(Debug, Clone, Default)]
pub struct Leaves {
    all: Vec<Leaf>,
    by_path: std::collections::HashMap<SignalPath, LeafIndex>,
}

impl Leaves {
    /// The leaf of that number; numbers come only from this object, so it is there.
    #[must_use]
    pub fn get(&self, index: LeafIndex) -> Option<&Leaf> {
        self.all.get(usize::try_from(index.0).ok()?)
    }

    /// The leaf of that path.
    #[must_use]
    pub fn find(&self, path: &SignalPath) -> Option<LeafIndex> {
        self.by_path.get(path).copied()
    }

    /// How many there are; numbers are below it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (LeafIndex, &Leaf)> {
        (0u32..).map(LeafIndex).zip(&self.all)
    }
}
