//! One life of the agent: its real parts, joined in one thread. Who runs next, and what comes in between, is drawn.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use glovebox::clock::Time as _;
use glovebox::daemon::authority::{KnownLeaf, LocalAuthority};
use glovebox::daemon::custody::storing::Storing;
use glovebox::daemon::custody::{self, Custody, Message};
use glovebox::daemon::force::{Force, Stages};
use glovebox::daemon::rules::Rules;
use glovebox::health::Counters;
use glovebox::ledger::{self, Ledger};
use glovebox::outbox::{self, Outbox};
use glovebox::store::disk::Place;
use glovebox::store::{Logged, Opened, StoreError};
use glovebox::uplink;
use glovebox_core::batch::{ClockQuality, LossReason, TimeMapping};
use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::{Effective, FlowRules};
use glovebox_core::delivery::Delivery;
use glovebox_core::ledger::Record;
use glovebox_core::limits::UPLINK_WINDOW_MESSAGES;
use glovebox_core::names::{FlowId, Moment, SignalPath};
use glovebox_core::pipeline::{Compiled, Event, Output, Pipeline, Watches};
use glovebox_core::seal::Sealing;
use glovebox_tests::seeded::Seeded;
use tokio::sync::mpsc;

use super::bus;
use super::disk::SimDisk;
use super::documents::SimDocuments;
use super::machine::Machine;
use super::model::trusted;
use super::net::{Happened, Net};
use super::oracle::{Now, Oracle};
use super::papers;
use super::table::SimTable;
use super::trace::Trace;

/// As in the daemon.
const MESSAGES_MAX: usize = 64;

/// Settings that a seed draws once.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub cap: u64,
    pub column_bytes: usize,
    pub ledger_entries: u64,
    pub gather: Duration,
}

/// All that stays when the agent ends.
pub struct Outside {
    pub random: Seeded,
    pub settings: Settings,
    pub machine: Machine,
    pub disk: SimDisk,
    pub index: SimTable,
    pub ledger: SimTable,
    pub documents: SimDocuments,
    pub net: Net,
    pub oracle: Oracle,
    pub trace: Trace,
    /// The time at which what applies was worked out last.
    pub looked_us: Option<i64>,
    /// What was true when the gate was made.
    pub gate: Option<Now>,
    pub frames: u64,
    pub index_lost: bool,
    /// The disk may be full, read-only or failing in this life.
    pub disk_troubled: bool,
}

/// What ends with the process.
pub struct Inside {
    pub custody: Custody,
    pub pipeline: Pipeline,
    pub inbox: VecDeque<Message>,
    pub commands: mpsc::Receiver<uplink::Command>,
    /// What found no room in the inbox.
    overload: BTreeMap<FlowId, u64>,
}

pub struct Car {
    pub force: Force,
    pub inside: Inside,
}

/// Whoever may do something now.
pub struct Hands<'a> {
    pub inside: &'a mut Inside,
    pub outside: &'a mut Outside,
}

impl Outside {
    pub fn now(&self) -> Now {
        let (wall, mark) = (self.machine.now().0, self.documents.mark_us());
        Now { model: self.documents.model(), looked_us: self.looked_us, now_us: trusted(wall, mark) }
    }

    fn look(&mut self) {
        self.looked_us = self.now().now_us;
    }

    fn made_gate(&mut self) {
        self.look();
        self.gate = Some(self.now());
    }
}

pub const LEDGER_LOG: &str = "ledger.wal";
pub const INDEX_LOG: &str = "index.wal";

/// Where the logs before the tables are.
pub fn logs(disk: &SimDisk) -> Place {
    Place { disk: Arc::new(disk.clone()), path: PathBuf::from("/store") }
}

fn logged(table: &SimTable, disk: &SimDisk, log: &str) -> Result<Logged, StoreError> {
    let place = logs(disk);
    place.create()?;
    Logged::open(Box::new(table.clone()), &place, log)
}

impl Car {
    /// Opens everything as the daemon does, and puts in force what is stored.
    pub fn start(outside: &mut Outside) -> Result<Self, String> {
        fn said(error: impl std::fmt::Display) -> String {
            error.to_string()
        }
        let machine = &outside.machine;
        let opened = outside.ledger.opened();
        if matches!(opened, Opened::SetAside(_)) {
            outside.oracle.ledger_is_new();
        }
        let entries_max = outside.settings.ledger_entries;
        let settings = ledger::Config { entries_max, entries_truncated: 16 };
        let table = logged(&outside.ledger, &outside.disk, LEDGER_LOG).map_err(said)?;
        let ledger = Ledger::open(table, &opened, settings).map_err(said)?;
        let documents = Box::new(outside.documents.clone());
        let leaf = |digest| KnownLeaf { digest, unit: String::new() };
        let leaves = Box::new(move |signal: &SignalPath| bus::leaf_digest(signal).map(leaf));
        let authority = LocalAuthority::new(papers::keys(), documents, Arc::new(machine.clone()), leaves)
            .map_err(said)?
            .with_session(Box::new(outside.documents.clone()));
        let rules = Rules::kept(Box::new(outside.documents.clone()));
        let force = Force::new(authority, bus::leaves(), 2_000_000, rules);
        outside.index_lost |= matches!(outside.index.opened(), Opened::SetAside(_));
        let place = Place { disk: Arc::new(outside.disk.clone()), path: PathBuf::from("/outbox") };
        let cap = outside.settings.cap;
        let settings =
            outbox::Config { bytes_max: cap, flow_bytes_max: cap, free_bytes_min: 0, new_epoch: false };
        let tombstones = force.authority.control().grants().tombstones();
        let index = logged(&outside.index, &outside.disk, INDEX_LOG).map_err(said)?;
        let (outbox, report) = Outbox::open(place, settings, index, tombstones).map_err(said)?;
        outside.trace.say(|| {
            let failed = report.failed.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>();
            format!(
                "opened: {} flows, {} batches, torn {}, lost {}, failed {failed:?}",
                report.flows, report.batches, report.torn, report.lost
            )
        });
        let (uplink, commands) = mpsc::channel(UPLINK_WINDOW_MESSAGES * 2);
        let custody = Custody {
            uplink,
            sealer: force.authority.sealer().ok_or("no keys")?,
            sealing: Sealing::new().map_err(said)?,
            outbox,
            ledger,
            delivery: Delivery::default(),
            notices: custody::notices::Notices::default(),
            clock: Arc::new(machine.clone()),
            mark: Arc::clone(&force.mark),
            sending: Arc::clone(&force.sending),
            drained: Arc::new(AtomicBool::new(false)),
            counters: Arc::new(Counters::default()),
            state: custody::State::new(Storing::new(outside.settings.gather)),
        };
        let mapping = TimeMapping { offset_us: 0, quality: ClockQuality::Replay };
        let pipeline = Pipeline::new(mapping, outside.settings.column_bytes);
        let inside =
            Inside { custody, pipeline, inbox: VecDeque::new(), commands, overload: BTreeMap::new() };
        let mut car = Self { force, inside };
        outside.oracle.verify(&car.inside.custody);
        car.inside.custody.begin();
        car.look_again(outside);
        Ok(car)
    }

    /// What the daemon does once a second.
    pub fn look_again(&mut self, outside: &mut Outside) {
        let mut hands = Hands { inside: &mut self.inside, outside };
        self.force.look_again(&mut hands);
        outside.made_gate();
    }

    pub fn hands<'a>(&'a mut self, outside: &'a mut Outside) -> Hands<'a> {
        Hands { inside: &mut self.inside, outside }
    }

    /// An orderly stop.
    pub fn stop(mut self, outside: &mut Outside) {
        let mut hands = self.hands(outside);
        let mut outputs = Vec::new();
        hands.inside.pipeline.on_event(Event::Flush, &mut outputs);
        hands.collect(outputs);
        while !hands.inside.inbox.is_empty() {
            hands.turn();
        }
        hands.turn();
        self.inside.custody.close();
    }
}

impl Hands<'_> {
    /// A frame comes after `ms` milliseconds.
    pub fn frame(&mut self, ms: i64) {
        let outside = &mut *self.outside;
        outside.machine.pass(ms * 1000);
        outside.frames += 1;
        let at = outside.machine.monotonic().0 / 1000;
        let (count, noise) = (outside.frames, outside.random.bits() >> 2);
        let values = [count, count + 1, count * 2, noise];
        if let Some(gate) = &outside.gate {
            outside.oracle.saw(at, values, gate);
        }
        let frame = bus::frame(Moment(at * 1000), values);
        let mut outputs = Vec::new();
        self.inside.pipeline.on_event(Event::Frame(&frame), &mut outputs);
        self.collect(outputs);
    }

    /// No frame for a while.
    pub fn silence(&mut self, ms: i64) {
        self.outside.machine.pass(ms * 1000);
        let mut outputs = Vec::new();
        self.inside.pipeline.on_event(Event::Time(self.outside.machine.monotonic()), &mut outputs);
        self.collect(outputs);
    }

    /// Hands on what the pipeline put out; without room it is lost, and said as soon as there is.
    fn collect(&mut self, outputs: Vec<Output>) {
        let inside = &mut *self.inside;
        for output in outputs {
            if inside.inbox.len() < MESSAGES_MAX {
                let overload = std::mem::take(&mut inside.overload);
                let lost = |(flow, samples)| Output::Lost { flow, reason: LossReason::Overload, samples };
                inside.inbox.extend(overload.into_iter().map(lost).map(Message::Output));
                inside.inbox.push_back(Message::Output(output));
            } else {
                let (flow, samples) = match &output {
                    Output::Lost { flow, samples, .. } => (*flow, *samples),
                    Output::Batch(batch) => (batch.rules().flow, u64::from(batch.samples())),
                };
                *inside.overload.entry(flow).or_default() += samples;
            }
        }
    }

    /// Custody takes some of what waits.
    pub fn turn(&mut self) {
        let most = 1 + self.outside.random.index(10);
        let some: Vec<Message> = (0..most).map_while(|_| self.inside.inbox.pop_front()).collect();
        let ended = self.outside.documents.model();
        for message in &some {
            if let Message::Output(Output::Lost { flow, samples, .. }) = message
                && !ended.ended.contains(flow)
            {
                self.outside.oracle.owes(*flow, *samples);
            }
        }
        self.inside.custody.turn(some);
        let cap = self.outside.settings.cap;
        for batch in self.outside.oracle.turned(&self.inside.custody, cap) {
            self.outside.trace.batch("stored", Some(batch));
        }
        let taken = self.outside.disk.bytes_of(".seg");
        if taken > cap + 4096 && !self.outside.disk_troubled {
            self.outside.oracle.fail(format!("9: segments take {taken} bytes of {cap}"));
        }
        self.take_commands();
    }

    /// What custody has handed to the network reaches it.
    pub fn take_commands(&mut self) {
        while let Ok(command) = self.inside.commands.try_recv() {
            let now = self.outside.now();
            let batch = self.outside.oracle.published(&command, &now, &self.inside.custody);
            self.outside.trace.batch("published", batch);
            let mut out = Happened::default();
            self.outside.net.take(command, &mut out);
            self.happened(out);
        }
    }

    /// The network or the broker does something.
    pub fn net(&mut self) {
        if self.inside.inbox.len() < MESSAGES_MAX {
            let out = self.outside.net.step(self.outside.machine.monotonic());
            self.happened(out);
        }
    }

    /// The connection ends.
    pub fn disconnect(&mut self) {
        let mut out = Happened::default();
        self.outside.net.ended(self.outside.machine.monotonic(), &mut out);
        self.happened(out);
    }

    fn happened(&mut self, out: Happened) {
        for parcel in out.delivered {
            let batch = self.outside.oracle.delivered(&parcel);
            self.outside.trace.batch("arrived", batch);
            let said = batch.map_or(&[][..], |batch| self.outside.oracle.recipients.said_by(batch));
            said.iter().for_each(|loss| self.outside.trace.loss(loss));
        }
        for event in out.events {
            self.outside.trace.event(&event);
            self.inside.inbox.push_back(Message::Uplink(event));
        }
    }

    /// While one thread waits for another: frames, the network, a power cut.
    fn meanwhile(&mut self) {
        self.outside.machine.moment();
        match self.outside.random.below(6) {
            0 => self.frame(1),
            1 => self.net(),
            2 => self.outside.machine.pass(1000),
            _ => {}
        }
    }

    fn wait<T>(&mut self, answer: &Receiver<T>) -> T {
        loop {
            self.meanwhile();
            self.turn();
            if let Ok(answer) = answer.try_recv() {
                return answer;
            }
        }
    }
}

impl Stages for Hands<'_> {
    fn withdraw(&mut self, flow: FlowId) -> bool {
        let (answer, answered) = sync_channel(1);
        self.inside.inbox.push_back(Message::Withdraw(flow, answer));
        self.outside.trace.flow_line("withdraw", flow);
        self.wait(&answered)
    }

    fn narrow(&mut self, flow: FlowId) -> Option<bool> {
        let (answer, answered) = sync_channel(1);
        self.inside.inbox.push_back(Message::Narrow(flow, answer));
        self.outside.trace.flow_line("narrow", flow);
        let narrowed = self.wait(&answered);
        self.outside.trace.say(|| format!("  narrowed: {narrowed:?}"));
        narrowed
    }

    fn is_settled(&mut self, flow: FlowId) -> bool {
        let (answer, answered) = sync_channel(1);
        self.inside.inbox.push_back(Message::Settled(flow, answer));
        self.wait(&answered)
    }

    fn permit(&mut self, flows: &[Arc<FlowRules>]) {
        self.outside.look();
        let (answer, answered) = sync_channel(1);
        let classed = flows.iter().map(|rules| (Arc::clone(rules), papers::priority(&rules.purpose)));
        self.inside.inbox.push_back(Message::Permit(classed.collect(), answer));
        self.wait(&answered);
    }

    fn swap(&mut self, effective: &Effective) {
        self.outside.made_gate();
        let gate = Gate::compile(effective, &bus::leaves());
        let compiled = Compiled::new(&bus::leaves(), gate, Watches::default());
        let mut outputs = Vec::new();
        self.inside.pipeline.on_event(Event::Swap(Box::new(compiled)), &mut outputs);
        self.collect(outputs);
        self.outside.trace.in_force(effective);
        self.meanwhile();
    }

    fn cut(&mut self) {
        self.disconnect();
        self.meanwhile();
    }

    fn purge(&mut self, flow: FlowId) {
        let (answer, answered) = sync_channel(1);
        self.inside.inbox.push_back(Message::Purge(flow, answer));
        let purged = self.wait(&answered);
        self.outside.trace.say(|| format!("purged: {purged:?}"));
    }

    fn note(&mut self, record: Record) {
        self.inside.inbox.push_back(Message::Note(record));
    }

    fn wake(&mut self) {
        self.inside.inbox.push_back(Message::Wake);
    }
}
