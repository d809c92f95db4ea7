//! Who is asked to erase is told: by a car that was offline when its owner withdrew, by one whose daemon did not run, and
//! once though it was killed with the notice on its way; one that is suspended and not listening too. Nothing else of the
//! grant goes out, and nobody else is told.

use anyhow::{Context, Result, ensure};
use glovebox::ledger::{Config, Ledger};
use glovebox::store::Store;
use glovebox_core::ledger::Event;
use glovebox_tests::agent::{Bus, DEVICE};
use glovebox_tests::fleet::Party;
use glovebox_tests::process::until;
use glovebox_tests::proxy::{Network, Proxy};
use glovebox_tests::scene::Scene;
use glovebox_tests::stage::{LEAVER, LIMIT, STORED_A_LIFE, Stage};
use glovebox_tests::{foreign, need};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// From the agent to its socket, or the other way, on a busy machine: neither end says when.
const HANDED_OVER: Duration = Duration::from_secs(1);
/// A frame that no grant needs: nothing is collected.
const QUIET: &str = "(1.000000) can0 7FF#00\n(2.000000) can0 7FF#00\n";

fn waits(status: &Value, id: &str) -> bool {
    status["notices"].as_array().is_some_and(|all| all.iter().any(|notice| notice["recipient"] == id))
}

fn all_told(status: &Value) -> bool {
    status["notices"].as_array().is_some_and(Vec::is_empty) && status["link"]["state"] == "connected"
}

/// Publishes to a recipient on a kind of topic since then.
fn published(stage: &Stage, since: u64, id: &str, kind: &str) -> Result<usize> {
    let topics = stage.scene.broker.received_since(since)?;
    let start = format!("glovebox/v1/{id}/");
    Ok(topics.iter().filter(|topic| topic.starts_with(&start) && topic.ends_with(kind)).count())
}

/// The one notice that a recipient printed, which fits the data that it has.
fn notice(stage: &Stage, id: &str) -> Result<Value> {
    until("the notice", LIMIT, || Ok((!stage.printed_by(id)?.events("notice").is_empty()).then_some(())))?;
    let printed = stage.printed_by(id)?;
    let notices = printed.events("notice");
    ensure!(notices.len() == 1, "{notices:?}");
    let notice = notices[0];
    ensure!(notice["kind"] == "withdrawn" && notice["erasure_requested"] == true, "{notice}");
    ensure!(notice["request"].as_str().is_some_and(|digest| digest.len() == 64), "{notice}");
    Ok(notice.clone())
}

/// What waits on disk is an envelope that a reader in Python opens as well: behind digest, version, time and recipient.
fn foreign_reader_opens(stage: &Stage, flow: &str) -> Result<()> {
    let bytes = std::fs::read(stage.agent.state().join(format!("notices/{flow}.notice")))?;
    let envelope = stage.scene.path("notice.envelope")?;
    std::fs::write(&envelope, bytes.get(32 + 1 + 8 + 1 + LEAVER.len()..).context("a short file")?)?;
    foreign::reads_alike(&envelope, &stage.scene.fleet.file(&format!("{LEAVER}-hpke.key")), LEAVER)
}

/// In the ledger a notice stands before it is offered, and once more when the broker has it.
fn ledger_has(stage: &Stage, id: &str) -> Result<()> {
    let (store, opened) = Store::open(&stage.agent.state().join("ledger"))?;
    let ledger = Ledger::open(store.table("ledger")?, &opened, Config::default())?;
    let (mut events, mut from) = (Vec::new(), 1);
    loop {
        let page = ledger.read(from)?;
        let Some(last) = page.last() else { break };
        from = last.number + 1;
        let of = page
            .iter()
            .map(|entry| &entry.record)
            .filter(|record| record.recipient.as_ref().is_some_and(|recipient| recipient.as_str() == id));
        events.extend(of.map(|record| record.event));
    }
    let at = |event| events.iter().position(|found| *found == event).with_context(|| format!("no {event:?}"));
    ensure!(at(Event::NoticeOffered)? < at(Event::NoticeAcked)?, "{events:?}");
    Ok(())
}

#[test]
fn who_is_asked_to_erase_is_told_as_soon_as_there_is_a_network() -> Result<()> {
    let test = "erasure";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let mut proxy = None;
    let mut stage = Stage::new(test, |scene, settings| {
        let between = Proxy::new(&scene.broker.address())?;
        settings.broker = between.address();
        proxy = Some(between);
        Ok(())
    })?;
    let proxy = proxy.context("no proxy")?;
    stage.agent.start()?;
    until("samples at the leaver", LIMIT, || {
        Ok((!stage.printed_by(LEAVER)?.samples.is_empty()).then_some(()))
    })?;
    let flow = stage.printed_by(LEAVER)?.samples[0].flow.clone();
    // A garage without a network.
    proxy.set(Network::HalfOpen);
    stage.stores(STORED_A_LIFE)?;
    let said = stage.agent.run(&["consent", "withdraw", "--recipient", LEAVER, "--erase"])?;
    ensure!(
        said.contains(
            "leaver is asked to erase what it has; it is told as soon as the agent runs and has a network"
        ),
        "{said}"
    );
    std::thread::sleep(Duration::from_millis(500));
    let mark = stage.scene.broker.logged()?;
    ensure!(waits(&stage.agent.status()?, LEAVER), "{}", stage.agent.status()?);
    let words = stage.agent.run(&["status"])?;
    ensure!(words.contains("notice   leaver is to be asked to erase what it has, since "), "{words}");
    foreign_reader_opens(&stage, &flow)?;
    stage.kill()?;
    stage.agent.start()?;
    ensure!(waits(&stage.agent.status()?, LEAVER), "the kill has cost the notice");
    stage.stop()?;
    // No daemon runs.
    let said = stage.agent.run(&["consent", "withdraw", "--recipient", "insurer", "--erase"])?;
    ensure!(said.contains("insurer is asked to erase"), "{said}");
    proxy.set(Network::Good);
    stage.agent.start()?;
    stage.agent.wait_for("all to be told", LIMIT, all_told)?;
    let told = notice(&stage, LEAVER)?;
    ensure!(told["flow"] == flow.as_str(), "{told} is not about flow {flow}");
    notice(&stage, "insurer")?;
    // Nothing but that; and whoever keeps its grant hears nothing of what others lost, nor of a pause.
    stage.agent.run(&["pause"])?;
    stage.agent.run(&["location", "off"])?;
    stage.idle()?;
    for id in [LEAVER, "insurer"] {
        ensure!(published(&stage, mark, id, "/notice")? == 1, "{id}");
        ensure!(
            published(&stage, mark, id, "/batch")? == 0,
            "of a withdrawn grant something was sent to {id}"
        );
    }
    ensure!(published(&stage, 0, "garage", "/notice")? == 0, "a pause is silent");
    stage.agent.stop()?;
    ensure!(std::fs::read_dir(stage.agent.state().join("notices"))?.next().is_none(), "a notice was left");
    ledger_has(&stage, LEAVER)?;
    ledger_has(&stage, "insurer")?;
    stage.scene.finish();
    Ok(())
}

#[test]
fn a_notice_that_was_on_its_way_at_a_kill_is_sent_again_and_counts_once() -> Result<()> {
    let test = "erasure_again";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let mut stage = Stage::new(test, |scene, settings| {
        let quiet = scene.path("quiet.log")?;
        std::fs::write(&quiet, QUIET)?;
        settings.replay = Some(quiet);
        Ok(())
    })?;
    stage.agent.start()?;
    stage.agent.wait_for("the broker", LIMIT, |status| status["link"]["state"] == "connected")?;
    // Before its subscription is answered nothing is published.
    until("the car's subscription", LIMIT, || {
        Ok(stage.scene.broker.log().contains(&format!("Sending SUBACK to {DEVICE}")).then_some(()))
    })?;
    std::thread::sleep(HANDED_OVER);
    // Nothing of the grant is on its way, so the connection stays; the broker does not answer.
    stage.scene.broker.freeze()?;
    stage.agent.run(&["consent", "withdraw", "--recipient", LEAVER, "--erase"])?;
    stage.agent.wait_for("the notice to be on its way", LIMIT, |status| {
        status["notices"][0]["state"] == "on its way"
    })?;
    std::thread::sleep(HANDED_OVER);
    stage.kill()?;
    stage.scene.broker.thaw()?;
    until("the notice at the broker", LIMIT, || {
        Ok((published(&stage, 0, LEAVER, "/notice")? == 1).then_some(()))
    })?;
    stage.agent.start()?;
    stage.agent.wait_for("the notice to be sent", LIMIT, all_told)?;
    until("the duplicate", LIMIT, || {
        Ok((!stage.printed_by(LEAVER)?.events("duplicate").is_empty()).then_some(()))
    })?;
    notice(&stage, LEAVER)?;
    ensure!(published(&stage, 0, LEAVER, "/notice")? == 2, "once more, and no more");
    stage.agent.stop()?;
    stage.scene.finish();
    Ok(())
}

/// The authority suspended it and nobody listens for it: neither changes that the owner wants the data erased. What the
/// broker refuses is tried again, not each second.
#[test]
fn who_is_suspended_and_away_is_asked_when_it_comes_back() -> Result<()> {
    let Some(()) = need::broker("erasure_suspended")? else { return Ok(()) };
    let scene = Scene::new(vec![Party::plain("shop", &["CAN.can0.Motion.Speed"])])?;
    let file = |name: &str, text: &str| {
        let path = scene.path(name)?;
        std::fs::write(&path, text).map(|()| path).context("write")
    };
    let dbc = file("car.dbc", "BO_ 256 Motion: 2 X\n SG_ Speed : 0|16@1+ (1,0) [0|0] \"\" X\n")?;
    let bus = Bus { name: "can0".to_owned(), interface: "can0".to_owned(), dbc: vec![dbc] };
    let mut settings = scene.live(vec![bus], 10);
    settings.replay = Some(file("quiet.log", QUIET)?);
    let mut agent = scene.agent(&settings)?;
    scene.fleet.prepare(&agent, &["shop"])?;
    agent.start()?;
    agent.wait_for("the broker", LIMIT, |status| status["link"]["state"] == "connected")?;
    let mut bundle = scene.fleet.bundle(2)?;
    bundle["directives"] = json!([{ "verb": "suspend", "recipient": "shop" }]);
    let bundle = scene.fleet.sign_bundle("bundle-2", &bundle)?;
    agent.run(&["policy", "install", &bundle.display().to_string()])?;
    agent.run(&["consent", "withdraw", "--recipient", "shop", "--erase"])?;
    let refused = |status: &Value| {
        let state = status["notices"][0]["state"].as_str().unwrap_or_default();
        state.contains("no subscriber") && state.contains("tried again in ")
    };
    agent.wait_for("that nobody listens", LIMIT, refused)?;
    let sent = || scene.broker.received().iter().filter(|topic| topic.ends_with("/notice")).count();
    std::thread::sleep(Duration::from_secs(5));
    ensure!(sent() == 1, "tried again too soon: {} times", sent());
    let begin = Instant::now();
    let mut shop = scene.subscribe("shop", &[])?;
    agent.wait_for("it to be told", Duration::from_secs(60), all_told)?;
    ensure!(begin.elapsed() < Duration::from_secs(40), "tried again after {:?} only", begin.elapsed());
    until("the notice", LIMIT, || Ok((!shop.printed()?.events("notice").is_empty()).then_some(())))?;
    agent.stop()?;
    let printed = shop.finish()?;
    ensure!(
        printed.events("notice").len() == 1 && printed.samples.is_empty(),
        "{:?}",
        printed.events("notice")
    );
    scene.finish();
    Ok(())
}
