//! A disk that fails when it is told to: full, broken while it syncs.

use std::ffi::OsString;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};

use super::*;
use crate::store::disk::{Disk, DiskFile, Open, Size, SystemDisk};

pub(super) const EIO: i32 = 5;
pub(super) const ENOSPC: i32 = 28;
pub(super) const EROFS: i32 = 30;

/// What goes wrong from now on, as numbers of the system's errors; 0 is nothing.
#[derive(Debug, Default)]
pub(super) struct Faults {
    write: AtomicI32,
    sync: AtomicI32,
    size: AtomicI32,
    late: AtomicI32,
    /// Bytes that the files may still grow by; what is removed comes back.
    space: Mutex<Option<u64>>,
}

impl Faults {
    pub(super) fn writes_fail(&self, errno: i32) {
        self.write.store(errno, Ordering::Relaxed);
    }

    /// Of a segment all is written, and then it fails, and is not cut off again.
    pub(super) fn writes_fail_late(&self, errno: i32) {
        self.late.store(errno, Ordering::Relaxed);
    }

    /// Nothing is known of a file's size.
    pub(super) fn sizes_fail(&self, errno: i32) {
        self.size.store(errno, Ordering::Relaxed);
    }

    pub(super) fn has_space(&self, bytes: Option<u64>) {
        *self.space.lock().unwrap() = bytes;
    }

    pub(super) fn space_left(&self) -> u64 {
        self.space.lock().unwrap().unwrap_or(u64::MAX)
    }

    fn take(&self, bytes: u64) -> io::Result<()> {
        let mut space = self.space.lock().unwrap();
        if let Some(left) = space.as_mut() {
            let full = || io::Error::from_raw_os_error(ENOSPC);
            *left = left.checked_sub(bytes).ok_or_else(full)?;
        }
        Ok(())
    }

    fn give(&self, bytes: u64) {
        if let Some(left) = self.space.lock().unwrap().as_mut() {
            *left += bytes;
        }
    }

    /// A sync that fails forgets what was written since the last one.
    pub(super) fn syncs_fail(&self, errno: i32) {
        self.sync.store(errno, Ordering::Relaxed);
    }
}

fn check(fault: &AtomicI32) -> io::Result<()> {
    match fault.load(Ordering::Relaxed) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// The system's disk with `Faults`.
#[derive(Debug, Clone, Default)]
pub(super) struct FaultyDisk(pub(super) Arc<Faults>);

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    faults: Arc<Faults>,
    synced: Mutex<u64>,
    segment: bool,
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        if how == Open::New {
            check(&self.0.write)?;
        }
        let file = SystemDisk.open(path, how)?;
        let synced = Mutex::new(file.size()?.length);
        let segment = path.extension().is_some_and(|it| it == "seg");
        Ok(Box::new(FaultyFile { file, faults: Arc::clone(&self.0), synced, segment }))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        check(&self.0.sync)?;
        SystemDisk.sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        SystemDisk.list(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        SystemDisk.is_folder(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let length = path.metadata().map_or(0, |found| found.len());
        SystemDisk.remove_file(path)?;
        self.0.give(length);
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove_folder(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let space = *self.0.space.lock().unwrap();
        space.map_or_else(|| SystemDisk.free_bytes(path), Ok)
    }
}

impl FaultyFile {
    fn late(&self) -> io::Result<()> {
        if self.segment { check(&self.faults.late) } else { Ok(()) }
    }
}

impl DiskFile for FaultyFile {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    /// What fails has written half. A full disk lets what is there be overwritten.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let length = self.file.size()?.length;
        let grows = offset + bytes.len() as u64 > length;
        if let Err(error) = check(&self.faults.write)
            && (grows || error.raw_os_error() != Some(ENOSPC))
        {
            self.file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        self.faults.take((offset + bytes.len() as u64).saturating_sub(length))?;
        self.file.write_all_at(bytes, offset)?;
        self.late()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.late()?;
        self.file.set_len(bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.file.reserve(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap();
        if let Err(error) = check(&self.faults.sync) {
            self.file.set_len(*synced)?;
            return Err(error);
        }
        self.file.sync()?;
        *synced = self.file.size()?.length;
        Ok(())
    }

    /// Only what is written later fails: what a start that was cut off leaves behind is looked at first.
    fn sync_and_forget(&self) -> io::Result<()> {
        self.file.sync_and_forget()
    }

    fn size(&self) -> io::Result<Size> {
        check(&self.faults.size)?;
        self.file.size()
    }
}
