//! From an MQTT payload to a batch: bounds, header, topic, signature, seal, padding, message, in that order.

use ed25519_dalek::{Signature, VerifyingKey};
use glovebox_proto::body::{self, UnpackError};
use glovebox_proto::{envelope, v1};
use prost::Message as _;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as HPKE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _};

use crate::keys::HpkeKey;
use crate::scan;

const RECIPIENT_BYTES_MAX: usize = 64;
const DIGEST_BYTES: usize = 32;

/// Why an envelope was not opened. It holds no values and no signal names.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not read at all.
    #[error("envelope of {bytes} bytes, at most {} are read", envelope::ENVELOPE_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The bytes are not the message, or not in its one canonical encoding.
    #[error("{what} is not a well-formed message of this format: {why}")]
    Malformed {
        /// Envelope, header, batch or notice.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A field of fixed length has another.
    #[error("{field} has {bytes} bytes, must have {expected}")]
    Length {
        /// The field.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The right length.
        expected: usize,
    },
    /// Another version of the format.
    #[error("format version {version}, this reader knows {}: update it", envelope::FORMAT_VERSION)]
    Version {
        /// The version in the header.
        version: u32,
    },
    /// Another suite.
    #[error("suite {suite}, this reader knows 1: update it")]
    Suite {
        /// The suite in the header.
        suite: i32,
    },
    /// Neither batch nor notice.
    #[error("kind {kind}, this reader knows 1 (batch) and 2 (notice): update it")]
    Kind {
        /// The kind in the header.
        kind: i32,
    },
    /// The topic says something else than the header.
    #[error("topic `{topic}` does not fit: {why}")]
    Topic {
        /// The topic it came on.
        topic: String,
        /// What does not fit.
        why: String,
    },
    /// The alias key is not a key, or did not sign these bytes.
    #[error("signature does not verify by the alias key {alias}: forged or changed on the way")]
    Signature {
        /// The alias public key.
        alias: String,
    },
    /// Sealed to a key that was not given.
    #[error("sealed to key {key_id}, not among the {known} given: give that private key as well")]
    UnknownKey {
        /// The key id in the header.
        key_id: String,
        /// How many keys are there.
        known: usize,
    },
    /// HPKE does not open it.
    #[error("the seal does not open with key {key_id}: sealed for another recipient id than `{recipient}`")]
    Seal {
        /// The key id in the header.
        key_id: String,
        /// The recipient id of this reader.
        recipient: String,
    },
    /// The opened body is wrong.
    #[error("body: {0}")]
    Body(#[from] UnpackError),
    /// The descriptor that came along is not the one that the batch names.
    #[error("the descriptor does not have the digest that the batch names")]
    Descriptor,
}

/// Why there is no opener for a recipient id.
#[derive(Debug, thiserror::Error)]
pub enum RecipientError {
    /// Not an id.
    #[error("recipient id `{id}` must have 1 to {RECIPIENT_BYTES_MAX} of a to z, digits, `-`, `_`, `.`")]
    Characters {
        /// The id.
        id: String,
    },
    /// The name of the agents' own topics.
    #[error("recipient id `device` is taken: topics under it go to the cars")]
    Reserved,
}

/// What stands in the clear, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Key id of the recipient's HPKE key.
    pub key_id: [u8; 32],
    /// Alias public key.
    pub alias: [u8; 32],
    /// The alias as in topics.
    pub alias_id: String,
    /// Flow.
    pub flow: u64,
    /// Counter of the stream epoch.
    pub epoch: u32,
    /// Random tag of the stream epoch.
    pub epoch_tag: u32,
    /// Number in the epoch, from 1.
    pub sequence: u64,
    /// Batch or notice.
    pub kind: v1::Kind,
}

/// What was sealed.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Readings.
    Batch(Box<v1::Batch>),
    /// An act of consent.
    Notice(v1::Notice),
}

/// An envelope that was verified and opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// What stood in the clear.
    pub header: Header,
    /// What was sealed.
    pub message: Message,
}

/// An envelope whose header and signature are right, not yet opened.
#[derive(Debug)]
struct Verified {
    header: Header,
    envelope: v1::Envelope,
}

/// Opens what is sealed to one recipient.
#[derive(Debug)]
pub struct Opener {
    recipient: String,
    keys: Vec<HpkeKey>,
}

impl Opener {
    /// For the recipient of that id, with all its keys that may still be in use.
    ///
    /// # Errors
    /// If the id cannot be one.
    pub fn new(recipient: &str, keys: Vec<HpkeKey>) -> Result<Self, RecipientError> {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.".contains(&c);
        if recipient.is_empty() || recipient.len() > RECIPIENT_BYTES_MAX || !recipient.bytes().all(fits) {
            return Err(RecipientError::Characters { id: recipient.chars().take(80).collect() });
        }
        if recipient == "device" {
            return Err(RecipientError::Reserved);
        }
        Ok(Self { recipient: recipient.to_owned(), keys })
    }

    /// The recipient id.
    #[must_use]
    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    /// Verifies and opens one MQTT payload; `topic` is the one it came on, if it came by MQTT.
    ///
    /// # Errors
    /// [`OpenError`] says which check failed.
    pub fn open(&self, topic: Option<&str>, payload: &[u8]) -> Result<Opened, OpenError> {
        let Verified { header, envelope } = verified(topic, Some(&self.recipient), payload)?;
        let key_id = hex::encode(header.key_id);
        let key = self.keys.iter().find(|key| *key.id() == header.key_id);
        let key =
            key.ok_or_else(|| OpenError::UnknownKey { key_id: key_id.clone(), known: self.keys.len() })?;
        let info = envelope::hpke_info(&self.recipient, key.id());
        let encapsulated = EncapsulatedSecret(envelope.encapsulated_key);
        let body = HPKE
            .open(&encapsulated, &info, &envelope.header, &envelope.ciphertext, key.secret())
            .map_err(|_| OpenError::Seal { key_id, recipient: self.recipient.clone() })?;
        let message = decode(header.kind, &body::unpack(&body)?)?;
        Ok(Opened { header, message })
    }
}

/// Checks header, topic and signature without any private key. Says nothing about what is sealed.
///
/// # Errors
/// [`OpenError`] says which check failed.
pub fn verify(topic: Option<&str>, payload: &[u8]) -> Result<Header, OpenError> {
    verified(topic, None, payload).map(|verified| verified.header)
}

fn verified(topic: Option<&str>, recipient: Option<&str>, payload: &[u8]) -> Result<Verified, OpenError> {
    let envelope = read_envelope(payload)?;
    let header = read_header(&envelope.header)?;
    if let Some(topic) = topic {
        check_topic(topic, recipient, &header)?;
    }
    let failed = || OpenError::Signature { alias: hex::encode(header.alias) };
    let key = VerifyingKey::from_bytes(&header.alias).map_err(|_| failed())?;
    let signature = Signature::from_bytes(&fixed("signature", &envelope.signature)?);
    let signed = envelope::signed_bytes(&envelope.header, &envelope.encapsulated_key, &envelope.ciphertext);
    key.verify_strict(&signed, &signature).map_err(|_| failed())?;
    Ok(Verified { header, envelope })
}

fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], OpenError> {
    bytes.try_into().map_err(|_| OpenError::Length { field, bytes: bytes.len(), expected: N })
}

fn malformed(what: &'static str, why: impl Into<String>) -> OpenError {
    OpenError::Malformed { what, why: why.into() }
}

fn read_envelope(payload: &[u8]) -> Result<v1::Envelope, OpenError> {
    let bytes = payload.len();
    if bytes > envelope::ENVELOPE_BYTES_MAX {
        return Err(OpenError::TooLarge { bytes });
    }
    let envelope = v1::Envelope::decode(payload).map_err(|error| malformed("envelope", error.to_string()))?;
    // The signature covers the fields, not how they are written: without this, anybody on the way could
    // make a second envelope of one.
    if envelope.encode_to_vec() != payload {
        return Err(malformed("envelope", "not the canonical encoding of its four fields"));
    }
    fixed::<32>("encapsulated key", &envelope.encapsulated_key)?;
    if envelope.header.len() > envelope::HEADER_BYTES_MAX {
        return Err(malformed("header", format!("{} bytes are too many", envelope.header.len())));
    }
    Ok(envelope)
}

fn read_header(bytes: &[u8]) -> Result<Header, OpenError> {
    let header = v1::Header::decode(bytes).map_err(|error| malformed("header", error.to_string()))?;
    if header.format_version != envelope::FORMAT_VERSION {
        return Err(OpenError::Version { version: header.format_version });
    }
    if header.suite != i32::from(envelope::SUITE) {
        return Err(OpenError::Suite { suite: header.suite });
    }
    let kind = match header.kind() {
        v1::Kind::Unspecified => return Err(OpenError::Kind { kind: header.kind }),
        known => known,
    };
    if header.sequence == 0 {
        return Err(malformed("header", "sequence 0, they count from 1"));
    }
    let alias = fixed("alias public key", &header.alias_public_key)?;
    Ok(Header {
        key_id: fixed("recipient key id", &header.recipient_key_id)?,
        alias,
        alias_id: envelope::alias_id(&alias),
        flow: header.flow,
        epoch: header.epoch,
        epoch_tag: header.epoch_tag,
        sequence: header.sequence,
        kind,
    })
}

fn check_topic(topic: &str, recipient: Option<&str>, header: &Header) -> Result<(), OpenError> {
    let why = match envelope::parse_up_topic(topic) {
        None => "not of the form glovebox/v1/<recipient>/<alias>/batch".to_owned(),
        Some(parts) if recipient.is_some_and(|recipient| recipient != parts.recipient) => {
            format!("it is for recipient `{}`", parts.recipient)
        }
        Some(parts) if parts.alias_id != header.alias_id => {
            format!("the header's alias is {}", header.alias_id)
        }
        Some(parts) if parts.kind != header.kind => "the header names another kind".to_owned(),
        Some(_) => return Ok(()),
    };
    Err(OpenError::Topic { topic: topic.chars().take(200).collect(), why })
}

fn decode(kind: v1::Kind, message: &[u8]) -> Result<Message, OpenError> {
    if kind == v1::Kind::Notice {
        let notice = v1::Notice::decode(message).map_err(|error| malformed("notice", error.to_string()))?;
        return Ok(Message::Notice(notice));
    }
    if !scan::is_bounded(message) {
        return Err(malformed("batch", format!("more than {} messages inside", scan::MESSAGES_MAX)));
    }
    let batch = v1::Batch::decode(message).map_err(|error| malformed("batch", error.to_string()))?;
    let digest = fixed::<DIGEST_BYTES>("descriptor digest", &batch.descriptor_digest)?;
    match &batch.descriptor {
        Some(descriptor) if envelope::descriptor_digest(descriptor) != digest => Err(OpenError::Descriptor),
        _ => Ok(Message::Batch(Box::new(batch))),
    }
}
