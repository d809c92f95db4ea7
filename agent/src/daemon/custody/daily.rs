//! Bytes a day: what a grant allows is counted by the ledger, which has each offer before it goes to the network, so the
//! count outlives a restart and a cut of power without a file of its own.

use std::collections::BTreeMap;

use glovebox_core::delivery::{Offer, Weighed};
use glovebox_core::ledger::{Entry, Event};
use glovebox_core::limits::{CLOCK_DRIFT_US, LEDGER_PAGE_ENTRIES_MAX};
use glovebox_core::names::{FlowId, TrustedTime, UtcDay, WallTime};
use glovebox_core::outbox::LossReason;
use glovebox_core::seal::Sealed;

use super::Custody;
use crate::ledger::Ledger;
use crate::store::StoreError;

/// Bytes by flow and day.
type Sent = BTreeMap<(FlowId, UtcDay), u64>;

impl Custody {
    /// Looks into the ledger, once a run, as soon as a flow has a limit and the time is known.
    pub(super) fn recall_bytes(&mut self) {
        let Some(now) = self.now().filter(|_| self.state.has_limit && !self.state.recalled) else { return };
        let (sent, unknown) = match sent(&self.ledger, now) {
            Ok((sent, whole)) => (sent, !whole),
            Err(error) => {
                tracing::error!(target: "ledger", %error, "not read: what was sent today is not known");
                (Sent::new(), true)
            }
        };
        let unknown_until = unknown.then(|| UtcDay::of(now.latest));
        if let Some(today) = unknown_until {
            tracing::warn!(target: "uplink", day = today.0, "flows with a limit of bytes a day wait for tomorrow");
        }
        self.delivery.recall_bytes(&sent, unknown_until);
        self.state.recalled = true;
    }

    /// Whether an offer has room in what its grant allows for the day. What never has is declared lost.
    pub(super) fn has_room(&mut self, offer: Offer, sealed: &Sealed) -> bool {
        let bytes = sealed.envelope().len() as u64;
        match self.delivery.weigh(offer.ticket, bytes, self.now()) {
            Weighed::Fits => true,
            Weighed::Later => false,
            Weighed::Never => {
                let batch = offer.batch;
                tracing::warn!(target: "outbox", %batch, bytes, "larger than all bytes of a day: declared as lost");
                if let Err(error) = self.outbox.lost(batch, LossReason::Quota) {
                    tracing::error!(target: "outbox", %batch, %error, "a loss could not be noted");
                }
                self.drop_what_was_dropped();
                false
            }
        }
    }
}

/// What was offered today and later, newest entries first; and whether that is all.
fn sent(ledger: &Ledger, now: TrustedTime) -> Result<(Sent, bool), StoreError> {
    let (today, start) = (UtcDay::of(now.earliest), ledger.start().number);
    let (mut sent, mut whole, mut end) = (Sent::new(), !ledger.in_doubt(), ledger.head().number);
    while end > start {
        let begin = start.max(end.saturating_sub(LEDGER_PAGE_ENTRIES_MAX as u64));
        let mut page = ledger.read(begin + 1)?;
        page.retain(|entry| entry.number <= end);
        whole &= page.len() as u64 == end - begin;
        page.iter().for_each(|entry| add(&mut sent, entry));
        if page.iter().any(|entry| last_day(entry).is_some_and(|day| day < today)) {
            return Ok((sent, whole));
        }
        // It begins anew, today as it seems: the old one may have more of today.
        whole &= !page.iter().any(|entry| entry.record.event == Event::Restarted);
        end = begin;
    }
    Ok((sent, whole && start == 0))
}

fn add(sent: &mut Sent, entry: &Entry) {
    let record = &entry.record;
    let (Event::Offered, Some(batch), Some(time)) = (record.event, record.batch, record.time) else { return };
    let last = last_day(entry).unwrap_or(UtcDay::MAX);
    for day in UtcDay::of(time).0..=last.0 {
        let bytes = sent.entry((batch.flow, UtcDay(day))).or_default();
        *bytes = bytes.saturating_add(record.bytes);
    }
}

/// An entry has the earliest time that it may have been, by a clock that was perhaps not synchronised.
fn last_day(entry: &Entry) -> Option<UtcDay> {
    entry.record.time.map(|time| UtcDay::of(WallTime(time.0.saturating_add(2 * CLOCK_DRIFT_US))))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use glovebox_core::ledger::{BatchRef, Record};
    use glovebox_core::names::{Epoch, Sequence};

    use super::*;
    use crate::ledger::Config;
    use crate::store::{Opened, Store};

    const DAY_US: i64 = 86_400_000_000;
    const NOON: i64 = 20_783 * DAY_US + DAY_US / 2;
    const TODAY: UtcDay = UtcDay(20_783);

    fn open(dir: &std::path::Path, config: Config, set_aside: bool) -> Ledger {
        let (store, opened) = Store::open(dir).unwrap();
        let opened = if set_aside { Opened::SetAside(dir.join("old")) } else { opened };
        Ledger::open(store.table("ledger").unwrap(), &opened, config).unwrap()
    }

    fn offered(flow: u64, time: i64, bytes: u64) -> Record {
        let mut record = Record::new(Some(WallTime(time)), Event::Offered);
        let (epoch, sequence) = (Epoch { counter: 1, tag: 1 }, Sequence(1));
        record.batch = Some(BatchRef { flow: FlowId(flow), epoch, sequence });
        record.bytes = bytes;
        record
    }

    fn now() -> TrustedTime {
        TrustedTime { earliest: WallTime(NOON - 1), latest: WallTime(NOON + 1) }
    }

    #[test]
    fn the_ledger_says_what_was_sent_today_by_each_flow_over_many_pages() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = open(folder.path(), Config::default(), false);
        let midnight = TODAY.0 * DAY_US;
        ledger.append((0..2_000).map(|_| offered(1, midnight - DAY_US / 2, 1)).collect()).unwrap();
        // The earliest that it may have been; it may have been today.
        ledger.append(vec![offered(1, midnight - 1, 5)]).unwrap();
        let mut stored = offered(1, NOON, 1_000_000);
        stored.event = Event::Stored;
        ledger.append(vec![stored, Record::new(None, Event::Acked)]).unwrap();
        ledger.append((0..3_000).map(|_| offered(1, NOON, 2)).collect()).unwrap();
        ledger.append(vec![offered(2, NOON, 7)]).unwrap();
        let (sent, whole) = sent(&ledger, now()).unwrap();
        assert!(whole, "there is an entry that is older than today");
        assert_eq!((sent[&(FlowId(1), TODAY)], sent[&(FlowId(2), TODAY)]), (6_005, 7));
    }

    #[test]
    fn a_ledger_that_was_cut_or_set_aside_today_does_not_know_all() {
        let folder = tempfile::tempdir().unwrap();
        let small = Config { entries_max: 50, entries_truncated: 20 };
        let mut cut = open(&folder.path().join("cut"), small, false);
        assert!(sent(&cut, now()).unwrap().1, "nothing was ever sent");
        for _ in 0..60 {
            cut.append(vec![offered(1, NOON, 1)]).unwrap();
        }
        assert!(!sent(&cut, now()).unwrap().1);
        let mut anew = open(&folder.path().join("anew"), Config::default(), true);
        assert!(!sent(&anew, now()).unwrap().1);
        anew.append(vec![offered(1, NOON - DAY_US, 1), offered(1, NOON, 3)]).unwrap();
        let (sent, whole) = sent(&anew, now()).unwrap();
        assert!(whole && sent[&(FlowId(1), TODAY)] == 3, "it was set aside yesterday");
    }
}
