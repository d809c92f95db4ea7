//! The compiled form of all live grants: the one place where a reading becomes a [`Consented`] one.

mod budget;
mod memory;
mod stages;
mod thinning;
mod trip;

use super::atom;
use super::effective::{Effective, FlowRules, SignalRules};
use super::transform::{Change, Coordinate, Figure, Quantiser, Rule, Transform, Trigger};
use super::zone::Zones;
use crate::decode::{LeafIndex, Leaves, Reading, SourceAddress, State};
use crate::limits::{GEO_PAIR_US_MAX, PLACE_SILENCE_US_MAX};
use crate::names::{FlowId, Moment, PolicyVersion};
use budget::Budgets;
pub use budget::{Spending, Spent};
use memory::Memory;
pub use memory::{LastRun, Remembered};
use stages::{Geo, Held, Limits, Now, Place, Stages, Windows};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use thinning::{Emitted, Thinning};
use trip::{Tail, Trip};

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
    /// Leaves that have no route for now.
    unread: BTreeSet<LeafIndex>,
    /// Something is held back until a trip ends.
    waits_for_trip: bool,
    /// By leaf: where its routes begin in `routes`; one more at the end.
    starts: Vec<u32>,
    routes: Vec<Route>,
    thinnings: Vec<Thinning>,
    stages: Vec<Stages>,
    /// When the first window of these is over.
    windows_due: Option<Moment>,
    held: Held,
    tail: Tail,
    trip: Trip,
    /// When the car was last seen outside of all private places.
    outside: Option<Moment>,
    lost: BTreeMap<(FlowId, Lost), u64>,
    /// What was emitted last before a swap or a restart.
    memory: Memory,
    budgets: Budgets,
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

/// A leaf, and the figure that is told of it.
type Series = (LeafIndex, Option<Figure>);

const ALWAYS: u32 = u32::MAX;
const NONE: u32 = u32::MAX;

impl Gate {
    /// Compiles what applies. Times of last emission are carried over by [`Gate::inherit`].
    #[must_use]
    pub fn compile(effective: &Effective, leaves: &Leaves) -> Self {
        Self::compile_for(effective, leaves, &Zones::default())
    }

    /// The same for a car with private places.
    #[must_use]
    pub fn compile_for(effective: &Effective, leaves: &Leaves, zones: &Zones) -> Self {
        let private = |leaf: LeafIndex| !zones.is_empty() && effective.private.contains(&leaf);
        let mut gate = Self {
            policy_version: effective.policy_version,
            flows: effective.flows.clone(),
            unread: effective.unread.clone(),
            waits_for_trip: effective.waits_for_trip,
            ..Self::default()
        };
        let mut by_leaf: Vec<Vec<Route>> =
            routes_at_most(effective, leaves).into_iter().map(Vec::with_capacity).collect();
        for (number, rules) in (0u16..).zip(&effective.flows) {
            gate.add_flow((FlowSlot(number), rules), leaves, &private, &mut by_leaf);
        }
        gate.routes.reserve_exact(by_leaf.iter().map(Vec::len).sum());
        for routes in by_leaf {
            gate.starts.push(u32::try_from(gate.routes.len()).unwrap_or(u32::MAX));
            gate.routes.extend(routes);
        }
        gate.starts.push(u32::try_from(gate.routes.len()).unwrap_or(u32::MAX));
        gate
    }

    fn add_flow(
        &mut self,
        (flow, rules): (FlowSlot, &FlowRules),
        leaves: &Leaves,
        is_private: &dyn Fn(LeafIndex) -> bool,
        by_leaf: &mut [Vec<Route>],
    ) {
        let mut groups: Vec<Group> = Vec::new();
        for (signal, rule) in (0u16..).zip(&rules.signals) {
            let Rule::Pass(transform) = &rule.permitted else { continue };
            if transform.geo_cell.is_some() && atom::coordinate(&rule.path) != Some(Coordinate::Latitude) {
                // The latitude's stages take it.
                continue;
            }
            let Some(steps) = Steps::new(rule, &rules.signals, leaves) else { continue };
            let private = is_private(rule.leaf);
            let shared = transform.on_change.is_none() && transform.is_plain() && !private;
            let (times, thinning) = self.group(&mut groups, (rules.flow, shared), rule, transform, leaves);
            // After its group was counted: what is not read changes no number of the others.
            if self.unread.contains(&rule.leaf) {
                continue;
            }
            let address = Address { flow, signal, times };
            let Some(routes) = by_leaf.get_mut(rule.leaf.0 as usize) else { continue };
            if transform.is_plain() && !private {
                routes.push(Route { address, thinning, stages: NONE, quantiser: steps.quantiser });
                continue;
            }
            let place = Place { flow: rules.flow, leaf: rule.leaf, address, thinning, private };
            let stages = u32::try_from(self.stages.len()).unwrap_or(NONE);
            let beside = steps.geo.as_ref().map(|_| atom::partner(&rules.signals, rule));
            self.stages.push(Stages::new(place, transform, steps));
            routes.push(Route { address, thinning, stages, quantiser: None });
            if let Some(Some(longitude)) = beside
                && let Some(routes) = by_leaf.get_mut(longitude.leaf.0 as usize)
            {
                routes.push(Route { address, thinning, stages, quantiser: None });
            }
        }
    }

    /// Signals of the same frames that are thinned alike, by time only, are emitted together.
    fn group(
        &mut self,
        groups: &mut Vec<Group>,
        (flow, shared): (FlowId, bool),
        rule: &SignalRules,
        transform: &Transform,
        leaves: &Leaves,
    ) -> (u16, u32) {
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
                thinning.series.push((rule.leaf, transform.figure()));
            }
            return (u16::try_from(at).unwrap_or(u16::MAX), thinning);
        }
        let thinning = if transform.on_change.is_none() && transform.min_interval_us == 0 {
            ALWAYS
        } else {
            let change = transform.on_change.map(|band| Change::new(band, rule.coding()));
            self.thinnings.push(Thinning::new(flow, (rule.leaf, transform.figure()), transform, change));
            u32::try_from(self.thinnings.len() - 1).unwrap_or(ALWAYS)
        };
        let min_interval_us = transform.min_interval_us;
        groups.push(Group { leaf: rule.leaf, shared, min_interval_us, thinning });
        (u16::try_from(groups.len() - 1).unwrap_or(u16::MAX), thinning)
    }

    /// Takes over when each signal was last emitted, so that a swap shortens no gap, and what is held back of signals
    /// whose rule stays the same. What is held back of others is gone; of flows that go on it counts as lost, unless it
    /// is of a leaf that is not read any more.
    pub fn inherit(&mut self, old: &mut Gate) {
        (self.frame, self.offset_us) = (old.frame, old.offset_us);
        self.lost.append(&mut old.lost);
        self.inherit_memory(old);
        self.inherit_budgets(old);
        let successors = self.inherit_stages(old);
        self.inherit_held(old, &successors);
        self.inherit_trip(old, &successors);
    }

    /// Answers which stages go on where old ones stood, by flow slot and signal number of the old gate.
    fn inherit_stages(&mut self, old: &Gate) -> HashMap<(FlowSlot, u16), usize> {
        let by_series: HashMap<(FlowId, Series), usize> =
            self.stages.iter().enumerate().map(|(at, stages)| (stages.series(), at)).collect();
        let mut successors = HashMap::new();
        for old in &old.stages {
            let at = by_series.get(&old.series()).copied();
            let Some(at) = at.filter(|at| self.stages[*at].transform == old.transform) else { continue };
            let stages = &mut self.stages[at];
            stages.inherit(old);
            self.windows_due = sooner(self.windows_due, stages.due(self.offset_us));
            successors.insert((old.address.flow, old.address.signal), at);
        }
        successors
    }

    /// What is known of the trip goes on while it is looked at.
    fn inherit_trip(&mut self, old: &Gate, successors: &HashMap<(FlowSlot, u16), usize>) {
        if self.needs_trips() && old.needs_trips() {
            self.trip = old.trip;
            // What was not allowed, or paused, at the beginning of the trip has seen a part of it only.
            for (at, stages) in self.stages.iter_mut().enumerate() {
                if !successors.values().any(|&successor| successor == at) {
                    stages.begin_within(old.trip);
                }
            }
        }
        let stages = &self.stages;
        let mut tail = Tail::default();
        tail.inherit(&old.tail, |sample| {
            let at = successors.get(&(sample.flow, sample.signal))?;
            let Address { flow, signal, times } = stages[*at].address;
            Some(Consented { flow, signal, times, ..sample })
        });
        self.tail = tail;
    }

    fn inherit_held(&mut self, old: &Gate, successors: &HashMap<(FlowSlot, u16), usize>) {
        for (due, sample) in old.held.iter() {
            if let Some(at) = successors.get(&(sample.flow, sample.signal)) {
                let Address { flow, signal, times } = self.stages[*at].address;
                self.held.put(due, Consented { flow, signal, times, ..sample });
                continue;
            }
            let rules = old.flows.get(sample.flow.index());
            let leaf =
                rules.and_then(|rules| rules.signals.get(usize::from(sample.signal))).map(|it| it.leaf);
            // Goes without a word: whoever counts it tells that it was switched off.
            if leaf.is_some_and(|leaf| self.unread.contains(&leaf)) {
                continue;
            }
            let flow = rules.map(|rules| rules.flow);
            let goes_on = |flow: &FlowId| self.flows.iter().any(|rules| rules.flow == *flow);
            if let Some(flow) = flow.filter(goes_on) {
                *self.lost.entry((flow, Lost::Narrowed)).or_default() += 1;
            }
        }
    }

    /// Whether the leaf is read for now, though its rules stand.
    #[must_use]
    pub fn reads(&self, leaf: LeafIndex) -> bool {
        !self.unread.contains(&leaf)
    }

    /// Whether something of it depends on where the car is.
    #[must_use]
    pub fn needs_place(&self) -> bool {
        self.stages.iter().any(|stages| stages.private)
    }

    /// A position of the car; to be told before the readings of its frame.
    pub fn on_place(&mut self, inside: bool, now: Moment) {
        self.outside = Some(now).filter(|_| !inside);
    }

    fn now(&self, moment: Moment) -> Now {
        let known = |seen: Moment| moment.0.saturating_sub(seen.0) <= PLACE_SILENCE_US_MAX;
        let hidden = !self.outside.is_some_and(known);
        Now { moment, frame: self.frame, offset_us: self.offset_us, trip: self.trip, hidden }
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
                    let now = self.now(moment);
                    let stages = &mut self.stages[route.stages as usize];
                    let limits = &mut Limits { thinnings: &mut self.thinnings, budgets: &mut self.budgets };
                    let taken = stages.take(now, reading, limits);
                    self.windows_due = sooner(self.windows_due, stages.due(self.offset_us));
                    let Some((due, sample)) = taken else { continue };
                    if let Some(ends) = stages.transform.trim_ends {
                        self.tail.put(moment.plus_us(ends.last_us), due, sample);
                    } else if due <= moment {
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

    /// Gives to `out` what was held back until now, and what is told of windows that are over. To be called before the
    /// first reading of `now`, see [`Self::next_due`].
    pub fn release(&mut self, now: Moment, mut out: impl FnMut(Consented)) {
        if self.windows_due.is_some_and(|due| due <= now) {
            self.close_windows(now);
        }
        while let Some(sample) = self.held.next(now) {
            out(sample);
        }
    }

    /// The same at the end: what is held back goes out on its edge; of windows that are not over nothing is told.
    pub fn release_all(&mut self, out: impl FnMut(Consented)) {
        self.windows_due = None;
        self.tail.clear();
        self.release(Moment(i64::MAX), out);
    }

    #[cold]
    fn close_windows(&mut self, moment: Moment) {
        self.windows_due = None;
        for at in 0..self.stages.len() {
            loop {
                self.frame += 1;
                let now = self.now(moment);
                let limits = &mut Limits { thinnings: &mut self.thinnings, budgets: &mut self.budgets };
                let Some(figure) = self.stages[at].next(now, limits) else { break };
                match (figure, self.stages[at].transform.trim_ends) {
                    (Some((due, sample)), None) => self.hold(due, sample),
                    (Some((due, sample)), Some(ends)) => {
                        self.tail.put(moment.plus_us(ends.last_us), due, sample);
                    }
                    (None, _) => {}
                }
            }
            self.windows_due = sooner(self.windows_due, self.stages[at].due(self.offset_us));
        }
    }

    /// To be let out when it is due.
    fn hold(&mut self, due: Moment, sample: Consented) {
        if !self.held.put(due, sample)
            && let Some(rules) = self.flows.get(sample.flow.index())
        {
            *self.lost.entry((rules.flow, Lost::Full)).or_default() += 1;
        }
    }

    /// When [`Self::release`] has something to do.
    #[must_use]
    #[inline]
    pub fn next_due(&self) -> Option<Moment> {
        sooner(self.held.due(), self.windows_due)
    }

    /// Samples that were let through and are gone since this was last asked, by flow.
    pub fn take_lost(&mut self) -> BTreeMap<(FlowId, Lost), u64> {
        std::mem::take(&mut self.lost)
    }

    /// Wall time less moment has changed: edges of time lie by wall time.
    pub fn set_offset(&mut self, offset_us: i64) {
        if offset_us == self.offset_us {
            return;
        }
        self.windows_due = None;
        self.stages.iter_mut().for_each(Stages::step);
        // Its stamps may lie on edges of the old clock.
        self.tail.clear();
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

/// By leaf: how many routes it has if all of its rules let something through. A longitude stands for its latitude's.
fn routes_at_most(effective: &Effective, leaves: &Leaves) -> Vec<usize> {
    let mut routes = vec![0; leaves.len()];
    for rule in effective.flows.iter().flat_map(|rules| &rules.signals) {
        if let Some(routes) = routes.get_mut(rule.leaf.0 as usize) {
            *routes += 1;
        }
    }
    routes
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

/// The earlier of two, if there are any.
#[inline]
fn sooner(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What a rule needs that is made once.
struct Steps {
    windows: Option<Windows>,
    quantiser: Option<Quantiser>,
    geo: Option<Geo>,
    trigger: Option<Trigger>,
}

impl Steps {
    /// `None` if a number has too many digits, or a place is not whole: then nothing may leave.
    fn new(rule: &SignalRules, signals: &[SignalRules], leaves: &Leaves) -> Option<Self> {
        let (transform, recorded) = (rule.coded(), rule.recorded());
        let windows = match transform.aggregate {
            Some(aggregate) => Some(Windows::new(aggregate, recorded)?),
            None => None,
        };
        let quantiser = match transform.grid() {
            Some(grid) => Some(Quantiser::new(transform.aggregated(recorded), grid)?),
            None => None,
        };
        let geo = match transform.geo_cell {
            Some(resolution) => {
                let other = atom::partner(signals, rule)?;
                let together = leaves.get(rule.leaf)?.same_frames(leaves.get(other.leaf)?);
                let apart_us = if together { 0 } else { GEO_PAIR_US_MAX };
                Some(Geo::new(resolution, apart_us, recorded, other.recorded()))
            }
            None => None,
        };
        let trigger = match transform.threshold {
            Some(threshold) => Some(Trigger::new(threshold, transform.measured(recorded))?),
            None => None,
        };
        Some(Self { windows, quantiser, geo, trigger })
    }
}
