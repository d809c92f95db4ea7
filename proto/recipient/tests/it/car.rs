//! The sending side, as small as it can be: what a car does, with fixed keys.

use ed25519_dalek::{Signer as _, SigningKey};
use glovebox_proto::column::{StateEncoder, TimeEncoder, ValueEncoder};
use glovebox_proto::v1::{self, State, ValueType};
use glovebox_proto::{body, envelope};
use glovebox_recipient::{HpkeKey, Opener};
use prost::Message as _;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as HPKE;
use rustls::crypto::hpke::{Hpke as _, HpkePublicKey};

pub(crate) const RECIPIENT: &str = "acme";

/// Secrets of the published vector: bytes that count up.
pub(crate) fn counting(from: u8) -> [u8; 32] {
    std::array::from_fn(|index| from + u8::try_from(index).unwrap())
}

pub(crate) fn recipient_key() -> HpkeKey {
    HpkeKey::from_secret(&counting(0)).unwrap()
}

pub(crate) fn opener() -> Opener {
    Opener::new(RECIPIENT, vec![recipient_key()]).unwrap()
}

pub(crate) fn alias() -> SigningKey {
    SigningKey::from_bytes(&counting(0x20))
}

pub(crate) fn topic() -> String {
    let alias = alias().verifying_key().to_bytes();
    envelope::batch_topic(RECIPIENT, &envelope::alias_id(&alias))
}

pub(crate) fn header(sequence: u64) -> v1::Header {
    v1::Header {
        format_version: envelope::FORMAT_VERSION,
        suite: envelope::SUITE.into(),
        recipient_key_id: recipient_key().id().to_vec(),
        alias_public_key: alias().verifying_key().to_bytes().to_vec(),
        flow: 0x0123_4567_89ab_cdef,
        epoch: 1,
        epoch_tag: 0xfeed_beef,
        sequence,
        kind: v1::Kind::Batch.into(),
    }
}

/// A batch of all value types, all states, an enumeration, a transform and a loss.
pub(crate) fn batch(with_descriptor: bool) -> v1::Batch {
    let descriptor = descriptor();
    let times = [times(&[0, 20, 40, 61]), times(&[5, 1_005])];
    let columns = vec![
        column(
            0,
            0,
            ValueType::Unsigned,
            &[Some(1_234), Some(1_240), None, Some(1_239)],
            State::NotAvailable,
        ),
        column(1, 0, ValueType::Signed, &[Some(u64::MAX - 24), None, None, Some(12)], State::OutOfRange),
        column(2, 1, ValueType::Float32, &[Some(1.5f32.to_bits().into()), None], State::Error),
        column(3, 1, ValueType::Float64, &[Some((-0.1f64).to_bits()), None], State::Absent),
        column(4, 1, ValueType::Boolean, &[Some(1), Some(0)], State::Error),
        column(5, 0, ValueType::Unsigned, &[Some(0), Some(2), Some(2), Some(7)], State::Error),
        column(6, 1, ValueType::Unsigned, &[Some(u64::MAX), Some(0)], State::Error),
    ];
    v1::Batch {
        descriptor_digest: envelope::descriptor_digest(&descriptor).to_vec(),
        descriptor: with_descriptor.then_some(descriptor),
        base_time_us: 1_700_000_000_000_000,
        clock_quality: v1::ClockQuality::Replay.into(),
        time_unit: v1::TimeUnit::Millisecond.into(),
        policy_version: 7,
        times: times.to_vec(),
        columns,
        losses: Vec::new(),
    }
}

pub(crate) fn loss(first: u64, last: u64) -> v1::Loss {
    v1::Loss {
        reason: v1::LossReason::Quota.into(),
        batches: last - first + 1,
        first_sequence: first,
        last_sequence: last,
        samples: 0,
        signals: vec![0],
    }
}

fn times(all: &[i64]) -> v1::TimeColumn {
    let mut encoder = TimeEncoder::default();
    all.iter().for_each(|time| encoder.push(*time));
    v1::TimeColumn { count: encoder.count(), deltas: encoder.take() }
}

fn column(signal: u32, time: u32, kind: ValueType, raw: &[Option<u64>], other: State) -> v1::Column {
    let (mut values, mut states) = (ValueEncoder::new(kind), StateEncoder::default());
    for (index, raw) in (0u32..).zip(raw) {
        match raw {
            Some(raw) => values.push(*raw),
            None => states.push(index, other),
        }
    }
    v1::Column { signal, time, values: values.take(), states: states.take(), source_address: None }
}

fn descriptor() -> v1::Descriptor {
    let signal = |path: &str, unit: &str, kind: ValueType, scale, offset| v1::Signal {
        path: path.to_owned(),
        unit: unit.to_owned(),
        r#type: kind.into(),
        scale,
        offset,
        names: Vec::new(),
        transforms: Vec::new(),
    };
    let mut gear = signal("Vehicle.Powertrain.Transmission.CurrentGear", "", ValueType::Unsigned, 1.0, 0.0);
    gear.names = [(0, "Neutral"), (2, "Second")]
        .map(|(raw, name)| v1::EnumName { raw, name: name.to_owned() })
        .to_vec();
    let mut speed = signal("Vehicle.Speed", "km/h", ValueType::Unsigned, 0.01, 0.0);
    let parameter = v1::Parameter { name: "min_interval_ms".to_owned(), value: "20".to_owned() };
    speed.transforms = vec![v1::Transform { op: "rate".to_owned(), parameters: vec![parameter] }];
    v1::Descriptor {
        request_digest: vec![0xaa; 32],
        signals: vec![
            speed,
            signal("Vehicle.Exterior.AirTemperature", "celsius", ValueType::Signed, 0.5, -40.0),
            signal("CAN.can0.IMU.Roll", "°/s", ValueType::Float32, 1.0, 0.0),
            signal("CAN.can0.IMU.Bias", "", ValueType::Float64, 1.0, 0.0),
            signal("Vehicle.Cabin.Door.Row1.DriverSide.IsOpen", "", ValueType::Boolean, 1.0, 0.0),
            gear,
            signal("CAN.can0.Debug.Counter", "", ValueType::Unsigned, 1.0, 0.0),
        ],
    }
}

/// Seals with the fixed keys; only the encapsulated key is random.
pub(crate) fn seal(header: &v1::Header, message: &[u8]) -> v1::Envelope {
    seal_as(header, &body::pack(message, body::LEVEL).unwrap(), RECIPIENT)
}

pub(crate) fn seal_as(header: &v1::Header, body: &[u8], recipient: &str) -> v1::Envelope {
    let header = header.encode_to_vec();
    let key = recipient_key();
    let info = envelope::hpke_info(recipient, key.id());
    let public = HpkePublicKey(key.public().to_vec());
    let (encapsulated, ciphertext) = HPKE.seal(&info, &header, body, &public).unwrap();
    let mut envelope =
        v1::Envelope { header, encapsulated_key: encapsulated.0, ciphertext, signature: Vec::new() };
    sign(&mut envelope);
    envelope
}

pub(crate) fn sign(envelope: &mut v1::Envelope) {
    let v1::Envelope { header, encapsulated_key, ciphertext, .. } = &*envelope;
    let signed = envelope::signed_bytes(header, encapsulated_key, ciphertext);
    envelope.signature = alias().sign(&signed).to_bytes().to_vec();
}

/// A whole payload.
pub(crate) fn payload(sequence: u64, batch: &v1::Batch) -> Vec<u8> {
    seal(&header(sequence), &batch.encode_to_vec()).encode_to_vec()
}

/// PKCS#8 PEM of the recipient's key.
pub(crate) fn pem() -> String {
    pem_of(&counting(0))
}

pub(crate) fn pem_of(secret: &[u8; 32]) -> String {
    let mut der = hex::decode("302e020100300506032b656e04220420").unwrap();
    der.extend(secret);
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(&der))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| -> String {
        let word = three.iter().fold(0usize, |word, byte| word << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[word >> shift & 63])).iter().collect()
    };
    assert_eq!(bytes.len() % 3, 0, "no padding needed");
    bytes.chunks(3).map(group).collect()
}
