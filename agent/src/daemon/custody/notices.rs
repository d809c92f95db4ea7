//! Notices on their way ([0032](../../../decisions/0032-a-recipient-is-asked-to-erase.md)). A notice is no data: it goes out
//! although nothing of its grant may. Neither permission, pause, suspension nor a doubt about the time holds it up, only the
//! network and the ledger, in which it is before it is offered.

use std::collections::BTreeSet;

use glovebox_core::ledger::{BatchRef, Event, Record};
use glovebox_core::limits::{
    NOTICE_AGE_US_MAX, NOTICES_IN_FLIGHT_MAX, REFUSED_WAIT_S_MAX, REFUSED_WAIT_S_MIN,
};
use glovebox_core::names::{FlowId, Moment, WallTime};
use glovebox_core::uplink::{ConnectionNumber, NotTaken, Ticket};

use super::Custody;
use crate::health::NoticeStatus;
use crate::notice_store::{Notice, NoticeError, NoticeStore};
use crate::sealer::StrictVerifier;
use crate::uplink;

/// Tickets of notices; those of batches count from 0 and do not come so far.
const FIRST_TICKET: u64 = 1 << 63;

/// What waits, and where it lies.
#[derive(Default)]
pub struct Notices {
    store: Option<NoticeStore>,
    waiting: Vec<Waiting>,
    tickets: u64,
    /// Not to be looked at before the next start: sent and not removed from the disk, or not to be read.
    done: BTreeSet<FlowId>,
    /// What was said of the folder last.
    told: Option<String>,
}

struct Waiting {
    notice: Notice,
    /// On its way.
    ticket: Option<Ticket>,
    /// The broker did not take it: why, and when it is tried again.
    refused: Option<(NotTaken, Moment)>,
    wait_s: u64,
}

impl Waiting {
    fn expires(&self) -> WallTime {
        WallTime(self.notice.at.0.saturating_add(NOTICE_AGE_US_MAX))
    }
}

impl Notices {
    /// Those that lie in `store`.
    #[must_use]
    pub fn of(store: NoticeStore) -> Self {
        Self { store: Some(store), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The connection is gone, with what was on its way.
    pub(super) fn disconnected(&mut self) {
        for waiting in &mut self.waiting {
            (waiting.ticket, waiting.refused) = (None, None);
        }
    }

    fn position(&self, ticket: Ticket) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.ticket == Some(ticket))
    }

    /// Removes it here and from the disk.
    fn forget(&mut self, at: usize) -> Notice {
        let Waiting { notice, .. } = self.waiting.remove(at);
        self.remove(notice.flow());
        notice
    }

    fn remove(&mut self, flow: FlowId) {
        let removed = self.store.as_ref().map_or(Ok(()), |store| store.remove(flow));
        if let Err(error) = removed {
            tracing::error!(target: "outbox", %flow, %error, "a notice is not removed: it is sent again after the next start");
            self.done.insert(flow);
        }
    }

    /// Flows whose notice counts, and that are not known here.
    fn new_ones(&mut self) -> Vec<FlowId> {
        let flows = self.store.as_ref().map_or(Ok(Vec::new()), NoticeStore::flows);
        let told = flows.as_ref().err().map(ToString::to_string);
        if let Some(error) = told.as_ref().filter(|told| self.told.as_ref() != Some(told)) {
            tracing::error!(target: "outbox", %error, "notices cannot be looked for");
        }
        self.told = told;
        let mut flows = flows.unwrap_or_default();
        flows.retain(|flow| {
            !self.done.contains(flow) && self.waiting.iter().all(|waiting| waiting.notice.flow() != *flow)
        });
        flows
    }
}

impl Custody {
    /// Takes up what was withdrawn since the last look, and gives up what is too old. Once a second and after each act: the
    /// folder has few files, or is not there.
    pub(super) fn look_for_notices(&mut self) {
        for flow in self.notices.new_ones() {
            let read = self.notices.store.as_ref().map(|store| store.read(flow, &StrictVerifier));
            match read {
                Some(Ok(notice)) => {
                    let waiting = Waiting { notice, ticket: None, refused: None, wait_s: 0 };
                    self.notices.waiting.push(waiting);
                }
                Some(Err(error)) => self.not_read(flow, &error),
                None => {}
            }
        }
        let Some(now) = self.now() else { return };
        let is_over = |waiting: &Waiting| waiting.ticket.is_none() && waiting.expires() <= now.earliest;
        while let Some(at) = self.notices.waiting.iter().position(is_over) {
            let notice = self.notices.forget(at);
            tracing::warn!(target: "outbox", recipient = %notice.recipient, "a notice was never sent and is too old");
            self.note_notice(Event::NoticeDropped, &notice);
        }
    }

    /// A damaged one is given up; one that cannot be read now may be at the next start.
    fn not_read(&mut self, flow: FlowId, error: &NoticeError) {
        tracing::error!(target: "outbox", %flow, %error, "a recipient is not asked to erase: ask it yourself");
        if !matches!(error, NoticeError::Damaged { .. }) {
            self.notices.done.insert(flow);
            return;
        }
        self.notices.remove(flow);
        let mut record = self.record(Event::NoticeDropped, flow);
        record.batch = Some(BatchRef::flow(flow));
        self.state.notes.push(record);
    }

    /// Hands to the network what waits, before any batch; each is in the ledger before.
    pub(super) fn offer_notices(&mut self, connection: ConnectionNumber) {
        let now = self.clock.monotonic();
        let all = &self.notices.waiting;
        let free = NOTICES_IN_FLIGHT_MAX.saturating_sub(all.iter().filter(|it| it.ticket.is_some()).count());
        let is_due = |it: &Waiting| it.ticket.is_none() && it.refused.is_none_or(|(_, again)| again <= now);
        let due: Vec<usize> = (0..all.len()).filter(|at| is_due(&all[*at])).take(free).collect();
        let records: Vec<Record> =
            due.iter().map(|at| self.about_notice(Event::NoticeOffered, &all[*at].notice)).collect();
        if records.is_empty() || !self.write_with(records) {
            return;
        }
        for at in due {
            let ticket = Ticket(FIRST_TICKET.saturating_add(self.notices.tickets));
            let notice = &self.notices.waiting[at].notice;
            let topic = glovebox_core::wire::batch_topic(&notice.recipient, notice.sealed.header());
            let payload = notice.sealed.envelope().to_vec();
            let command = uplink::Command::Publish { connection, ticket, topic, payload };
            if self.uplink.try_send(command).is_ok() {
                self.notices.tickets += 1;
                self.notices.waiting[at].ticket = Some(ticket);
            }
        }
    }

    /// The broker has it; false if it was no notice.
    pub(super) fn notice_acked(&mut self, ticket: Ticket) -> bool {
        let Some(at) = self.notices.position(ticket) else { return false };
        let notice = self.notices.forget(at);
        tracing::info!(target: "uplink", recipient = %notice.recipient, "asked to erase what it has");
        self.note_notice(Event::NoticeAcked, &notice);
        true
    }

    /// The broker did not take it: whatever the reason, it is tried again until it is too old. False if it was no notice.
    pub(super) fn notice_refused(&mut self, ticket: Ticket, why: NotTaken) -> bool {
        let Some(at) = self.notices.position(ticket) else { return false };
        let now = self.clock.monotonic();
        let waiting = &mut self.notices.waiting[at];
        waiting.wait_s = waiting.wait_s.saturating_mul(2).clamp(REFUSED_WAIT_S_MIN, REFUSED_WAIT_S_MAX);
        let wait_us = i64::try_from(waiting.wait_s.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        (waiting.ticket, waiting.refused) = (None, Some((why, now.plus_us(wait_us))));
        tracing::warn!(target: "uplink", reason = %why, again_s = waiting.wait_s, "a notice was not taken");
        true
    }

    /// How each is, for whoever asks.
    pub(super) fn notice_states(&self) -> Vec<NoticeStatus> {
        let now = self.clock.monotonic();
        let state = |waiting: &Waiting| match (waiting.ticket, waiting.refused) {
            (Some(_), _) => "on its way".to_owned(),
            (None, _) if self.state.connection.is_none() => "waits for a network".to_owned(),
            (None, Some((why, again))) => {
                let left_s = again.0.saturating_sub(now.0).max(0) / 1_000_000;
                format!("{why}; tried again in {left_s} s")
            }
            (None, None) => "goes out now".to_owned(),
        };
        let status = |waiting: &Waiting| NoticeStatus {
            recipient: waiting.notice.recipient.clone(),
            since: waiting.notice.at,
            until: waiting.expires(),
            state: state(waiting),
        };
        self.notices.waiting.iter().map(status).collect()
    }

    fn note_notice(&mut self, event: Event, notice: &Notice) {
        let record = self.about_notice(event, notice);
        self.state.notes.push(record);
    }

    fn about_notice(&self, event: Event, notice: &Notice) -> Record {
        let header = notice.sealed.header();
        let (flow, epoch, sequence) = (header.flow, header.epoch, header.sequence);
        let mut record = self.record(event, flow);
        record.recipient = Some(notice.recipient.clone());
        record.batch = Some(BatchRef { flow, epoch, sequence });
        (record.bytes, record.digest) = (notice.sealed.envelope().len() as u64, notice.sealed.digest());
        record
    }
}
