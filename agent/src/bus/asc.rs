//! Lines of a Vector ASC file (CANoe, CANalyzer, and most tools that export a log for them).
//!
//! ```text
//! date Wed Apr 16 09:21:13.159 am 2014                         header; local time of an unknown place
//! base hex  timestamps absolute                                numbers; `relative`: since the line before
//! // version 8.5.0                                             comment
//! Begin TriggerBlock Wed Apr 16 09:21:13.159 am 2014
//!    0.000000 Start of measurement                             event
//!    0.015991 1  123   Rx   d 8 01 02 03 04 05 06 07 08  Length = 240015 BitCount = 124 ID = 291
//!    0.016203 2  18EBFF00x  Tx   d 1 FF                        29 bits
//!    2.510001 1  100   Rx   r 8                                remote frame
//!    2.510500 1  100   TxRq d 1 00                             asked to be sent: an event, it comes again as Tx
//!    2.501020 2  ErrorFrame Flags = 0xe CodeExt = 0x20a2
//!   30.005071 CANFD   1 Rx   30a  NAME   1 0 8  8 01 02 03 04 05 06 07 08   102203  133   303000 e0006659 …
//!             channel  ┘    id   opt.  BRS ESI DLC bytes   data        duration bits  flags └ CRC, bit timing
//!  113.016026 1  Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%  event, as whatever else begins with a time
//! End TriggerBlock
//! ```
//!
//! Channel N is the interface `canN`. Times are seconds since the start of the measurement: they begin at 0, for the date
//! above has no time zone. The DLC is one hex digit under both bases, and beyond 8 a classic frame has 8 bytes; an FD
//! line has the number of its bytes in decimal, and may hold a classic frame (bit 12 of the flags is not set), also a
//! remote one (bit 4). A name may stand for the identifier of a classic frame: then its number is what `ID =` says.
//! (Vector, CAN, Log & Trigger ASC Logging Format 1.4.6; can-utils, asc2log.c and log2asc.c; files of python-can's tests)

use super::line::{Content, Line, LineError, hex, moment};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::Moment;

const EXTENDED_ID_MAX: u32 = 0x1FFF_FFFF;
const STANDARD_ID_MAX: u16 = 0x7FF;
const CLASSIC_BYTES_MAX: usize = 8;
const FD_BYTES_MAX: usize = 64;
/// Bits of an FD line's flags.
const FLAG_REMOTE: u64 = 1 << 4;
const FLAG_FD: u64 = 1 << 12;

/// Reads the lines of one file, which depend on its header.
#[derive(Debug)]
pub struct Reader {
    base: u32,
    relative: bool,
    /// Moment of the last line.
    last: Moment,
    /// Channel of the last line, and its name.
    channel: Option<u64>,
    interface: String,
}

impl Default for Reader {
    /// As most files are: hexadecimal, times since the start.
    fn default() -> Self {
        Self { base: 16, relative: false, last: Moment(0), channel: None, interface: String::new() }
    }
}

/// A comment; other formats have such lines too.
pub(super) fn is_comment(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"//")
}

/// Whether a file of this kind may begin so; it may be one whose header was cut off.
pub(super) fn is_log(line: &[u8]) -> bool {
    match Reader::default().read(line) {
        Ok(Some(Line { content, .. })) => content != Content::Event,
        Ok(None) => true,
        Err(_) => false,
    }
}

impl Reader {
    /// Reads one line without its line end; `None` for a line of the header, a comment, a blank line.
    ///
    /// # Errors
    /// [`LineError`] says what is wrong.
    pub(super) fn read(&mut self, line: &[u8]) -> Result<Option<Line<'_>>, LineError> {
        let mut words = Words(line);
        let Some(first) = words.next() else { return Ok(None) };
        let Some(stamp) = moment(first) else { return self.header(first, words).map(|()| None) };
        let moment = if self.relative { self.last.plus_us(stamp.0) } else { stamp };
        self.last = moment;
        let is_fd = words.peek().is_some_and(|word| word.eq_ignore_ascii_case(b"CANFD"));
        let content = if is_fd { self.fd(words, moment)? } else { self.classic(words, moment)? };
        let interface = if content == Content::Event { "" } else { &self.interface };
        Ok(Some(Line { moment, interface, content }))
    }

    fn header(&mut self, first: &[u8], mut words: Words<'_>) -> Result<(), LineError> {
        let is = |word: Option<&[u8]>, want: &str| {
            word.is_some_and(|word| word.eq_ignore_ascii_case(want.as_bytes()))
        };
        let second = words.next();
        match first.to_ascii_lowercase().as_slice() {
            b"base" => {
                self.base = if is(second, "dec") { 10 } else { 16 };
                self.relative = is(words.next(), "timestamps") && is(words.next(), "relative");
                Ok(())
            }
            b"date" | b"begin" | b"end" | b"internal" => Ok(()),
            b"no" if is(second, "internal") => Ok(()),
            comment if is_comment(comment) => Ok(()),
            _ => Err(LineError::AscTime),
        }
    }

    /// `channel id direction d dlc bytes…`; anything else is an event.
    fn classic(&mut self, mut words: Words<'_>, moment: Moment) -> Result<Content, LineError> {
        let Some(channel) = words.next().and_then(channel) else { return Ok(Content::Event) };
        let Some(id) = words.next() else { return Ok(Content::Event) };
        if id.eq_ignore_ascii_case(b"ErrorFrame") {
            self.on(channel);
            return Ok(Content::Error);
        }
        let sent = words.next().is_some_and(is_direction);
        let is_data = match words.next() {
            Some(b"d" | b"D") if sent => true,
            Some(b"r" | b"R") if sent => false,
            _ => return Ok(Content::Event),
        };
        self.on(channel);
        if !is_data {
            return Ok(Content::Remote);
        }
        let length = words.next().and_then(dlc).ok_or(LineError::AscLength)?.min(CLASSIC_BYTES_MAX);
        let (bytes, rest) = bytes(words, length, self.base)?;
        frame(identifier(id, self.base, rest)?, moment, &bytes[..length])
    }

    /// `CANFD channel direction id [name] brs esi dlc length bytes… duration bits flags …`.
    fn fd(&mut self, mut words: Words<'_>, moment: Moment) -> Result<Content, LineError> {
        words.next();
        let channel = words.next().and_then(channel).ok_or(LineError::AscChannel)?;
        match words.next() {
            Some(word) if is_direction(word) => {}
            Some(word) if word.eq_ignore_ascii_case(b"TxRq") => return Ok(Content::Event),
            _ => return Err(LineError::AscDirection),
        }
        self.on(channel);
        let id = words.next().unwrap_or_default();
        if id.eq_ignore_ascii_case(b"ErrorFrame") {
            return Ok(Content::Error);
        }
        if self.base != 16 {
            return Err(LineError::AscDecimalFd);
        }
        // A name cannot begin with a digit.
        if !matches!(words.peek(), Some(b"0" | b"1")) {
            words.next();
        }
        let is_bit = |word: Option<&[u8]>| matches!(word, Some(b"0" | b"1"));
        if !is_bit(words.next()) || !is_bit(words.next()) || words.next().and_then(dlc).is_none() {
            return Err(LineError::AscLength);
        }
        let length =
            words.next().and_then(|word| number(word, 10)).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= FD_BYTES_MAX).ok_or(LineError::AscLength)?;
        let (bytes, mut rest) = bytes(words, length, 16)?;
        let flags = rest.nth(2).and_then(|word| number(word, 16)).unwrap_or(FLAG_FD);
        if flags & FLAG_FD == 0 && flags & FLAG_REMOTE != 0 {
            return Ok(Content::Remote);
        }
        frame(identifier(id, 16, Words(b""))?, moment, &bytes[..length])
    }

    fn on(&mut self, channel: u64) {
        if self.channel != Some(channel) {
            self.channel = Some(channel);
            self.interface = format!("can{channel}");
        }
    }
}

/// What stands between blanks.
#[derive(Clone, Copy)]
struct Words<'l>(&'l [u8]);

impl<'l> Words<'l> {
    fn peek(mut self) -> Option<&'l [u8]> {
        self.next()
    }
}

impl<'l> Iterator for Words<'l> {
    type Item = &'l [u8];

    fn next(&mut self) -> Option<&'l [u8]> {
        let rest = self.0.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

/// At most 10 digits, so that it cannot overflow.
fn number(word: &[u8], base: u32) -> Option<u64> {
    if !(1..=10).contains(&word.len()) {
        return None;
    }
    word.iter().try_fold(0, |number: u64, digit| {
        let digit = hex(*digit).map(u32::from).filter(|digit| *digit < base)?;
        Some(number * u64::from(base) + u64::from(digit))
    })
}

fn channel(word: &[u8]) -> Option<u64> {
    number(word, 10).filter(|_| word.len() <= 5)
}

fn is_direction(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"Rx") || word.eq_ignore_ascii_case(b"Tx")
}

fn dlc(word: &[u8]) -> Option<usize> {
    match word {
        [digit] => hex(*digit).map(usize::from),
        _ => None,
    }
}

/// So many bytes, and what stands behind them.
fn bytes(
    mut words: Words<'_>,
    length: usize,
    base: u32,
) -> Result<([u8; FD_BYTES_MAX], Words<'_>), LineError> {
    let mut bytes = [0; FD_BYTES_MAX];
    for byte in bytes.iter_mut().take(length) {
        let next = words.next().and_then(|word| number(word, base));
        *byte = next.and_then(|byte| u8::try_from(byte).ok()).ok_or(LineError::AscData)?;
    }
    Ok((bytes, words))
}

/// The identifier; if a name stands in its place, the number behind `ID =`. A name of hex digits looks like a number, and
/// then the two differ.
fn identifier(word: &[u8], base: u32, rest: Words<'_>) -> Result<CanId, LineError> {
    let mut fields = rest.skip_while(|word| *word != b"ID");
    let named = match (fields.next(), fields.next(), fields.next()) {
        (Some(_), Some(b"="), Some(word)) => can_id(word, 10),
        _ => None,
    };
    match (can_id(word, base), named) {
        (Some(id), None) | (None, Some(id)) => Ok(id),
        (Some(id), Some(named)) if id == named => Ok(id),
        _ => Err(LineError::AscIdentifier),
    }
}

fn can_id(word: &[u8], base: u32) -> Option<CanId> {
    match word {
        [digits @ .., b'x' | b'X'] => {
            let id = u32::try_from(number(digits, base)?).ok()?;
            (id <= EXTENDED_ID_MAX).then_some(CanId::Extended(id))
        }
        digits => {
            let id = u16::try_from(number(digits, base)?).ok()?;
            (id <= STANDARD_ID_MAX).then_some(CanId::Standard(id))
        }
    }
}

fn frame(id: CanId, moment: Moment, bytes: &[u8]) -> Result<Content, LineError> {
    Frame::new(BusIndex(0), id, moment, bytes).map(Content::Data).ok_or(LineError::AscLength)
}
