//! Tasks, bounded channels, order of start and stop: the one place that joins stages.
//!
//! ```text
//! thread pipeline   bus ─▶ decode ─▶ consent ─▶ batch      ◀─ orders ─┐
//!                                     │ messages                     │
//! thread custody    seal ─▶ outbox ─▶ delivery ─▶ ledger   ◀─────────┤
//!                                     │ commands   ▲ events          │
//! runtime           uplink ◀──────────┘            │     steward: documents, acts, dates
//!                   control socket, policy folder ─┴──────▶┘
//! ```

pub mod authority;
pub mod custody;
pub mod databases;
mod drive;
mod dropped;
mod emitted;
pub mod erase;
pub mod force;
pub mod rules;
pub mod session;
mod spent;
mod steward;
mod trip;
mod waiting;
pub mod watched;
pub mod zones;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use glovebox_core::batch::ClockQuality;
use glovebox_core::delivery::Delivery;
use glovebox_core::limits::{BATCH_AGE_US_MAX, UPLINK_WINDOW_MESSAGES};
use glovebox_core::names::WallTime;
use glovebox_core::pipeline::Pipeline;
use glovebox_core::seal::{SealError, Sealing};
use tokio::sync::mpsc;

use crate::bus::States;
use crate::bus::live::{Bell, Clocks, Live, LiveError};
use crate::bus::replay::ReplayError;
use crate::clock::{Clock, Time as _};
use crate::config::Config;
use crate::control::{self, SocketError};
use crate::health::{Counters, LinkState, LinkStatus, Manager, Watchdog};
use crate::ledger::{self, Ledger};
use crate::notice_store::NoticeStore;
use crate::outbox::{self, Outbox};
use crate::store::disk::Place;
use crate::store::{Opened, Store, StoreError, files};
use crate::uplink;
use authority::{Car, LocalAuthority};
use custody::notices::Notices;
use custody::{Custody, Message};
use databases::{DatabaseError, Databases};
use drive::{Drive, Orders, ReadClocks, Source};
use emitted::Emitted;
use force::Force;
use rules::Rules;
use spent::Kept;
use steward::{Steward, Threads};
use zones::ZoneFile;

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The databases cannot be used; `glovebox check` lists all faults.
    #[error("the databases cannot be used: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Databases(Vec<DatabaseError>),
    /// A signal that the car's own decisions need cannot be watched.
    #[error(transparent)]
    Watched(#[from] watched::WatchedError),
    /// Keys or documents cannot be opened.
    #[error(transparent)]
    Authority(#[from] authority::OpenError),
    /// What is left of an erasing.
    #[error(transparent)]
    Erase(#[from] erase::EraseError),
    /// No keys yet.
    #[error("this car has no keys yet: run `glovebox provision --authority A.pub --owner O.pub`")]
    NotProvisioned,
    /// A store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The outbox cannot be opened.
    #[error(transparent)]
    Outbox(#[from] outbox::OpenError),
    /// A live bus never ends.
    #[error(
        "--until-sent ends with a recorded log, and live buses are configured: set `bus.replay`, or leave it out"
    )]
    NoEnd,
    /// Live buses cannot be read.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The log could not be read to its end; what was read is sent.
    #[error("the log could not be read to its end: the error above says where")]
    Unread,
    /// The log cannot be opened.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The control socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The compressor cannot be set up.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A thread, a signal handler or a folder cannot be had.
    #[error("cannot {act}: {source}")]
    System {
        /// What was tried.
        act: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// When to end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Never: runs until it is told to stop.
    Stopped,
    /// When the replayed log has ended and all of it is acknowledged.
    Sent,
}

/// Messages that wait for custody; then the pipeline waits.
const MESSAGES_MAX: usize = 64;
/// A stop is given so long; what is not synced by then is lost.
const STOP: Duration = Duration::from_secs(2);

fn system(act: &'static str) -> impl FnOnce(std::io::Error) -> DaemonError {
    move |source| DaemonError::System { act, source }
}

/// Runs the agent until it is told to stop (SIGTERM, SIGINT).
///
/// # Errors
/// [`DaemonError`], before anything leaves.
pub fn run(config: Config, until: Until) -> Result<(), DaemonError> {
    if until == Until::Sent && config.bus.replay.is_none() {
        return Err(DaemonError::NoEnd);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    let parts = Parts::open(config)?;
    let ended = runtime.block_on(parts.serve(until));
    runtime.shutdown_timeout(STOP);
    ended
}

/// All that is opened before the first task runs.
struct Parts {
    steward: Arc<Steward>,
    drained: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
    watchdog: Watchdog,
    pipeline: JoinHandle<()>,
    custody: JoinHandle<()>,
    messages: mpsc::Sender<Message>,
    uplink: mpsc::Sender<uplink::Command>,
    commands: mpsc::Receiver<uplink::Command>,
}

impl Parts {
    fn open(config: Config) -> Result<Self, DaemonError> {
        erase::finish(&config.health.state)?;
        let mut storing = custody::storing::Storing::new(config.outbox.gather);
        let ledger = open_ledger(&config, &mut storing.notices)?;
        let databases = Databases::load(&config.decode).map_err(DaemonError::Databases)?;
        let authority = open_authority(&config, &databases)?;
        let sealer = authority.sealer().ok_or(DaemonError::NotProvisioned)?;
        let (counters, watchdog) = (Arc::new(Counters::default()), Watchdog::default());
        let (messages, inbox) = mpsc::channel(MESSAGES_MAX);
        let (uplink, commands) = mpsc::channel(UPLINK_WINDOW_MESSAGES * 2);
        let [drained, failed] = [(); 2].map(|()| Arc::default());
        let outbox = open_outbox(&config, &authority, &mut storing.notices)?;
        let rules = Rules::open(config.health.state.join("rules"));
        let batch_age_us = i64::try_from(config.batch.age.as_micros()).unwrap_or(BATCH_AGE_US_MAX);
        let force = Force::new(authority, Arc::clone(&databases.leaves), batch_age_us, rules);
        let custody = Custody {
            uplink: uplink.clone(),
            sealer,
            sealing: Sealing::new()?,
            outbox,
            ledger,
            delivery: delivery(&config),
            notices: Notices::of(NoticeStore::in_folder(&config.health.state)),
            clock: Arc::new(Clock::new()),
            mark: Arc::clone(&force.mark),
            sending: Arc::clone(&force.sending),
            drained: Arc::clone(&drained),
            counters: Arc::clone(&counters),
            state: custody::State::new(storing),
        };
        let (custody_pulse, trip) = (watchdog.pulse("custody"), trip::TripSeen::default());
        let (source, states, bell) = open_source(&config)?;
        let (sender, orders) = std::sync::mpsc::channel();
        let drive = Drive {
            pipeline: Pipeline::of_a_log(config.batch.size_bytes),
            orders,
            custody: messages.clone(),
            counters: Arc::clone(&counters),
            states: Arc::clone(&states),
            clocks: clocks(Arc::clone(&force.mark)),
            failed: Arc::clone(&failed),
            pulse: watchdog.pulse("pipeline"),
            told: drive::Told::default(),
            trip: trip.clone(),
            emitted: emitted(&config, &databases),
            spent: spent(&config, &databases),
        };
        let threads = Threads {
            trip,
            classes: config.delivery.clone(),
            watches: watched::find(&config, &databases.leaves)?,
            zones: (ZoneFile::in_folder(&config.health.state), std::sync::Mutex::default()),
            leaves: databases.leaves,
            drive: Orders { sender, bell },
            custody: messages.clone(),
            uplink: uplink.clone(),
            stopping: AtomicBool::new(false),
        };
        Ok(Self {
            steward: Arc::new(steward((force, threads), (states, counters), config)),
            drained,
            failed,
            watchdog,
            pipeline: thread("pipeline", move || drive.run(source))?,
            custody: thread("custody", move || custody.run(inbox, &custody_pulse))?,
            messages,
            uplink,
            commands,
        })
    }

    /// Serves until the end, then stops in the order of the flow: bus, pipeline, custody, uplink.
    async fn serve(self, until: Until) -> Result<(), DaemonError> {
        let (events, happened) = mpsc::channel(MESSAGES_MAX);
        let config = &self.steward.config;
        let runtime = own_folder(&config.health.control_socket)?;
        let setup =
            uplink::Setup { config: config.uplink.clone(), identity: steward::device(config), runtime };
        let listener = listen(&config.health.control_socket)?;
        let steward = Arc::clone(&self.steward);
        blocking(move || {
            dropped::take_up(&steward);
            steward.look_again();
        })
        .await;
        let carrier = tokio::spawn(uplink::run(setup, self.commands, events));
        tokio::spawn(forward(
            happened,
            Arc::clone(&self.steward),
            self.messages.clone(),
            self.uplink.clone(),
        ));
        tokio::spawn(control::serve(listener, Arc::clone(&self.steward) as _));
        tokio::spawn(tick(Arc::clone(&self.steward)));
        if until == Until::Sent {
            tokio::spawn(waiting::tell(Arc::clone(&self.steward)));
        }
        if let Some(every) = Manager::default().watchdog_every() {
            tokio::spawn(watch(self.watchdog, every));
        }
        told(Manager::default().ready("running"));
        tracing::info!(target: "health", "ready");
        wait_for_the_end(until, &self.drained).await?;
        told(Manager::default().stopping());
        tracing::info!(target: "health", "stopping");
        self.steward.stop_drive();
        join(self.pipeline).await;
        let _ = self.messages.send(Message::Stop).await;
        join(self.custody).await;
        let _ = self.uplink.send(uplink::Command::Shutdown).await;
        let _ = tokio::time::timeout(STOP / 2, carrier).await;
        // Left behind, it would only make the next start look twice.
        let _ = std::fs::remove_file(&self.steward.config.health.control_socket);
        if until == Until::Sent && self.failed.load(Ordering::Acquire) {
            return Err(DaemonError::Unread);
        }
        Ok(())
    }
}

fn steward(
    (force, threads): (Force, Threads),
    (states, counters): (Arc<States>, Arc<Counters>),
    config: Config,
) -> Steward {
    Steward {
        force: Mutex::new(force),
        threads,
        states,
        counters,
        link: Mutex::new(not_linked(&config)),
        config,
        begun: Instant::now(),
    }
}

/// A recorded drive has a time of its own, again and again: nothing of it is remembered.
fn emitted(config: &Config, databases: &Databases) -> Option<Emitted> {
    let path = config.health.state.join("emitted");
    config.bus.replay.is_none().then(|| Emitted::new(path, Arc::clone(&databases.leaves)))
}

/// The same holds for budgets.
fn spent(config: &Config, databases: &Databases) -> Option<Kept> {
    let path = config.health.state.join("spent");
    config.bus.replay.is_none().then(|| Kept::new(path, Arc::clone(&databases.leaves)))
}

fn open_authority(config: &Config, databases: &Databases) -> Result<LocalAuthority, DaemonError> {
    let car = Car { device: config.consent.device.clone(), groups: config.consent.groups.clone() };
    let authority = LocalAuthority::open(&config.health.state, car, databases.known())?;
    for complaint in authority.complaints() {
        tracing::error!(target: "consent", "{complaint}");
    }
    Ok(authority)
}

fn not_linked(config: &Config) -> LinkStatus {
    let broker = config.uplink.brokers.first().map(ToString::to_string).unwrap_or_default();
    LinkStatus {
        broker,
        brokers: config.uplink.brokers.iter().map(ToString::to_string).collect(),
        protocol: config.uplink.protocol.to_string(),
        state: LinkState::Connecting,
        last_error: None,
        certificate_until: uplink::certificate_until(&config.uplink).map(|until| until.to_string()),
        in_flight: 0,
    }
}

/// The first store that is opened, before anything large was freed: sled's histograms are then fresh zero pages, 20 MiB
/// that are never touched; later the allocator would make them of used memory.
fn open_ledger(config: &Config, notices: &mut Vec<String>) -> Result<Ledger, DaemonError> {
    let (store, opened) = Store::open(&config.health.state.join("ledger"))?;
    if let Opened::SetAside(path) = &opened {
        notices.push(format!("the ledger was damaged: it begins anew; the old one is {}", path.display()));
    }
    let ledger = Ledger::open(store.table("ledger")?, &opened, ledger::Config::default())?;
    if ledger.in_doubt() {
        notices.push("the ledger's newest entries were damaged: some may be missing".to_owned());
    }
    Ok(ledger)
}

fn open_outbox(
    config: &Config,
    authority: &LocalAuthority,
    notices: &mut Vec<String>,
) -> Result<Outbox, DaemonError> {
    let state = &config.health.state;
    let (index, opened) = Store::open(&state.join("index"))?;
    if let Opened::SetAside(path) = &opened {
        tracing::error!(target: "outbox", set_aside = %path.display(), "the index was damaged: built anew");
        notices.push(format!(
            "the queue's index was damaged: built anew, what is queued is sent again; the old one is {}",
            path.display()
        ));
    }
    let settings = outbox::Config {
        bytes_max: config.outbox.size_bytes,
        flow_bytes_max: config.outbox.flow_size_bytes,
        free_bytes_min: config.outbox.free_bytes,
        new_epoch: config.bus.replay.is_some(),
    };
    let tombstones = authority.control().grants().tombstones();
    let (outbox, report) =
        Outbox::open(Place::system(state.join("outbox")), settings, index.table("outbox")?, tombstones)?;
    let (flows, batches) = (report.flows, report.batches);
    tracing::info!(target: "outbox", flows, batches, purged = report.purged.len(), lost = report.lost, "opened");
    for (flow, why) in &report.failed {
        tracing::error!(target: "outbox", %flow, %why, "a flow could not be opened");
        notices.push(format!("flow {flow} could not be opened: {why}"));
    }
    Ok(outbox)
}

fn delivery(config: &Config) -> Delivery {
    let only_when = config.delivery.only_when.as_ref().map(|only_when| only_when.condition.clone());
    Delivery::default().only_when(only_when.unwrap_or_default())
}

/// The log if one is configured, else the interfaces; how they are; and what wakes whoever waits for them.
fn open_source(config: &Config) -> Result<(Source, Arc<States>, Option<Bell>), DaemonError> {
    let states = Arc::new(States::new(config.bus.interface.len()));
    if let Some(replay) = config.bus.open()? {
        return Ok((Source::Replay(replay, config.bus.speed), states, None));
    }
    let live = Live::open(&config.bus.interface, Arc::clone(&states))?;
    let bell = live.bell();
    Ok((Source::Live(live), states, Some(bell)))
}

fn clocks(mark: Arc<AtomicI64>) -> ReadClocks {
    let clock = Clock::new();
    Box::new(move || {
        let trusted = clock.trusted(WallTime(mark.load(Ordering::Acquire)));
        let quality = match trusted {
            Some(_) if clock.synchronised() => ClockQuality::Synchronised,
            Some(_) => ClockQuality::Rtc,
            None => ClockQuality::Unknown,
        };
        let (wall, moment) = clock.both();
        (Clocks { wall, moment }, quality)
    })
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, DaemonError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(system("start a thread"))
}

fn listen(path: &std::path::Path) -> Result<tokio::net::UnixListener, DaemonError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(system("make the folder of the control socket"))?;
    }
    tokio::net::UnixListener::from_std(control::listen(path)?).map_err(system("listen on the control socket"))
}

/// A folder beside the control socket that only the agent may enter; the uplink's inner socket is made in it.
fn own_folder(control_socket: &std::path::Path) -> Result<PathBuf, DaemonError> {
    let folder = control_socket.with_extension("uplink");
    files::create_folder(&folder).map_err(StoreError::from)?;
    Ok(folder)
}

/// On a thread that may wait.
async fn blocking(work: impl FnOnce() + Send + 'static) {
    if tokio::task::spawn_blocking(work).await.is_err() {
        tracing::error!(target: "health", "a task failed");
    }
}

async fn join(thread: JoinHandle<()>) {
    blocking(move || {
        if thread.join().is_err() {
            tracing::error!(target: "health", "a thread failed");
        }
    })
    .await;
}

/// Documents to the steward, everything else to custody.
async fn forward(
    mut events: mpsc::Receiver<uplink::Event>,
    steward: Arc<Steward>,
    custody: mpsc::Sender<Message>,
    commands: mpsc::Sender<uplink::Command>,
) {
    while let Some(event) = events.recv().await {
        steward.linked(&event);
        match event {
            uplink::Event::Document { topic, payload, receipt } => {
                let (steward, commands) = (Arc::clone(&steward), commands.clone());
                // Not awaited: a withdrawal cuts the connection, and its end has to be forwarded meanwhile.
                tokio::task::spawn_blocking(move || {
                    let (topic, payload) = steward.document(topic, &payload);
                    receipt.acknowledge();
                    let _ = commands.blocking_send(uplink::Command::Answer { topic, payload });
                });
            }
            event => {
                if custody.send(Message::Uplink(event)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Once a second: dates that have passed, a clock that has changed, a pause that is over, flows to try again.
async fn tick(steward: Arc<Steward>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        let steward = Arc::clone(&steward);
        blocking(move || steward.look_again()).await;
    }
}

async fn watch(watchdog: Watchdog, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match watchdog.look() {
            Ok(standing) if standing.is_empty() => {}
            Ok(standing) => {
                tracing::error!(target: "health", ?standing, "no progress: the watchdog is not fed");
            }
            Err(error) => tracing::warn!(target: "health", %error, "the service manager could not be told"),
        }
    }
}

async fn wait_for_the_end(until: Until, drained: &AtomicBool) -> Result<(), DaemonError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("wait for SIGINT"))?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(system("wait for SIGHUP"))?;
    let sent = async {
        while until == Until::Stopped || !drained.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // A terminal that was closed, or who thinks that this reloads: either way it ends in order.
        _ = hang_up.recv() => tracing::warn!(target: "health", "SIGHUP ends the agent as SIGTERM does: policy files, private places and certificates are taken as they change, all else needs a restart"),
        () = sent => tracing::info!(target: "health", "all of the log is sent"),
    }
    Ok(())
}

fn told(outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(target: "health", %error, "the service manager could not be told");
    }
}
