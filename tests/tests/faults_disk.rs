//! A disk that is full, and one that is read-only when the car starts: the agent says so, declares what it could not
//! keep, and goes on by itself when there is room again.

use anyhow::{Context, Result, ensure};
use glovebox_tests::disk::{ALL_OF_IT, Disk, images, own_mounts};
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::stage::{LIMIT, STORED_A_LIFE, Stage};
use glovebox_tests::tally::Row;
use std::time::{Duration, Instant};

/// MiB of the car's disk.
const DISK_MIB: u32 = 32;
/// So long the disk stays full.
const FULL: Duration = Duration::from_millis(1_500);

/// How many rounds of each.
fn rounds() -> u64 {
    (need::lives() / 25).max(1)
}

fn stage(test: &str, disk: &Disk) -> Result<Stage> {
    let state = disk.path().join("state");
    Stage::new(test, |_, settings| {
        (settings.state, settings.more) = (Some(state), ALL_OF_IT.to_owned());
        Ok(())
    })
}

/// What was stored may give way on a full disk, and is declared then.
fn end(mut stage: Stage, fault: &str) -> Result<Row> {
    let mut row = stage.row(fault)?;
    row.runs = usize::try_from(rounds())?;
    row.say();
    ensure!(row.undeclared == 0, "{row:?}");
    ensure!(stage.tally.gaps(&stage.gone) == 0, "a recipient has gaps for good");
    ensure!(!stage.agent.logs().contains("panicked"), "a panic");
    stage.agent.stop()?;
    stage.scene.finish();
    Ok(row)
}

#[test]
fn invariant_09_a_full_disk_is_said_declared_and_outlived() -> Result<()> {
    let test = "faults_disk_full";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let Some(()) = own_mounts(test)? else { return Ok(()) };
    let images = images()?;
    let disk = Disk::new(images.path(), DISK_MIB)?;
    let mut stage = stage(test, &disk)?;
    stage.agent.start()?;
    for round in 0..rounds() {
        let stored = stage.agent.stored().len();
        stage.stores(stored + STORED_A_LIFE)?;
        let said = || stage.agent.log().matches("No space left on device").count();
        let before = said();
        disk.fill()?;
        until("the agent to say that the disk is full", LIMIT, || Ok((said() > before).then_some(())))?;
        std::thread::sleep(FULL);
        stage.agent.status().context("no answer while the disk is full")?;
        let since = Instant::now();
        disk.free()?;
        stage.recovers(since, LIMIT).with_context(|| format!("round {round}"))?;
        // Documents are kept again too.
        stage.withdraw()?;
        stage.nothing_is_sent_from_here()?;
        stage.nothing_is_left()?;
        stage.grant_again()?;
    }
    stage.kill()?;
    stage.agent.start()?;
    end(stage, "disk: full, freed later").map(|_| ())
}

#[test]
fn a_disk_that_is_read_only_at_the_start_is_named() -> Result<()> {
    let test = "faults_disk_read_only";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let Some(()) = own_mounts(test)? else { return Ok(()) };
    let images = images()?;
    let disk = Disk::new(images.path(), DISK_MIB)?;
    let mut stage = stage(test, &disk)?;
    for _ in 0..rounds() {
        stage.agent.start()?;
        stage.stores(STORED_A_LIFE)?;
        stage.kill()?;
        disk.read_only(true)?;
        stage.agent.launch()?;
        until("the agent to end", LIMIT, || Ok((!stage.agent.runs()?).then_some(())))?;
        let log = stage.agent.log();
        ensure!(log.contains("Read-only file system") && !log.contains("panicked"), "{log}");
        disk.read_only(false)?;
        let since = Instant::now();
        stage.agent.start()?;
        stage.recovers(since, LIMIT)?;
        stage.kill()?;
    }
    stage.agent.start()?;
    let row = end(stage, "disk: read-only at the start")?;
    ensure!(row.lost == 0, "{row:?}");
    Ok(())
}
