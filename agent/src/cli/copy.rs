//! The documents of a car in a folder of their own that goes afterwards: opening a store writes to it, and a running daemon
//! holds its own.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// What holds documents: the store, what stands beside it, and which flows have ended; and what is set for a while. No
/// keys.
const WANTED: [&str; 6] = ["policy", "policy.synced", "counters", "tombstones", "enrolments", "session"];

/// A copy that only this process reads.
#[derive(Debug)]
pub(super) struct Copied {
    folder: PathBuf,
}

impl Copied {
    /// Copies them from a state folder.
    ///
    /// # Errors
    /// If they cannot be read, or there is no room.
    pub(super) fn of(state: &Path) -> anyhow::Result<Self> {
        let tag = getrandom::u64().map_err(|_| anyhow::anyhow!("no randomness to be had from the system"))?;
        let folder = std::env::temp_dir().join(format!("glovebox-copy-{tag:016x}"));
        DirBuilder::new().mode(0o700).create(&folder).with_context(|| folder.display().to_string())?;
        let copied = Self { folder };
        for name in WANTED {
            let (from, to) = (state.join(name), copied.folder.join(name));
            if from.exists() {
                copy(&from, &to).with_context(|| format!("{}: cannot be copied", from.display()))?;
            }
        }
        Ok(copied)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // Whatever stays is in a folder that nobody else can enter.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn documents_are_copied_keys_are_not_and_all_goes_afterwards() {
        let state = tempfile::tempdir().unwrap();
        for file in ["policy/db", "policy/blobs/1", "keys/alias", "counters", "outbox/1", "enrolments/1"] {
            let file = state.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        let copied = Copied::of(state.path()).unwrap();
        let path = copied.path().to_owned();
        assert!(path.join("policy/db").is_file() && path.join("policy/blobs/1").is_file());
        assert!(path.join("counters").is_file() && path.join("enrolments/1").is_file());
        assert!(!path.join("keys").exists() && !path.join("outbox").exists());
        drop(copied);
        assert!(!path.exists());
    }
}
