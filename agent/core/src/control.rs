//! Routes documents and commands; the ratchet; a refusal has its reason.
//!
//! ```text
//! bytes ─ examine ─▶ Accepted ─ (the caller stores the bytes durably) ─ adopt ─▶ policy, grants, owner keys
//!             └────▶ Refusal
//! ```

mod draft;
mod owners;
mod refusal;
mod scope;

use crate::consent::document::{
    ConsentAct, DocumentKind, DsseEnvelope, Policy, Verified, Verifier, bundle::Target, enrolment, record,
    verify_record,
};
use crate::consent::grants::{Effect, GrantError, Grants};
use crate::limits::{ISSUED_AHEAD_US_MAX, POLICY_STEP_VERSIONS_MAX};
use crate::names::{
    DeviceId, Digest, FlowId, PolicyVersion, RecipientId, TrustedTime, VerifyingKey, WallTime,
};
use std::collections::BTreeSet;

pub use draft::{DraftError, Stamp, Wish};
pub use owners::{OwnerKey, Owners, OwnersError};
pub use refusal::Refusal;

/// The alias public key and the principal id under which a recipient knows this car; `None` if the alias secret is not
/// to be had.
pub type Aliases<'a> = &'a dyn Fn(&RecipientId) -> Option<(VerifyingKey, Digest)>;

/// Who this car listens to from the first. Set by `glovebox provision`, never by a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The car, as bundles name it.
    pub device: DeviceId,
    /// Groups that it is configured into.
    pub groups: Vec<DeviceId>,
    /// The authority's root key, if there is one yet.
    pub root: Option<VerifyingKey>,
    /// Keys that may widen from the first; enrolments change that.
    pub owners: Vec<VerifyingKey>,
    /// The car's own key for what is narrowed at a touch.
    pub record_key: VerifyingKey,
}

/// What only rises, also across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Version of the newest bundle ever in force.
    pub policy_version: PolicyVersion,
    /// Serial of the newest signing key ever seen.
    pub signing_serial: u64,
}

/// What the stores held at the start.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The bundle in force.
    pub policy: Option<Vec<u8>>,
    /// The counters.
    pub floor: Counters,
    /// Enrolments in the order in which they were stored.
    pub enrolments: Vec<Vec<u8>>,
    /// Consent records in the order in which they were stored.
    pub records: Vec<Vec<u8>>,
    /// Flows that were ended for good.
    pub tombstones: BTreeSet<FlowId>,
}

/// A document that may be adopted once it is stored. Made by [`Control::examine`].
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// A policy that replaces the one in force.
    Policy(Box<Policy>),
    /// A consent record.
    Record {
        /// The record.
        act: Box<ConsentAct>,
        /// The flow it is about; none for a refusal.
        flow: Option<FlowId>,
        /// What it does to that flow.
        effect: Effect,
    },
    /// An owner key comes or goes.
    Enrolment(Box<Verified<enrolment::OwnerEnrolment>>),
}

/// The policy in force, the owner's grants and the owners' keys. The one door for documents.
///
/// **The ratchet.** A policy replaces a policy and nothing else: no function here lets a bundle reach `grants`, and
/// `grants` takes only [`ConsentAct`]s, of which those that widen are made only where an owner's signature was
/// checked. So a bundle cannot make a grant, widen one, or bring one back, whatever it holds (invariant 4). What may
/// leave is the meet of both, made elsewhere.
#[derive(Debug, Clone)]
pub struct Control {
    enrolment: Enrolment,
    owners: Owners,
    policy: Option<Policy>,
    grants: Grants,
    counters: Counters,
}

impl Control {
    /// Builds everything anew from what was stored: each document is verified again. A policy that does not verify
    /// leaves none. A record that does not is left out, and the flow that it was about stops until the owner acts: it
    /// may have been what narrowed it.
    #[must_use]
    pub fn restore(
        enrolment: Enrolment,
        stored: Stored,
        aliases: Aliases<'_>,
        verifier: &dyn Verifier,
    ) -> (Self, Vec<Refusal>) {
        let grants = Grants::new(stored.tombstones);
        let owners = Owners::provisioned(&enrolment);
        let mut control = Self { enrolment, owners, policy: None, grants, counters: stored.floor };
        let mut refusals = Vec::new();
        refusals.extend(control.restore_enrolments(&stored.enrolments, verifier));
        if let Some(bytes) = stored.policy {
            match control.restored_policy(&bytes, verifier) {
                Ok(policy) => control.put(policy),
                Err(refusal) => refusals.push(Refusal::StoredPolicy(Box::new(refusal))),
            }
        }
        for (index, bytes) in stored.records.iter().enumerate() {
            let Err(refusal) = control.restore_record(bytes, aliases, verifier) else { continue };
            let again = matches!(refusal, Refusal::AlreadyThere { .. });
            if let (false, Some((recipient, purpose))) = (again, record::claimed_flow(bytes)) {
                control.grants.doubt(&recipient, &purpose);
            }
            refusals.push(Refusal::StoredRecord { index, why: Box::new(refusal) });
        }
        (control, refusals)
    }

    /// Up to the first that does not verify: those behind it may rest on it.
    fn restore_enrolments(&mut self, stored: &[Vec<u8>], verifier: &dyn Verifier) -> Option<Refusal> {
        for (index, bytes) in stored.iter().enumerate() {
            let verified = self.owners.verified(bytes, verifier).map_err(Refusal::from);
            let outcome = verified.and_then(|enrolment| Ok(self.owners.apply(&enrolment)?));
            if let Err(why) = outcome {
                self.owners.doubt();
                return Some(Refusal::StoredEnrolment { index, why: Box::new(why) });
            }
        }
        None
    }

    fn restored_policy(&self, bytes: &[u8], verifier: &dyn Verifier) -> Result<Policy, Refusal> {
        let policy = self.verified_policy(bytes, verifier)?;
        let (version, counter) = (policy.bundle().payload().version, self.counters.policy_version);
        if version < counter {
            return Err(Refusal::RolledBack { version, counter });
        }
        Ok(policy)
    }

    fn restore_record(
        &mut self,
        bytes: &[u8],
        aliases: Aliases<'_>,
        verifier: &dyn Verifier,
    ) -> Result<(), Refusal> {
        let act = self.verified_record(bytes, &self.owners.keys_ever(), verifier)?;
        if let ConsentAct::Widening(widening) = &act {
            scope::for_this_car(widening.record().payload(), aliases)?;
        }
        self.grants.replay(act)?;
        Ok(())
    }

    /// Whether a document that came in may be adopted: kind, signature, target, version, time, and for what widens
    /// also that it stays within the request that it names. Changes nothing. What narrows needs neither time nor
    /// policy.
    ///
    /// # Errors
    /// [`Refusal`] is the reason; [`Refusal::AlreadyThere`] is harmless.
    pub fn examine(
        &self,
        bytes: &[u8],
        now: Option<TrustedTime>,
        aliases: Aliases<'_>,
        verifier: &dyn Verifier,
    ) -> Result<Accepted, Refusal> {
        match DsseEnvelope::parse(bytes)?.kind() {
            DocumentKind::Bundle => self.examine_policy(bytes, now, verifier),
            DocumentKind::Consent => self.examine_record(bytes, now, aliases, verifier),
            DocumentKind::Enrolment => self.examine_enrolment(bytes, now, verifier),
            kind => Err(Refusal::NotInstallable { kind }),
        }
    }

    fn examine_policy(
        &self,
        bytes: &[u8],
        now: Option<TrustedTime>,
        verifier: &dyn Verifier,
    ) -> Result<Accepted, Refusal> {
        let policy = self.verified_policy(bytes, verifier)?;
        self.fits_counters(&policy)?;
        let kind = DocumentKind::Bundle;
        let now = now.ok_or(Refusal::TimeInDoubt { kind })?;
        let (bundle, key) = (policy.bundle().payload(), policy.signing().payload());
        if bundle.issued.0 > now.latest.0.saturating_add(ISSUED_AHEAD_US_MAX) {
            return Err(Refusal::NotYet { kind, from: bundle.issued });
        }
        unexpired(kind, bundle.expires, now)?;
        unexpired(DocumentKind::SigningKey, key.not_after, now)?;
        Ok(Accepted::Policy(Box::new(policy)))
    }

    fn examine_record(
        &self,
        bytes: &[u8],
        now: Option<TrustedTime>,
        aliases: Aliases<'_>,
        verifier: &dyn Verifier,
    ) -> Result<Accepted, Refusal> {
        let act = self.verified_record(bytes, &self.owners.keys(), verifier)?;
        let outcome = self.grants.weigh(&act)?;
        match &act {
            ConsentAct::Widening(widening) => self.may_widen(widening.record(), now, aliases)?,
            // If the alias is not to be had, it narrows all the same.
            ConsentAct::Narrowing(narrowing) => {
                let record = narrowing.record().payload();
                match scope::for_this_car(record, aliases) {
                    Ok(()) | Err(Refusal::NoAlias) => {}
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        Ok(Accepted::Record { act: Box::new(act), flow: outcome.flow, effect: outcome.effect })
    }

    /// A removal needs no time: it takes away.
    fn examine_enrolment(
        &self,
        bytes: &[u8],
        now: Option<TrustedTime>,
        verifier: &dyn Verifier,
    ) -> Result<Accepted, Refusal> {
        let kind = DocumentKind::Enrolment;
        let verified = self.owners.verified(bytes, verifier)?;
        let enrolment = verified.payload();
        if enrolment.device != self.enrolment.device {
            return Err(Refusal::OtherCar { kind, field: "device" });
        }
        if self.owners.head() == verified.digest() {
            return Err(Refusal::AlreadyThere { kind });
        }
        self.owners.weigh(enrolment)?;
        if enrolment.act == enrolment::EnrolmentAct::Enrol {
            let now = now.ok_or(Refusal::TimeInDoubt { kind })?;
            unexpired(kind, enrolment.not_after, now)?;
        }
        Ok(Accepted::Enrolment(Box::new(verified)))
    }

    fn may_widen(
        &self,
        record: &Verified<record::ConsentRecord>,
        now: Option<TrustedTime>,
        aliases: Aliases<'_>,
    ) -> Result<(), Refusal> {
        let kind = DocumentKind::Consent;
        let record = record.payload();
        scope::for_this_car(record, aliases)?;
        let now = now.ok_or(Refusal::TimeInDoubt { kind })?;
        unexpired(kind, record.not_after, now)?;
        scope::within_request(record, self.policy.as_ref().ok_or(Refusal::NoPolicy)?)
    }

    fn verified_policy(&self, bytes: &[u8], verifier: &dyn Verifier) -> Result<Policy, Refusal> {
        let root = self.enrolment.root.ok_or(Refusal::NotProvisioned)?;
        let policy = Policy::verify(bytes, &root, verifier)?;
        let meant = match &policy.bundle().payload().target {
            Target::Vehicle(device) => *device == self.enrolment.device,
            Target::Group(group) => self.enrolment.groups.contains(group),
        };
        if !meant {
            return Err(Refusal::OtherCar { kind: DocumentKind::Bundle, field: "target" });
        }
        let (serial, counter) = (policy.signing().payload().serial, self.counters.signing_serial);
        if serial < counter {
            return Err(Refusal::SigningKeyRolledBack { serial, counter });
        }
        Ok(policy)
    }

    fn verified_record(
        &self,
        bytes: &[u8],
        owners: &[VerifyingKey],
        verifier: &dyn Verifier,
    ) -> Result<ConsentAct, Refusal> {
        Ok(verify_record(bytes, owners, &self.enrolment.record_key, verifier)?)
    }

    /// Version strictly above the counter, but not by a huge step. With no policy in force (it was lost) the version
    /// last seen may come again, or the car would be deaf until the next one.
    fn fits_counters(&self, policy: &Policy) -> Result<(), Refusal> {
        let (version, counter) = (policy.bundle().payload().version, self.counters.policy_version);
        if version < counter {
            return Err(Refusal::RolledBack { version, counter });
        }
        let max = PolicyVersion(counter.0.saturating_add(POLICY_STEP_VERSIONS_MAX));
        if version > max {
            return Err(Refusal::VersionJump { version, max });
        }
        let Some(current) = &self.policy else { return Ok(()) };
        if version == counter {
            let same = current.bundle().digest() == policy.bundle().digest();
            let kind = DocumentKind::Bundle;
            return Err(if same {
                Refusal::AlreadyThere { kind }
            } else {
                Refusal::VersionTaken { version }
            });
        }
        requests_rise(current, policy)
    }

    /// Puts an accepted document in force. To be called only after its bytes (and [`Self::counters_after`], and the
    /// tombstone of a flow that ends) are stored durably.
    ///
    /// # Errors
    /// [`Refusal`] if something else was adopted since it was examined and it does not fit any more.
    pub fn adopt(&mut self, accepted: Accepted) -> Result<(), Refusal> {
        match accepted {
            Accepted::Policy(policy) => {
                self.fits_counters(&policy)?;
                self.put(*policy);
            }
            Accepted::Record { act, .. } => {
                self.grants.apply(*act)?;
            }
            Accepted::Enrolment(enrolment) => self.owners.apply(&enrolment)?,
        }
        Ok(())
    }

    fn put(&mut self, policy: Policy) {
        self.counters = raised(self.counters, &policy);
        self.policy = Some(policy);
    }

    /// Ends a flow without a record: the tombstone alone, which is stored first. Always works.
    pub fn bury(&mut self, flow: FlowId) {
        self.grants.bury(flow);
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// All records, and the flows that are live by them.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Every consent record that was accepted, in its order.
    pub fn records(&self) -> impl Iterator<Item = &Verified<record::ConsentRecord>> {
        self.grants.history().map(|listed| listed.record)
    }

    /// What only rises.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The counters once `accepted` is in force: to be stored with it.
    #[must_use]
    pub fn counters_after(&self, accepted: &Accepted) -> Counters {
        match accepted {
            Accepted::Policy(policy) => raised(self.counters, policy),
            Accepted::Record { .. } | Accepted::Enrolment(_) => self.counters,
        }
    }

    /// Who may widen.
    #[must_use]
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Who this car listens to from the first.
    #[must_use]
    pub fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }
}

fn raised(counters: Counters, policy: &Policy) -> Counters {
    Counters {
        policy_version: counters.policy_version.max(policy.bundle().payload().version),
        signing_serial: counters.signing_serial.max(policy.signing().payload().serial),
    }
}

fn unexpired(kind: DocumentKind, end: WallTime, now: TrustedTime) -> Result<(), Refusal> {
    if now.latest < end { Ok(()) } else { Err(Refusal::Expired { kind, end }) }
}

/// The version of a request only rises; other content under the same version is another request in its clothes.
fn requests_rise(current: &Policy, new: &Policy) -> Result<(), Refusal> {
    for (index, request) in new.requests().iter().enumerate() {
        let asked = request.payload();
        let same = |old: &&Verified<_>| same_name(old.payload(), asked);
        let Some(old) = current.requests().iter().find(same) else { continue };
        let (version, counter) = (asked.version, old.payload().version);
        if version < counter || (version == counter && old.digest() != request.digest()) {
            return Err(Refusal::RequestRolledBack { index, version, counter });
        }
    }
    Ok(())
}

fn same_name(
    a: &crate::consent::document::request::Request,
    b: &crate::consent::document::request::Request,
) -> bool {
    a.recipient == b.recipient && a.id == b.id
}

impl From<GrantError> for Refusal {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::AlreadyThere => Self::AlreadyThere { kind: DocumentKind::Consent },
            error => Self::Grant(error),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests;
