//! Connects again and again, and takes what comes.

use std::process::ExitCode;
use std::time::Duration;

use crate::state::StateDir;
use anyhow::Context as _;
use glovebox_proto::envelope::TOPIC_ROOT;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::intake::{EnvelopeStore, Intake};
use super::mqtt::{Session, Settings};
use super::relay::Target;
use super::screen::Screen;
use super::{Refused, Subscribe, say};

/// First and longest upper bound of the wait between two attempts.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A session that lived for so long was a good one: start over with short waits.
const GOOD_SESSION: Duration = Duration::from_secs(30);
/// So many in a row that ended soon after they began look like another reader of the same name.
const SHORT_SESSIONS: u32 = 3;

pub(super) fn run(arguments: &Subscribe) -> anyhow::Result<ExitCode> {
    let opener = arguments.reader.opener()?;
    let target = Target::new(&arguments.broker, &arguments.ca, &arguments.cert, &arguments.key)?;
    let state =
        arguments.state.as_deref().map(|path| StateDir::open(path, opener.recipient())).transpose()?;
    let store = arguments.write_envelopes.as_deref().map(EnvelopeStore::open).transpose()?;
    let (client_id, is_lasting) = client_id(arguments, state.as_ref())?;
    let share = arguments.group.as_ref().map_or_else(String::new, |group| format!("$share/{group}/"));
    let filters =
        ["batch", "notice"].map(|kind| format!("{share}{TOPIC_ROOT}/{}/+/{kind}", opener.recipient()));
    let keep_alive = Duration::from_secs(arguments.keep_alive.into());
    let settings = Settings { target, client_id, filters, keep_alive, is_lasting };
    let screen = Screen::new(arguments.json, true);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let intake = Intake::new(opener, state, store, screen, arguments.group.is_some());
    let ended = intake.and_then(|mut intake| runtime.block_on(connect(&settings, &mut intake)));
    match ended {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

/// Whoever read the lines has had enough, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// One name for one reader, so that the broker keeps its session; a random one for each reader of a group.
fn client_id(arguments: &Subscribe, state: Option<&StateDir>) -> anyhow::Result<(String, bool)> {
    let id = &arguments.reader.id;
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("no random numbers"))?;
    let make = || format!("glovebox-recipient-{id}-{}", hex::encode(random));
    Ok(match (&arguments.client_id, &arguments.group, state) {
        (Some(name), _, _) => (name.clone(), true),
        (None, None, _) => (format!("glovebox-recipient-{id}"), true),
        (None, Some(_), Some(state)) => (state.constant("client-id", make)?, true),
        // Nobody would come back to this session, and it would keep messages from the others.
        (None, Some(_), None) => (make(), false),
    })
}

/// SIGINT or SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Until a signal, or an error that trying again does not mend.
async fn connect(settings: &Settings, intake: &mut Intake) -> anyhow::Result<()> {
    let mut stop = Stop::new()?;
    let mut wait = BACKOFF_MIN;
    let mut short = 0;
    loop {
        let began = Instant::now();
        let session = tokio::select! {
            session = Session::open(settings) => session,
            () = stop.wait() => return Ok(()),
        };
        let error = match session {
            Err(error) => error,
            Ok(session) => match take_all(session, intake, &mut stop).await? {
                None => return Ok(()),
                Some(error) => {
                    short = if began.elapsed() < GOOD_SESSION { short + 1 } else { 0 };
                    error
                }
            },
        };
        if error.is::<Refused>() {
            return Err(error);
        }
        if began.elapsed() >= GOOD_SESSION {
            wait = BACKOFF_MIN;
        }
        let pause = jitter(wait)?;
        let rival = match short >= SHORT_SESSIONS {
            true => format!(
                "; does another reader use the client id `{}`? `--group` or `--client-id`",
                settings.client_id
            ),
            false => String::new(),
        };
        say(&format!("glovebox-recipient: {error:#}{rival}; next attempt in {:.1} s", pause.as_secs_f64()));
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.wait() => return Ok(()),
        }
        wait = (2 * wait).min(BACKOFF_MAX);
    }
}

/// Output, record, acknowledge, in this order, until a signal (`None`) or what ended the session. An outer error
/// ends the program.
async fn take_all(
    mut session: Session,
    intake: &mut Intake,
    stop: &mut Stop,
) -> anyhow::Result<Option<anyhow::Error>> {
    loop {
        let group = tokio::select! {
            group = session.next() => group,
            () = stop.wait() => {
                session.close().await;
                return Ok(None);
            }
        };
        if group.is_empty() {
            return Ok(Some(session.reason().await));
        }
        for message in &group {
            let topic = std::str::from_utf8(&message.topic).unwrap_or("not UTF-8");
            intake.take(topic, &message.payload)?;
        }
        intake.settle().context("cannot write out")?;
        for message in &group {
            if session.acknowledge(message).await.is_err() {
                break;
            }
        }
    }
}

/// Anything up to `most`, so that many readers do not come back at one moment.
fn jitter(most: Duration) -> anyhow::Result<Duration> {
    let mut random = [0; 4];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("no random numbers"))?;
    Ok(most.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)))
}
