//! Scales with round numbers on them.

use crate::cli::preview::words;

/// A part of the log, in microseconds after its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// From values to a place between two ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Scale {
    /// Around these; one value alone lies in the middle.
    pub(super) fn around(ranges: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let (min, max) = ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        let room = match max - min {
            0.0 => (min.abs() * 0.1).max(1.0),
            width => width * 0.04,
        };
        let (min, max) = (min - room, max + room);
        (min.is_finite() && max.is_finite() && (max - min).is_finite()).then_some(Self { min, max })
    }

    /// 0 at the lower end, 1 at the upper.
    pub(super) fn part(&self, value: f64) -> f64 {
        (value - self.min) / (self.max - self.min)
    }

    /// Round numbers within, `about` so many.
    pub(super) fn ticks(&self, about: f64) -> Vec<(f64, String)> {
        let step = round_step((self.max - self.min) / about);
        let first = (self.min / step).ceil();
        let numbers = (0..50).map(|at| (first + f64::from(at)) * step);
        numbers.take_while(|value| *value <= self.max).map(|value| (value, tick(value, step))).collect()
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|step| *step >= least).unwrap_or(power * 10.0)
}

/// With as many digits as the step has.
fn tick(value: f64, step: f64) -> String {
    if value.abs() >= 1e7 || step < 1e-4 {
        return words::number(value);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 4")]
    let decimals = (-step.log10().floor()).clamp(0.0, 4.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() { "0".to_owned() } else { text }
}

impl Span {
    /// Microseconds between two ticks that people count in.
    fn step(self) -> i64 {
        const STEPS_S: [i64; 19] = [
            1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400,
            604_800,
        ];
        let length = self.to.saturating_sub(self.from);
        if length < 4_000_000 {
            return [1, 2, 5]
                .into_iter()
                .map(|ms| ms * 100_000)
                .find(|us| length / us <= 8)
                .unwrap_or(1_000_000);
        }
        let fits = STEPS_S.into_iter().map(|s| s * 1_000_000).find(|us| length / us <= 7);
        fits.unwrap_or(length / 7 + 1)
    }

    /// Position (0 to 1) and words of the ticks.
    #[expect(clippy::cast_precision_loss, reason = "for a plot")]
    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        let (step, length) = (self.step(), self.to.saturating_sub(self.from).max(1));
        let first = self.from.div_euclid(step) + i64::from(self.from.rem_euclid(step) > 0);
        let times = (0..20).map(|at| (first + at).saturating_mul(step)).take_while(|time| *time <= self.to);
        times.map(|time| ((time - self.from) as f64 / length as f64, clock(time, step))).collect()
    }
}

/// `1:05`, `1:02:03`, or `0.5` where seconds are divided.
#[expect(clippy::cast_precision_loss, reason = "seconds")]
fn clock(us: i64, step: i64) -> String {
    if step < 1_000_000 {
        return format!("{:.1} s", us as f64 / 1e6);
    }
    let seconds = us / 1_000_000;
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{rest:02}") } else { format!("{minutes}:{rest:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words_of(ticks: Vec<(f64, String)>) -> Vec<String> {
        ticks.into_iter().map(|(_, words)| words).collect()
    }

    #[test]
    fn ticks_are_round() {
        let scale = Scale { min: -1.2, max: 131.0 };
        assert_eq!(words_of(scale.ticks(4.0)), ["0", "50", "100"]);
        assert_eq!(words_of(Scale { min: 0.0, max: 0.9 }.ticks(4.0)), ["0", "0.5"]);
        assert_eq!(words_of(Scale { min: 47.96, max: 48.21 }.ticks(4.0)), ["48.0", "48.1", "48.2"]);
        let minute = Span { from: 0, to: 60_000_000 };
        assert_eq!(words_of(minute.ticks()), ["0:00", "0:10", "0:20", "0:30", "0:40", "0:50", "1:00"]);
        let later = Span { from: 3_590_000_000, to: 3_606_000_000 };
        assert_eq!(words_of(later.ticks()), ["59:50", "59:55", "1:00:00", "1:00:05"]);
        assert_eq!(words_of(Span { from: 0, to: 1_000_000 }.ticks())[1], "0.2 s");
    }

    #[test]
    fn a_scale_has_room_and_none_is_made_of_nothing() {
        assert_eq!(Scale::around(std::iter::empty()), None);
        assert_eq!(Scale::around([(f64::MIN, f64::MAX)].into_iter()), None);
        let flat = Scale::around([(5.0, 5.0)].into_iter());
        assert_eq!(flat.map(|scale| scale.part(5.0)), Some(0.5));
    }

    proptest! {
        /// Few ticks, in their order and within, whatever the range.
        #[test]
        fn ticks_are_few(a in -1e12f64..1e12, width in 1e-6f64..1e12, from in 0i64..1 << 50, length in 1i64..1 << 50) {
            if let Some(scale) = Scale::around([(a, a + width)].into_iter()) {
                let ticks = scale.ticks(4.0);
                prop_assert!(ticks.len() <= 10, "{ticks:?}");
                prop_assert!(ticks.iter().all(|(value, _)| (-0.001..=1.001).contains(&scale.part(*value))));
            }
            let ticks = Span { from, to: from + length }.ticks();
            prop_assert!(ticks.len() <= 12, "{ticks:?}");
            prop_assert!(ticks.iter().all(|(part, _)| (0.0..=1.0).contains(part)));
        }
    }
}
