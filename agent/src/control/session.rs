//! What is set in the car for a while, as commands ask for it and the daemon answers.

use super::AuthorityError;
use glovebox_core::consent::session::{HoldStatus, Lasts, What};

/// What anybody in the car may do, without a key or a login, and nobody outside: hold back for a while, and let go what
/// was held back so. Each answers what is set from then on; what is answered is durable and in force.
pub trait InCar {
    /// Holds `what` back.
    ///
    /// # Errors
    /// If there is no room for more, or it cannot be stored.
    fn hold(&mut self, what: &What, lasts: Lasts) -> Result<Vec<HoldStatus>, AuthorityError>;

    /// Lets go what was held back under exactly this name; nothing if it was not.
    ///
    /// # Errors
    /// If it cannot be stored; then it stays held back.
    fn release(&mut self, what: &What) -> Result<Vec<HoldStatus>, AuthorityError>;

    /// Lets go all that was held back for this trip.
    ///
    /// # Errors
    /// If it cannot be stored; then it stays held back.
    fn trip_ended(&mut self) -> Result<Vec<HoldStatus>, AuthorityError>;
}
