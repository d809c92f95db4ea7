//! What the owner granted and nothing leaves by: asked of the running daemon, since to open the stores is no looking on.

use super::Finding;
use crate::config::Config;
use crate::control::{Authority as _, Consent, ControlClient};

const STAGE: &str = "consent";

pub(super) fn check(config: &Config) -> Vec<Finding> {
    // A socket that cannot be asked is a finding of its own.
    let Ok(Some(mut client)) = ControlClient::connect(&config.health.control_socket) else {
        return Vec::new();
    };
    match client.list() {
        Ok(consents) => consents.iter().filter(|consent| consent.live).flat_map(of).collect(),
        Err(error) => vec![Finding::warn(STAGE, error, "restart the daemon: it may be of another version")],
    }
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
    use crate::control::{Never, Waits};
    use glovebox_core::names::WallTime;

    #[test]
    fn what_was_granted_in_vain_is_said_with_its_mend() {
        let consent = Consent {
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
        };
        let said: Vec<String> = of(&consent).into_iter().map(|finding| finding.what).collect();
        assert_eq!(
            said,
            [
                "acme for speed is granted, and nothing leaves: the request is gone",
                "acme for speed: Vehicle.Speed is granted, and nothing of it leaves: of a place",
            ]
        );
    }
}
