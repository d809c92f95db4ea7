//! Calls to the disk that fail in the middle, once or for a while: nothing that was said to be stored is lost, and the
//! agent goes on by itself when the disk does.

use crate::{end, rounds};
use anyhow::{Context, Result, ensure};
use glovebox_tests::calls::{Calls, DISK, Fate, tracing};
use glovebox_tests::need;
use glovebox_tests::stage::{LIMIT, STORED_A_LIFE, Stage};
use nix::errno::Errno;
use std::time::{Duration, Instant};

/// So long the disk stays bad.
const BAD: Duration = Duration::from_millis(800);
/// How long the agent may take to go on.
const BACK: Duration = Duration::from_secs(20);
/// A round over all failures takes as long as so many lives.
const LIVES: u64 = 50;
/// The fault strikes one of so many calls.
const AMONG: u64 = 8;

/// Which calls fail, with what, and whether only once.
struct Failure {
    kinds: &'static [&'static str],
    errno: Errno,
    once: bool,
}

const fn failure(kinds: &'static [&'static str], errno: Errno, once: bool) -> Failure {
    Failure { kinds, errno, once }
}

const FAILURES: [Failure; 10] = [
    failure(&["fdatasync"], Errno::EIO, true),
    failure(&["fsync"], Errno::EIO, true),
    failure(&["pwrite"], Errno::EIO, true),
    failure(&["pwrite"], Errno::ENOSPC, true),
    failure(&["sync_file_range"], Errno::EIO, true),
    failure(&["fdatasync"], Errno::EIO, false),
    failure(&["fsync", "rename"], Errno::EIO, false),
    failure(&["pwrite", "write", "create", "mkdir"], Errno::ENOSPC, false),
    failure(&["pwrite"], Errno::EIO, false),
    failure(&DISK, Errno::EROFS, false),
];

struct Car {
    stage: Stage,
    /// Of the last bundle that was tried.
    version: u64,
}

impl Car {
    /// A new bundle, which touches documents and counters; whether it was taken.
    fn installs(&mut self) -> Result<bool> {
        self.version += 1;
        let fleet = &self.stage.scene.fleet;
        let bundle = fleet.sign_bundle("next", &fleet.bundle(self.version)?)?;
        let said = self.stage.agent.try_run(&["policy", "install", &bundle.display().to_string()])?;
        Ok(said.status.success())
    }

    fn suffers(&mut self, failure: &Failure) -> Result<()> {
        self.stage.agent.start()?;
        self.stage.stores(STORED_A_LIFE)?;
        let at = usize::try_from(self.stage.random.below(AMONG))? + 1;
        let fate =
            if failure.once { Fate::FailsOnce(at, failure.errno) } else { Fate::Fails(at, failure.errno) };
        let calls = Calls::of(self.stage.agent.id()?, &self.stage.agent.state(), failure.kinds, fate)?;
        let start = Instant::now();
        while calls.steps().len() < at {
            ensure!(start.elapsed() < LIMIT, "no such call is made");
            // In doubt it fails, and says so.
            self.installs()?;
        }
        if !failure.once {
            std::thread::sleep(BAD);
            self.stage.agent.status().context("no answer while the disk fails")?;
        }
        let steps = calls.let_go()?;
        let since = Instant::now();
        self.stage.recovers(since, BACK).with_context(|| format!("behind {:?}", steps.get(at - 1)))?;
        ensure!(self.installs()?, "no bundle is taken behind {:?}", steps.get(at - 1));
        ensure!(self.stage.agent.status()?["policy"] == self.version, "the bundle is not in force");
        ensure!(!self.stage.agent.log().contains("panicked"), "a panic");
        self.stage.kill()
    }
}

#[test]
fn invariant_08_calls_that_fail_lose_nothing_that_was_stored() -> Result<()> {
    let test = "faults_io";
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let Some(()) = tracing(test)? else { return Ok(()) };
    let mut car = Car { stage: Stage::new(test, |_, _| Ok(()))?, version: 1 };
    let rounds = rounds(LIVES);
    let mut bad = Vec::new();
    for _ in 0..rounds {
        for failure in &FAILURES {
            let Failure { kinds, errno, once } = failure;
            if let Err(error) = car.suffers(failure) {
                bad.push(format!("{kinds:?} {errno} once={once}: {error:#}"));
                // It may have ended by itself.
                let _ended = car.stage.kill();
            }
        }
    }
    car.stage.agent.start()?;
    ensure!(bad.is_empty(), "{bad:#?}");
    // Where there is no space, what was stored gives way by the rule of the queue, and is declared.
    end(car.stage, "disk: calls fail in the middle", rounds * FAILURES.len() as u64).map(|_| ())
}
