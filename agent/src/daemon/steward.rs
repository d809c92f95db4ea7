//! The steward: takes documents and the owner's acts by whatever way they came, and puts what was decided in force,
//! in the order that makes a withdrawal complete.
//!
//! ```text
//! hold the network ─▶ tombstone, record: durable ─▶ delivery: never again ─▶ gate swapped ─▶ connection cut
//!                                                ─▶ keys, segments, index destroyed ─▶ network free again
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::{Effective, FlowRules, Situation};
use glovebox_core::decode::{Leaves, Plan};
use glovebox_core::ledger::{Event, Record};
use glovebox_core::limits::{BATCH_AGE_US_MAX, DOCUMENT_BYTES_MAX};
use glovebox_core::names::{DeviceId, FlowId};
use glovebox_core::pipeline::Compiled;
use glovebox_core::uplink::{DocumentTopic, status_topic};
use tokio::sync::{mpsc, oneshot};

use super::authority::{Change, LocalAuthority, payload_digest};
use super::custody::{Message, Queue};
use super::drive::{Order, Orders};
use super::rules::Rules;
use crate::bus::{Controller, Interface, Link, States};
use crate::config::Config;
use crate::control::json::{Value, json, to_value};
use crate::control::{Authority as _, AuthorityError, Handler, Request};
use crate::health::{BusStatus, Counter, Counters, FlowStatus, LinkState, LinkStatus, QueueStatus, Status};
use crate::uplink;

/// How long another thread may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// What the steward has to do with.
pub(super) struct Steward {
    pub(super) authority: Mutex<LocalAuthority>,
    pub(super) leaves: Arc<Leaves>,
    pub(super) drive: Orders,
    pub(super) states: Arc<States>,
    pub(super) custody: mpsc::Sender<Message>,
    pub(super) uplink: mpsc::Sender<uplink::Command>,
    pub(super) sending: Arc<Mutex<()>>,
    /// The persisted mark of time, for the custody thread's clock.
    pub(super) mark: Arc<AtomicI64>,
    pub(super) counters: Arc<Counters>,
    pub(super) config: Config,
    /// `None` until the first gate is in force.
    pub(super) effective: Mutex<Option<Effective>>,
    pub(super) rules: Mutex<Rules>,
    pub(super) link: Mutex<LinkStatus>,
    pub(super) begun: Instant,
    /// The threads are being ended: that they no longer answer is no fault.
    pub(super) stopping: AtomicBool,
    /// Files of the policy folder that were looked at, with their time stamps.
    pub(super) seen: Mutex<Vec<(PathBuf, SystemTime)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Steward {
    /// One act of the authority; what it changed is in force when this returns.
    fn act<T>(
        &self,
        what: impl FnOnce(&mut LocalAuthority) -> Result<T, AuthorityError>,
    ) -> Result<T, AuthorityError> {
        let mut authority = lock(&self.authority);
        let outcome = {
            // From before a withdrawal is stored until it is known to delivery, nothing is handed to the network.
            let _held = lock(&self.sending);
            let outcome = what(&mut authority);
            let changes = authority.take_changes();
            if !changes.is_empty() {
                self.put_in_force(&authority, &changes);
            }
            outcome
        };
        self.mark.store(authority.mark().0, Ordering::Release);
        self.tell_custody(Message::Wake);
        outcome
    }

    /// What applies is worked out anew: at start, and when a date has passed or the clock has changed.
    pub(super) fn look_again(&self) {
        let mut authority = lock(&self.authority);
        if let Err(error) = authority.keep_time() {
            tracing::error!(target: "consent", %error, "the time could not be kept");
        }
        self.mark.store(authority.mark().0, Ordering::Release);
        let held = lock(&self.sending);
        self.put_in_force(&authority, &[]);
        drop(held);
        self.tell_custody(Message::Wake);
    }

    fn put_in_force(&self, authority: &LocalAuthority, changes: &[Change]) {
        let control = authority.control();
        let situation = Situation {
            policy: control.policy(),
            grants: control.grants(),
            leaves: &self.leaves,
            time: authority.now(),
            agent_version: env!("CARGO_PKG_VERSION"),
        };
        let mut effective = Effective::of(&situation);
        let age = i64::try_from(self.config.batch.age.as_micros()).unwrap_or(BATCH_AGE_US_MAX);
        for rules in &mut effective.flows {
            if rules.batch_age_us > age {
                Arc::make_mut(rules).batch_age_us = age;
            }
        }
        let mut current = lock(&self.effective);
        let same = |now: &Effective| now.flows == effective.flows && now.withheld == effective.withheld;
        if changes.is_empty() && current.as_ref().is_some_and(same) {
            return;
        }
        let ended: Vec<FlowId> = changes
            .iter()
            .filter_map(|c| if let Change::Ended(flow) = c { Some(*flow) } else { None })
            .collect();
        let mut cut = false;
        for flow in &ended {
            cut |= self.ask_custody(|answer| Message::Withdraw(*flow, answer)).unwrap_or(true);
        }
        let mut rules = lock(&self.rules);
        let Narrowed { resumed, going_on } = narrowed(current.as_ref(), &effective, &rules);
        // Before anything new of these is collected, which would go with the old.
        for flow in resumed {
            cut |= self.ask_custody(|answer| Message::Narrow(flow, answer)).unwrap_or(true);
        }
        self.tell_custody(Message::Permit(effective.flows.clone()));
        self.swap(&effective);
        for flow in going_on {
            cut |= self.ask_custody(|answer| Message::Narrow(flow, answer)).unwrap_or(true);
        }
        if cut {
            self.cut();
        }
        for flow in &ended {
            match self.ask_custody(|answer| Message::Purge(*flow, answer)) {
                Some(Ok(())) => tracing::info!(target: "outbox", %flow, "purged"),
                Some(Err(error)) => {
                    tracing::error!(target: "outbox", %flow, %error, "not purged; the next start does");
                }
                None => {
                    tracing::error!(target: "outbox", %flow, "custody does not answer; the next start purges");
                }
            }
        }
        if let Err(error) = rules.keep(&effective, &ended) {
            tracing::error!(target: "consent", %error, "the rules of the queues could not be noted");
        }
        self.note(changes, authority);
        *current = Some(effective);
    }

    fn swap(&self, effective: &Effective) {
        let gate = Gate::compile(effective, &self.leaves);
        let plan = Plan::compile(&self.leaves, &gate.needed());
        let (done, swapped) = sync_channel(1);
        let order = Order::Swap(Box::new(Compiled { plan, gate }), done);
        let sent = self.drive.give(order);
        // A thread that has ended lets nothing through either.
        if sent && swapped.recv_timeout(ANSWER).is_err() {
            tracing::error!(target: "consent", "the pipeline did not take the new gate in time");
        }
        let (flows, withheld) = (effective.flows.len(), effective.withheld.len());
        tracing::info!(target: "consent", flows, withheld, "in force");
        if flows == 0 {
            let clause = effective.withheld.first().map(|withheld| withheld.clause.to_string());
            let why = clause.as_deref().unwrap_or("nothing is granted: `glovebox consent grant`");
            tracing::warn!(target: "consent", why, "nothing leaves");
        }
    }

    /// Throws away what is in the network's hands.
    fn cut(&self) {
        let (done, cut) = oneshot::channel();
        if self.uplink.blocking_send(uplink::Command::Cut(done)).is_ok() {
            // It has a bound of its own.
            let _ = cut.blocking_recv();
        }
    }

    fn note(&self, changes: &[Change], authority: &LocalAuthority) {
        for change in changes {
            let event = match change {
                Change::Policy => Event::PolicyAccepted,
                Change::Widened(_) | Change::Narrowed(_) => Event::ConsentStored,
                Change::Ended(_) => Event::Withdrawn,
            };
            self.tell_custody(Message::Note(Record::new(authority.now().map(|now| now.earliest), event)));
        }
    }

    fn tell_custody(&self, message: Message) {
        if self.custody.blocking_send(message).is_err() && !self.stopping.load(Ordering::Acquire) {
            tracing::error!(target: "outbox", "custody has ended");
        }
    }

    fn ask_custody<T>(&self, question: impl FnOnce(SyncSender<T>) -> Message) -> Option<T> {
        let (answer, answered) = sync_channel(1);
        self.tell_custody(question(answer));
        answered.recv_timeout(ANSWER).ok()
    }

    /// A document that came over the network; the answer for its sender, and its topic. The broker reads answers, so
    /// why a consent record was refused is told in the car only: the reason could tell what is granted.
    pub(super) fn document(&self, topic: DocumentTopic, payload: &[u8]) -> (String, Vec<u8>) {
        let digest = payload_digest(payload);
        let answer = match (self.submit(payload), topic) {
            (Ok(accepted), _) => json!({ "accepted": true, "kind": accepted.kind, "digest": accepted.digest,
                "version": self.version() }),
            (Err(error), DocumentTopic::Policy) => {
                json!({ "accepted": false, "reason": error.to_string(), "digest": digest, "version": self.version() })
            }
            (Err(_), DocumentTopic::Consent) => {
                json!({ "accepted": false, "reason": "refused: the log in the car says why", "digest": digest,
                    "version": self.version() })
            }
        };
        (status_topic(&self.config.consent.device), answer.to_string().into_bytes())
    }

    fn submit(&self, document: &[u8]) -> Result<crate::control::Accepted, AuthorityError> {
        let taken = self.act(|authority| authority.submit(document));
        match &taken {
            Ok(accepted) => {
                self.counters.count(Counter::DocumentsAccepted);
                tracing::info!(target: "consent", kind = accepted.kind, digest = %accepted.digest, "accepted");
            }
            Err(error) => {
                self.counters.count(Counter::DocumentsRefused);
                tracing::warn!(target: "consent", "refused: {error}");
            }
        }
        taken
    }

    fn version(&self) -> Option<u64> {
        lock(&self.authority).control().policy().map(|policy| policy.bundle().payload().version.0)
    }

    /// Takes the bundles that were dropped into the policy folder since the last look.
    pub(super) fn look_into_folder(&self) {
        let Some(folder) = &self.config.consent.policy_folder else { return };
        for (path, stamp) in files_in(folder) {
            let mut seen = lock(&self.seen);
            if seen.contains(&(path.clone(), stamp)) {
                continue;
            }
            seen.retain(|(known, _)| *known != path);
            seen.push((path.clone(), stamp));
            drop(seen);
            let size = std::fs::metadata(&path).map_or(0, |found| found.len());
            if usize::try_from(size).map_or(true, |size| size > DOCUMENT_BYTES_MAX * 2) {
                tracing::warn!(target: "consent", file = %path.display(), size, "too large for a document: not read");
                continue;
            }
            match std::fs::read(&path) {
                Ok(bytes) => drop(self.submit(&bytes)),
                Err(error) => tracing::warn!(target: "consent", file = %path.display(), %error, "not read"),
            }
        }
    }

    /// The pipeline closes what is open and ends.
    pub(super) fn stop_drive(&self) {
        self.stopping.store(true, Ordering::Release);
        // It may have ended by itself.
        let _ = self.drive.give(Order::Stop);
    }

    /// What the uplink said of the connection, for whoever asks.
    pub(super) fn linked(&self, event: &uplink::Event) {
        let mut link = lock(&self.link);
        match event {
            uplink::Event::Connected { .. } => (link.state, link.last_error) = (LinkState::Connected, None),
            uplink::Event::Disconnected { reason } => {
                (link.state, link.last_error) = (LinkState::Waiting, Some(reason.to_string()));
            }
            _ => {}
        }
    }

    fn status(&self) -> Status {
        let queue = self.ask_custody(Message::Look).unwrap_or_default();
        // Before the next lock: an act takes them in this order.
        let policy = lock(&self.authority).control().policy().map(|policy| policy.bundle().payload().version);
        let effective = lock(&self.effective).clone().unwrap_or_default();
        let held = effective.withheld.iter().find(|w| w.flow.is_none()).map(|w| w.clause.to_string());
        let config = &self.config;
        let bus = |(interface, (link, controller)): (&Interface, (Link, Controller))| BusStatus {
            name: interface.name.clone(),
            interface: interface.interface.clone(),
            state: link.to_string(),
            controller: controller.to_string(),
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: config.consent.device.clone(),
            up_s: self.begun.elapsed().as_secs(),
            policy,
            held,
            link: LinkStatus {
                in_flight: u32::try_from(queue.in_flight).unwrap_or(u32::MAX),
                ..lock(&self.link).clone()
            },
            buses: config.bus.interface.iter().zip(self.states.all()).map(bus).collect(),
            flows: effective.flows.iter().map(|rules| flow_status(rules, &queue)).collect(),
            queue: QueueStatus {
                batches: queue.figures.iter().map(|f| f.batches as u64).sum(),
                bytes: queue.bytes,
                cap_bytes: config.outbox.size_bytes,
                notices: queue.notices,
            },
            counters: self.counters.snapshot(),
        }
    }
}

fn flow_status(rules: &glovebox_core::consent::effective::FlowRules, queue: &Queue) -> FlowStatus {
    let figures = queue.figures.iter().find(|figures| figures.flow == rules.flow);
    FlowStatus {
        recipient: rules.recipient.clone(),
        purpose: rules.purpose.clone(),
        held: None,
        queued_batches: figures.map_or(0, |figures| figures.batches as u64),
        queued_bytes: figures.map_or(0, |figures| figures.bytes),
    }
}

/// Flows that have less than before.
struct Narrowed {
    /// Held back until now, or not known: it counts under which rules their queue was collected.
    resumed: Vec<FlowId>,
    going_on: Vec<FlowId>,
}

fn narrowed(old: Option<&Effective>, new: &Effective, rules: &Rules) -> Narrowed {
    let before = |flow| old.and_then(|old| old.flows.iter().find(|rules| rules.flow == flow));
    let mut resumed = rules.changed(new);
    resumed.retain(|flow| before(*flow).is_none());
    let less = |rules: &&Arc<FlowRules>| before(rules.flow).is_some_and(|old| rules.narrower_than(old));
    let going_on = new.flows.iter().filter(less).map(|rules| rules.flow).collect();
    Narrowed { resumed, going_on }
}

fn files_in(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let stamped = entries.flatten().filter_map(|entry| {
        let found = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some((entry.path(), found.modified().ok()?))
    });
    let mut files: Vec<_> = stamped.collect();
    files.sort();
    files
}

impl Handler for Steward {
    fn handle(&self, request: Request) -> Result<Value, String> {
        let said = |error: AuthorityError| error.to_string();
        let value = match request {
            Request::Submit { document } => to_value(self.submit(&document).map_err(said)?),
            Request::Draft(order) => to_value(lock(&self.authority).draft(&order).map_err(said)?),
            Request::Withdraw { recipient, purpose } => {
                let withdrawn = self.act(|authority| authority.withdraw(&recipient, purpose.as_ref()));
                Ok(json!({ "withdrawn": withdrawn.map_err(said)? }))
            }
            Request::Consents {} => Ok(json!({ "consents": lock(&self.authority).list().map_err(said)? })),
            Request::Status {} => to_value(self.status()),
        };
        value.map_err(|error| error.to_string())
    }
}

/// The device's name, for the uplink.
pub(super) fn device(config: &Config) -> DeviceId {
    config.consent.device.clone()
}
