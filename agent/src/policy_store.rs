//! Documents on disk, and the counters that only rise. Every write is durable when it returns.
//!
//! ```text
//! <state>/policy/                sled: "documents": "bundle" ‖ piece (u16 BE) -> bytes, "counters" -> version ‖ serial
//!                                      "records": number (u64 BE) ‖ piece (u16 BE) -> bytes
//! <state>/counters               text, written atomically; the counters again, the time mark, the chain of records
//! <state>/tombstones/<flow hex>  one empty file per ended flow; the name is what counts
//! ```
//!
//! Documents are cut into pieces because the store takes no large values. The file beside the store holds how many
//! records there are and a hash over them: a store restored from a backup, cut or set aside does not fit it, and then
//! none of its grants counts any more (deny on doubt). Tombstones are beside too, so that an old store does not bring a
//! withdrawn flow back. Whoever restores the whole state folder is not noticed: that needs a counter in hardware.

mod counters;

use crate::store::files::{self, FileError};
use crate::store::{Batch, Opened, Store, StoreError, Tree};
use counters::{Beside, CountersError};
use glovebox_core::control::{Counters, Stored};
use glovebox_core::limits::{
    BUILD_DATE_US, DOCUMENT_BYTES_MAX, MARK_STEP_US_MAX, MARK_STEP_US_MIN, STORE_VALUE_BYTES_MAX,
    STORED_RECORDS_MAX, TOMBSTONES_MAX,
};
use glovebox_core::names::{Digest, FlowId, PolicyVersion, WallTime};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why documents cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyStoreError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file beside it.
    #[error(transparent)]
    File(#[from] FileError),
    /// A counter would fall.
    #[error("{counter} {new} is lower than {old}, which is in force: it only rises")]
    Lower {
        /// Which counter.
        counter: &'static str,
        /// What was to be stored.
        new: u64,
        /// What is stored.
        old: u64,
    },
    /// A document larger than any that passed its verification.
    #[error("a document of {bytes} bytes is too large: at most {DOCUMENT_BYTES_MAX}")]
    Large {
        /// Its size.
        bytes: usize,
    },
    /// More records than a car ever has.
    #[error("{STORED_RECORDS_MAX} consent records are stored: no more are taken")]
    ManyRecords,
}

/// Something that was found when the documents were opened, and that a person is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The store was damaged.
    SetAside(PathBuf),
    /// The records are not those that were stored last.
    Records {
        /// How many were stored.
        stored: u64,
        /// How many were found.
        found: u64,
    },
    /// The file beside the store was damaged.
    Counters(PathBuf),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside(path) => write!(
                f,
                "the stored policy was damaged and is set aside as {}: nothing leaves until a policy bundle is \
                 installed and the owner grants again",
                path.display()
            ),
            Self::Records { stored, found } => write!(
                f,
                "the stored consent records are not those of last time ({found} found, {stored} stored), as after \
                 restoring a backup: none of them counts, the owner has to grant again"
            ),
            Self::Counters(path) => write!(
                f,
                "the counters were damaged and are set aside as {}: consent records do not count until the owner \
                 grants again",
                path.display()
            ),
        }
    }
}

/// What an authority asks of the store of documents, so that a test can put another one in its place. What is written
/// is durable when it returns.
pub trait Documents: Send {
    /// All that is in force, as bytes; whoever loads it verifies it again.
    ///
    /// # Errors
    /// If it cannot be read.
    fn load(&self) -> Result<Stored, PolicyStoreError>;

    /// Stores a policy bundle and the counters that it raises, both or neither.
    ///
    /// # Errors
    /// [`PolicyStoreError::Lower`] if a counter would fall; else the system's.
    fn put_policy(&mut self, bundle: &[u8], counters: Counters) -> Result<(), PolicyStoreError>;

    /// Stores a consent record behind all others.
    ///
    /// # Errors
    /// If it is too large, there are too many, or the system refuses.
    fn put_record(&mut self, record: &[u8]) -> Result<(), PolicyStoreError>;

    /// Ends a flow for ever: the first thing of a withdrawal, before anything else is touched.
    ///
    /// # Errors
    /// If the file or its name cannot be made durable.
    fn tombstone(&mut self, flow: FlowId) -> Result<(), PolicyStoreError>;

    /// The highest time that was seen; a clock before it is wrong.
    fn mark(&self) -> WallTime;

    /// Moves the mark towards `to`, by a bounded amount; never back. Small steps are not written.
    ///
    /// # Errors
    /// If the system refuses.
    fn raise_mark(&mut self, to: WallTime) -> Result<(), PolicyStoreError>;

    /// Sets the mark to `to` at once; back only for somebody who is in the car and mends the clock.
    ///
    /// # Errors
    /// If the system refuses; then the mark is as before.
    fn set_mark(&mut self, to: WallTime) -> Result<(), PolicyStoreError>;
}

/// The documents of the car.
#[derive(Debug)]
pub struct PolicyStore {
    state: PathBuf,
    /// Closed by a write that failed.
    open: Option<Open>,
    beside: Beside,
    faults: Vec<Fault>,
}

/// The store and its trees.
#[derive(Debug)]
struct Open {
    store: Store,
    documents: Tree,
    records: Tree,
}

impl Open {
    fn of(store: Store) -> Result<Self, StoreError> {
        let (documents, records) = (store.tree("documents")?, store.tree("records")?);
        Ok(Self { store, documents, records })
    }
}

impl PolicyStore {
    /// Opens or makes the documents in the state folder.
    ///
    /// # Errors
    /// If another process has them ([`StoreError::Locked`]), or the system refuses.
    pub fn open(state: &Path) -> Result<Self, PolicyStoreError> {
        files::create_folder(&state.join("tombstones"))?;
        let (store, opened) = Store::open(&state.join("policy"))?;
        let open = Open::of(store)?;
        let mut faults = Vec::new();
        if let Opened::SetAside(path) = opened {
            faults.push(Fault::SetAside(path));
        }
        let path = state.join("counters");
        let beside = match Beside::read(&path) {
            Ok(beside) => beside,
            Err(CountersError::File(error)) => return Err(error.into()),
            Err(CountersError::Damaged) => {
                faults.push(Fault::Counters(Beside::set_aside(&path)?));
                None
            }
        };
        let known = beside.is_some();
        let beside = beside.unwrap_or_default();
        let mut this = Self { state: state.to_owned(), open: Some(open), beside, faults };
        this.reconcile(known)?;
        Ok(this)
    }

    /// Writes, durable when it returns. sled refuses everything after a write of its own that failed, so then the store
    /// is closed, and opened again for the next one.
    fn write(&mut self, act: impl FnOnce(&Open) -> Result<(), StoreError>) -> Result<(), PolicyStoreError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.reopen()?,
        };
        let outcome = act(&open).and_then(|()| open.store.sync());
        if !matches!(outcome, Err(StoreError::Io { .. })) {
            self.open = Some(open);
        }
        Ok(outcome?)
    }

    fn reopen(&self) -> Result<Open, PolicyStoreError> {
        let open = Open::of(Store::reopen(&self.state.join("policy"))?)?;
        tracing::info!(target: "consent", "the documents are open again");
        Ok(open)
    }

    fn opened(&self) -> Result<&Open, StoreError> {
        let closed = || StoreError::Io {
            dir: self.state.join("policy"),
            what: "it is closed since a write failed".to_owned(),
        };
        self.open.as_ref().ok_or_else(closed)
    }

    /// What was wrong when the documents were opened, for a person.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What newer documents must reach.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.beside.counters
    }

    /// Compares the store with the file beside it. `known`: there was such a file.
    fn reconcile(&mut self, known: bool) -> Result<(), PolicyStoreError> {
        if let Some(bytes) = self.opened()?.documents.get(COUNTERS)? {
            let number =
                |range| bytes.get(range).and_then(|b: &[u8]| b.try_into().ok()).map(u64::from_be_bytes);
            let counters = &mut self.beside.counters;
            counters.policy_version = counters.policy_version.max(PolicyVersion(number(0..8).unwrap_or(0)));
            counters.signing_serial = counters.signing_serial.max(number(8..16).unwrap_or(0));
        }
        let found = self.read_records(self.beside.records.from)?;
        let stored = self.beside.records.count;
        let sound = (known || found.is_empty()) && self.beside.records.continues(&found);
        if !sound {
            let fault = Fault::Records { stored, found: found.len() as u64 };
            // What is there stays there to be looked at, and does not count.
            let next = self.next_number()?.max(self.beside.records.from + stored);
            self.beside.records = counters::Chain::starting(next);
            self.faults.push(fault);
        }
        for fault in &self.faults {
            tracing::error!(target: "consent", "{fault}");
        }
        self.write_beside()
    }

    fn next_number(&self) -> Result<u64, PolicyStoreError> {
        let last = self.opened()?.records.iter().last().transpose()?;
        let number = last.and_then(|(key, _)| Some(u64::from_be_bytes(*key.first_chunk()?)));
        Ok(number.map_or(0, |number| number.saturating_add(1)))
    }

    fn read_records(&self, from: u64) -> Result<Vec<Vec<u8>>, PolicyStoreError> {
        let mut records: Vec<Vec<u8>> = Vec::new();
        for entry in self.opened()?.records.range(&from.to_be_bytes()[..]..) {
            let (key, piece) = entry?;
            if key.ends_with(&[0, 0]) {
                records.push(Vec::new());
            }
            if let Some(record) = records.last_mut() {
                record.extend_from_slice(&piece);
            }
        }
        Ok(records)
    }

    fn tombstones(&self) -> Result<BTreeSet<FlowId>, PolicyStoreError> {
        let dir = self.state.join("tombstones");
        let mut flows = BTreeSet::new();
        for entry in std::fs::read_dir(&dir).map_err(files::io_error("list", &dir))? {
            let name = entry.map_err(files::io_error("list", &dir))?.file_name();
            // What is left of a power cut (`….new`) was not yet acknowledged, but its wish is plain.
            let name = name.to_string_lossy();
            flows.extend(name.trim_end_matches(".new").parse::<FlowId>().ok());
            if flows.len() >= TOMBSTONES_MAX {
                break;
            }
        }
        Ok(flows)
    }

    fn write_beside(&self) -> Result<(), PolicyStoreError> {
        Ok(self.beside.write(&self.state.join("counters"))?)
    }
}

impl Documents for PolicyStore {
    fn load(&self) -> Result<Stored, PolicyStoreError> {
        let mut policy = Vec::new();
        for entry in self.opened()?.documents.range(BUNDLE..) {
            let (key, piece) = entry?;
            if !key.starts_with(BUNDLE) {
                break;
            }
            policy.extend_from_slice(&piece);
        }
        Ok(Stored {
            policy: Some(policy).filter(|policy| !policy.is_empty()),
            floor: self.beside.counters,
            records: self.read_records(self.beside.records.from)?,
            tombstones: self.tombstones()?,
        })
    }

    fn put_policy(&mut self, bundle: &[u8], counters: Counters) -> Result<(), PolicyStoreError> {
        let old = self.beside.counters;
        rising("policy version", counters.policy_version.0, old.policy_version.0)?;
        rising("signing-key serial", counters.signing_serial, old.signing_serial)?;
        let mut batch = Batch::default();
        let pieces = cut(&mut batch, BUNDLE, bundle)?;
        batch.insert(
            COUNTERS,
            &[counters.policy_version.0.to_be_bytes(), counters.signing_serial.to_be_bytes()].concat(),
        );
        self.write(|open| {
            for entry in open.documents.range(&piece_key(BUNDLE, pieces)[..]..) {
                let (key, _) = entry?;
                if !key.starts_with(BUNDLE) {
                    break;
                }
                batch.remove(&key);
            }
            open.documents.apply(&batch)
        })?;
        self.beside.counters = counters;
        self.write_beside()
    }

    fn put_record(&mut self, record: &[u8]) -> Result<(), PolicyStoreError> {
        let chain = &self.beside.records;
        let number = chain.from + chain.count;
        if !usize::try_from(chain.count).is_ok_and(|count| count < STORED_RECORDS_MAX) {
            return Err(PolicyStoreError::ManyRecords);
        }
        let mut batch = Batch::default();
        let pieces = cut(&mut batch, &number.to_be_bytes(), record)?;
        self.write(|open| {
            // What one that failed had half written: it was never said to be kept.
            for entry in open.records.range(&piece_key(&number.to_be_bytes(), pieces)[..]..) {
                batch.remove(&entry?.0);
            }
            open.records.apply(&batch)
        })?;
        self.beside.records.append(record);
        self.write_beside()
    }

    fn tombstone(&mut self, flow: FlowId) -> Result<(), PolicyStoreError> {
        Ok(files::write_atomically(&self.state.join("tombstones").join(flow.to_string()), b"")?)
    }

    fn mark(&self) -> WallTime {
        WallTime(self.beside.mark.0.max(BUILD_DATE_US))
    }

    fn raise_mark(&mut self, to: WallTime) -> Result<(), PolicyStoreError> {
        let mark = self.mark();
        let step = to.0.saturating_sub(mark.0).min(MARK_STEP_US_MAX);
        if step < MARK_STEP_US_MIN {
            return Ok(());
        }
        self.beside.mark = WallTime(mark.0.saturating_add(step));
        self.write_beside()
    }

    fn set_mark(&mut self, to: WallTime) -> Result<(), PolicyStoreError> {
        let before = std::mem::replace(&mut self.beside.mark, to);
        self.write_beside().inspect_err(|_| self.beside.mark = before)
    }
}

const BUNDLE: &[u8] = b"bundle";
const COUNTERS: &[u8] = b"counters";

fn rising(counter: &'static str, new: u64, old: u64) -> Result<(), PolicyStoreError> {
    if new < old { Err(PolicyStoreError::Lower { counter, new, old }) } else { Ok(()) }
}

fn piece_key(prefix: &[u8], piece: u16) -> Vec<u8> {
    [prefix, &piece.to_be_bytes()].concat()
}

/// Puts `document` into the batch in pieces; returns how many.
fn cut(batch: &mut Batch, prefix: &[u8], document: &[u8]) -> Result<u16, PolicyStoreError> {
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(PolicyStoreError::Large { bytes: document.len() });
    }
    let mut pieces = 0;
    for piece in document.chunks(STORE_VALUE_BYTES_MAX) {
        batch.insert(&piece_key(prefix, pieces), piece);
        pieces += 1;
    }
    Ok(pieces)
}

const _: () = assert!(DOCUMENT_BYTES_MAX / STORE_VALUE_BYTES_MAX < 65_535);

/// The hash over all records so far, in their order.
fn link(chain: Digest, record: &[u8]) -> Digest {
    let text = [&b"glovebox/v1/records"[..], &chain.0, &Digest::of(record).0].concat();
    Digest::of(&text)
}

#[cfg(test)]
mod tests;
