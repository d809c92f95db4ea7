//! The steward: takes documents and the owner's acts by whatever way they came, tells the other threads what is in
//! force, and answers how things are.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::{Effective, FlowRules};
use glovebox_core::consent::transform::Rule;
use glovebox_core::consent::zone::Place;
use glovebox_core::decode::Leaves;
use glovebox_core::ledger::Record;
use glovebox_core::names::{DeviceId, FlowId};
use glovebox_core::pipeline::{Compiled, Watches};
use glovebox_core::uplink::{DocumentTopic, status_topic};
use tokio::sync::{mpsc, oneshot};

use super::authority::{LocalAuthority, payload_digest};
use super::custody::{Message, Queue};
use super::drive::{Order, Orders};
use super::force::{Force, Stages};
use super::trip::TripSeen;
use super::zones::{Stamp, ZoneFile};
use crate::bus::{Controller, Interface, Link, States};
use crate::config::{Config, Delivery};
use crate::control::json::{Value, json, to_value};
use crate::control::{Authority as _, AuthorityError, Handler, InCar, Meanwhile, Request, TrustsClock};
use crate::health::{BusStatus, Counter, Counters, FlowStatus, LinkState, LinkStatus, QueueStatus, Status};
use crate::uplink;

/// How long another thread may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// A document that lies in the policy folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropped<'a> {
    pub(super) file: &'a Path,
    /// Since before this start.
    pub(super) was_there: bool,
}

/// What the steward has to do with.
pub(super) struct Steward {
    pub(super) force: Mutex<Force>,
    pub(super) threads: Threads,
    pub(super) states: Arc<States>,
    pub(super) counters: Arc<Counters>,
    pub(super) config: Config,
    pub(super) link: Mutex<LinkStatus>,
    pub(super) begun: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The other threads, and how they are told.
pub(super) struct Threads {
    pub(super) leaves: Arc<Leaves>,
    /// Which purposes go first, and what the others wait for.
    pub(super) classes: Delivery,
    /// The signal that some classes wait for, and that which tells of trips.
    pub(super) watches: Watches,
    /// What that signal said last.
    pub(super) trip: TripSeen,
    /// Where private places are kept, and its stamp when they were read last.
    pub(super) zones: (ZoneFile, Mutex<Option<Stamp>>),
    pub(super) drive: Orders,
    pub(super) custody: mpsc::Sender<Message>,
    pub(super) uplink: mpsc::Sender<uplink::Command>,
    /// The threads are being ended: that they no longer answer is no fault.
    pub(super) stopping: AtomicBool,
}

impl Threads {
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

    /// The signal that sending waits for is read only while something that may be sent waits for it (invariant 6).
    fn watched(&self, effective: &Effective) -> Watches {
        let classes = self.classes.only_when.as_ref().map(|only_when| &only_when.condition.classes);
        let waits = |rules: &Arc<FlowRules>| {
            classes.is_some_and(|classes| classes.contains(&self.classes.priority(&rules.purpose)))
        };
        let mut watches = self.watches.clone();
        watches.only_when = watches.only_when.filter(|_| effective.flows.iter().any(waits));
        watches
    }
}

impl Stages for &Threads {
    fn withdraw(&mut self, flow: FlowId) -> bool {
        self.ask_custody(|answer| Message::Withdraw(flow, answer)).unwrap_or(true)
    }

    fn narrow(&mut self, flow: FlowId) -> Option<bool> {
        self.ask_custody(|answer| Message::Narrow(flow, answer)).flatten()
    }

    fn is_settled(&mut self, flow: FlowId) -> bool {
        self.ask_custody(|answer| Message::Settled(flow, answer)).unwrap_or(false)
    }

    fn permit(&mut self, flows: &[Arc<FlowRules>]) {
        let classed = |rules: &Arc<FlowRules>| (Arc::clone(rules), self.classes.priority(&rules.purpose));
        let classed = flows.iter().map(classed).collect();
        let permitted = self.ask_custody(|answer| Message::Permit(classed, answer));
        if permitted.is_none() {
            tracing::error!(target: "outbox", "custody does not answer: what it may offer is not changed");
        }
    }

    fn swap(&mut self, effective: &Effective) {
        *lock(&self.zones.1) = self.zones.0.stamp();
        let zones = Arc::new(self.zones.0.zones());
        let gate = Gate::compile_for(effective, &self.leaves, &zones);
        if gate.needs_trips() && self.watches.trip.is_none() {
            tracing::warn!(target: "consent", "a grant speaks of trips, and `[consent.trip]` names no signal: nothing of it leaves");
        }
        let place = Place::new(&self.leaves, zones);
        let compiled = Compiled::new(&self.leaves, gate, Watches { place, ..self.watched(effective) });
        let (done, swapped) = sync_channel(1);
        let order = Order::Swap(Box::new(compiled), done);
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

    fn cut(&mut self) {
        let (done, cut) = oneshot::channel();
        if self.uplink.blocking_send(uplink::Command::Cut(done)).is_ok() {
            // It has a bound of its own.
            let _ = cut.blocking_recv();
        }
    }

    fn purge(&mut self, flow: FlowId) {
        match self.ask_custody(|answer| Message::Purge(flow, answer)) {
            Some(Ok(())) => tracing::info!(target: "outbox", %flow, "purged"),
            Some(Err(error)) => {
                tracing::error!(target: "outbox", %flow, %error, "not purged; the next start does");
            }
            None => {
                tracing::error!(target: "outbox", %flow, "custody does not answer; the next start purges");
            }
        }
    }

    fn note(&mut self, record: Record) {
        self.tell_custody(Message::Note(record));
    }

    fn wake(&mut self) {
        self.tell_custody(Message::Wake);
    }

    fn trip(&mut self) -> Option<bool> {
        self.trip.look()
    }
}

impl Steward {
    /// One act of the authority; what it changed is in force when this returns.
    fn act<T>(
        &self,
        what: impl FnOnce(&mut LocalAuthority) -> Result<T, AuthorityError>,
    ) -> Result<T, AuthorityError> {
        lock(&self.force).act(&mut &self.threads, what)
    }

    /// What applies is worked out anew: at start, and when a date has passed or the clock has changed.
    pub(super) fn look_again(&self) {
        let mut force = lock(&self.force);
        force.look_again(&mut &self.threads);
        // The gate of the old private places does for the new ones only until here.
        if let Some(effective) = &force.effective
            && self.threads.zones.0.stamp() != *lock(&self.threads.zones.1)
        {
            (&mut &self.threads).swap(effective);
        }
    }

    /// A document that came over the network; the answer for its sender, and its topic. The broker reads answers, so
    /// why a consent record was refused is told in the car only: the reason could tell what is granted.
    pub(super) fn document(&self, topic: DocumentTopic, payload: &[u8]) -> (String, Vec<u8>) {
        let digest = payload_digest(payload);
        let answer = match (self.submit(payload, None), topic) {
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

    /// A document by whatever way; `dropped`: where it lies, if it does.
    pub(super) fn submit(
        &self,
        document: &[u8],
        dropped: Option<Dropped<'_>>,
    ) -> Result<crate::control::Accepted, AuthorityError> {
        let taken = self.act(|authority| authority.submit(document));
        let was_there = dropped.is_some_and(|dropped| dropped.was_there);
        // As Rust writes a string: a line end in a name begins no line of the log.
        let file = dropped.map(|dropped| tracing::field::debug(dropped.file));
        match &taken {
            Ok(accepted) => {
                self.counters.count(Counter::DocumentsAccepted);
                tracing::info!(target: "consent", kind = accepted.kind, digest = %accepted.digest, file, "accepted");
            }
            // At each start anew, as long as it lies there.
            Err(AuthorityError::Superseded(_)) if was_there => {
                tracing::info!(target: "consent", file, "a newer policy is in force: this one may be removed");
            }
            Err(error) => {
                self.counters.count(Counter::DocumentsRefused);
                let mend =
                    if file.is_some() { "; it stays there, put a mended one in its place" } else { "" };
                tracing::warn!(target: "consent", file, "refused: {error}{mend}");
            }
        }
        taken
    }

    fn version(&self) -> Option<u64> {
        lock(&self.force).authority.control().policy().map(|policy| policy.bundle().payload().version.0)
    }

    /// The pipeline closes what is open and ends.
    pub(super) fn stop_drive(&self) {
        self.threads.stopping.store(true, Ordering::Release);
        // It may have ended by itself.
        let _ = self.threads.drive.give(Order::Stop);
    }

    /// What the uplink said of the connection, for whoever asks.
    pub(super) fn linked(&self, event: &uplink::Event) {
        let mut link = lock(&self.link);
        let attempt = match event {
            uplink::Event::Connected { attempt, .. } => {
                (link.state, link.last_error) = (LinkState::Connected, None);
                attempt
            }
            uplink::Event::Disconnected { reason, attempt } => {
                (link.state, link.last_error) = (LinkState::Waiting, Some(reason.to_string()));
                attempt
            }
            _ => return,
        };
        link.broker = attempt.broker.to_string();
        if let Some(until) = attempt.certificate_until {
            link.certificate_until = Some(until.to_string());
        }
    }

    pub(super) fn status(&self) -> Status {
        let queue = self.threads.ask_custody(Message::Look).unwrap_or_default();
        let (policy, effective, held_back) = {
            let force = lock(&self.force);
            let policy = force.authority.control().policy().map(|policy| policy.bundle().payload().version);
            (policy, force.effective.clone().unwrap_or_default(), force.authority.held_back())
        };
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
            held_back,
            private_places: self.threads.zones.0.read().ok().map(|cells| cells.len()),
            link: LinkStatus {
                in_flight: u32::try_from(queue.in_flight).unwrap_or(u32::MAX),
                ..lock(&self.link).clone()
            },
            buses: config.bus.interface.iter().zip(self.states.all()).map(bus).collect(),
            flows: effective.flows.iter().map(|rules| self.flow_status(rules, &queue)).collect(),
            queue: QueueStatus {
                batches: queue.figures.iter().map(|f| f.batches as u64).sum(),
                bytes: queue.bytes,
                cap_bytes: config.outbox.size_bytes,
                notices: queue.notices,
            },
            notices: queue.unsent,
            counters: self.counters.snapshot(),
        }
    }

    fn flow_status(&self, rules: &FlowRules, queue: &Queue) -> FlowStatus {
        let figures = queue.figures.iter().find(|figures| figures.flow == rules.flow);
        let of_trips = |rule: Rule| matches!(rule, Rule::Pass(transform) if transform.needs_trips());
        let blind = self.threads.watches.trip.is_none()
            && rules.signals.iter().all(|it| of_trips(it.permitted) || it.permitted == Rule::Deny);
        let blind = blind.then(|| "it is of trips, and `[consent.trip]` names no signal".to_owned());
        let held = queue.held.iter().find(|(flow, _)| *flow == rules.flow).map(|(_, why)| why.clone());
        FlowStatus {
            recipient: rules.recipient.clone(),
            purpose: rules.purpose.clone(),
            held: held.or(blind),
            queued_batches: figures.map_or(0, |figures| figures.batches as u64),
            queued_bytes: figures.map_or(0, |figures| figures.bytes),
        }
    }
}

impl Handler for Steward {
    fn handle(&self, request: Request) -> Result<Value, String> {
        let said = |error: AuthorityError| error.to_string();
        let value = match request {
            Request::Submit { document } => to_value(self.submit(&document, None).map_err(said)?),
            Request::Draft(order) => to_value(lock(&self.force).authority.draft(&order).map_err(said)?),
            Request::Withdraw(order) => {
                let withdrawn = self.act(|authority| authority.withdraw(&order));
                Ok(json!({ "withdrawn": withdrawn.map_err(said)? }))
            }
            Request::Consents {} => {
                Ok(json!({ "consents": lock(&self.force).authority.list().map_err(said)? }))
            }
            Request::DraftEnrolment(order) => {
                to_value(lock(&self.force).authority.draft_enrolment(&order).map_err(said)?)
            }
            Request::Owners {} => {
                Ok(json!({ "owners": lock(&self.force).authority.owners().map_err(said)? }))
            }
            Request::Why(order) => {
                // Asked before the lock is taken, so that no act waits for it.
                let held = self.threads.ask_custody(Message::Look).unwrap_or_default().held;
                let private_places = !self.threads.zones.0.zones().is_empty();
                let force = lock(&self.force);
                let meanwhile = Meanwhile { private_places, held };
                to_value(force.authority.why(&order, &force.leaves, &meanwhile))
            }
            Request::Hold { what, lasts, scope } => {
                let held = self.act(|authority| authority.hold(&what, lasts, scope));
                Ok(json!({ "holds": held.map_err(said)? }))
            }
            Request::Release { what, scope } => {
                let held = self.act(|authority| authority.release(&what, scope));
                Ok(json!({ "holds": held.map_err(said)? }))
            }
            Request::Driver(order) => to_value(self.act(|authority| authority.driver(&order)).map_err(said)?),
            Request::TripEnded {} => Ok(json!({ "holds": self.act(InCar::trip_ended).map_err(said)? })),
            Request::Clock {} => to_value(self.act(TrustsClock::clock).map_err(said)?),
            Request::TrustClock {} => to_value(self.act(TrustsClock::trust_clock).map_err(said)?),
            Request::Status {} => to_value(self.status()),
        };
        value.map_err(|error| error.to_string())
    }
}

/// The device's name, for the uplink.
pub(super) fn device(config: &Config) -> DeviceId {
    config.consent.device.clone()
}
