//! An erasing and an enrolment that are killed before each of their steps: the car is whole or erased, the key an owner's
//! or not, and whatever comes next works.

use anyhow::{Context as _, Result, ensure};
use glovebox_tests::agent::binary;
use glovebox_tests::calls::{Calls, DISK, Fate, tracing};
use glovebox_tests::need;
use glovebox_tests::process::copy_folder;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const CONFIG: &str = "[[bus.interface]]\nname = \"can0\"\ninterface = \"can0\"\n[[decode.database]]\nbus = \"can0\"\n\
                      dbc = [\"car.dbc\"]\n[consent]\ndevice = \"car-1\"\n[uplink]\nbroker = \"b.example:8883\"\n\
                      ca = \"x\"\ncert = \"x\"\nkey = \"x\"\n[health]\nstate = \"state\"\ncontrol_socket = \"c.sock\"\n";
const DBC: &str = "VERSION \"\"\n\nBS_:\n\nBU_: ECU\n\nBO_ 291 Motion: 8 ECU\n \
                   SG_ Speed : 0|16@1+ (0.01,0) [0|300] \"km/h\" ECU\n";
const PAPERS: [&str; 17] = [
    "keys new ed25519 --out root",
    "keys new ed25519 --out signing",
    "keys new ed25519 --out owner",
    "keys new ed25519 --out phone",
    "keys new ed25519 --out acme",
    "keys new x25519 --out hpke",
    "policy new signing-key --key signing.pub -o s.json",
    "policy sign s.json --type signing-key --key root.key -o s.dsse",
    "policy new hpke-key --recipient acme --key hpke.pub -o h.json",
    "policy sign h.json --type hpke-key --key acme.key -o h.dsse",
    "policy new request --recipient acme --purpose speed --signal CAN.can0.Motion.Speed:rate=1000 -o r.json",
    "policy sign r.json --type request --key acme.key -o r.dsse",
    "policy new bundle --device car-1 --recipient acme:Acme:DE:acme.pub:h.dsse --request r.dsse --category driving=CAN.* -o b.json",
    "policy sign b.json --type bundle --key signing.key --statement s.dsse -o b.dsse",
    "provision --authority root.pub --owner owner.pub",
    "policy install b.dsse",
    "consent grant --yes --recipient acme --purpose speed --key owner.key",
];
const ENROL: &str = "owner add --yes phone.pub --key owner.key";
/// Neither has more steps, or this test would not come to an end.
const STEPS_MAX: usize = 400;

/// A car with a grant, and its state as it was before the act.
struct Car {
    folder: TempDir,
    prepared: PathBuf,
}

impl Car {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("try.toml"), CONFIG)?;
        std::fs::write(folder.path().join("car.dbc"), DBC)?;
        let prepared = folder.path().join("prepared");
        let car = Self { folder, prepared };
        for line in PAPERS {
            car.does(line)?;
        }
        copy_folder(&car.state(), &car.prepared)?;
        Ok(car)
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn run(&self, line: &str) -> Result<Output> {
        let mut command = Command::new(binary("glovebox")?);
        command.args(["--config", "try.toml"]).args(line.split_whitespace()).current_dir(self.folder.path());
        Ok(command.stdin(Stdio::null()).output()?)
    }

    fn does(&self, line: &str) -> Result<String> {
        let output = self.run(line)?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn list(&self, of: &str) -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&self.does(&format!("{of} list --json"))?)?)
    }

    /// Runs a command whose n-th step is its last; its steps, and whether it said that it had done it.
    fn act(&self, line: &str, fate: Fate) -> Result<(Vec<String>, bool)> {
        copy_folder(&self.prepared, &self.state())?;
        let glovebox = binary("glovebox")?;
        // Held before its first step: it begins when a line comes.
        let begin = format!("read begin && exec '{}' --config try.toml {line}", glovebox.display());
        let mut child = Command::new("sh")
            .args(["-c", &begin])
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let calls = Calls::of(child.id(), &self.state(), &DISK, fate)?;
        child.stdin.take().context("no standard input")?.write_all(b"\n")?;
        let steps = calls.ended()?;
        Ok((steps, child.wait()?.success()))
    }
}

/// Each cut of `line` once, until one comes to its end; how many there were.
fn each_cut(car: &Car, line: &str, holds: impl Fn(&Car, bool) -> Result<()>) -> Result<usize> {
    for at in 1..STEPS_MAX {
        let (steps, done) = car.act(line, Fate::Killed(at))?;
        let killed = steps.len() >= at;
        ensure!(done != killed, "step {at} of {line}: {done}, {steps:?}");
        let place = || format!("{line}, cut at step {at}: {:?}", steps.last());
        holds(car, done).with_context(place)?;
        if !killed {
            return Ok(at - 1);
        }
    }
    anyhow::bail!("{line} has more than {STEPS_MAX} steps")
}

fn is_there(path: &Path) -> bool {
    path.exists()
}

#[test]
fn an_erasing_that_is_cut_leaves_the_car_whole_or_erased() -> Result<()> {
    let test = "an_erasing_that_is_cut_leaves_the_car_whole_or_erased";
    let Some(()) = tracing(test)? else { return Ok(()) };
    let car = Car::new()?;
    let (before, owners) = (car.list("consent")?, car.list("owner")?);
    let cuts = each_cut(&car, "erase --yes", |car, done| {
        let whole = is_there(&car.state().join("keys/owners"));
        ensure!(!(done && whole), "said to be erased");
        if whole {
            ensure!(car.list("consent")? == before && car.list("owner")? == owners, "not as it was");
            return Ok(());
        }
        ensure!(car.list("owner")?.is_empty(), "an erased car has an owner");
        ensure!(
            car.list("consent")?.iter().all(|consent| consent["live"] == false),
            "it still lets data leave"
        );
        // The next owner finds a new car, whatever was left of the old one.
        car.does("provision --authority root.pub --owner phone.pub")?;
        ensure!(car.list("consent")?.is_empty(), "the next owner sees the last one's consent");
        car.does("policy install b.dsse")?;
        car.does("consent grant --yes --recipient acme --purpose speed --key phone.key")?;
        ensure!(!is_there(&car.state().join("keys.erased")), "something is left");
        Ok(())
    })?;
    ensure!(cuts >= 20, "only {cuts} steps");
    need::say(&format!("an erasing, cut at each of its {cuts} steps"));
    Ok(())
}

#[test]
fn an_enrolment_that_is_cut_is_whole_or_never_was() -> Result<()> {
    let test = "an_enrolment_that_is_cut_is_whole_or_never_was";
    let Some(()) = tracing(test)? else { return Ok(()) };
    let car = Car::new()?;
    let cuts = each_cut(&car, ENROL, |car, done| {
        let owners = car.list("owner")?.len();
        ensure!(owners == 2 || (owners == 1 && !done), "{owners} owners, said to be done: {done}");
        if owners == 1 {
            car.does(ENROL)?;
        }
        car.does("consent grant --yes --recipient acme --purpose speed --key phone.key")?;
        Ok(())
    })?;
    ensure!(cuts >= 5, "only {cuts} steps");
    need::say(&format!("an enrolment, cut at each of its {cuts} steps"));
    Ok(())
}
