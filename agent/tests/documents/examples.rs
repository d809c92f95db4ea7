//! The examples in `proto/examples`: made here of fixed keys, compared with the files, and taken as a car takes them.
//! After a wanted change: `GLOVEBOX_BLESS=1 cargo nextest run -p glovebox --test documents`.

use super::{Kind, Strict, bless, proto};
use ed25519_dalek::pkcs8::EncodePublicKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::{Signer as _, SigningKey};
use glovebox_core::consent::document::bundle::{
    Bundle, CatalogueEntry, Category, Directive, HpkeStatement, Plausible, Recipient, RecipientStatus,
    SigningKeyStatement, Target, Text,
};
use glovebox_core::consent::document::enrolment::{EnrolmentAct, OwnerEnrolment};
use glovebox_core::consent::document::event::EventCondition;
use glovebox_core::consent::document::record::{
    Conditions, ConsentEvent, ConsentRecord, Decision, EventState, PiiInformation, Processing,
    RecordedPurpose, RecordedRecipient,
};
use glovebox_core::consent::document::request::{
    Necessity, PrivacyNotice, Purpose, Request, RequestedSignal,
};
use glovebox_core::consent::document::{
    ConsentAct, Document, DsseEnvelope, Policy, describe, verify, verify_record, write,
};
use glovebox_core::consent::transform::{Parameter, TransformSpec};
use glovebox_core::control::{Control, Enrolment, Stored};
use glovebox_core::names::{Digest, HpkeKey, PolicyVersion, VerifyingKey, WallTime};

const ROOT: u8 = 1;
const SIGNING: u8 = 2;
const OWNER: u8 = 3;
const ACME: u8 = 4;
const RECORD: u8 = 5;
const PHONE: u8 = 6;
const PRESSURE: &str = "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure";
const TEMPERATURE: &str = "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Temperature";
const NOTICE: &[u8] = b"Acme's privacy notice, as the owner read it.\n";

/// Whose seed is 32 times this byte.
fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> VerifyingKey {
    VerifyingKey(key(seed).verifying_key().to_bytes())
}

fn sign<T: Document>(document: &T, seed: u8) -> DsseEnvelope {
    let envelope = DsseEnvelope::unsigned(T::TYPE, &write(document).unwrap());
    let signature = key(seed).sign(&envelope.signing_input().unwrap()).to_bytes();
    envelope.with_signature(&public(seed).to_string(), &signature)
}

fn time(text: &str) -> WallTime {
    WallTime::parse(text).unwrap()
}

fn transform(op: &str, parameters: &[(&str, Parameter)]) -> TransformSpec {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    TransformSpec { op: op.to_owned(), parameters }
}

fn text(language: &str, text: &str) -> Text {
    Text { language: language.to_owned(), text: text.to_owned() }
}

fn notice() -> PrivacyNotice {
    let uri = "https://acme.example/privacy/tyres".to_owned();
    PrivacyNotice { uri, digest: Digest::of(NOTICE), language: "en".to_owned() }
}

fn request() -> Request {
    Request {
        schema_version: 1,
        id: "tyre-care".parse().unwrap(),
        version: 3,
        recipient: "acme".parse().unwrap(),
        purpose: Purpose {
            id: "tyre-care".parse().unwrap(),
            code: "https://w3id.org/dpv#ServiceProvision".to_owned(),
            text: vec![
                text("en", "To tell you in time when a tyre loses air."),
                text("de", "Um Ihnen rechtzeitig zu sagen, wenn ein Reifen Luft verliert."),
            ],
        },
        lawful_basis: "dpv:Consent".to_owned(),
        signals: vec![
            RequestedSignal {
                signal: PRESSURE.parse().unwrap(),
                necessity: Necessity::Required,
                transforms: vec![
                    transform("quantise", &[("step", Parameter::Integer(5))]),
                    transform("rate", &[("min_interval_ms", Parameter::Integer(300_000))]),
                ],
            },
            RequestedSignal {
                signal: TEMPERATURE.parse().unwrap(),
                necessity: Necessity::Optional,
                transforms: vec![transform("on_change", &[("min_delta", Parameter::Number(2.5))])],
            },
        ],
        retention_period: "P90D".to_owned(),
        storage_locations: vec!["DE".to_owned(), "FR".to_owned()],
        onward_disclosure: vec!["The workshop that you choose".to_owned()],
        profiling: false,
        automated_decision: false,
        incentive: "A free tyre check each spring.".to_owned(),
        privacy_notice: notice(),
        jurisdiction: vec!["DE".to_owned()],
        batch_age_s: 600,
        max_age_s: Some(604_800),
        microseconds: false,
        expires: time("2028-01-01T00:00:00Z"),
        event: Some(event()),
        subject_reference: Some("7F3K-22QD".to_owned()),
    }
}

/// A tyre that loses air.
fn event() -> EventCondition {
    EventCondition { when: format!("{PRESSURE} < 180"), before_s: 300, after_s: 600, min_interval_s: 86_400 }
}

fn hpke_key() -> HpkeStatement {
    HpkeStatement {
        schema_version: 1,
        recipient: "acme".parse().unwrap(),
        // Alice's public key of RFC 7748, section 6.1.
        hpke_key: "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
            .parse::<HpkeKey>()
            .unwrap(),
        not_before: time("2026-11-01T00:00:00Z"),
        not_after: time("2028-01-01T00:00:00Z"),
    }
}

fn signing_key() -> SigningKeyStatement {
    SigningKeyStatement {
        schema_version: 1,
        key: public(SIGNING),
        serial: 1,
        not_before: time("2026-11-01T00:00:00Z"),
        not_after: time("2028-01-01T00:00:00Z"),
    }
}

fn policy() -> Bundle {
    let slow = transform("rate", &[("min_interval_ms", Parameter::Integer(60_000))]);
    Bundle {
        schema_version: 1,
        version: PolicyVersion(7),
        issued: time("2026-11-02T08:00:00Z"),
        expires: time("2027-11-02T08:00:00Z"),
        target: Target::Group("fleet-a".parse().unwrap()),
        catalogue: vec![
            CatalogueEntry {
                signal: PRESSURE.parse().unwrap(),
                category: Category::Condition,
                labels: vec![text("en", "Tyre pressure, front left"), text("de", "Reifendruck vorn links")],
                floor: vec![slow.clone()],
                plausible: Some(Plausible { min: 0.0, max: 1000.0 }),
            },
            CatalogueEntry {
                signal: TEMPERATURE.parse().unwrap(),
                category: Category::Condition,
                labels: Vec::new(),
                floor: Vec::new(),
                plausible: None,
            },
        ],
        recipients: vec![Recipient {
            id: "acme".parse().unwrap(),
            name: "Acme Tyres GmbH".to_owned(),
            contact: "privacy@acme.example".to_owned(),
            country: "DE".to_owned(),
            request_key: public(ACME),
            hpke_keys: vec![sign(&hpke_key(), ACME)],
            status: RecipientStatus::Active,
        }],
        requests: vec![sign(&request(), ACME)],
        directives: vec![
            Directive::Suspend { recipient: "borg".parse().unwrap(), request: Some("maps".parse().unwrap()) },
            Directive::Drop { signal: "Vehicle.Speed".parse().unwrap() },
            Directive::Tighten { signal: PRESSURE.parse().unwrap(), transforms: vec![slow] },
            Directive::RequireMinVersion { version: "0.1.0".to_owned() },
        ],
    }
}

fn consent() -> ConsentRecord {
    let (request, bundle) = (request(), policy());
    let pii = |(asked, decision): (&RequestedSignal, Decision)| {
        let floor = bundle.catalogue.iter().filter(|entry| entry.signal == asked.signal);
        PiiInformation {
            signal: asked.signal.clone(),
            pii_type: Category::Condition.pii_type().to_owned(),
            category: Category::Condition,
            necessity: asked.necessity,
            decision,
            transform: asked.transforms.iter().chain(floor.flat_map(|entry| &entry.floor)).cloned().collect(),
            floor_waived: false,
            signal_map_digest: Digest::of(asked.signal.as_str().as_bytes()),
        }
    };
    let mut record = ConsentRecord {
        schema_version: 1,
        record_id: "3f8a6c1e-5b7d-4e2a-9c04-d1f2a3b4c5d6".parse().unwrap(),
        pii_principal_id: Digest::of(b"this car's owner, to acme alone"),
        subject_vehicle: VerifyingKey(Digest::of(b"this car, to acme alone").0),
        supersedes: Some("0a1b2c3d-4e5f-4a6b-8c7d-8e9fa0b1c2d3".parse().unwrap()),
        request_digest: Digest::of(&write(&request).unwrap()),
        privacy_notice: request.privacy_notice.clone(),
        purpose: RecordedPurpose {
            id: request.purpose.id.clone(),
            code: request.purpose.code.clone(),
            text_digest: Digest::of(request.purpose.text[0].text.as_bytes()),
        },
        lawful_basis: request.lawful_basis.clone(),
        jurisdiction: request.jurisdiction.clone(),
        recipient: RecordedRecipient {
            party_id: request.recipient.clone(),
            party_name: "Acme Tyres GmbH".to_owned(),
            party_contact: "privacy@acme.example".to_owned(),
            party_role: "dpv:DataController".to_owned(),
            key_thumbprint: Digest::of(&public(ACME).0),
        },
        pii_information: request.signals.iter().zip([Decision::Yes, Decision::No]).map(pii).collect(),
        processing: Processing {
            off_board: true,
            profiling: request.profiling,
            automated_decision: request.automated_decision,
            onward_disclosure: request.onward_disclosure.clone(),
        },
        retention_period: request.retention_period.clone(),
        storage_locations: request.storage_locations.clone(),
        not_before: time("2026-11-03T09:30:00Z"),
        not_after: time("2027-11-03T09:30:00Z"),
        conditions: Conditions {
            max_bytes_per_day: Some(1_000_000),
            max_age_s: Some(86_400),
            event: request.event.clone(),
        },
        withdrawal_method: "`glovebox consent withdraw`, in the car at any time".to_owned(),
        events: vec![ConsentEvent {
            event_time: time("2026-11-03T09:30:00Z"),
            event_state: EventState::ConsentGiven,
            event_type: "given".to_owned(),
            entity_id: "owner".to_owned(),
            indication_method: "command_line".to_owned(),
            ui_digest: Digest([0; 32]),
        }],
    };
    record.events[0].ui_digest = Digest::of(describe(&record).as_bytes());
    record
}

/// The first of a car with the keys of these examples.
fn enrolment() -> OwnerEnrolment {
    OwnerEnrolment {
        schema_version: 1,
        device: "car-1".parse().unwrap(),
        follows: Digest::of(&[b"glovebox/v1/owners", &public(RECORD).0[..], &public(OWNER).0].concat()),
        act: EnrolmentAct::Enrol,
        owner_key: public(PHONE),
        issued: time("2026-11-03T09:30:00Z"),
        not_after: time("2026-11-10T09:30:00Z"),
    }
}

fn signed(kind: Kind) -> (Vec<u8>, DsseEnvelope) {
    let both = |payload, envelope| (payload, envelope);
    match kind {
        Kind::Policy => {
            let envelope = sign(&policy(), SIGNING).with_statement(sign(&signing_key(), ROOT));
            both(write(&policy()).unwrap(), envelope)
        }
        Kind::Request => both(write(&request()).unwrap(), sign(&request(), ACME)),
        Kind::Consent => both(write(&consent()).unwrap(), sign(&consent(), OWNER)),
        Kind::SigningKey => both(write(&signing_key()).unwrap(), sign(&signing_key(), ROOT)),
        Kind::HpkeKey => both(write(&hpke_key()).unwrap(), sign(&hpke_key(), ACME)),
        Kind::Enrolment => both(write(&enrolment()).unwrap(), sign(&enrolment(), OWNER)),
    }
}

#[track_caller]
fn same(name: &str, bytes: &[u8]) {
    let file = proto("examples").join(name);
    if bless() {
        std::fs::write(&file, bytes).unwrap();
    }
    let there = std::fs::read(&file).unwrap_or_default();
    assert!(
        there == bytes,
        "{name} is not what is made now: see how to write it anew at the head of this file"
    );
}

#[test]
fn the_examples_are_what_the_code_makes() {
    for kind in Kind::ALL {
        let (payload, envelope) = signed(kind);
        same(&format!("{}.json", kind.name()), &payload);
        same(&format!("{}.dsse", kind.name()), &envelope.to_bytes().unwrap());
    }
    for (name, seed) in [("root.pub", ROOT), ("owner.pub", OWNER), ("acme.pub", ACME)] {
        let pem = key(seed).verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
        same(name, pem.as_bytes());
    }
}

#[test]
fn a_car_takes_the_examples() {
    let file = |kind: Kind| std::fs::read(proto("examples").join(format!("{}.dsse", kind.name()))).unwrap();
    let policy = Policy::verify(&file(Kind::Policy), &public(ROOT), &Strict).unwrap();
    let record = verify_record(&file(Kind::Consent), &[public(OWNER)], &public(RECORD), &Strict).unwrap();
    assert!(matches!(&record, ConsentAct::Widening(_)));
    assert!(policy.request(&record.record().payload().request_digest).is_some());
    let envelope = DsseEnvelope::parse(&file(Kind::SigningKey)).unwrap();
    assert!(verify::<SigningKeyStatement>(&envelope, &[public(ROOT)], &Strict).is_ok());
    assert!(verify::<SigningKeyStatement>(&envelope, &[public(ACME)], &Strict).is_err());
    let enrolment = Enrolment {
        device: "car-1".parse().unwrap(),
        groups: Vec::new(),
        root: Some(public(ROOT)),
        owners: vec![public(OWNER)],
        record_key: public(RECORD),
    };
    let stored = Stored { enrolments: vec![file(Kind::Enrolment)], ..Stored::default() };
    let (control, refused) = Control::restore(enrolment, stored, &|_| None, &Strict);
    assert_eq!((control.owners().keys(), refused), (vec![public(OWNER), public(PHONE)], vec![]));
}
