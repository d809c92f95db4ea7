//! What a reader knows across restarts: `DIR/streams.json` (account and descriptors, replaced whole and synced),
//! `DIR/held/*.envelope` (sealed as they came: what waits for a descriptor or for a key), `DIR/lock`.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glovebox_proto::{envelope, v1};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::open::Header;
use crate::ranges::Ranges;
use crate::stream::{Accounts, Descriptors, Flows, Stream, StreamId, Streams};

const VERSION: u32 = 1;
/// Far above what the bounds of [`Streams`] let grow in practice.
const STATE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Envelopes kept on disk for want of a descriptor or key.
pub const HELD_FILES_MAX: usize = 4_096;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused.
    #[error("cannot {what} {path}: {cause}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Another process has it.
    #[error("the state folder {path} is in use by another reader: give each its own")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It is the account of somebody else: in it all that comes would look new, or old.
    #[error(
        "the state folder {path} belongs to the recipient `{owner}`, not `{recipient}`: give each its own"
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who asks.
        recipient: String,
    },
    /// The file is not what this program writes.
    #[error(
        "{path} is damaged ({why}): move it away to start anew; batches that come again will be output again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    streams: Vec<SavedStream>,
    descriptors: Vec<SavedDescriptor>,
}

#[derive(Serialize, Deserialize)]
struct SavedStream {
    alias: String,
    flow: String,
    epoch: u32,
    epoch_tag: u32,
    #[serde(default)]
    is_notice: bool,
    next: u64,
    undelivered: Ranges,
    undeclared: Ranges,
    touched: u64,
}

#[derive(Serialize, Deserialize)]
struct SavedDescriptor {
    alias: String,
    flow: String,
    descriptor: String,
}

/// The state folder of one reader, locked while this lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    held_files: usize,
    _lock: File,
}

impl StateDir {
    /// Opens or makes the folder of a recipient.
    ///
    /// # Errors
    /// If it cannot be made, another reader has it, or it is another recipient's.
    pub fn open(path: &Path, recipient: &str) -> Result<Self, StateError> {
        let held = path.join("held");
        DirBuilder::new().recursive(true).mode(0o700).create(&held).map_err(failed("make", &held))?;
        let lock_path = path.join("lock");
        let lock = private().create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(cause)) => return Err(failed("lock", &lock_path)(cause)),
        }
        let held_files = fs::read_dir(&held).map_err(failed("list", &held))?.count();
        let state = Self { path: path.to_owned(), held_files, _lock: lock };
        let owner = state.constant("recipient", || recipient.to_owned())?;
        match owner == recipient {
            true => Ok(state),
            false => Err(StateError::Foreign { path: state.path, owner, recipient: recipient.to_owned() }),
        }
    }

    /// The account as it was saved, or an empty one.
    ///
    /// # Errors
    /// If the file is damaged: it is never taken for empty.
    pub fn load(&self) -> Result<Streams, StateError> {
        let path = self.path.join("streams.json");
        let mut text = String::new();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Streams::new()),
            Err(cause) => return Err(failed("open", &path)(cause)),
            Ok(file) => {
                file.take(STATE_BYTES_MAX).read_to_string(&mut text).map_err(failed("read", &path))?;
            }
        }
        let damaged = |why: String| StateError::Damaged { path: path.clone(), why };
        let saved: Saved = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if saved.version != VERSION {
            return Err(damaged(format!("version {}, this program writes {VERSION}", saved.version)));
        }
        restore(&saved).ok_or_else(|| damaged("a key, flow or descriptor is not one".to_owned()))
    }

    /// Replaces the saved account; on return it is on the disk. Call it after what it accounts for was output.
    ///
    /// # Errors
    /// If a file cannot be written; the old one stays then.
    pub fn save(&self, streams: &Streams) -> Result<(), StateError> {
        let path = self.path.join("streams.json");
        let text = serde_json::to_vec(&saved(streams));
        let text = text.map_err(|error| failed("encode", &path)(io::Error::other(error)))?;
        self.replace(&path, &text)
    }

    /// Keeps an envelope that cannot be output yet; false if there are too many already.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(&mut self, header: &Header, payload: &[u8]) -> Result<bool, StateError> {
        let path = self.held_path(header);
        if path.exists() {
            return Ok(true);
        }
        if self.held_files >= HELD_FILES_MAX {
            return Ok(false);
        }
        self.replace(&path, payload)?;
        self.held_files += 1;
        Ok(true)
    }

    /// Forgets a kept envelope, if it was one.
    ///
    /// # Errors
    /// If the file is there and cannot be removed.
    pub fn release(&mut self, header: &Header) -> Result<(), StateError> {
        if self.held_files == 0 {
            return Ok(());
        }
        let path = self.held_path(header);
        match fs::remove_file(&path) {
            Ok(()) => self.held_files = self.held_files.saturating_sub(1),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(failed("remove", &path)(cause)),
        }
        Ok(())
    }

    /// All kept envelopes, by flow and sequence.
    ///
    /// # Errors
    /// If the folder or a file cannot be read.
    pub fn kept(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let folder = self.path.join("held");
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed("list", &folder))? {
            names.push(entry.map_err(failed("list", &folder))?.path());
        }
        names.retain(|path| path.extension().is_some_and(|extension| extension == "envelope"));
        names.sort();
        let read = |path: &PathBuf| {
            let mut bytes = Vec::new();
            let limit = envelope::ENVELOPE_BYTES_MAX as u64 + 1;
            let file = File::open(path).map_err(failed("open", path))?;
            file.take(limit).read_to_end(&mut bytes).map_err(failed("read", path))?;
            Ok(bytes)
        };
        names.iter().map(read).collect()
    }

    /// A text that is made once and then stays, such as a client id.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn constant(&self, name: &str, make: impl FnOnce() -> String) -> Result<String, StateError> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = make();
                self.replace(&path, text.as_bytes())?;
                Ok(text)
            }
            Err(cause) => Err(failed("read", &path)(cause)),
        }
    }

    fn held_path(&self, header: &Header) -> PathBuf {
        let Header { alias_id, flow, epoch, epoch_tag, sequence, .. } = header;
        let kind = if header.kind == v1::Kind::Notice { "n" } else { "b" };
        let name =
            format!("{alias_id}-{flow:016x}-{epoch:08x}-{epoch_tag:08x}-{kind}{sequence:016x}.envelope");
        self.path.join("held").join(name)
    }

    /// Writes beside, syncs, renames, syncs the folder: a power cut leaves the old or the new file.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let beside = path.with_extension("new");
        let mut file =
            private().create(true).truncate(true).open(&beside).map_err(failed("create", &beside))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", &beside))?;
        fs::rename(&beside, path).map_err(failed("replace", path))?;
        let folder = path.parent().unwrap_or(&self.path);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |cause| StateError::Io { what, path, cause }
}

fn saved(streams: &Streams) -> Saved {
    let (streams, descriptors) = streams.parts();
    let stream = |(id, stream): (&StreamId, &Stream)| SavedStream {
        alias: hex::encode(id.alias),
        flow: format!("{:016x}", id.flow),
        epoch: id.epoch,
        epoch_tag: id.epoch_tag,
        is_notice: id.is_notice,
        next: stream.next,
        undelivered: stream.undelivered.clone(),
        undeclared: stream.undeclared.clone(),
        touched: stream.touched,
    };
    let of_flow = |((alias, flow), known): (&([u8; 32], u64), &Descriptors)| {
        let one = |(_, descriptor): &([u8; 32], Arc<v1::Descriptor>)| SavedDescriptor {
            alias: hex::encode(alias),
            flow: format!("{flow:016x}"),
            descriptor: hex::encode(descriptor.encode_to_vec()),
        };
        known.iter().map(one).collect::<Vec<_>>()
    };
    Saved {
        version: VERSION,
        streams: streams.iter().map(stream).collect(),
        descriptors: descriptors.iter().flat_map(of_flow).collect(),
    }
}

fn restore(saved: &Saved) -> Option<Streams> {
    let flow_key = |alias: &str, flow: &str| -> Option<([u8; 32], u64)> {
        let alias = hex::decode(alias).ok()?.try_into().ok()?;
        Some((alias, u64::from_str_radix(flow, 16).ok()?))
    };
    let mut streams = Accounts::new();
    for one in &saved.streams {
        let (alias, flow) = flow_key(&one.alias, &one.flow)?;
        let (epoch, epoch_tag, is_notice) = (one.epoch, one.epoch_tag, one.is_notice);
        let id = StreamId { alias, flow, epoch, epoch_tag, is_notice };
        let stream = Stream {
            next: one.next,
            undelivered: one.undelivered.clone(),
            undeclared: one.undeclared.clone(),
            touched: one.touched,
        };
        streams.insert(id, stream);
    }
    let mut descriptors = Flows::new();
    for one in &saved.descriptors {
        let bytes = hex::decode(&one.descriptor).ok()?;
        let descriptor = v1::Descriptor::decode(bytes.as_slice()).ok()?;
        let known = descriptors.entry(flow_key(&one.alias, &one.flow)?).or_default();
        known.push((envelope::descriptor_digest(&descriptor), Arc::new(descriptor)));
    }
    Some(Streams::from_parts(streams, descriptors))
}
