//! What law and guidance ask of the decision; `tests/compliance.txt` has all of it.

use super::*;

#[test]
fn a_grant_for_one_purpose_is_none_for_another() {
    let mut world = World::new();
    world.bundle.requests.push(sign(&request("acme", "service", &[SPEED]), ACME));
    let effective = world.ask(Effective::of);
    let purposes: Vec<&str> = effective.flows.iter().map(|flow| flow.purpose.as_str()).collect();
    assert_eq!(purposes, ["tyre-care"]);
    let told = world.ask(|situation| explain(situation, &SPEED.parse().unwrap(), None));
    let leaves: Vec<(&str, bool)> = told.iter().map(|it| (it.purpose.as_str(), it.leaves())).collect();
    assert_eq!(leaves, [("tyre-care", true), ("service", false)]);
    assert!(told[1].answers.contains(&Answer { clause: Clause::NotGiven, holds: false }));
}

#[test]
fn a_floor_holds_whatever_is_asked() {
    let mut world = World::new();
    let mut asked = request("acme", "tyre-care", &[SPEED, TORQUE]);
    asked.signals[0].transforms = vec![rate(1_000)];
    world.bundle.requests = vec![sign(&asked, ACME)];
    world.records[0].request_digest = Digest::of(&crate::consent::document::write(&asked).unwrap());
    world.records[0].pii_information[0].transform = vec![rate(1_000)];
    let interval_us = |world: &World| match world.ask(Effective::of).flows[0].signals[0].permitted {
        Rule::Pass(transform) => transform.min_interval_us,
        Rule::Deny => 0,
    };
    assert_eq!(interval_us(&world), 1_000_000, "asked for and granted");
    world.bundle.catalogue[0].floor = vec![rate(900_000)];
    assert_eq!(
        interval_us(&world),
        900_000_000,
        "once a second was asked for, a quarter of an hour is the floor"
    );
}
