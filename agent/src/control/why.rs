//! Why a signal leaves or does not, as the daemon answers it.

use glovebox_core::consent::document::event::EventCondition;
use glovebox_core::consent::effective::{Answer, Clause, Explanation, MadeOf};
use glovebox_core::consent::transform::transforms_in;
use glovebox_core::names::{FlowId, PurposeId, RecipientId, SignalPath};
use serde::{Deserialize, Serialize};

/// Of a signal that tells of places or trips, where there are private places.
const PRIVATE_PLACES: &str =
    "nothing of it from inside a private place, nor while nobody knows where the car is";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhyOrder {
    /// Which signal.
    pub signal: SignalPath,
    /// For whom; all if it is not said.
    #[serde(default)]
    pub recipient: Option<RecipientId>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Which signal.
    pub signal: SignalPath,
    /// Whether it leaves for anybody that was asked about.
    pub leaves: bool,
    /// For each grant that names it, and each request that asks for it; empty: nobody asks.
    pub purposes: Vec<WhyPurpose>,
    /// False: no database of this car has it, no grant names it and no request asks for it.
    #[serde(default = "yes")]
    pub known: bool,
    /// If the car does not have it: names that it has and that are near.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
}

fn yes() -> bool {
    true
}

/// What withholds for a while, whatever documents say: no clause, since it says neither yes nor no for all of the time.
#[derive(Debug, Clone, Default)]
pub struct Meanwhile {
    /// There are private places.
    pub private_places: bool,
    /// Flows of which nothing is offered now, and why.
    pub held: Vec<(FlowId, String)>,
}

/// For one recipient and purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyPurpose {
    /// Who gets it, or asks.
    pub recipient: RecipientId,
    /// What for.
    pub purpose: PurposeId,
    /// The flow, sixteen hexadecimal digits; none if nothing is granted.
    pub flow: Option<String>,
    /// Whether it leaves.
    pub leaves: bool,
    /// How it is reduced, in words.
    pub reduced: String,
    /// The clauses in their order.
    pub clauses: Vec<WhyClause>,
    /// If it is derived: of what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_of: Vec<WhyInput>,
    /// Of what leaves: what withholds it for a while or from some places all the same, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meanwhile: Vec<String>,
}

/// A signal that another is derived of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyInput {
    /// Which.
    pub signal: SignalPath,
    /// Whether it may feed the other.
    pub feeds: bool,
    /// For a no, the clause, as `why` has it of that signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyClause {
    /// A word for scripts: what it is called when it says no.
    pub id: String,
    /// What must hold.
    pub clause: String,
    /// Yes, no; none: it could not be asked, since one before it says no.
    pub holds: Option<bool>,
    /// For a no, what would change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Why {
    /// Out of what the core explains, of a signal in this unit.
    #[must_use]
    pub fn of(signal: &SignalPath, unit: &str, explained: &[Explanation]) -> Self {
        Self {
            signal: signal.clone(),
            leaves: explained.iter().any(Explanation::leaves),
            purposes: explained.iter().map(|one| WhyPurpose::of(one, unit)).collect(),
            known: true,
            near: Vec::new(),
        }
    }

    /// Adds what withholds for a while. `is_private`: the signal tells where the car is, or of its trips.
    pub fn add(&mut self, meanwhile: &Meanwhile, is_private: bool) {
        let places = Some(PRIVATE_PLACES).filter(|_| is_private && meanwhile.private_places);
        for purpose in self.purposes.iter_mut().filter(|purpose| purpose.leaves) {
            let own = |flow: &FlowId| purpose.flow.as_ref().is_some_and(|own| *own == flow.to_string());
            let held = meanwhile.held.iter().filter(|(flow, _)| own(flow)).map(|(_, why)| why.clone());
            purpose.meanwhile = places.map(str::to_owned).into_iter().chain(held).collect();
        }
    }
}

impl WhyPurpose {
    fn of(explained: &Explanation, unit: &str) -> Self {
        // Consent helps only where nothing else is in the way.
        let in_the_way = |answer: &Answer| !answer.holds && !answer.clause.is_the_owners();
        let first = if explained.answers.iter().any(in_the_way) { "when all else holds: " } else { "" };
        let answer = |clause: Clause| {
            let asked = explained.answers.iter().find(|answer| answer.clause == clause);
            let remedy = clause.remedy(&explained.recipient, &explained.purpose);
            let remedy = if clause.is_the_owners() { format!("{first}{remedy}") } else { remedy };
            WhyClause::of(clause, asked.map(|answer| answer.holds), remedy)
        };
        Self {
            recipient: explained.recipient.clone(),
            purpose: explained.purpose.clone(),
            flow: explained.flow.map(|flow| flow.to_string()),
            leaves: explained.leaves(),
            reduced: transforms_in(&explained.reduced_by, unit) + &limit(explained),
            clauses: Clause::ALL.map(answer).to_vec(),
            made_of: explained.made_of.iter().map(WhyInput::of).collect(),
            meanwhile: Vec::new(),
        }
    }
}

/// What holds for all of the flow.
fn limit(explained: &Explanation) -> String {
    let words = |bytes| format!("; at most {bytes} bytes a day (UTC) of all for this purpose");
    let around = |event: &EventCondition| format!("; {event}");
    let event = explained.event.as_ref().map_or_else(String::new, around);
    event + &explained.bytes_per_day_max.map_or_else(String::new, words)
}

impl WhyInput {
    fn of(made: &MadeOf) -> Self {
        let why = match made.clause {
            // That of the derived signal says it of a yes; what feeds it need not leave.
            Some(Clause::NotGranted) => Some("the owner did not agree to its use in the car".to_owned()),
            clause => clause.map(|clause| clause.to_string()),
        };
        Self { signal: made.signal.clone(), feeds: made.clause.is_none(), id: made.clause.map(id), why }
    }
}

/// A word for scripts.
fn id(clause: Clause) -> String {
    let id = serde_json::to_value(clause).ok();
    id.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

impl WhyClause {
    fn of(clause: Clause, holds: Option<bool>, remedy: String) -> Self {
        Self {
            id: id(clause),
            clause: clause.asks().to_owned(),
            holds,
            remedy: (holds == Some(false)).then_some(remedy),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn what_withholds_for_a_while_is_said_of_its_own_flow_and_only_of_what_leaves() {
        let purpose = |flow: u64, leaves| WhyPurpose {
            recipient: "acme".parse().unwrap(),
            purpose: "speed".parse().unwrap(),
            flow: Some(FlowId(flow).to_string()),
            leaves,
            reduced: String::new(),
            clauses: Vec::new(),
            made_of: Vec::new(),
            meanwhile: Vec::new(),
        };
        let meanwhile = Meanwhile { private_places: true, held: vec![(FlowId(1), "used up".to_owned())] };
        let said = |is_private| {
            let mut why = Why::of(&"Vehicle.Speed".parse().unwrap(), "", &[]);
            why.purposes = vec![purpose(1, true), purpose(2, true), purpose(1, false)];
            why.add(&meanwhile, is_private);
            why.purposes.into_iter().map(|purpose| purpose.meanwhile).collect::<Vec<_>>()
        };
        assert_eq!(said(false), [vec!["used up".to_owned()], Vec::new(), Vec::new()]);
        let places = PRIVATE_PLACES.to_owned();
        assert_eq!(said(true), [vec![places.clone(), "used up".to_owned()], vec![places], Vec::new()]);
    }
}
