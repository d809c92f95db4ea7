//! From raw bits to what a person reads: the value, and its name in the value table.

use super::{Leaf, Number};
use crate::decode::ValueType;
use crate::decode::layout::Window;
use crate::frame::Frame;

/// Whole numbers beyond this are not exact in doubles, so an integer's scale is not taken for one.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

impl Leaf {
    /// The raw bits of the signal in a frame, as its source's `ValueType` says, whatever their range and the multiplexors
    /// are; `None` if the frame is too short. For people: the hot path is the plan's.
    #[must_use]
    pub fn raw(&self, frame: &Frame) -> Option<u64> {
        self.raw_of(frame.padded(), frame.data().len())
    }

    /// The same in the bytes of a message, with zeros behind its `length`.
    pub(crate) fn raw_of(&self, padded: &[u8], length: usize) -> Option<u64> {
        if self.made.is_some() {
            return None;
        }
        let window = Window::new(self.layout);
        let bits = (length >= usize::try_from(window.needs()).ok()?).then(|| window.bits(padded))?;
        let sign = self.source().sign();
        Some((bits ^ sign).wrapping_sub(sign))
    }

    /// The bits of this leaf for raw bits of its signal, whatever their range is; `None` if its derivation gives none.
    #[must_use]
    pub fn result(&self, raw: u64) -> Option<u64> {
        self.derivation.as_ref().map_or(Some(raw), |derivation| derivation.apply(raw))
    }

    /// The sign bit of the raw value, 0 if it has none.
    pub(crate) fn sign(&self) -> u64 {
        match self.value_type {
            ValueType::Signed => 1 << (self.layout.length.clamp(1, 64) - 1),
            _ => 0,
        }
    }

    /// The physical value of raw bits: exact where raw, scale and offset are whole numbers, else in doubles.
    #[must_use]
    pub fn value(&self, bits: u64) -> Number {
        match (self.integer(bits), whole(self.scale), whole(self.offset)) {
            (Some(raw), Some(scale), Some(offset)) => Number::Integer(raw * scale + offset),
            _ => Number::Float(self.float(bits)),
        }
    }

    /// The name of a raw value, if the database gives one.
    #[must_use]
    pub fn label(&self, bits: u64) -> Option<&str> {
        let raw = i64::try_from(self.integer(bits)?).ok()?;
        let found = self.names.binary_search_by_key(&raw, |(value, _)| *value).ok()?;
        self.names.get(found).map(|(_, name)| name.as_str())
    }

    /// The raw value as a number, `None` for floats.
    #[must_use]
    pub fn integer(&self, bits: u64) -> Option<i128> {
        match self.value_type {
            ValueType::Unsigned | ValueType::Boolean => Some(i128::from(bits)),
            ValueType::Signed => Some(i128::from(bits.cast_signed())),
            ValueType::Float32 | ValueType::Float64 => None,
        }
    }

    /// The raw value in doubles.
    #[must_use]
    pub fn raw_float(&self, bits: u64) -> f64 {
        number(self.value_type, bits)
    }

    /// `raw * scale + offset` in doubles.
    #[must_use]
    pub fn float(&self, bits: u64) -> f64 {
        self.raw_float(bits) * self.scale + self.offset
    }
}

/// Bits as a number in doubles.
#[expect(clippy::cast_precision_loss, reason = "the value is defined in IEEE doubles")]
pub(crate) fn number(value_type: ValueType, bits: u64) -> f64 {
    match value_type {
        ValueType::Unsigned | ValueType::Boolean => bits as f64,
        ValueType::Signed => bits.cast_signed() as f64,
        ValueType::Float32 => f64::from(f32::from_bits(u32::try_from(bits & 0xFFFF_FFFF).unwrap_or(0))),
        ValueType::Float64 => f64::from_bits(bits),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
fn whole(number: f64) -> Option<i128> {
    (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then_some(number as i128)
}
