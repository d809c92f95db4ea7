//! Joins outbox, gate, uplink and ledger: what may be sent now, what an acknowledgement or a withdrawal means.
//!
//! ```text
//! stored ─▶ waiting ─offer▶ offered ─recorded▶ published ─acked▶ gone
//!              ▲      (ledger entry is being written)  │
//!              └──── disconnected, returned, refused ──┘        withdraw: whatever the state, never again
//!
//! whose turn:  class ▶ live before backlog ▶ whoever was not served for the longest      (decisions/0012)
//! ```

mod daily;
mod flow;
mod only_when;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::{BatchRef, DropReason};
use crate::limits::UPLINK_WINDOW_MESSAGES;
use crate::names::{FlowId, Moment, TrustedTime, UtcDay, WallTime};
use crate::outbox::{BatchId, LossReason};
use crate::uplink::{NotTaken, Ticket};
pub use daily::Weighed;
pub use flow::Permission;
use flow::{Flow, Turns};
pub use only_when::{Network, NetworkKind, Networks, OnlyWhen, Situation};

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
    /// Of its envelope, once it was weighed.
    bytes: Option<u64>,
}

/// Why nothing is offered of a flow that is permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The broker did not take it.
    NotTaken {
        /// Why.
        why: NotTaken,
        /// When it is tried again.
        again: Moment,
    },
    /// Its class has to wait: for what, in words.
    Waits(String),
}

/// What may be sent now. Knows what is stored, what is permitted, what is on its way.
#[derive(Debug)]
pub struct Delivery {
    flows: BTreeMap<FlowId, Flow>,
    withdrawn: BTreeSet<FlowId>,
    in_flight: BTreeMap<Ticket, InFlight>,
    /// Handed to the network and dropped since: not ours any more, but perhaps still on their way.
    strays: BTreeMap<Ticket, BatchId>,
    next_ticket: u64,
    window: usize,
    connected: bool,
    turns: Turns,
    only_when: OnlyWhen,
    situation: Situation,
    /// Why the classes of `only_when` have to wait now.
    waits: Option<String>,
    /// Up to this day nobody knows what was sent.
    unknown_until: Option<UtcDay>,
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
            withdrawn: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            strays: BTreeMap::new(),
            next_ticket: 0,
            window,
            connected: false,
            turns: Turns::default(),
            only_when: OnlyWhen::default(),
            situation: Situation::default(),
            waits: None,
            unknown_until: Some(UtcDay::MAX),
        }
    }

    /// The same, with what some classes have to wait for.
    #[must_use]
    pub fn only_when(mut self, only_when: OnlyWhen) -> Self {
        self.only_when = only_when;
        self.look(Situation::default());
        self
    }

    /// A batch is durable: it may be offered. Of a withdrawn flow it is not even noted.
    pub fn stored(&mut self, batch: BatchId) {
        self.stored_at(batch, None);
    }

    /// The same with the time at which it was stored, if that is known: flows that are held back count from it.
    pub fn stored_at(&mut self, batch: BatchId, stored: Option<WallTime>) {
        if !self.withdrawn.contains(&batch.flow) {
            self.flows.entry(batch.flow).or_default().store(batch.position(), stored);
        }
    }

    /// A batch was dropped: it is not offered any more. Its acknowledgement, if one still comes, means nothing.
    pub fn dropped(&mut self, batch: BatchId) {
        if let Some(flow) = self.flows.get_mut(&batch.flow) {
            flow.remove(batch.position());
        }
        let strays = self.in_flight.iter().filter(|(_, flying)| flying.batch == batch && flying.published);
        self.strays.extend(strays.map(|(ticket, _)| (*ticket, batch)));
        self.in_flight.retain(|_, flying| flying.batch != batch);
    }

    /// The flows that are permitted now. Replaces the set; called whenever the gate is swapped. What a flow has on
    /// its way when it is no longer permitted stays on its way; a withdrawal is [`Self::withdraw`].
    pub fn permit(&mut self, mut permitted: BTreeMap<FlowId, Permission>) {
        permitted.retain(|flow, _| !self.withdrawn.contains(flow));
        for (id, flow) in &mut self.flows {
            flow.permission = permitted.remove(id);
            flow.daily.look(None);
        }
        for (id, permission) in permitted {
            self.flows.entry(id).or_default().permission = Some(permission);
        }
    }

    /// There is a connection: all that is stored is offered again, the oldest of each flow first, and counts as
    /// backlog beside what is stored from now on.
    pub fn connected(&mut self) {
        self.go_back();
        self.flows.values_mut().for_each(Flow::connected);
        self.connected = true;
    }

    /// The connection is gone, with what was on its way.
    pub fn disconnected(&mut self) {
        self.go_back();
        self.connected = false;
        self.look(Situation { network: None, ..self.situation.clone() });
    }

    fn go_back(&mut self) {
        self.strays.clear();
        for InFlight { batch, .. } in std::mem::take(&mut self.in_flight).into_values() {
            self.put_back(batch);
        }
    }

    fn put_back(&mut self, batch: BatchId) {
        if let Some(flow) = self.flows.get_mut(&batch.flow) {
            flow.put_back(batch.position());
        }
    }

    /// By what network the present connection reaches the broker; `None`: nobody knows.
    pub fn reached_by(&mut self, network: Option<Network>) {
        self.look(Situation { network, ..self.situation.clone() });
    }

    /// Whether the signal of [`OnlyWhen`] is as it must be; `None`: nobody knows.
    pub fn signalled(&mut self, signal: Option<bool>) {
        self.look(Situation { signal, ..self.situation.clone() });
    }

    fn look(&mut self, situation: Situation) {
        self.waits = self.only_when.waits(&situation);
        self.situation = situation;
    }

    /// Permitted, with room for the day, and not of a class that has to wait.
    fn may(&self, flow: &Flow, now: Option<TrustedTime>) -> bool {
        self.is_permitted(flow, now) && flow.daily.full().is_none()
    }

    /// The same without the day: what was weighed has its room though what came behind it has none.
    fn is_permitted(&self, flow: &Flow, now: Option<TrustedTime>) -> bool {
        let permission = flow.permission.filter(|permission| permission.holds(now));
        permission.is_some_and(|permission| !self.has_to_wait(&permission))
    }

    fn has_to_wait(&self, permission: &Permission) -> bool {
        self.waits.is_some() && self.only_when.classes.contains(&permission.priority)
    }

    /// The broker takes it, or there is nothing of it on its way that has to be taken first.
    fn is_taken(&self, id: FlowId, flow: &Flow) -> bool {
        let flying = || self.in_flight.values().any(|flying| flying.batch.flow == id);
        flow.refusals.held().is_none() && !(flow.refusals.on_trial() && flying())
    }

    /// The next batch to send: always the oldest of its flow. `None` without connection, permission or trusted time,
    /// or when the window is full. [`Self::weigh`] it, write the ledger entry, then call [`Self::recorded`].
    pub fn offer(&mut self, now: Option<TrustedTime>) -> Option<Offer> {
        if !self.connected || self.in_flight() >= self.window {
            return None;
        }
        let known = now?;
        self.flows.values_mut().for_each(|flow| flow.look(known));
        let may = |flow: &Flow| self.may(flow, now) && flow.is_due(now);
        let ready = self.flows.iter().filter(|(id, flow)| may(flow) && self.is_taken(**id, flow));
        let ranked = ready.filter_map(|(id, flow)| Some((flow.rank(self.turns)?, *id)));
        let (_, id) = ranked.min()?;
        let flow = self.flows.get_mut(&id)?;
        self.turns.had(flow.permission?.priority, flow.is_live()?);
        let ticket = Ticket(self.next_ticket);
        let batch = flow.serve(ticket)?.of(id);
        self.next_ticket += 1;
        self.in_flight.insert(ticket, InFlight { batch, published: false, bytes: None });
        Some(Offer { ticket, batch })
    }

    /// Whether a batch of `flow` that is stored now is the next to be offered, and at once.
    #[must_use]
    pub fn goes_at_once(&self, flow: FlowId, now: Option<TrustedTime>) -> bool {
        let held_back = |known: &Flow| known.permission.is_some_and(|permission| permission.hold_back_us > 0);
        let free = |known: &Flow| known.waiting() == 0 && !held_back(known);
        let ready = |known: &Flow| free(known) && self.may(known, now) && self.is_taken(flow, known);
        self.connected && self.in_flight() < self.window && self.flows.get(&flow).is_some_and(ready)
    }

    /// The ledger entry of an offer is durable. All is asked once more: `None` if the answer is no by now, or the
    /// offer went back with its connection.
    pub fn recorded(&mut self, ticket: Ticket, now: Option<TrustedTime>) -> Option<Publish> {
        let &InFlight { batch, bytes, .. } = self.in_flight.get(&ticket).filter(|it| !it.published)?;
        let may = self.flows.get(&batch.flow).is_some_and(|flow| self.is_permitted(flow, now));
        if !may || !self.pay(batch.flow, bytes, now) {
            self.returned(ticket);
            return None;
        }
        self.in_flight.get_mut(&ticket)?.published = true;
        Some(Publish { ticket, batch })
    }

    /// The broker has it. Answers which batch may be deleted; `None` for a ticket that is not valid any more.
    pub fn acked(&mut self, ticket: Ticket) -> Option<BatchId> {
        self.strays.remove(&ticket);
        self.in_flight.get(&ticket).filter(|flying| flying.published)?;
        let batch = self.in_flight.remove(&ticket)?.batch;
        if let Some(flow) = self.flows.get_mut(&batch.flow) {
            flow.refusals.taken();
        }
        Some(batch)
    }

    /// The broker did not take it. Answers the batch if no later attempt can succeed: it is to be declared lost
    /// ([`LossReason::Refused`]). Else it stays, and its flow waits: see [`Self::retry`].
    pub fn refused(&mut self, ticket: Ticket, why: NotTaken, now: Moment) -> Option<BatchId> {
        self.strays.remove(&ticket);
        let batch = self.in_flight.remove(&ticket)?.batch;
        match why {
            NotTaken::TooLarge { .. } | NotTaken::Other(_) => return Some(batch),
            // An access list may be mended, a subscriber may come: age and caps decide how long it is kept.
            NotTaken::NoSubscriber | NotTaken::Quota | NotTaken::NotAuthorised => {
                if let Some(flow) = self.flows.get_mut(&batch.flow) {
                    flow.refusals.refused(why, now);
                }
            }
            NotTaken::Crowded => {}
        }
        self.put_back(batch);
        None
    }

    /// It was not handed over after all: it is offered again, next of its flow.
    pub fn returned(&mut self, ticket: Ticket) {
        self.strays.remove(&ticket);
        if let Some(flying) = self.in_flight.remove(&ticket) {
            self.put_back(flying.batch);
        }
    }

    /// The flows that the broker did not take are tried again, each when its wait is over: with one batch, and with
    /// more once that is taken. To be called every second or so.
    pub fn retry(&mut self, now: Moment) {
        for flow in self.flows.values_mut() {
            flow.refusals.look(now);
        }
    }

    /// Why nothing of `flow` is offered although it is permitted, if so.
    #[must_use]
    pub fn held(&self, flow: FlowId) -> Option<Held> {
        let known = self.flows.get(&flow)?;
        if self.has_to_wait(&known.permission?) {
            return self.waits.clone().map(Held::Waits);
        }
        if let (Some(full), Some(most)) = (known.daily.full(), known.bytes_per_day_max()) {
            let what = match self.unknown_until.is_some_and(|until| full <= until) {
                true => format!("nobody knows how many of its {most} bytes a day are left"),
                false => {
                    format!("its {most} bytes a day are used up, or too few are left for the next batch")
                }
            };
            return Some(Held::Waits(format!("{what}: goes on at {}", full.end())));
        }
        let refused = known.refusals.held().map(|(why, again)| Held::NotTaken { why, again });
        let hold_back_s = known.permission?.hold_back_us / 1_000_000;
        refused.or_else(|| {
            let held_back = hold_back_s > 0 && known.waiting() > 0;
            held_back.then(|| Held::Waits(format!("held back for {hold_back_s} s, as its consent says")))
        })
    }

    /// Nothing of `flow` is offered any more, whatever is stored or permitted later: a flow never comes back after
    /// a withdrawal (invariant 5). Answers what is on its way, which is perhaps sent: if there is any, close the
    /// connection without lingering and call [`Self::disconnected`].
    pub fn withdraw(&mut self, flow: FlowId) -> Vec<BatchId> {
        self.withdrawn.insert(flow);
        self.flows.remove(&flow);
        let published = self.in_flight.values().filter(|it| it.batch.flow == flow && it.published);
        let strays = self.strays.values().filter(|batch| batch.flow == flow);
        let perhaps_sent = published.map(|flying| flying.batch).chain(strays.copied()).collect();
        self.in_flight.retain(|_, flying| flying.batch.flow != flow);
        self.strays.retain(|_, batch| batch.flow != flow);
        perhaps_sent
    }

    /// Something of `flow` was handed to the network and dropped since.
    #[must_use]
    pub fn has_strays(&self, flow: FlowId) -> bool {
        self.strays.values().any(|batch| batch.flow == flow)
    }

    /// Batches on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len() + self.strays.len()
    }

    /// Batches stored and not yet acknowledged.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.in_flight.len() + self.flows.values().map(Flow::waiting).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
