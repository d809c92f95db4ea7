//! What the outbox's index and the ledger ask of a store, so that a test can put another one in its place.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::{Store, StoreError, Tree};

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Entries in the order of their keys, from either end.
pub type Entries<'a> = Box<dyn DoubleEndedIterator<Item = Result<Entry, StoreError>> + 'a>;

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

/// A tree, and its store for syncing.
#[derive(Debug)]
pub(super) struct StoreTable {
    pub(super) store: Store,
    pub(super) tree: Tree,
}

impl Table for StoreTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.tree.get(key)
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.tree.apply(batch)
    }

    fn range(&self, from: &[u8], to: &[u8]) -> Entries<'_> {
        Box::new(self.tree.entries(self.tree.tree.range(from..to)))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.store.size_on_disk()
    }
}
