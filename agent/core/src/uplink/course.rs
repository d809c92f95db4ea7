//! Connection states, which broker is next, and how long to wait before it.
//!
//! ```text
//!            wanted                 connected               ended
//!   Away ───────────▶ Connecting ─────────────▶ Connected ─────────▶ Waiting(until) ──▶ Connecting
//!     ◀── not wanted ──────┴────────────────────────┴────────────────────┘
//!
//!   a round:  1st ─ failed ▶ short wait ▶ 2nd ─ failed ▶ short wait ▶ 3rd ─ failed ▶ back-off ▶ 1st …
//! ```

use super::ConnectionNumber;
use crate::limits::{BACKOFF_MAX_MS, BACKOFF_MIN_MS, UPLINK_HELD_MS};
use crate::names::Moment;

/// Waits between rounds: full jitter, so that a million cars do not come back in the same second.
/// The n-th wait in a row is drawn evenly from 0 to `BACKOFF_MIN_MS` · 2ⁿ, at most `BACKOFF_MAX_MS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait in milliseconds; `random` is 64 fresh random bits.
    pub fn next_ms(&mut self, random: u64) -> u64 {
        self.failures = self.failures.saturating_add(1);
        drawn(random, self.ceiling_ms())
    }

    /// The longest that the last wait could be.
    #[must_use]
    pub fn ceiling_ms(&self) -> u64 {
        let factor = 1u64.checked_shl(self.failures.min(32)).unwrap_or(u64::MAX);
        BACKOFF_MIN_MS.saturating_mul(factor).min(BACKOFF_MAX_MS)
    }

    /// Starts anew: the connection held.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Evenly from 0 to `most`, of 64 random bits. The product's upper half is even but for `most` in 2⁶⁴.
#[must_use]
pub fn drawn(random: u64, most: u64) -> u64 {
    u64::try_from((u128::from(random) * (u128::from(most) + 1)) >> 64).unwrap_or(most)
}

/// What the uplink is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Told to stay away.
    Away,
    /// Opening a connection.
    Connecting,
    /// A broker has taken us.
    Connected {
        /// Which connection.
        number: ConnectionNumber,
        /// Since when.
        since: Moment,
    },
    /// The next attempt is at this moment.
    Waiting {
        /// When.
        until: Moment,
    },
}

/// How a connection, or the attempt to make one, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It failed, or was lost.
    Lost,
    /// We cut it off: no fault of the broker, which is next again.
    Cut,
    /// We left in order, to be at this broker at once.
    Rebuilt {
        /// Its place in the list.
        broker: usize,
    },
}

/// The connection states and the rule of going from one to the next.
#[derive(Debug, Clone)]
pub struct Course {
    state: State,
    wanted: bool,
    backoff: Backoff,
    number: ConnectionNumber,
    /// On this connection a batch was acknowledged.
    delivered: bool,
    brokers: usize,
    broker: usize,
}

impl Course {
    /// For so many brokers, at least one.
    #[must_use]
    pub fn new(brokers: usize) -> Self {
        Self {
            state: State::Connecting,
            wanted: true,
            backoff: Backoff::default(),
            number: ConnectionNumber::default(),
            delivered: false,
            brokers: brokers.max(1),
            broker: 0,
        }
    }

    /// What to do now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The place in the list of the broker that is tried or connected.
    #[must_use]
    pub fn broker(&self) -> usize {
        self.broker
    }

    /// The broker took us.
    pub fn connected(&mut self, now: Moment) -> ConnectionNumber {
        self.number = ConnectionNumber(self.number.0.wrapping_add(1));
        self.state = State::Connected { number: self.number, since: now };
        self.delivered = false;
        self.number
    }

    /// The broker has acknowledged a batch on this connection: it did its work, however soon it ends. Where coverage
    /// flaps every few seconds, no connection holds for long, and waits that grow would keep the car away from a
    /// broker that takes something each time.
    pub fn delivered(&mut self) {
        self.delivered = true;
    }

    /// The connection, or the attempt, ended. `random` is 64 fresh random bits. A connection that neither
    /// held nor delivered counts as a failed attempt, or a broker that takes us and lets us go would keep us from the
    /// next for ever.
    pub fn ended(&mut self, end: End, now: Moment, random: u64) -> State {
        let held = self.held(now);
        if held {
            self.backoff.reset();
        }
        let wait_ms = match end {
            End::Rebuilt { broker } => {
                self.broker = broker.min(self.brokers - 1);
                0
            }
            End::Cut => drawn(random, BACKOFF_MIN_MS),
            End::Lost if !held && self.broker + 1 < self.brokers => {
                self.broker += 1;
                drawn(random, BACKOFF_MIN_MS)
            }
            End::Lost => {
                self.broker = 0;
                self.backoff.next_ms(random)
            }
        };
        let wait_us = i64::try_from(wait_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        self.state = if self.wanted { State::Waiting { until: now.plus_us(wait_us) } } else { State::Away };
        self.state
    }

    fn held(&self, now: Moment) -> bool {
        let enough = i64::try_from(UPLINK_HELD_MS * 1_000).unwrap_or(i64::MAX);
        let State::Connected { since, .. } = self.state else { return false };
        self.delivered || now.0.saturating_sub(since.0) >= enough
    }

    /// The wait is over.
    pub fn waited(&mut self) {
        if matches!(self.state, State::Waiting { .. }) {
            self.state = State::Connecting;
        }
    }

    /// Whether there is to be a connection. Coming back from [`State::Away`] is at once, and begins with the first
    /// broker; a wait is not shortened.
    pub fn want(&mut self, wanted: bool) {
        self.wanted = wanted;
        match self.state {
            State::Away if wanted => (self.state, self.broker) = (State::Connecting, 0),
            State::Waiting { .. } | State::Connecting if !wanted => self.state = State::Away,
            _ => {}
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_lies_between_zero_and_its_ceiling(randoms in prop::collection::vec(any::<u64>(), 1..64)) {
            let mut backoff = Backoff::default();
            let mut before = 0;
            for random in randoms {
                let wait = backoff.next_ms(random);
                prop_assert!(wait <= backoff.ceiling_ms());
                prop_assert!(backoff.ceiling_ms() >= before && backoff.ceiling_ms() <= BACKOFF_MAX_MS);
                before = backoff.ceiling_ms();
            }
            backoff.reset();
            backoff.next_ms(0);
            prop_assert_eq!(backoff.ceiling_ms(), 2 * BACKOFF_MIN_MS);
        }

        /// Whatever fails when: a round begins with the first broker, goes on in order, and only a whole round, or a
        /// connection that held or delivered, is followed by the back-off; all other waits are short.
        #[test]
        fn a_round_tries_the_brokers_in_order(brokers in 1..6_usize, steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0..120_000_u64, any::<u64>()), 1..60)) {
            let mut course = Course::new(brokers);
            let mut now = Moment(0);
            let mut fails_in_a_row = 0;
            prop_assert_eq!(course.broker(), 0);
            for (connects, delivers, lasts_ms, random) in steps {
                prop_assert_eq!(course.state(), State::Connecting);
                let before = course.broker();
                if connects {
                    course.connected(now);
                    if delivers {
                        course.delivered();
                    }
                }
                now = now.plus_us(i64::try_from(lasts_ms * 1_000).unwrap());
                let held = connects && (delivers || lasts_ms >= UPLINK_HELD_MS);
                let State::Waiting { until } = course.ended(End::Lost, now, random) else {
                    prop_assert!(false, "not waiting");
                    return Ok(());
                };
                let wait_ms = u64::try_from((until.0 - now.0) / 1_000).unwrap();
                if held || before + 1 == brokers {
                    fails_in_a_row = if held { 1 } else { fails_in_a_row + 1 };
                    prop_assert_eq!(course.broker(), 0);
                    prop_assert!(wait_ms <= (BACKOFF_MIN_MS << fails_in_a_row.min(20)).min(BACKOFF_MAX_MS));
                    prop_assert_eq!(course.backoff.failures, fails_in_a_row);
                } else {
                    prop_assert_eq!(course.broker(), before + 1);
                    prop_assert!(wait_ms <= BACKOFF_MIN_MS);
                }
                now = until;
                course.waited();
            }
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let mut backoff = Backoff::default();
        let mut seen = [0u32; 10];
        for step in 0..10_000u64 {
            backoff.reset();
            let wait = backoff.next_ms(step * (u64::MAX / 10_000));
            seen[usize::try_from(wait * 10 / (2 * BACKOFF_MIN_MS + 1)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (900..1_100).contains(count)), "{seen:?}");
    }

    #[test]
    fn only_a_connection_that_held_or_delivered_starts_the_backoff_anew() {
        let mut course = Course::new(1);
        let mut now = Moment(0);
        for _ in 0..8 {
            assert_eq!(course.state(), State::Connecting);
            course.connected(now);
            now = now.plus_us(1_000_000);
            course.ended(End::Lost, now, u64::MAX);
            course.waited();
        }
        assert_eq!(course.backoff.ceiling_ms(), BACKOFF_MIN_MS << 8);
        assert_eq!(course.connected(now), ConnectionNumber(9));
        now = now.plus_us(60_000_000);
        let wait = i64::try_from(2 * BACKOFF_MIN_MS * 1_000).unwrap();
        assert_eq!(course.ended(End::Lost, now, u64::MAX), State::Waiting { until: now.plus_us(wait) });
        for _ in 0..8 {
            course.waited();
            course.connected(now);
            course.delivered();
            assert_eq!(course.ended(End::Lost, now, u64::MAX), State::Waiting { until: now.plus_us(wait) });
        }
        course.waited();
        course.connected(now);
        assert_eq!(
            course.ended(End::Lost, now, u64::MAX),
            State::Waiting { until: now.plus_us(2 * wait) },
            "only its own"
        );
    }

    #[test]
    fn who_cuts_or_rebuilds_is_back_soon_and_where_it_was_meant() {
        let mut course = Course::new(3);
        course.ended(End::Lost, Moment(0), 0);
        course.waited();
        course.connected(Moment(0));
        let soon = Moment(i64::try_from(BACKOFF_MIN_MS * 1_000).unwrap());
        assert_eq!(course.ended(End::Cut, Moment(0), u64::MAX), State::Waiting { until: soon });
        assert_eq!((course.broker(), course.backoff.failures), (1, 0), "no fault of the broker");
        course.waited();
        course.connected(Moment(0));
        let end = End::Rebuilt { broker: 0 };
        assert_eq!(course.ended(end, Moment(7), u64::MAX), State::Waiting { until: Moment(7) });
        assert_eq!((course.broker(), course.backoff.failures), (0, 0));
    }

    #[test]
    fn who_is_told_to_stay_away_does() {
        let mut course = Course::new(2);
        course.want(false);
        assert_eq!(course.state(), State::Away);
        course.want(true);
        assert_eq!(course.state(), State::Connecting);
        course.connected(Moment(0));
        course.want(false);
        assert_eq!(course.ended(End::Lost, Moment(5), 7), State::Away);
        course.waited();
        assert_eq!((course.state(), course.broker()), (State::Away, 1));
        course.want(true);
        assert_eq!((course.state(), course.broker()), (State::Connecting, 0));
    }
}
