//! Bad requests, each inside a bundle that is right but for it.

use super::super::request::{REQUEST_TYPE, Request};
use super::super::samples::{ACME, bundle, bundle_file, requests, sign_bytes};
use super::{Case, bent, put, remove, says, set, verify_bundle};
use serde_json::{Value, json};

fn with(bend: &dyn Fn(&mut Value)) -> Vec<u8> {
    let payload = bent::<Request>(&requests()[1].0, bend);
    let mut bundle = bundle(1);
    bundle.requests[1] = sign_bytes(REQUEST_TYPE, &payload, ACME);
    bundle_file(&bundle)
}

#[test]
fn bad_requests_refuse_the_bundle_with_the_place() {
    let empty = "GDPR Art. 13";
    let cases: &[Case<'_>] = &[
        ("schema", &|v| set(v, "/schema_version", 0), &["schema_version`", "must be 1"]),
        ("unknown field", &|v| put(v, "", "priority", 1), &["unknown field", "lawful_basis"]),
        ("no purpose text", &|v| set(v, "/purpose/text", json!([])), &["purpose.text`", "0 entries"]),
        ("blank purpose", &|v| set(v, "/purpose/text/0/text", " \n"), &["purpose.text[0].text`", empty]),
        (
            "language",
            &|v| set(v, "/purpose/text/0/language", "english language"),
            &["purpose.text[0].language`", "BCP 47"],
        ),
        ("purpose code", &|v| set(v, "/purpose/code", ""), &["purpose.code`", empty]),
        ("lawful basis", &|v| set(v, "/lawful_basis", ""), &["lawful_basis`", empty]),
        ("no retention", &|v| set(v, "/retention_period", ""), &["retention_period`", empty]),
        ("retention", &|v| set(v, "/retention_period", "for ever"), &["retention_period`", "P30D"]),
        ("no storage", &|v| set(v, "/storage_locations", json!([])), &["storage_locations`", "0 entries"]),
        ("storage", &|v| set(v, "/storage_locations/0", "Europe"), &["storage_locations[0]`", "ISO 3166"]),
        (
            "storage twice",
            &|v| set(v, "/storage_locations", json!(["DE", "DE"])),
            &["storage_locations[1]`", "list it once"],
        ),
        ("no jurisdiction", &|v| set(v, "/jurisdiction", json!([])), &["jurisdiction`"]),
        ("notice", &|v| set(v, "/privacy_notice/uri", ""), &["privacy_notice.uri`", empty]),
        (
            "notice digest",
            &|v| set(v, "/privacy_notice/digest", "00"),
            &["privacy_notice.digest`", "64 hexadecimal"],
        ),
        ("onward", &|v| set(v, "/onward_disclosure", json!([""])), &["onward_disclosure[0]`", empty]),
        ("no profiling said", &|v| remove(v, "", "profiling"), &["missing field `profiling`"]),
        ("batch age", &|v| set(v, "/batch_age_s", 0), &["batch_age_s`", "at least 1"]),
        ("age", &|v| put(v, "", "max_age_s", 0), &["max_age_s`", "at least 60"]),
        ("age below zero", &|v| put(v, "", "max_age_s", -1), &["max_age_s", "whole number"]),
        ("no signals", &|v| set(v, "/signals", json!([])), &["signals`", "0 entries"]),
        ("wildcard signal", &|v| set(v, "/signals/0/signal", "Vehicle.*"), &["signals[0].signal`", "'*'"]),
        ("branch", &|v| set(v, "/signals/0/signal", "Vehicle..Speed"), &["signals[0].signal`", "leaf"]),
        ("necessity", &|v| set(v, "/signals/0/necessity", "nice"), &["signals[0].necessity", "required"]),
        (
            "signal twice",
            &|v| {
                let s = v["signals"][0].clone();
                v["signals"].as_array_mut().unwrap().push(s);
            },
            &["signals[1].signal`", "`signals[0].signal`"],
        ),
        (
            "17 transforms",
            &|v| set(v, "/signals/0/transforms", vec![json!({"op": "drop"}); 17]),
            &["signals[0].transforms`", "17 entries"],
        ),
        ("recipient", &|v| set(v, "/recipient", "Borg Inc"), &["recipient`", "'B'"]),
        (
            "infinite",
            &|v| set(v, "/signals/0/transforms", json!([{"op": "quantise", "step": "1\u{0007}"}])),
            &["signals[0].transforms[0]`", "control"],
        ),
    ];
    for (name, bend, words) in cases {
        let error = verify_bundle(&with(bend)).err().unwrap_or_else(|| panic!("{name}: was taken"));
        says(name, &error, &[&["request at `requests[1]"], *words].concat());
    }
}

#[test]
fn a_request_that_is_only_reordered_json_is_taken() {
    assert!(verify_bundle(&with(&|_| ())).is_ok());
}
