//! Bytes of a flow that were handed to the network, by day (UTC): no day has more than its grant allows. While it is not
//! sure which of two days it is, both have to have room, and both pay.

use crate::names::{FlowId, TrustedTime, UtcDay};
use crate::uplink::Ticket;
use std::collections::BTreeMap;

use super::{Delivery, Flow};

/// Whether a batch has room in what its grant allows for the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighed {
    /// It has.
    Fits,
    /// Not today. It went back, and its flow waits.
    Later,
    /// On no day: it is to be declared lost.
    Never,
}

/// What was handed over of one flow.
#[derive(Debug, Default)]
pub(super) struct Daily {
    sent: BTreeMap<UtcDay, u64>,
    /// What comes next has no room on this day.
    full: Option<UtcDay>,
}

impl Daily {
    /// The last day on which what comes next has to wait.
    pub(super) fn full(&self) -> Option<UtcDay> {
        self.full
    }

    /// Another day begins, or the grant allows another number.
    pub(super) fn look(&mut self, now: Option<TrustedTime>) {
        self.full = self.full.filter(|full| now.is_some_and(|now| UtcDay::of(now.earliest) <= *full));
    }

    /// The last of the days that it may be now on which so much has no room.
    fn without_room(&self, bytes: u64, most: u64, now: TrustedTime) -> Option<UtcDay> {
        if bytes > most {
            return Some(UtcDay::of(now.latest));
        }
        let days = self.sent.range(UtcDay::of(now.earliest)..=UtcDay::of(now.latest));
        days.filter(|(_, sent)| sent.saturating_add(bytes) > most).map(|(day, _)| *day).next_back()
    }

    /// Days that are over are forgotten.
    fn pay(&mut self, bytes: u64, now: TrustedTime) {
        let (first, last) = (UtcDay::of(now.earliest), UtcDay::of(now.latest));
        self.sent.retain(|day, _| *day >= first);
        for day in first.0..=last.0 {
            self.add(UtcDay(day), bytes);
        }
    }

    fn add(&mut self, day: UtcDay, bytes: u64) {
        let sent = self.sent.entry(day).or_default();
        *sent = sent.saturating_add(bytes);
    }
}

impl Delivery {
    /// What the ledger says was handed over before. Until this is called nothing is known, and nothing is published of
    /// flows that have a limit; nor up to the end of `unknown_until`.
    pub fn recall_bytes(&mut self, sent: &BTreeMap<(FlowId, UtcDay), u64>, unknown_until: Option<UtcDay>) {
        self.unknown_until = unknown_until;
        self.flows.values_mut().for_each(|flow| flow.daily = Daily::default());
        for (&(flow, day), &bytes) in sent {
            if !self.withdrawn.contains(&flow) {
                self.flows.entry(flow).or_default().daily.add(day, bytes);
            }
        }
    }

    /// To be asked of each offer before it is written into the ledger: `bytes` is the size of its envelope.
    pub fn weigh(&mut self, ticket: Ticket, bytes: u64, now: Option<TrustedTime>) -> Weighed {
        let Some(flying) = self.in_flight.get_mut(&ticket) else { return Weighed::Later };
        flying.bytes = Some(bytes);
        let id = flying.batch.flow;
        let most = self.flows.get(&id).and_then(Flow::bytes_per_day_max);
        if most.is_some_and(|most| bytes > most) {
            return Weighed::Never;
        }
        let beside = self.in_flight.values().filter(|it| it.batch.flow == id && !it.published);
        let together = beside.filter_map(|it| it.bytes).fold(0, u64::saturating_add);
        let full = now.map(|now| self.without_room(id, together, now));
        if full == Some(None) {
            return Weighed::Fits;
        }
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.daily.full = full.flatten();
        }
        self.returned(ticket);
        Weighed::Later
    }

    /// The last of the days that it may be now on which so much may not be handed over of a flow.
    fn without_room(&self, id: FlowId, bytes: u64, now: TrustedTime) -> Option<UtcDay> {
        let flow = self.flows.get(&id)?;
        let most = flow.bytes_per_day_max()?;
        let unknown = self.unknown_until.filter(|until| UtcDay::of(now.earliest) <= *until);
        unknown.max(flow.daily.without_room(bytes, most, now))
    }

    /// A batch is handed over: asks once more, and counts it.
    pub(super) fn pay(&mut self, id: FlowId, bytes: Option<u64>, now: Option<TrustedTime>) -> bool {
        let Some(now) = now else { return false };
        // Of a flow that has a limit what was not weighed does not go.
        if self.without_room(id, bytes.unwrap_or(u64::MAX), now).is_some() {
            return false;
        }
        if let (Some(flow), Some(bytes)) = (self.flows.get_mut(&id), bytes) {
            flow.daily.pay(bytes, now);
        }
        true
    }
}
