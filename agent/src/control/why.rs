//! Why a signal leaves or does not, as the daemon answers it.

use glovebox_core::consent::effective::{Answer, Clause, Explanation};
use glovebox_core::consent::transform::transforms_in;
use glovebox_core::names::{PurposeId, RecipientId, SignalPath};
use serde::{Deserialize, Serialize};

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
        }
    }
}

fn limit(explained: &Explanation) -> String {
    let words = |bytes| format!("; at most {bytes} bytes a day (UTC) of all for this purpose");
    explained.bytes_per_day_max.map_or_else(String::new, words)
}

impl WhyClause {
    fn of(clause: Clause, holds: Option<bool>, remedy: String) -> Self {
        let id = serde_json::to_value(clause).ok();
        Self {
            id: id.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
            clause: clause.asks().to_owned(),
            holds,
            remedy: (holds == Some(false)).then_some(remedy),
        }
    }
}
