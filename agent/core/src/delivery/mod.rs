//! Joins outbox, gate, uplink and ledger: what may be sent now, what an acknowledgement or a withdrawal means.
//!
//! ```text
//! stored ─▶ waiting ─offer▶ offered ─recorded▶ published ─acked▶ gone
//!              ▲      (ledger entry is being written)  │
//!              └──── disconnected, returned, refused ──┘        withdraw: whatever the state, never again
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::{BatchRef, DropReason};
use crate::limits::UPLINK_WINDOW_MESSAGES;
use crate::names::{FlowId, TrustedTime, WallTime};
use crate::outbox::{BatchId, LossReason, Position};
use crate::uplink::{NotTaken, Ticket};

impl From<BatchId> for BatchRef {
    fn from(batch: BatchId) -> Self {
        Self { flow: batch.flow, epoch: batch.epoch, sequence: batch.sequence }
    }
}

impl From<LossReason> for DropReason {
    fn from(reason: LossReason) -> Self {
        match reason {
            LossReason::Quota => Self::Quota,
            LossReason::Overload => Self::Overload,
            LossReason::Narrowed => Self::Narrowed,
            LossReason::Corrupt => Self::Corrupt,
            LossReason::Refused => Self::Refused,
            LossReason::Age => Self::Age,
        }
    }
}

/// A batch that may be sent as soon as the ledger has an entry of it. Not yet for the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Says which handing-over.
    pub ticket: Ticket,
    /// Says which batch.
    pub batch: BatchId,
}

/// A batch that is in the ledger and may go to the network now. Made only by [`Delivery::recorded`] (invariant 11).
#[derive(Debug, PartialEq, Eq)]
pub struct Publish {
    ticket: Ticket,
    batch: BatchId,
}

impl Publish {
    /// Says which handing-over.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Says which batch.
    #[must_use]
    pub fn batch(&self) -> BatchId {
        self.batch
    }
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    batch: BatchId,
    published: bool,
}

#[derive(Debug, Default)]
struct Flow {
    stored: BTreeSet<Position>,
    /// The broker does not take it now: nothing of it is offered until [`Delivery::retry`].
    held: bool,
}

/// What may be sent now. Knows what is stored, what is permitted, what is on its way.
#[derive(Debug)]
pub struct Delivery {
    flows: BTreeMap<FlowId, Flow>,
    permitted: BTreeMap<FlowId, WallTime>,
    withdrawn: BTreeSet<FlowId>,
    in_flight: BTreeMap<Ticket, InFlight>,
    next_ticket: u64,
    window: usize,
    connected: bool,
    turn: Option<FlowId>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self::new(UPLINK_WINDOW_MESSAGES)
    }
}

impl Delivery {
    /// Nothing stored, nothing permitted, not connected. At most `window` batches are on their way at once.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self {
            flows: BTreeMap::new(),
            permitted: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            next_ticket: 0,
            window,
            connected: false,
            turn: None,
        }
    }

    /// A batch is durable: it may be offered. Of a withdrawn flow it is not even noted.
    pub fn stored(&mut self, batch: BatchId) {
        if !self.withdrawn.contains(&batch.flow) {
            self.flows.entry(batch.flow).or_default().stored.insert(batch.position());
        }
    }

    /// A batch was dropped: it is not offered any more. Its acknowledgement, if one still comes, means nothing.
    pub fn dropped(&mut self, batch: BatchId) {
        self.remove(batch);
        self.in_flight.retain(|_, flying| flying.batch != batch);
    }

    /// The flows that are permitted now, each until before its time. Replaces the set; called whenever the gate is
    /// swapped. What a flow has on its way when it is no longer permitted stays on its way; a withdrawal is
    /// [`Self::withdraw`].
    pub fn permit(&mut self, live_until: BTreeMap<FlowId, WallTime>) {
        self.permitted = live_until;
    }

    /// There is a connection: all that is stored is offered again, from the oldest.
    pub fn connected(&mut self) {
        self.go_back();
        self.connected = true;
    }

    /// The connection is gone, with what was on its way.
    pub fn disconnected(&mut self) {
        self.go_back();
        self.connected = false;
    }

    fn go_back(&mut self) {
        self.in_flight.clear();
        self.retry();
    }

    /// Permitted, and the time is known well enough to say so (invariant 3).
    fn live(&self, flow: FlowId, now: Option<TrustedTime>) -> bool {
        let until = self.permitted.get(&flow).filter(|_| !self.withdrawn.contains(&flow));
        until.zip(now).is_some_and(|(until, now)| now.latest < *until)
    }

    fn next_of(&self, flow: FlowId) -> Option<Position> {
        let known = self.flows.get(&flow).filter(|known| !known.held)?;
        // At most a window's worth is passed over.
        let flying = |position: &Position| self.in_flight.values().any(|it| it.batch == position.of(flow));
        known.stored.iter().copied().find(|position| !flying(position))
    }

    /// The next batch to send: the oldest of a permitted flow, the flows in turn. `None` without connection,
    /// permission or trusted time, or when the window is full. Write the ledger entry, then call
    /// [`Self::recorded`].
    pub fn offer(&mut self, now: Option<TrustedTime>) -> Option<Offer> {
        if !self.connected || self.in_flight.len() >= self.window {
            return None;
        }
        let later = self.flows.keys().filter(|flow| Some(**flow) > self.turn);
        let order = later.chain(self.flows.keys().filter(|flow| Some(**flow) <= self.turn)).copied();
        let mut ready = order.filter(|flow| self.live(*flow, now));
        let (flow, position) = ready.find_map(|flow| self.next_of(flow).map(|position| (flow, position)))?;
        let ticket = Ticket(self.next_ticket);
        let batch = position.of(flow);
        self.next_ticket += 1;
        self.turn = Some(flow);
        self.in_flight.insert(ticket, InFlight { batch, published: false });
        Some(Offer { ticket, batch })
    }

    /// The ledger entry of an offer is durable. The gate is asked once more: `None` if it says no by now, or the
    /// offer went back with its connection.
    pub fn recorded(&mut self, ticket: Ticket, now: Option<TrustedTime>) -> Option<Publish> {
        let batch = self.in_flight.get(&ticket).filter(|flying| !flying.published)?.batch;
        if !self.live(batch.flow, now) {
            self.in_flight.remove(&ticket);
            return None;
        }
        self.in_flight.get_mut(&ticket)?.published = true;
        Some(Publish { ticket, batch })
    }

    /// The broker has it. Answers which batch may be deleted; `None` for a ticket that is not valid any more.
    pub fn acked(&mut self, ticket: Ticket) -> Option<BatchId> {
        self.in_flight.get(&ticket).filter(|flying| flying.published)?;
        let batch = self.in_flight.remove(&ticket)?.batch;
        self.remove(batch);
        Some(batch)
    }

    /// The broker did not take it. Answers the batch if no later attempt can succeed: it is to be declared lost
    /// ([`LossReason::Refused`]). Else it stays, and its flow waits for [`Self::retry`].
    pub fn refused(&mut self, ticket: Ticket, why: NotTaken) -> Option<BatchId> {
        let batch = self.in_flight.remove(&ticket)?.batch;
        match why {
            NotTaken::TooLarge { .. } | NotTaken::Other(_) => {
                self.remove(batch);
                return Some(batch);
            }
            // An access list may be mended: the cap decides how long it is kept.
            NotTaken::NoSubscriber | NotTaken::Quota | NotTaken::NotAuthorised => {
                if let Some(flow) = self.flows.get_mut(&batch.flow) {
                    flow.held = true;
                }
            }
            NotTaken::Crowded => {}
        }
        None
    }

    /// It was not handed over after all: it is offered again, next of its flow.
    pub fn returned(&mut self, ticket: Ticket) {
        self.in_flight.remove(&ticket);
    }

    /// The flows that the broker did not take are tried again.
    pub fn retry(&mut self) {
        for flow in self.flows.values_mut() {
            flow.held = false;
        }
    }

    /// Nothing of `flow` is offered any more, whatever is stored or permitted later: a flow never comes back after
    /// a withdrawal (invariant 5). Answers what is on its way, which is perhaps sent: if there is any, close the
    /// connection without lingering and call [`Self::disconnected`].
    pub fn withdraw(&mut self, flow: FlowId) -> Vec<BatchId> {
        self.withdrawn.insert(flow);
        self.permitted.remove(&flow);
        self.flows.remove(&flow);
        let published = self.in_flight.values().filter(|it| it.batch.flow == flow && it.published);
        let perhaps_sent = published.map(|flying| flying.batch).collect();
        self.in_flight.retain(|_, flying| flying.batch.flow != flow);
        perhaps_sent
    }

    /// Batches on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Batches stored and not yet acknowledged.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.flows.values().map(|flow| flow.stored.len()).sum()
    }

    fn remove(&mut self, batch: BatchId) {
        if let Some(flow) = self.flows.get_mut(&batch.flow) {
            flow.stored.remove(&batch.position());
        }
    }
}

#[cfg(test)]
mod tests;
