//! The real `glovebox`: its configuration, its commands, and lives of the daemon that end as a test wants.

use crate::certs::Identity;
use crate::process::{Process, output, tail, until};
use crate::source::root;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a command may take.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How long a queue must stay empty to be taken for drained.
const SETTLE: Duration = Duration::from_secs(1);
/// How long a daemon may take to answer, and to end.
const LIMIT: Duration = Duration::from_secs(30);

/// The binaries of this workspace, built by the profile that built this test.
///
/// # Errors
/// If they cannot be built.
pub fn binary(name: &str) -> Result<PathBuf> {
    static FOLDER: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    match folder {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) => bail!("{error}"),
    }
}

fn build() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder =
        test.parent().and_then(Path::parent).context("the test binary lies in target/<profile>/deps")?;
    if std::env::var_os("GLOVEBOX_BUILT").is_none() {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--bins", "--locked"]).current_dir(root());
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        let built = output(&mut cargo, Duration::from_secs(1800))?;
        ensure!(built.status.success(), "cargo build: {}", String::from_utf8_lossy(&built.stderr));
    }
    Ok(folder.to_path_buf())
}

/// One bus of a configuration.
#[derive(Debug, Clone)]
pub struct Bus {
    /// Its name in signals.
    pub name: String,
    /// The interface in the log, or of the kernel.
    pub interface: String,
    /// Its databases.
    pub dbc: Vec<PathBuf>,
}

/// What a configuration says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Log to be replayed; without one the interfaces are read.
    pub replay: Option<PathBuf>,
    /// Pace of the replay: `max`, or a factor.
    pub speed: String,
    /// Buses.
    pub buses: Vec<Bus>,
    /// Mapping of the last bus to VSS names.
    pub map: Option<PathBuf>,
    /// Age at which batches close, in seconds.
    pub batch_age_s: u32,
    /// `HOST:PORT`, or several in order with a space between.
    pub broker: String,
    /// Who signed the broker's certificate.
    pub ca: PathBuf,
    /// The car's certificate.
    pub car: Identity,
    /// The folder of all state, if it is not beside the configuration.
    pub state: Option<PathBuf>,
    /// More sections, as they stand in the file.
    pub more: String,
}

impl Settings {
    fn state(&self, folder: &Path) -> PathBuf {
        self.state.clone().unwrap_or_else(|| folder.join("state"))
    }

    fn toml(&self, folder: &Path) -> String {
        // A path and a word are the same in TOML's basic strings as in Rust's.
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let speed = if self.speed == "max" { "\"max\"".to_owned() } else { self.speed.clone() };
        let mut text = "[bus]\n".to_owned();
        if let Some(replay) = &self.replay {
            let _ = writeln!(text, "replay = {}\nspeed = {speed}", quoted(replay));
        }
        for bus in &self.buses {
            let dbc: Vec<String> = bus.dbc.iter().map(|path| quoted(path)).collect();
            let (name, interface, dbc) = (&bus.name, &bus.interface, dbc.join(", "));
            let _ = write!(text, "[[bus.interface]]\nname = \"{name}\"\ninterface = \"{interface}\"\n");
            let _ = write!(text, "[[decode.database]]\nbus = \"{name}\"\ndbc = [{dbc}]\n");
        }
        if let Some(map) = &self.map {
            let _ = writeln!(text, "map = {}", quoted(map));
        }
        let (ca, cert, key) = (quoted(&self.ca), quoted(&self.car.cert), quoted(&self.car.key));
        let brokers: Vec<&str> = self.broker.split(' ').collect();
        let broker = if brokers.len() == 1 { format!("{:?}", self.broker) } else { format!("{brokers:?}") };
        let (state, socket) = (quoted(&self.state(folder)), quoted(&folder.join("c.sock")));
        let _ = write!(
            text,
            "[consent]\ndevice = \"{DEVICE}\"\n[batch]\nage_s = {}\n[uplink]\nbroker = {broker}\nca = {ca}\n\
             cert = {cert}\nkey = {key}\nkeep_alive_s = 5\nreturn_s = 10\n[health]\nstate = {state}\ncontrol_socket = {socket}\n",
            self.batch_age_s
        );
        text += &self.more;
        text
    }
}

/// The car in all tests.
pub const DEVICE: &str = "car-1";

/// A batch that the agent said it had stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stored {
    /// Flow, 16 hexadecimal digits.
    pub flow: String,
    /// Counter of the stream epoch.
    pub epoch: u32,
    /// Number in it.
    pub sequence: u64,
}

/// A car: its folder, its configuration, and the daemon while it runs.
#[derive(Debug)]
pub struct Agent {
    folder: PathBuf,
    config: PathBuf,
    state: PathBuf,
    process: Option<Process>,
    lives: usize,
}

impl Agent {
    /// Writes the configuration into `folder`; nothing runs yet.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(folder: &Path, settings: &Settings) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut agent = Self::at(&folder.join("glovebox.toml"));
        agent.configure(settings)?;
        Ok(agent)
    }

    /// One with the configuration that stands there, good or bad.
    #[must_use]
    pub fn at(config: &Path) -> Self {
        let folder = config.parent().unwrap_or(config).to_path_buf();
        let state = folder.join("state");
        Self { folder, config: config.to_path_buf(), state, process: None, lives: 0 }
    }

    /// Writes another configuration.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn configure(&mut self, settings: &Settings) -> Result<()> {
        self.state = settings.state(&self.folder);
        Ok(std::fs::write(&self.config, settings.toml(&self.folder))?)
    }

    /// The folder of all state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary("glovebox")?);
        command.arg("--config").arg(&self.config).env_remove("GLOVEBOX_LOG");
        Ok(command)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// If it cannot be started or takes too long; not if it fails.
    pub fn try_run(&self, arguments: &[&str]) -> Result<Output> {
        output(self.command()?.args(arguments), COMMAND_LIMIT)
    }

    /// Runs a command that must succeed; its standard output.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.try_run(arguments)?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (said(&output.stdout), said(&output.stderr));
        ensure!(output.status.success(), "glovebox {}: {}\n{out}{err}", arguments.join(" "), output.status);
        Ok(out)
    }

    /// Starts the daemon and waits until it is ready: by then it answers.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        let log = self.log_file(self.lives);
        let process = self.process.as_mut().context("the daemon does not run")?;
        until("the daemon to be ready", LIMIT, || {
            process.must_run()?;
            Ok(std::fs::read_to_string(&log)?.contains(" health: ready\n").then_some(()))
        })
    }

    /// Starts the daemon, whatever becomes of it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        self.lives += 1;
        // Of another agent in the same folder: what it said is not said by this one.
        let _ = std::fs::remove_file(self.log_file(self.lives));
        let mut command = self.command()?;
        command.arg("run").env("GLOVEBOX_LOG", "debug");
        self.process = Some(Process::start(&mut command, &self.log_file(self.lives), None)?);
        Ok(())
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// If that cannot be asked.
    pub fn runs(&mut self) -> Result<bool> {
        self.process.as_mut().map_or(Ok(false), Process::runs)
    }

    fn log_file(&self, life: usize) -> PathBuf {
        self.folder.join(format!("agent-{life}.log"))
    }

    /// The number of its process.
    ///
    /// # Errors
    /// If it does not run.
    pub fn id(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the daemon does not run")?.id())
    }

    /// What the daemon of this life has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.log_of(self.lives)
    }

    fn log_of(&self, life: usize) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file(life)).unwrap_or_default()).into_owned()
    }

    /// What all lives have logged.
    #[must_use]
    pub fn logs(&self) -> String {
        (1..=self.lives).map(|life| self.log_of(life)).collect()
    }

    /// What the running daemon says of itself.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&["status", "--json"])?)?)
    }

    /// Waits until the status fits.
    ///
    /// # Errors
    /// After `limit`, with the last status and the end of the log.
    pub fn wait_for(&self, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = until(what, limit, || {
            last = self.status()?;
            Ok(fits(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("last status: {last}\n{}", tail(&self.log_file(self.lives), 20)))
    }

    /// Waits until the log is replayed to its end and everything that was closed is stored and acknowledged.
    ///
    /// # Errors
    /// After `limit`.
    pub fn drained(&self, limit: Duration) -> Result<()> {
        until("the end of the replay", limit, || {
            Ok(self.log().contains(" bus: replay ended ").then_some(()))
        })?;
        // What is between two stages is counted by neither, so it must stay empty for a while.
        let mut empty_since = None;
        let settled = |status: &Value| {
            let stored = &status["counters"]["outbox"]["batches_stored"];
            status["queue"]["batches"] == 0 && *stored == status["counters"]["batch"]["batches_closed"]
        };
        let mut last = Value::Null;
        let drained = until("an empty queue", limit, || {
            last = self.status()?;
            empty_since = if settled(&last) { empty_since.or(Some(Instant::now())) } else { None };
            Ok(empty_since.filter(|since| since.elapsed() > SETTLE).map(|_| ()))
        });
        drained.with_context(|| format!("last status: {last}\n{}", tail(&self.log_file(self.lives), 20)))
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If it does not run or cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the daemon does not run")?;
        process.must_run()?;
        process.kill()
    }

    /// Somebody else has killed it: waits for its end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn gone(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the daemon does not run")?;
        until("the end of the daemon", LIMIT, || Ok((!process.runs()?).then_some(())))
    }

    /// SIGTERM; it must end well.
    ///
    /// # Errors
    /// If it ends otherwise or not in time.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the daemon does not run")?;
        let status = process.terminate(LIMIT)?;
        ensure!(
            status.success(),
            "the daemon ended with {status}:\n{}",
            tail(&self.log_file(self.lives), 20)
        );
        Ok(())
    }

    /// Freezes it.
    ///
    /// # Errors
    /// If it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.process.as_ref().context("the daemon does not run")?.signal(Signal::SIGSTOP)
    }

    /// Ends [`Self::freeze`].
    ///
    /// # Errors
    /// If it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.process.as_ref().context("the daemon does not run")?.signal(Signal::SIGCONT)
    }

    /// Batches that this life said it had stored.
    #[must_use]
    pub fn stored(&self) -> Vec<Stored> {
        stored(&self.log())
    }

    /// Batches that all lives said they had stored.
    #[must_use]
    pub fn all_stored(&self) -> Vec<Stored> {
        stored(&self.logs())
    }
}

/// `… outbox: stored flow=0123456789abcdef epoch=3 sequence=12 …` in whole lines of a log.
fn stored(log: &str) -> Vec<Stored> {
    let complete = log.rfind('\n').map_or("", |end| &log[..end]);
    let read = |line: &str| {
        let fields = line.split_once(" outbox: stored ")?.1;
        let field =
            |name: &str| fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        let (epoch, sequence) = (field("epoch")?.parse().ok()?, field("sequence")?.parse().ok()?);
        Some(Stored { flow: field("flow")?.to_owned(), epoch, sequence })
    };
    complete.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_batches_are_read_from_whole_lines() {
        let line = "2026-11-22T02:00:00.000001Z debug outbox: stored flow=00000000000000ff epoch=3 sequence=12 bytes=9";
        let expected = Stored { flow: "00000000000000ff".to_owned(), epoch: 3, sequence: 12 };
        assert_eq!(stored(&format!("{line}\n{line}")), [expected]);
    }
}
