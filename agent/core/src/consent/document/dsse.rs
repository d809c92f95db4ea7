//! DSSE (Dead Simple Signing Envelope, secure-systems-lab/dsse, protocol 1.0): envelope, pre-authentication encoding.

use super::error::{DocumentError, DocumentKind, Fault, join};
use super::{Document, Verified, Verifier, strict};
use crate::limits::SIGNATURES_MAX;
use crate::names::{Digest, VerifyingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// A signed payload as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DsseEnvelope {
    /// Which kind of document it is; signed too.
    pub payload_type: String,
    /// The exact bytes, base64 (RFC 4648, section 4).
    pub payload: String,
    /// At least one.
    pub signatures: Vec<DsseSignature>,
    /// Only beside a bundle: the root's statement on the key that signed it, so that nothing can be mixed and matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<Box<DsseEnvelope>>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DsseSignature {
    /// A hint only; never trusted.
    #[serde(default)]
    pub keyid: String,
    /// Ed25519, base64.
    pub sig: String,
}

/// The bytes that are signed: DSSE's pre-authentication encoding of type and payload.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl DsseEnvelope {
    /// Reads an envelope, strictly: size, depth, duplicate keys, unknown fields. Nothing in it is believed yet.
    ///
    /// # Errors
    /// [`DocumentError`] names the place.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        strict::typed(DocumentKind::Envelope, bytes)
    }

    /// An envelope that still waits for a signature over [`Self::signing_input`].
    #[must_use]
    pub fn unsigned(payload_type: &str, payload: &[u8]) -> Self {
        Self {
            payload_type: payload_type.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: Vec::new(),
            signing_key: None,
        }
    }

    /// Adds a signature. `keyid` is a hint for whoever looks for the key: its hexadecimal digits.
    #[must_use]
    pub fn with_signature(mut self, keyid: &str, signature: &[u8; 64]) -> Self {
        self.signatures.push(DsseSignature { keyid: keyid.to_owned(), sig: STANDARD.encode(signature) });
        self
    }

    /// Adds the root's statement on the signing key: a bundle needs it.
    #[must_use]
    pub fn with_statement(mut self, statement: DsseEnvelope) -> Self {
        self.signing_key = Some(Box::new(statement));
        self
    }

    /// What a signer signs.
    ///
    /// # Errors
    /// If the payload is not base64.
    pub fn signing_input(&self) -> Result<Vec<u8>, DocumentError> {
        Ok(pae(&self.payload_type, &self.payload_bytes()?))
    }

    /// The exact payload. It is believed only once [`verify`] says so.
    ///
    /// # Errors
    /// If it is not base64.
    pub fn payload_bytes(&self) -> Result<Vec<u8>, DocumentError> {
        STANDARD
            .decode(&self.payload)
            .map_err(|_| DocumentError::new(kind_of(&self.payload_type), "payload", Fault::Base64))
    }

    /// The kind that its payload type names; [`DocumentKind::Envelope`] if none of ours. Signing-key and HPKE-key
    /// statements share a type; this says signing key.
    #[must_use]
    pub fn kind(&self) -> DocumentKind {
        kind_of(&self.payload_type)
    }

    /// The file: indented JSON and a line end.
    ///
    /// # Errors
    /// None that an envelope can cause; serde's signature has one.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DocumentError> {
        strict::pretty(DocumentKind::Envelope, self)
    }
}

fn kind_of(payload_type: &str) -> DocumentKind {
    match payload_type {
        super::bundle::POLICY_TYPE => DocumentKind::Bundle,
        super::bundle::KEY_TYPE => DocumentKind::SigningKey,
        super::request::REQUEST_TYPE => DocumentKind::Request,
        super::record::CONSENT_TYPE => DocumentKind::Consent,
        super::enrolment::ENROLMENT_TYPE => DocumentKind::Enrolment,
        _ => DocumentKind::Envelope,
    }
}

/// Type, then signature on the exact bytes by one of `keys` (earlier ones are preferred as the signer), and only
/// then bounds, strict parse and the document's own rules.
///
/// # Errors
/// [`DocumentError`] names the kind, the place and what to do.
pub fn verify<T: Document>(
    envelope: &DsseEnvelope,
    keys: &[VerifyingKey],
    verifier: &dyn Verifier,
) -> Result<Verified<T>, DocumentError> {
    if envelope.signing_key.is_some() && T::KIND != DocumentKind::Bundle {
        return Err(DocumentError::new(T::KIND, "signingKey", Fault::StatementMisplaced));
    }
    verify_beside_statement(envelope, keys, verifier)
}

pub(super) fn verify_beside_statement<T: Document>(
    envelope: &DsseEnvelope,
    keys: &[VerifyingKey],
    verifier: &dyn Verifier,
) -> Result<Verified<T>, DocumentError> {
    let fail = |path: &str, fault| DocumentError::new(T::KIND, path, fault);
    if envelope.payload_type != T::TYPE {
        let found = match envelope.kind() {
            DocumentKind::Envelope => "unknown".to_owned(),
            DocumentKind::SigningKey => "that of a key statement".to_owned(),
            kind => format!("that of a {kind}"),
        };
        return Err(fail("payloadType", Fault::PayloadType { found, wanted: T::TYPE }));
    }
    let payload = STANDARD.decode(&envelope.payload).map_err(|_| fail("payload", Fault::Base64))?;
    let signatures = signatures(envelope).map_err(|(path, fault)| fail(&path, fault))?;
    let message = pae(T::TYPE, &payload);
    let fits = |key: &&VerifyingKey| signatures.iter().any(|s| verifier.verify(key, &message, s));
    let Some(signer) = keys.iter().find(fits).copied() else {
        return Err(fail("signatures", Fault::Signature { by: T::SIGNED_BY }));
    };
    let digest = Digest::of(&payload);
    Ok(Verified { payload: strict::read(&payload)?, digest, signer })
}

fn signatures(envelope: &DsseEnvelope) -> Result<Vec<[u8; 64]>, (String, Fault)> {
    let count = envelope.signatures.len();
    if count == 0 || count > SIGNATURES_MAX {
        return Err(("signatures".to_owned(), Fault::Count { count, min: 1, max: SIGNATURES_MAX }));
    }
    let read = |(index, signature): (usize, &DsseSignature)| {
        let place = || join("signatures", &format!("[{index}].sig"));
        let bytes = STANDARD.decode(&signature.sig).map_err(|_| (place(), Fault::Base64))?;
        let length = bytes.len();
        bytes.try_into().map_err(|_| (place(), Fault::SignatureLength { bytes: length }))
    };
    envelope.signatures.iter().enumerate().map(read).collect()
}
