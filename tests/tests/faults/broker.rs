//! A broker that is killed, that stands still for longer than two keep-alives, that comes back without its sessions:
//! nothing that was stored is lost, and the agent finds back by itself.

use crate::{end, rounds};
use anyhow::{Result, ensure};
use glovebox_tests::need;
use glovebox_tests::stage::{STORED_A_LIFE, Stage};
use std::time::{Duration, Instant};

/// Keep-alive in the settings of the tests.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A link that says nothing is given up within two keep-alives, and on a busy machine a little later.
const NOTICED: Duration = Duration::from_secs(2 * KEEP_ALIVE.as_secs() + 3);
/// The longest wait of the back-off after the few failures of this test, and TLS.
const BACK: Duration = Duration::from_secs(60);
/// A round takes as long as so many lives.
const LIVES: u64 = 25;
/// Meanwhile the agent collects.
const AWAY: Duration = Duration::from_millis(800);

fn stage(test: &str) -> Result<Option<Stage>> {
    let Some(()) = need::broker(test)? else { return Ok(None) };
    let mut stage = Stage::new(test, |_, _| Ok(()))?;
    stage.agent.start()?;
    stage.stores(STORED_A_LIFE)?;
    Ok(Some(stage))
}

/// What was stored meanwhile is taken to account by a restart of the agent, which is not what is tested here.
fn nothing_is_lost(mut stage: Stage, fault: &str) -> Result<()> {
    stage.kill()?;
    stage.agent.start()?;
    let row = end(stage, fault, rounds(LIVES))?;
    ensure!(row.lost == 0, "{row:?}");
    Ok(())
}

/// Killed while it owes nobody anything that it has acknowledged: Mosquitto syncs no message before its PUBACK, so what
/// it loses otherwise says nothing of the agent.
fn killed(stage: &mut Stage) -> Result<()> {
    stage.agent.freeze()?;
    stage.idle()?;
    stage.scene.broker.save()?;
    stage.scene.broker.kill()?;
    stage.agent.thaw()?;
    stage.random.sleep(AWAY);
    Ok(())
}

fn back(stage: &mut Stage) -> Result<()> {
    let since = Instant::now();
    stage.scene.broker.restart()?;
    stage.recipients_come_back()?;
    stage.recovers(since, BACK)
}

#[test]
fn a_killed_broker_costs_nothing() -> Result<()> {
    let Some(mut stage) = stage("faults_broker_killed")? else { return Ok(()) };
    for _ in 0..rounds(LIVES) {
        killed(&mut stage)?;
        back(&mut stage)?;
    }
    nothing_is_lost(stage, "broker: SIGKILL, back with its sessions")
}

#[test]
fn a_broker_without_its_sessions_costs_nothing() -> Result<()> {
    let Some(mut stage) = stage("faults_broker_forgets")? else { return Ok(()) };
    for _ in 0..rounds(LIVES) {
        killed(&mut stage)?;
        stage.scene.broker.forget()?;
        back(&mut stage)?;
    }
    nothing_is_lost(stage, "broker: SIGKILL, back without its sessions")
}

#[test]
fn a_broker_that_stands_still_is_noticed_and_costs_nothing() -> Result<()> {
    let Some(mut stage) = stage("faults_broker_stands")? else { return Ok(()) };
    for _ in 0..rounds(LIVES) {
        let start = Instant::now();
        stage.scene.broker.freeze()?;
        stage.agent.wait_for("the broker's silence to be noticed", NOTICED, |status| {
            status["link"]["state"] != "connected"
        })?;
        need::say(&format!("a silent broker was noticed after {:.1} s", start.elapsed().as_secs_f64()));
        std::thread::sleep((2 * KEEP_ALIVE + AWAY).saturating_sub(start.elapsed()));
        let since = Instant::now();
        stage.scene.broker.thaw()?;
        stage.recipients_come_back()?;
        stage.recovers(since, BACK)?;
    }
    nothing_is_lost(stage, "broker: SIGSTOP for two keep-alives")
}
