//! The custody thread: seals, stores, syncs, writes the ledger, decides with the core what is offered to the network.
//!
//! ```text
//!  Output ─▶ seal ─▶ outbox ─ sync ─▶ delivery ─ ledger entry, synced ─▶ uplink
//!                       ▲                ▲ acked, not taken, disconnected ──┘
//!  Withdraw ─▶ delivery: never again ─▶ (gate, connection: the steward) ─▶ Purge: keys, segments, index
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};

use glovebox_core::consent::effective::FlowRules;
use glovebox_core::delivery::{Delivery, Held, Permission};
use glovebox_core::ledger::{BatchRef, DropReason, Event, Record};
use glovebox_core::limits::LEDGER_ENTRIES_WAITING_MAX;
use glovebox_core::names::{FlowId, Moment, PurposeId, RecipientId, TrustedTime, WallTime};
use glovebox_core::outbox::{BatchId, LossReason, Priority};
use glovebox_core::pipeline::Output;
use glovebox_core::seal::{Sealed, Sealer as _, Sealing};
use glovebox_core::uplink::ConnectionNumber;
use tokio::sync::mpsc;

use crate::clock::Time;
use crate::health::{Counter, Counters, NoticeStatus, Pulse};
use crate::ledger::Ledger;
use crate::outbox::{Figures, Keep, Outbox, ReadError};
use crate::sealer::{CarSealer, StrictVerifier};
use crate::uplink;

mod daily;
pub mod notices;
pub mod storing;

use notices::Notices;

/// What the thread is told.
pub enum Message {
    /// From the pipeline.
    Output(Output),
    /// The source has ended: nothing more comes.
    SourceEnded,
    /// From the uplink.
    Uplink(uplink::Event),
    /// What may leave has changed, and in which class. Answered when nothing else is offered any more.
    Permit(Vec<(Arc<FlowRules>, Priority)>, SyncSender<()>),
    /// The signal that some classes wait for is as it must be, or not, or nobody knows.
    Signal(Option<bool>),
    /// Nothing of this flow is offered or stored any more. Answers whether some of it was on its way.
    Withdraw(FlowId, SyncSender<bool>),
    /// What is queued of this flow goes, and is declared. Answers whether some of it was on its way; `None` if it could
    /// not be made durable, so that it may be there again after a restart.
    Narrow(FlowId, SyncSender<Option<bool>>),
    /// Whether what was narrowed of this flow is gone for good by now.
    Settled(FlowId, SyncSender<bool>),
    /// Keys, segments and index of a withdrawn flow are destroyed.
    Purge(FlowId, SyncSender<Result<(), String>>),
    /// For the ledger.
    Note(Record),
    /// Look again at what may be offered.
    Wake,
    /// How the queue is.
    Look(SyncSender<Queue>),
    /// Sync everything and end.
    Stop,
}

/// How the queue is.
#[derive(Debug, Default)]
pub struct Queue {
    /// Of each flow.
    pub figures: Vec<Figures>,
    /// Space on disk.
    pub bytes: u64,
    /// Batches on their way.
    pub in_flight: usize,
    /// Flows of which nothing is offered now, and why.
    pub held: Vec<(FlowId, String)>,
    /// What somebody should look at, in words.
    pub notices: Vec<String>,
    /// Recipients that are to be told of an act of consent.
    pub unsent: Vec<NoticeStatus>,
}

/// The thread's belongings.
pub struct Custody {
    /// Where batches are handed to the network.
    pub uplink: mpsc::Sender<uplink::Command>,
    /// The car's cryptography.
    pub sealer: Arc<CarSealer>,
    /// Which descriptors the recipients have.
    pub sealing: Sealing,
    /// What is stored.
    pub outbox: Outbox,
    /// What left.
    pub ledger: Ledger,
    /// What may be sent now.
    pub delivery: Delivery,
    /// What is sent of acts of consent.
    pub notices: Notices,
    /// Asked for every offer.
    pub clock: Arc<dyn Time>,
    /// The persisted mark of time.
    pub mark: Arc<AtomicI64>,
    /// Held by whoever stores a withdrawal: nothing is handed to the network meanwhile.
    pub sending: Arc<Mutex<()>>,
    /// Set when the source has ended and all that was stored is acknowledged.
    pub drained: Arc<AtomicBool>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// What it remembers beside the stages.
    pub state: State,
}

/// What it remembers beside the stages.
#[derive(Default)]
pub struct State {
    rules: HashMap<FlowId, (RecipientId, PurposeId)>,
    /// The classes of all flows that were permitted since the start; what is not here is normal.
    priorities: BTreeMap<FlowId, Priority>,
    ended: BTreeSet<FlowId>,
    notes: Vec<Record>,
    /// Written and not synced, with what the ledger says of an offer.
    coming: Vec<(BatchId, Record)>,
    /// The ledger has their offer already.
    announced: BTreeSet<BatchId>,
    connection: Option<ConnectionNumber>,
    source_ended: bool,
    told: Option<Moment>,
    /// Some flow may send only so many bytes a day.
    has_limit: bool,
    /// The ledger was asked what was sent today.
    recalled: bool,
    storing: storing::Storing,
}

impl State {
    /// Nothing yet, with what was found of the disk at start.
    #[must_use]
    pub fn new(storing: storing::Storing) -> Self {
        Self { storing, ..Self::default() }
    }
}

/// How often it is said that batches wait when nothing more comes.
const TELL_US: i64 = 5_000_000;
/// Messages taken before the next sync: many batches share one.
const MESSAGES_PER_SYNC: usize = 64;

impl Custody {
    /// Runs until it is told to stop; then everything is synced.
    pub fn run(mut self, mut messages: mpsc::Receiver<Message>, pulse: &Pulse) {
        self.begin();
        while let Some(first) = messages.blocking_recv() {
            pulse.beat();
            let more = std::iter::from_fn(|| messages.try_recv().ok());
            let some: Vec<Message> = std::iter::once(first).chain(more.take(MESSAGES_PER_SYNC)).collect();
            if some.iter().any(|message| matches!(message, Message::Stop)) {
                some.into_iter().for_each(|message| self.take(message));
                break;
            }
            self.turn(some);
        }
        while let Ok(message) = messages.try_recv() {
            self.take(message);
        }
        self.close();
    }

    /// Takes up what is stored: before the first turn.
    pub fn begin(&mut self) {
        for batch in self.outbox.batches().collect::<Vec<_>>() {
            self.delivery.stored_at(batch, self.outbox.stored_at(batch));
        }
        self.look_for_notices();
    }

    /// Takes some messages, syncs once for all of them, and hands to the network what may go.
    pub fn turn(&mut self, messages: Vec<Message>) {
        messages.into_iter().for_each(|message| self.take(message));
        if self.is_due() {
            self.store_waiting();
        }
        if self.outbox.has_unsynced() {
            self.save_beside();
            self.announce();
            self.sync();
        }
        self.offer();
        self.state.announced.clear();
        if self.notes_are_due() {
            self.write_notes();
        }
        self.look_whether_drained();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Output(Output::Batch(batch)) => self.store(batch),
            Message::Output(Output::Lost { flow, reason, samples }) => self.lose(flow, reason, samples),
            Message::SourceEnded => self.state.source_ended = true,
            Message::Uplink(event) => self.on_uplink(&event),
            Message::Permit(flows, answer) => {
                self.permit(&flows);
                let _ = answer.send(());
            }
            Message::Signal(holds) => self.delivery.signalled(holds),
            Message::Withdraw(flow, answer) => {
                let _ = answer.send(self.withdraw(flow));
            }
            Message::Narrow(flow, answer) => {
                let _ = answer.send(self.narrow(flow));
            }
            Message::Settled(flow, answer) => {
                let _ = answer.send(self.outbox.save().is_ok() && self.outbox.is_taken_up(flow));
            }
            Message::Purge(flow, answer) => {
                let _ = answer.send(self.purge(flow));
            }
            Message::Note(record) => self.state.notes.push(record),
            Message::Wake => self.wake(),
            Message::Look(answer) => {
                let figures = self.outbox.figures().collect();
                let _ = answer.send(Queue {
                    figures,
                    bytes: self.outbox.bytes(),
                    in_flight: self.delivery.in_flight(),
                    held: self.held(),
                    notices: self.notices(),
                    unsent: self.notice_states(),
                });
            }
            // Taken by `run`.
            Message::Stop => {}
        }
    }

    /// Once a second, and after each act.
    fn wake(&mut self) {
        let now = self.clock.monotonic();
        let passed = |then: Moment, us| now.0.saturating_sub(then.0) >= us;
        self.delivery.retry(now);
        self.look_for_notices();
        self.recall_bytes();
        let waiting = self.delivery.waiting();
        let silent = self.state.told.is_none_or(|then| passed(then, TELL_US));
        if self.state.source_ended && waiting > 0 && silent {
            self.state.told = Some(now);
            let connected = self.state.connection.is_some();
            tracing::info!(target: "uplink", waiting, connected, "batches wait; `glovebox status` says for what");
        }
        if let Err(error) = self.outbox.take_up_again() {
            self.in_trouble(&error);
        }
        self.tend();
    }

    fn now(&self) -> Option<TrustedTime> {
        self.clock.trusted(WallTime(self.mark.load(Ordering::Acquire)))
    }

    fn permit(&mut self, flows: &[(Arc<FlowRules>, Priority)]) {
        for (rules, priority) in flows {
            let named = (rules.recipient.clone(), rules.purpose.clone());
            self.state.rules.insert(rules.flow, named);
            self.state.priorities.insert(rules.flow, *priority);
            self.outbox.keep(rules.flow, Keep { priority: *priority, age_us_max: rules.age_us_max });
        }
        let live = flows.iter().filter(|(rules, _)| !self.state.ended.contains(&rules.flow));
        let permission = |rules: &FlowRules, priority| Permission {
            until: rules.live_until,
            priority,
            hold_back_us: rules.hold_back_us(),
            bytes_per_day_max: rules.bytes_per_day_max,
        };
        let permitted = live.map(|(rules, priority)| (rules.flow, permission(rules, *priority)));
        self.delivery.permit(permitted.collect());
        self.state.has_limit |= flows.iter().any(|(rules, _)| rules.bytes_per_day_max.is_some());
        self.recall_bytes();
    }

    /// Why nothing is offered of flows that may be sent, for whoever asks.
    fn held(&self) -> Vec<(FlowId, String)> {
        let now = self.clock.monotonic();
        let text = |held| match held {
            Held::Waits(what) => what,
            Held::NotTaken { why, again } => {
                let left_s = again.0.saturating_sub(now.0).max(0) / 1_000_000;
                format!("{why}; tried again in {left_s} s")
            }
        };
        let flows = self.state.priorities.keys();
        flows.filter_map(|flow| Some((*flow, text(self.delivery.held(*flow)?)))).collect()
    }

    fn drop_what_was_dropped(&mut self) {
        let dropped = self.outbox.take_dropped();
        if !dropped.is_empty() {
            self.sealing.describe_again();
        }
        for it in dropped {
            self.delivery.dropped(it.batch);
            self.counters.count(Counter::BatchesDropped);
            self.note(Event::Dropped(drop_reason(it.reason)), it.batch, None);
        }
    }

    fn on_uplink(&mut self, event: &uplink::Event) {
        match event {
            uplink::Event::Connected { connection, network, .. } => {
                self.counters.count(Counter::Connections);
                self.state.connection = Some(*connection);
                self.sealing.describe_again();
                self.delivery.connected();
                self.delivery.reached_by(network.clone());
            }
            uplink::Event::Disconnected { .. } => {
                if self.state.connection.take().is_some() {
                    self.counters.count(Counter::ConnectionsLost);
                }
                self.delivery.disconnected();
                self.notices.disconnected();
            }
            uplink::Event::Acked { ticket } => {
                if self.notice_acked(*ticket) {
                    return;
                }
                let Some(batch) = self.delivery.acked(*ticket) else { return };
                self.counters.count(Counter::BatchesAcknowledged);
                self.note(Event::Acked, batch, None);
                if let Err(error) = self.outbox.acked(batch) {
                    tracing::error!(target: "outbox", %batch, %error, "an acknowledgement could not be noted");
                }
            }
            uplink::Event::NotTaken { ticket, reason } => {
                if self.notice_refused(*ticket, *reason) {
                    return;
                }
                self.counters.count(Counter::BatchesRefused);
                tracing::warn!(target: "uplink", %reason, "a batch was not taken");
                if let Some(batch) = self.delivery.refused(*ticket, *reason, self.clock.monotonic())
                    && let Err(error) = self.outbox.lost(batch, LossReason::Refused)
                {
                    tracing::error!(target: "outbox", %batch, %error, "a loss could not be noted");
                }
                self.drop_what_was_dropped();
            }
            // The steward's.
            uplink::Event::Document { .. } | uplink::Event::NotSubscribed { .. } => {}
        }
    }

    /// Hands to the network what may go, as far as the window reaches; each is in the ledger before.
    fn offer(&mut self) {
        let sending = Arc::clone(&self.sending);
        // A withdrawal is being stored: whoever holds this wakes us after.
        let Ok(_held) = sending.try_lock() else { return };
        let Some(connection) = self.state.connection else { return };
        self.offer_notices(connection);
        let mut offers = Vec::new();
        while let Some(offer) = self.delivery.offer(self.now()) {
            match self.read(offer.batch) {
                Some(sealed) if self.has_room(offer, &sealed) => offers.push((offer.ticket, sealed)),
                Some(_) => {}
                None => self.delivery.returned(offer.ticket),
            }
        }
        if offers.is_empty() {
            return;
        }
        let new = offers.iter().map(|(_, sealed)| sealed);
        let new = new.filter(|sealed| !self.state.announced.contains(&BatchId::from(*sealed)));
        let records: Vec<Record> =
            new.map(|sealed| self.about(Event::Offered, sealed.into(), Some(sealed))).collect();
        if !records.is_empty() && !self.write_with(records) {
            return offers.iter().for_each(|(ticket, _)| self.delivery.returned(*ticket));
        }
        for (ticket, sealed) in offers {
            let Some(publish) = self.delivery.recorded(ticket, self.now()) else { continue };
            let Some((recipient, _)) = self.state.rules.get(&publish.batch().flow) else { continue };
            let topic = glovebox_core::wire::batch_topic(recipient, sealed.header());
            let payload = sealed.into_envelope();
            let command = uplink::Command::Publish { connection, ticket, topic, payload };
            match self.uplink.try_send(command) {
                Ok(()) => self.counters.count(Counter::BatchesOffered),
                Err(_) => self.delivery.returned(ticket),
            }
        }
    }

    /// What will be offered as soon as it is synced is in the ledger before that: then one commit of the file system
    /// serves segment and ledger. A power cut between the two leaves an entry too many, never one too few.
    fn announce(&mut self) {
        let coming = std::mem::take(&mut self.state.coming);
        if self.sending.try_lock().is_err() {
            return;
        }
        let now = self.now();
        let at_once = coming.into_iter().filter(|(batch, _)| self.delivery.goes_at_once(batch.flow, now));
        let (batches, mut records): (BTreeSet<BatchId>, Vec<Record>) = at_once.unzip();
        records.iter_mut().for_each(|record| record.time = now.map(|now| now.earliest));
        if !records.is_empty() && self.write_with(records) {
            self.state.announced = batches;
        }
    }

    /// Reads a stored batch back, if it is there and this car's own.
    fn read(&mut self, batch: BatchId) -> Option<Sealed> {
        match self.outbox.read(batch, &StrictVerifier) {
            Ok(sealed) if self.is_ours(&sealed) => return Some(sealed),
            Ok(_) => {
                if let Err(error) = self.outbox.lost(batch, LossReason::Corrupt) {
                    tracing::error!(target: "outbox", %batch, %error, "a loss could not be noted");
                }
            }
            Err(error @ ReadError::Corrupt { .. }) => tracing::error!(target: "outbox", %error, "lost"),
            Err(error) => {
                tracing::error!(target: "outbox", %batch, %error, "not read");
                self.delivery.dropped(batch);
            }
        }
        self.drop_what_was_dropped();
        None
    }

    fn is_ours(&self, sealed: &Sealed) -> bool {
        let rules = self.state.rules.get(&sealed.header().flow);
        rules.is_some_and(|(recipient, _)| self.sealer.alias(recipient) == Ok(sealed.header().alias))
    }

    /// First step of a withdrawal here: from now on nothing of it is offered or stored.
    fn withdraw(&mut self, flow: FlowId) -> bool {
        self.state.ended.insert(flow);
        self.forget_waiting(flow);
        self.sealing.forget(flow);
        let perhaps_sent = self.delivery.withdraw(flow);
        for batch in &perhaps_sent {
            self.note(Event::PerhapsSent, *batch, None);
        }
        !perhaps_sent.is_empty()
    }

    fn narrow(&mut self, flow: FlowId) -> Option<bool> {
        let queued = self.outbox.figures().any(|figures| figures.flow == flow && figures.batches > 0);
        let on_its_way = queued && self.delivery.in_flight() > 0 || self.delivery.has_strays(flow);
        self.narrow_waiting(flow);
        let discarded = self.outbox.discard(flow, LossReason::Narrowed);
        self.drop_what_was_dropped();
        match discarded {
            Ok(()) => Some(on_its_way),
            Err(error) => {
                tracing::error!(target: "outbox", %flow, %error, "what was queued under the wider rule is not gone");
                None
            }
        }
    }

    fn purge(&mut self, flow: FlowId) -> Result<(), String> {
        let bytes =
            self.outbox.figures().find(|figures| figures.flow == flow).map_or(0, |figures| figures.bytes);
        let mut record = self.record(Event::Purged, flow);
        record.batch = Some(BatchRef::flow(flow));
        record.bytes = bytes;
        self.state.notes.push(record);
        self.counters.count(Counter::BatchesPurged);
        let purged = self.outbox.purge(flow).map_err(|error| error.to_string());
        self.write_notes();
        purged
    }

    fn record(&self, event: Event, flow: FlowId) -> Record {
        let mut record = Record::new(self.now().map(|now| now.earliest), event);
        if let Some((recipient, purpose)) = self.state.rules.get(&flow) {
            (record.recipient, record.purpose) = (Some(recipient.clone()), Some(purpose.clone()));
        }
        record
    }

    /// For the ledger, once it can be written. While it cannot, what happens to batches inside the car may go unwritten;
    /// offers wait for the ledger, and what the owner does is always kept.
    fn note(&mut self, event: Event, batch: BatchId, sealed: Option<&Sealed>) {
        let routine = matches!(event, Event::Stored | Event::Dropped(_) | Event::Acked);
        if routine && self.state.notes.len() >= LEDGER_ENTRIES_WAITING_MAX {
            return self.counters.count(Counter::EntriesOmitted);
        }
        let record = self.about(event, batch, sealed);
        self.state.notes.push(record);
    }

    fn about(&self, event: Event, batch: BatchId, sealed: Option<&Sealed>) -> Record {
        let mut record = self.record(event, batch.flow);
        record.batch = Some(BatchRef { flow: batch.flow, epoch: batch.epoch, sequence: batch.sequence });
        if let Some(sealed) = sealed {
            (record.bytes, record.digest) = (sealed.envelope().len() as u64, sealed.digest());
        }
        record
    }

    /// Whether the ledger holds all that was noted, and `offers`. If not, they are noted again when they are offered
    /// again: kept, they would pile up meanwhile.
    fn write_with(&mut self, offers: Vec<Record>) -> bool {
        let noted = self.state.notes.len();
        self.state.notes.extend(offers);
        let written = self.write_notes();
        if !written {
            self.state.notes.truncate(noted);
        }
        written
    }

    /// Whether the ledger holds all that was noted. If not, nothing is offered until it does.
    fn write_notes(&mut self) -> bool {
        if self.state.notes.is_empty() {
            return true;
        }
        match self.ledger.append(self.state.notes.clone()) {
            Ok(_) => {
                self.counters.add(Counter::EntriesWritten, self.state.notes.len() as u64);
                self.state.notes.clear();
                true
            }
            Err(error) => {
                tracing::error!(target: "ledger", %error, "not written: nothing is offered until it is");
                false
            }
        }
    }

    fn look_whether_drained(&mut self) {
        if self.state.source_ended && self.delivery.waiting() == 0 && self.notices.is_empty() {
            self.drained.store(true, Ordering::Release);
        }
    }

    /// Syncs everything and ends.
    pub fn close(mut self) {
        // What could not be stored or noted so far has its last chance.
        self.store_waiting();
        self.tend();
        self.write_notes();
        match self.outbox.close() {
            Ok(_) => tracing::info!(target: "outbox", "closed"),
            Err(error) => tracing::error!(target: "outbox", %error, "not closed cleanly"),
        }
    }
}

fn drop_reason(reason: LossReason) -> DropReason {
    match reason {
        LossReason::Quota => DropReason::Quota,
        LossReason::Overload => DropReason::Overload,
        LossReason::Narrowed => DropReason::Narrowed,
        LossReason::Corrupt => DropReason::Corrupt,
        LossReason::Refused => DropReason::Refused,
        LossReason::Age => DropReason::Age,
    }
}
