//! What must hold, looked at after each step, and at the end. The numbers are those of the invariants.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use glovebox::daemon::custody::Custody;
use glovebox::ledger::VerifyError;
use glovebox::uplink::{Command, ConnectionNumber};
use glovebox_core::ledger::{Checkpoint, Entry, Event};
use glovebox_core::limits::UPLINK_WINDOW_MESSAGES;
use glovebox_core::names::{Digest, FlowId};
use glovebox_core::outbox::BatchId;
use glovebox_proto::v1;
use glovebox_recipient::open::{Message, Opened};
use glovebox_recipient::{Ready, Value, samples};

use super::bus;
use super::car::{LEDGER_LOG, logs};
use super::disk::SimDisk;
use super::model::{Chain, Model, chains};
use super::net::Parcel;
use super::recipient::{Recipients, batch_id};
use super::table::SimTable;

/// What was on the bus at a moment, and to whom it might go.
struct Seen {
    values: [u64; 4],
    allowed: Arc<Allowed>,
}

type Allowed = BTreeMap<FlowId, BTreeSet<usize>>;

/// What is true at the moment of a check.
#[derive(Clone)]
pub struct Now {
    pub model: Arc<Model>,
    /// The time by which the gate was made, and the time now; `None` is doubt.
    pub looked_us: Option<i64>,
    pub now_us: Option<i64>,
}

#[derive(Default)]
pub struct Counts {
    pub published: u64,
    pub stored: u64,
    pub samples: u64,
}

pub struct Oracle {
    ledger: SimTable,
    disk: SimDisk,
    /// Damage in the log before the ledger: what is missing in it then is no fault of the agent's.
    pub ledger_rots: bool,
    pub recipients: Recipients,
    pub counts: Counts,
    /// The disk may fail in this life.
    pub disk_fails: bool,
    /// What is stored may be damaged in this life.
    pub damage: bool,
    /// The first thing that was not as it must be.
    pub fault: Option<String>,
    seen: BTreeMap<i64, Seen>,
    /// What a frame was last allowed, by which model and time.
    allowed: Option<(Arc<Model>, Option<i64>, Arc<Allowed>)>,
    handed: HashMap<BatchId, Digest>,
    opened: HashMap<Digest, Opened>,
    descriptors: HashMap<Vec<u8>, v1::Descriptor>,
    reported: BTreeSet<BatchId>,
    /// Found by a start, and not reported before: nobody knows whether they are whole.
    found: BTreeSet<BatchId>,
    /// What was handed over on which connection.
    connection: Option<ConnectionNumber>,
    on_connection: BTreeSet<BatchId>,
    /// Ended in this life, though no tombstone could be stored.
    pub buried: BTreeSet<FlowId>,
    /// Were withdrawn once, or nearly. If no tombstone could be stored the flow goes on after a restart, but what it had is gone.
    destroyed: BTreeSet<FlowId>,
    checkpoint: Option<Checkpoint>,
    /// Samples lost before they were sealed, that must be declared.
    owed: BTreeMap<FlowId, u64>,
}

impl Oracle {
    pub fn new(ledger: SimTable, disk: SimDisk) -> Self {
        Self {
            ledger,
            disk,
            ledger_rots: false,
            recipients: Recipients::new(),
            counts: Counts::default(),
            disk_fails: false,
            damage: false,
            fault: None,
            seen: BTreeMap::new(),
            allowed: None,
            handed: HashMap::new(),
            opened: HashMap::new(),
            descriptors: HashMap::new(),
            reported: BTreeSet::new(),
            found: BTreeSet::new(),
            connection: None,
            on_connection: BTreeSet::new(),
            buried: BTreeSet::new(),
            destroyed: BTreeSet::new(),
            checkpoint: None,
            owed: BTreeMap::new(),
        }
    }

    pub fn fail(&mut self, what: String) {
        self.fault.get_or_insert(what);
    }

    fn check(&mut self, outcome: Result<(), String>) {
        if let Err(what) = outcome {
            self.fail(what);
        }
    }

    /// A frame came.
    pub fn saw(&mut self, ms: i64, values: [u64; 4], now: &Now) {
        let same = |(model, looked, _): &&(Arc<Model>, Option<i64>, Arc<Allowed>)| {
            Arc::ptr_eq(model, &now.model) && *looked == now.looked_us
        };
        let allowed = match self.allowed.as_ref().filter(same) {
            Some((_, _, allowed)) => Arc::clone(allowed),
            None => {
                let all = chains().filter_map(|chain| now.model.allowed(chain, now.looked_us)).collect();
                let allowed = Arc::new(all);
                self.allowed = Some((Arc::clone(&now.model), now.looked_us, Arc::clone(&allowed)));
                allowed
            }
        };
        self.seen.insert(ms, Seen { values, allowed });
    }

    /// A flow is about to be withdrawn: whatever was stored of it, nobody is owed it, however far that gets.
    pub fn withdraws(&mut self, flow: FlowId) {
        self.destroyed.insert(flow);
    }

    /// It was.
    pub fn withdrawn(&mut self, flow: FlowId) {
        self.buried.insert(flow);
    }

    pub fn owes(&mut self, flow: FlowId, samples: u64) {
        *self.owed.entry(flow).or_default() += samples;
    }

    /// The process ended without a stop: what it had only in memory is gone.
    pub fn lost_memory(&mut self) {
        self.owed.clear();
        self.buried.clear();
        self.connection = None;
    }

    /// Custody handed something to the network. Answers which batch, for the trace.
    pub fn published(&mut self, command: &Command, now: &Now, custody: &Custody) -> Option<BatchId> {
        let Command::Publish { connection, topic, payload, .. } = command else { return None };
        self.counts.published += 1;
        if self.connection != Some(*connection) {
            self.connection = Some(*connection);
            self.on_connection.clear();
        }
        let opened =
            self.recipients.of(topic).ok_or_else(|| format!("published to {topic}")).and_then(|recipient| {
                self.recipients.open(recipient, topic, payload).map(|opened| (recipient, opened))
            });
        let (recipient, opened) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.fail(format!("what was published does not open: {error}"));
                return None;
            }
        };
        let (batch, digest) = (batch_id(&opened.header), Digest::of(payload));
        let outcome = self
            .may_go(batch, recipient, &opened, now)
            .and_then(|()| self.in_ledger(batch, digest))
            .and_then(|()| self.in_order(batch, custody))
            .and_then(|()| self.same_content(batch, digest, opened));
        self.check(
            outcome.map_err(|what| format!("{what}: batch {}-{}", batch.epoch.counter, batch.sequence.0)),
        );
        self.on_connection.insert(batch);
        Some(batch)
    }

    /// Invariants 1, 3 and 5.
    fn may_go(&mut self, batch: BatchId, recipient: usize, opened: &Opened, now: &Now) -> Result<(), String> {
        let flow = batch.flow;
        if now.model.ended.contains(&flow) {
            return Err("5: handed to the network after its tombstone was durable".to_owned());
        }
        if self.buried.contains(&flow) {
            return Err("5: handed to the network after it was said to have stopped".to_owned());
        }
        let mut allowed =
            chains().filter_map(|chain| Some((chain, now.model.allowed(chain, now.looked_us)?)));
        let Some((chain, (_, signals))) = allowed.find(|(_, (it, _))| *it == flow) else {
            return Err("1: handed to the network, and nothing allows it".to_owned());
        };
        if chain.0 != recipient {
            return Err("1: handed to somebody else".to_owned());
        }
        if now.now_us.is_none_or(|at| now.model.over_at(flow).is_none_or(|end| at >= end)) {
            return Err("3: handed to the network past its end, or in doubt about the time".to_owned());
        }
        let Message::Batch(message) = &opened.message else { return Err("not a batch".to_owned()) };
        if let Some(descriptor) = &message.descriptor {
            self.descriptors.insert(message.descriptor_digest.clone(), descriptor.clone());
        }
        // What nobody can read yet is looked at when it can be.
        let Some(descriptor) = self.descriptors.get(&message.descriptor_digest) else { return Ok(()) };
        for sample in samples(message, descriptor).map_err(|error| error.to_string())? {
            if !bus::signal_of(sample.path).is_some_and(|signal| signals.contains(&signal)) {
                return Err(format!("1: {} leaves, though it is not allowed any more", sample.path));
            }
        }
        Ok(())
    }

    /// Invariant 8: no batch passes an older one of its flow.
    fn in_order(&self, batch: BatchId, custody: &Custody) -> Result<(), String> {
        let older =
            custody.outbox.batches().filter(|it| it.flow == batch.flow && it.position() < batch.position());
        match older.into_iter().find(|it| !self.on_connection.contains(it)) {
            Some(it) => Err(format!("8: handed over before {}-{}", it.epoch.counter, it.sequence.0)),
            None => Ok(()),
        }
    }

    fn same_content(&mut self, batch: BatchId, digest: Digest, opened: Opened) -> Result<(), String> {
        self.opened.insert(digest, opened);
        match self.handed.insert(batch, digest) {
            Some(before) if before != digest => Err("8: one sequence with two contents".to_owned()),
            _ => Ok(()),
        }
    }

    /// The broker passed something on: all that can be read by it was on the bus, and allowed then.
    pub fn delivered(&mut self, parcel: &Parcel) -> Option<BatchId> {
        let recipient = self.recipients.of(&parcel.topic)?;
        let opened = self.opened.get(&Digest::of(&parcel.payload))?.clone();
        let batch = batch_id(&opened.header);
        if self.buried.contains(&batch.flow) {
            self.fail(format!(
                "5: {}-{} arrives after its withdrawal was done",
                batch.epoch.counter, batch.sequence.0
            ));
        }
        for ready in self.recipients.deliver(recipient, opened) {
            let outcome = self.readable(&ready);
            self.check(outcome);
        }
        Some(batch)
    }

    fn readable(&mut self, ready: &Ready) -> Result<(), String> {
        let flow = FlowId(ready.header.flow);
        for sample in samples(&ready.batch, &ready.descriptor).map_err(|error| error.to_string())? {
            self.counts.samples += 1;
            let signal = bus::signal_of(sample.path).ok_or("an unknown signal")?;
            let seen = self.seen.get(&(sample.time_us / 1000)).ok_or("1: a sample of no frame")?;
            if !seen.allowed.get(&flow).is_some_and(|signals| signals.contains(&signal)) {
                return Err(format!(
                    "1: S{signal} was not allowed at {} µs, when it was on the bus: {:?}",
                    sample.time_us, seen.allowed
                ));
            }
            if sample.value != Some(Value::Integer(seen.values[signal].into())) {
                return Err(format!("S{signal} is not what was on the bus"));
            }
        }
        Ok(())
    }

    /// After each turn of custody. Answers what is stored since the last one.
    pub fn turned(&mut self, custody: &Custody, cap: u64) -> Vec<BatchId> {
        let new: Vec<BatchId> = custody.outbox.batches().filter(|it| !self.reported.contains(it)).collect();
        self.reported.extend(&new);
        self.counts.stored += new.len() as u64;
        self.checkpoint = Some(custody.ledger.head());
        // What a failed sync has left in doubt is written again before the old copy goes.
        // The index may grow by a block when what was stored is noted.
        let cap = if self.disk_fails { 2 * cap } else { cap + 4096 };
        if custody.outbox.bytes() > cap {
            self.fail(format!("9: the outbox takes {} bytes of {cap}", custody.outbox.bytes()));
        }
        if custody.delivery.in_flight() > UPLINK_WINDOW_MESSAGES {
            self.fail(format!("9: {} batches on their way", custody.delivery.in_flight()));
        }
        new
    }

    /// The ledger was damaged and set aside.
    pub fn ledger_is_new(&mut self) {
        self.checkpoint = None;
    }

    /// Invariant 11: in the table or in the log before it, whatever a power cut takes. An entry ends with its digest.
    fn in_ledger(&self, batch: BatchId, digest: Digest) -> Result<(), String> {
        let in_table = |(_, value): (&Vec<u8>, &Vec<u8>)| {
            value.split_last_chunk::<32>().is_some_and(|(encoding, _)| offers(encoding, batch, digest))
        };
        let log = self.disk.durable(&logs(&self.disk).path.join(LEDGER_LOG));
        let mut ends = memchr::memmem::find_iter(&log, &digest.0).map(|at| at + 32);
        let in_log =
            |end: usize| (end.saturating_sub(300)..end).any(|start| offers(&log[start..end], batch, digest));
        if self.ledger_rots || ends.any(in_log) || self.ledger.any_durable(in_table) {
            return Ok(());
        }
        Err("11: offered, and not in the ledger".to_owned())
    }

    /// Also against the head that was held before the last restart.
    pub fn verify(&mut self, custody: &Custody) {
        self.found.extend(custody.outbox.batches().filter(|it| !self.reported.contains(it)));
        if self.ledger_rots {
            return;
        }
        let held: Vec<Checkpoint> = self.checkpoint.into_iter().collect();
        if let Err(VerifyError::Broken(error)) = custody.ledger.verify(&held) {
            self.fail(format!("11: {error}"));
        }
    }

    /// When all is well again and nothing is left to do: what was stored came, was declared, or waits for its flow.
    pub fn ended(&mut self, custody: &Custody, now: &Now, index_lost: bool) {
        let permitted: BTreeMap<Chain, FlowId> = chains()
            .filter_map(|chain| Some((chain, now.model.allowed(chain, now.looked_us)?)))
            .filter(|(_, (_, signals))| !signals.is_empty())
            .map(|(chain, (flow, _))| (chain, flow))
            .collect();
        let waiting: BTreeSet<BatchId> = custody.outbox.batches().collect();
        for flow in permitted.values() {
            let outcome = self.flow_ended(*flow, &waiting, index_lost);
            self.check(outcome);
        }
        if let Some(wrong) = self.recipients.wrong_loss() {
            self.fail(format!("8: {wrong}"));
        }
        self.verify(custody);
    }

    fn flow_ended(&self, flow: FlowId, waiting: &BTreeSet<BatchId>, index_lost: bool) -> Result<(), String> {
        if let Some(batch) = waiting.iter().find(|batch| batch.flow == flow) {
            return Err(format!("8: {}-{} still waits", batch.epoch.counter, batch.sequence.0));
        }
        if index_lost || self.destroyed.contains(&flow) {
            return Ok(());
        }
        // If the batch that described it was lost, and the grant renewed since, nobody says it again. Of a flow that is
        // held back the one that does may still wait.
        let held = self.recipients.held(flow);
        if held > 0 && !self.recipients.any_loss(flow) {
            return Err(format!("8: {held} batches cannot be read: what is in them was never said"));
        }
        let of_flow = self.reported.iter().filter(|batch| batch.flow == flow);
        let lost: Vec<&BatchId> = of_flow.filter(|it| !self.recipients.received.contains(it)).collect();
        let corrupt = |it: &&&BatchId| {
            !self.found.contains(**it) && self.recipients.declared(***it) == Some(v1::LossReason::Corrupt)
        };
        if let Some(batch) = lost.iter().find(corrupt).filter(|_| !self.damage) {
            return Err(format!(
                "8: {}-{} is lost, and nothing damaged it",
                batch.epoch.counter, batch.sequence.0
            ));
        }
        let missing: Vec<&BatchId> =
            lost.into_iter().filter(|it| self.recipients.declared(**it).is_none()).collect();
        let counted = self.recipients.counted(flow);
        if missing.len() as u64 > counted {
            let names: Vec<String> =
                missing.iter().map(|it| format!("{}-{}", it.epoch.counter, it.sequence.0)).collect();
            return Err(format!(
                "8: stored, not delivered, not declared (but for {counted}): {}",
                names.join(" ")
            ));
        }
        if self.recipients.gaps(flow) > counted {
            return Err(format!("8: {} sequences are missing without a word", self.recipients.gaps(flow)));
        }
        let (owed, said) = (self.owed.get(&flow).copied().unwrap_or(0), self.recipients.samples(flow));
        if said < owed {
            return Err(format!("8: {owed} samples were lost, {said} declared"));
        }
        Ok(())
    }
}

/// An entry of the ledger says that `batch` was offered.
fn offers(encoding: &[u8], batch: BatchId, digest: Digest) -> bool {
    let Ok(entry) = Entry::decode(encoding) else { return false };
    let of = entry
        .record
        .batch
        .is_some_and(|it| (it.flow, it.epoch, it.sequence) == (batch.flow, batch.epoch, batch.sequence));
    of && entry.record.event == Event::Offered && entry.record.digest == digest
}
