//! How far a long log is, in one line of a terminal that is written over and erased at the end.
//!
//! ```text
//!  42 %  1234567 frames  00:12:05 into the log
//! ```

use glovebox_core::names::Moment;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

/// Between two looks at the clock.
const FRAMES: u64 = 1_024;
/// Between two updates; a short log is done before the first.
const EVERY: Duration = Duration::from_millis(250);

/// Shows the line, or nothing at all.
pub(in crate::cli) struct Progress<W: Write> {
    out: Option<W>,
    every: Duration,
    frames: u64,
    first: Option<Moment>,
    next: Instant,
    is_shown: bool,
}

impl Progress<io::Stderr> {
    /// Only on a terminal whose lines nobody else writes: that stdout goes to as well would be torn.
    pub(in crate::cli) fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let wanted = io::stderr().is_terminal() && !io::stdout().is_terminal() && !is_dumb;
        Self::on(wanted.then(io::stderr), EVERY)
    }
}

impl<W: Write> Progress<W> {
    fn on(out: Option<W>, every: Duration) -> Self {
        let next = Instant::now() + every;
        Self { out, every, frames: 0, first: None, next, is_shown: false }
    }

    /// A frame was read, at this place of the file, if it has places.
    pub(in crate::cli) fn frame(&mut self, moment: Moment, position: impl FnOnce() -> Option<(u64, u64)>) {
        let Some(out) = &mut self.out else { return };
        let first = *self.first.get_or_insert(moment);
        self.frames += 1;
        if !self.frames.is_multiple_of(FRAMES) || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + self.every;
        self.is_shown = true;
        let part = position().filter(|(_, size)| *size > 0);
        let part = part.map(|(read, size)| format!("{:3} %  ", u128::from(read) * 100 / u128::from(size)));
        let seconds = moment.0.saturating_sub(first.0).max(0) / 1_000_000;
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        // A terminal that cannot be written to misses nothing.
        let _ = write!(
            out,
            "\r{}{} frames  {hours:02}:{minutes:02}:{seconds:02} into the log\u{1b}[K",
            part.unwrap_or_default(),
            self.frames
        );
        let _ = out.flush();
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        if let (true, Some(out)) = (self.is_shown, &mut self.out) {
            let _ = out.write_all(b"\r\x1b[K");
            let _ = out.flush();
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn shown(frames: i64, every: Duration, position: Option<(u64, u64)>) -> String {
        let mut text = Vec::new();
        let mut progress = Progress::on(Some(&mut text), every);
        (0..frames)
            .for_each(|at| progress.frame(Moment(1_700_000_000_000_000 + at * 1_000_000), || position));
        drop(progress);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_line_is_written_over_and_erased() {
        let every = Duration::ZERO;
        let want = "\r 42 %  1024 frames  00:17:03 into the log\u{1b}[K\
                    \r 42 %  2048 frames  00:34:07 into the log\u{1b}[K\r\u{1b}[K";
        assert_eq!(shown(2_500, every, Some((427, 1_000))), want);
        assert_eq!(shown(1_500, every, None), "\r1024 frames  00:17:03 into the log\u{1b}[K\r\u{1b}[K");
    }

    #[test]
    fn a_short_log_shows_nothing() {
        assert_eq!(shown(1_000, Duration::ZERO, None), "");
        assert_eq!(shown(100_000, Duration::from_secs(3_600), None), "");
    }
}
