//! A set of sequence numbers as ranges; bounded, because a car that skips every second number must not fill memory.

use std::collections::BTreeMap;

/// Ranges that one set keeps; beyond, neighbours are joined.
const RANGES_MAX: usize = 4_096;

/// Numbers by ranges: first -> last, both inside, never touching.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl From<Vec<(u64, u64)>> for Ranges {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut ranges = Self::default();
        pairs.into_iter().for_each(|(first, last)| ranges.insert(first, last));
        ranges
    }
}

impl From<Ranges> for Vec<(u64, u64)> {
    fn from(ranges: Ranges) -> Self {
        ranges.iter().collect()
    }
}

impl Ranges {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(first, last)| (*first, *last))
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// Adds `first..=last`; nothing if that is empty.
    pub(crate) fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        // Every range that overlaps or touches becomes part of the new one.
        while let Some((from, to)) = self.0.range(..=last.saturating_add(1)).next_back() {
            let (from, to) = (*from, *to);
            if to.saturating_add(1) < first {
                break;
            }
            self.0.remove(&from);
            (first, last) = (first.min(from), last.max(to));
        }
        self.0.insert(first, last);
        if self.0.len() > RANGES_MAX {
            self.join_oldest();
        }
    }

    /// Takes `first..=last` out.
    pub(crate) fn remove(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        while let Some((from, to)) = self.0.range(..=last).next_back() {
            let (from, to) = (*from, *to);
            if to < first {
                break;
            }
            self.0.remove(&from);
            if from < first {
                self.0.insert(from, first - 1);
            }
            if to > last {
                self.0.insert(last + 1, to);
            }
        }
    }

    /// What of `first..=last` is inside.
    pub(crate) fn within(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let cut = |(from, to): (u64, u64)| (from.max(first), to.min(last));
        self.iter().map(cut).filter(|(from, to)| from <= to).collect()
    }

    /// Numbers between two ranges then count as members: what came might be output twice, but never not at all.
    fn join_oldest(&mut self) {
        if let (Some((first, _)), Some((_, last))) = (self.0.pop_first(), self.0.pop_first()) {
            self.0.insert(first, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..8), 0..60)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (add, first, length) in steps {
                let numbers = first..first + length;
                if add {
                    if length > 0 {
                        ranges.insert(first, first + length - 1);
                    }
                    model.extend(numbers);
                } else if length > 0 {
                    ranges.remove(first, first + length - 1);
                    numbers.for_each(|number| { model.remove(&number); });
                }
                let all: Vec<u64> = ranges.iter().flat_map(|(first, last)| first..=last).collect();
                prop_assert_eq!(&all, &model.iter().copied().collect::<Vec<_>>());
                prop_assert!((0..70).all(|number| ranges.contains(number) == model.contains(&number)));
                let apart = ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 + 1 < b.0);
                prop_assert!(apart, "ranges touch: {:?}", ranges);
                let part: Vec<u64> = ranges.within(10, 20).iter().flat_map(|(a, b)| *a..=*b).collect();
                prop_assert_eq!(part, model.range(10..=20).copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn stays_bounded_and_never_forgets() {
        let mut ranges = Ranges::default();
        (0..10_000).for_each(|number| ranges.insert(2 * number, 2 * number));
        assert!(ranges.iter().count() <= RANGES_MAX);
        assert!((0..10_000).all(|number| ranges.contains(2 * number)));
        ranges.insert(0, u64::MAX);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, u64::MAX)]);
        ranges.remove(5, u64::MAX);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, 4)]);
    }
}
