//! The system calls of a running process that change a disk or go to a network, in their order over all threads: the
//! n-th of them is its last, or fails. By ptrace (ptrace(2)), of x86-64 alone.
//!
//! ```text
//! every thread: SEIZE, INTERRUPT ─▶ stop at each entry and exit of a call ─▶ a step? count it ─▶ the n-th: SIGKILL,
//!                                                                            or no call at all and an error at its exit
//! ```

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What becomes of the n-th step, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: steps are counted.
    Counted,
    /// The process is killed before it.
    Killed(usize),
    /// It fails with this error, once.
    FailsOnce(usize, Errno),
    /// It and all steps behind it fail, until the process is let go.
    Fails(usize, Errno),
}

/// A process whose steps are counted. Its parent, if that is this test, must not wait for it meanwhile: the kernel would
/// give it the stops.
#[derive(Debug)]
pub struct Calls {
    process: Pid,
    shared: Arc<Shared>,
    tracer: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    let_go: AtomicBool,
    steps: Mutex<Vec<String>>,
}

impl Calls {
    /// Takes hold of a process. Steps are calls of `kinds` on files under `folder`, and on sockets.
    ///
    /// # Errors
    /// If it cannot be traced.
    pub fn of(process: u32, folder: &Path, kinds: &[&'static str], fate: Fate) -> Result<Self> {
        let process = Pid::from_raw(i32::try_from(process)?);
        let shared = Arc::new(Shared::default());
        let kinds = kinds.to_vec();
        let folder = folder.to_path_buf();
        let (held, holds) = channel();
        let ours = Arc::clone(&shared);
        let tracer = std::thread::spawn(move || {
            let failing = BTreeSet::new();
            Tracer { process, folder, kinds, fate, shared: ours, failing }.run(&held)
        });
        match holds.recv() {
            Ok(()) => Ok(Self { process, shared, tracer: Some(tracer) }),
            Err(_) => Err(tracer.join().ok().and_then(Result::err).context("the tracer has ended")?),
        }
    }

    /// The steps so far: the thread's name, the call, the file.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        self.shared.steps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the end of the process; the steps.
    ///
    /// # Errors
    /// If tracing failed.
    pub fn ended(mut self) -> Result<Vec<String>> {
        let joined = self.tracer.take().map(JoinHandle::join);
        joined.map_or(Ok(()), |joined| joined.unwrap_or(Ok(())))?;
        Ok(self.steps())
    }

    /// Lets the process go; the steps.
    ///
    /// # Errors
    /// If tracing failed.
    pub fn let_go(mut self) -> Result<Vec<String>> {
        self.end()?;
        Ok(self.steps())
    }

    fn end(&mut self) -> Result<()> {
        self.shared.let_go.store(true, Ordering::Release);
        // Wakes the tracer: a signal that is ignored by default, and reported all the same.
        let _ended = kill(self.process, Signal::SIGWINCH);
        let joined = self.tracer.take().map(JoinHandle::join);
        joined.map_or(Ok(()), |joined| joined.unwrap_or(Ok(())))
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        let _ended = self.end();
    }
}

struct Tracer {
    process: Pid,
    folder: PathBuf,
    kinds: Vec<&'static str>,
    fate: Fate,
    shared: Arc<Shared>,
    /// Threads whose present call fails at its exit.
    failing: BTreeSet<Pid>,
}

impl Tracer {
    fn run(mut self, held: &Sender<()>) -> Result<()> {
        self.seize()?;
        let _waited_for = held.send(());
        // Of this thread alone: the test has other children.
        let ours = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let look = ours | WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
        loop {
            let stopped = match waitid(Id::All, look) {
                Ok(WaitStatus::Exited(ended, _) | WaitStatus::Signaled(ended, ..))
                    if ended == self.process =>
                {
                    // It is left to whoever started it.
                    return Ok(());
                }
                Ok(status) => status.pid().map_or(Ok(status), |thread| waitpid(thread, Some(ours))),
                Err(error) => Err(error),
            };
            // When this thread ends, all that it traces goes on untraced.
            if self.shared.let_go.load(Ordering::Acquire) && self.failing.is_empty() {
                return Ok(());
            }
            match stopped {
                Ok(stopped) => self.stopped(stopped),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("wait for the traced process"),
            }
        }
    }

    /// All threads; those that begin meanwhile are followed by their makers' options.
    fn seize(&self) -> Result<()> {
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
        let mut seized = BTreeSet::new();
        loop {
            let before = seized.len();
            for entry in std::fs::read_dir(format!("/proc/{}/task", self.process))?.flatten() {
                let thread = entry.file_name().to_string_lossy().parse().map(Pid::from_raw)?;
                if seized.insert(thread) && ptrace::seize(thread, options).is_ok() {
                    ptrace::interrupt(thread)?;
                }
            }
            if seized.len() == before {
                ensure!(before > 0, "process {} has no threads", self.process);
                return Ok(());
            }
        }
    }

    /// What cannot be done to a thread that was killed meanwhile is left.
    fn stopped(&mut self, status: WaitStatus) {
        let (thread, signal) = match status {
            WaitStatus::PtraceSyscall(thread) => {
                self.call(thread);
                (thread, None)
            }
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            _ => return,
        };
        let _gone = ptrace::syscall(thread, signal);
    }

    #[cfg(target_arch = "x86_64")]
    fn call(&mut self, thread: Pid) {
        let Ok(mut registers) = ptrace::getregs(thread) else { return };
        let code = |errno: i32| u64::from_ne_bytes(i64::from(-errno).to_ne_bytes());
        if self.failing.remove(&thread) {
            if let Fate::Fails(_, errno) | Fate::FailsOnce(_, errno) = self.fate {
                registers.rax = code(errno as i32);
                let _gone = ptrace::setregs(thread, registers);
            }
            return;
        }
        // At its entry a call has no result yet.
        if registers.rax != code(libc::ENOSYS) {
            return;
        }
        let Some(step) = self.step(thread, registers.orig_rax, [registers.rdi, registers.rdx]) else {
            return;
        };
        let number = {
            let mut steps = self.shared.steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.push(step);
            steps.len()
        };
        match self.fate {
            Fate::Killed(at) if at == number => drop(kill(self.process, Signal::SIGKILL)),
            Fate::Fails(from, _) if number >= from && !self.shared.let_go.load(Ordering::Acquire) => {
                self.fail(thread, registers);
            }
            Fate::FailsOnce(at, _) if number == at => self.fail(thread, registers),
            _ => {}
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn fail(&mut self, thread: Pid, mut registers: libc::user_regs_struct) {
        registers.orig_rax = u64::MAX;
        if ptrace::setregs(thread, registers).is_ok() {
            self.failing.insert(thread);
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn call(&mut self, _thread: Pid) {}

    /// What a call is, if it is a step.
    fn step(&self, thread: Pid, number: u64, [first, third]: [u64; 2]) -> Option<String> {
        let kind = KINDS.iter().find(|kind| i64::try_from(number) == Ok(kind.number))?;
        self.kinds.contains(&kind.name).then_some(())?;
        let on = match kind.on {
            On::File => self.file(thread, first).filter(|path| path.starts_with(&self.folder))?,
            On::Socket => {
                self.file(thread, first).filter(|path| path.to_string_lossy().starts_with("socket:"))?
            }
            On::Creating => (third & u64::from(libc::O_CREAT.unsigned_abs()) != 0).then(PathBuf::new)?,
            On::Name => PathBuf::new(),
        };
        let name =
            std::fs::read_to_string(format!("/proc/{}/task/{thread}/comm", self.process)).unwrap_or_default();
        let on = on.strip_prefix(&self.folder).unwrap_or(&on).display().to_string();
        Some(format!("{} {} {on}", name.trim(), kind.name).trim_end().to_owned())
    }

    fn file(&self, thread: Pid, descriptor: u64) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/task/{thread}/fd/{descriptor}", self.process)).ok()
    }
}

/// What a call is about.
enum On {
    /// An open file, its first argument.
    File,
    /// A socket, its first argument.
    Socket,
    /// A file that it makes, by its third argument.
    Creating,
    /// A name.
    Name,
}

struct Kind {
    name: &'static str,
    number: i64,
    on: On,
}

const fn kind(name: &'static str, number: i64, on: On) -> Kind {
    Kind { name, number, on }
}

#[cfg(target_arch = "x86_64")]
const KINDS: [Kind; 16] = [
    kind("fsync", libc::SYS_fsync, On::File),
    kind("fdatasync", libc::SYS_fdatasync, On::File),
    kind("sync_file_range", libc::SYS_sync_file_range, On::File),
    kind("write", libc::SYS_write, On::File),
    kind("pwrite", libc::SYS_pwrite64, On::File),
    kind("ftruncate", libc::SYS_ftruncate, On::File),
    kind("rename", libc::SYS_rename, On::Name),
    kind("unlink", libc::SYS_unlink, On::Name),
    kind("unlinkat", libc::SYS_unlinkat, On::Name),
    kind("rmdir", libc::SYS_rmdir, On::Name),
    kind("mkdir", libc::SYS_mkdir, On::Name),
    kind("create", libc::SYS_openat, On::Creating),
    kind("sendto", libc::SYS_sendto, On::Socket),
    kind("shutdown", libc::SYS_shutdown, On::Socket),
    kind("close", libc::SYS_close, On::Socket),
    kind("setsockopt", libc::SYS_setsockopt, On::Socket),
];
#[cfg(not(target_arch = "x86_64"))]
const KINDS: [Kind; 0] = [];

/// Calls that change a disk.
pub const DISK: [&str; 12] = [
    "fsync",
    "fdatasync",
    "sync_file_range",
    "write",
    "pwrite",
    "ftruncate",
    "rename",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "create",
];
/// Calls that a network sees.
pub const NETWORK: [&str; 4] = ["sendto", "shutdown", "close", "setsockopt"];

/// Whether processes can be traced here; `None` if it was said that the test is skipped.
///
/// # Errors
/// With `CI` set.
pub fn tracing(test: &str) -> Result<Option<()>> {
    if KINDS.is_empty() {
        return crate::need::skip(test, "system calls are counted on x86-64 alone").map(|()| None);
    }
    let mut child = std::process::Command::new("sleep").arg("60").spawn()?;
    let held = Calls::of(child.id(), Path::new("/"), &[], Fate::Counted).map(drop);
    child.kill()?;
    child.wait()?;
    match held {
        Ok(()) => Ok(Some(())),
        Err(error) => {
            crate::need::skip(test, &format!("no process can be traced here: {error:#}")).map(|()| None)
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, ExitStatus, Stdio};

    /// A shell that writes three files, each with one call; how it ended, its steps, and what is in the files.
    fn three_files(fate: Fate) -> Result<(ExitStatus, Vec<String>, String)> {
        let folder = tempfile::tempdir()?;
        let script = "read go; for file in x y z; do echo $file >$file; done 2>/dev/null";
        let mut command = Command::new("sh");
        let mut shell =
            command.args(["-c", script]).current_dir(folder.path()).stdin(Stdio::piped()).spawn()?;
        let calls = Calls::of(shell.id(), folder.path(), &["write"], fate)?;
        drop(shell.stdin.take());
        let steps = calls.ended()?;
        let text = |name| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        Ok((shell.wait()?, steps, ["x", "y", "z"].map(text).concat()))
    }

    #[test]
    fn the_nth_step_is_the_last_or_fails() -> Result<()> {
        let (status, steps, text) = three_files(Fate::Counted)?;
        assert_eq!((status.code(), text.as_str()), (Some(0), "x\ny\nz\n"));
        assert_eq!(steps, ["sh write x", "sh write y", "sh write z"]);
        let (status, steps, text) = three_files(Fate::Killed(2))?;
        assert_eq!((status.signal(), steps.len(), text.as_str()), (Some(9), 2, "x\n"));
        let (_, steps, text) = three_files(Fate::FailsOnce(2, Errno::EIO))?;
        assert_eq!((steps.len(), text.as_str()), (3, "x\nz\n"));
        let (status, _, text) = three_files(Fate::Fails(2, Errno::ENOSPC))?;
        assert_eq!((status.code(), text.as_str()), (Some(1), "x\n"));
        Ok(())
    }
}
