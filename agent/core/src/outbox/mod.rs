//! Order, quota, what to drop, what to purge. The shell's `outbox` does on disk what is decided here.
//!
//! ```text
//! flow ─▶ [ oldest … newest ]   each entry lies in a segment file; a segment goes when nothing in it is wanted
//!           ▲ watermark: all before it is settled (acknowledged, or declared lost)
//! ```

use std::collections::{BTreeMap, VecDeque};

use crate::names::{Epoch, FlowId, Sequence};
use crate::seal::{Header, Sealed};
pub use crate::seal::{Loss, LossReason};

mod losses;
mod priority;

pub use losses::{Losses, PendingLoss};
pub use priority::Priority;

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
}

/// Why an entry cannot follow the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("batch {batch} does not follow the last of its flow; ask for the next sequence first")]
pub struct Disorder {
    /// The batch that was refused.
    pub batch: BatchId,
}

/// What became of a batch that was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Where it lay.
    pub entry: Entry,
    /// It was the oldest, so the watermark moved. If not, a loss must be remembered by itself.
    pub oldest: bool,
    /// There are closed segments now in which nothing is wanted: [`Queue::unwanted`].
    pub emptied: bool,
}

/// How space is won when the cap is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relief {
    /// Nothing in this segment is wanted: delete it, nothing is lost.
    Delete(FlowId, SegmentNumber),
    /// The oldest segment of the flow that takes most space: these batches go and are declared lost. Space comes
    /// back only with a whole segment, so they go together.
    Drop(FlowId, SegmentNumber, Vec<BatchId>),
}

#[derive(Debug, Default)]
struct Segment {
    bytes: u64,
    wanted: usize,
    open: bool,
}

#[derive(Debug)]
struct Flow {
    entries: VecDeque<Entry>,
    segments: BTreeMap<SegmentNumber, Segment>,
    last: Position,
}

impl Flow {
    fn find(&self, position: Position) -> Option<usize> {
        self.entries.binary_search_by_key(&position, |entry| entry.position).ok()
    }

    fn watermark(&self) -> Position {
        match self.entries.front() {
            None => self.last,
            Some(Entry { position, .. }) => {
                Position { epoch: position.epoch, sequence: Sequence(position.sequence.0.saturating_sub(1)) }
            }
        }
    }

    /// Segments in which nothing is wanted and which lie before all that is: behind the oldest batch none goes,
    /// else what was acknowledged out of order would look like a gap at the next start.
    fn idle(&self) -> impl Iterator<Item = (SegmentNumber, &Segment)> {
        let oldest = self.entries.front().map(|entry| entry.segment);
        let segments = self.segments.iter().map(|(&number, segment)| (number, segment));
        segments.filter(move |(number, segment)| {
            segment.wanted == 0 && oldest.is_none_or(|oldest| *number < oldest)
        })
    }

    fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }
}

/// What is stored, in order, for all flows.
#[derive(Debug, Default)]
pub struct Queue {
    flows: BTreeMap<FlowId, Flow>,
}

impl Queue {
    /// Makes `flow` known with all up to `settled` behind it, or begins a new epoch in it: what follows must be
    /// later than `settled`.
    pub fn begin(&mut self, flow: FlowId, settled: Position) {
        self.flows
            .entry(flow)
            .and_modify(|known| known.last = known.last.max(settled))
            .or_insert_with(|| Flow { entries: VecDeque::new(), segments: BTreeMap::new(), last: settled });
    }

    /// Flows that are known.
    pub fn flows(&self) -> impl Iterator<Item = FlowId> {
        self.flows.keys().copied()
    }

    /// The last position given to a batch of `flow`.
    #[must_use]
    pub fn last(&self, flow: FlowId) -> Option<Position> {
        self.flows.get(&flow).map(|known| known.last)
    }

    /// All up to here is settled: `None` if the flow is not known.
    #[must_use]
    pub fn watermark(&self, flow: FlowId) -> Option<Position> {
        self.flows.get(&flow).map(Flow::watermark)
    }

    /// The batches of `flow`, oldest first.
    pub fn batches(&self, flow: FlowId) -> impl Iterator<Item = BatchId> {
        let entries = self.flows.get(&flow).into_iter().flat_map(|known| &known.entries);
        entries.map(move |entry| entry.position.of(flow))
    }

    /// Where `batch` lies.
    #[must_use]
    pub fn entry(&self, batch: BatchId) -> Option<Entry> {
        let flow = self.flows.get(&batch.flow)?;
        flow.find(batch.position()).and_then(|index| flow.entries.get(index)).copied()
    }

    /// A segment file was created or found; `open` if it is still written to.
    pub fn add_segment(&mut self, flow: FlowId, segment: SegmentNumber, open: bool) {
        if let Some(known) = self.flows.get_mut(&flow) {
            known.segments.entry(segment).or_default().open = open;
        }
    }

    /// A segment is not written to any more.
    pub fn close_segment(&mut self, flow: FlowId, segment: SegmentNumber) {
        if let Some(found) = self.flows.get_mut(&flow).and_then(|known| known.segments.get_mut(&segment)) {
            found.open = false;
        }
    }

    /// A segment takes this much space on disk now.
    pub fn set_segment_bytes(&mut self, flow: FlowId, segment: SegmentNumber, bytes: u64) {
        if let Some(segment) = self.flows.get_mut(&flow).and_then(|known| known.segments.get_mut(&segment)) {
            segment.bytes = bytes;
        }
    }

    /// A segment file is gone.
    pub fn remove_segment(&mut self, flow: FlowId, segment: SegmentNumber) {
        if let Some(known) = self.flows.get_mut(&flow) {
            known.segments.remove(&segment);
        }
    }

    /// The closed segments of `flow` in which nothing is wanted: to be deleted.
    pub fn unwanted(&self, flow: FlowId) -> impl Iterator<Item = SegmentNumber> {
        let idle = self.flows.get(&flow).into_iter().flat_map(Flow::idle);
        idle.filter(|(_, segment)| !segment.open).map(|(number, _)| number)
    }

    /// The highest segment number of `flow` that is in use.
    #[must_use]
    pub fn last_segment(&self, flow: FlowId) -> Option<SegmentNumber> {
        self.flows.get(&flow)?.segments.keys().next_back().copied()
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// [`Disorder`] if the flow is not known or the batch is not later than the last.
    pub fn push(&mut self, flow: FlowId, entry: Entry) -> Result<(), Disorder> {
        let disorder = Disorder { batch: entry.position.of(flow) };
        let known = self.flows.get_mut(&flow).ok_or(disorder)?;
        if entry.position <= known.last {
            return Err(disorder);
        }
        known.last = entry.position;
        known.entries.push_back(entry);
        known.segments.entry(entry.segment).or_default().wanted += 1;
        Ok(())
    }

    /// A batch lies elsewhere now: it was written again after a failed sync.
    pub fn moved(&mut self, flow: FlowId, entry: Entry) {
        let Some(known) = self.flows.get_mut(&flow) else { return };
        let found = known.find(entry.position).and_then(|index| known.entries.get_mut(index));
        let Some(old) = found.map(|found| std::mem::replace(found, entry).segment) else { return };
        known.segments.entry(entry.segment).or_default().wanted += 1;
        if let Some(old) = known.segments.get_mut(&old) {
            old.wanted = old.wanted.saturating_sub(1);
        }
    }

    /// Takes a batch out: it was acknowledged, or is lost.
    pub fn remove(&mut self, batch: BatchId) -> Option<Removed> {
        let known = self.flows.get_mut(&batch.flow)?;
        let index = known.find(batch.position())?;
        let entry = known.entries.remove(index)?;
        let segment = known.segments.entry(entry.segment).or_default();
        segment.wanted = segment.wanted.saturating_sub(1);
        let emptied = known.idle().any(|(_, segment)| !segment.open);
        Some(Removed { entry, oldest: index == 0, emptied })
    }

    /// Forgets a flow altogether.
    pub fn purge(&mut self, flow: FlowId) {
        self.flows.remove(&flow);
    }

    /// Space on disk, all flows.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.flows.values().map(Flow::bytes).sum()
    }

    /// Batches stored, and space on disk, of one flow.
    #[must_use]
    pub fn figures(&self, flow: FlowId) -> (usize, u64) {
        self.flows.get(&flow).map_or((0, 0), |known| (known.entries.len(), known.bytes()))
    }

    /// What must go so that `wanted` more bytes fit under `bytes_max`: `None` if they fit, or if nothing is left
    /// that could go. Asked again until it answers `None`.
    #[must_use]
    pub fn relief(&self, wanted: u64, bytes_max: u64) -> Option<Relief> {
        if self.bytes().saturating_add(wanted) <= bytes_max {
            return None;
        }
        let idle = self
            .flows
            .iter()
            .find_map(|(&flow, known)| known.idle().next().map(|(number, _)| Relief::Delete(flow, number)));
        idle.or_else(|| {
            let held = self.flows.iter().filter(|(_, known)| !known.entries.is_empty());
            let (&flow, known) = held.max_by_key(|(_, known)| known.bytes())?;
            let segment = known.entries.front()?.segment;
            let batches = known.entries.iter().filter(|entry| entry.segment == segment);
            Some(Relief::Drop(flow, segment, batches.map(|entry| entry.position.of(flow)).collect()))
        })
    }
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
