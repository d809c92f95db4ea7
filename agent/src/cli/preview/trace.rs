//! A series of any length in so many columns of time, each with what a plot needs of it: a long log costs no more than a
//! short one, and no peak is lost.

use std::ops::Range;

/// What was seen within one column of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Column {
    pub(super) first: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) last: f64,
}

impl Column {
    fn of(value: f64) -> Self {
        Self { first: value, min: value, max: value, last: value }
    }

    /// With what came later.
    fn and(self, later: Self) -> Self {
        Self {
            first: self.first,
            min: self.min.min(later.min),
            max: self.max.max(later.max),
            last: later.last,
        }
    }
}

/// Columns over a span of time.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    /// Microseconds, from the first to behind the last.
    span: Range<i64>,
    columns: Vec<Option<Column>>,
}

impl Trace {
    /// `count` columns, all empty.
    pub(super) fn new(span: Range<i64>, count: usize) -> Self {
        Self { span, columns: vec![None; count.max(1)] }
    }

    /// Adds a value in the order of time; what lies outside of the span, as the beginning of a window does, counts at its
    /// edge. Of what is no number nothing is kept.
    pub(super) fn add(&mut self, time_us: i64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let at = self.index(time_us);
        let column = &mut self.columns[at];
        *column = Some(column.map_or(Column::of(value), |column| column.and(Column::of(value))));
    }

    fn index(&self, time_us: i64) -> usize {
        let length = i128::from(self.span.end).saturating_sub(self.span.start.into()).max(1);
        let since = i128::from(time_us).saturating_sub(self.span.start.into()).max(0);
        let last = self.columns.len() - 1;
        usize::try_from(since * self.columns.len() as i128 / length).unwrap_or(last).min(last)
    }

    /// The same in about `count` columns, at most as many as there are: position (0 to 1) and column of those that are
    /// not empty.
    pub(super) fn columns(&self, count: usize) -> Vec<(f64, Column)> {
        let together = self.columns.len().div_ceil(count.max(1));
        let groups = self.columns.chunks(together).enumerate();
        let group = |(at, columns): (usize, &[Option<Column>])| {
            let column = columns.iter().flatten().copied().reduce(Column::and)?;
            Some((share(at * together * 2 + columns.len(), self.columns.len() * 2), column))
        };
        groups.filter_map(group).collect()
    }

    /// Whether it is more than a range.
    pub(super) fn is_drawn(&self) -> bool {
        self.columns.len() > 1
    }

    /// Smallest and largest value.
    pub(super) fn range(&self) -> Option<(f64, f64)> {
        let all = self.columns.iter().flatten().copied().reduce(Column::and)?;
        Some((all.min, all.max))
    }

    /// Two coordinates that came together, column by column.
    pub(super) fn beside<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (f64, f64)> + 'a {
        let both = self.columns.iter().zip(&other.columns);
        both.filter_map(|(a, b)| Some((a.as_ref()?.last, b.as_ref()?.last)))
    }
}

/// Part of a whole, both small.
#[expect(clippy::cast_precision_loss, reason = "columns are some hundreds")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_column_keeps_its_first_last_and_peaks() {
        let mut trace = Trace::new(0..100, 4);
        for (time, value) in [(0, 5.0), (1, 9.0), (2, -3.0), (24, 4.0), (25, 1.0), (99, 2.0)] {
            trace.add(time, value);
        }
        trace.add(50, f64::NAN);
        let first = Column { first: 5.0, min: -3.0, max: 9.0, last: 4.0 };
        let expected = vec![(0.125, first), (0.375, Column::of(1.0)), (0.875, Column::of(2.0))];
        assert_eq!(trace.columns(4), expected);
        assert_eq!(trace.columns(1_000), expected, "never more than there are");
        let halves = vec![(0.25, first.and(Column::of(1.0))), (0.75, Column::of(2.0))];
        assert_eq!(trace.columns(2), halves);
        assert_eq!(trace.range(), Some((-3.0, 9.0)));
    }

    #[test]
    fn what_lies_outside_counts_at_the_edge() {
        let mut trace = Trace::new(1_000..2_000, 10);
        trace.add(i64::MIN, 1.0);
        trace.add(i64::MAX, 2.0);
        trace.add(2_000, 3.0);
        let last = Column { first: 2.0, min: 2.0, max: 3.0, last: 3.0 };
        assert_eq!(trace.columns(10), vec![(0.05, Column::of(1.0)), (0.95, last)]);
        Trace::new(5..5, 0).add(5, 1.0);
    }

    proptest! {
        /// Whatever comes, it is bounded, and smallest and largest are those of all.
        #[test]
        fn no_peak_is_lost_and_no_column_added(
            values in prop::collection::vec((0i64..1_000_000, -1e6f64..1e6), 1..400), count in 1usize..50,
        ) {
            let mut trace = Trace::new(0..1_000_000, 40);
            values.iter().for_each(|(time, value)| trace.add(*time, *value));
            let columns = trace.columns(count);
            prop_assert!(columns.len() <= count);
            prop_assert!(columns.is_sorted_by(|a, b| a.0 < b.0));
            let all = values.iter().map(|(_, value)| *value);
            let (min, max) = (all.clone().fold(f64::MAX, f64::min), all.fold(f64::MIN, f64::max));
            prop_assert_eq!(columns.iter().map(|(_, it)| it.min).fold(f64::MAX, f64::min), min);
            prop_assert_eq!(columns.iter().map(|(_, it)| it.max).fold(f64::MIN, f64::max), max);
            prop_assert_eq!(trace.range(), Some((min, max)));
        }
    }
}
