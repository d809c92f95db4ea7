//! Owner keys and the PIN as a person, a page or a phone meets them: the real binary, its terminal, the running daemon.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PIN: &str = "274915";
const CONFIG: &str = "[bus]\nreplay = \"drive.log\"\n[[bus.interface]]\nname = \"can0\"\ninterface = \"can0\"\n\
                      [[decode.database]]\nbus = \"can0\"\ndbc = [\"car.dbc\"]\n[consent]\ndevice = \"car-1\"\n\
                      [uplink]\nbroker = \"localhost:1\"\nca = \"ca.crt\"\ncert = \"car.crt\"\nkey = \"car.key\"\n\
                      [health]\nstate = \"state\"\ncontrol_socket = \"c.sock\"\n";
const DBC: &str = "VERSION \"\"\n\nBS_:\n\nBU_: ECU\n\nBO_ 291 Motion: 8 ECU\n \
                   SG_ Speed : 0|16@1+ (0.01,0) [0|300] \"km/h\" ECU\n";
const PAPERS: [&str; 13] = [
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
];
const SIGN: &str = "policy sign b.json --type bundle --key signing.key --statement s.dsse -o b.dsse";
const GRANT: &str = "consent grant --recipient acme --purpose speed --yes";

struct Car {
    folder: tempfile::TempDir,
}

impl Car {
    /// Keys and a signed bundle; no owner yet.
    fn new() -> Self {
        let car = Self { folder: tempfile::tempdir().unwrap() };
        let put = |name: &str, text: &str| std::fs::write(car.path().join(name), text).unwrap();
        put("glovebox.toml", CONFIG);
        put("car.dbc", DBC);
        put("drive.log", "(1700000000.000000) can0 123#0011223344556677\n");
        for name in ["ca.crt", "car.crt", "car.key"] {
            std::fs::copy(Path::new("tests/corpus/tls").join(name), car.path().join(name)).unwrap();
        }
        PAPERS.iter().for_each(|line| drop(car.does(line, "")));
        car.does(SIGN, "");
        car
    }

    /// With `owner.key` as the first owner and the bundle in force.
    fn provisioned() -> Self {
        let car = Self::new();
        car.does("provision --authority root.pub --owner owner.pub", "");
        car.does("policy install b.dsse", "");
        car
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glovebox"));
        command.args(["--config", "glovebox.toml"]).args(line.split_whitespace()).current_dir(self.path());
        command
            .env_remove("GLOVEBOX_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, line: &str, input: &str) -> Output {
        let mut child = self.command(line).spawn().unwrap();
        // Who asks nothing may be gone by now.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn does(&self, line: &str, input: &str) -> String {
        let output = self.run(line, input);
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, line: &str, input: &str) -> String {
        let output = self.run(line, input);
        assert!(!output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// What it prints, whatever its exit code.
    fn says(&self, line: &str) -> String {
        String::from_utf8(self.run(line, "").stdout).unwrap()
    }

    fn owners(&self) -> usize {
        let list: Value = serde_json::from_str(&self.does("owner list --json", "")).unwrap();
        list.as_array().unwrap().len()
    }

    fn is_granted(&self) -> bool {
        let list: Value = serde_json::from_str(&self.does("consent list --json", "")).unwrap();
        list.as_array().unwrap().iter().any(|consent| consent["live"] == true)
    }
}

#[expect(clippy::print_stdout, reason = "tests/run counts what is skipped; figures belong to the proof")]
fn say(line: &str) {
    println!("{line}");
}

/// A daemon, ended with the test.
struct Daemon(Child);

impl Daemon {
    fn start(car: &Car) -> Self {
        let child = car.command("run").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let daemon = Self(child);
        let begun = Instant::now();
        while !car.run("status", "").status.success() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the daemon does not come");
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }

    /// Highest resident memory so far, in KiB.
    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_owner_with_nothing_but_a_pin_grants() {
    let car = Car::new();
    let trivial = car.fails("provision --authority root.pub --pin", "123456\n");
    assert!(trivial.contains("tried first") && !trivial.contains("123456"), "{trivial}");
    car.does("provision --authority root.pub --pin", &format!("{PIN}\n"));
    car.does("policy install b.dsse", "");
    assert!(car.does("owner list", "").contains("opened by the PIN"));
    assert!(car.says("check").contains("a PIN is set: it opens the owner key"), "check tells");
    let again = car.fails("provision --authority root.pub --pin", "538246\n");
    assert!(again.contains("is enrolled already"), "{again}");
    for (input, expected) in [("", "no PIN came"), ("000000\n", "wrong PIN; 99 tries are left")] {
        let error = car.fails(&format!("{GRANT} --pin"), input);
        assert!(error.contains(expected), "{error}");
    }
    assert!(!car.is_granted());
    car.does(&format!("{GRANT} --pin"), &format!("{PIN}\n"));
    assert!(car.is_granted());
    // The PIN that it enrols by is the one that it goes with.
    car.does("owner add --yes phone.pub --pin", &format!("{PIN}\n"));
    car.does("owner pin", &format!("{PIN}\n538246\n"));
    assert!(car.fails("owner add --yes owner.pub --pin", &format!("{PIN}\n")).contains("wrong PIN"));
    let name = car.does("owner list", "");
    let name = name.split_whitespace().next().unwrap();
    assert!(
        car.does(&format!("owner remove --yes {name} --key phone.key"), "")
            .contains("the PIN went with its key")
    );
    assert!(!car.path().join("state/keys/pin").exists());
    assert!(car.fails(&format!("{GRANT} --pin"), "538246\n").contains("no PIN is set"));
    assert!(car.is_granted(), "what it gave stays");
}

#[test]
fn a_pin_is_set_by_an_enrolled_key_and_by_a_signature_made_elsewhere() {
    let car = Car::provisioned();
    assert!(car.fails("owner pin", &format!("{PIN}\n")).contains("no PIN is set"));
    car.does("owner pin --key owner.key", &format!("{PIN}\n"));
    assert!(car.fails("owner pin --key owner.key", "538246\n").contains("a PIN is set"));
    car.does(&format!("{GRANT} --pin"), &format!("{PIN}\n"));
    let other = Car::provisioned();
    other.does("owner pin --draft e.json", &format!("{PIN}\n"));
    assert!(
        other.fails(&format!("{GRANT} --pin"), &format!("{PIN}\n")).contains("not taken"),
        "not enrolled yet"
    );
    assert!(other.says("check").contains("the key that it opens is not enrolled"));
    other.does("policy sign e.json --type enrolment --key owner.key -o e.dsse", "");
    other.does("policy install e.dsse", "");
    other.does(&format!("{GRANT} --pin"), &format!("{PIN}\n"));
    assert!(other.is_granted());
}

/// Arguments and environment are for everybody to read.
#[test]
fn no_argument_holds_a_pin() {
    let car = Car::provisioned();
    car.does("owner pin --key owner.key", &format!("{PIN}\n"));
    for line in [format!("{GRANT} --pin {PIN}"), format!("{GRANT} --pin={PIN}"), format!("owner pin {PIN}")] {
        assert_eq!(car.run(&line, "").status.code(), Some(2), "{line}");
    }
    let mut from_environment = car.command(&format!("{GRANT} --pin"));
    for name in ["PIN", "GLOVEBOX_PIN"] {
        from_environment.env(name, PIN);
    }
    assert!(!from_environment.stdin(Stdio::null()).output().unwrap().status.success());
    assert!(!car.is_granted());
}

/// A kill in the middle of a try does not give the try back.
#[test]
fn killed_tries_count() {
    let car = Car::provisioned();
    car.does("owner pin --key owner.key", &format!("{PIN}\n"));
    let count = car.path().join("state/keys/pin.attempts");
    let kill_a_try = || {
        let before = std::fs::read(&count).unwrap();
        let mut child = car.command(&format!("{GRANT} --pin")).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{PIN}\n").as_bytes()).unwrap();
        let begun = Instant::now();
        // The right PIN, killed as soon as its try is counted: long before Argon2 has come to an end.
        while std::fs::read(&count).unwrap_or_default() == before {
            assert!(begun.elapsed() < Duration::from_secs(30) && child.try_wait().unwrap().is_none());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!car.is_granted());
    };
    kill_a_try();
    let error = car.fails(&format!("{GRANT} --pin"), "000000\n");
    assert!(error.contains("98 tries are left"), "one was killed, one was wrong: {error}");
    kill_a_try();
    assert!(car.fails(&format!("{GRANT} --pin"), &format!("{PIN}\n")).contains("the next try is in"));
}

#[test]
fn a_terminal_does_not_show_what_is_typed() {
    let car = Car::provisioned();
    let glovebox = env!("CARGO_BIN_EXE_glovebox");
    let line = format!("{glovebox} --config glovebox.toml owner pin --key owner.key");
    let script = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(car.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut script) = script else {
        return say(
            "skipped: a_terminal_does_not_show_what_is_typed: there is no `script` to make a terminal",
        );
    };
    let (mut keyboard, mut screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let mut shown = String::new();
    let mut until = |mark: &str| {
        let mut byte = [0];
        while !shown.ends_with(mark) && screen.read(&mut byte).unwrap() == 1 {
            shown.push(char::from(byte[0]));
        }
        shown.clone()
    };
    until("New PIN: ");
    keyboard.write_all(format!("{PIN}\n").as_bytes()).unwrap();
    until("The same again: ");
    keyboard.write_all(format!("{PIN}\n").as_bytes()).unwrap();
    let shown = until("more leave");
    assert!(script.wait().unwrap().success(), "{shown}");
    assert!(!shown.contains(PIN), "{shown}");
    assert_eq!(car.owners(), 2);
}

/// Everything beside a running daemon, which learns of it at once and does not grow by it.
#[test]
fn a_running_daemon_takes_owners_and_stays_small() {
    let car = Car::provisioned();
    let daemon = Daemon::start(&car);
    let before = daemon.peak_kib();
    assert!(car.fails(&format!("{GRANT} --key phone.key"), "").contains("owner key"));
    car.does("owner pin --key owner.key", &format!("{PIN}\n"));
    car.does("owner add --yes phone.pub --pin", &format!("{PIN}\n"));
    car.does(&format!("{GRANT} --key phone.key"), "");
    assert!(car.is_granted());
    car.does("consent withdraw --recipient acme", "");
    car.does(&format!("{GRANT} --pin"), &format!("{PIN}\n"));
    car.does("owner remove --yes phone.pub --pin", &format!("{PIN}\n"));
    assert!(car.fails(&format!("{GRANT} --key phone.key"), "").contains("owner key"));
    assert_eq!(car.owners(), 2);
    let error = car.fails("erase --yes", "");
    assert!(error.contains("in use") && error.contains("`systemctl stop glovebox`"), "{error}");
    assert!(car.is_granted(), "and nothing was touched");
    let grown = daemon.peak_kib() - before;
    assert!(grown < 4 * 1024, "{grown} KiB more: Argon2's 64 MiB belong to the commands");
    say(&format!("peak of the daemon: {before} KiB before, {grown} KiB more after"));
    drop(daemon);
    // The same after a restart.
    let _daemon = Daemon::start(&car);
    assert_eq!(car.owners(), 2);
    assert!(car.is_granted());
}

#[test]
fn an_erased_car_begins_anew_without_the_lost_pin() {
    let car = Car::provisioned();
    car.does("owner pin --key owner.key", &format!("{PIN}\n"));
    car.does(&format!("{GRANT} --pin"), &format!("{PIN}\n"));
    assert!(car.fails("erase", "y\n").contains("`--yes`"), "a script must say it");
    assert!(car.is_granted());
    car.does("erase --yes", "");
    assert_eq!(std::fs::read_dir(car.path().join("state")).unwrap().count(), 0);
    assert_eq!(car.owners(), 0);
    car.does("provision --authority root.pub --pin", "538246\n");
    car.does("policy install b.dsse", "");
    assert!(!car.is_granted());
    car.does(&format!("{GRANT} --pin"), "538246\n");
}
