//! `geo_cell` through the real gate: of a place only cells leave, each of one position.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "common/rules.rs"]
mod rules;

use glovebox_core::consent::effective::{Effective, SignalRules};
use glovebox_core::consent::transform::{Resolution, Rule, Transform};
use glovebox_core::consent::{Consented, Gate};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{LeafIndex, Leaves, Reading, SourceAddress, State, ValueType};
use glovebox_core::frame::BusIndex;
use glovebox_core::names::*;
use proptest::prelude::*;
use std::sync::Arc;

/// Both in one message, or each in its own.
fn dbc(together: bool) -> String {
    let signal = |name: &str, start: u8| format!(" SG_ {name} : {start}|32@1- (1e-7,0) [0|0] \"deg\" X\n");
    let (latitude, longitude) = (signal("Latitude", 0), signal("Longitude", if together { 32 } else { 0 }));
    let between = if together { "" } else { "BO_ 257 Other: 8 X\n" };
    format!("BO_ 256 Fix: 8 X\n{latitude}{between}{longitude}")
}

fn gate(together: bool, transform: &Transform) -> (Gate, [LeafIndex; 2]) {
    let database = Database::parse(dbc(together).as_bytes(), "place.dbc").unwrap().0;
    let name = BusName::new("b").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let leaves = Leaves::build(&[bus]).unwrap().0;
    let signals: Vec<SignalRules> = leaves
        .iter()
        .map(|(leaf, from)| SignalRules {
            leaf,
            path: SignalPath::new(&from.path.as_str().replace("Other", "Fix")).unwrap(),
            unit: from.unit.clone(),
            value_type: from.value_type,
            scale: from.scale,
            offset: from.offset,
            names: Vec::new(),
            granted: *transform,
            permitted: Rule::Pass(*transform),
        })
        .collect();
    let indexes = [signals[0].leaf, signals[1].leaf];
    let rules = rules::flow(1, signals);
    (Gate::compile(&Effective { flows: vec![Arc::new(rules)], ..Effective::default() }, &leaves), indexes)
}

fn cell(resolution: u8) -> Transform {
    Transform { geo_cell: Resolution::new(resolution), ..Transform::OPEN }
}

fn pass(gate: &mut Gate, now: i64, readings: &[(LeafIndex, Option<i32>)]) -> Vec<Consented> {
    let of = |(leaf, raw): &(LeafIndex, Option<i32>)| Reading {
        leaf: *leaf,
        state: if raw.is_some() { State::Value } else { State::NotAvailable },
        source: SourceAddress::NONE,
        bits: i64::from(raw.unwrap_or(0)).cast_unsigned(),
    };
    let list: Vec<Reading> = readings.iter().map(of).collect();
    let mut out = Vec::new();
    gate.pass(Moment(now), &list, |sample| out.push(sample));
    out
}

/// Degrees of a raw value, in exact arithmetic before the one division.
fn degrees(raw: i32) -> f64 {
    f64::from(raw) * 1e-7
}

proptest! {
    /// A drive along a line: every cell is of a latitude and a longitude of one frame, or, if they come in two messages,
    /// of the last two within a second, each used once; no coordinate leaves, whatever of the two is there.
    #[test]
    fn only_cells_leave(
        start in (-890_000_000i32..890_000_000, -1_790_000_000i32..1_790_000_000),
        step in (-9_000i32..9_000, -9_000i32..9_000),
        frames in proptest::collection::vec((0u8..5, 1i64..1_500_000), 1..40),
        resolution in 0u8..=10,
        together: bool,
    ) {
        let (mut gate, [latitude, longitude]) = gate(together, &cell(resolution));
        let grid = Resolution::new(resolution).unwrap();
        let (mut now, mut at) = (0, start);
        let (mut last_latitude, mut last_longitude) = (None::<(i64, i32)>, None::<(i64, i32)>);
        for (which, gap) in frames {
            now += gap;
            at = (at.0 + step.0, at.1 + step.1);
            let readings = match which {
                0 => vec![(latitude, Some(at.0))],
                1 => vec![(longitude, Some(at.1))],
                2 => vec![(longitude, None)],
                _ => vec![(latitude, Some(at.0)), (longitude, Some(at.1))],
            };
            let mut want = Vec::new();
            for (leaf, raw) in &readings {
                let taken = raw.map(|raw| (now, raw));
                if *leaf == latitude { last_latitude = taken } else { last_longitude = taken }
                if let (Some((then, a)), Some((when, b))) = (last_latitude, last_longitude)
                    && (then - when).abs() <= if together { 0 } else { 1_000_000 }
                {
                    want.push(grid.cell(degrees(a), degrees(b)).unwrap());
                    (last_latitude, last_longitude) = (None, None);
                }
            }
            let got = pass(&mut gate, now, &readings);
            prop_assert!(got.iter().all(|it| it.signal() == 0 && it.state() == State::Value));
            prop_assert_eq!(got.iter().map(Consented::bits).collect::<Vec<_>>(), want);
        }
    }
}

#[test]
fn a_cell_is_told_as_often_as_the_rest_of_the_rule_says() {
    let (mut gate, [latitude, longitude]) =
        gate(true, &Transform { min_interval_us: 900_000_000, ..cell(7) });
    assert_eq!(gate.needed(), [latitude, longitude]);
    let both = |raw| [(latitude, Some(raw)), (longitude, Some(raw))];
    assert_eq!(pass(&mut gate, 0, &both(480_000_000)).len(), 1);
    assert!(pass(&mut gate, 899_999_999, &both(490_000_000)).is_empty());
    assert_eq!(pass(&mut gate, 900_000_000, &both(490_000_000)).len(), 1);
    let rules = &gate.flows()[0].signals[0];
    assert_eq!((rules.coding().value_type, rules.coding().scale), (ValueType::Unsigned, 1.0));
}
