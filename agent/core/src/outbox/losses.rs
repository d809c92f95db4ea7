//! What was lost and must be declared in the flow's next batch, until a batch that says so was acknowledged.

use super::{Loss, LossReason, Position};
use crate::limits::LOSSES_PER_BATCH_MAX;
use crate::names::{Epoch, Sequence};

/// A loss that the recipient has not yet heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingLoss {
    /// What was lost; sequences count in `epoch`.
    pub loss: Loss,
    /// The epoch of the lost sequences; `None` if there are none, or of several.
    pub epoch: Option<Epoch>,
    /// The batch that declares it. Still pending until that one is acknowledged, since it may be lost itself.
    pub carrier: Option<Position>,
}

/// The losses of one flow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    pending: Vec<PendingLoss>,
}

impl Losses {
    /// As kept on disk.
    #[must_use]
    pub fn restore(pending: Vec<PendingLoss>) -> Self {
        Self { pending }
    }

    /// What is to be kept on disk.
    #[must_use]
    pub fn pending(&self) -> &[PendingLoss] {
        &self.pending
    }

    /// Sealed batches `first` to `last` of `epoch` are lost.
    pub fn add_batches(&mut self, reason: LossReason, epoch: Epoch, (first, last): (Sequence, Sequence)) {
        let batches = last.0.saturating_sub(first.0).saturating_add(1);
        let loss = Loss { reason, batches, first_sequence: first.0, last_sequence: last.0, samples: 0 };
        let grown = self.pending.iter_mut().find(|known| {
            known.carrier.is_none()
                && known.epoch == Some(epoch)
                && known.loss.reason == reason
                && known.loss.last_sequence.checked_add(1) == Some(first.0)
        });
        match grown {
            Some(known) => {
                known.loss.batches = known.loss.batches.saturating_add(batches);
                known.loss.last_sequence = last.0;
            }
            None => self.push(PendingLoss { loss, epoch: Some(epoch), carrier: None }),
        }
    }

    /// Samples are lost that were in no sealed batch yet.
    pub fn add_samples(&mut self, reason: LossReason, samples: u64) {
        let loss = Loss { reason, batches: 0, first_sequence: 0, last_sequence: 0, samples };
        let open = |known: &&mut PendingLoss| known.carrier.is_none() && known.loss.reason == reason;
        match self.pending.iter_mut().find(open) {
            Some(known) => known.loss.samples = known.loss.samples.saturating_add(samples),
            None => self.push(PendingLoss { loss, epoch: None, carrier: None }),
        }
    }

    /// Bounded: when there are too many, those of one reason become one, with the count of all.
    fn push(&mut self, new: PendingLoss) {
        self.pending.push(new);
        if self.pending.len() <= LOSSES_PER_BATCH_MAX {
            return;
        }
        let mut merged: Vec<PendingLoss> = Vec::new();
        for loss in self.pending.drain(..) {
            let same = |known: &&mut PendingLoss| known.loss.reason == loss.loss.reason;
            match merged.iter_mut().find(same) {
                Some(known) => merge(known, &loss),
                None => merged.push(loss),
            }
        }
        self.pending = merged;
    }

    /// What the batch at `carrier` must declare. Asked again for the same batch, the answer holds all of it again.
    pub fn take(&mut self, carrier: Position) -> Vec<Loss> {
        let free = self.pending.iter_mut().filter(|known| known.carrier.is_none_or(|by| by == carrier));
        free.map(|known| {
            known.carrier = Some(carrier);
            match known.epoch == Some(carrier.epoch) {
                true => known.loss,
                // A loss record has no epoch of its own: sequences of another one would mislead.
                false => Loss { first_sequence: 0, last_sequence: 0, ..known.loss },
            }
        })
        .collect()
    }

    /// The batch at `carrier` was acknowledged: what it declared is known. True if something changed.
    pub fn declared(&mut self, carrier: Position) -> bool {
        let before = self.pending.len();
        self.pending.retain(|known| known.carrier != Some(carrier));
        self.pending.len() != before
    }

    /// The batch at `carrier` is lost or was never stored: what it declared must be declared again. True if
    /// something changed.
    pub fn undeclared(&mut self, carrier: Position) -> bool {
        let mut changed = false;
        for known in self.pending.iter_mut().filter(|known| known.carrier == Some(carrier)) {
            known.carrier = None;
            changed = true;
        }
        changed
    }

    /// True if the batch at `carrier` declares something.
    #[must_use]
    pub fn carried_by(&self, carrier: Position) -> bool {
        self.pending.iter().any(|known| known.carrier == Some(carrier))
    }
}

fn merge(into: &mut PendingLoss, other: &PendingLoss) {
    let (a, b) = (&mut into.loss, &other.loss);
    a.batches = a.batches.saturating_add(b.batches);
    a.samples = a.samples.saturating_add(b.samples);
    if other.epoch.is_some() && into.epoch == other.epoch {
        a.first_sequence = a.first_sequence.min(b.first_sequence);
        a.last_sequence = a.last_sequence.max(b.last_sequence);
    } else if b.batches > 0 {
        (a.first_sequence, a.last_sequence) = (0, 0);
        into.epoch = None;
    }
    // Rather declared twice than not at all.
    into.carrier = None;
}
