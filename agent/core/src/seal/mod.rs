//! A batch becomes a sealed envelope; the cryptography is passed in.

mod notice;

pub use crate::batch::{Loss, LossReason};
pub use crate::wire::{Header, Kind};
pub use notice::{Erasure, SealedNotice};

use crate::batch::Batch;
use crate::limits::{DESCRIPTOR_EVERY_BATCHES, ENVELOPE_BYTES_MAX};
use crate::names::{Digest, Epoch, FlowId, HpkeKey, RecipientId, Sequence, VerifyingKey};
use crate::wire::{self, Descriptor, Verifier};
use glovebox_proto::{body, envelope};
use std::collections::HashMap;

/// By which a recipient's key is named on the wire: SHA-256 over suite and public key.
#[must_use]
pub fn key_id(key: &HpkeKey) -> Digest {
    Digest(envelope::key_id(&key.0))
}

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

/// Why stored bytes were not let back in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadmitError {
    /// Longer than any envelope of ours.
    #[error("{bytes} bytes are more than an envelope has")]
    Size {
        /// Their number.
        bytes: usize,
    },
    /// Not an envelope of this format version.
    #[error("not an envelope")]
    Form,
    /// Not signed by the alias that it names, or that alias is not this car's.
    #[error("not signed by this car")]
    Signature,
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

    /// The MQTT payload, taken out.
    #[must_use]
    pub fn into_envelope(self) -> Vec<u8> {
        self.envelope
    }

    /// SHA-256 of the envelope, for the ledger.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.envelope)
    }
}

/// Seals batches, and knows which descriptors the recipients have.
pub struct Sealing {
    packer: body::Packer,
    described: HashMap<FlowId, Described>,
}

struct Described {
    descriptor: Descriptor,
    /// Batches since it travelled; `None`: it has to travel with the next one.
    since: Option<u32>,
}

impl Sealing {
    /// Nothing is described yet.
    ///
    /// # Errors
    /// If the compressor cannot be set up.
    pub fn new() -> Result<Self, SealError> {
        let packer = body::Packer::new(body::LEVEL).map_err(|_| SealError::Body { bytes: 0 })?;
        Ok(Self { packer, described: HashMap::new() })
    }

    /// The next batch of every flow carries its descriptor: after a reconnect, or when batches were lost.
    pub fn describe_again(&mut self) {
        for described in self.described.values_mut() {
            described.since = None;
        }
    }

    /// Forgets a flow that has ended.
    pub fn forget(&mut self, flow: FlowId) {
        self.described.remove(&flow);
    }

    /// Encodes, compresses, pads, encrypts and signs.
    ///
    /// # Errors
    /// [`SealError`]: the batch is lost then, and the caller declares it.
    pub fn seal(
        &mut self,
        batch: Batch,
        place: (Epoch, Sequence),
        losses: &[Loss],
        sealer: &dyn Sealer,
    ) -> Result<Sealed, SealError> {
        let rules = batch.rules().clone();
        let descriptor = Descriptor::of(&rules);
        let carried = self.is_due(rules.flow, &descriptor);
        let message = wire::encode_batch(batch, &descriptor, carried, losses);
        let body = self.packer.pack(&message).map_err(|_| SealError::Body { bytes: message.len() })?;
        let header = Header {
            recipient_key: key_id(&rules.hpke_key),
            alias: sealer.alias(&rules.recipient)?,
            flow: rules.flow,
            epoch: place.0,
            sequence: place.1,
            kind: Kind::Batch,
        };
        let sealed = enclose(header, &rules.recipient, &rules.hpke_key, &body, sealer)?;
        let since = if carried { Some(0) } else { self.since(rules.flow).map(|n| n + 1) };
        self.described.insert(rules.flow, Described { descriptor, since });
        Ok(sealed)
    }

    fn since(&self, flow: FlowId) -> Option<u32> {
        self.described.get(&flow).and_then(|described| described.since)
    }

    fn is_due(&self, flow: FlowId, descriptor: &Descriptor) -> bool {
        let known = self.described.get(&flow).is_some_and(|d| d.descriptor.digest() == descriptor.digest());
        !known || self.since(flow).is_none_or(|since| since + 1 >= DESCRIPTOR_EVERY_BATCHES)
    }
}

fn enclose(
    header: Header,
    recipient: &RecipientId,
    key: &HpkeKey,
    body: &[u8],
    sealer: &dyn Sealer,
) -> Result<Sealed, SealError> {
    let aad = wire::encode_header(&header);
    let info = envelope::hpke_info(recipient.as_str(), &header.recipient_key.0);
    let (encapsulated_key, ciphertext) = sealer.encrypt(key, &info, &aad, body)?;
    let signature = sealer.sign(recipient, &envelope::signed_bytes(&aad, &encapsulated_key, &ciphertext))?;
    let envelope = wire::encode_envelope(aad, encapsulated_key, ciphertext, &signature);
    if envelope.len() > ENVELOPE_BYTES_MAX {
        return Err(SealError::Body { bytes: body.len() });
    }
    Ok(Sealed { header, envelope })
}

/// Lets stored bytes back in if they are an envelope signed by the alias that they name. Whether that alias is this
/// car's, and the place the right one, the caller compares with what it asked for.
///
/// # Errors
/// [`ReadmitError`]: the record is lost, and the caller declares it.
pub fn readmit(bytes: Vec<u8>, verifier: &dyn Verifier) -> Result<Sealed, ReadmitError> {
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(ReadmitError::Size { bytes: bytes.len() });
    }
    let parts = wire::decode_envelope(&bytes).ok_or(ReadmitError::Form)?;
    let signed = envelope::signed_bytes(&parts.header_bytes, &parts.encapsulated_key, &parts.ciphertext);
    let signature = parts.signature.as_slice().try_into().map_err(|_| ReadmitError::Signature)?;
    if !verifier.verify(&parts.header.alias, &signed, signature) {
        return Err(ReadmitError::Signature);
    }
    Ok(Sealed { header: parts.header, envelope: bytes })
}
