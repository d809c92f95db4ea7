//! What is watched is read, decides, and goes nowhere else.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::Arc;

use super::*;
use crate::batch::{ClockQuality, TimeMapping};
use crate::consent::Gate;
use crate::consent::effective::{Effective, FlowRules, SignalRules};
use crate::consent::transform::Rule;
use crate::decode::dbc::Database;
use crate::decode::leaves::BusDatabase;
use crate::frame::{BusIndex, CanId, Frame};
use crate::names::{BusName, Digest, FlowId, HpkeKey, Moment, PurposeId, RecipientId, WallTime};
use crate::pipeline::{Compiled, Event, Output, Pipeline, Watches};

const DBC: &str = r#"BO_ 1 Motion: 8 X
 SG_ Moving : 0|1@1+ (1,0) [0|1] "" X
 SG_ Speed : 8|16@1- (0.1,0) [-100|300] "km/h" X
 SG_ Gear : 24|4@1+ (1,0) [0|0] "" X
BO_ 2 Data: 8 X
 SG_ Level : 0|8@1+ (1,0) [0|0] "" X
BO_ 3 Float: 4 X
 SG_ Real : 0|32@1- (1,0) [0|0] "" X
VAL_ 1 Gear 0 "P" 1 "R" 4 "D" ;
SIG_VALTYPE_ 3 Real : 1;
"#;

fn leaves() -> Leaves {
    let databases = vec![Database::parse(DBC.as_bytes(), "a.dbc").unwrap().0];
    let name = BusName::new("can0").unwrap();
    Leaves::build(&[BusDatabase { bus: BusIndex(0), name, databases, mapping: None }]).unwrap().0
}

fn path(signal: &str) -> SignalPath {
    SignalPath::new(&format!("CAN.can0.{signal}")).unwrap()
}

fn watch(signal: &str, test: &Test) -> Result<Watch, WatchError> {
    Watch::new(&leaves(), &path(signal), test)
}

fn at_most(most: f64) -> Test {
    Test::Within { at_least: None, at_most: Some(most) }
}

/// Data.Level is granted.
fn gate(leaves: &Leaves) -> Gate {
    let index = leaves.find(&path("Data.Level")).unwrap();
    let from = leaves.get(index).unwrap();
    let signal = SignalRules {
        leaf: index,
        path: from.path.clone(),
        unit: String::new(),
        value_type: from.value_type,
        scale: from.scale,
        offset: from.offset,
        names: Vec::new(),
        granted: crate::consent::transform::Transform::default(),
        permitted: Rule::OPEN,
    };
    let rules = FlowRules {
        flow: FlowId(1),
        recipient: RecipientId::new("r").unwrap(),
        purpose: PurposeId::new("p").unwrap(),
        request_digest: Digest([0; 32]),
        event: None,
        hpke_key: HpkeKey([0; 32]),
        live_until: WallTime(i64::MAX),
        batch_age_us: 3_600_000_000,
        age_us_max: None,
        bytes_per_day_max: None,
        microseconds: false,
        signals: vec![signal],
    };
    Gate::compile(&Effective { flows: vec![Arc::new(rules)], ..Effective::default() }, leaves)
}

struct Car {
    pipeline: Pipeline,
    out: Vec<Output>,
    at: i64,
}

impl Car {
    fn new() -> Self {
        let mapping = TimeMapping { offset_us: 0, quality: ClockQuality::Replay };
        Self { pipeline: Pipeline::new(mapping, 64 * 1024), out: Vec::new(), at: 0 }
    }

    fn swap(&mut self, watch: Option<Watch>) {
        let leaves = leaves();
        let compiled =
            Compiled::new(&leaves, gate(&leaves), Watches { only_when: watch, ..Watches::default() });
        self.pipeline.on_event(Event::Swap(Box::new(compiled)), &mut self.out);
    }

    fn frame(&mut self, id: u16, data: &[u8]) -> Option<bool> {
        self.at += 1_000;
        let frame = Frame::new(BusIndex(0), CanId::Standard(id), Moment(self.at), data).unwrap();
        self.pipeline.on_event(Event::Frame(&frame), &mut self.out);
        self.pipeline.signal_holds()
    }
}

fn motion(moving: u8, speed: i16, gear: u8) -> [u8; 8] {
    let [low, high] = speed.to_le_bytes();
    [moving, low, high, gear, 0, 0, 0, 0]
}

/// The one exception: it is read, to decide in the car, and leaves the pipeline as yes or no alone.
#[test]
fn invariant_6_what_is_watched_is_read_and_goes_nowhere() {
    let mut car = Car::new();
    let patterns = |leaves: &Leaves, only_when| {
        Compiled::new(leaves, gate(leaves), Watches { only_when, ..Watches::default() })
            .plan
            .patterns(BusIndex(0))
    };
    let parked = watch("Motion.Moving", &Test::Equals(0.0)).unwrap();
    assert_eq!(patterns(&leaves(), Some(parked.clone())).len(), 2, "the kernel's filter lets it in");
    assert_eq!(patterns(&leaves(), None).len(), 1, "and only while it is watched");
    car.swap(Some(parked));
    for round in 0..100 {
        car.frame(1, &motion(round % 2, 77, 0));
        car.frame(2, &[round; 8]);
    }
    car.pipeline.on_event(Event::Flush, &mut car.out);
    let batches = car.out.iter().map(|output| match output {
        Output::Batch(batch) => (batch.rules().flow, batch.samples()),
        Output::Lost { .. } => (FlowId(0), 0),
    });
    assert_eq!(batches.collect::<Vec<_>>(), [(FlowId(1), 100)], "the granted signal's, and no more");
    assert_eq!(car.pipeline.counts().readings, 200);
}

#[test]
fn its_last_value_holds_and_what_has_no_value_is_not_known() {
    let mut car = Car::new();
    assert_eq!(car.pipeline.signal_holds(), None);
    car.swap(Some(watch("Motion.Moving", &Test::Equals(0.0)).unwrap()));
    assert_eq!(car.frame(2, &[0; 8]), None, "not seen yet");
    assert_eq!(car.frame(1, &motion(1, 0, 0)), Some(false));
    assert_eq!(car.frame(1, &motion(0, 0, 0)), Some(true));
    assert_eq!(car.frame(2, &[1; 8]), Some(true), "while it is silent");
    assert_eq!(car.frame(1, &[]), Some(true), "a frame without it tells nothing");
    car.swap(Some(watch("Motion.Moving", &Test::Equals(0.0)).unwrap()));
    assert_eq!(car.pipeline.signal_holds(), Some(true), "another gate, the same car");
    car.swap(Some(watch("Motion.Speed", &at_most(5.0)).unwrap()));
    assert_eq!(car.pipeline.signal_holds(), None, "another signal");
    assert_eq!(car.frame(1, &motion(0, 50, 0)), Some(true));
    assert_eq!(car.frame(1, &motion(0, 3_001, 0)), None, "out of its range is no value");
    assert_eq!(car.frame(1, &motion(0, 50, 0)), Some(true));
    car.swap(None);
    assert_eq!(car.pipeline.signal_holds(), None, "nothing is watched");
}

#[test]
fn tests_are_in_the_units_of_the_signal() {
    let within = |least, most| Test::Within { at_least: Some(least), at_most: Some(most) };
    let cases = [
        ("Motion.Speed", Test::Equals(0.3), [3, 2, 4]),
        ("Motion.Speed", at_most(0.3), [3, 4, 5]),
        ("Motion.Speed", Test::Within { at_least: Some(0.3), at_most: None }, [3, 2, -3]),
        ("Motion.Speed", within(-0.3, 0.3), [-3, -4, 4]),
    ];
    for (signal, test, [holds, other, another]) in cases {
        let mut car = Car::new();
        car.swap(Some(watch(signal, &test).unwrap()));
        assert_eq!(car.frame(1, &motion(0, holds, 0)), Some(true), "{test:?}");
        assert_eq!(car.frame(1, &motion(0, other, 0)), Some(false), "{test:?}");
        assert_eq!(car.frame(1, &motion(0, another, 0)), Some(false), "{test:?}");
    }
    let mut car = Car::new();
    car.swap(Some(watch("Motion.Gear", &Test::Named("D".to_owned())).unwrap()));
    assert_eq!(car.frame(1, &motion(0, 0, 4)), Some(true));
    assert_eq!(car.frame(1, &motion(0, 0, 0)), Some(false));
    car.swap(Some(watch("Float.Real", &at_most(0.5)).unwrap()));
    assert_eq!(car.frame(3, &0.5_f32.to_le_bytes()), Some(true));
    assert_eq!(car.frame(3, &0.501_f32.to_le_bytes()), Some(false));
    assert_eq!(car.frame(3, &f32::NAN.to_le_bytes()), None);
}

#[test]
fn what_can_never_hold_is_a_fault() {
    assert_eq!(watch("Motion.Movin", &Test::Equals(0.0)), Err(WatchError::Unknown));
    assert_eq!(watch("Float.Real", &Test::Equals(0.0)), Err(WatchError::Float));
    assert_eq!(watch("Motion.Moving", &Test::Equals(0.4)), Err(WatchError::BetweenSteps { nearest: 0.0 }));
    let outside = Err(WatchError::Outside { least: 0.0, most: 1.0 });
    assert_eq!(watch("Motion.Moving", &Test::Equals(2.0)), outside);
    assert_eq!(watch("Motion.Moving", &at_most(-1.0)), outside);
    let said = watch("Motion.Gear", &Test::Named("Park".to_owned())).unwrap_err().to_string();
    assert_eq!(said, "its database does not call any of its values `Park`: P, R, D");
    let said = watch("Motion.Moving", &Test::Named("yes".to_owned())).unwrap_err().to_string();
    assert!(said.ends_with("or anything else: take a number"), "{said}");
}
