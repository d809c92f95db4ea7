//! The files of one flow: its key file, the segment that is written to, those that wait for a sync.

use std::io;
use std::path::{Path, PathBuf};

use glovebox_core::names::FlowId;
use glovebox_core::outbox::{Losses, Position, SegmentNumber};

use super::index::{FlowState, Gap};
use super::keys::{KeyFile, SegmentKey};
use super::segment::{self, RECORD_BYTES, SegmentId, Writer};
use crate::store::files::{self, FileError};

/// Where a record went.
pub(super) struct Written {
    pub(super) segment: SegmentNumber,
    pub(super) offset: u64,
    /// The segment was begun with it.
    pub(super) begun: bool,
    /// Length of the segment now.
    pub(super) length: u64,
}

/// One flow on disk.
pub(super) struct Folder {
    pub(super) flow: FlowId,
    pub(super) path: PathBuf,
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
    next_segment: u64,
    names_unsynced: bool,
    keys_unsynced: bool,
}

impl Folder {
    /// Opens or creates the folder of `flow`. Where segments have been found, new ones have later numbers.
    pub(super) fn open(dir: &Path, flow: FlowId, state: FlowState) -> Result<Self, FileError> {
        let path = dir.join(flow.to_string());
        files::create_folder(&path)?;
        let keys = path.join("keys");
        let keys = KeyFile::open(&keys).map_err(files::io_error("open", &keys))?;
        let next_segment = keys.segments().map(|number| number.0 + 1).max().unwrap_or(0);
        let mut opened = Self {
            flow,
            path,
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
            next_segment,
            names_unsynced: true,
            keys_unsynced: false,
        };
        opened.segments()?;
        Ok(opened)
    }

    pub(super) fn id(&self, number: SegmentNumber) -> SegmentId {
        SegmentId { flow: self.flow, number }
    }

    /// The numbers of the segment files, in order. New ones get later numbers.
    pub(super) fn segments(&mut self) -> Result<Vec<SegmentNumber>, FileError> {
        let read = |error| files::io_error("read the folder", &self.path)(error);
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            numbers.extend(name.to_str().and_then(SegmentId::number_of));
        }
        numbers.sort_unstable();
        let last = numbers.last().map_or(0, |number| number.0.saturating_add(1));
        self.next_segment = self.next_segment.max(last);
        Ok(numbers)
    }

    /// The segment that is written to.
    pub(super) fn open_segment(&self) -> Option<SegmentNumber> {
        self.writer.as_ref().map(Writer::number)
    }

    /// Ends the segment that is written to, if `bytes` more would make it larger than `bytes_max`, or if it is
    /// broken. Answers which one was closed.
    pub(super) fn roll(&mut self, bytes: u64, bytes_max: u64) -> Option<SegmentNumber> {
        let full = |writer: &Writer| writer.length() > 0 && writer.length() + bytes > bytes_max;
        self.writer.as_ref().filter(|writer| writer.broken() || full(writer))?;
        self.close()
    }

    /// Ends the segment that is written to; it is still synced.
    pub(super) fn close(&mut self) -> Option<SegmentNumber> {
        let writer = self.writer.take()?;
        let number = writer.number();
        if !writer.is_synced() && !writer.broken() {
            self.closing.push(writer);
        }
        Some(number)
    }

    /// Ends the segment that is written to, without syncing it: nothing in it counts.
    pub(super) fn abandon(&mut self) -> Option<SegmentNumber> {
        self.closing.clear();
        self.writer.take().map(|writer| writer.number())
    }

    /// What is written from now on goes to `path`, for tests of a disk that fails.
    #[cfg(test)]
    pub(super) fn write_to(&mut self, path: &str) {
        if let Some(writer) = &mut self.writer {
            writer.write_to(path);
        }
    }

    /// Appends a record; durable after [`Self::sync`]. If it fails, nothing of it stays.
    pub(super) fn append(&mut self, position: Position, envelope: &[u8]) -> Result<Written, FileError> {
        let begun = self.writer.is_none();
        if begun {
            self.begin().map_err(files::io_error("begin a segment in", &self.path))?;
        }
        let Some(writer) = self.writer.as_mut() else {
            let none = io::Error::other("no segment is open");
            return Err(files::io_error("write to", &self.path)(none));
        };
        let offset = writer.append(position, envelope);
        let offset = offset.map_err(files::io_error("append to a segment in", &self.path))?;
        Ok(Written { segment: writer.number(), offset, begun, length: writer.length() })
    }

    fn begin(&mut self) -> io::Result<()> {
        let segment = self.id(SegmentNumber(self.next_segment));
        let key = SegmentKey::random()?;
        // Numbers are not used twice, also if this fails: a left-over must not be taken for the new one.
        self.next_segment += 1;
        self.keys.put(segment.number, &key)?;
        (self.keys_unsynced, self.names_unsynced) = (true, true);
        match Writer::create(&self.path, segment, &key) {
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
        outcome.map_err(files::io_error("sync", &self.path))
    }

    fn sync_files(&mut self) -> io::Result<()> {
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
            std::fs::File::open(&self.path)?.sync_all()?;
            self.names_unsynced = false;
        }
        Ok(())
    }

    /// Destroys the keys of these segments, then deletes the files.
    pub(super) fn delete(&mut self, segments: &[SegmentNumber]) -> Result<(), FileError> {
        self.closing.retain(|writer| !segments.contains(&writer.number()));
        if self.writer.as_ref().is_some_and(|writer| segments.contains(&writer.number())) {
            self.writer = None;
        }
        self.keys.destroy(segments).map_err(files::io_error("destroy keys in", &self.path))?;
        for segment in segments {
            remove(&self.id(*segment).path(&self.path))?;
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
        segment::read(&self.path, id, key, place).map_err(files::io_error("read", &id.path(&self.path)))
    }
}

/// Bytes of a record with an envelope of this length.
pub(super) fn record_bytes(envelope: usize) -> u64 {
    RECORD_BYTES + envelope as u64
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files::io_error("remove", path)(error)),
        _ => Ok(()),
    }
}
