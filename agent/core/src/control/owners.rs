//! The owner keys: who may widen, by the chain of enrolments that made it so.
//!
//! ```text
//! provisioned: record key, first owner ─▶ enrolment ─▶ enrolment ─▶ …     each names the digest of the one before it
//! ```

use super::Enrolment;
use crate::consent::document::enrolment::{EnrolmentAct, OwnerEnrolment};
use crate::consent::document::{DocumentError, DsseEnvelope, Verified, Verifier, verify};
use crate::limits::{ENROLMENTS_MAX, OWNER_KEYS_MAX};
use crate::names::{Digest, VerifyingKey, WallTime};

/// An enrolled owner key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerKey {
    /// The key.
    pub key: VerifyingKey,
    /// When its enrolment was drafted, and who signed it; none for the first owner.
    pub enrolled: Option<(WallTime, VerifyingKey)>,
}

/// Why an enrolment does not fit to what is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OwnersError {
    /// A recorded old one, or one that another was faster than.
    #[error("`follows`: it does not follow the last enrolment of this car; draft it again")]
    OutOfOrder,
    /// It has this key already.
    #[error("`owner_key`: this key is enrolled already; nothing to do")]
    Enrolled,
    /// There is no such key.
    #[error("`owner_key`: this key is not enrolled; `glovebox owner list` shows which are")]
    NotEnrolled,
    /// Without an owner nobody could ever grant again.
    #[error("`owner_key`: the last owner key cannot be removed; enrol another first, or erase the car")]
    Last,
    /// A key with another office.
    #[error("`owner_key`: this key is the authority's or the car's own, which must not be able to consent")]
    Office,
    /// No more keys.
    #[error("{OWNER_KEYS_MAX} owner keys are enrolled; remove one first")]
    ManyKeys,
    /// No more changes.
    #[error(
        "{ENROLMENTS_MAX} enrolments were made on this car and no more are taken; erase and provision it"
    )]
    ManyEnrolments,
}

/// Who may widen. Changed only by enrolments that a key in it has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    enrolled: Vec<OwnerKey>,
    /// Removed: their consent stays until it is withdrawn, and nothing new that they sign counts.
    former: Vec<VerifyingKey>,
    offices: Vec<VerifyingKey>,
    head: Digest,
    count: usize,
}

impl Owners {
    /// Those with which the car was provisioned.
    pub(super) fn provisioned(enrolment: &Enrolment) -> Self {
        let keys = [enrolment.record_key].into_iter().chain(enrolment.owners.iter().copied());
        let mut text = b"glovebox/v1/owners".to_vec();
        keys.for_each(|key| text.extend_from_slice(&key.0));
        Self {
            enrolled: enrolment.owners.iter().map(|key| OwnerKey { key: *key, enrolled: None }).collect(),
            former: Vec::new(),
            offices: enrolment.root.into_iter().chain([enrolment.record_key]).collect(),
            head: Digest::of(&text),
            count: 0,
        }
    }

    /// Enrolled keys, in the order of their enrolment.
    #[must_use]
    pub fn enrolled(&self) -> &[OwnerKey] {
        &self.enrolled
    }

    /// Whose signature widens.
    #[must_use]
    pub fn keys(&self) -> Vec<VerifyingKey> {
        self.enrolled.iter().map(|owner| owner.key).collect()
    }

    /// Whose signature widened when it was given: for what is stored already.
    pub(super) fn keys_ever(&self) -> Vec<VerifyingKey> {
        self.keys().into_iter().chain(self.former.iter().copied()).collect()
    }

    /// What the next enrolment must name in `follows`.
    #[must_use]
    pub fn head(&self) -> Digest {
        self.head
    }

    /// How many enrolments there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Signature and form. Whether it fits is another question.
    pub(super) fn verified(
        &self,
        bytes: &[u8],
        verifier: &dyn Verifier,
    ) -> Result<Verified<OwnerEnrolment>, DocumentError> {
        verify(&DsseEnvelope::parse(bytes)?, &self.keys(), verifier)
    }

    /// Whether it fits now.
    pub(super) fn weigh(&self, enrolment: &OwnerEnrolment) -> Result<(), OwnersError> {
        if enrolment.follows != self.head {
            return Err(OwnersError::OutOfOrder);
        }
        let key = &enrolment.owner_key;
        let is_enrolled = self.enrolled.iter().any(|owner| owner.key == *key);
        match enrolment.act {
            _ if self.count >= ENROLMENTS_MAX => Err(OwnersError::ManyEnrolments),
            EnrolmentAct::Enrol if is_enrolled => Err(OwnersError::Enrolled),
            EnrolmentAct::Enrol if self.offices.contains(key) => Err(OwnersError::Office),
            EnrolmentAct::Enrol if self.enrolled.len() >= OWNER_KEYS_MAX => Err(OwnersError::ManyKeys),
            EnrolmentAct::Remove if !is_enrolled => Err(OwnersError::NotEnrolled),
            EnrolmentAct::Remove if self.enrolled.len() <= 1 => Err(OwnersError::Last),
            EnrolmentAct::Enrol | EnrolmentAct::Remove => Ok(()),
        }
    }

    /// Puts it in force, if it still fits.
    pub(super) fn apply(&mut self, enrolment: &Verified<OwnerEnrolment>) -> Result<(), OwnersError> {
        let payload = enrolment.payload();
        self.weigh(payload)?;
        let key = payload.owner_key;
        match payload.act {
            EnrolmentAct::Enrol => {
                self.former.retain(|former| *former != key);
                self.enrolled.push(OwnerKey { key, enrolled: Some((payload.issued, enrolment.signer())) });
            }
            EnrolmentAct::Remove => {
                self.enrolled.retain(|owner| owner.key != key);
                self.former.push(key);
            }
        }
        (self.head, self.count) = (enrolment.digest(), self.count + 1);
        Ok(())
    }

    /// An enrolment that was stored cannot be read: it may have been what removed a key, so none of them widens any
    /// more. What they gave before stays.
    pub(super) fn doubt(&mut self) {
        let keys = self.enrolled.drain(..).map(|owner| owner.key);
        self.former.extend(keys);
    }
}
