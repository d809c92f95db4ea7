//! Drafted records, from wish to live flow.

use super::{aliases, car, empty, take};
use crate::consent::document::bundle::Category;
use crate::consent::document::record::{Decision, EventState};
use crate::consent::document::samples::{
    OWNER, RANGE, RECORD, SPEED, id, leaf_digest, now, rate, record_file, time,
};
use crate::consent::document::{describe, read, write};
use crate::consent::grants::Effect;
use crate::control::{DraftError, Stamp, Wish};
use crate::limits::{DAY_BATCH_BYTES_MIN, DAY_SIGNAL_BYTES_MIN};
use crate::names::{Digest, FlowId, PurposeId, RecipientId, SignalPath};

fn stamp(number: u64) -> Stamp<'static> {
    Stamp {
        record_id: id(number),
        now: now().earliest,
        at: now().latest,
        entity: "owner",
        shown_by: "command_line",
    }
}

pub(super) struct Names(pub(super) RecipientId, pub(super) PurposeId);

fn names() -> Names {
    Names("acme".parse().unwrap(), "tyre-care".parse().unwrap())
}

pub(super) fn wish<'a>(names: &'a Names, number: u64, wanted: &'a dyn Fn(&SignalPath) -> bool) -> Wish<'a> {
    Wish {
        recipient: &names.0,
        purpose: &names.1,
        wanted,
        until: time("2027-01-01T00:00:00Z"),
        floor_waived: false,
        max_bytes_per_day: None,
        language: "de",
        stamp: stamp(number),
    }
}

#[test]
fn a_draft_is_taken_renewed_narrowed_and_withdrawn() {
    let (mut control, names) = (car(), names());
    let all = |_: &SignalPath| true;
    let first = control.draft(&wish(&names, 1, &all), &leaf_digest, &aliases).unwrap();
    assert_eq!(first.state(), Some(EventState::ConsentGiven));
    assert_eq!(first.pii_information[0].transform, [rate(60_000)], "the floor is resolved in it");
    assert!(first.not_before == now().earliest && first.events[0].event_time == now().latest, "live at once");
    assert_eq!(first.events[0].ui_digest, Digest::of(describe(&first).as_bytes()));
    let (flow, effect) = take(&mut control, &record_file(&first, OWNER)).unwrap();
    assert_eq!(effect, Effect::Widens);
    let flow = flow.unwrap();
    let less = |signal: &SignalPath| signal.as_str() == RANGE;
    let narrowed = control.draft_narrowing(flow, &less, stamp(2)).unwrap();
    assert_eq!(narrowed.pii_information[0].decision, Decision::No);
    assert_eq!(take(&mut control, &record_file(&narrowed, RECORD)).unwrap().1, Effect::Narrows);
    let renewed = control.draft(&wish(&names, 3, &all), &leaf_digest, &aliases).unwrap();
    assert_eq!(renewed.state(), Some(EventState::RenewedConsentGiven));
    assert_eq!(take(&mut control, &record_file(&renewed, OWNER)), Ok((Some(flow), Effect::Widens)));
    let end = control.draft_withdrawal(flow, stamp(4)).unwrap();
    assert!(end.pii_information.is_empty());
    assert_eq!(take(&mut control, &record_file(&end, RECORD)), Ok((Some(flow), Effect::Ends)));
    assert_eq!(control.draft_withdrawal(flow, stamp(5)), Err(DraftError::NotLive(flow)));
    let anew = control.draft(&wish(&names, 6, &all), &leaf_digest, &aliases).unwrap();
    assert_eq!(anew.state(), Some(EventState::ConsentGiven));
    let (new, _) = take(&mut control, &record_file(&anew, OWNER)).unwrap();
    assert_eq!(new, Some(FlowId::from_record(id(6))));
    for record in [&first, &narrowed, &renewed, &end, &anew] {
        let bytes = write(record).unwrap();
        assert_eq!(&read::<crate::consent::document::record::ConsentRecord>(&bytes).unwrap(), record);
    }
}

#[test]
fn every_leaf_that_is_asked_for_is_decided() {
    let (control, names) = (car(), names());
    let speed = |signal: &SignalPath| signal.as_str() == SPEED;
    let record = control.draft(&wish(&names, 1, &speed), &leaf_digest, &aliases).unwrap();
    let decided: Vec<_> = record.pii_information.iter().map(|p| (p.signal.as_str(), p.decision)).collect();
    assert_eq!(decided, [(SPEED, Decision::Yes), (RANGE, Decision::No)]);
    let without_range = |signal: &SignalPath| leaf_digest(signal).filter(|_| signal.as_str() != RANGE);
    let record = control.draft(&wish(&names, 1, &|_| true), &without_range, &aliases).unwrap();
    assert_eq!(record.pii_information[1].decision, Decision::NotSet);
    let mut more = wish(&names, 1, &|_| true);
    more.floor_waived = true;
    let record = control.draft(&more, &leaf_digest, &aliases).unwrap();
    assert!(record.pii_information[0].floor_waived && record.pii_information[0].transform.is_empty());
    assert!(!record.pii_information[1].floor_waived, "it has no floor to waive");
    assert!(describe(&record).contains("MORE THAN THE USUAL LIMIT"));
}

#[test]
fn a_grant_without_the_floor_of_the_day_is_taken_only_with_a_second_yes() {
    let (mut control, names) = (car(), names());
    let record = control.draft(&wish(&names, 1, &|_| true), &leaf_digest, &aliases).unwrap();
    for looser in [vec![], vec![rate(59_999)]] {
        let mut more = record.clone();
        more.pii_information[0].transform = looser;
        let refusal = take(&mut control, &record_file(&more, OWNER)).unwrap_err().to_string();
        assert!(refusal.contains("pii_information[0].transform"), "{refusal}");
        more.pii_information[0].decision = Decision::No;
        assert!(
            take(&mut control.clone(), &record_file(&more, OWNER)).is_ok(),
            "what does not leave has no floor"
        );
        more.pii_information[0].decision = Decision::Yes;
        more.pii_information[0].floor_waived = true;
        assert!(take(&mut control.clone(), &record_file(&more, OWNER)).is_ok());
    }
    let mut less = record;
    less.pii_information[0].transform = vec![rate(60_001)];
    assert!(take(&mut control, &record_file(&less, OWNER)).is_ok());
}

#[test]
fn what_the_catalogue_does_not_know_is_not_given() {
    use crate::consent::document::samples::{bundle, bundle_file};
    let (mut control, names) = (empty(), names());
    let mut bundle = bundle(1);
    bundle.catalogue[0].category = Category::Unknown;
    bundle.catalogue.remove(1);
    take(&mut control, &bundle_file(&bundle)).unwrap();
    let nothing = control.draft(&wish(&names, 1, &|_| true), &leaf_digest, &aliases);
    assert_eq!(nothing, Err(DraftError::NothingWanted));
}

#[test]
fn a_place_stays_a_place_whatever_the_catalogue_says() {
    use crate::consent::document::samples::{ACME, LATITUDE, bundle, bundle_file, catalogued, request, sign};
    let (mut control, names) = (empty(), names());
    let mut relabelled = bundle(1);
    relabelled.requests = vec![sign(&request("acme", "tyre-care", &[SPEED, LATITUDE]), ACME)];
    relabelled.catalogue =
        vec![catalogued(SPEED, Category::Driving), catalogued(LATITUDE, Category::Condition)];
    take(&mut control, &bundle_file(&relabelled)).unwrap();
    let known = |signal: &SignalPath| Some(Digest::of(signal.as_str().as_bytes()));
    let record = control.draft(&wish(&names, 1, &|_| true), &known, &aliases).unwrap();
    assert_eq!(record.pii_information[1].category, Category::Location, "the owner reads that it is a place");
    let mut hidden = record.clone();
    hidden.pii_information[1].category = Category::Condition;
    let refusal = take(&mut control, &record_file(&hidden, OWNER)).unwrap_err().to_string();
    assert!(refusal.contains("pii_information[1].category"), "{refusal}");
    assert_eq!(take(&mut control, &record_file(&record, OWNER)).unwrap().1, Effect::Widens);
}

#[test]
fn there_is_nothing_to_sign_without_policy_request_alias_or_time() {
    let (control, names) = (car(), names());
    let draft =
        |control: &crate::control::Control, wish: &Wish<'_>| control.draft(wish, &leaf_digest, &aliases);
    assert_eq!(draft(&empty(), &wish(&names, 1, &|_| true)), Err(DraftError::NoPolicy));
    assert_eq!(draft(&control, &wish(&names, 1, &|_| false)), Err(DraftError::NothingWanted));
    let mut past = wish(&names, 1, &|_| true);
    past.until = now().earliest;
    assert!(matches!(draft(&control, &past), Err(DraftError::Dates { .. })));
    let other = Names("acme".parse().unwrap(), "maps".parse().unwrap());
    assert!(matches!(draft(&control, &wish(&other, 1, &|_| true)), Err(DraftError::NoRequest { .. })));
    let none = control.draft(&wish(&names, 1, &|_| true), &leaf_digest, &|_| None);
    assert_eq!(none, Err(DraftError::NoAlias));
}

#[test]
fn fewer_bytes_a_day_than_a_batch_needs_are_not_drafted() {
    let (control, names) = (car(), names());
    let all = |_: &SignalPath| true;
    let draft = |most: u64| {
        let wish = Wish { max_bytes_per_day: Some(most), ..wish(&names, 1, &all) };
        control.draft(&wish, &leaf_digest, &aliases).map(|record| record.conditions.max_bytes_per_day)
    };
    let given = control.draft(&wish(&names, 1, &all), &leaf_digest, &aliases).unwrap().pii_information;
    let given = given.iter().filter(|item| item.decision == Decision::Yes).count() as u64;
    let least = DAY_BATCH_BYTES_MIN + given * DAY_SIGNAL_BYTES_MIN;
    assert_eq!(draft(10), Err(DraftError::TooFewBytes { wanted: 10, least }));
    assert_eq!(draft(least), Ok(Some(least)));
    assert!(draft(least - 1).is_err());
}
