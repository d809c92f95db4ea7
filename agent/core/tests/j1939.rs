//! J1939: groups found whoever sends them, codes that are no values, messages of several frames put together by
//! listening. The reference is written after SAE J1939-21 and -71, not after the code.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test reads recorded data, and may fail loudly"
)]

mod common;

use common::shared;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::j1939::{Address, Pgn};
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::plan::Outcome;
use glovebox_core::decode::{Decoder, LeafIndex, Leaves, Plan, Reading, State};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::limits::{J1939_PACKET_GAP_US_MAX, J1939_SESSIONS_MAX};
use glovebox_core::names::{BusName, Moment, SignalPath};
use proptest::prelude::*;

/// `VFrameFormat` 3 of this list for all: a group of one frame, one to a receiver (PDU1), one of 20 bytes.
const DBC: &str = r#"
BO_ 2364540158 EEC1: 8 X
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|8031.875] "rpm" X
 SG_ Torque : 16|8@1+ (1,-125) [-125|125] "%" X
 SG_ Starter : 48|4@1+ (1,0) [0|0] "" X
 SG_ Retarder : 52|2@1+ (1,0) [0|0] "" X
 SG_ Lamp : 54|1@1+ (1,0) [0|0] "" X
BO_ 2348810494 TSC1: 8 X
 SG_ Requested : 8|16@1+ (0.125,0) [0|8031.875] "rpm" X
BO_ 2566841342 EC1: 20 X
 SG_ First : 0|16@1+ (0.125,0) [0|8031.875] "rpm" X
 SG_ Middle : 60|32@1+ (1,0) [0|0] "" X
 SG_ Last : 152|8@1+ (1,0) [0|0] "" X
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "J1939PG";
"#;

fn leaves(text: &str) -> Leaves {
    let (database, notices) = Database::parse(text.as_bytes(), "a.dbc").unwrap();
    assert_eq!(notices, []);
    let name = BusName::new("can0").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    Leaves::build(&[bus]).unwrap().0
}

fn all(leaves: &Leaves) -> Vec<LeafIndex> {
    leaves.iter().map(|(index, _)| index).collect()
}

/// A car whose decoder needs these signals of [`DBC`].
struct Car {
    leaves: Leaves,
    decoder: Decoder,
    now: i64,
}

impl Car {
    fn new(text: &str) -> Self {
        let leaves = leaves(text);
        let decoder = Decoder::new(Plan::compile(&leaves, &all(&leaves)));
        Self { leaves, decoder, now: 0 }
    }

    fn leaf(&self, name: &str) -> LeafIndex {
        self.leaves.find(&SignalPath::new(&format!("CAN.can0.{name}")).unwrap()).unwrap()
    }

    fn needs(&mut self, names: &[&str]) {
        let needed: Vec<_> = names.iter().map(|name| self.leaf(name)).collect();
        self.decoder.swap(Plan::compile(&self.leaves, &needed));
    }

    /// Readings of a frame as `(signal, source, state, raw)`.
    fn frame(&mut self, id: u32, data: &[u8]) -> Vec<(String, u8, State, u64)> {
        self.now += 10_000;
        let frame = Frame::new(BusIndex(0), CanId::Extended(id), Moment(self.now), data).unwrap();
        let mut readings: Vec<Reading> = Vec::new();
        self.decoder.decode(&frame, &mut readings);
        let name = |reading: &Reading| self.leaves.get(reading.leaf).unwrap().signal.clone();
        readings.iter().map(|r| (name(r), r.source.0, r.state, r.bits)).collect()
    }

    fn whole(&self) -> u64 {
        self.decoder.transport().counts().whole
    }

    fn broken(&self) -> u64 {
        self.decoder.transport().counts().broken
    }
}

/// The frames of a message, as its sender puts them on the bus: priority 7, to `destination`.
struct Sender {
    source: u8,
    destination: u8,
}

impl Sender {
    fn id(&self, format: u32) -> u32 {
        7 << 26 | format << 16 | u32::from(self.destination) << 8 | u32::from(self.source)
    }

    fn answer(&self, format: u32) -> u32 {
        7 << 26 | format << 16 | u32::from(self.source) << 8 | u32::from(self.destination)
    }

    fn announce(&self, pgn: u32, length: usize) -> (u32, Vec<u8>) {
        let control = if self.destination == 255 { 32 } else { 16 };
        let [low, high] = u16::try_from(length).unwrap().to_le_bytes();
        let packets = u8::try_from(length.div_ceil(7)).unwrap();
        let [a, b, c, _] = pgn.to_le_bytes();
        (self.id(0xEC), vec![control, low, high, packets, 0xFF, a, b, c])
    }

    fn packets(&self, message: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let packet = |(number, part): (u8, &[u8])| {
            let mut data = vec![number];
            data.extend(part);
            data.resize(8, 0xFF);
            (self.id(0xEB), data)
        };
        (1..).zip(message.chunks(7)).map(packet).collect()
    }
}

const TO_ALL: Sender = Sender { source: 0x17, destination: 255 };
const TO_ONE: Sender = Sender { source: 0x17, destination: 0x21 };
const EC1: u32 = 0xFEE3;

fn ec1() -> [u8; 20] {
    std::array::from_fn(|at| u8::try_from(at).unwrap() + 1)
}

/// What [`ec1`] holds, by arithmetic: bytes 1, 2; the 32 bits from bit 60; byte 20.
fn want_ec1() -> Vec<(String, u8, State, u64)> {
    let middle = u128::from_le_bytes(ec1()[..16].try_into().unwrap()) >> 60 & 0xFFFF_FFFF;
    let reading = |name: &str, raw| (name.to_owned(), 0x17, State::Value, raw);
    vec![reading("First", 0x0201), reading("Middle", u64::try_from(middle).unwrap()), reading("Last", 20)]
}

#[test]
fn a_group_is_found_whatever_priority_receiver_and_source() {
    let mut car = Car::new(DBC);
    for (priority, source) in [(3, 0), (6, 0x55), (0, 0xFD)] {
        let id = priority << 26 | 0xF004 << 8 | source;
        let got = car.frame(id, &[0, 0, 125, 0x68, 0x13, 0, 0x01, 0]);
        let speed = ("EngineSpeed".to_owned(), u8::try_from(source).unwrap(), State::Value, 0x1368);
        assert!(got.contains(&speed), "{got:?}");
        assert_eq!(got.len(), 5);
    }
    for receiver in [0x00, 0x21, 0xFF] {
        let got = car.frame(0x0C00_0005 | receiver << 8, &[0, 0x10, 0x27, 0, 0, 0, 0, 0]);
        assert_eq!(got, [("Requested".to_owned(), 5, State::Value, 10_000)]);
    }
    assert_eq!(car.frame(0x0CF0_0500, &[0; 8]), [], "the next group");
    assert_eq!(car.frame(0x0FF0_0400, &[0; 8]), [], "both data page bits: not J1939");
    assert_eq!(car.frame(0x0DF0_0400, &[0; 8]), [], "the other data page");
}

#[test]
fn only_groups_that_a_file_says_are_of_j1939_are_found_so() {
    let plain = DBC.replace("\"J1939PG\";\n", "\"StandardCAN\";\n");
    assert_ne!(plain, DBC);
    let mut car = Car::new(&plain);
    assert_eq!(car.frame(0x0CF0_0400, &[0; 8]), []);
    assert_eq!(car.frame(0x0CF0_04FE, &[0; 8]).len(), 5);
    let protocol =
        "BO_ 2364540158 EEC1: 8 X\n SG_ A : 24|16@1+ (1,0) [0|0] \"\" X\nBA_ \"ProtocolType\" \"J1939\";\n";
    assert_eq!(Car::new(protocol).frame(0x0CF0_0400, &[0; 8]).len(), 1);
    let (mut silent, _) = Database::parse(protocol.split("BA_").next().unwrap().as_bytes(), "a.dbc").unwrap();
    assert!(!silent.messages[0].j1939);
    silent.make_j1939();
    assert!(silent.messages[0].j1939);
}

#[test]
fn senders_that_are_described_apart_are_kept_apart() {
    let text = "BO_ 2364539904 A: 8 X\n SG_ Engine : 0|8@1+ (1,0) [0|0] \"\" X\n\
                BO_ 2364539907 B: 8 X\n SG_ Gearbox : 0|8@1+ (1,0) [0|0] \"\" X\n\
                BA_ \"ProtocolType\" \"J1939\";\n";
    let mut car = Car::new(text);
    assert_eq!(car.frame(0x18F0_0400, &[1; 8]), [("Engine".to_owned(), 0, State::Value, 1)]);
    assert_eq!(car.frame(0x18F0_0403, &[2; 8]), [("Gearbox".to_owned(), 3, State::Value, 2)]);
    assert_eq!(car.frame(0x18F0_0404, &[3; 8]), [], "nobody said what this one sends");
    let any = format!("{text}BO_ 2364540158 C: 8 X\n SG_ Others : 0|8@1+ (1,0) [0|0] \"\" X\n");
    let mut car = Car::new(&any);
    assert_eq!(car.frame(0x18F0_0404, &[3; 8]), [("Others".to_owned(), 4, State::Value, 3)]);
    assert_eq!(car.frame(0x18F0_0400, &[1; 8]), [("Engine".to_owned(), 0, State::Value, 1)]);
    // Also where the other is not needed: it is not what any sender means.
    car.needs(&["C.Others"]);
    assert_eq!(car.frame(0x18F0_0404, &[3; 8]).len(), 1);
}

#[test]
fn codes_are_states_and_carry_no_value() {
    let mut car = Car::new(DBC);
    let mut state = |at: usize, bytes: &[u8], name: &str| {
        let mut data = [0; 8];
        data[at..at + bytes.len()].copy_from_slice(bytes);
        let got = car.frame(0x0CF0_0400, &data);
        let (_, _, state, raw) = got.iter().find(|(found, ..)| found == name).unwrap().clone();
        assert!(state == State::Value || raw == 0, "no raw value beside a state");
        state
    };
    for (raw, want) in [
        (0_u16, State::Value),
        (0xFAFF, State::Value),
        (0xFB00, State::OutOfRange),
        (0xFDFF, State::OutOfRange),
        (0xFE00, State::Error),
        (0xFEFF, State::Error),
        (0xFF00, State::NotAvailable),
        (0xFFFF, State::NotAvailable),
    ] {
        assert_eq!(state(3, &raw.to_le_bytes(), "EngineSpeed"), want, "{raw:x}");
    }
    for (raw, want) in [
        (250, State::Value),
        (251, State::OutOfRange),
        (253, State::OutOfRange),
        (254, State::Error),
        (255, State::NotAvailable),
    ] {
        assert_eq!(state(2, &[raw], "Torque"), want, "{raw}");
    }
    for (raw, want) in [(13, State::Value), (14, State::Error), (15, State::NotAvailable)] {
        assert_eq!(state(6, &[raw], "Starter"), want, "{raw}");
    }
    for (raw, want) in [(1, State::Value), (2, State::Error), (3, State::NotAvailable)] {
        assert_eq!(state(6, &[raw << 4], "Retarder"), want, "{raw}");
    }
    assert_eq!(state(6, &[0x40], "Lamp"), State::Value, "one bit has no codes");
}

#[test]
fn a_reserved_code_that_the_database_names_is_a_value() {
    let gear = "BO_ 2566849022 ETC2: 8 X\n SG_ Gear : 24|8@1+ (1,-125) [0|0] \"\" X\n\
                VAL_ 2566849022 Gear 251 \"park\" 253 \"other\" ;\nBA_ \"ProtocolType\" \"J1939\";\n";
    let mut car = Car::new(gear);
    let id = 2_566_849_022 & 0x1FFF_FFFF;
    let mut state = |raw| car.frame(id, &[0, 0, 0, raw, 0, 0, 0, 0])[0].2;
    assert_eq!(state(250), State::Value);
    assert_eq!(state(251), State::Value);
    assert_eq!(state(252), State::OutOfRange);
    assert_eq!(state(253), State::OutOfRange, "it does not follow the values");
    assert_eq!(state(254), State::Error);
}

#[test]
fn a_broadcast_message_is_put_together() {
    let mut car = Car::new(DBC);
    let (id, data) = TO_ALL.announce(EC1, 20);
    assert_eq!(car.frame(id, &data), []);
    let packets = TO_ALL.packets(&ec1());
    assert_eq!(car.frame(packets[0].0, &packets[0].1), []);
    // Another sender and an ordinary frame between do not disturb it.
    assert_eq!(car.frame(0x1CEB_FF44, &packets[2].1), []);
    assert_eq!(car.frame(0x0CF0_0400, &[0; 8]).len(), 5);
    assert_eq!(car.frame(packets[1].0, &packets[1].1), []);
    assert_eq!(car.frame(packets[2].0, &packets[2].1), want_ec1());
    assert_eq!((car.whole(), car.broken()), (1, 0));
    assert_eq!(car.frame(packets[2].0, &packets[2].1), [], "it is over");
}

#[test]
fn a_connection_is_listened_to_and_packets_may_come_again() {
    let mut car = Car::new(DBC);
    let (id, data) = TO_ONE.announce(EC1, 20);
    car.frame(id, &data);
    let packets = TO_ONE.packets(&ec1());
    let [a, b, c, _] = EC1.to_le_bytes();
    let clear = [17, 2, 1, 255, 255, a, b, c];
    car.frame(TO_ONE.answer(0xEC), &clear);
    car.frame(packets[0].0, &[1, 9, 9, 9, 9, 9, 9, 9]);
    car.frame(packets[1].0, &packets[1].1);
    car.frame(TO_ONE.answer(0xEC), &[17, 3, 1, 255, 255, a, b, c]);
    car.frame(packets[0].0, &packets[0].1);
    // "Not yet": the receiver holds the connection for longer than a packet may take.
    for _ in 0..4 {
        car.now += J1939_PACKET_GAP_US_MAX / 2;
        car.frame(TO_ONE.answer(0xEC), &[17, 0, 255, 255, 255, a, b, c]);
    }
    assert_eq!(car.frame(packets[2].0, &packets[2].1), want_ec1());
    assert_eq!((car.whole(), car.broken()), (1, 0));
}

#[test]
fn what_is_not_whole_is_dropped() {
    let packets = TO_ALL.packets(&ec1());
    let (id, announce) = TO_ALL.announce(EC1, 20);
    let run = |order: &[usize], pause: i64| {
        let mut car = Car::new(DBC);
        car.frame(id, &announce);
        let mut got = Vec::new();
        for at in order {
            car.now += pause;
            got.extend(car.frame(packets[*at].0, &packets[*at].1));
        }
        (got.len(), car.broken())
    };
    assert_eq!(run(&[0, 1, 2], 0), (3, 0));
    assert_eq!(run(&[0, 2], 0), (0, 1), "a packet is missing");
    assert_eq!(run(&[0, 0, 1, 2], 0), (0, 1), "a broadcast says nothing twice");
    assert_eq!(run(&[1, 0, 2], 0), (0, 1), "out of order");
    assert_eq!(run(&[0, 1, 2], J1939_PACKET_GAP_US_MAX), (0, 1), "too late");
    let mut car = Car::new(DBC);
    car.frame(id, &announce);
    car.frame(packets[0].0, &packets[0].1);
    car.frame(id, &announce);
    assert_eq!(car.broken(), 1, "begun anew");
    let got: Vec<_> = packets.iter().flat_map(|(id, data)| car.frame(*id, data)).collect();
    assert_eq!(got, want_ec1());
}

#[test]
fn an_abort_by_either_side_ends_a_connection() {
    let (id, announce) = TO_ONE.announce(EC1, 20);
    let [a, b, c, _] = EC1.to_le_bytes();
    for abort in [TO_ONE.id(0xEC), TO_ONE.answer(0xEC)] {
        let mut car = Car::new(DBC);
        car.frame(id, &announce);
        car.frame(abort, &[255, 3, 255, 255, 255, a, b, c]);
        let packets = TO_ONE.packets(&ec1());
        let got: Vec<_> = packets.iter().flat_map(|(id, data)| car.frame(*id, data)).collect();
        assert_eq!((got, car.broken()), (vec![], 1));
    }
}

#[test]
fn announcements_that_do_not_fit_are_not_believed() {
    for change in [
        |data: &mut Vec<u8>| data[1] = 22,                            // four packets
        |data: &mut Vec<u8>| data[3] = 2,                             // too few packets
        |data: &mut Vec<u8>| (data[1], data[3]) = (8, 2),             // fits in a frame
        |data: &mut Vec<u8>| (data[1], data[2], data[3]) = (0, 7, 0), // 1,792 bytes
        |data: &mut Vec<u8>| data[0] = 16,                            // a connection with everybody
        |data: &mut Vec<u8>| data.truncate(7),
    ] {
        let (id, mut announce) = TO_ALL.announce(EC1, 20);
        change(&mut announce);
        let mut car = Car::new(DBC);
        car.frame(id, &announce);
        let packets = TO_ALL.packets(&ec1());
        let got: Vec<_> = packets.iter().flat_map(|(id, data)| car.frame(*id, data)).collect();
        assert_eq!((got, car.whole()), (vec![], 0), "{announce:?}");
    }
}

#[test]
fn a_long_message_that_is_shorter_than_its_database_says_gives_what_is_whole() {
    let mut car = Car::new(DBC);
    let (id, data) = TO_ALL.announce(EC1, 16);
    car.frame(id, &data);
    let packets = TO_ALL.packets(&ec1()[..16]);
    let got: Vec<_> = packets.iter().flat_map(|(id, data)| car.frame(*id, data)).collect();
    assert_eq!(got, want_ec1()[..2]);
}

#[test]
fn invariant_6_a_long_message_that_nobody_needs_is_not_kept() {
    let mut car = Car::new(DBC);
    car.needs(&["EEC1.EngineSpeed"]);
    let bus = BusIndex(0);
    let carrier = |car: &Car| {
        let patterns = car.decoder.plan().patterns(bus);
        patterns.iter().any(|pattern| pattern.matches(CanId::Extended(TO_ALL.id(0xEB))))
    };
    assert!(!carrier(&car), "the kernel does not even let it in");
    car.needs(&["EC1.Last"]);
    assert!(carrier(&car));
    let (id, announce) = TO_ALL.announce(0xFEEC, 20);
    car.frame(id, &announce);
    let packets = TO_ALL.packets(&ec1());
    let got: Vec<_> = packets.iter().flat_map(|(id, data)| car.frame(*id, data)).collect();
    assert_eq!((got, car.whole(), car.broken()), (vec![], 0, 0), "another group (the VIN's)");
    // A grant that ends in the middle of a message.
    let (id, announce) = TO_ALL.announce(EC1, 20);
    car.frame(id, &announce);
    car.needs(&["EEC1.EngineSpeed"]);
    car.needs(&["EC1.Last"]);
    let got: Vec<_> = packets.iter().flat_map(|(id, data)| car.frame(*id, data)).collect();
    assert_eq!((got, car.whole()), (vec![], 0));
}

#[test]
fn invariant_9_messages_that_are_never_ended_do_not_fill_the_memory() {
    let mut car = Car::new(DBC);
    let begin = |car: &mut Car, source: usize| {
        let sender = Sender { source: u8::try_from(source).unwrap(), destination: 255 };
        let (id, announce) = sender.announce(EC1, 20);
        car.frame(id, &announce);
        sender
    };
    for source in 0..J1939_SESSIONS_MAX {
        begin(&mut car, source);
    }
    assert_eq!(car.broken(), 0);
    let sender = begin(&mut car, 100);
    assert_eq!(car.broken(), 1);
    let packets = sender.packets(&ec1());
    let got: Vec<_> = packets.iter().flat_map(|(id, data)| car.frame(*id, data)).collect();
    assert_eq!(got, [], "no room for it");
    // Those that came to nothing make room when their time is over.
    car.now += J1939_PACKET_GAP_US_MAX;
    let sender = begin(&mut car, 101);
    let packets = sender.packets(&ec1());
    let got: Vec<_> = packets.iter().flat_map(|(id, data)| car.frame(*id, data)).collect();
    assert_eq!(got.len(), 3);
}

proptest! {
    #[test]
    fn an_identifier_is_in_the_pattern_of_its_group_and_of_no_other(id in 0_u32..0x2000_0000, other in 0_u32..0x2000_0000) {
        let group = |id: u32| {
            // SAE J1939-21, 5.1.2: data pages, PDU format, and PDU specific from format 240 on.
            let format = id >> 16 & 0xFF;
            (id >> 24 & 3, format, if format < 240 { 0 } else { id >> 8 & 0xFF })
        };
        match Address::of(id) {
            None => prop_assert_eq!(id >> 24 & 3, 3),
            Some(from) => {
                prop_assert_eq!(from.source.0, u8::try_from(id & 0xFF).unwrap());
                prop_assert!(from.pgn.pattern().matches(CanId::Extended(id)));
                prop_assert_eq!(from.pgn.pattern().matches(CanId::Extended(other)), group(id) == group(other));
                prop_assert!(from.pgn <= Pgn(0x3_FFFF));
            }
        }
    }

    /// Whatever is on the bus: what comes out was sent whole, by that sender, in that order.
    #[test]
    fn any_interleaving_of_messages_comes_out_right(
        lengths in proptest::collection::vec(9_usize..200, 1..6), order in proptest::collection::vec(0_usize..6, 0..200)
    ) {
        let mut car = Car::new(DBC);
        let messages: Vec<Vec<u8>> = (0_u8..).zip(&lengths)
            .map(|(sender, length)| (0..*length).map(|at| u8::try_from(at * 3 % 200).unwrap() + sender).collect())
            .collect();
        let mut queues: Vec<Vec<(u32, Vec<u8>)>> = (0_u8..).zip(&messages).map(|(source, message)| {
            let sender = Sender { source, destination: if source % 2 == 0 { 255 } else { 0x80 } };
            let mut frames = vec![sender.announce(EC1, message.len())];
            frames.extend(sender.packets(message));
            frames.reverse();
            frames
        }).collect();
        let drain = (0..6).cycle().take(6 * 40);
        let mut first = std::collections::BTreeMap::new();
        for at in order.into_iter().chain(drain) {
            let Some((id, data)) = queues.get_mut(at).and_then(Vec::pop) else { continue };
            for (name, source, _, raw) in car.frame(id, &data) {
                if name == "First" {
                    prop_assert!(first.insert(source, raw).is_none());
                }
            }
        }
        prop_assert_eq!(first.len(), messages.len());
        for (source, raw) in first {
            let message = &messages[usize::from(source)];
            prop_assert_eq!(raw, u64::from(u16::from_le_bytes([message[0], message[1]])));
        }
    }

    #[test]
    fn any_frames_are_taken(frames in proptest::collection::vec(
        (prop_oneof![Just(0x1CEC_FF17_u32), Just(0x1CEB_FF17), Just(0x1CEC_2117), Just(0x1CEB_2117), Just(0x1CEC_1721), any::<u32>()],
         proptest::collection::vec(prop_oneof![Just(16_u8), Just(32), Just(1), Just(2), Just(3), Just(0xFE), any::<u8>()], 0..9)), 0..60)
    ) {
        let mut car = Car::new(DBC);
        for (id, data) in frames {
            prop_assert!(car.frame(id & 0x1FFF_FFFF, &data).len() <= 5);
        }
    }
}

/// The messages of several frames in a truck's log, put together here by sorting its frames, not by following them.
#[test]
fn long_messages_of_a_truck_are_whole() {
    let Some(root) = shared() else { return };
    let text = read(&root.join("data/logs/css_j1939_truck_a.log.gz"));
    let dbc = std::fs::read(root.join("data/dbc/canmatrix__j1939.dbc")).unwrap();
    let (database, _) = Database::parse(&dbc, "j1939.dbc").unwrap();
    let name = BusName::new("can1").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let leaves = Leaves::build(&[bus]).unwrap().0;
    let mut decoder = Decoder::new(Plan::compile(&leaves, &all(&leaves)));
    let (mut announced, mut expected, mut long) = (0, 0, 0);
    let mut current: Option<(usize, u32, Vec<u8>)> = None;
    for line in text.lines().filter(|line| line.contains(" can1 ")) {
        let (id, data) = line.rsplit(' ').next().unwrap().split_once('#').unwrap();
        let (id, data) = (u32::from_str_radix(id, 16).unwrap(), hex::decode(data).unwrap());
        let stamp: f64 = line[1..].split(')').next().unwrap().parse().unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
        let moment = Moment((stamp * 1e6) as i64);
        let frame = Frame::new(BusIndex(0), CanId::Extended(id), moment, &data).unwrap();
        let mut readings = Vec::new();
        let outcome = decoder.decode(&frame, &mut readings);
        match id & 0x00FF_FF00 {
            0x00EC_FF00 => {
                announced += 1;
                let group = u32::from_le_bytes([data[5], data[6], data[7], 0]);
                current = Some((usize::from(data[1]), group, Vec::new()));
            }
            0x00EB_FF00 => {
                let (length, group, bytes) = current.as_mut().unwrap();
                bytes.extend(&data[1..]);
                if bytes.len() < *length {
                    assert_eq!(readings, []);
                    continue;
                }
                bytes.truncate(*length);
                let of_group = |id: CanId| matches!(id, CanId::Extended(id) if id >> 8 & 0x3_FFFF == *group);
                let mut wanted = leaves.iter().filter(|(_, leaf)| of_group(leaf.id)).peekable();
                if wanted.peek().is_none_or(|(_, leaf)| leaf.size <= 8) {
                    assert_eq!(readings, []);
                    continue;
                }
                expected += 1;
                long += usize::from(outcome != Outcome::NotNeeded);
                for (index, leaf) in wanted {
                    let end = usize::from(leaf.layout.start) + usize::from(leaf.layout.length);
                    let found = readings.iter().find(|reading| reading.leaf == index);
                    // All are Intel here.
                    let bit = |at: usize| u64::from(bytes[at / 8] >> (at % 8) & 1);
                    let raw = (end <= bytes.len() * 8)
                        .then(|| (leaf.layout.start.into()..end).rev().fold(0, |raw, at| raw << 1 | bit(at)));
                    assert_eq!(found.is_some(), raw.is_some(), "{}", leaf.path);
                    if let (Some(Reading { state: State::Value, bits, .. }), Some(raw)) = (found, raw) {
                        assert_eq!(*bits, raw);
                    }
                }
            }
            _ => {}
        }
    }
    assert_eq!((announced, expected, long), (152, 25, 25));
}

fn read(path: &std::path::Path) -> String {
    use std::io::Read as _;
    #[expect(clippy::disallowed_types, reason = "a test reads recorded data")]
    let file = std::fs::File::open(path).unwrap();
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}
