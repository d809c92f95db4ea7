//! Two documents of one kind: who would get more, who less, and what else they say differently.
//!
//! Of a bundle what counts is what it allows at most, for each recipient, purpose and signal: request, floor and
//! directives met, as `effective` meets them. Which of two rules is stricter is asked of [`Rule::within`].

mod bundle;
mod record;
mod request;

use super::transform::transforms;
use super::transform::{Rule, TransformSpec};
use crate::names::{PurposeId, RecipientId, SignalPath};
use serde::Serialize;

pub use bundle::{bundles, refusals};
pub use record::records;
pub use request::requests;

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More may leave, sooner, longer or for more.
    More,
    /// Less may leave.
    Less,
    /// Neither can be said: other words, another key, two rules of which none is within the other.
    Other,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Which way.
    pub direction: Direction,
    /// For whom; `None`: everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<RecipientId>,
    /// For what; `None`: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<PurposeId>,
    /// Which signal; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalPath>,
    /// What changes, in words.
    pub what: String,
}

/// In words: more, less, neither, and a line for each change.
#[must_use]
pub fn words(changes: &[Change]) -> String {
    let mut text = String::new();
    for (direction, title) in [
        (Direction::More, "More:\n"),
        (Direction::Less, "Less:\n"),
        (Direction::Other, "Neither more nor less for certain:\n"),
    ] {
        let mut lines = changes.iter().filter(|change| change.direction == direction).peekable();
        if lines.peek().is_some() {
            text.push_str(title);
        }
        lines.for_each(|change| text.push_str(&line(change)));
    }
    text
}

/// `  acme for tyre-care, Vehicle.Speed: at most once in 1 s (was: not asked for)`
fn line(change: &Change) -> String {
    let mut about = Vec::new();
    let whom = match (&change.recipient, &change.purpose) {
        (Some(recipient), Some(purpose)) => Some(format!("{recipient} for {purpose}")),
        (Some(recipient), None) => Some(recipient.to_string()),
        (None, _) => None,
    };
    about.extend(whom);
    about.extend(change.signal.as_ref().map(ToString::to_string));
    let about = if about.is_empty() { "everybody".to_owned() } else { about.join(", ") };
    format!("  {about}: {}\n", change.what)
}

/// Whom and what the changes of one part are about.
#[derive(Debug, Clone, Copy, Default)]
struct About<'a> {
    recipient: Option<&'a RecipientId>,
    purpose: Option<&'a PurposeId>,
    signal: Option<&'a SignalPath>,
}

/// The changes found so far.
#[derive(Debug, Default)]
struct Found(Vec<Change>);

impl Found {
    fn add(&mut self, about: About<'_>, direction: Direction, what: impl Into<String>) {
        self.0.push(Change {
            direction,
            recipient: about.recipient.cloned(),
            purpose: about.purpose.cloned(),
            signal: about.signal.cloned(),
            what: what.into(),
        });
    }

    /// A value of which a greater one means more, or less.
    fn ordered<T: PartialOrd>(&mut self, about: About<'_>, old: &T, new: &T, said: Said<'_>) {
        let direction = match (new > old, said.greater) {
            _ if old == new => return,
            (true, direction) => direction,
            (false, Direction::More) => Direction::Less,
            (false, Direction::Less) => Direction::More,
            (false, Direction::Other) => Direction::Other,
        };
        self.add(about, direction, said.what);
    }

    /// A value that is just another one.
    fn other<T: PartialEq>(&mut self, about: About<'_>, (old, new): (&T, &T), what: &str) {
        if old != new {
            self.add(about, Direction::Other, what);
        }
    }

    /// A list of which each member more means more.
    fn members(&mut self, about: About<'_>, (old, new): (&[String], &[String]), what: &str) {
        for (direction, sign, here, there) in
            [(Direction::More, "now also", new, old), (Direction::Less, "no longer", old, new)]
        {
            let only: Vec<&str> = here.iter().filter(|it| !there.contains(it)).map(String::as_str).collect();
            if !only.is_empty() {
                self.add(about, direction, format!("{what}: {sign} {}", only.join(", ")));
            }
        }
    }

    /// What may leave of one signal.
    fn reach(&mut self, about: About<'_>, old: &Reach, new: &Reach) {
        let (was, is) = (old.words(), new.words());
        let direction = match (old.rule(), new.rule()) {
            (was, is) if was == is && old.specs() == new.specs() => return,
            // Two that deny say nothing of which would let out more if they were built.
            (was, is) if was == is => Direction::Other,
            (was, is) if is.within(was) => Direction::Less,
            (was, is) if was.within(is) => Direction::More,
            _ => Direction::Other,
        };
        self.add(about, direction, format!("{is} (was: {was})"));
    }

    fn sorted(mut self) -> Vec<Change> {
        self.0.sort();
        self.0
    }
}

/// How a changed value is told.
#[derive(Clone, Copy)]
struct Said<'a> {
    /// What a greater one means.
    greater: Direction,
    what: &'a str,
}

/// What a document lets leave of one signal at most.
#[derive(Debug, Clone, PartialEq)]
enum Reach {
    /// Nothing, and why.
    Nothing(&'static str),
    /// What these leave of it, all met.
    Reduced(Vec<TransformSpec>),
}

impl Reach {
    fn rule(&self) -> Rule {
        match self {
            Self::Nothing(_) => Rule::Deny,
            Self::Reduced(list) => Rule::of(list),
        }
    }

    fn specs(&self) -> Option<&[TransformSpec]> {
        match self {
            Self::Nothing(_) => None,
            Self::Reduced(list) => Some(list),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Nothing(why) => (*why).to_owned(),
            Self::Reduced(list) => transforms(list),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests;
