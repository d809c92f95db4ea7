//! Where the view goes: redrawn in place on a terminal, else as plain lines.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use terminal_size::{Height, Width, terminal_size};

use crate::view::{Line, Look, View};

/// Between two drawings, and between two plain lines.
const DRAW_EVERY: Duration = Duration::from_millis(100);
const SAY_EVERY: Duration = Duration::from_secs(2);
/// A smaller terminal gets plain lines.
const WIDTH_MIN: usize = 80;
const HEIGHT_MIN: usize = 24;
const WIDTH_MAX: usize = 140;

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// The terminal shows all of a drawing at once, if it knows this; else it overlooks it.
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[J\x1b[?2026l";

/// Standard output in one of its two forms.
pub(crate) struct Screen {
    /// Whether it may be live.
    may_live: bool,
    is_live: bool,
    has_colours: bool,
    last: Option<Instant>,
}

impl Screen {
    /// Live if somebody looks and there is room.
    pub(crate) fn new(is_plain: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_dumb = set("TERM").is_none_or(|term| term == "dumb");
        let is_terminal = io::stdout().is_terminal();
        let may_live = !is_plain && is_terminal && !is_dumb && room().is_some();
        Self {
            may_live,
            is_live: false,
            has_colours: is_terminal && !is_dumb && set("NO_COLOR").is_none(),
            last: None,
        }
    }

    /// Takes over the terminal.
    pub(crate) fn enter(&mut self) {
        self.is_live = self.may_live;
        if self.is_live {
            put(ENTER);
        }
    }

    /// Gives the terminal back, as it was.
    pub(crate) fn leave(&mut self) {
        if std::mem::take(&mut self.is_live) {
            put(LEAVE);
        }
    }

    /// Shows the view, not more often than eyes can follow.
    pub(crate) fn show(&mut self, view: &View) {
        let every = if self.is_live { DRAW_EVERY } else { SAY_EVERY };
        let last = *self.last.get_or_insert_with(Instant::now);
        if last.elapsed() < every {
            return;
        }
        self.last = Some(Instant::now());
        match room().filter(|_| self.is_live) {
            Some((width, height)) => self.draw(&view.lines(width, height)),
            None if self.is_live => {}
            None => put(&format!("     {}\n", view.brief())),
        }
    }

    fn draw(&self, lines: &[Line]) {
        let mut text = String::from(BEGIN);
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                text += "\r\n";
            }
            text += &self.paint(line);
            text += "\x1b[K";
        }
        put(&(text + END));
    }

    /// A line that stays: on a live screen it is part of the view, so only plain output has it.
    pub(crate) fn say(&self, look: Look, text: &str) {
        if !self.is_live {
            put(&(self.paint(&vec![(look, text.to_owned())]) + "\n"));
        }
    }

    /// Text with its looks.
    fn paint(&self, line: &Line) -> String {
        let piece = |(look, text): &(Look, String)| match code(*look).filter(|_| self.has_colours) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.clone(),
        };
        line.iter().map(piece).collect()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

fn code(look: Look) -> Option<&'static str> {
    match look {
        Look::Plain => None,
        Look::Dim => Some("2"),
        Look::Bold => Some("1"),
        Look::Good => Some("32"),
        Look::Warn => Some("33"),
        Look::Bad => Some("31"),
        Look::Head => Some("1;36"),
    }
}

/// Width and height, if there is enough of both.
fn room() -> Option<(usize, usize)> {
    let (Width(width), Height(height)) = terminal_size()?;
    let (width, height) = (usize::from(width).min(WIDTH_MAX), usize::from(height));
    (width >= WIDTH_MIN && height >= HEIGHT_MIN).then_some((width, height))
}

/// Writes at once. If nobody reads any more, the demo goes on to its exit code.
fn put(text: &str) {
    let mut out = io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
