//! What a segment file holds, by its heads. A damaged one is stepped over by searching for the next. The file is read
//! in order, a window at a time: a call for each head would cost more than the bytes between them.

use std::io;

use glovebox_core::limits::SCAN_WINDOW_BYTES;

use super::segment::{BLOCK, HEAD, Head, MAGIC, SegmentId};
use crate::store::disk::{DiskFile, Open, Place, Size};

/// Larger than any segment; what lies behind is no record.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Behind a record of this length another read is cheaper than what lies between.
const SMALL: u32 = 4096;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) found: Vec<(u64, Head)>,
    /// Where the file ends within a record.
    pub(super) torn: Option<u64>,
    /// Places where a record could not be recognised, though there are later ones.
    pub(super) damaged: u32,
    /// Space that the file takes.
    pub(super) allocated: u64,
}

/// Reads the heads.
pub(super) fn scan(folder: &Place, segment: SegmentId) -> io::Result<Scan> {
    let file = folder.open(&segment.name(), Open::Read)?;
    let Size { length, allocated } = file.size()?;
    let mut window = Window::new(&*file, length.min(FILE_BYTES_MAX));
    let mut scan = Scan { allocated, ..Scan::default() };
    let mut offset = 0;
    while offset < window.length {
        if let Some((at, head)) = next_at(&mut window, segment, offset)? {
            offset = at;
            scan.found.push((offset, head));
            offset = head.end(offset);
            // Of large records only the heads are read.
            window.ahead = if head.length < SMALL { SCAN_WINDOW_BYTES } else { HEAD as u64 };
        } else if window.zeros(offset, window.length)? {
            break;
        } else if let Some(next) = search(&mut window, segment, offset)? {
            scan.damaged += 1;
            offset = next;
        } else {
            scan.torn = Some(offset);
            break;
        }
    }
    Ok(scan)
}

/// The head of the next record: here, or behind zeros at the next block.
fn next_at(window: &mut Window<'_>, segment: SegmentId, offset: u64) -> io::Result<Option<(u64, Head)>> {
    if let Some(head) = head_at(window, segment, offset)? {
        return Ok(Some((offset, head)));
    }
    let block = offset.next_multiple_of(BLOCK);
    if !window.zeros(offset, block)? {
        return Ok(None);
    }
    Ok(head_at(window, segment, block)?.map(|head| (block, head)))
}

/// A sound head whose record is whole.
fn head_at(window: &mut Window<'_>, segment: SegmentId, offset: u64) -> io::Result<Option<Head>> {
    let length = window.length;
    let Some(head) = window.head(offset)? else { return Ok(None) };
    Ok(Head::decode(segment, head).filter(|head| head.end(offset) <= length))
}

fn search(window: &mut Window<'_>, segment: SegmentId, after: u64) -> io::Result<Option<u64>> {
    window.ahead = SCAN_WINDOW_BYTES;
    for offset in after + 1..window.length.saturating_sub(HEAD as u64) {
        if window.head(offset)?.is_some_and(|head| head.starts_with(MAGIC))
            && head_at(window, segment, offset)?.is_some()
        {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

/// A part of the file in memory.
struct Window<'a> {
    file: &'a dyn DiskFile,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
    /// How much is read at once.
    ahead: u64,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn DiskFile, length: u64) -> Self {
        Self { file, length, start: 0, bytes: Vec::new(), ahead: SCAN_WINDOW_BYTES }
    }

    /// Whether the file has only zeros from `start` to `end`, within one block.
    fn zeros(&self, start: u64, end: u64) -> io::Result<bool> {
        if end > self.length || end - start >= BLOCK {
            return Ok(false);
        }
        let mut bytes = vec![1; usize::try_from(end - start).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    /// The bytes of a head at `offset`; `None` if the file ends before.
    fn head(&mut self, offset: u64) -> io::Result<Option<&[u8; HEAD]>> {
        if offset + HEAD as u64 > self.length {
            return Ok(None);
        }
        let held = self.start..=(self.start + self.bytes.len() as u64).saturating_sub(HEAD as u64);
        if self.bytes.is_empty() || !held.contains(&offset) {
            let size = (self.length - offset).min(self.ahead);
            self.bytes.resize(usize::try_from(size).map_err(io::Error::other)?, 0);
            self.file.read_exact_at(&mut self.bytes, offset)?;
            self.start = offset;
        }
        let at = usize::try_from(offset - self.start).map_err(io::Error::other)?;
        Ok(self.bytes[at..].first_chunk())
    }
}

/// Sees to it that what is scanned is on the medium, and not only in memory since a sync of another process failed.
pub(super) fn look_at_medium(folder: &Place, segment: SegmentId) -> io::Result<()> {
    folder.open(&segment.name(), Open::Write)?.sync_and_forget()
}

/// Cuts a torn end off, and the space that was reserved behind it, and makes the rest durable: it may have been only in
/// memory when the process was killed.
pub(super) fn settle(folder: &Place, segment: SegmentId, scan: &mut Scan) -> io::Result<()> {
    let file = folder.open(&segment.name(), Open::Write)?;
    let Size { length, allocated } = file.size()?;
    let end = scan.torn.unwrap_or(length);
    if end < length || allocated > end + SPARE {
        file.set_len(end)?;
    }
    file.sync()?;
    scan.allocated = file.size()?.allocated;
    Ok(())
}

/// More than the last block and what the file system needs for a file of a MiB: it was reserved.
const SPARE: u64 = 16 * 1024;
