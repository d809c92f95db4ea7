//! A request for what lies around an event: of a recorded drive a recipient opens the seconds around each time at which the
//! car becomes faster than 60 km/h, and nothing else. Which those are is worked out from what cantools reads.

use anyhow::{Context, Result, ensure};
use glovebox_tests::fleet::Party;
use glovebox_tests::process::until;
use glovebox_tests::scene::Scene;
use glovebox_tests::{need, oracle};
use serde_json::json;
use std::time::Duration;

const SPEED: &str = "CAN.can0.SPEED.SPEED";
const PEDAL: &str = "CAN.can0.GAS_PEDAL.GAS_PEDAL";
const FAST: f64 = 60.0;
const SECOND: i64 = 1_000_000;
const BEFORE_US: i64 = 3 * SECOND;
const AFTER_US: i64 = 5 * SECOND;
const APART_US: i64 = 20 * SECOND;

/// Stamps at which the speed rises above it, often enough apart.
fn events(speeds: &[(i64, String, Option<f64>)]) -> Vec<i64> {
    let mut found: Vec<i64> = Vec::new();
    for pair in speeds.windows(2) {
        let rises = pair[0].2.is_some_and(|v| v <= FAST) && pair[1].2.is_some_and(|v| v > FAST);
        if rises && found.last().is_none_or(|last| pair[1].0 - last >= APART_US) {
            found.push(pair[1].0);
        }
    }
    found
}

#[test]
fn invariant_01_only_what_lies_around_an_event_arrives() -> Result<()> {
    let test = "around_an_event";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let Some(drive) = need::drive() else { return need::skip(test, "no shared data (GLOVEBOX_SHARED)") };
    let Some(python) = need::python() else { return need::skip(test, "no Python with cantools") };
    let event =
        json!({ "when": format!("{SPEED} > {FAST}"), "before_s": 3, "after_s": 5, "min_interval_s": 20 });
    let party = Party { microseconds: true, event: Some(event), ..Party::plain("insurer", &[SPEED, PEDAL]) };
    let scene = Scene::new(vec![party.clone()])?;
    let settings = scene.settings(&drive, "max", 10);
    let all = oracle::expect(&python, &scene.path("")?, &drive.log, &settings.buses, &[&party])?;
    let mut expected = all.get("insurer").context("the oracle says nothing")?.clone();
    let events = events(&expected[SPEED]);
    ensure!(events.len() == 2, "the drive has two such events, a third one comes too soon: {events:?}");
    let around = |at: i64| events.iter().any(|event| (event - BEFORE_US..=event + AFTER_US).contains(&at));
    expected.values_mut().for_each(|samples| samples.retain(|(at, ..)| around(*at)));
    let count: usize = expected.values().map(Vec::len).sum();
    let mut subscriber = scene.subscribe("insurer", &[])?;
    let mut agent = scene.agent(&settings)?;
    scene.fleet.prepare(&agent, &["insurer"])?;
    agent.start()?;
    agent.drained(Duration::from_secs(180))?;
    until(&format!("the {count} samples"), Duration::from_secs(30), || {
        Ok((subscriber.printed()?.samples.len() >= count).then_some(()))
    })?;
    std::thread::sleep(Duration::from_secs(2));
    let printed = subscriber.finish()?;
    printed.must_be_quiet("insurer")?;
    oracle::compare("insurer", &expected, &oracle::by_signal(&printed.samples))?;
    agent.stop()?;
    scene.finish();
    Ok(())
}
