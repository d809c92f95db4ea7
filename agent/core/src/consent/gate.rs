//! The compiled form of all live grants: the one place where a reading becomes a [`Consented`] one.

use crate::decode::State;
use crate::names::Moment;

/// Number of a flow in the gate that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowSlot(pub u16);

/// One sample that may leave, already reduced as the grant says. Only the gate makes it (invariant 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consented {
    flow: FlowSlot,
    signal: u16,
    times: u16,
    state: State,
    moment: Moment,
    bits: u64,
}

impl Consented {
    /// Its flow.
    #[must_use]
    pub fn flow(&self) -> FlowSlot {
        self.flow
    }
}

/// The compiled form of all live grants.
#[derive(Debug, Default)]
pub struct Gate {}
