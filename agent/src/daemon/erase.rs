//! Erasing a car: all keys, what they opened, and all documents. Whole until one rename, and erased from there on:
//! whoever comes next, a start or a new `provision`, does what is left.
//!
//! ```text
//! hold the stores ─▶ notices that were not withdrawn for go, the others stay until they are sent or too old
//!                 ─▶ keys → keys.erased: the car has no owner, no alias, no authority ─▶ segment keys, segments
//!                 ─▶ documents, ledger, the rest ─▶ keys.erased: the mark that there is something left to do
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use glovebox_core::names::FlowId;

use crate::notice_store::NoticeStore;
use crate::store::files::{self, FileError};
use crate::store::{StoreError, hold};

/// What lies in the state folder, less the keys: a name, or what it begins with.
const LEFT: [&str; 12] = [
    "outbox",
    "enrolments",
    "tombstones",
    "counters",
    "rules",
    "emitted",
    "spent",
    "session",
    "zones",
    "policy",
    "ledger",
    "index",
];
const STORES: [&str; 3] = ["policy", "ledger", "index"];

/// Why a car cannot be erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// A file or folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// A process works with it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Erases the car whose state lies here; nothing if there is none. What is not the agent's stays.
///
/// # Errors
/// [`StoreError::Locked`] while a daemon or a command works with it, before anything is touched; else the system, and
/// the rest is done by the next who comes.
pub fn erase(state: &Path) -> Result<(), EraseError> {
    let held = held(state)?;
    let (keys, marked) = (state.join("keys"), marked(state));
    if keys.exists() {
        settle_notices(state);
        // Of one that was cut short before; its keys are dead already.
        remove(&marked)?;
        fs::rename(&keys, &marked).map_err(files::io_error("set aside", &keys))?;
        files::sync_folder(state)?;
    }
    rest(state)?;
    drop(held);
    Ok(())
}

/// What recipients are to be told is no secret of the car's: sealed, without a value, under an alias that ends here. It
/// stays, but a notice counts by a tombstone, and those go. No fault there keeps a car from being erased.
fn settle_notices(state: &Path) {
    let tombstone = |flow: FlowId| state.join("tombstones").join(flow.to_string());
    let is_ended = |flow| tombstone(flow).exists() || files::with_suffix(&tombstone(flow), ".new").exists();
    if let Err(error) = NoticeStore::in_folder(state).reconcile(&is_ended) {
        tracing::error!(target: "outbox", %error, "a recipient may not be asked to erase");
    }
}

/// Does what is left of an erasing that was cut short. To be called before anything in the folder is used.
///
/// # Errors
/// As [`erase`].
pub fn finish(state: &Path) -> Result<(), EraseError> {
    if !marked(state).exists() {
        return Ok(());
    }
    let _held = held(state)?;
    rest(state)
}

/// The keys of a car that is being erased.
fn marked(state: &Path) -> PathBuf {
    state.join("keys.erased")
}

fn held(state: &Path) -> Result<Vec<File>, EraseError> {
    if !state.exists() {
        return Ok(Vec::new());
    }
    STORES.iter().map(|store| Ok(hold(&state.join(store))?)).collect()
}

fn rest(state: &Path) -> Result<(), EraseError> {
    if !state.exists() {
        return Ok(());
    }
    let mark = marked(state);
    for entry in names(&mark)? {
        destroy(&entry)?;
    }
    for flow in names(&state.join("outbox"))? {
        files::destroy(&flow.join("keys"))?;
    }
    // Where somebody lives.
    files::destroy(&state.join("zones"))?;
    // The locks are released by their removal: last.
    let (locks, others): (Vec<_>, Vec<_>) = ours(state)?.into_iter().partition(|path| is_lock(path));
    for path in others.iter().chain(&locks) {
        remove(path)?;
    }
    files::sync_folder(state)?;
    remove(&mark)?;
    Ok(files::sync_folder(state)?)
}

/// What is the agent's by its name: `ledger`, `ledger.wal`, `ledger.corrupt-2`, `counters.new`.
fn ours(state: &Path) -> Result<Vec<PathBuf>, FileError> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        LEFT.iter()
            .any(|ours| name.strip_prefix(ours).is_some_and(|end| end.is_empty() || end.starts_with('.')))
    };
    Ok(names(state)?.into_iter().filter(is_ours).collect())
}

fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lock")
}

fn names(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(files::io_error("list", dir)(error)),
    }
}

/// A key file, or a folder of them.
fn destroy(path: &Path) -> Result<(), FileError> {
    if !path.is_dir() {
        return files::destroy(path);
    }
    names(path)?.iter().try_for_each(|inner| files::destroy(inner))
}

fn remove(path: &Path) -> Result<(), FileError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(files::io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
