//! Segment files and their index: what was sealed stays until it is acknowledged, or declared lost. What is to be
//! done is decided in the core's `outbox`; here it is done on disk, in an order that a power cut cannot turn bad.
//!
//! ```text
//! <dir>/<flow>/keys           key of each segment (keys.rs)
//! <dir>/<flow>/<number>.seg   records, append-only (segment.rs)
//! index (sled)                epoch, watermark, losses to declare (index.rs)
//!
//! store ─▶ sync: keys, segments, folder ─▶ reported ─▶ … ─▶ acked ─▶ watermark synced ─▶ key destroyed ─▶ file unlinked
//! ```

use std::collections::{BTreeMap, BTreeSet};

use glovebox_core::consent::document::Verifier;
use glovebox_core::limits::{ACKS_UNSAVED_MAX, UNREADABLE_TRIES_MAX};
use glovebox_core::names::{Epoch, FlowId, Sequence, TrustedTime, WallTime};
use glovebox_core::outbox::{BatchId, Loss, LossReason, Position, Priority, Queue, SegmentNumber};
use glovebox_core::seal::{ReadmitError, Sealed, readmit};

use crate::store::Logged;
use crate::store::disk::Place;
use crate::store::files::FileError;
use folder::Folder;
use index::{Change, FlowState, Gap, Index};
use open::{LoadError, Unreadable};
use purge::Steps;
pub use purge::{PurgeError, destroy};
pub use types::{Config, Dropped, Figures, Keep, OpenError, OutboxError, ReadError, Report};
use write::Unsynced;

mod folder;
mod index;
mod keys;
mod open;
mod purge;
mod scan;
mod segment;
mod types;
mod write;

/// A flow that could not be taken up yet.
#[derive(Debug, Clone, Copy, Default)]
struct NotTakenUp {
    /// What is found in it then is declared lost by this.
    lose: Option<LossReason>,
    /// The last time it was for a segment that cannot be read.
    unreadable: bool,
    /// Calls of [`Outbox::take_up_again`] that found it so.
    tries: u32,
}

impl NotTakenUp {
    fn after(self, error: &LoadError) -> Self {
        Self { unreadable: matches!(error, LoadError::Segment { .. }), ..self }
    }
}

/// Everything that was sealed and is not yet acknowledged, on disk.
pub struct Outbox {
    dir: Place,
    config: Config,
    index: Index,
    queue: Queue,
    folders: BTreeMap<FlowId, Folder>,
    /// Could not be taken up yet.
    waiting: BTreeMap<FlowId, NotTakenUp>,
    withdrawn: BTreeSet<FlowId>,
    keeps: BTreeMap<FlowId, Keep>,
    unsynced: Vec<Unsynced>,
    dropped: Vec<Dropped>,
    written: u64,
    /// The disk was full, and stayed so although something gave way: nothing more does until a write succeeds.
    in_vain: bool,
}

impl Outbox {
    /// Opens the outbox in `dir`, with what is known of it in `index`. Flows with a tombstone are destroyed before anything else. Damage is never fatal:
    /// what cannot be read is counted and will be declared lost.
    ///
    /// # Errors
    /// [`OpenError`] if the folder or the index cannot be used.
    pub fn open(
        dir: Place,
        config: Config,
        index: Logged,
        tombstones: &BTreeSet<FlowId>,
    ) -> Result<(Self, Report), OpenError> {
        dir.create()?;
        // What is damaged may have named an epoch that was used.
        let config = Config { new_epoch: config.new_epoch || index.damaged(), ..config };
        let mut outbox = Self {
            dir,
            config,
            index: Index(index),
            queue: Queue::default(),
            folders: BTreeMap::new(),
            waiting: BTreeMap::new(),
            withdrawn: tombstones.clone(),
            keeps: BTreeMap::new(),
            unsynced: Vec::new(),
            dropped: Vec::new(),
            written: 0,
            in_vain: false,
        };
        let mut report = Report::default();
        let mut flows = open::folders(&outbox.dir)?;
        flows.extend(outbox.index.flows()?);
        for flow in flows.iter().filter(|flow| tombstones.contains(flow)) {
            match outbox.purge(*flow) {
                Ok(()) => report.purged.push(*flow),
                Err(error) => report.failed.push((*flow, error.to_string())),
            }
        }
        for flow in flows.difference(tombstones) {
            if let Err(error) = outbox.load((*flow, Unreadable::Waits), &mut report) {
                outbox.waiting.insert(*flow, NotTakenUp::default().after(&error));
                report.failed.push((*flow, error.to_string()));
            }
        }
        // A folder that a process was killed over is gone, and perhaps not for good yet: nobody would find it here again.
        if let Err(error) = outbox.dir.sync() {
            tracing::error!(target: "outbox", %error, "what was removed before may come back with a power cut");
        }
        outbox.weigh();
        if let Err(error) = outbox.save() {
            tracing::error!(target: "outbox", %error, "what was found at start is not noted yet");
        }
        report.flows = outbox.folders.len();
        report.batches = outbox.batches().count();
        Ok((outbox, report))
    }

    fn load(
        &mut self,
        (flow, unreadable): (FlowId, Unreadable),
        report: &mut Report,
    ) -> Result<(), LoadError> {
        match open::load(&self.dir, &self.index, (flow, unreadable), &mut self.queue, report) {
            Ok(mut folder) => {
                folder.new_epoch |= self.config.new_epoch;
                self.keeps.insert(flow, folder.state.keep);
                self.folders.insert(flow, folder);
                Ok(())
            }
            Err(error) => {
                self.queue.purge(flow);
                Err(error)
            }
        }
    }

    /// Tries again to take up what could not be at start; to be called once a second. After [`UNREADABLE_TRIES_MAX`] calls
    /// what is in a segment that cannot be read counts as lost.
    ///
    /// # Errors
    /// The last one; what it was about is tried again with the next call.
    pub fn take_up_again(&mut self) -> Result<(), OutboxError> {
        let flows: Vec<FlowId> = self.waiting.keys().copied().collect();
        // One that cannot be keeps no other one.
        let again = flows.into_iter().map(|flow| {
            self.waiting.entry(flow).and_modify(|waiting| waiting.tries += u32::from(waiting.unreadable));
            self.take_up(flow)
        });
        again.filter(Result::is_err).last().unwrap_or(Ok(()))
    }

    /// What lies there of the flow is known.
    #[must_use]
    pub fn is_taken_up(&self, flow: FlowId) -> bool {
        !self.waiting.contains_key(&flow)
    }

    /// Tries again to take up a flow that could not be at start. Until then nothing is stored in it: nobody knows which
    /// sequences are used. What is found is reported by the next [`Self::sync`].
    fn take_up(&mut self, flow: FlowId) -> Result<(), OutboxError> {
        let Some(waiting) = self.waiting.get(&flow).copied() else { return Ok(()) };
        let over = waiting.tries >= UNREADABLE_TRIES_MAX;
        let unreadable = if over { Unreadable::IsLost } else { Unreadable::Waits };
        if let Err(error) = self.load((flow, unreadable), &mut Report::default()) {
            self.waiting.insert(flow, waiting.after(&error));
            return Err(OutboxError::NotTakenUp { flow, why: error.to_string() });
        }
        self.waiting.remove(&flow);
        tracing::info!(target: "outbox", %flow, "taken up");
        let found: Vec<BatchId> = self.queue.batches(flow).collect();
        match waiting.lose {
            Some(reason) => self.lose(&found, reason),
            None => {
                let stored = |batch| self.queue.entry(batch).and_then(|entry| entry.stored);
                let found =
                    found.into_iter().map(|batch| Unsynced { batch, stored: stored(batch), envelope: None });
                self.unsynced.extend(found);
                Ok(())
            }
        }
    }

    /// All batches that are stored and synced, each flow's in order.
    pub fn batches(&self) -> impl Iterator<Item = BatchId> {
        let stored = self.queue.flows().flat_map(|flow| self.queue.batches(flow));
        stored.filter(|batch| !self.is_unsynced(*batch))
    }

    /// When a batch was stored; `None` if the time was in doubt, or it is not there.
    #[must_use]
    pub fn stored_at(&self, batch: BatchId) -> Option<WallTime> {
        self.queue.entry(batch).and_then(|entry| entry.stored)
    }

    /// Figures of each flow.
    pub fn figures(&self) -> impl Iterator<Item = Figures> {
        self.queue.flows().map(|flow| {
            let (batches, bytes) = self.queue.figures(flow);
            Figures { flow, batches, bytes }
        })
    }

    /// How long batches of `flow` are kept, and before which others; noted with the next [`Self::save`]. Stays in force
    /// when the grant has ended, until the flow is purged.
    pub fn keep(&mut self, flow: FlowId, keep: Keep) {
        if self.withdrawn.contains(&flow) || self.keeps.insert(flow, keep) == Some(keep) {
            return;
        }
        self.queue.set_priority(flow, keep.priority);
        self.queue.set_age_max(flow, keep.age_us_max);
        if let Some(folder) = self.folders.get_mut(&flow) {
            (folder.state.keep, folder.unsaved) = (keep, true);
        }
    }

    /// The class of `flow`.
    #[must_use]
    pub fn priority(&self, flow: FlowId) -> Priority {
        self.queue.priority(flow)
    }

    /// Space on disk that all of it takes: segments, key files, index.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.queue.bytes()
    }

    /// Bytes that were written to segments since the start.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Where the next batch of `flow` goes: for sealing. Asked again before that one is stored, it answers the same.
    ///
    /// # Errors
    /// [`OutboxError::Withdrawn`], or if a new epoch cannot be noted.
    pub fn next(&mut self, flow: FlowId) -> Result<(Epoch, Sequence), OutboxError> {
        self.refuse_withdrawn(flow)?;
        self.take_up(flow)?;
        if self.folders.get(&flow).is_none_or(|folder| folder.new_epoch) {
            self.begin_epoch(flow)?;
        }
        let last = self.queue.last(flow).ok_or(OutboxError::Withdrawn { flow })?;
        Ok((last.epoch, last.sequence.next()))
    }

    fn refuse_withdrawn(&self, flow: FlowId) -> Result<(), OutboxError> {
        if self.withdrawn.contains(&flow) { Err(OutboxError::Withdrawn { flow }) } else { Ok(()) }
    }

    /// The index knows of the epoch before anything is in it.
    fn begin_epoch(&mut self, flow: FlowId) -> Result<(), OutboxError> {
        let tag = getrandom::u32().map_err(OutboxError::Random)?;
        let old = self.folders.get(&flow).map(|folder| folder.state.clone());
        let counter = old.as_ref().map_or(1, |old| old.epoch.counter.saturating_add(1));
        let epoch = Epoch { counter, tag };
        let watermark = self.queue.watermark(flow).filter(|_| old.is_some());
        let keep = self.keeps.get(&flow).copied().unwrap_or_default();
        let state = FlowState { epoch, watermark: watermark.unwrap_or(Position::start(epoch)), keep };
        let mut change = Change::default();
        change.state(flow, &state);
        self.index.apply(&change)?;
        match self.folders.get_mut(&flow) {
            Some(folder) => (folder.state, folder.new_epoch) = (state, false),
            None => {
                let folder = Folder::open(&self.dir, flow, state)?;
                self.folders.insert(flow, folder);
            }
        }
        self.queue.begin(flow, Position::start(epoch));
        Ok(())
    }

    /// What the next batch of `flow` must declare; asked before sealing it, with the sequence of [`Self::next`].
    /// It is asked for again until a batch that said it was acknowledged.
    pub fn take_losses(&mut self, flow: FlowId) -> Vec<Loss> {
        let Ok((epoch, sequence)) = self.next(flow) else { return Vec::new() };
        let folder = self.folders.get_mut(&flow);
        folder.map(|folder| folder.losses.take(Position { epoch, sequence })).unwrap_or_default()
    }

    /// Samples of `flow` were lost before they were sealed: declared with its next batch, noted with the next
    /// [`Self::save`].
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn lose_samples(
        &mut self,
        flow: FlowId,
        reason: LossReason,
        samples: u64,
    ) -> Result<(), OutboxError> {
        self.next(flow)?;
        if let Some(folder) = self.folders.get_mut(&flow) {
            folder.losses.add_samples(reason, samples);
            folder.unsaved = true;
        }
        Ok(())
    }

    /// Reads a stored batch back. One that cannot be read is lost from then on, and will be declared.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&mut self, batch: BatchId, verifier: &dyn Verifier) -> Result<Sealed, ReadError> {
        let why = match self.read_bytes(batch)? {
            None => "the record is damaged",
            Some(bytes) => match readmit(bytes, verifier) {
                Ok(sealed) if BatchId::from(&sealed) == batch => return Ok(sealed),
                Ok(_) => "it is another batch",
                Err(ReadmitError::Size { .. } | ReadmitError::Form) => "it is not an envelope",
                Err(ReadmitError::Signature) => "it does not bear the signature of the alias it names",
            },
        };
        self.lose(&[batch], LossReason::Corrupt)?;
        Err(ReadError::Corrupt { batch, why })
    }

    fn read_bytes(&self, batch: BatchId) -> Result<Option<Vec<u8>>, ReadError> {
        let stored = self.queue.entry(batch).filter(|_| !self.is_unsynced(batch));
        let entry = stored.ok_or(ReadError::NotStored { batch })?;
        let folder = self.folders.get(&batch.flow).ok_or(ReadError::NotStored { batch })?;
        match folder.read(entry.segment, (entry.offset, entry.position)) {
            // EIO: the medium does not give it back, and will not later.
            Err(FileError::Io { source, .. }) if source.raw_os_error() == Some(5) => Ok(None),
            outcome => Ok(outcome.map_err(OutboxError::from)?),
        }
    }

    /// The broker has it. Deleted with its segment, when nothing in that is wanted any more.
    ///
    /// # Errors
    /// If the watermark cannot be noted: then the file stays until it can.
    pub fn acked(&mut self, batch: BatchId) -> Result<(), OutboxError> {
        let Some(removed) = self.queue.remove(batch) else { return Ok(()) };
        let Some(folder) = self.folders.get_mut(&batch.flow) else { return Ok(()) };
        let declared = folder.losses.declared(batch.position());
        folder.unsaved |= declared;
        folder.unsaved_acks += 1;
        if removed.emptied || declared || folder.unsaved_acks >= ACKS_UNSAVED_MAX {
            self.save()?;
        }
        Ok(())
    }

    /// A batch will never be delivered: it goes, and its loss is noted, durable when this returns.
    ///
    /// # Errors
    /// If the loss cannot be noted yet; it is noted with the next [`Self::save`].
    pub fn lost(&mut self, batch: BatchId, reason: LossReason) -> Result<(), OutboxError> {
        self.lose(&[batch], reason)
    }

    /// All that is queued of `flow` goes and is declared lost: its grant was narrowed.
    ///
    /// # Errors
    /// As [`Self::lost`].
    pub fn discard(&mut self, flow: FlowId, reason: LossReason) -> Result<(), OutboxError> {
        if let Some(waiting) = self.waiting.get_mut(&flow) {
            waiting.lose = Some(reason);
            return self.take_up(flow);
        }
        if let Some(folder) = self.folders.get_mut(&flow) {
            // Also what was acknowledged, and is in a segment that was still written to: else it would be there again
            // without the index.
            folder.unsaved = true;
            if let Some(open) = folder.close() {
                self.queue.close_segment(flow, open);
            }
        }
        let batches: Vec<BatchId> = self.queue.batches(flow).collect();
        self.lose(&batches, reason)
    }

    /// Batches that are, or in doubt could be, older than their grant allows go and are declared lost. Nobody knows the
    /// age of anything while the time is in doubt; nothing is sent then either.
    ///
    /// # Errors
    /// As [`Self::lost`].
    pub fn drop_aged(&mut self, now: TrustedTime) -> Result<(), OutboxError> {
        let aged: Vec<BatchId> = self.queue.aged(now).collect();
        if aged.is_empty() {
            return Ok(());
        }
        self.forget(&aged, LossReason::Age);
        for flow in aged.iter().map(|batch| batch.flow).collect::<BTreeSet<_>>() {
            // Nothing more may come of it, and what was too old must not stay for that.
            if self.queue.figures(flow).0 == 0 {
                let open = self.folders.get_mut(&flow).and_then(Folder::close);
                open.into_iter().for_each(|open| self.queue.close_segment(flow, open));
            }
        }
        self.save()
    }

    fn lose(&mut self, batches: &[BatchId], reason: LossReason) -> Result<(), OutboxError> {
        self.forget(batches, reason);
        self.save()
    }

    /// Takes batches out and remembers their loss; noted by the next [`Self::save`].
    fn forget(&mut self, batches: &[BatchId], reason: LossReason) {
        for batch in batches {
            let Some(removed) = self.queue.remove(*batch) else { continue };
            let Some(folder) = self.folders.get_mut(&batch.flow) else { continue };
            let BatchId { epoch, sequence, .. } = *batch;
            folder.losses.undeclared(batch.position());
            folder.losses.add_batches(reason, epoch, (sequence, sequence));
            if !removed.oldest {
                folder.gaps.push(Gap { epoch, first: sequence, last: sequence });
            }
            folder.unsaved = true;
            self.unsynced.retain(|it| it.batch != *batch);
            self.dropped.push(Dropped { batch: *batch, reason });
            tracing::warn!(target: "outbox", %batch, ?reason, "dropped");
        }
    }

    /// What was dropped since the last call.
    pub fn take_dropped(&mut self) -> Vec<Dropped> {
        std::mem::take(&mut self.dropped)
    }

    /// Whether more than acknowledgements waits for [`Self::save`].
    #[must_use]
    pub fn is_unsaved(&self) -> bool {
        self.folders.values().any(|folder| folder.unsaved)
    }

    /// Notes what was acknowledged and lost, durable when it returns; then deletes what is not wanted any more. To
    /// be called now and then, and before a stop: an acknowledgement that is not noted is sent again.
    ///
    /// # Errors
    /// If it cannot be noted; nothing is deleted then.
    pub fn save(&mut self) -> Result<(), OutboxError> {
        let mut change = None;
        for (flow, folder) in self.folders.iter_mut().filter(|(_, folder)| folder.is_behind()) {
            folder.note(self.queue.watermark(*flow), change.get_or_insert_with(Change::default));
        }
        let Some(change) = change else { return Ok(()) };
        self.index.apply(&change)?;
        let behind = self.folders.iter().filter(|(_, folder)| folder.is_behind()).map(|(flow, _)| *flow);
        for flow in behind.collect::<Vec<_>>() {
            self.delete_unwanted(flow)?;
            if let Some(folder) = self.folders.get_mut(&flow) {
                let watermark = folder.state.watermark;
                folder.gaps.retain(|gap| Position { epoch: gap.epoch, sequence: gap.last } > watermark);
                (folder.unsaved, folder.unsaved_acks) = (false, 0);
            }
        }
        self.weigh();
        Ok(())
    }

    /// What is not wanted is deleted though the index does not know it: the next start finds what is missing. The newest
    /// segment stays, since it alone says then which sequences are used. Answers whether there was anything.
    fn delete_unnoted(&mut self, flow: FlowId) -> Result<bool, OutboxError> {
        let newest = self.queue.last_segment(flow);
        let unwanted: Vec<_> = self.queue.unwanted(flow).filter(|number| Some(*number) != newest).collect();
        self.delete(flow, &unwanted)?;
        Ok(!unwanted.is_empty())
    }

    fn delete_unwanted(&mut self, flow: FlowId) -> Result<(), OutboxError> {
        let unwanted: Vec<_> = self.queue.unwanted(flow).collect();
        self.delete(flow, &unwanted)
    }

    fn delete(&mut self, flow: FlowId, segments: &[SegmentNumber]) -> Result<(), OutboxError> {
        if let Some(folder) = self.folders.get_mut(&flow) {
            folder.delete(segments)?;
            segments.iter().for_each(|segment| self.queue.remove_segment(flow, *segment));
        }
        Ok(())
    }

    /// What is taken beside the segments.
    fn weigh(&mut self) {
        self.queue.set_bytes_beside(None, self.index.0.size_on_disk().unwrap_or_default());
        for (flow, folder) in &self.folders {
            self.queue.set_bytes_beside(Some(*flow), folder.bytes_beside());
        }
    }

    /// A grant was withdrawn and its tombstone is on disk: destroys all of the flow. From the call on nothing of it
    /// can be read or stored. May be repeated.
    ///
    /// # Errors
    /// If something could not be removed: repeat it. The start does so too.
    pub fn purge(&mut self, flow: FlowId) -> Result<(), PurgeError> {
        self.purge_in_steps(flow, &mut Steps::default())
    }

    fn purge_in_steps(&mut self, flow: FlowId, steps: &mut Steps) -> Result<(), PurgeError> {
        self.withdrawn.insert(flow);
        self.keeps.remove(&flow);
        self.queue.purge(flow);
        self.folders.remove(&flow);
        self.waiting.remove(&flow);
        self.unsynced.retain(|it| it.batch.flow != flow);
        purge::purge(&self.dir, &self.index, flow, steps)
    }

    /// Syncs and notes everything. What is wanted of no segment is deleted.
    ///
    /// # Errors
    /// As [`Self::sync`] and [`Self::save`]; what was not synced is lost then.
    pub fn close(mut self) -> Result<Vec<BatchId>, OutboxError> {
        let stored = self.sync()?;
        let open: Vec<(FlowId, _)> =
            self.folders.iter_mut().filter_map(|(flow, folder)| Some((*flow, folder.close()?))).collect();
        for (flow, segment) in open {
            self.queue.close_segment(flow, segment);
            self.folders.get_mut(&flow).into_iter().for_each(|folder| folder.unsaved = true);
        }
        self.save()?;
        Ok(stored)
    }
}

#[cfg(test)]
mod tests;
