//! The file beside the store of documents: what must not fall when the store is lost or restored.
//!
//! ```text
//! glovebox counters 1
//! policy_version 7
//! signing_serial 2
//! time_mark_us 1795312800000000
//! records_from 0
//! records 5
//! chain <SHA-256 over the records, hexadecimal>
//! check <SHA-256 of the lines above, hexadecimal>
//! ```

use super::link;
use crate::store::files::{self, FileError, Privacy};
use glovebox_core::control::Counters;
use glovebox_core::limits::KEY_FILE_BYTES_MAX;
use glovebox_core::names::{Digest, PolicyVersion, WallTime};
use std::path::{Path, PathBuf};

const HEAD: &str = "glovebox counters 1";

/// Why the file could not be read.
#[derive(Debug)]
pub(super) enum CountersError {
    /// The system.
    File(FileError),
    /// Its check does not fit, or a line is missing.
    Damaged,
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Beside {
    pub(super) counters: Counters,
    pub(super) mark: WallTime,
    pub(super) records: Chain,
}

/// Which records count: `count` of them from number `from`, and a hash over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) from: u64,
    pub(super) count: u64,
    head: Digest,
}

impl Default for Chain {
    fn default() -> Self {
        Self::starting(0)
    }
}

impl Chain {
    /// No record yet; the next one has this number.
    pub(super) fn starting(from: u64) -> Self {
        Self { from, count: 0, head: Digest([0; 32]) }
    }

    pub(super) fn append(&mut self, record: &[u8]) {
        self.head = link(self.head, record);
        self.count += 1;
    }

    /// Whether `found` begins with the records that were counted; takes up those behind them (a power cut came between
    /// the store and this file).
    pub(super) fn continues(&mut self, found: &[Vec<u8>]) -> bool {
        let Some((counted, more)) =
            usize::try_from(self.count).ok().and_then(|count| found.split_at_checked(count))
        else {
            return false;
        };
        let mut chain = Self::starting(self.from);
        counted.iter().for_each(|record| chain.append(record));
        if chain != *self {
            return false;
        }
        more.iter().for_each(|record| self.append(record));
        true
    }
}

impl Beside {
    /// Reads the file; `None` if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, CountersError> {
        let bytes = files::read_bounded(path, KEY_FILE_BYTES_MAX, Privacy::Public);
        match bytes.map_err(CountersError::File)? {
            None => Ok(None),
            Some(bytes) => {
                std::str::from_utf8(&bytes).ok().and_then(Self::parse).map(Some).ok_or(CountersError::Damaged)
            }
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), FileError> {
        files::write_atomically(path, self.text().as_bytes())
    }

    /// Moves a damaged file out of the way; returns where it is.
    pub(super) fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
        let aside = files::with_suffix(path, ".corrupt");
        std::fs::rename(path, &aside).map_err(files::io_error("set aside", path))?;
        Ok(aside)
    }

    fn text(&self) -> String {
        let Self { counters, mark, records } = self;
        let body = format!(
            "{HEAD}\npolicy_version {}\nsigning_serial {}\ntime_mark_us {}\nrecords_from {}\nrecords {}\nchain {}\n",
            counters.policy_version.0,
            counters.signing_serial,
            mark.0,
            records.from,
            records.count,
            records.head
        );
        let check = Digest::of(body.as_bytes());
        format!("{body}check {check}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let (body, check) = text.split_at_checked(text.find("check ")?)?;
        if check.strip_prefix("check ")?.trim_end() != Digest::of(body.as_bytes()).to_string() {
            return None;
        }
        let mut lines = body.lines();
        if lines.next()? != HEAD {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        Some(Self {
            counters: Counters {
                policy_version: PolicyVersion(field("policy_version")?.parse().ok()?),
                signing_serial: field("signing_serial")?.parse().ok()?,
            },
            mark: WallTime(field("time_mark_us")?.parse().ok()?),
            records: Chain {
                from: field("records_from")?.parse().ok()?,
                count: field("records")?.parse().ok()?,
                head: field("chain")?.parse().ok()?,
            },
        })
    }
}
