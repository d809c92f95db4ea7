//! What a run that ends when all is sent waits for: said once, so that it does not seem to hang.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use glovebox_core::consent::session::{HoldStatus, What};

use super::steward::Steward;
use crate::health::{FlowStatus, NoticeStatus, Status};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(2);

/// Looks for as long as the run lasts, and says each reason once.
pub(super) async fn tell(steward: Arc<Steward>) {
    let mut said = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let steward = Arc::clone(&steward);
        let Ok(status) = tokio::task::spawn_blocking(move || steward.status()).await else { return };
        for Reason { about, words } in reasons(&status) {
            if said.insert(about) {
                tracing::warn!(target: "uplink", "{words}");
            }
        }
    }
}

/// One thing that keeps what is stored from being sent.
#[derive(Debug, PartialEq, Eq)]
struct Reason {
    /// What it is about, whatever the time says of it.
    about: String,
    words: String,
}

fn reasons(status: &Status) -> Vec<Reason> {
    let waits = |flow: &FlowStatus| {
        let about = format!("{} for {}", flow.recipient, flow.purpose);
        let why = flow.held.as_ref().filter(|_| flow.queued_batches > 0)?;
        Some(Reason { words: format!("{} batches to {about} wait: {why}", flow.queued_batches), about })
    };
    let mut all: Vec<Reason> = status.flows.iter().filter_map(waits).collect();
    let notice =
        |it: &NoticeStatus| Reason { about: format!("notice to {}", it.recipient), words: it.to_string() };
    all.extend(status.notices.iter().map(notice));
    let live: u64 = status.flows.iter().map(|flow| flow.queued_batches).sum();
    let rest = status.queue.batches.saturating_sub(live);
    if rest == 0 {
        return all;
    }
    let paused = status.held_back.iter().filter(|hold| hold.what != What::Location);
    let pause = |hold: &HoldStatus| Reason {
        about: hold.what.to_string(),
        words: format!("{rest} batches wait, held back in the car: {hold}; `{}` ends it", hold.ended_by()),
    };
    let before = all.len();
    all.extend(paused.map(pause));
    if all.len() == before {
        let why = status.held.as_deref().unwrap_or("by no live grant");
        let words = format!("{rest} batches wait that may not be sent now: {why}");
        all.push(Reason { about: String::new(), words });
    }
    all
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use glovebox_core::consent::session::{Lasts, Scope};
    use glovebox_core::names::WallTime;

    use super::*;
    use crate::health::{Counters, LinkState, LinkStatus, QueueStatus};

    fn status(flows: Vec<FlowStatus>, batches: u64, held_back: Vec<HoldStatus>) -> Status {
        Status {
            version: String::new(),
            device: "car-1".parse().unwrap(),
            up_s: 0,
            policy: None,
            held: None,
            held_back,
            private_places: Some(0),
            link: LinkStatus {
                broker: String::new(),
                brokers: Vec::new(),
                protocol: String::new(),
                state: LinkState::Connected,
                last_error: None,
                certificate_until: None,
                in_flight: 0,
            },
            buses: Vec::new(),
            flows,
            queue: QueueStatus { batches, bytes: 0, cap_bytes: 0, notices: Vec::new() },
            notices: Vec::new(),
            counters: Counters::default().snapshot(),
        }
    }

    fn flow(held: Option<&str>, queued_batches: u64) -> FlowStatus {
        FlowStatus {
            recipient: "acme".parse().unwrap(),
            purpose: "speed".parse().unwrap(),
            held: held.map(str::to_owned),
            queued_batches,
            queued_bytes: 0,
        }
    }

    fn said(status: &Status) -> Vec<String> {
        reasons(status).into_iter().map(|reason| reason.words).collect()
    }

    #[test]
    fn what_keeps_batches_from_being_sent_is_said_and_what_is_being_sent_is_not() {
        let none: [&str; 0] = [];
        assert_eq!(said(&status(vec![flow(None, 3)], 3, Vec::new())), none, "it is being sent");
        assert_eq!(said(&status(vec![flow(Some("used up"), 0)], 0, Vec::new())), none, "nothing waits");
        let full = said(&status(vec![flow(Some("used up"), 3)], 3, Vec::new()));
        assert_eq!(full, ["3 batches to acme for speed wait: used up"]);
        let hold = |what, left_s| HoldStatus {
            what,
            lasts: Lasts::Seconds(60),
            left_s: Some(left_s),
            scope: Scope::Car,
        };
        let at = |left_s| status(Vec::new(), 2, vec![hold(What::Location, 9), hold(What::All, left_s)]);
        let paused = said(&at(30));
        assert_eq!(
            paused,
            ["2 batches wait, held back in the car: everything, 30 s left; `glovebox resume` ends it"]
        );
        assert_eq!(reasons(&at(30))[0].about, reasons(&at(28))[0].about, "said once");
        let ended = said(&status(Vec::new(), 2, Vec::new()));
        assert_eq!(ended, ["2 batches wait that may not be sent now: by no live grant"]);
        let mut telling = status(Vec::new(), 0, Vec::new());
        let [since, until] =
            ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"].map(|at| WallTime::parse(at).unwrap());
        let (recipient, state) = ("acme".parse().unwrap(), "waits for a network".to_owned());
        telling.notices = vec![NoticeStatus { recipient, since, until, state }];
        let words = "acme is to be asked to erase what it has, since 2027-01-01T00:00:00Z: waits for a network; given up at \
                     2028-01-01T00:00:00Z";
        assert_eq!(said(&telling), [words]);
    }
}
