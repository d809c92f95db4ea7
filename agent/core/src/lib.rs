//! The pure half of Glovebox. It does no I/O, reads no clock, draws no randomness: what it needs of
//! these is passed in, and the same inputs give the same outputs, byte for byte (invariant 12).
//!
//! ```text
//! Frame ─ decode ─▶ Reading ─ consent ─▶ Consented ─ batch ─▶ Batch ─ seal ─▶ Sealed ─ outbox ─▶ uplink
//!                                │ gate, swapped whole                          ledger ◀── delivery
//! ```

pub mod names;
pub mod limits;
pub mod frame;
pub mod decode;
pub mod consent;
pub mod batch;
pub mod wire;
pub mod seal;
pub mod outbox;
pub mod uplink;
pub mod ledger;
pub mod control;
pub mod pipeline;
pub mod delivery;
