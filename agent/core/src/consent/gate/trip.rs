//! Trips, as a signal of the car tells them: whether one goes on, and since when. What waits until it is known not to be
//! the end of one is kept here.

use super::{Consented, Gate, Limits, sooner};
use crate::limits::{HELD_SAMPLES_MAX, TRIP_SILENCE_US_MAX};
use crate::names::Moment;
use std::collections::BTreeMap;

/// What is known of the trip. Nothing is known until the signal was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Trip {
    #[default]
    Unknown,
    /// The last one is over; it stays so while the bus sleeps.
    Between,
    Under {
        began: Moment,
        /// When the signal last said so.
        seen: Moment,
        /// Its beginning was seen.
        whole: bool,
    },
}

impl Trip {
    /// When the trip that goes on began, and whether that was seen. A signal that fell silent tells nothing.
    pub(super) fn under(self, now: Moment) -> Option<(Moment, bool)> {
        match self {
            Self::Under { began, seen, whole } if now.0.saturating_sub(seen.0) <= TRIP_SILENCE_US_MAX => {
                Some((began, whole))
            }
            _ => None,
        }
    }

    /// By a reading of the signal: `Some(true)` while a trip goes on.
    fn next(self, goes_on: Option<bool>, now: Moment) -> Self {
        match (goes_on, self.under(now)) {
            (Some(true), Some((began, whole))) => Self::Under { began, seen: now, whole },
            (Some(true), None) => Self::Under { began: now, seen: now, whole: self == Self::Between },
            (Some(false), _) => Self::Between,
            (None, _) => Self::Unknown,
        }
    }
}

/// Samples that may still turn out to be of the end of a trip.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// By the moment at which the trip must still go on; then when it is due, and the sample.
    samples: BTreeMap<(Moment, u64), (Moment, Consented)>,
    count: u64,
    /// For which there was no room. Not declared: it may be what the owner withholds.
    dropped: u64,
}

impl Tail {
    pub(super) fn put(&mut self, until: Moment, due: Moment, sample: Consented) {
        if self.samples.len() >= HELD_SAMPLES_MAX {
            self.dropped += 1;
            return;
        }
        self.count += 1;
        self.samples.insert((until, self.count), (due, sample));
    }

    pub(super) fn clear(&mut self) {
        self.samples.clear();
    }

    /// The next of which it is known at `now` that it is not of the end.
    fn next(&mut self, now: Moment) -> Option<(Moment, Consented)> {
        let first = self.samples.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Takes over those that `keep` gives a place in the new gate.
    pub(super) fn inherit(&mut self, old: &Self, keep: impl Fn(Consented) -> Option<Consented>) {
        self.dropped = old.dropped;
        for (&(until, _), &(due, sample)) in &old.samples {
            if let Some(sample) = keep(sample) {
                self.put(until, due, sample);
            }
        }
    }
}

impl Gate {
    /// Whether a rule needs to know of trips.
    #[must_use]
    pub fn needs_trips(&self) -> bool {
        self.stages.iter().any(|stages| stages.transform.needs_trips())
    }

    /// Whether trips are looked at: for a rule, or for what is held back until one ends.
    #[must_use]
    pub fn looks_at_trips(&self) -> bool {
        self.waits_for_trip || self.needs_trips()
    }

    /// A reading of the signal that tells of trips; to be told before the other readings of its frame. `None`: it has no
    /// value.
    pub fn on_trip(&mut self, goes_on: Option<bool>, now: Moment) {
        let before = self.trip;
        self.trip = before.next(goes_on, now);
        let went_on = before.under(now).is_some();
        let ended = matches!(before, Trip::Under { .. }) && !(went_on && goes_on == Some(true));
        if ended {
            self.tail.clear();
            self.end_trip(went_on && goes_on == Some(false), now);
        } else if matches!(self.trip, Trip::Under { .. }) {
            while let Some((due, sample)) = self.tail.next(now) {
                self.hold(due.max(now), sample);
            }
        }
    }

    /// Figures of the trip are told if its end was `seen`.
    fn end_trip(&mut self, seen: bool, moment: Moment) {
        for at in 0..self.stages.len() {
            loop {
                self.frame += 1;
                let now = self.now(moment);
                let limits = &mut Limits { thinnings: &mut self.thinnings, budgets: &mut self.budgets };
                let Some(figure) = self.stages[at].close_trip(now, seen, limits) else { break };
                if let Some((due, sample)) = figure {
                    self.hold(due, sample);
                }
            }
            self.stages[at].forget_trip(&mut self.thinnings);
            self.windows_due = sooner(self.windows_due, self.stages[at].due(self.offset_us));
        }
    }

    /// Samples for which there was no room while it was not known whether they are of the end of a trip.
    #[must_use]
    pub fn tail_dropped(&self) -> u64 {
        self.tail.dropped
    }
}
