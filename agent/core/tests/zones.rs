//! Private places through the real pipeline: from inside of one, and while nobody knows, nothing of places and trips leaves.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "common/rules.rs"]
mod rules;

use glovebox_core::batch::{ClockQuality, TimeMapping};
use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::{Effective, FlowRules, SignalRules};
use glovebox_core::consent::transform::{Resolution, Rule, Transform};
use glovebox_core::consent::zone::{Place, Zones};
use glovebox_core::decode::Leaves;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::limits::PLACE_SILENCE_US_MAX;
use glovebox_core::names::*;
use glovebox_core::pipeline::{Compiled, Event, Pipeline, Watches};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

const GPS: &str = "BO_ 1 Gps: 8 X
 SG_ Latitude : 0|32@1- (1e-7,0) [0|0] \"deg\" X
 SG_ Longitude : 32|32@1- (1e-7,0) [0|0] \"deg\" X
";
const REST: &str = "BO_ 2 Trip: 8 X
 SG_ Odometer : 0|32@1+ (1,0) [0|0] \"km\" X
BO_ 3 Motion: 8 X
 SG_ Speed : 0|16@1+ (1,0) [0|0] \"km/h\" X
";
/// A house, far from any pole.
const HOME: (f64, f64) = (52.516_3, 13.377_7);

fn leaves(dbc: &str) -> Leaves {
    let database = Database::parse(dbc.as_bytes(), "z.dbc").unwrap().0;
    let name = BusName::new("b").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    Leaves::build(&[bus]).unwrap().0
}

fn home() -> Zones {
    Zones::of(&[Resolution::ZONE.cell(HOME.0, HOME.1).unwrap()]).unwrap()
}

/// All but the speed is private; what is `granted` is so as it is.
fn compiled(leaves: &Leaves, zones: Zones, granted: &[&str]) -> Compiled {
    let signal = |name: &&str| {
        let leaf = leaves.find(&SignalPath::new(&format!("CAN.b.{name}")).unwrap()).unwrap();
        let from = leaves.get(leaf).unwrap();
        SignalRules {
            leaf,
            path: from.path.clone(),
            unit: from.unit.clone(),
            value_type: from.value_type,
            scale: from.scale,
            offset: from.offset,
            names: Vec::new(),
            granted: Transform::OPEN,
            permitted: Rule::OPEN,
        }
    };
    let signals: Vec<SignalRules> = granted.iter().map(signal).collect();
    let private = signals.iter().filter(|signal| !signal.path.as_str().ends_with("Speed"));
    let private: BTreeSet<_> = private.map(|signal| signal.leaf).collect();
    let rules = FlowRules { batch_age_us: 3_600_000_000, ..rules::flow(1, signals) };
    let effective = Effective { flows: vec![Arc::new(rules)], private, ..Effective::default() };
    let gate = Gate::compile_for(&effective, leaves, &zones);
    let place = Place::new(leaves, Arc::new(zones));
    Compiled::new(leaves, gate, Watches { place, ..Watches::default() })
}

struct Car {
    pipeline: Pipeline,
    now: i64,
}

impl Car {
    fn new(compiled: Compiled) -> Self {
        let mapping = TimeMapping { offset_us: 0, quality: ClockQuality::Replay };
        let mut car = Self { pipeline: Pipeline::new(mapping, 64 * 1024), now: 0 };
        car.swap(compiled);
        car
    }

    fn swap(&mut self, compiled: Compiled) {
        self.pipeline.on_event(Event::Swap(Box::new(compiled)), &mut Vec::new());
    }

    /// How many samples leave of a frame that comes so much later.
    fn frame(&mut self, later_us: i64, id: u16, data: [u8; 8]) -> u64 {
        self.now += later_us;
        let before = self.pipeline.counts().samples;
        let frame = Frame::new(BusIndex(0), CanId::Standard(id), Moment(self.now), &data).unwrap();
        self.pipeline.on_event(Event::Frame(&frame), &mut Vec::new());
        self.pipeline.counts().samples - before
    }

    /// So far from home, in a direction.
    fn gps(&mut self, later_us: i64, meters: f64, bearing: f64) -> u64 {
        let degrees = meters / 111_195.0;
        let latitude = HOME.0 + degrees * bearing.cos();
        let longitude = HOME.1 + degrees * bearing.sin() / HOME.0.to_radians().cos();
        #[expect(clippy::cast_possible_truncation, reason = "degrees in 1e-7 have 32 bits")]
        let raw = [latitude, longitude].map(|degrees| ((degrees * 1e7) as i32).to_le_bytes());
        self.frame(later_us, 1, [raw[0], raw[1]].concat().try_into().unwrap())
    }
}

const ALL: [&str; 4] = ["Gps.Latitude", "Gps.Longitude", "Trip.Odometer", "Motion.Speed"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Within 600 m of a private place, and ten seconds after the last position, nothing private leaves; from 2.5 km on
    /// all does; the speed always does.
    #[test]
    fn from_a_private_place_nothing_private_leaves(
        steps in proptest::collection::vec((1i64..15_000_000, 0u8..3, any::<bool>(), 0.0f64..1.0, 0.0f64..std::f64::consts::TAU), 1..80),
        swap_at in 0usize..80,
    ) {
        let leaves = leaves(&[GPS, REST].concat());
        let mut car = Car::new(compiled(&leaves, home(), &ALL));
        let mut outside = None;
        for (at, (later, what, near, part, bearing)) in steps.into_iter().enumerate() {
            if at == swap_at {
                car.swap(compiled(&leaves, home(), &ALL));
                outside = None;
            }
            match what {
                0 => {
                    let meters = if near { part * 600.0 } else { 2_500.0 + part * 20_000.0 };
                    prop_assert_eq!(car.gps(later, meters, bearing), if near { 0 } else { 2 }, "{} m", meters);
                    outside = Some(car.now).filter(|_| !near);
                }
                1 => {
                    let known = outside.is_some_and(|seen| car.now + later - seen <= PLACE_SILENCE_US_MAX);
                    prop_assert_eq!(car.frame(later, 2, [1; 8]), u64::from(known));
                }
                _ => prop_assert_eq!(car.frame(later, 3, [1; 8]), 1),
            }
        }
    }
}

#[test]
fn invariant_6_the_place_is_read_only_while_a_private_place_needs_it_and_goes_nowhere() {
    let leaves = leaves(&[GPS, REST].concat());
    let odometer = ["Trip.Odometer"];
    let patterns =
        |zones, granted: &[&str]| compiled(&leaves, zones, granted).plan.patterns(BusIndex(0)).len();
    assert_eq!(patterns(home(), &odometer), 2, "the kernel's filter lets the place in");
    assert_eq!(patterns(Zones::default(), &odometer), 1, "there is no private place");
    assert_eq!(patterns(home(), &["Motion.Speed"]), 1, "nothing depends on it");
    let mut car = Car::new(compiled(&leaves, home(), &odometer));
    assert_eq!(car.frame(1, 2, [1; 8]), 0, "nobody knows where the car is");
    assert_eq!((car.gps(1, 9_000.0, 1.0), car.frame(1, 2, [1; 8])), (0, 1));
    assert_eq!((car.gps(1, 0.0, 1.0), car.frame(1, 2, [1; 8])), (0, 0));
}

#[test]
fn without_a_place_in_the_car_or_a_list_that_can_be_read_nothing_private_leaves() {
    let blind = leaves(REST);
    let mut car = Car::new(compiled(&blind, home(), &ALL[2..]));
    assert_eq!((car.frame(1, 2, [1; 8]), car.frame(1, 3, [1; 8])), (0, 1));
    let mut car = Car::new(compiled(&blind, Zones::default(), &ALL[2..]));
    assert_eq!(car.frame(1, 2, [1; 8]), 1, "without private places nothing is held back");
    let leaves = leaves(&[GPS, REST].concat());
    let mut car = Car::new(compiled(&leaves, Zones::everywhere(), &ALL));
    assert_eq!((car.gps(1, 9_000.0, 1.0), car.frame(1, 2, [1; 8])), (0, 0));
    // A private place that is taken away, and one that is added.
    car.swap(compiled(&leaves, Zones::default(), &ALL));
    assert_eq!((car.gps(1, 0.0, 1.0), car.frame(1, 2, [1; 8])), (2, 1));
    car.swap(compiled(&leaves, home(), &ALL));
    assert_eq!((car.frame(1, 2, [1; 8]), car.gps(1, 0.0, 1.0)), (0, 0));
}

#[test]
fn a_private_place_is_a_cell_of_its_resolution() {
    let coarse = Resolution::new(7).unwrap().cell(HOME.0, HOME.1).unwrap();
    assert_eq!(Zones::of(&[coarse]), None);
    assert_eq!(Zones::of(&[0]), None);
    assert!(Zones::of(&[]).unwrap().is_empty() && !Zones::everywhere().is_empty() && !home().is_empty());
}
