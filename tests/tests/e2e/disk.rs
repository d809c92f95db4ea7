//! The real agent and its disk: an index that is damaged, a disk that others have filled. It goes on, says so, loses what it
//! must by its rule, and comes back by itself.

use anyhow::{Result, ensure};
use glovebox_tests::agent::{Agent, Settings};
use glovebox_tests::disk::{Disk, own_mounts};
use glovebox_tests::fleet::Party;
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::recipient::Printed;
use glovebox_tests::scene::Scene;
use glovebox_tests::traffic::{SIGNAL, Traffic};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const NO_BROKER: &str = "127.0.0.1:1";

fn count(status: &Value, stage: &str, name: &str) -> u64 {
    status["counters"][stage][name].as_u64().unwrap_or(0)
}

fn notices(status: &Value) -> String {
    status["queue"]["notices"].to_string()
}

/// One recipient, batches of a second.
fn scene() -> Result<Scene> {
    Scene::new(vec![Party { batch_age_s: 1, ..Party::plain("garage", &[SIGNAL]) }])
}

fn settings(scene: &Scene, rate: u32, broker: &str) -> Result<Settings> {
    let traffic = Traffic::write(&scene.path("")?, rate, Duration::from_secs(600))?;
    let live = scene.live(vec![traffic.bus], 1);
    Ok(Settings { replay: Some(traffic.log), speed: "1.0".to_owned(), broker: broker.to_owned(), ..live })
}

fn stored(agent: &Agent, more: u64) -> Result<Value> {
    let now = count(&agent.status()?, "outbox", "batches_stored");
    agent.wait_for("batches on disk", LIMIT, |status| count(status, "outbox", "batches_stored") >= now + more)
}

#[test]
fn invariant_08_a_damaged_index_is_set_aside_and_all_is_sent() -> Result<()> {
    let Some(()) = need::broker("disk")? else { return Ok(()) };
    let scene = scene()?;
    let away = settings(&scene, 100, NO_BROKER)?;
    let mut agent = scene.agent(&away)?;
    scene.fleet.prepare(&agent, &["garage"])?;
    let garage = scene.subscribe("garage", &[])?;
    agent.start()?;
    stored(&agent, 5)?;
    agent.kill()?;
    let waiting = agent.all_stored();
    let consent = agent.run(&["consent", "list"])?;
    let index = agent.state().join("index/db");
    let rubbish = vec![0x5A; usize::try_from(index.metadata()?.len())?];
    std::fs::write(&index, rubbish)?;
    agent.configure(&Settings { broker: scene.broker.address(), ..away })?;
    agent.start()?;
    let status = agent.status()?;
    ensure!(notices(&status).contains("index was damaged"), "{}", notices(&status));
    ensure!(agent.run(&["status"])?.contains("index was damaged"), "the person is not told");
    ensure!(agent.state().join("index.corrupt-1").is_dir(), "it is not kept to be looked at");
    ensure!(
        status["policy"] == 1 && agent.run(&["consent", "list"])? == consent,
        "policy or consent has suffered"
    );
    until("all that waited at the recipient", LIMIT, || {
        let samples = garage.printed_now()?.samples;
        let came = |batch: &glovebox_tests::agent::Stored| {
            samples
                .iter()
                .any(|s| (&s.flow, s.epoch, s.sequence) == (&batch.flow, batch.epoch, batch.sequence))
        };
        Ok(waiting.iter().all(came).then_some(()))
    })?;
    agent.stop()?;
    let printed = garage.finish()?;
    ensure!(
        printed.events("gap").is_empty() && printed.events("loss").is_empty(),
        "something is said to be lost"
    );
    scene.finish();
    Ok(())
}

/// Sequences that the recipient found missing and that nobody has declared.
fn undeclared(printed: &Printed) -> BTreeSet<u64> {
    let range = |event: &Value| event["first"].as_u64().unwrap_or(0)..=event["last"].as_u64().unwrap_or(0);
    let mut missing: BTreeSet<u64> = printed.events("gap").iter().flat_map(|gap| range(gap)).collect();
    printed.events("loss").iter().for_each(|loss| missing.retain(|sequence| !range(loss).contains(sequence)));
    missing
}

/// Others take all of the disk while the agent has no network; later they give it back. Answers how many batches gave
/// way.
fn filled_by_others(outbox: &str) -> Result<u64> {
    let scene = scene()?;
    // 20 KiB a second.
    let away = Settings { more: format!("[outbox]\n{outbox}\n"), ..settings(&scene, 4000, NO_BROKER)? };
    let mut agent = scene.agent(&away)?;
    let disk = Disk::ext4(&scene.path("disk.img")?, &agent.state(), 48)?;
    scene.fleet.prepare(&agent, &["garage"])?;
    let garage = scene.subscribe("garage", &[])?;
    agent.start()?;
    stored(&agent, 8)?;
    disk.fill()?;
    agent.wait_for("something that gives way", LIMIT, |status| {
        count(status, "outbox", "batches_dropped") > 0
    })?;
    std::thread::sleep(Duration::from_secs(8));
    need::say(&format!("{outbox}: at the full disk: {}", notices(&agent.status()?)));
    disk.free()?;
    // The process is the same.
    let after = stored(&agent, 5)?;
    ensure!(!notices(&after).contains("disk"), "{}", notices(&after));
    agent.stop()?;
    agent.configure(&Settings { broker: scene.broker.address(), ..away })?;
    agent.start()?;
    agent.wait_for("an empty queue", LIMIT, |status| {
        count(status, "uplink", "batches_acknowledged") > 5 && status["queue"]["batches"] == 0
    })?;
    agent.stop()?;
    let printed = garage.finish()?;
    ensure!(!printed.events("loss").is_empty(), "nothing was declared");
    ensure!(undeclared(&printed).is_empty(), "undeclared: {:?}", undeclared(&printed));
    drop(disk);
    scene.finish();
    Ok(count(&after, "outbox", "batches_dropped"))
}

#[test]
fn invariant_09_a_disk_that_others_fill_is_survived_without_a_restart() -> Result<()> {
    let Some(()) = need::broker("full_disk")? else { return Ok(()) };
    let Some(()) = own_mounts("full_disk")? else { return Ok(()) };
    for outbox in ["free_mib = 0", "free_mib = 16"] {
        let gone = filled_by_others(outbox)?;
        need::say(&format!("full disk, {outbox}: {gone} batches gave way, all declared"));
    }
    Ok(())
}
