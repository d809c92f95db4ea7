//! The agent with two brokers, the first of which dies and comes back, and with a certificate that is about to end and is
//! renewed badly, then well: everything arrives at the recipient, once; status and log say what is going on.

use anyhow::{Context, Result, ensure};
use glovebox_tests::agent::{Agent, Stored};
use glovebox_tests::broker::Broker;
use glovebox_tests::certs::{Identity, Validity};
use glovebox_tests::fleet::Party;
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::recipient::{Printed, Subscriber, Subscription};
use glovebox_tests::scene::Scene;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const SIGNALS: [&str; 2] = ["CAN.can0.SPEED.SPEED", "CAN.can0.ENGINE_RPM.RPM"];

/// A recipient of batches of a second.
fn garage() -> Vec<Party> {
    vec![Party { batch_age_s: 1, ..Party::plain("garage", &SIGNALS) }]
}

fn subscribe_at(scene: &Scene, broker: &Broker, folder: &str) -> Result<Subscriber> {
    let subscription = Subscription {
        id: "garage".to_owned(),
        broker: broker.address(),
        ca: scene.authority.certificate(),
        identity: scene.authority.issue("garage", "", Validity::Live)?,
        hpke_key: scene.fleet.file("garage-hpke.key"),
        folder: scene.path(folder)?,
        more: Vec::new(),
    };
    Subscriber::start(&subscription, || broker.log().contains("Sending SUBACK to glovebox-recipient-garage"))
}

fn names(printed: &Printed) -> BTreeSet<Stored> {
    let name = |sample: &glovebox_tests::recipient::Sample| Stored {
        flow: sample.flow.clone(),
        epoch: sample.epoch,
        sequence: sample.sequence,
    };
    printed.samples.iter().map(name).collect()
}

fn connected_to(status: &Value, broker: &Broker) -> bool {
    status["link"]["state"] == "connected" && status["link"]["broker"] == broker.address()
}

fn acknowledged(status: &Value) -> u64 {
    status["counters"]["uplink"]["batches_acknowledged"].as_u64().unwrap_or(0)
}

/// Until so many more were acknowledged.
fn goes_on(agent: &Agent, more: u64) -> Result<()> {
    let before = acknowledged(&agent.status()?);
    agent.wait_for("more acknowledgements", LIMIT, |status| acknowledged(status) >= before + more).map(|_| ())
}

#[test]
#[expect(clippy::print_stderr, reason = "figures of the run")]
fn invariant_08_everything_arrives_once_though_the_first_broker_dies_and_comes_back() -> Result<()> {
    let Some(()) = need::broker("uplink")? else { return Ok(()) };
    let Some(drive) = need::drive() else { return need::skip("uplink", "no shared data (GLOVEBOX_SHARED)") };
    let mut scene = Scene::new(garage())?;
    let second = scene.authority.issue("second", glovebox_tests::broker::HOSTS, Validity::Live)?;
    let second = Broker::start_as(&scene.path("second")?, &scene.authority, &second)?;
    let mut settings = scene.settings(&drive, "1.0", 1);
    settings.broker = format!("{} {}", scene.broker.address(), second.address());
    let mut agent = scene.agent(&settings)?;
    scene.fleet.prepare(&agent, &["garage"])?;
    let at_first = subscribe_at(&scene, &scene.broker, "at-first")?;
    let at_second = subscribe_at(&scene, &second, "at-second")?;
    agent.start()?;
    agent.wait_for("the first broker", LIMIT, |status| connected_to(status, &scene.broker))?;
    goes_on(&agent, 5)?;
    // Frozen, so that the broker has handed on what it acknowledged when it dies.
    agent.freeze()?;
    std::thread::sleep(Duration::from_millis(800));
    scene.broker.kill()?;
    agent.thaw()?;
    let start = Instant::now();
    agent.wait_for("the second broker", LIMIT, |status| connected_to(status, &second))?;
    let took = start.elapsed();
    ensure!(agent.run(&["status"])?.contains(&format!("{} (2 of 2): connected", second.address())), "status");
    goes_on(&agent, 5)?;
    scene.broker.restart()?;
    let start = Instant::now();
    agent.wait_for("the first broker again", LIMIT, |status| connected_to(status, &scene.broker))?;
    let back = start.elapsed();
    goes_on(&agent, 5)?;
    let stored: BTreeSet<Stored> = agent.all_stored().into_iter().collect();
    agent.wait_for("their acknowledgements", LIMIT, |status| acknowledged(status) >= stored.len() as u64)?;
    std::thread::sleep(Duration::from_secs(1));
    agent.stop()?;
    let (first, second) = (names(&at_first.finish()?), names(&at_second.finish()?));
    let lost: Vec<_> = stored.iter().filter(|it| !first.contains(it) && !second.contains(it)).collect();
    let twice = first.intersection(&second).count();
    eprintln!(
        "{} stored, {} at the first, {} at the second, {} lost, {twice} at both; second after {took:?}, back after {back:?}",
        stored.len(),
        first.len(),
        second.len(),
        lost.len()
    );
    ensure!(lost.is_empty(), "lost: {lost:?}");
    ensure!(!second.is_empty() && first.len() > 5, "both had their part");
    scene.finish();
    Ok(())
}

fn replace(new: &Identity, old: &Identity) -> Result<()> {
    for (from, to) in [(&new.key, &old.key), (&new.cert, &old.cert)] {
        let beside = to.with_extension("new");
        std::fs::copy(from, &beside)?;
        std::fs::rename(&beside, to)?;
    }
    Ok(())
}

fn own_copy(identity: &Identity, folder: &Path) -> Result<Identity> {
    std::fs::create_dir_all(folder)?;
    let copy = Identity { cert: folder.join("car.crt"), key: folder.join("car.key") };
    replace(identity, &copy)?;
    Ok(copy)
}

#[test]
fn the_end_of_a_certificate_is_told_and_only_a_good_renewal_is_taken() -> Result<()> {
    let Some(()) = need::broker("uplink")? else { return Ok(()) };
    let Some(drive) = need::drive() else { return need::skip("uplink", "no shared data (GLOVEBOX_SHARED)") };
    let scene = Scene::new(garage())?;
    let soon = scene.authority.issue("car-1", "", Validity::EndsSoon)?;
    let car = own_copy(&soon, &scene.path("car-files")?)?;
    let mut settings = scene.settings(&drive, "1.0", 1);
    settings.car = car.clone();
    let mut agent = scene.agent(&settings)?;
    scene.fleet.prepare(&agent, &["garage"])?;
    let recipient = subscribe_at(&scene, &scene.broker, "garage")?;
    agent.start()?;
    let status = agent.wait_for("a connection", LIMIT, |status| connected_to(status, &scene.broker))?;
    let until_soon = status["link"]["certificate_until"].as_str().context("no date")?.to_owned();
    ensure!(agent.log().contains(&format!("until={until_soon}")), "the log warns at the start");
    ensure!(agent.log().matches("the car's certificate ends soon").count() == 1, "once");
    let shown = agent.run(&["status"])?;
    ensure!(shown.contains(&format!("certificate valid until {until_soon}: renew it")), "{shown}");

    let expired = scene.authority.issue("expired", "", Validity::Expired)?;
    replace(&expired, &car)?;
    until("the refusal in the log", LIMIT, || {
        let log = agent.log();
        Ok((log.contains("cannot be used: going on with the old ones")
            && log.contains("expired at 2021-01-01"))
        .then_some(()))
    })?;
    goes_on(&agent, 2)?;
    let status = agent.status()?;
    ensure!(status["counters"]["uplink"]["connections"] == 1, "the connection went on: {status}");

    replace(&scene.authority.issue("car-1", "", Validity::Live)?, &car)?;
    let status = agent.wait_for("the new certificate", LIMIT, |status| {
        status["link"]["certificate_until"] == "2049-01-01T00:00:00Z" && connected_to(status, &scene.broker)
    })?;
    ensure!(status["counters"]["uplink"]["connections"] == 2, "one new connection: {status}");
    goes_on(&agent, 2)?;
    agent.wait_for("an empty queue", LIMIT, |status| status["queue"]["batches"] == 0)?;
    std::thread::sleep(Duration::from_millis(500));
    agent.stop()?;
    let printed = recipient.finish()?;
    printed.must_be_quiet("garage")?;
    ensure!(printed.events("duplicate").is_empty(), "in order, nothing comes twice");
    scene.finish();
    Ok(())
}
