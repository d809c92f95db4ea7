//! The open batch of one flow: a column a signal, times kept once for signals that come together.

use super::TimeMapping;
use crate::consent::effective::{FlowRules, SignalRules};
use crate::consent::gate::Consented;
use crate::consent::{SourceAddress, State, ValueType};
use crate::limits::{BATCH_SAMPLES_MAX, BATCH_SOURCES_MAX};
use crate::names::{Moment, PolicyVersion};
use glovebox_proto::column::{StateEncoder, TimeEncoder, ValueEncoder};
use glovebox_proto::v1;
use std::sync::Arc;

/// A sample takes no more: three varints of ten bytes.
const SAMPLE_BYTES_MAX: usize = 30;
/// Adding up a batch's size costs as much as hundreds of samples: where so few more would surely fit, it is full.
const LOOK_SAMPLES_MIN: usize = 16;

/// Samples of one flow under one policy version that are still being collected.
#[derive(Debug)]
pub struct OpenBatch {
    rules: Arc<FlowRules>,
    /// As the rules say: looked at for every sample.
    microseconds: bool,
    policy_version: PolicyVersion,
    mapping: TimeMapping,
    /// Its age counts from here.
    opened: Moment,
    /// Time zero as wall time in the batch's unit.
    zero: i64,
    /// What each sender sent. Off J1939 there is only one.
    parts: Vec<Part>,
    samples: u32,
    /// With so many samples the size is looked at again: before that it cannot be too large.
    look_at: u32,
    bytes_max: usize,
}

/// The samples of one sender.
#[derive(Debug)]
struct Part {
    source: SourceAddress,
    times: Vec<OpenTimes>,
    columns: Vec<OpenColumn>,
}

#[derive(Debug, Default)]
struct OpenTimes {
    encoder: TimeEncoder,
    last: Moment,
}

#[derive(Debug)]
struct OpenColumn {
    values: ValueEncoder,
    states: StateEncoder,
    count: u32,
    times: u16,
}

/// A closed batch: only made of [`Consented`] samples (invariant 2).
#[derive(Debug)]
pub struct Batch {
    rules: Arc<FlowRules>,
    policy_version: PolicyVersion,
    mapping: TimeMapping,
    base_us: i64,
    times: Vec<Times>,
    columns: Vec<Column>,
    samples: u32,
}

/// A coded time column.
#[derive(Debug, PartialEq, Eq)]
pub struct Times {
    /// How many samples.
    pub count: u32,
    /// As `glovebox_proto::column::TimeEncoder` writes them.
    pub deltas: Vec<u8>,
}

/// A coded column of one signal.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Number in the descriptor.
    pub signal: u16,
    /// Who sent it.
    pub source: SourceAddress,
    /// Index of its times.
    pub times: u32,
    /// As `ValueEncoder` writes them.
    pub values: Vec<u8>,
    /// As `StateEncoder` writes them.
    pub states: Vec<u8>,
}

impl OpenBatch {
    /// An empty batch whose time zero is `base`. It is full at `bytes_max` bytes of columns.
    #[must_use]
    pub fn new(
        rules: Arc<FlowRules>,
        policy_version: PolicyVersion,
        mapping: TimeMapping,
        base: Moment,
        bytes_max: usize,
    ) -> Self {
        let microseconds = rules.microseconds;
        let zero = in_unit(microseconds, mapping, base);
        let parts = Vec::new();
        let mut new = Self {
            rules,
            microseconds,
            policy_version,
            mapping,
            opened: base,
            zero,
            parts,
            samples: 0,
            look_at: 0,
            bytes_max,
        };
        new.look();
        new
    }

    /// Adds a sample of this flow. Returns whether the batch is full.
    #[inline(always)]
    pub fn push(&mut self, sample: &Consented) -> bool {
        let at = match self.parts.first() {
            Some(part) if part.source == sample.source() => 0,
            _ => self.part(sample.source()),
        };
        let part = &mut self.parts[at];
        let group = usize::from(sample.times());
        if group >= part.times.len() {
            part.more_times(group);
        }
        let (times, column) = (&mut part.times[group], &mut part.columns[usize::from(sample.signal())]);
        column.times = sample.times();
        let moment = sample.moment();
        if times.last != moment || times.encoder.count() == column.count {
            times.last = moment;
            times.encoder.push(in_unit(self.microseconds, self.mapping, moment).saturating_sub(self.zero));
        }
        column.pad(times.encoder.count() - 1);
        column.push(sample);
        self.samples += 1;
        self.samples >= self.look_at && self.look()
    }

    /// Where the samples of this sender are.
    #[cold]
    fn part(&mut self, source: SourceAddress) -> usize {
        self.parts.iter().position(|part| part.source == source).unwrap_or_else(|| {
            let columns = self.rules.signals.iter().map(OpenColumn::new).collect();
            self.parts.push(Part { source, times: Vec::new(), columns });
            if self.parts.len() >= BATCH_SOURCES_MAX {
                self.look_at = 0;
            }
            self.parts.len() - 1
        })
    }

    /// Whether it is full; if not, when to look again.
    #[cold]
    fn look(&mut self) -> bool {
        let columns = self.parts.iter().flat_map(|part| &part.columns);
        let columns: usize = columns.map(|c| c.values.len() + c.states.len()).sum();
        let times = self.parts.iter().flat_map(|part| &part.times);
        let times: usize = times.map(|t| t.encoder.len()).sum();
        let fit = self.bytes_max.saturating_sub(columns + times) / SAMPLE_BYTES_MAX;
        let more = u32::try_from(fit).unwrap_or(u32::MAX);
        self.look_at = self.samples.saturating_add(more).min(BATCH_SAMPLES_MAX);
        fit <= LOOK_SAMPLES_MIN || self.samples >= BATCH_SAMPLES_MAX || self.parts.len() >= BATCH_SOURCES_MAX
    }

    /// The same, begun later than its time zero.
    #[must_use]
    pub fn opened(mut self, now: Moment) -> Self {
        self.opened = now;
        self
    }

    /// When it is to be closed at the latest.
    #[must_use]
    pub fn due(&self) -> Moment {
        self.opened.plus_us(self.rules.batch_age_us)
    }

    /// Samples so far.
    #[must_use]
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// The rules it was collected under.
    #[must_use]
    pub fn rules(&self) -> &Arc<FlowRules> {
        &self.rules
    }

    /// Its time zero.
    #[must_use]
    pub fn base(&self) -> Moment {
        let unit = if self.microseconds { 1 } else { 1000 };
        Moment(self.zero.saturating_mul(unit).saturating_sub(self.mapping.offset_us))
    }

    /// The policy under which it was begun.
    #[must_use]
    pub fn policy_version(&self) -> PolicyVersion {
        self.policy_version
    }

    /// Closes it.
    #[must_use]
    pub fn close(self) -> Batch {
        let unit = if self.rules.microseconds { 1 } else { 1000 };
        let base_us = self.zero.saturating_mul(unit);
        let Self { rules, policy_version, mapping, samples, parts, .. } = self;
        let (mut times, mut columns) = (Vec::new(), Vec::new());
        for part in parts {
            part.close(&mut times, &mut columns);
        }
        Batch { rules, policy_version, mapping, base_us, times, columns, samples }
    }
}

impl Part {
    #[cold]
    fn more_times(&mut self, group: usize) {
        self.times.resize_with(group + 1, OpenTimes::default);
    }

    /// Appends its times and its columns.
    fn close(self, times: &mut Vec<Times>, columns: &mut Vec<Column>) {
        // At most as many as senders and signals together: far below 2³².
        let first = u32::try_from(times.len()).unwrap_or(u32::MAX);
        let Self { source, times: open, columns: signals } = self;
        let counts: Vec<u32> = open.iter().map(|t| t.encoder.count()).collect();
        times.extend(
            open.into_iter().map(|mut t| Times { count: t.encoder.count(), deltas: t.encoder.take() }),
        );
        let used = (0u16..).zip(signals).filter(|(_, column)| column.count > 0);
        columns.extend(used.map(|(signal, mut column)| {
            column.pad(counts[usize::from(column.times)]);
            let (values, states) = (column.values.take(), column.states.take());
            Column { signal, source, times: first.saturating_add(column.times.into()), values, states }
        }));
    }
}

/// Wall time in the batch's unit, rounded down.
#[inline]
fn in_unit(microseconds: bool, mapping: TimeMapping, moment: Moment) -> i64 {
    let wall = moment.0.saturating_add(mapping.offset_us);
    if microseconds { wall } else { wall.div_euclid(1000) }
}

impl OpenColumn {
    fn new(signal: &SignalRules) -> Self {
        let value_type = match signal.coding().value_type {
            ValueType::Unsigned => v1::ValueType::Unsigned,
            ValueType::Signed => v1::ValueType::Signed,
            ValueType::Boolean => v1::ValueType::Boolean,
            ValueType::Float32 => v1::ValueType::Float32,
            ValueType::Float64 => v1::ValueType::Float64,
        };
        Self { values: ValueEncoder::new(value_type), states: StateEncoder::default(), count: 0, times: 0 }
    }

    /// Fills up with `Absent` to `count` samples; hardly ever there are any to fill up.
    #[inline]
    fn pad(&mut self, count: u32) {
        if self.count < count {
            self.fill(count);
        }
    }

    #[cold]
    fn fill(&mut self, count: u32) {
        while self.count < count {
            self.states.push(self.count, v1::State::Absent);
            self.count += 1;
        }
    }

    #[inline]
    fn push(&mut self, sample: &Consented) {
        match sample.state() {
            State::Value => self.values.push(sample.bits()),
            other => self.push_state(other),
        }
        self.count += 1;
    }

    #[inline(never)]
    fn push_state(&mut self, state: State) {
        let state = match state {
            State::Value => v1::State::Value,
            State::NotAvailable => v1::State::NotAvailable,
            State::Error => v1::State::Error,
            State::OutOfRange => v1::State::OutOfRange,
        };
        self.states.push(self.count, state);
    }
}

impl Batch {
    /// The rules it was collected under.
    #[must_use]
    pub fn rules(&self) -> &Arc<FlowRules> {
        &self.rules
    }

    /// Version of the policy it was collected under.
    #[must_use]
    pub fn policy_version(&self) -> PolicyVersion {
        self.policy_version
    }

    /// How its moments were mapped to wall time.
    #[must_use]
    pub fn mapping(&self) -> TimeMapping {
        self.mapping
    }

    /// Time zero of the time columns: wall time in microseconds, whole milliseconds if that is the unit.
    #[must_use]
    pub fn base_us(&self) -> i64 {
        self.base_us
    }

    /// Samples in it.
    #[must_use]
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// Bytes of its columns.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let times = self.times.iter().map(|times| times.deltas.len());
        let columns = self.columns.iter().map(|column| column.values.len() + column.states.len());
        times.chain(columns).sum()
    }

    /// The coded columns, taken out.
    #[must_use]
    pub fn into_columns(self) -> (Vec<Times>, Vec<Column>) {
        (self.times, self.columns)
    }
}
