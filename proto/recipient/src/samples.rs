//! From a batch and its descriptor to samples: value = raw × scale + offset, in IEEE doubles, in that order.

use std::collections::HashMap;

use glovebox_proto::column::{self, ColumnError, SAMPLES_MAX};
use glovebox_proto::v1::{self, State, TimeUnit, ValueType};

/// Why a batch could not be decoded. The whole batch is refused: it came signed, so its writer is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SamplesError {
    /// A time column.
    #[error("time column {time}: {cause}")]
    Times {
        /// Its index.
        time: usize,
        /// What is wrong.
        cause: ColumnError,
    },
    /// A column of values.
    #[error("column {column}: {cause}")]
    Column {
        /// Its index.
        column: usize,
        /// What is wrong.
        cause: ColumnError,
    },
    /// A column names what is not there.
    #[error("column {column} names {what} {index}, there are {count}")]
    Index {
        /// Its index.
        column: usize,
        /// Signal or time column.
        what: &'static str,
        /// What it names.
        index: u32,
        /// How many there are.
        count: usize,
    },
    /// The number of the time unit.
    #[error("time unit {unit}, this reader knows 1 (ms) and 2 (µs)")]
    TimeUnit {
        /// The number.
        unit: i32,
    },
    /// A time outside of 64-bit microseconds.
    #[error("time column {time} leaves the range of 64-bit microseconds")]
    TimeRange {
        /// Its index.
        time: usize,
    },
    /// Too many samples in all columns together.
    #[error("more than {SAMPLES_MAX} samples in one batch")]
    Samples,
}

/// A value as the descriptor explains it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// An integer whose scale is 1 and whose offset is 0: exact.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// A boolean; any raw value but 0 is true.
    Bool(bool),
    /// The number of a cell of H3.
    Cell(u64),
}

/// What a value is, by the transforms of its signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What<'a> {
    /// A reading as it was, or made coarse.
    Reading,
    /// A figure of a window that begins at its time: `mean`, `count` …, or how many values lay in a bin: `0 to 50`.
    Figure(&'a str),
    /// The cell of a place.
    Cell,
    /// It happened, no more.
    Event,
}

impl<'a> What<'a> {
    /// By the descriptor's entry of a signal.
    #[must_use]
    pub fn of(signal: &'a v1::Signal) -> Self {
        let has = |op: &str| signal.transforms.iter().find(|transform| transform.op == op);
        if has("threshold").is_some() {
            return Self::Event;
        }
        if has("geo_cell").is_some() {
            return Self::Cell;
        }
        let of_window = |name: &str| has("aggregate")?.parameters.iter().find(|it| it.name == name);
        let figure = of_window("bin").or_else(|| of_window("functions"));
        figure.map_or(Self::Reading, |figure| Self::Figure(&figure.value))
    }

    /// In a word; `None` for a reading.
    #[must_use]
    pub fn word(self) -> Option<&'a str> {
        match self {
            Self::Reading => None,
            Self::Figure(function) => Some(function),
            Self::Cell => Some("cell"),
            Self::Event => Some("event"),
        }
    }
}

/// One reading of one signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// Name of the signal.
    pub path: &'a str,
    /// Its unit; empty if it has none.
    pub unit: &'a str,
    /// What its value is.
    pub what: What<'a>,
    /// The controller that sent it, on a J1939 bus.
    pub source: Option<u32>,
    /// Microseconds since the Unix epoch, or of the log in a replay.
    pub time_us: i64,
    /// Whether it is an ordinary value, and if not, why.
    pub state: State,
    /// The value if the state is `Value`.
    pub value: Option<Value>,
    /// The name that the descriptor gives to this raw value.
    pub label: Option<&'a str>,
}

/// One signal's column, decoded.
#[derive(Debug)]
struct Series<'a> {
    signal: &'a v1::Signal,
    names: HashMap<i64, &'a str>,
    what: What<'a>,
    source: Option<u32>,
    time: usize,
    raw: Vec<u64>,
    states: Vec<(u32, State)>,
}

/// All samples of a batch: column by column, in time order within a column. Made by [`samples`].
#[derive(Debug)]
pub struct Samples<'a> {
    times: Vec<Vec<i64>>,
    series: Vec<Series<'a>>,
    column: usize,
    index: usize,
    values_read: usize,
    states_read: usize,
}

/// The samples of `batch`, checked before the first is handed out.
///
/// # Errors
/// [`SamplesError`] names the column.
pub fn samples<'a>(batch: &v1::Batch, descriptor: &'a v1::Descriptor) -> Result<Samples<'a>, SamplesError> {
    let times = decode_times(batch)?;
    let mut room = SAMPLES_MAX as usize;
    let mut series = Vec::with_capacity(batch.columns.len());
    for (index, column) in batch.columns.iter().enumerate() {
        let one = decode_column(index, column, &times, descriptor)?;
        room = room.checked_sub(times[one.time].len()).ok_or(SamplesError::Samples)?;
        series.push(one);
    }
    Ok(Samples { times, series, column: 0, index: 0, values_read: 0, states_read: 0 })
}

fn decode_times(batch: &v1::Batch) -> Result<Vec<Vec<i64>>, SamplesError> {
    let unit_us = match batch.time_unit() {
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1,
        TimeUnit::Unspecified => return Err(SamplesError::TimeUnit { unit: batch.time_unit }),
    };
    let mut room = SAMPLES_MAX as usize;
    let decode = |(time, coded): (usize, &v1::TimeColumn)| {
        let count = coded.count as usize;
        room = room.checked_sub(count).ok_or(SamplesError::Samples)?;
        let steps = column::decode_times(&coded.deltas, count);
        let steps = steps.map_err(|cause| SamplesError::Times { time, cause })?;
        let absolute = |step: i64| step.checked_mul(unit_us)?.checked_add(batch.base_time_us);
        let absolute: Option<Vec<i64>> = steps.into_iter().map(absolute).collect();
        absolute.ok_or(SamplesError::TimeRange { time })
    };
    batch.times.iter().enumerate().map(decode).collect()
}

fn decode_column<'a>(
    column: usize,
    coded: &v1::Column,
    times: &[Vec<i64>],
    descriptor: &'a v1::Descriptor,
) -> Result<Series<'a>, SamplesError> {
    let missing = |what, index, count| SamplesError::Index { column, what, index, count };
    let signal = descriptor.signals.get(coded.signal as usize);
    let signal = signal.ok_or_else(|| missing("signal", coded.signal, descriptor.signals.len()))?;
    let time = coded.time as usize;
    let count = times.get(time).ok_or_else(|| missing("time column", coded.time, times.len()))?.len();
    let failed = |cause| SamplesError::Column { column, cause };
    let states = column::decode_states(&coded.states, count).map_err(failed)?;
    let values = count - states.len();
    let raw = column::decode_values(signal.r#type(), &coded.values, values).map_err(failed)?;
    let names = signal.names.iter().map(|name| (name.raw, name.name.as_str())).collect();
    let what = What::of(signal);
    Ok(Series { signal, names, what, source: coded.source_address, time, raw, states })
}

impl<'a> Series<'a> {
    #[expect(clippy::cast_possible_wrap, reason = "raw bits of a signed value are its two's complement")]
    fn integer(&self, raw: u64) -> Option<i128> {
        match self.signal.r#type() {
            ValueType::Unsigned => Some(raw.into()),
            ValueType::Signed => Some((raw as i64).into()),
            _ => None,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half holds the four bytes of a FLOAT32")]
    #[expect(clippy::cast_precision_loss, reason = "the format says: in doubles")]
    fn value(&self, raw: u64) -> Value {
        let (scale, offset) = (self.signal.scale, self.signal.offset);
        let number = match (self.signal.r#type(), self.integer(raw)) {
            (ValueType::Boolean, _) => return Value::Bool(raw != 0),
            (ValueType::Unsigned, _) if self.what == What::Cell => return Value::Cell(raw),
            (_, Some(integer)) if scale == 1.0 && offset == 0.0 => return Value::Integer(integer),
            (_, Some(integer)) => integer as f64,
            (ValueType::Float32, None) => f32::from_bits(raw as u32).into(),
            (_, None) => f64::from_bits(raw),
        };
        Value::Float(number * scale + offset)
    }

    fn label(&self, raw: u64) -> Option<&'a str> {
        let raw = match self.signal.r#type() {
            ValueType::Boolean => i64::try_from(raw).ok(),
            _ => self.integer(raw).and_then(|raw| i64::try_from(raw).ok()),
        };
        self.names.get(&raw?).copied()
    }
}

impl<'a> Iterator for Samples<'a> {
    type Item = Sample<'a>;

    fn next(&mut self) -> Option<Sample<'a>> {
        loop {
            let series = self.series.get(self.column)?;
            let Some(time_us) = self.times[series.time].get(self.index).copied() else {
                self.column += 1;
                (self.index, self.values_read, self.states_read) = (0, 0, 0);
                continue;
            };
            let state = match series.states.get(self.states_read) {
                Some((index, state)) if *index as usize == self.index => *state,
                _ => State::Value,
            };
            self.index += 1;
            let raw = match state {
                State::Value => series.raw.get(self.values_read).copied(),
                _ => None,
            };
            if raw.is_some() {
                self.values_read += 1;
            } else {
                self.states_read += 1;
            }
            if state == State::Absent {
                continue;
            }
            return Some(Sample {
                path: &series.signal.path,
                unit: &series.signal.unit,
                what: series.what,
                source: series.source,
                time_us,
                state,
                value: raw.map(|raw| series.value(raw)),
                label: raw.and_then(|raw| series.label(raw)),
            });
        }
    }
}
