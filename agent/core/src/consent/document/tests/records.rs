//! Bad consent records, and the ratchet at the signature.

use super::super::record::{
    CONSENT_TYPE, ConsentAct, ConsentRecord, EventState, claimed_flow, verify_record,
};
use super::super::samples::{
    ACME, Dalek, OWNER, RECORD, SIGNING, STRANGER, public, record, record_file, requests, sign, sign_bytes,
};
use super::super::{describe, write};
use super::{Case, bent, put, remove, says, set};
use crate::consent::transform::{Parameter, TransformSpec};
use crate::names::Digest;
use serde_json::{Value, json};

fn given() -> ConsentRecord {
    record(1, &requests()[0].0, ACME, EventState::ConsentGiven)
}

fn verified(bytes: &[u8]) -> Result<ConsentAct, String> {
    verify_record(bytes, &[public(OWNER)], &public(RECORD), &Dalek).map_err(|error| error.to_string())
}

const NARROW: [EventState; 6] = [
    EventState::ConsentNarrowed,
    EventState::ConsentRefused,
    EventState::ConsentRequestDeferred,
    EventState::ConsentWithdrawn,
    EventState::ConsentExpired,
    EventState::ConsentInvalidated,
];

#[test]
fn invariant_4_only_an_owner_key_widens_and_both_keys_narrow() {
    let request = &requests()[0].0;
    for state in [EventState::ConsentGiven, EventState::RenewedConsentGiven] {
        let record = record(1, request, ACME, state);
        assert!(matches!(verified(&record_file(&record, OWNER)), Ok(ConsentAct::Widening(_))));
        for seed in [RECORD, STRANGER, SIGNING, ACME] {
            let error = verified(&record_file(&record, seed)).unwrap_err();
            says("seed", &error, &["consent record at `signatures`", "owner key"]);
        }
    }
    for state in NARROW {
        let record = record(1, request, ACME, state);
        for seed in [OWNER, RECORD] {
            assert!(matches!(verified(&record_file(&record, seed)), Ok(ConsentAct::Narrowing(_))));
        }
        assert!(verified(&record_file(&record, STRANGER)).is_err());
    }
}

#[test]
fn invariant_4_a_record_key_that_is_also_listed_as_owner_does_not_widen() {
    let bytes = record_file(&given(), RECORD);
    let both = [public(OWNER), public(RECORD)];
    assert!(verify_record(&bytes, &both, &public(RECORD), &Dalek).is_err());
}

#[test]
fn the_last_event_decides() {
    let mut record = given();
    let mut withdrawn = record.events[0].clone();
    withdrawn.event_state = EventState::ConsentWithdrawn;
    record.events.push(withdrawn);
    assert!(matches!(verified(&record_file(&record, OWNER)), Ok(ConsentAct::Narrowing(_))));
}

#[test]
fn an_age_is_at_least_a_minute() {
    let with = |age: Value| {
        let bend = |v: &mut Value| put(v, "/conditions", "max_age_s", age.clone());
        verified(&sign_bytes(CONSENT_TYPE, &bent(&given(), bend), OWNER).to_bytes().unwrap())
    };
    assert!(with(json!(60)).is_ok());
    for (age, words) in
        [(json!(59), "at least 60"), (json!("1h"), "whole number"), (json!(-1), "whole number")]
    {
        says("age", &with(age).unwrap_err(), &["`conditions.max_age_s", words]);
    }
}

#[test]
fn an_owner_signature_beside_others_is_found() {
    let record = given();
    let owner = sign(&record, OWNER).signatures;
    let mut envelope = sign(&record, STRANGER);
    envelope.signatures.extend(sign(&record, RECORD).signatures);
    envelope.signatures.extend(owner);
    assert!(matches!(verified(&envelope.to_bytes().unwrap()), Ok(ConsentAct::Widening(_))));
}

#[test]
fn bad_records_are_refused_with_the_place() {
    let with = |bend: &dyn Fn(&mut Value)| {
        sign_bytes(CONSENT_TYPE, &bent(&given(), bend), OWNER).to_bytes().unwrap()
    };
    let cases: &[Case<'_>] = &[
        ("schema", &|v| set(v, "/schema_version", 2), &["`schema_version`"]),
        ("unknown field", &|v| put(v, "", "vin", "X"), &["unknown field"]),
        ("no events", &|v| set(v, "/events", json!([])), &["`events`", "0 entries"]),
        (
            "state",
            &|v| set(v, "/events/0/event_state", "ConsentUnknown"),
            &["`events[0].event_state", "ConsentGiven"],
        ),
        ("entity", &|v| set(v, "/events/0/entity_id", ""), &["`events[0].entity_id`"]),
        (
            "not random",
            &|v| set(v, "/record_id", "00000000-0000-1000-8000-000000000000"),
            &["`record_id`", "version 4"],
        ),
        ("not a UUID", &|v| set(v, "/record_id", "x"), &["`record_id`", "UUID"]),
        (
            "itself",
            &|v| {
                let id = v["record_id"].clone();
                put(v, "", "supersedes", id);
            },
            &["`supersedes`", "itself"],
        ),
        ("dates", &|v| set(v, "/not_after", "2026-08-01T00:00:00Z"), &["`not_after`", "later than"]),
        ("nothing", &|v| set(v, "/pii_information", json!([])), &["`pii_information`", "0 entries"]),
        (
            "twice",
            &|v| {
                let s = v["pii_information"][0].clone();
                v["pii_information"][1] = s;
            },
            &["`pii_information[1].signal`"],
        ),
        (
            "wildcard",
            &|v| set(v, "/pii_information/0/signal", "Vehicle.*"),
            &["`pii_information[0].signal`", "'*'"],
        ),
        (
            "decision",
            &|v| set(v, "/pii_information/0/decision", "maybe"),
            &["`pii_information[0].decision", "in_vehicle"],
        ),
        (
            "digest",
            &|v| set(v, "/pii_information/0/signal_map_digest", "zz"),
            &["`pii_information[0].signal_map_digest`"],
        ),
        ("thumbprint", &|v| remove(v, "/recipient", "key_thumbprint"), &["`recipient`", "key_thumbprint"]),
        ("jurisdiction", &|v| set(v, "/jurisdiction", json!(["D"])), &["`jurisdiction[0]`"]),
        ("retention", &|v| set(v, "/retention_period", "30"), &["`retention_period`"]),
        ("condition", &|v| put(v, "/conditions", "weather", 1), &["`conditions", "max_bytes_per_day"]),
        ("withdrawal", &|v| set(v, "/withdrawal_method", ""), &["`withdrawal_method`"]),
    ];
    for (name, bend, words) in cases {
        let error = verified(&with(bend)).err().unwrap_or_else(|| panic!("{name}: was taken"));
        says(name, &error, &[&["consent record"], *words].concat());
    }
    let bundle = super::super::samples::bundle_file(&super::super::samples::bundle(1));
    says("a bundle", &verified(&bundle).unwrap_err(), &["consent record"]);
    let beside = sign(&given(), OWNER).with_statement(sign(&given(), OWNER)).to_bytes().unwrap();
    says("with a statement", &verified(&beside).unwrap_err(), &["consent record at `signingKey`"]);
}

#[test]
fn a_withdrawal_may_be_short() {
    let mut record = record(1, &requests()[0].0, ACME, EventState::ConsentWithdrawn);
    record.pii_information.clear();
    assert!(verified(&record_file(&record, RECORD)).is_ok());
}

#[test]
fn what_an_unverified_record_claims_is_its_flow() {
    let claimed = claimed_flow(&record_file(&given(), STRANGER)).unwrap();
    assert_eq!((claimed.0.as_str(), claimed.1.as_str()), ("acme", "tyre-care"));
    assert_eq!(claimed_flow(b"{}"), None);
}

#[test]
fn the_description_is_plain_and_does_not_depend_on_its_own_digest() {
    let mut record = given();
    let text = describe(&record);
    says(
        "text",
        &text,
        &[
            "Give consent for acme Ltd (acme)",
            "+ Vehicle.Speed: as it is",
            "  data:     Driving style (",
            "kept for 30 days, in DE",
            "purpose:  tyre-care (service provision)",
            "passed on to nobody",
        ],
    );
    record.events[0].ui_digest = Digest::of(text.as_bytes());
    assert_eq!(describe(&record), text);
    record.pii_information[0].transform = ["rate", "drop"]
        .map(|op| TransformSpec {
            op: op.to_owned(),
            parameters: (op == "rate")
                .then(|| ("min_interval_ms".to_owned(), Parameter::Integer(60_000)))
                .into_iter()
                .collect(),
        })
        .to_vec();
    let lost = [
        "AGREED TO, BUT NOTHING OF IT LEAVES LIKE THIS:",
        "  ! Vehicle.Speed: at most once in 1 min; nothing leaves (the transforms let",
    ];
    says("text", &describe(&record), &lost);
    assert!(write(&record).is_ok());
}
