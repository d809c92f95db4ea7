//! One connection from its socket to its end. It is the only user of its MQTT client, in one task: what is offered
//! goes on the window's queue and then to the client, so the order of packet ids is the order of the queue.

use super::failure::Failure;
use super::link::{self, Bridge, Link};
use super::mqtt::{self, Receipt};
use super::reports::Daemon;
use super::{Command, ConnectionNumber, DocumentTopic, Event, NotTaken, Setup, network, tls};
use glovebox_core::delivery::Network;
use glovebox_core::limits::{
    DOCUMENT_BYTES_MAX, UPLINK_ACK_MS_MAX, UPLINK_DISCONNECT_MS_MAX, UPLINK_DOCUMENTS_IN_FLIGHT,
    UPLINK_SUBACK_MS_MAX, UPLINK_TOPIC_BYTES_MAX, UPLINK_WAITING_MESSAGES,
};
use glovebox_core::uplink::{Flight, Window, packet_bytes_max, publish_packet_bytes};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAck, Publish, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event as Mqtt};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// MQTT events on their way from the library's loop to us.
const MQTT_EVENTS_MAX: usize = 64;
/// The library reads what is left and meets the end of its socket.
const LAST_WORDS_MS_MAX: u64 = 1_000;
/// "Never", for a deadline.
const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// TCP and TLS are up.
pub(super) struct Opened<'a> {
    setup: &'a Setup,
    link: Link,
    network: Option<Network>,
    bridge: Bridge,
}

/// How it ended, and what is to follow.
pub(super) struct Ended {
    pub(super) reason: Failure,
    /// Who asked for the cut.
    pub(super) cut: Option<oneshot::Sender<()>>,
    /// No connection until told.
    pub(super) stay_away: bool,
    /// No connection at all.
    pub(super) stop: bool,
}

impl Ended {
    pub(super) fn failed(reason: Failure) -> Self {
        Self { reason, cut: None, stay_away: false, stop: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// CONNECT is on its way.
    Connecting,
    /// SUBSCRIBE is on its way; nothing is published, since it shares the packet ids.
    Subscribing,
    Ready,
    /// DISCONNECT is on its way.
    Leaving {
        stop: bool,
        stay_away: bool,
    },
}

struct Waiting {
    flight: Flight,
    topic: String,
    payload: Vec<u8>,
    bytes: usize,
}

pub(super) struct Connection<'a> {
    setup: &'a Setup,
    daemon: &'a mut Daemon,
    client: AsyncClient,
    mqtt_events: mpsc::Receiver<Mqtt>,
    /// Where receipts go, and come from.
    acks: mpsc::Sender<u16>,
    acknowledged: mpsc::Receiver<u16>,
    first: bool,
    phase: Phase,
    number: Option<ConnectionNumber>,
    network: Option<Network>,
    packet_bytes_max: usize,
    window: Window,
    waiting: VecDeque<Waiting>,
    deadline: Instant,
}

/// Files, TCP, TLS, and the door for the MQTT client.
pub(super) async fn open(setup: &Setup) -> Result<Opened<'_>, Failure> {
    let client = tls::Files::read(&setup.config)?.client(&setup.config)?;
    let (link, address) = link::open(&setup.config, client).await?;
    let network = link.get_ref().0.local_addr().ok().and_then(|local| network::of(local.ip()));
    let group = link.get_ref().1.negotiated_key_exchange_group().map(|group| group.name());
    tracing::debug!(target: "uplink", %address, ?group, "TLS is up");
    let bridge = Bridge::bind(&setup.runtime)?;
    Ok(Opened { setup, link, network, bridge })
}

/// Serves `opened` until it ends. `first` asks for the retained policy even if the broker remembers us;
/// `connected` is asked for the connection's number when the broker has taken us.
pub(super) async fn serve(
    opened: Opened<'_>,
    first: bool,
    daemon: &mut Daemon,
    connected: impl FnMut() -> ConnectionNumber,
) -> Ended {
    let Opened { setup, link, network, bridge } = opened;
    let (client, eventloop) = mqtt::client(setup, setup.identity.as_str(), bridge.path());
    let (acks, acknowledged) = mpsc::channel(usize::from(UPLINK_DOCUMENTS_IN_FLIGHT) * 2);
    let (sink, mqtt_events) = mpsc::channel(MQTT_EVENTS_MAX);
    let connection = Connection {
        setup,
        daemon,
        client,
        mqtt_events,
        acks,
        acknowledged,
        first,
        phase: Phase::Connecting,
        number: None,
        network,
        packet_bytes_max: 0,
        window: Window::new(None),
        waiting: VecDeque::new(),
        deadline: Instant::now() + FAR,
    };
    let pump = mqtt::pump(eventloop, setup, sink);
    let relay = link::relay(link, bridge, &setup.config);
    connection.run(Box::pin(relay), Box::pin(pump), connected).await
}

impl Connection<'_> {
    async fn run(
        mut self,
        mut relay: impl Future<Output = Failure> + Unpin,
        mut pump: impl Future<Output = Failure> + Unpin,
        mut connected: impl FnMut() -> ConnectionNumber,
    ) -> Ended {
        let mut ended = loop {
            let step = tokio::select! {
                biased;
                link = &mut relay => break Ended::failed(clearer(link, self.last_words(&mut pump).await)),
                client = &mut pump => break Ended::failed(client),
                Some(event) = self.mqtt_events.recv() => self.on_mqtt(event, &mut connected),
                Some(packet_id) = self.acknowledged.recv() => self.acknowledge(packet_id),
                command = self.daemon.commands.recv(), if self.daemon.reports.has_room() => self.on_command(command),
                sent = self.daemon.reports.send_next() => {
                    sent.map_err(|_| Ended { stop: true, ..Ended::failed(Failure::Told) })
                }
                () = tokio::time::sleep_until(self.deadline) => Err(Ended::failed(self.overdue())),
            };
            if let Err(ended) = step {
                break ended;
            }
        };
        // From here on nothing can be sent: the socket is closed, and with it what the kernel still had.
        drop((relay, pump));
        while let Ok(event) = self.mqtt_events.try_recv() {
            self.on_last(&event);
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
                Some(event) = self.mqtt_events.recv() => self.on_last(&event),
                () = tokio::time::sleep_until(end) => return None,
            }
        }
    }

    fn conclude(&self, ended: &mut Ended) {
        if let Phase::Leaving { stop, stay_away } = self.phase {
            ended.stop |= stop;
            ended.stay_away |= stay_away;
            if ended.cut.is_none() {
                ended.reason = Failure::Told;
            }
        } else if self.number.is_none() && matches!(ended.reason, Failure::Closed | Failure::Broken { .. }) {
            ended.reason = Failure::ClosedEarly;
        }
    }

    fn overdue(&self) -> Failure {
        match self.phase {
            Phase::Subscribing => Failure::TimedOut {
                step: "the broker's answer to SUBSCRIBE",
                ms: UPLINK_SUBACK_MS_MAX,
                advice: "see the broker's log and load",
            },
            Phase::Leaving { .. } => Failure::Told,
            Phase::Connecting | Phase::Ready => Failure::TimedOut {
                step: "an acknowledgement of the broker",
                ms: UPLINK_ACK_MS_MAX,
                advice: "is the network fast enough, and the broker well?",
            },
        }
    }

    fn on_mqtt(
        &mut self,
        event: Mqtt,
        connected: &mut impl FnMut() -> ConnectionNumber,
    ) -> Result<(), Ended> {
        let step = match event {
            Mqtt::Incoming(Packet::ConnAck(answer)) => self.on_connack(&answer, connected()),
            Mqtt::Incoming(Packet::SubAck(answer)) => self.on_suback(&answer),
            Mqtt::Incoming(Packet::PubAck(answer)) => self.on_puback(&answer).and_then(|()| self.feed()),
            Mqtt::Incoming(Packet::Publish(publish)) => self.on_document(&publish),
            Mqtt::Outgoing(Outgoing::Publish(packet_id)) => {
                self.window.sent(packet_id).map_err(Failure::from)
            }
            _ => Ok(()),
        };
        step.map_err(Ended::failed)
    }

    /// The connection is over, but what the broker has acknowledged stays acknowledged.
    fn on_last(&mut self, event: &Mqtt) {
        let step = match event {
            Mqtt::Incoming(Packet::PubAck(answer)) => self.on_puback(answer),
            Mqtt::Outgoing(Outgoing::Publish(packet_id)) => {
                self.window.sent(*packet_id).map_err(Failure::from)
            }
            _ => Ok(()),
        };
        if let Err(failure) = step {
            tracing::warn!(target: "uplink", %failure, "after the end");
        }
    }

    fn on_connack(&mut self, answer: &ConnAck, number: ConnectionNumber) -> Result<(), Failure> {
        let properties = answer.properties.as_ref();
        let receive_maximum = properties.and_then(|all| all.receive_max);
        let packet_max = properties.and_then(|all| all.max_packet_size);
        if receive_maximum == Some(0) || packet_max == Some(0) {
            return Err(Failure::Protocol { detail: "CONNACK allows no messages at all".to_owned() });
        }
        self.window = Window::new(receive_maximum);
        self.packet_bytes_max = packet_bytes_max(packet_max);
        self.number = Some(number);
        self.phase = Phase::Subscribing;
        self.deadline = Instant::now() + Duration::from_millis(UPLINK_SUBACK_MS_MAX);
        tracing::info!(target: "uplink", connection = number.0, answer.session_present,
            receive_maximum, packet_max, "connected");
        self.daemon.reports.push(Event::Connected {
            connection: number,
            session_present: answer.session_present,
            network: self.network.clone(),
        });
        self.client.try_subscribe_many(mqtt::filters(self.setup, self.first)).map_err(|_| full())
    }

    fn on_suback(&mut self, answer: &SubAck) -> Result<(), Failure> {
        if self.phase != Phase::Subscribing {
            return Ok(());
        }
        for (topic, code) in DocumentTopic::ALL.into_iter().zip(&answer.return_codes) {
            if !matches!(code, SubscribeReasonCode::Success(_)) {
                tracing::warn!(target: "uplink", ?topic, ?code, "not subscribed: documents cannot come down; mend the broker's access list");
                self.daemon.reports.push(Event::NotSubscribed { topic });
            }
        }
        self.phase = Phase::Ready;
        self.expect_answer();
        self.feed()
    }

    fn on_puback(&mut self, answer: &PubAck) -> Result<(), Failure> {
        let Flight::Ticket(ticket) = self.window.answered(answer.pkid)? else { return Ok(()) };
        self.daemon.reports.push(match NotTaken::from_code(mqtt::code(answer.reason)) {
            None => Event::Acked { ticket },
            Some(reason) => Event::NotTaken { ticket, reason },
        });
        self.expect_answer();
        Ok(())
    }

    fn on_document(&mut self, publish: &Publish) -> Result<(), Failure> {
        let receipt = Receipt::new(self.acks.clone(), publish.pkid);
        match DocumentTopic::of(&publish.topic, &self.setup.identity) {
            Some(topic) if publish.payload.len() <= DOCUMENT_BYTES_MAX => {
                self.daemon.reports.push(Event::Document {
                    topic,
                    payload: publish.payload.to_vec(),
                    receipt,
                });
            }
            _ => {
                tracing::warn!(target: "uplink", bytes = publish.payload.len(), "a message that was not asked for, or too large, is ignored");
                self.acknowledge(publish.pkid).map_err(|ended| ended.reason)?;
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, packet_id: u16) -> Result<(), Ended> {
        let publish = Publish { pkid: packet_id, qos: QoS::AtLeastOnce, ..Publish::default() };
        if packet_id == 0 {
            return Ok(());
        }
        self.client.try_ack(&publish).map_err(|_| Ended::failed(full()))
    }

    fn on_command(&mut self, command: Option<Command>) -> Result<(), Ended> {
        match command {
            Some(Command::Publish { connection, ticket, topic, payload }) => {
                if Some(connection) == self.number {
                    self.offer(Flight::Ticket(ticket), topic, payload);
                }
            }
            Some(Command::Answer { topic, payload }) => self.offer(Flight::Answer, topic, payload),
            Some(Command::Cut(done)) => {
                return Err(Ended { cut: Some(done), ..Ended::failed(Failure::Cut) });
            }
            Some(Command::Connect) => {
                if let Phase::Leaving { stop, .. } = self.phase {
                    self.phase = Phase::Leaving { stop, stay_away: false };
                }
                return Ok(());
            }
            Some(Command::Disconnect) => return self.leave(false),
            Some(Command::Shutdown) | None => return self.leave(true),
        }
        self.feed().map_err(Ended::failed)
    }

    fn leave(&mut self, stop: bool) -> Result<(), Ended> {
        let told = Ended { stop, stay_away: true, ..Ended::failed(Failure::Told) };
        if self.number.is_none() {
            return Err(told);
        }
        if !matches!(self.phase, Phase::Leaving { .. }) {
            self.deadline = Instant::now() + Duration::from_millis(UPLINK_DISCONNECT_MS_MAX);
            self.waiting.clear();
            self.client.try_disconnect().map_err(|_| told)?;
        }
        self.phase = Phase::Leaving { stop, stay_away: true };
        Ok(())
    }

    fn offer(&mut self, flight: Flight, topic: String, payload: Vec<u8>) {
        let bytes = publish_packet_bytes(topic.len(), payload.len());
        let refused = if matches!(self.phase, Phase::Leaving { .. } | Phase::Connecting) {
            return;
        } else if topic.is_empty() || topic.len() > UPLINK_TOPIC_BYTES_MAX || topic.contains(['+', '#', '\0'])
        {
            Some(NotTaken::Other(0x90))
        } else if bytes > self.packet_bytes_max {
            Some(NotTaken::TooLarge { bytes, max: self.packet_bytes_max })
        } else if self.waiting.len() >= UPLINK_WAITING_MESSAGES {
            Some(NotTaken::Crowded)
        } else {
            None
        };
        match (refused, flight) {
            (None, _) => self.waiting.push_back(Waiting { flight, topic, payload, bytes }),
            (Some(reason), Flight::Ticket(ticket)) => {
                self.daemon.reports.push(Event::NotTaken { ticket, reason });
            }
            (Some(reason), Flight::Answer) => {
                tracing::warn!(target: "uplink", %reason, "an answer was not sent");
            }
        }
    }

    /// Hands to the client library what there is room for.
    fn feed(&mut self) -> Result<(), Failure> {
        if self.phase != Phase::Ready {
            return Ok(());
        }
        while self.waiting.front().is_some_and(|next| self.window.has_room(next.bytes)) {
            let Some(next) = self.waiting.pop_front() else { break };
            if self.window.is_empty() {
                self.deadline = Instant::now() + Duration::from_millis(UPLINK_ACK_MS_MAX);
            }
            self.window.offered(next.flight, next.bytes);
            if self.client.try_publish(next.topic, QoS::AtLeastOnce, false, next.payload).is_err() {
                self.window.taken_back();
                return Err(full());
            }
        }
        Ok(())
    }

    /// Something moved: the limit for the next acknowledgement starts anew.
    fn expect_answer(&mut self) {
        if self.phase == Phase::Ready {
            let limit = if self.window.is_empty() { FAR } else { Duration::from_millis(UPLINK_ACK_MS_MAX) };
            self.deadline = Instant::now() + limit;
        }
    }
}

/// Cannot be: there is room for the whole window. If it is, the connection is not to be trusted.
fn full() -> Failure {
    Failure::Local { detail: "the MQTT client takes no more requests".to_owned() }
}

/// For a probe: CONNACK, or why it did not come.
pub(super) async fn first_answer(
    answer: impl Future<Output = Option<ConnAck>>,
    pump: impl Future<Output = Failure>,
    relay: impl Future<Output = Failure>,
) -> Result<ConnAck, Failure> {
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
