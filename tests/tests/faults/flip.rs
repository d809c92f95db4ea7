//! Bytes that change while the car stands: in each kind of file of its state. It starts and says what is damaged; what
//! is lost is declared, in doubt nothing leaves, and no recipient gets anything that is not in the log.

use crate::{behind_a_proxy, rounds};
use anyhow::{Context, Result, ensure};
use glovebox_tests::need;
use glovebox_tests::process::{copy_folder, until};
use glovebox_tests::proxy::{Network, Proxy};
use glovebox_tests::source::tree;
use glovebox_tests::stage::{LEAVER, LIMIT, STORED_A_LIFE, Stage};
use glovebox_tests::tally::Row;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A kind of file: how its path in the state begins and ends.
struct Kind {
    start: &'static str,
    end: &'static str,
    /// Without it the car has no identity or no rules: the agent may refuse to start.
    needed: bool,
}

const fn kind(start: &'static str, end: &'static str, needed: bool) -> Kind {
    Kind { start, end, needed }
}

const KINDS: [Kind; 20] = [
    kind("outbox/", ".seg", false),
    kind("outbox/", "keys", false),
    kind("index/", "db", false),
    kind("index/", "conf", false),
    kind("index/snap", "", false),
    kind("index.synced", "", false),
    kind("index.wal", "", false),
    kind("ledger/", "db", false),
    kind("ledger/", "conf", false),
    kind("ledger/snap", "", false),
    kind("ledger.synced", "", false),
    kind("ledger.wal", "", false),
    kind("policy/", "db", false),
    kind("policy/", "conf", false),
    kind("policy.synced", "", false),
    kind("counters", "", false),
    kind("rules", "", false),
    kind("keys/", "alias", true),
    kind("keys/", ".key", true),
    kind("keys/", ".pub", true),
];

/// A round over all kinds takes as long as so many lives.
const LIVES: u64 = 50;
/// Flips at most so many bytes of a file.
const FLIPS_MAX: u64 = 4;

/// A car that stands, with batches of two recipients on disk and a grant that was withdrawn.
struct Car {
    stage: Stage,
    proxy: Proxy,
    sound: PathBuf,
    row: Row,
    held: usize,
    refused: usize,
}

fn car(test: &str) -> Result<Car> {
    let (mut stage, proxy) = behind_a_proxy(test)?;
    proxy.set(Network::HalfOpen);
    stage.agent.start()?;
    stage.stores(STORED_A_LIFE)?;
    stage.withdraw()?;
    stage.nothing_is_sent_from_here()?;
    let stored = stage.agent.stored().len();
    stage.stores(stored + 2 * STORED_A_LIFE)?;
    stage.kill()?;
    let sound = stage.scene.path("sound")?;
    copy_folder(&stage.agent.state(), &sound)?;
    proxy.set(Network::Good);
    let row = Row { fault: "disk: bytes flipped in each kind of file".to_owned(), ..Row::default() };
    Ok(Car { stage, proxy, sound, row, held: 0, refused: 0 })
}

impl Car {
    /// Flips some bytes of a file of this kind; the file. A store has no snapshot before it has been opened twice.
    fn flip(&mut self, kind: &Kind) -> Result<Option<PathBuf>> {
        let state = self.stage.agent.state();
        copy_folder(&self.sound, &state)?;
        let fits = |path: &PathBuf| {
            let name = path.strip_prefix(&state).unwrap_or(path).display().to_string();
            name.starts_with(kind.start)
                && name.ends_with(kind.end)
                && std::fs::metadata(path).is_ok_and(|file| file.len() > 0)
        };
        let files: Vec<PathBuf> = tree(&state).into_iter().filter(fits).collect();
        if files.is_empty() && kind.start.ends_with("snap") {
            return Ok(None);
        }
        ensure!(!files.is_empty(), "no file is {}…{}", kind.start, kind.end);
        let path = files[usize::try_from(self.stage.random.below(files.len() as u64))?].clone();
        let mut bytes = std::fs::read(&path)?;
        // A store is mostly zeros that are not in use yet.
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        for _ in 0..=self.stage.random.below(FLIPS_MAX) {
            let at = used[usize::try_from(self.stage.random.below(used.len() as u64))?];
            bytes[at] ^= u8::try_from(1 + self.stage.random.below(255))?;
        }
        std::fs::write(&path, bytes)?;
        Ok(Some(path))
    }

    /// The car starts with it; what became of the batches.
    fn drive(&mut self, kind: &Kind) -> Result<()> {
        self.stage.read()?;
        self.stage.tally = self.stage.tally.anew();
        let (since, begun) = (Instant::now(), self.stage.scene.broker.logged()?);
        self.stage.agent.launch()?;
        let ready = until("the agent to be ready, or to end", LIMIT, || {
            let ready = self.stage.agent.log().contains(" health: ready\n");
            Ok(if self.stage.agent.runs()? { ready.then_some(true) } else { Some(false) })
        })?;
        ensure!(!self.stage.agent.log().contains("panicked"), "a panic");
        if !ready {
            ensure!(kind.needed, "the agent does not start:\n{}", self.stage.agent.log());
            self.refused += 1;
            return self.nothing_leaves(begun);
        }
        let status = self.stage.agent.status()?;
        let flows = status["flows"].as_array().context("no flows in the status")?;
        ensure!(!flows.iter().any(|flow| flow["recipient"] == LEAVER), "the withdrawn grant lives: {status}");
        if flows.is_empty() {
            self.held += 1;
            let said = self.stage.agent.log();
            ensure!(
                said.contains(" error ") && said.contains("nothing leaves"),
                "nothing leaves, and nobody is told:\n{said}"
            );
            std::thread::sleep(std::time::Duration::from_millis(300));
            self.stage.agent.kill()?;
            return self.nothing_leaves(begun);
        }
        ensure!(flows.len() == 2, "a grant is gone: {status}");
        self.stage.recovers(since, LIMIT)?;
        self.stage.accounted()?;
        let tally = &self.stage.tally;
        tally.must_be_true()?;
        let lost = tally.missing(&self.stage.gone).len();
        let said = self.stage.agent.log();
        // Under which rules a queue was collected may be in doubt: then it is dropped as if they had been wider.
        let told = said.contains(" error ") || said.contains(" warn outbox: dropped ");
        ensure!(lost == 0 || told, "{lost} are lost and nobody is told:\n{said}");
        self.row.add(&tally.row("", &self.stage.gone));
        self.stage.agent.kill()
    }

    fn nothing_leaves(&self, since: u64) -> Result<()> {
        let sent = self.stage.scene.broker.received_since(since)?;
        ensure!(sent.is_empty(), "in doubt, and still sent: {sent:?}");
        Ok(())
    }
}

fn name<'a>(path: &'a Path, state: &Path) -> std::path::Display<'a> {
    path.strip_prefix(state).unwrap_or(path).display()
}

#[test]
fn invariant_03_damaged_files_lose_nothing_in_silence_and_let_nothing_out() -> Result<()> {
    let test = "faults_flip";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let mut car = car(test)?;
    let state = car.stage.agent.state();
    let mut bad = Vec::new();
    for _ in 0..rounds(LIVES) {
        for kind in &KINDS {
            let Some(path) = car.flip(kind)? else { continue };
            car.row.runs += 1;
            if let Err(error) = car.drive(kind) {
                bad.push(format!("{}: {error:#}", name(&path, &state)));
                // It may have ended by itself.
                let _ended = car.stage.agent.kill();
            }
        }
    }
    car.row.withdrawn_sent = car.stage.withdrawn_sent()?;
    car.row.recovery = std::mem::take(&mut car.stage.recovery);
    car.row.say();
    need::say(&format!(
        "bytes flipped: {} times nothing left, {} times the agent refused to start",
        car.held, car.refused
    ));
    ensure!((car.row.undeclared, car.row.withdrawn_sent) == (0, Some(0)), "{:?}", car.row);
    ensure!(bad.is_empty(), "{bad:#?}");
    drop(car.proxy);
    car.stage.scene.finish();
    Ok(())
}
