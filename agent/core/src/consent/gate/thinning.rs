//! When to emit: `rate` and `on_change`, and what was emitted last.

use super::super::transform::{Change, Transform};
use super::Series;
use crate::decode::{SourceAddress, State};
use crate::limits::GATE_SOURCES_MAX;
use crate::names::{FlowId, Moment};

/// When to emit, and what was emitted last.
#[derive(Debug, Clone)]
pub(super) struct Thinning {
    pub(super) flow: FlowId,
    /// All of the group: so that a swap that takes the first away still finds the rest.
    pub(super) series: Vec<Series>,
    pub(super) transform: Transform,
    change: Option<Change>,
    /// One for each sender, at most [`GATE_SOURCES_MAX`].
    pub(super) last: Vec<Emitted>,
    /// Of a sender of which nothing is known it counts as emitted then: the last run was cut.
    pub(super) cut: Option<Moment>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Emitted {
    pub(super) moment: Moment,
    pub(super) frame: u64,
    pub(super) state: State,
    pub(super) source: SourceAddress,
    pub(super) bits: u64,
    /// It was emitted under another transform: `bits` cannot be compared any more.
    pub(super) stale: bool,
}

impl Thinning {
    pub(super) fn new(flow: FlowId, series: Series, transform: &Transform, change: Option<Change>) -> Self {
        Self { flow, series: vec![series], transform: *transform, change, last: Vec::new(), cut: None }
    }

    /// Decides and, if it emits, remembers. One decision holds for all signals of a shared group in a frame.
    pub(super) fn emits(&mut self, now: Emitted) -> bool {
        let Some(at) = self.last.iter().position(|last| last.source == now.source) else {
            // More senders than can be remembered: what cannot be held to its rate does not leave.
            let room = self.last.len() < GATE_SOURCES_MAX;
            let waits = |cut: Moment| now.moment.0.saturating_sub(cut.0) < self.transform.min_interval_us;
            let emits = room && !self.cut.is_some_and(waits);
            if emits {
                self.last.push(now);
            }
            return emits;
        };
        let last = self.last[at];
        if self.change.is_none() && last.frame == now.frame {
            return true;
        }
        let gap = now.moment.0.saturating_sub(last.moment.0);
        let due = gap >= self.transform.min_interval_us
            && self.change.is_none_or(|change| is_due(change, gap, &last, &now));
        if due {
            self.last[at] = now;
        }
        due
    }

    /// Takes over what was emitted before, under `transform`.
    pub(super) fn remember(&mut self, emitted: Emitted, transform: &Transform) {
        let emitted = Emitted { stale: emitted.stale || *transform != self.transform, ..emitted };
        match self.last.iter().position(|last| last.source == emitted.source) {
            // Of the same moment, the one that can be compared.
            Some(at) if (self.last[at].moment, emitted.stale) < (emitted.moment, self.last[at].stale) => {
                self.last[at] = emitted;
            }
            None if self.last.len() < GATE_SOURCES_MAX => self.last.push(emitted),
            _ => {}
        }
    }
}

fn is_due(change: Change, gap: i64, last: &Emitted, now: &Emitted) -> bool {
    if change.max_interval_us.is_some_and(|max| gap >= max) || last.state != now.state || last.stale {
        return true;
    }
    now.state == State::Value && change.differs(last.bits, now.bits)
}
