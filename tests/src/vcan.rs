//! Real virtual CAN buses `vcan0` and `vcan1`, made by `tests/vcan`, and everything that is put on them by a test: all
//! of it is counted, so that a frame from anybody else is noticed.

use crate::agent::Bus;
use crate::need::{missing, skip};
use crate::process::{Process, succeed, until};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The buses that `tests/vcan` makes.
pub const BUSES: [&str; 2] = ["vcan0", "vcan1"];
/// How long a program may take to come up or to go down.
const LIMIT: Duration = Duration::from_secs(20);
/// Enough for everything that a test sends: the recorder must not lose what the agent must not lose.
const RECORDER_BUFFER_BYTES: &str = "33554432";

/// The buses, and how many frames the test has sent on each.
#[derive(Debug)]
pub struct Buses {
    sent: BTreeMap<String, u64>,
}

impl Buses {
    /// New, empty buses; `None` if it was said that the test is skipped.
    ///
    /// # Errors
    /// With `CI` set; if they cannot be made.
    pub fn fresh(test: &str) -> Result<Option<Self>> {
        let programs = ["ip", "candump", "cansend", "cangen", "canplayer"];
        if let Some(why) = missing(&programs) {
            return skip(test, &why).map(|()| None);
        }
        if !exists(BUSES[0]) {
            return skip(test, "no vcan0: this test runs inside tests/vcan").map(|()| None);
        }
        let mut buses = Self { sent: BTreeMap::new() };
        for name in BUSES {
            if exists(name) {
                ip(&["link", "delete", name])?;
            }
            buses.create(name)?;
        }
        Ok(Some(buses))
    }

    /// Makes a bus and sets it up.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn create(&mut self, name: &str) -> Result<()> {
        ip(&["link", "add", name, "mtu", "72", "type", "vcan"])?;
        self.sent.insert(name.to_owned(), 0);
        self.up(name)
    }

    /// Sets a bus up.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn up(&self, name: &str) -> Result<()> {
        ip(&["link", "set", name, "up"])
    }

    /// Sets a bus down.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn down(&self, name: &str) -> Result<()> {
        ip(&["link", "set", name, "down"])
    }

    /// Removes a bus, after a look at what was sent on it.
    ///
    /// # Errors
    /// If somebody else has sent; what `ip` says.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        self.only_ours(name)?;
        self.sent.remove(name);
        ip(&["link", "delete", name])
    }

    /// Gives a bus another name; it is down and up again meanwhile.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.down(from)?;
        ip(&["link", "set", from, "name", to])?;
        let sent = self.sent.remove(from).context("no such bus")?;
        self.sent.insert(to.to_owned(), sent);
        self.up(to)
    }

    /// Sends frames one by one, in the notation of `cansend`: `0B4#11223344`.
    ///
    /// # Errors
    /// What `cansend` says.
    pub fn send(&mut self, name: &str, frames: &[impl AsRef<str>]) -> Result<()> {
        for frame in frames {
            succeed(Command::new("cansend").args([name, frame.as_ref()]))?;
            self.count(name, 1)?;
        }
        Ok(())
    }

    /// Starts `cangen` for so many frames.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn generate(&mut self, name: &str, frames: u64, more: &[&str], log: &Path) -> Result<Process> {
        self.count(name, frames)?;
        let mut command = Command::new("cangen");
        command.args([name, "-n", &frames.to_string()]).args(more);
        Process::start(&mut command, log, None)
    }

    /// Starts `canplayer` on a log whose interface `can0` is `vcan0`, `can1` is `vcan1`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn play(&mut self, recorded: &Path, more: &[&str], log: &Path) -> Result<Process> {
        let text = std::fs::read_to_string(recorded)?;
        let mut command = Command::new("canplayer");
        command.arg("-I").arg(recorded).args(more);
        for name in BUSES {
            let from = format!(" {} ", log_name(name));
            let frames = text.lines().filter(|line| line.contains(&from)).count();
            if frames > 0 {
                self.count(name, u64::try_from(frames)?)?;
                command.arg(format!("{name}={}", log_name(name)));
            }
        }
        Process::start(&mut command, log, None)
    }

    fn count(&mut self, name: &str, frames: u64) -> Result<()> {
        *self.sent.get_mut(name).context("no such bus")? += frames;
        Ok(())
    }

    /// How many frames the test has sent on the buses that there are.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.values().sum()
    }

    fn only_ours(&self, name: &str) -> Result<()> {
        let (sent, seen) = (self.sent.get(name).copied().unwrap_or_default(), transmitted(name)?);
        ensure!(sent == seen, "{seen} frames were sent on {name}, {sent} of them by the test");
        Ok(())
    }

    /// All frames on all buses came from the test: nobody else has sent one.
    ///
    /// # Errors
    /// If somebody has.
    pub fn all_ours(&self) -> Result<()> {
        self.sent.keys().try_for_each(|name| self.only_ours(name))
    }

    /// Starts a recorder of both buses.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn record(&self, file: &Path) -> Result<Recorder> {
        let mut command = Command::new("candump");
        command.args(["-L", "-r", RECORDER_BUFFER_BYTES]);
        // All data frames, and all error frames.
        command.args(BUSES.map(|name| format!("{name},0:0,#FFFFFFFF")));
        let (before, listeners) = (self.sent(), listeners()?);
        let mut process = Process::start(&mut command, &file.with_extension("err.log"), Some(file))?;
        until("the recorder", LIMIT, || {
            process.must_run()?;
            Ok((self::listeners()? >= listeners + BUSES.len()).then_some(()))
        })?;
        Ok(Recorder { process, file: file.to_path_buf(), before })
    }
}

/// `candump -L`.
#[derive(Debug)]
pub struct Recorder {
    process: Process,
    file: PathBuf,
    before: u64,
}

impl Recorder {
    /// Waits until it has all that was sent since it began, and ends it: the log, its interfaces called `can0`, `can1`.
    ///
    /// # Errors
    /// If it does not get so many frames, or gets more.
    pub fn finish(mut self, buses: &Buses) -> Result<String> {
        let sent = usize::try_from(buses.sent() - self.before)?;
        let mut text = String::new();
        until(&format!("{sent} recorded frames"), LIMIT, || {
            self.process.must_run()?;
            text = std::fs::read_to_string(&self.file)?;
            Ok((text.matches('\n').count() >= sent).then_some(()))
        })?;
        self.process.kill()?;
        ensure!(
            text.matches('\n').count() == sent,
            "{} frames on the buses, {sent} sent",
            text.matches('\n').count()
        );
        Ok(text.replace(" vcan", " can"))
    }
}

/// One of [`BUSES`] in a configuration, called `can0` or `can1` there.
#[must_use]
pub fn bus(interface: &str, dbc: &Path) -> Bus {
    Bus {
        name: log_name(interface).to_owned(),
        interface: interface.to_owned(),
        dbc: vec![dbc.to_path_buf()],
    }
}

fn log_name(interface: &str) -> &str {
    interface.trim_start_matches('v')
}

fn exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

fn ip(arguments: &[&str]) -> Result<()> {
    succeed(Command::new("ip").args(arguments)).map(|_| ())
}

/// Frames that anybody has sent on this bus.
fn transmitted(name: &str) -> Result<u64> {
    let path = Path::new("/sys/class/net").join(name).join("statistics/tx_packets");
    Ok(std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?.trim().parse()?)
}

/// Whether somebody listens to data frames of this bus, be it some or all.
///
/// # Errors
/// If the kernel does not tell.
pub fn is_listened_to(name: &str) -> Result<bool> {
    for list in ["all", "fil", "sff", "eff"] {
        let text = std::fs::read_to_string(format!("/proc/net/can/rcvlist_{list}"))?;
        if text.lines().any(|line| line.split_whitespace().next() == Some(name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sockets that listen to all data frames of a bus.
fn listeners() -> Result<usize> {
    let text = std::fs::read_to_string("/proc/net/can/rcvlist_all")?;
    Ok(text.lines().filter(|line| line.trim_start().starts_with("vcan")).count())
}
