//! Why a signal leaves, or does not: the clauses of each grant and request that it is in, with their answers.

use super::super::transform::TransformSpec;
use super::{Answer, Clause, Docket, Situation, View, Withheld, bytes_per_day_max, in_force};
use crate::consent::document::event::EventCondition;
use crate::consent::document::request::Request;
use crate::consent::grants::Grant;
use crate::names::{FlowId, PurposeId, RecipientId, SignalPath};

/// The clauses for one recipient and purpose.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Who gets it, or asks for it.
    pub recipient: RecipientId,
    /// What for.
    pub purpose: PurposeId,
    /// The flow; `None`: nothing is granted.
    pub flow: Option<FlowId>,
    /// The clauses that could be asked, in their order. One without which the rest could not be asked is the last.
    pub answers: Vec<Answer>,
    /// All that reduces it.
    pub reduced_by: Vec<TransformSpec>,
    /// Of all of the flow so many bytes a day leave at most.
    pub bytes_per_day_max: Option<u64>,
    /// Only what lies around this leaves.
    pub event: Option<EventCondition>,
    /// If it is derived: of what.
    pub made_of: Vec<MadeOf>,
}

/// A signal that another is derived of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeOf {
    /// Which.
    pub signal: SignalPath,
    /// Why it may not feed the other; `None`: it may, which lets nothing of itself out.
    pub clause: Option<Clause>,
}

impl Explanation {
    /// Whether it leaves: every clause was asked and holds.
    #[must_use]
    pub fn leaves(&self) -> bool {
        // Asked last of what documents say.
        self.answers.iter().any(|answer| answer.clause == Clause::TooOldWhenDue)
            && self.answers.iter().all(|answer| answer.holds)
    }
}

/// Explains `signal` for `recipient`, or for all: first each grant that names it, then each request that asks for it and is
/// not granted. Empty: nobody asks for it.
#[must_use]
pub fn explain(
    situation: &Situation<'_>,
    signal: &SignalPath,
    recipient: Option<&RecipientId>,
) -> Vec<Explanation> {
    let meant = |id: &RecipientId| recipient.is_none_or(|recipient| recipient == id);
    let mut all = Vec::new();
    for grant in situation.grants.live() {
        let given = grant.given().payload();
        let names = given.pii_information.iter().any(|item| item.signal == *signal);
        if meant(&given.recipient.party_id) && (names || asks_for(situation, grant, signal)) {
            all.push(of_grant(situation, grant, signal));
        }
    }
    let requests = situation.policy.map(|policy| policy.requests()).unwrap_or_default();
    for request in requests.iter().map(|request| request.payload()) {
        let granted = situation.grants.find_for(&request.recipient, &request.purpose.id).is_some();
        if !granted && meant(&request.recipient) && asks(request, signal) {
            all.push(of_request(situation, request, signal));
        }
    }
    all
}

/// The clause that keeps all of a live grant from leaving now, if there is one; its signals are not looked at.
#[must_use]
pub fn halted(situation: &Situation<'_>, grant: &Grant) -> Option<Clause> {
    let mut docket = Docket::deciding();
    let whole = in_force(situation, &mut docket).and_then(|(policy, time)| {
        let view = View { policy, bundle: policy.bundle().payload(), leaves: situation.leaves, time };
        view.whole(grant, &mut docket).map(drop)
    });
    whole.err()
}

fn asks(request: &Request, signal: &SignalPath) -> bool {
    request.signals.iter().any(|asked| asked.signal == *signal)
}

/// Whether a newer request for what was granted asks for it.
fn asks_for(situation: &Situation<'_>, grant: &Grant, signal: &SignalPath) -> bool {
    let given = grant.given().payload();
    let request =
        situation.policy.and_then(|it| it.request_for(&given.recipient.party_id, &given.purpose.id));
    request.is_some_and(|request| asks(request.payload(), signal))
}

fn of_grant(situation: &Situation<'_>, grant: &Grant, signal: &SignalPath) -> Explanation {
    let given = grant.given().payload();
    let mut docket = Docket::explaining();
    // Its outcome is in the answers.
    let _ = ask_grant(situation, grant, signal, &mut docket);
    let (answers, reduced_by) = docket.close();
    Explanation {
        recipient: given.recipient.party_id.clone(),
        purpose: given.purpose.id.clone(),
        flow: Some(grant.flow()),
        answers,
        reduced_by,
        bytes_per_day_max: bytes_per_day_max(grant),
        event: given.conditions.event.clone(),
        made_of: made_of(situation, grant, signal),
    }
}

/// Of what a signal of a grant is derived, as far as the request that was granted is there to tell.
fn made_of(situation: &Situation<'_>, grant: &Grant, signal: &SignalPath) -> Vec<MadeOf> {
    let mut docket = Docket::deciding();
    let Ok((policy, time)) = in_force(situation, &mut docket) else { return Vec::new() };
    let view = View { policy, bundle: policy.bundle().payload(), leaves: situation.leaves, time };
    let Some(request) = policy.request(&grant.given().payload().request_digest) else { return Vec::new() };
    let inputs = view.inputs(signal, request.payload(), grant).into_iter();
    inputs.map(|it| MadeOf { signal: it.signal, clause: it.granted.and(it.now).err() }).collect()
}

fn ask_grant(
    situation: &Situation<'_>,
    grant: &Grant,
    signal: &SignalPath,
    docket: &mut Docket,
) -> Result<(), Clause> {
    let (policy, time) = in_force(situation, docket)?;
    let view = View { policy, bundle: policy.bundle().payload(), leaves: situation.leaves, time };
    docket.hold(Clause::NotGiven, true)?;
    let (_, request) = view.whole(grant, docket)?;
    let items = &grant.given().payload().pii_information;
    let item = docket.need(Clause::NotGranted, items.iter().find(|item| item.signal == *signal))?;
    view.signal(item, request, grant, docket)?;
    let mut withheld = Vec::new();
    let signals = view.signals(request, grant, &mut withheld);
    let part = |it: &Withheld| it.signal.as_ref() == Some(signal) && it.clause == Clause::PartOfAPlace;
    docket.hold(Clause::PartOfAPlace, !withheld.iter().any(part))?;
    view.event(request, &signals, docket)?;
    view.age_us_max(request, grant, &signals, docket).map(drop)
}

fn of_request(situation: &Situation<'_>, request: &Request, signal: &SignalPath) -> Explanation {
    let mut docket = Docket::explaining();
    let _ = ask_request(situation, request, signal, &mut docket);
    let (answers, reduced_by) = docket.close();
    let (recipient, purpose) = (request.recipient.clone(), request.purpose.id.clone());
    Explanation {
        recipient,
        purpose,
        flow: None,
        answers,
        reduced_by,
        bytes_per_day_max: None,
        event: request.event.clone(),
        made_of: Vec::new(),
    }
}

/// What can be asked while nothing is granted.
fn ask_request(
    situation: &Situation<'_>,
    request: &Request,
    signal: &SignalPath,
    docket: &mut Docket,
) -> Result<(), Clause> {
    let (policy, time) = in_force(situation, docket)?;
    let view = View { policy, bundle: policy.bundle().payload(), leaves: situation.leaves, time };
    docket.hold(Clause::NotGiven, false)?;
    view.active(&request.recipient, docket)?;
    view.valid(request, docket)?;
    docket.need(Clause::NoSuchLeaf, situation.leaves.find(signal)).map(drop)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests;
