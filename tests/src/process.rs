//! Children that are killed when they are dropped, and waits that have a limit.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `look` finds something.
///
/// # Errors
/// After `limit`, with `what` was waited for; or what `look` says.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A child whose output goes to a file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts it; both outputs are appended to `log`, or standard output goes to `lines` where that is given.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command, log: &Path, lines: Option<&Path>) -> Result<Self> {
        let append = |path: &Path| -> Result<File> {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.with_context(|| format!("open {}", path.display()))
        };
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stderr(append(log)?).stdout(append(lines.unwrap_or(log))?);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { child, name, log: log.to_path_buf() })
    }

    /// The number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, which must be a good one.
    ///
    /// # Errors
    /// If it ends otherwise or not in time.
    pub fn success(&mut self, limit: Duration) -> Result<()> {
        let status = until(&format!("the end of {}", self.name), limit, || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "{} ended with {status}:\n{}", self.name, tail(&self.log, 15));
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// If that cannot be asked.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Fails with the end of its log if it has ended.
    ///
    /// # Errors
    /// If it has ended.
    pub fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}):\n{}", self.name, tail(&self.log, 15)),
        }
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        if self.runs()? {
            self.signal(Signal::SIGTERM)?;
        }
        until(&format!("the end of {}", self.name), limit, || Ok(self.child.try_wait()?))
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        let _gone_already = self.child.kill();
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _end = self.kill();
    }
}

/// Runs a command to its end, killed after `limit`.
///
/// # Errors
/// If it cannot be started or takes too long.
pub fn output(command: &mut Command, limit: Duration) -> Result<Output> {
    let name = format!("{command:?}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.with_context(|| format!("start {name}"))?;
    let id = Pid::from_raw(i32::try_from(child.id())?);
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match wait.recv_timeout(limit) {
        Ok(output) => Ok(output?),
        Err(_) => {
            let _gone_already = kill(id, Signal::SIGKILL);
            bail!("{name} took longer than {limit:?}")
        }
    }
}

/// Runs a command that must succeed; its standard output.
///
/// # Errors
/// If it fails, with what it said.
pub fn succeed(command: &mut Command) -> Result<String> {
    let name = format!("{command:?}");
    let output = output(command, Duration::from_secs(60))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{name}: {}\n{}{}",
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    );
    Ok(said(&output.stdout))
}

/// Copies a folder with all that is in it, in place of what may be there.
///
/// # Errors
/// If the system refuses.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    succeed(Command::new("cp").arg("-a").arg(from).arg(to)).map(|_| ())
}

/// The last lines of a file.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A port of 127.0.0.1 that is free now.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
