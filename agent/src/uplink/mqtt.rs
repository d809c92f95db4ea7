//! MQTT as the connection sees it, whichever version is spoken. The client library, rumqttc, stands in the two files
//! below and nowhere else: one client and one event loop a connection, over a unix socket.
//! Why so: `agent/decisions/0004-mqtt-over-our-own-tls.md`, `0011-two-versions-of-mqtt-and-several-brokers.md`.
//!
//! ```text
//!   connection ── Client ──▶ v5 │ v311 (rumqttc) ── unix socket ──▶ link
//!              ◀── Heard ─── pump ◀── Loop
//! ```

mod v311;
mod v5;

use super::Setup;
use super::config::Protocol;
use super::failure::Failure;
use glovebox_core::limits::{
    DOCUMENT_BYTES_MAX, UPLINK_CONNACK_S_MAX, UPLINK_DOCUMENTS_IN_FLIGHT, UPLINK_KEEP_ALIVE_S_MIN,
    UPLINK_TOPIC_BYTES_MAX, UPLINK_WINDOW_MESSAGES,
};
use glovebox_core::names::DeviceId;
use glovebox_core::uplink::{DocumentTopic, NotTaken, gone_topic};
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Requests to the client library that may wait: the window, acknowledgements, SUBSCRIBE, DISCONNECT.
const REQUESTS_MAX: usize = UPLINK_WINDOW_MESSAGES + UPLINK_DOCUMENTS_IN_FLIGHT as usize * 2 + 4;
/// One more than the window: a full table would stop the library from reading acknowledgements among its requests.
const IN_FLIGHT_MAX: u16 = 33;
const _: () = assert!(IN_FLIGHT_MAX as usize == UPLINK_WINDOW_MESSAGES + 1);
/// A document in its PUBLISH.
const PACKET_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + UPLINK_TOPIC_BYTES_MAX + 1_024;

/// What was heard of the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// CONNACK: the broker took us.
    Taken(Taken),
    /// SUBACK: for each of [`DocumentTopic::ALL`], why not.
    Subscribed(Vec<Option<String>>),
    /// PUBLISH is on its way with this packet id.
    Sent(u16),
    /// PUBACK; `None`: the broker has it.
    Answered(u16, Option<NotTaken>),
    /// PUBLISH from the broker.
    Message(Message),
    /// Another sign of life of the broker.
    Alive,
    /// Another packet of ours is on its way.
    Own,
}

/// What the broker's CONNACK allows. MQTT 3.1.1 has but the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) session_present: bool,
    pub(super) receive_maximum: Option<u16>,
    pub(super) packet_bytes_max: Option<u32>,
}

/// A message from the broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: Vec<u8>,
    pub(super) packet_id: u16,
    pub(super) payload: Vec<u8>,
}

/// The client library takes no more requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Full;

/// What can be asked of the broker. All of it waits in one queue: the order of calls is the order on the wire.
pub(super) trait Client: Send {
    /// PUBLISH at QoS 1, not retained.
    fn publish(&self, topic: String, payload: Vec<u8>) -> Result<(), Full>;
    /// SUBSCRIBE to the documents of `device`; `known`: the broker has our subscription, and retained documents need
    /// not come again. Says whether a SUBACK will come.
    fn subscribe(&self, device: &DeviceId, known: bool) -> Result<bool, Full>;
    /// PUBACK.
    fn acknowledge(&self, packet_id: u16) -> Result<(), Full>;
    /// DISCONNECT.
    fn disconnect(&self) -> Result<(), Full>;
}

/// What moves a connection on.
trait Loop: Send {
    /// The next that happens.
    fn poll(&mut self) -> impl Future<Output = Result<Heard, Failure>> + Send;
    /// After an error: what the library had read before it.
    fn rest(&mut self) -> Vec<Heard>;
    /// The broker has spoken: a PINGREQ that waits behind much data is no sign of a dead link.
    fn forgive_ping(&mut self);
    /// After CONNACK: the keep-alive that holds, `ours` or what the broker wishes.
    fn settle_keep_alive(&mut self, ours: Duration) -> Duration;
}

/// One connection of the client library.
pub(super) struct Session {
    pub(super) client: Box<dyn Client>,
    /// Runs until the connection ends.
    pub(super) pump: Pin<Box<dyn Future<Output = Failure> + Send>>,
}

/// Who connects, and how long the broker is to remember.
pub(super) struct Who<'a> {
    pub(super) client_id: &'a str,
    /// A probe: no session is kept, and no will is left.
    pub(super) passing: bool,
}

/// A session whose event loop will come to the socket at `path`; what it hears goes to `out`.
pub(super) fn session(setup: &Setup, who: &Who<'_>, path: &str, out: mpsc::Sender<Heard>) -> Session {
    let ours = keep_alive(setup);
    let will = (!who.passing).then(|| gone_topic(&setup.identity));
    let options = Options { client_id: who.client_id, path, keep_alive: ours, will };
    match setup.config.protocol {
        Protocol::V5 => {
            let (client, eventloop) = v5::session(&options);
            Session { client: Box::new(client), pump: Box::pin(pump(eventloop, ours, out)) }
        }
        Protocol::V311 => {
            let (client, eventloop) = v311::session(&options);
            Session { client: Box::new(client), pump: Box::pin(pump(eventloop, ours, out)) }
        }
    }
}

/// For the two versions.
struct Options<'a> {
    client_id: &'a str,
    path: &'a str,
    keep_alive: Duration,
    /// Topic of the last will; without one no session is kept either.
    will: Option<String>,
}

fn keep_alive(setup: &Setup) -> Duration {
    Duration::from_secs(setup.config.keep_alive_s.max(UPLINK_KEEP_ALIVE_S_MIN).into())
}

fn document_topics(device: &DeviceId) -> impl Iterator<Item = String> + '_ {
    DocumentTopic::ALL.into_iter().map(|topic| topic.topic(device))
}

/// Polls until the connection ends. What the library had read before an error is still told. The link is given up when
/// nothing was heard for twice the keep-alive, whatever the library does: it may hang in writing and not even ping.
async fn pump(mut eventloop: impl Loop, ours: Duration, out: mpsc::Sender<Heard>) -> Failure {
    let mut limit = Duration::from_secs(UPLINK_CONNACK_S_MAX);
    let (mut taken, mut last) = (false, Instant::now());
    loop {
        let heard = match timeout_at(last + limit, eventloop.poll()).await {
            Err(_) if taken => return Failure::Silent { seconds: limit.as_secs() },
            Err(_) => {
                return Failure::TimedOut {
                    step: "the broker's answer to CONNECT",
                    ms: UPLINK_CONNACK_S_MAX * 1_000,
                    advice: "see the broker's log and load",
                };
            }
            Ok(Ok(heard)) => heard,
            Ok(Err(failure)) => {
                for heard in eventloop.rest() {
                    if out.send(heard).await.is_err() {
                        break;
                    }
                }
                return failure;
            }
        };
        if matches!(heard, Heard::Taken(_)) {
            taken = true;
            limit = 2 * eventloop.settle_keep_alive(ours);
        }
        if !matches!(heard, Heard::Sent(_) | Heard::Own) {
            last = Instant::now();
            eventloop.forgive_ping();
        }
        if out.send(heard).await.is_err() {
            return Failure::Told;
        }
    }
}

/// Lets the broker forget a document that came down.
#[derive(Debug)]
pub struct Receipt {
    acks: Option<(mpsc::Sender<u16>, u16)>,
}

impl Receipt {
    pub(super) fn new(acks: mpsc::Sender<u16>, packet_id: u16) -> Self {
        Self { acks: (packet_id != 0).then_some((acks, packet_id)) }
    }

    /// Of a document that nobody waits to be acknowledged.
    #[must_use]
    pub fn unneeded() -> Self {
        Self { acks: None }
    }

    /// The document is stored, or refused for good. Without this, and if the connection has ended meanwhile, the
    /// broker brings it again.
    pub fn acknowledge(self) {
        if let Some((acks, packet_id)) = self.acks {
            // The connection may be gone: then the broker brings the document again, which is right.
            let _ = acks.try_send(packet_id);
        }
    }
}
