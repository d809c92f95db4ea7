//! Which a car has, and what they do with readings that come, stay away or say nothing.

use super::samples::{self, ALONG, ALTITUDE, BRAKE, BRAKE_ID, SPEED, SPEED_ID, TYRES_ID, find, frame};
use super::*;
use crate::decode::{Decoder, Leaves, Plan, Reading, State};
use crate::frame::{BusIndex, CanId};
use crate::limits::PREDICATE_INPUTS_MAX;
use crate::names::Digest;

const PARKED: &str = "Derived.IsParked";

/// What is told of the derived leaf alone: state and value.
fn told(decoder: &mut Decoder, leaf: LeafIndex, (ms, id, raw): (i64, u16, i16)) -> Option<(State, u64)> {
    let mut readings = Vec::new();
    decoder.decode(&frame(ms, id, raw), &mut readings);
    let of_it: Vec<&Reading> = readings.iter().filter(|reading| reading.leaf == leaf).collect();
    assert!(of_it.len() <= 1);
    of_it.first().map(|reading| (reading.state, reading.bits))
}

fn decoder(leaves: &Leaves, path: &str) -> (Decoder, LeafIndex) {
    let leaf = find(leaves, path);
    (Decoder::new(Plan::compile(leaves, &[leaf])), leaf)
}

const YES: Option<(State, u64)> = Some((State::Value, 1));
const NO: Option<(State, u64)> = Some((State::Value, 0));
const UNKNOWN: Option<(State, u64)> = Some((State::NotAvailable, 0));

#[test]
fn nothing_comes_before_each_input_was_read_and_no_value_of_one_that_is_old_or_has_none() {
    let leaves = samples::leaves();
    let (mut decoder, leaf) = decoder(&leaves, PARKED);
    for (ms, id, raw, wanted) in [
        (0, SPEED_ID, 0, None),
        (10, SPEED_ID, 0, None),
        (20, BRAKE_ID, 1, YES),
        (30, SPEED_ID, 9, YES),
        (40, SPEED_ID, 10, NO),
        (50, TYRES_ID, 0, None),
        (60, BRAKE_ID, 3, UNKNOWN),
        (70, SPEED_ID, 0, UNKNOWN),
        (80, BRAKE_ID, 1, YES),
        (3_070, BRAKE_ID, 1, YES),
        (3_071, BRAKE_ID, 1, UNKNOWN),
        (3_072, SPEED_ID, 0, YES),
        (3_100, SPEED_ID, 3_001, UNKNOWN),
        (3_090, SPEED_ID, 0, YES),
    ] {
        assert_eq!(told(&mut decoder, leaf, (ms, id, raw)), wanted, "at {ms}");
    }
}

#[test]
fn tyres_count_for_longer() {
    let leaves = samples::leaves();
    let (mut decoder, leaf) = decoder(&leaves, "Derived.TyrePressureOk");
    assert_eq!(told(&mut decoder, leaf, (0, TYRES_ID, 0)), YES, "one frame has all four");
    assert_eq!(told(&mut decoder, leaf, (10, TYRES_ID, 0b0100)), NO);
    assert_eq!(told(&mut decoder, leaf, (90_010, SPEED_ID, 0)), None);
}

#[test]
fn a_swap_keeps_what_goes_on_and_forgets_what_did_not() {
    let leaves = samples::leaves();
    let (mut decoder, leaf) = decoder(&leaves, PARKED);
    told(&mut decoder, leaf, (0, SPEED_ID, 0));
    let other = find(&leaves, "Derived.AltitudeBand");
    decoder.swap(Plan::compile(&leaves, &[leaf, other]));
    assert_eq!(told(&mut decoder, leaf, (1, BRAKE_ID, 1)), YES);
    decoder.swap(Plan::compile(&leaves, &[other]));
    assert_eq!(told(&mut decoder, leaf, (2, BRAKE_ID, 1)), None);
    decoder.swap(Plan::compile(&leaves, &[leaf]));
    assert_eq!(told(&mut decoder, leaf, (3, BRAKE_ID, 1)), None, "the speed from before is forgotten");
    assert_eq!(told(&mut decoder, leaf, (4, SPEED_ID, 0)), YES);
}

#[test]
fn invariant_6_inputs_are_read_only_while_what_is_made_of_them_is_needed() {
    let leaves = samples::leaves();
    let ids = |needed: &[&str]| {
        let needed: Vec<LeafIndex> = needed.iter().map(|path| find(&leaves, path)).collect();
        let patterns = Plan::compile(&leaves, &needed).patterns(BusIndex(0)).into_iter();
        patterns.map(|pattern| pattern.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), []);
    assert_eq!(ids(&[ALTITUDE]), [CanId::Standard(samples::ALTITUDE_ID)]);
    assert_eq!(ids(&[PARKED]), [SPEED_ID, BRAKE_ID].map(CanId::Standard));
    assert_eq!(ids(&[PARKED, SPEED]), [SPEED_ID, BRAKE_ID].map(CanId::Standard));
}

#[test]
fn a_plan_without_one_derives_nothing() {
    let leaves = samples::leaves();
    let mut decoder = Decoder::new(Plan::compile(&leaves, &[SPEED, BRAKE].map(|path| find(&leaves, path))));
    let mut readings = Vec::new();
    for at in 0..4 {
        decoder.decode(&frame(at, if at % 2 == 0 { SPEED_ID } else { BRAKE_ID }, 0), &mut readings);
    }
    assert_eq!(readings.len(), 4, "just what was asked for");
    assert!(decoder.plan().works().is_empty());
}

#[test]
fn a_car_has_those_of_which_it_has_all_inputs_in_units_that_are_known() {
    let has =
        |leaves: &Leaves, predicate: Predicate| leaves.find(&predicate.path().parse().unwrap()).is_some();
    let leaves = samples::leaves();
    assert!(Predicate::ALL.iter().all(|predicate| has(&leaves, *predicate)));
    let (leaves, notices) = samples::other("SG_ LowRR", "SG_ Other");
    assert!(!has(&leaves, Predicate::TyrePressureOk) && has(&leaves, Predicate::IsParked));
    assert!(notices.iter().all(|notice| !notice.place.starts_with(DERIVED)), "not every car has all of them");
    let (leaves, notices) = samples::other("\"km/h\"", "\"mph\"");
    assert!(!has(&leaves, Predicate::IsParked) && has(&leaves, Predicate::IsBrakingHard));
    let said = "Derived.IsParked: is left out: a signal that it is made of has mph, and must have km/h";
    assert_eq!(notices.iter().map(ToString::to_string).collect::<Vec<_>>(), [said]);
    for (entry, left_out) in [
        ("\"on_change\": true", 4),
        ("\"interval_ms\": 3001", 3),
        ("\"interval_ms\": 3000", 0),
        ("\"interval_ms\": 90001", 4),
    ] {
        let (leaves, notices) = samples::sampled(entry);
        assert_eq!(notices.len(), left_out, "{entry}: {notices:?}");
        assert_eq!(Predicate::ALL.iter().filter(|it| !has(&leaves, **it)).count(), left_out);
    }
}

#[test]
fn its_digest_is_over_its_name_and_those_of_its_inputs() {
    let of = |leaves: &Leaves, path: &str| leaves.get(find(leaves, path)).unwrap().digest;
    let leaves = samples::leaves();
    let (bent, _) = samples::other("(0.1,0) [0|300]", "(0.2,0) [0|300]");
    assert_ne!(of(&leaves, PARKED), of(&bent, PARKED));
    assert_eq!(of(&leaves, "Derived.IsBrakingHard"), of(&bent, "Derived.IsBrakingHard"));
    let all: std::collections::HashSet<_> = leaves.iter().map(|(_, leaf)| leaf.digest).collect();
    assert_eq!(all.len(), leaves.len());
    let lp = |part: &[u8]| [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    let text = [
        lp(b"glovebox/v1/derived"),
        lp(b"Derived.IsBrakingHard"),
        lp(&[0, 0, 0, 1]),
        lp(ALONG.as_bytes()),
        lp(&of(&leaves, ALONG).0),
    ];
    assert_eq!(of(&leaves, "Derived.IsBrakingHard"), Digest::of(&text.concat()));
}

#[test]
fn a_file_cannot_take_the_name_of_one() {
    use crate::decode::dbc::Database;
    use crate::decode::leaves::BusDatabase;
    use crate::decode::map::Mapping;
    let dbc = "BO_ 1 A: 8 X\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" X\n";
    let map = r#"{"Derived": {"children": {"IsParked": {"dbc2vss": {"signal": "S"}}}}}"#;
    let mapping = Some(Mapping::parse(map.as_bytes(), "m.json").unwrap().0);
    let databases = vec![Database::parse(dbc.as_bytes(), "a.dbc").unwrap().0];
    let bus = BusDatabase { bus: BusIndex(0), name: "b".parse().unwrap(), databases, mapping };
    let (leaves, notices) = Leaves::build(&[bus]).unwrap();
    assert!(leaves.find(&PARKED.parse().unwrap()).is_none());
    assert!(leaves.find(&"CAN.b.A.S".parse().unwrap()).is_some(), "the signal keeps its own name");
    assert!(notices[0].what.ends_with("the names of derived signals are the agent's own"), "{notices:?}");
}

#[test]
fn it_comes_when_it_will_and_has_no_place_in_a_frame() {
    let leaves = samples::leaves();
    let (parked, speed) =
        (leaves.get(find(&leaves, PARKED)).unwrap(), leaves.get(find(&leaves, SPEED)).unwrap());
    assert!(!parked.same_frames(speed) && !parked.same_frames(parked) && speed.same_frames(speed));
    assert_eq!(parked.raw(&frame(0, SPEED_ID, 7)), None);
    assert_eq!(speed.raw(&frame(0, SPEED_ID, 7)), Some(7));
    let along = leaves.get(find(&leaves, ALONG)).unwrap();
    assert_eq!((along.made.as_ref(), parked.made.as_ref().map(|made| made.inputs.len())), (None, Some(2)));
}

#[test]
fn every_predicate_has_a_name_of_its_own_and_as_many_inputs_as_are_worked_with() {
    for predicate in Predicate::ALL {
        let path: SignalPath = predicate.path().parse().unwrap();
        assert_eq!(Predicate::named(&path), Some(predicate));
        let count = predicate.inputs().len();
        assert!((1..=PREDICATE_INPUTS_MAX).contains(&count));
        assert_eq!(predicate.made_of().count(), count, "each is a path");
        assert!(predicate.made_of().all(|input| Predicate::named(&input).is_none()), "of what is read");
    }
    assert_eq!(Predicate::named(&"Derived.IsRich".parse().unwrap()), None);
    assert_eq!(Predicate::named(&"Vehicle.Derived.IsParked".parse().unwrap()), None);
}

#[test]
fn each_says_what_its_words_say() {
    let of = |predicate: Predicate, inputs: &[f64]| predicate.of(inputs);
    for (predicate, inputs, wanted) in [
        (Predicate::IsParked, &[0.0, 1.0][..], Some(1)),
        (Predicate::IsParked, &[0.99, 1.0], Some(1)),
        (Predicate::IsParked, &[-0.99, 1.0], Some(1)),
        (Predicate::IsParked, &[1.0, 1.0], Some(0)),
        (Predicate::IsParked, &[-5.0, 1.0], Some(0)),
        (Predicate::IsParked, &[0.0, 0.0], Some(0)),
        (Predicate::IsParked, &[0.0, 3.0], None),
        (Predicate::IsParked, &[0.0], None),
        (Predicate::TyrePressureOk, &[0.0, 0.0, 0.0, 0.0], Some(1)),
        (Predicate::TyrePressureOk, &[0.0, 0.0, 1.0, 0.0], Some(0)),
        (Predicate::TyrePressureOk, &[1.0, 0.0, 0.0, 0.0], Some(0)),
        (Predicate::TyrePressureOk, &[0.0, 0.0, 0.0, 2.0], None),
        (Predicate::TyrePressureOk, &[0.0, 0.0, 0.0], None),
        (Predicate::IsBrakingHard, &[-3.4], Some(0)),
        (Predicate::IsBrakingHard, &[-3.41], Some(1)),
        (Predicate::IsBrakingHard, &[9.0], Some(0)),
        (Predicate::AltitudeBand, &[-400.0], Some(0)),
        (Predicate::AltitudeBand, &[999.9], Some(0)),
        (Predicate::AltitudeBand, &[1_000.0], Some(1)),
        (Predicate::AltitudeBand, &[2_000.0], Some(2)),
    ] {
        assert_eq!(of(predicate, inputs), wanted, "{predicate:?} of {inputs:?}");
    }
}
