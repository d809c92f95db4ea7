//! One segment file: sealed envelopes, encrypted once more under the segment's own key, so that to destroy the key
//! is to destroy them. Written only by the process that created it, read by all later ones, deleted whole.
//!
//! ```text
//! <flow, 16 hexadecimal digits>/<number, 16 hexadecimal digits>.seg = records; integers big-endian
//!
//! record  ┌ "GBX2" ‖ u32 record number ‖ u32 length of ciphertext and tag        ┐ head, 40 bytes; its last digit
//!         │ ‖ u32 epoch ‖ u32 epoch tag ‖ u64 sequence ‖ i64 time ‖ 4 bytes check ┘ is the version of the format
//!         └ ciphertext ‖ 16 bytes tag
//!
//! time  = when it was stored, µs since 1970 by trusted time; the least number there is if that was in doubt
//! check = first 4 bytes of SHA-256(lp("glovebox/v1/segment") ‖ u64 flow ‖ u64 segment ‖ the 36 bytes before it)
//! AES-256-GCM: nonce = 4 zero bytes ‖ u64 record number
//!              aad = lp("glovebox/v1/segment") ‖ u64 flow ‖ u64 segment ‖ head
//! ```
//! A record begins where the one before ends, or, where that saves writing a block again, at the next block of 4 KiB;
//! zeros are between, and behind the last record up to the end of its block. The check finds the next record behind a
//! damaged one; the tag finds every damage. A file that ends within a record was torn there, before that record was
//! reported as stored, or its head is damaged: it is declared lost. While it is written to, space is reserved behind its
//! end.

use std::io;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use glovebox_core::limits::ENVELOPE_BYTES_MAX;
use glovebox_core::limits::SEGMENT_RESERVE_BYTES;
use glovebox_core::names::{Digest, Epoch, FlowId, Sequence, WallTime};
use glovebox_core::outbox::{Position, SegmentNumber};

use super::keys::SegmentKey;
use crate::store::disk::{DiskFile, Open, Place};

pub(super) const MAGIC: &[u8; 4] = b"GBX2";
const LABEL: &[u8] = b"glovebox/v1/segment";
pub(super) const HEAD: usize = 40;
/// Bytes of a head before its check.
const CHECKED: usize = HEAD - 4;
const TAG: usize = 16;

/// Blocks of the file systems that are usual in cars.
pub(super) const BLOCK: u64 = 4096;

/// Bytes of a record beside the envelope.
pub(super) const RECORD_BYTES: u64 = (HEAD + TAG) as u64;

/// Which segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentId {
    pub(super) flow: FlowId,
    pub(super) number: SegmentNumber,
}

impl SegmentId {
    /// The file's name in the flow's folder.
    pub(super) fn name(self) -> String {
        format!("{:016x}.seg", self.number.0)
    }

    /// The number in a file's name, if it is a segment's.
    pub(super) fn number_of(name: &str) -> Option<SegmentNumber> {
        let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().map(SegmentNumber)
    }

    fn bound(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.extend([0, 0, 0, u8::try_from(LABEL.len()).unwrap_or(u8::MAX)]);
        out.extend(LABEL);
        out.extend(self.flow.0.to_be_bytes());
        out.extend(self.number.0.to_be_bytes());
        out
    }
}

/// What stands before a record, in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) record: u32,
    pub(super) length: u32,
    pub(super) position: Position,
    pub(super) stored: Option<WallTime>,
}

impl Head {
    fn encode(self, segment: SegmentId) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(MAGIC);
        head[4..8].copy_from_slice(&self.record.to_be_bytes());
        head[8..12].copy_from_slice(&self.length.to_be_bytes());
        head[12..16].copy_from_slice(&self.position.epoch.counter.to_be_bytes());
        head[16..20].copy_from_slice(&self.position.epoch.tag.to_be_bytes());
        head[20..28].copy_from_slice(&self.position.sequence.0.to_be_bytes());
        head[28..CHECKED].copy_from_slice(&self.stored.map_or(i64::MIN, |time| time.0).to_be_bytes());
        let check = check(segment, &head);
        head[CHECKED..].copy_from_slice(&check);
        head
    }

    pub(super) fn decode(segment: SegmentId, head: &[u8; HEAD]) -> Option<Self> {
        if &head[..4] != MAGIC || head[CHECKED..] != check(segment, head) {
            return None;
        }
        let word = |at: usize| head[at..at + 4].try_into().map(u32::from_be_bytes).ok();
        let epoch = Epoch { counter: word(12)?, tag: word(16)? };
        let sequence = Sequence(u64::from_be_bytes(head[20..28].try_into().ok()?));
        let time = i64::from_be_bytes(head[28..CHECKED].try_into().ok()?);
        let stored = Some(WallTime(time)).filter(|time| time.0 != i64::MIN);
        let length = word(8)?;
        let longest = ENVELOPE_BYTES_MAX + TAG;
        (usize::try_from(length).ok()? <= longest).then_some(())?;
        Some(Self { record: word(4)?, length, position: Position { epoch, sequence }, stored })
    }

    pub(super) fn end(self, offset: u64) -> u64 {
        offset + HEAD as u64 + u64::from(self.length)
    }
}

fn check(segment: SegmentId, head: &[u8; HEAD]) -> [u8; 4] {
    let mut text = segment.bound();
    text.extend(&head[..CHECKED]);
    let [a, b, c, d, ..] = Digest::of(&text).0;
    [a, b, c, d]
}

fn cipher(key: &SegmentKey) -> io::Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key.bytes()).map_err(|_| io::Error::other("no AES-256-GCM"))?;
    Ok(LessSafeKey::new(key))
}

fn nonce(record: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&record.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn aad(segment: SegmentId, head: &[u8; HEAD]) -> Aad<Vec<u8>> {
    let mut text = segment.bound();
    text.extend(head);
    Aad::from(text)
}

/// A segment that is being written.
pub(super) struct Writer {
    file: Box<dyn DiskFile>,
    segment: SegmentId,
    cipher: LessSafeKey,
    records: u32,
    length: u64,
    /// Length up to which all is durable.
    synced: u64,
    /// Up to where there is space; `u64::MAX` if the file system cannot reserve any.
    reserved: u64,
    /// Reserved at once.
    step: u64,
    /// A write failed and could not be undone: nothing more goes in here.
    broken: bool,
}

impl Writer {
    /// Creates the file, for about `bytes_max`; fails if it is there.
    pub(super) fn create(
        folder: &Place,
        segment: SegmentId,
        key: &SegmentKey,
        bytes_max: u64,
    ) -> io::Result<Self> {
        let file = folder.open(&segment.name(), Open::New)?;
        let cipher = cipher(key)?;
        let step = SEGMENT_RESERVE_BYTES.min(bytes_max).next_multiple_of(BLOCK).max(BLOCK);
        Ok(Self { file, segment, cipher, records: 0, length: 0, synced: 0, reserved: 0, step, broken: false })
    }

    pub(super) fn number(&self) -> SegmentNumber {
        self.segment.number
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn broken(&self) -> bool {
        self.broken
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced == self.length
    }

    /// Appends a record and answers where it begins. If it fails, nothing of it stays. A nonce is used once, also
    /// after a failure.
    pub(super) fn append(
        &mut self,
        (position, stored): (Position, Option<WallTime>),
        envelope: &[u8],
    ) -> io::Result<u64> {
        let length = u32::try_from(envelope.len() + TAG).map_err(io::Error::other)?;
        let head = Head { record: self.records, length, position, stored }.encode(self.segment);
        self.records = self.records.checked_add(1).ok_or_else(|| io::Error::other("segment is full"))?;
        let mut body = Vec::with_capacity(HEAD + envelope.len() + TAG);
        body.extend(envelope);
        let sealed = self.cipher.seal_in_place_append_tag(
            nonce(self.records - 1),
            aad(self.segment, &head),
            &mut body,
        );
        sealed.map_err(|_| io::Error::other("AES-256-GCM failed"))?;
        body.splice(..0, head);
        let offset = self.place(body.len() as u64);
        let end = offset + body.len() as u64;
        // To the end of the block: a file that ends within one is written there again when it grows.
        let filled = end.next_multiple_of(BLOCK);
        body.resize(body.len() + usize::try_from(filled - end).map_err(io::Error::other)?, 0);
        self.reserve(filled);
        if let Err(error) = self.file.write_all_at(&body, offset) {
            self.broken = self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.length = end;
        Ok(offset)
    }

    /// Where a record of so many bytes goes. The last block has been written when all is synced: it is left alone if the
    /// record takes one block less then.
    fn place(&self, bytes: u64) -> u64 {
        let (here, next) = (self.length, self.length.next_multiple_of(BLOCK));
        let saves = (here % BLOCK + bytes).div_ceil(BLOCK) > bytes.div_ceil(BLOCK);
        if self.is_synced() && saves { next } else { here }
    }

    /// Space that `bytes` more will take.
    pub(super) fn growth(&self, bytes: u64) -> u64 {
        match self.reserved {
            u64::MAX => bytes.next_multiple_of(BLOCK),
            reserved => (self.place(bytes) + bytes).next_multiple_of(self.step).saturating_sub(reserved),
        }
    }

    /// Sees to it that there is space up to `end`. Where it fails, writing says why.
    fn reserve(&mut self, end: u64) {
        if end > self.reserved {
            let upto = end.next_multiple_of(self.step);
            self.reserved = if self.file.reserve(upto).is_ok() { upto } else { u64::MAX };
        }
    }

    /// Space that it takes; if the system does not say, what its records need. Not to know it is no reason to call a
    /// record unwritten that is there.
    pub(super) fn allocated(&self) -> u64 {
        self.file.size().map_or(self.length.next_multiple_of(BLOCK), |size| size.allocated)
    }

    /// Nothing more comes: what was reserved and not used is given back.
    pub(super) fn trim(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)
    }

    /// Makes all records durable. After a failure the kernel may have forgotten what it could not write, so the
    /// file is not written to again.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.sync() {
            self.broken = true;
            return Err(error);
        }
        self.synced = self.length;
        Ok(())
    }
}

/// Reads a record back: `None` if it is not what was written.
pub(super) fn read(
    folder: &Place,
    segment: SegmentId,
    key: &SegmentKey,
    (offset, position): (u64, Position),
) -> io::Result<Option<Vec<u8>>> {
    let file = match folder.open(&segment.name(), Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut head, length) = ([0; HEAD], file.size()?.length);
    if offset + HEAD as u64 > length {
        return Ok(None);
    }
    file.read_exact_at(&mut head, offset)?;
    let found = Head::decode(segment, &head).filter(|found| found.position == position);
    let Some(found) = found.filter(|found| found.end(offset) <= length) else { return Ok(None) };
    let mut body = vec![0; usize::try_from(found.length).map_err(io::Error::other)?];
    file.read_exact_at(&mut body, offset + HEAD as u64)?;
    let aad = aad(segment, &head);
    let Ok(plain) = cipher(key)?.open_in_place(nonce(found.record), aad, &mut body) else { return Ok(None) };
    let length = plain.len();
    body.truncate(length);
    Ok(Some(body))
}
