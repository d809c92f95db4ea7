//! How the numbers that leave are read.

use crate::decode::ValueType;

/// `value = raw × scale + offset`, as the descriptor says it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coding {
    /// How the 64 bits are read.
    pub value_type: ValueType,
    /// In the signal's unit.
    pub scale: f64,
    /// In the signal's unit.
    pub offset: f64,
}

impl Coding {
    /// Yes or no.
    pub(super) const BOOLEAN: Self = Self { value_type: ValueType::Boolean, scale: 1.0, offset: 0.0 };

    pub(super) fn of(value_type: ValueType, scale: f64, offset: f64) -> Self {
        Self { value_type, scale, offset }
    }

    /// The nearest double of a value.
    #[expect(clippy::cast_precision_loss, reason = "a double has no more")]
    pub(in super::super) fn value(&self, bits: u64) -> f64 {
        let raw = match (self.float(), self.value_type) {
            (Some(double), _) => float(double, bits),
            (None, ValueType::Signed) => bits.cast_signed() as f64,
            (None, _) => bits as f64,
        };
        raw * self.scale + self.offset
    }

    /// Whether the bits are a floating-point number: of 64 bits, else of 32.
    pub(super) fn float(&self) -> Option<bool> {
        match self.value_type {
            ValueType::Float32 => Some(false),
            ValueType::Float64 => Some(true),
            ValueType::Unsigned | ValueType::Signed | ValueType::Boolean => None,
        }
    }
}

/// The raw value of a float.
pub(super) fn float(double: bool, bits: u64) -> f64 {
    if double {
        f64::from_bits(bits)
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "a 32-bit float lies in the low half")]
        let low = bits as u32;
        f64::from(f32::from_bits(low))
    }
}
