//! The one door: what is taken, what is refused and why; then the ratchet as a property.

mod attacks;
mod derived;
mod drafts;
mod owners;
mod ratchet;
mod records;
mod restore;

use super::{Accepted, Control, Counters, Effect, Enrolment, Refusal, Stored};
use crate::consent::document::bundle::{Bundle, Category, Directive, Target};
use crate::consent::document::record::{ConsentRecord, EventState};
use crate::consent::document::samples::{
    ACME, Dalek, OWNER, RANGE, RECORD, ROOT, SIGNING, SPEED, alias, bundle, bundle_file, catalogued, now,
    public, rate, record, record_file, request, requests, sign, statement, time,
};
use crate::limits::POLICY_STEP_VERSIONS_MAX;
use crate::names::{Digest, PolicyVersion, RecipientId, TrustedTime, VerifyingKey};

#[expect(clippy::unnecessary_wraps, reason = "the shape of `Aliases`")]
pub(super) fn aliases(recipient: &RecipientId) -> Option<(VerifyingKey, Digest)> {
    Some(alias(recipient.as_str()))
}

pub(super) fn enrolment() -> Enrolment {
    Enrolment {
        device: "car-1".parse().unwrap(),
        groups: vec!["fleet-a".parse().unwrap()],
        root: Some(public(ROOT)),
        owners: vec![public(OWNER)],
        record_key: public(RECORD),
    }
}

pub(super) fn empty() -> Control {
    let (control, refusals) = Control::restore(enrolment(), Stored::default(), &aliases, &Dalek);
    assert_eq!(refusals, []);
    control
}

pub(super) fn examine(control: &Control, bytes: &[u8]) -> Result<Accepted, Refusal> {
    control.examine(bytes, Some(now()), &aliases, &Dalek)
}

pub(super) fn take(
    control: &mut Control,
    bytes: &[u8],
) -> Result<(Option<crate::names::FlowId>, Effect), Refusal> {
    let accepted = examine(control, bytes)?;
    let outcome = match &accepted {
        Accepted::Policy(_) | Accepted::Enrolment(_) => (None, Effect::Nothing),
        Accepted::Record { flow, effect, .. } => (*flow, *effect),
    };
    let counters = control.counters_after(&accepted);
    control.adopt(accepted)?;
    assert_eq!(control.counters(), counters);
    Ok(outcome)
}

/// A car with the sample bundle of version 1 in force.
pub(super) fn car() -> Control {
    let mut control = empty();
    take(&mut control, &bundle_file(&bundle(1))).unwrap();
    control
}

/// The sample record of the request number `index` for `car`.
pub(super) fn given(number: u64, index: usize) -> ConsentRecord {
    let (request, seed) = &requests()[index];
    let mut record = record(number, request, *seed, EventState::ConsentGiven);
    // The floor of the sample's catalogue.
    for leaf in record.pii_information.iter_mut().filter(|leaf| leaf.signal.as_str() == SPEED) {
        leaf.transform = vec![rate(60_000)];
    }
    record
}

pub(super) fn following(number: u64, before: &ConsentRecord, state: EventState) -> ConsentRecord {
    let mut record = before.clone();
    record.record_id = crate::consent::document::samples::id(number);
    record.supersedes = Some(before.record_id);
    record.events[0].event_state = state;
    record
}

fn refused(control: &Control, bundle: &Bundle) -> Refusal {
    examine(control, &bundle_file(bundle)).unwrap_err()
}

#[test]
fn a_bundle_is_taken_and_counted() {
    let control = car();
    assert_eq!(control.counters(), Counters { policy_version: PolicyVersion(1), signing_serial: 5 });
    assert!(control.policy().is_some());
    assert!(control.grants().live().is_empty());
}

#[test]
fn a_bundle_is_refused_with_its_reason() {
    let mut control = car();
    take(&mut control, &bundle_file(&bundle(10))).unwrap();
    let kind = crate::consent::document::DocumentKind::Bundle;
    assert_eq!(refused(&control, &bundle(10)), Refusal::AlreadyThere { kind });
    let (version, counter) = (PolicyVersion(9), PolicyVersion(10));
    assert_eq!(refused(&control, &bundle(9)), Refusal::RolledBack { version, counter });
    let mut other = bundle(10);
    other.expires = time("2027-05-01T00:00:00Z");
    assert_eq!(refused(&control, &other), Refusal::VersionTaken { version: counter });
    let max = PolicyVersion(10 + POLICY_STEP_VERSIONS_MAX);
    for huge in [max.0 + 1, u64::MAX] {
        let version = PolicyVersion(huge);
        assert_eq!(refused(&control, &bundle(huge)), Refusal::VersionJump { version, max });
    }
    for target in [
        Target::Vehicle("car-2".parse().unwrap()),
        Target::Group("fleet-b".parse().unwrap()),
        Target::Group("car-1".parse().unwrap()),
    ] {
        let mut foreign = bundle(11);
        foreign.target = target;
        let refusal = refused(&control, &foreign);
        assert_eq!(refusal, Refusal::OtherCar { kind, field: "target" });
        assert_eq!(
            refusal.to_string(),
            "policy bundle at `target`: is for another car; have one made for this one"
        );
    }
    let mut group = bundle(11);
    group.target = Target::Group("fleet-a".parse().unwrap());
    assert!(examine(&control, &bundle_file(&group)).is_ok());
}

#[test]
fn invariant_3_a_bundle_out_of_time_or_in_doubt_is_refused_and_the_last_stays() {
    let mut control = car();
    let before = control.policy().cloned();
    let kind = crate::consent::document::DocumentKind::Bundle;
    let file = bundle_file(&bundle(2));
    assert_eq!(control.examine(&file, None, &aliases, &Dalek), Err(Refusal::TimeInDoubt { kind }));
    let mut late = bundle(2);
    late.expires = now().latest;
    assert_eq!(refused(&control, &late), Refusal::Expired { kind, end: late.expires });
    let mut early = bundle(2);
    early.issued = time("2026-11-01T13:00:02Z");
    assert_eq!(refused(&control, &early), Refusal::NotYet { kind, from: early.issued });
    let far = TrustedTime { earliest: now().earliest, latest: time("2027-06-01T00:00:00Z") };
    assert!(matches!(control.examine(&file, Some(far), &aliases, &Dalek), Err(Refusal::Expired { .. })));
    assert!(take(&mut control, b"broken").is_err());
    assert_eq!(control.policy().cloned(), before);
}

#[test]
fn an_older_signing_key_is_refused() {
    let mut control = car();
    let with_serial = |version: u64, serial: u64| {
        let mut statement = statement();
        statement.serial = serial;
        sign(&bundle(version), SIGNING).with_statement(sign(&statement, ROOT)).to_bytes().unwrap()
    };
    take(&mut control, &with_serial(2, 9)).unwrap();
    let refusal = examine(&control, &with_serial(3, 8)).unwrap_err();
    assert_eq!(refusal, Refusal::SigningKeyRolledBack { serial: 8, counter: 9 });
    assert!(examine(&control, &with_serial(3, 9)).is_ok());
}

#[test]
fn a_request_does_not_go_back_nor_change_under_its_version() {
    let mut control = empty();
    let with = |version: u64, request_version: u64, text: &str| {
        let mut request = requests()[0].0.clone();
        request.version = request_version;
        request.purpose.text[0].text = text.to_owned();
        let mut bundle = bundle(version);
        bundle.requests[0] = sign(&request, ACME);
        bundle_file(&bundle)
    };
    take(&mut control, &with(1, 3, "old")).unwrap();
    let expected = |version| Refusal::RequestRolledBack { index: 0, version, counter: 3 };
    assert_eq!(examine(&control, &with(2, 2, "old")).unwrap_err(), expected(2));
    assert_eq!(examine(&control, &with(2, 3, "new words")).unwrap_err(), expected(3));
    assert!(examine(&control, &with(2, 3, "old")).is_ok());
    assert!(examine(&control, &with(2, 4, "new words")).is_ok());
}

#[test]
fn what_cannot_stand_alone_is_refused() {
    let control = car();
    let request = sign(&requests()[0].0, ACME).to_bytes().unwrap();
    let refusal = examine(&control, &request).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "a request cannot be installed by itself; install a policy bundle, a consent record or an enrolment"
    );
    assert!(examine(&control, &sign(&statement(), ROOT).to_bytes().unwrap()).is_err());
    let mut unprovisioned = enrolment();
    unprovisioned.root = None;
    let (fresh, _) = Control::restore(unprovisioned, Stored::default(), &aliases, &Dalek);
    assert_eq!(refused(&fresh, &bundle(1)), Refusal::NotProvisioned);
}

#[test]
fn invariant_4_no_bundle_touches_a_grant() {
    let mut control = car();
    take(&mut control, &record_file(&given(1, 0), OWNER)).unwrap();
    let before = control.grants().clone();
    let mut wide = bundle(2);
    let mut asks_more =
        request("acme", "tyre-care", &["Vehicle.Speed", RANGE, "Vehicle.CurrentLocation.Latitude"]);
    asks_more.version = 2;
    wide.requests[0] = sign(&asks_more, ACME);
    wide.catalogue[0].floor.clear();
    wide.catalogue[2] = catalogued("Vehicle.CurrentLocation.Latitude", Category::Energy);
    take(&mut control, &bundle_file(&wide)).unwrap();
    assert_eq!(control.grants(), &before);
    let mut empty = bundle(3);
    (empty.requests, empty.recipients, empty.catalogue) = (Vec::new(), Vec::new(), Vec::new());
    empty.directives = vec![Directive::Drop { signal: RANGE.parse().unwrap() }];
    take(&mut control, &bundle_file(&empty)).unwrap();
    assert_eq!(control.grants(), &before);
}
