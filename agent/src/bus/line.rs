//! A line of a recorded log, and what reads it: the first line that belongs to a format decides which one it is.

use super::{asc, candump};
use glovebox_core::frame::Frame;
use glovebox_core::names::Moment;

/// Why a line is not one of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum LineError {
    #[error("the line is longer than {max} bytes", max = glovebox_core::limits::LOG_LINE_BYTES_MAX)]
    TooLong,
    #[error("neither a line of a candump log nor of a Vector ASC file")]
    Unknown,
    #[error("no time stamp in the form `(seconds.fraction)` at the start")]
    Time,
    #[error("this is what candump shows on a screen, whose times are not sure")]
    Screen,
    #[error("no interface name behind the time stamp")]
    Interface,
    #[error("no `#` behind the identifier")]
    NoData,
    #[error("the identifier is not 3 hex digits up to 7FF or 8 up to 1FFFFFFF")]
    Identifier,
    #[error("the data is not pairs of hex digits")]
    Data,
    #[error("more than 8 bytes of data, or 64 in an FD frame")]
    Length,
    #[error("something stands behind the frame")]
    Rest,
    #[error("neither a time stamp nor a word of the header at the start")]
    AscTime,
    #[error("the channel is not a number")]
    AscChannel,
    #[error("neither `Rx` nor `Tx` where the direction should be")]
    AscDirection,
    #[error("the identifier is not up to 7FF, or up to 1FFFFFFF with an `x`, or is not what `ID =` says")]
    AscIdentifier,
    #[error("the length is not a hex digit, or more than 64 bytes in an FD frame")]
    AscLength,
    #[error("there are not as many bytes of data as the length says")]
    AscData,
    #[error("programs write FD frames in different ways under `base dec`; export with `base hex`")]
    AscDecimalFd,
}

/// What a line records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'l> {
    /// The stamp in microseconds; finer digits are cut.
    pub moment: Moment,
    /// The interface's name; empty for an event.
    pub interface: &'l str,
    /// What was on the bus.
    pub content: Content,
}

/// What was on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A data frame, on no bus yet.
    Data(Frame),
    /// A remote frame: it has no data.
    Remote,
    /// An error frame of the controller.
    Error,
    /// Something else that a recorder notes: statistics, lost frames, other kinds of buses.
    Event,
}

/// Reads the lines of one log.
#[derive(Debug, Default)]
pub enum Reader {
    /// No line has told the format yet.
    #[default]
    Unknown,
    /// `candump -L`, `candump -l`.
    Candump,
    /// Vector ASC.
    Asc(asc::Reader),
}

impl Reader {
    /// Reads one line without its line end; `None` for a line of the header, a comment, a blank line.
    ///
    /// # Errors
    /// [`LineError`] says what is wrong.
    pub fn read<'l>(&'l mut self, line: &'l [u8]) -> Result<Option<Line<'l>>, LineError> {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        if matches!(self, Self::Unknown) {
            *self = Self::of(line);
        }
        match self {
            Self::Unknown if asc::is_comment(line) => Ok(None),
            Self::Unknown if candump::is_screen(line) => Err(LineError::Screen),
            Self::Unknown => Err(LineError::Unknown),
            Self::Candump => candump::read(line).map(Some),
            Self::Asc(reader) => reader.read(line),
        }
    }

    fn of(line: &[u8]) -> Self {
        if candump::is_log(line) {
            Self::Candump
        } else if !asc::is_comment(line) && asc::is_log(line) {
            Self::Asc(asc::Reader::default())
        } else {
            Self::Unknown
        }
    }
}

/// `seconds.fraction` with 1 to 9 digits behind the point.
pub(super) fn moment(stamp: &[u8]) -> Option<Moment> {
    let (seconds, fraction) = split_at(stamp, b'.')?;
    if !(1..=9).contains(&fraction.len()) || !(1..=12).contains(&seconds.len()) {
        return None;
    }
    let seconds = decimal(seconds)?;
    let nanoseconds = (fraction.len()..9).fold(decimal(fraction)?, |number, _| number * 10);
    Some(Moment(seconds * 1_000_000 + nanoseconds / 1_000))
}

/// At most 12 digits, so that it cannot overflow.
fn decimal(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number: i64, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

pub(super) fn split_at(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == mark)?;
    Some((&text[..at], &text[at + 1..]))
}

pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
