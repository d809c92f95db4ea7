//! Drives the uplink as the daemon's delivery would: offers from the oldest after each connection, forgets what is
//! acknowledged, and offers later what nobody subscribes to.

use super::broker::Broker as Mosquitto;
use super::certs::Pair;
use glovebox::uplink::{
    self, Attempt, Broker, Command, Config, ConnectionNumber, Event, Failure, NotTaken, Protocol, Setup,
    Source, Ticket,
};
use glovebox_core::limits::UPLINK_WINDOW_MESSAGES;
use glovebox_core::names::DeviceId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub(crate) const TOPIC: &str = "glovebox/v1/insurer/00ff/batch";

/// For one or several brokers, `HOST:PORT` each, with a space between.
pub(crate) fn config(brokers: &str, ca: &Path, pair: &Pair) -> Config {
    let file = |path: &Path| Source::file(path.to_owned());
    Config {
        brokers: brokers.split(' ').map(|broker| Broker::new(broker).unwrap()).collect(),
        protocol: Protocol::V5,
        ca: file(ca),
        cert: file(&pair.cert),
        key: file(&pair.key),
        keep_alive_s: 5,
        rate_kbit_s: None,
        return_s: 10,
    }
}

/// What the car of `broker` is configured with.
pub(crate) fn plain(broker: &Mosquitto) -> Config {
    config(&broker.address(), &broker.authority.cert, &broker.car)
}

pub(crate) struct Driver {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) connection: Option<ConnectionNumber>,
    pub(crate) connections: u32,
    /// Of each connection: with which broker, and whether it remembered us.
    pub(crate) attempts: Vec<(Attempt, bool)>,
    pub(crate) left: BTreeMap<u64, Vec<u8>>,
    pub(crate) offered: BTreeSet<u64>,
    pub(crate) acked: BTreeSet<u64>,
    pub(crate) documents: Vec<(uplink::DocumentTopic, Vec<u8>, uplink::Receipt)>,
    pub(crate) reasons: Vec<Failure>,
    pub(crate) refused: Vec<(u64, NotTaken)>,
    task: JoinHandle<()>,
}

impl Driver {
    /// An uplink to `broker` with the car's certificate.
    pub(crate) fn start(broker: &Mosquitto) -> Self {
        Self::start_with(plain(broker), &broker.folder)
    }

    pub(crate) fn start_with(config: Config, runtime: &Path) -> Self {
        let (commands, from_us) = mpsc::channel(16);
        let (to_us, events) = mpsc::channel(16);
        let setup = Setup { config, identity: DeviceId::new("car-1").unwrap(), runtime: runtime.to_owned() };
        let task = tokio::spawn(uplink::run(setup, from_us, to_us));
        Self {
            commands,
            events,
            task,
            connection: None,
            connections: 0,
            attempts: Vec::new(),
            left: BTreeMap::new(),
            offered: BTreeSet::new(),
            acked: BTreeSet::new(),
            documents: Vec::new(),
            reasons: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// One event, or none within `limit`.
    pub(crate) async fn turn(&mut self, limit: Duration) {
        let Ok(Some(event)) = timeout(limit, self.events.recv()).await else { return };
        match event {
            Event::Connected { connection, session_present, attempt, .. } => {
                self.connection = Some(connection);
                self.attempts.push((attempt, session_present));
                self.connections += 1;
                self.offered.clear();
            }
            Event::Disconnected { reason, .. } => {
                self.connection = None;
                self.offered.clear();
                self.reasons.push(reason);
            }
            Event::Acked { ticket } => {
                self.left.remove(&ticket.0);
                self.offered.remove(&ticket.0);
                self.acked.insert(ticket.0);
            }
            Event::NotTaken { ticket, reason } => {
                self.refused.push((ticket.0, reason));
                if reason == NotTaken::NoSubscriber {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    self.offered.remove(&ticket.0);
                }
            }
            Event::Document { topic, payload, receipt } => self.documents.push((topic, payload, receipt)),
            Event::NotSubscribed { topic } => panic!("{topic:?}"),
        }
    }

    /// Offers the oldest that fit.
    pub(crate) async fn offer(&mut self) {
        self.offer_some(UPLINK_WINDOW_MESSAGES).await;
    }

    /// The same, with at most `most` under way.
    pub(crate) async fn offer_some(&mut self, most: usize) {
        let Some(connection) = self.connection else { return };
        let room = most.saturating_sub(self.offered.len());
        let next: Vec<_> = self
            .left
            .iter()
            .filter(|(id, _)| !self.offered.contains(id))
            .take(room)
            .map(|(id, payload)| (*id, payload.clone()))
            .collect();
        for (id, payload) in next {
            self.offered.insert(id);
            let publish =
                Command::Publish { connection, ticket: Ticket(id), topic: TOPIC.to_owned(), payload };
            self.commands.send(publish).await.unwrap();
        }
    }

    /// Offers and listens until `done`, for at most `seconds`.
    pub(crate) async fn until(&mut self, seconds: u64, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !done(self) {
            assert!(
                Instant::now() < end,
                "not within {seconds} s: connections {}, left {}, reasons {:?}",
                self.connections,
                self.left.len(),
                self.reasons
            );
            self.offer().await;
            self.turn(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn cut(&mut self) -> Duration {
        let (done, wait) = oneshot::channel();
        let start = Instant::now();
        self.commands.send(Command::Cut(done)).await.unwrap();
        timeout(Duration::from_secs(2), wait).await.unwrap().unwrap();
        start.elapsed()
    }

    pub(crate) async fn shut_down(mut self) -> Duration {
        let start = Instant::now();
        self.commands.send(Command::Shutdown).await.unwrap();
        self.events.close();
        timeout(Duration::from_secs(3), self.task).await.unwrap().unwrap();
        start.elapsed()
    }
}
