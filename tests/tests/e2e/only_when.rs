//! Batches wait while what is configured under `[uplink.only_when]` does not hold, and all of them arrive once when it
//! does; a flow that nobody listens to waits too, and loses nothing. A real agent, a real Mosquitto.

use anyhow::{Context, Result, ensure};
use glovebox_tests::agent::{Agent, Bus, Settings};
use glovebox_tests::fleet::{PURPOSE, Party};
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::scene::Scene;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
/// Frames of the log: one of each message every 50 ms.
const FRAMES: u64 = 240;
/// From this one on the car stands.
const STANDS: u64 = 160;
const EVERY_MS: u64 = 50;

const DBC: &str = r#"BO_ 256 Motion: 2 X
 SG_ Moving : 0|1@1+ (1,0) [0|1] "" X
BO_ 257 Data: 2 X
 SG_ Level : 0|16@1+ (1,0) [0|0] "" X
"#;
const GRANTED: &str = "CAN.can0.Data.Level";

/// A car that drives for eight seconds and then stands.
struct Drive {
    scene: Scene,
    agent: Agent,
}

impl Drive {
    fn new(speed: &str, only_when: &str) -> Result<Self> {
        let scene = Scene::new(vec![Party::plain("garage", &[GRANTED])])?;
        let folder = scene.path("drive")?;
        std::fs::create_dir_all(&folder)?;
        let (dbc, log) = (folder.join("car.dbc"), folder.join("drive.log"));
        std::fs::write(&dbc, DBC)?;
        std::fs::write(&log, frames())?;
        let settings = settings(&scene, dbc, log, speed);
        let agent = scene.agent(&settings)?;
        let car = Self { scene, agent };
        car.edit("[uplink]\n", &format!("[uplink]\nbulk = [\"{PURPOSE}\"]\n"))?;
        car.edit("[health]", &format!("{only_when}[health]"))?;
        car.scene.fleet.prepare(&car.agent, &["garage"])?;
        Ok(car)
    }

    fn edit(&self, old: &str, new: &str) -> Result<()> {
        let config = self.scene.path("car")?.join("glovebox.toml");
        let text = std::fs::read_to_string(&config)?;
        ensure!(text.contains(old), "`{old}` is not in the configuration");
        Ok(std::fs::write(&config, text.replace(old, new))?)
    }
}

fn settings(scene: &Scene, dbc: PathBuf, log: PathBuf, speed: &str) -> Settings {
    let bus = Bus { name: "can0".to_owned(), interface: "can0".to_owned(), dbc: vec![dbc] };
    Settings { replay: Some(log), speed: speed.to_owned(), ..scene.live(vec![bus], 1) }
}

fn frames() -> String {
    let mut log = String::new();
    for frame in 0..FRAMES {
        let at = frame * EVERY_MS;
        let (seconds, us) = (at / 1_000, at % 1_000 * 1_000);
        let moving = u8::from(frame < STANDS);
        let _ = writeln!(log, "({seconds}.{us:06}) can0 100#{moving:02X}00");
        let _ = writeln!(log, "({seconds}.{us:06}) can0 101#{:02X}{:02X}", frame & 0xFF, frame >> 8);
    }
    log
}

fn held(status: &Value) -> &str {
    status["flows"][0]["held"].as_str().unwrap_or("")
}

/// Frames of which nothing was decoded.
fn not_needed(status: &Value) -> u64 {
    status["counters"]["decode"]["frames_not_needed"].as_u64().unwrap_or(u64::MAX)
}

/// The one flow waits for `what`, and batches of it are there.
fn waits(what: &'static str) -> impl Fn(&Value) -> bool {
    move |status| held(status).contains(what) && status["queue"]["batches"].as_u64() > Some(1)
}

fn batches(scene: &Scene) -> usize {
    scene.broker.received().iter().filter(|topic| topic.ends_with("/batch")).count()
}

#[test]
fn invariant_06_batches_wait_for_a_signal_that_nobody_was_granted() -> Result<()> {
    let Some(()) = need::broker("only_when_signal")? else { return Ok(()) };
    let condition = "[uplink.only_when]\nsignal = \"CAN.can0.Motion.Moving\"\nequals = false\n";
    let Drive { scene, mut agent } = Drive::new("1.0", condition)?;
    let mut garage = scene.subscribe("garage", &[])?;
    agent.start()?;
    let status =
        agent.wait_for("batches that wait", LIMIT, waits("only when the configured signal says so"))?;
    ensure!(batches(&scene) == 0, "published while the car drove: {:?}", scene.broker.received());
    ensure!(status["link"]["state"] == "connected", "documents have to come down: {status}");
    agent.drained(LIMIT)?;
    let count = usize::try_from(FRAMES)?;
    until("all samples", LIMIT, || Ok((garage.printed()?.samples.len() >= count).then_some(())))?;
    let status = agent.status()?;
    ensure!(held(&status).is_empty() && not_needed(&status) == 0, "{status}");
    agent.stop()?;
    let printed = garage.finish()?;
    printed.must_be_quiet("garage")?;
    ensure!(printed.samples.len() == count, "{} samples of {count}", printed.samples.len());
    ensure!(printed.samples.iter().all(|sample| sample.signal == GRANTED), "something else came along");
    let logs = agent.logs();
    ensure!(!logs.contains("Motion") && !logs.contains("Moving"), "the signal is in the log:\n{logs}");
    scene.finish();
    Ok(())
}

#[test]
fn documents_come_while_a_class_waits_for_a_network() -> Result<()> {
    let Some(()) = need::broker("only_when_network")? else { return Ok(()) };
    let networks = "networks = [\"wifi\", \"wired\", \"cellular\"]\n";
    let condition = format!("[uplink.only_when]\nclasses = [\"bulk\"]\n{networks}");
    let mut car = Drive::new("max", &condition)?;
    let garage = car.scene.subscribe("garage", &[])?;
    car.agent.start()?;
    let now = "only when the broker is reached by wifi or wired or cellular, now lo (other)";
    car.agent.wait_for("batches that wait", LIMIT, waits(now))?;
    let broken = car.scene.fleet.file("root.pub");
    car.scene.broker.publish("glovebox/v1/device/car-1/policy", &broken, false)?;
    car.agent.wait_for("a document, and the end of the log", LIMIT, |status| {
        let counters = &status["counters"];
        counters["consent"]["documents_refused"].as_u64() > Some(0)
            && counters["bus"]["frames_read"] == 2 * FRAMES
    })?;
    ensure!(batches(&car.scene) == 0, "published by the wrong network: {:?}", car.scene.broker.received());
    car.agent.stop()?;
    // The same queue: once because of the interface's name, once because it is of another class.
    car.edit(networks, "interfaces = [\"eth0\", \"l*\"]\n")?;
    car.agent.start()?;
    car.agent.drained(LIMIT)?;
    car.agent.stop()?;
    ensure!(batches(&car.scene) > 1, "nothing was published by the right network");
    car.edit("interfaces = [\"eth0\", \"l*\"]\n", networks)?;
    car.edit(&format!("bulk = [\"{PURPOSE}\"]"), &format!("urgent = [\"{PURPOSE}\"]"))?;
    car.agent.start()?;
    car.agent.drained(LIMIT)?;
    car.agent.stop()?;
    let printed = garage.finish()?;
    printed.must_be_quiet("garage")?;
    let count = 3 * usize::try_from(FRAMES)?;
    ensure!(printed.samples.len() == count, "{} samples of {count}", printed.samples.len());
    car.scene.finish();
    Ok(())
}

#[test]
fn a_flow_that_nobody_listens_to_waits_and_loses_nothing() -> Result<()> {
    let Some(()) = need::broker("nobody_subscribed")? else { return Ok(()) };
    // It is of a class that does not wait for the signal, so that is not even read.
    let condition =
        "[uplink.only_when]\nclasses = [\"urgent\"]\nsignal = \"CAN.can0.Motion.Moving\"\nequals = false\n";
    let Drive { scene, mut agent } = Drive::new("max", condition)?;
    agent.start()?;
    let status = agent.wait_for("batches that wait", LIMIT, waits("no subscriber"))?;
    ensure!(held(&status).contains("tried again in "), "{status}");
    agent.wait_for("the log's end, half of it not read", LIMIT, |status| not_needed(status) == FRAMES)?;
    let before = batches(&scene);
    // It is not tried each second.
    std::thread::sleep(Duration::from_secs(5));
    ensure!(batches(&scene) == before, "tried again too soon");
    let begin = Instant::now();
    let garage = scene.subscribe("garage", &[])?;
    agent.drained(LIMIT)?;
    ensure!(begin.elapsed() < Duration::from_secs(40), "tried again after {:?} only", begin.elapsed());
    agent.stop()?;
    let printed = garage.finish()?;
    printed.must_be_quiet("garage")?;
    ensure!(printed.samples.len() == usize::try_from(FRAMES)?, "{} samples", printed.samples.len());
    scene.finish();
    Ok(())
}

#[test]
fn a_signal_that_is_not_there_is_told_with_the_nearest() -> Result<()> {
    let Some(()) = need::broker("only_when_unknown")? else { return Ok(()) };
    let condition = "[uplink.only_when]\nsignal = \"CAN.can0.Motion.Movin\"\nequals = false\n";
    let Drive { scene, agent } = Drive::new("max", condition)?;
    for command in ["run", "check"] {
        let output = agent.try_run(&[command])?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).context("not UTF-8")?;
        ensure!(!output.status.success(), "{command}: {said}");
        let at = said.contains("glovebox.toml:") && said.contains("did you mean `CAN.can0.Motion.Moving`?");
        ensure!(at, "{command} does not say where or what: {said}");
    }
    scene.finish();
    Ok(())
}
