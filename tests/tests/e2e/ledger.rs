//! While the ledger cannot be written nothing leaves, batches are kept, and all of it goes out once it can be again.

use anyhow::{Result, ensure};
use glovebox_tests::fleet::Party;
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::scene::Scene;
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

fn count(status: &Value, stage: &str, name: &str) -> u64 {
    status["counters"][stage][name].as_u64().unwrap_or(0)
}

#[test]
fn invariant_11_nothing_leaves_while_the_ledger_cannot_be_written() -> Result<()> {
    let Some(()) = need::broker("ledger")? else { return Ok(()) };
    let Some(drive) = need::drive() else { return need::skip("ledger", "no shared data (GLOVEBOX_SHARED)") };
    let scene = Scene::new(vec![Party::plain("garage", &["CAN.can0.SPEED.SPEED"])])?;
    let mut agent = scene.agent(&scene.settings(&drive, "4", 1))?;
    scene.fleet.prepare(&agent, &["garage"])?;
    let garage = scene.subscribe("garage", &[])?;
    // Without the log before it every entry is synced in the store itself.
    std::fs::create_dir(agent.state().join("ledger.wal"))?;
    agent.start()?;
    agent.wait_for("the first batches", LIMIT, |status| {
        count(status, "uplink", "batches_acknowledged") >= 3
    })?;
    // What lies in blobs/ is never synced, so the store refuses to call anything durable.
    let in_the_way = agent.state().join("ledger/blobs/1");
    std::fs::write(&in_the_way, "x")?;
    // Batches wait for each other, so it takes a moment until the next ones are to be offered.
    until("the log to say so", LIMIT, || {
        Ok(agent.log().contains("nothing is offered until it is").then_some(()))
    })?;
    let held = agent.status()?;
    let published = scene.broker.received().len();
    let more = count(&held, "outbox", "batches_stored") + 4;
    let later = agent.wait_for("more batches on disk", LIMIT, |status| {
        count(status, "outbox", "batches_stored") >= more
    })?;
    ensure!(
        count(&later, "uplink", "batches_offered") == count(&held, "uplink", "batches_offered"),
        "offered"
    );
    ensure!(scene.broker.received().len() == published, "published");
    std::fs::remove_file(&in_the_way)?;
    agent.drained(LIMIT)?;
    let end = agent.status()?;
    agent.stop()?;
    let printed = garage.finish()?;
    let (let_through, came) = (count(&end, "consent", "consented"), printed.samples.len() as u64);
    ensure!(let_through > 0 && came == let_through, "{came} samples came of {let_through}");
    for bad in ["gap", "loss", "duplicate"] {
        ensure!(printed.events(bad).is_empty(), "{bad}: {:?}", printed.events(bad));
    }
    scene.finish();
    Ok(())
}
