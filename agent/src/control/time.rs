//! What is known of the time, as commands ask for it.

use super::AuthorityError;
use glovebox_core::names::WallTime;
use serde::{Deserialize, Serialize};

/// What is known of the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// What the system's clock says.
    pub now: WallTime,
    /// Whether the system says that it is synchronised.
    pub synchronised: bool,
    /// It was at least this late before.
    pub mark: WallTime,
    /// Whether the clock is believed; if not, nothing leaves.
    pub trusted: bool,
    /// It is at least so late, if it is believed.
    pub earliest: Option<WallTime>,
    /// It is at most so late, if it is believed.
    pub latest: Option<WallTime>,
}

/// What somebody in the car may do about the clock, and nobody outside.
pub trait TrustsClock {
    /// What is known of the time.
    ///
    /// # Errors
    /// If the daemon cannot be asked.
    fn clock(&mut self) -> Result<ClockStatus, AuthorityError>;

    /// Believes the clock though it was later before: it was far ahead then, and is right now.
    ///
    /// # Errors
    /// If the clock is before the release or before the policy in force, or it cannot be stored.
    fn trust_clock(&mut self) -> Result<ClockStatus, AuthorityError>;
}
