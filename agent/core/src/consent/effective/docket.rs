//! Where the clauses are asked, one after the other. A decision ends at the first no; an explanation goes on as far as it
//! can and keeps every answer. Both are one code, so that an explanation cannot tell another story than the decision.

use super::super::transform::{Rule, TransformSpec};
use super::Clause;

/// One clause, and whether it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Which.
    pub clause: Clause,
    /// Yes or no.
    pub holds: bool,
}

/// The clauses as they are asked.
pub(super) struct Docket {
    explains: bool,
    answers: Vec<Answer>,
    /// Every transform that counts, in the order in which they are met.
    reduced_by: Vec<TransformSpec>,
}

impl Docket {
    /// Ends at the first no, and keeps nothing.
    pub(super) fn deciding() -> Self {
        Self { explains: false, answers: Vec::new(), reduced_by: Vec::new() }
    }

    /// Keeps every answer.
    pub(super) fn explaining() -> Self {
        Self { explains: true, ..Self::deciding() }
    }

    /// Asks a clause.
    pub(super) fn hold(&mut self, clause: Clause, holds: bool) -> Result<(), Clause> {
        if self.explains {
            self.answers.push(Answer { clause, holds });
            return Ok(());
        }
        if holds { Ok(()) } else { Err(clause) }
    }

    /// Asks a clause without which there is nothing to go on with.
    pub(super) fn need<T>(&mut self, clause: Clause, value: Option<T>) -> Result<T, Clause> {
        self.hold(clause, value.is_some())?;
        value.ok_or(clause)
    }

    /// The rule of a list that counts.
    pub(super) fn rule(&mut self, list: &[TransformSpec]) -> Rule {
        if self.explains {
            self.reduced_by.extend(list.iter().cloned());
        }
        Rule::of(list)
    }

    /// The rule of several lists that count.
    pub(super) fn all<'a>(&mut self, lists: impl Iterator<Item = &'a Vec<TransformSpec>>) -> Rule {
        lists.fold(Rule::OPEN, |rule, list| rule.meet(self.rule(list)))
    }

    /// Each clause once, a no before a yes, and all transforms without repeats.
    pub(super) fn close(self) -> (Vec<Answer>, Vec<TransformSpec>) {
        let mut answers: Vec<Answer> = Vec::new();
        for answer in self.answers {
            match answers.iter_mut().find(|before| before.clause == answer.clause) {
                Some(before) => before.holds &= answer.holds,
                None => answers.push(answer),
            }
        }
        let mut reduced_by: Vec<TransformSpec> = Vec::new();
        for spec in self.reduced_by {
            if !reduced_by.contains(&spec) {
                reduced_by.push(spec);
            }
        }
        (answers, reduced_by)
    }
}
