//! What is set adds up, ends only as it was set, and takes away whatever else there is.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::consent::effective::Explanation;
use crate::consent::transform::{Resolution, Transform};
use crate::decode::{LeafIndex, ValueType};
use crate::names::{Digest, FlowId, HpkeKey, PolicyVersion, WallTime};
use proptest::prelude::*;

const MINUTE_US: i64 = 60_000_000;

fn recipient(name: &str) -> RecipientId {
    RecipientId::new(name).unwrap()
}

fn purpose(name: &str) -> PurposeId {
    PurposeId::new(name).unwrap()
}

fn hold(what: What, lasts: Lasts, began_us: i64) -> Hold {
    Hold::new(what, lasts, Moment(began_us))
}

fn driver(name: &str) -> DriverId {
    DriverId::new(name).unwrap()
}

fn session(holds: &[Hold]) -> Session {
    let mut session = Session::default();
    holds.iter().for_each(|hold| session.hold(hold.clone()).unwrap());
    session
}

#[test]
fn times_are_written_as_they_are_read() {
    for text in ["15m", "1m", "24h", "1s", "90s", "trip", "until-ended"] {
        assert_eq!(text.parse::<Lasts>().unwrap().to_string(), text);
    }
    assert_eq!("60s".parse::<Lasts>().unwrap().to_string(), "1m");
    for text in ["", "m", "0m", "15", "-1m", "25h", "99999999999h", "for ever", "15ü", "1d"] {
        assert!(text.parse::<Lasts>().is_err(), "{text}");
    }
}

#[test]
fn a_pause_ends_when_its_time_is_over_and_a_longer_one_counts() {
    let mut paused = session(&[
        hold(What::All, Lasts::Seconds(900), 0),
        hold(What::All, Lasts::Seconds(60), MINUTE_US),
        hold(What::All, Lasts::Seconds(900), MINUTE_US),
    ]);
    assert_eq!(paused.holds().count(), 1);
    assert!(!paused.pass(Moment(16 * MINUTE_US - 1)) && paused.is_paused());
    assert!(paused.pass(Moment(16 * MINUTE_US)) && !paused.is_paused());
}

#[test]
fn the_end_of_the_trip_ends_what_was_set_for_it_and_nothing_else() {
    let mut set = session(&[
        hold(What::All, Lasts::Trip, 0),
        hold(What::Location, Lasts::UntilEnded, 0),
        hold(What::Recipient(recipient("a")), Lasts::Seconds(60), 0),
    ]);
    assert!(set.trip_ended() && !set.trip_ended());
    assert!(!set.is_paused() && set.is_without_location());
    assert!(set.stops(&recipient("a"), &purpose("p")) && !set.stops(&recipient("b"), &purpose("p")));
    assert!(!set.pass(Moment(59_999_999)), "time ends it too early");
    assert!(!set.end(&What::All, None) && set.end(&What::Location, None));
    assert!(set.pass(Moment(60_000_000)) && set == Session::default());
}

#[test]
fn who_lets_a_recipient_go_lets_its_purposes_go_and_nobody_elses() {
    let flow = |whose: &str| What::Flow { recipient: recipient(whose), purpose: purpose("p") };
    let mut set = session(&[
        hold(flow("a"), Lasts::UntilEnded, 0),
        hold(What::Recipient(recipient("a")), Lasts::Trip, 0),
        hold(flow("b"), Lasts::Seconds(60), 0),
    ]);
    assert!(!set.clone().end(&What::All, None), "what was stopped beside it stays");
    assert!(set.end(&What::Recipient(recipient("a")), None));
    assert!(!set.stops(&recipient("a"), &purpose("p")) && set.stops(&recipient("b"), &purpose("p")));
    assert!(set.end(&flow("b"), None) && set == Session::default());
}

#[test]
fn what_one_driver_set_holds_while_that_driver_drives_and_while_nobody_knows_who_does() {
    let of = |name: &str, what| Hold { driver: Some(driver(name)), ..hold(what, Lasts::UntilEnded, 0) };
    let mut set = session(&[
        of("a", What::Location),
        of("b", What::Recipient(recipient("b"))),
        hold(What::Recipient(recipient("c")), Lasts::Trip, 0),
    ]);
    let now = |set: &Session| {
        let stops = |name| set.stops(&recipient(name), &purpose("p"));
        (set.is_without_location(), stops("b"), stops("c"), set.status(Moment(0)).len())
    };
    assert_eq!(now(&set), (true, true, true, 3));
    for (who, expected) in [
        (Driver::Is(driver("a")), (true, false, true, 2)),
        (Driver::Is(driver("b")), (false, true, true, 2)),
        (Driver::Is(driver("c")), (false, false, true, 1)),
        (Driver::Guest, (false, false, true, 1)),
        (Driver::Unknown, (true, true, true, 3)),
    ] {
        set.drives(who.clone());
        assert_eq!(now(&set), expected, "{who}");
    }
    assert!(!set.end(&What::Location, None), "it is set for one driver");
    assert!(!set.end(&What::Location, Some(&driver("b"))) && set.end(&What::Location, Some(&driver("a"))));
    set.drives(Driver::Is(driver("c")));
    assert!(!set.forget(&driver("a")) && set.forget(&driver("b")));
    assert_eq!(*set.clone().begun_again(Moment(9)).driver(), Driver::Unknown);
    assert_eq!(set.holds().count(), 1);
}

#[test]
fn a_pause_that_was_set_in_a_parked_car_lasts_for_the_trip_that_comes() {
    let mut set = session(&[
        hold(What::All, Lasts::Trip, 0),
        hold(What::Location, Lasts::UntilEnded, 0),
        hold(What::Recipient(recipient("a")), Lasts::Seconds(60), 0),
    ]);
    assert!(!set.look_at_trip(false) && set.is_paused() && set.waits_for_trip());
    assert!(set.look_at_trip(true) && !set.look_at_trip(true) && set.is_paused());
    // Set anew on the road it is for this trip, which has to be seen to go on once more.
    set.hold(hold(What::All, Lasts::Trip, 1)).unwrap();
    assert!(!set.clone().look_at_trip(false) && set.look_at_trip(true));
    // After a start of the machine: the trip that went on may be this one, and is over when the signal says so.
    let mut set = set.begun_again(Moment(7));
    assert!(!set.look_at_trip(true) && set.is_paused());
    assert!(set.look_at_trip(false) && !set.is_paused() && !set.waits_for_trip());
    assert!(set.is_without_location() && set.stops(&recipient("a"), &purpose("p")));
}

#[test]
fn after_a_start_of_the_machine_a_time_begins_again_and_nothing_else_ends() {
    let set = session(&[
        hold(What::All, Lasts::Seconds(900), 5 * MINUTE_US),
        hold(What::Location, Lasts::Trip, 5 * MINUTE_US),
    ]);
    let mut again = set.begun_again(Moment(7));
    assert!(!again.pass(Moment(15 * MINUTE_US + 6)) && again.is_paused());
    assert!(again.pass(Moment(15 * MINUTE_US + 7)) && !again.is_paused() && again.is_without_location());
}

#[test]
fn invariant_9_recipients_one_by_one_are_bounded_and_everything_is_always_possible() {
    let mut set = Session::default();
    for number in 0..SESSION_HOLDS_MAX {
        let what = What::Recipient(recipient(&format!("r{number}")));
        set.hold(hold(what, Lasts::Trip, 0)).unwrap();
    }
    let one_more = hold(What::Recipient(recipient("more")), Lasts::Trip, 0);
    assert_eq!(set.hold(one_more), Err(Full));
    let own = Hold { driver: Some(driver("a")), ..hold(What::Location, Lasts::Trip, 0) };
    assert_eq!(set.hold(own), Err(Full));
    set.hold(hold(What::All, Lasts::Trip, 0)).unwrap();
    set.hold(hold(What::Location, Lasts::Trip, 0)).unwrap();
    assert!(set.is_paused() && set.is_without_location());
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three recipients with two purposes each; a speed and a place for all of them.
fn documents() -> Effective {
    let signal = |leaf: u32, path: &str, transform: Transform| SignalRules {
        leaf: LeafIndex(leaf),
        path: SignalPath::new(path).unwrap(),
        unit: String::new(),
        value_type: ValueType::Unsigned,
        scale: 1.0,
        offset: 0.0,
        names: Vec::new(),
        granted: transform,
        permitted: Rule::Pass(transform),
    };
    let cell = Transform { geo_cell: Resolution::new(7), ..Transform::OPEN };
    let flow = |number: u64| FlowRules {
        flow: FlowId(number),
        recipient: recipient(NAMES[usize::try_from(number / 2).unwrap()]),
        purpose: purpose(NAMES[usize::try_from(number % 2).unwrap()]),
        request_digest: Digest([0; 32]),
        event: None,
        hpke_key: HpkeKey([0; 32]),
        live_until: WallTime(i64::MAX),
        batch_age_us: 1,
        age_us_max: None,
        bytes_per_day_max: None,
        microseconds: false,
        signals: vec![
            signal(0, "Vehicle.Speed", Transform::OPEN),
            signal(1, "Vehicle.CurrentLocation.Heading", Transform::OPEN),
            signal(2, "CAN.b.M.Spot", cell),
            signal(3, "CAN.b.M.Latitude", Transform::OPEN),
        ],
    };
    let flows = (0..6).map(|number| Arc::new(flow(number))).collect();
    Effective { policy_version: PolicyVersion(4), flows, ..Effective::default() }
}

fn is_location(path: &SignalPath) -> bool {
    path.as_str().starts_with("Vehicle.CurrentLocation")
}

/// Flow and leaf of all that leaves.
fn leaving(effective: &Effective) -> Vec<(FlowId, LeafIndex)> {
    let of = |rules: &Arc<FlowRules>| {
        let flow = rules.flow;
        rules.signals.iter().map(move |signal| (flow, signal.leaf)).collect::<Vec<_>>()
    };
    let all = effective.flows.iter().flat_map(of);
    all.filter(|(_, leaf)| !effective.unread.contains(leaf)).collect()
}

fn holds() -> impl Strategy<Value = Vec<Hold>> {
    let name = || proptest::sample::select(&NAMES[..]);
    let what = prop_oneof![
        1 => Just(What::All),
        3 => Just(What::Location),
        4 => name().prop_map(|name| What::Recipient(recipient(name))),
        4 => (name(), name()).prop_map(|(r, p)| What::Flow { recipient: recipient(r), purpose: purpose(p) }),
    ];
    let lasts = prop_oneof![(1u32..100).prop_map(Lasts::Seconds), Just(Lasts::Trip), Just(Lasts::UntilEnded)];
    let driver = proptest::option::of(name().prop_map(driver));
    let one = (what, lasts, driver, 0i64..100)
        .prop_map(|(what, lasts, driver, began)| Hold { driver, ..hold(what, lasts, began) });
    proptest::collection::vec(one, 0..6)
}

proptest! {
    /// In whatever order, and however often, it is one session; each thing more takes away, and never gives.
    #[test]
    fn invariant_4_what_is_set_in_the_car_never_widens(mut list in holds(), more in holds()) {
        let before = session(&list);
        list.extend(more);
        let both = session(&list);
        let mut other = list.clone();
        other.reverse();
        other.extend(list);
        prop_assert_eq!(&session(&other), &both);
        let (all, some) = (documents().under(&before, is_location), documents().under(&both, is_location));
        let (all, some) = (leaving(&all), leaving(&some));
        prop_assert!(some.iter().all(|one| all.contains(one)));
        prop_assert!(all.iter().all(|one| leaving(&documents()).contains(one)));
    }

    /// Whoever drives, no more leaves than while nobody knows it.
    #[test]
    fn invariant_3_while_nobody_knows_who_drives_least_leaves(list in holds(), name in proptest::sample::select(&NAMES[..])) {
        let doubt = leaving(&documents().under(&session(&list), is_location));
        for who in [Driver::Guest, Driver::Is(driver(name))] {
            let mut set = session(&list);
            set.drives(who);
            let known = leaving(&documents().under(&set, is_location));
            prop_assert!(doubt.iter().all(|one| known.contains(one)));
        }
    }

    /// What is explained is what is decided.
    #[test]
    fn an_explanation_tells_what_is_decided(list in holds(), name in proptest::sample::select(&NAMES[..])) {
        let mut set = session(&list);
        set.drives(Driver::Is(driver(name)));
        let left = documents().under(&set, is_location);
        prop_assert_eq!(left.policy_version, PolicyVersion(4));
        for rules in documents().flows {
            let leaves = leaving(&left).contains(&(rules.flow, LeafIndex(1)));
            let (recipient, purpose) = (rules.recipient.clone(), rules.purpose.clone());
            let asked = vec![Answer { clause: Clause::TooOldWhenDue, holds: true }];
            let mut told =
                Explanation { recipient, purpose, flow: None, answers: asked, reduced_by: Vec::new(), bytes_per_day_max: None, event: None, made_of: Vec::new() };
            set.answer(&mut told, true);
            prop_assert_eq!(told.leaves(), leaves);
            let flows = left.flows.iter().find(|flow| flow.flow == rules.flow);
            prop_assert!(flows.is_none_or(|flow| *flow == rules), "its rules changed");
        }
    }
}

#[test]
fn without_location_no_place_is_read_whatever_it_is_called() {
    let set = session(&[hold(What::Location, Lasts::UntilEnded, 0)]);
    let left = documents().under(&set, is_location);
    let places: Vec<LeafIndex> = left.unread.iter().copied().collect();
    assert_eq!(places, [LeafIndex(1), LeafIndex(2), LeafIndex(3)]);
    assert_eq!(left.flows.len(), 6, "a flow goes on with the rest");
    assert_eq!(left.withheld.len(), 18);
    let doubt = documents().under(&Session::in_doubt(), is_location);
    assert!(doubt.flows.is_empty());
}
