//! A corpus of bad input of every kind, given to the real commands: each is refused with an error that names file and
//! place. The running daemon keeps the last good policy.

use anyhow::{Context, Result, ensure};
use glovebox_tests::agent::{Agent, DEVICE};
use glovebox_tests::broker::Capture;
use glovebox_tests::fleet::{Fleet, PURPOSE, Party, day};
use glovebox_tests::forge::{self, CONSENT, KEY, POLICY, REQUEST};
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::scene::Scene;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

const TOPIC: &str = "glovebox/v1/device/car-1";
const TOO_LARGE: &str = "too large";
const SIGNAL: &str = "CAN.can0.SPEED.SPEED";
/// Cases of each kind, so that none is lost without notice.
const CONFIGURATIONS: usize = 12;
const DATABASES: usize = 8;
const LOGS: usize = 8;
const BUNDLES: usize = 25;
const RECORDS: usize = 9;
const _: () = assert!(CONFIGURATIONS + DATABASES + LOGS + BUNDLES + RECORDS >= 40);
const LIMIT: Duration = Duration::from_secs(30);

/// A file, and the words that the refusal must hold beside its name, at least one of each group.
struct Case {
    name: &'static str,
    file: PathBuf,
    words: Vec<String>,
}

/// Where the cases of one kind are written.
struct Corpus<'a> {
    folder: &'a Path,
    fleet: &'a Fleet,
    cases: Vec<Case>,
}

impl Corpus<'_> {
    fn add(
        &mut self,
        name: &'static str,
        extension: &str,
        bytes: impl AsRef<[u8]>,
        words: &[&str],
    ) -> Result<()> {
        let file = self.folder.join(format!("{}.{extension}", name.replace(' ', "-")));
        std::fs::write(&file, bytes)?;
        let words = words.iter().map(|word| word.to_lowercase()).collect();
        self.cases.push(Case { name, file, words });
        Ok(())
    }

    /// As many as there should be.
    fn full(&self, count: usize) -> Result<()> {
        ensure!(self.cases.len() == count, "{} cases instead of {count}", self.cases.len());
        Ok(())
    }

    fn key(&self, name: &str) -> PathBuf {
        self.fleet.file(&format!("{name}.key"))
    }
}

/// Refused with exit code 1 or 2, naming file and place; nothing else went wrong.
fn refused(agent: &Agent, arguments: &[&str], case: &Case) -> Result<()> {
    let output = agent.try_run(arguments)?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).to_lowercase();
    let code = output.status.code();
    ensure!(matches!(code, Some(1 | 2)), "{}: exit code {code:?}, said:\n{said}", case.name);
    ensure!(!said.contains("panicked"), "{}: a panic:\n{said}", case.name);
    let file = case.file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    ensure!(said.contains(&file), "{}: the file {file} is not named:\n{said}", case.name);
    for word in &case.words {
        let any = word.split('|').any(|word| said.contains(word));
        ensure!(any, "{}: `{word}` is not in:\n{said}", case.name);
    }
    Ok(())
}

// --- configurations

/// Each breaks one line of a good configuration; the place is that line.
fn configurations(corpus: &mut Corpus<'_>, good: &str) -> Result<()> {
    let breaks: [(&'static str, &str, &str, &str); 12] = [
        ("unknown key", "age_s = 10", "age_sec = 10", "age_s"),
        ("unknown section", "[batch]", "[batches]", "batch"),
        ("text for a number", "age_s = 10", "age_s = \"10\"", "age_s"),
        ("age out of range", "age_s = 10", "age_s = 0", "age_s"),
        ("no TOML", "[batch]", "[batch", "batch|expected"),
        ("key twice", "age_s = 10", "age_s = 10 #\nage_s = 11", "age_s|duplicate"),
        ("speed of nothing", "speed = \"max\"", "speed = 0.0", "speed"),
        ("replay not there", "replay = \"", "replay = \"nowhere/", "replay"),
        ("database of no bus", "bus = \"can1\"", "bus = \"can7\"", "can7"),
        ("upper-case device", &format!("device = \"{DEVICE}\""), "device = \"CAR 1\"", "device"),
        ("broker without port", "broker = \"localhost:", "broker = \"localhost/", "broker"),
        ("negative keep-alive", "keep_alive_s = 5", "keep_alive_s = -5", "keep_alive_s"),
    ];
    for (name, old, new, word) in breaks {
        let at = good.find(old).with_context(|| format!("{name}: {old} is not in the good configuration"))?;
        let mut line = good[..at].matches('\n').count() + 1;
        if name == "key twice" {
            line += 1;
        }
        let bad = good.replacen(old, new, 1);
        let file = format!("{}.toml:{line}", name.replace(' ', "-"));
        corpus.add(name, "toml", bad, &[&file, word])?;
    }
    Ok(())
}

#[test]
fn bad_configurations_are_refused_with_their_place() -> Result<()> {
    let Some((scene, agent)) = scene("bad_configurations")? else { return Ok(()) };
    let folder = scene.path("corpus")?;
    std::fs::create_dir_all(&folder)?;
    let good = std::fs::read_to_string(scene.path("car")?.join("glovebox.toml"))?;
    let mut corpus = Corpus { folder: &folder, fleet: &scene.fleet, cases: Vec::new() };
    configurations(&mut corpus, &good)?;
    corpus.full(CONFIGURATIONS)?;
    for case in &corpus.cases {
        refused_configuration(case)?;
    }
    drop(agent);
    scene.finish();
    Ok(())
}

/// `check` with this configuration instead of the car's.
fn refused_configuration(case: &Case) -> Result<()> {
    let other = Agent::at(&case.file);
    refused(&other, &["check"], case)
}

// --- databases and logs

const GOOD_LOG: &str =
    "(0000000001.000000) can0 0B4#0000000000000000\n(0000000001.010000) can0 0B4#0000000000000001\n";

fn databases(corpus: &mut Corpus<'_>) -> Result<()> {
    let head = "VERSION \"\"\nBU_: Car\n";
    let message = "BO_ 180 SPEED: 8 Car\n";
    let bad: [(&'static str, Vec<u8>, &[&str]); 8] = [
        ("empty", Vec::new(), &[":1"]),
        ("no database", b"This is a letter.\n".to_vec(), &[":1"]),
        ("open string", format!("{head}CM_ \"never closed;\n{message}").into_bytes(), &[":3"]),
        ("binary", vec![0, 159, 146, 150, 0, 1, 2, 3], &[":1"]),
        (
            "signal outside",
            format!("{head}{message} SG_ A : 60|8@1+ (1,0) [0|0] \"\" Car\n").into_bytes(),
            &[":4"],
        ),
        (
            "signal of no bits",
            format!("{head}{message} SG_ A : 0|0@1+ (1,0) [0|0] \"\" Car\n").into_bytes(),
            &[":4"],
        ),
        (
            "factor of letters",
            format!("{head}{message} SG_ A : 0|8@1+ (x,0) [0|0] \"\" Car\n").into_bytes(),
            &[":4"],
        ),
        ("too large", vec![b' '; 5 * 1024 * 1024], &["bytes"]),
    ];
    bad.into_iter().try_for_each(|(name, bytes, words)| corpus.add(name, "dbc", bytes, words))
}

fn logs(corpus: &mut Corpus<'_>) -> Result<()> {
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 0x4c];
    let bad: [(&'static str, &str, Vec<u8>, &[&str]); 8] = [
        ("no log", "log", b"hello\n".to_vec(), &[":1"]),
        ("empty log", "log", Vec::new(), &["empty"]),
        ("odd digits", "log", b"(1.000000) can0 0B4#123\n".to_vec(), &[":1"]),
        ("letters for digits", "log", b"(1.000000) can0 0B4#GG\n".to_vec(), &[":1"]),
        ("no stamp", "log", b"can0 0B4#00\n".to_vec(), &[":1"]),
        ("identifier too large", "log", b"(1.000000) can0 FFF#00\n".to_vec(), &[":1"]),
        ("nine bytes", "log", b"(1.000000) can0 0B4#001122334455667788\n".to_vec(), &[":1"]),
        ("cut gzip", "log.gz", gzip.to_vec(), &[":"]),
    ];
    bad.into_iter().try_for_each(|(name, extension, bytes, words)| corpus.add(name, extension, bytes, words))
}

#[test]
fn bad_databases_and_logs_are_refused_with_their_place() -> Result<()> {
    let Some((scene, agent)) = scene("bad_databases")? else { return Ok(()) };
    let Some(drive) = need::drive() else {
        return need::skip("bad_databases", "no shared data (GLOVEBOX_SHARED)");
    };
    let folder = scene.path("corpus")?;
    std::fs::create_dir_all(&folder)?;
    let good_log = folder.join("good.log");
    std::fs::write(&good_log, GOOD_LOG)?;
    let text = |path: &Path| path.display().to_string();
    let mut corpus = Corpus { folder: &folder, fleet: &scene.fleet, cases: Vec::new() };
    databases(&mut corpus)?;
    corpus.full(DATABASES)?;
    for case in &corpus.cases {
        refused(&agent, &["decode", "--dbc", &text(&case.file), &text(&good_log)], case)?;
    }
    corpus.cases.clear();
    logs(&mut corpus)?;
    corpus.full(LOGS)?;
    let dbc = text(&drive.powertrain);
    for case in &corpus.cases {
        refused(&agent, &["decode", "--dbc", &dbc, &text(&case.file)], case)?;
    }
    agent.run(&["decode", "--dbc", &dbc, &text(&good_log)]).context("the good one")?;
    scene.finish();
    Ok(())
}

// --- bundles and requests

/// A good bundle that was broken after the words `change` says, and signed again.
fn changed(fleet: &Fleet, good: &Value, change: impl FnOnce(&mut Value)) -> Result<Value> {
    let mut bundle = good.clone();
    change(&mut bundle);
    signed_bundle(fleet, bundle.to_string().as_bytes())
}

fn signed_bundle(fleet: &Fleet, payload: &[u8]) -> Result<Value> {
    let mut envelope = forge::envelope(POLICY, payload, &fleet.file("signing.key"))?;
    envelope["signingKey"] = serde_json::from_slice(&std::fs::read(fleet.file("signing.dsse"))?)?;
    Ok(envelope)
}

fn bundles(corpus: &mut Corpus<'_>, good: &Value) -> Result<()> {
    let fleet = corpus.fleet;
    let payload = good.to_string();
    let whole = signed_bundle(fleet, payload.as_bytes())?;
    let text = whole.to_string();
    corpus.add("not JSON", "dsse", "{ \"payload\": ", &["line 1|:1"])?;
    corpus.add("cut in half", "dsse", &text[..text.len() / 2], &["line 1|:1"])?;
    let mut other = whole.clone();
    other["payload"] =
        forge::document(POLICY, &json!({ "version": 9 }), &corpus.key("signing"))?["payload"].clone();
    corpus.add("payload swapped", "dsse", other.to_string(), &["signature|sign"])?;
    let mut bare = whole.clone();
    bare.as_object_mut().map(|envelope| envelope.remove("signingKey"));
    corpus.add("without statement", "dsse", bare.to_string(), &["signingkey|statement"])?;
    let mut by_root = forge::envelope(POLICY, payload.as_bytes(), &corpus.key("root"))?;
    by_root["signingKey"] = whole["signingKey"].clone();
    corpus.add("signed by the root", "dsse", by_root.to_string(), &["signature|sign"])?;
    let mut stranger = whole.clone();
    let statement: Value = serde_json::from_slice(&std::fs::read(fleet.file("signing.json"))?)?;
    stranger["signingKey"] = forge::document(KEY, &statement, &corpus.key("owner"))?;
    corpus.add("statement of a stranger", "dsse", stranger.to_string(), &["signingkey"])?;
    corpus.add(
        "a request",
        "dsse",
        forge::document(REQUEST, good, &corpus.key("signing"))?.to_string(),
        &["request"],
    )?;
    let twice = payload.replacen("\"version\":", "\"version\":7,\"version\":", 1);
    corpus.add(
        "key twice",
        "dsse",
        signed_bundle(fleet, twice.as_bytes())?.to_string(),
        &["version", "twice|duplicate"],
    )?;
    let deep = payload.replacen(
        "\"directives\":[]",
        &format!("\"directives\":{}{}", "[".repeat(99), "]".repeat(99)),
        1,
    );
    corpus.add(
        "nested deeply",
        "dsse",
        signed_bundle(fleet, deep.as_bytes())?.to_string(),
        &["deep|nest"],
    )?;
    corpus.add(TOO_LARGE, "dsse", vec![b' '; 3 * 1024 * 1024], &["bytes"])?;
    Ok(())
}

fn changed_bundles(corpus: &mut Corpus<'_>, good: &Value) -> Result<()> {
    let fleet = corpus.fleet;
    let stranger = forge::document(KEY, &json!({}), &corpus.key("owner"))?;
    let before = good["issued"].clone();
    let mut add = |name, words: &[&str], change: &dyn Fn(&mut Value)| -> Result<()> {
        let bundle = changed(fleet, good, change)?;
        corpus.add(name, "dsse", bundle.to_string(), words)
    };
    add("unknown field", &["surprise"], &|b| b["surprise"] = json!(1))?;
    add("expires at once", &["expires"], &|b| b["expires"] = before.clone())?;
    add("no category", &["catalogue[0]"], &|b| b["catalogue"][0]["category"] = json!("secret"))?;
    add("country in words", &["recipients[0].country"], &|b| {
        b["recipients"][0]["country"] = json!("Germany");
    })?;
    add("HPKE key of a stranger", &["recipients[0].hpke_keys[0]"], &|b| {
        b["recipients"][0]["hpke_keys"][0] = stranger.clone();
    })?;
    add("schema of tomorrow", &["schema_version"], &|b| b["schema_version"] = json!(2))?;
    add("recipient twice", &["recipients[1]"], &|b| {
        let first = b["recipients"][0].clone();
        if let Some(list) = b["recipients"].as_array_mut() {
            list.push(first);
        }
    })
}

fn requests(corpus: &mut Corpus<'_>, good: &Value) -> Result<()> {
    let fleet = corpus.fleet;
    let party = fleet.parties()[0].clone();
    let request = fleet.request(&party)?;
    let key = corpus.key(&format!("{}-request", party.id));
    let other = corpus.key("owner");
    let mut add = |name, word: &str, key: &Path, change: &dyn Fn(&mut Value)| -> Result<()> {
        let mut bad = request.clone();
        change(&mut bad);
        let signed = forge::document(REQUEST, &bad, key)?;
        let bundle = changed(fleet, good, |bundle| bundle["requests"][0] = signed)?;
        corpus.add(name, "dsse", bundle.to_string(), &["requests[0]", word])
    };
    add("purpose without words", "purpose.text", &key, &|r| r["purpose"]["text"] = json!([]))?;
    add("storage in Germany", "storage_locations", &key, &|r| r["storage_locations"] = json!(["Germany"]))?;
    add("wanted badly", "necessity", &key, &|r| r["signals"][0]["necessity"] = json!("badly"))?;
    add("no batch age", "batch_age_s", &key, &|r| r["batch_age_s"] = json!(0))?;
    add("no signals", "signals", &key, &|r| r["signals"] = json!([]))?;
    add("kept for 30 days", "retention_period", &key, &|r| r["retention_period"] = json!("30 days"))?;
    add("lawful by silence", "lawful_basis", &key, &|r| r["lawful_basis"] = json!(""))?;
    add("signed by another", "sign", &other, &|_| ())
}

#[test]
fn invariant_03_bad_bundles_are_refused_and_the_last_good_policy_stays() -> Result<()> {
    let Some((scene, mut agent)) = scene("bad_bundles")? else { return Ok(()) };
    let folder = scene.path("corpus")?;
    std::fs::create_dir_all(&folder)?;
    scene.fleet.prepare(&agent, &["garage"])?;
    let good = scene.fleet.bundle(2)?;
    let mut corpus = Corpus { folder: &folder, fleet: &scene.fleet, cases: Vec::new() };
    bundles(&mut corpus, &good)?;
    changed_bundles(&mut corpus, &good)?;
    requests(&mut corpus, &good)?;
    corpus.full(BUNDLES)?;
    let root = scene.fleet.file("root.pub").display().to_string();
    for case in &corpus.cases {
        let file = case.file.display().to_string();
        refused(&agent, &["policy", "verify", &file, "--authority", &root], case)?;
        refused(&agent, &["policy", "install", &file], case)?;
    }
    let mut capture = scene.broker.watch()?;
    agent.start()?;
    agent.wait_for("the connection", LIMIT, |status| status["link"]["state"] == "connected")?;
    for case in &corpus.cases {
        // What is larger than the car takes, the broker keeps back (MQTT 5, maximum packet size): there is no answer.
        match case.name {
            TOO_LARGE => scene.broker.publish(&format!("{TOPIC}/policy"), &case.file, false)?,
            _ => pushed(&scene, &agent, &mut capture, &case.file, false).with_context(|| case.name)?,
        }
        let status = agent.status()?;
        ensure!(status["policy"] == 1, "{}: not the last good policy: {status}", case.name);
    }
    let good = scene.fleet.sign_bundle("bundle-2", &good)?;
    pushed(&scene, &agent, &mut capture, &good, true)?;
    agent.wait_for("the good policy", LIMIT, |status| status["policy"] == 2)?;
    agent.stop()?;
    scene.finish();
    Ok(())
}

/// Pushes a bundle and waits for the car's answer, which says whether it was accepted, and why not.
fn pushed(scene: &Scene, agent: &Agent, capture: &mut Capture, file: &Path, accepted: bool) -> Result<()> {
    let status = format!("{TOPIC}/status");
    let answers = |capture: &mut Capture| -> Result<Vec<Value>> {
        let ours = capture.all()?.into_iter().filter(|each| each.topic == status);
        ours.map(|each| Ok(serde_json::from_slice(&each.payload)?)).collect()
    };
    let before = answers(capture)?.len();
    scene.broker.publish(&format!("{TOPIC}/policy"), file, false)?;
    let answer = until("the answer to a pushed bundle", LIMIT, || Ok(answers(capture)?.get(before).cloned()));
    let answer = answer.with_context(|| agent.log().lines().rev().take(5).collect::<Vec<_>>().join("\n"))?;
    ensure!(answer["accepted"] == accepted, "the answer is {answer}");
    ensure!(
        accepted || answer["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
        "the answer says no reason: {answer}"
    );
    Ok(())
}

// --- consent records

/// A record that has the right form; its digests are of nothing.
fn record() -> Result<Value> {
    let zeros = "00".repeat(32);
    let now = day(0)?;
    Ok(json!({
        "schema_version": 1, "record_id": "6f9619ff-8b86-4011-b42d-00cf4fc964ff", "pii_principal_id": zeros,
        "subject_vehicle": zeros, "request_digest": zeros,
        "privacy_notice": { "uri": "https://example.com/privacy", "digest": zeros, "language": "en" },
        "purpose": { "id": PURPOSE, "code": "https://w3id.org/dpv#ServiceProvision", "text_digest": zeros },
        "lawful_basis": "dpv:Consent", "jurisdiction": ["DE"],
        "recipient": {
            "party_id": "garage", "party_name": "garage Ltd", "party_contact": "privacy@garage.example",
            "party_role": "dpv:DataController", "key_thumbprint": zeros,
        },
        "pii_information": [{
            "signal": SIGNAL, "pii_type": "", "category": "condition", "necessity": "required", "decision": "yes",
            "transform": [], "floor_waived": false, "signal_map_digest": zeros,
        }],
        "processing": { "off_board": true, "profiling": false, "automated_decision": false, "onward_disclosure": [] },
        "retention_period": "P30D", "storage_locations": ["DE"], "not_before": now, "not_after": day(10)?,
        "conditions": {}, "withdrawal_method": "on the head unit",
        "events": [{
            "event_time": now, "event_state": "ConsentGiven", "event_type": "given", "entity_id": "owner",
            "indication_method": "command_line", "ui_digest": zeros,
        }],
    }))
}

fn records(corpus: &mut Corpus<'_>) -> Result<()> {
    let (owner, stranger, good) = (corpus.key("owner"), corpus.key("garage-request"), record()?);
    let mut add = |name, words: &[&str], key: &Path, change: &dyn Fn(&mut Value)| -> Result<()> {
        let mut bad = good.clone();
        change(&mut bad);
        corpus.add(name, "dsse", forge::document(CONSENT, &bad, key)?.to_string(), words)
    };
    add("signed by the recipient", &["sign"], &stranger, &|_| ())?;
    add("for another car", &["subject_vehicle|pii_principal_id|request_digest"], &owner, &|_| ())?;
    add("consent to a surprise", &["surprise"], &owner, &|r| r["surprise"] = json!(true))?;
    add("without events", &["events"], &owner, &|r| r["events"] = json!([]))?;
    add("a whole branch", &["signal"], &owner, &|r| r["pii_information"][0]["signal"] = json!("Vehicle.*"))?;
    add("ends before it begins", &["not_after"], &owner, &|r| {
        r["not_after"] = json!("2020-01-01T00:00:00Z");
    })?;
    add("perhaps", &["decision"], &owner, &|r| r["pii_information"][0]["decision"] = json!("perhaps"))?;
    add("no record id", &["record_id"], &owner, &|r| r["record_id"] = json!("first"))?;
    let typed = forge::document(REQUEST, &good, &owner)?;
    corpus.add("consent as a request", "dsse", typed.to_string(), &["request|type"])
}

#[test]
fn bad_consent_records_are_refused_and_grant_nothing() -> Result<()> {
    let Some((scene, agent)) = scene("bad_consent_records")? else { return Ok(()) };
    let folder = scene.path("corpus")?;
    std::fs::create_dir_all(&folder)?;
    scene.fleet.prepare(&agent, &[])?;
    let mut corpus = Corpus { folder: &folder, fleet: &scene.fleet, cases: Vec::new() };
    records(&mut corpus)?;
    corpus.full(RECORDS)?;
    for case in &corpus.cases {
        refused(&agent, &["policy", "install", &case.file.display().to_string()], case)?;
    }
    let list: Value = serde_json::from_str(&agent.run(&["consent", "list", "--json"])?)?;
    ensure!(!list.to_string().contains("\"live\":true"), "something was granted: {list}");
    scene.finish();
    Ok(())
}

/// One recipient that asks for one signal, and a car that runs nothing yet.
fn scene(test: &str) -> Result<Option<(Scene, Agent)>> {
    let Some(()) = need::broker(test)? else { return Ok(None) };
    let Some(drive) = need::drive() else {
        return need::skip(test, "no shared data (GLOVEBOX_SHARED)").map(|()| None);
    };
    let scene = Scene::new(vec![Party::plain("garage", &[SIGNAL])])?;
    let agent = scene.agent(&scene.settings(&drive, "max", 10))?;
    Ok(Some((scene, agent)))
}
