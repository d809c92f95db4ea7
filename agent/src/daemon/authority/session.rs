//! What somebody in the car sets for a while, as the authority does it: durable before it is said to be done.

use super::{Change, LocalAuthority, refused};
use crate::control::{AuthorityError, DriverOrder, DriverStatus, InCar};
use crate::daemon::session::{Keep, Kept};
use glovebox_core::consent::category::is_place;
use glovebox_core::consent::effective::{Effective, Explanation};
use glovebox_core::consent::session::{Driver, Hold, HoldStatus, Lasts, Scope, Session, What};
use glovebox_core::names::{DriverId, PurposeId, RecipientId, SignalPath};
use std::collections::BTreeSet;

impl LocalAuthority {
    /// With this file of what is set; it says what was wrong with it.
    #[must_use]
    pub fn with_session(mut self, file: Box<dyn Keep>) -> Self {
        let (kept, doubt) = Kept::of(file, &*self.clock);
        self.complaints.extend(doubt);
        self.session = kept;
        self
    }

    /// What is set now.
    #[must_use]
    pub fn session(&self) -> &Session {
        self.session.session()
    }

    /// The same, for whoever asks in the car.
    #[must_use]
    pub fn held_back(&self) -> Vec<HoldStatus> {
        self.session().status(self.clock.monotonic())
    }

    /// Ends what time ends, and a trip of which it is said whether it goes on. To be called every second or so.
    pub fn pass_session(&mut self, trip: Option<bool>) {
        if self.session.pass(self.clock.monotonic(), trip) {
            tracing::info!(target: "consent", "what was set in the car for a while is over");
        }
    }

    /// What leaves now of what documents allow.
    #[must_use]
    pub fn under_session(&self, effective: Effective) -> Effective {
        effective.under(self.session(), |signal| self.is_location(signal))
    }

    /// Adds to explanations of `signal` what is set.
    pub(super) fn add_session(&self, signal: &SignalPath, explained: &mut [Explanation]) {
        let is_location = self.is_location(signal);
        explained.iter_mut().for_each(|one| self.session().answer(one, is_location));
    }

    fn is_location(&self, signal: &SignalPath) -> bool {
        self.control.policy().is_some_and(|policy| policy.is_location(signal)) || is_place(signal)
    }

    /// A name that nobody has would stop nobody, and be believed to.
    fn known(&self, recipient: &RecipientId) -> Result<(), AuthorityError> {
        let policy = self.control().policy().map(|policy| policy.bundle().payload());
        let listed = policy.into_iter().flat_map(|bundle| &bundle.recipients).map(|known| &known.id);
        let granted = self.control().grants().live().iter();
        let granted = granted.map(|grant| &grant.given().payload().recipient.party_id);
        let known: BTreeSet<&RecipientId> = listed.chain(granted).collect();
        if known.contains(recipient) {
            return Ok(());
        }
        let known: Vec<&str> = known.into_iter().map(RecipientId::as_str).collect();
        let known = if known.is_empty() { "nobody".to_owned() } else { known.join(", ") };
        Err(AuthorityError::Refused(format!(
            "no recipient is called {recipient}; in the policy there is {known}"
        )))
    }

    /// The same of a purpose.
    fn has_purpose(&self, recipient: &RecipientId, purpose: &PurposeId) -> Result<(), AuthorityError> {
        let requests = self.control().policy().map(|policy| policy.requests()).unwrap_or_default();
        let asked = requests.iter().map(|request| request.payload());
        let asked =
            asked.filter(|request| request.recipient == *recipient).map(|request| &request.purpose.id);
        let granted = self.control().grants().live().iter().map(|grant| grant.given().payload());
        let granted = granted.filter(|given| given.recipient.party_id == *recipient);
        let known: BTreeSet<&PurposeId> = asked.chain(granted.map(|given| &given.purpose.id)).collect();
        if known.contains(purpose) {
            return Ok(());
        }
        let known: Vec<&str> = known.into_iter().map(PurposeId::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(AuthorityError::Refused(format!(
            "{recipient} has no purpose called {purpose}; in the policy there is {known}"
        )))
    }

    /// Whose name something is set under.
    fn whose(&self, scope: Scope) -> Result<Option<DriverId>, AuthorityError> {
        let driver = self.session().driver();
        match (scope, driver.id()) {
            (Scope::Car, _) => Ok(None),
            (Scope::Driver, Some(id)) => Ok(Some(id.clone())),
            (Scope::Driver, None) => Err(AuthorityError::Refused(format!(
                "the driver is {driver}: say who drives first, `glovebox driver is ID`"
            ))),
        }
    }

    /// Another driver may want more held back, or less: if it cannot be stored, what any of them wants is.
    fn changed_driver(&mut self, session: Session) -> Result<(), AuthorityError> {
        let mut doubt = self.session().clone();
        doubt.drives(Driver::Unknown);
        let stored = self.widen(session);
        if stored.is_err() {
            self.changes.push(Change::InCar);
            let _ = self.session.narrow(doubt);
        }
        stored
    }

    fn widen(&mut self, session: Session) -> Result<(), AuthorityError> {
        let stored = self.session.widen(session);
        stored.map_err(|error| {
            AuthorityError::Refused(format!("not done, since it cannot be stored: {error}"))
        })?;
        self.changes.push(Change::InCar);
        Ok(())
    }
}

impl InCar for LocalAuthority {
    fn hold(&mut self, what: &What, lasts: Lasts, scope: Scope) -> Result<Vec<HoldStatus>, AuthorityError> {
        if let What::Recipient(recipient) | What::Flow { recipient, .. } = what {
            self.known(recipient)?;
        }
        if let What::Flow { recipient, purpose } = what {
            self.has_purpose(recipient, purpose)?;
        }
        let driver = self.whose(scope)?;
        let mut session = self.session().clone();
        session.pass(self.clock.monotonic());
        let hold = Hold { driver, ..Hold::new(what.clone(), lasts, self.clock.monotonic()) };
        session.hold(hold).map_err(|error| refused(&error))?;
        self.changes.push(Change::InCar);
        let stored = self.session.narrow(session);
        stored.map_err(|error| {
            AuthorityError::Refused(format!(
                "in force, but the next start ends it, since it cannot be stored: {error}"
            ))
        })?;
        Ok(self.held_back())
    }

    fn release(&mut self, what: &What, scope: Scope) -> Result<Vec<HoldStatus>, AuthorityError> {
        let driver = self.whose(scope)?;
        let mut session = self.session().clone();
        if session.end(what, driver.as_ref()) {
            self.widen(session)?;
        }
        Ok(self.held_back())
    }

    fn driver(&mut self, order: &DriverOrder) -> Result<DriverStatus, AuthorityError> {
        let mut session = self.session().clone();
        match order {
            DriverOrder::Ask => {}
            DriverOrder::Guest => session.drives(Driver::Guest),
            DriverOrder::Is(driver) => session.drives(Driver::Is(driver.clone())),
            DriverOrder::Forget(driver) => drop(session.forget(driver)),
        }
        if session != *self.session() {
            self.changed_driver(session)?;
        }
        Ok(DriverStatus { driver: self.session().driver().clone(), holds: self.held_back() })
    }

    fn trip_ended(&mut self) -> Result<Vec<HoldStatus>, AuthorityError> {
        let mut session = self.session().clone();
        if session.trip_ended() {
            self.widen(session)?;
        }
        Ok(self.held_back())
    }
}

#[cfg(test)]
mod tests;
