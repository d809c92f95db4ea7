//! `histogram`, one of the figures of `aggregate`: how many values of a window lay in each bin. Each bin is told as a figure
//! of its own, so that a batch carries it like any other.
//!
//! ```text
//! edges      0          50         100
//! bins  below 0 | 0 to 50 | 50 to 100 | from 100        a value on an edge is in the bin above it
//! ```

use super::super::decimal::Decimal;
use super::coding::{Coding, float};
use super::quantise::Grid;
use super::spec::Parameter;
use crate::decode::ValueType;
use crate::limits::HISTOGRAM_EDGES_MAX;

/// Where one bin ends and the next begins: rising, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edges {
    /// Over one power of ten, the least that does; zeros after the last.
    numbers: [i64; HISTOGRAM_EDGES_MAX],
    count: u8,
    scale: u8,
}

impl Edges {
    /// `[0, 50, "99.5"]`; `None` unless they rise, are few enough, and have few enough digits.
    pub(super) fn parse(parameter: &Parameter) -> Option<Self> {
        let Parameter::List(list) = parameter else { return None };
        let all = list.iter().map(Parameter::decimal).collect::<Option<Vec<_>>>()?;
        Self::new(&all)
    }

    fn new(all: &[Decimal]) -> Option<Self> {
        let scale = all.iter().map(|edge| edge.scale()).max()?;
        let rises = all.windows(2).all(|pair| pair[0] < pair[1]);
        if all.len() > HISTOGRAM_EDGES_MAX || !rises {
            return None;
        }
        let mut numbers = [0; HISTOGRAM_EDGES_MAX];
        for (number, edge) in numbers.iter_mut().zip(all) {
            *number = i64::try_from(edge.scaled(scale)?).ok()?;
        }
        Some(Self { numbers, count: u8::try_from(all.len()).ok()?, scale })
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = Decimal> {
        let numbers = self.numbers.iter().take(usize::from(self.count));
        numbers.filter_map(|number| Decimal::new(i128::from(*number), self.scale))
    }

    /// One more than edges.
    pub(super) fn bins(&self) -> std::ops::RangeInclusive<u8> {
        0..=self.count
    }

    /// Those that are in both: bins in which those of both nest. `None` if there are none.
    pub(super) fn meet(self, other: Self) -> Option<Self> {
        self.only(|edge| other.iter().any(|known| known == edge))
    }

    /// Those that lie between two cells of a grid: a value that is told by its cell is not told more closely by its bin.
    pub(super) fn on(self, grid: Grid) -> Option<Self> {
        self.only(|edge| grid.has_edge(edge))
    }

    fn only(self, keep: impl Fn(Decimal) -> bool) -> Option<Self> {
        Self::new(&self.iter().filter(|edge| keep(*edge)).collect::<Vec<_>>())
    }

    /// The least value of a bin and the first above it, where it has them.
    fn of_bin(&self, bin: u8) -> (Option<Decimal>, Option<Decimal>) {
        let edge = |number: usize| self.iter().nth(number);
        (usize::from(bin).checked_sub(1).and_then(edge), edge(usize::from(bin)))
    }

    /// The bin of `other` that begins where this one does.
    pub(super) fn bin_like(&self, other: &Self, bin: u8) -> Option<u8> {
        let (low, _) = other.of_bin(bin);
        self.bins().find(|bin| self.of_bin(*bin).0 == low)
    }

    /// `0 to 50`
    pub(super) fn bin_words(&self, bin: u8) -> String {
        match self.of_bin(bin) {
            (None, Some(high)) => format!("below {high}"),
            (Some(low), Some(high)) => format!("{low} to {high}"),
            (Some(low), None) => format!("from {low}"),
            (None, None) => String::new(),
        }
    }

    /// `0 50 99.5`
    pub(super) fn told(&self) -> String {
        self.iter().map(|edge| edge.to_string()).collect::<Vec<_>>().join(" ")
    }
}

/// Whether a raw value lies in one bin, without residue.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Bin {
    /// `low ≤ raw * factor + constant < high`, over one power of ten.
    Integer {
        signed: bool,
        factor: i128,
        constant: i128,
        low: i128,
        high: i128,
    },
    Float {
        double: bool,
        scale: f64,
        offset: f64,
        low: f64,
        high: f64,
    },
}

impl Bin {
    /// `None` if a number has too many digits; then nothing may leave.
    pub(super) fn new(edges: &Edges, bin: u8, coding: Coding) -> Option<Self> {
        let Coding { value_type, scale, offset } = coding;
        let (low, high) = edges.of_bin(bin);
        if let Some(double) = coding.float() {
            let low = low.map_or(f64::NEG_INFINITY, Decimal::to_f64);
            let high = high.map_or(f64::INFINITY, Decimal::to_f64);
            return Some(Self::Float { double, scale, offset, low, high });
        }
        let (factor, offset) = (Decimal::from_f64(scale)?, Decimal::from_f64(offset)?);
        let digits = factor.scale().max(offset.scale()).max(edges.scale);
        let whole = |edge: Option<Decimal>, none: i128| edge.map_or(Some(none), |edge| edge.scaled(digits));
        let (low, high) = (whole(low, i128::MIN)?, whole(high, i128::MAX)?);
        let (factor, constant) = (factor.scaled(digits)?, offset.scaled(digits)?);
        Some(Self::Integer { signed: value_type == ValueType::Signed, factor, constant, low, high })
    }

    /// What has no number lies in none.
    pub(super) fn holds(&self, bits: u64) -> bool {
        match *self {
            Self::Integer { signed, factor, constant, low, high } => {
                let raw = if signed { i128::from(bits.cast_signed()) } else { i128::from(bits) };
                let value = raw.checked_mul(factor).and_then(|value| value.checked_add(constant));
                value.is_some_and(|value| (low..high).contains(&value))
            }
            Self::Float { double, scale, offset, low, high } => {
                let value = float(double, bits) * scale + offset;
                low <= value && (value < high || high == f64::INFINITY)
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edges(tenths: &[i32]) -> Edges {
        let all: Vec<Decimal> = tenths.iter().map(|n| Decimal::new(i128::from(*n), 1).unwrap()).collect();
        Edges::new(&all).unwrap()
    }

    proptest! {
        /// Whatever the coding, each value lies in the one bin whose edges are round it, exactly: in hundredths.
        #[test]
        fn each_value_lies_in_the_one_bin_round_it(
            tenths in proptest::collection::btree_set(-40i32..40, 1..=HISTOGRAM_EDGES_MAX),
            raw in -60i32..60, factor in prop::sample::select(vec![1, 5, 10, 20]), offset in -50i32..50,
        ) {
            let tenths: Vec<i32> = tenths.into_iter().collect();
            let edges = edges(&tenths);
            let hundredths = |n: i32| f64::from(n) / 100.0;
            let coding = Coding::of(ValueType::Signed, hundredths(factor), hundredths(offset));
            let bits = i64::from(raw).cast_unsigned();
            let inside: Vec<usize> = edges.bins()
                .filter(|bin| Bin::new(&edges, *bin, coding).unwrap().holds(bits)).map(usize::from).collect();
            let value = raw * factor + offset;
            prop_assert_eq!(inside, vec![tenths.iter().filter(|edge| **edge * 10 <= value).count()]);
            let real = Coding::of(ValueType::Float64, 1.0, 0.0);
            let bits = hundredths(value).to_bits();
            let inside = edges.bins().filter(|bin| Bin::new(&edges, *bin, real).unwrap().holds(bits)).count();
            prop_assert_eq!(inside, 1);
        }
    }

    #[test]
    fn what_is_beyond_all_numbers_has_a_bin_and_what_is_none_has_not() {
        let (edges, real) = (edges(&[0, 10]), Coding::of(ValueType::Float64, 1.0, 0.0));
        let bins = |value: f64| -> Vec<u8> {
            let holds = |bin: &u8| Bin::new(&edges, *bin, real).unwrap().holds(value.to_bits());
            edges.bins().filter(holds).collect()
        };
        assert_eq!((bins(f64::NEG_INFINITY), bins(f64::INFINITY)), (vec![0], vec![2]));
        assert_eq!((bins(f64::NAN), bins(1.0), bins(0.0)), (vec![], vec![2], vec![1]));
    }

    #[test]
    fn a_bin_is_told_by_its_edges() {
        let edges = edges(&[-5, 0, 500]);
        let words: Vec<String> = edges.bins().map(|bin| edges.bin_words(bin)).collect();
        assert_eq!(words, ["below -0.5", "-0.5 to 0", "0 to 50", "from 50"]);
        assert_eq!(edges.told(), "-0.5 0 50");
    }
}
