//! The way of a signal of which something else leaves than its readings, or later: all ops that need more than a look
//! at the reading itself. Kept off the way of the others.

use super::super::transform::{Period, Quantiser, Transform, Trigger};
use super::thinning::{Emitted, Thinning};
use super::{ALWAYS, Address, Consented};
use crate::decode::{LeafIndex, Reading, SourceAddress, State};
use crate::limits::{GATE_SOURCES_MAX, HELD_SAMPLES_MAX};
use crate::names::{FlowId, Moment};
use std::collections::BTreeMap;

/// The stages of one signal of one flow, in the order in which they come.
#[derive(Debug, Clone)]
pub(super) struct Stages {
    pub(super) flow: FlowId,
    pub(super) leaf: LeafIndex,
    pub(super) transform: Transform,
    pub(super) address: Address,
    quantiser: Option<Quantiser>,
    bucket: Option<Period>,
    trigger: Option<Trigger>,
    /// By sender: whether the value was on the other side of the threshold.
    armed: Vec<(SourceAddress, bool)>,
    thinning: u32,
}

/// What these stages are for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) flow: FlowId,
    pub(super) leaf: LeafIndex,
    pub(super) address: Address,
    pub(super) thinning: u32,
}

/// A sample on its way through.
#[derive(Debug, Clone, Copy)]
struct Sample {
    stamp: Moment,
    /// Not let out before.
    due: Moment,
    state: State,
    bits: u64,
    source: SourceAddress,
}

/// When it is: on the time line, as wall time, and in which frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) moment: Moment,
    pub(super) frame: u64,
    /// Wall time less moment.
    pub(super) offset_us: i64,
}

impl Stages {
    pub(super) fn new(
        place: Place,
        transform: Transform,
        quantiser: Option<Quantiser>,
        trigger: Option<Trigger>,
    ) -> Self {
        let Place { flow, leaf, address, thinning } = place;
        let bucket = transform.time_bucket;
        Self { flow, leaf, transform, address, quantiser, bucket, trigger, armed: Vec::new(), thinning }
    }

    /// What leaves of a reading, and when at the earliest.
    pub(super) fn take(
        &mut self,
        now: Now,
        reading: &Reading,
        thinnings: &mut [Thinning],
    ) -> Option<(Moment, Consented)> {
        let Reading { state, bits, source, .. } = *reading;
        let sample = self.quantised(Sample { stamp: now.moment, due: now.moment, state, bits, source })?;
        let sample = self.crossing(self.bucketed(now, sample))?;
        let Sample { stamp, due, state, bits, source } = sample;
        if self.thinning != ALWAYS {
            let emitted = Emitted { moment: stamp, frame: now.frame, state, source, bits, stale: false };
            if !thinnings[self.thinning as usize].emits(emitted) {
                return None;
            }
        }
        let Address { flow, signal, times } = self.address;
        Some((due, Consented { moment: stamp, bits, flow, signal, times, state, source }))
    }

    fn quantised(&self, sample: Sample) -> Option<Sample> {
        let bits = match (&self.quantiser, sample.state) {
            (Some(quantiser), State::Value) => quantiser.cell(sample.bits)?.cast_unsigned(),
            (None, State::Value) => sample.bits,
            _ => 0,
        };
        Some(Sample { bits, ..sample })
    }

    fn bucketed(&self, now: Now, sample: Sample) -> Sample {
        let Some(bucket) = self.bucket else { return sample };
        let edge = bucket.edge_us(sample.stamp.0.saturating_add(now.offset_us));
        let stamp = Moment(edge.saturating_sub(now.offset_us));
        Sample { stamp, due: sample.due.max(stamp.plus_us(bucket.us())), ..sample }
    }

    /// Of more senders than can be remembered none is.
    fn crossing(&mut self, sample: Sample) -> Option<Sample> {
        let Some(trigger) = &self.trigger else { return Some(sample) };
        if sample.state != State::Value {
            return None;
        }
        let at = self.armed.iter().position(|(source, _)| *source == sample.source).or_else(|| {
            let room = self.armed.len() < GATE_SOURCES_MAX;
            room.then(|| {
                self.armed.push((sample.source, false));
                self.armed.len() - 1
            })
        })?;
        trigger.crosses(&mut self.armed[at].1, sample.bits).then_some(Sample { bits: 1, ..sample })
    }

    /// Whether these go on where the old ones stood.
    pub(super) fn follows(&self, old: &Self) -> bool {
        (self.flow, self.leaf, self.transform) == (old.flow, old.leaf, old.transform)
    }

    pub(super) fn inherit(&mut self, old: &Self) {
        self.armed.clone_from(&old.armed);
    }
}

/// What is let through and not let out yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    samples: BTreeMap<(Moment, u64), Consented>,
    count: u64,
}

impl Held {
    /// False if there is no room.
    pub(super) fn put(&mut self, due: Moment, sample: Consented) -> bool {
        let room = self.samples.len() < HELD_SAMPLES_MAX;
        if room {
            self.count += 1;
            self.samples.insert((due, self.count), sample);
        }
        room
    }

    /// The next that is due by now.
    pub(super) fn next(&mut self, now: Moment) -> Option<Consented> {
        let first = self.samples.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(super) fn due(&self) -> Option<Moment> {
        self.samples.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Moment, Consented)> {
        self.samples.iter().map(|((due, _), sample)| (*due, *sample))
    }

    /// The clock stepped: stamps stay on the edges on which they lie by wall time.
    pub(super) fn shift(&mut self, by_us: i64) {
        for sample in self.samples.values_mut() {
            sample.moment = sample.moment.plus_us(by_us);
        }
    }
}
