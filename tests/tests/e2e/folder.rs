//! The policy folder while the daemon runs: what is dropped is taken at once, what is half is not, what is refused stays.

use anyhow::{Context, Result, ensure};
use glovebox_tests::agent::Settings;
use glovebox_tests::fleet::Party;
use glovebox_tests::need;
use glovebox_tests::process::until;
use glovebox_tests::scene::Scene;
use serde_json::Value;
use std::io::Write as _;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn version(wanted: u64) -> impl Fn(&Value) -> bool {
    move |status| status["policy"] == wanted
}

#[test]
fn what_is_dropped_into_the_folder_is_taken_while_the_daemon_runs() -> Result<()> {
    let Some(()) = need::broker("policy_folder")? else { return Ok(()) };
    let Some(drive) = need::drive() else { return need::skip("policy_folder", "no recorded drive") };
    let scene = Scene::new(vec![Party::plain("garage", &["CAN.can0.SPEED.SPEED"])])?;
    let folder = scene.path("policy.d")?;
    std::fs::create_dir(&folder)?;
    let settings: Settings = scene.settings(&drive, "1.0", 1);
    let mut agent = scene.agent(&settings)?;
    let config = scene.path("car")?.join("glovebox.toml");
    let text = std::fs::read_to_string(&config)?;
    let key = format!("[consent]\npolicy_folder = {:?}\n", folder.display().to_string());
    std::fs::write(&config, text.replace("[consent]\n", &key))?;
    scene.fleet.prepare(&agent, &[])?;
    let bundle = |number: u64| -> Result<Vec<u8>> {
        let bundle = scene.fleet.bundle(number)?;
        Ok(std::fs::read(scene.fleet.sign_bundle(&format!("bundle-{number}"), &bundle)?)?)
    };
    std::fs::write(folder.join("at-start.dsse"), bundle(2)?)?;
    agent.start()?;
    agent.wait_for("the one that was there", LIMIT, version(2))?;

    let document = bundle(3)?;
    let mut writer = std::fs::File::create(folder.join("written.dsse"))?;
    writer.write_all(&document[..document.len() / 2])?;
    writer.sync_all()?;
    std::thread::sleep(Duration::from_secs(3));
    let refused = |status: &Value| status["counters"]["consent"]["documents_refused"].as_u64().unwrap_or(0);
    let status = agent.status()?;
    ensure!(status["policy"] == 2 && refused(&status) == 0, "half a file was taken: {status}");
    writer.write_all(&document[document.len() / 2..])?;
    drop(writer);
    agent.wait_for("the one that was written", LIMIT, version(3))?;

    std::fs::write(folder.join("broken.dsse"), "no document")?;
    std::os::unix::fs::symlink(scene.fleet.file("root.key"), folder.join("link.dsse"))?;
    std::fs::write(folder.join(".five"), bundle(4)?)?;
    std::fs::rename(folder.join(".five"), folder.join("moved.dsse"))?;
    agent.wait_for("the one that was moved in", LIMIT, version(4))?;
    ensure!(folder.join("broken.dsse").exists(), "what was refused is gone");

    let away = folder.with_extension("away");
    std::fs::rename(&folder, &away)?;
    until("the loss to be said", LIMIT, || {
        Ok(agent.log().contains("policy.d cannot be read").then_some(()))
    })?;
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("back.dsse"), bundle(5)?)?;
    agent.wait_for("the one in the folder that is back", LIMIT, version(5))?;
    agent.stop()?;
    let log = agent.log();
    let said = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    let line = log.lines().find(|line| line.contains("broken.dsse")).context("not said")?;
    ensure!(line.contains("refused") && line.contains("put a mended one in its place"), "{line}");
    ensure!(said("broken.dsse") == 1, "said {} times", said("broken.dsse"));
    scene.finish();
    Ok(())
}
