//! Two consent records: what each permits.

use super::super::document::record::{ConsentRecord, Decision, EventState, PiiInformation};
use super::super::plain::period;
use super::request::{dates, days, event};
use super::{About, Change, Direction, Found, Reach, Said};
use crate::names::SignalPath;
use std::collections::BTreeSet;

/// What `new` permits otherwise than `old`.
#[must_use]
pub fn records(old: &ConsentRecord, new: &ConsentRecord) -> Vec<Change> {
    let mut found = Found::default();
    let about =
        About { recipient: Some(&new.recipient.party_id), purpose: Some(&new.purpose.id), signal: None };
    let leaves: BTreeSet<&SignalPath> =
        old.pii_information.iter().chain(&new.pii_information).map(|pii| &pii.signal).collect();
    for signal in leaves {
        leaf(&mut found, About { signal: Some(signal), ..about }, (old, new));
    }
    terms(&mut found, about, (old, new));
    promises(&mut found, about, (old, new));
    found.sorted()
}

fn item<'a>(record: &'a ConsentRecord, signal: &SignalPath) -> Option<&'a PiiInformation> {
    record.pii_information.iter().find(|pii| pii.signal == *signal)
}

/// A record that gives, or narrows to what it lists, permits it; any other permits nothing.
fn reach(record: &ConsentRecord, item: Option<&PiiInformation>) -> Reach {
    let permits = record.state().is_some_and(|state| state.widens() || state == EventState::ConsentNarrowed);
    match item {
        _ if !permits => Reach::Nothing("nothing: the record does not give"),
        None => Reach::Nothing("not in the record"),
        Some(pii) if pii.decision == Decision::Yes => Reach::Reduced(pii.transform.clone()),
        Some(_) => Reach::Nothing("not granted"),
    }
}

fn leaf(found: &mut Found, about: About<'_>, (old, new): (&ConsentRecord, &ConsentRecord)) {
    let Some(signal) = about.signal else { return };
    let (was, is) = (item(old, signal), item(new, signal));
    found.reach(about, &reach(old, was), &reach(new, is));
    let Some((was, is)) = was.zip(is) else { return };
    let what = if is.floor_waived {
        "more than the usual limit, now waived"
    } else {
        "the usual limit applies again"
    };
    found.ordered(about, &was.floor_waived, &is.floor_waived, Said { greater: Direction::More, what });
    let kinds = |pii: &PiiInformation| (pii.category, pii.pii_type.clone());
    found.other(about, (&kinds(was), &kinds(is)), "is held for another kind of data");
    found.other(about, (&was.signal_map_digest, &is.signal_map_digest), "is extracted in another way");
    if was.decision != is.decision && reach(old, Some(was)).rule() == reach(new, Some(is)).rule() {
        found.add(about, Direction::Other, "another decision that lets nothing leave either");
    }
}

fn terms(found: &mut Found, about: About<'_>, (old, new): (&ConsentRecord, &ConsentRecord)) {
    found.other(about, (&old.recipient, &new.recipient), "another recipient, or other words or keys of it");
    found.other(about, (&old.purpose, &new.purpose), "another purpose, or in other words");
    found.other(about, (&old.request_digest, &new.request_digest), "agrees to another request");
    let vehicle = |record: &ConsentRecord| (record.subject_vehicle, record.pii_principal_id);
    found.other(about, (&vehicle(old), &vehicle(new)), "another car");
    let state =
        |record: &ConsentRecord| record.state().map_or("none".to_owned(), |state| format!("{state:?}"));
    let what = format!("state {} (was: {})", state(new), state(old));
    found.other(about, (&old.state(), &new.state()), &what);
    dates(found, about, (&old.not_after, &new.not_after), "lasts until");
    let begins = format!("begins at {} (was: {})", new.not_before, old.not_before);
    found.ordered(about, &old.not_before, &new.not_before, Said { greater: Direction::Less, what: &begins });
    let bytes = |record: &ConsentRecord| record.conditions.max_bytes_per_day.unwrap_or(u64::MAX);
    let most = |record: &ConsentRecord| {
        record.conditions.max_bytes_per_day.map_or("no limit".to_owned(), |bytes| format!("{bytes} bytes"))
    };
    let day = format!("{} a day (was: {})", most(new), most(old));
    found.ordered(about, &bytes(old), &bytes(new), Said { greater: Direction::More, what: &day });
    let age = |record: &ConsentRecord| record.conditions.max_age_s.unwrap_or(u32::MAX);
    let until = |record: &ConsentRecord| {
        record.conditions.max_age_s.map_or("never".to_owned(), |s| format!("after {s} s"))
    };
    let dropped = format!("dropped in the car if not sent: {} (was: {})", until(new), until(old));
    found.ordered(about, &age(old), &age(new), Said { greater: Direction::More, what: &dropped });
    event(found, about, (&old.conditions.event, &new.conditions.event));
}

fn promises(found: &mut Found, about: About<'_>, (old, new): (&ConsentRecord, &ConsentRecord)) {
    let (was, is) = (&old.processing, &new.processing);
    for (name, old, new) in [
        ("profiling", was.profiling, is.profiling),
        ("automated decisions", was.automated_decision, is.automated_decision),
    ] {
        let what = format!("{name}: {}", if new { "now yes" } else { "no longer" });
        found.ordered(about, &old, &new, Said { greater: Direction::More, what: &what });
    }
    found.members(about, (&was.onward_disclosure, &is.onward_disclosure), "passed on to");
    found.members(about, (&old.storage_locations, &new.storage_locations), "kept in");
    found.members(about, (&old.jurisdiction, &new.jurisdiction), "under the law of");
    let kept = format!("kept for {} (was: {})", period(&new.retention_period), period(&old.retention_period));
    match days(&old.retention_period).zip(days(&new.retention_period)) {
        Some((old, new)) => found.ordered(about, &old, &new, Said { greater: Direction::More, what: &kept }),
        None => found.other(about, (&old.retention_period, &new.retention_period), &kept),
    }
    found.other(about, (&old.privacy_notice, &new.privacy_notice), "another privacy notice");
    found.other(about, (&old.lawful_basis, &new.lawful_basis), "another legal ground");
    found.other(about, (&old.withdrawal_method, &new.withdrawal_method), "another way to withdraw");
}
