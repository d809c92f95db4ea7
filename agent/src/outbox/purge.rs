//! A flow is destroyed, after its tombstone is on disk: keys first, so that whatever stays after a power cut is noise.
//!
//! ```text
//! keys overwritten and synced ─▶ key file unlinked, folder synced ─▶ segments unlinked ─▶ index cleared, synced
//!   ─▶ folder removed, its parent synced            each step may be the last one, and all may be done again
//! ```

use glovebox_core::names::FlowId;

use super::index::Index;
use super::keys::{self, KeyFile};
use crate::store::disk::Place;
use crate::store::files::{self, FileError};
use crate::store::{Logged, StoreError};

/// Why a flow could not be destroyed to the end; to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The system.
    #[error(transparent)]
    File(#[from] FileError),
    /// The index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A test stopped it here.
    #[error("stopped before step {step}")]
    Stopped {
        /// Which.
        step: u32,
    },
}

/// Counts steps, and in tests stops before one, as a power cut would.
#[derive(Debug, Default)]
pub(super) struct Steps {
    done: u32,
    stop_before: Option<u32>,
}

impl Steps {
    #[cfg(test)]
    pub(super) fn stopping_before(step: u32) -> Self {
        Self { done: 0, stop_before: Some(step) }
    }

    fn next(&mut self) -> Result<(), PurgeError> {
        match self.stop_before == Some(self.done) {
            true => Err(PurgeError::Stopped { step: self.done }),
            false => {
                self.done += 1;
                Ok(())
            }
        }
    }
}

/// Destroys a withdrawn flow in the outbox in `dir`, where nobody has the outbox open: no daemon runs.
///
/// # Errors
/// [`PurgeError`]; the next start does it then.
pub fn destroy(dir: &Place, index: Logged, flow: FlowId) -> Result<(), PurgeError> {
    purge(dir, &Index(index), flow, &mut Steps::default())
}

pub(super) fn purge(dir: &Place, index: &Index, flow: FlowId, steps: &mut Steps) -> Result<(), PurgeError> {
    let folder = dir.join(&flow.to_string());
    if folder.exists() {
        files_of(&folder, steps)?;
    }
    steps.next()?;
    index.clear(flow)?;
    steps.next()?;
    if folder.exists() {
        let removed = folder.disk.remove_folder(&folder.path);
        removed.map_err(files::io_error("remove the folder", &folder.path))?;
    }
    steps.next()?;
    Ok(dir.sync()?)
}

fn files_of(folder: &Place, steps: &mut Steps) -> Result<(), PurgeError> {
    steps.next()?;
    KeyFile::overwrite(folder).map_err(files::io_error("overwrite", &folder.path.join(keys::NAME)))?;
    steps.next()?;
    folder.remove(keys::NAME)?;
    steps.next()?;
    folder.sync()?;
    for name in folder.list()? {
        steps.next()?;
        folder.remove(name)?;
    }
    Ok(())
}
