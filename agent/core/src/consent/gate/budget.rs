//! What signals with a `budget` have spent of it, by day. It goes over swaps whole, also what flows spent that are held
//! back for now; the shell keeps it over a restart. Where nobody knows what was spent, nothing more is.

use super::Gate;
use crate::decode::LeafIndex;
use crate::limits::{BUDGET_DAYS_MAX, BUDGET_ENTRIES_MAX};
use crate::names::{FlowId, UtcDay};
use std::collections::BTreeMap;

/// What of a signal in a flow was let out on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spent {
    /// In which flow.
    pub flow: FlowId,
    /// Which signal; the latitude, where it is a place.
    pub leaf: LeafIndex,
    /// When.
    pub day: UtcDay,
    /// So many.
    pub samples: u32,
}

/// What is to be known of the past.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spending {
    /// What was spent, ascending.
    pub spent: Vec<Spent>,
    /// Up to this day what is not in `spent` is not known: nothing more is let out of it.
    pub unknown_until: Option<UtcDay>,
}

/// What was spent.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    spent: BTreeMap<(FlowId, LeafIndex, UtcDay), u32>,
    unknown_until: Option<UtcDay>,
    over: u64,
    /// Counts what is let out, so that the shell sees whether there is something to keep.
    taken: u64,
}

impl Budgets {
    /// Whether one more is within `most`; counts it.
    pub(super) fn take(&mut self, (flow, leaf): (FlowId, LeafIndex), most: u32, day: UtcDay) -> bool {
        let within = match self.spent.get_mut(&(flow, leaf, day)) {
            Some(spent) => {
                let within = *spent < most;
                *spent += u32::from(within);
                within
            }
            None => self.begins(flow, leaf, day),
        };
        *if within { &mut self.taken } else { &mut self.over } += 1;
        within
    }

    /// The first of a day. Few days are known of each signal: one before those may be one that was forgotten.
    #[cold]
    fn begins(&mut self, flow: FlowId, leaf: LeafIndex, day: UtcDay) -> bool {
        if self.unknown_until.is_some_and(|until| day <= until) {
            return false;
        }
        let mut days = self.spent.range((flow, leaf, UtcDay::MIN)..=(flow, leaf, UtcDay::MAX));
        let first = days.next().map(|(key, _)| *key);
        let full = days.count() + 1 >= BUDGET_DAYS_MAX;
        match first.filter(|_| full) {
            Some((.., oldest)) if day < oldest => return false,
            Some(oldest) => drop(self.spent.remove(&oldest)),
            None => {}
        }
        let room = self.spent.len() < BUDGET_ENTRIES_MAX;
        if room {
            self.spent.insert((flow, leaf, day), 1);
        }
        room
    }

    /// Makes room by forgetting flows that are not `live`: should one come back, what it spent is not known.
    fn make_room(&mut self, live: impl Fn(FlowId) -> bool) {
        if self.spent.len() < BUDGET_ENTRIES_MAX / 2 {
            return;
        }
        let gone = self.spent.keys().filter(|(flow, ..)| !live(*flow)).map(|(.., day)| *day).max();
        self.unknown_until = self.unknown_until.max(gone);
        self.spent.retain(|(flow, ..), _| live(*flow));
    }
}

impl Gate {
    pub(super) fn inherit_budgets(&mut self, old: &mut Gate) {
        self.budgets = std::mem::take(&mut old.budgets);
        let flows = &self.flows;
        self.budgets.make_room(|flow| flows.iter().any(|rules| rules.flow == flow));
    }

    /// What was spent so far: the shell makes it durable before any of it can leave the car.
    #[must_use]
    pub fn spending(&self) -> Spending {
        let entry = |(&(flow, leaf, day), &samples): (&_, &u32)| Spent { flow, leaf, day, samples };
        let Budgets { spent, unknown_until, .. } = &self.budgets;
        Spending { spent: spent.iter().map(entry).collect(), unknown_until: *unknown_until }
    }

    /// A number that rises with what is spent.
    #[must_use]
    pub fn spent_so_far(&self) -> u64 {
        self.budgets.taken
    }

    /// Samples that their budget held back since the start.
    #[must_use]
    pub fn over_budget(&self) -> u64 {
        self.budgets.over
    }

    /// Takes up what earlier runs spent, before the first reading.
    pub fn recall_spending(&mut self, past: &Spending) {
        let known = past.spent.iter().take(BUDGET_ENTRIES_MAX);
        self.budgets.spent = known.map(|it| ((it.flow, it.leaf, it.day), it.samples)).collect();
        self.budgets.unknown_until = past.unknown_until;
    }
}
