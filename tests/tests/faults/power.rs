//! Power cuts at random moments, also right behind an owner's act and a new policy: the block device's content at that
//! moment is all that stays. What was said to be stored or done is there afterwards, and no sequence is used twice.

use crate::{OnDisk, end, on_a_disk};
use anyhow::{Context, Result, ensure};
use glovebox_tests::disk::Disk;
use glovebox_tests::need;
use glovebox_tests::source::tree;
use glovebox_tests::stage::{LEAVER, STORED_A_LIFE, Stage};
use std::time::{Duration, Instant};

/// How long a life goes on at most before its power is cut.
const LIFE_MORE: Duration = Duration::from_millis(150);

/// What was reported as done when the power went.
#[derive(Debug, Default)]
struct Done {
    policy: u64,
    granted: bool,
}

/// The act right before a cut, by turns; its command has answered.
fn act(stage: &mut Stage, done: &mut Done, turn: u64) -> Result<()> {
    match turn % 4 {
        0 => Ok(()),
        1 if done.granted => {
            stage.withdraw()?;
            done.granted = false;
            Ok(())
        }
        2 if !done.granted => {
            stage.grant_again()?;
            done.granted = true;
            Ok(())
        }
        3 => {
            let version = done.policy + 1;
            let bundle = stage.scene.fleet.bundle(version)?;
            let bundle = stage.scene.fleet.sign_bundle("next", &bundle)?;
            stage.agent.run(&["policy", "install", &bundle.display().to_string()])?;
            done.policy = version;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What was reported as done is so.
fn holds(stage: &Stage, done: &Done) -> Result<()> {
    let status = stage.agent.status()?;
    ensure!(status["policy"] == done.policy, "policy {} is gone: {status}", done.policy);
    let flows = status["flows"].as_array().context("no flows in the status")?;
    let live = |id: &str| flows.iter().any(|flow| flow["recipient"] == id);
    ensure!(live("garage") && live("insurer"), "a grant is gone: {status}");
    ensure!(live(LEAVER) == done.granted, "the leaver's grant is not as it was ({done:?}): {status}");
    stage.nothing_is_left()
}

/// The power goes while the agent writes; the car is at once on again.
fn cut(stage: &mut Stage, disk: &mut Disk, done: &Done) -> Result<()> {
    stage.agent.freeze()?;
    let said = stage.agent.stored();
    disk.cut(|| stage.agent.kill())?;
    stage.tally.said(said);
    let state = stage.agent.state();
    let aside = tree(&state).into_iter().find(|path| path.display().to_string().contains(".corrupt"));
    ensure!(aside.is_none(), "a store was set aside: {aside:?}");
    if !done.granted {
        stage.nothing_is_sent_from_here()?;
    }
    Ok(())
}

#[test]
fn invariant_08_what_was_stored_and_done_outlives_a_power_cut() -> Result<()> {
    let Some(OnDisk { mut stage, mut disk, _images }) = on_a_disk("faults_power")? else { return Ok(()) };
    let (cuts, mut done) = (need::lives(), Done { policy: 1, granted: true });
    for number in 0..cuts {
        let start = Instant::now();
        stage.agent.start().with_context(|| format!("start behind cut {number}"))?;
        stage.recovers(start, Duration::from_secs(60))?;
        holds(&stage, &done).with_context(|| format!("behind cut {number}"))?;
        stage.stores(STORED_A_LIFE)?;
        stage.random.sleep(LIFE_MORE);
        act(&mut stage, &mut done, number)?;
        cut(&mut stage, &mut disk, &done).with_context(|| format!("cut {number}"))?;
    }
    stage.agent.start()?;
    holds(&stage, &done)?;
    ensure!(!stage.agent.logs().contains("set aside"), "a store was damaged");
    let row = end(stage, "agent: power cut", cuts)?;
    ensure!(row.lost == 0, "{row:?}");
    Ok(())
}
