//! Bad envelopes, statements and bundles.

use super::super::bundle::{Bundle, POLICY_TYPE, RecipientStatus};
use super::super::record::EventState;
use super::super::samples::{
    ACME, BORG, OWNER, ROOT, SIGNING, STRANGER, bent_bundle_file, bundle, bundle_file, hpke_statement, key,
    public, recipient, record, record_file, request, requests, sign, sign_bytes, statement, time,
};
use super::super::{DsseEnvelope, pae, write};
use super::{Case, bent, put, remove, says, set, verify_bundle};
use crate::limits::DOCUMENT_BYTES_MAX;
use ed25519_dalek::Signer as _;
use serde_json::{Value, json};

fn refused(name: &str, bytes: &[u8], words: &[&str]) {
    match verify_bundle(bytes) {
        Ok(_) => panic!("{name}: was taken"),
        Err(error) => says(name, &error, words),
    }
}

fn envelope_json(bend: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(&bundle_file(&bundle(1))).unwrap();
    bend(&mut value);
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn bad_envelopes_are_refused_with_kind_and_place() {
    refused(
        "oversize",
        &vec![b' '; DOCUMENT_BYTES_MAX + 1],
        &["signed document", "1048577 bytes", "shorten"],
    );
    refused("empty", b"", &["signed document", "not JSON at line 1"]);
    refused("not JSON", b"hello", &["signed document", "not JSON at line 1"]);
    refused("not UTF-8", b"{\"payloadType\": \"\xff\"}", &["signed document", "not JSON"]);
    refused("a list", b"[]", &["signed document"]);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    refused("deep", deep.as_bytes(), &["signed document", "deeper than 16"]);
    let twice = String::from_utf8(envelope_json(|_| ())).unwrap().replacen('{', "{\"payload\":\"\",", 1);
    refused("duplicate key", twice.as_bytes(), &["signed document at `payload`", "stands twice"]);
    refused(
        "unknown field",
        &envelope_json(|v| put(v, "", "alg", "none")),
        &["signed document", "unknown field", "payloadType"],
    );
    refused(
        "trailing bytes",
        &[bundle_file(&bundle(1)), b"{}".to_vec()].concat(),
        &["signed document", "trailing"],
    );
    refused(
        "no signatures",
        &envelope_json(|v| set(v, "/signatures", json!([]))),
        &["policy bundle at `signatures`", "1 to 4"],
    );
    let many = vec![json!({"sig": "AAAA"}); 5];
    refused(
        "many signatures",
        &envelope_json(|v| set(v, "/signatures", many)),
        &["policy bundle at `signatures`", "5 entries"],
    );
    refused(
        "short signature",
        &envelope_json(|v| set(v, "/signatures/0/sig", "AAAA")),
        &["`signatures[0].sig`", "3 bytes"],
    );
    for (name, text) in
        [("white space", "AA AA"), ("no padding", "AAA"), ("URL alphabet", "-_-_"), ("trailing bits", "AB==")]
    {
        refused(
            name,
            &envelope_json(|v| set(v, "/payload", text)),
            &["policy bundle at `payload`", "base64"],
        );
    }
    refused(
        "statement missing",
        &envelope_json(|v| remove(v, "", "signingKey")),
        &["policy bundle at `signingKey`", "--statement"],
    );
}

#[test]
fn bad_signatures_on_a_bundle_are_refused() {
    let good = bundle(1);
    let beside =
        |envelope: DsseEnvelope| envelope.with_statement(sign(&statement(), ROOT)).to_bytes().unwrap();
    refused(
        "stranger",
        &beside(sign(&good, STRANGER)),
        &["policy bundle at `signatures`", "statement names"],
    );
    refused("signed by the root itself", &beside(sign(&good, ROOT)), &["policy bundle at `signatures`"]);
    let file = sign(&good, SIGNING).with_statement(sign(&statement(), STRANGER)).to_bytes().unwrap();
    refused(
        "statement by a stranger",
        &file,
        &["signing-key statement at `signingKey.signatures`", "root key"],
    );
    // The signature is by the right key over the same bytes, but for another kind.
    let signature =
        key(SIGNING).sign(&pae("application/vnd.glovebox.key+json", &write(&good).unwrap())).to_bytes();
    let crossed = DsseEnvelope::unsigned(POLICY_TYPE, &write(&good).unwrap()).with_signature("", &signature);
    refused("signature of another kind", &beside(crossed), &["policy bundle at `signatures`"]);
    let request = &requests()[0].0;
    refused(
        "a request",
        &beside(sign(request, SIGNING)),
        &["policy bundle at `payloadType`", "that of a request"],
    );
    let given = record_file(&record(1, request, ACME, EventState::ConsentGiven), OWNER);
    refused("a consent record", &given, &["policy bundle at `payloadType`", "that of a consent record"]);
    let file = sign(&good, SIGNING).with_statement(sign(request, ROOT)).to_bytes().unwrap();
    refused("statement of another kind", &file, &["signing-key statement at `signingKey.payloadType`"]);
    let nested = sign(&statement(), ROOT).with_statement(sign(&statement(), ROOT));
    let file = sign(&good, SIGNING).with_statement(nested).to_bytes().unwrap();
    refused(
        "statement in a statement",
        &file,
        &["signing-key statement at `signingKey.signingKey`", "leave it out"],
    );
    let mut early = good.clone();
    early.issued = statement().not_after;
    early.expires = time("2029-01-01T00:00:00Z");
    refused(
        "issued outside the key's dates",
        &bundle_file(&early),
        &["policy bundle at `issued`", "dates of the signing key"],
    );
    let mut tampered = envelope_json(|_| ());
    let text = String::from_utf8(tampered.clone()).unwrap();
    let mut other = good.clone();
    other.version.0 = 2;
    let payload = |b: &Bundle| DsseEnvelope::unsigned(POLICY_TYPE, &write(b).unwrap()).payload;
    tampered = text.replace(&payload(&good), &payload(&other)).into_bytes();
    assert_ne!(text.as_bytes(), tampered);
    refused("other payload under the signature", &tampered, &["policy bundle at `signatures`"]);
}

#[test]
fn keyid_is_never_trusted() {
    let payload = write(&bundle(1)).unwrap();
    let signature = key(STRANGER).sign(&pae(POLICY_TYPE, &payload)).to_bytes();
    let lying = DsseEnvelope::unsigned(POLICY_TYPE, &payload)
        .with_signature(&public(SIGNING).to_string(), &signature);
    refused(
        "lying keyid",
        &lying.with_statement(sign(&statement(), ROOT)).to_bytes().unwrap(),
        &["`signatures`"],
    );
}

#[test]
fn bad_statements_are_refused() {
    let with = |bend: &dyn Fn(&mut Value)| {
        let payload = bent(&statement(), bend);
        let statement = sign_bytes(super::super::bundle::KEY_TYPE, &payload, ROOT);
        sign(&bundle(1), SIGNING).with_statement(statement).to_bytes().unwrap()
    };
    let kind = "signing-key statement";
    refused(
        "version",
        &with(&|v| set(v, "/schema_version", 2)),
        &[kind, "`signingKey.schema_version`", "must be 1"],
    );
    refused(
        "dates",
        &with(&|v| set(v, "/not_after", "2020-01-01T00:00:00Z")),
        &[kind, "`signingKey.not_after`"],
    );
    refused(
        "key",
        &with(&|v| set(v, "/key", "abc")),
        &[kind, "`signingKey.key`", "must be 64 hexadecimal digits"],
    );
    refused(
        "serial",
        &with(&|v| set(v, "/serial", -1)),
        &[kind, "`signingKey.serial`", "must be a whole number"],
    );
}

#[test]
fn bad_bundles_are_refused_with_the_place() {
    let with = |bend: &dyn Fn(&mut Value)| bent_bundle_file(&bent(&bundle(1), bend));
    let entry = json!({"signal": "Vehicle.Speed", "category": "driving"});
    let cases: &[Case<'_>] = &[
        ("schema", &|v| set(v, "/schema_version", 2), &["`schema_version`", "must be 1"]),
        ("unknown field", &|v| put(v, "", "grants", json!([])), &["unknown field", "directives"]),
        ("missing field", &|v| remove(v, "", "expires"), &["missing field `expires`", "add it"]),
        ("expiry", &|v| set(v, "/expires", "2026-10-31T00:00:00Z"), &["`expires`", "later than `issued`"]),
        ("date", &|v| set(v, "/issued", "31.10.2026"), &["`issued`", "RFC 3339"]),
        ("target", &|v| set(v, "/target", json!({"everybody": "x"})), &["`target", "vehicle"]),
        ("version", &|v| set(v, "/version", "1"), &["`version`", "must be a whole number"]),
        (
            "catalogue twice",
            &|v| v["catalogue"].as_array_mut().unwrap().push(entry.clone()),
            &["`catalogue[3].signal`", "`catalogue[0].signal`"],
        ),
        (
            "category",
            &|v| set(v, "/catalogue/0/category", "weather"),
            &["`catalogue[0].category", "location"],
        ),
        ("branch", &|v| set(v, "/catalogue/0/signal", "Vehicle."), &["`catalogue[0].signal`", "leaf"]),
        ("wildcard", &|v| set(v, "/catalogue/0/signal", "Vehicle.*"), &["`catalogue[0].signal`", "'*'"]),
        (
            "country",
            &|v| set(v, "/recipients/0/country", "Germany"),
            &["`recipients[0].country`", "ISO 3166"],
        ),
        ("lower case", &|v| set(v, "/recipients/0/country", "de"), &["`recipients[0].country`"]),
        ("topic of cars", &|v| set(v, "/recipients/0/id", "device"), &["`recipients[0].id`", "taken"]),
        ("no name", &|v| set(v, "/recipients/0/name", "  "), &["`recipients[0].name`", "empty"]),
        ("no contact", &|v| set(v, "/recipients/1/contact", ""), &["`recipients[1].contact`", "Art. 13"]),
        ("escape", &|v| set(v, "/recipients/0/name", "A\u{1b}[2J"), &["`recipients[0].name`", "control"]),
        ("turned", &|v| set(v, "/recipients/0/name", "A\u{202e}B"), &["`recipients[0].name`", "direction"]),
        ("recipient twice", &|v| set(v, "/recipients/1/id", "acme"), &["`recipients[1].id`", "list it once"]),
        (
            "one key for two",
            &|v| set(v, "/recipients/1/request_key", public(ACME).to_string()),
            &["`recipients[1].request_key`"],
        ),
        (
            "no HPKE key",
            &|v| set(v, "/recipients/0/hpke_keys", json!([])),
            &["`recipients[0].hpke_keys`", "1 to 8"],
        ),
    ];
    for (name, bend, words) in cases {
        refused(name, &with(bend), &[&["policy bundle"], *words].concat());
    }
}

#[test]
fn bad_directives_floors_and_requests_refuse_the_bundle_with_the_place() {
    let with = |bend: &dyn Fn(&mut Value)| bent_bundle_file(&bent(&bundle(1), bend));
    let cases: &[Case<'_>] = &[
        ("verb", &|v| set(v, "/directives", json!([{"verb": "grant"}])), &["`directives[0]", "suspend"]),
        (
            "min version",
            &|v| set(v, "/directives", json!([{"verb": "require_min_version", "version": "1"}])),
            &["`directives[0].version`", "three numbers"],
        ),
        (
            "tighten",
            &|v| set(v, "/directives", json!([{"verb": "tighten", "signal": "A", "transforms": []}])),
            &["`directives[0].transforms`"],
        ),
        (
            "nested parameter",
            &|v| put(v, "/catalogue/0/floor/0", "x", json!({"y": 1})),
            &["`catalogue[0].floor", "boolean, number"],
        ),
        (
            "op",
            &|v| set(v, "/catalogue/0/floor/0/op", "Rate!"),
            &["`catalogue[0].floor[0].op`", "small letters"],
        ),
        (
            "request not an envelope",
            &|v| set(v, "/requests/1", json!({})),
            &["`requests[1]`", "missing field"],
        ),
    ];
    for (name, bend, words) in cases {
        refused(name, &with(bend), &[&["policy bundle"], *words].concat());
    }
}

#[test]
fn duplicate_keys_are_refused_also_where_serde_reads_a_map() {
    let payload = String::from_utf8(write(&bundle(1)).unwrap()).unwrap();
    let twice = payload.replacen(
        "\"min_interval_ms\": 60000",
        "\"min_interval_ms\": 60000, \"min_interval_ms\": 1",
        1,
    );
    assert_ne!(payload, twice);
    let place = "policy bundle at `catalogue[0].floor[0].min_interval_ms`";
    refused("transform", &bent_bundle_file(twice.as_bytes()), &[place, "stands twice"]);
    let escaped = payload.replacen("\"version\": 1", "\"version\": 1, \"v\\u0065rsion\": 9", 1);
    refused(
        "escaped",
        &bent_bundle_file(escaped.as_bytes()),
        &["policy bundle at `version`", "stands twice"],
    );
}

#[test]
fn counts_and_depth_are_bounded() {
    let mut many = bundle(1);
    many.requests = vec![many.requests[0].clone(); 257];
    refused("requests", &bundle_file(&many), &["policy bundle at `requests`", "257 entries"]);
    let deep = bent(&bundle(1), |v| {
        let nested = (0..20).fold(json!(1), |inner, _| json!([inner]));
        put(v, "/catalogue/0/floor/0", "deep", nested);
    });
    refused(
        "deep",
        &bent_bundle_file(&deep),
        &["policy bundle at `catalogue[0].floor[0].deep", "deeper than 16"],
    );
}

#[test]
fn a_bad_part_refuses_the_whole_bundle_by_its_place() {
    let mut foreign = bundle(1);
    foreign.requests[2] = sign(&requests()[2].0, ACME);
    refused(
        "request by another recipient",
        &bundle_file(&foreign),
        &["request at `requests[2].recipient`", "signs its own"],
    );
    let mut unsigned = bundle(1);
    unsigned.requests[1] = sign(&requests()[1].0, STRANGER);
    refused(
        "request by a stranger",
        &bundle_file(&unsigned),
        &["request at `requests[1].signatures`", "request key"],
    );
    let mut unknown = bundle(1);
    unknown.requests[1] = sign(&request("nobody", "x", &["A"]), ACME);
    refused("request of nobody", &bundle_file(&unknown), &["request at `requests[1].recipient`"]);
    let mut repeated = bundle(1);
    repeated.requests.push(sign(&requests()[0].0, ACME));
    refused("request twice", &bundle_file(&repeated), &["request at `requests[3].id`", "`requests[0].id`"]);
    let mut same_purpose = requests()[0].0.clone();
    same_purpose.id = "other".parse().unwrap();
    let mut two = bundle(1);
    two.requests.push(sign(&same_purpose, ACME));
    refused("purpose twice", &bundle_file(&two), &["request at `requests[3].purpose.id`"]);
    let mut swapped = bundle(1);
    swapped.recipients[0].hpke_keys = vec![sign(&hpke_statement("acme"), BORG)];
    refused(
        "HPKE key by another",
        &bundle_file(&swapped),
        &["HPKE-key statement at `recipients[0].hpke_keys[0].signatures`"],
    );
    let mut moved = bundle(1);
    moved.recipients[0].hpke_keys = vec![sign(&hpke_statement("borg"), ACME)];
    refused(
        "HPKE key for another",
        &bundle_file(&moved),
        &["HPKE-key statement at `recipients[0].hpke_keys[0].recipient`"],
    );
    let mut rekeyed = bundle(1);
    rekeyed.recipients[0] = recipient("acme", STRANGER);
    refused(
        "recipient's key swapped under its requests",
        &bundle_file(&rekeyed),
        &["request at `requests[0].signatures`"],
    );
}

#[test]
fn a_suspended_recipient_needs_no_hpke_key() {
    let mut suspended = bundle(1);
    suspended.recipients[1].status = RecipientStatus::Suspended;
    suspended.recipients[1].hpke_keys.clear();
    assert!(verify_bundle(&bundle_file(&suspended)).is_ok());
}

#[test]
fn invariant_7_no_error_repeats_a_value() {
    let person = "Erika Mustermann";
    let pointers = [
        "/schema_version",
        "/version",
        "/issued",
        "/target",
        "/target/vehicle",
        "/catalogue",
        "/catalogue/0/signal",
        "/catalogue/0/category",
        "/catalogue/0/floor",
        "/catalogue/0/floor/0",
        "/catalogue/0/floor/0/op",
        "/recipients/0/id",
        "/recipients/0/country",
        "/recipients/0/request_key",
        "/recipients/0/status",
        "/recipients",
        "/requests/0",
        "/requests/0/payload",
        "/requests/0/payloadType",
        "/requests/0/signatures/0/sig",
        "/directives",
    ];
    for pointer in pointers {
        for value in [
            json!(person),
            json!([person]),
            json!({ person: person }),
            json!({"verb": person}),
            json!({"vehicle": person}),
        ] {
            let bytes = bent_bundle_file(&bent(&bundle(1), |v| set(v, pointer, value.clone())));
            let error = verify_bundle(&bytes).err().unwrap_or_default();
            assert!(!error.contains("Erika") && !error.contains("Mustermann"), "{pointer}: {error}");
        }
    }
    let bytes = bent_bundle_file(&bent(&bundle(1), |v| put(v, "", person, 1)));
    let error = verify_bundle(&bytes).unwrap_err();
    assert!(!error.contains("Erika"), "{error}");
}
