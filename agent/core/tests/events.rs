//! What leaves around an event, through the real gate, against windows that are laid over all samples afterwards.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "common/rules.rs"]
mod rules;

use glovebox_core::batch::{ClockQuality, TimeMapping};
use glovebox_core::consent::document::event::EventCondition;
use glovebox_core::consent::effective::{Effective, FlowRules, SignalRules};
use glovebox_core::consent::event::{Occasion, Recorder};
use glovebox_core::consent::transform::{Rule, Transform, TransformSpec};
use glovebox_core::consent::{Consented, Gate};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{Leaves, Reading, SourceAddress, State};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::limits::EVENT_SAMPLES_MAX;
use glovebox_core::names::*;
use glovebox_core::pipeline::{Compiled, Event, Output, Pipeline, Watches};
use proptest::prelude::*;
use std::sync::Arc;

const DBC: &str =
    "BO_ 256 M: 8 X\n SG_ S : 0|16@1- (0.5,-40) [0|0] \"km/h\" X\n SG_ T : 16|16@1- (1,0) [0|0] \"\" X\n";
const WHEN: &str = "CAN.b.M.S > 10 and not CAN.b.M.T == 3";

fn event(when: &str, (before_s, after_s, min_interval_s): (u32, u32, u32)) -> EventCondition {
    EventCondition { when: when.to_owned(), before_s, after_s, min_interval_s }
}

/// Both signals with these transforms, and all of it around the event.
fn rules(event: &EventCondition, transform: &str) -> (FlowRules, Leaves) {
    let database = Database::parse(DBC.as_bytes(), "e.dbc").unwrap().0;
    let name = BusName::new("b").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let leaves = Leaves::build(&[bus]).unwrap().0;
    let specs: Vec<TransformSpec> = serde_json::from_str(transform).unwrap();
    let rule = Rule::of(&specs);
    let signals: Vec<SignalRules> = leaves
        .iter()
        .map(|(leaf, from)| SignalRules {
            leaf,
            path: from.path.clone(),
            unit: from.unit.clone(),
            value_type: from.value_type,
            scale: from.scale,
            offset: from.offset,
            names: Vec::new(),
            granted: Transform::OPEN,
            permitted: rule,
        })
        .collect();
    let rules = FlowRules { event: Occasion::new(event, &signals), ..rules::flow(1, signals) };
    (rules, leaves)
}

/// A gate, and the recorder behind it.
struct Way {
    gate: Gate,
    recorder: Recorder,
}

impl Way {
    fn new(event: &EventCondition, transform: &str) -> Self {
        let (rules, leaves) = rules(event, transform);
        let recorder = Recorder::new(&rules, None).unwrap();
        let effective = Effective { flows: vec![Arc::new(rules)], ..Effective::default() };
        Self { gate: Gate::compile(&effective, &leaves), recorder }
    }

    /// All that the gate let through, what left by it, and what was lost.
    fn take(&mut self, now: i64, raws: [Option<i16>; 2]) -> (Vec<Consented>, Vec<Consented>, u64) {
        let leaves: Vec<_> = self.gate.flows()[0].signals.iter().map(|signal| signal.leaf).collect();
        let readings = leaves.iter().zip(raws).map(|(leaf, raw)| Reading {
            leaf: *leaf,
            state: if raw.is_some() { State::Value } else { State::NotAvailable },
            source: SourceAddress(0),
            bits: i64::from(raw.unwrap_or(0)).cast_unsigned(),
        });
        let readings: Vec<Reading> = readings.collect();
        let (mut all, mut left, mut lost) = (Vec::new(), Vec::new(), 0);
        self.gate.pass(Moment(now), &readings, |sample| {
            all.push(sample);
            lost += self.recorder.take(&sample, |sample| left.push(*sample));
        });
        (all, left, lost)
    }

    /// What a recipient reads.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn read(&self, sample: &Consented) -> Option<f64> {
        let coding = self.gate.flows()[0].signals[usize::from(sample.signal())].coding();
        let value = sample.bits().cast_signed() as f64 * coding.scale + coding.offset;
        (sample.state() == State::Value).then_some(value)
    }
}

/// When `WHEN` becomes true, often enough apart, by what was read of both signals: positions in the list.
fn events(samples: &[(Consented, Option<f64>)], apart_us: i64) -> Vec<usize> {
    let (mut now, mut was, mut found): ([Option<f64>; 2], _, Vec<usize>) = ([None; 2], None, Vec::new());
    for (at, (sample, value)) in samples.iter().enumerate() {
        now[usize::from(sample.signal())] = *value;
        let [Some(s), Some(t)] = now else { continue };
        let is = s > 10.0 && (t - 3.0).abs() > 1e-9;
        let free =
            found.last().is_none_or(|last| sample.moment().0 - samples[*last].0.moment().0 >= apart_us);
        if is && was == Some(false) && free {
            found.push(at);
        }
        was = Some(is);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Exactly the samples that lie in the window of some event leave, each once and in their order; as they were read by
    /// whoever gets them, the event is where the recipient would see it.
    #[test]
    fn exactly_what_lies_around_an_event_leaves(
        frames in proptest::collection::vec(
            (0i64..2_000_000, proptest::option::weighted(0.9, 60i16..140), proptest::option::weighted(0.9, 0i16..5)),
            1..120,
        ),
        before_s in 0u32..6,
        after_s in 1u32..6,
        apart_s in 0u32..20,
        reduced in prop_oneof![
            Just("[]"),
            Just(r#"[{"op":"quantise","step":2}]"#),
            Just(r#"[{"op":"rate","min_interval_ms":2500}]"#),
            Just(r#"[{"op":"on_change","min_delta":1}]"#),
        ],
    ) {
        let mut way = Way::new(&event(WHEN, (before_s, after_s, apart_s)), reduced);
        let (mut all, mut left, mut now) = (Vec::new(), Vec::new(), 0);
        for (gap, s, t) in frames {
            now += gap;
            let (passed, out, lost) = way.take(now, [s, t]);
            prop_assert_eq!(lost, 0);
            all.extend(passed);
            left.extend(out);
        }
        let read: Vec<_> = all.iter().map(|sample| (*sample, way.read(sample))).collect();
        let events = events(&read, i64::from(apart_s) * SECOND);
        let us = |at: usize| all[at].moment().0;
        let around = |at: usize| events.iter().any(|event| {
            if at <= *event {
                us(at) >= us(*event) - i64::from(before_s) * SECOND
            } else {
                us(at) <= us(*event) + i64::from(after_s) * SECOND
            }
        });
        let want: Vec<Consented> = (0..all.len()).filter(|at| around(*at)).map(|at| all[at]).collect();
        prop_assert_eq!(left, want);
    }
}

const SECOND: i64 = 1_000_000;

#[test]
fn what_had_to_go_before_an_event_is_told() {
    let mut way = Way::new(&event("CAN.b.M.S > 10", (300, 1, 0)), "[]");
    let frames = i64::try_from(EVENT_SAMPLES_MAX / 2 + 5).unwrap();
    for at in 0..frames {
        assert_eq!(way.take(at * 1_000, [Some(0), Some(0)]).2, 0);
    }
    let (_, left, lost) = way.take(frames * 1_000, [Some(1_000), Some(0)]);
    assert_eq!(lost, 10, "two signals, five frames too many");
    assert_eq!(left.len(), EVENT_SAMPLES_MAX + 2);
    let (_, _, lost) = way.take(400 * SECOND, [Some(0), Some(0)]);
    assert_eq!(lost, 0, "told once");
}

#[test]
fn an_event_of_what_does_not_leave_as_a_number_cannot_be_seen() {
    let seen = |when: &str, transform: &str| {
        let (rules, _) = rules(&event("CAN.b.M.S > 1", (1, 1, 0)), transform);
        Occasion::new(&event(when, (1, 1, 0)), &rules.signals).is_some()
    };
    assert!(seen("CAN.b.M.S > 1", "[]") && seen("CAN.b.M.S + CAN.b.M.T > 1", "[]"));
    assert!(!seen("CAN.b.M.S > 1", r#"[{"op":"drop"}]"#), "it does not leave");
    assert!(!seen("CAN.b.M.S > 1", r#"[{"op":"geo_cell","resolution":7}]"#), "a cell is no number");
    assert!(!seen("CAN.b.M.U > 1", "[]"), "nobody granted it");
}

#[test]
fn what_is_true_from_the_first_is_no_event() {
    let mut way = Way::new(&event("CAN.b.M.S > 10", (10, 10, 0)), "[]");
    assert!(way.take(0, [Some(1_000), Some(0)]).1.is_empty(), "nobody saw it become true");
    assert!(way.take(SECOND, [None, Some(0)]).1.is_empty());
    assert!(way.take(2 * SECOND, [Some(1_000), Some(0)]).1.is_empty(), "it was not seen to be false between");
    assert!(way.take(3 * SECOND, [Some(0), Some(0)]).1.is_empty());
    assert_eq!(
        way.take(4 * SECOND, [Some(1_000), Some(0)]).1.len(),
        10,
        "all of five frames, and both signals"
    );
}

/// The flow of a car, from frames to batches.
struct Car {
    pipeline: Pipeline,
    out: Vec<Output>,
}

impl Car {
    fn new() -> Self {
        let mapping = TimeMapping { offset_us: 0, quality: ClockQuality::Replay };
        Self { pipeline: Pipeline::new(mapping, 1 << 16), out: Vec::new() }
    }

    fn swap(&mut self, event: &EventCondition) {
        let (rules, leaves) = rules(event, "[]");
        self.put(&Effective { flows: vec![Arc::new(rules)], ..Effective::default() }, &leaves);
    }

    fn put(&mut self, effective: &Effective, leaves: &Leaves) {
        let compiled = Compiled::new(leaves, Gate::compile(effective, leaves), Watches::default());
        self.pipeline.on_event(Event::Swap(Box::new(compiled)), &mut self.out);
    }

    /// Speed at this second; answers how many samples have left by then.
    fn drive(&mut self, second: i64, speed: u8) -> u64 {
        let frame = Frame::new(BusIndex(0), CanId::Standard(256), Moment(second * SECOND), &[speed, 0, 0, 0]);
        self.pipeline.on_event(Event::Frame(&frame.unwrap()), &mut self.out);
        self.pipeline.counts().samples
    }
}

#[test]
fn a_swap_loses_nothing_of_a_flow_that_stays_and_brings_no_event_forward() {
    let waits = event("CAN.b.M.S > 10", (10, 2, 60));
    let mut car = Car::new();
    car.swap(&waits);
    assert_eq!((car.drive(0, 0), car.drive(1, 0)), (0, 0));
    car.swap(&waits);
    assert_eq!(car.drive(2, 200), 6, "what was kept before the swap leaves with the event");
    assert_eq!((car.drive(3, 0), car.drive(4, 0), car.drive(5, 0)), (8, 10, 10));
    // Nothing of it is permitted for a while.
    let (_, leaves) = rules(&waits, "[]");
    car.put(&Effective::default(), &leaves);
    car.swap(&waits);
    assert_eq!((car.drive(10, 0), car.drive(11, 200)), (10, 10), "not again within a minute");
    assert_eq!((car.drive(70, 0), car.drive(71, 200)), (10, 14));
}

#[test]
fn to_wait_for_an_event_or_another_one_is_narrower() {
    let of = |when: &str| rules(&event(when, (1, 1, 0)), "[]").0;
    let (low, high) = (of("CAN.b.M.S > 1"), of("CAN.b.M.S > 10"));
    let always = FlowRules { event: None, ..low.clone() };
    assert!(low.narrower_than(&always) && low.narrower_than(&high));
    assert!(!always.narrower_than(&low) && !low.narrower_than(&low));
}

#[test]
fn what_is_switched_off_in_the_car_does_not_leave_with_a_later_event() {
    let waits = event("CAN.b.M.S > 10", (10, 2, 0));
    let mut car = Car::new();
    car.swap(&waits);
    assert_eq!((car.drive(0, 0), car.drive(1, 0)), (0, 0));
    let (rules, leaves) = rules(&waits, "[]");
    let off = rules.signals[1].leaf;
    let flows = vec![Arc::new(rules)];
    car.put(&Effective { flows, unread: [off].into(), ..Effective::default() }, &leaves);
    assert_eq!(car.drive(2, 200), 3, "of three frames only the signal that is still read");
}

#[test]
fn what_is_kept_does_not_outlive_a_step_of_the_clock() {
    let mut car = Car::new();
    car.swap(&event("CAN.b.M.S > 10", (10, 2, 0)));
    assert_eq!((car.drive(0, 0), car.drive(1, 0)), (0, 0));
    let mapping = TimeMapping { offset_us: 5, quality: ClockQuality::Rtc };
    car.pipeline.on_event(Event::Mapping(mapping), &mut car.out);
    assert_eq!(car.drive(2, 200), 2);
}
