//! What is true of the drive, and what each company must therefore have opened: the transforms written a second time,
//! from their description in the format, sharing no code with the gate.

use std::collections::BTreeMap;

use crate::story::{Asked, Company};

/// All readings of all signals, in the order of the bus.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Path and unit.
    signals: Vec<(String, String)>,
    readings: Vec<Reading>,
}

/// One reading; `value` is missing where the signal said that it has none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) time_us: i64,
    signal: usize,
    value: Option<f64>,
}

/// Stamps and values, by path.
pub(crate) type Samples = BTreeMap<String, Vec<(i64, Option<f64>)>>;

impl Truth {
    pub(crate) fn new(signals: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { signals: signals.into_iter().collect(), readings: Vec::new() }
    }

    pub(crate) fn add(&mut self, time_us: i64, signal: usize, value: f64) {
        self.readings.push(Reading { time_us, signal, value: Some(value) });
    }

    /// The same for a signal that is perhaps new, and a reading that is perhaps none.
    pub(crate) fn add_named(
        &mut self,
        time_us: i64,
        path: &str,
        unit: &str,
        value: Option<f64>,
        known: &mut BTreeMap<String, usize>,
    ) {
        let signal = *known.entry(path.to_owned()).or_insert_with(|| {
            self.signals.push((path.to_owned(), unit.to_owned()));
            self.signals.len() - 1
        });
        self.readings.push(Reading { time_us, signal, value });
    }

    pub(crate) fn signals(&self) -> &[(String, String)] {
        &self.signals
    }

    pub(crate) fn readings(&self) -> impl Iterator<Item = (i64, usize, Option<f64>)> + '_ {
        self.readings.iter().map(|reading| (reading.time_us, reading.signal, reading.value))
    }

    /// First and last stamp.
    pub(crate) fn span_us(&self) -> (i64, i64) {
        let times = || self.readings.iter().map(|reading| reading.time_us);
        (times().min().unwrap_or(0), times().max().unwrap_or(0))
    }

    /// Readings with a value of one signal.
    #[cfg(test)]
    pub(crate) fn of<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (i64, f64)> + 'a {
        let wanted = self.signals.iter().position(|(own, _)| own == path);
        let of = self.readings.iter().filter(move |reading| Some(reading.signal) == wanted);
        of.filter_map(|reading| Some((reading.time_us, reading.value?)))
    }

    /// What `company` must have opened by the end of the drive.
    pub(crate) fn expected(&self, company: &Company) -> Samples {
        let mut samples = Samples::new();
        let rules: Vec<Option<&Asked>> = self
            .signals
            .iter()
            .map(|(path, _)| company.asked.iter().find(|asked| asked.path == *path && asked.is_granted))
            .collect();
        let mut last: Vec<Option<i64>> = vec![None; rules.len()];
        for reading in &self.readings {
            let Some(asked) = rules[reading.signal] else { continue };
            let gap_us = asked.rate_ms().unwrap_or(0) * 1000;
            if last[reading.signal].is_some_and(|before| reading.time_us - before < gap_us) {
                continue;
            }
            last[reading.signal] = Some(reading.time_us);
            let value = reading.value.map(|value| asked.step().map_or(value, |step| cell(value, step)));
            let stamp = reading.time_us.div_euclid(1000) * 1000;
            samples.entry(asked.path.clone()).or_default().push((stamp, value));
        }
        samples
    }
}

/// The lower edge of the cell of width `step`. What lies a millionth below an edge is taken for the edge: doubles
/// miss decimals by that little, and no signal here is so fine.
fn cell(value: f64, step: f64) -> f64 {
    (value / step + 1e-6).floor() * step
}

/// Where two sets of samples differ; `is_prefix`: `got` may end early. Both are compared in the order of time.
pub(crate) fn differences(expected: &Samples, got: &Samples, is_prefix: bool) -> Vec<String> {
    let mut found = Vec::new();
    for path in got.keys().filter(|path| !expected.contains_key(*path)) {
        found.push(format!("{path} was opened and must not be"));
    }
    for (path, expected) in expected {
        let (expected, got) = (sorted(expected), got.get(path).map(|got| sorted(got)).unwrap_or_default());
        if got.len() > expected.len() || (!is_prefix && got.len() < expected.len()) {
            found.push(format!("{path}: {} samples instead of {}", got.len(), expected.len()));
        }
        if let Some(at) = expected.iter().zip(&got).position(|(a, b)| a.0 != b.0 || !is_near(a.1, b.1)) {
            found.push(format!("{path}: sample {at} is {:?} instead of {:?}", got[at], expected[at]));
        }
    }
    found
}

fn sorted(samples: &[(i64, Option<f64>)]) -> Vec<(i64, Option<f64>)> {
    let mut sorted = samples.to_vec();
    sorted.sort_by_key(|(time, _)| *time);
    sorted
}

fn is_near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3),
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn company(asked: Asked) -> Company {
        Company { asked: vec![asked], ..Company::default() }
    }

    #[test]
    fn rate_and_cells_are_as_described() {
        let mut truth = Truth::new([("A".to_owned(), String::new())]);
        for (time_ms, value) in [(0, 0.9), (400, 1.9), (1000, 2.0), (1999, 7.0), (2001, -0.1)] {
            truth.add(time_ms * 1000 + 7, 0, value);
        }
        let asked = Asked { rate: Some(1000), is_granted: true, floor_step: Some(1.0), ..Asked::new("A") };
        let samples = truth.expected(&company(asked.clone()));
        let times = [(0, Some(0.0)), (1_000_000, Some(2.0)), (2_001_000, Some(-1.0))];
        assert_eq!(samples["A"], times);
        let refused = Asked { is_granted: false, ..asked };
        assert!(truth.expected(&company(refused)).is_empty());
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let one = |values: &[(i64, f64)]| -> Samples {
            [("A".to_owned(), values.iter().map(|(t, v)| (*t, Some(*v))).collect())].into()
        };
        let expected = one(&[(1, 1.0), (2, 2.0)]);
        assert!(differences(&expected, &expected, false).is_empty());
        assert!(differences(&expected, &one(&[(1, 1.0)]), true).is_empty());
        assert_eq!(differences(&expected, &one(&[(1, 1.0)]), false).len(), 1);
        assert_eq!(differences(&expected, &one(&[(1, 1.0), (2, 2.1)]), true).len(), 1);
        assert_eq!(differences(&expected, &one(&[(2, 2.0)]), true).len(), 1);
        assert_eq!(differences(&expected, &one(&[(1, 1.0), (2, 2.0), (3, 3.0)]), true).len(), 1);
        let strange: Samples = [("B".to_owned(), Vec::new())].into();
        assert_eq!(differences(&Samples::new(), &strange, true).len(), 1);
    }
}
