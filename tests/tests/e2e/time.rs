//! A mark of time that was poisoned by a clock far ahead: nothing leaves, it is said why, and somebody in the car mends it.

use anyhow::{Context, Result, ensure};
use glovebox_core::names::Digest;
use glovebox_tests::agent::Agent;
use glovebox_tests::fleet::Party;
use glovebox_tests::need;
use glovebox_tests::scene::Scene;
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const MONTH_US: i64 = 30 * 24 * 3_600 * 1_000_000;

/// As if the clock had said a month more than now for long enough.
fn poison(agent: &Agent) -> Result<()> {
    let path = agent.state().join("counters");
    let text = std::fs::read_to_string(&path)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_micros();
    let lines = text.lines().filter(|line| !line.starts_with("check ")).map(|line| {
        let mark = format!("time_mark_us {}", i64::try_from(now).unwrap_or(i64::MAX) + MONTH_US);
        if line.starts_with("time_mark_us ") { mark + "\n" } else { format!("{line}\n") }
    });
    let body: String = lines.collect();
    Ok(std::fs::write(&path, format!("{body}check {}\n", Digest::of(body.as_bytes())))?)
}

#[test]
fn invariant_03_a_mark_far_ahead_is_mended_in_the_car() -> Result<()> {
    let Some(()) = need::broker("clock_trust")? else { return Ok(()) };
    let Some(drive) = need::drive() else { return need::skip("clock_trust", "no recorded drive") };
    let scene = Scene::new(vec![Party::plain("garage", &["CAN.can0.SPEED.SPEED"])])?;
    let mut agent = scene.agent(&scene.settings(&drive, "1.0", 1))?;
    scene.fleet.prepare(&agent, &["garage"])?;
    ensure!(agent.run(&["clock"])?.contains("believed yes"), "a clock that is right is not believed");
    poison(&agent)?;
    let garage = scene.subscribe("garage", &[])?;
    agent.start()?;
    let status =
        agent.wait_for("frames", LIMIT, |it| it["counters"]["bus"]["frames_read"].as_u64() > Some(500))?;
    ensure!(status["held"] == "the time is in doubt", "{status}");
    let batches = || scene.broker.received().iter().filter(|topic| topic.ends_with("/batch")).count();
    ensure!(batches() == 0, "published in doubt about the time");
    let doubt = agent.try_run(&["clock", "--json"])?;
    let said: Value = serde_json::from_slice(&doubt.stdout).context("no JSON")?;
    ensure!(doubt.status.code() == Some(1) && said["trusted"] == false, "{doubt:?}");
    ensure!(agent.run(&["clock", "trust"])?.contains("believed yes"), "not believed");
    agent.wait_for("batches", LIMIT, |_| batches() > 1)?;
    agent.stop()?;
    garage.finish()?.must_be_quiet("garage")?;
    scene.finish();
    Ok(())
}
