//! TLS and MQTT: transport only. What is to be sent, and again, is decided by delivery; here it is carried, and
//! what became of it is told.
//!
//! ```text
//!   Command ─▶ run ─▶ connection ─▶ mqtt ─ unix socket ─ link: TLS, TCP ─▶ broker, the next of the list
//!   Event  ◀── reports ◀──┘ window, rate, documents        ▲
//!                                                       keeper: certificate, key, authorities and their renewal
//! ```

mod check;
pub mod config;
mod connection;
mod dates;
mod failure;
mod keeper;
mod link;
mod mqtt;
mod network;
mod reports;
mod tls;

pub use check::{Finding, Probe, certificate_until, check_files, probe};
pub use config::{Broker, BrokerError, Config, Protocol, Source};
pub use failure::{Failure, FileFault, Reason};
pub use glovebox_core::uplink::{ConnectionNumber, DocumentTopic, NotTaken, Ticket};
pub use mqtt::Receipt;

use connection::{Around, Ended, Then};
use glovebox_core::delivery::Network;
use glovebox_core::names::{DeviceId, Moment, WallTime};
use glovebox_core::uplink::{Course, End, Pace, State};
use keeper::{Keeper, Material};
use reports::{Daemon, Reports};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
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
        /// Which broker.
        attempt: Attempt,
    },
    /// The connection, or an attempt to make one, ended.
    Disconnected {
        /// Why.
        reason: Failure,
        /// Which broker.
        attempt: Attempt,
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

/// An attempt to connect, or what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// With whom.
    pub broker: Broker,
    /// Its place in the list, from 0.
    pub place: usize,
    /// When our certificate ends, or the first of those that come with it; `None` if it could not be read.
    pub certificate_until: Option<WallTime>,
}

impl Attempt {
    fn of(setup: &Setup, place: usize, material: &Material) -> Self {
        Self { certificate_until: material.until, ..Self::blank(setup, place) }
    }

    fn blank(setup: &Setup, place: usize) -> Self {
        Self { broker: setup.config.brokers[place].clone(), place, certificate_until: None }
    }
}

/// Keeps a connection until told to shut down, or until either channel is closed by the other side.
pub async fn run(setup: Setup, commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
    let start = Instant::now();
    let brokers = setup.config.brokers.len();
    if brokers == 0 {
        tracing::error!(target: "uplink", "no broker is configured");
        return;
    }
    let mut uplink = Uplink {
        daemon: Daemon { commands, reports: Reports::new(events) },
        course: Course::new(brokers),
        keeper: Keeper::new(Arc::new(setup.config.clone())),
        meter: Meter { pace: Pace::new(setup.config.rate_kbit_s), start },
        start,
        known: vec![false; brokers],
        setup,
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
    keeper: Keeper,
    /// It outlives connections: coming back gives no fresh burst.
    meter: Meter,
    start: Instant,
    /// Brokers that have acknowledged our subscription since the start: from the others the retained policy is asked
    /// for, even if they remember us.
    known: Vec<bool>,
}

/// The rate limit by our own time line.
struct Meter {
    pace: Pace,
    start: Instant,
}

impl Meter {
    fn not_before(&self) -> Option<Instant> {
        let free = self.pace.not_before(moment(self.start))?;
        Some(self.start + Duration::from_micros(u64::try_from(free.0).unwrap_or(0)))
    }

    fn sent(&mut self, bytes: usize) {
        self.pace.sent(bytes, moment(self.start));
    }
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
        let place = self.course.broker();
        let material = match self.keeper.pick() {
            Ok(material) => material,
            Err(fault) => {
                let attempt = Attempt::blank(&self.setup, place);
                return self.after(Ended::failed(fault.into()), attempt);
            }
        };
        let attempt = Attempt::of(&self.setup, place, &material);
        let setup = self.setup.clone();
        let opening = connection::open(&setup, place, Arc::clone(&material));
        let Some(opened) = self.meanwhile(opening).await? else { return Ok(()) };
        let ended = match opened {
            Ok(opened) => self.serve(opened, place).await,
            Err(failure) => Ended::failed(failure),
        };
        if ended.taken {
            self.keeper.took(&material);
        } else {
            self.keeper.failed(&material, &ended.reason);
        }
        self.known[place] |= ended.subscribed;
        if ended.delivered {
            self.course.delivered();
        }
        self.after(ended, attempt)
    }

    async fn serve(&mut self, opened: connection::Opened, place: usize) -> Ended {
        let (course, start) = (&mut self.course, self.start);
        let around = Around {
            setup: &self.setup,
            daemon: &mut self.daemon,
            meter: &mut self.meter,
            known: self.known[place],
        };
        connection::serve(opened, around, &mut self.keeper, || course.connected(moment(start))).await
    }

    /// By now the connection is dropped: its socket is closed.
    fn after(&mut self, ended: Ended, attempt: Attempt) -> Result<(), Stop> {
        if let Some(cut) = ended.cut {
            // Whoever asked may have gone meanwhile.
            let _ = cut.send(());
        }
        let end = match ended.then {
            Then::Back(end) => end,
            Then::Away | Then::Stop => {
                self.course.want(false);
                End::Lost
            }
        };
        let random = getrandom::u64().unwrap_or_else(|error| {
            tracing::warn!(target: "uplink", %error, "no randomness for the wait, taking half of the longest");
            u64::MAX / 2
        });
        let (broker, now) = (&attempt.broker, moment(self.start));
        match self.course.ended(end, now, random) {
            State::Waiting { until } if end == End::Lost => {
                let again_s = until.0.saturating_sub(now.0) / 1_000_000;
                let next = &self.setup.config.brokers[self.course.broker()];
                tracing::warn!(target: "uplink", %broker, reason = %ended.reason, %next, again_s, "not connected");
            }
            _ => tracing::info!(target: "uplink", %broker, reason = %ended.reason, "disconnected"),
        }
        self.daemon.reports.push(Event::Disconnected { reason: ended.reason, attempt });
        if ended.then == Then::Stop {
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
