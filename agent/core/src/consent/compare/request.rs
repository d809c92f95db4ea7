//! Two requests: what is asked for, and what is promised.

use super::super::document::event::EventCondition;
use super::super::document::request::{Necessity, Request};
use super::super::plain::period;
use super::{About, Change, Direction, Found, Reach, Said};
use crate::names::{SignalPath, WallTime};
use std::collections::BTreeSet;

/// What `new` asks for and promises otherwise than `old`.
#[must_use]
pub fn requests(old: &Request, new: &Request) -> Vec<Change> {
    let mut found = Found::default();
    let about = About { recipient: Some(&new.recipient), purpose: Some(&new.purpose.id), signal: None };
    found.other(
        about,
        (&(&old.recipient, &old.id), &(&new.recipient, &new.id)),
        "another request altogether",
    );
    for signal in signals(old, new) {
        let about = About { signal: Some(signal), ..about };
        found.reach(about, &asked(Some(old), signal), &asked(Some(new), signal));
    }
    promises(&mut found, about, (old, new));
    found.sorted()
}

/// All that either asks for.
pub(super) fn signals<'a>(old: &'a Request, new: &'a Request) -> BTreeSet<&'a SignalPath> {
    old.signals.iter().chain(&new.signals).map(|asked| &asked.signal).collect()
}

pub(super) fn asked(request: Option<&Request>, signal: &SignalPath) -> Reach {
    let asked = request.and_then(|request| request.signals.iter().find(|asked| asked.signal == *signal));
    asked.map_or(Reach::Nothing("not asked for"), |asked| Reach::Reduced(asked.transforms.clone()))
}

/// All of a request but its signals' transforms.
pub(super) fn promises(found: &mut Found, about: About<'_>, (old, new): (&Request, &Request)) {
    necessities(found, about, (old, new));
    dates(found, about, (&old.expires, &new.expires), "the request lasts until");
    let flags = [
        ("profiling", old.profiling, new.profiling),
        ("automated decisions", old.automated_decision, new.automated_decision),
        ("stamps in microseconds", old.microseconds, new.microseconds),
    ];
    for (name, old, new) in flags {
        let what = format!("{name}: {}", if new { "now yes" } else { "no longer" });
        found.ordered(about, &old, &new, Said { greater: Direction::More, what: &what });
    }
    found.members(about, (&old.storage_locations, &new.storage_locations), "kept in");
    found.members(about, (&old.onward_disclosure, &new.onward_disclosure), "passed on to");
    found.members(about, (&old.jurisdiction, &new.jurisdiction), "under the law of");
    let kept = format!("kept for {} (was: {})", period(&new.retention_period), period(&old.retention_period));
    match days(&old.retention_period).zip(days(&new.retention_period)) {
        Some((old, new)) => found.ordered(about, &old, &new, Said { greater: Direction::More, what: &kept }),
        None => found.other(about, (&old.retention_period, &new.retention_period), &kept),
    }
    let sooner = format!("a batch every {} s (was: {} s)", new.batch_age_s, old.batch_age_s);
    found.ordered(
        about,
        &old.batch_age_s,
        &new.batch_age_s,
        Said { greater: Direction::Less, what: &sooner },
    );
    let age = |request: &Request| request.max_age_s.unwrap_or(u32::MAX);
    let until = |request: &Request| request.max_age_s.map_or("never".to_owned(), |s| format!("after {s} s"));
    let dropped = format!("dropped in the car if not sent: {} (was: {})", until(new), until(old));
    found.ordered(about, &age(old), &age(new), Said { greater: Direction::More, what: &dropped });
    event(found, about, (&old.event, &new.event));
    words(found, about, (old, new));
}

/// What leaves only around an event is less than all of it; two events cannot be compared.
pub(super) fn event(
    found: &mut Found,
    about: About<'_>,
    (old, new): (&Option<EventCondition>, &Option<EventCondition>),
) {
    match (old, new) {
        (None, Some(event)) => found.add(about, Direction::Less, event.to_string()),
        (Some(_), None) => found.add(about, Direction::More, "at any time, not only around an event"),
        (Some(was), Some(event)) if was != event => {
            let direction = direction(was, event);
            found.add(about, direction, format!("{event} (was: {was})"));
        }
        (Some(_), Some(_)) => {}
        (None, None) => {}
    }
}

/// Of one expression a longer time around it is more, and so is less time between two.
fn direction(old: &EventCondition, new: &EventCondition) -> Direction {
    let within = |a: &EventCondition, b: &EventCondition| {
        a.when == b.when
            && a.before_s <= b.before_s
            && a.after_s <= b.after_s
            && a.min_interval_s >= b.min_interval_s
    };
    match (within(old, new), within(new, old)) {
        (true, _) => Direction::More,
        (_, true) => Direction::Less,
        _ => Direction::Other,
    }
}

fn words(found: &mut Found, about: About<'_>, (old, new): (&Request, &Request)) {
    found.other(
        about,
        (&old.purpose, &new.purpose),
        "the purpose is told in other words or has another code",
    );
    let basis = format!("legal ground {} (was: {})", new.lawful_basis, old.lawful_basis);
    found.other(about, (&old.lawful_basis, &new.lawful_basis), &basis);
    found.other(about, (&old.privacy_notice, &new.privacy_notice), "another privacy notice");
    found.other(about, (&old.incentive, &new.incentive), "another incentive");
    found.other(about, (&old.subject_reference, &new.subject_reference), "another reference to the owner");
    found.other(
        about,
        (&old.version, &new.version),
        &format!("version {} (was: {})", new.version, old.version),
    );
}

fn necessities(found: &mut Found, about: About<'_>, (old, new): (&Request, &Request)) {
    for asked in &new.signals {
        let Some(before) = old.signals.iter().find(|before| before.signal == asked.signal) else { continue };
        let what = match asked.necessity {
            Necessity::Required => "required now, was optional",
            Necessity::Optional => "optional now, was required",
        };
        let about = About { signal: Some(&asked.signal), ..about };
        found.other(about, (&before.necessity, &asked.necessity), what);
    }
}

/// A later end lets more leave.
pub(super) fn dates(found: &mut Found, about: About<'_>, (old, new): (&WallTime, &WallTime), what: &str) {
    let what = format!("{what} {new} (was: {old})");
    found.ordered(about, old, new, Said { greater: Direction::More, what: &what });
}

/// About how long a duration is: a year has 365.2425 days and a month the twelfth of it.
pub(super) fn days(duration: &str) -> Option<f64> {
    let span: jiff::Span = duration.parse().ok()?;
    let months = f64::from(span.get_years()) * 12.0 + f64::from(span.get_months());
    let hours =
        f64::from(span.get_weeks()) * 168.0 + f64::from(span.get_days()) * 24.0 + f64::from(span.get_hours());
    let clock = jiff::SignedDuration::from_mins(span.get_minutes())
        + jiff::SignedDuration::from_secs(span.get_seconds());
    Some(months * 30.436_875 + hours / 24.0 + clock.as_secs_f64() / 86_400.0)
}
