//! The plan against a decoder that takes bits one by one, for any layout, frame, range and multiplexor.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use glovebox_core::decode::dbc::{Database, Message, Signal};
use glovebox_core::decode::leaves::{BusDatabase, ByteOrder, Layout, Leaf, Leaves, Number, Selector};
use glovebox_core::decode::plan::Outcome;
use glovebox_core::decode::{LeafIndex, Plan, Reading, State, ValueType};
use glovebox_core::frame::{BusIndex, CanId, Frame, IdPattern};
use glovebox_core::names::{BusName, Moment};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

/// The bits of a layout, most significant first, as the DBC format numbers them; `None` where the frame ends.
fn naive(data: &[u8], layout: Layout) -> Option<u64> {
    let mut position = usize::from(layout.start);
    let mut value = 0u64;
    for taken in 0..layout.length {
        let bit = u64::from(*data.get(position / 8)? >> (position % 8) & 1);
        match layout.order {
            ByteOrder::LittleEndian => {
                value |= bit << taken;
                position += 1;
            }
            ByteOrder::BigEndian => {
                value = value << 1 | bit;
                // Bit 7 comes first in a byte, bit 0 last; then the next byte.
                position = if position % 8 == 0 { position + 15 } else { position - 1 };
            }
        }
    }
    Some(value)
}

/// As a number, two's complement if signed.
fn naive_number(bits: u64, length: u8, value_type: ValueType) -> i128 {
    let negative = value_type == ValueType::Signed && bits >> (length - 1) & 1 == 1;
    i128::from(bits) - if negative { 1i128 << length } else { 0 }
}

fn layouts(bytes: usize) -> impl Strategy<Value = Layout> {
    let bits = bytes * 8;
    (1..=bits.min(64), any::<bool>()).prop_flat_map(move |(length, little)| {
        (0..=bits - length).prop_map(move |first| {
            let (start, order) = if little {
                (first, ByteOrder::LittleEndian)
            } else {
                // The `first`-th bit of the frame when each byte is read from its most significant bit.
                (first / 8 * 8 + 7 - first % 8, ByteOrder::BigEndian)
            };
            Layout { start: u16::try_from(start).unwrap(), length: u8::try_from(length).unwrap(), order }
        })
    })
}

fn signal(number: usize, layout: Layout, value_type: ValueType) -> Signal {
    Signal {
        name: format!("S{number}"),
        line: 1,
        layout,
        value_type,
        scale: 1.0,
        offset: 0.0,
        range: None,
        unit: String::new(),
        names: Vec::new(),
        selectors: Vec::new(),
        comment: String::new(),
        start_value: None,
        receivers: Vec::new(),
    }
}

fn compile(messages: Vec<(CanId, Vec<Signal>)>) -> (Leaves, Plan) {
    let messages = messages.into_iter().enumerate().map(|(number, (id, signals))| Message {
        id,
        name: format!("M{number}"),
        size: 64,
        line: 1,
        j1939: false,
        fd: false,
        signals,
        comment: String::new(),
        sender: String::new(),
        cycle_time_ms: None,
    });
    let database = Database { place: "test.dbc".to_owned(), messages: messages.collect() };
    let name = BusName::new("can0").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let (leaves, _) = Leaves::build(&[bus]).unwrap();
    let needed: Vec<LeafIndex> = leaves.iter().map(|(index, _)| index).collect();
    let plan = Plan::compile(&leaves, &needed);
    (leaves, plan)
}

const ID: CanId = CanId::Standard(0x123);

fn decode(plan: &Plan, data: &[u8]) -> (Outcome, Vec<Reading>) {
    let frame = Frame::new(BusIndex(0), ID, Moment(0), data).unwrap();
    let mut readings = Vec::new();
    let outcome = plan.decode(&frame, &mut readings);
    (outcome, readings)
}

fn integer_type() -> impl Strategy<Value = ValueType> {
    prop_oneof![Just(ValueType::Unsigned), Just(ValueType::Signed)]
}

fn integer(leaf: &Leaf, bits: u64) -> i128 {
    leaf.integer(bits).unwrap()
}

/// Frames of all lengths, signals that fit a frame of `size`, the frame perhaps shorter.
fn frames_and_signals() -> impl Strategy<Value = (Vec<u8>, Vec<(Layout, ValueType)>)> {
    (1usize..=64).prop_flat_map(|size| {
        let signals = vec((layouts(size), integer_type()), 1..12);
        let whole = vec(any::<u8>(), size);
        let short = vec(any::<u8>(), 0..=size);
        (prop_oneof![whole, short], signals)
    })
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn extraction_equals_bit_by_bit((data, signals) in frames_and_signals()) {
        let list = signals.iter().enumerate().map(|(n, (layout, kind))| signal(n, *layout, *kind));
        let (leaves, plan) = compile(vec![(ID, list.collect())]);
        let (outcome, readings) = decode(&plan, &data);
        let frame = Frame::new(BusIndex(0), ID, Moment(0), &data).unwrap();
        let mut missing = 0;
        for ((index, leaf), (layout, kind)) in leaves.iter().zip(&signals) {
            match naive(&data, *layout) {
                Some(bits) => {
                    let reading = readings.iter().find(|reading| reading.leaf == index).unwrap();
                    prop_assert_eq!(reading.state, State::Value);
                    prop_assert_eq!(integer(leaf, reading.bits), naive_number(bits, layout.length, *kind));
                    prop_assert_eq!(leaf.raw(&frame), Some(reading.bits));
                }
                None => {
                    missing += 1;
                    prop_assert_eq!(leaf.raw(&frame), None);
                }
            }
        }
        prop_assert_eq!(readings.len() + usize::try_from(missing).unwrap(), signals.len());
        prop_assert_eq!(outcome, if missing == 0 { Outcome::Decoded } else { Outcome::Short(missing) });
    }

    #[test]
    fn ranges_are_those_of_the_value_in_doubles(
        (layout, kind) in (layouts(8), integer_type()),
        (scale, offset) in (scales(), scales()),
        // Ends of the range: values of some raw numbers, or just beside them, or anything.
        (low, high) in (ends(), ends()),
        frames in vec(any::<[u8; 8]>(), 8),
    ) {
        let mut signal = signal(0, layout, kind);
        (signal.scale, signal.offset) = (scale, offset);
        let (leaves, _) = compile(vec![(ID, vec![signal.clone()])]);
        let leaf = leaves.iter().next().unwrap().1.clone();
        let [low, high] = [low, high].map(|end| end.of(&leaf));
        let (low, high) = if low < high { (low, high) } else { (high, low) };
        // The reader of DBC files takes no other ranges.
        if low.partial_cmp(&high) != Some(std::cmp::Ordering::Less) { return Ok(()) }
        signal.range = Some((low, high));
        let (_, plan) = compile(vec![(ID, vec![signal])]);
        let mut data: Vec<[u8; 8]> = frames;
        data.push([0; 8]);
        data.push([0xFF; 8]);
        for data in data {
            let raw = naive_number(naive(&data, layout).unwrap(), layout.length, kind);
            let value = raw_double(raw) * scale + offset;
            let (_, readings) = decode(&plan, &data);
            let within = low <= value && value <= high;
            let want = if within { State::Value } else { State::OutOfRange };
            prop_assert_eq!(readings[0].state, want, "raw {} value {} in {}..{}", raw, value, low, high);
            prop_assert_eq!(integer(&leaf, readings[0].bits), if within { raw } else { 0 });
        }
    }

    #[test]
    fn ends_of_a_range_are_exact(
        (layout, kind) in (layouts(8), integer_type()),
        (scale, offset) in (scales(), scales()),
        data in any::<[u8; 8]>(),
        (below, above) in (-2i32..=2, -2i32..=2),
    ) {
        // The range ends at, or one step of a double beside, the value of this very frame.
        let raw = naive_number(naive(&data, layout).unwrap(), layout.length, kind);
        let value = raw_double(raw) * scale + offset;
        let (low, high) = (steps(value, below.min(above)), steps(value, below.max(above)));
        if low.partial_cmp(&high) != Some(std::cmp::Ordering::Less) { return Ok(()) }
        let mut signal = signal(0, layout, kind);
        (signal.scale, signal.offset, signal.range) = (scale, offset, Some((low, high)));
        let (_, plan) = compile(vec![(ID, vec![signal])]);
        let want = if low <= value && value <= high { State::Value } else { State::OutOfRange };
        prop_assert_eq!(decode(&plan, &data).1[0].state, want);
    }

    #[test]
    fn multiplexors_let_through_what_they_select(
        data in vec(any::<u8>(), 0..=12),
        (outer, inner) in (multiplexor(), multiplexor()),
        leaf_layout in layouts(12),
    ) {
        let mut below = signal(0, leaf_layout, ValueType::Unsigned);
        below.selectors = vec![outer.clone(), inner.clone()];
        let mut beside = signal(1, leaf_layout, ValueType::Unsigned);
        beside.selectors = vec![outer.clone()];
        let plain = signal(2, leaf_layout, ValueType::Unsigned);
        let (leaves, plan) = compile(vec![(ID, vec![below, beside, plain])]);
        let (outcome, readings) = decode(&plan, &data);
        let mut missing = 0;
        for (index, leaf) in leaves.iter() {
            // What the bits that are there say of the multiplexors: no, cut off, or yes.
            let mut there = Some(true);
            for selector in &leaf.selectors {
                there = match (there, naive(&data, selector.layout)) {
                    (Some(true), Some(value)) => {
                        Some(selector.ranges.iter().any(|(low, high)| *low <= value && value <= *high))
                    }
                    (Some(true), None) => None,
                    (other, _) => other,
                };
            }
            let bits = if there == Some(true) { naive(&data, leaf.layout) } else { None };
            let got = readings.iter().find(|reading| reading.leaf == index).map(|reading| reading.bits);
            prop_assert_eq!(got, bits);
            missing += u32::from(there != Some(false) && bits.is_none());
        }
        prop_assert_eq!(outcome, if missing == 0 { Outcome::Decoded } else { Outcome::Short(missing) });
    }

    #[test]
    fn floats_are_ieee_754(value in prop::num::f32::ANY, double in prop::num::f64::ANY, at in 0u16..=56, little in any::<bool>()) {
        let order = if little { ByteOrder::LittleEndian } else { ByteOrder::BigEndian };
        let start = |at: u16| if little { at * 8 } else { at * 8 + 7 };
        let mut data = [0x55; 64];
        for (length, kind, bytes) in [
            (32, ValueType::Float32, if little { value.to_le_bytes().to_vec() } else { value.to_be_bytes().to_vec() }),
            (64, ValueType::Float64, if little { double.to_le_bytes().to_vec() } else { double.to_be_bytes().to_vec() }),
        ] {
            data[usize::from(at)..][..bytes.len()].copy_from_slice(&bytes);
            let signal = signal(0, Layout { start: start(at), length, order }, kind);
            let (leaves, plan) = compile(vec![(ID, vec![signal])]);
            let leaf = leaves.iter().next().unwrap().1;
            let want = if kind == ValueType::Float32 { f64::from(value) } else { double };
            let reading = decode(&plan, &data).1[0];
            if want.is_finite() {
                prop_assert_eq!(reading.state, State::Value);
                prop_assert_eq!(leaf.value(reading.bits), Number::Float(want));
            } else {
                prop_assert_eq!((reading.state, reading.bits), (State::Error, 0));
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn identifiers_are_found_and_no_others(
        standard in btree_set(0u16..0x800, 0..40),
        extended in btree_set(prop_oneof![0u32..64, 0u32..0x2000_0000], 0..40),
        others in vec(0u32..0x2000_0000, 20),
    ) {
        let layout = Layout { start: 0, length: 8, order: ByteOrder::LittleEndian };
        let ids: Vec<CanId> = standard
            .iter()
            .map(|id| CanId::Standard(*id))
            .chain(extended.iter().map(|id| CanId::Extended(*id)))
            .collect();
        let messages = ids.iter().map(|id| (*id, vec![signal(0, layout, ValueType::Unsigned)]));
        let (leaves, plan) = compile(messages.rev().collect());
        let patterns: Vec<IdPattern> = ids.iter().copied().map(IdPattern::exact).collect();
        prop_assert_eq!(plan.patterns(BusIndex(0)), patterns);
        prop_assert_eq!(plan.patterns(BusIndex(1)), vec![]);
        // Any others, and the neighbours, which fall into the same places.
        let others = others.iter().copied().chain(extended.iter().flat_map(|id| [id ^ 1, id ^ 2]));
        let tried: Vec<CanId> = others
            .chain(standard.iter().map(|id| u32::from(*id) ^ 1))
            .flat_map(|id| [CanId::Extended(id), CanId::Standard(u16::try_from(id & 0xFFFF).unwrap())])
            .collect();
        for id in ids.iter().copied().chain(tried) {
            let frame = Frame::new(BusIndex(0), id, Moment(0), &[7]).unwrap();
            let mut readings = Vec::new();
            let outcome = plan.decode(&frame, &mut readings);
            prop_assert_eq!(outcome == Outcome::Decoded, ids.contains(&id));
            prop_assert!(readings.iter().all(|reading| leaves.get(reading.leaf).unwrap().id == id));
            let mut elsewhere = frame;
            elsewhere.bus = BusIndex(9);
            prop_assert_eq!(plan.decode(&elsewhere, &mut readings), Outcome::NotNeeded);
        }
    }
}

/// Factors and offsets as DBC files have them, and any other finite double.
fn scales() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => prop::sample::select(vec![1.0, -1.0, 0.1, 0.01, -0.1, 0.0, 3.0, 1e-6, 0.4, -40.0, 1e15, 1e300, 5e-324]),
        1 => any::<f64>().prop_filter("finite", |number| number.is_finite()),
    ]
}

#[derive(Debug, Clone)]
enum End {
    OfRaw(u64, i32),
    Any(f64),
}

impl End {
    fn of(&self, leaf: &Leaf) -> f64 {
        match *self {
            End::OfRaw(bits, steps_beside) => {
                let length = u32::from(leaf.layout.length);
                let bits = bits >> (64 - length);
                let raw = naive_number(bits, leaf.layout.length, leaf.value_type);
                steps(raw_double(raw) * leaf.scale + leaf.offset, steps_beside)
            }
            End::Any(number) => number,
        }
    }
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => (any::<u64>(), -1i32..=1).prop_map(|(bits, steps)| End::OfRaw(bits, steps)),
        1 => any::<f64>().prop_map(End::Any),
    ]
}

/// The double so many steps above (or below) another.
fn steps(mut number: f64, count: i32) -> f64 {
    for _ in 0..count.abs() {
        number = if count > 0 { number.next_up() } else { number.next_down() };
    }
    number
}

/// Through `u64` or `i64`, as the value is defined.
#[expect(clippy::cast_precision_loss, reason = "the value is defined in doubles")]
fn raw_double(raw: i128) -> f64 {
    match u64::try_from(raw) {
        Ok(raw) => raw as f64,
        Err(_) => i64::try_from(raw).unwrap() as f64,
    }
}

fn multiplexor() -> impl Strategy<Value = Selector> {
    let ranges = vec((0u64..16, 0u64..4), 1..3);
    (0u16..40, 1u8..=6, ranges).prop_map(|(start, length, ranges)| Selector {
        layout: Layout { start, length, order: ByteOrder::LittleEndian },
        ranges: ranges.into_iter().map(|(low, more)| (low, low + more)).collect(),
    })
}
