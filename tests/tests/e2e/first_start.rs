//! An agent that starts for the first time, with a log that is over at once: all that its grant lets out arrives. What
//! it collects first is not taken for the queue of an earlier, wider grant.

use anyhow::{Result, ensure};
use glovebox_tests::fleet::Party;
use glovebox_tests::need::{self, Drive};
use glovebox_tests::scene::Scene;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);
/// It is a race: with the order the wrong way round, one of two starts lost its first batch.
const STARTS: usize = 8;

#[test]
fn invariant_08_nothing_of_the_first_start_is_lost() -> Result<()> {
    let Some(()) = need::broker("first_start")? else { return Ok(()) };
    let Some(whole) = need::drive() else {
        return need::skip("first_start", "no shared data (GLOVEBOX_SHARED)");
    };
    let folder = tempfile::tempdir()?;
    let short = folder.path().join("short.log");
    let frames: String = (0..50).map(|at| format!("(1.{at:06}) can0 0B4#000000000000{at:02X}00\n")).collect();
    std::fs::write(&short, frames)?;
    let drive = Drive { log: short, ..whole };
    for start in 0..STARTS {
        let scene = Scene::new(vec![Party::plain("garage", &["CAN.can0.SPEED.SPEED"])])?;
        let mut agent = scene.agent(&scene.settings(&drive, "\"max\"", 1))?;
        scene.fleet.prepare(&agent, &["garage"])?;
        let garage = scene.subscribe("garage", &[])?;
        agent.start()?;
        let end = agent.wait_for("the log's end", LIMIT, |status| {
            status["counters"]["bus"]["frames_read"].as_u64() > Some(0)
                && status["counters"]["batch"]["batches_closed"].as_u64() > Some(0)
        })?;
        agent.drained(LIMIT)?;
        let consented = agent.status()?["counters"]["consent"]["consented"].as_u64();
        agent.stop()?;
        let printed = garage.finish()?;
        ensure!(!agent.logs().contains("dropped"), "start {start}: {}", agent.logs());
        ensure!(printed.events("loss").is_empty(), "start {start}: {:?}", printed.events("loss"));
        ensure!(
            consented > Some(0) && u64::try_from(printed.samples.len()).ok() == consented,
            "start {start}: {} samples of {consented:?}, {end}",
            printed.samples.len()
        );
        scene.finish();
    }
    Ok(())
}
