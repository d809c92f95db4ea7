//! The ledger on disk: entries as the core's `ledger` chains them, in a sled store of their own.
//!
//! ```text
//! tree "ledger"; integers big-endian
//!   "e" u64 number → entry (see the core's ledger) ‖ 32 bytes hash up to and with it
//!   "s"            → u64 number ‖ 32 bytes hash of the last entry that was removed to keep the bound
//! ```

use glovebox_core::ledger::{Broken, Chain, Checkpoint, Entry, Event, Link, Record, verify};
use glovebox_core::limits::{LEDGER_ENTRIES_MAX, LEDGER_ENTRIES_TRUNCATED, LEDGER_PAGE_ENTRIES_MAX};
use glovebox_core::names::Digest;

use crate::store::{Batch, Logged, Opened, StoreError};

const START: &[u8] = b"s";

/// Settings of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Entries that are kept; older ones are removed.
    pub entries_max: u64,
    /// How many are removed at once.
    pub entries_truncated: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { entries_max: LEDGER_ENTRIES_MAX, entries_truncated: LEDGER_ENTRIES_TRUNCATED }
    }
}

/// Why the ledger is not sound, or could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not what it was.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The record of what left, open for appending.
#[derive(Debug)]
pub struct Ledger {
    table: Logged,
    chain: Chain,
    start: Checkpoint,
    /// The highest number that was written, also by an append that failed.
    tried: u64,
    config: Config,
}

impl Ledger {
    /// Goes on where the ledger in `table` ends. If the old one was `opened` as damaged and set aside, the new one
    /// says so in its first entry.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub fn open(table: Logged, opened: &Opened, config: Config) -> Result<Self, StoreError> {
        let start = table.get(START)?.as_deref().and_then(checkpoint).unwrap_or(Checkpoint::GENESIS);
        let last = highest(|number| table.range(&key(number), b"f").next().transpose())?;
        let head = last.and_then(|(key, value)| link(&key, &value)).map_or(start, |link| link.checkpoint());
        let tried = head.number;
        let mut ledger = Self { table, chain: Chain::resume(head), start, tried, config };
        if matches!(opened, Opened::SetAside(_)) {
            ledger.append(vec![Record::new(None, Event::Restarted)])?;
        }
        Ok(ledger)
    }

    /// Appends `records` with one sync; durable when it returns. Answers the new head. An offer must be in here
    /// before it goes to the network (invariant 11).
    ///
    /// # Errors
    /// If it cannot be written: then none of them counts.
    pub fn append(&mut self, records: Vec<Record>) -> Result<Checkpoint, StoreError> {
        if records.is_empty() {
            return Ok(self.head());
        }
        let (mut chain, mut start) = (self.chain, self.start);
        let mut batch = Batch::default();
        for record in records {
            put(&mut batch, &chain.append(record));
        }
        let kept = chain.head().number.saturating_sub(start.number);
        if kept > self.config.entries_max {
            start = self.truncate(kept, &mut chain, &mut batch)?;
        }
        // What a longer append left that could not be synced.
        (chain.head().number + 1..=self.tried).for_each(|number| batch.remove(&key(number)));
        self.tried = self.tried.max(chain.head().number);
        self.table.commit(&batch)?;
        (self.chain, self.start, self.tried) = (chain, start, chain.head().number);
        Ok(self.head())
    }

    /// Removes the oldest entries; an entry says how far and up to which hash. Only what was appended before goes.
    fn truncate(&self, kept: u64, chain: &mut Chain, batch: &mut Batch) -> Result<Checkpoint, StoreError> {
        let surplus = (kept - self.config.entries_max).max(self.config.entries_truncated);
        let last = self.start.number.saturating_add(surplus).min(self.head().number);
        let Some(link) = self.table.get(&key(last))?.and_then(|value| link(&key(last), &value)) else {
            // Damaged there: verify finds it; nothing is removed, so that it stays to be found.
            return Ok(self.start);
        };
        (self.start.number + 1..=last).for_each(|number| batch.remove(&key(number)));
        let start = link.checkpoint();
        batch.insert(START, &[&start.number.to_be_bytes()[..], &start.hash.0].concat());
        let mut record = Record::new(None, Event::Truncated);
        (record.digest, record.bytes) = (start.hash, start.number);
        put(batch, &chain.append(record));
        Ok(start)
    }

    /// The last entry's number and hash: to be signed, and held elsewhere.
    #[must_use]
    pub fn head(&self) -> Checkpoint {
        self.chain.head()
    }

    /// The last entry that was removed to keep the bound.
    #[must_use]
    pub fn start(&self) -> Checkpoint {
        self.start
    }

    /// At most a page of entries, from `number` on. One that cannot be read is left out; [`Self::verify`] names it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn read(&self, number: u64) -> Result<Vec<Entry>, StoreError> {
        let from = key(number);
        let links = self.table.range(&from, b"f").take(LEDGER_PAGE_ENTRIES_MAX);
        let entry = |(key, value): (Vec<u8>, Vec<u8>)| Entry::decode(&link(&key, &value)?.encoding).ok();
        links.filter_map(|found| found.map(entry).transpose()).collect()
    }

    /// Checks the whole chain, and against checkpoints that were held elsewhere.
    ///
    /// # Errors
    /// [`Broken`] names the first place that is not as it was.
    pub fn verify(&self, checkpoints: &[Checkpoint]) -> Result<Checkpoint, VerifyError> {
        let mut failure = None;
        let entries = self.table.range(b"e", b"f");
        let links = entries.map_while(|entry| match entry {
            Ok((key, value)) => Some(link(&key, &value).unwrap_or_else(|| unreadable(&key))),
            Err(error) => {
                failure = Some(error);
                None
            }
        });
        let outcome = verify(self.start, links, checkpoints);
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(outcome?),
        }
    }

    /// Damage may have taken entries that were durable: [`Self::verify`] says whether and where.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        self.table.damaged()
    }

    /// Bytes that the ledger takes on disk.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.table.size_on_disk()
    }
}

fn key(number: u64) -> [u8; 9] {
    let mut key = *b"e\0\0\0\0\0\0\0\0";
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// What is found from the highest number on from which anything is found. By halving, since all of the iterators go
/// forward alone: sled's way back from the end brings a constant of a megabyte into the program.
fn highest<T>(from: impl Fn(u64) -> Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    let mut highest = 0;
    for bit in (0..u64::BITS).rev() {
        let higher = highest | 1 << bit;
        if from(higher)?.is_some() {
            highest = higher;
        }
    }
    from(highest)
}

fn put(batch: &mut Batch, link: &Link) {
    batch.insert(&key(link.number), &[link.encoding.as_slice(), &link.hash.0].concat());
}

fn number(key: &[u8]) -> Option<u64> {
    key.strip_prefix(b"e")?.try_into().map(u64::from_be_bytes).ok()
}

fn link(key: &[u8], value: &[u8]) -> Option<Link> {
    let (encoding, hash) = value.split_last_chunk()?;
    Some(Link { number: number(key)?, encoding: encoding.to_vec(), hash: Digest(*hash) })
}

/// Stands for an entry that is too short to be one: verifying stops at it.
fn unreadable(key: &[u8]) -> Link {
    Link { number: number(key).unwrap_or(0), encoding: Vec::new(), hash: Digest([0; 32]) }
}

fn checkpoint(value: &[u8]) -> Option<Checkpoint> {
    let (number, hash) = value.split_first_chunk()?;
    Some(Checkpoint { number: u64::from_be_bytes(*number), hash: Digest(hash.try_into().ok()?) })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail loudly")]
mod tests {
    use std::path::Path;

    use glovebox_core::ledger::BatchRef;
    use glovebox_core::names::{Epoch, FlowId, PurposeId, RecipientId, Sequence};

    use super::*;
    use crate::store::Store;

    const SMALL: Config = Config { entries_max: 50, entries_truncated: 20 };

    fn open(dir: &Path, config: Config) -> Ledger {
        let (store, opened) = Store::open(dir).unwrap();
        Ledger::open(store.table("ledger").unwrap(), &opened, config).unwrap()
    }

    /// Puts something else where an entry was.
    fn overwrite(ledger: &Ledger, number: u64, value: Option<&[u8]>) {
        let mut batch = Batch::default();
        match value {
            Some(value) => batch.insert(&key(number), value),
            None => batch.remove(&key(number)),
        }
        ledger.table.commit(&batch).unwrap();
    }

    fn records(count: u64) -> Vec<Record> {
        let record = |sequence| {
            let mut record = Record::new(None, Event::Offered);
            record.recipient = Some(RecipientId::new("acme-insurance").unwrap());
            record.purpose = Some(PurposeId::new("pay-as-you-drive").unwrap());
            let epoch = Epoch { counter: 1, tag: 5 };
            record.batch = Some(BatchRef { flow: FlowId(3), epoch, sequence: Sequence(sequence) });
            record
        };
        (1..=count).map(record).collect()
    }

    #[test]
    fn invariant_11_what_was_appended_is_there_and_chained_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = open(folder.path(), Config::default());
        assert_eq!(ledger.head(), Checkpoint::GENESIS);
        let early = ledger.append(records(3)).unwrap();
        assert_eq!(ledger.append(Vec::new()).unwrap(), early);
        let late = ledger.append(records(4)).unwrap();
        drop(ledger);
        let mut ledger = open(folder.path(), Config::default());
        assert_eq!((ledger.head(), late.number), (late, 7));
        ledger.append(records(1)).unwrap();
        assert_eq!(ledger.verify(&[early, late]).unwrap(), ledger.head());
        let numbers: Vec<u64> = ledger.read(6).unwrap().iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, [6, 7, 8]);
        assert_eq!(ledger.read(3).unwrap()[0].record, records(3)[2]);
    }

    #[test]
    fn the_highest_is_found_whatever_is_missing_below_it() {
        for numbers in [&[][..], &[0], &[1], &[7, 8, 9], &[3, 1 << 40], &[5, u64::MAX]] {
            let from = |least| Ok(numbers.iter().copied().find(|number| *number >= least));
            assert_eq!(highest(from).unwrap(), numbers.last().copied());
        }
    }

    #[test]
    fn what_could_not_be_written_does_not_count_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ledger");
        let mut ledger = open(&dir, Config::default());
        let before = ledger.append(records(2)).unwrap();
        // What lies there is never synced, so the store refuses to call anything durable.
        let in_the_way = dir.join("blobs").join("1");
        std::fs::write(&in_the_way, "x").unwrap();
        assert!(ledger.append(records(500)).is_err(), "more than the log takes, so the store is synced");
        assert_eq!(ledger.head(), before);
        std::fs::remove_file(&in_the_way).unwrap();
        let after = ledger.append(records(3)).unwrap();
        drop(ledger);
        let ledger = open(&dir, Config::default());
        assert_eq!((ledger.head(), after.number), (after, 5));
        assert_eq!(ledger.verify(&[before, after]).unwrap(), after);
    }

    #[test]
    fn invariant_11_a_change_or_a_cut_on_disk_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = open(folder.path(), Config::default());
        let held = ledger.append(records(9)).unwrap();
        let value = ledger.table.get(&key(4)).unwrap().unwrap();
        let mut changed = value.clone();
        changed[60] ^= 1;
        for (bad, name) in [(changed, "changed"), (vec![1, 2, 3], "short")] {
            overwrite(&ledger, 4, Some(&bad));
            let found = ledger.verify(&[]);
            assert!(
                matches!(found, Err(VerifyError::Broken(Broken::Changed { number: 4 }))),
                "{name}: {found:?}"
            );
        }
        overwrite(&ledger, 4, Some(&value));
        overwrite(&ledger, 9, None);
        assert!(ledger.verify(&[]).is_ok(), "nobody holds a checkpoint");
        let found = ledger.verify(&[held]);
        assert!(matches!(found, Err(VerifyError::Broken(Broken::Cut { number: 9 }))), "{found:?}");
    }

    #[test]
    fn it_is_bounded_and_says_from_where() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = open(folder.path(), SMALL);
        let mut held = Vec::new();
        for _ in 0..40 {
            held.push(ledger.append(records(7)).unwrap());
            let kept = ledger.table.range(b"", b"z").count();
            assert!(kept <= 50 + 2, "{kept}");
        }
        assert!(ledger.start().number > 200);
        ledger.verify(&held).unwrap();
        let truncated = ledger.read(0).unwrap();
        let truncated = truncated.iter().rfind(|entry| entry.record.event == Event::Truncated).unwrap();
        assert_eq!(
            (truncated.record.bytes, truncated.record.digest),
            (ledger.start().number, ledger.start().hash)
        );
        let head = ledger.append(records(500)).unwrap();
        assert!(ledger.start().number < head.number);
        drop(ledger);
        let ledger = open(folder.path(), SMALL);
        assert_eq!(ledger.head(), head);
        ledger.verify(&[head]).unwrap();
    }

    #[test]
    fn a_ledger_that_was_set_aside_begins_anew_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&folder.path().join("ledger")).unwrap();
        let aside = Opened::SetAside(folder.path().join("aside"));
        let ledger = Ledger::open(store.table("ledger").unwrap(), &aside, Config::default()).unwrap();
        assert_eq!(ledger.read(1).unwrap()[0].record.event, Event::Restarted);
    }

    /// Prints what a group of entries costs: 10 flows, one sync a group.
    #[test]
    fn the_cost_of_an_entry_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = open(folder.path(), Config::default());
        let size = |ledger: &Ledger| ledger.size_on_disk().unwrap();
        let begun = std::time::Instant::now();
        for _ in 0..100 {
            ledger.append(records(10)).unwrap();
        }
        println!(
            "ledger: 1,000 entries in 100 syncs, {} µs a sync, {} bytes on disk",
            begun.elapsed().as_micros() / 100,
            size(&ledger)
        );
        assert_eq!(ledger.head().number, 1000);
    }
}
