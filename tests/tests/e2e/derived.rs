//! A score is worked out in the car: of a recorded drive the insurer opens the share of hard braking in each ten seconds, and
//! nothing of the acceleration that it is made of, which only the owner's record names. Withheld, with the reason, once the
//! authority drops that.

use anyhow::{Context, Result, ensure};
use glovebox_tests::agent::{Agent, Bus};
use glovebox_tests::fleet::{PURPOSE, Party};
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::scene::Scene;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

const SCORE: &str = "Derived.IsBrakingHard";
const INPUT: &str = "Vehicle.Acceleration.Longitudinal";
const DBC: &str =
    "VERSION \"\"\nBU_: CAR\nBO_ 256 MOTION: 2 CAR\n SG_ ALONG : 0|16@1- (0.01,0) [-30|30] \"m/s^2\" CAR\n";
const MAPPING: &str = r#"{"Vehicle":{"children":{"Acceleration":{"children":{"Longitudinal":
    {"unit":"m/s^2","dbc2vss":{"signal":"ALONG","interval_ms":0}}}}}}}"#;
/// Ten a second, for so many windows of ten seconds each.
const WINDOWS: usize = 12;
const PER_WINDOW: usize = 100;
const BEGIN_S: usize = 1_000_000;

/// In the window number n the car brakes hard in 7 n of 100 readings, and just not hard in all others.
fn is_hard(window: usize, reading: usize) -> bool {
    reading < 7 * window
}

fn log() -> String {
    let mut text = String::new();
    for at in 0..WINDOWS * PER_WINDOW {
        let (window, reading) = (at / PER_WINDOW, at % PER_WINDOW);
        let raw: i16 = if is_hard(window, reading) { -341 } else { -340 };
        let [low, high] = raw.to_le_bytes();
        let _ = writeln!(text, "({}.{}00000) can0 100#{low:02X}{high:02X}", BEGIN_S + at / 10, at % 10);
    }
    text
}

fn why(agent: &Agent, signal: &str) -> Result<Value> {
    let said = agent.try_run(&["why", signal, "--json"])?;
    serde_json::from_slice::<Value>(&said.stdout).context("why")
}

#[test]
fn only_the_score_arrives_and_nothing_that_it_is_made_of() -> Result<()> {
    let Some(()) = need::broker("derived")? else { return Ok(()) };
    let mean = json!({ "op": "aggregate", "window_s": 10, "functions": ["mean"], "min_samples": 50 });
    let asked = vec![
        (SCORE.to_owned(), json!([mean, { "op": "quantise", "step": 0.01 }])),
        (INPUT.to_owned(), json!([{ "op": "in_vehicle" }])),
    ];
    let scene = Scene::new(vec![Party { signals: asked, ..Party::plain("insurer", &[]) }])?;
    let write = |name: &str, text: &str| {
        let path = scene.path(name)?;
        std::fs::write(&path, text).map(|()| path).context("write")
    };
    let (dbc, map) = (write("car.dbc", DBC)?, write("map.json", MAPPING)?);
    let bus = Bus { name: "can0".to_owned(), interface: "can0".to_owned(), dbc: vec![dbc] };
    let mut settings = scene.live(vec![bus], 10);
    (settings.replay, settings.map) = (Some(write("drive.log", &log())?), Some(map));
    let mut subscriber = scene.subscribe("insurer", &[])?;
    let mut agent = scene.agent(&settings)?;
    scene.fleet.prepare(&agent, &["insurer"])?;
    let before = why(&agent, SCORE)?;
    ensure!(before["leaves"] == true, "{before:#}");
    ensure!(before["purposes"][0]["made_of"] == json!([{ "signal": INPUT, "feeds": true }]), "{before:#}");
    ensure!(why(&agent, INPUT)?["leaves"] == false, "the input leaves");
    agent.start()?;
    agent.drained(Duration::from_secs(60))?;
    // Of the last window nobody knows that it is over.
    until("the scores", Duration::from_secs(30), || {
        Ok((subscriber.printed()?.samples.len() >= WINDOWS - 1).then_some(()))
    })?;
    std::thread::sleep(Duration::from_secs(2));
    let printed = subscriber.finish()?;
    printed.must_be_quiet("insurer")?;
    let strange = printed.samples.iter().find(|sample| sample.signal != SCORE);
    ensure!(strange.is_none(), "something else arrived: {strange:?}");
    let told: Vec<f64> = printed.samples.iter().filter_map(|sample| sample.value).collect();
    let hundredths = |value: f64| (value * 100.0).round();
    let shares = |window: usize| {
        let hard = (0..PER_WINDOW).filter(|reading| is_hard(window, *reading)).count();
        100.0 * f64::from(u32::try_from(hard).unwrap_or(0))
            / f64::from(u32::try_from(PER_WINDOW).unwrap_or(1))
    };
    let wanted: Vec<f64> = (0..WINDOWS - 1).map(shares).collect();
    ensure!(
        told.iter().map(|value| hundredths(*value)).collect::<Vec<_>>() == wanted,
        "{told:?} for {wanted:?}"
    );
    dropped(&scene, &agent)?;
    agent.stop()?;
    scene.finish();
    Ok(())
}

/// The authority drops the input: what is made of it stays too, and it is said why.
fn dropped(scene: &Scene, agent: &Agent) -> Result<()> {
    let mut bundle = scene.fleet.bundle(2)?;
    bundle["directives"] = json!([{ "verb": "drop", "signal": INPUT }]);
    let bundle = scene.fleet.sign_bundle("bundle-2", &bundle)?;
    agent.run(&["policy", "install", &bundle.display().to_string()])?;
    let after = why(agent, SCORE)?;
    let purpose = &after["purposes"][0];
    ensure!(after["leaves"] == false && purpose["purpose"] == PURPOSE, "{after:#}");
    ensure!(purpose["made_of"][0]["id"] == "signal_dropped", "{after:#}");
    let no: Vec<&Value> =
        purpose["clauses"].as_array().into_iter().flatten().filter(|it| it["holds"] == false).collect();
    ensure!(no.len() == 1 && no[0]["id"] == "input_held", "{no:?}");
    Ok(())
}
