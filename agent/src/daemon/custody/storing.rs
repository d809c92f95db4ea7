//! The way to the disk. Batches wait in memory for others, a bounded time and number of them, and are sealed and stored
//! together: what a sync costs the flash it costs once ([0014](../../../decisions/0014-bytes-written-to-flash.md)). While
//! the disk fails the newest wait on, and are tried again each second.

use std::collections::VecDeque;
use std::time::Duration;

use glovebox_core::batch::Batch;
use glovebox_core::ledger::Event;
use glovebox_core::limits::{BATCHES_UNSTORED_MAX, BYTES_GATHERED_MAX, NOTES_WAITING_MAX};
use glovebox_core::names::{FlowId, Moment};
use glovebox_core::outbox::{LossReason, Priority};
use glovebox_core::seal::Sealed;

use super::Custody;
use crate::health::Counter;

/// What is known of the disk, and what waits for it.
#[derive(Default)]
pub struct Storing {
    waiting: VecDeque<Waiting>,
    /// Samples whose loss the outbox could not take down.
    losses: Vec<(FlowId, LossReason, u64)>,
    trouble: Option<Trouble>,
    /// Batches wait at most so long for others.
    gather_us: i64,
    /// When the first of those that wait has waited long enough.
    due: Option<Moment>,
    saved: Option<Moment>,
    noted: Option<Moment>,
    /// What was found at start that somebody should look at.
    pub notices: Vec<String>,
}

impl Storing {
    /// Batches wait at most so long for others before they are stored.
    #[must_use]
    pub fn new(gather: Duration) -> Self {
        Self { gather_us: i64::try_from(gather.as_micros()).unwrap_or(i64::MAX), ..Self::default() }
    }
}

/// Not stored yet.
enum Waiting {
    Batch(Batch),
    /// It has its sequence already; and its samples.
    Sealed(Sealed, u64),
}

impl Waiting {
    fn flow(&self) -> FlowId {
        match self {
            Self::Batch(batch) => batch.rules().flow,
            Self::Sealed(sealed, _) => sealed.header().flow,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.bytes(),
            Self::Sealed(sealed, _) => sealed.envelope().len(),
        }
    }

    fn samples(&self) -> u64 {
        match self {
            Self::Batch(batch) => u64::from(batch.samples()),
            Self::Sealed(_, samples) => *samples,
        }
    }
}

/// The disk does not take what it should.
struct Trouble {
    since: Moment,
    told: Moment,
    why: String,
}

/// How often it is said that the disk fails.
const TELL_US: i64 = 60_000_000;
/// So long a power cut may undo acknowledgements, in the index and in the ledger: each saving writes whole blocks.
const SAVE_US: i64 = 60_000_000;

impl Custody {
    /// A closed batch becomes a sealed and stored one. What cannot be kept is declared.
    pub(super) fn store(&mut self, batch: Batch) {
        if self.state.ended.contains(&batch.rules().flow) {
            self.counters.count(Counter::BatchesDiscarded);
            return;
        }
        // What is wanted soon waits less; and of a flow one waits at most, so that a kill costs no more than that.
        let wait_us = self.state.storing.gather_us.min(batch.rules().batch_age_us);
        let until = self.clock.monotonic().plus_us(wait_us);
        let due = &mut self.state.storing.due;
        *due = Some(due.map_or(until, |due| due.min(until)));
        self.state.storing.waiting.push_back(Waiting::Batch(batch));
        if self.state.storing.waiting.len() >= BATCHES_UNSTORED_MAX {
            self.store_waiting();
        }
    }

    /// What waits need not wait for others any more: long enough, much enough, for something urgent, or as nothing more
    /// comes. While the disk fails it is tried once a second.
    pub(super) fn is_due(&self) -> bool {
        let Storing { waiting, due, trouble, .. } = &self.state.storing;
        let urgent = |it: &Waiting| self.outbox.priority(it.flow()) == Priority::Urgent;
        let over = due.is_none_or(|due| due <= self.clock.monotonic());
        let enough = || waiting.iter().map(Waiting::bytes).sum::<usize>() >= BYTES_GATHERED_MAX;
        trouble.is_none()
            && !waiting.is_empty()
            && (over || self.state.source_ended || waiting.iter().any(urgent) || enough())
    }

    /// Oldest first, until the disk fails.
    pub(super) fn store_waiting(&mut self) {
        self.state.storing.due = None;
        while let Some(first) = self.state.storing.waiting.pop_front() {
            if let Some(again) = self.store_one(first) {
                self.state.storing.waiting.push_front(again);
                break;
            }
        }
        while self.state.storing.waiting.len() > BATCHES_UNSTORED_MAX {
            let waiting = &self.state.storing.waiting;
            let least = (0..waiting.len()).min_by_key(|at| self.outbox.priority(waiting[*at].flow()));
            let Some(dropped) = least.and_then(|at| self.state.storing.waiting.remove(at)) else { break };
            self.counters.count(Counter::BatchesDropped);
            self.give_up(&dropped, LossReason::Quota);
        }
        self.drop_what_was_dropped();
    }

    /// Answers what is to be tried again.
    fn store_one(&mut self, waiting: Waiting) -> Option<Waiting> {
        let (sealed, samples) = match waiting {
            Waiting::Sealed(sealed, samples) => (sealed, samples),
            Waiting::Batch(batch) => {
                let (flow, samples) = (batch.rules().flow, u64::from(batch.samples()));
                let place = match self.outbox.next(flow) {
                    Ok(place) => place,
                    Err(error) if error.is_trouble() => {
                        self.in_trouble(&error);
                        return Some(Waiting::Batch(batch));
                    }
                    Err(error) => return self.not_stored(&Waiting::Batch(batch), &error),
                };
                let losses = self.outbox.take_losses(flow);
                match self.sealing.seal(batch, place, &losses, &*self.sealer) {
                    Ok(sealed) => {
                        self.counters.count(Counter::BatchesSealed);
                        self.counters.add(Counter::BytesSealed, sealed.envelope().len() as u64);
                        (sealed, samples)
                    }
                    Err(error) => {
                        self.counters.count(Counter::SealsFailed);
                        tracing::error!(target: "outbox", %flow, %error, "a batch was not sealed");
                        self.lose(flow, LossReason::Quota, samples);
                        return None;
                    }
                }
            }
        };
        match self.outbox.store(&sealed, self.now()) {
            Ok(()) => {
                self.note(Event::Stored, (&sealed).into(), Some(&sealed));
                let offer = self.about(Event::Offered, (&sealed).into(), Some(&sealed));
                if self.state.coming.len() < NOTES_WAITING_MAX {
                    self.state.coming.push(((&sealed).into(), offer));
                }
                None
            }
            Err(error) if error.is_trouble() => {
                self.in_trouble(&error);
                Some(Waiting::Sealed(sealed, samples))
            }
            Err(error) => self.not_stored(&Waiting::Sealed(sealed, samples), &error),
        }
    }

    /// It will not be stored, however often it is tried.
    fn not_stored(&mut self, batch: &Waiting, error: &dyn std::error::Error) -> Option<Waiting> {
        tracing::error!(target: "outbox", flow = %batch.flow(), %error, "a batch was not stored");
        self.give_up(batch, LossReason::Quota);
        None
    }

    /// It is declared lost: by its sequence if it has one, since a failed write may have left it on the disk.
    fn give_up(&mut self, batch: &Waiting, reason: LossReason) {
        // It may have carried the descriptor.
        self.sealing.describe_again();
        match batch {
            Waiting::Sealed(sealed, _) if self.outbox.give_up(sealed.into(), reason) => {}
            _ => self.lose(batch.flow(), reason, batch.samples()),
        }
    }

    /// Of a flow that has ended nothing waits any more.
    pub(super) fn forget_waiting(&mut self, flow: FlowId) {
        let waiting = &mut self.state.storing.waiting;
        let before = waiting.len();
        waiting.retain(|it| it.flow() != flow);
        let gone = (before - waiting.len()) as u64;
        self.counters.add(Counter::BatchesDiscarded, gone);
    }

    /// Of a flow that was narrowed nothing waits any more; it is declared.
    pub(super) fn narrow_waiting(&mut self, flow: FlowId) {
        let waiting = std::mem::take(&mut self.state.storing.waiting).into_iter();
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = waiting.partition(|it| it.flow() == flow);
        self.state.storing.waiting = kept;
        gone.iter().for_each(|batch| self.give_up(batch, LossReason::Narrowed));
    }

    pub(super) fn lose(&mut self, flow: FlowId, reason: LossReason, samples: u64) {
        if let Err(error) = self.outbox.lose_samples(flow, reason, samples) {
            if !error.is_trouble() {
                return tracing::error!(target: "outbox", %flow, %error, "a loss could not be noted");
            }
            self.in_trouble(&error);
            let losses = &mut self.state.storing.losses;
            match losses.iter_mut().find(|known| (known.0, known.1) == (flow, reason)) {
                Some(known) => known.2 = known.2.saturating_add(samples),
                None => losses.push((flow, reason, samples)),
            }
        }
    }

    /// Microseconds since `then`.
    fn passed(&self, then: Moment) -> i64 {
        self.clock.monotonic().0.saturating_sub(then.0)
    }

    /// Makes what was stored durable; only then it may be offered.
    pub(super) fn sync(&mut self) {
        match self.outbox.sync() {
            Ok(stored) => {
                if !stored.is_empty() && self.state.storing.waiting.is_empty() {
                    self.out_of_trouble();
                }
                self.counters.add(Counter::BatchesStored, stored.len() as u64);
                stored
                    .into_iter()
                    .for_each(|batch| self.delivery.stored_at(batch, self.outbox.stored_at(batch)));
            }
            Err(error) => self.in_trouble(&error),
        }
        self.drop_what_was_dropped();
    }

    pub(super) fn in_trouble(&mut self, error: &dyn std::error::Error) {
        let now = self.clock.monotonic();
        let known = self.state.storing.trouble.take();
        let told = known.as_ref().map(|trouble| trouble.told).filter(|told| self.passed(*told) < TELL_US);
        if told.is_none() {
            tracing::error!(target: "outbox", %error, "the disk fails: the newest batches wait in memory");
        }
        let since = known.map_or(now, |trouble| trouble.since);
        let why = error.to_string();
        self.state.storing.trouble = Some(Trouble { since, told: told.unwrap_or(now), why });
    }

    fn out_of_trouble(&mut self) {
        if let Some(trouble) = self.state.storing.trouble.take() {
            let after_s = self.passed(trouble.since) / 1_000_000;
            tracing::info!(target: "outbox", after_s, "the disk takes batches again");
        }
    }

    /// Once a second: what waits, what is old, what is not noted.
    pub(super) fn tend(&mut self) {
        for (flow, reason, samples) in std::mem::take(&mut self.state.storing.losses) {
            self.lose(flow, reason, samples);
        }
        if self.state.storing.trouble.is_some() {
            self.store_waiting();
        }
        if let Some(now) = self.now()
            && let Err(error) = self.outbox.drop_aged(now)
        {
            self.in_trouble(&error);
        }
        self.drop_what_was_dropped();
        if self.outbox.is_unsaved() || self.saved_before(SAVE_US) {
            self.save();
        }
    }

    fn saved_before(&self, us: i64) -> bool {
        self.state.storing.saved.is_none_or(|then| self.passed(then) >= us)
    }

    fn save(&mut self) {
        self.state.storing.saved = Some(self.clock.monotonic());
        if let Err(error) = self.outbox.save() {
            self.in_trouble(&error);
        }
    }

    /// What would be saved by itself before long is saved with a sync: one commit of the file system serves both.
    pub(super) fn save_beside(&mut self) {
        if self.saved_before(SAVE_US / 2) {
            self.save();
        }
    }

    /// Whether what was noted must be in the ledger now. What only follows from what is there already waits: it is
    /// written with the next offer, or when it has waited long or has become much.
    pub(super) fn notes_are_due(&mut self) -> bool {
        let may_wait = |event: Event| matches!(event, Event::Stored | Event::Acked);
        if self.state.notes.is_empty() {
            self.state.storing.noted = None;
            return false;
        }
        let now = self.clock.monotonic();
        let since = *self.state.storing.noted.get_or_insert(now);
        self.passed(since) >= SAVE_US
            || self.state.notes.len() >= NOTES_WAITING_MAX
            || self.state.notes.iter().any(|note| !may_wait(note.event))
    }

    /// What somebody should look at, in words.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = self.state.storing.notices.clone();
        if let Some(Trouble { since, why, .. }) = &self.state.storing.trouble {
            let waiting = self.state.storing.waiting.len();
            notices.push(format!(
                "for {} s the disk has failed: {why}; {waiting} batches wait in memory",
                self.passed(*since) / 1_000_000
            ));
        }
        let missing = self.outbox.bytes_below_floor().div_ceil(1 << 20);
        if missing > 0 {
            notices.push(format!(
                "the disk has {missing} MiB less free than `outbox.free_mib` wants: what is new takes the place of the oldest"
            ));
        }
        notices
    }
}
