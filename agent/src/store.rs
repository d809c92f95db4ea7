//! sled with the guards that make it durable: the only file that knows sled.
//!
//! What was measured on sled 0.34.7, and what follows: its `flush` is no fsync on Linux, so `sync` adds fdatasync of
//! the log; pages above a quarter of a segment go to files that are never synced, so segments are large, values are
//! bounded and a used `blobs/` is an alarm; a log that grows at each sync costs the file system four blocks of its own
//! each time, so its space is taken a segment at a time; after one failed write it refuses all others, so a [`Table`]
//! opens it again; its default cache is 1 GiB; its recovery is full of asserts, and a
//! damaged log is mostly opened without a word up to the damage, all behind it gone. So each sync is numbered in the store and, after it,
//! in a file beside: a store that knows fewer syncs than the file lost something.
//!
//! ```text
//! <dir>/             sled's: db, conf, blobs/
//! <dir>.lock         flock of the process that has it open, and its number
//! <dir>.synced       number of a sync (u64 BE), twice: the last when the store was closed, and while it is open one that
//!                    is a minute old at most; may lag behind the store, never lead
//! <dir>.wal          of a [`Table`]: what is not synced in the store yet (wal.rs)
//! <dir>.opening      how many openings did not come back: one byte
//! <dir>.corrupt-<n>  a damaged store, set aside whole; the newest ones are kept
//! ```

pub mod disk;
pub mod files;
mod guard;
pub mod table;
pub mod wal;

use files::FileError;
use glovebox_core::limits::{STORE_CACHE_BYTES, STORE_SEGMENT_BYTES, STORE_VALUE_BYTES_MAX};
use glovebox_core::limits::{STORE_OPENINGS_MAX, STORE_REOPEN_BYTES_MIN, STORES_SET_ASIDE_MAX};
use guard::Guard;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::ops::RangeBounds;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use disk::Place;
pub use table::{Batch, Entry, Table};
pub use wal::Logged;

/// Holds the number of the last sync, under the empty key.
const SYNCS_TREE: &str = "glovebox/syncs";
/// Folder, settings, lock and number of syncs take a block each.
const BESIDE_BYTES: u64 = 4 * 4096;
/// Ending of the log before a table.
const WAL: &str = ".wal";
/// How often the number of the last sync is written beside the store: a block of flash each time.
const TELL: Duration = Duration::from_secs(60);

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process has it.
    #[error(
        "the store {} is in use{}: while the daemon runs, commands speak to it over its control socket; stop it \
         (`systemctl stop glovebox`) to open the store itself",
        dir.display(),
        holder.map_or(String::new(), |pid| format!(" by process {pid}"))
    )]
    Locked {
        /// The store.
        dir: PathBuf,
        /// The process that said it has it.
        holder: Option<u32>,
    },
    /// What was read is not what was written.
    #[error("the store {} is damaged ({what}): it is set aside at the next start", dir.display())]
    Damaged {
        /// The store.
        dir: PathBuf,
        /// sled's own words.
        what: String,
    },
    /// The system under sled.
    #[error("the store {} cannot be written or read: {what}", dir.display())]
    Io {
        /// The store.
        dir: PathBuf,
        /// sled's own words.
        what: String,
    },
    /// More than a store takes.
    #[error("a value of {bytes} bytes is too large for a store: at most {STORE_VALUE_BYTES_MAX}")]
    Large {
        /// Its size.
        bytes: usize,
    },
    /// Values lie where they are never synced.
    #[error("the store {} keeps values in blobs/, where a power cut can take them", dir.display())]
    Blobs {
        /// The store.
        dir: PathBuf,
    },
}

/// What was found where a store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: it is new.
    Fresh,
    /// A sound one.
    Existing,
    /// A damaged one, now here; the store is new.
    SetAside(PathBuf),
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    db: sled::Db,
    guard: Guard,
    dir: PathBuf,
    log: File,
    syncs: Mutex<Syncs>,
    _lock: File,
}

/// The numbering of syncs, in the store and beside it.
#[derive(Debug)]
struct Syncs {
    last: u64,
    tree: sled::Tree,
    beside: File,
    told: Option<Instant>,
}

impl Syncs {
    /// Not synced itself: after a power cut it may be older than the store, which is harmless.
    fn tell(&mut self) -> std::io::Result<()> {
        self.told = Some(Instant::now());
        let number = self.last.to_be_bytes();
        self.beside.write_all_at(&[number, number].concat(), 0)
    }
}

impl Drop for Syncs {
    fn drop(&mut self) {
        // Then the number beside lags, which is harmless.
        let _ = self.tell();
    }
}

/// A map of bytes in a store, in the order of its keys.
#[derive(Debug, Clone)]
pub struct Tree {
    tree: sled::Tree,
    dir: PathBuf,
}

impl Store {
    /// Opens or makes the store in `dir`. A damaged one is set aside and a new one made: never fatal, never a panic.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it; else the system's.
    pub fn open(dir: &Path) -> Result<(Self, Opened), StoreError> {
        let lock = lock(dir)?;
        let existed = dir.join("db").exists();
        let stuck = openings(dir) >= STORE_OPENINGS_MAX;
        if existed && !stuck {
            match open_guarded(dir)? {
                Ok(parts) => return Ok((Self::finish(parts, lock, dir)?, Opened::Existing)),
                Err(what) => tracing::error!(target: "store", "{} is damaged: {what}", dir.display()),
            }
        }
        let mut opened = Opened::Fresh;
        if existed {
            let aside = set_aside(dir)?;
            tracing::error!(
                target: "store",
                "set aside the damaged store {} as {}; a new, empty one takes its place",
                dir.display(),
                aside.display()
            );
            opened = Opened::SetAside(aside);
        }
        files::create_folder(dir)?;
        for suffix in [".opening", ".synced"] {
            let _ = fs::remove_file(beside(dir, suffix));
        }
        match open_guarded(dir)? {
            Ok(parts) => {
                let store = Self::finish(parts, lock, dir)?;
                store.sync_new()?;
                Ok((store, opened))
            }
            Err(what) => Err(StoreError::Damaged { dir: dir.to_owned(), what }),
        }
    }

    /// Opens the store in `dir` again after it failed: nothing is made, nothing set aside.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::Damaged`] if the next start would set it aside.
    pub fn reopen(dir: &Path) -> Result<Self, StoreError> {
        let lock = lock(dir)?;
        room(dir)?;
        match open_guarded(dir)? {
            Ok(parts) => Self::finish(parts, lock, dir),
            Err(what) => Err(StoreError::Damaged { dir: dir.to_owned(), what }),
        }
    }

    fn finish((db, log, syncs): Parts, lock: File, dir: &Path) -> Result<Self, StoreError> {
        let guard = Guard::new(&db).map_err(files::io_error("start a thread for", dir))?;
        Ok(Self { db, guard, dir: dir.to_owned(), log, syncs: Mutex::new(syncs), _lock: lock })
    }

    /// The tree of that name; made if it is not there.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn tree(&self, name: &str) -> Result<Tree, StoreError> {
        let tree = self.db.open_tree(name).map_err(|error| failure(&self.dir, &error))?;
        Ok(Tree { tree, dir: self.dir.clone() })
    }

    /// The tree of that name, with the store it is in, behind a log that makes changes cheap.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn table(self, name: &str) -> Result<Logged, StoreError> {
        let log = beside(&self.dir, WAL);
        let place = Place::system(log.parent().unwrap_or_else(|| Path::new(".")).to_owned());
        let log = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Logged::open(Box::new(table::StoreTable::new(self, name)?), &place, &log)
    }

    /// Makes all that was written before durable: when it returns, a power cut takes nothing of it.
    ///
    /// # Errors
    /// If the system cannot write, or if values lie in `blobs/`, which is never synced.
    pub fn sync(&self) -> Result<(), StoreError> {
        let mut syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        let number = syncs.last.saturating_add(1).to_be_bytes();
        syncs.tree.insert(b"", &number).map_err(|error| failure(&self.dir, &error))?;
        self.guard.flush(&self.db).map_err(|error| failure(&self.dir, &error))?;
        self.grow();
        self.log.sync_data().map_err(files::io_error("sync", &self.dir))?;
        syncs.last = syncs.last.saturating_add(1);
        if syncs.told.is_none_or(|then| then.elapsed() >= TELL) {
            syncs.tell().map_err(files::io_error("number the sync of", &self.dir))?;
        }
        if blobs(&self.dir) {
            tracing::error!(target: "store", "{} holds values in blobs/", self.dir.display());
            return Err(StoreError::Blobs { dir: self.dir.clone() });
        }
        Ok(())
    }

    /// Bytes that the store takes on disk.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        let log = self.db.size_on_disk().map_err(|error| failure(&self.dir, &error))?;
        Ok(log + BESIDE_BYTES)
    }

    /// Takes the rest of the segment that is written to. Where that is not possible, writing goes on without.
    fn grow(&self) {
        use nix::fcntl::{FallocateFlags, fallocate};
        let Ok(length) = self.log.metadata().map(|found| found.len()) else { return };
        let rest = length.next_multiple_of(STORE_SEGMENT_BYTES as u64) - length;
        if let (Ok(length), Ok(rest @ 1..)) = (i64::try_from(length), i64::try_from(rest)) {
            let _ = fallocate(&self.log, FallocateFlags::empty(), length, rest);
        }
    }

    /// A new store: its files and their names too.
    fn sync_new(&self) -> Result<(), StoreError> {
        self.sync()?;
        let conf = self.dir.join("conf");
        File::open(&conf).and_then(|file| file.sync_all()).map_err(files::io_error("sync", &conf))?;
        files::sync_folder(&self.dir)?;
        Ok(self.dir.parent().map_or(Ok(()), files::sync_folder)?)
    }
}

impl Tree {
    /// The value of `key`.
    ///
    /// # Errors
    /// If the store is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.run(self.tree.get(key))?.map(|value| value.to_vec()))
    }

    /// Sets the value of `key`; durable after the next [`Store::sync`].
    ///
    /// # Errors
    /// If it is too large, or the store cannot be written.
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        bounded(key.len().max(value.len()))?;
        self.run(self.tree.insert(key, value)).map(drop)
    }

    /// Removes `key`; durable after the next [`Store::sync`].
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        self.run(self.tree.remove(key)).map(drop)
    }

    /// All that `batch` holds, or nothing of it; durable after the next [`Store::sync`].
    ///
    /// # Errors
    /// If something in it is too large, or the store cannot be written.
    pub fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch.writes() {
            bounded(key.len().max(value.map_or(0, <[u8]>::len)))?;
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        let _turn = guard::turn();
        self.run(self.tree.apply_batch(writes))
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = Result<Entry, StoreError>> + use<> {
        self.entries(self.tree.iter())
    }

    /// The entries whose keys are in `range`, in order.
    pub fn range<'k, R: RangeBounds<&'k [u8]>>(
        &self,
        range: R,
    ) -> impl Iterator<Item = Result<Entry, StoreError>> + use<'k, R> {
        self.entries(self.tree.range(range))
    }

    /// How many entries there are. Counts them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// No entry at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    fn entries(&self, iterator: sled::Iter) -> impl Iterator<Item = Result<Entry, StoreError>> + use<> {
        let dir = self.dir.clone();
        iterator.map(move |entry| match entry {
            Ok((key, value)) => Ok((key.to_vec(), value.to_vec())),
            Err(error) => Err(failure(&dir, &error)),
        })
    }

    fn run<T>(&self, outcome: sled::Result<T>) -> Result<T, StoreError> {
        outcome.map_err(|error| failure(&self.dir, &error))
    }
}

fn bounded(bytes: usize) -> Result<(), StoreError> {
    if bytes > STORE_VALUE_BYTES_MAX { Err(StoreError::Large { bytes }) } else { Ok(()) }
}

/// sled's error in our words; damage is remembered, so that the next opening sets the store aside.
fn failure(dir: &Path, error: &sled::Error) -> StoreError {
    let (dir, what) = (dir.to_owned(), error.to_string());
    match error {
        sled::Error::Io(_) | sled::Error::CollectionNotFound(_) | sled::Error::Unsupported(_) => {
            StoreError::Io { dir, what }
        }
        sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => {
            let _ = files::write_atomically(&beside(&dir, ".opening"), &[STORE_OPENINGS_MAX]);
            StoreError::Damaged { dir, what }
        }
    }
}

/// An open sled, its log for fdatasync, the numbering of syncs.
type Parts = (sled::Db, File, Syncs);
/// The inner error says why the store is damaged.
type Guarded = Result<Parts, String>;

/// Opens sled and reads all of it.
///
/// sled 0.34 asserts and unwraps while it recovers a damaged log, in this thread: the panic is caught here and means
/// damage. Where panics abort (the release profile) the marker does it: it counts openings that did not come back,
/// and is taken away by one that did.
fn open_guarded(dir: &Path) -> Result<Guarded, StoreError> {
    let marker = beside(dir, ".opening");
    files::write_atomically(&marker, &[openings(dir).saturating_add(1)])?;
    remove_half_snapshots(dir);
    let outcome = catch_unwind(AssertUnwindSafe(|| open_when_free(dir)));
    let db = match outcome {
        Ok(Ok(db)) => db,
        Ok(Err(sled::Error::Io(error))) if !damage(&error) => {
            let _ = fs::remove_file(&marker);
            let what = error.to_string();
            if what.contains(TAKEN) {
                return Err(StoreError::Locked { dir: dir.to_owned(), holder: None });
            }
            return Err(StoreError::Io { dir: dir.to_owned(), what });
        }
        Ok(Err(error)) => return Ok(Err(error.to_string())),
        Err(_) => return Ok(Err("sled panicked while it recovered the log".to_owned())),
    };
    let log = dir.join("db");
    let log = OpenOptions::new().write(true).open(&log).map_err(files::io_error("open", &log))?;
    let parts = match syncs(&db, dir)? {
        Ok(syncs) => (db, log, syncs),
        Err(what) => return Ok(Err(what)),
    };
    fs::remove_file(&marker).map_err(files::io_error("remove", &marker))?;
    Ok(Ok(parts))
}

/// sled writes a snapshot while it opens. One that a kill or a cut of power left half made it would read before the whole
/// one, and call the store damaged.
fn remove_half_snapshots(dir: &Path) {
    let half = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "generating");
    for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).filter(half) {
        // If it stays, sled says so.
        let _ = fs::remove_file(path);
    }
}

/// In sled's words: somebody has its files.
const TAKEN: &str = "could not acquire lock";

/// Our own lock is held by now, so it can only be what is left of this process's last store, whose threads are ending.
fn open_when_free(dir: &Path) -> sled::Result<sled::Db> {
    for _ in 0..50 {
        match open_and_read(dir) {
            Err(sled::Error::Io(error)) if error.to_string().contains(TAKEN) => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
    open_and_read(dir)
}

/// Compares how many syncs the store knows with the number beside it.
fn syncs(db: &sled::Db, dir: &Path) -> Result<Result<Syncs, String>, StoreError> {
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
    let path = beside(dir, ".synced");
    let beside = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(files::io_error("open", &path))?;
    let mut twice = [0; 16];
    // Absent or cut short by a power cut: then nothing is known, and nothing can be said to be lost.
    let said = beside.read_exact_at(&mut twice, 0).ok().and_then(|()| {
        let (one, two) = twice.split_at(8);
        number(one).filter(|_| one == two)
    });
    let tree = db.open_tree(SYNCS_TREE).map_err(|error| failure(dir, &error))?;
    let last = tree.get(b"").map_err(|error| failure(dir, &error))?;
    let last = last.and_then(|bytes| number(&bytes)).unwrap_or(0);
    if last < said.unwrap_or(0) {
        return Ok(Err(format!("it holds {last} syncs of {}", said.unwrap_or(0))));
    }
    Ok(Ok(Syncs { last, tree, beside, told: None }))
}

/// These stores are small: reading all of them finds at the start what would otherwise come up on the road.
fn open_and_read(dir: &Path) -> sled::Result<sled::Db> {
    let db = sled::Config::new()
        .path(dir)
        .segment_size(STORE_SEGMENT_BYTES)
        .cache_capacity(STORE_CACHE_BYTES)
        .flush_every_ms(None)
        .open()?;
    for name in db.tree_names() {
        for entry in &db.open_tree(name)? {
            entry?;
        }
    }
    Ok(db)
}

/// sled reports a log or settings cut short as an I/O error; what the system says of disk or rights is not damage.
fn damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(error.kind(), Kind::UnexpectedEof | Kind::InvalidData | Kind::InvalidInput)
}

/// sled writes while it recovers, and on a full disk it leaves what it takes for damage afterwards.
fn room(dir: &Path) -> Result<(), StoreError> {
    let found =
        nix::sys::statvfs::statvfs(dir).map_err(|errno| files::io_error("look at", dir)(errno.into()))?;
    match found.blocks_available().saturating_mul(found.fragment_size()) {
        STORE_REOPEN_BYTES_MIN.. => Ok(()),
        free => Err(StoreError::Io {
            dir: dir.to_owned(),
            what: format!(
                "no room to open it again: {free} bytes are free, {STORE_REOPEN_BYTES_MIN} are wanted"
            ),
        }),
    }
}

fn openings(dir: &Path) -> u8 {
    fs::read(beside(dir, ".opening")).ok().and_then(|bytes| bytes.first().copied()).unwrap_or(0)
}

/// Keeps others from opening the store here, until what it gives is dropped.
///
/// # Errors
/// [`StoreError::Locked`] if somebody has it open.
pub fn hold(dir: &Path) -> Result<File, StoreError> {
    lock(dir)
}

/// sled's own lock does not say who holds it, and a damaged store must not be moved away under somebody.
fn lock(dir: &Path) -> Result<File, StoreError> {
    if let Some(parent) = dir.parent() {
        files::create_folder(parent)?;
    }
    let path = beside(dir, ".lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(files::io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(StoreError::Locked { dir: dir.to_owned(), holder });
        }
        Err(fs::TryLockError::Error(error)) => return Err(files::io_error("lock", &path)(error).into()),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(files::io_error("write", &path))?;
    Ok(file)
}

/// Moves a damaged store out of the way, and removes the oldest of those set aside before.
fn set_aside(dir: &Path) -> Result<PathBuf, StoreError> {
    let name = |number: u32| beside(dir, &format!(".corrupt-{number}"));
    let mut aside: Vec<u32> = Vec::new();
    let parent = dir.parent().unwrap_or_else(|| Path::new("."));
    let own = dir.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{own}.corrupt-");
    for entry in fs::read_dir(parent).map_err(files::io_error("list", parent))?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        aside.extend(file.strip_prefix(&prefix).and_then(|number| number.parse::<u32>().ok()));
    }
    aside.sort_unstable();
    let target = name(aside.last().map_or(1, |last| last.saturating_add(1)));
    fs::rename(dir, &target).map_err(files::io_error("set aside", dir))?;
    // With the newest that the store was told.
    let _ = fs::rename(beside(dir, WAL), target.join("wal"));
    files::sync_folder(parent)?;
    for old in aside.iter().rev().skip(STORES_SET_ASIDE_MAX - 1) {
        let _ = fs::remove_dir_all(name(*old));
    }
    Ok(target)
}

fn blobs(dir: &Path) -> bool {
    fs::read_dir(dir.join("blobs")).is_ok_and(|mut entries| entries.next().is_some())
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    files::with_suffix(dir, suffix)
}

#[cfg(test)]
mod tests;
