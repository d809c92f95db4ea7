//! One connection from its socket to its end. It is the only user of its MQTT client, in one task: what is offered
//! goes on the window's queue and then to the client, so the order of packet ids is the order of the queue.
//!
//! ```text
//!   Connecting ─ CONNACK ▶ Subscribing ─ SUBACK ▶ Ready ─ told to leave ─────────────────▶ Leaving ─ broker closes ▶ end
//!                                                   └─ renewed, first again ▶ Draining ─────┘
//!   from each of them, at once: Cut, an error, a deadline ▶ end
//! ```

mod hear;
mod offer;

use super::failure::{Failure, Reason};
use super::keeper::{Keeper, Material};
use super::link::{self, Bridge, Link};
use super::mqtt::{self, Client, Full, Heard, Session, Taken, Who};
use super::reports::{Daemon, Gone};
use super::{Attempt, Command, ConnectionNumber, Meter, Setup, network};
use glovebox_core::delivery::Network;
use glovebox_core::limits::{
    UPLINK_ACK_MS_MAX, UPLINK_DISCONNECT_MS_MAX, UPLINK_DOCUMENTS_IN_FLIGHT, UPLINK_DRAIN_MS_MAX,
    UPLINK_SUBACK_MS_MAX,
};
use glovebox_core::uplink::{End, Window, drawn};
use offer::Waiting;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// What was heard, on its way from the library's loop to us.
const HEARD_MAX: usize = 64;
/// The library reads what is left and meets the end of its socket.
const LAST_WORDS_MS_MAX: u64 = 1_000;
/// "Never", for a deadline.
const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// TCP and TLS are up.
pub(super) struct Opened {
    pub(super) attempt: Attempt,
    material: Arc<Material>,
    link: Link,
    network: Option<Network>,
    bridge: Bridge,
}

/// How it ended, and what is to follow.
pub(super) struct Ended {
    pub(super) reason: Failure,
    /// Who asked for the cut.
    pub(super) cut: Option<oneshot::Sender<()>>,
    pub(super) then: Then,
    /// The broker took us.
    pub(super) taken: bool,
    /// The broker has our subscription.
    pub(super) subscribed: bool,
    /// The broker has acknowledged a batch.
    pub(super) delivered: bool,
}

/// What is to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next connection.
    Back(End),
    /// No connection until told.
    Away,
    /// No connection at all.
    Stop,
}

impl Ended {
    pub(super) fn failed(reason: Failure) -> Self {
        let then = Then::Back(End::Lost);
        Self { reason, cut: None, then, taken: false, subscribed: false, delivered: false }
    }

    fn told(then: Then) -> Self {
        Self { then, ..Self::failed(Failure::Told) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// CONNECT is on its way.
    Connecting,
    /// SUBSCRIBE is on its way; nothing is published, since it shares the packet ids.
    Subscribing,
    Ready,
    /// Nothing new is published; what is in flight may be acknowledged.
    Draining(Rebuild),
    /// DISCONNECT is on its way.
    Leaving(Then, Option<Reason>),
}

/// Why the connection is to be made anew, and at which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rebuild {
    broker: usize,
    reason: Reason,
}

/// What a connection works with beside its own.
pub(super) struct Around<'a> {
    pub(super) setup: &'a Setup,
    pub(super) daemon: &'a mut Daemon,
    pub(super) meter: &'a mut Meter,
    /// Since our start this broker has acknowledged our subscription.
    pub(super) known: bool,
}

pub(super) struct Connection<'a> {
    around: Around<'a>,
    attempt: Attempt,
    client: Box<dyn Client>,
    heard: mpsc::Receiver<Heard>,
    /// Where receipts go, and come from.
    acks: mpsc::Sender<u16>,
    acknowledged: mpsc::Receiver<u16>,
    phase: Phase,
    number: Option<ConnectionNumber>,
    network: Option<Network>,
    subscribed: bool,
    delivered: bool,
    packet_bytes_max: usize,
    window: Window,
    /// Answers go before batches, whatever the rate limit says.
    answers: VecDeque<Waiting>,
    batches: VecDeque<Waiting>,
    /// When the rate limit lets the next batch go.
    resume: Option<Instant>,
    /// Nobody takes our reports any more.
    unheard: bool,
    deadline: Instant,
}

/// TCP, TLS, and the door for the MQTT client.
pub(super) async fn open(setup: &Setup, broker: usize, material: Arc<Material>) -> Result<Opened, Failure> {
    let attempt = Attempt::of(setup, broker, &material);
    let (link, address) = link::open(&setup.config, &attempt.broker, Arc::clone(&material.client)).await?;
    let network = link.get_ref().0.local_addr().ok().and_then(|local| network::of(local.ip()));
    let group = link.get_ref().1.negotiated_key_exchange_group().map(|group| group.name());
    tracing::debug!(target: "uplink", %address, ?group, "TLS is up");
    let bridge = Bridge::bind(&setup.runtime)?;
    Ok(Opened { attempt, material, link, network, bridge })
}

/// Serves `opened` until it ends. `connected` is asked for the connection's number when the broker has taken us.
pub(super) async fn serve(
    opened: Opened,
    around: Around<'_>,
    keeper: &mut Keeper,
    connected: impl FnMut() -> ConnectionNumber,
) -> Ended {
    let Opened { attempt, material, link, network, bridge } = opened;
    let setup = around.setup;
    let (sink, heard) = mpsc::channel(HEARD_MAX);
    let who = Who { client_id: setup.identity.as_str(), passing: false };
    let Session { client, pump } = mqtt::session(setup, &who, bridge.path(), sink);
    let (acks, acknowledged) = mpsc::channel(usize::from(UPLINK_DOCUMENTS_IN_FLIGHT) * 2);
    let watch = watch(setup, attempt.clone(), material, keeper);
    let connection = Connection {
        around,
        attempt,
        client,
        heard,
        acks,
        acknowledged,
        phase: Phase::Connecting,
        number: None,
        network,
        subscribed: false,
        delivered: false,
        packet_bytes_max: 0,
        window: Window::new(None),
        answers: VecDeque::new(),
        batches: VecDeque::new(),
        resume: None,
        unheard: false,
        deadline: Instant::now() + FAR,
    };
    let relay = link::relay(link, bridge, &setup.config);
    connection.run((Box::pin(relay), pump, Box::pin(watch)), connected).await
}

/// Returns when the connection is to be made anew though it works.
async fn watch(setup: &Setup, attempt: Attempt, material: Arc<Material>, keeper: &mut Keeper) -> Rebuild {
    tokio::select! {
        () = keeper.watch(&material, &attempt.broker) => Rebuild { broker: attempt.place, reason: Reason::Renewed },
        () = first_again(setup, &attempt, &material) => Rebuild { broker: 0, reason: Reason::FirstAgain },
    }
}

/// Returns when the first broker of the list answers again. It is asked between half of `return_s` and the whole after
/// the last time: not by all cars in the same second.
async fn first_again(setup: &Setup, attempt: &Attempt, material: &Material) {
    let (Some(first), true) = (setup.config.brokers.first(), attempt.place > 0) else {
        return std::future::pending().await;
    };
    let half_ms = u64::from(setup.config.return_s) * 500;
    loop {
        let wait_ms = half_ms + drawn(getrandom::u64().unwrap_or(u64::MAX), half_ms);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        match link::try_out(&setup.config, first, Arc::clone(&material.client)).await {
            Ok(()) => return,
            Err(failure) => {
                tracing::debug!(target: "uplink", broker = %first, %failure, "the first broker does not answer yet");
            }
        }
    }
}

impl Connection<'_> {
    async fn run(
        mut self,
        (mut relay, mut pump, mut watch): (
            impl Future<Output = Failure> + Unpin,
            impl Future<Output = Failure> + Unpin,
            impl Future<Output = Rebuild> + Unpin,
        ),
        mut connected: impl FnMut() -> ConnectionNumber,
    ) -> Ended {
        let mut ended = loop {
            let (deadline, resume) = (self.deadline, self.resume);
            let step = tokio::select! {
                biased;
                link = &mut relay => break Ended::failed(clearer(link, self.last_words(&mut pump).await)),
                client = &mut pump => break Ended::failed(client),
                // Before what is heard, so that a cut does not wait for it; there are never more than the window holds.
                command = self.around.daemon.commands.recv(), if self.around.daemon.reports.has_room() => self.on_command(command),
                Some(heard) = self.heard.recv() => self.on_heard(heard, &mut connected),
                Some(packet_id) = self.acknowledged.recv() => self.acknowledge(packet_id),
                sent = self.around.daemon.reports.send_next(), if !self.unheard => match sent {
                    Ok(()) => Ok(()),
                    Err(Gone) => self.leave_unheard(),
                },
                () = tokio::time::sleep_until(resume.unwrap_or(deadline)), if resume.is_some() => self.feed().map_err(Ended::failed),
                rebuild = &mut watch, if self.phase == Phase::Ready => self.drain(rebuild),
                () = tokio::time::sleep_until(deadline) => self.on_deadline(),
            };
            if let Err(ended) = step {
                break ended;
            }
        };
        // From here on nothing can be sent: the socket is closed, and with it what the kernel still had.
        drop((relay, pump, watch));
        while let Ok(heard) = self.heard.try_recv() {
            self.on_last(&heard);
        }
        self.conclude(&mut ended);
        ended
    }

    /// The socket is gone; what the broker said last may still be on its way through the client library.
    async fn last_words(&mut self, pump: &mut (impl Future<Output = Failure> + Unpin)) -> Option<Failure> {
        let end = Instant::now() + Duration::from_millis(LAST_WORDS_MS_MAX);
        loop {
            tokio::select! {
                biased;
                failure = &mut *pump => return Some(failure),
                Some(heard) = self.heard.recv() => self.on_last(&heard),
                () = tokio::time::sleep_until(end) => return None,
            }
        }
    }

    fn conclude(&self, ended: &mut Ended) {
        (ended.taken, ended.subscribed) = (self.number.is_some(), self.subscribed);
        ended.delivered = self.delivered;
        match self.phase {
            // A cut has its own reason and wait, but what was told before it holds.
            Phase::Leaving(then, _) if ended.cut.is_some() => {
                if matches!(then, Then::Away | Then::Stop) {
                    ended.then = then;
                }
            }
            Phase::Leaving(then, reason) => {
                ended.then = then;
                ended.reason = reason.map_or(Failure::Told, Failure::Rebuilt);
            }
            _ if !ended.taken && matches!(ended.reason, Failure::Closed | Failure::Broken { .. }) => {
                ended.reason = Failure::ClosedEarly;
            }
            _ => {}
        }
    }

    fn on_deadline(&mut self) -> Result<(), Ended> {
        let timed_out = |step, ms, advice| Err(Ended::failed(Failure::TimedOut { step, ms, advice }));
        match self.phase {
            Phase::Subscribing => timed_out(
                "the broker's answer to SUBSCRIBE",
                UPLINK_SUBACK_MS_MAX,
                "see the broker's log and load",
            ),
            Phase::Leaving(..) => Err(Ended::told(Then::Back(End::Lost))),
            Phase::Draining(rebuild) => self.leave_for(rebuild),
            Phase::Connecting | Phase::Ready => timed_out(
                "an acknowledgement of the broker",
                UPLINK_ACK_MS_MAX,
                "is the network fast enough, and the broker well?",
            ),
        }
    }

    fn on_command(&mut self, command: Option<Command>) -> Result<(), Ended> {
        match command {
            Some(Command::Publish { connection, ticket, topic, payload }) => {
                if Some(connection) == self.number {
                    self.offer_batch(ticket, topic, payload);
                }
            }
            Some(Command::Answer { topic, payload }) => self.offer_answer(topic, payload),
            Some(Command::Cut(done)) => {
                let then = Then::Back(End::Cut);
                return Err(Ended { cut: Some(done), then, ..Ended::failed(Failure::Cut) });
            }
            Some(Command::Connect) => {
                if let Phase::Leaving(Then::Away, reason) = self.phase {
                    let end = End::Rebuilt { broker: self.attempt.place };
                    self.phase = Phase::Leaving(Then::Back(end), reason);
                }
                return Ok(());
            }
            Some(Command::Disconnect) => return self.leave(Then::Away, None),
            Some(Command::Shutdown) | None => return self.leave(Then::Stop, None),
        }
        self.feed().map_err(Ended::failed)
    }

    /// Leaves in order once nothing is in flight, or after a bounded wait.
    fn drain(&mut self, rebuild: Rebuild) -> Result<(), Ended> {
        self.phase = Phase::Draining(rebuild);
        self.deadline = Instant::now() + Duration::from_millis(UPLINK_DRAIN_MS_MAX);
        self.resume = None;
        self.look_whether_drained()
    }

    fn look_whether_drained(&mut self) -> Result<(), Ended> {
        match self.phase {
            Phase::Draining(rebuild) if self.window.is_empty() => self.leave_for(rebuild),
            _ => Ok(()),
        }
    }

    /// The daemon is going: still in order, or the broker would publish our last will.
    fn leave_unheard(&mut self) -> Result<(), Ended> {
        self.unheard = true;
        self.leave(Then::Stop, None)
    }

    fn leave_for(&mut self, Rebuild { broker, reason }: Rebuild) -> Result<(), Ended> {
        self.leave(Then::Back(End::Rebuilt { broker }), Some(reason))
    }

    fn leave(&mut self, then: Then, reason: Option<Reason>) -> Result<(), Ended> {
        if self.number.is_none() {
            return Err(Ended::told(then));
        }
        if !matches!(self.phase, Phase::Leaving(..)) {
            self.deadline = Instant::now() + Duration::from_millis(UPLINK_DISCONNECT_MS_MAX);
            (self.answers, self.batches, self.resume) = (VecDeque::new(), VecDeque::new(), None);
            self.client.disconnect().map_err(|Full| Ended::told(then))?;
        }
        // Who was told to stop stops, though he was to leave for another reason.
        if !matches!(self.phase, Phase::Leaving(Then::Stop, _)) {
            self.phase = Phase::Leaving(then, reason);
        }
        Ok(())
    }
}

/// Cannot be: there is room for the whole window. If it is, the connection is not to be trusted.
fn full(Full: Full) -> Failure {
    Failure::Local { detail: "the MQTT client takes no more requests".to_owned() }
}

/// For a probe: what CONNACK allows, or why it did not come.
pub(super) async fn first_answer(
    answer: impl Future<Output = Option<Taken>>,
    pump: impl Future<Output = Failure>,
    relay: impl Future<Output = Failure>,
) -> Result<Taken, Failure> {
    tokio::pin!(answer, pump, relay);
    let mut connack = None;
    let ended = loop {
        tokio::select! {
            biased;
            link = &mut relay => break clearer(link, timeout(Duration::from_millis(LAST_WORDS_MS_MAX), &mut pump).await.ok()),
            client = &mut pump => break client,
            // From now on it is about leaving in order.
            found = &mut answer, if connack.is_none() => connack = found,
            () = tokio::time::sleep(Duration::from_millis(UPLINK_DISCONNECT_MS_MAX)), if connack.is_some() => break Failure::Told,
        }
    };
    match (connack, ended) {
        (Some(answer), _) => Ok(answer),
        (None, Failure::Closed | Failure::Broken { .. }) => Err(Failure::ClosedEarly),
        (None, failure) => Err(failure),
    }
}

/// Of what the socket and what MQTT say about the same end, the one that says more.
fn clearer(link: Failure, client: Option<Failure>) -> Failure {
    match (&link, client) {
        (Failure::Closed | Failure::Broken { .. } | Failure::Local { .. }, Some(client))
            if !matches!(client, Failure::Closed | Failure::Broken { .. }) =>
        {
            client
        }
        _ => link,
    }
}
