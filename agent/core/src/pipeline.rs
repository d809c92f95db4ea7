//! Joins decode, consent and batch: frames in, closed batches out. One thread owns it; nothing is locked and nothing
//! is allocated per frame.

use crate::batch::{Batch, ClockQuality, LossReason, OpenBatch, TimeMapping};
use crate::consent::effective::FlowRules;
use crate::consent::event::Recorder;
use crate::consent::gate::{LastRun, Lost, Spending};
use crate::consent::zone::Place;
use crate::consent::{Consented, Gate};
use crate::decode::plan::Outcome;
use crate::decode::{Decoder, Leaves, Plan, Reading};
use crate::frame::Frame;
use crate::names::{FlowId, Moment, PolicyVersion};
use std::collections::BTreeMap;
use std::sync::Arc;

pub mod watch;

use watch::Watch;

/// What comes in.
#[derive(Debug)]
pub enum Event<'a> {
    /// A frame from a bus. Moments do not run far backwards; where they do, `rate` holds readings back.
    Frame(&'a Frame),
    /// No frame came for a while: the time line has reached this moment.
    Time(Moment),
    /// What may leave has changed.
    Swap(Box<Compiled>),
    /// How moments map to wall time has changed.
    Mapping(TimeMapping),
    /// The end: close what is open.
    Flush,
}

/// A plan, a gate and a watch that belong together.
#[derive(Debug, Default)]
pub struct Compiled {
    /// Extracts only what the gate lets through, and what is watched.
    pub plan: Plan,
    /// What may leave.
    pub gate: Gate,
    /// What is looked at for the car's own decisions.
    pub watches: Watches,
}

/// Signals that are looked at for what the car decides, and that go nowhere.
#[derive(Debug, Default, Clone)]
pub struct Watches {
    /// When to send.
    pub only_when: Option<Watch>,
    /// When a trip begins and ends.
    pub trip: Option<Watch>,
    /// Whether the car is in a private place.
    pub place: Option<Place>,
}

impl Compiled {
    /// With the plan that `gate` and `watches` need, and nothing else in it. Trips and places are looked at only for a
    /// gate that needs them, and trips while something is held back until one ends.
    #[must_use]
    pub fn new(leaves: &Leaves, gate: Gate, mut watches: Watches) -> Self {
        let mut needed = gate.needed();
        watches.trip = watches.trip.filter(|_| gate.looks_at_trips());
        let both = [&watches.only_when, &watches.trip].into_iter().flatten();
        needed.extend(both.map(Watch::leaf));
        watches.place = watches.place.filter(|_| gate.needs_place());
        needed.extend(watches.place.iter().flat_map(Place::leaves));
        Self { plan: Plan::compile(leaves, &needed), gate, watches }
    }
}

/// What comes out.
#[derive(Debug)]
pub enum Output {
    /// A closed batch, to be sealed.
    Batch(Batch),
    /// Samples that consent had let through and that are gone; to be declared.
    Lost {
        /// The flow, which goes on.
        flow: FlowId,
        /// Why. Here: the rules of its open batch were narrowed.
        reason: LossReason,
        /// How many.
        samples: u64,
    },
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames in.
    pub frames: u64,
    /// Of these, not needed by any grant.
    pub frames_not_needed: u64,
    /// Frames shorter than their database says.
    pub frames_short: u64,
    /// Messages of several frames (J1939) that were put together.
    pub messages_whole: u64,
    /// Such messages of which a frame was missing, late or refused.
    pub messages_broken: u64,
    /// Readings decoded.
    pub readings: u64,
    /// Samples let through, over all flows.
    pub samples: u64,
    /// Samples of open batches dropped because their flow ended.
    pub samples_ended: u64,
    /// Samples that were over their budget of the day.
    pub samples_over_budget: u64,
    /// Samples for which there was no room while it was not known whether they are of the end of a trip.
    pub samples_no_tail: u64,
}

/// From frame to closed batch.
#[derive(Debug)]
pub struct Pipeline {
    decoder: Decoder,
    gate: Gate,
    watches: Watches,
    open: Open,
    readings: Vec<Reading>,
    counts: Counts,
}

/// The open batches of the gate's flows, by slot.
#[derive(Debug)]
struct Open {
    batches: Vec<Option<OpenBatch>>,
    flows: Vec<Arc<FlowRules>>,
    /// By slot, of the flows that wait for an event; empty if none does.
    recorders: Vec<Option<Recorder>>,
    /// The last event of flows that were here before: a swap does not bring the next one forward.
    happened: BTreeMap<FlowId, Moment>,
    policy_version: PolicyVersion,
    mapping: TimeMapping,
    column_bytes_max: usize,
    next_due: Option<Moment>,
}

impl Open {
    /// All empty, for the flows of this gate. What a flow recorded for its event goes on under the same rules only.
    fn begin(&mut self, gate: &Gate) {
        let mut old = BTreeMap::new();
        for (rules, recorder) in self.flows.iter().zip(self.recorders.drain(..)) {
            if let Some(recorder) = recorder {
                self.happened.extend(recorder.last().map(|last| (rules.flow, last)));
                old.insert(rules.flow, (Arc::clone(rules), recorder));
            }
        }
        self.flows = gate.flows().to_vec();
        if self.flows.iter().any(|rules| rules.event.is_some()) {
            let taken_up = |rules| taken_up(rules, &mut old, &self.happened);
            self.recorders = self.flows.iter().map(taken_up).collect();
        }
        // What was switched off in the car does not leave with an event that comes later.
        for (rules, recorder) in self.flows.iter().zip(&mut self.recorders) {
            let leaf = |sample: &Consented| rules.signals.get(usize::from(sample.signal())).map(|it| it.leaf);
            let reads = |sample: &Consented| leaf(sample).is_some_and(|leaf| gate.reads(leaf));
            recorder.iter_mut().for_each(|recorder| recorder.keep_only(reads));
        }
        self.policy_version = gate.policy_version();
        self.batches.clear();
        self.batches.resize_with(self.flows.len(), || None);
        self.next_due = None;
    }

    /// A sample that consent let through: into its flow's batch, or kept until the flow's event.
    #[inline]
    fn take(&mut self, sample: &Consented, (now, counts): (Moment, &mut Counts), out: &mut Vec<Output>) {
        if self.recorders.is_empty() {
            counts.samples += 1;
            out.extend(self.push(sample, now).map(Output::Batch));
        } else {
            self.record(sample, (now, counts), out);
        }
    }

    #[cold]
    fn record(&mut self, sample: &Consented, (now, counts): (Moment, &mut Counts), out: &mut Vec<Output>) {
        let slot = sample.flow().index();
        let mut pass = |open: &mut Self, sample: &Consented| {
            counts.samples += 1;
            out.extend(open.push(sample, now).map(Output::Batch));
        };
        let Some(mut recorder) = self.recorders.get_mut(slot).and_then(Option::take) else {
            return pass(self, sample);
        };
        let lost = recorder.take(sample, |sample| pass(self, sample));
        self.recorders[slot] = Some(recorder);
        if lost > 0 {
            out.push(Output::Lost {
                flow: self.flows[slot].flow,
                reason: LossReason::Overload,
                samples: lost,
            });
        }
    }

    /// Adds a sample to its flow's batch; the batch if it is full by that.
    #[inline]
    fn push(&mut self, sample: &Consented, now: Moment) -> Option<Batch> {
        let slot = sample.flow().index();
        let full = match self.batches.get_mut(slot)? {
            Some(open) => open.push(sample),
            None => self.begin_batch(slot, sample, now),
        };
        if full { self.batches[slot].take().map(OpenBatch::close) } else { None }
    }

    #[cold]
    fn begin_batch(&mut self, slot: usize, first: &Consented, now: Moment) -> bool {
        let mut open = self.new_batch(slot, first.moment(), now);
        let full = open.push(first);
        self.batches[slot] = Some(open);
        full
    }

    /// Whether what is collected under `rules` from now on may go into `open`.
    fn suits(&self, open: &OpenBatch, rules: &FlowRules) -> bool {
        **open.rules() == *rules && open.policy_version() == self.policy_version
    }

    /// Goes on with a batch of the gate before.
    fn keep(&mut self, slot: usize, open: OpenBatch) {
        let due = open.due();
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        self.batches[slot] = Some(open);
    }

    /// Its time zero is `base`, and it is as old as from `now` on: what was held back has an older stamp.
    fn new_batch(&mut self, slot: usize, base: Moment, now: Moment) -> OpenBatch {
        let rules = self.flows[slot].clone();
        let open = OpenBatch::new(rules, self.policy_version, self.mapping, base, self.column_bytes_max);
        let open = open.opened(now);
        let due = open.due();
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        open
    }
}

impl Pipeline {
    /// Lets nothing through until the first swap.
    #[must_use]
    pub fn new(mapping: TimeMapping, column_bytes_max: usize) -> Self {
        let open = Open {
            batches: Vec::new(),
            flows: Vec::new(),
            recorders: Vec::new(),
            happened: BTreeMap::new(),
            policy_version: PolicyVersion::default(),
            mapping,
            column_bytes_max,
            next_due: None,
        };
        let (decoder, mut gate) = (Decoder::default(), Gate::default());
        gate.set_offset(mapping.offset_us);
        Self {
            decoder,
            gate,
            watches: Watches::default(),
            open,
            readings: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The same for a recorded log, whose stamps are the time until a live bus says otherwise.
    #[must_use]
    pub fn of_a_log(column_bytes_max: usize) -> Self {
        Self::new(TimeMapping { offset_us: 0, quality: ClockQuality::Replay }, column_bytes_max)
    }

    /// Takes one event; appends what comes of it to `out`.
    #[inline]
    pub fn on_event(&mut self, event: Event<'_>, out: &mut Vec<Output>) {
        match event {
            Event::Frame(frame) => self.on_frame(frame, out),
            Event::Time(now) => self.on_time(now, out),
            Event::Swap(compiled) => self.swap(*compiled, out),
            Event::Mapping(mapping) => self.map(mapping, out),
            Event::Flush => {
                let Self { gate, open, counts, .. } = self;
                gate.release_all(|sample| open.take(&sample, (sample.moment(), &mut *counts), out));
                self.flush(out);
            }
        }
    }

    /// When an open batch has to be closed at the latest, or something is let out that is held back; `Event::Time` does
    /// both.
    #[must_use]
    #[inline]
    pub fn next_due(&self) -> Option<Moment> {
        match (self.open.next_due, self.gate.next_due()) {
            (Some(batch), Some(held)) => Some(batch.min(held)),
            (batch, held) => batch.or(held),
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let long = self.decoder.transport().counts();
        Counts {
            messages_whole: long.whole,
            messages_broken: long.broken,
            samples_over_budget: self.gate.over_budget(),
            samples_no_tail: self.gate.tail_dropped(),
            ..self.counts
        }
    }

    /// What may leave now.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Takes up what the last run emitted, before the first frame. See [`Gate::recall`].
    pub fn recall(&mut self, last: &LastRun, now: Moment) {
        self.gate.recall(last, now);
    }

    /// Takes up what earlier runs spent of their budgets, before the first frame.
    pub fn recall_spending(&mut self, past: &Spending) {
        self.gate.recall_spending(past);
    }

    /// Whether a trip goes on, as its signal said last; `None` if it is not looked at, or said nothing since what may leave
    /// has changed.
    #[must_use]
    pub fn trip_goes_on(&self) -> Option<bool> {
        self.watches.trip.as_ref().and_then(Watch::holds)
    }

    /// Whether the watched signal is as it must be; `None` if none is watched, or it was not seen, or has no value.
    #[must_use]
    pub fn signal_holds(&self) -> Option<bool> {
        self.watches.only_when.as_ref().and_then(Watch::holds)
    }

    fn on_frame(&mut self, frame: &Frame, out: &mut Vec<Output>) {
        self.counts.frames += 1;
        if self.next_due().is_some_and(|due| frame.moment >= due) {
            self.on_time(frame.moment, out);
        }
        self.readings.clear();
        match self.decoder.decode(frame, &mut self.readings) {
            Outcome::NotNeeded => {
                self.counts.frames_not_needed += 1;
                return;
            }
            Outcome::Short(_) => self.counts.frames_short += 1,
            Outcome::Decoded => {}
        }
        self.counts.readings += self.readings.len() as u64;
        self.look(frame.moment);
        let Self { gate, readings, open, counts, .. } = self;
        gate.pass(frame.moment, readings, |sample| open.take(&sample, (frame.moment, &mut *counts), out));
    }

    #[inline]
    fn look(&mut self, now: Moment) {
        if let Some(watch) = &mut self.watches.only_when {
            watch.look(&self.readings);
        }
        if let Some(watch) = &mut self.watches.trip
            && watch.look(&self.readings)
        {
            self.gate.on_trip(watch.holds(), now);
        }
        if let Some(place) = &mut self.watches.place
            && let Some(inside) = place.look(&self.readings, now)
        {
            self.gate.on_place(inside, now);
        }
    }

    fn on_time(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.release(now, out);
        self.close_due(now, out);
        self.declare(out);
    }

    /// What was held back until now goes into the open batches.
    fn release(&mut self, now: Moment, out: &mut Vec<Output>) {
        let Self { gate, open, counts, .. } = self;
        gate.release(now, |sample| open.take(&sample, (now, &mut *counts), out));
    }

    /// Says what the gate could not hold back any longer.
    fn declare(&mut self, out: &mut Vec<Output>) {
        for ((flow, lost), samples) in self.gate.take_lost() {
            let reason = match lost {
                Lost::Full => LossReason::Overload,
                Lost::Narrowed => LossReason::Narrowed,
            };
            out.push(Output::Lost { flow, reason, samples });
        }
    }

    /// What was collected by the old clock is closed under it: a batch has one clock, and stamps that lie on the edges
    /// of time stay there.
    fn map(&mut self, mapping: TimeMapping, out: &mut Vec<Output>) {
        if mapping.offset_us != self.open.mapping.offset_us {
            self.flush(out);
            self.open.recorders.iter_mut().flatten().for_each(|recorder| recorder.keep_only(|_| false));
            self.gate.set_offset(mapping.offset_us);
        }
        self.open.mapping = mapping;
    }

    fn close_due(&mut self, now: Moment, out: &mut Vec<Output>) {
        for batch in &mut self.open.batches {
            if batch.as_ref().is_some_and(|open| now >= open.due()) {
                out.extend(batch.take().map(|due| Output::Batch(due.close())));
            }
        }
        self.open.next_due = self.open.batches.iter().flatten().map(OpenBatch::due).min();
    }

    fn flush(&mut self, out: &mut Vec<Output>) {
        let open = self.open.batches.iter_mut().filter_map(Option::take);
        out.extend(open.map(|open| Output::Batch(open.close())));
        self.open.next_due = None;
    }

    /// What was collected goes on only if the new rules let it out too: an ended flow's open batch is dropped
    /// (invariant 5), a narrowed one's is dropped and declared, one of other rules is closed under those it was made with.
    /// Where nothing changed for a flow its batch stays open: a swap for another one is not to be seen in it.
    fn swap(&mut self, compiled: Compiled, out: &mut Vec<Output>) {
        let Compiled { plan, mut gate, mut watches } = compiled;
        gate.inherit(&mut self.gate);
        if let (Some(new), Some(old)) = (&mut watches.only_when, &self.watches.only_when) {
            new.inherit(old);
        }
        self.watches = watches;
        let before = std::mem::take(&mut self.open.batches);
        self.open.begin(&gate);
        for open in before.into_iter().flatten() {
            match find(gate.flows(), open.rules().flow) {
                None => {
                    self.counts.samples_ended += u64::from(open.samples());
                    gate.dropped(open.rules().flow, open.base());
                }
                Some((_, new)) if new.narrower_than(open.rules()) => {
                    let samples = open.samples().into();
                    out.push(Output::Lost { flow: new.flow, reason: LossReason::Narrowed, samples });
                }
                Some((slot, new)) if self.open.suits(&open, new) => self.open.keep(slot, open),
                Some(_) => out.push(Output::Batch(open.close())),
            }
        }
        self.decoder.swap(plan);
        self.gate = gate;
        self.declare(out);
    }
}

/// The recorder of a flow that waits for an event: the one that it had, if its rules are the same.
fn taken_up(
    rules: &Arc<FlowRules>,
    old: &mut BTreeMap<FlowId, (Arc<FlowRules>, Recorder)>,
    happened: &BTreeMap<FlowId, Moment>,
) -> Option<Recorder> {
    match old.remove(&rules.flow) {
        Some((known, recorder)) if known == *rules => Some(recorder),
        _ => Recorder::new(rules, happened.get(&rules.flow).copied()),
    }
}

fn find(flows: &[Arc<FlowRules>], flow: FlowId) -> Option<(usize, &FlowRules)> {
    flows.iter().map(AsRef::as_ref).enumerate().find(|(_, rules)| rules.flow == flow)
}
