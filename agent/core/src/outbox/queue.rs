//! What is stored, in order, for all flows.

use std::collections::{BTreeMap, VecDeque};

use super::{BatchId, Disorder, Entry, Position, Priority, SegmentNumber};
use crate::limits::STORED_US_MAX;
use crate::names::{FlowId, Sequence, TrustedTime};

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

#[derive(Debug, Default)]
pub(super) struct Segment {
    bytes: u64,
    wanted: usize,
    open: bool,
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) entries: VecDeque<Entry>,
    segments: BTreeMap<SegmentNumber, Segment>,
    last: Position,
    /// Space that it takes beside its segments.
    beside: u64,
}

/// How long a flow is kept, and before which others.
#[derive(Debug, Clone, Copy, Default)]
struct Rule {
    priority: Priority,
    age_us_max: Option<i64>,
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
    pub(super) fn idle(&self) -> impl Iterator<Item = (SegmentNumber, &Segment)> {
        let oldest = self.entries.front().map(|entry| entry.segment);
        let segments = self.segments.iter().map(|(&number, segment)| (number, segment));
        segments.filter(move |(number, segment)| {
            segment.wanted == 0 && oldest.is_none_or(|oldest| *number < oldest)
        })
    }

    pub(super) fn segment_bytes(&self, segment: SegmentNumber) -> u64 {
        self.segments.get(&segment).map_or(0, |segment| segment.bytes)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.beside + self.segments.values().map(|segment| segment.bytes).sum::<u64>()
    }
}

/// What is stored, in order, for all flows.
#[derive(Debug, Default)]
pub struct Queue {
    pub(super) flows: BTreeMap<FlowId, Flow>,
    rules: BTreeMap<FlowId, Rule>,
    /// Space that no flow takes.
    beside: u64,
}

impl Queue {
    /// Makes `flow` known with all up to `settled` behind it, or begins a new epoch in it: what follows must be
    /// later than `settled`.
    pub fn begin(&mut self, flow: FlowId, settled: Position) {
        self.flows.entry(flow).and_modify(|known| known.last = known.last.max(settled)).or_insert_with(
            || Flow { entries: VecDeque::new(), segments: BTreeMap::new(), last: settled, beside: 0 },
        );
    }

    /// The class of `flow`, known or not yet; [`Priority::Normal`] if nothing is said.
    pub fn set_priority(&mut self, flow: FlowId, priority: Priority) {
        self.rules.entry(flow).or_default().priority = priority;
    }

    /// The class of `flow`.
    #[must_use]
    pub fn priority(&self, flow: FlowId) -> Priority {
        self.rules.get(&flow).copied().unwrap_or_default().priority
    }

    /// Batches of `flow` are kept so long, in microseconds; never longer than [`STORED_US_MAX`].
    pub fn set_age_max(&mut self, flow: FlowId, age_us_max: Option<i64>) {
        self.rules.entry(flow).or_default().age_us_max = age_us_max;
    }

    fn age_us_max(&self, flow: FlowId) -> i64 {
        let said = self.rules.get(&flow).and_then(|rule| rule.age_us_max);
        said.unwrap_or(STORED_US_MAX).min(STORED_US_MAX)
    }

    /// The batches that are, or in doubt could be, older than their flow allows, oldest first: they are to go.
    pub fn aged(&self, now: TrustedTime) -> impl Iterator<Item = BatchId> {
        self.flows.iter().flat_map(move |(&flow, known)| {
            let oldest = now.latest.0.saturating_sub(self.age_us_max(flow));
            let old = move |entry: &&Entry| entry.stored.is_none_or(|stored| stored.0 < oldest);
            known.entries.iter().take_while(old).map(move |entry| entry.position.of(flow))
        })
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

    /// `flow` takes so much beside its segments; without a flow, all flows together do.
    pub fn set_bytes_beside(&mut self, flow: Option<FlowId>, bytes: u64) {
        match flow {
            None => self.beside = bytes,
            Some(flow) => {
                if let Some(known) = self.flows.get_mut(&flow) {
                    known.beside = bytes;
                }
            }
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

    /// Appends a batch. One of which nobody knows when it was stored counts as old as the one before it.
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
        let before = known.entries.back().and_then(|last| last.stored);
        known.entries.push_back(Entry { stored: entry.stored.or(before), ..entry });
        known.segments.entry(entry.segment).or_default().wanted += 1;
        Ok(())
    }

    /// A batch lies elsewhere now: it was written again after a failed sync.
    pub fn moved(&mut self, flow: FlowId, entry: Entry) {
        let Some(known) = self.flows.get_mut(&flow) else { return };
        let found = known.find(entry.position).and_then(|index| known.entries.get_mut(index));
        let Some(found) = found else { return };
        let old = found.segment;
        (found.segment, found.offset) = (entry.segment, entry.offset);
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
        self.rules.remove(&flow);
    }

    /// Space on disk, all flows.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.beside + self.flows.values().map(Flow::bytes).sum::<u64>()
    }

    /// Batches stored, and space on disk, of one flow.
    #[must_use]
    pub fn figures(&self, flow: FlowId) -> (usize, u64) {
        self.flows.get(&flow).map_or((0, 0), |known| (known.entries.len(), known.bytes()))
    }
}
