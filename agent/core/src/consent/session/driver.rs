//! Who drives, so that what one driver wants held back is held back while that driver drives and no longer. A service of
//! the head unit that knows its own profiles says it; nobody outside hears of it.

use crate::names::DriverId;
use std::fmt;

/// Who drives now.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// Nobody said it since the machine was started: what any driver wants held back is held back.
    #[default]
    Unknown,
    /// None of those who have a name here.
    Guest,
    /// This one.
    Is(DriverId),
}

impl Driver {
    /// Whether what `of` wants held back is held back now.
    pub(super) fn may_be(&self, of: &DriverId) -> bool {
        match self {
            Self::Unknown => true,
            Self::Guest => false,
            Self::Is(driver) => driver == of,
        }
    }

    /// Their name.
    #[must_use]
    pub fn id(&self) -> Option<&DriverId> {
        match self {
            Self::Is(driver) => Some(driver),
            Self::Unknown | Self::Guest => None,
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not known"),
            Self::Guest => f.write_str("a guest"),
            Self::Is(driver) => write!(f, "{driver}"),
        }
    }
}

/// For whose driving something is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Whoever drives.
    #[default]
    Car,
    /// Only while the one drives who does now.
    Driver,
}
