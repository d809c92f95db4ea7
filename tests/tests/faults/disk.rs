//! A disk that is full, and one that is read-only when the car starts: the agent says so, declares what it could not
//! keep, and goes on by itself when there is room again.

use crate::{OnDisk, end, on_a_disk, rounds};
use anyhow::{Context, Result, ensure};
use glovebox_tests::process::until;
use glovebox_tests::stage::{LIMIT, STORED_A_LIFE};
use std::time::{Duration, Instant};

/// A round takes as long as so many lives.
const LIVES: u64 = 25;
/// So long the disk stays full.
const FULL: Duration = Duration::from_millis(1_500);

#[test]
fn invariant_09_a_full_disk_is_said_declared_and_outlived() -> Result<()> {
    let Some(OnDisk { mut stage, disk, _images }) = on_a_disk("faults_disk_full")? else { return Ok(()) };
    stage.agent.start()?;
    for round in 0..rounds(LIVES) {
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
    // What was stored may give way on a full disk, and is declared then.
    end(stage, "disk: full, freed later", rounds(LIVES)).map(|_| ())
}

#[test]
fn a_disk_that_is_read_only_at_the_start_is_named() -> Result<()> {
    let Some(OnDisk { mut stage, disk, _images }) = on_a_disk("faults_disk_read_only")? else {
        return Ok(());
    };
    for _ in 0..rounds(LIVES) {
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
    let row = end(stage, "disk: read-only at the start", rounds(LIVES))?;
    ensure!(row.lost == 0, "{row:?}");
    Ok(())
}
