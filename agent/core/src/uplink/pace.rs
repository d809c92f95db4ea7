//! The rate limit: how soon the next PUBLISH may go. A token bucket, kept as the moment at which all that was sent will
//! be paid for.
//!
//! ```text
//!   sent 3 packets           paid: each packet moves it on by its own time at the rate
//!   ────┬──────────────────────┬───────▶ t
//!      now      owed           │          a packet may go while at most the burst is owed
//! ```

use crate::limits::UPLINK_BURST_MS;
use crate::names::Moment;

/// A rate, and what is owed to it. In any time `t` no more goes out than `rate · (t + UPLINK_BURST_MS)` and the one
/// packet that went last, which is never cut.
#[derive(Debug, Clone)]
pub struct Pace {
    kbit_s: Option<u32>,
    paid: Moment,
}

impl Pace {
    /// `kbit_s` is in 1,000 bit/s; `None` is no limit.
    #[must_use]
    pub fn new(kbit_s: Option<u32>) -> Self {
        Self { kbit_s, paid: Moment(i64::MIN) }
    }

    /// The moment from which on the next packet may go; `None`: now.
    #[must_use]
    pub fn not_before(&self, now: Moment) -> Option<Moment> {
        self.kbit_s?;
        let free = Moment(self.paid.0.saturating_sub(burst_us()));
        (free > now).then_some(free)
    }

    /// A packet of so many bytes went, whether it was its time or not.
    pub fn sent(&mut self, bytes: usize, now: Moment) {
        let Some(kbit_s) = self.kbit_s else { return };
        // bit ÷ kbit/s is milliseconds; rounded up, so that small packets are not free.
        let bits = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(8_000);
        let cost_us = bits.div_ceil(u64::from(kbit_s.max(1)));
        let from = self.paid.max(now);
        self.paid = Moment(from.0.saturating_add(i64::try_from(cost_us).unwrap_or(i64::MAX)));
    }
}

fn burst_us() -> i64 {
    i64::try_from(UPLINK_BURST_MS * 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that `kbit_s` allows in `us`.
    fn allowed(kbit_s: u32, us: i64) -> f64 {
        f64::from(kbit_s) * 1_000.0 / 8.0 * (us as f64) / 1e6
    }

    proptest! {
        /// Who asks before each packet keeps to the rate in every span of time, and none waits longer than what was sent
        /// before it takes at the rate.
        #[test]
        fn invariant_9_no_span_of_time_has_more_than_rate_and_burst(
            kbit_s in 1..10_000_u32,
            packets in prop::collection::vec((1..270_000_usize, 0..3_000_000_i64), 1..80),
        ) {
            let mut pace = Pace::new(Some(kbit_s));
            let mut now = Moment(0);
            let mut sent: Vec<(Moment, usize)> = Vec::new();
            for (bytes, idle_us) in packets {
                now = now.plus_us(idle_us);
                if let Some(free) = pace.not_before(now) {
                    let owed: usize = sent.iter().map(|(_, bytes)| bytes).sum();
                    prop_assert!(allowed(kbit_s, free.0 - now.0) <= owed as f64 + 1.0, "waits longer than for what was sent");
                    prop_assert!(pace.not_before(Moment(free.0 - 1)).is_some());
                    now = free;
                }
                prop_assert_eq!(pace.not_before(now), None);
                pace.sent(bytes, now);
                sent.push((now, bytes));
            }
            for from in 0..sent.len() {
                for to in from..sent.len() {
                    let before_last: usize = sent[from..to].iter().map(|(_, bytes)| bytes).sum();
                    let span = sent[to].0.0 - sent[from].0.0 + burst_us();
                    prop_assert!(before_last as f64 <= allowed(kbit_s, span) + 1.0);
                }
            }
        }
    }

    #[test]
    fn without_a_limit_nothing_waits_and_an_answer_out_of_turn_is_paid_for() {
        let mut pace = Pace::new(None);
        pace.sent(usize::MAX, Moment(0));
        assert_eq!(pace.not_before(Moment(0)), None);
        let mut pace = Pace::new(Some(8));
        pace.sent(1_000, Moment(0));
        assert_eq!(pace.not_before(Moment(0)), None, "a second's worth is the burst");
        pace.sent(500, Moment(0));
        assert_eq!(pace.not_before(Moment(0)), Some(Moment(500_000)));
        pace.sent(500, Moment(0));
        assert_eq!(pace.not_before(Moment(0)), Some(Moment(1_000_000)), "what went out of turn is owed too");
        pace.sent(usize::MAX, Moment(0));
        assert_eq!(pace.not_before(Moment(i64::MAX)), None, "and nothing overflows");
    }
}
