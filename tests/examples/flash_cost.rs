//! What reaches the flash for a byte that is sealed, counted by the block device under a file system of its own: records,
//! keys, index, ledger, and the file system's journal. Run by `tests/flash_cost`.

use anyhow::{Context, Result, ensure};
use glovebox_tests::agent::{Agent, Settings};
use glovebox_tests::disk::Disk;
use glovebox_tests::fleet::Party;
use glovebox_tests::need;
use glovebox_tests::scene::Scene;
use glovebox_tests::traffic::{SIGNAL, Traffic};
use std::path::Path;
use std::time::Duration;

/// One kind of traffic.
struct Case {
    name: &'static str,
    /// Samples a second of each recipient; one has about four bytes that cannot be compressed.
    rate: u32,
    recipients: &'static [&'static str],
    /// `batch.age_s`.
    age_s: u32,
    /// `outbox.gather_s`.
    gather_s: u32,
    online: bool,
}

impl Case {
    /// Before the figures are taken: documents, first descriptors, stores that are new, and the first batches twice.
    fn warm(&self) -> Duration {
        Duration::from_secs(u64::from(25 + 2 * (self.age_s + self.gather_s)))
    }
}

/// What most cars have, and what is measured of it elsewhere.
const USUAL: Case =
    Case { name: "one flow, 20 KiB", rate: 400, recipients: ONE, age_s: 10, gather_s: 20, online: true };

const ONE: &[&str] = &["one"];
const THREE: &[&str] = &["one", "two", "three"];

const CASES: [Case; 7] = [
    USUAL,
    Case { name: "three flows, 20 KiB", recipients: THREE, ..USUAL },
    Case { name: "one flow, no network, 20 KiB", online: false, ..USUAL },
    Case { name: "three flows, 2 KiB", recipients: THREE, rate: 40, ..USUAL },
    Case {
        name: "three flows, 12 KiB each 60 s",
        recipients: THREE,
        rate: 40,
        age_s: 60,
        gather_s: 60,
        ..USUAL
    },
    Case { name: "one flow, 20 KiB, not gathered", gather_s: 0, ..USUAL },
    Case { name: "three flows, 2 KiB, not gathered", recipients: THREE, rate: 40, gather_s: 0, ..USUAL },
];

#[derive(Debug, Clone, Copy)]
struct Figures {
    device: u64,
    process: u64,
    sealed: u64,
    batches: u64,
}

fn main() -> Result<()> {
    if let Some(why) = Disk::missing() {
        return need::skip("flash_cost", &why);
    }
    let Some(()) = need::broker("flash_cost")? else { return Ok(()) };
    let mut words = std::env::args().skip(1);
    let seconds = words.next().map_or(Ok(120), |word| word.parse()).context("SECONDS")?;
    let only = words.next().unwrap_or_default();
    need::say(
        "case                             batches   sealed   written by the device   by the process   bytes a sealed byte",
    );
    for case in CASES.iter().filter(|case| case.name.contains(&only)) {
        let Figures { device, process, sealed, batches } = measure(case, Duration::from_secs(seconds))?;
        let ratio = device as f64 / sealed as f64;
        need::say(&format!(
            "{:<32} {batches:>7} {sealed:>8} {device:>23} {process:>16} {ratio:>21.2}",
            case.name
        ));
    }
    Ok(())
}

fn measure(case: &Case, time: Duration) -> Result<Figures> {
    let parties =
        case.recipients.iter().map(|id| Party { batch_age_s: case.age_s, ..Party::plain(id, &[SIGNAL]) });
    let scene = Scene::new(parties.collect())?;
    let traffic = Traffic::write(&scene.path("")?, case.rate, case.warm() + time * 2)?;
    let live = scene.live(vec![traffic.bus], case.age_s);
    let broker = if case.online { live.broker.clone() } else { "127.0.0.1:1".to_owned() };
    let more = format!("[outbox]\ngather_s = {}\n", case.gather_s);
    let settings = Settings { replay: Some(traffic.log), speed: "1.0".to_owned(), broker, more, ..live };
    let mut agent = scene.agent(&settings)?;
    let disk = Disk::ext4(&scene.path("disk.img")?, &agent.state(), 256)?;
    scene.fleet.prepare(&agent, case.recipients)?;
    let _listening = case.recipients.iter().map(|id| scene.subscribe(id, &[])).collect::<Result<Vec<_>>>()?;
    agent.start()?;
    std::thread::sleep(case.warm());
    let before = figures(&agent, &disk)?;
    std::thread::sleep(time);
    let after = figures(&agent, &disk)?;
    agent.stop()?;
    let left: Vec<String> = kept(&agent.state())?;
    need::say(&format!("  {}: on disk at the end: {}", case.name, left.join(", ")));
    drop(disk);
    scene.finish();
    ensure!(after.sealed > before.sealed, "nothing was sealed");
    Ok(Figures {
        device: after.device - before.device,
        process: after.process - before.process,
        sealed: after.sealed - before.sealed,
        batches: after.batches - before.batches,
    })
}

fn figures(agent: &Agent, disk: &Disk) -> Result<Figures> {
    let status = agent.status()?;
    let count = |stage: &str, name: &str| status["counters"][stage][name].as_u64().context("no such counter");
    let io = std::fs::read_to_string(format!("/proc/{}/io", agent.id()?))?;
    let process = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("write_bytes")?;
    Ok(Figures {
        process: process.parse()?,
        device: disk.written()?,
        sealed: count("seal", "bytes_sealed")?,
        batches: count("outbox", "batches_stored")?,
    })
}

/// Space that each part takes.
fn kept(state: &Path) -> Result<Vec<String>> {
    use std::os::unix::fs::MetadataExt as _;
    let mut left = Vec::new();
    for part in ["outbox", "index", "ledger"] {
        let files = glovebox_tests::source::tree(&state.join(part));
        let blocks: u64 =
            files.iter().filter_map(|path| path.metadata().ok()).map(|it| it.blocks() * 512).sum();
        left.push(format!("{part} {} KiB", blocks / 1024));
    }
    Ok(left)
}
