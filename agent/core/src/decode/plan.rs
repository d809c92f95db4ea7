//! The compiled plan: frame to readings, without allocation.

use super::{LeafIndex, Leaves, Reading};
use crate::frame::Frame;

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
pub struct Plan {}

impl Plan {
    /// A plan that extracts `needed` and nothing else.
    #[must_use]
    pub fn compile(_leaves: &Leaves, _needed: &[LeafIndex]) -> Self {
        Self {}
    }

    /// Appends the frame's readings to `readings`; allocates only while that vector still grows.
    pub fn decode(&self, _frame: &Frame, _readings: &mut Vec<Reading>) -> Outcome {
        Outcome::NotNeeded
    }
}
