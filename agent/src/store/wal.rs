//! A write-ahead log before a table: a small file of fixed size that is written over and over, so that making a change
//! durable writes one block of flash, where sled's own sync writes three and its growing file three more of the file
//! system's journal. The table itself is synced when the log is full.
//!
//! ```text
//! <store>.wal (0600): WAL_BYTES; integers big-endian; records from the front, over what an earlier round has left
//!
//! record  ┌ u64 log ‖ u64 number ‖ u32 length of the body ‖ 16 bytes check ┐ head, 36 bytes
//!         └ body: writes: u16 length ‖ key ‖ u16 1 + length of the value, or 0: removed ‖ value
//! check = first 16 bytes of SHA-256(lp("glovebox/v1/wal") ‖ the 20 bytes before it ‖ body)
//!
//! in the table  "w" → u64 log ‖ u64 number: all up to this record is in the table and synced
//!
//! commit: record written, synced ─▶ kept in memory ─▶ … full ─▶ all of it and "w" into the table, synced ─▶ from the front
//! ```
//! The table is not told before: sled writes at each change, synced or not.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;
use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use glovebox_core::limits::{STORE_VALUE_BYTES_MAX, WAL_BYTES};
use glovebox_core::names::Digest;

use super::disk::{DiskFile, Open, Place};
use super::files::io_error;
use super::table::{Batch, Entries, Entry, Table, Write};
use super::{StoreError, bounded};

const LABEL: &[u8] = b"glovebox/v1/wal";
const HEAD: usize = 36;
/// Bytes of a head before its check.
const CHECKED: usize = 20;
const CHECK: usize = HEAD - CHECKED;
/// Says in the table what of the log it has.
const MARK: &[u8] = b"w";

const _: () = assert!(STORE_VALUE_BYTES_MAX < u16::MAX as usize, "a length has two bytes");

/// A table whose changes are durable at the price of one block.
#[derive(Debug)]
pub struct Logged {
    table: Box<dyn Table>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    path: PathBuf,
    /// None: it cannot be used, and every change syncs the table.
    file: Option<Box<dyn DiskFile>>,
    /// Which log this is: records of another one count nothing.
    log: u64,
    /// Of the last record.
    number: u64,
    /// Where the next one goes.
    offset: u64,
    /// What the log has and the table has not, and `undone`.
    since: Batch,
    /// What was there before a change that the table took and could not sync. It is still what is there: the next record
    /// says so, since the table may come to keep that change all the same.
    undone: Batch,
    /// Records were not readable when it was opened.
    damaged: bool,
}

impl Logged {
    /// Puts the log `name` in `place` before `table`, and brings the table up to it. A log that cannot be written is not
    /// used; one that does not belong to the table begins anew.
    ///
    /// # Errors
    /// If the table, or what the log has for it, cannot be read.
    pub fn open(table: Box<dyn Table>, place: &Place, name: &str) -> Result<Self, StoreError> {
        let mark = table.get(MARK)?.as_deref().and_then(decode_mark).filter(|(log, _)| *log != 0);
        let path = place.path.join(name);
        let bytes = read(place, name).map_err(io_error("read", &path));
        let mut state = State { path, ..State::default() };
        let bytes = match bytes {
            // It may be whole: what it has must not be passed over.
            Err(error) if mark.is_some() => return Err(error.into()),
            outcome => outcome.unwrap_or_default(),
        };
        match open_to_write(place, name, bytes.is_none()).map_err(io_error("write", &state.path)) {
            Ok(file) => state.file = Some(file),
            Err(error) => tracing::error!(target: "store", %error, "without it each change syncs the store"),
        }
        match (mark, bytes) {
            (Some((log, number)), Some(bytes)) => state.resume(log, number, &bytes),
            // What lies there belongs to another table, or to one that went on without it.
            (mark, _) => {
                state.damaged = mark.is_some();
                state.begin(&*table);
            }
        }
        Ok(Self { table, state: Mutex::new(state) })
    }

    /// Damage in the log may have taken changes that had been durable.
    #[must_use]
    pub fn damaged(&self) -> bool {
        self.state().damaged
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// If the store is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.state().since.of(key) {
            Some(known) => Ok(known.map(<[u8]>::to_vec)),
            None => self.table.get(key),
        }
    }

    /// The entries from key `from` up to and without `to`.
    pub fn range(&self, from: &[u8], to: &[u8]) -> Entries<'_> {
        let since = self.state().since.within(from, to);
        Box::new(Merged { table: self.table.range(from, to).peekable(), since })
    }

    /// All that `batch` holds, or nothing of it; a power cut takes nothing of it when this returns.
    ///
    /// # Errors
    /// If something in it is too large, or the disk does not take it.
    pub fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        for (key, value) in batch.writes() {
            bounded(key.len().max(value.map_or(0, <[u8]>::len)))?;
        }
        let mut state = self.state();
        let mut all = state.undone.clone();
        all.extend(batch);
        let body = encode(&all);
        let length = (HEAD + body.len()) as u64;
        if state.offset + length > WAL_BYTES && state.offset > 0 && length <= WAL_BYTES {
            self.fold(&mut state, &Batch::default())?;
        }
        if state.offset + length > WAL_BYTES || !state.write(&body) {
            return self.fold(&mut state, batch);
        }
        state.since.extend(&all);
        state.undone = Batch::default();
        Ok(())
    }

    /// Brings all into the table: what was removed is nowhere any more then, but where the medium keeps old blocks.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.fold(&mut self.state(), &Batch::default())
    }

    /// Bytes that the table and its log take on disk.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        Ok(self.table.size_on_disk()? + WAL_BYTES)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that the log has, and `batch`, goes into the table; the log begins from the front.
    fn fold(&self, state: &mut State, batch: &Batch) -> Result<(), StoreError> {
        // A number of its own, whether this succeeds or not: what a failed write has left does not count then, and what
        // is written later does.
        state.number = state.number.saturating_add(1);
        let mut all = state.since.clone();
        all.extend(batch);
        all.insert(MARK, &encode_mark(state.log, state.number));
        let before = self.before(state, batch)?;
        if let Err(error) = self.table.apply(&all).and_then(|()| self.table.sync()) {
            state.since.extend(&before);
            state.undone.extend(&before);
            return Err(error);
        }
        state.offset = 0;
        (state.since, state.undone) = (Batch::default(), Batch::default());
        Ok(())
    }

    /// What is there under the keys of `batch`.
    fn before(&self, state: &State, batch: &Batch) -> Result<Batch, StoreError> {
        let mut before = Batch::default();
        for (key, _) in batch.writes() {
            let value = match state.since.of(key) {
                Some(known) => known.map(<[u8]>::to_vec),
                None => self.table.get(key)?,
            };
            match value {
                Some(value) => before.insert(key, &value),
                None => before.remove(key),
            }
        }
        Ok(before)
    }
}

impl State {
    /// A new log: only what is written from now on counts. If the table cannot be told, none is used.
    fn begin(&mut self, table: &dyn Table) {
        let told = |log| {
            let mut batch = Batch::default();
            batch.insert(MARK, &encode_mark(log, 0));
            table.apply(&batch).and_then(|()| table.sync())
        };
        // Zero says that there is none.
        let log = getrandom::u64().unwrap_or(0);
        if log == 0 || self.file.is_none() || told(log).is_err() {
            self.file = None;
            return;
        }
        self.log = log;
    }

    /// Goes on with the log that the table names; `number` is the last record that the table has.
    fn resume(&mut self, log: u64, number: u64, bytes: &[u8]) {
        (self.log, self.number) = (log, number);
        let (mut at, mut end) = (0, 0);
        while at + HEAD <= bytes.len() {
            match record(log, bytes, at).filter(|(found, ..)| *found > self.number) {
                None => at += 1,
                Some((found, batch, after)) => {
                    if at > end {
                        self.damaged = true;
                        let path = self.path.display();
                        tracing::error!(target: "store", "{path} is damaged between bytes {end} and {at}");
                    }
                    self.since.extend(&batch);
                    (self.number, at, end) = (found, after, after);
                }
            }
        }
        self.offset = end as u64;
    }

    /// Writes the next record, durable; answers whether it could.
    fn write(&mut self, body: &[u8]) -> bool {
        let Some(file) = &self.file else { return false };
        let number = self.number.saturating_add(1);
        let mut out = Vec::with_capacity(HEAD + body.len());
        out.extend(self.log.to_be_bytes());
        out.extend(number.to_be_bytes());
        out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        let check = check(&out, body);
        out.extend(check);
        out.extend(body);
        let outcome = file.write_all_at(&out, self.offset).and_then(|()| file.sync());
        if let Err(error) = outcome.map_err(io_error("write", &self.path)) {
            tracing::warn!(target: "store", %error, "the store is synced in its place");
            return false;
        }
        (self.number, self.offset) = (number, self.offset + out.len() as u64);
        true
    }
}

/// The entries of a table, and what was written since, in order.
struct Merged<'a> {
    table: Peekable<Entries<'a>>,
    since: VecDeque<Write>,
}

impl Iterator for Merged<'_> {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.table.peek(), self.since.front()) {
                (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
                (Some(Ok((key, _))), Some((written, _))) => key.cmp(written),
                (None, _) => Ordering::Greater,
            };
            if order.is_lt() {
                return self.table.next();
            }
            if order.is_eq() {
                self.table.next();
            }
            if let (key, Some(value)) = self.since.pop_front()? {
                return Some(Ok((key, value)));
            }
        }
    }
}

/// What is in the file on the medium; `None` if it is not there, or was not made to the end. What a process that ended
/// could not sync may still be in memory, and is no log.
fn read(place: &Place, name: &str) -> io::Result<Option<Vec<u8>>> {
    if let Ok(file) = place.open(name, Open::Write) {
        file.sync_and_forget()?;
    }
    let file = match place.open(name, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.size()?.length != WAL_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(WAL_BYTES).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// The file for writing. A new one has all its space taken and written to, so that writing over it changes nothing of the
/// file system's own.
fn open_to_write(place: &Place, name: &str, new: bool) -> io::Result<Box<dyn DiskFile>> {
    let file = place.open(name, Open::Create)?;
    if new {
        let zeros = vec![0; usize::try_from(WAL_BYTES).map_err(io::Error::other)?];
        file.write_all_at(&zeros, 0)?;
        file.set_len(WAL_BYTES)?;
        place.disk.sync_folder(&place.path)?;
    }
    // Also what a process that was killed had written and not synced: it is taken for durable from here on.
    file.sync()?;
    Ok(file)
}

/// The record at `at`: its number, what it holds, where it ends.
fn record(log: u64, bytes: &[u8], at: usize) -> Option<(u64, Batch, usize)> {
    let (head, rest) = bytes.get(at..)?.split_first_chunk::<HEAD>()?;
    let word = |at: usize| head[at..at + 8].try_into().map(u64::from_be_bytes).ok();
    if word(0)? != log {
        return None;
    }
    let length = usize::try_from(u32::from_be_bytes(head[16..CHECKED].try_into().ok()?)).ok()?;
    let body = rest.get(..length)?;
    if head[CHECKED..] != check(&head[..CHECKED], body) {
        return None;
    }
    Some((word(8)?, decode(body)?, at + HEAD + length))
}

fn check(head: &[u8], body: &[u8]) -> [u8; CHECK] {
    let mut text = vec![0, 0, 0, u8::try_from(LABEL.len()).unwrap_or(u8::MAX)];
    text.extend(LABEL);
    text.extend(head);
    text.extend(body);
    let mut check = [0; CHECK];
    check.copy_from_slice(&Digest::of(&text).0[..CHECK]);
    check
}

fn encode(batch: &Batch) -> Vec<u8> {
    let length = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = Vec::new();
    for (key, value) in batch.writes() {
        out.extend(length(key.len()));
        out.extend(key);
        out.extend(length(value.map_or(0, |value| value.len() + 1)));
        out.extend(value.unwrap_or_default());
    }
    out
}

fn decode(mut rest: &[u8]) -> Option<Batch> {
    fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (head, tail) = rest.split_at_checked(length)?;
        *rest = tail;
        Some(head)
    }
    fn length(rest: &mut &[u8]) -> Option<usize> {
        take(rest, 2)?.try_into().map(u16::from_be_bytes).map(usize::from).ok()
    }
    let mut batch = Batch::default();
    while !rest.is_empty() {
        let key_bytes = length(&mut rest)?;
        let key = take(&mut rest, key_bytes)?;
        match length(&mut rest)? {
            0 => batch.remove(key),
            more => batch.insert(key, take(&mut rest, more - 1)?),
        }
    }
    Some(batch)
}

fn encode_mark(log: u64, number: u64) -> [u8; 16] {
    let mut mark = [0; 16];
    mark[..8].copy_from_slice(&log.to_be_bytes());
    mark[8..].copy_from_slice(&number.to_be_bytes());
    mark
}

fn decode_mark(value: &[u8]) -> Option<(u64, u64)> {
    let (log, number) = value.split_first_chunk()?;
    Some((u64::from_be_bytes(*log), u64::from_be_bytes(number.try_into().ok()?)))
}

#[cfg(test)]
mod tests;
