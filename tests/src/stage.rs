//! A car under faults: a log whose every value is known by its stamp, three recipients, the account of what was stored.

use crate::agent::{Agent, Bus, Settings};
use crate::fleet::Party;
use crate::process::until;
use crate::random::Random;
use crate::recipient::{Printed, Subscriber};
use crate::scene::Scene;
use crate::source::tree;
use crate::tally::{Row, Tally};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Batches stored in each life before it may be ended.
pub const STORED_A_LIFE: usize = 20;
/// How long the next batch may take on a slow machine.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How long all that waited may take to arrive.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(240);
/// The network's memory: what a connection that was cut off had handed over before.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// Nothing has come for so long: the broker has handed on all that it acknowledged.
const IDLE: Duration = Duration::from_millis(600);
/// The recipient whose grant is withdrawn.
pub const LEAVER: &str = "leaver";
/// Everybody.
pub const RECIPIENTS: [&str; 3] = ["garage", "insurer", LEAVER];

/// Two messages each half second of the log, for two hours: six minutes of a test. Tests that strike more often last
/// longer.
const TICKS: i64 = 14_400;
/// For each so many lives it is so long.
const LIVES_A_LOG: u64 = 250;
const TICK_US: i64 = 500_000;
/// When the log begins.
pub const BEGIN_US: i64 = 1_000_000_000;
/// Its pace.
pub const PACE: i64 = 20;
const DBC: &str = "VERSION \"\"\nBU_: CAR\nBO_ 256 DRIVE: 8 CAR\n SG_ SPEED : 0|16@1+ (0.01,0) [0|655] \"km/h\" CAR\n \
                   SG_ RPM : 16|16@1+ (1,0) [0|65535] \"rpm\" CAR\nBO_ 257 TANK: 8 CAR\n \
                   SG_ FUEL : 0|16@1+ (0.1,0) [0|6553] \"l\" CAR\n";

/// The value of a signal at a stamp of the log.
#[must_use]
pub fn truth(signal: &str, time_us: i64) -> Option<f64> {
    let tick = (time_us - BEGIN_US) / TICK_US;
    let raw = u32::try_from(raw(signal.rsplit('.').next()?, tick)?).ok()?;
    let scale = [("SPEED", 0.01), ("RPM", 1.0), ("FUEL", 0.1)].into_iter();
    scale.filter(|(name, _)| signal.ends_with(name)).map(|(_, scale)| f64::from(raw) * scale).next()
}

fn raw(signal: &str, tick: i64) -> Option<i64> {
    match signal {
        "SPEED" => Some(tick % 60_000),
        "RPM" => Some(tick * 7 % 60_011),
        "FUEL" => Some(tick * 13 % 60_013),
        _ => None,
    }
}

fn log() -> String {
    let mut text = String::new();
    let times = i64::try_from(crate::need::lives() / LIVES_A_LOG).unwrap_or(1).max(1);
    for tick in 0..TICKS * times {
        let bytes = |signal| {
            let [low, high, ..] = raw(signal, tick).unwrap_or(0).to_le_bytes();
            format!("{low:02X}{high:02X}")
        };
        let time = BEGIN_US + tick * TICK_US;
        let stamp = format!("({}.{:06})", time / 1_000_000, time % 1_000_000);
        let _ = writeln!(text, "{stamp} can0 100#{}{}00000000", bytes("SPEED"), bytes("RPM"));
        let _ = writeln!(text, "{stamp} can0 101#{}000000000000", bytes("FUEL"));
    }
    text
}

fn parties() -> Vec<Party> {
    let party = |id: &str, signals: &[&str]| Party {
        microseconds: true,
        batch_age_s: 1,
        ..Party::plain(id, signals)
    };
    vec![
        party("garage", &["CAN.can0.DRIVE.SPEED", "CAN.can0.DRIVE.RPM"]),
        party("insurer", &["CAN.can0.TANK.FUEL"]),
        party(LEAVER, &["CAN.can0.DRIVE.SPEED", "CAN.can0.TANK.FUEL"]),
    ]
}

/// A scene with its car and its recipients, and the account of it.
#[derive(Debug)]
pub struct Stage {
    /// Broker, fleet, certificates.
    pub scene: Scene,
    /// The car.
    pub agent: Agent,
    /// What was stored, and what came.
    pub tally: Tally,
    /// Moments.
    pub random: Random,
    /// The car's settings.
    pub settings: Settings,
    recipients: BTreeMap<String, Subscriber>,
    /// Flows of grants that are withdrawn.
    pub gone: BTreeSet<String>,
    /// Bytes of the broker's log when the withdrawal was through.
    withdrawn_at: Option<u64>,
    /// Batches of a withdrawn grant that were on the wire.
    withdrawn_sent: Option<usize>,
    /// Times from the end of a fault to the next batch at a recipient.
    pub recovery: Vec<Duration>,
}

impl Stage {
    /// Everything but the car's daemon runs; all three recipients have their grant. `change` the car's settings
    /// before anything of it is on disk.
    ///
    /// # Errors
    /// If a part does not come up.
    pub fn new(test: &str, change: impl FnOnce(&Scene, &mut Settings) -> Result<()>) -> Result<Self> {
        let scene = Scene::new(parties())?;
        std::fs::write(scene.path("car.dbc")?, DBC)?;
        std::fs::write(scene.path("drive.log")?, log())?;
        let bus =
            Bus { name: "can0".to_owned(), interface: "can0".to_owned(), dbc: vec![scene.path("car.dbc")?] };
        let mut settings = scene.live(vec![bus], 1);
        (settings.replay, settings.speed) = (Some(scene.path("drive.log")?), format!("{PACE}.0"));
        change(&scene, &mut settings)?;
        let agent = scene.agent(&settings)?;
        scene.fleet.prepare(&agent, &RECIPIENTS)?;
        let mut recipients = BTreeMap::new();
        for id in RECIPIENTS {
            recipients.insert(id.to_owned(), scene.subscribe(id, &[])?);
        }
        Ok(Self {
            scene,
            agent,
            tally: Tally::new(truth),
            random: Random::new(test),
            settings,
            recipients,
            gone: BTreeSet::new(),
            withdrawn_at: None,
            withdrawn_sent: None,
            recovery: Vec::new(),
        })
    }

    /// Until so many batches are stored in this life.
    ///
    /// # Errors
    /// If that takes too long.
    pub fn stores(&self, batches: usize) -> Result<()> {
        let stored = || self.agent.stored().len();
        until("stored batches", LIMIT, || Ok((stored() >= batches).then_some(())))
            .with_context(|| format!("{} of {batches} are stored", stored()))
    }

    /// The daemon is killed, and what it said is noted.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.agent.kill()?;
        self.tally.said(self.agent.stored());
        Ok(())
    }

    /// The daemon is told to stop, and what it said is noted.
    ///
    /// # Errors
    /// If it does not end well.
    pub fn stop(&mut self) -> Result<()> {
        self.agent.stop()?;
        self.tally.said(self.agent.stored());
        Ok(())
    }

    /// Bytes that all recipients have printed.
    #[must_use]
    pub fn printed(&self) -> u64 {
        let files = self.recipients.values().filter_map(|each| std::fs::metadata(each.lines()).ok());
        files.map(|file| file.len()).sum()
    }

    /// Waits for the next batch at any recipient: `since` then the fault is over.
    ///
    /// # Errors
    /// If none comes within `limit`.
    pub fn recovers(&mut self, since: Instant, limit: Duration) -> Result<()> {
        let before = self.printed();
        until("the next batch at a recipient", limit, || Ok((self.printed() > before).then_some(())))?;
        self.recovery.push(since.elapsed());
        Ok(())
    }

    /// Nothing new has come to any recipient for a while: the broker has handed on all that it has acknowledged.
    ///
    /// # Errors
    /// If that does not come to an end.
    pub fn idle(&self) -> Result<()> {
        let (mut last, mut since) = (self.printed(), Instant::now());
        until("idle recipients", LIMIT, || {
            let now = self.printed();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            Ok((since.elapsed() > IDLE).then_some(()))
        })
    }

    /// The recipients end and come back at once: left alone they would wait for up to a minute after some failures.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn recipients_come_back(&mut self) -> Result<()> {
        for id in RECIPIENTS {
            self.recipients.remove(id).map_or(Ok(()), |mut each| each.end())?;
            let answered = format!("Sending SUBACK to glovebox-recipient-{id}");
            let before = self.scene.broker.log().matches(&answered).count();
            self.recipients.insert(id.to_owned(), self.scene.subscribe(id, &[])?);
            until("the subscription", LIMIT, || {
                Ok((self.scene.broker.log().matches(&answered).count() > before).then_some(()))
            })?;
        }
        Ok(())
    }

    /// Takes what all recipients have printed.
    ///
    /// # Errors
    /// If a line is not as it should be.
    pub fn read(&mut self) -> Result<()> {
        self.recipients.iter().try_for_each(|(id, each)| self.tally.read(id, each.lines()))
    }

    /// What a recipient has printed so far.
    ///
    /// # Errors
    /// If there is no such recipient, or a line is not as it should be.
    pub fn printed_by(&self, id: &str) -> Result<Printed> {
        self.recipients.get(id).context("no such recipient")?.printed_now()
    }

    /// The owner withdraws. When the command has said so, that flow is over.
    ///
    /// # Errors
    /// If the command fails or names no flow.
    pub fn withdraw(&mut self) -> Result<()> {
        self.withdraw_by(&["consent", "withdraw", "--recipient", LEAVER])
    }

    /// The same by a command that says more.
    ///
    /// # Errors
    /// If it fails or names no flow.
    pub fn withdraw_by(&mut self, command: &[&str]) -> Result<()> {
        let said = self.agent.run(command)?;
        let flow = said.split_once("(flow ").and_then(|(_, rest)| rest.split_once(')'));
        let (flow, _) = flow.with_context(|| format!("no flow is named: {said}"))?;
        self.gone.insert(flow.to_owned());
        Ok(())
    }

    /// From here on nothing of the leaver may be on the wire.
    ///
    /// # Errors
    /// If the broker's log cannot be read.
    pub fn nothing_is_sent_from_here(&mut self) -> Result<()> {
        std::thread::sleep(IN_FLIGHT);
        self.withdrawn_at = Some(self.scene.broker.logged()?);
        Ok(())
    }

    /// The owner grants the leaver the same again: a new flow.
    ///
    /// # Errors
    /// If the command fails.
    pub fn grant_again(&mut self) -> Result<()> {
        self.count_what_was_sent()?;
        self.withdrawn_at = None;
        self.scene.fleet.grant(&self.agent, LEAVER)
    }

    /// Batches of a withdrawn grant that were on the wire so far.
    ///
    /// # Errors
    /// If the broker's log cannot be read.
    pub fn withdrawn_sent(&mut self) -> Result<Option<usize>> {
        self.count_what_was_sent()?;
        Ok(self.withdrawn_sent)
    }

    fn count_what_was_sent(&mut self) -> Result<()> {
        let Some(mark) = self.withdrawn_at else { return Ok(()) };
        let (start, end) = (format!("glovebox/v1/{LEAVER}/"), "/batch");
        let sent = self.scene.broker.received_since(mark)?;
        let count = sent.iter().filter(|topic| topic.starts_with(&start) && topic.ends_with(end)).count();
        self.withdrawn_sent = Some(self.withdrawn_sent.unwrap_or(0) + count);
        self.withdrawn_at = Some(self.scene.broker.logged()?);
        Ok(())
    }

    /// No file or folder of the withdrawn flow but its tombstone.
    ///
    /// # Errors
    /// If there is one.
    pub fn nothing_is_left(&self) -> Result<()> {
        let (flows, state) = (&self.gone, self.agent.state());
        let name = |path: &PathBuf| path.strip_prefix(&state).unwrap_or(path).display().to_string();
        let of_it = |name: &String| flows.iter().any(|flow| name.contains(flow.as_str()));
        let names = tree(&state).iter().map(name).filter(of_it).collect::<Vec<_>>();
        let left: Vec<&String> = names.iter().filter(|name| !name.starts_with("tombstones")).collect();
        ensure!(left.is_empty(), "of the withdrawn grant are left: {left:?}");
        Ok(())
    }

    /// All that was stored has arrived, or is declared lost.
    ///
    /// # Errors
    /// If not so within the limit.
    pub fn accounted(&mut self) -> Result<()> {
        // What is declared may be of batches that were never said to be stored, and hide one that is still on its way.
        let (mut last, mut since) = (usize::MAX, Instant::now());
        let waited = until("all stored batches at the recipients", DRAIN_LIMIT, || {
            self.read()?;
            let missing = self.tally.missing(&self.gone).len();
            if missing != last {
                (last, since) = (missing, Instant::now());
            }
            let settled = self.tally.undeclared(&self.gone) == 0 && since.elapsed() > Duration::from_secs(3);
            Ok((missing == 0 || settled).then_some(()))
        });
        let missing = self.tally.missing(&self.gone);
        let first: Vec<_> = missing.iter().take(5).collect();
        waited.with_context(|| format!("{} did not arrive, the first are {first:?}", missing.len()))
    }

    /// The end, while the daemon runs: what was stored before this life has arrived or is declared, once, and nothing
    /// of a withdrawn grant was sent.
    ///
    /// # Errors
    /// If one of these is not so.
    pub fn row(&mut self, fault: &str) -> Result<Row> {
        self.accounted()?;
        // It goes on collecting.
        self.agent.freeze()?;
        self.idle()?;
        self.agent.thaw()?;
        self.read()?;
        self.tally.must_be_true()?;
        self.tally.must_be_whole(TICK_US)?;
        let withdrawn_sent = self.withdrawn_sent()?;
        ensure!(
            withdrawn_sent.unwrap_or(0) == 0,
            "{withdrawn_sent:?} batches of the withdrawn grant were sent"
        );
        self.nothing_is_left()?;
        let recovery = std::mem::take(&mut self.recovery);
        Ok(Row { withdrawn_sent, recovery, ..self.tally.row(fault, &self.gone) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_as_its_truth_says() {
        let log = log();
        let line = log.lines().nth(2 * 300).unwrap_or_default();
        assert_eq!(line, "(1150.000000) can0 100#2C01340800000000");
    }
}
