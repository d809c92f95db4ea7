//! TLS and MQTT: transport only. What is to be sent, and again, is decided by delivery; here it is carried, and
//! what became of it is told.
//!
//! ```text
//!   Command ─▶ run ─▶ connection ─▶ rumqttc ─ unix socket ─ link: TLS, TCP ─▶ broker
//!   Event  ◀── reports ◀──┘ window, documents
//! ```

mod check;
pub mod config;
mod connection;
mod failure;
mod link;
mod mqtt;
mod network;
mod reports;
mod tls;

pub use check::{Finding, Probe, check_files, probe};
pub use config::{Broker, BrokerError, Config};
pub use failure::{Failure, FileFault};
pub use glovebox_core::uplink::{ConnectionNumber, DocumentTopic, NotTaken, Ticket};
pub use mqtt::Receipt;

use connection::Ended;
use glovebox_core::delivery::Network;
use glovebox_core::names::{DeviceId, Moment};
use glovebox_core::uplink::{Course, State};
use reports::{Daemon, Reports};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What the uplink is told.
#[derive(Debug)]
pub enum Command {
    /// Publish a batch at QoS 1. Unless it names the present connection it is thrown away without a word: after
    /// [`Event::Disconnected`] everything unanswered is to be offered again, to the next connection.
    Publish {
        /// From [`Event::Connected`].
        connection: ConnectionNumber,
        /// Comes back in [`Event::Acked`] or [`Event::NotTaken`].
        ticket: Ticket,
        /// Where to.
        topic: String,
        /// The sealed envelope.
        payload: Vec<u8>,
    },
    /// Publish an answer to a document at QoS 1; nobody is told what became of it.
    Answer {
        /// Where to.
        topic: String,
        /// What.
        payload: Vec<u8>,
    },
    /// Reset the connection: what is queued here or in the kernel's send buffer is thrown away. Answered when
    /// nothing more can go out; then the next connection is made after the usual wait.
    Cut(oneshot::Sender<()>),
    /// Disconnect in order, and stay away until told otherwise.
    Disconnect,
    /// Connect again after [`Command::Disconnect`].
    Connect,
    /// Disconnect in order, and end.
    Shutdown,
}

/// What the uplink tells.
#[derive(Debug)]
pub enum Event {
    /// The broker took us: nothing is in flight, offer from the oldest.
    Connected {
        /// To be named in each [`Command::Publish`].
        connection: ConnectionNumber,
        /// The broker remembered our session.
        session_present: bool,
        /// By what network it is reached; `None` if that cannot be told.
        network: Option<Network>,
    },
    /// The connection, or an attempt to make one, ended.
    Disconnected {
        /// Why.
        reason: Failure,
    },
    /// The broker has it.
    Acked {
        /// Which.
        ticket: Ticket,
    },
    /// The broker does not have it, and the connection holds.
    NotTaken {
        /// Which.
        ticket: Ticket,
        /// Why.
        reason: NotTaken,
    },
    /// A document came. Until its receipt says so the broker keeps it and brings it again on the next connection.
    Document {
        /// On which topic.
        topic: DocumentTopic,
        /// The document; nothing of it is checked but its length.
        payload: Vec<u8>,
        /// To be used when it is stored, or refused for good.
        receipt: Receipt,
    },
    /// The broker does not let this car subscribe: documents cannot come this way.
    NotSubscribed {
        /// Which topic.
        topic: DocumentTopic,
    },
}

/// What the uplink needs.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its section of the configuration.
    pub config: Config,
    /// The car: client id and part of the topics.
    pub identity: DeviceId,
    /// A folder that only the agent may write, under 80 characters: for a socket that lives for milliseconds.
    pub runtime: PathBuf,
}

/// Keeps a connection until told to shut down, or until either channel is closed by the other side.
pub async fn run(setup: Setup, commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
    let start = Instant::now();
    let mut uplink = Uplink {
        setup,
        daemon: Daemon { commands, reports: Reports::new(events) },
        course: Course::default(),
        start,
        first: true,
    };
    while uplink.step().await.is_ok() {}
    tracing::info!(target: "uplink", "stopped");
}

/// There is to be no further connection.
struct Stop;

struct Uplink {
    setup: Setup,
    daemon: Daemon,
    course: Course,
    start: Instant,
    /// No connection yet: the retained policy is asked for even if the broker remembers us.
    first: bool,
}

impl Uplink {
    async fn step(&mut self) -> Result<(), Stop> {
        match self.course.state() {
            State::Away => self.meanwhile(std::future::pending::<()>()).await.map(|_| ()),
            State::Waiting { until } => {
                let left = u64::try_from(until.0.saturating_sub(moment(self.start).0)).unwrap_or(0);
                if self.meanwhile(tokio::time::sleep(Duration::from_micros(left))).await?.is_some() {
                    self.course.waited();
                }
                Ok(())
            }
            State::Connecting | State::Connected { .. } => self.connect().await,
        }
    }

    async fn connect(&mut self) -> Result<(), Stop> {
        let setup = self.setup.clone();
        let Some(opened) = self.meanwhile(connection::open(&setup)).await? else { return Ok(()) };
        let ended = match opened {
            Ok(opened) => {
                let first = std::mem::replace(&mut self.first, false);
                let start = self.start;
                let connected = || self.course.connected(moment(start));
                connection::serve(opened, first, &mut self.daemon, connected).await
            }
            Err(failure) => Ended::failed(failure),
        };
        self.after(ended)
    }

    /// By now the connection is dropped: its socket is closed.
    fn after(&mut self, ended: Ended) -> Result<(), Stop> {
        if let Some(cut) = ended.cut {
            // Whoever asked may have gone meanwhile.
            let _ = cut.send(());
        }
        if ended.stay_away || ended.stop {
            self.course.want(false);
        }
        let random = getrandom::u64().unwrap_or_else(|error| {
            tracing::warn!(target: "uplink", %error, "no randomness for the wait, taking half of the longest");
            u64::MAX / 2
        });
        let now = moment(self.start);
        match self.course.ended(now, random) {
            State::Waiting { until } => {
                let again_s = until.0.saturating_sub(now.0) / 1_000_000;
                tracing::warn!(target: "uplink", reason = %ended.reason, again_s, "not connected");
            }
            _ => tracing::info!(target: "uplink", reason = %ended.reason, "disconnected"),
        }
        self.daemon.reports.push(Event::Disconnected { reason: ended.reason });
        if ended.stop {
            self.daemon.reports.flush_now();
            return Err(Stop);
        }
        Ok(())
    }

    /// Waits for `what` while there is no connection. `None`: a command has changed what is to be done.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Result<Option<T>, Stop> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                command = self.daemon.commands.recv() => match command {
                    None | Some(Command::Shutdown) => return Err(Stop),
                    Some(Command::Disconnect) => {
                        self.course.want(false);
                        return Ok(None);
                    }
                    Some(Command::Connect) if self.course.state() == State::Away => {
                        self.course.want(true);
                        return Ok(None);
                    }
                    Some(Command::Cut(done)) => {
                        let _ = done.send(());
                    }
                    Some(Command::Connect | Command::Publish { .. } | Command::Answer { .. }) => {}
                },
                sent = self.daemon.reports.send_next() => sent.map_err(|_| Stop)?,
                out = &mut what, if self.daemon.reports.has_room() => return Ok(Some(out)),
            }
        }
    }
}

/// On our own time line, from the start of [`run`].
fn moment(start: Instant) -> Moment {
    Moment(i64::try_from(start.elapsed().as_micros()).unwrap_or(i64::MAX))
}
