//! Everything that a broker, a disk or a log sees is searched for planted secrets: a VIN, signal names, values. In what
//! the recipient opened, the same search must hit, so that it is known to work.

use anyhow::{Result, ensure};
use glovebox_tests::agent::Bus;
use glovebox_tests::broker::Published;
use glovebox_tests::fleet::Party;
use glovebox_tests::leak::{Needle, search};
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::scene::Scene;
use glovebox_tests::source::tree;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const VIN: &str = "WVWZZZ1JZXW386752";
/// Raw value of a 40-bit signal and what it is with its scale of 1/16.
const ODOMETER: u64 = 746_351_274_137;
const ODOMETER_TEXT: &str = "46646954633.5625";
const FRAMES: usize = 2_000;

/// A database whose signal name holds the VIN, and whose frames carry it too.
fn dbc() -> String {
    format!(
        "VERSION \"\"\nNS_ :\nBS_:\nBU_: Car\n\
         BO_ 256 Identity: 8 Car\n SG_ Plate_{VIN} : 0|64@1+ (1,0) [0|0] \"\" Car\n\
         BO_ 257 Distance: 8 Car\n SG_ SecretOdometer : 0|40@1+ (0.0625,0) [0|0] \"km\" Car\n \
         SG_ HiddenCounter : 40|16@1+ (1,0) [0|0] \"\" Car\n"
    )
}

fn log() -> String {
    let mut text = String::new();
    for frame in 0..FRAMES {
        let micros = frame * 10_000;
        let stamp = format!("{:010}.{:06}", 1_700_000_000 + micros / 1_000_000, micros % 1_000_000);
        let part = &VIN.as_bytes()[frame % 3 * 4..][..8];
        let mut distance = ODOMETER.to_le_bytes();
        distance[5..7].copy_from_slice(&u16::try_from(frame).unwrap_or(0).to_le_bytes());
        let _ = writeln!(text, "({stamp}) can0 100#{}", hex::encode_upper(part));
        let _ = writeln!(text, "({stamp}) can0 101#{}", hex::encode_upper(distance));
    }
    text
}

/// Names may stand in documents; values nowhere.
fn needles() -> (Vec<Needle>, Vec<Needle>) {
    let names = ["SecretOdometer", "HiddenCounter", &format!("Plate_{VIN}"), "Identity"];
    let names = names.iter().map(|name| Needle::new(&format!("the name {name}"), name.as_bytes())).collect();
    let mut values = vec![
        Needle::new("the odometer in decimals", ODOMETER_TEXT.as_bytes()),
        Needle::new("the odometer as it is raw", ODOMETER.to_string().as_bytes()),
        Needle::new("the odometer in a little-endian word", &ODOMETER.to_le_bytes()),
        Needle::new("the odometer in a big-endian word", &ODOMETER.to_be_bytes()),
        Needle::new("the odometer as a double", &46_646_954_633.562_5_f64.to_le_bytes()),
    ];
    for at in [0, 4, 8] {
        let part = &VIN[at..at + 8];
        values.push(Needle::new(&format!("the VIN's part {part}"), part.as_bytes()));
        let number = u64::from_le_bytes(part.as_bytes().try_into().unwrap_or_default());
        values
            .push(Needle::new(&format!("the VIN's part {part} as a number"), number.to_string().as_bytes()));
    }
    (names, values)
}

/// Whether a file of the state may hold signal names: the store of documents.
fn holds_documents(state: &Path, path: &Path) -> bool {
    path.strip_prefix(state).is_ok_and(|below| below.starts_with("policy"))
}

/// Whether a topic carries documents.
fn carries_documents(topic: &str) -> bool {
    topic.starts_with("glovebox/v1/device/") && (topic.ends_with("/policy") || topic.ends_with("/consent"))
}

/// The VIN stands in a signal's name, so where names may stand, it may too; numbers may not.
fn numbers(values: &[Needle]) -> Vec<Needle> {
    values
        .iter()
        .filter(|needle| !needle.name.starts_with("the VIN's part") || needle.name.ends_with("number"))
        .cloned()
        .collect()
}

fn search_captured(captured: &[Published], names: &[Needle], values: &[Needle]) -> Vec<String> {
    let mut found = Vec::new();
    for Published { topic, payload } in captured {
        let documents = carries_documents(topic);
        let forbidden = if documents { numbers(values) } else { [names, values].concat() };
        found.extend(search(&format!("the payload of {topic}"), payload, &forbidden));
        found.extend(search("a topic", topic.as_bytes(), &[names, values].concat()));
    }
    found
}

fn search_state(state: &Path, names: &[Needle], values: &[Needle]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in tree(state) {
        let place = path.strip_prefix(state).unwrap_or(&path).display().to_string();
        let forbidden =
            if holds_documents(state, &path) { numbers(values) } else { [names, values].concat() };
        found.extend(search(&place, &std::fs::read(&path)?, &forbidden));
        found.extend(search("a file's name", place.as_bytes(), &[names, values].concat()));
    }
    Ok(found)
}

#[test]
fn invariant_07_broker_disk_and_logs_see_neither_names_nor_values() -> Result<()> {
    let Some(()) = need::broker("nothing_leaks")? else { return Ok(()) };
    let plate = format!("CAN.can0.Identity.Plate_{VIN}");
    let signals = [plate.as_str(), "CAN.can0.Distance.SecretOdometer", "CAN.can0.Distance.HiddenCounter"];
    let scene = Scene::new(vec![Party::plain("garage", &signals)])?;
    std::fs::write(scene.path("car.dbc")?, dbc())?;
    std::fs::write(scene.path("drive.log")?, log())?;
    let bus =
        Bus { name: "can0".to_owned(), interface: "can0".to_owned(), dbc: vec![scene.path("car.dbc")?] };
    let mut settings = glovebox_tests::agent::Settings {
        replay: Some(scene.path("drive.log")?),
        ..scene.live(vec![bus], 2)
    };
    let mut capture = scene.broker.watch()?;
    let mut subscriber = scene.subscribe("garage", &[])?;
    let mut agent = scene.agent(&settings)?;
    scene.fleet.prepare(&agent, &["garage"])?;
    let bundle = scene.fleet.sign_bundle("bundle-2", &scene.fleet.bundle(2)?)?;
    // A first life without a broker leaves everything on disk, a second one sends it and more.
    settings.broker = "localhost:1".to_owned();
    agent.configure(&settings)?;
    agent.start()?;
    agent.wait_for("batches on disk", Duration::from_secs(60), |status| {
        status["queue"]["batches"].as_u64() > Some(5)
    })?;
    agent.kill()?;
    let (names, values) = needles();
    let mut found = search_state(&agent.state(), &names, &values)?;
    settings.broker = scene.broker.address();
    agent.configure(&settings)?;
    agent.start()?;
    scene.broker.publish("glovebox/v1/device/car-1/policy", &bundle, true)?;
    agent.wait_for("the pushed bundle", Duration::from_secs(30), |status| status["policy"] == 2)?;
    agent.drained(Duration::from_secs(60))?;
    until("the samples", Duration::from_secs(30), || {
        Ok((subscriber.printed()?.samples.len() >= 3 * FRAMES).then_some(()))
    })?;
    agent.stop()?;
    let captured = capture.all()?;
    ensure!(captured.iter().any(|each| each.topic.ends_with("/batch")), "no batch was captured");
    ensure!(captured.iter().any(|each| each.topic.ends_with("/status")), "no answer was captured");
    found.extend(search_captured(&captured, &names, &values));
    found.extend(search_state(&agent.state(), &names, &values)?);
    found.extend(search(
        "the broker's log",
        scene.broker.log().as_bytes(),
        &[names.clone(), values.clone()].concat(),
    ));
    found.extend(search(
        "the agent's log",
        agent.logs().as_bytes(),
        &[names.clone(), values.clone()].concat(),
    ));
    ensure!(found.is_empty(), "leaked:\n{}", found.join("\n"));
    hits_in_the_opened(&std::fs::read(subscriber.lines())?, &captured, &names)?;
    drop(subscriber);
    scene.finish();
    Ok(())
}

/// The same search must find what is meant to be there, or it proves nothing.
fn hits_in_the_opened(opened: &[u8], captured: &[Published], names: &[Needle]) -> Result<()> {
    let odometer = Needle::new("the odometer", ODOMETER_TEXT.as_bytes());
    for needle in names.iter().chain([&odometer]) {
        ensure!(needle.find(opened).is_some(), "{} is not in what the recipient opened", needle.name);
    }
    let documents: Vec<u8> = captured
        .iter()
        .filter(|each| carries_documents(&each.topic))
        .flat_map(|each| each.payload.clone())
        .collect();
    // The requests in a bundle are base64 in base64: unpack one layer for the search.
    let text = String::from_utf8_lossy(&documents).into_owned();
    let hit = needs_a_layer(&text, names);
    ensure!(hit, "the names are not found in the pushed bundle, where they stand");
    Ok(())
}

fn needs_a_layer(text: &str, names: &[Needle]) -> bool {
    names[0].find(text.as_bytes()).is_some_and(|form| form.starts_with("base64"))
}
