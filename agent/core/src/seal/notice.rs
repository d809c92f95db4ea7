//! A notice: what a recipient is told of an act of consent, sealed like a batch. There is one, that the owner has withdrawn
//! and asks for erasure; nothing of a reading can get into it.

use super::{ReadmitError, SealError, Sealed, Sealer, enclose, key_id, readmit};
use crate::limits::NOTICE_BYTES_MAX;
use crate::names::{Digest, Epoch, FlowId, HpkeKey, RecipientId, Sequence, WallTime};
use crate::wire::{self, Header, Kind, Verifier};
use glovebox_proto::body;

/// The owner has withdrawn from a recipient, and asks it to erase what it has of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Who is asked.
    pub recipient: RecipientId,
    /// What was withdrawn: the recipient knows its data by alias and flow.
    pub flow: FlowId,
    /// The request that was granted.
    pub request_digest: Digest,
    /// When the owner asked.
    pub at: WallTime,
}

/// An encrypted, signed notice. It is made of an [`Erasure`], or of bytes that an alias signed as a notice, and never of a
/// batch: what may be sent without a grant is this alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedNotice(Sealed);

impl SealedNotice {
    /// Seals `erasure` to `key`, under a name of its own: epoch 0, which no batch has, with a `tag` that is drawn anew, and
    /// sequence 1. So it is no gap and no duplicate in any reader's account, and one that comes twice is known.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(erasure: &Erasure, key: &HpkeKey, tag: u32, sealer: &dyn Sealer) -> Result<Self, SealError> {
        let message = wire::encode_erasure(erasure.request_digest, erasure.at);
        let body = body::pack(&message, body::LEVEL).map_err(|_| SealError::Body { bytes: message.len() })?;
        let header = Header {
            recipient_key: key_id(key),
            alias: sealer.alias(&erasure.recipient)?,
            flow: erasure.flow,
            epoch: Epoch { counter: 0, tag },
            sequence: Sequence(1),
            kind: Kind::Notice,
        };
        enclose(header, &erasure.recipient, key, &body, sealer).map(Self)
    }

    /// Lets stored bytes back in if they are a notice signed by the alias that they name. That is not this car's any more
    /// once it was erased.
    ///
    /// # Errors
    /// [`ReadmitError`]: it is lost.
    pub fn readmit(bytes: Vec<u8>, verifier: &dyn Verifier) -> Result<Self, ReadmitError> {
        if bytes.len() > NOTICE_BYTES_MAX {
            return Err(ReadmitError::Size { bytes: bytes.len() });
        }
        match readmit(bytes, verifier)? {
            notice if notice.header().kind == Kind::Notice => Ok(Self(notice)),
            _ => Err(ReadmitError::Form),
        }
    }

    /// What stands in the clear.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.0.header()
    }

    /// The MQTT payload.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        self.0.envelope()
    }

    /// SHA-256 of the envelope, for the ledger.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::names::VerifyingKey;

    /// No cryptography: what is to be encrypted can be read.
    struct Glass;

    impl Sealer for Glass {
        fn alias(&self, _: &RecipientId) -> Result<VerifyingKey, SealError> {
            Ok(VerifyingKey([7; 32]))
        }
        fn encrypt(
            &self,
            _: &HpkeKey,
            _: &[u8],
            _: &[u8],
            plain: &[u8],
        ) -> Result<(Vec<u8>, Vec<u8>), SealError> {
            Ok((vec![1; 32], plain.to_vec()))
        }
        fn sign(&self, _: &RecipientId, _: &[u8]) -> Result<[u8; 64], SealError> {
            Ok([2; 64])
        }
    }

    struct Believer;

    impl Verifier for Believer {
        fn verify(&self, _: &VerifyingKey, _: &[u8], signature: &[u8; 64]) -> bool {
            *signature == [2; 64]
        }
    }

    fn erasure() -> Erasure {
        Erasure {
            recipient: "acme".parse().unwrap(),
            flow: FlowId(9),
            request_digest: Digest([3; 32]),
            at: WallTime(1_000),
        }
    }

    #[test]
    fn it_says_what_is_asked_for_and_nothing_else() {
        let sealed = SealedNotice::seal(&erasure(), &HpkeKey([5; 32]), 0xABCD, &Glass).unwrap();
        let header = sealed.header();
        assert_eq!((header.flow, header.kind, header.sequence), (FlowId(9), Kind::Notice, Sequence(1)));
        assert_eq!(header.epoch, Epoch { counter: 0, tag: 0xABCD }, "no batch has epoch 0");
        assert!(wire::batch_topic(&erasure().recipient, header).ends_with("/notice"));
        let parts = wire::decode_envelope(sealed.envelope()).unwrap();
        let message = body::unpack(&parts.ciphertext).unwrap();
        // Kind 3, twice the time (zig-zag), the digest, true: the four fields of the message.
        let mut expected = vec![0x08, 3, 0x10, 0xD0, 0x0F, 0x1A, 32];
        expected.extend([3; 32]);
        expected.extend([0x20, 1]);
        assert_eq!(message, expected);
    }

    #[test]
    fn only_a_signed_notice_is_let_back_in() {
        let sealed = SealedNotice::seal(&erasure(), &HpkeKey([5; 32]), 1, &Glass).unwrap();
        let stored = sealed.envelope().to_vec();
        assert_eq!(SealedNotice::readmit(stored.clone(), &Believer), Ok(sealed.clone()));
        let mut forged = stored.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(SealedNotice::readmit(forged, &Believer), Err(ReadmitError::Signature));
        assert_eq!(SealedNotice::readmit(stored[1..].to_vec(), &Believer), Err(ReadmitError::Form));
        let long = vec![0; NOTICE_BYTES_MAX + 1];
        assert!(matches!(SealedNotice::readmit(long, &Believer), Err(ReadmitError::Size { .. })));
        // A batch of this car does not pass for a notice: it would need no grant.
        let header = Header { kind: Kind::Batch, ..sealed.header().clone() };
        let batch = enclose(header, &erasure().recipient, &HpkeKey([5; 32]), b"readings", &Glass).unwrap();
        assert_eq!(SealedNotice::readmit(batch.into_envelope(), &Believer), Err(ReadmitError::Form));
    }
}
