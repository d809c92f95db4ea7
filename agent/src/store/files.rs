//! Small files that are there whole or not at all: temporary file, fsync, rename, fsync of the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::disk::{Disk as _, SystemDisk};

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system's own words.
    #[error("{}: cannot {act}: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is one already.
    #[error("{} exists and is not overwritten: choose another name or remove it", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// Others could read or change what must be ours alone.
    #[error("{} can be {by_others} by others (mode {mode:04o}): run `chmod {mend} {}`", path.display(), path.display())]
    Open {
        /// Which file or folder.
        path: PathBuf,
        /// What others could do with it.
        by_others: &'static str,
        /// Its mode.
        mode: u32,
        /// The mode that is asked for.
        mend: &'static str,
    },
    /// Larger than anything that belongs there.
    #[error("{} has more than {max} bytes", path.display())]
    Large {
        /// Which.
        path: PathBuf,
        /// The bound.
        max: usize,
    },
}

/// Who besides the agent may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Nobody may read it (mode 0600).
    Secret,
    /// Others may read but not change it.
    Public,
    /// Whatever its mode.
    Any,
}

/// Puts a failure of the system in words with its place.
pub fn io_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Io { act, path: path.to_owned(), source }
}

/// Makes `dir` (and what is above it) for the agent alone, mode 0700; what exists keeps its mode.
///
/// # Errors
/// If it cannot be made.
pub fn create_folder(dir: &Path) -> Result<(), FileError> {
    SystemDisk.create_folder(dir).map_err(io_error("create the folder", dir))
}

/// Refuses a folder that others can look into or write to.
///
/// # Errors
/// [`FileError::Open`] with the mend.
pub fn check_folder(dir: &Path) -> Result<(), FileError> {
    let mode = fs::metadata(dir).map_err(io_error("look at", dir))?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(FileError::Open { path: dir.to_owned(), by_others: "entered", mode, mend: "700" })
}

/// Makes the names in `dir` durable.
///
/// # Errors
/// If the system refuses.
pub fn sync_folder(dir: &Path) -> Result<(), FileError> {
    SystemDisk.sync_folder(dir).map_err(io_error("sync the folder", dir))
}

/// Writes `bytes` to `path` (mode 0600) so that after a power cut the old or the new content is there; durable when
/// it returns.
///
/// # Errors
/// If the system refuses.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = with_suffix(path, ".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io_error("create", &temporary))?;
    // A left-over of a power cut keeps its mode when it is opened again.
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", &temporary))?;
    fs::rename(&temporary, path).map_err(io_error("rename the new file to", path))?;
    sync_folder(folder_of(path))
}

/// Writes `bytes` to a file that must not exist yet; durable when it returns.
///
/// # Errors
/// [`FileError::Exists`], or the system's words.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|source| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                FileError::Exists { path: path.to_owned() }
            } else {
                FileError::Io { act: "create", path: path.to_owned(), source }
            }
        })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error("write", path))?;
    sync_folder(folder_of(path))
}

/// Writes zeros over a file and removes it; durable when it returns. Nothing if there is none. A flash may keep the old
/// block all the same until it is used again.
///
/// # Errors
/// If the system refuses.
pub fn destroy(path: &Path) -> Result<(), FileError> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    let length = file.metadata().map_err(io_error("look at", path))?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)
        .and_then(|_| file.sync_all())
        .map_err(io_error("write over", path))?;
    fs::remove_file(path).map_err(io_error("remove", path))?;
    sync_folder(folder_of(path))
}

/// Reads at most `max` bytes of a file, after a look at its mode; `None` if there is no such file.
///
/// # Errors
/// If others can read (or change) it, if it is larger, or the system refuses.
pub fn read_bounded(path: &Path, max: usize, privacy: Privacy) -> Result<Option<Vec<u8>>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    let mode = file.metadata().map_err(io_error("look at", path))?.permissions().mode() & 0o7777;
    let (forbidden, by_others, mend) = match privacy {
        Privacy::Secret => (0o077, "read", "600"),
        Privacy::Public => (0o022, "changed", "go-w"),
        Privacy::Any => (0, "", ""),
    };
    if mode & forbidden != 0 {
        return Err(FileError::Open { path: path.to_owned(), by_others, mode, mend });
    }
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(bound).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() > max {
        return Err(FileError::Large { path: path.to_owned(), max });
    }
    Ok(Some(bytes))
}

/// The folder a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// `path` with `suffix` behind its name.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
