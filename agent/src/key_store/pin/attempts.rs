//! How many wrong PINs there were in a row, and when the next may be tried: by the time since the start of the machine, so
//! that no setting of a clock shortens the wait. After a restart the wait begins anew.
//!
//! ```text
//! <state>/keys/pin.attempts (0600): "GBPT" ‖ u32 wrong in a row ‖ u64 ms since the start ‖ 16 bytes boot id ‖ 16 bytes check
//!   integers big-endian; check = first 16 bytes of SHA-256 of all before it
//! ```

use super::PinError;
use crate::store::files::{self, FileError, Privacy};
use glovebox_core::limits::{PIN_FREE_TRIES, PIN_TRIES_MAX, PIN_WAIT_MS_MAX, PIN_WAIT_MS_MIN};
use glovebox_core::names::Digest;
use nix::time::{ClockId, clock_gettime};
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"GBPT";
const BYTES: usize = 4 + 4 + 8 + 16 + 16;

/// How long the machine runs, and since which start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uptime {
    /// Milliseconds since the start, time asleep included.
    pub ms: u64,
    /// The kernel's random name of this start; zeros if it does not tell.
    pub boot: [u8; 16],
}

impl Uptime {
    /// Now. A clock that cannot be read counts as just started.
    #[must_use]
    pub fn now() -> Self {
        let elapsed = clock_gettime(ClockId::CLOCK_BOOTTIME).map(std::time::Duration::from);
        let ms = elapsed.map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = uuid::Uuid::try_parse(boot.trim()).map_or([0; 16], uuid::Uuid::into_bytes);
        Self { ms, boot }
    }
}

/// The count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Attempts {
    wrong: u32,
    last: Uptime,
}

impl Attempts {
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join("pin.attempts")
    }

    /// A count that is missing or damaged is as good as used up: one try is left, after the longest wait.
    pub(super) fn read(dir: &Path) -> Result<Self, FileError> {
        let doubt = Self { wrong: PIN_TRIES_MAX - 1, last: Uptime::default() };
        match files::read_bounded(&Self::path(dir), BYTES, Privacy::Secret) {
            Ok(bytes) => Ok(bytes.and_then(|bytes| Self::parse(&bytes)).unwrap_or(doubt)),
            Err(FileError::Large { .. }) => Ok(doubt),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_at_checked(BYTES - 16)?;
        if Digest::of(body).0[..16] != *check {
            return None;
        }
        let (wrong, rest) = body.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (ms, boot) = rest.split_first_chunk()?;
        let last = Uptime { ms: u64::from_be_bytes(*ms), boot: boot.try_into().ok()? };
        Some(Self { wrong: u32::from_be_bytes(*wrong), last })
    }

    /// Durable when it returns.
    pub(super) fn write(&self, dir: &Path) -> Result<(), FileError> {
        let mut bytes =
            [MAGIC, &self.wrong.to_be_bytes(), &self.last.ms.to_be_bytes(), &self.last.boot].concat();
        let check = Digest::of(&bytes);
        bytes.extend_from_slice(&check.0[..16]);
        files::write_atomically(&Self::path(dir), &bytes)
    }

    /// With one more try at `now`, taken for a wrong one until it was right; or why it may not be made.
    pub(super) fn after(&self, now: &Uptime) -> Result<Self, PinError> {
        if self.wrong >= PIN_TRIES_MAX {
            return Err(PinError::Blocked);
        }
        let same = self.last.boot == now.boot && now.ms >= self.last.ms;
        let elapsed = if same { now.ms - self.last.ms } else { now.ms };
        match self.wait_ms().checked_sub(elapsed) {
            None | Some(0) => Ok(Self { wrong: self.wrong + 1, last: now.clone() }),
            Some(left) => Err(PinError::Wait { wait_s: left.div_ceil(1_000) }),
        }
    }

    /// What to say after a wrong one.
    pub(super) fn wrong(&self) -> PinError {
        match PIN_TRIES_MAX.saturating_sub(self.wrong) {
            0 => PinError::Blocked,
            left => PinError::Wrong { wait_s: self.wait_ms().div_ceil(1_000), left },
        }
    }

    /// None at first, then doubled with each.
    fn wait_ms(&self) -> u64 {
        match self.wrong.checked_sub(PIN_FREE_TRIES) {
            None => 0,
            Some(more) => PIN_WAIT_MS_MIN.saturating_mul(1 << more.min(20)).min(PIN_WAIT_MS_MAX),
        }
    }
}
