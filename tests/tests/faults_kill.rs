//! Lives of the agent that end by SIGKILL at random moments, with the broker killed, stopped and frozen in between:
//! every batch that was said to be stored arrives, once. A withdrawal is among them: nothing of it afterwards.

use anyhow::{Context, Result, ensure};
use glovebox_tests::need;
use glovebox_tests::stage::{STORED_A_LIFE, Stage};
use std::time::{Duration, Instant};

/// How long a life goes on behind its twenty batches, at most.
const LIFE_MORE: Duration = Duration::from_millis(300);
/// The broker has trouble in one of so many lives.
const TROUBLE_EVERY: u64 = 8;

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

#[test]
fn invariant_08_what_was_stored_arrives_once_through_kills_and_a_withdrawal() -> Result<()> {
    let test = "faults_kill";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let mut stage = Stage::new(test, |_, _| Ok(()))?;
    stage.scene.broker.save()?;
    let lives = need::lives();
    for number in 0..lives {
        life(&mut stage).with_context(|| format!("life {number}"))?;
        if number == lives / 2 {
            stage.withdraw()?;
            stage.nothing_is_sent_from_here()?;
            stage.nothing_is_left()?;
        }
        if number % TROUBLE_EVERY == 1 {
            trouble(&mut stage, number / TROUBLE_EVERY)
                .with_context(|| format!("trouble in life {number}"))?;
        }
        stage.random.sleep(LIFE_MORE);
        stage.kill()?;
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
    need::say(&format!("{arrived} batches arrived, {duplicates} duplicates removed"));
    stage.agent.stop()?;
    stage.scene.finish();
    Ok(())
}
