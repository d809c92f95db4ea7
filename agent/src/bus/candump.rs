//! Lines of a candump log: `candump -L`, and the file that `candump -l` writes.
//!
//! ```text
//! (1533151834.123456) can0 0AA#1A2B3C       data frame: 3 hex digits = 11 bits, 8 = 29 bits
//! (1533151834.123456) can0 12345678##1AABB  FD frame: one digit of flags before the data
//! (1533151834.123456) can0 0AA#R8           remote frame
//! (1533151834.123456) can0 20000004#00…     error frame: bit 29 of the identifier is set
//! (1533151834.123456) can0 00242#81:00:…    CAN XL frame (5 digits), which is passed over
//! DROPCOUNT: dropped 3 CAN frames on …      with `-d`: what the kernel had to drop
//! ```
//!
//! Names of interfaces are padded to the longest one. 9 digits of fraction come with `-N`, the raw length code of a
//! classic frame of 8 bytes (`…_9`) where the driver gives it, the direction (` R`, ` T`) with `-x`; the last two are
//! passed over. (can-utils, candump.c and lib.c)

use super::line::{Content, Line, LineError, hex, moment, split_at};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::Moment;

const ERROR_FLAG: u32 = 0x2000_0000;
const EXTENDED_ID_MAX: u32 = 0x1FFF_FFFF;
const STANDARD_ID_MAX: u16 = 0x7FF;
const CLASSIC_BYTES_MAX: usize = 8;
const FD_BYTES_MAX: usize = 64;
/// Hex digits in front of the first `#` of a CAN XL frame: 2 of its network, 3 of its priority.
const XL_DIGITS: usize = 5;

/// Whether a log of this kind may begin so. All its lines begin with a time but those about lost frames.
pub(super) fn is_log(line: &[u8]) -> bool {
    read(line).is_ok() || (line.trim_ascii_start().starts_with(b"(") && !is_screen(line))
}

/// Whether candump wrote this for people: `can0  0AA   [3]  1A 2B 3C`, perhaps behind some time.
pub(super) fn is_screen(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.any(|word| matches!(word, [b'[', length @ .., b']'] if length.iter().all(u8::is_ascii_digit)))
}

/// Reads one line without its line end.
///
/// # Errors
/// [`LineError`] says what is wrong.
pub(super) fn read(line: &[u8]) -> Result<Line<'_>, LineError> {
    let line = line.trim_ascii();
    if line.starts_with(b"DROPCOUNT:") {
        return Ok(Line { moment: Moment(0), interface: "", content: Content::Event });
    }
    let (stamp, rest) =
        line.strip_prefix(b"(").and_then(|line| split_at(line, b')')).ok_or(LineError::Time)?;
    let moment = moment(stamp).ok_or(LineError::Time)?;
    let (interface, frame) = split_at(rest.trim_ascii_start(), b' ').ok_or(LineError::Interface)?;
    let interface = std::str::from_utf8(interface).map_err(|_| LineError::Interface)?;
    if interface.is_empty() || interface.contains('#') {
        return Err(LineError::Interface);
    }
    let (frame, rest) = split_at(frame.trim_ascii_start(), b' ').unwrap_or((frame.trim_ascii_start(), b""));
    let Some((id, data)) = split_at(frame, b'#') else {
        return Err(if is_screen(line) { LineError::Screen } else { LineError::NoData });
    };
    if !matches!(rest.trim_ascii(), b"" | b"R" | b"T") {
        return Err(LineError::Rest);
    }
    if id.len() == XL_DIGITS && data.contains(&b':') {
        return Ok(Line { moment, interface, content: Content::Event });
    }
    let content = match identifier(id)? {
        Some(id) => content(id, data, moment)?,
        None => Content::Error,
    };
    Ok(Line { moment, interface, content })
}

/// `None` for an error frame.
fn identifier(digits: &[u8]) -> Result<Option<CanId>, LineError> {
    let number = digits
        .iter()
        .try_fold(0u32, |number, digit| Some(number << 4 | u32::from(hex(*digit)?)))
        .ok_or(LineError::Identifier)?;
    match (digits.len(), number) {
        (3, _) => match u16::try_from(number) {
            Ok(id @ 0..=STANDARD_ID_MAX) => Ok(Some(CanId::Standard(id))),
            _ => Err(LineError::Identifier),
        },
        (8, 0..=EXTENDED_ID_MAX) => Ok(Some(CanId::Extended(number))),
        (8, _) if number & ERROR_FLAG != 0 && number >> 30 == 0 => Ok(None),
        _ => Err(LineError::Identifier),
    }
}

fn content(id: CanId, data: &[u8], moment: Moment) -> Result<Content, LineError> {
    let (data, max) = match data {
        [b'#', flags, data @ ..] if hex(*flags).is_some() => (data, FD_BYTES_MAX),
        [b'#', ..] => return Err(LineError::Data),
        [b'R' | b'r', length @ ..] => {
            let known = length.iter().all(|byte| hex(*byte).is_some() || *byte == b'_') && length.len() <= 3;
            return if known { Ok(Content::Remote) } else { Err(LineError::Data) };
        }
        data => (data, CLASSIC_BYTES_MAX),
    };
    let data = match data {
        [data @ .., b'_', code] if max == CLASSIC_BYTES_MAX && hex(*code).is_some() => data,
        data => data,
    };
    if data.len() > 2 * max {
        return Err(LineError::Length);
    }
    if data.len() % 2 != 0 {
        return Err(LineError::Data);
    }
    let mut bytes = [0; FD_BYTES_MAX];
    for (byte, pair) in bytes.iter_mut().zip(data.chunks_exact(2)) {
        let (Some(high), Some(low)) = (hex(pair[0]), hex(pair[1])) else { return Err(LineError::Data) };
        *byte = high << 4 | low;
    }
    let frame = Frame::new(BusIndex(0), id, moment, &bytes[..data.len() / 2]).ok_or(LineError::Length)?;
    Ok(Content::Data(frame))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn check(line: &str, want: Result<(i64, &str, CanId, &[u8]), LineError>) {
        let got = read(line.as_bytes());
        match (got, want) {
            (Ok(Line { moment, interface, content: Content::Data(frame) }), Ok((micros, name, id, data))) => {
                assert_eq!((moment.0, interface, frame.id, frame.data()), (micros, name, id, data), "{line}");
                assert_eq!(frame.moment, moment);
            }
            (got, want) => assert_eq!(got.err(), want.err(), "{line}"),
        }
    }

    #[test]
    fn frames_of_every_kind() {
        check("(1.000002) can0 0AA#1a2B", Ok((1_000_002, "can0", CanId::Standard(0xAA), &[0x1A, 0x2B])));
        check(
            "(1533151834.123456) vcan-1 1FFFFFFF#",
            Ok((1_533_151_834_123_456, "vcan-1", CanId::Extended(0x1FFF_FFFF), &[])),
        );
        check(
            "(0.5) can0 7FF##100112233445566778899",
            Ok((
                500_000,
                "can0",
                CanId::Standard(0x7FF),
                &[0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99],
            )),
        );
        check("(1.123456789) can0 001#00 R\r", Ok((1_123_456, "can0", CanId::Standard(1), &[0])));
        check(
            "(1.0)  can0  001#1122334455667788_B",
            Ok((1_000_000, "can0", CanId::Standard(1), &[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88])),
        );
        for line in ["(1.0) can0 0AA#R", "(1.0) can0 0AA#R8"] {
            assert_eq!(read(line.as_bytes()).unwrap().content, Content::Remote);
        }
        assert_eq!(read(b"(1.0) can0 20000004#0000000000000000").unwrap().content, Content::Error);
        // As the newest candump writes them; the length code of a remote frame comes behind its length.
        assert_eq!(read(b"(1.0) can0 0AA#R8_F T").unwrap().content, Content::Remote);
        let events = [
            "DROPCOUNT: dropped 3 CAN frames on 'can0' socket (total drops 3)",
            "(0000000001.000000000) canxl0 00242#81:00:00000000#0011223344556677889900",
        ];
        for line in events {
            assert_eq!(read(line.as_bytes()).unwrap().content, Content::Event, "{line}");
        }
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        check("", Err(LineError::Time));
        check("1.0 can0 0AA#", Err(LineError::Time));
        check("(1.0 can0 0AA#", Err(LineError::Time));
        check("(1) can0 0AA#", Err(LineError::Time));
        check("(-1.0) can0 0AA#", Err(LineError::Time));
        check("(1.0000000000) can0 0AA#", Err(LineError::Time));
        check("(9999999999999.0) can0 0AA#", Err(LineError::Time));
        check("(1.0)", Err(LineError::Interface));
        check("(1.0) can0", Err(LineError::Interface));
        check("(1.0) 0AA#00 R", Err(LineError::Interface));
        check("(1.0) can0 0AA", Err(LineError::NoData));
        check("(1.0) can0 AA#00", Err(LineError::Identifier));
        check("(1.0) can0 800#00", Err(LineError::Identifier));
        check("(1.0) can0 0G0#00", Err(LineError::Identifier));
        check("(1.0) can0 40000000#00", Err(LineError::Identifier));
        check("(1.0) can0 0AA#0", Err(LineError::Data));
        check("(1.0) can0 0AA#0x", Err(LineError::Data));
        check("(1.0) can0 0AA##", Err(LineError::Data));
        check("(1.0) can0 0AA#Rxyz", Err(LineError::Data));
        check("(1.0) can0 0AA#001122334455667788", Err(LineError::Length));
        check(&format!("(1.0) can0 0AA##0{}", "00".repeat(65)), Err(LineError::Length));
        check("(1.0) can0 0AA#00 more", Err(LineError::Rest));
        check("(1.0) can0 00242#8100", Err(LineError::Identifier));
        check(" (0001533151834.1)  can0  0AA   [3]  1A 2B 3C", Err(LineError::Time));
        check(" (1533151834.123456)  can0  0AA   [3]  1A 2B 3C", Err(LineError::Screen));
    }
}
