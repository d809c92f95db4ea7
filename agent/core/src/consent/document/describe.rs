//! A consent record in plain words, for a person to read before it is signed.

use super::super::atom;
use super::super::category::{Category, Language};
use super::super::effective::Clause;
use super::super::plain::{moment, period, term};
use super::super::transform::{Rule, transforms_in};
use super::record::{ConsentRecord, Decision, EventState, PiiInformation};
use crate::decode::Predicate;
use crate::names::SignalPath;
use std::fmt::Write as _;

/// What the record says, line by line. The SHA-256 of these words is the record's `ui_digest`, so they are made of the
/// record alone, without its events' digests.
#[must_use]
pub fn describe(record: &ConsentRecord) -> String {
    describe_in(record, &|_| String::new())
}

/// Which granted signals nothing leaves of whatever a car does, and the clause that says so.
#[must_use]
pub fn never_leave(record: &ConsentRecord) -> Vec<(&SignalPath, Clause)> {
    let granted = record.pii_information.iter().filter(|pii| pii.decision == Decision::Yes);
    let (mut open, mut never) = (Vec::new(), Vec::new());
    for pii in granted {
        if !is_fed(record, &pii.signal) {
            never.push((&pii.signal, Clause::InputNotGranted));
            continue;
        }
        match Rule::of(&pii.transform) {
            Rule::Pass(transform) => open.push((&pii.signal, transform)),
            Rule::Deny => never.push((&pii.signal, Clause::TransformDenies)),
        }
    }
    let is_place = |path: &SignalPath| {
        record.pii_information.iter().any(|pii| pii.signal == *path && pii.category == Category::Location)
    };
    never
        .extend(atom::lost_by_name(&open, is_place).into_iter().map(|at| (open[at].0, Clause::PartOfAPlace)));
    never
}

/// Whether all that it is made of is agreed to, if it is derived.
fn is_fed(record: &ConsentRecord, signal: &SignalPath) -> bool {
    let agreed = |input: SignalPath| {
        let may_feed = |pii: &PiiInformation| matches!(pii.decision, Decision::Yes | Decision::InVehicle);
        record.pii_information.iter().any(|pii| pii.signal == input && may_feed(pii))
    };
    Predicate::named(signal).is_none_or(|predicate| predicate.made_of().all(agreed))
}

/// The same words with the units of this car's signals, which stand in no record.
#[must_use]
pub fn describe_in(record: &ConsentRecord, unit: &dyn Fn(&SignalPath) -> String) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = headline(record, &mut text);
    if record.state().is_some_and(|state| state.widens() || state == EventState::ConsentNarrowed) {
        let _ = signals(record, unit, &mut text);
        let _ = conditions(record, &mut text);
    }
    if record.state().is_some_and(EventState::widens) {
        let _ = promises(record, &mut text);
    }
    text
}

fn headline(record: &ConsentRecord, text: &mut String) -> std::fmt::Result {
    let verb = match record.state() {
        Some(EventState::ConsentGiven) => "Give",
        Some(EventState::RenewedConsentGiven) => "Renew, in place of what was given before,",
        Some(EventState::ConsentNarrowed) => "Narrow",
        Some(EventState::ConsentRefused) => "Refuse",
        Some(EventState::ConsentRequestDeferred) => "Put off",
        Some(EventState::ConsentWithdrawn) => "Withdraw",
        Some(EventState::ConsentExpired) => "Note as expired the",
        Some(EventState::ConsentInvalidated) => "Declare void the",
        None => "Nothing happened to the",
    };
    let recipient = &record.recipient;
    writeln!(text, "{verb} consent for {} ({})", recipient.party_name, recipient.party_id)?;
    writeln!(text, "  contact:  {}", recipient.party_contact)?;
    writeln!(text, "  purpose:  {} ({})", record.purpose.id, term(&record.purpose.code))?;
    writeln!(text, "  notice:   {} ({})", record.privacy_notice.uri, record.privacy_notice.language)?;
    if record.state().is_some_and(EventState::widens) {
        writeln!(text, "  valid:    {} until {}", moment(record.not_before), moment(record.not_after))?;
    }
    Ok(())
}

fn signals(
    record: &ConsentRecord,
    unit: &dyn Fn(&SignalPath) -> String,
    text: &mut String,
) -> std::fmt::Result {
    let with = |decision| record.pii_information.iter().filter(move |pii| pii.decision == decision);
    let never = never_leave(record);
    let lost = |pii: &PiiInformation| never.iter().find(|(signal, _)| **signal == pii.signal);
    let leaving = || with(Decision::Yes).filter(|pii| lost(pii).is_none());
    kinds(leaving(), text)?;
    writeln!(text, "May leave the car:")?;
    if leaving().next().is_none() {
        writeln!(text, "  nothing")?;
    }
    for pii in leaving() {
        writeln!(text, "  + {}{}", pii.signal, reductions(pii, &unit(&pii.signal)))?;
        made_of(record, &pii.signal, text)?;
    }
    if !never.is_empty() {
        writeln!(text, "AGREED TO, BUT NOTHING OF IT LEAVES LIKE THIS:")?;
    }
    for pii in with(Decision::Yes) {
        let Some((_, clause)) = lost(pii) else { continue };
        writeln!(text, "  ! {}{} ({clause})", pii.signal, reductions(pii, &unit(&pii.signal)))?;
    }
    for (decision, title) in [
        (Decision::No, "Asked for and not granted:"),
        (Decision::InVehicle, "Stays in the car, and is used there:"),
        (Decision::NotSet, "Not decided, so it stays in the car:"),
    ] {
        if with(decision).next().is_some() {
            writeln!(text, "{title}")?;
        }
        for pii in with(decision) {
            let feeds =
                if decision == Decision::InVehicle { feeds(record, &pii.signal) } else { String::new() };
            writeln!(text, "  - {}{feeds}", pii.signal)?;
        }
    }
    Ok(())
}

/// What a person sees at once: how many signals of each kind, those that say most of somebody first.
fn kinds<'a>(leaving: impl Iterator<Item = &'a PiiInformation>, text: &mut String) -> std::fmt::Result {
    let all: Vec<Category> = leaving.map(|pii| pii.category).collect();
    let count = |kind: Category| all.iter().filter(|other| **other == kind).count();
    let mut found: Vec<Category> = Category::ALL.into_iter().filter(|kind| count(*kind) > 0).collect();
    found.sort_by_key(|kind| std::cmp::Reverse(kind.sensitivity()));
    let told = |kind: &Category| format!("{} ({})", kind.label(Language::English), count(*kind));
    let told: Vec<String> = found.iter().map(told).collect();
    if told.is_empty() { Ok(()) } else { writeln!(text, "  data:     {}", told.join("; ")) }
}

/// What a derived signal says, and of what, each with whether that stays in the car.
fn made_of(record: &ConsentRecord, signal: &SignalPath, text: &mut String) -> std::fmt::Result {
    let Some(predicate) = Predicate::named(signal) else { return Ok(()) };
    let leaves = |input: &SignalPath| {
        record.pii_information.iter().any(|pii| pii.signal == *input && pii.decision == Decision::Yes)
    };
    let (out, inside): (Vec<_>, Vec<_>) = predicate.made_of().partition(leaves);
    let list = |paths: &[SignalPath]| paths.iter().map(SignalPath::as_str).collect::<Vec<_>>().join(", ");
    writeln!(text, "      says {}", predicate.says())?;
    if !inside.is_empty() {
        writeln!(text, "      worked out in the car of {}, which it does not tell", list(&inside))?;
    }
    if !out.is_empty() {
        writeln!(text, "      worked out in the car of {}, also told above", list(&out))?;
    }
    Ok(())
}

/// Which derived signals of the record are made of it.
fn feeds(record: &ConsentRecord, signal: &SignalPath) -> String {
    let fed = record.pii_information.iter().filter(|pii| pii.decision == Decision::Yes);
    let fed = fed.filter(|pii| {
        Predicate::named(&pii.signal)
            .is_some_and(|predicate| predicate.made_of().any(|input| input == *signal))
    });
    let fed: Vec<&str> = fed.map(|pii| pii.signal.as_str()).collect();
    if fed.is_empty() {
        ": for nothing that is agreed to".to_owned()
    } else {
        format!(": for {}", fed.join(", "))
    }
}

fn reductions(pii: &PiiInformation, unit: &str) -> String {
    let reduced = transforms_in(&pii.transform, unit);
    if pii.floor_waived { format!(": {reduced}; MORE THAN THE USUAL LIMIT") } else { format!(": {reduced}") }
}

/// What narrows all of it.
fn conditions(record: &ConsentRecord, text: &mut String) -> std::fmt::Result {
    let conditions = &record.conditions;
    let all: Vec<String> = [
        conditions.event.as_ref().map(ToString::to_string),
        conditions.max_bytes_per_day.map(|bytes| format!("at most {bytes} bytes a day")),
        conditions.max_age_s.map(|s| format!("what could not be sent within {s} s is dropped in the car")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !all.is_empty() {
        writeln!(text, "Of all that may leave, and kept by the car:")?;
    }
    all.iter().try_for_each(|words| writeln!(text, "  {words}"))
}

fn promises(record: &ConsentRecord, text: &mut String) -> std::fmt::Result {
    let yes_no = |flag| if flag { "yes" } else { "no" };
    let processing = &record.processing;
    writeln!(text, "What the recipient promises (the car cannot enforce it):")?;
    writeln!(
        text,
        "  kept for {}, in {}",
        period(&record.retention_period),
        record.storage_locations.join(", ")
    )?;
    writeln!(
        text,
        "  legal ground: {}; law of {}",
        term(&record.lawful_basis),
        record.jurisdiction.join(", ")
    )?;
    let onward = &processing.onward_disclosure;
    let onward = if onward.is_empty() { "nobody".to_owned() } else { onward.join(", ") };
    writeln!(text, "  passed on to {onward}")?;
    let (profiling, automated) = (yes_no(processing.profiling), yes_no(processing.automated_decision));
    writeln!(text, "  profiling: {profiling}; automated decisions: {automated}")?;
    writeln!(text, "To end it: {}", record.withdrawal_method)
}
