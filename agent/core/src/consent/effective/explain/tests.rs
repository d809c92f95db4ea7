//! What is explained is what was decided: a small car, bent clause by clause.

mod attacks;
#[expect(clippy::panic, reason = "a test may fail loudly")]
mod derived;
mod law;

use super::super::{Effective, Situation, Withheld};
use super::*;
use crate::consent::category::Category;
use crate::consent::document::Policy;
use crate::consent::document::bundle::{Bundle, Directive, Plausible, RecipientStatus};
use crate::consent::document::event::EventCondition;
use crate::consent::document::record::{ConsentRecord, Decision, EventState};
use crate::consent::document::samples::{
    ACME, act, bundle, catalogued, now, policy, rate, record, request, sign, time,
};
use crate::consent::grants::Grants;
use crate::consent::transform::{Rule, TransformSpec};
use crate::decode::Leaves;
use crate::decode::dbc::Database;
use crate::decode::leaves::BusDatabase;
use crate::frame::BusIndex;
use crate::names::{Digest, TrustedTime};

const SPEED: &str = "CAN.can0.Motion.Speed";
const TORQUE: &str = "CAN.can0.Motion.Torque";
const DBC: &[u8] = b"VERSION \"\"\n\nBS_:\n\nBU_: ECU\n\nBO_ 291 Motion: 8 ECU\n \
    SG_ Speed : 0|16@1+ (0.01,0) [0|300] \"km/h\" ECU\n SG_ Torque : 16|16@1+ (1,0) [0|0] \"\" ECU\n";

fn leaves() -> Leaves {
    let (database, _) = Database::parse(DBC, "car.dbc").unwrap();
    let name = "can0".parse().unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    Leaves::build(&[bus]).unwrap().0
}

/// A car in which the speed leaves for acme's tyre care, to be bent by a test.
struct World {
    bundle: Bundle,
    records: Vec<ConsentRecord>,
    time: Option<TrustedTime>,
    agent_version: &'static str,
    leaves: Leaves,
}

impl World {
    fn new() -> Self {
        let leaves = leaves();
        let asked = request("acme", "tyre-care", &[SPEED, TORQUE]);
        let mut bundle = bundle(1);
        bundle.requests = vec![sign(&asked, ACME)];
        bundle.catalogue = vec![catalogued(SPEED, Category::Driving)];
        let mut given = record(1, &asked, ACME, EventState::ConsentGiven);
        for item in &mut given.pii_information {
            let leaf = leaves.find(&item.signal).and_then(|leaf| leaves.get(leaf));
            (item.category, item.signal_map_digest) = (Category::Driving, leaf.unwrap().digest);
        }
        Self { bundle, records: vec![given], time: Some(now()), agent_version: "1.0.0", leaves }
    }

    /// The request asks for what lies around an event of one signal, and the owner agreed to that of another.
    fn waits(&mut self, asked: Option<&str>, agreed: Option<&str>) {
        let event = |signal: &str| EventCondition {
            when: format!("{signal} > 1"),
            before_s: 1,
            after_s: 1,
            min_interval_s: 0,
        };
        let mut request = request("acme", "tyre-care", &[SPEED, TORQUE]);
        request.event = asked.map(event);
        self.bundle.requests = vec![sign(&request, ACME)];
        self.records[0].request_digest = Digest::of(&crate::consent::document::write(&request).unwrap());
        self.records[0].conditions.event = agreed.map(event);
    }

    fn ask<T>(&self, look: impl FnOnce(&Situation<'_>) -> T) -> T {
        let policy: Policy = policy(&self.bundle);
        let mut grants = Grants::default();
        for record in &self.records {
            grants.apply(act(record)).unwrap();
        }
        let Self { leaves, time, agent_version, .. } = self;
        look(&Situation { policy: Some(&policy), grants: &grants, leaves, time: *time, agent_version })
    }

    /// What is explained of the speed, beside what was decided of it.
    fn explained(&self) -> (Explanation, Option<Clause>) {
        self.ask(|situation| both(situation, SPEED))
    }

    /// The one clause that says no, by explanation and decision alike.
    #[track_caller]
    fn no(&self) -> Clause {
        let (explanation, decided) = self.explained();
        let told: Vec<Clause> =
            explanation.answers.iter().filter(|answer| !answer.holds).map(|answer| answer.clause).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(!explanation.leaves());
        assert_eq!(Some(told[0]), decided, "explained and decided");
        told[0]
    }
}

/// The explanation of a signal in its one grant, and the clause by which it was withheld.
fn both(situation: &Situation<'_>, signal: &str) -> (Explanation, Option<Clause>) {
    let signal = signal.parse().unwrap();
    let explanation = explain(situation, &signal, None).remove(0);
    let effective = Effective::of(situation);
    let leaves = effective
        .flows
        .iter()
        .any(|flow| flow.signals.iter().any(|rules| rules.path == signal && rules.permitted != Rule::Deny));
    let about = |withheld: &&Withheld| withheld.signal.as_ref().is_none_or(|it| *it == signal);
    let withheld = effective.withheld.iter().find(about).map(|withheld| withheld.clause);
    assert_eq!(leaves, withheld.is_none());
    assert_eq!(leaves, explanation.leaves(), "{:?}", explanation.answers);
    (explanation, withheld)
}

#[test]
fn what_leaves_has_a_yes_to_every_clause_in_their_order() {
    let (explanation, _) = World::new().explained();
    assert!(explanation.leaves());
    let asked: Vec<Clause> = explanation.answers.iter().map(|answer| answer.clause).collect();
    assert_eq!(asked, Clause::ALL[..Clause::ALL.len() - 2], "all but the session's");
    assert_eq!(explanation.reduced_by, []);
}

#[test]
fn an_event_that_was_agreed_to_and_can_be_seen_says_yes() {
    let mut world = World::new();
    world.waits(Some(SPEED), Some(SPEED));
    let (explained, _) = world.explained();
    assert!(explained.leaves() && explained.event.is_some_and(|event| event.when == format!("{SPEED} > 1")));
    assert!(world.ask(|situation| Effective::of(situation).flows[0].event.is_some()));
}

#[test]
fn the_clause_that_says_no_is_the_one_that_decides() {
    type Bend = fn(&mut World);
    let cases: &[(Clause, Bend)] = &[
        (Clause::TimeInDoubt, |w| w.time = None),
        (Clause::PolicyExpired, |w| w.bundle.expires = time("2026-11-01T12:00:01Z")),
        (Clause::AgentTooOld, |w| w.agent_version = "0.9.9"),
        (Clause::GrantNotLive, |w| w.records[0].not_after = time("2026-11-01T12:00:01Z")),
        (Clause::GrantNotLive, |w| w.records[0].not_before = time("2026-11-01T12:00:01Z")),
        (Clause::Condition, |w| w.waits(Some(SPEED), None)),
        (Clause::Condition, |w| w.waits(None, Some(SPEED))),
        (Clause::EventUnseen, |w| w.waits(Some(TORQUE), Some(TORQUE))),
        (Clause::Condition, |w| w.records[0].conditions.max_bytes_per_day = Some(0)),
        (Clause::RecipientSuspended, |w| w.bundle.recipients[0].status = RecipientStatus::Suspended),
        (Clause::RecipientKeyChanged, |w| w.records[0].recipient.key_thumbprint = Digest([0; 32])),
        (Clause::RequestGone, |w| w.records[0].request_digest = Digest([0; 32])),
        (Clause::RequestExpired, |w| {
            let mut asked = request("acme", "tyre-care", &[SPEED, TORQUE]);
            asked.expires = time("2026-11-01T12:00:00Z");
            w.bundle.requests = vec![sign(&asked, ACME)];
            w.records[0].request_digest = Digest::of(&crate::consent::document::write(&asked).unwrap());
        }),
        (Clause::StaysInCar, |w| w.records[0].pii_information[0].decision = Decision::InVehicle),
        (Clause::NotGranted, |w| {
            let mut narrowed = w.records[0].clone();
            narrowed.record_id = crate::consent::document::samples::id(2);
            narrowed.events[0].event_state = EventState::ConsentNarrowed;
            narrowed.pii_information.remove(0);
            w.records.push(narrowed);
        }),
        (Clause::ExtractionChanged, |w| w.records[0].pii_information[0].signal_map_digest = Digest([0; 32])),
        (Clause::CategoryUnknown, |w| w.bundle.catalogue.clear()),
        (Clause::CategoryChanged, |w| w.bundle.catalogue[0].category = Category::Condition),
        (Clause::Implausible, |w| w.bundle.catalogue[0].plausible = Some(Plausible { min: 0.0, max: 299.0 })),
        (Clause::SignalDropped, |w| {
            w.bundle.directives.push(Directive::Drop { signal: SPEED.parse().unwrap() });
        }),
        (Clause::RequestSuspended, |w| {
            let request = Some("tyre-care-request".parse().unwrap());
            w.bundle.directives.push(Directive::Suspend { recipient: "acme".parse().unwrap(), request });
        }),
        (Clause::TransformDenies, |w| {
            w.bundle.catalogue[0].floor =
                vec![TransformSpec { op: "tomorrow".to_owned(), parameters: [].into() }];
        }),
    ];
    for (clause, bend) in cases {
        let mut world = World::new();
        bend(&mut world);
        if *clause == Clause::AgentTooOld {
            let version = "1.0.0".to_owned();
            world.bundle.directives.push(Directive::RequireMinVersion { version });
        }
        assert_eq!(world.no(), *clause);
        let remedy = clause.remedy(&"acme".parse().unwrap(), &"tyre-care".parse().unwrap());
        assert!(!clause.asks().is_empty() && !remedy.is_empty());
        let command = remedy.ends_with("`glovebox consent grant --recipient acme --purpose tyre-care`");
        assert_eq!(command, clause.is_the_owners(), "{clause:?}: {remedy}");
    }
}

#[test]
fn a_plausible_range_holds_a_leaf_by_the_range_it_is_decoded_with() {
    let with = |signal: &str, min: f64, max: f64| {
        let mut world = World::new();
        let mut entry = catalogued(signal, Category::Driving);
        entry.plausible = Some(Plausible { min, max });
        world.bundle.catalogue = vec![entry];
        world.ask(|situation| both(situation, signal)).1
    };
    assert_eq!(with(SPEED, 0.0, 300.0), None, "both ends are in it");
    assert_eq!(with(SPEED, -10.0, 1e6), None);
    assert_eq!(with(SPEED, 0.5, 300.0), Some(Clause::Implausible));
    assert_eq!(with(TORQUE, 0.0, 1e12), Some(Clause::Implausible), "no range: it may read anything");
}

#[test]
fn several_noes_are_all_told() {
    let mut world = World::new();
    world.bundle.recipients[0].status = RecipientStatus::Suspended;
    world.bundle.catalogue[0].category = Category::Condition;
    world.records[0].not_after = time("2026-11-01T12:00:00Z");
    let (explanation, decided) = world.explained();
    let noes: Vec<Clause> = explanation.answers.iter().filter(|a| !a.holds).map(|a| a.clause).collect();
    assert_eq!(noes, [Clause::GrantNotLive, Clause::RecipientSuspended, Clause::CategoryChanged]);
    assert_eq!(decided, Some(Clause::GrantNotLive), "the decision ends at the first");
}

#[test]
fn what_is_asked_for_and_not_granted_is_told_too() {
    let mut world = World::new();
    world.records.clear();
    let signal = SPEED.parse().unwrap();
    let told = world.ask(|situation| explain(situation, &signal, None));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].recipient.as_str(), told[0].flow), ("acme", None));
    assert!(!told[0].leaves());
    let noes: Vec<Clause> = told[0].answers.iter().filter(|a| !a.holds).map(|a| a.clause).collect();
    assert_eq!(noes, [Clause::NotGiven]);
    let borg = "borg".parse().unwrap();
    assert_eq!(world.ask(|situation| explain(situation, &signal, Some(&borg))), []);
    let nobody = "Vehicle.Nobody.Asks".parse().unwrap();
    assert_eq!(world.ask(|situation| explain(situation, &nobody, None)), []);
}

#[test]
fn without_policy_the_first_clause_is_all_that_can_be_asked() {
    let world = World::new();
    let told = world.ask(|situation| {
        let none = Situation { policy: None, ..*situation };
        explain(&none, &SPEED.parse().unwrap(), None)
    });
    assert_eq!(told[0].answers, [Answer { clause: Clause::NoPolicy, holds: false }]);
    assert!(!told[0].leaves());
}

#[test]
fn a_later_floor_tightens_what_runs_and_a_looser_one_loosens_nothing() {
    let mut world = World::new();
    world.records[0].pii_information[0].transform = vec![rate(60_000)];
    let mut interval_us = |floor: Vec<TransformSpec>, waived: bool| {
        world.bundle.catalogue[0].floor = floor;
        world.records[0].pii_information[0].floor_waived = waived;
        world.ask(|situation| match Effective::of(situation).flows[0].signals[0].permitted {
            Rule::Pass(transform) => transform.min_interval_us,
            Rule::Deny => 0,
        })
    };
    assert_eq!(interval_us(vec![rate(60_000)], false), 60_000_000);
    assert_eq!(interval_us(vec![rate(90_000)], false), 90_000_000);
    assert_eq!(interval_us(vec![rate(5)], false), 60_000_000);
    assert_eq!(interval_us(vec![], false), 60_000_000);
    assert_eq!(
        interval_us(vec![rate(90_000)], true),
        60_000_000,
        "the owner said yes to more than the floor"
    );
}

#[test]
fn what_tells_of_places_and_trips_is_private_by_its_category() {
    let mut world = World::new();
    let mut private = |category| {
        world.bundle.catalogue[0].category = category;
        world.records[0].pii_information[0].category = category;
        let speed = world.leaves.find(&SPEED.parse().unwrap()).unwrap();
        world.ask(|situation| Effective::of(situation).private.contains(&speed))
    };
    assert!(private(Category::Trips) && private(Category::Location));
    assert!(!private(Category::Driving));
}

#[test]
fn of_limits_of_bytes_the_smallest_applies_and_is_told() {
    let mut world = World::new();
    world.records[0].conditions.max_bytes_per_day = Some(9_000);
    let mut narrowed = world.records[0].clone();
    narrowed.record_id = crate::consent::document::samples::id(2);
    narrowed.events[0].event_state = EventState::ConsentNarrowed;
    narrowed.conditions.max_bytes_per_day = Some(7);
    let flow = |world: &World| world.ask(|situation| Effective::of(situation).flows[0].bytes_per_day_max);
    assert_eq!((world.explained().0.bytes_per_day_max, flow(&world)), (Some(9_000), Some(9_000)));
    world.records.push(narrowed);
    assert_eq!((world.explained().0.bytes_per_day_max, flow(&world)), (Some(7), Some(7)));
    world.records[1].conditions.max_bytes_per_day = None;
    assert_eq!(flow(&world), Some(9_000), "what narrows does not widen");
    world.records[0].conditions.max_bytes_per_day = None;
    assert_eq!(flow(&world), None);
}

#[test]
fn all_that_reduces_a_signal_is_told_once() {
    let mut world = World::new();
    world.bundle.catalogue[0].floor = vec![rate(60_000)];
    world.records[0].pii_information[0].transform = vec![rate(60_000), rate(1_000)];
    let signal = SPEED.parse().unwrap();
    world.bundle.directives.push(Directive::Tighten { signal, transforms: vec![rate(90_000)] });
    let (explanation, _) = world.explained();
    assert!(explanation.leaves());
    assert_eq!(explanation.reduced_by, [rate(60_000), rate(1_000), rate(90_000)]);
}
