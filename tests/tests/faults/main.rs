//! The real agent with all that a car has to bear: kills, power cuts, bad disks, brokers and networks. What was stored
//! arrives or is declared, and nothing of a withdrawn grant is sent. Each prints its line of the table of faults.
//!
//! `GLOVEBOX_LIVES=n` sets how often a fault strikes; a random one prints its seed, which `GLOVEBOX_SEED=n` repeats.

mod broker;
mod disk;
mod flip;
mod io;
mod keys;
mod kill;
mod network;
mod power;
mod withdrawal;

use anyhow::{Context as _, Result, ensure};
use glovebox_tests::disk::{ALL_OF_IT, Disk, images, own_mounts};
use glovebox_tests::need;
use glovebox_tests::proxy::Proxy;
use glovebox_tests::stage::Stage;
use glovebox_tests::tally::Row;
use tempfile::TempDir;

/// MiB of a car's own disk.
const DISK_MIB: u64 = 96;

/// How many rounds there are of a fault that takes as long as so many lives.
fn rounds(lives: u64) -> u64 {
    (need::lives() / lives).max(1)
}

/// A stage whose car reaches its broker through a network that can be bad.
fn behind_a_proxy(test: &str) -> Result<(Stage, Proxy)> {
    let mut proxy = None;
    let stage = Stage::new(test, |scene, settings| {
        let between = Proxy::new(&scene.broker.address())?;
        settings.broker = between.address();
        proxy = Some(between);
        Ok(())
    })?;
    Ok((stage, proxy.context("no proxy")?))
}

/// A stage whose car has its state on a disk of its own, which is left before its image goes.
struct OnDisk {
    stage: Stage,
    disk: Disk,
    _images: TempDir,
}

/// `None` if it was said that the test is skipped.
fn on_a_disk(test: &str) -> Result<Option<OnDisk>> {
    let Some(()) = need::broker(test)? else { return Ok(None) };
    let Some(()) = own_mounts(test)? else { return Ok(None) };
    let images = images()?;
    let disk = Disk::ext4(&images.path().join("disk.img"), &images.path().join("disk"), DISK_MIB)?;
    let state = disk.path().join("state");
    let stage = Stage::new(test, |_, settings| {
        (settings.state, settings.more) = (Some(state), ALL_OF_IT.to_owned());
        Ok(())
    })?;
    Ok(Some(OnDisk { stage, disk, _images: images }))
}

/// The end of a test whose agent runs: its line of the table. All that was stored has come or is declared.
fn end(mut stage: Stage, fault: &str, runs: u64) -> Result<Row> {
    let mut row = stage.row(fault)?;
    row.runs = usize::try_from(runs)?;
    row.say();
    ensure!(row.undeclared == 0, "{row:?}");
    ensure!(stage.tally.gaps(&stage.gone) == 0, "a recipient has gaps for good");
    ensure!(!stage.agent.logs().contains("panicked"), "a panic");
    stage.agent.stop()?;
    stage.scene.finish();
    Ok(row)
}
