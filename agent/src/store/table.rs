//! What the outbox's index and the ledger ask of a store, so that a test can put another one in its place.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Store, StoreError, Tree};

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Entries in the order of their keys.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<Entry, StoreError>> + 'a>;

/// A key and its new value, or none if it is removed.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

/// Writes that come into force together, also after a power cut.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Batch {
    /// Sets a value.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.writes.insert(key.to_vec(), Some(value.to_vec()));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &[u8]) {
        self.writes.insert(key.to_vec(), None);
    }

    /// What `later` writes, after what is in here.
    pub fn extend(&mut self, later: &Self) {
        self.writes.extend(later.writes.iter().map(|(key, value)| (key.clone(), value.clone())));
    }

    /// What is written under `key`: `None` if nothing is said of it.
    #[must_use]
    pub fn of(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.writes.get(key).map(Option::as_deref)
    }

    /// The writes of the keys from `from` up to and without `to`, in order.
    #[must_use]
    pub fn within(&self, from: &[u8], to: &[u8]) -> VecDeque<Write> {
        let writes = self.writes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        writes.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Each key once, with its new value, or none if it is removed.
    pub fn writes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }
}

/// A map of bytes, in the order of its keys.
pub trait Table: Debug + Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// If the store is damaged.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// All that `batch` holds, or nothing of it; durable after the next [`Table::sync`].
    ///
    /// # Errors
    /// If something in it is too large, or the store cannot be written.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// The entries from key `from` up to and without `to`.
    fn range(&self, from: &[u8], to: &[u8]) -> Entries<'_>;

    /// Makes all that was written before durable: when it returns, a power cut takes nothing of it.
    ///
    /// # Errors
    /// If the system cannot write.
    fn sync(&self) -> Result<(), StoreError>;

    /// Bytes that the store takes on disk.
    ///
    /// # Errors
    /// If the system refuses.
    fn size_on_disk(&self) -> Result<u64, StoreError>;
}

/// A tree, and its store for syncing. A store that could not write is closed and opened again by the next call: sled
/// refuses everything after the first failure. What was not synced by then is gone, and was never said to be there.
#[derive(Debug)]
pub(super) struct StoreTable {
    dir: PathBuf,
    name: String,
    open: Mutex<Option<(Store, Tree)>>,
}

impl StoreTable {
    pub(super) fn new(store: Store, name: &str) -> Result<Self, StoreError> {
        let (dir, tree) = (store.dir.clone(), store.tree(name)?);
        Ok(Self { dir, name: name.to_owned(), open: Mutex::new(Some((store, tree))) })
    }

    fn with<T>(&self, act: impl FnOnce(&Store, &Tree) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            let store = Store::reopen(&self.dir)?;
            let tree = store.tree(&self.name)?;
            tracing::info!(target: "store", "{} is open again", self.dir.display());
            *open = Some((store, tree));
        }
        let Some((store, tree)) = open.as_ref() else { return Err(closed(&self.dir)) };
        let outcome = act(store, tree);
        // Not where only our own sync failed: sled goes on then, and asserts that it can sync when it is closed.
        if matches!(outcome, Err(StoreError::Io { .. })) {
            *open = None;
        }
        outcome
    }
}

fn closed(dir: &Path) -> StoreError {
    StoreError::Io { dir: dir.to_owned(), what: "it is closed".to_owned() }
}

impl Table for StoreTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|_, tree| tree.get(key))
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.with(|_, tree| tree.apply(batch))
    }

    fn range(&self, from: &[u8], to: &[u8]) -> Entries<'_> {
        match self.with(|_, tree| Ok(tree.entries(tree.tree.range(from..to)))) {
            Ok(entries) => Box::new(entries),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.with(|store, _| store.sync())
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.with(|store, _| store.size_on_disk())
    }
}
