//! The published envelope in `proto/vectors`: it opens, and all of it that is not random is what this code makes.
//! After a wanted change of the format: `GLOVEBOX_WRITE_VECTORS=1 cargo test -p glovebox-recipient vectors`.

use std::path::{Path, PathBuf};

use glovebox_proto::column::{StateEncoder, TimeEncoder, ValueEncoder};
use glovebox_proto::v1::{self, State, ValueType};
use glovebox_proto::{body, envelope};
use glovebox_recipient::open::{Message, Opened};
use glovebox_recipient::{Event, Streams, lines, samples};
use prost::Message as _;
use serde_json::{Map, Value, json};

use crate::car;

const SEQUENCE: u64 = 3;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

fn batch() -> v1::Batch {
    v1::Batch { losses: vec![car::loss(2, 2)], ..car::batch(true) }
}

/// Everything that follows from the fixed keys and the fixed batch.
fn deterministic() -> Map<String, Value> {
    let (key, alias) = (car::recipient_key(), car::alias().verifying_key().to_bytes());
    let (batch, header) = (batch(), car::header(SEQUENCE).encode_to_vec());
    let descriptor = batch.descriptor.as_ref().unwrap();
    let all = json!({
        "recipient": car::RECIPIENT,
        "hpke_private_key": hex::encode(car::counting(0)),
        "hpke_private_key_pem": car::pem(),
        "hpke_public_key": hex::encode(key.public()),
        "recipient_key_id": hex::encode(key.id()),
        "alias_seed": hex::encode(car::counting(0x20)),
        "alias_public_key": hex::encode(alias),
        "alias_id": envelope::alias_id(&alias),
        "topic": car::topic(),
        "hpke_info": hex::encode(envelope::hpke_info(car::RECIPIENT, key.id())),
        "header": hex::encode(header),
        "descriptor": hex::encode(descriptor.encode_to_vec()),
        "descriptor_digest": hex::encode(envelope::descriptor_digest(descriptor)),
        "batch": hex::encode(batch.encode_to_vec()),
        "columns": columns(),
        "padme": ([1, 2, 9, 100, 1_000, 1_025, 19_000, 120_000].map(|length| [length, body::padme(length)])),
    });
    all.as_object().unwrap().clone()
}

/// Small columns whose bytes can be followed by hand. Raw values and times as decimal text, floats as their bits.
fn columns() -> Value {
    let coded = |kind: ValueType, values: &[u64]| {
        let mut encoder = ValueEncoder::new(kind);
        values.iter().for_each(|value| encoder.push(*value));
        json!({
            "type": kind.as_str_name(),
            "values": values.iter().map(u64::to_string).collect::<Vec<_>>(),
            "bytes": hex::encode(encoder.take()),
        })
    };
    let mut times = TimeEncoder::default();
    let stamps = [1_000i64, 1_010, 1_020, 1_031, 1_029, -5];
    stamps.iter().for_each(|time| times.push(*time));
    let mut states = StateEncoder::default();
    let pairs = [(0, State::Absent), (1, State::NotAvailable), (300, State::Error)];
    pairs.iter().for_each(|(index, state)| states.push(*index, *state));
    json!({
        "values": [
            coded(ValueType::Unsigned, &[0, 1, 0, 64, 64, u64::MAX, 0]),
            coded(ValueType::Signed, &[u64::MAX, 1, 1 << 63]),
            coded(ValueType::Boolean, &[1, 1, 0]),
            coded(ValueType::Float32, &[1.5f32.to_bits().into()]),
            coded(ValueType::Float64, &[(-0.1f64).to_bits()]),
        ],
        "times": { "values": (stamps.map(|time| time.to_string())), "bytes": hex::encode(times.take()) },
        "states": {
            "pairs": (pairs.map(|(index, state)| json!([index, state.as_str_name()]))),
            "bytes": hex::encode(states.take()),
        },
    })
}

fn write_anew() {
    let envelope = car::seal(&car::header(SEQUENCE), &batch().encode_to_vec());
    let payload = envelope.encode_to_vec();
    let mut all = deterministic();
    let v1::Envelope { header, encapsulated_key, ciphertext, signature } = envelope;
    let packed = body::pack(&batch().encode_to_vec(), body::LEVEL).unwrap();
    let signed = envelope::signed_bytes(&header, &encapsulated_key, &ciphertext);
    for (name, bytes) in [
        ("body", packed),
        ("encapsulated_key", encapsulated_key),
        ("ciphertext", ciphertext),
        ("signed_bytes", signed),
        ("signature", signature),
        ("envelope", payload.clone()),
    ] {
        all.insert(name.to_owned(), hex::encode(bytes).into());
    }
    std::fs::create_dir_all(folder()).unwrap();
    let text = serde_json::to_string_pretty(&Value::Object(all)).unwrap();
    std::fs::write(folder().join("v1-batch.json"), text + "\n").unwrap();
    std::fs::write(folder().join("v1-batch.envelope.bin"), &payload).unwrap();
    std::fs::write(folder().join("v1-batch.jsonl"), json_lines(&payload)).unwrap();
}

fn open(payload: &[u8]) -> Opened {
    car::opener().open(Some(&car::topic()), payload).unwrap()
}

/// What `glovebox-recipient open --json` prints.
fn json_lines(payload: &[u8]) -> String {
    let (mut out, mut streams) = (String::new(), Streams::new());
    streams.set_partial(true);
    for event in streams.accept(open(payload)) {
        if let Event::Ready(ready) = &event {
            lines::batch(&mut out, ready, true);
        }
        lines::event(&mut out, &event);
        if let Event::Ready(ready) = event {
            let all = samples(&ready.batch, &ready.descriptor).unwrap();
            all.for_each(|sample| lines::sample(&mut out, &ready.header, &sample));
        }
    }
    out
}

#[test]
fn published_vector_is_what_the_code_makes() {
    if std::env::var_os("GLOVEBOX_WRITE_VECTORS").is_some() {
        write_anew();
    }
    let text = std::fs::read_to_string(folder().join("v1-batch.json")).unwrap();
    let published: Value = serde_json::from_str(&text).unwrap();
    for (name, value) in deterministic() {
        assert_eq!(published[&name], value, "{name}");
    }
    let bytes = |name: &str| hex::decode(published[name].as_str().unwrap()).unwrap();
    let (header, encapsulated_key, ciphertext) =
        (bytes("header"), bytes("encapsulated_key"), bytes("ciphertext"));
    assert_eq!(bytes("signed_bytes"), envelope::signed_bytes(&header, &encapsulated_key, &ciphertext));
    let mut envelope = v1::Envelope { header, encapsulated_key, ciphertext, signature: Vec::new() };
    car::sign(&mut envelope);
    assert_eq!(envelope.signature, bytes("signature"), "Ed25519 is deterministic");
    assert_eq!(envelope.encode_to_vec(), bytes("envelope"));
    // Another zstd may write another frame; it must expand to the same.
    assert_eq!(body::unpack(&bytes("body")).unwrap(), bytes("batch"));
}

#[test]
fn published_vector_opens() {
    let payload = std::fs::read(folder().join("v1-batch.envelope.bin")).unwrap();
    let opened = open(&payload);
    assert_eq!(opened.header.sequence, SEQUENCE);
    assert_eq!(opened.message, Message::Batch(Box::new(batch())));
    let published = std::fs::read_to_string(folder().join("v1-batch.jsonl")).unwrap();
    assert_eq!(json_lines(&payload), published);
}
