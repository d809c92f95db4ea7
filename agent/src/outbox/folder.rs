//! The files of one flow: its key file, the segment that is written to, those that wait for a sync.

use std::io;

use glovebox_core::limits::{SEGMENT_BYTES_MAX, SEGMENT_RESERVE_BYTES};
use glovebox_core::names::{FlowId, WallTime};
use glovebox_core::outbox::{Losses, Position, SegmentNumber};

use super::index::{Change, FlowState, Gap};
use super::keys::{self, KeyFile, SegmentKey};
use super::segment::{self, BLOCK, RECORD_BYTES, SegmentId, Writer};
use crate::store::disk::Place;
use crate::store::files::{self, FileError};

/// Where a record went.
pub(super) struct Written {
    pub(super) segment: SegmentNumber,
    pub(super) offset: u64,
}

/// One flow on disk.
pub(super) struct Folder {
    pub(super) flow: FlowId,
    pub(super) place: Place,
    pub(super) keys: KeyFile,
    pub(super) state: FlowState,
    pub(super) losses: Losses,
    pub(super) gaps: Vec<Gap>,
    /// Sequences are in doubt, or a new epoch is asked for: one begins with the next batch.
    pub(super) new_epoch: bool,
    /// What the index has of this flow is behind.
    pub(super) unsaved: bool,
    pub(super) unsaved_acks: usize,
    /// A sync failed: what was not synced must be written again.
    pub(super) rewrite: bool,
    writer: Option<Writer>,
    closing: Vec<Writer>,
    /// Behind the last record of these lies what a failed write has left, perhaps a whole record.
    torn: Vec<Writer>,
    next_segment: u64,
    segment_bytes_max: u64,
    /// The folder that this one is in, until its own name is known to be durable: it may have been made by a call that
    /// failed then.
    above: Option<Place>,
    names_unsynced: bool,
    keys_unsynced: bool,
}

impl Folder {
    /// Opens or creates the folder of `flow`. Where segments have been found, new ones have later numbers.
    pub(super) fn open(dir: &Place, flow: FlowId, state: FlowState) -> Result<Self, FileError> {
        let place = dir.join(&flow.to_string());
        place.create()?;
        let keys = KeyFile::open(&place).map_err(files::io_error("open", &place.path.join(keys::NAME)))?;
        let next_segment = keys.segments().map(|number| number.0 + 1).max().unwrap_or(0);
        let mut opened = Self {
            flow,
            place,
            keys,
            state,
            losses: Losses::default(),
            gaps: Vec::new(),
            new_epoch: false,
            unsaved: false,
            unsaved_acks: 0,
            rewrite: false,
            writer: None,
            closing: Vec::new(),
            torn: Vec::new(),
            next_segment,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            above: Some(dir.clone()),
            // A process that was killed may have synced neither.
            names_unsynced: true,
            keys_unsynced: true,
        };
        opened.segments()?;
        Ok(opened)
    }

    /// The index knows less than is known here.
    pub(super) fn is_behind(&self) -> bool {
        self.unsaved || self.unsaved_acks > 0
    }

    /// All that the index is to know of it.
    pub(super) fn note(&mut self, watermark: Option<Position>, change: &mut Change) {
        self.state.watermark = watermark.unwrap_or(self.state.watermark);
        let settled = |gap: &&Gap| Position { epoch: gap.epoch, sequence: gap.last } <= self.state.watermark;
        self.gaps.iter().filter(settled).for_each(|gap| change.forget_gap(self.flow, *gap));
        self.gaps.iter().filter(|gap| !settled(gap)).for_each(|gap| change.gap(self.flow, *gap));
        change.state(self.flow, &self.state);
        change.losses(self.flow, &self.losses);
    }

    pub(super) fn id(&self, number: SegmentNumber) -> SegmentId {
        SegmentId { flow: self.flow, number }
    }

    /// The numbers of the segment files, in order. New ones get later numbers.
    pub(super) fn segments(&mut self) -> Result<Vec<SegmentNumber>, FileError> {
        let names = self.place.list()?;
        let mut numbers: Vec<SegmentNumber> =
            names.iter().filter_map(|name| SegmentId::number_of(name.to_str()?)).collect();
        numbers.sort_unstable();
        let last = numbers.last().map_or(0, |number| number.0.saturating_add(1));
        self.next_segment = self.next_segment.max(last);
        Ok(numbers)
    }

    /// The segment that is written to.
    pub(super) fn open_segment(&self) -> Option<SegmentNumber> {
        self.writer.as_ref().map(Writer::number)
    }

    /// Space that the segment takes that is written to.
    pub(super) fn open_bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::allocated)
    }

    /// Space that it takes beside its segments.
    pub(super) fn bytes_beside(&self) -> u64 {
        // One block of names.
        BLOCK + self.keys.allocated().unwrap_or_default()
    }

    /// Space that `bytes` more will take, in segments of `bytes_max`.
    pub(super) fn growth(&self, bytes: u64, bytes_max: u64) -> u64 {
        match &self.writer {
            Some(writer) if writer.length() + bytes <= bytes_max => writer.growth(bytes),
            // And perhaps a block of keys.
            _ => bytes.max(SEGMENT_RESERVE_BYTES.min(bytes_max)).next_multiple_of(BLOCK) + BLOCK,
        }
    }

    /// Ends the segment that is written to, if `bytes` more would make it larger than `bytes_max`, or if it is
    /// broken. Answers which one was closed.
    pub(super) fn roll(&mut self, bytes: u64, bytes_max: u64) -> Option<SegmentNumber> {
        self.segment_bytes_max = bytes_max;
        let full = |writer: &Writer| writer.length() > 0 && writer.length() + bytes > bytes_max;
        self.writer.as_ref().filter(|writer| writer.broken() || full(writer))?;
        self.close()
    }

    /// Ends the segment that is written to; it is still synced.
    pub(super) fn close(&mut self) -> Option<SegmentNumber> {
        let mut writer = self.writer.take()?;
        let number = writer.number();
        // If it fails, the next start does it.
        let _ = writer.trim();
        if writer.broken() {
            self.torn.push(writer);
            self.unsaved = true;
        } else if !writer.is_synced() {
            self.closing.push(writer);
        }
        Some(number)
    }

    /// Ends the segment that is written to, without syncing it: nothing in it counts.
    pub(super) fn abandon(&mut self) -> Option<SegmentNumber> {
        self.closing.clear();
        let writer = self.writer.take()?;
        let number = writer.number();
        if writer.broken() {
            self.torn.push(writer);
            self.unsaved = true;
        }
        Some(number)
    }

    /// Appends a record; durable after [`Self::sync`]. If it fails, nothing of it stays.
    pub(super) fn append(
        &mut self,
        record: (Position, Option<WallTime>),
        envelope: &[u8],
    ) -> Result<Written, FileError> {
        if self.writer.is_none() {
            self.begin().map_err(files::io_error("begin a segment in", &self.place.path))?;
        }
        let Some(writer) = self.writer.as_mut() else {
            let none = io::Error::other("no segment is open");
            return Err(files::io_error("write to", &self.place.path)(none));
        };
        let offset = writer.append(record, envelope);
        let offset = offset.map_err(files::io_error("append to a segment in", &self.place.path))?;
        Ok(Written { segment: writer.number(), offset })
    }

    fn begin(&mut self) -> io::Result<()> {
        let segment = self.id(SegmentNumber(self.next_segment));
        let key = SegmentKey::random()?;
        // Numbers are not used twice, also if this fails: a left-over must not be taken for the new one.
        self.next_segment += 1;
        self.keys.put(segment.number, &key)?;
        (self.keys_unsynced, self.names_unsynced) = (true, true);
        match Writer::create(&self.place, segment, &key, self.segment_bytes_max) {
            Ok(writer) => self.writer = Some(writer),
            Err(error) => {
                let _ = self.keys.destroy(&[segment.number]);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes all that was appended durable: keys, records, names.
    pub(super) fn sync(&mut self) -> Result<(), FileError> {
        let outcome = self.sync_files();
        if outcome.is_err() {
            // What the kernel could not write it may have forgotten: it is written again, elsewhere.
            self.rewrite = true;
        }
        outcome.map_err(files::io_error("sync", &self.place.path))
    }

    /// What a failed write has left is cut off: the next start would take it for a record that was stored.
    fn cut_off(&mut self) -> io::Result<()> {
        while let Some(writer) = self.torn.last_mut() {
            writer.trim()?;
            writer.sync()?;
            self.torn.pop();
        }
        Ok(())
    }

    fn sync_files(&mut self) -> io::Result<()> {
        self.cut_off()?;
        if self.keys_unsynced {
            self.keys.sync()?;
            self.keys_unsynced = false;
        }
        for writer in self.closing.iter_mut().chain(&mut self.writer) {
            if !writer.is_synced() {
                writer.sync()?;
            }
        }
        self.closing.clear();
        if self.names_unsynced {
            self.place.disk.sync_folder(&self.place.path)?;
            self.names_unsynced = false;
        }
        if let Some(above) = &self.above {
            above.disk.sync_folder(&above.path)?;
            self.above = None;
        }
        Ok(())
    }

    /// Destroys the keys of these segments, then deletes the files.
    pub(super) fn delete(&mut self, segments: &[SegmentNumber]) -> Result<(), FileError> {
        self.cut_off().map_err(files::io_error("cut off what is not whole in", &self.place.path))?;
        self.closing.retain(|writer| !segments.contains(&writer.number()));
        if self.writer.as_ref().is_some_and(|writer| segments.contains(&writer.number())) {
            self.writer = None;
        }
        self.keys.destroy(segments).map_err(files::io_error("destroy keys in", &self.place.path))?;
        for segment in segments {
            self.place.remove(self.id(*segment).name())?;
        }
        Ok(())
    }

    pub(super) fn read(
        &self,
        segment: SegmentNumber,
        place: (u64, Position),
    ) -> Result<Option<Vec<u8>>, FileError> {
        let Some(key) = self.keys.key(segment) else { return Ok(None) };
        let id = self.id(segment);
        let read = segment::read(&self.place, id, key, place);
        read.map_err(files::io_error("read", &self.place.path.join(id.name())))
    }
}

/// Bytes of a record with an envelope of this length.
pub(super) fn record_bytes(envelope: usize) -> u64 {
    RECORD_BYTES + envelope as u64
}
