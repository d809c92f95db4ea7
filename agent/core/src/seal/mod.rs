//! A batch becomes a sealed envelope; the cryptography is passed in.

pub use crate::batch::{Loss, LossReason};
use crate::names::{Digest, Epoch, FlowId, HpkeKey, RecipientId, Sequence, VerifyingKey};

/// The cryptography of the car: HPKE (RFC 9180, base mode) and the alias keys. Passed in.
pub trait Sealer {
    /// The alias public key under which `recipient` knows this car.
    ///
    /// # Errors
    /// If the alias secret is not to be had.
    fn alias(&self, recipient: &RecipientId) -> Result<VerifyingKey, SealError>;

    /// HPKE to `key`: the encapsulated key and the ciphertext.
    ///
    /// # Errors
    /// If the key is not a usable point.
    fn encrypt(
        &self,
        key: &HpkeKey,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), SealError>;

    /// Ed25519 by the alias key for `recipient`.
    ///
    /// # Errors
    /// If the alias secret is not to be had.
    fn sign(&self, recipient: &RecipientId, message: &[u8]) -> Result<[u8; 64], SealError>;
}

/// Why something could not be sealed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// The recipient's key cannot be used.
    #[error("the recipient's HPKE key cannot be used")]
    RecipientKey,
    /// There is no alias secret.
    #[error("no alias secret")]
    AliasSecret,
    /// The body could not be compressed or is too large.
    #[error("body of {bytes} bytes cannot be packed")]
    Body {
        /// Its size.
        bytes: usize,
    },
}

/// What kind of message is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Readings.
    Batch,
    /// An act of consent.
    Notice,
}

/// What stands in the clear before a sealed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// SHA-256 over suite and HPKE key.
    pub recipient_key: Digest,
    /// Alias public key; the envelope is signed by it.
    pub alias: VerifyingKey,
    /// Flow.
    pub flow: FlowId,
    /// Stream epoch.
    pub epoch: Epoch,
    /// Number in the epoch.
    pub sequence: Sequence,
    /// Batch or notice.
    pub kind: Kind,
}

/// An encrypted, signed envelope, the only thing that the outbox stores and the uplink sends (invariant 2).
/// Made by sealing a batch, or by [`readmit`]ting bytes that bear this car's own signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    header: Header,
    envelope: Vec<u8>,
}

impl Sealed {
    /// What stands in the clear.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The MQTT payload.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }
}
