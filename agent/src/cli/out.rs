//! What commands print: colours only for a terminal that wants them, and a closed pipe is no error.

use std::io::IsTerminal as _;

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

/// Whether the reader of stdout has gone: `glovebox … | head` is no failure.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
