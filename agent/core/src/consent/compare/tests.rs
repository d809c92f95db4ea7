//! What is told of two documents: for whom, for what, in which direction.

use super::super::document::bundle::{Bundle, Directive, Plausible, RecipientStatus};
use super::super::document::event::EventCondition;
use super::super::document::record::{Decision, EventState};
use super::super::document::request::Request;
use super::super::document::samples::{
    ACME, LATITUDE, RANGE, SPEED, bundle, rate, recipient, record, request, requests as samples, sign, time,
};
use super::super::document::write;
use super::*;
use crate::consent::category::Category;
use crate::names::PolicyVersion;

fn quantise(step: i64) -> TransformSpec {
    serde_json::from_str(&format!(r#"{{"op":"quantise","step":{step}}}"#)).unwrap()
}

fn named(op: &str) -> TransformSpec {
    serde_json::from_str(&format!(r#"{{"op":"{op}"}}"#)).unwrap()
}

/// Each change as a line: direction, whom, what for, which signal, in words.
fn lines(changes: &[Change]) -> Vec<String> {
    let text = |part: Option<&str>| part.unwrap_or("*").to_owned();
    let line = |change: &Change| {
        let parts = [
            text(change.recipient.as_ref().map(RecipientId::as_str)),
            text(change.purpose.as_ref().map(PurposeId::as_str)),
            text(change.signal.as_ref().map(SignalPath::as_str)),
        ];
        format!("{:?} {} {}", change.direction, parts.join(" "), change.what)
    };
    changes.iter().map(line).collect()
}

#[track_caller]
fn tells(changes: &[Change], expected: &[&str]) {
    assert_eq!(lines(changes), expected);
}

fn bent(bend: impl FnOnce(&mut Bundle)) -> Vec<Change> {
    let mut new = bundle(1);
    bend(&mut new);
    bundles(&bundle(1), &new).unwrap()
}

/// The first request of the sample bundle, bent.
fn asked(bend: impl FnOnce(&mut Request)) -> Vec<Change> {
    let (old, _) = samples().remove(0);
    let mut new = old.clone();
    bend(&mut new);
    requests(&old, &new)
}

#[test]
fn the_same_document_differs_in_nothing() {
    tells(&bent(|_| ()), &[]);
    tells(&asked(|_| ()), &[]);
    let (request, seed) = samples().remove(0);
    let record = record(1, &request, seed, EventState::ConsentGiven);
    tells(&records(&record, &record), &[]);
}

#[test]
fn a_signal_more_and_a_signal_less_are_told_for_whom_and_for_what() {
    let limit = "at most once in 1 min";
    let changes = bent(|new| {
        let other = request("acme", "tyre-care", &[RANGE, LATITUDE]);
        new.requests[0] = sign(&other, ACME);
    });
    let document =
        "the request is another document: what was granted waits until the owner agrees to the new one";
    tells(
        &changes,
        &[
            &format!("More acme tyre-care {LATITUDE} as it is (was: not asked for)"),
            &format!("Less acme tyre-care {SPEED} not asked for (was: {limit})"),
            &format!("Other acme tyre-care * {document}"),
        ],
    );
}

#[test]
fn a_car_refuses_what_does_not_rise() {
    let version = |bundle: Bundle, version| Bundle { version: PolicyVersion(version), ..bundle };
    let said = |old: &Bundle, new: &Bundle| refusals(old, new).unwrap();
    assert_eq!(said(&version(bundle(1), 1), &version(bundle(1), 2)), [""; 0]);
    let same = said(&version(bundle(1), 2), &version(bundle(1), 2));
    assert_eq!(same, ["version 2 is not above 2: raise it (`policy new bundle --policy-version`)"]);
    let mut new = version(bundle(1), 2);
    new.requests[0] = sign(&request("acme", "tyre-care", &[RANGE, LATITUDE]), ACME);
    let said = said(&version(bundle(1), 1), &new);
    assert!(
        said.len() == 1 && said[0].contains("of acme is another document, and its version 1"),
        "{said:?}"
    );
}

#[test]
fn what_the_authority_forbids_is_less_and_what_it_frees_is_more() {
    let directives: &[(Directive, &[&str])] = &[
        (
            Directive::Drop { signal: RANGE.parse().unwrap() },
            &["Less acme tyre-care Vehicle.Powertrain.Range dropped for everybody (was: as it is)"],
        ),
        (
            Directive::Tighten { signal: RANGE.parse().unwrap(), transforms: vec![quantise(10)] },
            &["Less acme tyre-care Vehicle.Powertrain.Range rounded down to steps of 10 (was: as it is)"],
        ),
        (
            Directive::Suspend {
                recipient: "acme".parse().unwrap(),
                request: Some("service-request".parse().unwrap()),
            },
            &["Less acme service Vehicle.Speed the request is suspended (was: at most once in 1 min)"],
        ),
        (
            Directive::RequireMinVersion { version: "9.0.0".to_owned() },
            &["Less * * * agents before 9.0.0 now send nothing"],
        ),
    ];
    for (directive, told) in directives {
        let with = bent(|new| new.directives.push(directive.clone()));
        tells(&with, told);
        let mut old = bundle(1);
        old.directives.push(directive.clone());
        let without = bundles(&old, &bundle(1)).unwrap();
        assert_eq!(without.len(), 1);
        assert_eq!(without[0].direction, Direction::More, "{:?}", lines(&without));
    }
}

#[test]
fn recipients_dates_and_catalogue_are_told() {
    let changes = bent(|new| {
        new.recipients[1].status = RecipientStatus::Suspended;
        new.expires = time("2027-07-01T00:00:00Z");
        new.catalogue[1].category = Category::Trips;
        new.catalogue[1].plausible = Some(Plausible { min: 0.0, max: 900.0 });
        new.catalogue[0].floor = vec![rate(10_000)];
    });
    tells(
        &changes,
        &[
            "More * * * data may leave until 2027-07-01T00:00:00Z (was: 2027-06-01T00:00:00Z)",
            "More * * Vehicle.Speed usual limit, unless the owner waives it: at most once in 10 s (was: at most once in 1 min)",
            "More acme service Vehicle.Speed at most once in 10 s (was: at most once in 1 min)",
            "More acme tyre-care Vehicle.Speed at most once in 10 s (was: at most once in 1 min)",
            "Less * * Vehicle.Powertrain.Range is trips (was: energy): what was granted of it waits for the owner",
            "Less borg * * is suspended: nothing leaves for it",
            "Less borg maps Vehicle.CurrentLocation.Latitude the recipient is suspended (was: as it is)",
            "Less borg maps Vehicle.Speed the recipient is suspended (was: at most once in 1 min)",
            "Other * * Vehicle.Powertrain.Range plausible from 0 to 900 (was: any value is plausible)",
        ],
    );
    let gone = bent(|new| {
        new.recipients.remove(1);
        new.requests.remove(2);
        new.recipients[0].request_key = recipient("acme", 77).request_key;
    });
    let told = lines(&gone);
    assert!(
        told.contains(&"Less borg * * is not named any more: nothing leaves for it".to_owned()),
        "{told:?}"
    );
    let rekeyed = "Less acme * * another request key: what was granted to the old one does not hold";
    assert!(told.contains(&rekeyed.to_owned()), "{told:?}");
}

#[test]
fn stricter_looser_and_neither_are_told_apart() {
    let with = |old: &[TransformSpec], new: &[TransformSpec]| {
        let (mut before, _) = samples().remove(1);
        before.signals[0].transforms = old.to_vec();
        let mut after = before.clone();
        after.signals[0].transforms = new.to_vec();
        requests(&before, &after).into_iter().map(|change| change.direction).collect::<Vec<_>>()
    };
    assert_eq!(with(&[rate(1_000)], &[rate(2_000)]), [Direction::Less]);
    assert_eq!(with(&[rate(2_000)], &[rate(1_000)]), [Direction::More]);
    assert_eq!(with(&[quantise(10)], &[quantise(20)]), [Direction::Less]);
    assert_eq!(with(&[quantise(10)], &[quantise(15)]), [Direction::Other], "neither grid lies in the other");
    assert_eq!(with(&[rate(1_000)], &[quantise(5)]), [Direction::Other]);
    assert_eq!(with(&[], &[quantise(5)]), [Direction::Less]);
    assert_eq!(
        with(&[named("tomorrow")], &[named("later")]),
        [Direction::Other],
        "neither lets anything out here"
    );
    assert_eq!(with(&[rate(1_000)], &[named("tomorrow")]), [Direction::Less]);
    assert_eq!(
        with(&[rate(1_000), quantise(5)], &[quantise(5), rate(1_000)]),
        [Direction::Other],
        "other bytes"
    );
}

#[test]
fn promises_have_a_direction() {
    type Case<'a> = (&'a dyn Fn(&mut Request), &'a str);
    let cases: &[Case<'_>] = &[
        (
            &|r| r.retention_period = "P2M".to_owned(),
            "More acme tyre-care * kept for 2 months (was: 30 days)",
        ),
        (
            &|r| r.retention_period = "PT12H".to_owned(),
            "Less acme tyre-care * kept for 12 hours (was: 30 days)",
        ),
        (&|r| r.profiling = true, "More acme tyre-care * profiling: now yes"),
        (
            &|r| r.storage_locations = vec!["DE".to_owned(), "US".to_owned()],
            "More acme tyre-care * kept in: now also US",
        ),
        (
            &|r| r.onward_disclosure = vec!["Borg".to_owned()],
            "More acme tyre-care * passed on to: now also Borg",
        ),
        (&|r| r.batch_age_s = 60, "Less acme tyre-care * a batch every 60 s (was: 10 s)"),
        (
            &|r| r.max_age_s = Some(600),
            "Less acme tyre-care * dropped in the car if not sent: after 600 s (was: never)",
        ),
        (&|r| r.microseconds = true, "More acme tyre-care * stamps in microseconds: now yes"),
        (&|r| r.incentive = "Money".to_owned(), "Other acme tyre-care * another incentive"),
        (&|r| r.privacy_notice.uri.push('x'), "Other acme tyre-care * another privacy notice"),
        (
            &|r| r.purpose.text[0].text.push('!'),
            "Other acme tyre-care * the purpose is told in other words or has another code",
        ),
    ];
    for (bend, told) in cases {
        tells(&asked(bend), &[told]);
    }
}

#[test]
fn records_are_compared_by_what_they_permit() {
    let (request, seed) = samples().remove(0);
    let old = record(1, &request, seed, EventState::ConsentGiven);
    let mut new = old.clone();
    new.pii_information[0].decision = Decision::No;
    new.pii_information[1].floor_waived = true;
    new.not_after = time("2027-01-01T00:00:00Z");
    new.conditions.max_bytes_per_day = Some(5_000);
    tells(
        &records(&old, &new),
        &[
            "More acme tyre-care Vehicle.Powertrain.Range more than the usual limit, now waived",
            "Less acme tyre-care * 5000 bytes a day (was: no limit)",
            "Less acme tyre-care * lasts until 2027-01-01T00:00:00Z (was: 2027-02-01T00:00:00Z)",
            "Less acme tyre-care Vehicle.Speed not granted (was: as it is)",
        ],
    );
    let ended = record(1, &request, seed, EventState::ConsentWithdrawn);
    let told = lines(&records(&old, &ended));
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("Less acme tyre-care Vehicle.Powertrain.Range nothing"), "{told:?}");
    assert!(told[2].contains("state ConsentWithdrawn (was: ConsentGiven)"), "{told:?}");
}

#[test]
fn every_field_of_a_request_is_compared() {
    // A field that nobody compares would let two documents pass for one.
    let (old, _) = samples().remove(0);
    let json: serde_json::Value = serde_json::from_slice(&write(&old).unwrap()).unwrap();
    let other = |value: &serde_json::Value| match value {
        serde_json::Value::Bool(flag) => serde_json::json!(!flag),
        serde_json::Value::Number(number) => serde_json::json!(number.as_u64().unwrap() + 1),
        serde_json::Value::Array(items) if items.is_empty() => serde_json::json!(["FR"]),
        _ => serde_json::Value::Null,
    };
    for (field, value) in json.as_object().unwrap() {
        let changed = match field.as_str() {
            // 1, or it is no document.
            "schema_version" => continue,
            "id" | "recipient" => serde_json::json!("another"),
            "expires" => serde_json::json!("2026-12-31T00:00:00Z"),
            "lawful_basis" => serde_json::json!("dpv:Contract"),
            "retention_period" => serde_json::json!("P1D"),
            "incentive" => serde_json::json!("Money"),
            "storage_locations" | "jurisdiction" => serde_json::json!(["FR"]),
            "purpose" | "privacy_notice" | "signals" => continue,
            _ => other(value),
        };
        let mut bent = json.clone();
        bent[field] = changed;
        let new: Request = serde_json::from_value(bent).unwrap();
        assert!(!requests(&old, &new).is_empty(), "{field}");
    }
}

#[test]
fn of_a_request_that_is_new_it_is_told_what_becomes_of_the_data() {
    let changes = bent(|new| {
        let other = Request {
            profiling: true,
            onward_disclosure: vec!["Example Broker".into()],
            ..request("acme", "resale", &[RANGE])
        };
        new.requests.push(sign(&other, ACME));
    });
    let told = "kept for 30 days in DE; passed on to Example Broker; profiling";
    tells(
        &changes,
        &[
            &format!("More acme resale {RANGE} as it is (was: not asked for)"),
            &format!("Other acme resale * of what is new: {told}"),
        ],
    );
}

#[test]
fn an_event_is_less_than_all_and_a_longer_time_around_it_is_more() {
    let (always, _) = samples().remove(0);
    let signal = always.signals[0].signal.clone();
    let with = |when: &str, before_s, min_interval_s| {
        let when = format!("{signal} {when}");
        let event = Some(EventCondition { when, before_s, after_s: 5, min_interval_s });
        Request { event, ..always.clone() }
    };
    let told = |old: &Request, new: &Request| {
        let found = requests(old, new);
        assert!(found.len() <= 1, "{found:?}");
        found.first().map(|change| change.direction)
    };
    let one = with("> 1", 10, 60);
    assert_eq!(told(&always, &one), Some(Direction::Less));
    assert_eq!(told(&one, &always), Some(Direction::More));
    assert_eq!(told(&one, &one), None);
    assert_eq!(told(&one, &with("> 1", 30, 60)), Some(Direction::More));
    assert_eq!(told(&one, &with("> 1", 10, 30)), Some(Direction::More));
    assert_eq!(told(&one, &with("> 1", 5, 60)), Some(Direction::Less));
    assert_eq!(told(&one, &with("> 1", 30, 90)), Some(Direction::Other), "more of one, less of the other");
    assert_eq!(told(&one, &with("> 2", 10, 60)), Some(Direction::Other), "who knows which is rarer");
}
