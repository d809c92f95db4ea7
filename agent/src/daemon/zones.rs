//! The file of private places, read by the daemon and written by `glovebox zone`. It is in no document, and what stands in
//! it in no log.
//!
//! ```text
//! file `zones` in the state folder, mode 0600: a line for each cell of H3 (resolution 8), sixteen hexadecimal digits
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use glovebox_core::consent::zone::Zones;
use glovebox_core::limits::{ZONES_FILE_BYTES_MAX, ZONES_MAX};

use crate::store::files::{self, FileError, Privacy};

/// Why the private places cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// The system, or others may read the file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something else stands there.
    #[error("{} is not a list of cells: remove it and add the private places anew", .0.display())]
    Malformed(PathBuf),
    /// A bound.
    #[error("{ZONES_MAX} private places are the most: remove one")]
    Full,
}

/// What tells one content of the file from the next.
pub type Stamp = (std::time::SystemTime, u64);

/// The file.
#[derive(Debug, Clone)]
pub struct ZoneFile(PathBuf);

impl ZoneFile {
    /// That of a state folder.
    #[must_use]
    pub fn in_folder(state: &Path) -> Self {
        Self(state.join("zones"))
    }

    /// The cells; none if there is no file.
    ///
    /// # Errors
    /// [`ZoneError`] with the mend.
    pub fn read(&self) -> Result<BTreeSet<u64>, ZoneError> {
        let Some(bytes) = files::read_bounded(&self.0, ZONES_FILE_BYTES_MAX, Privacy::Secret)? else {
            return Ok(BTreeSet::new());
        };
        let cells = std::str::from_utf8(&bytes).ok().and_then(|text| {
            text.lines().map(|line| u64::from_str_radix(line, 16).ok()).collect::<Option<BTreeSet<_>>>()
        });
        let malformed = || ZoneError::Malformed(self.0.clone());
        let cells = cells.filter(|cells| cells.len() <= ZONES_MAX).ok_or_else(malformed)?;
        let known: Vec<u64> = cells.iter().copied().collect();
        Zones::of(&known).ok_or_else(malformed)?;
        Ok(cells)
    }

    /// Replaces them; durable when it returns.
    ///
    /// # Errors
    /// [`ZoneError`].
    pub fn write(&self, cells: &BTreeSet<u64>) -> Result<(), ZoneError> {
        if cells.len() > ZONES_MAX {
            return Err(ZoneError::Full);
        }
        let mut text = String::new();
        for cell in cells {
            // A string takes everything.
            let _ = writeln!(text, "{cell:016x}");
        }
        Ok(files::write_atomically(&self.0, text.as_bytes())?)
    }

    /// For the gate: while they cannot be read, every place is private.
    #[must_use]
    pub fn zones(&self) -> Zones {
        let read = self.read().map(|cells| cells.into_iter().collect::<Vec<u64>>());
        match read {
            Ok(cells) => Zones::of(&cells).unwrap_or_else(Zones::everywhere),
            Err(error) => {
                tracing::error!(target: "consent", "private places cannot be read, so every place is one: {error}");
                Zones::everywhere()
            }
        }
    }

    /// Whether it has changed since this was last asked.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        let found = std::fs::metadata(&self.0).ok()?;
        Some((found.modified().ok()?, std::os::unix::fs::MetadataExt::ino(&found)))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use glovebox_core::consent::transform::Resolution;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_written_is_read_back_by_its_owner_alone_and_doubt_makes_every_place_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = ZoneFile::in_folder(folder.path());
        assert!(file.zones().is_empty() && file.stamp().is_none());
        let cells: BTreeSet<u64> =
            [(52.5, 13.4), (-33.9, 18.4)].map(|(lat, lon)| Resolution::ZONE.cell(lat, lon).unwrap()).into();
        file.write(&cells).unwrap();
        assert_eq!(file.read().unwrap(), cells);
        let known: Vec<u64> = cells.iter().copied().collect();
        assert_eq!(file.zones(), Zones::of(&known).unwrap());
        let path = folder.path().join("zones");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let before = file.stamp();
        file.write(&BTreeSet::new()).unwrap();
        assert_ne!(file.stamp(), before);
        assert!(file.zones().is_empty());
        for bad in ["x\n", "88\n", "871f1d4d2ffffff\n", "\u{7f}"] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(file.read(), Err(ZoneError::Malformed(_))), "{bad:?}");
            assert_eq!(file.zones(), Zones::everywhere());
        }
        file.write(&cells).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(file.zones(), Zones::everywhere(), "others may have read it");
        let many = (0..=ZONES_MAX as u64).collect();
        assert!(matches!(file.write(&many), Err(ZoneError::Full)));
    }
}
