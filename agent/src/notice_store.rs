//! Sealed notices on disk, each in a file of its own: apart from the queue, so that neither a purge nor an erasing takes
//! them.
//!
//! ```text
//! <state>/notices/<flow hex>.asked    stored before the flow's tombstone, and counts only with it
//! <state>/notices/<flow hex>.notice   counts: waits until the broker has it, or it is too old
//!
//! SHA-256 of what follows (32) ‖ version 1 (u8) ‖ µs since 1970 (i64 BE) ‖ length (u8) ‖ recipient id ‖ envelope
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use glovebox_core::consent::document::Verifier;
use glovebox_core::limits::{NOTICE_BYTES_MAX, NOTICES_WAITING_MAX};
use glovebox_core::names::{Digest, FlowId, RecipientId, WallTime};
use glovebox_core::seal::SealedNotice;

use crate::store::files::{self, FileError, Privacy};

const VERSION: u8 = 1;
/// Digest, version, time, length and the longest recipient id, before the envelope.
const FRAME_BYTES_MAX: usize = 32 + 1 + 8 + 1 + 255;
const ASKED: &str = "asked";
const COUNTS: &str = "notice";

/// Why a notice cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// A file or folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// So many wait that no more are taken.
    #[error("{NOTICES_WAITING_MAX} notices wait to be sent already: connect the car, then ask again")]
    Full,
    /// Not what was written.
    #[error("the notice of flow {flow} is damaged")]
    Damaged {
        /// Which.
        flow: FlowId,
    },
}

/// A sealed notice, and what is to be known of it outside the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// To whom it goes.
    pub recipient: RecipientId,
    /// When it was made.
    pub at: WallTime,
    /// The notice.
    pub sealed: SealedNotice,
}

impl Notice {
    /// The flow that it is about; there is one notice of a flow.
    #[must_use]
    pub fn flow(&self) -> FlowId {
        self.sealed.header().flow
    }

    fn encode(&self) -> Vec<u8> {
        let recipient = self.recipient.as_str().as_bytes();
        // An id has at most 64 bytes.
        let length = u8::try_from(recipient.len()).unwrap_or(u8::MAX);
        let at = self.at.0.to_be_bytes();
        let rest = [&[VERSION][..], &at, &[length], recipient, self.sealed.envelope()].concat();
        [&Digest::of(&rest).0[..], &rest].concat()
    }

    fn decode(bytes: &[u8], verifier: &dyn Verifier) -> Option<Self> {
        let (digest, rest) = bytes.split_first_chunk::<32>()?;
        if Digest::of(rest).0 != *digest {
            return None;
        }
        let (&[version], rest) = rest.split_first_chunk::<1>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (&[length], rest) = rest.split_first_chunk::<1>()?;
        let (recipient, envelope) = rest.split_at_checked(length.into())?;
        if version != VERSION {
            return None;
        }
        let recipient = RecipientId::new(std::str::from_utf8(recipient).ok()?).ok()?;
        let sealed = SealedNotice::readmit(envelope.to_vec(), verifier).ok()?;
        Some(Self { recipient, at: WallTime(i64::from_be_bytes(*at)), sealed })
    }
}

/// The folder of notices. It is made with the first one.
#[derive(Debug, Clone)]
pub struct NoticeStore {
    dir: PathBuf,
}

impl NoticeStore {
    /// That in the state folder.
    #[must_use]
    pub fn in_folder(state: &Path) -> Self {
        Self { dir: state.join("notices") }
    }

    fn path(&self, flow: FlowId, state: &str) -> PathBuf {
        self.dir.join(format!("{flow}.{state}"))
    }

    /// Stores a notice that counts once the flow has its tombstone. Durable when it returns.
    ///
    /// # Errors
    /// If there are too many, or the system refuses.
    pub fn ask(&self, notice: &Notice) -> Result<(), NoticeError> {
        files::create_folder(&self.dir)?;
        if self.names()?.len() >= NOTICES_WAITING_MAX {
            return Err(NoticeError::Full);
        }
        Ok(files::write_atomically(&self.path(notice.flow(), ASKED), &notice.encode())?)
    }

    /// The flow has its tombstone: what was asked of it counts. Nothing if nothing was.
    ///
    /// # Errors
    /// If the system refuses; then [`Self::reconcile`] does it at the next start.
    pub fn confirm(&self, flow: FlowId) -> Result<(), FileError> {
        let path = self.path(flow, COUNTS);
        match fs::rename(self.path(flow, ASKED), &path) {
            Ok(()) => files::sync_folder(&self.dir),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(files::io_error("rename the notice to", &path)(error)),
        }
    }

    /// After a cut of power: what was asked of a flow that has ended counts, and of one that lives on was never asked.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn reconcile(&self, is_ended: &dyn Fn(FlowId) -> bool) -> Result<(), FileError> {
        for path in self.names()? {
            match flow_of(&path, ASKED) {
                Some(flow) if is_ended(flow) => self.confirm(flow)?,
                _ if flow_of(&path, COUNTS).is_some() => {}
                // Also what is left of one that was half written.
                _ => self.unlink(&path)?,
            }
        }
        Ok(())
    }

    /// The flows of which a notice waits.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn flows(&self) -> Result<Vec<FlowId>, FileError> {
        Ok(self.names()?.iter().filter_map(|path| flow_of(path, COUNTS)).collect())
    }

    /// The notice of a flow.
    ///
    /// # Errors
    /// [`NoticeError::Damaged`], or the system's words.
    pub fn read(&self, flow: FlowId, verifier: &dyn Verifier) -> Result<Notice, NoticeError> {
        let most = FRAME_BYTES_MAX + NOTICE_BYTES_MAX;
        let bytes = files::read_bounded(&self.path(flow, COUNTS), most, Privacy::Secret)?;
        let notice = Notice::decode(&bytes.unwrap_or_default(), verifier);
        notice.filter(|notice| notice.flow() == flow).ok_or(NoticeError::Damaged { flow })
    }

    /// The broker has it, or it is given up. Durable when it returns.
    ///
    /// # Errors
    /// If the system refuses; then it is there again after the next start.
    pub fn remove(&self, flow: FlowId) -> Result<(), FileError> {
        self.unlink(&self.path(flow, COUNTS))
    }

    fn unlink(&self, path: &Path) -> Result<(), FileError> {
        match fs::remove_file(path) {
            Ok(()) => files::sync_folder(&self.dir),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(files::io_error("remove", path)(error)),
        }
    }

    /// No more than there can be, whoever filled the folder.
    fn names(&self) -> Result<Vec<PathBuf>, FileError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(files::io_error("list", &self.dir)(error)),
        };
        let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.path());
        let names = entries.take(2 * NOTICES_WAITING_MAX).map(name).collect::<std::io::Result<_>>();
        names.map_err(files::io_error("list", &self.dir))
    }
}

/// The flow of a file of this state.
fn flow_of(path: &Path, state: &str) -> Option<FlowId> {
    path.file_name()?.to_str()?.strip_suffix(state)?.strip_suffix('.')?.parse().ok()
}

#[cfg(test)]
mod tests;
