//! A PIN from the terminal, without echo, or a line of standard input: never from arguments or the environment, which
//! others can read.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, bail};
use glovebox_core::limits::PIN_BYTES_MAX;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::key_store::pin::Pin;

const CTRL_C: u8 = 3;

/// Asks for a PIN that was set before.
///
/// # Errors
/// If none comes.
pub(super) fn pin(prompt: &str) -> anyhow::Result<Pin> {
    // What is in memory from here on is for no debugger and no core file.
    nix::sys::prctl::set_dumpable(false).context("cannot close the memory to others")?;
    let stdin = File::from(std::io::stdin().as_fd().try_clone_to_owned().context("standard input")?);
    if !stdin.is_terminal() {
        return Ok(Pin::entered(line(&stdin)?));
    }
    // Silent first: who sees the prompt may type.
    let silent = Silent::new(&stdin)?;
    write!(std::io::stderr(), "{prompt}: ")?;
    let entered = silent.line();
    drop(silent);
    writeln!(std::io::stderr())?;
    Ok(Pin::entered(entered?))
}

/// Asks for a new PIN, at a terminal twice.
///
/// # Errors
/// If none comes, the two differ, or it is too easily guessed.
pub(super) fn new_pin() -> anyhow::Result<Pin> {
    let first = pin("New PIN")?;
    first.check()?;
    if std::io::stdin().is_terminal() && !pin("The same again")?.is(&first) {
        bail!("the two differ: nothing has changed");
    }
    Ok(first)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(terminal: &'a File) -> anyhow::Result<Self> {
        let before = tcgetattr(terminal).context("the terminal")?;
        let mut silent = before.clone();
        // Ctrl-C must not end the process while the terminal is silent: it ends the line.
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
        silent.control_chars[SpecialCharacterIndices::VEOL as usize] = CTRL_C;
        tcsetattr(terminal, SetArg::TCSAFLUSH, &silent).context("the terminal")?;
        Ok(Self { terminal, before })
    }

    fn line(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let line = line(self.terminal)?;
        if line.contains(&CTRL_C) {
            bail!("cancelled: nothing has changed");
        }
        Ok(line)
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // Whoever sees that it failed can do no more than this.
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

/// A line, byte by byte: what is behind it is the next one's, and no buffer keeps it.
fn line(mut from: &File) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(PIN_BYTES_MAX + 1));
    let mut byte = Zeroizing::new([0]);
    while line.len() <= PIN_BYTES_MAX {
        match from.read(byte.as_mut_slice()).context("standard input")? {
            0 => break,
            _ if byte[0] == b'\n' => break,
            _ => line.push(byte[0]),
        }
        if byte[0] == CTRL_C {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    match line.len() {
        0 => bail!("no PIN came: enter one at a terminal, or give it as a line on standard input"),
        length if length > PIN_BYTES_MAX => bail!("a PIN has at most {PIN_BYTES_MAX} characters"),
        _ => Ok(line),
    }
}
