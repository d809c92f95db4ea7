//! All signals of the car by name: databases of every bus, joined with their mappings.

mod build;
mod derivation;
mod digest;
mod made;
mod value;

use super::dbc::Database;
use super::map::Mapping;
use super::predicate::Made;
use super::{LeafIndex, Notice, Sampling, ValueType};
use crate::frame::{BusIndex, CanId};
use crate::limits::LEAVES_MAX;
use crate::names::{BusName, Digest, SignalPath};
use std::collections::HashMap;

pub use super::layout::{ByteOrder, Layout, Selector};
pub use derivation::{Derivation, Match, Rule};
pub(crate) use value::number;

/// A signal of the car: what it is called, where it comes from and how it is read. Where it has a derivation, unit,
/// type, scale, offset, names and range are those of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// VSS path, `CAN.<bus>.<Message>.<Signal>`, or `Derived.<Name>`.
    pub path: SignalPath,
    /// Bus it is on.
    pub bus: BusIndex,
    /// Identifier of its message.
    pub id: CanId,
    /// Its message is a parameter group of J1939: found by its number, whoever sends it.
    pub j1939: bool,
    /// Bytes of its message.
    pub size: u32,
    /// Message name in the DBC.
    pub message: String,
    /// Signal name in the DBC.
    pub signal: String,
    /// Unit in the VSS or, if the mapping file gives none and changes no value, in the DBC; empty if none.
    pub unit: String,
    /// How raw bits are read.
    pub value_type: ValueType,
    /// `value = raw * scale + offset`, in IEEE doubles, in that order.
    pub scale: f64,
    /// See `scale`.
    pub offset: f64,
    /// Value table: raw value to name, ascending.
    pub names: Vec<(i64, String)>,
    /// Range of the physical value, inclusive, if the database or the VSS gives one; without end on a side that has
    /// none. Nothing is in it where the two do not meet.
    pub range: Option<(f64, f64)>,
    /// Where its bits are.
    pub layout: Layout,
    /// All must hold (cascaded multiplexing has several); empty: in every frame.
    pub selectors: Vec<Selector>,
    /// How its value follows from the signal's; `None`: it is the signal's.
    pub derivation: Option<Derivation>,
    /// How often it is looked at; `None`: in every frame.
    pub sampling: Option<Sampling>,
    /// It is in no frame, but made of these; what is said above of frames is then that of the first of them.
    pub made: Option<Made>,
    /// `signal_map_digest`: over all that is compiled (bus name, id, selectors, bits, order, type, scale, offset,
    /// enumeration, range and unit, which change what a reading says, derivation and sampling), so that a leaf that
    /// changed waits for the owner.
    pub digest: Digest,
}

/// A name of a DBC as it stands in a path: each character that a path may not have there is `_`.
#[must_use]
pub fn path_word(name: &str) -> String {
    build::clean(name)
}

impl Leaf {
    /// Whether two leaves come in the same frames, so that their times can be kept once. One that is not looked at in
    /// each, or whose value has not always a result, comes when it will.
    #[must_use]
    pub fn same_frames(&self, other: &Leaf) -> bool {
        let always =
            |leaf: &Leaf| leaf.derivation.is_none() && leaf.sampling.is_none() && leaf.made.is_none();
        let alike = self.bus == other.bus && self.id == other.id && self.selectors == other.selectors;
        alike && always(self) && always(other)
    }

    /// The signal as the DBC has it.
    #[must_use]
    pub fn source(&self) -> &Leaf {
        self.derivation.as_ref().map_or(self, |derivation| &derivation.source)
    }
}

/// The value of a reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Exact: the raw value, scale and offset are whole numbers.
    Integer(i128),
    /// `raw * scale + offset` in doubles.
    Float(f64),
}

/// The databases of one bus, and the names that its signals have in the VSS.
#[derive(Debug, Clone, PartialEq)]
pub struct BusDatabase {
    /// Number of the bus in the configuration.
    pub bus: BusIndex,
    /// Its name, as in `CAN.<bus>.<Message>.<Signal>`.
    pub name: BusName,
    /// What is on it.
    pub databases: Vec<Database>,
    /// VSS names; resolved within this bus.
    pub mapping: Option<Mapping>,
}

/// Why databases and mappings do not fit together. It names places in files, never a signal's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeavesError {
    /// More than the bound.
    #[error("the databases hold more than {max} signals together; leave out those of other cars")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// One name for two different signals.
    #[error(
        "{first} and {second} give two different signals the same name; leave one of them out, or give the buses different names or mappings"
    )]
    Duplicate {
        /// Place of the first: file and line, or file and JSON path.
        first: String,
        /// Place of the second.
        second: String,
    },
    /// A mapping entry that means two signals.
    #[error(
        "{at} names a signal that bus `{bus}` has twice: at {first} and at {second}; leave one of the databases out"
    )]
    Ambiguous {
        /// Mapping file and JSON path.
        at: String,
        /// The bus.
        bus: BusName,
        /// Place of the first: file and line.
        first: String,
        /// Place of the second.
        second: String,
    },
}

/// All leaves, by number and by path.
#[derive(Debug, Clone, Default)]
pub struct Leaves {
    all: Vec<Leaf>,
    by_path: HashMap<SignalPath, LeafIndex>,
}

impl Leaves {
    /// All leaves of these buses, in the order given, then what this car can derive of them. What cannot have a name is left
    /// out and told.
    ///
    /// # Errors
    /// [`LeavesError`] where a name would stand for two signals, or there are too many.
    pub fn build(buses: &[BusDatabase]) -> Result<(Self, Vec<Notice>), LeavesError> {
        let mut builder = build::Builder::default();
        for bus in buses {
            builder.bus(bus)?;
        }
        let (all, by_path, notices) = builder.finish();
        if all.len() > LEAVES_MAX {
            return Err(LeavesError::TooMany { max: LEAVES_MAX });
        }
        let mut leaves = Self { all, by_path };
        let notices = notices.into_iter().chain(leaves.derive()).collect();
        Ok((leaves, notices))
    }

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
