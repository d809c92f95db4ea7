//! Whether anything leaves, as far as documents and the car say: asked of the running daemon, and if none runs of a copy of
//! the stores, since to open them is no looking on.

use std::sync::Arc;

use anyhow::Context as _;
use glovebox_core::consent::session::HoldStatus;
use glovebox_core::decode::Leaves;
use glovebox_core::names::SignalPath;

use super::Finding;
use crate::cli::copy::Copied;
use crate::clock::{Clock, Time as _};
use crate::config::Config;
use crate::control::{Authority as _, Consent, ControlClient, Meanwhile, Why, WhyOrder};
use crate::daemon::authority::{Keys, LocalAuthority};
use crate::daemon::databases::Databases;
use crate::daemon::session::Kept;
use crate::health::Status;
use crate::policy_store::PolicyStore;

const STAGE: &str = "consent";

/// What is in force.
#[derive(Default)]
struct Known {
    has_policy: bool,
    consents: Vec<Consent>,
    holds: Vec<HoldStatus>,
    /// What is wrong with the stores.
    complaints: Vec<String>,
    /// Granted, and kept back by what the car or the policy says of the signal.
    in_vain: Vec<Finding>,
}

/// Clauses by which a signal that was granted does not leave for as long as car and policy are as they are. Not that no
/// database gives it: that is looked at in the configuration, which the daemon may not have read yet.
const OF_THE_SIGNAL: [&str; 9] = [
    "extraction_changed",
    "category_unknown",
    "category_changed",
    "implausible",
    "signal_dropped",
    "input_not_granted",
    "input_held",
    "transform_denies",
    "event_unseen",
];

pub(super) fn check(config: &Config) -> Vec<Finding> {
    // A socket that cannot be asked is a finding of its own, and so is a car without keys.
    let (known, mend) = match ControlClient::connect(&config.health.control_socket) {
        Err(_) => return Vec::new(),
        Ok(Some(client)) => (asked(client), "restart the daemon: it may be of another version"),
        Ok(None) => match Keys::open(&config.health.state, crate::cli::car(config)) {
            Ok(keys) if keys.sealer.is_some() => (stored(config, keys), "the documents were not looked at"),
            _ => return Vec::new(),
        },
    };
    match known {
        Ok(known) => {
            let mut all = findings(&known);
            // A database that cannot be read is a finding of its own.
            if let Ok(databases) = Databases::load(&config.decode) {
                all.extend(not_given(&known.consents, &databases.leaves));
            }
            all
        }
        Err(error) => vec![Finding::warn(STAGE, format!("{error:#}"), mend)],
    }
}

fn asked(mut client: ControlClient) -> anyhow::Result<Known> {
    let consents = client.list()?;
    let status: Status =
        serde_json::from_value(client.status()?).context("what the daemon says of itself")?;
    let in_vain = in_vain(&consents, &mut |order| client.why(order).ok());
    let (has_policy, holds) = (status.policy.is_some(), status.held_back);
    Ok(Known { has_policy, consents, holds, complaints: Vec::new(), in_vain })
}

fn stored(config: &Config, keys: Keys) -> anyhow::Result<Known> {
    let copy = Copied::of(&config.health.state)?;
    let store = PolicyStore::open(copy.path())?;
    let clock = Clock::new();
    let mut authority = LocalAuthority::new(keys, Box::new(store), Arc::new(clock), Box::new(|_| None))?;
    let (kept, _) = Kept::open(copy.path().join("session"), &clock);
    let mut session = kept.session().clone();
    session.pass(clock.monotonic());
    let consents = authority.list()?;
    let leaves = Databases::load(&config.decode).map(|databases| databases.leaves);
    let in_vain = leaves.map_or(Vec::new(), |leaves| {
        in_vain(&consents, &mut |order| Some(authority.why(order, &leaves, &Meanwhile::default())))
    });
    Ok(Known {
        has_policy: authority.control().policy().is_some(),
        consents,
        holds: session.status(clock.monotonic()),
        complaints: authority.complaints().to_vec(),
        in_vain,
    })
}

/// Of each signal that is granted, as `glovebox why` has it.
fn in_vain(consents: &[Consent], why: &mut dyn FnMut(&WhyOrder) -> Option<Why>) -> Vec<Finding> {
    let mut found = Vec::new();
    for consent in consents.iter().filter(|consent| consent.live && consent.waits.is_none()) {
        for signal in consent.signals.iter().filter_map(|signal| SignalPath::new(signal).ok()) {
            let recipient = Some(consent.recipient.clone());
            let Some(why) = why(&WhyOrder { signal: signal.clone(), recipient }) else { continue };
            let no = why
                .purposes
                .iter()
                .filter(|purpose| purpose.purpose == consent.purpose)
                .flat_map(|purpose| &purpose.clauses)
                .find(|clause| clause.holds == Some(false) && OF_THE_SIGNAL.contains(&clause.id.as_str()));
            found.extend(no.map(|clause| {
                let (recipient, purpose) = (&consent.recipient, &consent.purpose);
                let what = format!(
                    "{recipient} for {purpose}: {signal} is granted and does not leave, for it would have to be that {}",
                    clause.clause
                );
                let mend = clause.remedy.clone().unwrap_or_else(|| format!("`glovebox why {signal}`"));
                Finding::warn(STAGE, what, mend)
            }));
        }
    }
    found
}

fn findings(known: &Known) -> Vec<Finding> {
    let mut all = Vec::new();
    let is_live = |consent: &&Consent| consent.live;
    if !known.has_policy {
        let mend = "a bundle of the policy authority: `glovebox policy install FILE`";
        all.push(Finding::note(STAGE, "no policy is in force, so nothing leaves", mend));
    } else if !known.consents.iter().any(|consent| consent.live) {
        let mend = "what the owner wants to: `glovebox consent grant`";
        all.push(Finding::note(STAGE, "nothing is granted, so nothing leaves", mend));
    }
    let held = |hold: &HoldStatus| {
        let mend = "somebody in the car has set it: `glovebox resume`, `glovebox location on`";
        Finding::note(STAGE, format!("held back: {hold}"), mend)
    };
    all.extend(known.holds.iter().map(held));
    let wrong = |complaint: &String| {
        let mend =
            "`glovebox consent list` shows what is left of it; grant or withdraw again what is missing";
        Finding::warn(STAGE, complaint, mend)
    };
    all.extend(known.complaints.iter().map(wrong));
    all.extend(known.in_vain.iter().cloned());
    all.extend(known.consents.iter().filter(is_live).flat_map(of));
    all
}

/// What was granted and no database of this configuration gives: a mapping that is new gives its signals other names.
fn not_given(consents: &[Consent], leaves: &Leaves) -> Vec<Finding> {
    let is_given =
        |signal: &&String| SignalPath::new(signal).is_ok_and(|signal| leaves.find(&signal).is_some());
    let of = |consent: &Consent| {
        let missing: Vec<&str> =
            consent.signals.iter().filter(|signal| !is_given(signal)).map(String::as_str).collect();
        (!missing.is_empty()).then(|| {
            let (recipient, purpose) = (&consent.recipient, &consent.purpose);
            let what = format!(
                "{recipient} for {purpose}: granted, and no database gives it, so nothing of it leaves: {}",
                missing.join(", ")
            );
            let mend = "configure the database that gives it; after a mapping gave it a VSS name, ask for that name \
                        and let the owner decide again";
            Finding::warn(STAGE, what, mend)
        })
    };
    consents.iter().filter(|consent| consent.live).filter_map(of).collect()
}

fn of(consent: &Consent) -> Vec<Finding> {
    let whom = format!("{} for {}", consent.recipient, consent.purpose);
    let waits = consent.waits.iter().map(|waits| {
        Finding::warn(STAGE, format!("{whom} is granted, and nothing leaves: {}", waits.why), &waits.remedy)
    });
    let never = consent.never.iter().map(|never| {
        let what = format!("{whom}: {} is granted, and nothing of it leaves: {}", never.signal, never.why);
        Finding::warn(STAGE, what, format!("`glovebox why {}` has the clauses", never.signal))
    });
    waits.chain(never).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::cli::check::Level;
    use crate::control::{Never, Waits, WhyClause, WhyPurpose};
    use glovebox_core::consent::session::{Lasts, Scope, What};
    use glovebox_core::names::WallTime;

    #[test]
    fn what_lets_nothing_leave_is_said_and_is_no_fault() {
        let hold = HoldStatus { what: What::All, lasts: Lasts::UntilEnded, left_s: None, scope: Scope::Car };
        let said = |has_policy, holds: &[HoldStatus]| {
            let found = findings(&Known { has_policy, holds: holds.to_vec(), ..Known::default() });
            assert!(found.iter().all(|finding| finding.level == Level::Note));
            found.into_iter().map(|finding| finding.what).collect::<Vec<_>>()
        };
        assert_eq!(said(false, &[]), ["no policy is in force, so nothing leaves"]);
        let held = "held back: everything, until somebody ends it";
        assert_eq!(said(true, &[hold]), ["nothing is granted, so nothing leaves", held]);
    }

    fn consent() -> Consent {
        Consent {
            recipient: "acme".parse().unwrap(),
            name: "Acme".to_owned(),
            purpose: "speed".parse().unwrap(),
            record: String::new(),
            state: "given".to_owned(),
            live: true,
            not_before: WallTime(0),
            not_after: WallTime(1),
            at: None,
            signals: vec!["Vehicle.Speed".to_owned()],
            reduced: vec!["as it is".to_owned()],
            never: vec![Never { signal: "Vehicle.Speed".to_owned(), why: "of a place".to_owned() }],
            waits: Some(Waits { why: "the request is gone".to_owned(), remedy: "agree".to_owned() }),
        }
    }

    #[test]
    fn what_no_database_gives_any_more_is_said() {
        let none = Leaves::build(&[]).unwrap().0;
        let said: Vec<String> = not_given(&[consent()], &none).into_iter().map(|it| it.what).collect();
        assert_eq!(
            said,
            ["acme for speed: granted, and no database gives it, so nothing of it leaves: Vehicle.Speed"]
        );
        let ended = Consent { live: false, ..consent() };
        assert!(not_given(&[ended], &none).is_empty());
    }

    #[test]
    fn a_signal_that_is_read_in_another_way_than_it_was_granted_is_said() {
        let clause = |id: &str, holds| WhyClause {
            id: id.to_owned(),
            clause: format!("not {id}"),
            holds: Some(holds),
            remedy: Some("grant it again".to_owned()),
        };
        let purpose = |purpose: &str, clauses| WhyPurpose {
            recipient: "acme".parse().unwrap(),
            purpose: purpose.parse().unwrap(),
            flow: None,
            leaves: false,
            reduced: String::new(),
            clauses,
            made_of: Vec::new(),
            meanwhile: Vec::new(),
        };
        let why = |order: &WhyOrder| Why {
            signal: order.signal.clone(),
            leaves: false,
            purposes: vec![
                purpose("other", vec![clause("implausible", false)]),
                purpose(
                    "speed",
                    vec![
                        clause("paused", false),
                        clause("implausible", true),
                        clause("extraction_changed", false),
                    ],
                ),
            ],
            known: true,
            near: Vec::new(),
        };
        let live = Consent { waits: None, ..consent() };
        let said = |consent| in_vain(&[consent], &mut |order| Some(why(order)));
        let found = said(live.clone());
        assert_eq!(found.len(), 1);
        assert!(found[0].what.ends_with("that not extraction_changed"), "{}", found[0].what);
        assert_eq!(found[0].mend.as_deref(), Some("grant it again"));
        assert!(said(Consent { live: false, ..live }).is_empty() && said(consent()).is_empty());
    }

    #[test]
    fn what_was_granted_in_vain_is_said_with_its_mend() {
        let said: Vec<String> = of(&consent()).into_iter().map(|finding| finding.what).collect();
        assert_eq!(
            said,
            [
                "acme for speed is granted, and nothing leaves: the request is gone",
                "acme for speed: Vehicle.Speed is granted, and nothing of it leaves: of a place",
            ]
        );
    }
}
