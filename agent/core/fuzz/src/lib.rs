//! What the fuzzers do with any bytes: read them, decode frames with what comes of it, and hold the readings to what
//! must be true of them. Each body tells whether the input got through its reader, so that a replay can check that
//! seeds reach the decoder.

use glovebox::bus::replay::Log;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, ByteOrder, Layout};
use glovebox_core::decode::map::Mapping;
use glovebox_core::decode::plan::Outcome;
use glovebox_core::decode::{LeafIndex, Leaves, Plan, State};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::{BusName, Moment};
use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::LazyLock;

/// A body and the folder of its corpus.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub const TARGETS: [Target; 4] = [("dbc", dbc), ("frames", frames), ("log", log), ("mapping", mapping)];

const BUS: BusIndex = BusIndex(0);
/// Identifiers of a database that are tried with some frames each.
const TRIED_IDS_MAX: usize = 16;
/// Beyond it a few bytes of gzip would make a run of seconds.
const LOG_FRAMES_MAX: usize = 4_096;

/// What `frames` decodes with: one of them by its first byte.
const DATABASES: [&str; 4] = [
    // Every kind within 8 bytes: both byte orders, signed, ranges that cut, a table of values.
    "BO_ 256 Plain: 8 X
 SG_ A : 7|16@0+ (0.25,-100) [0|1000] \"km/h\" X
 SG_ B : 16|12@1- (0.1,0) [-50|50] \"\" X
 SG_ C : 28|1@1+ (1,0) [0|0] \"\" X
 SG_ D : 32|32@1- (-2,7) [0|0] \"\" X
BO_ 257 Whole: 8 X
 SG_ U : 0|64@1+ (1,0) [0|0] \"\" X
 SG_ S : 7|64@0- (1,0) [-5|5] \"\" X
VAL_ 256 C 0 \"off\" 1 \"on\" ;
",
    // Multiplexors: one, and one below another.
    "BO_ 2566834709 Muxed: 8 X
 SG_ M M : 0|4@1+ (1,0) [0|0] \"\" X
 SG_ N m1M : 4|4@1+ (1,0) [0|0] \"\" X
 SG_ A m0 : 8|24@1- (1,0) [0|0] \"\" X
 SG_ B m1 : 8|16@1+ (0.5,0) [1|2] \"\" X
 SG_ C m3 : 31|33@0+ (1,0) [0|0] \"\" X
 SG_ D : 40|8@1+ (1,0) [0|0] \"\" X
SG_MUL_VAL_ 2566834709 N M 1-1;
SG_MUL_VAL_ 2566834709 C N 2-3, 7-9;
",
    // CAN FD: words anywhere, and such as span 9 bytes; floats.
    "BO_ 2 Wide: 64 X
 SG_ A : 3|64@1+ (1,0) [0|0] \"\" X
 SG_ B : 100|61@0- (1,0) [-100|100] \"\" X
 SG_ C : 448|64@1- (1,0) [0|0] \"\" X
 SG_ F : 160|32@1- (2,1) [-10|10] \"\" X
 SG_ G : 199|64@0- (1,0) [0|0] \"\" X
SIG_VALTYPE_ 2 F : 1;
SIG_VALTYPE_ 2 G : 2;
",
    // Ranges that hold nothing, everything, or an end of the raw values.
    "BO_ 3 Ends: 8 X
 SG_ A : 0|8@1+ (1,0) [300|400] \"\" X
 SG_ B : 8|8@1- (1,0) [-128|127] \"\" X
 SG_ C : 16|8@1+ (-1,0) [-255|-255] \"\" X
 SG_ D : 24|16@1+ (0,5) [0|4] \"\" X
 SG_ E : 47|16@0- (1e300,1e300) [-1e308|1e308] \"\" X
",
];

/// Any bytes as a DBC file.
pub fn dbc(data: &[u8]) -> bool {
    let Ok((database, _)) = Database::parse(data, "fuzz.dbc") else { return false };
    let Some(leaves) = leaves(database, None) else { return false };
    try_all(&leaves);
    !leaves.is_empty()
}

/// Any frames against a plan of any of the leaves of a database.
///
/// ```text
/// database (1) │ which leaves, a bit each (2) │ then frames: id (1; 255: of its own, 4) │ length (1) │ data
/// ```
pub fn frames(data: &[u8]) -> bool {
    // Parsed once: the frames are what is tried here.
    static ALL: LazyLock<Vec<Leaves>> =
        LazyLock::new(|| DATABASES.iter().filter_map(|text| leaves(fixed(text)?, None)).collect());
    let Some((&[which, low, high], mut rest)) = data.split_first_chunk() else { return false };
    let Some(leaves) = ALL.get(usize::from(which) % DATABASES.len()) else { return false };
    let chosen = u32::from(u16::from_le_bytes([low, high]));
    let needed: Vec<LeafIndex> =
        leaves.iter().map(|(leaf, _)| leaf).filter(|leaf| chosen >> (leaf.0 % 16) & 1 == 1).collect();
    let plan = Plan::compile(leaves, &needed);
    let ids = plan.ids(BUS);
    let mut decoded = false;
    while let Some((frame, behind)) = next_frame(rest, &ids) {
        decoded |= checked(leaves, &needed, &plan, &frame) != Outcome::NotNeeded;
        rest = behind;
    }
    decoded
}

fn next_frame<'d>(data: &'d [u8], ids: &[CanId]) -> Option<(Frame, &'d [u8])> {
    let (&which, mut rest) = data.split_first()?;
    let known = ids.get(usize::from(which) % ids.len().max(1)).filter(|_| which != u8::MAX);
    let id = match known {
        Some(id) => *id,
        None => {
            let (number, behind) = rest.split_first_chunk()?;
            rest = behind;
            // Also such as no bus has: the plan must bear them.
            match *number {
                [low, high, _, 0..=0x7F] => CanId::Standard(u16::from_le_bytes([low, high])),
                number => CanId::Extended(u32::from_le_bytes(number)),
            }
        }
    };
    let (&length, rest) = rest.split_first()?;
    let (data, rest) = rest.split_at(usize::from(length % 65).min(rest.len()));
    Some((Frame::new(BUS, id, Moment(0), data)?, rest))
}

/// Any bytes as a log: candump, ASC, gzip.
pub fn log(data: &[u8]) -> bool {
    let Ok(mut log) = Log::new(Cursor::new(data.to_vec()), "fuzz.log") else { return false };
    let bus_of = |name: &str| name.strip_prefix("can").and_then(|number| number.parse().ok()).map(BusIndex);
    let mut frames = 0;
    while let Ok(Some(frame)) = log.next_frame(bus_of) {
        frames += 1;
        assert!(frame.data().len() <= 64);
        match frame.id {
            CanId::Standard(id) => assert!(id <= 0x7FF),
            CanId::Extended(id) => assert!(id <= 0x1FFF_FFFF),
        }
        if frames == LOG_FRAMES_MAX {
            break;
        }
    }
    let counts = log.counts();
    let told = counts.frames + counts.ignored + counts.remote + counts.error + counts.bad;
    assert!(told <= counts.lines, "{counts:?}");
    assert_eq!(log.first_bad().is_some(), counts.bad > 0);
    frames > 0
}

/// Any bytes as a mapping file, of the first database.
pub fn mapping(data: &[u8]) -> bool {
    let Ok((mapping, _)) = Mapping::parse(data, "fuzz.json") else { return false };
    let Some(database) = fixed(DATABASES[0]) else { return false };
    let named = !mapping.entries.is_empty();
    let Some(leaves) = leaves(database, Some(mapping)) else { return false };
    try_all(&leaves);
    named && leaves.iter().any(|(_, leaf)| !leaf.path.as_str().starts_with("CAN."))
}

fn fixed(text: &str) -> Option<Database> {
    Database::parse(text.as_bytes(), "fixed.dbc").ok().map(|(database, _)| database)
}

fn leaves(database: Database, mapping: Option<Mapping>) -> Option<Leaves> {
    let name = BusName::new("can0").ok()?;
    let bus = BusDatabase { bus: BUS, name, databases: vec![database], mapping };
    Leaves::build(&[bus]).ok().map(|(leaves, _)| leaves)
}

/// Some frames of each identifier, decoded with everything.
fn try_all(leaves: &Leaves) {
    let needed: Vec<LeafIndex> = leaves.iter().map(|(leaf, _)| leaf).collect();
    let plan = Plan::compile(leaves, &needed);
    for id in plan.ids(BUS).into_iter().take(TRIED_IDS_MAX) {
        for byte in [0x00, 0x01, 0x5A, 0x80, 0xFF] {
            for length in [0, 1, 7, 8, 9, 63, 64] {
                if let Some(frame) = Frame::new(BUS, id, Moment(0), &[byte; 64][..length]) {
                    checked(leaves, &needed, &plan, &frame);
                }
            }
        }
    }
}

/// Decodes a frame and checks what comes of it.
fn checked(leaves: &Leaves, needed: &[LeafIndex], plan: &Plan, frame: &Frame) -> Outcome {
    let mut readings = Vec::new();
    let outcome = plan.decode(frame, &mut readings);
    let mut seen = BTreeSet::new();
    for reading in &readings {
        assert!(seen.insert(reading.leaf) && needed.contains(&reading.leaf));
        let Some(leaf) = leaves.get(reading.leaf) else { unreachable!("a reading of no leaf") };
        assert_eq!((leaf.bus, leaf.id), (frame.bus, frame.id));
        assert!(bytes(leaf.layout) <= frame.data().len(), "bits behind the frame's end");
        for selector in &leaf.selectors {
            assert!(bytes(selector.layout) <= frame.data().len(), "a multiplexor behind the frame's end");
        }
        if reading.state == State::Value {
            assert_eq!(leaf.raw(frame), Some(reading.bits));
            let _ = (leaf.value(reading.bits), leaf.label(reading.bits));
        } else {
            assert_eq!(reading.bits, 0);
        }
    }
    let there =
        needed.iter().filter(|leaf| leaves.get(**leaf).is_some_and(|leaf| leaf.id == frame.id)).count();
    let missing = if let Outcome::Short(missing) = outcome { missing as usize } else { 0 };
    assert!(readings.len() + missing <= there);
    assert_eq!(outcome == Outcome::NotNeeded, there == 0);
    outcome
}

/// How many bytes a frame must have for these bits: a second time, bit by bit.
fn bytes(layout: Layout) -> usize {
    let mut at = usize::from(layout.start);
    for _ in 1..layout.length {
        at = match layout.order {
            ByteOrder::LittleEndian => at + 1,
            ByteOrder::BigEndian if at % 8 == 0 => at + 15,
            ByteOrder::BigEndian => at - 1,
        };
    }
    at / 8 + 1
}
