//! Order, quota, what to drop, what to purge. The shell's `outbox` does on disk what is decided here.
//!
//! ```text
//! flow ─▶ [ oldest … newest ]   each entry lies in a segment file; a segment goes when nothing in it is wanted
//!           ▲ watermark: all before it is settled (acknowledged, or declared lost)
//! ```

use crate::names::{Epoch, FlowId, Sequence, WallTime};
use crate::seal::{Header, Sealed};
pub use crate::seal::{Loss, LossReason};

mod losses;
mod priority;
mod queue;
mod relief;

pub use losses::{Losses, PendingLoss};
pub use priority::Priority;
pub use queue::{Queue, Removed};
pub use relief::{Relief, Room, Wanted};

/// Which sealed batch: what its header says in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    /// Flow.
    pub flow: FlowId,
    /// Stream epoch.
    pub epoch: Epoch,
    /// Number in the epoch.
    pub sequence: Sequence,
}

impl BatchId {
    /// Where it stands in its flow.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.sequence }
    }
}

impl From<&Header> for BatchId {
    fn from(header: &Header) -> Self {
        Self { flow: header.flow, epoch: header.epoch, sequence: header.sequence }
    }
}

impl From<&Sealed> for BatchId {
    fn from(sealed: &Sealed) -> Self {
        sealed.header().into()
    }
}

impl std::fmt::Display for BatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Epoch { counter, tag } = self.epoch;
        write!(f, "{} {counter}-{tag:08x} {}", self.flow, self.sequence.0)
    }
}

/// A place in the order of one flow. Epoch counters only rise, so this is also the order of sending.
/// Sequence 0 stands for "before the first of the epoch".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Stream epoch.
    pub epoch: Epoch,
    /// Number in the epoch.
    pub sequence: Sequence,
}

impl Position {
    /// The first place of `epoch`, before any batch.
    #[must_use]
    pub fn start(epoch: Epoch) -> Self {
        Self { epoch, sequence: Sequence(0) }
    }

    /// The batch of `flow` at this place.
    #[must_use]
    pub fn of(self, flow: FlowId) -> BatchId {
        BatchId { flow, epoch: self.epoch, sequence: self.sequence }
    }
}

/// Number of a segment file; only rises within a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u64);

/// Where a stored batch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the flow.
    pub position: Position,
    /// The file it lies in.
    pub segment: SegmentNumber,
    /// Where its record begins in the file.
    pub offset: u64,
    /// When it was stored; `None` if the time was in doubt. Its age counts from here.
    pub stored: Option<WallTime>,
}

/// Why an entry cannot follow the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("batch {batch} does not follow the last of its flow; ask for the next sequence first")]
pub struct Disorder {
    /// The batch that was refused.
    pub batch: BatchId,
}

/// Sequences that are missing between `before` and `found`, first and last: what lay there could not be read.
/// After a change of epoch nobody knows how the old one ended, so only the beginning of the new one counts.
#[must_use]
pub fn missing(before: Position, found: Position) -> Option<(Sequence, Sequence)> {
    let first = if before.epoch == found.epoch { before.sequence.next() } else { Sequence(1) };
    (first < found.sequence).then(|| (first, Sequence(found.sequence.0 - 1)))
}

/// `range` without what is in `noted`.
#[must_use]
pub fn without(range: (Sequence, Sequence), noted: &[(Sequence, Sequence)]) -> Vec<(Sequence, Sequence)> {
    let mut left = vec![range];
    for (first, last) in noted {
        left = left
            .into_iter()
            .flat_map(|(from, to)| {
                let before = (first.0 > 0).then(|| (from, to.min(Sequence(first.0 - 1))));
                let after = (last.0 < u64::MAX).then(|| (from.max(last.next()), to));
                match *last < from || *first > to {
                    true => [Some((from, to)), None],
                    false => [before, after],
                }
            })
            .flatten()
            .filter(|(from, to)| from <= to)
            .collect();
    }
    left
}

#[cfg(test)]
mod tests;
