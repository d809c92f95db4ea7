//! The compiled form of all live grants: the one place where a reading becomes a [`Consented`] one.

use super::decimal::Decimal;
use super::effective::{Effective, FlowRules, SignalRules};
use super::quantise::{Quantiser, float};
use super::transform::{DeadBand, Rule, Transform};
use crate::decode::{LeafIndex, Leaves, Reading, SourceAddress, State, ValueType};
use crate::limits::{GATE_MEMORY_ENTRIES_MAX, GATE_SOURCES_MAX};
use crate::names::{FlowId, Moment, PolicyVersion};
use std::collections::HashMap;
use std::sync::Arc;

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
    /// What was emitted last before a swap, also in flows that are held back for now: a pause shortens no gap.
    memory: HashMap<(FlowId, LeafIndex, SourceAddress), Emitted>,
    /// Counts calls of `pass`, so that one decision holds for a whole frame.
    frame: u64,
}

/// What one leaf becomes in one flow.
#[derive(Debug, Clone)]
struct Route {
    flow: FlowSlot,
    signal: u16,
    times: u16,
    /// Index into `thinnings`; `u32::MAX`: emit always.
    thinning: u32,
    quantiser: Option<Quantiser>,
}

const ALWAYS: u32 = u32::MAX;

/// When to emit, and what was emitted last.
#[derive(Debug, Clone)]
struct Thinning {
    flow: FlowId,
    /// All leaves of the group: so that a swap that takes the first away still finds the rest.
    leaves: Vec<LeafIndex>,
    transform: Transform,
    change: Option<Change>,
    /// One for each sender, at most [`GATE_SOURCES_MAX`].
    last: Vec<Emitted>,
}

#[derive(Debug, Clone, Copy)]
struct Emitted {
    moment: Moment,
    frame: u64,
    state: State,
    source: SourceAddress,
    bits: u64,
    /// What it was emitted under; under another one `bits` cannot be compared any more.
    transform: Transform,
}

/// When two values differ enough.
#[derive(Debug, Clone, Copy)]
struct Change {
    least: Least,
    max_interval_us: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
enum Least {
    Unsigned(u64),
    Signed(u64),
    Float {
        double: bool,
        scale: f64,
        delta: f64,
    },
    /// The dead band has no exact form for this leaf: only the first reading and changes of state leave.
    Never,
}

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
            let quantiser = match transform.quantise {
                Some(grid) => match Quantiser::new(rule.value_type, rule.scale, rule.offset, grid) {
                    Some(quantiser) => Some(quantiser),
                    None => continue,
                },
                None => None,
            };
            let (times, thinning) = self.group(&mut groups, rules.flow, rule, &transform, leaves);
            if let Some(routes) = by_leaf.get_mut(rule.leaf.0 as usize) {
                routes.push(Route { flow, signal, times, thinning, quantiser });
            }
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
        let shared = transform.on_change.is_none();
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
        let thinning = if shared && transform.min_interval_us == 0 {
            ALWAYS
        } else {
            let change = transform.on_change.map(|band| Change::new(band, transform, rule));
            let leaves = vec![rule.leaf];
            self.thinnings.push(Thinning { flow, leaves, transform: *transform, change, last: Vec::new() });
            u32::try_from(self.thinnings.len() - 1).unwrap_or(ALWAYS)
        };
        let min_interval_us = transform.min_interval_us;
        groups.push(Group { leaf: rule.leaf, shared, min_interval_us, thinning });
        (u16::try_from(groups.len() - 1).unwrap_or(u16::MAX), thinning)
    }

    /// Takes over when each signal was last emitted, so that a swap shortens no gap.
    pub fn inherit(&mut self, old: &Gate) {
        self.frame = old.frame;
        self.memory.clone_from(&old.memory);
        for thinning in &old.thinnings {
            for last in &thinning.last {
                let key = |leaf: &LeafIndex| (thinning.flow, *leaf, last.source);
                self.memory.extend(thinning.leaves.iter().map(|leaf| (key(leaf), *last)));
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
        for ((flow, leaf, _), emitted) in &self.memory {
            let group = groups.get(&(*flow, *leaf)).and_then(|at| self.thinnings.get_mut(*at));
            if let Some(Thinning { last, .. }) = group {
                match last.iter().position(|last| last.source == emitted.source) {
                    Some(at) if last[at].moment < emitted.moment => last[at] = *emitted,
                    None if last.len() < GATE_SOURCES_MAX => last.push(*emitted),
                    _ => {}
                }
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
                let Some((state, bits)) = reduce(route, reading) else { continue };
                if route.thinning != ALWAYS {
                    let thinning = &mut self.thinnings[route.thinning as usize];
                    let transform = thinning.transform;
                    let now =
                        Emitted { moment, frame: self.frame, state, source: reading.source, bits, transform };
                    if !thinning.emits(now) {
                        continue;
                    }
                }
                let &Route { flow, signal, times, .. } = route;
                out(Consented { moment, bits, flow, signal, times, state, source: reading.source });
            }
        }
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

impl Thinning {
    /// Decides and, if it emits, remembers. One decision holds for all signals of a shared group in a frame.
    fn emits(&mut self, now: Emitted) -> bool {
        let Some(at) = self.last.iter().position(|last| last.source == now.source) else {
            // More senders than can be remembered: what cannot be held to its rate does not leave.
            let room = self.last.len() < GATE_SOURCES_MAX;
            if room {
                self.last.push(now);
            }
            return room;
        };
        let last = self.last[at];
        if self.change.is_none() && last.frame == now.frame {
            return true;
        }
        let gap = now.moment.0.saturating_sub(last.moment.0);
        let due = gap >= self.transform.min_interval_us
            && self.change.is_none_or(|change| change.is_due(gap, &last, &now));
        if due {
            self.last[at] = now;
        }
        due
    }
}

impl Change {
    fn new(band: DeadBand, transform: &Transform, rule: &SignalRules) -> Self {
        let least = match transform.quantise {
            Some(grid) => least_steps(band.min_delta, grid.step()).map(Least::Signed),
            None => Self::of_raw(band.min_delta, rule),
        };
        Self { least: least.unwrap_or(Least::Never), max_interval_us: band.max_interval_us }
    }

    fn of_raw(delta: Decimal, rule: &SignalRules) -> Option<Least> {
        let step = Decimal::from_f64(rule.scale.abs());
        match rule.value_type {
            ValueType::Float32 | ValueType::Float64 => Some(Least::Float {
                double: rule.value_type == ValueType::Float64,
                scale: rule.scale,
                delta: delta.to_f64(),
            }),
            ValueType::Signed => least_steps(delta, step?).map(Least::Signed),
            ValueType::Unsigned | ValueType::Boolean => least_steps(delta, step?).map(Least::Unsigned),
        }
    }

    fn is_due(&self, gap: i64, last: &Emitted, now: &Emitted) -> bool {
        if self.max_interval_us.is_some_and(|max| gap >= max)
            || last.state != now.state
            || last.transform != now.transform
        {
            return true;
        }
        now.state == State::Value && self.differs(last.bits, now.bits)
    }

    fn differs(&self, a: u64, b: u64) -> bool {
        match self.least {
            Least::Unsigned(least) => a.abs_diff(b) >= least,
            Least::Signed(least) => a.cast_signed().abs_diff(b.cast_signed()) >= least,
            Least::Float { double, scale, delta } => {
                let gap = (float(double, a) * scale - float(double, b) * scale).abs();
                a != b && (gap >= delta || !gap.is_finite())
            }
            Least::Never => false,
        }
    }
}

/// The least difference of raw values that is a difference of `delta`: `ceil(delta / step)`, at least 1.
fn least_steps(delta: Decimal, step: Decimal) -> Option<u64> {
    let (delta, step, _) = Decimal::aligned(delta, step)?;
    if step == 0 {
        return None;
    }
    let steps = delta / step + i128::from(delta % step != 0);
    Some(u64::try_from(steps.max(1)).unwrap_or(u64::MAX))
}
