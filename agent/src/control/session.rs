//! What is set in the car for a while, as commands ask for it and the daemon answers.

use super::AuthorityError;
use glovebox_core::consent::session::{Driver, HoldStatus, Lasts, Scope, What};
use glovebox_core::names::DriverId;
use serde::{Deserialize, Serialize};

/// Who drives, as somebody in the car says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverOrder {
    /// Who does?
    Ask,
    /// Nobody who has a name here.
    Guest,
    /// This one.
    Is(DriverId),
    /// What was set for this one is let go.
    Forget(DriverId),
}

/// Who drives, and what is held back then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverStatus {
    /// Who.
    pub driver: Driver,
    /// What.
    pub holds: Vec<HoldStatus>,
}

/// What anybody in the car may do, without a key or a login, and nobody outside: hold back for a while, and let go what
/// was held back so. Each answers what is set from then on; what is answered is durable and in force.
pub trait InCar {
    /// Holds `what` back, for whoever drives or for the one who does now.
    ///
    /// # Errors
    /// If there is no room for more, it cannot be stored, or nobody is said to drive.
    fn hold(&mut self, what: &What, lasts: Lasts, scope: Scope) -> Result<Vec<HoldStatus>, AuthorityError>;

    /// Lets go what was held back under exactly this name; nothing if it was not.
    ///
    /// # Errors
    /// If it cannot be stored; then it stays held back.
    fn release(&mut self, what: &What, scope: Scope) -> Result<Vec<HoldStatus>, AuthorityError>;

    /// Somebody else drives, or what was set for somebody is let go.
    ///
    /// # Errors
    /// If it cannot be stored; then what any driver has set is held back.
    fn driver(&mut self, order: &DriverOrder) -> Result<DriverStatus, AuthorityError>;

    /// Lets go all that was held back for this trip.
    ///
    /// # Errors
    /// If it cannot be stored; then it stays held back.
    fn trip_ended(&mut self) -> Result<Vec<HoldStatus>, AuthorityError>;
}
