//! The way of a signal of which something else leaves than its readings, or later: all ops that need more than a look
//! at the reading itself. Kept off the way of the others.

use super::super::transform::{
    Aggregate, Bin, Coding, Coordinate, Fix, Period, Quantiser, Resolution, Span, Transform, Trigger, Window,
};
use super::budget::Budgets;
use super::thinning::{Emitted, Thinning};
use super::trip::Trip;
use super::{ALWAYS, Address, Consented, Series, Steps};
use crate::decode::{LeafIndex, Reading, SourceAddress, State};
use crate::limits::{GATE_SOURCES_MAX, HELD_SAMPLES_MAX};
use crate::names::{FlowId, Moment, UtcDay, WallTime};
use std::collections::BTreeMap;

/// The stages of one signal of one flow, in the order in which they come.
#[derive(Debug, Clone)]
pub(super) struct Stages {
    pub(super) flow: FlowId,
    pub(super) leaf: LeafIndex,
    pub(super) transform: Transform,
    pub(super) address: Address,
    /// Nothing of it leaves while the car is in a private place.
    pub(super) private: bool,
    windows: Option<Windows>,
    quantiser: Option<Quantiser>,
    geo: Option<Geo>,
    bucket: Option<Period>,
    trigger: Option<Trigger>,
    /// By sender: whether the value was on the other side of the threshold.
    armed: Vec<(SourceAddress, bool)>,
    thinning: u32,
}

/// Values that are gathered until a window is over.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    aggregate: Aggregate,
    coding: Coding,
    /// Of a histogram the one that is told.
    bin: Option<Bin>,
    /// By sender.
    open: Vec<(SourceAddress, Option<Window>)>,
    /// The window that comes next is not seen from its beginning: the clock stepped, or this began in a trip.
    stepped: bool,
}

/// Two coordinates that become a cell.
#[derive(Debug, Clone)]
pub(super) struct Geo {
    resolution: Resolution,
    /// They may come so far apart, in microseconds; 0: they come in one frame.
    apart_us: u64,
    latitude: Coding,
    longitude: Coding,
    /// By sender.
    fixes: Vec<(SourceAddress, Fix)>,
}

/// What decides at the end: how much was let out before.
pub(super) struct Limits<'a> {
    pub(super) thinnings: &'a mut [Thinning],
    pub(super) budgets: &'a mut Budgets,
}

/// What these stages are for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) flow: FlowId,
    pub(super) leaf: LeafIndex,
    pub(super) address: Address,
    pub(super) thinning: u32,
    pub(super) private: bool,
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
    pub(super) trip: Trip,
    /// The car is in a private place, or may be.
    pub(super) hidden: bool,
}

impl Stages {
    pub(super) fn new(place: Place, transform: &Transform, steps: Steps) -> Self {
        let Place { flow, leaf, address, thinning, private } = place;
        let Steps { windows, quantiser, geo, trigger } = steps;
        let (bucket, armed) = (transform.time_bucket, Vec::new());
        let transform = *transform;
        Self {
            flow,
            leaf,
            transform,
            address,
            private,
            windows,
            quantiser,
            geo,
            bucket,
            trigger,
            armed,
            thinning,
        }
    }

    /// What leaves of a reading, and when at the earliest.
    pub(super) fn take(
        &mut self,
        now: Now,
        reading: &Reading,
        limits: &mut Limits<'_>,
    ) -> Option<(Moment, Consented)> {
        if self.private && now.hidden {
            return None;
        }
        if let Some(ends) = self.transform.trim_ends {
            let (began, _) = now.trip.under(now.moment)?;
            if now.moment.0.saturating_sub(began.0) < ends.first_us {
                return None;
            }
        }
        let Reading { state, bits, source, .. } = *reading;
        let sample = Sample { stamp: now.moment, due: now.moment, state, bits, source };
        if let Some(windows) = &mut self.windows {
            windows.add(now, &sample);
            return None;
        }
        let sample = self.located(self.quantised(sample)?, reading.leaf)?;
        self.decide(now, sample, limits)
    }

    /// When the first of its windows is over; `None` if none is open.
    pub(super) fn due(&self, offset_us: i64) -> Option<Moment> {
        self.windows.as_ref()?.due().map(|end_us| Moment(end_us.saturating_sub(offset_us)))
    }

    /// Of the windows that are over by now, the next: what leaves of it.
    #[expect(clippy::option_option, reason = "whether a window was over, and whether anything leaves of it")]
    pub(super) fn next(&mut self, now: Now, limits: &mut Limits<'_>) -> Option<Option<(Moment, Consented)>> {
        let sample = self.windows.as_mut()?.close(now)?;
        let figure = sample.and_then(|sample| self.quantised(sample));
        Some(figure.and_then(|figure| self.decide(now, figure, limits)))
    }

    /// From the value as it is told: whether, with which stamp, and when.
    fn decide(&mut self, now: Now, sample: Sample, limits: &mut Limits<'_>) -> Option<(Moment, Consented)> {
        let sample = self.crossing(self.bucketed(now, sample))?;
        let Sample { stamp, due, state, bits, source } = sample;
        if self.thinning != ALWAYS {
            let emitted = Emitted { moment: stamp, frame: now.frame, state, source, bits, stale: false };
            if !limits.thinnings[self.thinning as usize].emits(emitted) {
                return None;
            }
        }
        if let Some(most) = self.transform.budget {
            let day = UtcDay::of(WallTime(stamp.0.saturating_add(now.offset_us)));
            if !limits.budgets.take((self.flow, self.leaf), most, day) {
                return None;
            }
        }
        let Address { flow, signal, times } = self.address;
        Some((due, Consented { moment: stamp, bits, flow, signal, times, state, source }))
    }

    /// The next figure of the trip that has ended, if its end was `seen`: what leaves of it.
    #[expect(clippy::option_option, reason = "whether there was a window, and whether anything leaves of it")]
    pub(super) fn close_trip(
        &mut self,
        now: Now,
        seen: bool,
        limits: &mut Limits<'_>,
    ) -> Option<Option<(Moment, Consented)>> {
        let sample = self.windows.as_mut()?.close_trip(now, seen)?;
        let figure = sample.and_then(|sample| self.quantised(sample));
        Some(figure.and_then(|figure| self.decide(now, figure, limits)))
    }

    /// Of the end of a trip nothing is told, and nothing may follow from it: what comes next is compared with none of it.
    pub(super) fn forget_trip(&mut self, thinnings: &mut [Thinning]) {
        if self.transform.trim_ends.is_none() {
            return;
        }
        self.armed.clear();
        if let Some(windows) = &mut self.windows {
            windows.open.clear();
        }
        if let Some(thinning) = thinnings.get_mut(self.thinning as usize) {
            thinning.last.iter_mut().for_each(|last| last.stale = true);
        }
    }

    /// The clock stepped: what was gathered by the old one is in no window of the new one.
    pub(super) fn step(&mut self) {
        if let Some(windows) = &mut self.windows {
            windows.step();
        }
    }

    /// These are new: of a trip that goes on they have not seen the beginning.
    pub(super) fn begin_within(&mut self, trip: Trip) {
        if let Some(windows) = &mut self.windows {
            windows.stepped = windows.aggregate.window == Span::Trip && matches!(trip, Trip::Under { .. });
        }
    }

    fn quantised(&self, sample: Sample) -> Option<Sample> {
        let bits = match (&self.quantiser, sample.state) {
            (Some(quantiser), State::Value) => quantiser.cell(sample.bits)?.cast_unsigned(),
            (None, State::Value) => sample.bits,
            _ => 0,
        };
        Some(Sample { bits, ..sample })
    }

    fn located(&mut self, sample: Sample, leaf: LeafIndex) -> Option<Sample> {
        let Some(geo) = &mut self.geo else { return Some(sample) };
        let coordinate = if leaf == self.leaf { Coordinate::Latitude } else { Coordinate::Longitude };
        let bits = geo.take(coordinate, &sample)?;
        Some(Sample { bits, ..sample })
    }

    fn bucketed(&self, now: Now, sample: Sample) -> Sample {
        let Some(bucket) = self.bucket else { return sample };
        let edge = |moment: Moment| {
            Moment(bucket.edge_us(moment.0.saturating_add(now.offset_us)).saturating_sub(now.offset_us))
        };
        // The bucket in which it would be let out otherwise: a window's end on an edge belongs to what is over by then.
        let over = if sample.due > sample.stamp { sample.due.plus_us(-1) } else { sample.due };
        let due = sample.due.max(edge(over).plus_us(bucket.us()));
        Sample { stamp: edge(sample.stamp), due, ..sample }
    }

    /// Of more senders than can be remembered none is.
    fn crossing(&mut self, sample: Sample) -> Option<Sample> {
        let Some(trigger) = &self.trigger else { return Some(sample) };
        if sample.state != State::Value {
            return None;
        }
        let armed = of_sender(&mut self.armed, sample.source)?;
        trigger.crosses(armed, sample.bits).then_some(Sample { bits: 1, ..sample })
    }

    pub(super) fn series(&self) -> (FlowId, Series) {
        (self.flow, (self.leaf, self.transform.figure()))
    }

    /// Goes on where `old` stood.
    pub(super) fn inherit(&mut self, old: &Self) {
        self.armed.clone_from(&old.armed);
        if let (Some(windows), Some(old)) = (&mut self.windows, &old.windows) {
            windows.open.clone_from(&old.open);
            windows.stepped = old.stepped;
        }
    }
}

impl Windows {
    /// `None` if a number has too many digits; then nothing may leave.
    pub(super) fn new(aggregate: Aggregate, coding: Coding) -> Option<Self> {
        Some(Self { aggregate, coding, bin: aggregate.bin(coding)?, open: Vec::new(), stepped: false })
    }

    /// What is no value does not count. Of more senders than can be remembered nothing is told.
    fn add(&mut self, now: Now, sample: &Sample) {
        if sample.state != State::Value {
            return;
        }
        let wall_us = |moment: Moment| moment.0.saturating_add(now.offset_us);
        let (begin_us, seen) = match (self.aggregate.window, now.trip.under(now.moment)) {
            (Span::Time(period), _) => (period.edge_us(wall_us(now.moment)), true),
            (Span::Trip, Some((began, whole))) => (wall_us(began), whole),
            (Span::Trip, None) => return,
        };
        let partial = self.stepped || !seen;
        let Some(window) = of_sender(&mut self.open, sample.source) else { return };
        let window = window.get_or_insert_with(|| Window::new(begin_us, partial));
        if window.begin_us == begin_us {
            window.add(self.coding, self.bin.as_ref(), sample.bits);
        }
    }

    /// The end of the one that began first: wall time in microseconds; `None` if that is not known before.
    fn due(&self) -> Option<i64> {
        let Span::Time(period) = self.aggregate.window else { return None };
        let ends = self.open.iter().filter_map(|(_, window)| window.map(|window| window.begin_us));
        ends.min().map(|begin_us| begin_us.saturating_add(period.us()))
    }

    /// Takes out a window that is over: its figure, stamped with its beginning, if there is one to be told.
    #[expect(clippy::option_option, reason = "whether a window was over, and whether it is told")]
    fn close(&mut self, now: Now) -> Option<Option<Sample>> {
        let Span::Time(period) = self.aggregate.window else { return None };
        let length_us = period.us();
        let wall_us = now.moment.0.saturating_add(now.offset_us);
        let is_over = |window: &Window| window.begin_us.saturating_add(length_us) <= wall_us;
        let (source, window) =
            self.open.iter_mut().find(|(_, window)| window.as_ref().is_some_and(is_over))?;
        let (source, window) = (*source, window.take()?);
        self.stepped = false;
        let stamp = Moment(window.begin_us.saturating_sub(now.offset_us));
        let sample =
            |bits| Sample { stamp, due: stamp.plus_us(length_us), state: State::Value, bits, source };
        Some(window.figure(&self.aggregate).map(sample))
    }

    /// Takes out the next window of a trip that has ended: told if its end was `seen`, stamped with its beginning.
    #[expect(clippy::option_option, reason = "whether there was a window, and whether it is told")]
    fn close_trip(&mut self, now: Now, seen: bool) -> Option<Option<Sample>> {
        if self.aggregate.window != Span::Trip {
            return None;
        }
        let open = self.open.iter_mut().find_map(|(source, window)| Some((*source, window.take()?)));
        let Some((source, window)) = open else {
            self.stepped = false;
            return None;
        };
        let stamp = Moment(window.begin_us.saturating_sub(now.offset_us));
        let sample = |bits| Sample { stamp, due: now.moment, state: State::Value, bits, source };
        Some(window.figure(&self.aggregate).filter(|_| seen).map(sample))
    }

    fn step(&mut self) {
        self.open.clear();
        self.stepped = true;
    }
}

impl Geo {
    pub(super) fn new(resolution: Resolution, apart_us: u64, latitude: Coding, longitude: Coding) -> Self {
        Self { resolution, apart_us, latitude, longitude, fixes: Vec::new() }
    }

    /// The cell, if this makes a position whole.
    fn take(&mut self, coordinate: Coordinate, sample: &Sample) -> Option<u64> {
        let coding = match coordinate {
            Coordinate::Latitude => self.latitude,
            Coordinate::Longitude => self.longitude,
        };
        let degrees = (sample.state == State::Value).then(|| coding.value(sample.bits));
        let fix = of_sender(&mut self.fixes, sample.source)?;
        fix.take((self.resolution, self.apart_us), coordinate, (sample.stamp, degrees))
    }
}

/// What is kept of this sender; `None` if there are too many to remember: then nothing of it leaves.
fn of_sender<T: Default>(all: &mut Vec<(SourceAddress, T)>, source: SourceAddress) -> Option<&mut T> {
    let at = match all.iter().position(|(known, _)| *known == source) {
        Some(at) => at,
        None if all.len() < GATE_SOURCES_MAX => {
            all.push((source, T::default()));
            all.len() - 1
        }
        None => return None,
    };
    Some(&mut all[at].1)
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
