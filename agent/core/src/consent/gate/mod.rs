//! The compiled form of all live grants: the one place where a reading becomes a [`Consented`] one.

mod stages;
mod thinning;

use super::effective::{Effective, FlowRules, SignalRules};
use super::transform::{Change, Quantiser, Rule, Transform, Trigger};
use crate::decode::{LeafIndex, Leaves, Reading, SourceAddress, State};
use crate::limits::GATE_MEMORY_ENTRIES_MAX;
use crate::names::{FlowId, Moment, PolicyVersion};
use stages::{Held, Now, Place, Stages};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use thinning::{Emitted, Thinning};

/// Number of a flow in the gate that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowSlot(u16);

impl FlowSlot {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One sample that may leave, already reduced as the grant says. Only the gate makes it (invariant 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consented {
    moment: Moment,
    bits: u64,
    flow: FlowSlot,
    signal: u16,
    times: u16,
    state: State,
    source: SourceAddress,
}

impl Consented {
    /// When it was received.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// The raw value, or the number of its cell if it is quantised.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.bits
    }

    /// Its flow in the gate that made it.
    #[must_use]
    pub fn flow(&self) -> FlowSlot {
        self.flow
    }

    /// Its number in the flow's descriptor.
    #[must_use]
    pub fn signal(&self) -> u16 {
        self.signal
    }

    /// Signals of a flow with one number here are emitted together, so that their times can be kept once.
    #[must_use]
    pub fn times(&self) -> u16 {
        self.times
    }

    /// Whether `bits` is a value.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Who sent it: a signal that several controllers send is a series for each.
    #[must_use]
    pub fn source(&self) -> SourceAddress {
        self.source
    }
}

/// The compiled form of all live grants. The default lets nothing through.
#[derive(Debug, Default)]
pub struct Gate {
    policy_version: PolicyVersion,
    flows: Vec<Arc<FlowRules>>,
    /// By leaf: where its routes begin in `routes`; one more at the end.
    starts: Vec<u32>,
    routes: Vec<Route>,
    thinnings: Vec<Thinning>,
    stages: Vec<Stages>,
    held: Held,
    lost: BTreeMap<(FlowId, Lost), u64>,
    /// What was emitted last before a swap, also in flows that are held back for now: a pause shortens no gap.
    memory: HashMap<(FlowId, LeafIndex, SourceAddress), (Emitted, Transform)>,
    /// Counts calls of `pass`, so that one decision holds for a whole frame.
    frame: u64,
    /// Wall time less moment: edges of time lie by wall time.
    offset_us: i64,
}

/// Why a sample that was let through and held back is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// More than [`crate::limits::HELD_SAMPLES_MAX`].
    Full,
    /// The rules that it was let through under do not apply any more.
    Narrowed,
}

/// What one leaf becomes in one flow.
#[derive(Debug, Clone)]
struct Route {
    address: Address,
    /// Index into `thinnings`; `u32::MAX`: emit always.
    thinning: u32,
    /// Index into `stages`, which then do all; `u32::MAX`: none.
    stages: u32,
    quantiser: Option<Quantiser>,
}

/// Where a sample goes.
#[derive(Debug, Clone, Copy)]
struct Address {
    flow: FlowSlot,
    signal: u16,
    times: u16,
}

const ALWAYS: u32 = u32::MAX;
const NONE: u32 = u32::MAX;

impl Gate {
    /// Compiles what applies. Times of last emission are carried over by [`Gate::inherit`].
    #[must_use]
    pub fn compile(effective: &Effective, leaves: &Leaves) -> Self {
        let mut gate = Self {
            policy_version: effective.policy_version,
            flows: effective.flows.clone(),
            ..Self::default()
        };
        let mut by_leaf: Vec<Vec<Route>> = vec![Vec::new(); leaves.len()];
        for (number, rules) in (0u16..).zip(&effective.flows) {
            gate.add_flow(FlowSlot(number), rules, leaves, &mut by_leaf);
        }
        for routes in by_leaf {
            gate.starts.push(u32::try_from(gate.routes.len()).unwrap_or(u32::MAX));
            gate.routes.extend(routes);
        }
        gate.starts.push(u32::try_from(gate.routes.len()).unwrap_or(u32::MAX));
        gate
    }

    fn add_flow(&mut self, flow: FlowSlot, rules: &FlowRules, leaves: &Leaves, by_leaf: &mut [Vec<Route>]) {
        let mut groups: Vec<Group> = Vec::new();
        for (signal, rule) in (0u16..).zip(&rules.signals) {
            let Rule::Pass(transform) = rule.permitted else { continue };
            let Some(steps) = Steps::new(&transform, rule) else { continue };
            let (times, thinning) = self.group(&mut groups, rules.flow, rule, &transform, leaves);
            let address = Address { flow, signal, times };
            let Some(routes) = by_leaf.get_mut(rule.leaf.0 as usize) else { continue };
            if transform.is_plain() {
                routes.push(Route { address, thinning, stages: NONE, quantiser: steps.quantiser });
                continue;
            }
            let place = Place { flow: rules.flow, leaf: rule.leaf, address, thinning };
            self.stages.push(Stages::new(place, transform, steps.quantiser, steps.trigger));
            let stages = u32::try_from(self.stages.len() - 1).unwrap_or(NONE);
            routes.push(Route { address, thinning, stages, quantiser: None });
        }
    }

    /// Signals of the same frames that are thinned alike, by time only, are emitted together.
    fn group(
        &mut self,
        groups: &mut Vec<Group>,
        flow: FlowId,
        rule: &SignalRules,
        transform: &Transform,
        leaves: &Leaves,
    ) -> (u16, u32) {
        let shared = transform.on_change.is_none() && transform.is_plain();
        let alike = |group: &Group| {
            shared
                && group.shared
                && group.min_interval_us == transform.min_interval_us
                && matches!((leaves.get(group.leaf), leaves.get(rule.leaf)), (Some(a), Some(b)) if a.same_frames(b))
        };
        // From the end: signals of one message mostly stand together.
        if let Some(at) = groups.iter().rposition(alike) {
            let thinning = groups[at].thinning;
            if let Some(thinning) = self.thinnings.get_mut(thinning as usize) {
                thinning.leaves.push(rule.leaf);
            }
            return (u16::try_from(at).unwrap_or(u16::MAX), thinning);
        }
        let thinning = if transform.on_change.is_none() && transform.min_interval_us == 0 {
            ALWAYS
        } else {
            let change = transform.on_change.map(|band| Change::new(band, rule.coding()));
            self.thinnings.push(Thinning::new(flow, rule.leaf, *transform, change));
            u32::try_from(self.thinnings.len() - 1).unwrap_or(ALWAYS)
        };
        let min_interval_us = transform.min_interval_us;
        groups.push(Group { leaf: rule.leaf, shared, min_interval_us, thinning });
        (u16::try_from(groups.len() - 1).unwrap_or(u16::MAX), thinning)
    }

    /// Takes over when each signal was last emitted, so that a swap shortens no gap, and what is held back of signals
    /// whose rule stays the same. What is held back of others is gone; of flows that go on it counts as lost.
    pub fn inherit(&mut self, old: &mut Gate) {
        (self.frame, self.offset_us) = (old.frame, old.offset_us);
        self.lost.append(&mut old.lost);
        self.inherit_thinnings(old);
        for old in &old.stages {
            if let Some(stages) = self.stages.iter_mut().find(|stages| stages.follows(old)) {
                stages.inherit(old);
            }
        }
        self.inherit_held(old);
    }

    fn inherit_thinnings(&mut self, old: &Gate) {
        self.memory.clone_from(&old.memory);
        for thinning in &old.thinnings {
            for last in &thinning.last {
                let key = |leaf: &LeafIndex| (thinning.flow, *leaf, last.source);
                let told = (*last, thinning.transform);
                self.memory.extend(thinning.leaves.iter().map(|leaf| (key(leaf), told)));
            }
        }
        if self.memory.len() > GATE_MEMORY_ENTRIES_MAX {
            let flows = &self.flows;
            self.memory.retain(|(flow, ..), _| flows.iter().any(|rules| rules.flow == *flow));
        }
        self.remember();
    }

    /// What was emitted last, out of the memory into the groups.
    fn remember(&mut self) {
        let mut groups: HashMap<(FlowId, LeafIndex), usize> = HashMap::new();
        for (at, thinning) in self.thinnings.iter().enumerate() {
            groups.extend(thinning.leaves.iter().map(|leaf| ((thinning.flow, *leaf), at)));
        }
        for ((flow, leaf, _), (emitted, transform)) in &self.memory {
            let group = groups.get(&(*flow, *leaf)).and_then(|at| self.thinnings.get_mut(*at));
            if let Some(thinning) = group {
                thinning.remember(*emitted, transform);
            }
        }
    }

    fn inherit_held(&mut self, old: &Gate) {
        for (due, sample) in old.held.iter() {
            let is_from = |stages: &&Stages| {
                (stages.address.flow, stages.address.signal) == (sample.flow, sample.signal)
            };
            let Some(from) = old.stages.iter().find(is_from) else { continue };
            match self.stages.iter().find(|stages| stages.follows(from)) {
                Some(Stages { address: Address { flow, signal, times }, .. }) => {
                    let (flow, signal, times) = (*flow, *signal, *times);
                    self.held.put(due, Consented { flow, signal, times, ..sample });
                }
                None if self.flows.iter().any(|rules| rules.flow == from.flow) => {
                    *self.lost.entry((from.flow, Lost::Narrowed)).or_default() += 1;
                }
                None => {}
            }
        }
    }

    /// Gives to `out` what may leave of one frame's readings. Every call is a new frame.
    #[inline]
    pub fn pass(&mut self, moment: Moment, readings: &[Reading], mut out: impl FnMut(Consented)) {
        self.frame += 1;
        for reading in readings {
            let leaf = reading.leaf.0 as usize;
            let Some(&[start, end]) = self.starts.get(leaf..leaf + 2) else { continue };
            for route in self.routes.get(start as usize..end as usize).unwrap_or_default() {
                if route.stages != NONE {
                    let now = Now { moment, frame: self.frame, offset_us: self.offset_us };
                    let stages = &mut self.stages[route.stages as usize];
                    let Some((due, sample)) = stages.take(now, reading, &mut self.thinnings) else {
                        continue;
                    };
                    if due <= moment {
                        out(sample);
                    } else if !self.held.put(due, sample) {
                        *self.lost.entry((stages.flow, Lost::Full)).or_default() += 1;
                    }
                    continue;
                }
                let Some((state, bits)) = reduce(route, reading) else { continue };
                let source = reading.source;
                if route.thinning != ALWAYS {
                    let now = Emitted { moment, frame: self.frame, state, source, bits, stale: false };
                    if !self.thinnings[route.thinning as usize].emits(now) {
                        continue;
                    }
                }
                let Address { flow, signal, times } = route.address;
                out(Consented { moment, bits, flow, signal, times, state, source });
            }
        }
    }

    /// Gives to `out` what was held back until now.
    pub fn release(&mut self, now: Moment, mut out: impl FnMut(Consented)) {
        while let Some(sample) = self.held.next(now) {
            out(sample);
        }
    }

    /// When [`Self::release`] has something to give.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.held.due()
    }

    /// Samples that were let through and are gone since this was last asked, by flow.
    pub fn take_lost(&mut self) -> BTreeMap<(FlowId, Lost), u64> {
        std::mem::take(&mut self.lost)
    }

    /// Wall time less moment has changed: edges of time lie by wall time.
    pub fn set_offset(&mut self, offset_us: i64) {
        self.held.shift(self.offset_us.saturating_sub(offset_us));
        self.offset_us = offset_us;
    }

    /// The flows of this gate, by slot.
    #[must_use]
    pub fn flows(&self) -> &[Arc<FlowRules>] {
        &self.flows
    }

    /// Version of the policy it was compiled from.
    #[must_use]
    pub fn policy_version(&self) -> PolicyVersion {
        self.policy_version
    }

    /// Every leaf that something leaves of, ascending.
    #[must_use]
    pub fn needed(&self) -> Vec<LeafIndex> {
        let leaves = self.starts.windows(2).zip(0u32..);
        leaves.filter(|(pair, _)| pair[0] < pair[1]).map(|(_, leaf)| LeafIndex(leaf)).collect()
    }
}

struct Group {
    leaf: LeafIndex,
    shared: bool,
    min_interval_us: i64,
    thinning: u32,
}

/// What the reading is after quantising; `None` if its cell has no number.
#[inline]
fn reduce(route: &Route, reading: &Reading) -> Option<(State, u64)> {
    match (&route.quantiser, reading.state) {
        (Some(quantiser), State::Value) => {
            Some((State::Value, quantiser.cell(reading.bits)?.cast_unsigned()))
        }
        (_, State::Value) => Some((State::Value, reading.bits)),
        (_, state) => Some((state, 0)),
    }
}

/// What a rule needs that is made once.
struct Steps {
    quantiser: Option<Quantiser>,
    trigger: Option<Trigger>,
}

impl Steps {
    /// `None` if a number has too many digits: then nothing may leave.
    fn new(transform: &Transform, rule: &SignalRules) -> Option<Self> {
        let recorded = rule.recorded();
        let quantiser = match transform.quantise {
            Some(grid) => Some(Quantiser::new(recorded, grid)?),
            None => None,
        };
        let trigger = match transform.threshold {
            Some(threshold) => Some(Trigger::new(threshold, transform.measured(recorded))?),
            None => None,
        };
        Some(Self { quantiser, trigger })
    }
}
