//! The signed documents: JSON in a DSSE envelope. The only user of `serde_json` in the consent stage.
//! Size and depth are bounded and the signature is checked on the bytes before they are parsed.
//!
//! ```text
//! bytes ─ DsseEnvelope::parse ─▶ envelope ─ verify ─▶ Verified<T>
//!                                    ├─ Policy::verify   statement by root, bundle by that key, all in it ─▶ Policy
//!                                    ├─ verify_record    owner or record key ─▶ ConsentAct::{Widening, Narrowing}
//!                                    └─ verify           owner ─▶ Verified<OwnerEnrolment>
//! ```

pub mod bundle;
mod check;
mod describe;
pub mod dsse;
pub mod enrolment;
mod error;
pub mod event;
pub mod policy;
pub mod record;
pub mod request;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may fail loudly")]
pub(crate) mod samples;
mod strict;
#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests;

use crate::names::{Digest, VerifyingKey};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use check::Complaint;
pub use describe::{describe, describe_in, never_leave};
pub use dsse::{DsseEnvelope, pae, verify};
pub use error::{DocumentError, DocumentKind, Fault};
pub use policy::Policy;
pub use record::{ConsentAct, verify_record};
pub use strict::{read, write};

/// Checks an Ed25519 signature strictly (RFC 8032; small-order keys and non-canonical encodings refused). Passed in.
pub trait Verifier {
    /// Whether `signature` over `message` was made by the holder of `key`.
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool;
}

/// One kind of signed document.
pub trait Document: DeserializeOwned + Serialize {
    /// What it is called in errors.
    const KIND: DocumentKind;
    /// Its payload type; a document of another type is never taken for it.
    const TYPE: &'static str;
    /// Whose signature it needs, in words for an error.
    const SIGNED_BY: &'static str;

    /// The rules that its type cannot say: counts, dates, what must not be empty or listed twice.
    ///
    /// # Errors
    /// The first rule that does not hold, and where.
    fn check(&self) -> Result<(), Complaint>;
}

/// A document whose signature was checked on its bytes before they were parsed. Made only in this module.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified<T> {
    payload: T,
    digest: Digest,
    signer: VerifyingKey,
}

impl<T> Verified<T> {
    /// What was signed.
    #[must_use]
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// SHA-256 of the payload bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The key that signed it.
    #[must_use]
    pub fn signer(&self) -> VerifyingKey {
        self.signer
    }
}
