//! DBC text to a plan; frames to readings; VSS names.
//!
//! ```text
//! DBC text ─ dbc ─▶ Database ┐
//! Kuksa JSON ─ map ─▶ Mapping ┴─ leaves ─▶ Leaves ─ plan (only what is needed) ─▶ Plan ─ Frame ─▶ Reading
//!                                                                        predicate: of several, one more ─▶ Reading
//! ```

pub mod dbc;
pub mod decoder;
pub mod j1939;
mod layout;
pub mod leaves;
pub mod map;
pub mod math;
pub mod plan;
pub mod predicate;
mod sampling;

pub use decoder::{Decoder, Origin};
pub use leaves::{Leaf, Leaves};
pub use plan::Plan;
pub use predicate::Predicate;
pub use sampling::Sampling;

/// Number of a leaf in [`Leaves`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(pub u32);

/// What kind of reading it is; only `Value` carries one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// An ordinary value.
    Value,
    /// Outside the range that the database gives.
    OutOfRange,
    /// The sender says that it has none.
    NotAvailable,
    /// The sender says that its source is broken.
    Error,
}

/// How the 64 bits of a raw value are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// `u64`.
    Unsigned,
    /// `i64`, sign-extended.
    Signed,
    /// `f32` in the low 32 bits (IEEE 754).
    Float32,
    /// `f64` (IEEE 754).
    Float64,
    /// 0 or 1.
    Boolean,
}

/// Which controller on a J1939 bus sent a message (SAE J1939-81): the low byte of its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceAddress(pub u8);

impl SourceAddress {
    /// The message is not of J1939. 255 is the global address, from which nobody sends.
    pub const NONE: Self = Self(0xFF);
}

/// One decoded signal of one frame. The moment is the frame's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Which signal.
    pub leaf: LeafIndex,
    /// Whether `bits` is a value.
    pub state: State,
    /// Who sent it.
    pub source: SourceAddress,
    /// The raw value before scale and offset, as [`ValueType`] says; 0 unless `state` is `Value`.
    pub bits: u64,
}

/// Something of a file that was left out or mended while it was read. It names no signal, so that it may be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The file, as it was given.
    pub place: String,
    /// Line, from 1; 0 where the file as a whole is meant.
    pub line: u32,
    /// Column, from 1; 0 where the file as a whole is meant.
    pub column: u32,
    /// What was done and why.
    pub what: String,
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, line, column, what } = self;
        match line {
            0 => write!(f, "{place}: {what}"),
            _ => write!(f, "{place}:{line}:{column}: {what}"),
        }
    }
}
