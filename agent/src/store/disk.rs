//! What the outbox asks of a disk, so that a test can put another one in its place: one that fills up, fails, or
//! forgets at a power cut what was not synced.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{FileError, io_error};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must be there; only read.
    Read,
    /// It must be there; only written.
    Write,
    /// Read and written; made (mode 0600) if it is not there.
    Create,
    /// Only written; made (mode 0600), and an error if it is there.
    New,
}

/// Files and folders. Names are durable after [`Disk::sync_folder`] of the folder they are in.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a folder and what is above it (mode 0700), if it is not there.
    ///
    /// # Errors
    /// The system's.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in any order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// There is a folder of that name.
    fn is_folder(&self, path: &Path) -> bool;

    /// Unlinks a file.
    ///
    /// # Errors
    /// The system's; also if it is not there.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// The system's.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Bytes that may still be written where `path` is.
    ///
    /// # Errors
    /// The system's.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync {
    /// Reads as many bytes as `out` has.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes`; durable after [`DiskFile::sync`].
    ///
    /// # Errors
    /// The system's: then any part of it may be written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file, or makes it longer by zeroes.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes content and length durable.
    ///
    /// # Errors
    /// The system's: then what was not yet durable may be forgotten.
    fn sync(&self) -> io::Result<()>;

    /// Makes content and length durable, and forgets what is in memory of it: what is read next comes from the medium. A
    /// sync that failed has perhaps forgotten what it could not write, and still shows it to whoever reads; a later one
    /// succeeds. Where the system cannot forget, this is [`DiskFile::sync`].
    ///
    /// # Errors
    /// The system's.
    fn sync_and_forget(&self) -> io::Result<()>;

    /// Reserves space up to `bytes` behind the end: appending then changes less of the file system's own records.
    /// Cut off again by [`DiskFile::set_len`]. Only a hint, so that a disk may do nothing.
    ///
    /// # Errors
    /// The system's.
    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// Length, and space that it takes, in bytes.
    ///
    /// # Errors
    /// The system's.
    fn size(&self) -> io::Result<Size>;
}

/// How large a file is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Its length.
    pub length: u64,
    /// What it takes of the disk, in whole blocks.
    pub allocated: u64,
}

/// The disk of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match how {
            // Else each reading of what was just written makes the file system write when it was read.
            Open::Read => options.read(true).custom_flags(nix::fcntl::OFlag::O_NOATIME.bits()),
            Open::Write => options.write(true),
            Open::Create => options.read(true).write(true).create(true).truncate(false).mode(0o600),
            Open::New => options.write(true).create_new(true).mode(0o600),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        path.parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .map_or(Ok(()), |it| self.sync_folder(it))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = nix::sys::statvfs::statvfs(path)?;
        Ok(found.blocks_available().saturating_mul(found.fragment_size()))
    }
}

impl DiskFile for File {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, out, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn sync_and_forget(&self) -> io::Result<()> {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        self.sync_data()?;
        // Only a hint: some file systems have no other place.
        let _ = posix_fadvise(self, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        use nix::fcntl::{FallocateFlags, fallocate};
        let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
        Ok(fallocate(self, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes)?)
    }

    fn size(&self) -> io::Result<Size> {
        let found = self.metadata()?;
        Ok(Size { length: found.len(), allocated: found.blocks().saturating_mul(512) })
    }
}

/// A folder on a disk.
#[derive(Debug, Clone)]
pub struct Place {
    /// Which disk.
    pub disk: Arc<dyn Disk>,
    /// Where on it.
    pub path: PathBuf,
}

impl Place {
    /// A folder on the disk of the system.
    #[must_use]
    pub fn system(path: PathBuf) -> Self {
        Self { disk: Arc::new(SystemDisk), path }
    }

    /// A folder in this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self { disk: Arc::clone(&self.disk), path: self.path.join(name) }
    }

    /// Opens a file in it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(&self, name: &str, how: Open) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(&self.path.join(name), how)
    }

    /// Removes a file in it; it may be gone already.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, name: impl AsRef<Path>) -> Result<(), FileError> {
        let path = self.path.join(name);
        match self.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// It is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.disk.is_folder(&self.path)
    }

    /// Makes it, if it is not there.
    ///
    /// # Errors
    /// The system's.
    pub fn create(&self) -> Result<(), FileError> {
        self.disk.create_folder(&self.path).map_err(io_error("create the folder", &self.path))
    }

    /// Makes the names in it durable.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> Result<(), FileError> {
        self.disk.sync_folder(&self.path).map_err(io_error("sync the folder", &self.path))
    }

    /// The names in it.
    ///
    /// # Errors
    /// The system's.
    pub fn list(&self) -> Result<Vec<OsString>, FileError> {
        self.disk.list(&self.path).map_err(io_error("read the folder", &self.path))
    }
}
