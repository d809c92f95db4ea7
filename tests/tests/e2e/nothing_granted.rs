//! A new car with a policy in force and no grant: it drives, it is connected, and publishes no batch until the owner agrees.

use anyhow::{Result, ensure};
use glovebox_tests::agent::{Bus, Settings};
use glovebox_tests::fleet::Party;
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::scene::Scene;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);
/// Of driving without a grant: with one, a batch is published each second.
const SILENCE: Duration = Duration::from_secs(5);

const DBC: &str = "VERSION \"\"\n\nBS_:\n\nBU_: ECU\n\nBO_ 291 Motion: 8 ECU\n \
                   SG_ Speed : 0|16@1+ (0.01,0) [0|300] \"km/h\" ECU\n";

/// Two minutes of a drive, fifty frames a second.
fn log() -> String {
    (0..6_000)
        .map(|at| format!("({}.{:06}) can0 123#{at:04X}000000000000\n", at / 50, at % 50 * 20_000))
        .collect()
}

#[test]
fn a_new_car_publishes_no_batch() -> Result<()> {
    let Some(()) = need::broker("nothing_granted")? else { return Ok(()) };
    let scene = Scene::new(vec![Party::plain("garage", &["CAN.can0.Motion.Speed"])])?;
    std::fs::write(scene.path("car.dbc")?, DBC)?;
    std::fs::write(scene.path("drive.log")?, log())?;
    let dbc = vec![scene.path("car.dbc")?];
    let bus = Bus { name: "can0".to_owned(), interface: "can0".to_owned(), dbc };
    let replay = Some(scene.path("drive.log")?);
    let settings = Settings { replay, speed: "1.0".to_owned(), ..scene.live(vec![bus], 1) };
    let mut capture = scene.broker.watch()?;
    let mut agent = scene.agent(&settings)?;
    scene.fleet.prepare(&agent, &[])?;
    agent.start()?;
    agent.wait_for("the connection", LIMIT, |status| {
        status["link"]["state"] == "connected" && status["policy"] == 1
    })?;
    std::thread::sleep(SILENCE);
    let published = capture.all()?;
    let data = |topic: &str| !topic.starts_with("glovebox/v1/device/");
    ensure!(!published.iter().any(|each| data(&each.topic)), "without a grant: {published:?}");
    scene.fleet.grant(&agent, "garage")?;
    until("the first batch, after the grant", LIMIT, || {
        Ok(capture.all()?.iter().any(|each| each.topic.ends_with("/batch")).then_some(()))
    })?;
    agent.stop()?;
    scene.finish();
    Ok(())
}
