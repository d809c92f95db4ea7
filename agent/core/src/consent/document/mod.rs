//! The signed documents: JSON in a DSSE envelope. The only user of `serde_json` in the consent stage.
//! Size and depth are bounded and the signature is checked on the bytes before they are parsed.

pub mod bundle;
pub mod dsse;
pub mod record;
pub mod request;

use crate::names::{Digest, VerifyingKey};

/// Checks an Ed25519 signature strictly (RFC 8032; small-order keys and non-canonical encodings refused). Passed in.
pub trait Verifier {
    /// Whether `signature` over `message` was made by the holder of `key`.
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool;
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
