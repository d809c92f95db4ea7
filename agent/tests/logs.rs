//! The formats of logs: what recorders and tools write is read back as it was, and nothing that is no log does harm.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may fail loudly and tells when it is skipped"
)]

use flate2::read::GzDecoder;
use glovebox::bus::replay::{Counts, Log};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::Moment;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

/// What a log holds: interface, identifier, time, data.
type Read = (String, CanId, i64, Vec<u8>);

fn frames(mut log: Log) -> (Vec<Read>, Counts, String) {
    let (mut frames, mut names) = (Vec::new(), Vec::new());
    loop {
        let next = log.next_frame(|name| {
            let known = names.iter().position(|known| known == name);
            let at = known.unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            u8::try_from(at).ok().map(BusIndex)
        });
        let Ok(Some(frame)) = next else { break };
        let name = names[usize::from(frame.bus.0)].clone();
        frames.push((name, frame.id, frame.moment.0, frame.data().to_vec()));
    }
    let bad = log.first_bad().map(|bad| format!("{}: {}", bad.line, bad.what)).unwrap_or_default();
    (frames, log.counts(), bad)
}

fn read(text: &str) -> (Vec<Read>, Counts, String) {
    frames(Log::new(Cursor::new(text.as_bytes().to_vec()), "log").unwrap())
}

fn standard(name: &str, id: u16, micros: i64, data: &[u8]) -> Read {
    (name.to_owned(), CanId::Standard(id), micros, data.to_vec())
}

fn extended(name: &str, id: u32, micros: i64, data: &[u8]) -> Read {
    (name.to_owned(), CanId::Extended(id), micros, data.to_vec())
}

/// Lines as CANoe of several versions, log2asc and other tools write them.
const ASC: &str = "\
date Mon Mar 2 02:14:08.250 pm 2026
base hex  timestamps absolute
internal events logged
// version 16.0.0
// 0.000000 previous log file: drive_000.asc
Begin TriggerBlock Mon Mar 2 02:14:08.250 pm 2026
   0.000000 Start of measurement
   0.010000 CAN 1 Status:chip status error active
   0.5 1  1A0             Rx   d 8 00 01 7F 80 FF a0 b1 c2  Length = 232016 BitCount = 119 ID = 416
   1.000001 2  18FEF100x       Tx   d 3 AA BB CC // remarks of some tools
   1.000002 1  7FF\tRx   d 0
   1.000003 1  2A              Rx   d D 01 02 03 04 05 06 07 08  Length = 232016 BitCount = 119 ID = 42
   1.000004 1  Engine_Data     Rx   d 2 01 02  Length = 100016 BitCount = 64 ID = 419361280x
   1.000005 1  2A              TxRq d 1 01
   1.000006 1  2A              Rx   r
   1.000007 1  2A              Rx   r 8  Length = 100016 BitCount = 64 ID = 42
   1.000008 2  ErrorFrame  Flags = 0xe CodeExt = 0x20a2 Code = 0x82 ID = 0 DLC = 0 Position = 5 Length = 11300
   1.015991 1  Statistic: D 2 R 0 XD 0 XR 0 E 0 O 0 B 0.04%
   1.300000 1  J1939TP FEE3p        6    0  0   -   Rx   d 23 A0 0F A6 60 3B D1 40
   1.400000 L1 3C              Rx     8 01 02 03 04 05 06 07 08  checksum = 55
   2.000001 CANFD   1 Rx        30a  Name_12                          1 0 9 12 00 01 02 03 04 05 06 07 08 09 0a FF   102203  133   303000 e0006659 46500250 4b140250 20011736 2001040d
   2.000002 CANFD  12 Tx  18FEF101x                                   0 1 0  0   102203  133     1000 0 0 0 0 0
   2.000003 CANFD   1 Rx         AA                                   0 0 3  3 1A 2B 3C   130000  130        0 0 0 0 0 0
   2.000004 CANFD   1 Rx         AA                                   0 0 8  0   130000  130       10 0 0 0 0 0
   2.000005 CANFD   1 Rx   ErrorFrame Not Acknowledge error, dominant error flag fffe c7 31ca Arb. 556 44 0 0 f 64 00
   2.000006 CANFD   1 Rx         AA 0 0 2 2 01 02
   2.000007 CANXL   2 Rx   CBFF   243215   176      432  name f 8 e1 89 e8 c2 b9 6d 5a f1 174 00000000 00000000
End TriggerBlock
";

#[test]
fn vector_asc_of_every_kind() {
    let (got, counts, bad) = read(ASC);
    let want = [
        standard("can1", 0x1A0, 500_000, &[0x00, 0x01, 0x7F, 0x80, 0xFF, 0xA0, 0xB1, 0xC2]),
        extended("can2", 0x18FE_F100, 1_000_001, &[0xAA, 0xBB, 0xCC]),
        standard("can1", 0x7FF, 1_000_002, &[]),
        standard("can1", 0x2A, 1_000_003, &[1, 2, 3, 4, 5, 6, 7, 8]),
        extended("can1", 0x18FE_F200, 1_000_004, &[1, 2]),
        standard("can1", 0x30A, 2_000_001, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]),
        extended("can12", 0x18FE_F101, 2_000_002, &[]),
        standard("can1", 0xAA, 2_000_003, &[0x1A, 0x2B, 0x3C]),
        standard("can1", 0xAA, 2_000_006, &[1, 2]),
    ];
    assert_eq!(got, want);
    assert_eq!(bad, "");
    let kinds = [counts.lines, counts.frames, counts.remote, counts.error, counts.events, counts.bad];
    assert_eq!(kinds, [28, 9, 3, 2, 7, 0]);
    assert_eq!(read(&ASC.replace('\n', "\r\n")).0, want);
    // Whatever its beginning: a header that was cut off is that of most files.
    let cut = ASC.split_once("active\n").unwrap().1;
    assert_eq!(read(cut).0, want);
}

#[test]
fn bad_lines_of_an_asc_file_say_what_is_wrong() {
    for (line, what) in [
        ("one two three", "neither a time stamp nor a word of the header at the start"),
        ("-1.0 1 AA Rx d 0", "neither a time stamp nor a word of the header at the start"),
        ("1.0 1 AA Rx d", "the length is not a hex digit, or more than 64 bytes in an FD frame"),
        ("1.0 1 AA Rx d 40 00", "the length is not a hex digit, or more than 64 bytes in an FD frame"),
        (
            "1.0 CANFD 1 Rx AA 0 0 f 65 00",
            "the length is not a hex digit, or more than 64 bytes in an FD frame",
        ),
        (
            "1.0 CANFD 1 Rx AA 0 2 1 1 00",
            "the length is not a hex digit, or more than 64 bytes in an FD frame",
        ),
        ("1.0 1 AA Rx d 2 00", "there are not as many bytes of data as the length says"),
        ("1.0 1 AA Rx d 2 00 1FF", "there are not as many bytes of data as the length says"),
        ("1.0 1 AA Rx d 2 00 Length = 1", "there are not as many bytes of data as the length says"),
        ("1.0 CANFD x Rx AA 0 0 1 1 00", "the channel is not a number"),
        ("1.0 CANFD 1 AA Rx 0 0 1 1 00", "neither `Rx` nor `Tx` where the direction should be"),
        ("1.0 1 800 Rx d 0", "the identifier"),
        ("1.0 1 20000000x Rx d 0", "the identifier"),
        ("1.0 1 Name Rx d 0", "the identifier"),
        // A name of hex digits.
        ("1.0 1 AC Rx d 0 Length = 0 BitCount = 0 ID = 42", "the identifier"),
        ("1.0 CANFD 1 Rx 800 0 0 1 1 00", "the identifier"),
    ] {
        let (got, counts, bad) = read(&format!("base hex timestamps absolute\n{line}\n1.0 1 AA Rx d 0\n"));
        assert_eq!((got.len(), counts.bad), (1, 1), "{line}");
        assert!(bad.starts_with(&format!("2: {what}")), "{line}: {bad}");
    }
}

#[test]
fn decimal_numbers_and_times_since_the_line_before() {
    let text = "date Mon Mar 2 14:14:08 2026\nbase dec  timestamps relative\n\
                0.500000 1  291  Rx   d 3 0 16 255\n0.100000 Start of something\n0.250000 1  419362048x Tx d 1 7\n\
                0.010000 1  42 Rx d C 1 2 3 4 5 6 7 8\n0.010000 CANFD 1 Rx 42 0 0 1 1 16\n0.5 1 42 Rx d 1 256\n";
    let (got, counts, bad) = read(text);
    let want = [
        standard("can1", 0x123, 500_000, &[0, 16, 255]),
        extended("can1", 0x18FE_F500, 850_000, &[7]),
        standard("can1", 42, 860_000, &[1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    assert_eq!((got, counts.bad), (want.to_vec(), 2));
    assert!(bad.starts_with("7: programs write FD frames in different ways under `base dec`"), "{bad}");
}

/// What a line too long says at its end is not known, so it is no frame.
#[test]
fn a_line_of_an_asc_file_beyond_the_bound() {
    let long = " ".repeat(2_000) + "x";
    let text = format!("base hex\n1.0 1 AA Rx d 0{long}\n1.1 Start{long}\n1.2 1 AA Rx d 0\n");
    let (got, counts, bad) = read(&text);
    assert_eq!(got, [standard("can1", 0xAA, 1_200_000, &[])]);
    assert_eq!((counts.bad, counts.events, bad.as_str()), (1, 1, "2: the line is longer than 1024 bytes"));
}

/// How a frame is written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    Candump,
    CandumpDirection,
    AscHex,
    AscDecimal,
    AscLong,
}

const STYLES: [Style; 5] =
    [Style::Candump, Style::CandumpDirection, Style::AscHex, Style::AscDecimal, Style::AscLong];

fn print(style: Style, frames: &[(u8, Frame)]) -> String {
    let mut text = String::new();
    if !matches!(style, Style::Candump | Style::CandumpDirection) {
        let base = if style == Style::AscDecimal { "dec" } else { "hex" };
        writeln!(text, "date Mon Mar 2 14:14:08 2026\nbase {base}  timestamps absolute").unwrap();
    }
    for (channel, frame) in frames {
        let (seconds, micros) = (frame.moment.0 / 1_000_000, frame.moment.0 % 1_000_000);
        let is_fd = frame.data().len() > 8;
        match style {
            Style::Candump | Style::CandumpDirection => {
                let id = match frame.id {
                    CanId::Standard(id) => format!("{id:03X}"),
                    CanId::Extended(id) => format!("{id:08X}"),
                };
                let data: String = frame.data().iter().map(|byte| format!("{byte:02X}")).collect();
                let mark = if is_fd { "#1" } else { "" };
                let direction = if style == Style::CandumpDirection { " T" } else { "" };
                writeln!(text, "({seconds:010}.{micros:06})  can{channel} {id}#{mark}{data}{direction}")
                    .unwrap();
            }
            Style::AscDecimal => {
                let (id, width) = match frame.id {
                    CanId::Standard(id) => (u32::from(id), ""),
                    CanId::Extended(id) => (id, "x"),
                };
                write!(
                    text,
                    "{seconds:4}.{micros:06} {channel}  {id}{width} Rx   d {:X}",
                    frame.data().len()
                )
                .unwrap();
                frame.data().iter().for_each(|byte| write!(text, " {byte:3}").unwrap());
                text += "\n";
            }
            Style::AscHex | Style::AscLong => asc(&mut text, style == Style::AscLong, *channel, frame),
        }
    }
    text
}

fn asc(text: &mut String, is_long: bool, channel: u8, frame: &Frame) {
    let (seconds, micros) = (frame.moment.0 / 1_000_000, frame.moment.0 % 1_000_000);
    let (id, width) = match frame.id {
        CanId::Standard(id) => (u32::from(id), ""),
        CanId::Extended(id) => (id, "x"),
    };
    let length = frame.data().len();
    let data: String = frame.data().iter().map(|byte| format!(" {byte:02x}")).collect();
    if length > 8 || (is_long && micros % 2 == 0) {
        let dlc = [12, 16, 20, 24, 32, 48, 64].iter().position(|fits| length <= *fits);
        let dlc = if length > 8 { 9 + dlc.unwrap() } else { length };
        let name = if is_long { "A_Message_Of_Some_Name" } else { "" };
        let flags = if length > 8 { "303000" } else { "0" };
        write!(
            text,
            "{seconds}.{micros:06} CANFD {channel:3} Tx {id:X}{width}  {name}  0 1 {dlc:x} {length}{data}"
        )
        .unwrap();
        if is_long {
            write!(text, "   102203  133 {flags:>8} e0006659 46500250 4b140250 20011736 2001040d").unwrap();
        }
    } else {
        write!(text, "{seconds}.{micros:06} {channel}  {id:X}{width} Rx   d {length}{data}").unwrap();
        if is_long {
            write!(text, "  Length = 240015 BitCount = 124 ID = {id}{width}").unwrap();
        }
    }
    *text += "\n";
}

fn any_frame() -> impl Strategy<Value = (u8, Frame)> {
    let id = prop_oneof![
        (0_u16..0x800).prop_map(CanId::Standard),
        (0_u32..0x2000_0000).prop_map(CanId::Extended),
    ];
    let data = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..=8),
        proptest::sample::select(vec![12_usize, 16, 20, 24, 32, 48, 64])
            .prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length)),
    ];
    (0_u8..3, id, 0_i64..4_000_000_000_000_000, data).prop_map(|(channel, id, micros, data)| {
        (channel, Frame::new(BusIndex(0), id, Moment(micros), &data).unwrap())
    })
}

/// Text that is nearly a log, so that more than the first word is looked at.
fn nearly_a_log() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "(1.5)",
        " can0",
        " 123#",
        "#",
        "1122",
        "R8",
        "_9",
        ":",
        "DROPCOUNT:",
        "base",
        " hex",
        " dec",
        " timestamps",
        " relative",
        "date",
        "//",
        "0.5",
        " 1",
        " 12345678x",
        " Rx",
        " Tx",
        " d",
        " r",
        " 8",
        " 9",
        " f",
        " 64",
        " 00",
        " FF",
        " CANFD",
        " ErrorFrame",
        " ID",
        " =",
        " 42",
        " Name",
        "\n",
        "\n",
        "\n",
        "\r\n",
        "\u{e4}",
        "\0",
    ];
    let word = prop_oneof![
        9 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(frames in proptest::collection::vec(any_frame(), 1..20), style in proptest::sample::select(STYLES.to_vec())) {
        let frames: Vec<_> = frames.into_iter().filter(|(_, frame)| style != Style::AscDecimal || frame.data().len() <= 8).collect();
        let text = print(style, &frames);
        let want: Vec<Read> = frames.iter().map(|(channel, frame)| {
            (format!("can{channel}"), frame.id, frame.moment.0, frame.data().to_vec())
        }).collect();
        let (got, counts, bad) = read(&text);
        prop_assert_eq!(got, want, "{}", text);
        prop_assert_eq!((counts.bad, counts.events), (0, 0), "{}", bad);
    }

    /// Every line is counted once, whatever it is.
    #[test]
    fn no_bytes_do_harm(bytes in nearly_a_log()) {
        let lines = bytes.split(|byte| *byte == b'\n').count();
        let (frames, counts, _) = frames(Log::new(Cursor::new(bytes), "log").unwrap());
        prop_assert_eq!(u64::try_from(frames.len()).unwrap(), counts.frames);
        let told = counts.frames + counts.ignored + counts.remote + counts.error + counts.events + counts.bad;
        prop_assert!(told <= counts.lines);
        prop_assert!(counts.lines <= u64::try_from(lines).unwrap());
    }
}

/// Folder of the shared data; tells and skips when it is absent, fails on a build machine.
fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("GLOVEBOX_SHARED").map_or_else(beside, PathBuf::from);
    if root.join("data").is_dir() {
        return Some(root);
    }
    assert!(std::env::var_os("CI").is_none(), "no test data at {}; set GLOVEBOX_SHARED", root.display());
    eprintln!("skipped: no test data at {}; set GLOVEBOX_SHARED", root.display());
    None
}

fn text_of(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// A file of a car's logger with tabs in it, read once more in the plainest way.
#[test]
fn a_real_asc_file_is_read_as_it_is() {
    let Some(root) = shared() else { return };
    let name = "hyundai-kona-ev-can-logs__Idle_log_no_diagnostic_function_selected.asc.gz";
    let path = root.join("data/formats").join(name);
    let text = text_of(&path);
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let want: Vec<Read> = rows
        .filter(|row| row.len() == 14)
        .map(|row| {
            let (seconds, micros) = row[0].split_once('.').unwrap();
            let micros = format!("{seconds}{micros}").parse().unwrap();
            let id = u16::from_str_radix(row[2], 16).unwrap();
            (format!("can{}", row[1]), CanId::Standard(id), micros, hex(&row[6..].concat()))
        })
        .collect();
    assert_eq!(want[0], standard("can0", 0x594, 83_540, &[0x34, 0x21, 0x34, 0x21, 0xA0, 0x62, 0x01, 0x20]));
    let (got, counts, bad) = frames(Log::open(&path).unwrap());
    assert_eq!(got.len(), 543);
    assert_eq!(got, want);
    assert_eq!((counts.lines, counts.bad, bad.as_str()), (547, 0, ""));
}

/// The same drive as candump and as a table; the candump file has no finer times than seconds.
#[test]
fn a_real_candump_file_has_the_frames_of_its_table() {
    let Some(root) = shared() else { return };
    let formats = root.join("data/formats");
    let text = text_of(&formats.join("SavvyCAN__GVRET_Log.csv.gz"));
    let want: Vec<(CanId, Vec<u8>)> = text
        .lines()
        .skip(1)
        .map(|line| {
            let row: Vec<&str> = line.split(',').collect();
            let id = u32::from_str_radix(row[1], 16).unwrap();
            let id = if row[2] == "true" {
                CanId::Extended(id)
            } else {
                CanId::Standard(u16::try_from(id).unwrap())
            };
            let length: usize = row[4].parse().unwrap();
            (id, hex(&row[5..5 + length].concat()))
        })
        .collect();
    let (got, counts, bad) = frames(Log::open(&formats.join("SavvyCAN__candump.log.gz")).unwrap());
    let got: Vec<(CanId, Vec<u8>)> = got.into_iter().map(|(_, id, _, data)| (id, data)).collect();
    assert_eq!((got.len(), counts.bad, bad.as_str()), (12_974, 0, ""));
    assert_eq!(got, want);
    for other in ["BusMasterLog.log", "CRTD_Log.txt", "MicrochipLog.log", "CarBusAnalyzer.trc"] {
        let (got, _, bad) = frames(Log::open(&formats.join(format!("SavvyCAN__{other}.gz"))).unwrap());
        let unknown = "neither a line of a candump log nor of a Vector ASC file";
        assert!(got.is_empty() && bad.ends_with(unknown), "{other}: {bad}");
    }
}
