//! The enrolment: an owner's word on who else may widen, or may no more. Each names the one before it, so that a recorded
//! one cannot be played again.

use super::check::{before, schema};
use super::{Complaint, Document, DocumentKind};
use crate::names::{DeviceId, Digest, VerifyingKey, WallTime};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Payload type of an enrolment.
pub const ENROLMENT_TYPE: &str = "application/vnd.glovebox.enrolment+json";

/// One owner key in or out, on one car, at one place in the order of enrolments. Signed by a key that is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerEnrolment {
    /// 1.
    pub schema_version: u32,
    /// Which car.
    pub device: DeviceId,
    /// SHA-256 of the payload of the enrolment before it; the first one names what the car was provisioned with, which
    /// has a fresh random key in it. So it fits one car, once, in one place.
    pub follows: Digest,
    /// In or out.
    pub act: EnrolmentAct,
    /// Ed25519 public key that it is about.
    pub owner_key: VerifyingKey,
    /// When it was drafted.
    pub issued: WallTime,
    /// A key that was not enrolled until then is not any more; a removal has no end.
    pub not_after: WallTime,
}

/// What becomes of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrolmentAct {
    /// From here on what it signs widens.
    Enrol,
    /// From here on it does not. What it signed before stays until it is withdrawn.
    Remove,
}

impl Document for OwnerEnrolment {
    const KIND: DocumentKind = DocumentKind::Enrolment;
    const TYPE: &'static str = ENROLMENT_TYPE;
    const SIGNED_BY: &'static str = "an owner key that is enrolled on this car";

    fn check(&self) -> Result<(), Complaint> {
        schema(self.schema_version)?;
        before(self.issued, self.not_after, "not_after", "must be later than `issued`")
    }
}

impl OwnerEnrolment {
    /// What it says, for whoever is to sign it.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let (key, device) = (&self.owner_key, &self.device);
        // Writing to a String cannot fail.
        let _ = match self.act {
            EnrolmentAct::Enrol => writeln!(
                text,
                "Enrol an owner key on the car {device}: {key}\n  Whoever holds it can let data leave, enrol other keys \
                 and remove them, yours too.\n  To be installed until {}",
                self.not_after
            ),
            EnrolmentAct::Remove => writeln!(
                text,
                "Remove an owner key from the car {device}: {key}\n  What it signs from then on lets nothing leave. \
                 Consent that it gave before stays until it is withdrawn."
            ),
        };
        text
    }
}
