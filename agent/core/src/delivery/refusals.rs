//! Waits of a flow that the broker does not take: 30 s, then twice as long each time up to 15 min, until one is taken.

use crate::limits::{REFUSED_WAIT_S_MAX, REFUSED_WAIT_S_MIN};
use crate::names::Moment;
use crate::uplink::NotTaken;

/// How a flow was refused since a batch of it was taken last.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals {
    in_a_row: u32,
    held: Option<(NotTaken, Moment)>,
}

impl Refusals {
    /// A batch was refused. What was on its way beside it counts with it.
    pub(super) fn refused(&mut self, why: NotTaken, now: Moment) {
        if self.held.is_none() {
            self.held = Some((why, now.plus_us(wait_us(self.in_a_row))));
            self.in_a_row = self.in_a_row.saturating_add(1);
        }
    }

    /// A batch was taken: all is well.
    pub(super) fn taken(&mut self) {
        *self = Self::default();
    }

    /// Ends a wait that is over.
    pub(super) fn look(&mut self, now: Moment) {
        self.held = self.held.filter(|(_, until)| now < *until);
    }

    /// Ends the wait: there is another connection. The next wait is the longer one all the same.
    pub(super) fn again(&mut self) {
        self.held = None;
    }

    /// Why nothing of the flow is offered, and until when.
    pub(super) fn held(&self) -> Option<(NotTaken, Moment)> {
        self.held
    }

    /// Whether one batch has to be taken before there is a second on its way.
    pub(super) fn on_trial(&self) -> bool {
        self.in_a_row > 0
    }
}

fn wait_us(refused_before: u32) -> i64 {
    let factor = 1u64.checked_shl(refused_before.min(32)).unwrap_or(u64::MAX);
    let wait_s = REFUSED_WAIT_S_MIN.saturating_mul(factor).min(REFUSED_WAIT_S_MAX);
    i64::try_from(wait_s * 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour_until_one_is_taken() {
        let (mut refusals, mut now, mut waits) = (Refusals::default(), Moment(5), Vec::new());
        for _ in 0..8 {
            refusals.refused(NotTaken::Quota, now);
            // Its companions change nothing.
            refusals.refused(NotTaken::NoSubscriber, now.plus_us(SECOND));
            let (why, until) = refusals.held().unwrap();
            assert_eq!(why, NotTaken::Quota);
            waits.push((until.0 - now.0) / SECOND);
            refusals.look(Moment(until.0 - 1));
            assert!(refusals.held().is_some());
            refusals.look(until);
            assert!(refusals.held().is_none() && refusals.on_trial());
            now = until;
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900, 900]);
        refusals.taken();
        assert!(!refusals.on_trial());
        refusals.refused(NotTaken::Quota, now);
        refusals.again();
        assert!(refusals.held().is_none());
        refusals.refused(NotTaken::Quota, now);
        assert_eq!(
            refusals.held().unwrap().1.0 - now.0,
            60 * SECOND,
            "another connection makes none shorter"
        );
    }
}
