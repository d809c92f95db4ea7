//! Lives of the agent that end by SIGKILL at random moments, with the broker killed, stopped and frozen in between:
//! every batch that was said to be stored arrives, once. A withdrawal is among them: nothing of it afterwards.

use anyhow::{Context, Result, ensure};
use glovebox_core::names::WallTime;
use glovebox_tests::agent::Stored;
use glovebox_tests::need;
use glovebox_tests::stage::{BEGIN_US, PACE, STORED_A_LIFE, Stage};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a life goes on behind its twenty batches, at most.
const LIFE_MORE: Duration = Duration::from_millis(300);
/// The broker has trouble in one of so many lives.
const TROUBLE_EVERY: u64 = 8;
/// Batches of a flow that a kill may cost, in the median: the open one, one that is being synced, and those that wait for
/// others. At the pace of a drive one waits at most; at this pace a second has twenty, so that sixteen of both flows are
/// stored as soon as they are there, and half of them wait in the median.
const COST: i64 = 2 + 4;

/// The broker is killed while it owes nobody anything that it has acknowledged: Mosquitto syncs no message before its
/// PUBACK, so what it loses otherwise says nothing of the agent. The agent is frozen meanwhile, with unacknowledged
/// batches on the way.
fn broker_is_killed(stage: &mut Stage) -> Result<()> {
    stage.agent.freeze()?;
    stage.idle()?;
    stage.scene.broker.save()?;
    stage.scene.broker.kill()?;
    stage.agent.thaw()?;
    stage.random.sleep(LIFE_MORE);
    stage.scene.broker.restart()?;
    stage.recipients_come_back()
}

/// What happens to the broker, by turns.
fn trouble(stage: &mut Stage, turn: u64) -> Result<()> {
    match turn % 3 {
        0 => broker_is_killed(stage),
        1 => {
            stage.scene.broker.stop()?;
            stage.random.sleep(LIFE_MORE);
            stage.scene.broker.restart()?;
            stage.recipients_come_back()
        }
        _ => {
            stage.scene.broker.freeze()?;
            stage.random.sleep(LIFE_MORE);
            stage.scene.broker.thaw()
        }
    }
}

fn life(stage: &mut Stage) -> Result<()> {
    let start = Instant::now();
    stage.agent.start()?;
    stage.recovers(start, Duration::from_secs(60))?;
    stage.stores(STORED_A_LIFE)
}

/// The end of a life: how far the log had come, and the last batch of each flow that was stored.
struct End {
    log_us: i64,
    last: BTreeMap<String, Stored>,
}

fn end(stage: &mut Stage) -> Result<End> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
    stage.kill()?;
    let log = stage.agent.log();
    let begun =
        log.lines().find(|line| line.contains(" consent: in force flows=")).context("nothing in force")?;
    let begun = WallTime::parse(begun.split(' ').next().unwrap_or_default()).map_err(anyhow::Error::msg)?.0;
    let last = stage.agent.stored().into_iter().map(|batch| (batch.flow.clone(), batch)).collect();
    Ok(End { log_us: BEGIN_US + (now - begun) * PACE, last })
}

/// What a kill costs each flow, in batches of one second of the log: from the end of the last one that was stored.
fn cost(stage: &Stage, ends: &[End]) -> Result<()> {
    let lasts = ends.iter().flat_map(|end| end.last.values().map(|batch| (end.log_us, batch)));
    let live = lasts.filter(|(_, batch)| !stage.gone.contains(&batch.flow));
    let mut costs: Vec<i64> =
        live.filter_map(|(log_us, batch)| Some((log_us - stage.tally.end_of(batch)?) / 1_000_000)).collect();
    costs.sort_unstable();
    let (Some(median), Some(most)) = (costs.get(costs.len() / 2), costs.last()) else { return Ok(()) };
    need::say(&format!(
        "a kill costs each flow {median} batches that were not yet stored (median), {most} at most"
    ));
    ensure!(*median <= COST, "a kill costs {median} batches");
    Ok(())
}

#[test]
fn invariant_08_what_was_stored_arrives_once_through_kills_and_a_withdrawal() -> Result<()> {
    let test = "faults_kill";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let mut stage = Stage::new(test, |_, _| Ok(()))?;
    stage.scene.broker.save()?;
    let (lives, mut ends) = (need::lives(), Vec::new());
    for number in 0..lives {
        life(&mut stage).with_context(|| format!("life {number}"))?;
        if number == lives / 2 {
            stage.withdraw()?;
            stage.nothing_is_sent_from_here()?;
            stage.nothing_is_left()?;
        }
        let troubled = number % TROUBLE_EVERY == 1;
        if troubled {
            let turn = number / TROUBLE_EVERY;
            trouble(&mut stage, turn).with_context(|| format!("trouble in life {number}"))?;
        }
        stage.random.sleep(LIFE_MORE);
        let end = end(&mut stage)?;
        // Where the agent was frozen, the log waited too.
        ends.extend((!troubled).then_some(end));
    }
    stage.agent.start()?;
    let mut row = stage.row("agent: SIGKILL")?;
    row.runs = usize::try_from(lives)?;
    row.say();
    ensure!((row.lost, row.undeclared) == (0, 0), "{row:?}");
    ensure!(stage.tally.gaps(&stage.gone) == 0, "a recipient has gaps for good");
    for name in ["loss", "refused"] {
        ensure!(stage.tally.events(name) == 0, "{} times {name}", stage.tally.events(name));
    }
    let (arrived, duplicates) = (stage.tally.arrived(), stage.tally.events("duplicate"));
    cost(&stage, &ends)?;
    need::say(&format!("{arrived} batches arrived, {duplicates} duplicates removed"));
    stage.agent.stop()?;
    stage.scene.finish();
    Ok(())
}
