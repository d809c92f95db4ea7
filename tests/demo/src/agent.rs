//! The real agent, as a process of its own: its commands, its daemon, what it says of itself and what it has on disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use glovebox_tests::certs::Identity;
use glovebox_tests::process::{Process, output, tail, until};
use serde_json::Value;

use crate::story::Story;

/// The name of the car.
pub(crate) const DEVICE: &str = "demo-car";
/// First argument that makes this program the agent, or a company's reader.
pub(crate) const AGENT: &str = "agent";
pub(crate) const READER: &str = "recipient";
const LIMIT: Duration = Duration::from_secs(60);

/// This program in another role.
pub(crate) fn role(name: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command.arg(name).env_remove("GLOVEBOX_LOG").env("NO_COLOR", "1");
    Ok(command)
}

/// Runs a command of the agent; it must succeed. What it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = output(command, LIMIT)?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    ensure!(
        status.success(),
        "glovebox {}: {status}\n{}{}",
        arguments[1..].join(" "),
        said(&stdout),
        said(&stderr)
    );
    Ok(said(&stdout))
}

/// The car: its configuration and its daemon.
pub(crate) struct Car {
    folder: PathBuf,
    config: PathBuf,
    process: Option<Process>,
}

impl Car {
    /// Writes its configuration. `run` is for sockets, whose paths are short.
    pub(crate) fn new(
        folder: &Path,
        run: &Path,
        story: &Story,
        broker: u16,
        ca: &Path,
        car: &Identity,
    ) -> Result<Self> {
        // A path in TOML's basic strings is written as in Rust.
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let map = story.map.as_ref().map(|map| format!("map = {}\n", quoted(map))).unwrap_or_default();
        let (bus, speed) = (&story.bus, story.speed);
        let text = format!(
            "[bus]\nreplay = {}\nspeed = {speed:?}\n[[bus.interface]]\nname = {bus:?}\ninterface = {bus:?}\n\
             [[decode.database]]\nbus = {bus:?}\ndbc = [{}]\n{map}[consent]\ndevice = \"{DEVICE}\"\n\
             [batch]\nage_s = 600\n[uplink]\nbroker = \"localhost:{broker}\"\nca = {}\ncert = {}\nkey = {}\n\
             [health]\nstate = {}\ncontrol_socket = {}\n",
            quoted(&story.log),
            quoted(&story.dbc),
            quoted(ca),
            quoted(&car.cert),
            quoted(&car.key),
            quoted(&folder.join("state")),
            quoted(&run.join("c.sock")),
        );
        let config = folder.join("glovebox.toml");
        std::fs::write(&config, text)?;
        Ok(Self { folder: folder.to_owned(), config, process: None })
    }

    fn command(&self) -> Result<Command> {
        let mut command = role(AGENT)?;
        command.arg("--config").arg(&self.config);
        Ok(command)
    }

    /// Runs a command on this car.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        run(self.command()?.args(arguments))
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start(&mut self) -> Result<()> {
        let mut process =
            Process::start(self.command()?.arg("run").env("GLOVEBOX_LOG", "info"), &self.log_file(), None)?;
        until("the agent to answer", LIMIT, || {
            process.must_run()?;
            Ok(self.status().ok())
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("agent.log")
    }

    /// All that the daemon has logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// What the daemon says of itself.
    pub(crate) fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&["status", "--json"])?)?)
    }

    /// Whether the log was replayed to its end.
    pub(crate) fn is_parked(&self) -> bool {
        self.log().contains(" bus: replay ended ")
    }

    /// Where batches wait.
    pub(crate) fn queues(&self) -> PathBuf {
        self.folder.join("state/outbox")
    }

    /// Where those of a flow wait, with their keys.
    pub(crate) fn queue(&self, flow: &str) -> PathBuf {
        self.queues().join(flow)
    }

    /// Fails if the daemon has ended.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        self.process.as_mut().context("the agent does not run")?.must_run()
    }

    /// Tells it to end, and waits.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let status = self.process.take().context("the agent does not run")?.terminate(LIMIT)?;
        ensure!(status.success(), "the agent ended with {status}:\n{}", tail(&self.log_file(), 10));
        Ok(())
    }
}
