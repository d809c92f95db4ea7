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
use crate::control::{Authority as _, Consent, ControlClient};
use crate::daemon::authority::{Keys, LocalAuthority};
use crate::daemon::databases::Databases;
use crate::daemon::session::Kept;
use crate::health::Status;
use crate::policy_store::PolicyStore;

const STAGE: &str = "consent";

/// What is in force.
struct Known {
    has_policy: bool,
    consents: Vec<Consent>,
    holds: Vec<HoldStatus>,
}

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
    Ok(Known { has_policy: status.policy.is_some(), consents, holds: status.held_back })
}

fn stored(config: &Config, keys: Keys) -> anyhow::Result<Known> {
    let copy = Copied::of(&config.health.state)?;
    let store = PolicyStore::open(copy.path())?;
    let clock = Clock::new();
    let mut authority = LocalAuthority::new(keys, Box::new(store), Arc::new(clock), Box::new(|_| None))?;
    let (kept, _) = Kept::open(copy.path().join("session"), &clock);
    let mut session = kept.session().clone();
    session.pass(clock.monotonic());
    Ok(Known {
        has_policy: authority.control().policy().is_some(),
        consents: authority.list()?,
        holds: session.status(clock.monotonic()),
    })
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
    use crate::control::{Never, Waits};
    use glovebox_core::consent::session::{Lasts, Scope, What};
    use glovebox_core::names::WallTime;

    #[test]
    fn what_lets_nothing_leave_is_said_and_is_no_fault() {
        let hold = HoldStatus { what: What::All, lasts: Lasts::UntilEnded, left_s: None, scope: Scope::Car };
        let said = |has_policy, holds: &[HoldStatus]| {
            let found = findings(&Known { has_policy, consents: Vec::new(), holds: holds.to_vec() });
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
