//! What commands print: colours only for a terminal that wants them, and a closed pipe is no error.

use std::io::IsTerminal as _;
use std::process::ExitCode;

/// Colours for stdout, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// On if stdout is a terminal and neither `NO_COLOR` (<https://no-color.org>) nor `TERM=dumb` is set.
    pub(super) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: !refused && !dumb && std::io::stdout().is_terminal() }
    }

    /// Never.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { on: false }
    }

    /// What is fine.
    pub(super) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// What a person should look at.
    pub(super) fn doubtful(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// What is broken.
    pub(super) fn bad(self, text: &str) -> String {
        self.wrap("31;1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Whether the reader of stdout has gone: `glovebox … | head` is no failure. Only an error of printing counts, which has
/// no other around it: a daemon that dies while it is asked closes a pipe too, and then nothing was done.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let plain = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let json = || error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    plain.or_else(json) == Some(std::io::ErrorKind::BrokenPipe)
}

/// An error with its causes; a cause that an error repeats in its own words is not said again.
pub(super) fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !last.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        last = cause;
    }
    text
}

/// The exit code that is an answer by itself: it stands also when nobody reads the words to the end.
pub(super) fn answered(printed: anyhow::Result<()>, code: ExitCode) -> anyhow::Result<ExitCode> {
    match printed {
        Err(error) if !is_closed_pipe(&error) => Err(error),
        _ => Ok(code),
    }
}

/// Rows with their cells one under the other, below headings if there are any; what no row has is left out.
pub(super) fn columns(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let is_there = |at: &usize| rows.iter().any(|row| row.get(*at).is_some_and(|cell| !cell.is_empty()));
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let there: Vec<usize> = (0..count).filter(is_there).collect();
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let all: Vec<&Vec<String>> =
        Some(&headings).filter(|all| !all.is_empty()).into_iter().chain(rows).collect();
    let cell = |row: &Vec<String>, at: usize| row.get(at).cloned().unwrap_or_default();
    let width = |at: usize| all.iter().map(|row| cell(row, at).chars().count()).max().unwrap_or(0);
    let widths: Vec<(usize, usize)> = there.iter().map(|at| (*at, width(*at))).collect();
    let line = |row: &&Vec<String>| {
        let cells = widths.iter().map(|(at, width)| format!("{:<width$}  ", cell(row, *at)));
        cells.collect::<String>().trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{chain, is_closed_pipe};
    use crate::control::{AuthorityError, SocketError};
    use crate::store::files::io_error;

    #[test]
    fn a_cause_is_said_once() {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let one: anyhow::Error = io_error("create", std::path::Path::new("x/y"))(gone()).into();
        assert_eq!(chain(&one), "x/y: cannot create: entity not found");
        let two = anyhow::Error::from(gone()).context("f.json");
        assert_eq!(chain(&two), "f.json: entity not found");
    }

    #[test]
    fn only_the_pipe_that_is_printed_to_may_close() {
        let closed = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let json = serde_json::to_writer(Closed, &[1]);
        assert!(is_closed_pipe(&closed().into()) && json.is_err_and(|error| is_closed_pipe(&error.into())));
        let socket = SocketError::Io { act: "write to", path: "c.sock".into(), source: closed() };
        assert!(!is_closed_pipe(&AuthorityError::from(socket).into()), "the daemon has not done it");
        assert!(!is_closed_pipe(&std::io::Error::from(std::io::ErrorKind::NotFound).into()));
    }

    struct Closed;

    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
