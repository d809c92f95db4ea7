//! Consent records at the door.

use super::{aliases, car, empty, examine, following, given, take};
use crate::consent::document::DocumentKind;
use crate::consent::document::bundle::Category;
use crate::consent::document::record::{ConsentRecord, EventState};
use crate::consent::document::request::Necessity;
use crate::consent::document::samples::{
    ACME, Dalek, OWNER, RANGE, RECORD, SPEED, STRANGER, alias, bundle, bundle_file, catalogued, id, now,
    public, recipient, record, record_file, request, requests, sign,
};
use crate::consent::grants::{Effect, GrantError};
use crate::control::Refusal;
use crate::names::{Digest, FlowId, TrustedTime};

fn refused(record: &ConsentRecord) -> Refusal {
    examine(&car(), &record_file(record, OWNER)).unwrap_err()
}

#[test]
fn a_given_record_makes_a_flow_live_and_a_withdrawal_ends_it() {
    let mut control = car();
    let first = given(1, 0);
    let flow = FlowId::from_record(first.record_id);
    assert_eq!(take(&mut control, &record_file(&first, OWNER)), Ok((Some(flow), Effect::Widens)));
    assert_eq!(control.grants().find(flow).unwrap().given().payload(), &first);
    let kind = DocumentKind::Consent;
    assert_eq!(take(&mut control, &record_file(&first, OWNER)), Err(Refusal::AlreadyThere { kind }));
    let less = following(2, &first, EventState::ConsentNarrowed);
    assert_eq!(take(&mut control, &record_file(&less, RECORD)), Ok((Some(flow), Effect::Narrows)));
    let more = following(3, &less, EventState::RenewedConsentGiven);
    assert_eq!(take(&mut control, &record_file(&more, OWNER)), Ok((Some(flow), Effect::Widens)));
    assert_eq!(control.grants().find(flow).unwrap().narrowed().count(), 0);
    let end = following(4, &first, EventState::ConsentWithdrawn);
    assert_eq!(take(&mut control, &record_file(&end, RECORD)), Ok((Some(flow), Effect::Ends)));
    assert!(control.grants().live().is_empty());
    let again = following(5, &end, EventState::ConsentGiven);
    let (new, effect) = take(&mut control, &record_file(&again, OWNER)).unwrap();
    assert_eq!(effect, Effect::Widens);
    assert_ne!(new, Some(flow), "a grant after a withdrawal starts a new flow");
    let states: Vec<_> =
        control.grants().history().map(|listed| (listed.state.unwrap(), listed.live)).collect();
    assert_eq!(states.len(), 5);
    assert_eq!(states[0], (EventState::ConsentGiven, false));
    assert_eq!(states[4], (EventState::ConsentGiven, true));
    assert_eq!(control.records().count(), 5);
}

#[test]
fn invariant_4_narrowing_needs_neither_time_nor_policy_nor_alias() {
    let mut control = car();
    let first = given(1, 0);
    take(&mut control, &record_file(&first, OWNER)).unwrap();
    let end = record_file(&following(2, &first, EventState::ConsentWithdrawn), RECORD);
    assert!(control.examine(&end, None, &|_| None, &Dalek).is_ok());
    assert!(empty().examine(&end, None, &aliases, &Dalek).is_ok(), "also before its grant came");
    let widening = record_file(&given(3, 1), OWNER);
    let kind = DocumentKind::Consent;
    assert_eq!(control.examine(&widening, None, &aliases, &Dalek), Err(Refusal::TimeInDoubt { kind }));
    assert_eq!(control.examine(&widening, Some(now()), &|_| None, &Dalek), Err(Refusal::NoAlias));
    assert_eq!(empty().examine(&widening, Some(now()), &aliases, &Dalek), Err(Refusal::NoPolicy));
}

#[test]
fn a_second_given_waits_for_a_withdrawal_or_is_a_renewal() {
    let mut control = car();
    let first = given(1, 0);
    take(&mut control, &record_file(&first, OWNER)).unwrap();
    for second in [given(2, 0), following(2, &first, EventState::ConsentGiven)] {
        let refusal = take(&mut control, &record_file(&second, OWNER)).unwrap_err();
        assert_eq!(refusal, Refusal::Grant(GrantError::AlreadyGiven));
        assert!(refusal.to_string().contains("withdraw it first, or renew it"), "{refusal}");
    }
    let mut unrelated = following(3, &first, EventState::RenewedConsentGiven);
    unrelated.supersedes = None;
    let refusal = take(&mut control, &record_file(&unrelated, OWNER)).unwrap_err();
    assert_eq!(refusal, Refusal::Grant(GrantError::NotTheLast(Some(first.record_id))));
    let alone = record(4, &requests()[1].0, ACME, EventState::RenewedConsentGiven);
    let refusal = take(&mut control, &record_file(&alone, OWNER)).unwrap_err();
    assert_eq!(refusal, Refusal::Grant(GrantError::NothingToRenew));
}

#[test]
fn invariant_5_a_grant_held_back_does_not_come_to_life_after_a_withdrawal() {
    // The broker keeps the first grant, delivers a later one, and the owner withdraws.
    let mut control = car();
    let (held, delivered) = (given(1, 0), given(2, 0));
    take(&mut control, &record_file(&delivered, OWNER)).unwrap();
    let end = following(3, &delivered, EventState::ConsentWithdrawn);
    take(&mut control, &record_file(&end, OWNER)).unwrap();
    let refusal = take(&mut control, &record_file(&held, OWNER)).unwrap_err();
    assert_eq!(refusal, Refusal::Grant(GrantError::NotTheLast(Some(end.record_id))));
    // The withdrawal overtakes the grant that it is about.
    let mut control = car();
    take(&mut control, &record_file(&end, OWNER)).unwrap();
    assert!(take(&mut control, &record_file(&delivered, OWNER)).is_err());
    assert!(control.grants().live().is_empty());
    // A renewal that did not know of the driver's narrowing does not undo it.
    let mut control = car();
    take(&mut control, &record_file(&delivered, OWNER)).unwrap();
    take(&mut control, &record_file(&following(4, &delivered, EventState::ConsentNarrowed), RECORD)).unwrap();
    let renewal = following(5, &delivered, EventState::RenewedConsentGiven);
    assert!(take(&mut control, &record_file(&renewal, OWNER)).is_err());
    assert_eq!(control.grants().live()[0].narrowed().count(), 1);
}

#[test]
fn a_withdrawal_of_an_old_flow_leaves_the_new_one() {
    let mut control = car();
    let first = given(1, 0);
    let end = following(2, &first, EventState::ConsentWithdrawn);
    let second = following(3, &end, EventState::ConsentGiven);
    for record in [&first, &end, &second] {
        take(&mut control, &record_file(record, OWNER)).unwrap();
    }
    let held = following(4, &first, EventState::ConsentWithdrawn);
    let refusal = take(&mut control, &record_file(&held, OWNER)).unwrap_err();
    assert_eq!(refusal, Refusal::Grant(GrantError::NotLive));
    let mut unnamed = held.clone();
    unnamed.supersedes = Some(id(99));
    let (flow, effect) = take(&mut control, &record_file(&unnamed, OWNER)).unwrap();
    assert_eq!((flow, effect), (Some(FlowId::from_record(second.record_id)), Effect::Ends));
}

#[test]
fn a_narrowed_record_alone_permits_nothing() {
    let mut control = car();
    let alone = record(1, &requests()[0].0, ACME, EventState::ConsentNarrowed);
    assert_eq!(take(&mut control, &record_file(&alone, OWNER)), Ok((None, Effect::Nothing)));
    assert!(control.grants().live().is_empty());
    let other = given(2, 1);
    take(&mut control, &record_file(&other, OWNER)).unwrap();
    let mut crossed = following(3, &other, EventState::ConsentNarrowed);
    crossed.purpose.id = "tyre-care".parse().unwrap();
    let refusal = take(&mut control, &record_file(&crossed, OWNER)).unwrap_err();
    assert_eq!(refusal, Refusal::Grant(GrantError::OtherChain));
}

#[test]
fn a_refusal_of_a_new_question_leaves_what_runs() {
    let mut control = car();
    let first = given(1, 0);
    take(&mut control, &record_file(&first, OWNER)).unwrap();
    let no = record(2, &requests()[0].0, ACME, EventState::ConsentRefused);
    assert_eq!(take(&mut control, &record_file(&no, RECORD)).unwrap().1, Effect::Nothing);
    assert_eq!(control.grants().live().len(), 1);
    let no_to_it = following(3, &first, EventState::ConsentRefused);
    assert_eq!(take(&mut control, &record_file(&no_to_it, RECORD)).unwrap().1, Effect::Ends);
}

#[test]
fn a_record_id_stands_for_one_record() {
    let mut control = car();
    take(&mut control, &record_file(&given(1, 0), OWNER)).unwrap();
    let refusal = take(&mut control, &record_file(&given(1, 1), OWNER)).unwrap_err();
    assert_eq!(refusal, Refusal::Grant(GrantError::IdTaken));
}

#[test]
fn a_record_for_another_car_is_refused() {
    let kind = DocumentKind::Consent;
    let mut other = given(1, 0);
    other.subject_vehicle = alias("borg").0;
    assert_eq!(refused(&other), Refusal::OtherCar { kind, field: "subject_vehicle" });
    let mut other = given(1, 0);
    other.pii_principal_id = Digest::of(b"somebody");
    assert_eq!(refused(&other), Refusal::OtherCar { kind, field: "pii_principal_id" });
    let mut end = record(1, &requests()[0].0, ACME, EventState::ConsentWithdrawn);
    end.subject_vehicle = alias("borg").0;
    assert_eq!(refused(&end), Refusal::OtherCar { kind, field: "subject_vehicle" });
}

#[test]
fn an_expired_record_is_refused() {
    let record = given(1, 0);
    let late = TrustedTime { earliest: now().earliest, latest: record.not_after };
    let refusal = car().examine(&record_file(&record, OWNER), Some(late), &aliases, &Dalek).unwrap_err();
    assert_eq!(refusal, Refusal::Expired { kind: DocumentKind::Consent, end: record.not_after });
}

type Bend<'a> = (&'a str, &'a dyn Fn(&mut ConsentRecord));

#[test]
fn a_record_that_says_other_than_its_request_is_refused_with_the_place() {
    let other = || Digest::of(b"other");
    let cases: &[Bend<'_>] = &[
        ("request_digest", &|r| r.request_digest = other()),
        ("pii_information[1].signal", &|r| {
            r.pii_information[1].signal = "Vehicle.CurrentLocation.Latitude".parse().unwrap();
        }),
        ("pii_information[0].necessity", &|r| r.pii_information[0].necessity = Necessity::Optional),
        ("pii_information[0].category", &|r| r.pii_information[0].category = Category::Condition),
        ("recipient.key_thumbprint", &|r| r.recipient.key_thumbprint = Digest::of(&public(STRANGER).0)),
        ("recipient.party_name", &|r| r.recipient.party_name = "Acme Charity".to_owned()),
        ("purpose.code", &|r| r.purpose.code = "dpv:Marketing".to_owned()),
        ("purpose.text_digest", &|r| r.purpose.text_digest = other()),
        ("privacy_notice", &|r| r.privacy_notice.digest = other()),
        ("lawful_basis", &|r| r.lawful_basis = "dpv:LegitimateInterest".to_owned()),
        ("jurisdiction", &|r| r.jurisdiction = vec!["US".to_owned()]),
        ("retention_period", &|r| r.retention_period = "P1D".to_owned()),
        ("storage_locations", &|r| r.storage_locations = vec!["US".to_owned()]),
        ("processing.profiling", &|r| r.processing.profiling = true),
        ("processing.automated_decision", &|r| r.processing.automated_decision = true),
        ("processing.onward_disclosure", &|r| r.processing.onward_disclosure = vec!["Everybody".to_owned()]),
    ];
    for (path, bend) in cases {
        let mut record = given(1, 0);
        bend(&mut record);
        let words = refused(&record).to_string();
        assert!(words.starts_with(&format!("consent record at `{path}`: ")), "{path}: {words}");
    }
    let mut moved = given(1, 0);
    moved.purpose.id = "service".parse().unwrap();
    assert!(refused(&moved).to_string().contains("`purpose.id`"));
    let mut moved = given(1, 0);
    moved.recipient.party_id = "borg".parse().unwrap();
    (moved.subject_vehicle, moved.pii_principal_id) = alias("borg");
    assert!(refused(&moved).to_string().contains("`recipient.party_id`"));
}

#[test]
fn a_record_may_say_yes_to_less() {
    let mut less = given(1, 0);
    less.pii_information.remove(0);
    assert!(examine(&car(), &record_file(&less, OWNER)).is_ok());
}

#[test]
fn a_recipient_with_a_new_key_needs_new_consent() {
    let mut control = car();
    let mut rekeyed = bundle(2);
    rekeyed.recipients[0] = recipient("acme", STRANGER);
    let mut ask = request("acme", "tyre-care", &[SPEED, RANGE]);
    ask.version = 2;
    rekeyed.requests = vec![sign(&ask, STRANGER)];
    rekeyed.catalogue = vec![catalogued(SPEED, Category::Driving), catalogued(RANGE, Category::Energy)];
    take(&mut control, &bundle_file(&rekeyed)).unwrap();
    let old_key = record(1, &ask, ACME, EventState::ConsentGiven);
    let words = examine(&control, &record_file(&old_key, OWNER)).unwrap_err().to_string();
    assert!(words.contains("`recipient.key_thumbprint`"), "{words}");
    let new_key = record(1, &ask, STRANGER, EventState::ConsentGiven);
    assert!(examine(&control, &record_file(&new_key, OWNER)).is_ok());
}
