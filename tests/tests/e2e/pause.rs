//! A pause and location off, with a real agent and a real Mosquitto: in force at once and over a restart, ended only in the
//! car, and nothing on the wire tells them from a bus that is dead.

use anyhow::{Context, Result, ensure};
use glovebox_tests::agent::{Agent, Bus, Settings};
use glovebox_tests::fleet::Party;
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::recipient::{Printed, Subscriber};
use glovebox_tests::scene::Scene;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const EVERY_MS: u64 = 50;
/// A pause, as long as two keep-alives of 5 s and a little more.
const QUIET: Duration = Duration::from_secs(11);
/// What was handed over before a pause is acknowledged by then.
const SETTLES: Duration = Duration::from_secs(2);

const DBC: &str = r#"BO_ 256 Data: 2 X
 SG_ Level : 0|16@1+ (1,0) [0|0] "" X
BO_ 257 GNSS: 8 X
 SG_ PositionLatitude : 0|32@1- (1e-7,0) [-90|90] "deg" X
 SG_ PositionLongitude : 32|32@1- (1e-7,0) [-180|180] "deg" X
BO_ 258 Body: 1 X
 SG_ Driving : 0|1@1+ (1,0) [0|1] "" X
"#;
/// The trip ends with this frame.
const PARKED: u64 = 200;
const LEVEL: &str = "CAN.can0.Data.Level";
const PLACES: [&str; 2] = ["CAN.can0.GNSS.PositionLatitude", "CAN.can0.GNSS.PositionLongitude"];

/// A car that replays so many frames of each message at their own pace.
struct Drive {
    scene: Scene,
    agent: Agent,
}

impl Drive {
    fn new(seconds: u64) -> Result<Self> {
        Self::configured(seconds, "")
    }

    fn configured(seconds: u64, more: &str) -> Result<Self> {
        let signals = [&[LEVEL][..], &PLACES].concat();
        let scene = Scene::new(vec![Party { batch_age_s: 1, ..Party::plain("garage", &signals) }])?;
        let folder = scene.path("drive")?;
        std::fs::create_dir_all(&folder)?;
        let (dbc, log) = (folder.join("car.dbc"), folder.join("drive.log"));
        std::fs::write(&dbc, DBC)?;
        std::fs::write(&log, frames(seconds * 1_000 / EVERY_MS))?;
        let agent = scene.agent(&settings(&scene, dbc, log))?;
        let config = scene.path("car")?.join("glovebox.toml");
        let text = std::fs::read_to_string(&config)?;
        std::fs::write(&config, text.replace("[health]", &format!("{more}[health]")))?;
        scene.fleet.prepare(&agent, &["garage"])?;
        Ok(Self { scene, agent })
    }

    fn batches(&self) -> usize {
        self.scene.broker.received().iter().filter(|topic| topic.ends_with("/batch")).count()
    }

    fn some_batches(&self, more: usize) -> Result<usize> {
        let before = self.batches();
        until("batches", LIMIT, || Ok((self.batches() >= before + more).then_some(())))?;
        Ok(self.batches())
    }

    /// What the broker sees of the car while nothing leaves: each kind of packet, without times and numbers.
    fn wire(&self) -> Result<BTreeSet<String>> {
        std::thread::sleep(SETTLES);
        let before = self.scene.broker.log().len();
        std::thread::sleep(QUIET);
        let log = self.scene.broker.log();
        let said = log.get(before..).context("the broker's log has shrunk")?;
        let of_car = said.lines().filter(|line| line.contains("car-1"));
        Ok(of_car.map(|line| line.split_once(": ").map_or(line, |(_, what)| what).to_owned()).collect())
    }
}

fn settings(scene: &Scene, dbc: PathBuf, log: PathBuf) -> Settings {
    let bus = Bus { name: "can0".to_owned(), interface: "can0".to_owned(), dbc: vec![dbc] };
    Settings { replay: Some(log), speed: "1.0".to_owned(), ..scene.live(vec![bus], 1) }
}

/// The level counts frames.
fn frames(count: u64) -> String {
    let mut log = String::new();
    for frame in 0..count {
        let at = frame * EVERY_MS;
        let (seconds, us) = (at / 1_000, at % 1_000 * 1_000);
        let _ = writeln!(log, "({seconds}.{us:06}) can0 100#{:02X}{:02X}", frame & 0xFF, frame >> 8);
        let _ = writeln!(log, "({seconds}.{us:06}) can0 101#80969800005A6202");
        let _ = writeln!(log, "({seconds}.{us:06}) can0 102#{:02X}", u8::from(frame < PARKED));
    }
    log
}

fn levels(printed: &Printed) -> Vec<u64> {
    let level = |it: &&glovebox_tests::recipient::Sample| it.signal == LEVEL;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of frames")]
    let value = |it: &glovebox_tests::recipient::Sample| it.value.unwrap_or(-1.0) as u64;
    printed.samples.iter().filter(level).map(value).collect()
}

fn places(printed: &Printed) -> usize {
    printed.samples.iter().filter(|sample| PLACES.contains(&sample.signal.as_str())).count()
}

/// One epoch, each sequence once and none missing.
fn unbroken(printed: &Printed) -> Result<()> {
    printed.must_be_quiet("garage")?;
    let numbers: BTreeSet<(u32, u64)> = printed.samples.iter().map(|it| (it.epoch, it.sequence)).collect();
    let (first, last) = (numbers.first().context("no samples")?, numbers.last().context("no samples")?);
    ensure!(first.0 == last.0, "another epoch");
    ensure!(last.1 - first.1 + 1 == numbers.len() as u64, "numbers are missing: {numbers:?}");
    Ok(())
}

fn held(status: &Value) -> &str {
    status["held"].as_str().unwrap_or("")
}

fn grows(garage: &mut Subscriber) -> Result<()> {
    let before = garage.printed()?.samples.len();
    until("more samples", LIMIT, || Ok((garage.printed()?.samples.len() > before).then_some(())))
}

#[test]
fn nothing_on_the_wire_tells_a_pause_from_a_dead_bus() -> Result<()> {
    let Some(()) = need::broker("pause_on_the_wire")? else { return Ok(()) };
    // The bus is dead when its log has ended.
    let mut dead = Drive::new(3)?;
    let garage = dead.scene.subscribe("garage", &[])?;
    dead.agent.start()?;
    dead.agent.drained(LIMIT)?;
    let of_dead = dead.wire()?;
    dead.agent.stop()?;
    garage.finish()?.must_be_quiet("garage")?;
    dead.scene.finish();

    let mut drive = Drive::new(60)?;
    let mut garage = drive.scene.subscribe("garage", &[])?;
    drive.agent.start()?;
    drive.some_batches(2)?;
    let set: Value = serde_json::from_str(&drive.agent.run(&["pause", "--json"])?)?;
    ensure!(set["holds"][0]["what"] == "all" && set["holds"][0]["lasts"] == "15m", "{set}");
    let of_pause = drive.wire()?;
    ensure!(of_pause == of_dead, "a pause: {of_pause:#?}\na dead bus: {of_dead:#?}");
    ensure!(of_pause.iter().any(|line| line.contains("PINGREQ")), "the broker logs no packets: {of_pause:?}");
    let status = drive.agent.status()?;
    ensure!(held(&status) == "sending is paused in the car", "{status}");
    ensure!(status["link"]["state"] == "connected", "{status}");
    let why = drive.agent.try_run(&["why", LEVEL])?;
    ensure!(why.status.code() == Some(1), "{why:?}");
    ensure!(String::from_utf8_lossy(&why.stdout).contains("no   sending is not paused"), "{why:?}");

    // Nobody outside ends it: whatever comes from there is a document or nothing.
    let order = drive.scene.path("order.json")?;
    std::fs::write(&order, r#"{"do":"release","what":"all"}"#)?;
    for topic in ["policy", "consent"] {
        drive.scene.broker.publish(&format!("glovebox/v1/device/car-1/{topic}"), &order, false)?;
    }
    drive.agent.wait_for("two refusals", LIMIT, |status| {
        status["counters"]["consent"]["documents_refused"].as_u64() >= Some(2)
    })?;
    ensure!(held(&drive.agent.status()?) == "sending is paused in the car", "ended from outside");

    drive.agent.run(&["resume"])?;
    grows(&mut garage)?;
    drive.agent.stop()?;
    let printed = garage.finish()?;
    unbroken(&printed)?;
    let levels = levels(&printed);
    let gap = levels.windows(2).map(|pair| pair[1] - pair[0]).max().context("no levels")?;
    ensure!(gap > QUIET.as_secs() * 1_000 / EVERY_MS, "the pause is not in the data: {gap} frames");
    drive.scene.finish();
    Ok(())
}

#[test]
fn a_pause_holds_the_queue_and_outlives_a_kill() -> Result<()> {
    let Some(()) = need::broker("pause_and_queue")? else { return Ok(()) };
    let mut drive = Drive::new(20)?;
    let mut garage = drive.scene.subscribe("garage", &[])?;
    drive.agent.start()?;
    drive.some_batches(1)?;
    drive.scene.broker.freeze()?;
    drive.agent.wait_for("a queue", LIMIT, |status| status["queue"]["batches"].as_u64() >= Some(4))?;
    drive.agent.run(&["pause", "trip"])?;
    drive.agent.kill()?;
    drive.scene.broker.thaw()?;
    let before = {
        std::thread::sleep(SETTLES);
        drive.batches()
    };
    drive.agent.start()?;
    let status =
        drive.agent.wait_for("a connection", LIMIT, |status| status["link"]["state"] == "connected")?;
    ensure!(held(&status) == "sending is paused in the car", "{status}");
    ensure!(status["held_back"][0]["lasts"] == "trip", "{status}");
    std::thread::sleep(SETTLES);
    ensure!(drive.batches() == before, "published during a pause");
    let queued = drive.agent.status()?["queue"]["batches"].as_u64();
    ensure!(queued >= Some(4), "the queue did not stay: {queued:?}");
    drive.agent.run(&["resume", "--trip"])?;
    drive.agent.drained(LIMIT)?;
    until("all that was queued", LIMIT, || Ok((!garage.printed()?.samples.is_empty()).then_some(())))?;
    drive.agent.stop()?;
    let stored = drive.agent.all_stored().len();
    let printed = garage.finish()?;
    printed.must_be_quiet("garage")?;
    let came: BTreeSet<(u32, u64)> = printed.samples.iter().map(|it| (it.epoch, it.sequence)).collect();
    ensure!(came.len() == stored, "{} batches of {stored} came", came.len());
    drive.scene.finish();
    Ok(())
}

#[test]
fn a_pause_for_this_trip_ends_with_it_by_itself() -> Result<()> {
    let Some(()) = need::broker("pause_for_a_trip")? else { return Ok(()) };
    let trip = "[consent.trip]\nsignal = \"CAN.can0.Body.Driving\"\nequals = true\n\n";
    let mut drive = Drive::configured(60, trip)?;
    let garage = drive.scene.subscribe("garage", &[])?;
    drive.agent.start()?;
    drive.some_batches(2)?;
    drive.agent.run(&["pause", "trip"])?;
    ensure!(held(&drive.agent.status()?) == "sending is paused in the car");
    let free = |status: &Value| status["held_back"].as_array().is_some_and(Vec::is_empty);
    drive.agent.wait_for("the end of the trip", LIMIT, free)?;
    drive.some_batches(2)?;
    drive.agent.stop()?;
    let printed = garage.finish()?;
    unbroken(&printed)?;
    let levels = levels(&printed);
    let gap = levels.windows(2).find(|pair| pair[1] != pair[0] + 1).context("no pause in the data")?;
    ensure!(gap[0] < PARKED && gap[1] >= PARKED, "silent from {} to {}", gap[0], gap[1]);
    drive.scene.finish();
    Ok(())
}

#[test]
fn with_location_off_all_goes_on_but_places() -> Result<()> {
    let Some(()) = need::broker("location_off")? else { return Ok(()) };
    let mut drive = Drive::new(60)?;
    let mut garage = drive.scene.subscribe("garage", &[])?;
    drive.agent.start()?;
    until("places", LIMIT, || Ok((places(&garage.printed()?) > 0).then_some(())))?;
    drive.agent.run(&["location", "off"])?;
    // The batch that was open holds places from before.
    drive.some_batches(2)?;
    grows(&mut garage)?;
    let before = places(&garage.printed()?);
    drive.some_batches(3)?;
    grows(&mut garage)?;
    ensure!(places(&garage.printed()?) == before, "places left");
    let why = drive.agent.try_run(&["why", PLACES[0], "--json"])?;
    let why: Value = serde_json::from_slice(&why.stdout)?;
    let clauses = why["purposes"][0]["clauses"].as_array().context("no clauses")?;
    let said = clauses.iter().find(|clause| clause["id"] == "location_off").context("not asked")?;
    ensure!(said["holds"] == false && why["leaves"] == false, "{why}");
    drive.agent.run(&["why", LEVEL])?;
    drive.agent.run(&["location", "on"])?;
    until("places again", LIMIT, || Ok((places(&garage.printed()?) > before).then_some(())))?;
    drive.agent.stop()?;
    let printed = garage.finish()?;
    unbroken(&printed)?;
    let levels = levels(&printed);
    ensure!(levels.windows(2).all(|pair| pair[1] == pair[0] + 1), "another signal has a gap");
    drive.scene.finish();
    Ok(())
}

#[test]
fn without_a_daemon_a_pause_is_set_in_the_stores() -> Result<()> {
    let Some(()) = need::broker("pause_in_stores")? else { return Ok(()) };
    let mut drive = Drive::new(3)?;
    let said = drive.agent.run(&["pause", "until-ended", "--recipient", "garage"])?;
    ensure!(said == "held back: everything for garage, until somebody ends it\n", "{said}");
    drive.agent.start()?;
    drive.agent.wait_for("the log's end", LIMIT, |status| status["counters"]["bus"]["frames_read"] == 180)?;
    ensure!(drive.batches() == 0, "published for a recipient that is stopped");
    drive.agent.stop()?;
    ensure!(drive.agent.run(&["resume"])?.contains("garage"), "it ended with a name that it does not have");
    ensure!(drive.agent.run(&["resume", "--recipient", "garage"])? == "nothing is held back\n", "not ended");
    drive.scene.finish();
    Ok(())
}

#[test]
fn what_a_driver_set_holds_while_that_driver_drives_and_over_a_kill() -> Result<()> {
    let Some(()) = need::broker("a_drivers_own")? else { return Ok(()) };
    let mut drive = Drive::new(60)?;
    let garage = drive.scene.subscribe("garage", &[])?;
    drive.agent.start()?;
    drive.some_batches(1)?;
    let refused = drive.agent.try_run(&["location", "off", "--for-driver"])?;
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("glovebox driver is ID"), "{refused:?}");
    drive.agent.run(&["driver", "is", "seat-1"])?;
    let said = drive.agent.run(&["pause", "until-ended", "--for-driver"])?;
    ensure!(said == "held back: everything, until somebody ends it, while this driver drives\n", "{said}");
    drive.agent.kill()?;
    std::thread::sleep(SETTLES);
    let before = drive.batches();
    drive.agent.start()?;
    drive.agent.wait_for("a connection", LIMIT, |status| status["link"]["state"] == "connected")?;
    std::thread::sleep(SETTLES);
    ensure!(
        held(&drive.agent.status()?) == "sending is paused in the car" && drive.batches() == before,
        "sent"
    );
    let said = drive.agent.run(&["driver", "guest"])?;
    ensure!(said == "the driver is a guest\nnothing is held back\n", "{said}");
    drive.some_batches(2)?;
    let asked: Value = serde_json::from_str(&drive.agent.run(&["driver", "--json"])?)?;
    ensure!(asked == serde_json::json!({ "driver": "guest", "holds": [] }), "{asked}");
    drive.agent.run(&["driver", "is", "seat-1"])?;
    ensure!(held(&drive.agent.status()?) == "sending is paused in the car", "the driver is back");
    ensure!(!drive.agent.logs().contains("seat-1"), "who drives is in the log");
    drive.agent.run(&["driver", "forget", "seat-1"])?;
    drive.some_batches(2)?;
    drive.agent.stop()?;
    ensure!(!garage.finish()?.samples.is_empty(), "nothing came");
    drive.scene.finish();
    Ok(())
}
