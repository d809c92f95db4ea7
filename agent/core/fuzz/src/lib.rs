//! What the fuzzers do with any bytes: read them, decode frames with what comes of it, and hold the readings to what
//! must be true of them. Each body tells whether the input got through its reader, so that a replay can check that
//! seeds reach the decoder.

use glovebox::bus::replay::Log;
use glovebox_core::consent::document::enrolment::OwnerEnrolment;
use glovebox_core::consent::document::{Document as _, DsseEnvelope, Verifier, read, write};
use glovebox_core::control::{Control, Enrolment, Stored};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::j1939::Address;
use glovebox_core::decode::leaves::{BusDatabase, ByteOrder, Layout, Leaf};
use glovebox_core::decode::map::Mapping;
use glovebox_core::decode::plan::Outcome;
use glovebox_core::decode::{Decoder, LeafIndex, Leaves, Plan, Reading, State};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::{BusName, Moment, TrustedTime, VerifyingKey, WallTime};
use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::LazyLock;

/// A body and the folder of its corpus.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("dbc", dbc),
    ("enrolment", enrolment),
    ("frames", frames),
    ("j1939", j1939),
    ("log", log),
    ("mapping", mapping),
];

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
    let ids = ids(&plan);
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

/// What `j1939` decodes with: a group of one frame, one to a receiver, a long one, and one described by sender.
const TRUCK: &str = "BO_ 2364540158 EEC1: 8 X
 SG_ Speed : 24|16@1+ (0.125,0) [0|8031.875] \"rpm\" X
 SG_ Starter : 48|4@1+ (1,0) [0|0] \"\" X
BO_ 2348810494 TSC1: 8 X
 SG_ Requested : 8|16@1+ (0.125,0) [0|0] \"rpm\" X
BO_ 2566841342 EC1: 40 X
 SG_ First : 0|16@1+ (0.125,0) [0|0] \"rpm\" X
 SG_ Across : 60|32@1- (1,0) [0|0] \"\" X
 SG_ Last : 312|8@1+ (1,0) [0|0] \"\" X
BO_ 2565866752 ETC2: 8 X
 SG_ Gear : 24|8@1+ (1,-125) [0|0] \"\" X
BO_ 2565866755 ETC2_3: 8 X
 SG_ Gear : 24|8@1+ (1,-125) [0|0] \"\" X
BO_ 2566834942 DM1: 8 X
 SG_ SPN : 16|19@1+ (1,0) [0|0] \"\" X
BA_ \"ProtocolType\" \"J1939\";
";

/// Identifiers that a byte stands for; the frames of long messages first. The source is added.
const CARRIERS: [u32; 8] =
    [0x1CEC_FF00, 0x1CEB_FF00, 0x1CEC_0300, 0x1CEB_0300, 0x0CF0_0400, 0x0C00_2100, 0x18FE_CA00, 0x18F0_0500];

/// Any frames on a truck's bus.
///
/// ```text
/// which leaves, a bit each (1) │ then frames: carrier (low 3 bits) and source (3 bits) (1) │ pause × 10 ms (1) │ data (8)
/// ```
pub fn j1939(data: &[u8]) -> bool {
    static ALL: LazyLock<Option<Leaves>> = LazyLock::new(|| leaves(fixed(TRUCK)?, None));
    let Some((&chosen, rest)) = data.split_first() else { return false };
    let Some(leaves) = &*ALL else { return false };
    let needed: Vec<LeafIndex> =
        leaves.iter().map(|(leaf, _)| leaf).filter(|leaf| chosen >> (leaf.0 % 8) & 1 == 1).collect();
    let mut decoder = Decoder::new(Plan::compile(leaves, &needed));
    let (mut now, mut decoded) = (0, false);
    for chunk in rest.chunks(10) {
        let Some((&[which, pause], data)) = chunk.split_first_chunk() else { break };
        now += i64::from(pause) * 10_000;
        let id = CARRIERS[usize::from(which % 8)] | u32::from(which >> 3 & 7);
        let Some(frame) = Frame::new(BUS, CanId::Extended(id), Moment(now), data) else { break };
        let mut readings = Vec::new();
        decoder.decode(&frame, &mut readings);
        for reading in &readings {
            assert!(needed.contains(&reading.leaf));
            assert_eq!(u32::from(reading.source.0), id & 0xFF);
            let Some(leaf) = leaves.get(reading.leaf) else { unreachable!("a reading of no leaf") };
            let origin = decoder.origin(leaf, &frame);
            assert_eq!(group(origin.id), group(leaf.id));
            let expected = if reading.state == State::Value { origin.raw } else { Some(0) };
            assert_eq!(expected, Some(reading.bits));
        }
        decoded |= !readings.is_empty();
    }
    decoded
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
    let told = counts.frames + counts.ignored + counts.remote + counts.error + counts.events + counts.bad;
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

/// Any bytes as an enrolment: as an envelope in front of a car, and as a payload that an owner would sign as it is.
pub fn enrolment(data: &[u8]) -> bool {
    let (control, refused) = Control::restore(sample_car(), Stored::default(), &|_| None, &AnyOwner);
    assert!(refused.is_empty());
    let taken = taken(control.clone(), data);
    let Ok(enrolment) = read::<OwnerEnrolment>(data) else { return taken };
    // What was read is written and read as the same.
    let Ok(again) = write(&enrolment) else { unreachable!("it has no number that JSON cannot write") };
    assert_eq!(read::<OwnerEnrolment>(&again).ok().as_ref(), Some(&enrolment));
    assert!(!enrolment.describe().contains('\u{1b}'));
    let envelope = DsseEnvelope::unsigned(OwnerEnrolment::TYPE, data).with_signature("", &[1; 64]);
    let Ok(file) = envelope.to_bytes() else { unreachable!("an envelope is written") };
    taken | self::taken(control, &file)
}

/// Whoever signs with ones is the owner of the sample car, and nobody else is anybody.
struct AnyOwner;

impl Verifier for AnyOwner {
    fn verify(&self, key: &VerifyingKey, _: &[u8], signature: &[u8; 64]) -> bool {
        *key == VerifyingKey([3; 32]) && *signature == [1; 64]
    }
}

fn sample_car() -> Enrolment {
    let Ok(device) = "car-1".parse() else { unreachable!("a name") };
    let (owners, record_key) = (vec![VerifyingKey([3; 32])], VerifyingKey([5; 32]));
    Enrolment { device, groups: Vec::new(), root: Some(VerifyingKey([1; 32])), owners, record_key }
}

/// Whether the car takes it; and then it has an owner, who is no other office, and does not take it twice.
fn taken(mut control: Control, file: &[u8]) -> bool {
    let now = Some(TrustedTime { earliest: WallTime(0), latest: WallTime(0) });
    let before = control.owners().clone();
    let examined = control.examine(file, now, &|_| None, &AnyOwner);
    assert_eq!(*control.owners(), before);
    let Ok(accepted) = examined else { return false };
    assert!(control.adopt(accepted).is_ok());
    let keys = control.owners().keys();
    assert!(
        !keys.is_empty() && !keys.contains(&VerifyingKey([1; 32])) && !keys.contains(&VerifyingKey([5; 32]))
    );
    assert!(keys.len() != before.keys().len() && control.owners().head() != before.head());
    assert!(control.examine(file, now, &|_| None, &AnyOwner).is_err());
    true
}

fn fixed(text: &str) -> Option<Database> {
    Database::parse(text.as_bytes(), "fixed.dbc").ok().map(|(database, _)| database)
}

fn leaves(database: Database, mapping: Option<Mapping>) -> Option<Leaves> {
    let name = BusName::new("can0").ok()?;
    let bus = BusDatabase { bus: BUS, name, databases: vec![database], mapping };
    Leaves::build(&[bus]).ok().map(|(leaves, _)| leaves)
}

/// An identifier of each message that something of the plan is in.
fn ids(plan: &Plan) -> Vec<CanId> {
    plan.patterns(BUS).into_iter().map(|pattern| pattern.id).collect()
}

fn group(id: CanId) -> Option<Address> {
    match id {
        CanId::Extended(id) => Address::of(id & !0xFF).map(|from| Address { destination: 0, ..from }),
        CanId::Standard(_) => None,
    }
}

/// Some frames of each identifier, decoded with everything.
fn try_all(leaves: &Leaves) {
    let needed: Vec<LeafIndex> = leaves.iter().map(|(leaf, _)| leaf).collect();
    let plan = Plan::compile(leaves, &needed);
    let mut decoder = Decoder::new(plan.clone());
    for id in ids(&plan).into_iter().take(TRIED_IDS_MAX) {
        for byte in [0x00, 0x01, 0x5A, 0x80, 0xFF] {
            for length in [0, 1, 7, 8, 9, 63, 64] {
                let Some(frame) = Frame::new(BUS, id, Moment(0), &[byte; 64][..length]) else { continue };
                checked(leaves, &needed, &plan, &frame);
                decoder.decode(&frame, &mut Vec::new());
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
        check(leaf, reading, frame);
    }
    let there: Vec<&Leaf> =
        needed.iter().filter_map(|leaf| leaves.get(*leaf)).filter(|leaf| is_in(leaf, frame)).collect();
    let missing = if let Outcome::Short(missing) = outcome { missing as usize } else { 0 };
    assert!(readings.len() + missing <= there.len());
    match there[..] {
        [] => assert_eq!(outcome, Outcome::NotNeeded),
        // Of J1939 it may be described for another sender.
        [leaf, ..] => assert!(outcome != Outcome::NotNeeded || leaf.j1939),
    }
    outcome
}

fn is_in(leaf: &Leaf, frame: &Frame) -> bool {
    leaf.bus == frame.bus
        && if leaf.j1939 {
            group(leaf.id).is_some() && group(leaf.id) == group(frame.id)
        } else {
            leaf.id == frame.id
        }
}

fn check(leaf: &Leaf, reading: &Reading, frame: &Frame) {
    assert!(is_in(leaf, frame));
    assert!(bytes(leaf.layout) <= frame.data().len(), "bits behind the frame's end");
    for selector in &leaf.selectors {
        assert!(bytes(selector.layout) <= frame.data().len(), "a multiplexor behind the frame's end");
    }
    if reading.state == State::Value {
        assert_eq!(leaf.raw(frame).and_then(|raw| leaf.result(raw)), Some(reading.bits));
        let _ = (leaf.value(reading.bits), leaf.label(reading.bits));
    } else {
        assert_eq!(reading.bits, 0);
    }
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
