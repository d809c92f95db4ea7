//! A small disk of its own for the state of a car: an ext4 image behind a loop device, which can be cut from its power,
//! filled, and made read-only. Needs root; the mounts are of this test alone and vanish with it.

use crate::need;
use crate::process::succeed;
use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A section of the configuration: the disk is small, and nobody else is on it.
pub const ALL_OF_IT: &str = "[outbox]\nfree_mib = 0\n";
/// What an image is copied by: blocks of zeros are left out.
const BLOCK: usize = 4096;

/// A mounted image. The last state of its block device is what a power cut leaves.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    image: PathBuf,
    images: u64,
}

impl Disk {
    /// Makes an image of so many MiB and mounts it on `folder`/disk.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new(folder: &Path, mib: u32) -> Result<Self> {
        let disk = Self { folder: folder.to_path_buf(), image: folder.join("disk-0.img"), images: 0 };
        std::fs::create_dir_all(disk.path())?;
        succeed(Command::new("truncate").arg("-s").arg(format!("{mib}M")).arg(&disk.image))?;
        let program = need::program("mkfs.ext4").context("mkfs.ext4 is not installed")?;
        succeed(Command::new(program).args(["-q", "-F"]).arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join("disk")
    }

    fn mount(&self) -> Result<()> {
        succeed(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(self.path())).map(|_| ())
    }

    fn unmount(&self) -> Result<()> {
        succeed(Command::new("umount").arg(self.path())).map(|_| ())
    }

    /// Cuts the power while the writers are stopped; `end` ends them, and what the block device held at the cut is
    /// there afterwards. What was only in memory is gone.
    ///
    /// # Errors
    /// If the system refuses, or a writer was not stopped.
    pub fn cut(&mut self, end: impl FnOnce() -> Result<()>) -> Result<()> {
        let held = self.held()?;
        self.images += 1;
        let image = self.folder.join(format!("disk-{}.img", self.images));
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
        succeed(Command::new("mount").args(["-o", option]).arg(self.path())).map(|_| ())
    }

    /// Writes a file until there is no room for a single block.
    ///
    /// # Errors
    /// If it ends otherwise.
    pub fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(self.path().join("fill"))?;
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
        Ok(std::fs::remove_file(self.path().join("fill"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still writes to it keeps it until its end.
        let _gone_already = succeed(Command::new("umount").arg("--lazy").arg(self.path()));
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

/// From here on what this thread mounts is seen by it and by what it starts alone. `None` if it was said that the test
/// is skipped.
///
/// # Errors
/// With `CI` set.
pub fn own_mounts(test: &str) -> Result<Option<()>> {
    if let Some(why) = need::missing(&["mkfs.ext4", "mount", "umount", "truncate"]) {
        return need::skip(test, &why).map(|()| None);
    }
    let none: Option<&str> = None;
    let ours = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none));
    if let Err(error) = ours {
        return need::skip(test, &format!("mounts need root ({error})")).map(|()| None);
    }
    let folder = tempfile::tempdir()?;
    match Disk::new(folder.path(), 2) {
        Ok(_) => Ok(Some(())),
        Err(error) => need::skip(test, &format!("no loop device to be had: {error:#}")).map(|()| None),
    }
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
