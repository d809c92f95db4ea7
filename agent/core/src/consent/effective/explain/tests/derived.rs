//! Derived signals: what lets them leave, what keeps them, and that nothing of what they are made of ever does.

use super::*;
use crate::batch::{ClockQuality, TimeMapping};
use crate::consent::Gate;
use crate::consent::document::record::PiiInformation;
use crate::consent::session::{Hold, Lasts, Session, What};
use crate::decode::predicate::samples::{
    self, ALONG, ALONG_ID, ALTITUDE, ALTITUDE_ID, BRAKE, BRAKE_ID, SPEED, SPEED_ID, TYRES_ID, find, frame,
};
use crate::decode::{Decoder, LeafIndex, Plan, Predicate};
use crate::names::{Moment, SignalPath};
use crate::pipeline::{Compiled, Event, Output, Pipeline, Watches};
use proptest::prelude::*;

const PARKED: &str = "Derived.IsParked";
const BAND: &str = "Derived.AltitudeBand";
const BRAKING: &str = "Derived.IsBrakingHard";

fn op(name: &str) -> TransformSpec {
    TransformSpec { op: name.to_owned(), parameters: [].into() }
}

fn spec(json: &str) -> TransformSpec {
    serde_json::from_str(json).unwrap()
}

/// A car in which these leave, and what they are made of stays.
fn world(derived: &[&str]) -> World {
    let inputs: Vec<SignalPath> =
        derived.iter().flat_map(|path| Predicate::named(&path.parse().unwrap()).unwrap().made_of()).collect();
    let all: Vec<&str> = derived.iter().copied().chain(inputs.iter().map(SignalPath::as_str)).collect();
    let mut asked = request("acme", "tyre-care", &all);
    for signal in &mut asked.signals[derived.len()..] {
        signal.transforms = vec![op("in_vehicle")];
    }
    let leaves = samples::leaves();
    let mut bundle = bundle(1);
    bundle.requests = vec![sign(&asked, ACME)];
    bundle.catalogue =
        all.iter().map(|path| catalogued(path, Category::of(&path.parse().unwrap()))).collect();
    let mut given = record(1, &asked, ACME, EventState::ConsentGiven);
    for item in &mut given.pii_information {
        item.category = Category::of(&item.signal);
        item.signal_map_digest = leaves.get(find(&leaves, item.signal.as_str())).unwrap().digest;
        if Predicate::named(&item.signal).is_none() {
            item.decision = Decision::InVehicle;
        }
    }
    World { bundle, records: vec![given], time: Some(now()), agent_version: "1.0.0", leaves }
}

impl World {
    fn item(&mut self, signal: &str) -> &mut PiiInformation {
        let items = &mut self.records[0].pii_information;
        items.iter_mut().find(|item| item.signal.as_str() == signal).unwrap()
    }

    fn entry(&mut self, signal: &str) -> &mut crate::consent::document::bundle::CatalogueEntry {
        self.bundle.catalogue.iter_mut().find(|entry| entry.signal.as_str() == signal).unwrap()
    }

    /// Both stores agree on this category.
    fn classify(&mut self, signal: &str, category: Category) {
        self.entry(signal).category = category;
        self.item(signal).category = category;
    }

    fn tighten(&mut self, signal: &str, transforms: Vec<TransformSpec>) {
        let signal = signal.parse().unwrap();
        self.bundle.directives.push(Directive::Tighten { signal, transforms });
    }

    /// A later record that keeps only these.
    fn narrow(&mut self, keep: impl Fn(&mut PiiInformation) -> bool) {
        let mut narrowed = self.records[0].clone();
        narrowed.record_id = crate::consent::document::samples::id(2);
        narrowed.events[0].event_state = EventState::ConsentNarrowed;
        narrowed.pii_information.retain_mut(|item| keep(item));
        self.records.push(narrowed);
    }

    /// The one clause that keeps `signal`, explained and decided alike; `None`: it leaves.
    fn kept(&self, signal: &str) -> Option<Clause> {
        let (explanation, decided) = self.ask(|situation| both(situation, signal));
        let noes: Vec<Clause> =
            explanation.answers.iter().filter(|answer| !answer.holds).map(|answer| answer.clause).collect();
        assert_eq!(noes.first().copied(), decided, "{noes:?}");
        decided
    }

    /// What each input says of itself.
    fn made_of(&self, signal: &str) -> Vec<(String, Option<Clause>)> {
        let told = self.ask(|situation| both(situation, signal)).0.made_of;
        told.into_iter().map(|it| (it.signal.to_string(), it.clause)).collect()
    }

    fn rule(&self, signal: &str) -> crate::consent::transform::Transform {
        let effective = self.ask(Effective::of);
        let rules = effective.flows[0].signals.iter().find(|it| it.path.as_str() == signal).unwrap();
        let Rule::Pass(transform) = rules.permitted else { panic!("denied") };
        transform
    }

    /// Paths of all samples that these frames let out, and the moments of those of the first.
    fn drive(&self, effective: &Effective, frames: &[(i64, u16, i16)]) -> Vec<(String, i64, u64)> {
        let gate = Gate::compile(effective, &self.leaves);
        let mut decoder = Decoder::new(Plan::compile(&self.leaves, &gate.needed()));
        let mut gate = gate;
        let (mut out, mut readings) = (Vec::new(), Vec::new());
        for &(ms, id, raw) in frames {
            readings.clear();
            decoder.decode(&frame(ms, id, raw), &mut readings);
            gate.pass(Moment(ms * 1_000), &readings, |sample| {
                let rules = &effective.flows[sample.flow().index()].signals[usize::from(sample.signal())];
                out.push((rules.path.to_string(), sample.moment().0 / 1_000, sample.bits()));
            });
        }
        out
    }
}

const FRAMES: [(i64, u16, i16); 8] = [
    (0, SPEED_ID, 0),
    (10, BRAKE_ID, 1),
    (20, SPEED_ID, 400),
    (30, ALTITUDE_ID, 2_000),
    (40, ALONG_ID, -400),
    (50, TYRES_ID, 0),
    (60, ALONG_ID, 0),
    (70, SPEED_ID, 0),
];

#[test]
fn only_what_is_derived_leaves_stamped_as_the_input_that_was_read() {
    let world = world(&[PARKED, BRAKING]);
    assert_eq!((world.kept(PARKED), world.kept(BRAKING)), (None, None));
    assert_eq!(world.kept(SPEED), Some(Clause::StaysInCar));
    let out = world.drive(&world.ask(Effective::of), &FRAMES);
    let told: Vec<(&str, i64, u64)> =
        out.iter().map(|(path, ms, bits)| (path.as_str(), *ms, *bits)).collect();
    assert_eq!(told, [(PARKED, 10, 1), (PARKED, 20, 0), (BRAKING, 40, 1), (BRAKING, 60, 0), (PARKED, 70, 1)]);
}

#[test]
fn each_input_must_be_agreed_to_in_the_same_record_inside_the_car_or_outside() {
    for decision in [Decision::No, Decision::NotSet] {
        let mut world = world(&[PARKED]);
        world.item(BRAKE).decision = decision;
        assert_eq!(world.kept(PARKED), Some(Clause::InputNotGranted));
        let told = world.made_of(PARKED);
        assert_eq!(told, [(SPEED.to_owned(), None), (BRAKE.to_owned(), Some(Clause::NotGranted))]);
    }
    let mut gone = world(&[PARKED]);
    gone.records[0].pii_information.retain(|item| item.signal.as_str() != SPEED);
    assert_eq!(gone.kept(PARKED), Some(Clause::InputNotGranted));
    let mut yes = world(&[PARKED]);
    yes.item(SPEED).decision = Decision::Yes;
    assert_eq!(yes.kept(PARKED), None);
    assert_eq!(yes.kept(SPEED), Some(Clause::TransformDenies), "asked for inside the car only");
}

#[test]
fn an_input_that_the_request_does_not_ask_for_feeds_nothing() {
    let mut world = world(&[PARKED]);
    let mut asked = request("acme", "tyre-care", &[PARKED, SPEED]);
    asked.signals[1].transforms = vec![op("in_vehicle")];
    world.bundle.requests = vec![sign(&asked, ACME)];
    world.records[0].request_digest = Digest::of(&crate::consent::document::write(&asked).unwrap());
    assert_eq!(world.kept(PARKED), Some(Clause::InputNotGranted));
    assert_eq!(world.made_of(PARKED)[1].1, Some(Clause::NotRequested));
}

#[test]
fn whatever_holds_an_input_back_holds_what_is_made_of_it() {
    type Bend = fn(&mut World);
    let cases: &[(Clause, Clause, Bend)] = &[
        (Clause::InputHeld, Clause::SignalDropped, |w| {
            w.bundle.directives.push(Directive::Drop { signal: SPEED.parse().unwrap() });
        }),
        (Clause::InputHeld, Clause::Implausible, |w| {
            w.entry(SPEED).plausible = Some(Plausible { min: 0.0, max: 299.0 });
        }),
        (Clause::InputHeld, Clause::NotGranted, |w| w.narrow(|item| item.signal.as_str() != SPEED)),
        (Clause::InputHeld, Clause::NotGranted, |w| {
            w.narrow(|item| {
                if item.signal.as_str() == SPEED {
                    item.decision = Decision::No;
                }
                true
            });
        }),
        (Clause::InputNotGranted, Clause::ExtractionChanged, |w| {
            w.item(SPEED).signal_map_digest = Digest([0; 32]);
        }),
    ];
    for (clause, input, bend) in cases {
        let mut world = world(&[PARKED]);
        bend(&mut world);
        assert_eq!(world.kept(PARKED), Some(*clause), "{input:?}");
        assert_eq!(world.made_of(PARKED), [(SPEED.to_owned(), Some(*input)), (BRAKE.to_owned(), None)]);
    }
    let mut dropped = world(&[PARKED]);
    dropped.bundle.directives.push(Directive::Drop { signal: PARKED.parse().unwrap() });
    assert_eq!(dropped.kept(PARKED), Some(Clause::SignalDropped));
}

#[test]
fn a_relabelled_input_makes_it_wait_for_the_owner() {
    let mut world = world(&[PARKED, BRAKING]);
    world.leaves = samples::other("(0.1,0) [0|300]", "(0.2,0) [0|300]").0;
    assert_eq!(world.kept(PARKED), Some(Clause::ExtractionChanged));
    assert_eq!(world.kept(BRAKING), None);
}

#[test]
fn its_category_is_that_of_its_most_sensitive_input_or_a_more_sensitive_one() {
    let category = |world: &World, signal: &str| {
        world.ask(|situation| situation.policy.unwrap().category(&signal.parse().unwrap()))
    };
    let mut world = world(&[PARKED]);
    assert_eq!(category(&world, PARKED), Category::Driving);
    world.entry(PARKED).category = Category::Condition;
    assert_eq!(category(&world, PARKED), Category::Driving, "a bundle makes it no less");
    world.entry(PARKED).category = Category::People;
    assert_eq!(category(&world, PARKED), Category::People);
    assert_eq!(world.kept(PARKED), Some(Clause::CategoryChanged));
    world.entry(PARKED).category = Category::Driving;
    world.entry(SPEED).category = Category::Unknown;
    assert_eq!(world.kept(PARKED), Some(Clause::CategoryUnknown), "of what is not known, not known");
    for (path, is) in [
        (PARKED, Category::Driving),
        (BAND, Category::Location),
        ("Derived.TyrePressureOk", Category::Condition),
    ] {
        assert_eq!(Category::of(&path.parse().unwrap()), is, "by its name");
    }
}

#[test]
fn what_is_made_of_a_place_is_one() {
    let mut world = world(&[BAND, BRAKING]);
    world.entry(BAND).category = Category::Condition;
    assert_eq!(world.kept(BAND), None, "the record has it as a place, which it stays");
    let band = find(&world.leaves, BAND);
    let off = |world: &World| {
        let mut session = Session::default();
        session.hold(Hold::new(What::Location, Lasts::UntilEnded, Moment(0))).unwrap();
        world.ask(|situation| {
            let policy = situation.policy.unwrap();
            Effective::of(situation).under(&session, |path| policy.is_location(path))
        })
    };
    assert!(world.ask(Effective::of).private.contains(&band));
    let effective = off(&world);
    assert!(effective.unread.contains(&band));
    let needed = Gate::compile(&effective, &world.leaves).needed();
    assert_eq!(needed, [find(&world.leaves, BRAKING)], "not even read");
    assert!(world.drive(&effective, &FRAMES).iter().all(|(path, ..)| path == BRAKING));
    // Also where a catalogue alone calls an input so, and the derived one is something more sensitive still.
    world.classify(ALONG, Category::Location);
    world.classify(BRAKING, Category::Location);
    assert!(off(&world).unread.contains(&find(&world.leaves, BRAKING)));
}

#[test]
fn what_is_made_of_trips_is_private_though_another_input_says_more() {
    let mut world = world(&[PARKED]);
    world.classify(BRAKE, Category::Trips);
    let parked = find(&world.leaves, PARKED);
    assert_eq!(world.item(PARKED).category, Category::Driving);
    assert!(world.ask(Effective::of).private.contains(&parked));
}

#[test]
fn when_and_how_often_an_input_may_leave_holds_for_what_is_made_of_it_and_what_its_values_are_does_not() {
    let hour = spec(r#"{"op":"time_bucket","granularity_s":3600}"#);
    let mut world = world(&[PARKED]);
    world.entry(SPEED).floor = vec![rate(1_000), spec(r#"{"op":"quantise","step":10}"#), op("in_vehicle")];
    assert_eq!((world.rule(PARKED).min_interval_us, world.rule(PARKED).quantise), (1_000_000, None));
    world.item(PARKED).floor_waived = true;
    assert_eq!(world.rule(PARKED).min_interval_us, 0, "the owner said yes to more");
    world.item(PARKED).floor_waived = false;
    world.tighten(BRAKE, vec![rate(5_000)]);
    assert_eq!(world.rule(PARKED).min_interval_us, 5_000_000);
    world.item(BRAKE).transform.push(hour.clone());
    assert!(world.rule(PARKED).time_bucket.is_some());
    let told = world.ask(|situation| both(situation, PARKED)).0.reduced_by;
    assert!([rate(1_000), rate(5_000), hour].iter().all(|it| told.contains(it)), "{told:?}");
    for denies in [op("drop"), op("tomorrow"), spec(r#"{"op":"rate","min_interval_ms":0}"#)] {
        let mut world = self::world(&[PARKED]);
        world.tighten(SPEED, vec![denies]);
        assert_eq!(world.kept(PARKED), Some(Clause::TransformDenies));
    }
    let mut world = self::world(&[PARKED]);
    world.tighten(SPEED, vec![op("in_vehicle")]);
    assert_eq!(world.kept(PARKED), None, "that is what lets it feed");
}

#[test]
fn edpb_a_score_leaves_and_nothing_that_it_is_made_of() {
    let share = r#"{"op":"aggregate","window_s":10,"functions":["mean"],"min_samples":4}"#;
    let mut world = world(&[BRAKING]);
    world.item(BRAKING).transform = vec![spec(share), spec(r#"{"op":"quantise","step":0.01}"#)];
    let effective = world.ask(Effective::of);
    let mapping = TimeMapping { offset_us: 0, quality: ClockQuality::Replay };
    let mut pipeline = Pipeline::new(mapping, 64 * 1024);
    let gate = Gate::compile(&effective, &world.leaves);
    let compiled = Compiled::new(&world.leaves, gate, Watches::default());
    let mut out = Vec::new();
    pipeline.on_event(Event::Swap(Box::new(compiled)), &mut out);
    for (at, along) in (0..).zip([-500, -100, 0, -341, 200, 0, 0, 0]) {
        pipeline.on_event(Event::Frame(&frame(at * 1_000, ALONG_ID, along)), &mut out);
    }
    pipeline.on_event(Event::Time(Moment(10_000_000)), &mut out);
    assert_eq!(pipeline.counts().samples, 1, "eight readings, one figure");
    pipeline.on_event(Event::Flush, &mut out);
    let batches: Vec<_> = out.iter().filter(|it| matches!(it, Output::Batch(_))).collect();
    let [Output::Batch(batch)] = batches.as_slice() else { panic!("{}", batches.len()) };
    let paths: Vec<&str> = batch.rules().signals.iter().map(|rules| rules.path.as_str()).collect();
    assert_eq!(paths, [BRAKING], "the descriptor names nothing else");
    assert_eq!(batch.samples(), 1);
    let coding = batch.rules().signals[0].coding();
    assert_eq!((coding.scale, coding.offset), (0.01, 0.0), "2 of 8 is told in hundredths");
}

/// Decisions, floors and directives by chance over four inputs and three derived leaves.
fn bent(choices: &[u8; 10]) -> World {
    let mut world = world(&[PARKED, BRAKING, BAND]);
    let decisions = [Decision::InVehicle, Decision::InVehicle, Decision::Yes, Decision::No, Decision::NotSet];
    for (signal, choice) in [SPEED, BRAKE, ALONG, ALTITUDE, PARKED, BRAKING, BAND].iter().zip(choices) {
        let decision = decisions[usize::from(choice % 5)];
        let derived = signal.starts_with("Derived.");
        world.item(signal).decision = match decision {
            Decision::InVehicle if derived => Decision::Yes,
            other => other,
        };
    }
    match choices[7] % 5 {
        0 => world.tighten(SPEED, vec![rate(1_000)]),
        1 => world.bundle.directives.push(Directive::Drop { signal: ALONG.parse().unwrap() }),
        2 => world.entry(ALTITUDE).floor = vec![rate(20)],
        3 => world.narrow(|item| item.signal.as_str() != BRAKE),
        _ => {}
    }
    world
}

fn outs(world: &World, frames: &[(i64, u16, i16)]) -> Vec<(String, i64, u64)> {
    world.drive(&world.ask(Effective::of), frames)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever is decided: no input leaves by what is derived of it, nothing leaves of what was not said yes to, and to agree
    /// to one thing more lets out just more of that and of what is made of it.
    #[test]
    fn invariant_1_to_agree_to_an_input_lets_none_out(
        choices in any::<[u8; 10]>(),
        frames in prop::collection::vec((0i64..50, 0u16..5, -500i16..1_500), 1..40),
    ) {
        let mut ms = 0;
        let frames: Vec<(i64, u16, i16)> = frames
            .into_iter()
            .map(|(step, id, raw)| { ms += step; (ms, 256 + id, if id == 1 || id == 3 { raw & 3 } else { raw }) })
            .collect();
        let world = bent(&choices);
        let out = outs(&world, &frames);
        for (path, ..) in &out {
            let item = world.records[0].pii_information.iter().find(|item| item.signal.as_str() == path);
            prop_assert_eq!(item.map(|item| item.decision), Some(Decision::Yes));
            let derived = Predicate::named(&path.parse().unwrap());
            prop_assert!(derived.is_some(), "{path} was asked for inside the car only");
            for input in derived.into_iter().flat_map(Predicate::made_of) {
                let fed = world.records[0].pii_information.iter().find(|item| item.signal == input).unwrap();
                prop_assert!(matches!(fed.decision, Decision::Yes | Decision::InVehicle));
            }
        }
        // One input more.
        let which = [SPEED, BRAKE, ALONG, ALTITUDE][usize::from(choices[8] % 4)];
        let mut more = bent(&choices);
        let before = more.item(which).decision;
        more.item(which).decision = if before == Decision::Yes { before } else { Decision::InVehicle };
        let more = outs(&more, &frames);
        prop_assert!(out.iter().all(|sample| more.contains(sample)), "it takes nothing away");
        let fed = |path: &str| Predicate::named(&path.parse().unwrap()).is_some_and(|it| it.made_of().any(|input| input.as_str() == which));
        prop_assert!(more.iter().all(|sample| out.contains(sample) || fed(&sample.0)));
        // One derived leaf less.
        let which = [PARKED, BRAKING, BAND][usize::from(choices[9] % 3)];
        let mut less = bent(&choices);
        less.item(which).decision = Decision::No;
        let less = outs(&less, &frames);
        let rest: Vec<_> = out.into_iter().filter(|(path, ..)| path != which).collect();
        prop_assert_eq!(less, rest);
    }
}

#[test]
fn no_grant_of_one_no_input_is_read() {
    let mut world = world(&[PARKED]);
    world.item(PARKED).decision = Decision::No;
    let gate = world.ask(|situation| Gate::compile(&Effective::of(situation), &world.leaves));
    assert_eq!(gate.needed(), Vec::<LeafIndex>::new());
}
