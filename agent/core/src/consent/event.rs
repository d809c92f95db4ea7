//! Events: what consent let through is kept for a while and leaves only around one. The event is seen in the samples as they
//! leave, coarse and thinned, and only in those of its own flow: so when it happens tells nothing that the grant does not.
//!
//! ```text
//! Consented ─▶ seen: `when` false ▶ true? ─ no ─▶ kept, the newest of before_s
//!                      │ yes: what is kept leaves, and all that comes until after_s are over
//! ```

use super::document::event::EventCondition;
use super::effective::{FlowRules, SignalRules};
use super::gate::Consented;
use super::transform::{Coding, Rule};
use crate::decode::State;
use crate::decode::math::Expression;
use crate::limits::EVENT_SAMPLES_MAX;
use crate::names::Moment;
use std::collections::VecDeque;

/// An event in the numbers of its flow's signals.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    when: Expression,
    before_us: i64,
    after_us: i64,
    min_interval_us: i64,
}

impl Occasion {
    /// `None`: a signal in it does not leave, or leaves as something that is no number.
    #[must_use]
    pub fn new(event: &EventCondition, signals: &[SignalRules]) -> Option<Self> {
        let paths: Vec<_> = signals.iter().map(|signal| &signal.path).collect();
        let when = event.expression(&paths).ok()?;
        let seen = |number: usize| {
            let alone = signals.iter().filter(|other| other.path == signals[number].path).count() == 1;
            matches!(signals[number].permitted, Rule::Pass(transform) if alone && transform.geo_cell.is_none())
        };
        if !when.variables().all(seen) {
            return None;
        }
        let us = |seconds: u32| i64::from(seconds) * 1_000_000;
        let EventCondition { before_s, after_s, min_interval_s, .. } = event;
        let (before_us, after_us, min_interval_us) = (us(*before_s), us(*after_s), us(*min_interval_s));
        Some(Self { when, before_us, after_us, min_interval_us })
    }
}

/// What one flow recorded and did not send, and whether its event is going on.
#[derive(Debug)]
pub struct Recorder {
    occasion: Occasion,
    codings: Vec<Coding>,
    /// The last value of each signal; not a number if there is none.
    values: Vec<f64>,
    /// What `when` was when it last had a value. The first one is no event: nobody saw it become true.
    was: Option<bool>,
    last: Option<Moment>,
    /// All leaves up to here.
    until: Option<Moment>,
    kept: VecDeque<Consented>,
    /// Samples that had to go for newer ones, and the stamp of the newest of them.
    gone: Option<(Moment, u64)>,
}

impl Recorder {
    /// Of a flow that waits for an event; the last one was then.
    #[must_use]
    pub fn new(rules: &FlowRules, last: Option<Moment>) -> Option<Self> {
        let occasion = rules.event.clone()?;
        let codings: Vec<Coding> = rules.signals.iter().map(SignalRules::coding).collect();
        let values = vec![f64::NAN; codings.len()];
        let kept = VecDeque::new();
        Some(Self { occasion, codings, values, was: None, last, until: None, kept, gone: None })
    }

    /// When the last event was.
    #[must_use]
    pub fn last(&self) -> Option<Moment> {
        self.last
    }

    /// Of what is kept only this goes on: the rest may not leave any more, or its stamps lie on edges of an old clock.
    pub fn keep_only(&mut self, goes_on: impl Fn(&Consented) -> bool) {
        self.kept.retain(goes_on);
    }

    /// Takes a sample and passes on what leaves by it, oldest first. Answers how many should have, and had to go before.
    pub fn take(&mut self, sample: &Consented, mut pass: impl FnMut(&Consented)) -> u64 {
        let now = sample.moment();
        self.forget_before(now);
        let mut lost = 0;
        if self.happens(sample) {
            (self.last, self.until) = (Some(now), Some(now.plus_us(self.occasion.after_us)));
            self.kept.drain(..).for_each(|kept| pass(&kept));
            lost = self.gone.take().map_or(0, |(_, samples)| samples);
            pass(sample);
        } else if self.until.is_some_and(|until| now <= until) {
            pass(sample);
        } else {
            self.keep(sample);
        }
        lost
    }

    /// Whether `when` becomes true by this sample, and may be an event again.
    fn happens(&mut self, sample: &Consented) -> bool {
        let number = usize::from(sample.signal());
        let (Some(value), Some(coding)) = (self.values.get_mut(number), self.codings.get(number)) else {
            return false;
        };
        *value = if sample.state() == State::Value { coding.value(sample.bits()) } else { f64::NAN };
        let Some(is) = self.occasion.when.evaluate(&self.values).map(|result| result != 0.0) else {
            return false;
        };
        let rose = is && self.was == Some(false);
        self.was = Some(is);
        let passed = |last: Moment| sample.moment().0.saturating_sub(last.0) >= self.occasion.min_interval_us;
        rose && self.last.is_none_or(passed)
    }

    fn keep(&mut self, sample: &Consented) {
        if self.kept.len() >= EVENT_SAMPLES_MAX
            && let Some(oldest) = self.kept.pop_front()
        {
            let before = self.gone.map_or(0, |(_, samples)| samples);
            self.gone = Some((oldest.moment(), before + 1));
        }
        self.kept.push_back(*sample);
    }

    /// What is too old to leave with an event now.
    fn forget_before(&mut self, now: Moment) {
        let first = now.0.saturating_sub(self.occasion.before_us);
        while self.kept.front().is_some_and(|oldest| oldest.moment().0 < first) {
            self.kept.pop_front();
        }
        self.gone = self.gone.filter(|(newest, _)| newest.0 >= first);
    }
}
