//! What came and what went of one series: counts, values, and what a plot needs.

use std::collections::BTreeMap;
use std::ops::Range;

use super::trace::Trace;

/// Columns of a plot; one is a pixel.
pub(super) const COLUMNS: usize = 420;
/// Columns of a coordinate: a route has more corners than a plot has pixels.
pub(super) const ROUTE_COLUMNS: usize = 2_000;
/// Series that are drawn: each of them takes 17 KiB. Of more only counts and ranges are kept.
pub(super) const SERIES_DRAWN_MAX: usize = 4_000;
/// Cells of the map that are remembered of one place.
pub(super) const CELLS_MAX: usize = 1_000;
/// Sample values that are shown.
const EXAMPLES: usize = 4;
/// While they are gathered.
const EXAMPLES_HELD_MAX: usize = 16;

/// One series.
#[derive(Debug)]
pub(super) struct Tally {
    /// Samples.
    pub(super) count: u64,
    /// Of these, states: not available, error, out of range.
    pub(super) valueless: u64,
    /// Values as numbers; cells are none.
    pub(super) trace: Trace,
    /// How often each cell was told.
    pub(super) cells: BTreeMap<u64, u64>,
    /// Samples of more cells than are remembered.
    pub(super) other_cells: u64,
    /// Its part of the sealed bytes.
    pub(super) bytes: f64,
    /// It is among what was asked to be seen.
    pub(super) is_shown: bool,
    examples: Vec<String>,
    /// Every so many samples are kept as an example.
    stride: u64,
}

/// A sample that is counted.
pub(super) enum Seen {
    Number(f64),
    Cell(u64),
    Nothing,
}

impl Tally {
    pub(super) fn new(span: Range<i64>, columns: usize) -> Self {
        Self {
            count: 0,
            valueless: 0,
            trace: Trace::new(span, columns),
            cells: BTreeMap::new(),
            other_cells: 0,
            bytes: 0.0,
            is_shown: true,
            examples: Vec::new(),
            stride: 1,
        }
    }

    /// Counts a sample.
    pub(super) fn add(&mut self, time_us: i64, seen: &Seen) {
        self.count += 1;
        match *seen {
            Seen::Number(value) => self.trace.add(time_us, value),
            Seen::Cell(cell) if self.cells.len() < CELLS_MAX || self.cells.contains_key(&cell) => {
                *self.cells.entry(cell).or_default() += 1;
            }
            Seen::Cell(_) => self.other_cells += 1,
            Seen::Nothing => self.valueless += 1,
        }
    }

    /// Keeps the sample that was added last as an example, if its turn has come.
    pub(super) fn example(&mut self, text: impl FnOnce() -> String) {
        if !(self.count - 1).is_multiple_of(self.stride) {
            return;
        }
        self.examples.push(text());
        if self.examples.len() > EXAMPLES_HELD_MAX {
            let mut at = 0;
            self.examples.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.stride *= 2;
        }
    }

    /// A few of its values, from all over the drive.
    pub(super) fn examples(&self) -> Vec<String> {
        let every = self.examples.len().div_ceil(EXAMPLES).max(1);
        self.examples.iter().step_by(every).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_few_and_from_all_over() {
        let mut tally = Tally::new(0..100_000, COLUMNS);
        for number in 0..100_000i64 {
            tally.add(number, &Seen::Nothing);
            tally.example(|| number.to_string());
        }
        let numbers: Vec<i64> = tally.examples().iter().filter_map(|text| text.parse().ok()).collect();
        assert!(numbers.len() <= EXAMPLES && numbers.len() >= 3, "{numbers:?}");
        assert!(numbers[0] == 0 && numbers[numbers.len() - 1] > 50_000, "{numbers:?}");
        assert_eq!((tally.count, tally.valueless), (100_000, 100_000));
    }

    #[test]
    fn cells_are_bounded() {
        let mut tally = Tally::new(0..1, 1);
        (0..2 * CELLS_MAX as u64).for_each(|cell| tally.add(0, &Seen::Cell(cell)));
        tally.add(0, &Seen::Cell(0));
        assert_eq!((tally.cells.len(), tally.cells[&0]), (CELLS_MAX, 2));
        assert_eq!(tally.other_cells, CELLS_MAX as u64);
    }
}
