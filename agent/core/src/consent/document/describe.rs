//! A consent record in plain words, for a person to read before it is signed.

use super::super::transform::transforms;
use super::record::{ConsentRecord, Decision, EventState, PiiInformation};
use std::fmt::Write as _;

/// What the record says, line by line. The SHA-256 of these words is the record's `ui_digest`, so they are made of the
/// record alone, without its events' digests.
#[must_use]
pub fn describe(record: &ConsentRecord) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = headline(record, &mut text);
    if record.state().is_some_and(|state| state.widens() || state == EventState::ConsentNarrowed) {
        let _ = signals(record, &mut text);
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
    writeln!(text, "  purpose:  {} ({})", record.purpose.id, record.purpose.code)?;
    writeln!(text, "  notice:   {} ({})", record.privacy_notice.uri, record.privacy_notice.language)?;
    if record.state().is_some_and(EventState::widens) {
        writeln!(text, "  valid:    {} until {}", record.not_before, record.not_after)?;
    }
    Ok(())
}

fn signals(record: &ConsentRecord, text: &mut String) -> std::fmt::Result {
    let with = |decision| record.pii_information.iter().filter(move |pii| pii.decision == decision);
    writeln!(text, "May leave the car:")?;
    if with(Decision::Yes).next().is_none() {
        writeln!(text, "  nothing")?;
    }
    for pii in with(Decision::Yes) {
        writeln!(text, "  + {}{}", pii.signal, reductions(pii))?;
    }
    for (decision, title) in [
        (Decision::No, "Asked for and not granted:"),
        (Decision::InVehicle, "Used inside the car only:"),
        (Decision::NotSet, "Not decided, so it stays in the car:"),
    ] {
        if with(decision).next().is_some() {
            writeln!(text, "{title}")?;
        }
        for pii in with(decision) {
            writeln!(text, "  - {}", pii.signal)?;
        }
    }
    Ok(())
}

fn reductions(pii: &PiiInformation) -> String {
    let reduced = transforms(&pii.transform);
    if pii.floor_waived { format!(": {reduced}; MORE THAN THE USUAL LIMIT") } else { format!(": {reduced}") }
}

/// What narrows all of it, kept by the car.
fn conditions(record: &ConsentRecord, text: &mut String) -> std::fmt::Result {
    if let Some(event) = &record.conditions.event {
        writeln!(text, "  All of it {event}")?;
    }
    Ok(())
}

fn promises(record: &ConsentRecord, text: &mut String) -> std::fmt::Result {
    let yes_no = |flag| if flag { "yes" } else { "no" };
    let processing = &record.processing;
    writeln!(text, "What the recipient promises (the car cannot enforce it):")?;
    writeln!(text, "  kept for {}, in {}", record.retention_period, record.storage_locations.join(", "))?;
    writeln!(text, "  legal ground {}, law of {}", record.lawful_basis, record.jurisdiction.join(", "))?;
    let onward = &processing.onward_disclosure;
    let onward = if onward.is_empty() { "nobody".to_owned() } else { onward.join(", ") };
    writeln!(text, "  passed on to {onward}")?;
    let (profiling, automated) = (yes_no(processing.profiling), yes_no(processing.automated_decision));
    writeln!(text, "  profiling: {profiling}; automated decisions: {automated}")?;
    if let Some(bytes) = record.conditions.max_bytes_per_day {
        writeln!(text, "At most {bytes} bytes a day")?;
    }
    if let Some(seconds) = record.conditions.max_age_s {
        writeln!(text, "What could not be sent within {seconds} s is dropped in the car")?;
    }
    writeln!(text, "To end it: {}", record.withdrawal_method)
}
