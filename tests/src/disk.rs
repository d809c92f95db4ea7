//! A small disk of its own for the state of a car: an ext4 image behind a loop device, which can be cut from its power,
//! filled, made read-only, and asked how much was written to it. Needs root.

use crate::need;
use crate::process::succeed;
use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{major, minor};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A section of the configuration: the disk is small, and nobody else is on it.
pub const ALL_OF_IT: &str = "[outbox]\nfree_mib = 0\n";
/// Of the file system, as on the flash of a car; blocks of zeros are left out where an image is copied.
const BLOCK: usize = 4096;
/// Of the block layer, whatever the device (Documentation/block/stat.rst).
const SECTOR_BYTES: u64 = 512;
/// What shows whether there can be one at all.
const PROBE_MIB: u64 = 2;

/// A mounted image. The last state of its block device is what a power cut leaves.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    point: PathBuf,
    cuts: u64,
}

impl Disk {
    /// Why there can be none here; `None` if there can.
    #[must_use]
    pub fn missing() -> Option<String> {
        need::missing(&["mkfs.ext4", "mount", "umount", "sync"]).or_else(|| {
            let probe = || {
                let folder = tempfile::tempdir()?;
                Self::ext4(&folder.path().join("image"), &folder.path().join("disk"), PROBE_MIB).map(drop)
            };
            probe().err().map(|error| format!("no loop device to be had, which needs root: {error:#}"))
        })
    }

    /// Makes one of so many MiB in the file `image` and mounts it at `point`, with mode 0700.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn ext4(image: &Path, point: &Path, mib: u64) -> Result<Self> {
        let disk = Self { image: image.to_path_buf(), point: point.to_path_buf(), cuts: 0 };
        std::fs::create_dir_all(point)?;
        std::fs::File::create(image)?.set_len(mib << 20)?;
        let program = need::program("mkfs.ext4").context("mkfs.ext4 is not installed")?;
        let block = BLOCK.to_string();
        // All is written at once, so that nothing of it is counted later.
        let whole = ["-E", "lazy_itable_init=0,lazy_journal_init=0"];
        succeed(Command::new(program).args(["-q", "-F", "-b", &block, "-m", "0"]).args(whole).arg(image))?;
        disk.mount()?;
        std::fs::set_permissions(point, std::fs::Permissions::from_mode(0o700))?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.point
    }

    fn mount(&self) -> Result<()> {
        succeed(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.point)).map(|_| ())
    }

    fn unmount(&self) -> Result<()> {
        succeed(Command::new("umount").arg(&self.point)).map(|_| ())
    }

    /// Cuts the power while the writers are stopped; `end` ends them, and what the block device held at the cut is
    /// there afterwards. What was only in memory is gone.
    ///
    /// # Errors
    /// If the system refuses, or a writer was not stopped.
    pub fn cut(&mut self, end: impl FnOnce() -> Result<()>) -> Result<()> {
        let held = self.held()?;
        self.cuts += 1;
        let image = self.image.with_extension(format!("cut-{}", self.cuts));
        write_sparse(&image, &held)?;
        end()?;
        self.unmount()?;
        std::fs::remove_file(std::mem::replace(&mut self.image, image))?;
        self.mount()
    }

    /// What the block device holds. The kernel may be writing back, so it is read until two readings are equal.
    fn held(&self) -> Result<Vec<u8>> {
        let mut last = std::fs::read(&self.image)?;
        for _ in 0..50 {
            let again = std::fs::read(&self.image)?;
            if again == last {
                return Ok(again);
            }
            last = again;
        }
        anyhow::bail!("{} does not come to rest: is the writer stopped?", self.image.display())
    }

    /// Mounts it read-only, or writable again; no file may be open for writing.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn read_only(&self, read_only: bool) -> Result<()> {
        let option = if read_only { "remount,ro" } else { "remount,rw" };
        succeed(Command::new("mount").args(["-o", option]).arg(&self.point)).map(|_| ())
    }

    /// Writes a file until there is no room for a single block.
    ///
    /// # Errors
    /// If it ends otherwise.
    pub fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(self.filler())?;
        for size in [64 * BLOCK, BLOCK] {
            let block = vec![1; size];
            let error = loop {
                if let Err(error) = file.write_all(&block).and_then(|()| file.sync_all()) {
                    break error;
                }
            };
            ensure!(error.kind() == std::io::ErrorKind::StorageFull, "filling the disk: {error}");
        }
        Ok(())
    }

    /// Removes what [`Self::fill`] wrote.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.point.join("fill")
    }

    /// Bytes that its device was told to write so far, also by whoever had it before: a difference says what a time
    /// cost. All that is still in memory is written first.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn written(&self) -> Result<u64> {
        succeed(Command::new("sync").arg("--file-system").arg(&self.point))?;
        let device = self.point.metadata()?.dev();
        let stat = format!("/sys/dev/block/{}:{}/stat", major(device), minor(device));
        let stat = std::fs::read_to_string(&stat).with_context(|| stat)?;
        // The seventh: sectors written.
        let sectors: u64 = stat.split_whitespace().nth(6).context("no seventh figure")?.parse()?;
        Ok(sectors * SECTOR_BYTES)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still writes to it keeps it until its end.
        let _gone_already = self
            .unmount()
            .or_else(|_| succeed(Command::new("umount").arg("--lazy").arg(&self.point)).map(|_| ()));
    }
}

fn write_sparse(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    for (number, block) in
        bytes.chunks(BLOCK).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0))
    {
        file.seek(SeekFrom::Start((number * BLOCK) as u64))?;
        file.write_all(block)?;
    }
    Ok(file.set_len(bytes.len() as u64)?)
}

/// From here on what this thread mounts is seen by it and by what it starts alone, and vanishes with them. `None` if it was
/// said that the test is skipped.
///
/// # Errors
/// With `CI` set.
pub fn own_mounts(test: &str) -> Result<Option<()>> {
    let none: Option<&str> = None;
    let ours = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none));
    let why = match ours {
        Ok(()) => Disk::missing(),
        Err(error) => Some(format!("mounts need root ({error})")),
    };
    why.map_or(Ok(Some(())), |why| need::skip(test, &why).map(|()| None))
}

/// A folder for images: in memory where there is one, so that a cut costs no disk.
///
/// # Errors
/// If it cannot be made.
pub fn images() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("gb-");
    Ok(if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }?)
}
