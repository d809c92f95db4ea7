//! Why a document was not taken, and what to do about it.

use super::OwnersError;
use crate::consent::document::{DocumentError, DocumentKind};
use crate::consent::grants::GrantError;
use crate::names::{PolicyVersion, WallTime};

/// Why a document was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not verify.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The same again: harmless.
    #[error("this {kind} is already in force; nothing to do")]
    AlreadyThere {
        /// What it is.
        kind: DocumentKind,
    },
    /// A kind that comes only inside another.
    #[error(
        "a {kind} cannot be installed by itself; install a policy bundle, a consent record or an enrolment"
    )]
    NotInstallable {
        /// What it is.
        kind: DocumentKind,
    },
    /// There is no root key.
    #[error("policy bundle: this car has no authority yet; run `glovebox provision` first")]
    NotProvisioned,
    /// Meant for another car.
    #[error("{kind} at `{field}`: is for another car; have one made for this one")]
    OtherCar {
        /// What it is.
        kind: DocumentKind,
        /// Which field says so.
        field: &'static str,
    },
    /// Older than what was in force.
    #[error("policy bundle at `version`: {} is below {}, which was in force here; take a newer one (`policy new bundle --policy-version`)", .version.0, .counter.0)]
    RolledBack {
        /// Its version.
        version: PolicyVersion,
        /// The counter.
        counter: PolicyVersion,
    },
    /// Another bundle has this version.
    #[error("policy bundle at `version`: another bundle of version {} is in force; raise the version (`policy new bundle --policy-version`)", .version.0)]
    VersionTaken {
        /// Its version.
        version: PolicyVersion,
    },
    /// A step so large that no later bundle could follow.
    #[error("policy bundle at `version`: {} is too large a step, at most {} is taken; count in small steps", .version.0, .max.0)]
    VersionJump {
        /// Its version.
        version: PolicyVersion,
        /// The highest that is taken now.
        max: PolicyVersion,
    },
    /// An older signing key.
    #[error(
        "signing-key statement at `signingKey.serial`: {serial} is below {counter}, which was seen here; sign with the newer key"
    )]
    SigningKeyRolledBack {
        /// Its serial.
        serial: u64,
        /// The counter.
        counter: u64,
    },
    /// A request older than the one in force, or changed without a new version.
    #[error(
        "request at `requests[{index}].version`: {version} does not rise above {counter}, which is in force with other content; raise it (`policy new request --request-version`)"
    )]
    RequestRolledBack {
        /// Its place in the bundle.
        index: usize,
        /// Its version.
        version: u64,
        /// The version in force.
        counter: u64,
    },
    /// The wall time is not trusted.
    #[error("{kind}: the time is in doubt, so its dates cannot be checked; set the clock and try again")]
    TimeInDoubt {
        /// What it is.
        kind: DocumentKind,
    },
    /// Dated in the future.
    #[error("{kind} at `issued`: {from} is in the future by this car's clock; check both clocks")]
    NotYet {
        /// What it is.
        kind: DocumentKind,
        /// Its date.
        from: WallTime,
    },
    /// Its time is over.
    #[error("{kind}: expired at {end}; have a new one made")]
    Expired {
        /// What it is.
        kind: DocumentKind,
        /// When it ended.
        end: WallTime,
    },
    /// The alias secret is not to be had.
    #[error(
        "consent record at `subject_vehicle`: the alias of this car is not to be had, so it cannot be compared; see the key store"
    )]
    NoAlias,
    /// Consent needs a request to be consent to.
    #[error(
        "consent record at `request_digest`: no policy is in force, so there is no request; install a policy bundle first"
    )]
    NoPolicy,
    /// Its request is not in the policy.
    #[error(
        "consent record at `request_digest`: no request of the policy in force has this digest; draft it again"
    )]
    RequestNotInForce,
    /// It says other than what was asked or what the catalogue holds.
    #[error("consent record at `{path}`: {what}; draft it again from the request in force")]
    Differs {
        /// Where.
        path: String,
        /// How.
        what: &'static str,
    },
    /// It does not fit into its chain of records.
    #[error("consent record: {0}")]
    Grant(GrantError),
    /// It does not fit to the owner keys that are enrolled.
    #[error("enrolment at {0}")]
    Owners(#[from] OwnersError),
    /// A stored enrolment.
    #[error(
        "stored enrolment {index} is not used, and as it may have removed a key, no owner key widens any more: {why}; \
         put back the file from a backup, or erase the car and provision it again"
    )]
    StoredEnrolment {
        /// Its place in the order, from 0.
        index: usize,
        /// Why.
        why: Box<Refusal>,
    },
    /// The stored policy.
    #[error("the stored policy is not used: {0}")]
    StoredPolicy(Box<Refusal>),
    /// A stored record.
    #[error("stored consent record {index} is not used, and its flow stops until the owner acts: {why}")]
    StoredRecord {
        /// Its place in the store's order, from 0.
        index: usize,
        /// Why.
        why: Box<Refusal>,
    },
}
