//! What was emitted last, over a swap and over a restart: neither shortens a gap. No values go over a restart, and the
//! shell keeps what does.

use super::super::transform::{Figure, Transform};
use super::thinning::{Emitted, Thinning};
use super::{Gate, Series};
use crate::decode::{LeafIndex, SourceAddress, State};
use crate::limits::GATE_MEMORY_ENTRIES_MAX;
use crate::names::{FlowId, Moment, WallTime};
use std::collections::HashMap;

/// When a signal was emitted last that may not be emitted again yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Remembered {
    /// In which flow.
    pub flow: FlowId,
    /// Which signal.
    pub leaf: LeafIndex,
    /// Which figure of it.
    pub figure: Option<Figure>,
    /// Of which sender.
    pub source: SourceAddress,
    /// Its stamp, by wall time.
    pub at: WallTime,
}

/// How the last run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastRun {
    /// In order.
    Ended {
        /// This has to wait.
        remembered: Vec<Remembered>,
        /// The start of that run or an earlier one, if the one before was cut: what was not emitted since counts as
        /// emitted then.
        cut: Option<WallTime>,
    },
    /// Nobody knows when, nor what it emitted: all that has a rate waits as if it were emitted at the start.
    Cut,
}

/// What is kept over swaps, also of flows that are held back for now: a pause shortens no gap.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    emitted: HashMap<(FlowId, Series, SourceAddress), (Emitted, Transform)>,
    /// What is not known counts as emitted at this moment.
    cut: Option<Moment>,
}

impl Memory {
    /// Takes in what `thinnings` remember.
    fn add(&mut self, thinnings: &[Thinning]) {
        for thinning in thinnings {
            for last in &thinning.last {
                let told = (*last, thinning.transform);
                let key = |series: &Series| (thinning.flow, *series, last.source);
                self.emitted.extend(thinning.series.iter().map(|series| (key(series), told)));
            }
        }
    }

    /// Into the groups that there are now. A gap holds between two figures of a signal too: what was emitted of one that is
    /// gone counts for those that are there, and what was emitted of any for one of which nothing is known. Of figures
    /// that stay each has its own: compared with another's it would be told again after a swap, and tell of that.
    fn give(&self, thinnings: &mut [Thinning]) {
        let mut stays: HashMap<(FlowId, Series), usize> = HashMap::new();
        let mut groups: HashMap<(FlowId, LeafIndex), Vec<usize>> = HashMap::new();
        for (at, thinning) in thinnings.iter_mut().enumerate() {
            thinning.cut = self.cut;
            for series in &thinning.series {
                stays.insert((thinning.flow, *series), at);
                groups.entry((thinning.flow, series.0)).or_default().push(at);
            }
        }
        for ((flow, series, source), (emitted, transform)) in &self.emitted {
            let own = stays.get(&(*flow, *series));
            for at in groups.get(&(*flow, series.0)).into_iter().flatten() {
                let thinning = &mut thinnings[*at];
                if own.is_none_or(|own| own == at) || !self.knows(thinning, *source) {
                    thinning.remember(*emitted, transform);
                }
            }
        }
    }

    /// Whether something of its own was emitted before.
    fn knows(&self, thinning: &Thinning, source: SourceAddress) -> bool {
        thinning.series.iter().any(|series| self.emitted.contains_key(&(thinning.flow, *series, source)))
    }
}

impl Gate {
    pub(super) fn inherit_memory(&mut self, old: &Gate) {
        self.memory.clone_from(&old.memory);
        self.memory.add(&old.thinnings);
        if self.memory.emitted.len() > GATE_MEMORY_ENTRIES_MAX {
            let flows = &self.flows;
            self.memory.emitted.retain(|(flow, ..), _| flows.iter().any(|rules| rules.flow == *flow));
        }
        self.memory.give(&mut self.thinnings);
    }

    /// What `flow` emitted from `since` on was dropped with its open batch: whoever has the last value before that cannot
    /// compare with it, so the next reading counts as changed.
    pub fn dropped(&mut self, flow: FlowId, since: Moment) {
        let of_flow = self.memory.emitted.iter_mut().filter(|((of, ..), _)| *of == flow);
        for (_, (emitted, _)) in of_flow {
            emitted.stale |= emitted.moment >= since;
        }
    }

    /// What must wait after a restart, if the run ends in order `now`: to be kept by the shell and given to
    /// [`Self::recall`].
    #[must_use]
    pub fn remembered(&self, now: Moment) -> LastRun {
        let mut memory = self.memory.clone();
        memory.add(&self.thinnings);
        let waits = |(emitted, transform): &(Emitted, Transform)| {
            now.0.saturating_sub(emitted.moment.0) < transform.min_interval_us
        };
        let list = memory.emitted.into_iter().filter(|(_, told)| waits(told));
        let mut list: Vec<Remembered> = list
            .map(|((flow, (leaf, figure), source), (emitted, _))| {
                let at = WallTime(emitted.moment.0.saturating_add(self.offset_us));
                Remembered { flow, leaf, figure, source, at }
            })
            .collect();
        list.sort_unstable();
        let cut = self.memory.cut.map(|cut| WallTime(cut.0.saturating_add(self.offset_us)));
        LastRun::Ended { remembered: list, cut }
    }

    /// Takes up the memory of the last run, before the first reading. What is dated after `now` counts as emitted now: the
    /// clock was set back.
    pub fn recall(&mut self, last: &LastRun, now: Moment) {
        let moment = |at: WallTime| Moment(at.0.saturating_sub(self.offset_us)).min(now);
        match last {
            LastRun::Cut => self.memory.cut = Some(now),
            LastRun::Ended { remembered, cut } => {
                self.memory.cut = cut.map(moment);
                for it in remembered.iter().take(GATE_MEMORY_ENTRIES_MAX) {
                    let moment = moment(it.at);
                    let (state, source) = (State::Value, it.source);
                    let emitted = Emitted { moment, frame: 0, state, source, bits: 0, stale: true };
                    let key = (it.flow, (it.leaf, it.figure), it.source);
                    self.memory.emitted.insert(key, (emitted, Transform::OPEN));
                }
            }
        }
        self.memory.give(&mut self.thinnings);
    }
}
