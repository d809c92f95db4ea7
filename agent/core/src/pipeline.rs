//! Joins decode, consent and batch: frames in, closed batches out. One thread owns it; nothing is locked and nothing
//! is allocated per frame.

use crate::batch::{Batch, ClockQuality, LossReason, OpenBatch, TimeMapping};
use crate::consent::effective::FlowRules;
use crate::consent::gate::{LastRun, Lost};
use crate::consent::{Consented, Gate};
use crate::decode::plan::Outcome;
use crate::decode::{Decoder, Leaves, Plan, Reading};
use crate::frame::Frame;
use crate::names::{FlowId, Moment, PolicyVersion};
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
    /// What is looked at for the car's own decision when to send.
    pub watch: Option<Watch>,
}

impl Compiled {
    /// With the plan that `gate` and `watch` need, and nothing else in it.
    #[must_use]
    pub fn new(leaves: &Leaves, gate: Gate, watch: Option<Watch>) -> Self {
        let mut needed = gate.needed();
        needed.extend(watch.as_ref().map(Watch::leaf));
        Self { plan: Plan::compile(leaves, &needed), gate, watch }
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
}

/// From frame to closed batch.
#[derive(Debug)]
pub struct Pipeline {
    decoder: Decoder,
    gate: Gate,
    watch: Option<Watch>,
    open: Open,
    readings: Vec<Reading>,
    counts: Counts,
}

/// The open batches of the gate's flows, by slot.
#[derive(Debug)]
struct Open {
    batches: Vec<Option<OpenBatch>>,
    flows: Vec<Arc<FlowRules>>,
    policy_version: PolicyVersion,
    mapping: TimeMapping,
    column_bytes_max: usize,
    next_due: Option<Moment>,
}

impl Open {
    /// All empty, for the flows of this gate.
    fn begin(&mut self, gate: &Gate) {
        self.flows = gate.flows().to_vec();
        self.policy_version = gate.policy_version();
        self.batches.clear();
        self.batches.resize_with(self.flows.len(), || None);
        self.next_due = None;
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
            policy_version: PolicyVersion::default(),
            mapping,
            column_bytes_max,
            next_due: None,
        };
        let (decoder, mut gate) = (Decoder::default(), Gate::default());
        gate.set_offset(mapping.offset_us);
        Self { decoder, gate, watch: None, open, readings: Vec::new(), counts: Counts::default() }
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
                gate.release_all(|sample| {
                    counts.samples += 1;
                    out.extend(open.push(&sample, sample.moment()).map(Output::Batch));
                });
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
        Counts { messages_whole: long.whole, messages_broken: long.broken, ..self.counts }
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

    /// Whether the watched signal is as it must be; `None` if none is watched, or it was not seen, or has no value.
    #[must_use]
    pub fn signal_holds(&self) -> Option<bool> {
        self.watch.as_ref().and_then(Watch::holds)
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
        if let Some(watch) = &mut self.watch {
            watch.look(&self.readings);
        }
        let Self { gate, readings, open, counts, .. } = self;
        gate.pass(frame.moment, readings, |sample| {
            counts.samples += 1;
            out.extend(open.push(&sample, frame.moment).map(Output::Batch));
        });
    }

    fn on_time(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.release(now, out);
        self.close_due(now, out);
        self.declare(out);
    }

    /// What was held back until now goes into the open batches.
    fn release(&mut self, now: Moment, out: &mut Vec<Output>) {
        let Self { gate, open, counts, .. } = self;
        gate.release(now, |sample| {
            counts.samples += 1;
            out.extend(open.push(&sample, now).map(Output::Batch));
        });
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
    /// (invariant 5), a narrowed one's is dropped and declared, any other is closed under the rules it was made with.
    fn swap(&mut self, compiled: Compiled, out: &mut Vec<Output>) {
        let Compiled { plan, mut gate, mut watch } = compiled;
        gate.inherit(&mut self.gate);
        if let (Some(new), Some(old)) = (&mut watch, &self.watch) {
            new.inherit(old);
        }
        self.watch = watch;
        for open in self.open.batches.drain(..).flatten() {
            match find(gate.flows(), open.rules().flow) {
                None => self.counts.samples_ended += u64::from(open.samples()),
                Some(new) if new.narrower_than(open.rules()) => {
                    let samples = open.samples().into();
                    out.push(Output::Lost { flow: new.flow, reason: LossReason::Narrowed, samples });
                }
                Some(_) => out.push(Output::Batch(open.close())),
            }
        }
        self.open.begin(&gate);
        self.decoder.swap(plan);
        self.gate = gate;
        self.declare(out);
    }
}

fn find(flows: &[Arc<FlowRules>], flow: FlowId) -> Option<&FlowRules> {
    flows.iter().map(AsRef::as_ref).find(|rules| rules.flow == flow)
}
