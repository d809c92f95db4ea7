//! How a batch gets to the disk, and what gives way for it.

use std::collections::BTreeSet;

use glovebox_core::limits::{DISK_FULL_BYTES, OUTBOX_UNSYNCED_BYTES_MAX};
use glovebox_core::names::{FlowId, TrustedTime, WallTime};
use glovebox_core::outbox::{BatchId, Entry, LossReason, Position, Relief, Room, SegmentNumber, Wanted};
use glovebox_core::seal::Sealed;

use super::folder::{self, Folder, Written};
use super::index::{Change, Gap};
use super::segment::BLOCK;
use super::{Config, Outbox, OutboxError};

/// A batch, and when it was stored.
type Record = (BatchId, Option<WallTime>);

/// Written, and not yet reported as stored.
pub(super) struct Unsynced {
    pub(super) batch: BatchId,
    pub(super) stored: Option<WallTime>,
    /// Kept until it is durable, since a failed sync may have lost what was written.
    pub(super) envelope: Option<Vec<u8>>,
}

impl Outbox {
    /// Writes a batch. It is stored when [`Self::sync`] says so, and not offered before. Makes room first if there is
    /// none: see [`Self::take_dropped`]. Its age counts from `now`.
    ///
    /// # Errors
    /// [`OutboxError`]: nothing of the batch stays, and it can be tried again.
    pub fn store(&mut self, sealed: &Sealed, now: Option<TrustedTime>) -> Result<(), OutboxError> {
        let record = (BatchId::from(sealed), now.map(|now| now.earliest));
        let needed = 2 * folder::record_bytes(sealed.envelope().len()).next_multiple_of(BLOCK);
        let mut won = 0;
        loop {
            let outcome = self.append(record, sealed.envelope());
            let full = outcome.as_ref().err().is_some_and(|error| self.is_full(error));
            if full && won < needed && !self.in_vain {
                match self.give_way(record.0.flow)? {
                    Some(bytes) => won += bytes,
                    None => return outcome,
                }
                continue;
            }
            self.in_vain = full && (self.in_vain || won > 0);
            return outcome;
        }
    }

    /// A batch that was sealed for the place that [`Self::next`] gave will not be stored. Its sequence is used all the
    /// same, and declared lost: a write that failed may have left it on the disk, where a start would find it. Noted with
    /// the next [`Self::save`]. False, and nothing is done, if the place is not the next one any more.
    pub fn give_up(&mut self, batch: BatchId, reason: LossReason) -> bool {
        let BatchId { flow, epoch, sequence } = batch;
        let Some(folder) = self.folders.get_mut(&flow) else { return false };
        if self.queue.last(flow).map(following) != Some(batch.position()) {
            return false;
        }
        self.queue.begin(flow, batch.position());
        folder.losses.undeclared(batch.position());
        folder.losses.add_batches(reason, epoch, (sequence, sequence));
        if self.queue.watermark(flow) < Some(batch.position()) {
            folder.gaps.push(Gap { epoch, first: sequence, last: sequence });
        }
        folder.unsaved = true;
        true
    }

    /// The disk has no room although the caps are kept: others have taken it.
    fn is_full(&self, error: &OutboxError) -> bool {
        let free = || self.dir.disk.free_bytes(&self.dir.path).unwrap_or(u64::MAX);
        error.is_full() || (matches!(error, OutboxError::Store(_)) && free() < DISK_FULL_BYTES)
    }

    /// One segment gives way by the rule. Answers how much space was won; `None` if there was none left. The index may
    /// have no room to note it: then the next start finds what is missing.
    fn give_way(&mut self, coming: FlowId) -> Result<Option<u64>, OutboxError> {
        let wanted = Wanted { flow: coming, bytes: 1 };
        let full = Room { bytes_max: u64::MAX, flow_bytes_max: u64::MAX, free_bytes: 0 };
        let Some(relief) = self.queue.relief(wanted, &full) else { return Ok(None) };
        let (Relief::Delete(flow, segment) | Relief::Drop(flow, segment, _)) = relief else {
            return Err(OutboxError::LessUrgent { flow: coming });
        };
        let bytes = self.queue.segment_bytes(flow, segment);
        if let Err(error) = self.relieve(coming, relief) {
            tracing::warn!(target: "outbox", %error, "what gave way is not noted yet");
            if !self.delete_unnoted(flow)? {
                return Err(error);
            }
        }
        Ok(Some(bytes.max(BLOCK)))
    }

    fn append(&mut self, (batch, stored): Record, envelope: &[u8]) -> Result<(), OutboxError> {
        self.refuse_withdrawn(batch.flow)?;
        // Before anything later is written, so that segments keep the order of sequences.
        self.rewrite()?;
        let last = self.queue.last(batch.flow);
        if last.map(following) != Some(batch.position()) {
            return Err(OutboxError::Disorder { batch });
        }
        let unsynced: usize = self.unsynced.iter().flat_map(|it| &it.envelope).map(Vec::len).sum();
        if unsynced + envelope.len() > OUTBOX_UNSYNCED_BYTES_MAX {
            self.make_durable()?;
        }
        self.make_room(batch.flow, folder::record_bytes(envelope.len()))?;
        self.note_carried(batch)?;
        let entry = self.write((batch, stored), envelope)?;
        self.queue.push(batch.flow, entry).map_err(|error| OutboxError::Disorder { batch: error.batch })?;
        self.unsynced.push(Unsynced { batch, stored, envelope: Some(envelope.to_vec()) });
        Ok(())
    }

    /// That `batch` declares losses is known before it can be there: else they could be declared twice. And with them
    /// which sequences they used: else one of these could be given to another batch.
    fn note_carried(&mut self, batch: BatchId) -> Result<(), OutboxError> {
        let carries = |folder: &&mut Folder| folder.losses.carried_by(batch.position());
        if let Some(folder) = self.folders.get_mut(&batch.flow).filter(carries) {
            let mut change = Change::default();
            folder.note(self.queue.watermark(batch.flow), &mut change);
            self.index.apply(&change)?;
        }
        Ok(())
    }

    fn write(&mut self, (batch, stored): Record, envelope: &[u8]) -> Result<Entry, OutboxError> {
        let flow = batch.flow;
        let folder = self.folders.get_mut(&flow).ok_or(OutboxError::Disorder { batch })?;
        let bytes = folder::record_bytes(envelope.len());
        if let Some(closed) = folder.roll(bytes, self.config.segment_bytes_max()) {
            self.queue.close_segment(flow, closed);
        }
        let before = folder.open_segment();
        let written = folder.append((batch.position(), stored), envelope);
        // Also if that failed: what it has left must be deleted with the rest.
        if let Some(open) = folder.open_segment() {
            if before != Some(open) {
                self.queue.add_segment(flow, open, true);
                self.queue.set_bytes_beside(Some(flow), folder.bytes_beside());
            }
            self.queue.set_segment_bytes(flow, open, folder.open_bytes());
        }
        let Written { segment, offset } = written?;
        self.written += bytes;
        Ok(Entry { position: batch.position(), segment, offset, stored })
    }

    /// How much of what is to stay free on the file system is missing: until it is there again, what is new takes the
    /// place of what is oldest.
    #[must_use]
    pub fn bytes_below_floor(&self) -> u64 {
        let free = self.dir.disk.free_bytes(&self.dir.path).unwrap_or(u64::MAX);
        self.config.free_bytes_min.saturating_sub(free)
    }

    /// Drops by the rule until `bytes` more of `flow` have room under the caps and above the floor of the file system.
    fn make_room(&mut self, flow: FlowId, bytes: u64) -> Result<(), OutboxError> {
        let free = self.dir.disk.free_bytes(&self.dir.path).unwrap_or(u64::MAX);
        let free = free.saturating_sub(self.config.free_bytes_min);
        let mut won = 0;
        while let Some(relief) = self.relief(Wanted { flow, bytes }, free.saturating_add(won)) {
            // Counted, not asked for again: some file systems give space back later.
            won += self.relieve(flow, relief)?;
        }
        Ok(())
    }

    fn relief(&self, wanted: Wanted, free: u64) -> Option<Relief> {
        let Config { bytes_max, flow_bytes_max, .. } = self.config;
        let segment = self.config.segment_bytes_max();
        let folder = self.folders.get(&wanted.flow);
        let bytes = folder.map_or(wanted.bytes, |folder| folder.growth(wanted.bytes, segment));
        // Of what is free, no more is needed than the record itself: there space is reserved only if there is some.
        let free_bytes = free.saturating_add(bytes.saturating_sub(wanted.bytes));
        self.queue.relief(Wanted { bytes, ..wanted }, &Room { bytes_max, flow_bytes_max, free_bytes })
    }

    /// Answers how much space was won.
    fn relieve(&mut self, coming: FlowId, relief: Relief) -> Result<u64, OutboxError> {
        let (flow, segment) = match relief {
            Relief::Refuse => return Err(OutboxError::LessUrgent { flow: coming }),
            Relief::Delete(flow, segment) => (flow, segment),
            Relief::Drop(flow, segment, batches) => {
                // Before it is said, so that it is deleted with them.
                self.close_if_open(flow, segment);
                self.forget(&batches, LossReason::Quota);
                (flow, segment)
            }
        };
        let won = self.queue.segment_bytes(flow, segment);
        self.close_if_open(flow, segment);
        if let Some(folder) = self.folders.get_mut(&flow) {
            folder.unsaved = true;
        }
        self.save()?;
        Ok(won)
    }

    fn close_if_open(&mut self, flow: FlowId, segment: SegmentNumber) {
        let folder = self.folders.get_mut(&flow).filter(|folder| folder.open_segment() == Some(segment));
        folder.and_then(Folder::close);
        self.queue.close_segment(flow, segment);
    }

    pub(super) fn is_unsynced(&self, batch: BatchId) -> bool {
        self.unsynced.iter().any(|it| it.batch == batch)
    }

    /// Something was written, or taken up late, and is not reported as stored yet.
    #[must_use]
    pub fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Makes all that was written durable, all flows at once. What it answers is stored: it may be offered, and
    /// survives a power cut.
    ///
    /// # Errors
    /// [`OutboxError`]: nothing is reported as stored; what was stored before stays, the rest is written again by
    /// the next call.
    pub fn sync(&mut self) -> Result<Vec<BatchId>, OutboxError> {
        self.make_durable()?;
        let stored: Vec<BatchId> = self.unsynced.drain(..).map(|it| it.batch).collect();
        for BatchId { flow, epoch, sequence } in &stored {
            let epoch = epoch.counter;
            tracing::info!(target: "outbox", %flow, epoch, sequence = sequence.0, "stored");
        }
        Ok(stored)
    }

    fn make_durable(&mut self) -> Result<(), OutboxError> {
        self.rewrite()?;
        let flows: BTreeSet<FlowId> = self.unsynced.iter().map(|it| it.batch.flow).collect();
        for flow in flows {
            if let Some(folder) = self.folders.get_mut(&flow) {
                folder.sync()?;
            }
        }
        self.unsynced.iter_mut().for_each(|it| it.envelope = None);
        Ok(())
    }

    /// Writes again, into new segments, what a failed sync has left in doubt.
    fn rewrite(&mut self) -> Result<(), OutboxError> {
        let doubtful: Vec<FlowId> =
            self.folders.iter().filter(|(_, folder)| folder.rewrite).map(|(flow, _)| *flow).collect();
        // What an earlier attempt left goes first, or each would take more of the disk.
        if !doubtful.is_empty() {
            let folders = self.folders.values_mut().filter(|folder| folder.rewrite);
            folders.for_each(|folder| folder.unsaved = true);
            self.save()?;
        }
        for flow in doubtful {
            let closed = self.folders.get_mut(&flow).and_then(Folder::abandon);
            if let Some(closed) = closed {
                self.queue.close_segment(flow, closed);
            }
            let unsynced = std::mem::take(&mut self.unsynced);
            let mut written = Ok(());
            let doubtful = unsynced.iter().filter(|it| it.batch.flow == flow);
            for (it, envelope) in doubtful.filter_map(|it| Some((it, it.envelope.as_ref()?))) {
                written =
                    self.write((it.batch, it.stored), envelope).map(|entry| self.queue.moved(flow, entry));
                if written.is_err() {
                    break;
                }
            }
            self.unsynced = unsynced;
            written?;
            if let Some(folder) = self.folders.get_mut(&flow) {
                folder.rewrite = false;
            }
        }
        Ok(())
    }
}

fn following(last: Position) -> Position {
    Position { sequence: last.sequence.next(), ..last }
}
