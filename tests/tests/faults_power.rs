//! Power cuts at random moments, also right behind an owner's act and a new policy: the block device's content at that
//! moment is all that stays. What was said to be stored or done is there afterwards, and no sequence is used twice.

use anyhow::{Context, Result, ensure};
use glovebox_tests::disk::{ALL_OF_IT, Disk, images, own_mounts};
use glovebox_tests::need;
use glovebox_tests::source::tree;
use glovebox_tests::stage::{LEAVER, STORED_A_LIFE, Stage};
use std::time::{Duration, Instant};

/// MiB of the car's disk.
const DISK_MIB: u32 = 32;
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
    let test = "faults_power";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let Some(()) = own_mounts(test)? else { return Ok(()) };
    let images = images()?;
    let mut disk = Disk::new(images.path(), DISK_MIB)?;
    let state = disk.path().join("state");
    let mut stage = Stage::new(test, |_, settings| {
        (settings.state, settings.more) = (Some(state), ALL_OF_IT.to_owned());
        Ok(())
    })?;
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
    let mut row = stage.row("agent: power cut")?;
    row.runs = usize::try_from(cuts)?;
    row.say();
    ensure!((row.lost, row.undeclared) == (0, 0), "{row:?}");
    ensure!(stage.tally.gaps(&stage.gone) == 0, "a recipient has gaps for good");
    let logs = stage.agent.logs();
    ensure!(!logs.contains("set aside") && !logs.contains("panicked"), "a store was damaged");
    stage.agent.stop()?;
    stage.scene.finish();
    Ok(())
}
