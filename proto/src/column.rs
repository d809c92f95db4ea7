//! Column coding, both ways: encoders append sample by sample on the hot path, decoders are bounded.
//!
//! ```text
//! integers  zig-zag varint of (raw - raw before), the first from 0; wrapping 64-bit arithmetic
//! floats    8 (FLOAT64) or 4 (FLOAT32) bytes each, little-endian IEEE 754
//! times     t0 ‖ t1 - t0 ‖ (t2 - t1) - (t1 - t0) ‖ …   as zig-zag varints; wrapping
//! states    pairs of varints: (index - index of the pair before, State); the first index as it is
//! varint    7 bits a byte, low bits first, high bit = more follows; the shortest form only
//! zig-zag   0, -1, 1, -2, … as 0, 1, 2, 3, …: (n << 1) ^ (n >> 63)
//! ```

use crate::v1::{State, ValueType};

/// Samples of one column, and of all columns of a batch together: bounds what a reader has to hold.
pub const SAMPLES_MAX: u32 = 1 << 20;

/// Why a column could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    /// The bytes end inside of a value, or before all values were read.
    #[error("column ends at byte {at}, after {read} of {count} values")]
    Truncated {
        /// Offset of the end.
        at: usize,
        /// Values that were whole.
        read: usize,
        /// Values that were announced.
        count: usize,
    },
    /// A varint that is not in its shortest form or does not fit 64 bits.
    #[error("varint at byte {at} is longer than it may be")]
    Overlong {
        /// Offset of the varint.
        at: usize,
    },
    /// Bytes after the last value.
    #[error("{bytes} bytes after the last of {count} values")]
    Trailing {
        /// How many.
        bytes: usize,
        /// Values that were announced.
        count: usize,
    },
    /// More samples than a reader accepts.
    #[error("{count} samples, at most {SAMPLES_MAX} are allowed")]
    Count {
        /// Samples that were announced.
        count: usize,
    },
    /// The descriptor does not say how the values are coded.
    #[error("value type is not specified")]
    Type,
    /// A state that this version of the format does not know, or `STATE_VALUE`, which is never listed.
    #[error("state {state} at byte {at} is not allowed here")]
    State {
        /// Its number.
        state: u64,
        /// Offset of the varint.
        at: usize,
    },
    /// A state of a sample that the column does not have, or two of one sample.
    #[error("a state for sample {index} does not fit: the column has {count} samples, each has one state")]
    Index {
        /// Index of the sample.
        index: u64,
        /// Samples of the column.
        count: usize,
    },
}

#[inline]
#[expect(clippy::cast_sign_loss, reason = "zig-zag maps the sign into the lowest bit")]
fn zig_zag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

#[inline]
#[expect(clippy::cast_possible_wrap, reason = "the lowest bit becomes the sign")]
fn un_zig_zag(n: u64) -> i64 {
    ((n >> 1) as i64) ^ -((n & 1) as i64)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low seven bits are wanted")]
fn put_varint(bytes: &mut Vec<u8>, n: u64) {
    // Most deltas are small: one byte without a loop.
    if n < 0x80 {
        bytes.push(n as u8);
    } else {
        put_long_varint(bytes, n);
    }
}

#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "the low seven bits are wanted")]
fn put_long_varint(bytes: &mut Vec<u8>, mut n: u64) {
    bytes.reserve(10);
    while n >= 0x80 {
        bytes.push((n as u8) | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

macro_rules! buffer {
    () => {
        /// What was encoded so far.
        #[must_use]
        #[inline]
        pub fn bytes(&self) -> &[u8] {
            &self.bytes
        }

        /// Length of it in bytes.
        #[must_use]
        #[inline]
        pub fn len(&self) -> usize {
            self.bytes.len()
        }

        /// True before the first byte.
        #[must_use]
        pub fn is_empty(&self) -> bool {
            self.bytes.is_empty()
        }

        /// Starts again; keeps the memory.
        pub fn clear(&mut self) {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            *self = Self { bytes, ..self.fresh() };
        }

        /// The bytes, given away; starts again.
        pub fn take(&mut self) -> Vec<u8> {
            let bytes = std::mem::take(&mut self.bytes);
            self.clear();
            bytes
        }
    };
}

/// Raw integers as zig-zag varints of their differences.
#[derive(Debug, Clone, Default)]
pub struct IntEncoder {
    bytes: Vec<u8>,
    last: u64,
}

impl IntEncoder {
    /// Appends one raw value, unsigned or the two's complement of a signed one.
    #[inline]
    #[expect(clippy::cast_possible_wrap, reason = "a wrapping difference is read as signed")]
    pub fn push(&mut self, bits: u64) {
        let delta = bits.wrapping_sub(self.last) as i64;
        self.last = bits;
        put_varint(&mut self.bytes, zig_zag(delta));
    }

    fn fresh(&self) -> Self {
        Self::default()
    }

    buffer!();
}

/// IEEE 754 values as they are.
#[derive(Debug, Clone)]
pub struct FloatEncoder {
    bytes: Vec<u8>,
    width: usize,
}

impl FloatEncoder {
    /// Four bytes a value.
    #[must_use]
    pub fn single() -> Self {
        Self { bytes: Vec::new(), width: 4 }
    }

    /// Eight bytes a value.
    #[must_use]
    pub fn double() -> Self {
        Self { bytes: Vec::new(), width: 8 }
    }

    /// Appends `f64::to_bits`, or `f32::to_bits` in the low half.
    #[inline]
    pub fn push(&mut self, bits: u64) {
        if self.width == 8 {
            self.bytes.extend_from_slice(&bits.to_le_bytes());
        } else {
            self.bytes.extend_from_slice(&bits.to_le_bytes()[..4]);
        }
    }

    fn fresh(&self) -> Self {
        Self { bytes: Vec::new(), width: self.width }
    }

    buffer!();
}

/// The encoder that a value type asks for.
#[derive(Debug, Clone)]
pub enum ValueEncoder {
    /// `UNSIGNED`, `SIGNED` and `BOOLEAN`.
    Int(IntEncoder),
    /// `FLOAT32` and `FLOAT64`.
    Float(FloatEncoder),
}

impl ValueEncoder {
    /// Encoder of `value_type`. `UNSPECIFIED` is coded like an integer, and refused by every reader.
    #[must_use]
    pub fn new(value_type: ValueType) -> Self {
        match value_type {
            ValueType::Float32 => Self::Float(FloatEncoder::single()),
            ValueType::Float64 => Self::Float(FloatEncoder::double()),
            ValueType::Unsigned | ValueType::Signed | ValueType::Boolean | ValueType::Unspecified => {
                Self::Int(IntEncoder::default())
            }
        }
    }

    /// Appends one value's raw bits.
    #[inline]
    pub fn push(&mut self, bits: u64) {
        match self {
            Self::Int(encoder) => encoder.push(bits),
            Self::Float(encoder) => encoder.push(bits),
        }
    }

    /// What was encoded so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Int(encoder) => encoder.bytes(),
            Self::Float(encoder) => encoder.bytes(),
        }
    }

    /// Length of it in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Int(encoder) => encoder.len(),
            Self::Float(encoder) => encoder.len(),
        }
    }

    /// True before the first value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Starts again; keeps the memory.
    pub fn clear(&mut self) {
        match self {
            Self::Int(encoder) => encoder.clear(),
            Self::Float(encoder) => encoder.clear(),
        }
    }

    /// The bytes, given away; starts again.
    pub fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Int(encoder) => encoder.take(),
            Self::Float(encoder) => encoder.take(),
        }
    }
}

/// Times as zig-zag varints of their second difference.
#[derive(Debug, Clone, Default)]
pub struct TimeEncoder {
    bytes: Vec<u8>,
    count: u32,
    last: i64,
    step: i64,
}

impl TimeEncoder {
    /// Appends one time, in the batch's unit after its base time.
    #[inline]
    pub fn push(&mut self, time: i64) {
        let step = time.wrapping_sub(self.last);
        put_varint(&mut self.bytes, zig_zag(step.wrapping_sub(self.step)));
        self.last = time;
        // The first time is not a step: the second is coded as its plain difference.
        self.step = if self.count == 0 { 0 } else { step };
        self.count += 1;
    }

    /// Times so far.
    #[must_use]
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    fn fresh(&self) -> Self {
        Self::default()
    }

    buffer!();
}

/// States of those samples that are not ordinary values.
#[derive(Debug, Clone, Default)]
pub struct StateEncoder {
    bytes: Vec<u8>,
    last: u32,
}

impl StateEncoder {
    /// Appends the state of the sample at `index`; indices must rise. `State::Value` is what is not listed.
    #[inline]
    #[expect(clippy::cast_sign_loss, reason = "states are small and positive")]
    pub fn push(&mut self, index: u32, state: State) {
        if state == State::Value {
            return;
        }
        put_varint(&mut self.bytes, u64::from(index.wrapping_sub(self.last)));
        put_varint(&mut self.bytes, state as i32 as u64);
        self.last = index;
    }

    fn fresh(&self) -> Self {
        Self::default()
    }

    buffer!();
}

/// Reads varints and knows where it is.
struct Varints<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What can be wrong with one varint.
enum VarintError {
    End,
    Overlong,
}

impl Varints<'_> {
    #[inline]
    fn next(&mut self) -> Result<u64, VarintError> {
        let mut value = 0u64;
        for (shift, &byte) in (0u32..).step_by(7).zip(&self.bytes[self.at..]) {
            let low = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit; a last byte of zero says nothing (but alone it is zero).
            if (shift == 63 && byte > 1) || (shift > 0 && byte == 0) {
                return Err(VarintError::Overlong);
            }
            value |= low << shift;
            if byte < 0x80 {
                self.at += (shift / 7 + 1) as usize;
                return Ok(value);
            }
        }
        Err(VarintError::End)
    }

    fn next_of(&mut self, read: usize, count: usize) -> Result<u64, ColumnError> {
        let at = self.at;
        self.next().map_err(|error| match error {
            VarintError::End => ColumnError::Truncated { at: self.bytes.len(), read, count },
            VarintError::Overlong => ColumnError::Overlong { at },
        })
    }

    fn end(&self, count: usize) -> Result<(), ColumnError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            bytes => Err(ColumnError::Trailing { bytes, count }),
        }
    }
}

/// Each value takes at least `width` bytes, so that the input bounds what is allocated.
fn check_count(bytes: &[u8], count: usize, width: usize) -> Result<(), ColumnError> {
    if count > SAMPLES_MAX as usize {
        return Err(ColumnError::Count { count });
    }
    if bytes.len() < count * width {
        return Err(ColumnError::Truncated { at: bytes.len(), read: bytes.len() / width, count });
    }
    Ok(())
}

fn decode_floats(bytes: &[u8], count: usize, width: usize) -> Result<Vec<u64>, ColumnError> {
    check_count(bytes, count, width)?;
    if bytes.len() > count * width {
        return Err(ColumnError::Trailing { bytes: bytes.len() - count * width, count });
    }
    let widen = |value: &[u8]| {
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(value);
        u64::from_le_bytes(wide)
    };
    Ok(bytes.chunks_exact(width).map(widen).collect())
}

/// The raw bits of `count` values, as they were pushed.
///
/// # Errors
/// If `bytes` is not exactly `count` values of `value_type`, or the count is above [`SAMPLES_MAX`].
#[expect(clippy::cast_sign_loss, reason = "wrapping addition of a two's complement")]
pub fn decode_values(value_type: ValueType, bytes: &[u8], count: usize) -> Result<Vec<u64>, ColumnError> {
    match value_type {
        ValueType::Unspecified => return Err(ColumnError::Type),
        ValueType::Float32 => return decode_floats(bytes, count, 4),
        ValueType::Float64 => return decode_floats(bytes, count, 8),
        ValueType::Unsigned | ValueType::Signed | ValueType::Boolean => {}
    }
    check_count(bytes, count, 1)?;
    let mut varints = Varints { bytes, at: 0 };
    let mut values = Vec::with_capacity(count);
    let mut last = 0u64;
    for read in 0..count {
        last = last.wrapping_add(un_zig_zag(varints.next_of(read, count)?) as u64);
        values.push(last);
    }
    varints.end(count)?;
    Ok(values)
}

/// The `count` times, as they were pushed.
///
/// # Errors
/// If `bytes` is not exactly `count` times, or the count is above [`SAMPLES_MAX`].
pub fn decode_times(bytes: &[u8], count: usize) -> Result<Vec<i64>, ColumnError> {
    check_count(bytes, count, 1)?;
    let mut varints = Varints { bytes, at: 0 };
    let mut times = Vec::with_capacity(count);
    let (mut last, mut step) = (0i64, 0i64);
    for read in 0..count {
        let second = un_zig_zag(varints.next_of(read, count)?);
        let this = step.wrapping_add(second);
        last = last.wrapping_add(this);
        step = if read == 0 { 0 } else { this };
        times.push(last);
    }
    varints.end(count)?;
    Ok(times)
}

/// Index and state of those of `count` samples that are not ordinary values, by rising index.
///
/// # Errors
/// If a state is unknown or `STATE_VALUE`, an index does not rise or is not below `count`, or bytes are left.
pub fn decode_states(bytes: &[u8], count: usize) -> Result<Vec<(u32, State)>, ColumnError> {
    if count > SAMPLES_MAX as usize {
        return Err(ColumnError::Count { count });
    }
    let mut varints = Varints { bytes, at: 0 };
    let mut states: Vec<(u32, State)> = Vec::new();
    while varints.at < bytes.len() {
        let read = states.len();
        let gap = varints.next_of(read, read + 1)?;
        let index = states.last().map_or(0, |(last, _)| u64::from(*last)).saturating_add(gap);
        let fits = index < count as u64 && (gap > 0 || states.is_empty());
        let index = u32::try_from(index).ok().filter(|_| fits).ok_or(ColumnError::Index { index, count })?;
        let at = varints.at;
        let number = varints.next_of(read, read + 1)?;
        let state = i32::try_from(number).ok().and_then(|state| State::try_from(state).ok());
        match state {
            None | Some(State::Value) => return Err(ColumnError::State { state: number, at }),
            Some(state) => states.push((index, state)),
        }
    }
    Ok(states)
}

#[cfg(test)]
mod tests;
