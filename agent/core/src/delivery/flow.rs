//! One flow in delivery: what of it waits, and when it has its turn.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::daily::Daily;
use super::refusals::Refusals;
use crate::limits::LIVE_OFFERS_IN_A_ROW_MAX;
use crate::names::{TrustedTime, WallTime};
use crate::outbox::{Position, Priority};
use crate::uplink::Ticket;

/// A flow may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// Before this time.
    pub until: WallTime,
    /// In this class.
    pub priority: Priority,
    /// Each batch so long after it was stored, in microseconds; 0: at once.
    pub hold_back_us: i64,
    /// So many bytes of envelopes a day at most; `None`: nobody says so.
    pub bytes_per_day_max: Option<u64>,
}

impl Permission {
    /// In force, and the time is known well enough to say so (invariant 3).
    pub(super) fn holds(&self, now: Option<TrustedTime>) -> bool {
        now.is_some_and(|now| now.latest < self.until)
    }
}

/// It was on its way already, so its time had come.
const LONG_AGO: WallTime = WallTime(i64::MIN);

/// What is known of a flow.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Stored and not on its way, with the time from which a holding back counts, if that is known.
    waiting: BTreeMap<Position, Option<WallTime>>,
    newest: Option<Position>,
    /// What is not later than this was stored before the present connection.
    backlog: Option<Position>,
    pub(super) permission: Option<Permission>,
    pub(super) refusals: Refusals,
    pub(super) daily: Daily,
    /// The last offer of it: whoever was not served for the longest is next.
    served: Option<Ticket>,
}

/// The order of flows that are ready: the least comes first.
type Rank = (Reverse<Priority>, bool, Option<Ticket>);

impl Flow {
    pub(super) fn store(&mut self, position: Position, stored: Option<WallTime>) {
        self.waiting.insert(position, stored);
        self.newest = self.newest.max(Some(position));
    }

    /// It was on its way and is not any more: it is next of its flow again.
    pub(super) fn put_back(&mut self, position: Position) {
        self.waiting.insert(position, Some(LONG_AGO));
    }

    /// The next one may be sent: surely so long ago was it stored. A time that is not known counts from when it was
    /// first looked at.
    pub(super) fn is_due(&self, now: Option<TrustedTime>) -> bool {
        let hold_back_us = self.permission.map_or(0, |permission| permission.hold_back_us);
        let (Some(now), Some((_, stored))) = (now, self.waiting.first_key_value()) else { return false };
        hold_back_us == 0
            || stored.is_some_and(|stored| now.earliest.0.saturating_sub(hold_back_us) >= stored.0)
    }

    pub(super) fn bytes_per_day_max(&self) -> Option<u64> {
        self.permission.and_then(|permission| permission.bytes_per_day_max)
    }

    /// Another day may have begun. From when batches of unknown time are held back.
    pub(super) fn look(&mut self, now: TrustedTime) {
        self.daily.look(Some(now));
        if self.permission.is_some_and(|permission| permission.hold_back_us > 0) {
            for stored in self.waiting.values_mut() {
                stored.get_or_insert(now.latest);
            }
        }
    }

    pub(super) fn remove(&mut self, position: Position) {
        self.waiting.remove(&position);
    }

    pub(super) fn serve(&mut self, ticket: Ticket) -> Option<Position> {
        self.served = Some(ticket);
        self.waiting.pop_first().map(|(position, _)| position)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A new connection: what is there now is backlog.
    pub(super) fn connected(&mut self) {
        self.backlog = self.newest;
        self.refusals.again();
    }

    /// Whether the next batch is later than the connection; `None` if none waits.
    pub(super) fn is_live(&self) -> Option<bool> {
        self.waiting.first_key_value().map(|(next, _)| Some(*next) > self.backlog)
    }

    /// Its place among those that are ready; `None` if nothing of it waits.
    pub(super) fn rank(&self, turns: Turns) -> Option<Rank> {
        let class = self.permission?.priority;
        Some((Reverse(class), self.is_live()? != turns.live_first(class), self.served))
    }
}

/// Offers in a row that live flows had while others of their class may have waited.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turns([u8; 3]);

impl Turns {
    fn live_first(self, class: Priority) -> bool {
        self.0[class as usize] < LIVE_OFFERS_IN_A_ROW_MAX
    }

    pub(super) fn had(&mut self, class: Priority, live: bool) {
        let row = &mut self.0[class as usize];
        *row = if live { row.saturating_add(1) } else { 0 };
    }
}
