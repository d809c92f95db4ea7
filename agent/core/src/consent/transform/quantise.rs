//! `quantise`: only the cell of a grid is told, exact: `floor((raw * scale + offset - edge) / step)` in integers over one
//! power of ten, so that no float residue tells more.

use super::super::decimal::Decimal;
use super::coding::{Coding, float};
use super::spec::TransformSpec;
use crate::decode::ValueType;

/// Cells `[offset + n step, offset + (n + 1) step)`. The offset is kept in `[0, step)`, so that equal grids are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    step: Decimal,
    offset: Decimal,
}

impl Grid {
    /// `{"op": "quantise", "step": 0.5, "offset": 0}`; the offset may be left out.
    pub(super) fn parse(spec: &TransformSpec) -> Option<Self> {
        spec.only(&["step", "offset"])?;
        Self::new(spec.decimal("step")?, spec.decimal_or_zero("offset")?)
    }

    /// `None` unless the step is above zero and both have few enough digits.
    #[must_use]
    pub fn new(step: Decimal, offset: Decimal) -> Option<Self> {
        if !step.is_positive() {
            return None;
        }
        let (s, o, scale) = Decimal::aligned(step, offset)?;
        Some(Self { step, offset: Decimal::new(o.rem_euclid(s), scale)? })
    }

    /// Width of a cell.
    #[must_use]
    pub fn step(&self) -> Decimal {
        self.step
    }

    /// Lower edge of cell 0.
    #[must_use]
    pub fn offset(&self) -> Decimal {
        self.offset
    }

    /// Whether a cell begins there.
    pub(super) fn has_edge(&self, at: Decimal) -> bool {
        let digits = at.scale().max(self.step.scale()).max(self.offset.scale());
        let whole = |number: Decimal| number.scaled(digits);
        let (Some(at), Some(step), Some(offset)) = (whole(at), whole(self.step), whole(self.offset)) else {
            return false;
        };
        at.checked_sub(offset).is_some_and(|above| above % step == 0)
    }

    /// The finest grid that both contain: its edges are those that both have. `None` if there are none.
    pub(super) fn meet(self, other: Self) -> Option<Self> {
        let (a, b, scale) = Decimal::aligned(self.step, other.step)?;
        let scale = scale.max(self.offset.scale()).max(other.offset.scale());
        let up = 10i128.checked_pow(u32::from(scale - self.step.scale().max(other.step.scale())))?;
        let (a, b) = (a.checked_mul(up)?, b.checked_mul(up)?);
        let (p, q) = (self.offset.scaled(scale)?, other.offset.scaled(scale)?);
        let (gcd, x) = extended_gcd(a, b);
        let gap = q - p;
        if gap % gcd != 0 {
            return None;
        }
        // Chinese remainder: an edge of both is p + a k with a k = gap (mod b).
        let k = (gap / gcd).checked_mul(x)?.rem_euclid(b / gcd);
        let edge = p.checked_add(a.checked_mul(k)?)?;
        let step = (a / gcd).checked_mul(b)?;
        Self::new(Decimal::new(step, scale)?, Decimal::new(edge, scale)?)
    }

    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        vec![("step", self.step.to_string()), ("offset", self.offset.to_string())]
    }

    /// The number of a cell: its lower edge is `n × step + offset`.
    pub(super) fn coding(&self) -> Coding {
        Coding::of(ValueType::Signed, self.step.to_f64(), self.offset.to_f64())
    }
}

/// `(g, x)` with `g = gcd(a, b)` and `a x = g (mod b)`; both above zero.
fn extended_gcd(a: i128, b: i128) -> (i128, i128) {
    let (mut r0, mut r1, mut x0, mut x1) = (a, b, 1i128, 0i128);
    while r1 != 0 {
        let q = r0 / r1;
        (r0, r1) = (r1, r0 - q * r1);
        (x0, x1) = (x1, x0 - q * x1);
    }
    (r0, x0)
}

/// How to find the cell of a raw value, without residue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) enum Quantiser {
    /// `(raw * factor + constant) div divisor`; 128 bits, since 64-bit raw values do not fit 64 bits here.
    Integer { signed: bool, factor: i128, constant: i128, divisor: i128 },
    /// Floats go over their shortest decimal.
    Float { double: bool, scale: f64, offset: f64, grid: Grid },
}

impl Quantiser {
    /// `None` if scale or offset have too many digits; then nothing may leave.
    pub(in super::super) fn new(coding: Coding, grid: Grid) -> Option<Self> {
        let Coding { value_type, scale, offset } = coding;
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
    pub(in super::super) fn cell(&self, bits: u64) -> Option<i64> {
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grid(step: i32, offset: i32) -> Grid {
        let decimal = |n: i32| Decimal::new(i128::from(n), 1).unwrap();
        Grid::new(decimal(step), decimal(offset)).unwrap()
    }

    proptest! {
        #[test]
        fn the_meet_of_grids_has_the_edges_of_both(s in 1i32..40, o in -40i32..40, t in 1i32..40, p in -40i32..40) {
            let edge = |step: i32, offset: i32, x: i32| (x - offset).rem_euclid(step) == 0;
            let both: Vec<i32> = (0..4000).filter(|x| edge(s, o, *x) && edge(t, p, *x)).collect();
            match grid(s, o).meet(grid(t, p)) {
                None => prop_assert!(both.is_empty()),
                Some(met) => {
                    let ten = |d: Decimal| i32::try_from(d.scaled(1).unwrap()).unwrap();
                    let want: Vec<i32> = (0..4000).filter(|x| edge(ten(met.step()), ten(met.offset()), *x)).collect();
                    prop_assert_eq!(both, want);
                }
            }
        }
    }
}
