//! Lives of the agent that end by SIGKILL at random moments, with the broker killed, stopped and frozen in between:
//! every batch that was said to be stored arrives, once. A withdrawal is among them: nothing of it afterwards.

use anyhow::{Context, Result, ensure};
use glovebox_tests::agent::{Agent, Stored};
use glovebox_tests::fleet::Party;
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::random::Random;
use glovebox_tests::recipient::{Printed, Subscriber};
use glovebox_tests::scene::Scene;
use glovebox_tests::source::tree;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Batches stored in each life before it may be ended.
const STORED_A_LIFE: usize = 20;
/// How long that may take on a slow machine.
const LIFE_LIMIT: Duration = Duration::from_secs(60);
/// How long a life goes on behind that, at most.
const LIFE_MORE: Duration = Duration::from_millis(700);
/// What waited may need this long to arrive in the end.
const DRAIN_LIMIT: Duration = Duration::from_secs(240);
/// The network's memory: what a connection that was cut off had handed over before.
const IN_FLIGHT: Duration = Duration::from_millis(500);

fn parties() -> Vec<Party> {
    let party = |id: &str, signals: &[&str]| Party {
        microseconds: true,
        batch_age_s: 1,
        ..Party::plain(id, signals)
    };
    vec![
        party(
            "garage",
            &["CAN.can0.SPEED.SPEED", "CAN.can0.ENGINE_RPM.RPM", "CAN.can0.WHEEL_SPEEDS.WHEEL_SPEED_FL"],
        ),
        party("insurer", &["CAN.can0.KINEMATICS.ACCEL_X", "CAN.can1.TRACK_A_0.LONG_DIST"]),
        party("leaver", &["CAN.can0.SPEED.SPEED", "CAN.can0.GAS_PEDAL.GAS_PEDAL"]),
    ]
}

/// How many lives: `GLOVEBOX_LIVES`, as `tests/run` says.
fn lives() -> u64 {
    std::env::var("GLOVEBOX_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

struct Play {
    scene: Scene,
    agent: Agent,
    subscribers: BTreeMap<String, Subscriber>,
    random: Random,
    /// How many PUBLISH packets the broker had received when the withdrawal was through.
    withdrawn_after: Option<usize>,
}

impl Play {
    /// Until 20 batches are stored in this life.
    fn lives_on(&mut self) -> Result<()> {
        self.agent.start()?;
        until("20 stored batches", LIFE_LIMIT, || {
            Ok((self.agent.stored().len() >= STORED_A_LIFE).then_some(()))
        })
        .with_context(|| format!("the life has stored {}", self.agent.stored().len()))
    }

    /// Nothing new has come to any recipient for a while: the broker has handed on all that it has acknowledged.
    fn idle(&mut self) -> Result<()> {
        let size = |subscribers: &BTreeMap<String, Subscriber>| -> u64 {
            subscribers
                .values()
                .filter_map(|each| std::fs::metadata(each.lines()).ok())
                .map(|file| file.len())
                .sum()
        };
        let (mut last, mut since) = (size(&self.subscribers), Instant::now());
        until("idle recipients", LIFE_LIMIT, || {
            let now = size(&self.subscribers);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            Ok((since.elapsed() > Duration::from_millis(600)).then_some(()))
        })
    }

    /// The broker is killed while it owes nobody anything that it has acknowledged: Mosquitto syncs no message
    /// before its PUBACK, so what it loses otherwise says nothing of the agent. The agent is frozen meanwhile, with
    /// unacknowledged batches on the way.
    fn broker_is_killed(&mut self) -> Result<()> {
        self.agent.freeze()?;
        self.idle()?;
        self.scene.broker.save()?;
        self.scene.broker.kill()?;
        self.agent.thaw()?;
        self.random.sleep(LIFE_MORE);
        Ok(())
    }

    /// What happens to the broker in this life, by turns.
    fn trouble(&mut self, life: u64) -> Result<()> {
        match life % 6 {
            1 => {
                self.broker_is_killed()?;
                self.scene.broker.restart()
            }
            2 => {
                self.scene.broker.stop()?;
                self.random.sleep(LIFE_MORE);
                self.scene.broker.restart()
            }
            3 => {
                self.scene.broker.freeze()?;
                self.random.sleep(LIFE_MORE);
                self.scene.broker.thaw()
            }
            _ => Ok(()),
        }
    }

    /// The owner withdraws: from now on nothing of that grant is on the wire, and its queue and keys are gone.
    fn withdrawal(&mut self) -> Result<()> {
        until("a batch of the one who leaves", LIFE_LIMIT, || {
            Ok((!self.subscribers["leaver"].printed_now()?.samples.is_empty()).then_some(()))
        })?;
        self.agent.run(&["consent", "withdraw", "--recipient", "leaver"])?;
        std::thread::sleep(IN_FLIGHT);
        self.withdrawn_after = Some(self.scene.broker.received().len());
        self.nothing_is_left()
    }

    fn flow_of(&self, recipient: &str) -> Result<BTreeSet<String>> {
        let printed = self.subscribers[recipient].printed_now()?;
        Ok(printed.samples.into_iter().map(|sample| sample.flow).collect())
    }

    /// No file or folder of the withdrawn flow but its tombstone.
    fn nothing_is_left(&self) -> Result<()> {
        let flows = self.flow_of("leaver")?;
        let state = self.agent.state();
        let names =
            |path: &std::path::PathBuf| path.strip_prefix(&state).unwrap_or(path).display().to_string();
        let left = |name: &String| flows.iter().any(|flow| name.contains(flow.as_str()));
        let left: Vec<String> = tree(&state)
            .iter()
            .map(names)
            .filter(left)
            .filter(|name| !name.starts_with("tombstones"))
            .collect();
        ensure!(left.is_empty(), "of the withdrawn grant are left: {left:?}");
        Ok(())
    }

    /// What was stored and did not arrive so far, and what did.
    fn lost(&self) -> Result<(Vec<Stored>, usize)> {
        let gone = self.flow_of("leaver")?;
        let mut arrived = BTreeSet::new();
        for subscriber in self.subscribers.values() {
            let samples = subscriber.printed_now()?.samples;
            arrived.extend(samples.into_iter().map(|s| Stored {
                flow: s.flow,
                epoch: s.epoch,
                sequence: s.sequence,
            }));
        }
        let mut lost = self.agent.all_stored();
        lost.retain(|each| !gone.contains(&each.flow) && !arrived.contains(each));
        Ok((lost, arrived.len()))
    }

    fn check(&mut self) -> Result<()> {
        let mark = self.withdrawn_after.context("no withdrawal")?;
        // A recipient that was cut off often waits long before it comes back: the broker keeps its messages.
        let waited = until("all stored batches at the recipients", DRAIN_LIMIT, || {
            Ok(self.lost()?.0.is_empty().then_some(()))
        });
        let (lost, arrived) = self.lost()?;
        let first: Vec<&Stored> = lost.iter().take(5).collect();
        waited.with_context(|| format!("{} did not arrive, the first are {first:?}", lost.len()))?;
        self.idle()?;
        let after = self.scene.broker.received().split_off(mark);
        let sent = after
            .iter()
            .filter(|topic| topic.starts_with("glovebox/v1/leaver/") && topic.ends_with("/batch"));
        ensure!(sent.count() == 0, "batches of the withdrawn grant were sent after the withdrawal");
        self.nothing_is_left()?;
        let mut duplicates = 0;
        for (id, subscriber) in &self.subscribers {
            let printed = subscriber.printed_now()?;
            duplicates += printed.events("duplicate").len();
            check_once(id, &printed, id == "leaver")?;
        }
        let stored = self.agent.all_stored().len();
        need::say(&format!(
            "{stored} batches stored, {arrived} arrived, 0 lost, {duplicates} duplicates removed"
        ));
        Ok(())
    }
}

/// Each sample once; nothing missing in the end, declared lost or refused (of a withdrawn flow, the end is missing).
fn check_once(id: &str, printed: &Printed, withdrawn: bool) -> Result<()> {
    let (mut seen, mut batches) = (BTreeSet::new(), BTreeSet::new());
    for sample in &printed.samples {
        let batch = (sample.flow.as_str(), u64::from(sample.epoch), sample.sequence);
        ensure!(seen.insert((batch, &sample.signal, sample.time_us)), "{id} got a sample twice: {sample:?}");
        batches.insert(batch);
    }
    for gap in printed.events("gap") {
        let number = |name: &str| gap[name].as_u64().with_context(|| format!("{name} of {gap}"));
        let (flow, epoch) = (gap["flow"].as_str().unwrap_or_default(), number("epoch")?);
        // What was passed over at first may have come later.
        let missing =
            (number("first")?..=number("last")?).any(|each| !batches.contains(&(flow, epoch, each)));
        ensure!(withdrawn || !missing, "{id} has a gap for good: {gap}");
    }
    for name in ["loss", "refused", "held"] {
        let events = printed.events(name);
        ensure!(withdrawn || events.is_empty(), "{id} saw a {name}: {events:?}");
    }
    Ok(())
}

#[test]
fn invariant_08_what_was_stored_arrives_once_through_kills_and_a_withdrawal() -> Result<()> {
    let test = "kill";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let Some(drive) = need::drive() else { return need::skip(test, "no shared data (GLOVEBOX_SHARED)") };
    let mut scene = Scene::new(parties())?;
    let agent = scene.agent(&scene.settings(&drive, "10.0", 1))?;
    scene.fleet.prepare(&agent, &["garage", "insurer", "leaver"])?;
    let mut subscribers = BTreeMap::new();
    for id in ["garage", "insurer", "leaver"] {
        subscribers.insert(id.to_owned(), scene.subscribe(id, &[])?);
    }
    scene.broker.save()?;
    let mut play = Play { scene, agent, subscribers, random: Random::new(test), withdrawn_after: None };
    let lives = lives();
    for life in 0..lives {
        play.lives_on().with_context(|| format!("life {life}"))?;
        if life == lives / 2 {
            play.withdrawal()?;
        }
        play.trouble(life).with_context(|| format!("trouble in life {life}"))?;
        play.random.sleep(LIFE_MORE);
        play.agent.kill()?;
    }
    play.agent.start()?;
    play.agent.drained(DRAIN_LIMIT)?;
    play.idle()?;
    play.check()?;
    play.agent.stop()?;
    play.scene.finish();
    Ok(())
}
