//! `trim_ends` and windows of trips through the real gate, against a model that looks at the whole drive at once.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "common/rules.rs"]
mod rules;

use glovebox_core::consent::effective::{Effective, SignalRules};
use glovebox_core::consent::transform::{Rule, TransformSpec};
use glovebox_core::consent::{Consented, Gate};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{LeafIndex, Leaves, Reading, SourceAddress, State};
use glovebox_core::frame::BusIndex;
use glovebox_core::limits::{HELD_SAMPLES_MAX, TRIP_SILENCE_US_MAX};
use glovebox_core::names::*;
use proptest::prelude::*;
use std::sync::Arc;

const DBC: &str = "BO_ 256 M: 8 X\n SG_ S : 0|16@1+ (1,0) [0|0] \"\" X\n";
const MINUTE_US: i64 = 60_000_000;

fn leaves() -> Leaves {
    let database = Database::parse(DBC.as_bytes(), "t.dbc").unwrap().0;
    let name = BusName::new("b").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    Leaves::build(&[bus]).unwrap().0
}

fn gate(json: &str) -> Gate {
    gate_of(json, &[1])
}

/// The same for each of some flows.
fn gate_of(json: &str, flows: &[u64]) -> Gate {
    let leaves = leaves();
    let specs: Vec<TransformSpec> = serde_json::from_str(json).unwrap();
    let Rule::Pass(transform) = Rule::of(&specs) else { unreachable!("{json}") };
    let from = leaves.get(LeafIndex(0)).unwrap();
    let signal = SignalRules {
        leaf: LeafIndex(0),
        path: from.path.clone(),
        unit: String::new(),
        value_type: from.value_type,
        scale: 1.0,
        offset: 0.0,
        names: Vec::new(),
        granted: transform,
        permitted: Rule::Pass(transform),
    };
    let rules = |flow: &u64| rules::flow(*flow, vec![signal.clone()]);
    let flows = flows.iter().map(|flow| Arc::new(rules(flow))).collect();
    Gate::compile(&Effective { flows, ..Effective::default() }, &leaves)
}

fn trimmed(first: i64, last: i64) -> String {
    format!(r#"[{{"op":"trim_ends","first_min":{first},"last_min":{last}}}]"#)
}

fn pass(gate: &mut Gate, now: i64, value: u16) -> Vec<Consented> {
    let mut out = released(gate, now);
    let source = SourceAddress(255);
    let reading = Reading { leaf: LeafIndex(0), state: State::Value, source, bits: value.into() };
    gate.pass(Moment(now), &[reading], |sample| out.push(sample));
    out
}

fn released(gate: &mut Gate, now: i64) -> Vec<Consented> {
    let mut out = Vec::new();
    gate.release(Moment(now), |sample| out.push(sample));
    out
}

/// What comes, and when in microseconds.
#[derive(Debug, Clone, Copy)]
enum Come {
    Trip(Option<bool>),
    Value(u16),
}

/// Trips mostly go on, and their signal mostly comes often.
fn drive() -> impl Strategy<Value = Vec<(i64, Come)>> {
    let come = prop_oneof![
        12 => any::<u16>().prop_map(Come::Value),
        12 => Just(Come::Trip(Some(true))),
        1 => Just(Come::Trip(Some(false))),
        1 => Just(Come::Trip(None)),
    ];
    let step = prop_oneof![20 => 1i64..20_000_000, 1 => 50_000_000i64..70_000_000];
    proptest::collection::vec((step, come), 1..150).prop_map(|list| {
        let mut now = 0;
        let at = |(step, come)| {
            now += step;
            (now, come)
        };
        list.into_iter().map(at).collect()
    })
}

/// A trip as it is found when all of the drive is known.
#[derive(Debug, Default)]
struct Trip {
    /// When the signal said that it goes on.
    says: Vec<i64>,
    begin_seen: bool,
    end_seen: bool,
    values: Vec<(i64, u16)>,
}

fn trips(drive: &[(i64, Come)]) -> Vec<Trip> {
    let (mut all, mut open, mut parked) = (Vec::new(), None::<Trip>, false);
    for &(now, come) in drive {
        let silent = |trip: &Trip| now - trip.says.last().unwrap() > TRIP_SILENCE_US_MAX;
        match come {
            Come::Value(value) => {
                if let Some(trip) = open.as_mut().filter(|trip| !silent(trip)) {
                    trip.values.push((now, value));
                }
            }
            Come::Trip(Some(true)) => {
                let begin_seen = parked && open.is_none();
                if open.as_ref().is_some_and(silent) {
                    all.extend(open.take());
                }
                open.get_or_insert_with(|| Trip { begin_seen, ..Trip::default() }).says.push(now);
                parked = false;
            }
            Come::Trip(said) => {
                if let Some(mut trip) = open.take() {
                    trip.end_seen = said == Some(false) && !silent(&trip);
                    all.push(trip);
                }
                parked = said == Some(false);
            }
        }
    }
    all.extend(open);
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Just what lies far enough from both ends of its trip leaves, and not before the trip is known to go on after it.
    #[test]
    fn of_a_trip_its_ends_are_absent(drive in drive(), first in 1i64..3, last in 1i64..3, swap_at in 0usize..150) {
        let mut gate = gate(&trimmed(first, last));
        let mut left = Vec::new();
        for (at, (now, come)) in drive.iter().enumerate() {
            if at == swap_at {
                let mut next = self::gate(&trimmed(first, last));
                next.inherit(&mut gate);
                gate = next;
            }
            let out = match come {
                Come::Trip(goes_on) => {
                    gate.on_trip(*goes_on, Moment(*now));
                    released(&mut gate, *now)
                }
                Come::Value(value) => pass(&mut gate, *now, *value),
            };
            for sample in out {
                prop_assert!(now - sample.moment().0 >= last * MINUTE_US, "let out too early");
                left.push((sample.moment().0, sample.bits()));
            }
        }
        gate.release_all(|sample| left.push((sample.moment().0, sample.bits())));
        let mut expected = Vec::new();
        for trip in trips(&drive) {
            let (begin, end) = (trip.says[0], *trip.says.last().unwrap());
            let inner = trip.values.iter().filter(|(at, _)| {
                at - begin >= first * MINUTE_US && end - at >= last * MINUTE_US
            });
            expected.extend(inner.map(|(at, value)| (*at, u64::from(*value))));
        }
        prop_assert_eq!(left, expected);
    }

    /// Of each trip whose ends were seen one figure, stamped with its beginning, when it is over.
    #[test]
    fn of_a_trip_one_figure_is_told_when_it_is_over(drive in drive(), least in 1usize..4) {
        let json = format!(r#"[{{"op":"aggregate","window":"trip","functions":["max"],"min_samples":{least}}}]"#);
        let mut gate = gate(&json);
        let mut left = Vec::new();
        for (now, come) in &drive {
            match come {
                Come::Trip(goes_on) => {
                    gate.on_trip(*goes_on, Moment(*now));
                    let figures = released(&mut gate, *now);
                    prop_assert!(figures.is_empty() || *goes_on == Some(false));
                    left.extend(figures.iter().map(|it| (it.moment().0, it.bits())));
                }
                Come::Value(value) => prop_assert!(pass(&mut gate, *now, *value).is_empty()),
            }
        }
        gate.release_all(|sample| left.push((sample.moment().0, sample.bits())));
        let told = trips(&drive).into_iter().filter(|it| it.begin_seen && it.end_seen && it.values.len() >= least);
        let expected: Vec<_> =
            told.map(|it| (it.says[0], it.values.iter().map(|(_, value)| u64::from(*value)).max().unwrap())).collect();
        prop_assert_eq!(left, expected);
    }
}

/// One trip of so many minutes with one value each second; what leaves of it.
fn trip(gate: &mut Gate, begin: i64, minutes: i64, value: u16) -> Vec<i64> {
    let mut left = Vec::new();
    for second in 0..minutes * 60 {
        let now = begin + second * 1_000_000;
        gate.on_trip(Some(true), Moment(now));
        left.extend(pass(gate, now, value).iter().map(|sample| sample.moment().0 - begin));
    }
    gate.on_trip(Some(false), Moment(begin + minutes * MINUTE_US));
    left.extend(released(gate, begin + minutes * MINUTE_US).iter().map(|sample| sample.moment().0 - begin));
    left
}

#[test]
fn without_a_signal_that_tells_of_trips_nothing_leaves() {
    let mut gate = gate(&trimmed(1, 1));
    assert!(gate.needs_trips() && !self::gate("[]").needs_trips());
    assert!((0..500).all(|second| pass(&mut gate, second * 1_000_000, 1).is_empty()));
    assert!(trip(&mut gate, 500_000_000, 2, 1).is_empty(), "as long as both ends together");
    assert_eq!(trip(&mut gate, 1_000_000_000, 5, 1).len(), 3 * 60);
}

#[test]
fn a_flow_that_begins_or_goes_on_in_a_trip_tells_no_figure_of_it() {
    let figure = r#"[{"op":"aggregate","window":"trip","functions":["count"]}]"#;
    let told = |gate: &mut Gate, ends: i64| {
        gate.on_trip(Some(false), Moment(ends));
        let mut told: Vec<_> = released(gate, ends)
            .iter()
            .map(|it| (gate.flows()[it.flow().index()].flow.0, it.bits()))
            .collect();
        told.sort_unstable();
        told
    };
    let goes_on = |gate: &mut Gate, from: i64| {
        for second in from..from + 30 {
            gate.on_trip(Some(true), Moment(second * 1_000_000));
            assert!(pass(gate, second * 1_000_000, 1).is_empty());
        }
    };
    let mut before = gate_of(figure, &[1]);
    before.on_trip(Some(false), Moment(0));
    goes_on(&mut before, 1);
    let mut gate = gate_of(figure, &[1, 2]);
    gate.inherit(&mut before);
    goes_on(&mut gate, 31);
    assert_eq!(told(&mut gate, 61_000_000), [(1, 60)], "the other one has seen half of it");
    goes_on(&mut gate, 101);
    assert_eq!(told(&mut gate, 131_000_000), [(1, 30), (2, 30)]);
    // Nor if it has seen nothing of the rest of that trip.
    goes_on(&mut before, 201);
    let mut gate = gate_of(figure, &[1, 2]);
    gate.inherit(&mut before);
    told(&mut gate, 232_000_000);
    goes_on(&mut gate, 301);
    assert_eq!(told(&mut gate, 331_000_000), [(1, 30), (2, 30)]);
}

#[test]
fn nothing_that_leaves_tells_what_was_at_the_end_of_the_trip_before() {
    let ends = r#"{"op":"trim_ends","first_min":1,"last_min":1}"#;
    let mut gate = gate(&format!(r#"[{ends},{{"op":"on_change"}}]"#));
    assert_eq!(trip(&mut gate, 0, 5, 7), [MINUTE_US]);
    assert_eq!(trip(&mut gate, 1_000_000_000, 5, 7), [MINUTE_US], "unchanged since then, and told");
    let mut gate =
        self::gate(&format!(r#"[{ends},{{"op":"threshold","when":"above","value":5,"hysteresis":1}}]"#));
    // It falls at the end of one trip, and is above in all of the next.
    for minute in [0, 1, 2, 3, 4, 5] {
        gate.on_trip(Some(true), Moment(minute * MINUTE_US));
        pass(&mut gate, minute * MINUTE_US, if minute == 5 { 0 } else { 7 });
    }
    gate.on_trip(Some(false), Moment(6 * MINUTE_US));
    assert!(trip(&mut gate, 1_000_000_000, 5, 7).is_empty(), "it came up in none of the inner parts");
    let figures = format!(r#"[{ends},{{"op":"aggregate","window_s":60,"functions":["count"]}}]"#);
    let mut gate = self::gate(&figures);
    let told = trip(&mut gate, MINUTE_US / 2, 6, 1);
    assert_eq!(told.len(), 4, "windows that lie in the first five of six minutes, less the first: {told:?}");
}

#[test]
fn what_waits_for_the_end_is_bounded_counted_and_not_declared() {
    let mut gate = gate(&trimmed(1, 1));
    gate.on_trip(Some(true), Moment(0));
    gate.on_trip(Some(true), Moment(MINUTE_US));
    let more = 5;
    for at in 0..i64::try_from(HELD_SAMPLES_MAX).unwrap() + more {
        assert!(pass(&mut gate, MINUTE_US + at, 1).is_empty());
    }
    assert_eq!(gate.tail_dropped(), more.unsigned_abs());
    gate.on_trip(Some(true), Moment(2 * MINUTE_US));
    gate.on_trip(Some(true), Moment(3 * MINUTE_US));
    assert_eq!(released(&mut gate, 3 * MINUTE_US).len(), HELD_SAMPLES_MAX);
    assert!(gate.take_lost().is_empty(), "what may be of the end of a trip is not spoken of");
}

#[test]
fn under_another_rule_what_waited_is_gone_and_unsaid() {
    let mut gate = gate(&trimmed(1, 1));
    gate.on_trip(Some(true), Moment(0));
    gate.on_trip(Some(true), Moment(MINUTE_US));
    pass(&mut gate, MINUTE_US, 1);
    let mut next = self::gate(&trimmed(1, 2));
    next.inherit(&mut gate);
    for minute in 2..6 {
        next.on_trip(Some(true), Moment(minute * MINUTE_US));
        assert!(released(&mut next, minute * MINUTE_US).is_empty());
    }
    assert!(next.take_lost().is_empty());
}
