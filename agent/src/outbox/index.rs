//! What of the outbox lies in sled: small, precious, and rebuilt or begun anew if it is lost. One tree, so that what
//! belongs together changes together.
//!
//! ```text
//! tree "outbox"; all integers big-endian; epoch = u32 counter ‖ u32 tag
//!   "f" flow                      → u8 version = 2 ‖ epoch now ‖ watermark: epoch ‖ u64 sequence
//!        ‖ u8 class (0 bulk, 1 normal, 2 urgent) ‖ i64 age up to which batches are kept, µs; -1: nothing said
//!   "g" flow epoch u64 first      → u64 last: these sequences after the watermark are lost and were noted
//!   "l" flow                      → losses to declare, each 59 bytes:
//!        u8 reason ‖ u64 batches ‖ u64 first ‖ u64 last ‖ u64 samples
//!        ‖ u8 has epoch ‖ epoch ‖ u8 has carrier ‖ carrier: epoch ‖ u64 sequence
//! ```

use std::collections::BTreeSet;

use glovebox_core::names::{Epoch, FlowId, Sequence};
use glovebox_core::outbox::{Loss, LossReason, Losses, PendingLoss, Position, Priority};

use super::types::Keep;
use crate::store::{Batch, Entry, Logged, StoreError};

const VERSION: u8 = 2;
const LOSS: usize = 59;

/// What is known of a flow beside its segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FlowState {
    /// The epoch in which the next batch is.
    pub(super) epoch: Epoch,
    /// All up to here is settled.
    pub(super) watermark: Position,
    /// How long its batches are kept, and before which others.
    pub(super) keep: Keep,
}

/// Losses behind the watermark that were noted: they are not found as gaps again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) epoch: Epoch,
    pub(super) first: Sequence,
    pub(super) last: Sequence,
}

/// Changes that come into force together.
#[derive(Default)]
pub(super) struct Change(Batch);

impl Change {
    pub(super) fn state(&mut self, flow: FlowId, state: &FlowState) {
        let mut value = vec![VERSION];
        put_epoch(&mut value, state.epoch);
        put_position(&mut value, state.watermark);
        value.push(match state.keep.priority {
            Priority::Bulk => 0,
            Priority::Normal => 1,
            Priority::Urgent => 2,
        });
        value.extend(state.keep.age_us_max.unwrap_or(-1).to_be_bytes());
        self.0.insert(&key(b'f', flow), &value);
    }

    pub(super) fn losses(&mut self, flow: FlowId, losses: &Losses) {
        match losses.pending() {
            [] => self.0.remove(&key(b'l', flow)),
            pending => {
                let value: Vec<u8> = pending.iter().flat_map(encode_loss).collect();
                self.0.insert(&key(b'l', flow), &value);
            }
        }
    }

    pub(super) fn gap(&mut self, flow: FlowId, gap: Gap) {
        self.0.insert(&gap_key(flow, gap), &gap.last.0.to_be_bytes());
    }

    pub(super) fn forget_gap(&mut self, flow: FlowId, gap: Gap) {
        self.0.remove(&gap_key(flow, gap));
    }
}

/// The tree.
#[derive(Debug)]
pub(super) struct Index(pub(super) Logged);

impl Index {
    /// Applies `change`; durable when it returns.
    pub(super) fn apply(&self, change: &Change) -> Result<(), StoreError> {
        self.0.commit(&change.0)
    }

    /// Every flow of which something is kept.
    pub(super) fn flows(&self) -> Result<BTreeSet<FlowId>, StoreError> {
        let entries = self.0.range(&[], &[u8::MAX]);
        entries.map(|entry| entry.map(|(key, _)| flow_of(&key))).filter_map(Result::transpose).collect()
    }

    pub(super) fn state(&self, flow: FlowId) -> Result<Option<FlowState>, StoreError> {
        let value = self.0.get(&key(b'f', flow))?;
        Ok(value.and_then(|value| {
            let mut reader = Reader(value.strip_prefix(&[VERSION])?);
            let (epoch, watermark) = (reader.epoch()?, reader.position()?);
            let priority = *CLASSES.get(usize::from(reader.u8()?))?;
            let age_us_max = Some(reader.take().map(i64::from_be_bytes)?).filter(|age| *age >= 0);
            let state = FlowState { epoch, watermark, keep: Keep { priority, age_us_max } };
            reader.0.is_empty().then_some(state)
        }))
    }

    pub(super) fn losses(&self, flow: FlowId) -> Result<Losses, StoreError> {
        let value = self.0.get(&key(b'l', flow))?.unwrap_or_default();
        let losses = value.chunks_exact(LOSS).filter_map(|bytes| decode_loss(&mut Reader(bytes)));
        Ok(Losses::restore(losses.collect()))
    }

    pub(super) fn gaps(&self, flow: FlowId) -> Result<Vec<Gap>, StoreError> {
        let mut gaps = Vec::new();
        for (key, value) in self.of_flow(b'g', flow)? {
            let mut reader = Reader(key.get(9..).unwrap_or_default());
            let mut gap = || {
                let (epoch, first) = (reader.epoch()?, Sequence(reader.u64()?));
                Some(Gap { epoch, first, last: Sequence(Reader(&value).u64()?) })
            };
            gaps.extend(gap());
        }
        Ok(gaps)
    }

    /// Forgets all of a flow, also in the table behind the log; durable when it returns.
    pub(super) fn clear(&self, flow: FlowId) -> Result<(), StoreError> {
        let mut change = Batch::default();
        for kind in [b'f', b'g', b'l'] {
            self.of_flow(kind, flow)?.iter().for_each(|(key, _)| change.remove(key));
        }
        self.0.commit(&change)?;
        self.0.settle()
    }

    fn of_flow(&self, kind: u8, flow: FlowId) -> Result<Vec<Entry>, StoreError> {
        let first = key(kind, flow);
        let after = flow.0.checked_add(1).map_or_else(|| vec![kind + 1], |next| key(kind, FlowId(next)));
        self.0.range(&first, &after).collect()
    }
}

fn key(kind: u8, flow: FlowId) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(flow.0.to_be_bytes());
    key
}

fn flow_of(key: &[u8]) -> Option<FlowId> {
    let bytes = key.get(1..9)?.try_into().ok()?;
    Some(FlowId(u64::from_be_bytes(bytes)))
}

fn gap_key(flow: FlowId, gap: Gap) -> Vec<u8> {
    let mut key = key(b'g', flow);
    put_epoch(&mut key, gap.epoch);
    key.extend(gap.first.0.to_be_bytes());
    key
}

fn put_epoch(out: &mut Vec<u8>, epoch: Epoch) {
    out.extend(epoch.counter.to_be_bytes());
    out.extend(epoch.tag.to_be_bytes());
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    put_epoch(out, position.epoch);
    out.extend(position.sequence.0.to_be_bytes());
}

fn encode_loss(known: &PendingLoss) -> Vec<u8> {
    let Loss { reason, batches, first_sequence, last_sequence, samples } = known.loss;
    let mut out = vec![reason_code(reason)];
    out.extend([batches, first_sequence, last_sequence, samples].map(u64::to_be_bytes).as_flattened());
    let none = Epoch { counter: 0, tag: 0 };
    out.push(u8::from(known.epoch.is_some()));
    put_epoch(&mut out, known.epoch.unwrap_or(none));
    out.push(u8::from(known.carrier.is_some()));
    put_position(&mut out, known.carrier.unwrap_or(Position::start(none)));
    out
}

fn decode_loss(reader: &mut Reader<'_>) -> Option<PendingLoss> {
    let reason = reason_from(reader.u8()?)?;
    let (batches, first_sequence, last_sequence) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let loss = Loss { reason, batches, first_sequence, last_sequence, samples: reader.u64()? };
    let epoch = (reader.u8()?, reader.epoch()?);
    let carrier = (reader.u8()?, reader.position()?);
    let (epoch, carrier) = ((epoch.0 == 1).then_some(epoch.1), (carrier.0 == 1).then_some(carrier.1));
    Some(PendingLoss { loss, epoch, carrier })
}

const CLASSES: [Priority; 3] = [Priority::Bulk, Priority::Normal, Priority::Urgent];

const REASONS: [LossReason; 6] = [
    LossReason::Quota,
    LossReason::Overload,
    LossReason::Narrowed,
    LossReason::Corrupt,
    LossReason::Refused,
    LossReason::Age,
];

fn reason_code(reason: LossReason) -> u8 {
    match reason {
        LossReason::Quota => 1,
        LossReason::Overload => 2,
        LossReason::Narrowed => 3,
        LossReason::Corrupt => 4,
        LossReason::Refused => 5,
        LossReason::Age => 6,
    }
}

fn reason_from(code: u8) -> Option<LossReason> {
    REASONS.into_iter().find(|reason| reason_code(*reason) == code)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn epoch(&mut self) -> Option<Epoch> {
        let counter = self.take().map(u32::from_be_bytes)?;
        Some(Epoch { counter, tag: self.take().map(u32::from_be_bytes)? })
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position { epoch: self.epoch()?, sequence: Sequence(self.u64()?) })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn what_is_written_reads_back_and_flows_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let index = Index(Store::open(&folder.path().join("index")).unwrap().0.table("outbox").unwrap());
        let epoch = Epoch { counter: 3, tag: 0xFFFF_FFFF };
        let at = |sequence| Position { epoch, sequence: Sequence(sequence) };
        let keep = Keep { priority: Priority::Urgent, age_us_max: Some(7) };
        let state = FlowState { epoch, watermark: at(u64::MAX), keep };
        let mut losses = Losses::default();
        for reason in REASONS {
            losses.add_batches(reason, epoch, (Sequence(2), Sequence(9)));
            losses.take(at(10));
            losses.add_samples(reason, 5);
        }
        let gap = Gap { epoch, first: Sequence(4), last: Sequence(5) };
        let (flow, other) = (FlowId(u64::MAX), FlowId(u64::MAX - 1));
        let mut change = Change::default();
        for flow in [flow, other] {
            change.state(flow, &state);
            change.losses(flow, &losses);
            change.gap(flow, gap);
        }
        index.apply(&change).unwrap();
        index.clear(other).unwrap();
        assert_eq!(index.flows().unwrap().into_iter().collect::<Vec<_>>(), [flow]);
        assert_eq!(index.state(flow).unwrap(), Some(state));
        assert_eq!(index.losses(flow).unwrap(), losses);
        assert_eq!(index.gaps(flow).unwrap(), [gap]);
        let mut change = Change::default();
        change.forget_gap(flow, gap);
        change.losses(flow, &Losses::default());
        index.apply(&change).unwrap();
        assert_eq!(index.gaps(flow).unwrap(), []);
        assert_eq!(index.losses(flow).unwrap(), Losses::default());
        assert_eq!(index.state(other).unwrap(), None);
    }
}
