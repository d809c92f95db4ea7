//! What opens and what does not.

use glovebox_proto::{body, envelope, v1};
use glovebox_recipient::open::{self, Message};
use glovebox_recipient::{HpkeKey, OpenError, Opener, Value, lines, samples};
use proptest::prelude::*;
use prost::Message as _;

use crate::car;

fn refusal(payload: &[u8]) -> String {
    car::opener().open(None, payload).unwrap_err().to_string()
}

#[test]
fn a_batch_comes_out_as_it_went_in() {
    let batch = car::batch(true);
    let payload = car::payload(3, &batch);
    let opened = car::opener().open(Some(&car::topic()), &payload).unwrap();
    assert_eq!((opened.header.sequence, opened.header.flow), (3, 0x0123_4567_89ab_cdef));
    assert_eq!((opened.header.epoch, opened.header.epoch_tag), (1, 0xfeed_beef));
    assert_eq!(opened.message, Message::Batch(Box::new(batch)));
    assert_eq!(open::verify(Some(&car::topic()), &payload).unwrap(), opened.header);
    assert_eq!(format!("glovebox/v1/acme/{}/batch", opened.header.alias_id), car::topic());
}

#[test]
fn samples_have_value_state_time_and_label() {
    let batch = car::batch(true);
    let descriptor = batch.descriptor.clone().unwrap();
    let all: Vec<_> = samples(&batch, &descriptor).unwrap().collect();
    let of = |path: &str| all.iter().filter(|sample| sample.path.ends_with(path)).collect::<Vec<_>>();
    let values = |path: &str| of(path).iter().map(|sample| sample.value).collect::<Vec<_>>();
    let float = |value| Some(Value::Float(value));
    assert_eq!(values("Speed"), [float(12.34), float(12.4), None, float(12.39)]);
    assert_eq!(of("Speed")[2].state, v1::State::NotAvailable);
    assert_eq!(of("Speed")[3].time_us, 1_700_000_000_061_000);
    assert_eq!(values("AirTemperature"), [float(-52.5), None, None, float(-34.0)]);
    assert_eq!(values("Roll"), [float(1.5), None]);
    assert_eq!(values("Bias"), [float(-0.1)], "an absent sample is none");
    assert_eq!(values("IsOpen"), [Some(Value::Bool(true)), Some(Value::Bool(false))]);
    assert_eq!(values("Counter"), [Some(Value::Integer(u64::MAX.into())), Some(Value::Integer(0))]);
    let labels: Vec<_> = of("CurrentGear").iter().map(|sample| sample.label).collect();
    assert_eq!(labels, [Some("Neutral"), Some("Second"), Some("Second"), None]);
    assert_eq!(all.len(), 19);
}

/// Two controllers of a J1939 bus send one signal.
#[test]
fn series_of_one_signal_are_told_apart_by_their_sender() {
    let mut batch = car::batch(true);
    let mut other = batch.columns[0].clone();
    batch.columns[0].source_address = Some(0);
    other.source_address = Some(0x17);
    batch.columns.push(other);
    let descriptor = batch.descriptor.clone().unwrap();
    let all: Vec<_> = samples(&batch, &descriptor).unwrap().collect();
    let path = all[0].path;
    let senders: Vec<_> =
        all.iter().filter(|sample| sample.path == path).map(|sample| sample.source).collect();
    assert_eq!(senders, [[Some(0); 4], [Some(0x17); 4]].concat());
    assert!(all.iter().filter(|sample| sample.path != path).all(|sample| sample.source.is_none()));
    let payload = car::payload(1, &batch);
    let opened = car::opener().open(Some(&car::topic()), &payload).unwrap();
    let mut text = String::new();
    lines::sample(&mut text, &opened.header, all.last().unwrap());
    assert!(text.contains(&format!(r#""path":"{path}","source":23,"value":"#)), "{text}");
}

/// What is no reading says so; the cell of a place is a text, since JSON's numbers are too short for it.
#[test]
fn figures_cells_and_events_are_told_from_readings() {
    let batch = car::batch(true);
    let mut descriptor = batch.descriptor.clone().unwrap();
    let transform = |op: &str, name: &str, value: &str| v1::Transform {
        op: op.to_owned(),
        parameters: vec![v1::Parameter { name: name.to_owned(), value: value.to_owned() }],
    };
    descriptor.signals[1].transforms = vec![transform("aggregate", "functions", "mean")];
    let mut bin = transform("aggregate", "functions", "histogram");
    bin.parameters.push(v1::Parameter { name: "bin".to_owned(), value: "0 to 50".to_owned() });
    descriptor.signals[3].transforms = vec![bin];
    descriptor.signals[4].transforms = vec![transform("threshold", "value", "3")];
    descriptor.signals[6].transforms = vec![transform("geo_cell", "resolution", "7")];
    let opened = car::opener().open(None, &car::payload(1, &batch)).unwrap();
    let all: Vec<_> = samples(&batch, &descriptor).unwrap().collect();
    let line = |path: &str| {
        let mut text = String::new();
        lines::sample(&mut text, &opened.header, all.iter().find(|it| it.path.ends_with(path)).unwrap());
        text
    };
    assert!(line("AirTemperature").contains(r#""what":"mean","value":-52.5"#), "{}", line("AirTemperature"));
    assert!(line("IsOpen").contains(r#""what":"event","value":true"#));
    assert!(line("Counter").contains(r#""what":"cell","value":"ffffffffffffffff""#));
    assert!(line("Bias").contains(r#""what":"0 to 50""#), "{}", line("Bias"));
    assert!(!line("Speed").contains("what"));
}

#[test]
fn the_topic_must_fit_the_header() {
    let payload = car::payload(1, &car::batch(true));
    let fits = |topic: &str| car::opener().open(Some(topic), &payload);
    let alias = envelope::alias_id(&[1; 32]);
    let cases = [
        (envelope::batch_topic("acme", &alias), "the header's alias is"),
        (car::topic().replace("acme", "other"), "it is for recipient `other`"),
        (car::topic().replace("/batch", "/notice"), "names another kind"),
        (car::topic().replace("/v1/", "/v2/"), "not of the form"),
    ];
    for (topic, why) in cases {
        let error = fits(&topic).unwrap_err();
        assert!(matches!(error, OpenError::Topic { .. }) && error.to_string().contains(why), "{error}");
    }
}

#[test]
fn headers_that_are_refused() {
    let batch = car::batch(true).encode_to_vec();
    let with = |change: &dyn Fn(&mut v1::Header)| {
        let mut header = car::header(1);
        change(&mut header);
        refusal(&car::seal(&header, &batch).encode_to_vec())
    };
    assert!(with(&|header| header.format_version = 2).contains("format version 2"));
    assert!(with(&|header| header.suite = 2).contains("suite 2"));
    assert!(with(&|header| header.kind = 0).contains("kind 0"));
    assert!(with(&|header| header.kind = 9).contains("kind 9"));
    assert!(with(&|header| header.sequence = 0).contains("sequence 0"));
    assert!(with(&|header| header.recipient_key_id = vec![0; 31]).contains("has 31 bytes, must have 32"));
    assert!(with(&|header| header.recipient_key_id = vec![0; 32]).contains("sealed to key 0000"));
    assert!(with(&|header| header.alias_public_key = vec![2; 32]).contains("signature does not verify"));
    assert!(with(&|header| header.alias_public_key = vec![0; 32]).contains("signature does not verify"));
}

/// It knows topic, header and the recipient's public key: all but the secret of the car's alias.
#[test]
fn attack_the_broker_puts_in_a_batch_of_its_own() {
    let mut forged = car::seal(&car::header(7), &car::batch(true).encode_to_vec());
    assert!(car::opener().open(Some(&car::topic()), &forged.encode_to_vec()).is_ok(), "as the car signs it");
    let signed = envelope::signed_bytes(&forged.header, &forged.encapsulated_key, &forged.ciphertext);
    let own = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    forged.signature = ed25519_dalek::Signer::sign(&own, &signed).to_bytes().to_vec();
    assert!(refusal(&forged.encode_to_vec()).contains("signature does not verify"));
    // Under an alias of its own it is another car's, which the topic of this one does not carry.
    let own_alias = own.verifying_key().to_bytes().to_vec();
    let mut other = car::seal(
        &v1::Header { alias_public_key: own_alias, ..car::header(7) },
        &car::batch(true).encode_to_vec(),
    );
    let signed = envelope::signed_bytes(&other.header, &other.encapsulated_key, &other.ciphertext);
    other.signature = ed25519_dalek::Signer::sign(&own, &signed).to_bytes().to_vec();
    let error = car::opener().open(Some(&car::topic()), &other.encode_to_vec()).unwrap_err();
    assert!(matches!(error, OpenError::Topic { .. }), "{error}");
}

#[test]
fn bodies_that_are_refused() {
    let batch = car::batch(true);
    let sealed = |body: &[u8]| refusal(&car::seal_as(&car::header(1), body, "acme").encode_to_vec());
    let packed = body::pack(&batch.encode_to_vec(), body::LEVEL).unwrap();
    assert!(sealed(&packed[..packed.len() - 1]).starts_with("body: "));
    assert!(sealed(b"").starts_with("body: "));
    assert!(sealed(&body::pack(b"\xff\xff", 1).unwrap()).starts_with("batch is not"));
    let wrong = v1::Batch { descriptor_digest: vec![1; 32], ..batch.clone() };
    assert!(refusal(&car::payload(1, &wrong)).contains("digest that the batch names"));
    let short = v1::Batch { descriptor_digest: vec![1; 3], ..batch.clone() };
    assert!(refusal(&car::payload(1, &short)).contains("descriptor digest has 3 bytes"));
    let many = v1::Batch { columns: vec![v1::Column::default(); 200_000], ..batch };
    assert!(refusal(&car::payload(1, &many)).contains("messages inside"));
    assert!(refusal(&vec![0; envelope::ENVELOPE_BYTES_MAX + 1]).contains("at most 262144"));
}

#[test]
fn another_recipient_or_key_does_not_open_it() {
    let payload = car::payload(1, &car::batch(true));
    let other_key = HpkeKey::from_secret(&[7; 32]).unwrap();
    let other = Opener::new("acme", vec![other_key]).unwrap();
    assert!(matches!(other.open(None, &payload), Err(OpenError::UnknownKey { known: 1, .. })));
    let other = Opener::new("other", vec![car::recipient_key()]).unwrap();
    assert!(matches!(other.open(None, &payload), Err(OpenError::Seal { .. })));
    for id in ["", "device", "Acme", "a/b", "+"] {
        assert!(Opener::new(id, Vec::new()).is_err(), "{id}");
    }
}

#[test]
fn a_second_spelling_of_an_envelope_is_refused() {
    let envelope = car::seal(&car::header(1), &car::batch(true).encode_to_vec());
    let payload = envelope.encode_to_vec();
    let mut longer = payload.clone();
    longer.extend([0x78, 0x01]);
    assert!(v1::Envelope::decode(longer.as_slice()).is_ok(), "protobuf takes an unknown field");
    assert!(refusal(&longer).contains("canonical"));
    assert!(refusal(&[payload.as_slice(), &payload].concat()).contains("canonical"));
}

fn valid() -> &'static [u8] {
    static VALID: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    VALID.get_or_init(|| car::payload(1, &car::batch(true)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_never_open(payload in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(car::opener().open(None, &payload).is_err());
    }

    #[test]
    fn a_changed_envelope_never_opens(at in any::<prop::sample::Index>(), flip in 1u8..=255, cut in any::<bool>()) {
        let mut payload = valid().to_vec();
        let at = at.index(payload.len());
        match cut {
            true => payload.truncate(at),
            false => payload[at] ^= flip,
        }
        prop_assert!(car::opener().open(None, &payload).is_err());
        prop_assert!(open::verify(None, &payload).is_err());
    }

    #[test]
    fn fields_of_two_envelopes_do_not_mix(which in 1usize..15) {
        let other = car::seal(&car::header(2), &car::batch(false).encode_to_vec());
        let mut mixed = v1::Envelope::decode(valid()).unwrap();
        let take = |bit: usize, mine: &mut Vec<u8>, theirs: &[u8]| {
            if which >> bit & 1 == 1 {
                *mine = theirs.to_vec();
            }
        };
        take(0, &mut mixed.header, &other.header);
        take(1, &mut mixed.encapsulated_key, &other.encapsulated_key);
        take(2, &mut mixed.ciphertext, &other.ciphertext);
        take(3, &mut mixed.signature, &other.signature);
        prop_assert!(car::opener().open(None, &mixed.encode_to_vec()).is_err());
        // Signed anew by the car itself, the seal still binds header, key and ciphertext together.
        car::sign(&mut mixed);
        let opens = car::opener().open(None, &mixed.encode_to_vec()).is_ok();
        prop_assert_eq!(opens, which & 7 == 7 || which & 7 == 0);
    }

    #[test]
    fn garbage_inside_a_right_seal_never_panics(message in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut near = car::batch(true).encode_to_vec();
        let at = at.index(near.len());
        near[at] = byte;
        for message in [message, near] {
            let payload = car::seal(&car::header(1), &message).encode_to_vec();
            let Ok(opened) = car::opener().open(None, &payload) else { continue };
            let Message::Batch(batch) = opened.message else { continue };
            let Some(descriptor) = &batch.descriptor else { continue };
            let _ = samples(&batch, descriptor).map(Iterator::count);
        }
    }
}
