//! What a recipient can tell of a pause, of location switched off, and of another recipient that was stopped: the real
//! pipeline twice over one drive, and what it gives to be sealed compared byte for byte.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "common/rules.rs"]
mod rules;

use glovebox_core::batch::{ClockQuality, TimeMapping};
use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::{Effective, FlowRules, SignalRules};
use glovebox_core::consent::session::{Hold, Lasts, Session, What};
use glovebox_core::consent::transform::{Rule, Transform, TransformSpec};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{LeafIndex, Leaves};
use glovebox_core::frame::{BusIndex, CanId, Frame};
use glovebox_core::names::*;
use glovebox_core::pipeline::watch::{Test, Watch};
use glovebox_core::pipeline::{Compiled, Event, Output, Pipeline, Watches};
use glovebox_core::wire::{self, Descriptor};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

const DBC: &str = r#"BO_ 256 Motion: 4 X
 SG_ Speed : 0|16@1+ (0.01,0) [0|0] "km/h" X
 SG_ Gear : 16|8@1+ (1,0) [0|0] "" X
BO_ 257 Fix: 8 X
 SG_ Latitude : 0|32@1- (1e-7,0) [0|0] "deg" X
 SG_ Longitude : 32|32@1- (1e-7,0) [0|0] "deg" X
BO_ 258 Body: 1 X
 SG_ Trip : 0|1@1+ (1,0) [0|1] "" X
"#;
/// Frames come every 10 ms, batches close after a second.
const EVERY_MS: i64 = 10;
const BATCH_MS: i64 = 1_000;
const DRIVE_MS: i64 = 8_000;
/// Two trips, and a stop between them.
const TRIPS_MS: [std::ops::Range<i64>; 2] = [0..3_000, 4_000..6_500];
/// One of all signals; one of all but places; one of places alone.
const FLOWS: [&[usize]; 3] = [&[0, 1, 2, 3], &[0, 1], &[2, 3]];

static LEAVES: LazyLock<Leaves> = LazyLock::new(|| {
    let database = Database::parse(DBC.as_bytes(), "s.dbc").unwrap().0;
    let name = BusName::new("b").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    Leaves::build(&[bus]).unwrap().0
});

fn transform(leaf: usize) -> Transform {
    let specs = ["[]", r#"[{"op":"on_change","min_delta":1}]"#, "[]", "[]"][leaf];
    let specs: Vec<TransformSpec> = serde_json::from_str(specs).unwrap();
    let Rule::Pass(transform) = Rule::of(&specs) else { unreachable!("built ops") };
    transform
}

fn signal(number: usize) -> SignalRules {
    let index = LeafIndex(u32::try_from(number).unwrap());
    let leaf = LEAVES.get(index).unwrap();
    SignalRules {
        leaf: index,
        path: leaf.path.clone(),
        unit: leaf.unit.clone(),
        value_type: leaf.value_type,
        scale: leaf.scale,
        offset: leaf.offset,
        names: Vec::new(),
        granted: transform(number),
        permitted: Rule::Pass(transform(number)),
    }
}

fn documents() -> Effective {
    let flow = |number: usize| FlowRules {
        recipient: RecipientId::new(&format!("r{number}")).unwrap(),
        batch_age_us: BATCH_MS * 1_000,
        ..rules::flow(number as u64, FLOWS[number].iter().map(|leaf| signal(*leaf)).collect())
    };
    let flows = (0..FLOWS.len()).map(|number| Arc::new(flow(number))).collect();
    Effective { policy_version: PolicyVersion(1), flows, ..Effective::default() }
}

fn set(what: What) -> Session {
    let mut session = Session::default();
    session.hold(Hold::new(what, Lasts::UntilEnded, Moment(0))).unwrap();
    session
}

/// A drive of eight seconds: the speed jitters, the gear rises now and then and never falls.
struct Drive {
    pipeline: Pipeline,
    /// What is given to be sealed, by flow: plaintext of batches, or what is declared as lost.
    out: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Drive {
    fn begin() -> Self {
        let mapping = TimeMapping { offset_us: 1_790_000_000_000_000, quality: ClockQuality::Rtc };
        let mut drive = Self { pipeline: Pipeline::new(mapping, 1 << 16), out: BTreeMap::new() };
        drive.swap(&Session::default());
        drive
    }

    fn swap(&mut self, session: &Session) {
        let effective = documents().under(session, |path| path.as_str().contains("Fix"));
        let gate = Gate::compile(&effective, &LEAVES);
        let path = SignalPath::new("CAN.b.Body.Trip").unwrap();
        let trip = Some(Watch::new(&LEAVES, &path, &Test::Equals(1.0)).unwrap());
        let watches = Watches { trip, ..Watches::default() };
        self.event(Event::Swap(Box::new(Compiled::new(&LEAVES, gate, watches))));
    }

    fn event(&mut self, event: Event<'_>) {
        let mut outputs = Vec::new();
        self.pipeline.on_event(event, &mut outputs);
        for output in outputs {
            let (flow, bytes) = match output {
                Output::Batch(batch) => {
                    let rules = batch.rules().clone();
                    (rules.flow, wire::encode_batch(batch, &Descriptor::of(&rules), true, &[]))
                }
                Output::Lost { flow, reason, samples } => {
                    (flow, format!("{reason:?} {samples}").into_bytes())
                }
            };
            self.out.entry(flow.0).or_default().push(bytes);
        }
    }

    fn frame(&mut self, at_ms: i64, id: u16) {
        let mixed = (at_ms.unsigned_abs() * 2_654_435_761) >> 7;
        let data = if id == 256 { (mixed & 0x3FFF) | (at_ms.unsigned_abs() / 700) << 16 } else { mixed << 9 };
        self.send(at_ms, id, &data.to_le_bytes()[..if id == 256 { 4 } else { 8 }]);
    }

    fn send(&mut self, at_ms: i64, id: u16, data: &[u8]) {
        let frame = Frame::new(BusIndex(0), CanId::Standard(id), Moment(at_ms * 1_000), data).unwrap();
        self.event(Event::Frame(&frame));
    }

    /// All of it with a pause for a trip, which nobody ends but the signal of trips.
    fn with_a_trip_paused(from: i64) -> BTreeMap<u64, Vec<Vec<u8>>> {
        let (mut drive, mut session) = (Self::begin(), Session::default());
        for at_ms in (0..DRIVE_MS).step_by(usize::try_from(EVERY_MS).unwrap()) {
            if (at_ms..at_ms + EVERY_MS).contains(&from) {
                session.hold(Hold::new(What::All, Lasts::Trip, Moment(at_ms))).unwrap();
                drive.swap(&session);
            }
            drive.event(Event::Time(Moment(at_ms * 1_000)));
            drive.frame(at_ms, 256);
            drive.frame(at_ms, 257);
            drive.send(at_ms, 258, &[TRIPS_MS.iter().any(|trip| trip.contains(&at_ms)).into()]);
            let was_paused = session.is_paused();
            let news = drive.pipeline.trip_goes_on().is_some_and(|goes_on| session.look_at_trip(goes_on));
            if news && was_paused && !session.is_paused() {
                drive.swap(&session);
            }
        }
        drive.event(Event::Flush);
        drive.out
    }

    /// All of it. `on_bus`: whether a frame is there; `acts`: what is set when.
    fn whole(on_bus: impl Fn(i64, u16) -> bool, acts: &[(i64, Session)]) -> BTreeMap<u64, Vec<Vec<u8>>> {
        let mut drive = Self::begin();
        for at_ms in (0..DRIVE_MS).step_by(usize::try_from(EVERY_MS).unwrap()) {
            for (_, session) in acts.iter().filter(|(when, _)| (at_ms..at_ms + EVERY_MS).contains(when)) {
                drive.swap(session);
            }
            drive.event(Event::Time(Moment(at_ms * 1_000)));
            for id in [256, 257].into_iter().filter(|id| on_bus(at_ms, *id)) {
                drive.frame(at_ms, id);
            }
        }
        drive.event(Event::Flush);
        drive.out
    }
}

fn undisturbed() -> BTreeMap<u64, Vec<Vec<u8>>> {
    Drive::whole(|_, _| true, &[])
}

#[test]
fn invariant_6_the_signal_of_trips_is_read_only_while_something_waits_for_one() {
    let mut drive = Drive::begin();
    drive.send(0, 258, &[1]);
    assert_eq!((drive.pipeline.trip_goes_on(), drive.pipeline.counts().frames_not_needed), (None, 1));
    let mut session = set(What::All);
    session.hold(Hold::new(What::Location, Lasts::Trip, Moment(0))).unwrap();
    drive.swap(&session);
    assert_eq!(drive.pipeline.trip_goes_on(), None, "known from before");
    drive.send(1, 258, &[1]);
    assert_eq!((drive.pipeline.trip_goes_on(), drive.pipeline.counts().readings), (Some(true), 1));
    assert!(drive.out.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whoever opens all that comes finds what he would find if the bus had been dead from the last batch on until the
    /// pause ended: the same batches, to the byte, none more or less, and no loss.
    #[test]
    fn nobody_outside_can_tell_a_pause_from_a_dead_bus(from in 100i64..6_000, length in 800i64..2_000) {
        let until = (from + length) / EVERY_MS * EVERY_MS;
        let paused = Drive::whole(|_, _| true, &[(from, set(What::All)), (until, Session::default())]);
        // The batch that was open goes with the pause, also if it was about to be closed.
        let last = (from.div_euclid(EVERY_MS) * EVERY_MS - 1) / BATCH_MS * BATCH_MS;
        let dead = Drive::whole(|at, _| !(last..until).contains(&at), &[]);
        prop_assert_eq!(&paused, &dead);
        prop_assert_ne!(&paused, &undisturbed());
    }

    /// The same of a pause for a trip, which ends by itself: with the trip in which it was set, or, set at a stop, with the
    /// next one.
    #[test]
    fn a_pause_for_a_trip_ends_with_it_and_looks_like_a_dead_bus(from in 100i64..6_000) {
        let from = from / EVERY_MS * EVERY_MS;
        let end = TRIPS_MS.iter().map(|trip| trip.end).find(|end| from < *end).unwrap();
        let last = (from - 1) / BATCH_MS * BATCH_MS;
        let dead = Drive::whole(|at, _| !(last..=end).contains(&at), &[]);
        prop_assert_eq!(&Drive::with_a_trip_paused(from), &dead);
        prop_assert_ne!(&dead, &undisturbed());
    }

    /// Nothing that goes out differs but the absence of location: each flow is what it would be with a dead receiver of
    /// positions, and one without places is not touched at all.
    #[test]
    fn with_location_off_nothing_differs_but_the_absence_of_location(from in 0i64..6_000, length in 10i64..2_000) {
        let until = (from + length) / EVERY_MS * EVERY_MS;
        let off = Drive::whole(|_, _| true, &[(from, set(What::Location)), (until, Session::default())]);
        let first = from.div_euclid(EVERY_MS) * EVERY_MS;
        let dead = Drive::whole(|at, id| id == 256 || !(first..until).contains(&at), &[]);
        prop_assert_eq!(&off, &dead);
        prop_assert_eq!(&off[&1], &undisturbed()[&1]);
        prop_assert_ne!(&off[&2], &undisturbed()[&2]);
    }

    /// Who is not stopped gets what it would get, batch by batch; who is gets no word of it.
    #[test]
    fn a_recipient_that_is_stopped_changes_nothing_for_the_others(from in 100i64..6_000, length in 800i64..2_000) {
        let stopped = set(What::Recipient(RecipientId::new("r0").unwrap()));
        let until = (from + length) / EVERY_MS * EVERY_MS;
        let some = Drive::whole(|_, _| true, &[(from, stopped), (until, Session::default())]);
        let paused = Drive::whole(|_, _| true, &[(from, set(What::All)), (until, Session::default())]);
        let all = undisturbed();
        prop_assert_eq!(&some[&0], &paused[&0]);
        prop_assert_eq!((&some[&1], &some[&2]), (&all[&1], &all[&2]));
    }
}
