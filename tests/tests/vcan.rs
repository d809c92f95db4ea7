//! The agent on real virtual CAN buses: nothing is lost, nothing is read that nobody was granted, it survives what
//! happens to interfaces, and it never sends. Runs inside `tests/vcan`, one test at a time.

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use glovebox_tests::agent::Agent;
use glovebox_tests::fleet::{PURPOSE, Party};
use glovebox_tests::need::{self, Drive};
use glovebox_tests::parties::{garage, insurer};
use glovebox_tests::process::{Process, output, until};
use glovebox_tests::recipient::{Printed, Subscriber};
use glovebox_tests::scene::Scene;
use glovebox_tests::vcan::{BUSES, Buses, bus, is_listened_to};
use glovebox_tests::{agent, oracle};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// For whatever must come.
const LIMIT: Duration = Duration::from_secs(40);
/// For whatever must not come.
const QUIET: Duration = Duration::from_secs(2);
/// Lines of the drive: some 5 s, with 6,300 frames of `can0` and `can1`.
const DRIVE_LINES: usize = 11_300;
/// How far the stamp of a sample may lie from the recorder's.
const STAMP_SLACK_US: u64 = 1_000;

/// A database with a number in three kinds of frames.
const DBC: &str = r#"VERSION ""
NS_ :
BS_ :
BU_: X
BO_ 180 PLAIN: 8 X
 SG_ NUMBER : 47|16@0+ (1,0) [0|65535] "" X
BO_ 1024 WIDE: 64 X
 SG_ NUMBER : 496|16@1+ (1,0) [0|65535] "" X
BO_ 2566844672 LONG: 8 X
 SG_ NUMBER : 0|16@1+ (1,0) [0|65535] "" X
"#;
const PLAIN: &str = "CAN.can0.PLAIN.NUMBER";

fn plain(number: u16) -> String {
    format!("0B4#0000000000{number:04X}00")
}

/// A running agent that reads `vcan0` and `vcan1`, and `garage`, who was granted all numbers.
struct Live {
    buses: Buses,
    scene: Scene,
    agent: Agent,
    garage: Subscriber,
}

impl Live {
    fn start(test: &str, signals: &[&str]) -> Result<Option<Self>> {
        let Some(()) = need::broker(test)? else { return Ok(None) };
        let Some(buses) = Buses::fresh(test)? else { return Ok(None) };
        let scene = Scene::new(vec![Party { batch_age_s: 1, ..Party::plain("garage", signals) }])?;
        let dbc = scene.path("numbers.dbc")?;
        std::fs::write(&dbc, DBC)?;
        let garage = scene.subscribe("garage", &[])?;
        let mut agent = scene.agent(&scene.live(BUSES.map(|name| bus(name, &dbc)).to_vec(), 1))?;
        scene.fleet.prepare(&agent, &["garage"])?;
        agent.start()?;
        let live = Self { buses, scene, agent, garage };
        live.states("up", "up")?;
        Ok(Some(live))
    }

    /// Waits until the buses are in these states.
    fn states(&self, first: &str, second: &str) -> Result<Value> {
        self.agent.wait_for(&format!("vcan0 {first}, vcan1 {second}"), LIMIT, |status| {
            let state = |index: usize| status["buses"][index]["state"].as_str().unwrap_or_default();
            state(0).contains(first) && state(1).contains(second)
        })
    }

    fn bus_counter(&self, name: &str) -> Result<u64> {
        counter(&self.agent.status()?, "bus", name)
    }

    /// Waits until so many frames are read, and looks that no more come.
    fn read_exactly(&self, frames: u64) -> Result<()> {
        read_exactly(&self.agent, frames)
    }

    /// Waits until garage has these numbers of a signal, no more and no less, in this order.
    fn garage_has(&mut self, signal: &str, numbers: &[u16]) -> Result<()> {
        let want: Vec<f64> = numbers.iter().map(|number| f64::from(*number)).collect();
        let mut got = Vec::new();
        let came = until(&format!("{} numbers of {signal}", want.len()), LIMIT, || {
            got = values(&self.garage.printed()?, signal);
            Ok((got.len() >= want.len()).then_some(()))
        });
        let differs = got.iter().zip(&want).position(|(got, want)| got != want);
        came.with_context(|| format!("{} came; the first that differs: {differs:?}", got.len()))?;
        ensure!(got == want, "{} of {signal} instead of {}; differs at {differs:?}", got.len(), want.len());
        Ok(())
    }

    /// Nobody but the test has sent a frame; the agent ends well.
    fn finish(mut self) -> Result<()> {
        self.agent.stop()?;
        self.buses.all_ours()?;
        self.garage.finish()?.must_be_quiet("garage")?;
        self.scene.finish();
        Ok(())
    }
}

fn counter(status: &Value, stage: &str, name: &str) -> Result<u64> {
    status["counters"][stage][name].as_u64().with_context(|| format!("no counter {stage}.{name}: {status}"))
}

fn read_exactly(agent: &Agent, frames: u64) -> Result<()> {
    let read = |status: &Value| counter(status, "bus", "frames_read").unwrap_or_default();
    agent.wait_for(&format!("{frames} frames"), LIMIT, |status| read(status) >= frames)?;
    std::thread::sleep(QUIET / 4);
    let status = agent.status()?;
    ensure!(read(&status) == frames, "{} frames were read instead of {frames}", read(&status));
    for (stage, name) in
        [("bus", "frames_dropped"), ("bus", "frames_faulty"), ("decode", "frames_not_needed")]
    {
        ensure!(counter(&status, stage, name)? == 0, "{stage}.{name}: {status}");
    }
    Ok(())
}

fn values(printed: &Printed, signal: &str) -> Vec<f64> {
    printed
        .samples
        .iter()
        .filter(|sample| sample.signal == signal)
        .filter_map(|sample| sample.value)
        .collect()
}

/// The first seconds of the drive, without the buses that nobody reads.
fn part_of(drive: &Drive, file: &Path) -> Result<()> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(&drive.log)?).read_to_string(&mut text)?;
    let ours = |line: &&str| line.contains(" can0 ") || line.contains(" can1 ");
    let lines: Vec<&str> = text.lines().take(DRIVE_LINES).filter(ours).collect();
    Ok(std::fs::write(file, lines.join("\n") + "\n")?)
}

/// The frames of a log that the parties need: `can0 0B4#` for `CAN.can0.SPEED.…`.
fn needed(log: &str, buses: &[agent::Bus], parties: &[&Party]) -> Result<u64> {
    let mut starts = BTreeSet::new();
    for (signal, _) in parties.iter().flat_map(|party| &party.signals) {
        let [_, name, message, _] = signal.split('.').collect::<Vec<_>>()[..] else { continue };
        let bus = buses.iter().find(|bus| bus.name == name).context("a bus")?;
        let dbc = std::fs::read(&bus.dbc[0])?;
        let dbc = String::from_utf8_lossy(&dbc);
        let id = dbc.lines().find_map(|line| {
            let (id, found) = line.strip_prefix("BO_ ")?.split_once(' ')?;
            found.starts_with(&format!("{message}:")).then(|| id.parse::<u32>().ok())?
        });
        starts.insert(format!("{name} {:03X}#", id.context("a message")?));
    }
    let frame = |line: &str| line.split_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    let wanted = |line: &&str| starts.iter().any(|start| frame(line).starts_with(start.as_str()));
    Ok(u64::try_from(log.lines().filter(wanted).count())?)
}

#[test]
fn invariant_01_three_recipients_open_what_was_on_the_buses() -> Result<()> {
    let test = "three_recipients_live";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let Some(drive) = need::drive() else { return need::skip(test, "no shared data (GLOVEBOX_SHARED)") };
    let Some(python) = need::python() else { return need::skip(test, "no Python with cantools") };
    let Some(mut buses) = Buses::fresh(test)? else { return Ok(()) };
    let nothing = Party::plain("broker", &["CAN.can0.SPEED.SPEED", "CAN.can0.GAS_PEDAL.GAS_PEDAL"]);
    let parties = vec![Party { batch_age_s: 2, ..garage() }, Party { batch_age_s: 2, ..insurer() }, nothing];
    let scene = Scene::new(parties)?;
    let granted: Vec<&Party> = scene.fleet.parties().iter().take(2).collect();
    let mut subscribers = Vec::new();
    for party in scene.fleet.parties() {
        subscribers.push((party.id.clone(), scene.subscribe(&party.id, &[])?));
    }
    let settings = scene.live(vec![bus("vcan0", &drive.powertrain), bus("vcan1", &drive.radar)], 2);
    let mut agent = scene.agent(&settings)?;
    scene.fleet.prepare(&agent, &["garage", "insurer"])?;
    agent.start()?;
    agent.wait_for("both buses", LIMIT, |status| {
        (0..2).all(|bus| status["buses"][bus]["state"].as_str().is_some_and(|state| state.contains("up")))
    })?;
    let recorder = buses.record(&scene.path("recorded")?)?;
    part_of(&drive, &scene.path("part.log")?)?;
    let log = scene.path("senders.log")?;
    // Ids that nobody was granted, and with 29 bits the number of one that was.
    let mut senders = [
        buses.generate("vcan0", 1_500, &["-g", "2", "-e", "-I", "r"], &log)?,
        buses.generate("vcan1", 1_500, &["-g", "2", "-I", "7F0", "-f"], &log)?,
        buses.generate("vcan0", 300, &["-g", "10", "-e", "-I", "B4", "-L", "8"], &log)?,
        buses.play(&scene.path("part.log")?, &[], &log)?,
    ];
    senders.iter_mut().try_for_each(|sender| sender.success(LIMIT))?;
    let (recorded, text) = (scene.path("recorded.log")?, recorder.finish(&buses)?);
    std::fs::write(&recorded, &text)?;
    read_exactly(&agent, needed(&text, &settings.buses, &granted)?)?;
    let expected = oracle::expect(&python, &scene.path("")?, &recorded, &settings.buses, &granted)?;
    let mut total = 0;
    for (id, subscriber) in &mut subscribers {
        let count: usize = expected.get(id).map_or(0, |signals| signals.values().map(Vec::len).sum());
        total += count;
        until(&format!("the {count} samples of {id}"), LIMIT, || {
            Ok((subscriber.printed()?.samples.len() >= count).then_some(()))
        })?;
    }
    std::thread::sleep(QUIET);
    for (id, subscriber) in subscribers {
        let (printed, none) = (subscriber.finish()?, oracle::BySignal::new());
        printed.must_be_quiet(&id)?;
        let (want, got) = (expected.get(&id).unwrap_or(&none), oracle::by_signal(&printed.samples));
        oracle::compare_within(&id, want, &got, STAMP_SLACK_US)?;
    }
    agent.stop()?;
    buses.all_ours()?;
    need::say(&format!("{test}: {} frames on the buses, {total} samples", buses.sent()));
    scene.finish();
    Ok(())
}

#[test]
fn invariant_06_what_no_grant_needs_is_not_read() -> Result<()> {
    let Some(mut live) = Live::start("not_needed_not_read", &[PLAIN])? else { return Ok(()) };
    let log = live.scene.path("senders.log")?;
    let noise = |live: &mut Live| -> Result<()> {
        let mut senders = [
            live.buses.generate("vcan0", 3_000, &["-g", "0", "-I", "0B5"], &log)?,
            live.buses.generate("vcan0", 3_000, &["-g", "0", "-e", "-I", "i"], &log)?,
            // The granted id, but on a bus where it was not granted.
            live.buses.generate("vcan1", 3_000, &["-g", "0", "-I", "0B4"], &log)?,
        ];
        senders.iter_mut().try_for_each(|sender| sender.success(LIMIT))?;
        // The granted number as an id of 29 bits, and the granted id as a request for its frame.
        live.buses.send("vcan0", &["000000B4#0000000000FFFF00", "0B4#R", "0B4#R8"])
    };
    noise(&mut live)?;
    live.read_exactly(0)?;
    live.buses.send("vcan0", &[plain(1), plain(2)])?;
    live.read_exactly(2)?;
    live.garage_has(PLAIN, &[1, 2])?;
    live.agent.run(&["consent", "withdraw", "--recipient", "garage", "--purpose", PURPOSE])?;
    live.buses.send("vcan0", &[plain(3), plain(4)])?;
    noise(&mut live)?;
    live.read_exactly(2)?;
    live.scene.fleet.grant(&live.agent, "garage")?;
    live.buses.send("vcan0", &[plain(5)])?;
    noise(&mut live)?;
    live.read_exactly(3)?;
    live.garage_has(PLAIN, &[1, 2, 5])?;
    live.finish()
}

#[test]
fn a_burst_of_3000_frames_arrives_whole() -> Result<()> {
    let Some(mut live) = Live::start("burst", &[PLAIN])? else { return Ok(()) };
    let numbers: Vec<u16> = (1..=3_000).collect();
    let mut text = String::new();
    for number in &numbers {
        writeln!(text, "(0.000000) can0 {}", plain(*number))?;
    }
    let (burst, log) = (live.scene.path("burst.log")?, live.scene.path("player.log")?);
    std::fs::write(&burst, text)?;
    live.buses.play(&burst, &["-t"], &log)?.success(LIMIT)?;
    live.read_exactly(3_000)?;
    live.garage_has(PLAIN, &numbers)?;
    live.finish()
}

#[test]
fn what_the_kernel_had_to_drop_is_counted() -> Result<()> {
    let Some(mut live) = Live::start("kernel_drops", &[PLAIN])? else { return Ok(()) };
    let log = live.scene.path("senders.log")?;
    live.agent.freeze()?;
    let frames = 60_000;
    live.buses.generate("vcan0", frames, &["-g", "0", "-I", "0B4", "-L", "8"], &log)?.success(LIMIT)?;
    live.agent.thaw()?;
    // The kernel tells of drops with the next frame.
    let first = plain(1);
    until("the count of dropped frames", LIMIT, || {
        live.buses.send("vcan0", &[&first])?;
        std::thread::sleep(QUIET / 10);
        let status = live.agent.status()?;
        let (read, dropped) =
            (counter(&status, "bus", "frames_read")?, counter(&status, "bus", "frames_dropped")?);
        ensure!(read + dropped <= live.buses.sent(), "{read} read and {dropped} dropped");
        Ok((dropped > 0 && read + dropped == live.buses.sent()).then_some(()))
    })?;
    let held = live.bus_counter("frames_read")?;
    need::say(&format!("kernel_drops: the socket of a frozen agent held about {held} of {frames} frames"));
    live.agent.stop()?;
    live.buses.all_ours()?;
    live.scene.finish();
    Ok(())
}

#[test]
fn interfaces_come_and_go() -> Result<()> {
    let second = "CAN.can1.PLAIN.NUMBER";
    let Some(mut live) = Live::start("come_and_go", &[PLAIN, second])? else { return Ok(()) };
    live.buses.send("vcan0", &[plain(1)])?;
    live.buses.down("vcan0")?;
    live.states("down", "up")?;
    live.buses.send("vcan1", &[plain(101)])?;
    live.buses.up("vcan0")?;
    live.states("up", "up")?;
    live.buses.send("vcan0", &[plain(2)])?;
    live.garage_has(PLAIN, &[1, 2])?;
    live.buses.remove("vcan0")?;
    live.states("missing", "up")?;
    live.buses.send("vcan1", &[plain(102)])?;
    live.buses.create("vcan0")?;
    live.states("up", "up")?;
    live.buses.send("vcan0", &[plain(3)])?;
    live.garage_has(PLAIN, &[1, 2, 3])?;
    // Under another name it is not the configured bus; a new one under the old name is.
    live.buses.rename("vcan0", "away0")?;
    live.states("missing", "up")?;
    live.buses.send("away0", &[plain(900)])?;
    live.buses.create("vcan0")?;
    live.states("up", "up")?;
    live.buses.send("away0", &[plain(901)])?;
    live.buses.send("vcan0", &[plain(4)])?;
    live.garage_has(PLAIN, &[1, 2, 3, 4])?;
    live.buses.remove("vcan0")?;
    live.states("missing", "up")?;
    live.buses.rename("away0", "vcan0")?;
    live.states("up", "up")?;
    live.buses.send("vcan0", &[plain(5)])?;
    live.buses.send("vcan1", &[plain(103)])?;
    live.garage_has(PLAIN, &[1, 2, 3, 4, 5])?;
    live.garage_has(second, &[101, 102, 103])?;
    ensure!(live.bus_counter("interface_changes")? >= 8, "{}", live.agent.status()?);
    live.finish()
}

#[test]
fn an_agent_starts_without_its_interfaces_and_finds_them_later() -> Result<()> {
    let Some(mut live) = Live::start("interfaces_later", &[PLAIN])? else { return Ok(()) };
    live.agent.stop()?;
    live.buses.remove("vcan0")?;
    live.buses.down("vcan1")?;
    live.agent.start()?;
    live.states("missing", "down")?;
    live.buses.create("vcan0")?;
    live.buses.up("vcan1")?;
    live.states("up", "up")?;
    live.buses.send("vcan0", &[plain(7)])?;
    live.garage_has(PLAIN, &[7])?;
    live.finish()
}

#[test]
fn fd_frames_and_long_ids_are_read() -> Result<()> {
    let (wide, long) = ("CAN.can0.WIDE.NUMBER", "CAN.can0.LONG.NUMBER");
    let Some(mut live) = Live::start("fd_and_long", &[PLAIN, wide, long])? else { return Ok(()) };
    // 64 bytes, the number in the last two; 2566844672 is 18FEF100 with the mark of 29 bits.
    let fd = format!("400##1{}3412", "00".repeat(62));
    live.buses.send("vcan0", &[fd.as_str(), "18FEF100#7856000000000000", &plain(1)])?;
    live.garage_has(wide, &[0x1234])?;
    live.garage_has(long, &[0x5678])?;
    live.garage_has(PLAIN, &[1])?;
    live.read_exactly(3)?;
    live.finish()
}

#[test]
fn error_frames_are_counted() -> Result<()> {
    let Some(mut live) = Live::start("error_frames", &[PLAIN])? else { return Ok(()) };
    // As a controller tells it: transmitter, then receiver error passive, which is no news; bus off; restarted; and a
    // lost arbitration, which is no state of the controller and not asked for.
    let errors = [
        "20000004#0020000000000000",
        "20000004#0010000000000000",
        "20000040#0000000000000000",
        "20000100#0000000000000000",
        "20000002#0500000000000000",
    ];
    live.buses.send("vcan0", &errors)?;
    live.buses.send("vcan0", &[plain(1)])?;
    live.garage_has(PLAIN, &[1])?;
    for (name, count) in [("error_frames", 4), ("bus_off", 1), ("error_passive", 1), ("restarts", 1)] {
        let got = live.bus_counter(name)?;
        ensure!(got == count, "{name} is {got} instead of {count}");
    }
    live.finish()
}

#[test]
fn invariant_10_the_agent_sends_nothing_whatever_happens_on_the_bus() -> Result<()> {
    let Some(mut live) = Live::start("never_sends", &[PLAIN])? else { return Ok(()) };
    let recorder = live.buses.record(&live.scene.path("recorded")?)?;
    let log = live.scene.path("senders.log")?;
    // What others would answer: requests for a frame, and for diagnosis.
    live.buses
        .send("vcan0", &["0B4#R", "7DF#02010C0000000000", "7E0#0210030000000000", "18DA10F1#023E00"])?;
    live.buses.send("vcan1", &["000#0100", "18EAFFF9#ECFE00", "20000040#0000000000000000"])?;
    live.buses.generate("vcan0", 2_000, &["-g", "0", "-m", "-I", "0B5"], &log)?.success(LIMIT)?;
    live.buses.send("vcan0", &[plain(1)])?;
    live.garage_has(PLAIN, &[1])?;
    live.agent.kill()?;
    live.agent.start()?;
    live.states("up", "up")?;
    live.buses.send("vcan0", &[plain(2)])?;
    live.garage_has(PLAIN, &[1, 2])?;
    live.agent.stop()?;
    // The recorder saw what the counters of the interfaces say: what the test sent, and nothing else.
    let recorded = recorder.finish(&live.buses)?;
    ensure!(recorded.contains("0B4#R"), "the recorder saw the requests");
    live.buses.all_ours()?;
    live.garage.finish()?;
    live.scene.finish();
    Ok(())
}

/// Lines of `glovebox decode` without their time, and the times.
fn decoded(text: &str) -> Result<Vec<(String, f64)>> {
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line)?;
        let time = value["t"].as_f64().context("no time")?;
        value["t"] = Value::Null;
        Ok((value.to_string().replace("vcan", "can"), time))
    };
    text.lines().map(line).collect()
}

#[test]
fn decode_of_a_bus_says_what_decode_of_its_log_says() -> Result<()> {
    let test = "decode_live";
    let Some(drive) = need::drive() else { return need::skip(test, "no shared data (GLOVEBOX_SHARED)") };
    let Some(mut buses) = Buses::fresh(test)? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let decode = |more: &[&str]| -> Result<Command> {
        let mut command = Command::new(agent::binary("glovebox")?);
        command.arg("decode").arg("--dbc").arg(&drive.powertrain).args(["--format", "jsonl"]).args(more);
        Ok(command)
    };
    let mut live = Vec::new();
    for (name, more) in [("some", &["vcan0"][..]), ("all", &["--all", "vcan0"])] {
        let (told, lines) = (path(name).with_extension("err"), path(name).with_extension("jsonl"));
        ensure!(!is_listened_to("vcan0")?, "another listener would be taken for this one");
        let mut process = Process::start(&mut decode(more)?, &told, Some(&lines))?;
        until("the listener", LIMIT, || {
            process.must_run()?;
            Ok(is_listened_to("vcan0")?.then_some(()))
        })?;
        let recorder = buses.record(&path(&format!("{name}.recorded")))?;
        part_of(&drive, &path("part.log"))?;
        let fd = format!("400##1{}", "A5".repeat(64));
        buses.send("vcan0", &["7F1#0011", "18FEF100#1122", fd.as_str(), "0B4#R", "000000AA#00"])?;
        buses.play(&path("part.log"), &["-t"], &path("player.log"))?.success(LIMIT)?;
        let log = path(&format!("{name}.log"));
        std::fs::write(&log, recorder.finish(&buses)?)?;
        process.signal(Signal::SIGINT)?;
        process.success(LIMIT)?;
        live.push((more.len() > 1, log, lines, told));
    }
    for (all, log, lines, told) in live {
        let log = log.to_str().context("a path")?;
        let more = if all { vec!["--all", "--bus", "can0", log] } else { vec!["--bus", "can0", log] };
        let want = output(&mut decode(&more)?, LIMIT)?;
        let (want, got) =
            (decoded(&String::from_utf8(want.stdout)?)?, decoded(&std::fs::read_to_string(lines)?)?);
        let differs = want.iter().zip(&got).position(|(want, got)| {
            want.0 != got.0
                || (want.1 - got.1).abs() * 1e6 > f64::from(u32::try_from(STAMP_SLACK_US).unwrap_or(0))
        });
        ensure!(differs.is_none(), "{:?} is {:?}", differs.map(|at| &want[at]), differs.map(|at| &got[at]));
        ensure!(got.len() == want.len() && got.len() > 10_000, "{} lines, not {}", got.len(), want.len());
        let raw = got.iter().filter(|(line, _)| line.contains("\"data\"")).count();
        ensure!((raw > 1_000) == all, "{raw} raw frames");
        let summary = std::fs::read_to_string(&told)?;
        ensure!(summary.contains("frames decoded") && summary.contains(" 0 dropped"), "{summary}");
        need::say(&format!("{test}: {} lines equal, {raw} of them frames of no message", got.len()));
    }
    let missing = output(&mut decode(&["vcan9"])?, LIMIT)?;
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    ensure!(
        missing.status.code() == Some(2) && said.contains("neither such a file nor such an interface"),
        "{said}"
    );
    buses.all_ours()
}

/// A group of one frame and one of 20 bytes, from any sender.
const TRUCK: &str = r#"
BO_ 2364540158 EEC1: 8 X
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|8031.875] "rpm" X
BO_ 2566841342 EC1: 20 X
 SG_ Last : 152|8@1+ (1,0) [0|0] "" X
BA_ "ProtocolType" "J1939";
"#;

/// Sender, signal, value.
type Decoded = (u64, String, f64);

/// By the masks of the kernel's filter: every sender of a needed group, what carries long messages, and nothing else.
#[test]
fn invariant_06_of_j1939_only_needed_groups_and_carriers_are_read() -> Result<()> {
    let Some(mut buses) = Buses::fresh("j1939")? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("truck.dbc"), TRUCK)?;
    let run = |buses: &mut Buses, name: &str, more: &[&str]| -> Result<(Vec<Decoded>, String)> {
        let (told, lines) = (path(name).with_extension("err"), path(name).with_extension("jsonl"));
        let mut command = Command::new(agent::binary("glovebox")?);
        command.arg("decode").arg("--dbc").arg(path("truck.dbc")).args(["--format", "jsonl"]).args(more);
        let mut process = Process::start(command.arg("vcan0"), &told, Some(&lines))?;
        until("the listener", LIMIT, || {
            process.must_run()?;
            Ok(is_listened_to("vcan0")?.then_some(()))
        })?;
        buses.send(
            "vcan0",
            &[
                "0CF00400#0000006813000000", // the group from 0
                "18F00455#0000006913000000", // and from 55, with another priority
                "18FEF100#0102030405060708", // a group of nobody's
                "123#0000006813000000",      // no J1939 at all
                "1CECFF17#20140003FFE3FE00", // 17 announces 20 bytes to all
                "1CEBFF17#0101020304050607",
                "1CEBFF17#0208090A0B0C0D0E",
                "1CEBFF17#030F1011121314FF",
            ],
        )?;
        // The last frame is the last to come, if it comes.
        std::thread::sleep(std::time::Duration::from_millis(500));
        process.signal(Signal::SIGINT)?;
        process.success(LIMIT)?;
        let line = |line: &str| {
            let value: Value = serde_json::from_str(line)?;
            let signal = value["signal"].as_str().context("no signal")?.to_owned();
            Ok((
                value["source"].as_u64().context("no source")?,
                signal,
                value["value"].as_f64().context("no value")?,
            ))
        };
        let lines = std::fs::read_to_string(lines)?.lines().map(line).collect::<Result<_>>()?;
        Ok((lines, std::fs::read_to_string(told)?))
    };
    let speed = |source: u64, value: f64| (source, "EngineSpeed".to_owned(), value);
    let (lines, told) = run(&mut buses, "some", &["--signal", "EEC1.*"])?;
    ensure!(lines == [speed(0, 621.0), speed(0x55, 621.125)], "{lines:?}");
    ensure!(told.contains("2 frames: 2 frames decoded"), "{told}");
    let (lines, told) = run(&mut buses, "all", &[])?;
    let want = [speed(0, 621.0), speed(0x55, 621.125), (0x17, "Last".to_owned(), 20.0)];
    ensure!(lines == want, "{lines:?}");
    ensure!(told.contains("6 frames: 3 frames decoded"), "{told}");
    need::say(&format!("j1939: {}", told.trim()));
    buses.all_ours()
}
