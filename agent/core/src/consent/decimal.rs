//! Exact decimal numbers, so that a grid has no float residue.

use std::cmp::Ordering;
use std::fmt;

/// `mantissa × 10^-scale`, without trailing zeros, so that equal numbers are equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    mantissa: i128,
    scale: u8,
}

/// Digits behind the point: the finest factors in real DBC files have 24.
const SCALE_MAX: u8 = 30;

impl Decimal {
    /// 0.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0 };

    /// `mantissa × 10^-scale`; `None` if it has more digits than are kept.
    #[must_use]
    pub fn new(mut mantissa: i128, mut scale: u8) -> Option<Self> {
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        (scale <= SCALE_MAX).then_some(Self { mantissa, scale })
    }

    /// Plain or scientific decimal text: `0.5`, `-12`, `1e-3`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        let plain = digits.strip_prefix(['-', '+']).unwrap_or(&digits);
        if plain.is_empty() || plain.len() > 36 || !plain.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mantissa: i128 = digits.parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()? - exponent;
        if scale >= 0 {
            return Self::trimmed(mantissa, u32::try_from(scale).ok()?);
        }
        let factor = 10i128.checked_pow(u32::try_from(-scale).ok()?)?;
        Self::new(mantissa.checked_mul(factor)?, 0)
    }

    fn trimmed(mut mantissa: i128, mut scale: u32) -> Option<Self> {
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        Self::new(mantissa, u8::try_from(scale).ok()?)
    }

    /// The shortest decimal that reads back as `number`: what its author wrote.
    #[must_use]
    pub fn from_f64(number: f64) -> Option<Self> {
        number.is_finite().then(|| Self::parse(&format!("{number:e}"))).flatten()
    }

    /// The nearest double.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// `self × 10^scale` as an integer; `None` if it does not fit or is not whole.
    #[must_use]
    pub fn scaled(self, scale: u8) -> Option<i128> {
        let up = u32::from(scale.checked_sub(self.scale)?);
        self.mantissa.checked_mul(10i128.checked_pow(up)?)
    }

    /// Digits behind the point.
    #[must_use]
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// Above zero.
    #[must_use]
    pub fn is_positive(self) -> bool {
        self.mantissa > 0
    }

    /// Below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// The larger of two.
    #[must_use]
    pub fn larger(self, other: Self) -> Self {
        if self >= other { self } else { other }
    }

    /// Both over one power of ten: (a, b, scale).
    #[must_use]
    pub fn aligned(a: Self, b: Self) -> Option<(i128, i128, u8)> {
        let scale = a.scale.max(b.scale);
        Some((a.scaled(scale)?, b.scaled(scale)?, scale))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match Self::aligned(*self, *other) {
            Some((a, b, _)) => Some(a.cmp(&b)),
            // So far apart that they do not fit one power of ten: doubles tell them apart.
            None => self.to_f64().partial_cmp(&other.to_f64()),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = format!("{:0>1$}", self.mantissa.unsigned_abs(), usize::from(self.scale) + 1);
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(self.scale));
        match fraction {
            "" => write!(f, "{sign}{whole}"),
            _ => write!(f, "{sign}{whole}.{fraction}"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_and_back() {
        for (text, want) in [
            ("0.5", "0.5"),
            ("-12", "-12"),
            ("1e-3", "0.001"),
            ("2.50", "2.5"),
            ("1e3", "1000"),
            ("-0.05", "-0.05"),
            ("0", "0"),
            ("+7", "7"),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().to_string(), want);
        }
        for text in ["", "-", ".", "1.2.3", "0x10", "1e", "1e400", "1e-40", "nan", "--1", "1-"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_double_is_read_back(number in -1e12f64..1e12) {
            if let Some(decimal) = Decimal::from_f64(number) {
                prop_assert_eq!(decimal.to_f64().to_bits(), number.to_bits());
            }
        }

        #[test]
        fn order_is_that_of_the_numbers(a in -1_000_000i32..1_000_000, b in -1_000_000i32..1_000_000) {
            let decimal = |n: i32| Decimal::new(i128::from(n), 3).unwrap();
            prop_assert_eq!(decimal(a).partial_cmp(&decimal(b)), a.partial_cmp(&b));
        }
    }
}
