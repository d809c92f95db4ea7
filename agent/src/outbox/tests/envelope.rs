//! Envelopes with any content, truly signed. Shared with the benchmark of the outbox.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey as DalekKey};
use glovebox_core::consent::document::Verifier;
use glovebox_core::names::{Digest, VerifyingKey};
use glovebox_core::outbox::BatchId;
use glovebox_core::seal::{Header, Kind, Sealed, readmit};
use glovebox_core::wire::encode_header;

/// Ed25519 as the car has it, without the sealer.
pub(crate) struct Car;

impl Verifier for Car {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
        let key = DalekKey::from_bytes(&key.0).unwrap();
        key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

fn lp(parts: &[&[u8]]) -> Vec<u8> {
    let part = |part: &&[u8]| [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    parts.iter().flat_map(part).collect()
}

/// The protobuf of an envelope: four fields of bytes.
fn proto(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, field) in (1_u8..).zip(fields) {
        out.push(number << 3 | 2);
        let mut length = field.len();
        while length > 127 {
            out.push(u8::try_from(length & 127).unwrap() | 128);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        out.extend(*field);
    }
    out
}

/// The envelope of a batch: any bytes, the same for the same batch, truly signed.
pub(crate) fn sealed(batch: BatchId, bytes: usize) -> Sealed {
    let key = SigningKey::from_bytes(&[7; 32]);
    let alias = VerifyingKey(key.verifying_key().to_bytes());
    let BatchId { flow, epoch, sequence } = batch;
    let recipient_key = Digest([3; 32]);
    let header = encode_header(&Header { recipient_key, alias, flow, epoch, sequence, kind: Kind::Batch });
    let block = |n: u64| Digest::of(&[batch.to_string().as_bytes(), &n.to_be_bytes()].concat()).0;
    let mut text: Vec<u8> = (0..).flat_map(block).take(bytes).collect();
    text.truncate(bytes);
    let encapsulated = [9; 32];
    let signature = key.sign(&lp(&[b"glovebox/v1/envelope", &header, &encapsulated, &text]));
    readmit(proto(&[&header, &encapsulated, &text, &signature.to_bytes()]), &Car).unwrap()
}
