//! Topics, labels, ids and signed bytes: exactly the bytes that `proto/README.md` draws.
//! Everything variable is length-prefixed, so that no two inputs give the same bytes.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::v1;

/// Version of the format, in every header and in the HPKE info.
pub const FORMAT_VERSION: u32 = 1;
/// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305 (RFC 9180, section 7).
pub const SUITE: v1::Suite = v1::Suite::X25519Sha256Chacha20poly1305;
/// A sealed envelope; a larger payload is not read.
pub const ENVELOPE_BYTES_MAX: usize = 256 * 1024;
/// A header has nine small fields, 105 bytes at most.
pub const HEADER_BYTES_MAX: usize = 256;

/// Label of the recipient key id.
pub const HPKE_KEY_LABEL: &[u8] = b"glovebox/v1/hpke-key";
/// Label of the HPKE info.
pub const HPKE_INFO_LABEL: &[u8] = b"glovebox/v1/hpke-info";
/// Label of the alias id in topics.
pub const ALIAS_LABEL: &[u8] = b"glovebox/v1/alias";
/// Label of the envelope signature.
pub const ENVELOPE_LABEL: &[u8] = b"glovebox/v1/envelope";
/// First levels of every topic.
pub const TOPIC_ROOT: &str = "glovebox/v1";

const KEM_ID: u16 = 0x0020;
const KDF_ID: u16 = 0x0001;
const AEAD_ID: u16 = 0x0003;
const ALIAS_ID_BYTES: usize = 16;

/// Appends the length of `part` as u32 big-endian, then `part`. Longer than 4 GiB does not occur: every caller's
/// input is bounded far below.
fn push_lp(out: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(part);
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| 4 + part.len()).sum());
    for part in parts {
        push_lp(&mut out, part);
    }
    out
}

/// `part` with its length before it.
#[must_use]
pub fn lp(part: &[u8]) -> Vec<u8> {
    join(&[part])
}

/// KEM, KDF and AEAD id of suite 1 as they go into ids and info: `00 20 00 01 00 03`.
#[must_use]
pub const fn suite_ids() -> [u8; 6] {
    let (kem, kdf, aead) = (KEM_ID.to_be_bytes(), KDF_ID.to_be_bytes(), AEAD_ID.to_be_bytes());
    [kem[0], kem[1], kdf[0], kdf[1], aead[0], aead[1]]
}

/// Key id of a recipient's HPKE public key: follows from suite and key, never chosen.
#[must_use]
pub fn key_id(public: &[u8]) -> [u8; 32] {
    Sha256::digest(join(&[HPKE_KEY_LABEL, &suite_ids(), public])).into()
}

/// The alias as it stands in topics: 32 hexadecimal digits.
#[must_use]
pub fn alias_id(public: &[u8]) -> String {
    let digest = Sha256::digest(join(&[ALIAS_LABEL, public]));
    hex::encode(&digest[..ALIAS_ID_BYTES])
}

/// The HPKE `info` of every seal to this recipient and key.
#[must_use]
pub fn hpke_info(recipient: &str, key_id: &[u8]) -> Vec<u8> {
    join(&[HPKE_INFO_LABEL, &FORMAT_VERSION.to_be_bytes(), &suite_ids(), recipient.as_bytes(), key_id])
}

/// What the alias key signs.
#[must_use]
pub fn signed_bytes(header: &[u8], encapsulated_key: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    join(&[ENVELOPE_LABEL, header, encapsulated_key, ciphertext])
}

/// SHA-256 of the encoded descriptor. Encoding is deterministic: known fields by rising number, no maps.
#[must_use]
pub fn descriptor_digest(descriptor: &v1::Descriptor) -> [u8; 32] {
    Sha256::digest(descriptor.encode_to_vec()).into()
}

/// Where batches go: car to recipient.
#[must_use]
pub fn batch_topic(recipient: &str, alias_id: &str) -> String {
    format!("{TOPIC_ROOT}/{recipient}/{alias_id}/batch")
}

/// Where notices go: car to recipient.
#[must_use]
pub fn notice_topic(recipient: &str, alias_id: &str) -> String {
    format!("{TOPIC_ROOT}/{recipient}/{alias_id}/notice")
}

/// Where signed policy bundles come from, retained.
#[must_use]
pub fn policy_topic(device: &str) -> String {
    format!("{TOPIC_ROOT}/device/{device}/policy")
}

/// Where signed consent records come from.
#[must_use]
pub fn consent_topic(device: &str) -> String {
    format!("{TOPIC_ROOT}/device/{device}/consent")
}

/// Where the car answers what it did with a pushed document.
#[must_use]
pub fn status_topic(device: &str) -> String {
    format!("{TOPIC_ROOT}/device/{device}/status")
}

/// The variable parts of a topic from car to recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpTopic<'a> {
    /// Recipient id.
    pub recipient: &'a str,
    /// Alias id, 32 lower-case hexadecimal digits.
    pub alias_id: &'a str,
    /// What the last level says.
    pub kind: v1::Kind,
}

/// Takes a batch or notice topic apart; `None` if it is neither.
#[must_use]
pub fn parse_up_topic(topic: &str) -> Option<UpTopic<'_>> {
    let rest = topic.strip_prefix(TOPIC_ROOT)?.strip_prefix('/')?;
    let mut levels = rest.split('/');
    let (recipient, alias_id, last) = (levels.next()?, levels.next()?, levels.next()?);
    let kind = match last {
        "batch" => v1::Kind::Batch,
        "notice" => v1::Kind::Notice,
        _ => return None,
    };
    let is_alias = alias_id.len() == 2 * ALIAS_ID_BYTES
        && alias_id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let whole = levels.next().is_none() && !recipient.is_empty() && is_alias;
    whole.then_some(UpTopic { recipient, alias_id, kind })
}

/// [`parse_up_topic`] for batches alone.
#[must_use]
pub fn parse_batch_topic(topic: &str) -> Option<UpTopic<'_>> {
    parse_up_topic(topic).filter(|topic| topic.kind == v1::Kind::Batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exact_bytes() {
        assert_eq!(lp(b"ab"), [0, 0, 0, 2, b'a', b'b']);
        assert_eq!(suite_ids(), [0, 0x20, 0, 1, 0, 3]);
        let info = hpke_info("acme", &[7; 32]);
        assert_eq!(&info[..25], b"\0\0\0\x15glovebox/v1/hpke-info".as_slice());
        assert_eq!(
            &info[25..51],
            b"\0\0\0\x04\0\0\0\x01\0\0\0\x06\0\x20\0\x01\0\x03\0\0\0\x04acme".as_slice()
        );
        assert_eq!((&info[51..55], info.len()), ([0, 0, 0, 32].as_slice(), 55 + 32));
        assert_eq!(
            signed_bytes(b"h", b"", b"c"),
            b"\0\0\0\x14glovebox/v1/envelope\0\0\0\x01h\0\0\0\0\0\0\0\x01c"
        );
        let mut hashed = lp(b"glovebox/v1/hpke-key");
        hashed.extend(b"\0\0\0\x06\0\x20\0\x01\0\x03\0\0\0\x20");
        hashed.extend([9; 32]);
        assert_eq!(key_id(&[9; 32]), <[u8; 32]>::from(Sha256::digest(hashed)));
    }

    #[test]
    fn topics() {
        let alias = alias_id(&[1; 32]);
        let topic = batch_topic("acme", &alias);
        assert_eq!(topic, format!("glovebox/v1/acme/{alias}/batch"));
        let parts = UpTopic { recipient: "acme", alias_id: &alias, kind: v1::Kind::Batch };
        assert_eq!(parse_batch_topic(&topic), Some(parts));
        let notice = notice_topic("acme", &alias);
        assert_eq!(parse_batch_topic(&notice), None);
        assert_eq!(parse_up_topic(&notice).map(|topic| topic.kind), Some(v1::Kind::Notice));
        assert_eq!(policy_topic("car-1"), "glovebox/v1/device/car-1/policy");
        assert_eq!(consent_topic("car-1"), "glovebox/v1/device/car-1/consent");
        assert_eq!(status_topic("car-1"), "glovebox/v1/device/car-1/status");
        for wrong in [
            "glovebox/v1/acme/00/batch".to_owned(),
            format!("glovebox/v1//{alias}/batch"),
            format!("{topic}/"),
            format!("/{topic}"),
            topic.replace("v1", "v2"),
            topic.to_uppercase(),
            batch_topic("acme", &alias.to_uppercase()),
        ] {
            assert_eq!(parse_up_topic(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_largest_header_fits() {
        let header = v1::Header {
            format_version: FORMAT_VERSION,
            suite: SUITE.into(),
            recipient_key_id: vec![0; 32],
            alias_public_key: vec![0; 32],
            flow: u64::MAX,
            epoch: u32::MAX,
            epoch_tag: u32::MAX,
            sequence: u64::MAX,
            kind: v1::Kind::Notice.into(),
        };
        assert_eq!(header.encoded_len(), 105);
    }

    proptest! {
        #[test]
        fn signed_parts_cannot_be_shifted(header in prop::collection::vec(any::<u8>(), 0..20), ciphertext in prop::collection::vec(any::<u8>(), 1..20)) {
            let mut longer = header.clone();
            longer.push(ciphertext[0]);
            prop_assert_ne!(signed_bytes(&header, &[], &ciphertext), signed_bytes(&longer, &[], &ciphertext[1..]));
        }

        #[test]
        fn topic_garbage_never_panics(topic in "(glovebox/v1/)?[a-z0-9/]{0,60}(/batch)?") {
            let _ = parse_up_topic(&topic);
        }
    }
}
