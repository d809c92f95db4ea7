//! A recorded drive goes from the bus to three recipients, and nothing ungranted comes along: what each opened equals
//! what cantools computes from the log and the grants.

use anyhow::{Context, Result, ensure};
use glovebox_tests::agent::Agent;
use glovebox_tests::fleet::Party;
use glovebox_tests::parties::{garage, insurer, researcher};
use glovebox_tests::process::until;
use glovebox_tests::recipient::{self, Printed, Sample};
use glovebox_tests::scene::Scene;
use glovebox_tests::{foreign, need, oracle};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The drive has 135,468 frames; a slow machine with a debug build may take this long.
const REPLAY_LIMIT: Duration = Duration::from_secs(180);
/// What may still come after everything is there.
const SETTLE: Duration = Duration::from_secs(2);

#[test]
fn invariant_01_three_recipients_open_exactly_what_was_granted() -> Result<()> {
    let test = "three_recipients";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let Some(drive) = need::drive() else { return need::skip(test, "no shared data (GLOVEBOX_SHARED)") };
    let Some(python) = need::python() else { return need::skip(test, "no Python with cantools") };
    let broker = Party::plain("broker", &["CAN.can0.SPEED.SPEED", "CAN.can0.GAS_PEDAL.GAS_PEDAL"]);
    let scene = Scene::new(vec![garage(), insurer(), researcher(), broker])?;
    let settings = scene.settings(&drive, "max", 10);
    let granted: Vec<&Party> = scene.fleet.parties().iter().take(3).collect();
    let expected = oracle::expect(&python, &scene.path("")?, &drive.log, &settings.buses, &granted)?;
    let mut subscribers = Vec::new();
    for party in scene.fleet.parties() {
        let envelopes = scene.path("envelopes")?.join(&party.id);
        std::fs::create_dir_all(&envelopes)?;
        let keep = ["--write-envelopes", &envelopes.display().to_string()];
        subscribers.push((party.id.clone(), scene.subscribe(&party.id, &keep)?));
    }
    let mut agent = scene.agent(&settings)?;
    scene.fleet.prepare(&agent, &["garage", "insurer", "researcher"])?;
    agent.start()?;
    agent.drained(REPLAY_LIMIT)?;
    for (id, subscriber) in &mut subscribers {
        let count: usize = expected.get(id).map_or(0, |signals| signals.values().map(Vec::len).sum());
        until(&format!("the {count} samples of {id}"), Duration::from_secs(30), || {
            Ok((subscriber.printed()?.samples.len() >= count).then_some(()))
        })?;
    }
    std::thread::sleep(SETTLE);
    let mut all = Vec::new();
    for (id, subscriber) in subscribers {
        let printed = subscriber.finish()?;
        let nothing = oracle::BySignal::new();
        printed.must_be_quiet(&id)?;
        if expected.contains_key(&id) {
            each_batch_names_its_consent(&scene, &id, &printed)?;
        }
        oracle::compare(&id, expected.get(&id).unwrap_or(&nothing), &oracle::by_signal(&printed.samples))?;
        all.extend(printed.samples);
    }
    let ungranted = scene.broker.received().iter().any(|topic| topic.starts_with("glovebox/v1/broker/"));
    ensure!(!ungranted, "something was published for the recipient without a grant");
    preview_says_the_same(&scene, &agent, &all)?;
    agent.stop()?;
    // Plain readings, and figures, bins and events.
    foreign_reader_opens(&scene, "garage")?;
    foreign_reader_opens(&scene, "researcher")?;
    scene.finish();
    Ok(())
}

/// Each batch says by which request and policy it was collected, and how each signal was reduced: as was asked, no other
/// signal among them.
fn each_batch_names_its_consent(scene: &Scene, id: &str, printed: &Printed) -> Result<()> {
    let said = scene.fleet.glovebox(&["policy", "show", &format!("{id}-request.json"), "--json"])?;
    let request: Value = serde_json::from_str(&said)?;
    let batches = printed.events("batch");
    let known: BTreeSet<u64> = printed.samples.iter().map(|sample| sample.sequence).collect();
    ensure!(batches.len() >= known.len() && !known.is_empty(), "{id}: {} batches", batches.len());
    for batch in &batches {
        ensure!(batch["request"] == request["sha256"] && batch["policy_version"] == 1, "{id}: {batch}");
        ensure!(batch["clock"] == "replay", "{id}: {batch}");
    }
    let asked = request["payload"]["signals"].as_array().context("signals")?;
    let of = |list: &[Value], name: &str| -> BTreeMap<String, BTreeSet<String>> {
        let ops = |one: &Value| {
            one["transforms"].as_array().into_iter().flatten().map(|it| it["op"].to_string()).collect()
        };
        list.iter().map(|one| (one[name].to_string(), ops(one))).collect()
    };
    let told = batches
        .iter()
        .find_map(|batch| batch["signals"].as_array())
        .context("no batch brings its descriptor")?;
    let (asked, told) = (of(asked, "signal"), of(told, "path"));
    ensure!(asked == told, "{id} asked for {asked:?}, and is told {told:?}");
    Ok(())
}

/// `glovebox preview` of the same drive, beside the running daemon that holds its stores: every sample in every batch is
/// the one that a recipient opened.
fn preview_says_the_same(scene: &Scene, agent: &Agent, opened: &[Sample]) -> Result<()> {
    let file = scene.path("preview.jsonl")?;
    let said = agent.run(&["preview", "--json", "--samples", &file.display().to_string()])?;
    let previewed = recipient::read(&std::fs::read_to_string(&file)?)?;
    // The epoch of a stream is another one each time.
    let sorted = |samples: &[Sample]| {
        let mut samples: Vec<Sample> =
            samples.iter().map(|sample| Sample { epoch: 0, ..sample.clone() }).collect();
        // In a batch each signal is in the order of time.
        samples.sort_by(|a, b| (&a.flow, a.sequence, &a.signal).cmp(&(&b.flow, b.sequence, &b.signal)));
        samples
    };
    let (want, got) = (sorted(opened), sorted(&previewed.samples));
    let first = want.iter().zip(&got).find(|(want, got)| want != got);
    ensure!(first.is_none(), "the preview says something else: {first:?}");
    ensure!(want.len() == got.len(), "{} samples previewed, {} opened", got.len(), want.len());
    let report: Value = serde_json::from_str(&said)?;
    let flows = report["flows"].as_array().context("flows")?;
    let total: u64 = flows.iter().filter_map(|flow| flow["samples_out"].as_u64()).sum();
    ensure!(total == want.len() as u64, "{total} samples in the report, {} opened", want.len());
    let garage = flows.iter().find(|flow| flow["recipient"] == "garage").context("garage")?;
    let sizes = std::fs::read_dir(scene.path("envelopes")?.join("garage"))?
        .flatten()
        .map(|entry| Ok(entry.metadata()?.len()));
    let published: u64 = sizes.collect::<Result<Vec<u64>>>()?.into_iter().sum();
    let previewed = garage["bytes"].as_u64().context("bytes")?;
    // The descriptor goes along once more after a connection.
    let near = published.abs_diff(previewed) * 20 <= published;
    ensure!(near, "{previewed} bytes previewed, {published} published");
    need::say(&format!("preview: {total} samples as opened; {previewed} bytes for {published} published"));
    Ok(())
}

/// A reader in Python made only of public packages prints the same lines of the first batch as the Rust one.
fn foreign_reader_opens(scene: &Scene, id: &str) -> Result<()> {
    let envelopes = scene.path("envelopes")?.join(id);
    let mut files: Vec<_> = std::fs::read_dir(envelopes)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let first = files.first().context("no envelope was written")?;
    foreign::reads_alike(first, &scene.fleet.file(&format!("{id}-hpke.key")), id)
}
