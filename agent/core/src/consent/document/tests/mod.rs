//! Bad documents, each with the words that name its kind and place; and the good ones that they are bent from.

mod bundles;
mod records;
mod requests;

use super::Document;
use super::samples::{Dalek, OWNER, ROOT, bundle, bundle_file, public, sign};
use super::{DsseEnvelope, Policy, pae, read, write};
use serde_json::Value;

/// A name, what is bent, and the words that the error must hold.
pub(super) type Case<'a> = (&'a str, &'a dyn Fn(&mut Value), &'a [&'a str]);

/// The document's JSON, bent.
pub(super) fn bent<T: Document>(document: &T, bend: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(&write(document).unwrap()).unwrap();
    bend(&mut value);
    serde_json::to_vec(&value).unwrap()
}

/// Sets the value at a JSON pointer, which must be there.
pub(super) fn set(value: &mut Value, pointer: &str, to: impl Into<Value>) {
    *value.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = to.into();
}

/// Adds or replaces a key of the object at a pointer.
pub(super) fn put(value: &mut Value, pointer: &str, key: &str, to: impl Into<Value>) {
    value.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap().insert(key.to_owned(), to.into());
}

pub(super) fn remove(value: &mut Value, pointer: &str, key: &str) {
    value.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap().remove(key).unwrap();
}

/// Asserts that an error holds all the words.
pub(super) fn says(name: &str, error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{name}: `{word}` is missing in: {error}");
    }
}

fn verify_bundle(bytes: &[u8]) -> Result<Policy, String> {
    Policy::verify(bytes, &public(ROOT), &Dalek).map_err(|error| error.to_string())
}

#[test]
fn pae_is_that_of_the_dsse_protocol() {
    // The example of the DSSE protocol's own text.
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
}

#[test]
fn a_good_bundle_verifies_with_all_in_it() {
    let policy = verify_bundle(&bundle_file(&bundle(7))).unwrap();
    assert_eq!(policy.requests().len(), 3);
    assert_eq!(policy.bundle().payload().version.0, 7);
    assert_eq!(policy.signing().payload().serial, 5);
    let request = &policy.requests()[0];
    assert_eq!(policy.request(&request.digest()), Some(request));
    let now = super::samples::now();
    let acme = "acme".parse().unwrap();
    assert!(policy.hpke_key(&acme, now).is_some());
    let later = super::samples::time("2027-10-01T00:00:00Z");
    let doubtful = crate::names::TrustedTime { earliest: now.earliest, latest: later };
    assert!(policy.hpke_key(&acme, doubtful).is_none(), "its dates must hold over the whole interval");
    assert_eq!(policy.notice_key(&acme, doubtful), policy.hpke_key(&acme, now), "a notice takes an old key");
    assert_eq!(policy.notice_key(&"nobody".parse().unwrap(), now), None);
    assert!(policy.catalogue(&super::samples::SPEED.parse().unwrap()).is_some());
    assert!(policy.catalogue(&"Vehicle.Other".parse().unwrap()).is_none());
}

#[test]
fn an_envelope_survives_its_file() {
    let envelope = sign(&bundle(1), OWNER);
    assert_eq!(DsseEnvelope::parse(&envelope.to_bytes().unwrap()).unwrap(), envelope);
    assert_eq!(envelope.payload_bytes().unwrap(), write(&bundle(1)).unwrap());
    assert_eq!(read::<super::bundle::Bundle>(&envelope.payload_bytes().unwrap()).unwrap(), bundle(1));
}
