//! DSSE (Dead Simple Signing Envelope, secure-systems-lab/dsse, protocol 1.0): envelope, pre-authentication encoding.

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
