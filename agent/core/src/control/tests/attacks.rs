//! Attacks at the one door, a test each: documents that must not come in. The list with all of them is `tests/attacks.txt`.

use super::{aliases, car, empty, enrolment, examine, given, take};
use crate::consent::document::bundle::{Bundle, POLICY_TYPE, Target};
use crate::consent::document::samples::{
    ACME, Dalek, OWNER, RECORD, ROOT, SIGNING, STRANGER, bent_bundle_file, bundle, bundle_file, public,
    record_file, requests, sign, sign_bytes, statement,
};
use crate::consent::document::{DsseEnvelope, write};
use crate::control::{Control, Counters, Refusal, Stored};
use crate::limits::{DOCUMENT_BYTES_MAX, POLICY_STEP_VERSIONS_MAX};
use crate::names::PolicyVersion;

/// Refused with these words, and what was in force stays.
#[track_caller]
fn refused(file: &[u8], words: &str) {
    let mut control = car();
    let before = (control.policy().cloned(), control.grants().clone());
    let error = take(&mut control, file).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
    assert_eq!((control.policy().cloned(), control.grants().clone()), before);
}

fn payload(bundle: &Bundle) -> String {
    String::from_utf8(write(bundle).unwrap()).unwrap()
}

fn with_statement(envelope: DsseEnvelope) -> Vec<u8> {
    envelope.with_statement(sign(&statement(), ROOT)).to_bytes().unwrap()
}

/// The same bundle, changed in one place of its text, is refused; unchanged it is taken.
#[track_caller]
fn refused_with(what: &str, instead: &str, words: &str) {
    let text = payload(&bundle(2));
    assert!(examine(&car(), &bent_bundle_file(text.as_bytes())).is_ok());
    let bent = text.replacen(what, instead, 1);
    assert_ne!(bent, text);
    refused(&bent_bundle_file(bent.as_bytes()), words);
}

#[test]
fn attack_a_bundle_is_rolled_back() {
    let mut control = car();
    take(&mut control, &bundle_file(&bundle(3))).unwrap();
    let (version, counter) = (PolicyVersion(2), PolicyVersion(3));
    assert_eq!(examine(&control, &bundle_file(&bundle(2))), Err(Refusal::RolledBack { version, counter }));
    // Nor after the store of policies was put back, as long as the counters were not.
    let floor = Counters { policy_version: counter, ..control.counters() };
    let stored = Stored { policy: Some(bundle_file(&bundle(2))), floor, ..Stored::default() };
    assert!(Control::restore(enrolment(), stored, &aliases, &Dalek).0.policy().is_none());
}

#[test]
fn attack_a_notice_text_is_swapped_under_the_same_request() {
    let mut swapped = bundle(2);
    let mut request = requests()[0].0.clone();
    request.privacy_notice.digest = crate::names::Digest::of(b"another text");
    swapped.requests[0] = sign(&request, ACME);
    refused(&bundle_file(&swapped), "requests[0].version");
}

#[test]
fn attack_a_bundle_for_another_car() {
    let mut foreign = bundle(2);
    foreign.target = Target::Vehicle("car-2".parse().unwrap());
    refused(&bundle_file(&foreign), "is for another car");
}

#[test]
fn attack_a_huge_version_number() {
    for huge in [2 + POLICY_STEP_VERSIONS_MAX, u64::MAX] {
        refused(&bundle_file(&bundle(huge)), "too large a step");
    }
}

#[test]
fn attack_an_oversize_document() {
    let file = bundle_file(&bundle(2));
    assert!(examine(&car(), &file).is_ok());
    let spaces = vec![b' '; DOCUMENT_BYTES_MAX + 1 - file.len()];
    refused(&[file, spaces].concat(), &DOCUMENT_BYTES_MAX.to_string());
}

#[test]
fn attack_a_deeply_nested_document() {
    let nested = format!("\"min_interval_ms\": {}1{}", "[".repeat(20), "]".repeat(20));
    refused_with("\"min_interval_ms\": 60000", &nested, "deeper than 16");
}

#[test]
fn attack_a_key_that_stands_twice() {
    refused_with("\"version\": 2", "\"version\": 2, \"version\": 3", "stands twice");
}

#[test]
fn attack_a_field_that_nobody_knows() {
    refused_with("\"version\": 2", "\"version\": 2, \"grants\": []", "grants");
}

#[test]
fn attack_an_unsigned_document() {
    let bare = DsseEnvelope::unsigned(POLICY_TYPE, payload(&bundle(2)).as_bytes());
    refused(&with_statement(bare), "signature");
    refused(payload(&bundle(2)).as_bytes(), "payload");
}

#[test]
fn attack_a_document_by_the_wrong_key() {
    for seed in [STRANGER, ROOT, OWNER, ACME, RECORD] {
        refused(&with_statement(sign(&bundle(2), seed)), "signatures");
    }
    let own_statement = sign(&bundle(2), SIGNING).with_statement(sign(&statement(), STRANGER));
    refused(&own_statement.to_bytes().unwrap(), "root key");
}

#[test]
fn attack_a_document_of_the_wrong_payload_type() {
    let as_record =
        sign_bytes("application/vnd.glovebox.consent+json", payload(&bundle(2)).as_bytes(), OWNER);
    assert!(take(&mut car(), &as_record.to_bytes().unwrap()).is_err());
    let as_bundle = sign_bytes(POLICY_TYPE, &write(&given(1, 0)).unwrap(), SIGNING);
    refused(&with_statement(as_bundle), "policy bundle");
}

#[test]
fn attack_a_signature_of_another_kind() {
    let bytes = write(&bundle(2)).unwrap();
    // The right key over the same bytes, but as a key statement.
    let other = sign_bytes("application/vnd.glovebox.key+json", &bytes, SIGNING);
    let mut crossed = DsseEnvelope::unsigned(POLICY_TYPE, &bytes);
    crossed.signatures = other.signatures;
    refused(&with_statement(crossed), "signatures");
}

#[test]
fn attack_somebody_far_away_grants() {
    let record = given(1, 0);
    for seed in [STRANGER, ROOT, SIGNING, ACME, RECORD] {
        refused(&record_file(&record, seed), "owner");
    }
    assert!(!enrolment().owners.contains(&public(RECORD)));
    // Without a policy there is nothing to agree to, whoever signs.
    assert_eq!(examine(&empty(), &record_file(&record, OWNER)), Err(Refusal::NoPolicy));
    assert!(take(&mut car(), &record_file(&record, OWNER)).is_ok(), "the owner's own signature");
}
