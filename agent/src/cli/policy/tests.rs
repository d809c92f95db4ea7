//! The documents that commands make are taken by the car, and what is wrong is said with file, place and mend.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::document::Held;
use super::inspect;
use crate::cli::trial::Trial;
use std::fs;

#[test]
fn a_bundle_made_by_commands_only_verifies_and_says_what_it_holds() {
    let trial = Trial::new();
    trial.keys_and_statements();
    trial.bundle(3, "--drop Vehicle.Speed --suspend insurer");
    for (file, key) in [
        ("bundle.dsse", "root.pub"),
        ("signing.dsse", "root.pub"),
        ("request.dsse", "tyres.pub"),
        ("hpke.dsse", "tyres.pub"),
    ] {
        trial.run(&format!("policy verify @{file} --authority @{key}")).unwrap();
        let error = trial.fails(&format!("policy verify @{file} --authority @owner.pub"));
        assert!(error.contains(file) && error.contains("signature"), "{error}");
        trial.run(&format!("policy show @{file}")).unwrap();
        trial.run(&format!("policy show @{file} --json")).unwrap();
    }
    let held = Held::open(&trial.path("bundle.dsse")).unwrap();
    let words = inspect::in_words(&held).unwrap();
    for expected in [
        "policy bundle, version 3, for the car car-1",
        "recipient tyres: Example_Tyres_GmbH, DE",
        "+ Vehicle.Speed: at most once in 1 s; rounded down to steps of 0.5",
        "catalogue of 3 signals: 1 condition, 2 driving",
        "directive: Vehicle.Speed leaves for nobody",
        "directive: nothing leaves for insurer",
        "(serial 1, until ",
    ] {
        assert!(words.contains(expected), "{expected:?} is not in\n{words}");
    }
    let asked = Held::open(&trial.path("request.json")).unwrap();
    let asked = inspect::in_words(&asked).unwrap();
    assert!(asked.contains("notice https://tyres.example/privacy (en), under the law of DE"), "{asked}");
    let json: serde_json::Value = serde_json::from_str(&inspect::as_json(&held).unwrap()).unwrap();
    assert_eq!(json["payload"]["version"], 3);
}

#[test]
fn templates_without_options_are_documents_that_can_be_signed() {
    let trial = Trial::new();
    trial.keys_and_statements();
    trial.run("policy new request -o @r.json").unwrap();
    trial.run("policy sign @r.json --type request --key @tyres.key -o @r.dsse").unwrap();
    trial.run("policy new bundle --group fleet-a -o @b.json").unwrap();
    trial
        .run("policy sign @b.json --type bundle --key @signing.key --statement @signing.dsse -o @b.dsse")
        .unwrap();
    trial.run("policy verify @b.dsse --authority @root.pub").unwrap();
}

#[test]
fn unusable_options_are_refused_with_what_is_known() {
    let trial = Trial::new();
    trial.keys_and_statements();
    for (line, words) in [
        ("policy new request --signal Vehicle.Speed:blur=3", "known are rate, quantise, on_change"),
        ("policy new request --signal Vehicle.Speed:rate=0", "nothing would leave"),
        ("policy new request --signal Vehicle.Speed:rate=fast", "no number"),
        ("policy new request --signal Vehicle.*", "holds the character '*'"),
        ("policy new request --signal Vehicle.Speed --signal Vehicle.Speed", "signals[1].signal"),
        ("policy new request --country Germany", "storage_locations[0]"),
        ("policy new bundle --device car-1 --recipient tyres:T:DE:@tyres.pub", "statement is missing"),
        ("policy new bundle --device car-1 --category fun=*", "known are location"),
        ("policy new bundle", "--device"),
        ("policy new request --only-around Vehicle.Speed>1", "name them with `--signal`"),
        (
            "policy new bundle --device car-1 --recipient other:T:DE:@tyres.pub:@hpke.dsse",
            "the HPKE key of tyres",
        ),
        (
            "policy new bundle --device car-1 --recipient tyres:T:DE:@owner.pub:@hpke.dsse --request @request.dsse",
            "no car would take this bundle",
        ),
        ("policy new signing-key --key @hpke.pub", "an X25519 key"),
        ("policy new hpke-key --recipient tyres --key @root.pub", "an Ed25519 key"),
        ("policy sign @bundle.json --type bundle --key @root.key -o @x", "bundle.json"),
    ] {
        let error = trial.fails(line);
        assert!(error.contains(words), "{line}\n{error}");
    }
}

#[test]
fn signing_refuses_what_no_car_would_take() {
    let trial = Trial::new();
    trial.keys_and_statements();
    trial.bundle(1, "");
    let no_statement = trial.fails("policy sign @bundle.json --type bundle --key @signing.key -o @x");
    assert!(no_statement.contains("policy new signing-key"), "{no_statement}");
    let wrong_key = trial
        .fails("policy sign @bundle.json --type bundle --key @owner.key --statement @signing.dsse -o @x");
    assert!(wrong_key.contains("signing.dsse: the statement names the key"), "{wrong_key}");
    let wrong_type = trial.fails("policy sign @request.json --type bundle --key @signing.key -o @x");
    assert!(wrong_type.contains("request.json: this is of type request, not bundle"), "{wrong_type}");
    let twice = trial.fails("policy sign @request.dsse --type request --key @tyres.key -o @x");
    assert!(twice.contains("this is signed already"), "{twice}");
    for line in [
        "policy verify @request.json --authority @tyres.pub",
        "policy new bundle --device car-1 --request @request.json",
        "policy install @request.json",
    ] {
        let error = trial.fails(line);
        let mend = "request.json: not signed yet: run `glovebox policy sign ";
        assert!(
            error.contains(mend) && error.contains("request.json --type request --key KEY.key"),
            "{line}\n{error}"
        );
    }
    let text = String::from_utf8(trial.read("request.json")).unwrap();
    fs::write(trial.path("bad.json"), text.replace("\"version\"", "\"wersion\"")).unwrap();
    let unknown = trial.fails("policy sign @bad.json --type request --key @tyres.key -o @x");
    assert!(unknown.contains("bad.json") && unknown.contains("wersion"), "{unknown}");
    let public = trial.fails("policy sign @request.json --type request --key @tyres.pub -o @x");
    assert!(public.contains("it holds a public key"), "{public}");
    assert!(!trial.path("x").exists(), "nothing is half written");
}

#[test]
fn transforms_that_let_nothing_through_are_not_signed_in_silence() {
    let trial = Trial::new();
    trial.keys_and_statements();
    let write = |transforms: &str| {
        let text = String::from_utf8(trial.read("request.json")).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["signals"][0]["transforms"] = serde_json::from_str(transforms).unwrap();
        fs::write(trial.path("r.json"), json.to_string()).unwrap();
    };
    let sign = "policy sign @r.json --type request --key @tyres.key -o @r.dsse";
    write(r#"[{"op":"rate","min_interval_ms":1000},{"op":"geo_cell","resolution":12},{"op":"rate"}]"#);
    let error = trial.fails(sign);
    for words in [
        "r.json: signals[0].transforms[1]: `resolution` of geo_cell is a whole number from 0 to 10, not 12",
        "r.json: signals[0].transforms[2]: rate needs `min_interval_ms`, a whole number from 1 to ",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert!(!trial.path("r.dsse").exists());
    for strange in [r#"[{"op":"blur"}]"#, r#"[{"op":"geo_cell","resolution":7},{"op":"quantise","step":1}]"#]
    {
        write(strange);
        let request = super::read::<super::Request>(&trial.read("r.json")).unwrap();
        let found = super::doubts::of_request(&request);
        assert!(matches!(found.as_slice(), [super::Doubt::Strange(_)]), "{found:?}");
        trial.run(sign).unwrap();
    }
    for meant in [r#"[{"op":"drop"}]"#, r#"[{"op":"in_vehicle"},{"op":"rate","min_interval_ms":5}]"#] {
        write(meant);
        let request = super::read::<super::Request>(&trial.read("r.json")).unwrap();
        assert_eq!(super::doubts::of_request(&request), []);
    }
}

#[test]
fn a_bundle_with_a_floor_that_denies_is_not_signed_and_a_strange_request_is_said() {
    let trial = Trial::new();
    trial.keys_and_statements();
    let floor = r#"[{"signal":"Vehicle.Speed","category":"driving","floor":[{"op":"time_bucket","granularity_s":90000}]}]"#;
    fs::write(trial.path("c.json"), floor).unwrap();
    trial.run("policy new bundle --device car-1 --catalogue @c.json -o @b.json").unwrap();
    let error = trial
        .fails("policy sign @b.json --type bundle --key @signing.key --statement @signing.dsse -o @b.dsse");
    assert!(error.contains("catalogue[0].floor[0]: `granularity_s` of time_bucket is"), "{error}");
    let request = String::from_utf8(trial.read("request.json")).unwrap().replace("\"rate\"", "\"rote\"");
    fs::write(trial.path("request.json"), request).unwrap();
    trial.run("policy sign @request.json --type request --key @tyres.key -o @request.dsse").unwrap();
    trial.bundle(1, "");
    let bundle = super::read::<super::Bundle>(&trial.read("bundle.json")).unwrap();
    let found = super::doubts::of_bundle(&bundle).unwrap();
    let said = "requests[0].signals[0].transforms[0]: `rote` is no transform";
    assert!(matches!(found.as_slice(), [super::Doubt::Strange(what)] if what.starts_with(said)), "{found:?}");
}

#[test]
fn another_tools_envelope_and_rubbish_are_named() {
    let trial = Trial::new();
    fs::write(trial.path("rubbish"), "hello").unwrap();
    let error = trial.fails("policy show @rubbish");
    assert!(error.contains("rubbish") && error.contains("not JSON at line 1"), "{error}");
    let error = trial.fails("policy show @gone");
    assert!(error.contains("gone") && error.contains("No such file"), "{error}");
    let foreign =
        r#"{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"AA=="}]}"#;
    fs::write(trial.path("foreign"), foreign).unwrap();
    assert!(trial.fails("policy show @foreign").contains("another tool"));
    fs::write(trial.path("huge"), vec![b' '; 3 << 20]).unwrap();
    assert!(trial.fails("policy show @huge").contains("longer than"));
}

/// Who edits the JSON by hand is told of the slip, not that it is no signed document.
#[test]
fn what_is_wrong_with_a_payload_is_said_where_it_is_looked_at() {
    let trial = Trial::new();
    trial.keys_and_statements();
    trial.bundle(1, "");
    for (name, from, to, said) in [
        ("request", "\"P30D\"", "\"30 days\"", "request at `retention_period`"),
        ("bundle", "\"schema_version\": 1", "\"schema_version\": 2", "policy bundle at `schema_version`"),
        ("signing", "\"serial\": 1", "\"serial\": -1", "signing-key statement at `serial`"),
        ("hpke", "\"recipient\": \"tyres\"", "\"recipient\": \"Tyres\"", "HPKE-key statement at `recipient`"),
    ] {
        let text = String::from_utf8(trial.read(&format!("{name}.json"))).unwrap();
        assert!(text.contains(from), "{name}: {text}");
        fs::write(trial.path("wrong.json"), text.replacen(from, to, 1)).unwrap();
        let error = trial.fails("policy show @wrong.json");
        assert!(error.contains(said), "{name}: {error}");
    }
}

#[test]
fn a_directive_about_nobody_is_said() {
    let trial = Trial::new();
    trial.keys_and_statements();
    trial.bundle(1, "--suspend tyre --drop CAN.can0.ENGINE.RMP --suspend tyres --drop CAN.can0.ENGINE.RPM");
    let bundle = super::read::<super::Bundle>(&trial.read("bundle.json")).unwrap();
    let said = format!("{:?}", super::doubts::of_bundle(&bundle).unwrap());
    let about = |what: &str| format!("is about {what}, which nothing else in this bundle names");
    assert!(said.contains(&about("tyre")) && said.contains(&about("CAN.can0.ENGINE.RMP")), "{said}");
    assert_eq!(said.matches("is about").count(), 2, "{said}");
}

#[test]
fn what_a_derived_signal_is_made_of_is_missed_where_the_request_is_signed() {
    let trial = Trial::new();
    trial.run("policy new request --template ubi-score --recipient acme -o @r.json").unwrap();
    let mut request = super::read::<super::Request>(&trial.read("r.json")).unwrap();
    assert_eq!(super::doubts::of_request(&request), []);
    let score = request.signals.iter().position(|it| it.signal.as_str() == "Derived.IsBrakingHard").unwrap();
    request.signals.retain(|it| it.signal.as_str() != "Vehicle.Acceleration.Longitudinal");
    let said = |request: &super::Request| format!("{:?}", super::doubts::of_request(request));
    let missing =
        format!("signals[{score}]: is made of Vehicle.Acceleration.Longitudinal, which is not asked for");
    assert!(said(&request).starts_with(&format!("[Strange(\"{missing}")), "{}", said(&request));
    request.signals[score].signal = "Derived.IsRich".parse().unwrap();
    assert!(said(&request).contains("is no derived signal of this agent"), "{}", said(&request));
}

#[test]
fn what_is_over_is_said_though_its_signature_is_good() {
    let trial = Trial::new();
    trial.keys_and_statements();
    trial.bundle(1, "");
    let over = |name: &str, kind, year| {
        let now = glovebox_core::names::WallTime::parse(&format!("{year}-01-01T00:00:00Z")).unwrap();
        super::dates::over((kind, &trial.read(name)), now).unwrap()
    };
    for (name, kind, fields) in [
        (
            "bundle.json",
            super::Kind::Bundle,
            vec!["expires", "recipients[0].hpke_keys", "requests[0].expires"],
        ),
        ("request.json", super::Kind::Request, vec!["expires"]),
        ("signing.json", super::Kind::SigningKey, vec!["not_after"]),
        ("hpke.json", super::Kind::HpkeKey, vec!["not_after"]),
    ] {
        assert_eq!(over(name, kind, 2020), Vec::<String>::new(), "{name}");
        let said = over(name, kind, 2200);
        assert_eq!(said.len(), fields.len(), "{name}: {said:?}");
        for (said, field) in said.iter().zip(fields) {
            assert!(said.starts_with(&format!("{field}: this was over at ")), "{name}: {said}");
        }
    }
}
