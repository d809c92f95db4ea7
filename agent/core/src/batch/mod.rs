//! Columnar batch per flow; closed when full or due. Samples are coded as they come, so an open batch is as small as
//! its bytes and closing it copies nothing.

mod columns;

pub use columns::{Batch, Column, OpenBatch, Times};

/// What consent had let through and was lost before it could be sent; declared in the flow's next batch (invariant 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Why.
    pub reason: LossReason,
    /// Sealed batches lost, and the first and last of their sequences (0 if none).
    pub batches: u64,
    /// See `batches`.
    pub first_sequence: u64,
    /// See `batches`.
    pub last_sequence: u64,
    /// Samples lost before they were in a sealed batch.
    pub samples: u64,
}

/// Why something was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum LossReason {
    /// The outbox was full: the oldest went.
    Quota,
    /// Readings came faster than they could be sealed.
    Overload,
    /// The owner narrowed the grant: what was queued under the wider rule went.
    Narrowed,
    /// A stored record could not be read back.
    Corrupt,
    /// The broker would never take it.
    Refused,
    /// Older than the grant allows.
    Age,
}

/// How good the wall time is that moments are mapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClockQuality {
    /// Nothing is known.
    Unknown,
    /// From the car's clock, not synchronised.
    Rtc,
    /// Synchronised.
    Synchronised,
    /// Times of a replayed log.
    Replay,
}

/// From the car's time line to wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeMapping {
    /// Wall time less moment, in microseconds.
    pub offset_us: i64,
    /// How good it is.
    pub quality: ClockQuality,
}
