//! The folder into which documents are dropped: what is whole in it, as it comes. The only file that knows inotify.
//!
//! ```text
//! closed after writing, moved in ─▶ read ─▶ Found
//! at start, after an overflow, when the folder is back: all that is there ─▶ read if it is whole ─▶ Found
//! ```
//!
//! Read are plain files of at most [`DROPPED_BYTES_MAX`]; a name that begins with a dot is somebody's temporary file. What
//! was read once is read again only if it changed. Nothing is moved or removed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use glovebox_core::consent::document::DsseEnvelope;
use glovebox_core::limits::{DROPPED_BYTES_MAX, DROPPED_FILES_MAX, DROPPED_SETTLED_MS};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Events that are read at once; then whoever looks has a turn.
const READS_MAX: usize = 64;

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A document, perhaps.
    Document {
        /// Its file.
        path: PathBuf,
        /// What is in it.
        bytes: Vec<u8>,
    },
    /// Something that is not read, and why, with the mend.
    Fault {
        /// What.
        path: PathBuf,
        /// Why, in words.
        why: String,
    },
}

/// The folder, and what was read of it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    watch: Option<Inotify>,
    files: BTreeMap<OsString, Known>,
    /// The last fault of the folder itself, which is said once.
    said: Option<String>,
}

/// A file that was seen.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    since: Instant,
    read: bool,
}

/// A file that is the same in all of these is not read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            size: found.size(),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// How sure it is that a file is whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// Its writer has closed it.
    Yes,
    /// Somebody may be writing it.
    Unknown,
}

impl Folder {
    /// Nothing is read yet, nor need the folder be there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, watch: None, files: BTreeMap::new(), said: None }
    }

    /// Waits until something happens there, or so long.
    pub fn wait(&self, at_most: Duration) {
        let Some(watch) = &self.watch else { return std::thread::sleep(at_most) };
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
        let ready = nix::poll::poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], timeout);
        if ready.is_err_and(|error| error != Errno::EINTR) {
            std::thread::sleep(at_most);
        }
    }

    /// What came since the last look, in the order of names where no other is known.
    pub fn look(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        if self.watch.is_none() {
            self.begin(&mut found);
        }
        let mut all = self.events(&mut found);
        all |= self.files.values().any(|known| !known.read);
        if all && let Err(error) = self.scan(&mut found) {
            self.gone(&error, &mut found);
        }
        found
    }

    /// Watches it, from before it is looked at for the first time.
    fn begin(&mut self, found: &mut Vec<Found>) {
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let watched = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .and_then(|watch| watch.add_watch(&self.path, events).map(|_| watch));
        let outcome = match watched {
            Ok(watch) => {
                self.watch = Some(watch);
                self.said = None;
                self.scan(found)
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => Err(io::Error::from(io::ErrorKind::NotFound)),
            // No watch to be had: then it is looked at each time.
            Err(error) => {
                self.say(format!("cannot be watched ({error}): it is looked at each second"), found);
                self.scan(found)
            }
        };
        if let Err(error) = outcome {
            self.gone(&error, found);
        }
    }

    fn gone(&mut self, error: &io::Error, found: &mut Vec<Found>) {
        self.watch = None;
        self.files.clear();
        let why = format!("cannot be read ({error}): what is dropped there is taken as soon as it can be");
        self.say(why, found);
    }

    fn say(&mut self, why: String, found: &mut Vec<Found>) {
        if self.said.as_ref() != Some(&why) {
            self.said = Some(why.clone());
            found.push(Found::Fault { path: self.path.clone(), why });
        }
    }

    /// Takes what was closed or moved in. Answers whether all has to be looked at.
    fn events(&mut self, found: &mut Vec<Found>) -> bool {
        let mut all = false;
        for _ in 0..READS_MAX {
            let Some(watch) = &self.watch else { break };
            let Ok(events) = watch.read_events() else { break };
            for event in events {
                let gone = AddWatchFlags::IN_DELETE_SELF
                    | AddWatchFlags::IN_MOVE_SELF
                    | AddWatchFlags::IN_IGNORED
                    | AddWatchFlags::IN_UNMOUNT;
                if event.mask.intersects(gone) {
                    // Another folder may be there by the next look.
                    self.watch = None;
                } else if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    all = true;
                } else if let Some(name) = event.name {
                    self.file(&name, Whole::Yes, found);
                }
            }
        }
        all
    }

    fn scan(&mut self, found: &mut Vec<Found>) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            names.push(entry?.file_name());
            if names.len() > DROPPED_FILES_MAX {
                let why = format!(
                    "has more than {DROPPED_FILES_MAX} files: not all are looked at, remove old ones"
                );
                self.say(why, found);
                break;
            }
        }
        names.sort();
        self.files.retain(|name, _| names.binary_search(name).is_ok());
        names.iter().for_each(|name| self.file(name, Whole::Unknown, found));
        Ok(())
    }

    fn file(&mut self, name: &OsStr, whole: Whole, found: &mut Vec<Found>) {
        if name.as_encoded_bytes().starts_with(b".") {
            return;
        }
        let path = self.path.join(name);
        let (stamp, read) = match open(&path) {
            Ok((file, stamp)) => (stamp, Ok(file)),
            Err(NotRead::Gone) => {
                self.files.remove(name);
                return;
            }
            Err(NotRead::Refused(stamp, why)) => (stamp, Err(why)),
        };
        let before = self.files.get(name).filter(|known| known.stamp == stamp);
        if before.is_some_and(|known| known.read) {
            return;
        }
        let since = before.map_or_else(Instant::now, |known| known.since);
        let settled = since.elapsed() >= Duration::from_millis(DROPPED_SETTLED_MS);
        let read = read.and_then(|file| contents(file).map_err(|error| format!("cannot be read: {error}")));
        // Half of a document is none, so one that is none yet may still become one.
        let waits = whole == Whole::Unknown
            && !settled
            && read.as_ref().is_ok_and(|bytes| DsseEnvelope::parse(bytes).is_err());
        if self.files.len() < DROPPED_FILES_MAX || self.files.contains_key(name) {
            self.files.insert(name.to_owned(), Known { stamp, since, read: !waits });
        }
        if !waits {
            found.push(match read {
                Ok(bytes) => Found::Document { path, bytes },
                Err(why) => Found::Fault { path, why },
            });
        }
    }
}

enum NotRead {
    Gone,
    Refused(Stamp, String),
}

/// Opens a plain file without following a link or waiting for a writer of a pipe.
fn open(path: &Path) -> Result<(File, Stamp), NotRead> {
    let found = std::fs::symlink_metadata(path).map_err(|_| NotRead::Gone)?;
    let refused = |why: String| NotRead::Refused(Stamp::of(&found), why);
    if !found.is_file() {
        return Err(refused("is no plain file: put the file itself there".to_owned()));
    }
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| refused(format!("cannot be opened: {error}")))?;
    let found = file.metadata().map_err(|_| NotRead::Gone)?;
    if !found.is_file() {
        return Err(NotRead::Gone);
    }
    if found.size() > DROPPED_BYTES_MAX as u64 {
        let why = format!("has {} bytes: a document has at most {DROPPED_BYTES_MAX}", found.size());
        return Err(NotRead::Refused(Stamp::of(&found), why));
    }
    Ok((file, Stamp::of(&found)))
}

/// One byte more than the bound says that it grew meanwhile: no parser takes it then.
fn contents(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(DROPPED_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
