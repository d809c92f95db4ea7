//! The enrolments of owner keys: a file each, whose making is the change. They lie beside the store, so that one that was
//! lost or restored takes no owner away and brings none back.
//!
//! ```text
//! <state>/enrolments/0000.dsse, 0001.dsse, …   as they were signed, in their order; verified again at each start
//! ```

use super::PolicyStoreError;
use crate::store::files::{self, FileError, Privacy};
use glovebox_core::limits::{DOCUMENT_BYTES_MAX, ENROLMENTS_MAX};
use std::path::{Path, PathBuf};

fn folder(state: &Path) -> PathBuf {
    state.join("enrolments")
}

/// All of them, in the order of their names. What is no enrolment is left to whoever verifies them.
pub(super) fn read(state: &Path) -> Result<Vec<Vec<u8>>, FileError> {
    let dir = folder(state);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(files::io_error("list", &dir)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(files::io_error("list", &dir))?.path();
        // One more than there can be is refused by whoever verifies them.
        if path.extension().is_some_and(|extension| extension == "dsse") && paths.len() <= ENROLMENTS_MAX {
            paths.push(path);
        }
    }
    paths.sort();
    let bytes = |path: &PathBuf| match files::read_bounded(path, DOCUMENT_BYTES_MAX, Privacy::Public) {
        // Too large to be one: it is there, and does not verify.
        Err(FileError::Large { .. }) => Ok(Vec::new()),
        read => Ok(read?.unwrap_or_default()),
    };
    paths.iter().map(bytes).collect()
}

/// Stores the enrolment at this place in the order; durable when it returns.
pub(super) fn put(state: &Path, index: usize, enrolment: &[u8]) -> Result<(), PolicyStoreError> {
    if enrolment.len() > DOCUMENT_BYTES_MAX {
        return Err(PolicyStoreError::Large { bytes: enrolment.len() });
    }
    let dir = folder(state);
    files::create_folder(&dir)?;
    Ok(files::write_atomically(&dir.join(format!("{index:04}.dsse")), enrolment)?)
}
