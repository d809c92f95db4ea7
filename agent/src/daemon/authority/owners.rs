//! Owner keys: drafts of their enrolments, and which there are.

use super::{LocalAuthority, refused};
use crate::control::{AuthorityError, Draft, EnrolmentOrder, Owner};
use crate::key_store::check_point;
use glovebox_core::consent::document::enrolment::{EnrolmentAct, OwnerEnrolment};
use glovebox_core::consent::document::write;
use glovebox_core::control::OwnerKey;

impl LocalAuthority {
    /// An enrolment for an owner to sign. Its date is for the reader: what decides is its place in the order.
    pub(super) fn drafted_enrolment(&self, order: EnrolmentOrder) -> Result<Draft, AuthorityError> {
        let now = self.now().map_or_else(|| self.clock.now(), |now| now.earliest);
        let enrolment = self
            .control
            .draft_enrolment(order.act, order.owner_key, now)
            .map_err(|error| AuthorityError::Refused(format!("enrolment at {error}")))?;
        usable(&enrolment)?;
        let payload = write(&enrolment).map_err(|error| refused(&error))?;
        Ok(Draft { payload, words: enrolment.describe() })
    }

    /// Enrolled keys, in the order of their enrolment.
    pub(super) fn listed_owners(&self) -> Vec<Owner> {
        self.control.owners().enrolled().iter().map(|owner| self.listed_owner(owner)).collect()
    }

    fn listed_owner(&self, owner: &OwnerKey) -> Owner {
        let live = self.control.grants().live();
        Owner {
            owner_key: owner.key,
            enrolled: owner.enrolled.map(|(at, _)| at),
            enrolled_by: owner.enrolled.map(|(_, by)| by),
            gave: live.iter().filter(|grant| grant.given().signer() == owner.key).count(),
        }
    }
}

/// A key with which nobody or everybody could sign is no owner's: the core has no curve to see it by.
pub(super) fn usable(enrolment: &OwnerEnrolment) -> Result<(), AuthorityError> {
    match enrolment.act {
        EnrolmentAct::Enrol => check_point(&enrolment.owner_key, "owner").map_err(|error| refused(&error)),
        EnrolmentAct::Remove => Ok(()),
    }
}

#[cfg(test)]
mod tests;
