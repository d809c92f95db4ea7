//! The cell of a value, exact: `floor((raw * scale + offset - edge) / step)` in integers over one power of ten.

use super::decimal::Decimal;
use super::transform::Grid;
use crate::decode::ValueType;

/// How to find the cell of a raw value, without residue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Quantiser {
    /// `(raw * factor + constant) div divisor`; 128 bits, since 64-bit raw values do not fit 64 bits here.
    Integer { signed: bool, factor: i128, constant: i128, divisor: i128 },
    /// Floats go over their shortest decimal.
    Float { double: bool, scale: f64, offset: f64, grid: Grid },
}

impl Quantiser {
    /// `None` if scale or offset have too many digits; then nothing may leave.
    pub(super) fn new(value_type: ValueType, scale: f64, offset: f64, grid: Grid) -> Option<Self> {
        if matches!(value_type, ValueType::Float32 | ValueType::Float64) {
            let double = value_type == ValueType::Float64;
            return Some(Self::Float { double, scale, offset, grid });
        }
        let (factor, offset) = (Decimal::from_f64(scale)?, Decimal::from_f64(offset)?);
        let digits = [factor, offset, grid.step(), grid.offset()].map(Decimal::scale).into_iter().max()?;
        let constant = offset.scaled(digits)?.checked_sub(grid.offset().scaled(digits)?)?;
        let (factor, divisor) = (factor.scaled(digits)?, grid.step().scaled(digits)?);
        Some(Self::Integer { signed: value_type == ValueType::Signed, factor, constant, divisor })
    }

    /// The cell's number; `None` if it does not fit 64 bits.
    pub(super) fn cell(&self, bits: u64) -> Option<i64> {
        match *self {
            Self::Integer { signed, factor, constant, divisor } => {
                let raw = if signed { i128::from(bits.cast_signed()) } else { i128::from(bits) };
                let numerator = raw.checked_mul(factor)?.checked_add(constant)?;
                // Most fit 64 bits, where a division takes a tenth of the time.
                match (i64::try_from(numerator), i64::try_from(divisor)) {
                    (Ok(numerator), Ok(divisor)) => Some(numerator.div_euclid(divisor)),
                    _ => i64::try_from(numerator.div_euclid(divisor)).ok(),
                }
            }
            Self::Float { double, scale, offset, grid } => {
                let raw = float(double, bits);
                let value = Decimal::from_f64(raw * scale + offset)?;
                let digits = value.scale().max(grid.step().scale()).max(grid.offset().scale());
                let above = value.scaled(digits)?.checked_sub(grid.offset().scaled(digits)?)?;
                i64::try_from(above.div_euclid(grid.step().scaled(digits)?)).ok()
            }
        }
    }
}

/// The raw value of a float leaf.
pub(super) fn float(double: bool, bits: u64) -> f64 {
    if double {
        f64::from_bits(bits)
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "a 32-bit float lies in the low half")]
        let low = bits as u32;
        f64::from(f32::from_bits(low))
    }
}
