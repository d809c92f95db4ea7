//! Documents and keys for tests: a small world that is right, to be bent by each test.

use super::bundle::{
    Bundle, CatalogueEntry, Category, HpkeStatement, POLICY_TYPE, Recipient, RecipientStatus,
    SigningKeyStatement, Target, Text,
};
use super::dsse::{DsseEnvelope, pae};
use super::record::{
    ConsentAct, ConsentEvent, ConsentRecord, Decision, EventState, PiiInformation, Processing,
    RecordedPurpose, RecordedRecipient,
};
use super::request::{Necessity, PrivacyNotice, Purpose, Request, RequestedSignal};
use super::{Document, Policy, Verifier, verify_record, write};
use crate::consent::transform::{Parameter, TransformSpec};
use crate::names::{Digest, HpkeKey, PolicyVersion, TrustedTime, VerifyingKey, WallTime};
use ed25519_dalek::{Signer as _, SigningKey};
use uuid::Uuid;

/// Ed25519 as the agent's shell does it.
pub(crate) struct Dalek;

impl Verifier for Dalek {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        ed25519_dalek::VerifyingKey::from_bytes(&key.0)
            .is_ok_and(|k| k.verify_strict(message, &signature).is_ok())
    }
}

pub(crate) const ROOT: u8 = 1;
pub(crate) const SIGNING: u8 = 2;
pub(crate) const OWNER: u8 = 3;
pub(crate) const RECORD: u8 = 4;
pub(crate) const STRANGER: u8 = 5;
pub(crate) const ACME: u8 = 10;
pub(crate) const BORG: u8 = 11;

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn public(seed: u8) -> VerifyingKey {
    VerifyingKey(key(seed).verifying_key().to_bytes())
}

pub(crate) fn time(text: &str) -> WallTime {
    WallTime::parse(text).unwrap()
}

/// Noon of 1 November 2026, known to the second.
pub(crate) fn now() -> TrustedTime {
    TrustedTime { earliest: time("2026-11-01T12:00:00Z"), latest: time("2026-11-01T12:00:01Z") }
}

/// Signs whatever bytes as whatever type.
pub(crate) fn sign_bytes(payload_type: &str, payload: &[u8], seed: u8) -> DsseEnvelope {
    let signature = key(seed).sign(&pae(payload_type, payload)).to_bytes();
    DsseEnvelope::unsigned(payload_type, payload).with_signature(&public(seed).to_string(), &signature)
}

pub(crate) fn sign<T: Document>(document: &T, seed: u8) -> DsseEnvelope {
    sign_bytes(T::TYPE, &write(document).unwrap(), seed)
}

pub(crate) fn request(recipient: &str, purpose: &str, signals: &[&str]) -> Request {
    let ask = |signal: &&str| RequestedSignal {
        signal: signal.parse().unwrap(),
        necessity: Necessity::Required,
        transforms: Vec::new(),
    };
    Request {
        schema_version: 1,
        id: format!("{purpose}-request").parse().unwrap(),
        version: 1,
        recipient: recipient.parse().unwrap(),
        purpose: Purpose {
            id: purpose.parse().unwrap(),
            code: "https://w3id.org/dpv#ServiceProvision".to_owned(),
            text: vec![Text { language: "en".to_owned(), text: format!("For {purpose}.") }],
        },
        lawful_basis: "dpv:Consent".to_owned(),
        signals: signals.iter().map(ask).collect(),
        retention_period: "P30D".to_owned(),
        storage_locations: vec!["DE".to_owned()],
        onward_disclosure: Vec::new(),
        profiling: false,
        automated_decision: false,
        incentive: String::new(),
        privacy_notice: PrivacyNotice {
            uri: "https://acme.example/privacy".to_owned(),
            digest: Digest::of(b"notice"),
            language: "en".to_owned(),
        },
        jurisdiction: vec!["DE".to_owned()],
        batch_age_s: 10,
        max_age_s: None,
        microseconds: false,
        expires: time("2027-10-01T00:00:00Z"),
        event: None,
        subject_reference: None,
    }
}

pub(crate) fn hpke_statement(recipient: &str) -> HpkeStatement {
    HpkeStatement {
        schema_version: 1,
        recipient: recipient.parse().unwrap(),
        hpke_key: HpkeKey(Digest::of(recipient.as_bytes()).0),
        not_before: time("2026-10-01T00:00:00Z"),
        not_after: time("2027-10-01T00:00:00Z"),
    }
}

pub(crate) fn recipient(id: &str, seed: u8) -> Recipient {
    Recipient {
        id: id.parse().unwrap(),
        name: format!("{id} Ltd"),
        contact: format!("privacy@{id}.example"),
        country: "DE".to_owned(),
        request_key: public(seed),
        hpke_keys: vec![sign(&hpke_statement(id), seed)],
        status: RecipientStatus::Active,
    }
}

pub(crate) fn statement() -> SigningKeyStatement {
    SigningKeyStatement {
        schema_version: 1,
        key: public(SIGNING),
        serial: 5,
        not_before: time("2026-01-01T00:00:00Z"),
        not_after: time("2028-01-01T00:00:00Z"),
    }
}

pub(crate) fn catalogued(signal: &str, category: Category) -> CatalogueEntry {
    CatalogueEntry {
        signal: signal.parse().unwrap(),
        category,
        labels: Vec::new(),
        floor: Vec::new(),
        plausible: None,
    }
}

pub(crate) fn rate(min_interval_ms: i64) -> TransformSpec {
    let parameters = [("min_interval_ms".to_owned(), Parameter::Integer(min_interval_ms))];
    TransformSpec { op: "rate".to_owned(), parameters: parameters.into() }
}

pub(crate) const SPEED: &str = "Vehicle.Speed";
pub(crate) const RANGE: &str = "Vehicle.Powertrain.Range";
pub(crate) const LATITUDE: &str = "Vehicle.CurrentLocation.Latitude";

/// The requests of the sample bundle with the seeds of their signers.
pub(crate) fn requests() -> Vec<(Request, u8)> {
    vec![
        (request("acme", "tyre-care", &[SPEED, RANGE]), ACME),
        (request("acme", "service", &[SPEED]), ACME),
        (request("borg", "maps", &[SPEED, LATITUDE]), BORG),
    ]
}

/// A bundle with two recipients, three requests and a catalogue of three leaves.
pub(crate) fn bundle(version: u64) -> Bundle {
    let mut speed = catalogued(SPEED, Category::Driving);
    speed.floor = vec![rate(60_000)];
    Bundle {
        schema_version: 1,
        version: PolicyVersion(version),
        issued: time("2026-10-31T00:00:00Z"),
        expires: time("2027-06-01T00:00:00Z"),
        target: Target::Vehicle("car-1".parse().unwrap()),
        catalogue: vec![speed, catalogued(RANGE, Category::Energy), catalogued(LATITUDE, Category::Location)],
        recipients: vec![recipient("acme", ACME), recipient("borg", BORG)],
        requests: requests().iter().map(|(request, seed)| sign(request, *seed)).collect(),
        directives: Vec::new(),
    }
}

/// The file: the bundle by the signing key, with the root's statement beside it.
pub(crate) fn bundle_file(bundle: &Bundle) -> Vec<u8> {
    sign(bundle, SIGNING).with_statement(sign(&statement(), ROOT)).to_bytes().unwrap()
}

/// As [`bundle_file`], of a payload that is bent as JSON.
pub(crate) fn bent_bundle_file(payload: &[u8]) -> Vec<u8> {
    sign_bytes(POLICY_TYPE, payload, SIGNING).with_statement(sign(&statement(), ROOT)).to_bytes().unwrap()
}

/// A policy of `bundle`, verified as in the car.
pub(crate) fn policy(bundle: &Bundle) -> Policy {
    Policy::verify(&bundle_file(bundle), &public(ROOT), &Dalek).unwrap()
}

/// The alias and principal id under which `recipient` knows the sample car.
pub(crate) fn alias(recipient: &str) -> (VerifyingKey, Digest) {
    (VerifyingKey(Digest::of(format!("alias {recipient}").as_bytes()).0), Digest::of(recipient.as_bytes()))
}

pub(crate) fn id(number: u64) -> Uuid {
    uuid::Builder::from_random_bytes(Digest::of(&number.to_be_bytes()).0[..16].try_into().unwrap())
        .into_uuid()
}

/// How the sample car extracts a leaf.
pub(crate) fn leaf_digest(signal: &crate::names::SignalPath) -> Option<Digest> {
    Some(Digest::of(signal.as_str().as_bytes()))
}

/// A record on all that `request` asks for, valid for the half year around [`now`].
pub(crate) fn record(number: u64, request: &Request, seed: u8, state: EventState) -> ConsentRecord {
    let (subject_vehicle, pii_principal_id) = alias(request.recipient.as_str());
    let category = |signal: &str| match signal {
        SPEED => Category::Driving,
        RANGE => Category::Energy,
        LATITUDE => Category::Location,
        _ => Category::Unknown,
    };
    let pii = |asked: &RequestedSignal| PiiInformation {
        signal: asked.signal.clone(),
        pii_type: String::new(),
        category: category(asked.signal.as_str()),
        necessity: asked.necessity,
        decision: Decision::Yes,
        transform: asked.transforms.clone(),
        floor_waived: false,
        signal_map_digest: leaf_digest(&asked.signal).unwrap(),
    };
    ConsentRecord {
        schema_version: 1,
        record_id: id(number),
        pii_principal_id,
        subject_vehicle,
        supersedes: None,
        request_digest: Digest::of(&write(request).unwrap()),
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
            party_name: format!("{} Ltd", request.recipient),
            party_contact: format!("privacy@{}.example", request.recipient),
            party_role: "dpv:DataController".to_owned(),
            key_thumbprint: Digest::of(&public(seed).0),
        },
        pii_information: request.signals.iter().map(pii).collect(),
        processing: Processing {
            off_board: true,
            profiling: request.profiling,
            automated_decision: request.automated_decision,
            onward_disclosure: request.onward_disclosure.clone(),
        },
        retention_period: request.retention_period.clone(),
        storage_locations: request.storage_locations.clone(),
        not_before: time("2026-08-01T00:00:00Z"),
        not_after: time("2027-02-01T00:00:00Z"),
        conditions: super::record::Conditions::default(),
        withdrawal_method: "glovebox consent withdraw".to_owned(),
        events: vec![ConsentEvent {
            event_time: time("2026-10-31T12:00:00Z"),
            event_state: state,
            event_type: "given".to_owned(),
            entity_id: "owner".to_owned(),
            indication_method: "command_line".to_owned(),
            ui_digest: Digest::of(b"shown"),
        }],
    }
}

/// The record as a file, signed by the key of `seed`.
pub(crate) fn record_file(record: &ConsentRecord, seed: u8) -> Vec<u8> {
    sign(record, seed).to_bytes().unwrap()
}

/// The record as the car accepts it, signed by the owner.
pub(crate) fn act(record: &ConsentRecord) -> ConsentAct {
    verify_record(&record_file(record, OWNER), &[public(OWNER)], &public(RECORD), &Dalek).unwrap()
}
