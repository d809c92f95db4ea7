//! HPKE, alias keys, signatures: the cryptography that the core is given.
//!
//! Alias key: seed = HKDF-SHA-256(salt = "glovebox/v1/alias-seed", ikm = alias secret,
//! info = lp(recipient id) ‖ lp(owner epoch, u32 BE)), used as an RFC 8032 seed.
//! Principal id: HMAC-SHA-256(alias secret, lp("glovebox/v1/principal") ‖ lp(recipient id)).

use aws_lc_rs::{hkdf, hmac};
use ed25519_dalek::{Signer as _, SigningKey};
use glovebox_core::consent::document::Verifier;
use glovebox_core::limits::RECIPIENTS_MAX;
use glovebox_core::names::{Digest, HpkeKey, RecipientId, VerifyingKey};
use glovebox_core::seal::{SealError, Sealer};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE;
use rustls::crypto::hpke::{Hpke as _, HpkePublicKey};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

const SEED_SALT: &[u8] = b"glovebox/v1/alias-seed";
const PRINCIPAL_LABEL: &[u8] = b"glovebox/v1/principal";

/// The car's cryptography: HPKE to recipients, and one alias key per recipient, all from one secret.
pub struct CarSealer {
    secret: Zeroizing<[u8; 32]>,
    epoch: u32,
    /// Deriving is cheap but not free, and a batch asks twice. Keys wipe themselves when dropped.
    aliases: Mutex<HashMap<RecipientId, Arc<SigningKey>>>,
}

/// Nothing of the secret, whoever prints it.
impl fmt::Debug for CarSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarSealer").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl CarSealer {
    /// A sealer for the alias secret of this owner epoch.
    #[must_use]
    pub fn new(secret: Zeroizing<[u8; 32]>, epoch: u32) -> Self {
        Self { secret, epoch, aliases: Mutex::new(HashMap::new()) }
    }

    /// `pii_principal_id`: the same for one recipient, telling nothing to another.
    #[must_use]
    pub fn principal(&self, recipient: &RecipientId) -> Digest {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_slice());
        let message = [lp(PRINCIPAL_LABEL), lp(recipient.as_str().as_bytes())].concat();
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&key, &message).as_ref());
        Digest(digest)
    }

    fn alias_key(&self, recipient: &RecipientId) -> Result<Arc<SigningKey>, SealError> {
        let mut aliases = self.aliases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = aliases.get(recipient) {
            return Ok(Arc::clone(key));
        }
        let info = [lp(recipient.as_str().as_bytes()), lp(&self.epoch.to_be_bytes())].concat();
        let mut seed = Zeroizing::new([0; 32]);
        hkdf_sha256(SEED_SALT, self.secret.as_slice(), &info, seed.as_mut_slice())
            .map_err(|_| SealError::AliasSecret)?;
        let key = Arc::new(SigningKey::from_bytes(&seed));
        if aliases.len() < RECIPIENTS_MAX {
            aliases.insert(recipient.clone(), Arc::clone(&key));
        }
        Ok(key)
    }
}

impl Sealer for CarSealer {
    fn alias(&self, recipient: &RecipientId) -> Result<VerifyingKey, SealError> {
        Ok(VerifyingKey(self.alias_key(recipient)?.verifying_key().to_bytes()))
    }

    fn encrypt(
        &self,
        key: &HpkeKey,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), SealError> {
        // A point of low order makes the shared secret zero; the library then refuses (RFC 9180, section 7.1.4).
        let (encapsulated, ciphertext) = SUITE
            .seal(info, aad, plaintext, &HpkePublicKey(key.0.to_vec()))
            .map_err(|_| SealError::RecipientKey)?;
        Ok((encapsulated.0, ciphertext))
    }

    fn sign(&self, recipient: &RecipientId, message: &[u8]) -> Result<[u8; 64], SealError> {
        Ok(self.alias_key(recipient)?.sign(message).to_bytes())
    }
}

/// Whether anything can be sealed to this key: a point of low order cannot.
#[must_use]
pub fn usable_hpke_key(key: &HpkeKey) -> bool {
    SUITE.setup_sealer(b"", &HpkePublicKey(key.0.to_vec())).is_ok()
}

/// Ed25519 as strictly as it goes: no small-order key or `R`, no second encoding of a signature.
#[derive(Debug, Clone, Copy, Default)]
pub struct StrictVerifier;

impl Verifier for StrictVerifier {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
        ed25519_dalek::VerifyingKey::from_bytes(&key.0)
            .and_then(|key| key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)))
            .is_ok()
    }
}

/// Length as u32 big-endian, then the bytes. All that comes here is a label, an id or four bytes.
fn lp(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA-256 (RFC 5869) into `out`.
fn hkdf_sha256(
    salt: &[u8],
    secret: &[u8],
    info: &[u8],
    out: &mut [u8],
) -> Result<(), aws_lc_rs::error::Unspecified> {
    let key = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    key.expand(&[info], Length(out.len()))?.fill(out)
}

#[cfg(test)]
mod tests;
