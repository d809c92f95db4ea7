//! `glovebox why` as a person and a script meet it: without a daemon, and asking one.

use super::made::{GRANT, WITHDRAW, car, glovebox, run};
use glovebox::control::{self, Handler, Request, Why};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

const SPEED: &str = "--config try.toml why CAN.can0.Motion.Speed";

fn told(folder: &Path, line: &str) -> (Option<i32>, String) {
    let output = run(folder, line);
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn why_says_no_before_yes_while_and_no_after_a_grant() {
    let car = car();
    let folder = car.path();
    let (code, words) = told(folder, SPEED);
    assert_eq!(code, Some(1), "{words}");
    for line in [
        "CAN.can0.Motion.Speed does not leave for acme for speed",
        "  yes  a policy is in force",
        "  no   the owner has agreed to this purpose",
        "       needs: the owner may agree: `glovebox consent grant --recipient acme --purpose speed`",
        "  -    the owner said yes to this signal",
    ] {
        assert!(words.lines().any(|told| told == line), "{line:?} is not in\n{words}");
    }
    glovebox(folder, GRANT);
    let (code, words) = told(folder, SPEED);
    assert_eq!(code, Some(0), "{words}");
    let first = "CAN.can0.Motion.Speed leaves for acme for speed: at most once in 1 s; rounded down to steps of 5 km/h";
    assert_eq!(words.lines().next(), Some(first));
    assert_eq!(words.matches("  yes  ").count(), words.lines().count() - 1, "{words}");
    assert_eq!(told(folder, &format!("{SPEED} --recipient acme")).0, Some(0));
    let (code, words) = told(folder, &format!("{SPEED} --recipient borg"));
    assert_eq!(code, Some(1));
    assert!(words.contains("no grant names it and no request asks for it"), "{words}");
    glovebox(folder, WITHDRAW);
    assert_eq!(told(folder, SPEED).0, Some(1));
    let (_, words) = told(folder, "--config try.toml consent list");
    assert!(words.contains("over   acme  speed  withdrawn on "), "{words}");
    assert!(words.contains("         - CAN.can0.Motion.Speed"), "{words}");
    // What nobody knows is no "no".
    let (code, words) = told(folder, "--config try.toml why CAN.can0.Motion.Sped");
    assert_eq!(code, Some(2), "{words}");
    assert!(words.starts_with("no signal CAN.can0.Motion.Sped is known here"), "{words}");
    assert!(words.ends_with("did you mean CAN.can0.Motion.Speed?\n"), "{words}");
}

#[test]
fn nobody_at_a_terminal_agrees_to_nothing() {
    let car = car();
    let folder = car.path();
    let grant = "--config try.toml consent grant --recipient acme --purpose speed --key owner.key";
    for (line, why) in [
        (grant.to_owned(), "a script agrees with `--yes`"),
        (format!("{grant} --yes --max-bytes-per-day 10"), "take at least 576"),
        ("--config try.toml owner add acme.pub --key owner.key".to_owned(), "a script agrees with `--yes`"),
    ] {
        let (code, words) = told(folder, &line);
        assert!(code == Some(1) && words.contains(why), "{line}: {words}");
    }
    let (_, words) = told(folder, "--config try.toml consent list");
    assert_eq!(words, "nothing was granted: nothing leaves\n");
}

#[test]
fn what_is_private_or_paused_in_the_car_is_said() {
    let car = car();
    let folder = car.path();
    for line in [
        "policy new bundle --device car-1 --policy-version 2 --recipient acme:Acme:DE:acme.pub:h.dsse --request r.dsse --category trips=CAN.* -o t.json",
        "policy sign t.json --type bundle --key signing.key --statement s.dsse -o t.dsse",
        "--config try.toml policy install t.dsse",
        GRANT,
    ] {
        glovebox(folder, line);
    }
    let but = "  but  nothing of it from inside a private place, nor while nobody knows where the car is\n";
    let asked = || told(folder, SPEED);
    assert!(!asked().1.contains("but"), "{}", asked().1);
    for (line, code, why) in [
        ("zone list", 0, "no place is private"),
        ("zone add 52,5163 13,3777", 2, "a point instead of the comma"),
        ("zone add 52.5163 13.3777", 0, "private from now on; 1 place is private"),
        ("zone add 52.5163 13.3777", 0, "it was private already"),
        ("pause 25h", 2, "`25h` is too long"),
        ("pause 15m", 0, "held back: everything, 15 min left"),
        ("pause 1m", 0, "it was held back for longer already, which stays: everything, 15 min left"),
        ("pause until-ended --recipient acme", 0, "held back: everything for acme, until somebody ends it"),
        (
            "resume",
            0,
            "still held back: everything for acme, until somebody ends it; `glovebox resume --recipient acme` ends it",
        ),
        ("resume --recipient acme", 0, "nothing is held back"),
        ("clock trust", 0, "the clock was believed already: nothing has changed"),
    ] {
        let (found, words) = told(folder, &format!("--config try.toml {line}"));
        assert!(found == Some(code) && words.contains(why), "{line}: {words}");
    }
    let (code, words) = asked();
    assert!(code == Some(0) && words.ends_with(but), "{words}");
    assert!(!words.contains("52."), "no place is told");
    glovebox(folder, "--config try.toml zone remove 52.5163 13.3777");
    assert!(!asked().1.contains("but"), "{}", asked().1);
}

#[test]
fn why_follows_the_databases_of_the_car() {
    let car = car();
    let folder = car.path();
    glovebox(folder, GRANT);
    let dbc = std::fs::read_to_string(folder.join("car.dbc")).unwrap();
    std::fs::write(folder.join("car.dbc"), dbc.replace("0|16@1+", "16|16@1+")).unwrap();
    let (code, words) = told(folder, &format!("{SPEED} --json"));
    assert_eq!(code, Some(1));
    let answer: Value = serde_json::from_str(&words).unwrap();
    let clauses = answer["purposes"][0]["clauses"].as_array().unwrap();
    let noes: Vec<&Value> = clauses.iter().filter(|clause| clause["holds"] == false).collect();
    assert_eq!(noes.len(), 1, "{words}");
    assert_eq!(noes[0]["id"], "extraction_changed");
    assert!(noes[0]["remedy"].as_str().unwrap().contains("databases"));
}

#[test]
fn consent_is_no_remedy_for_a_signal_that_the_car_has_not() {
    let car = car();
    let folder = car.path();
    let dbc = std::fs::read_to_string(folder.join("car.dbc")).unwrap();
    std::fs::write(folder.join("car.dbc"), dbc.replace("Speed :", "Pace :")).unwrap();
    let (code, words) = told(folder, SPEED);
    assert_eq!(code, Some(1), "{words}");
    for line in [
        "       needs: when all else holds: the owner may agree: `glovebox consent grant --recipient acme --purpose speed`",
        "  no   this car has the signal",
        "       needs: a DBC or mapping that has it: `glovebox dbc show`, `glovebox check`",
    ] {
        assert!(words.lines().any(|told| told == line), "{line:?} is not in\n{words}");
    }
}

#[test]
fn a_document_that_cannot_be_shown_is_exit_code_2_as_with_diff() {
    let car = car();
    let folder = car.path();
    std::fs::write(folder.join("rubbish"), "{}").unwrap();
    for line in ["policy show gone", "policy show rubbish", "policy diff gone s.json"] {
        assert_eq!(told(folder, line).0, Some(2), "{line}");
    }
    let (code, words) = told(folder, "policy show r.dsse");
    assert_eq!(code, Some(0));
    assert!(
        words.ends_with(
            "`glovebox policy verify r.dsse --authority KEY.pub` does, with the recipient's request key.\n"
        ),
        "{words}"
    );
    glovebox(folder, "policy verify r.dsse --authority acme.pub");
    assert!(told(folder, "policy show r.json").1.ends_with("Not signed yet: `glovebox policy sign` does.\n"));
}

#[test]
fn what_cannot_be_told_is_no_no() {
    let folder = tempfile::tempdir().unwrap();
    let line = "--config try.toml why Vehicle.Speed";
    assert_eq!(told(folder.path(), line).0, Some(2), "no configuration");
    assert_eq!(told(folder.path(), "why Vehicle.*").0, Some(2), "no signal");
    let car = car();
    std::fs::remove_file(car.path().join("car.dbc")).unwrap();
    let (code, words) = told(car.path(), line);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("car.dbc"), "{words}");
}

#[test]
fn the_answer_stands_though_nobody_reads_it_to_the_end() {
    let car = car();
    let mut other = std::fs::read_to_string(car.path().join("s.json")).unwrap();
    other = other.replace("\"serial\": 1", "\"serial\": 2");
    std::fs::write(car.path().join("other.json"), other).unwrap();
    for line in [SPEED, "policy diff s.json other.json"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_glovebox"));
        command.args(line.split_whitespace()).current_dir(car.path()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(1), "{line}");
    }
}

struct Answers(Why);

impl Handler for Answers {
    fn handle(&self, request: Request) -> Result<Value, String> {
        match request {
            Request::Why(order) if order.signal == self.0.signal => {
                serde_json::to_value(&self.0).map_err(|error| error.to_string())
            }
            _ => Err("asked otherwise".to_owned()),
        }
    }
}

#[test]
fn a_running_daemon_is_asked_instead_of_the_stores() {
    let car = car();
    // The stores say no: nothing is granted.
    assert_eq!(told(car.path(), SPEED).0, Some(1));
    let why = Why {
        signal: "CAN.can0.Motion.Speed".parse().unwrap(),
        leaves: true,
        purposes: Vec::new(),
        known: true,
        near: Vec::new(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let socket = control::listen(&car.path().join("c.sock")).unwrap();
    runtime.spawn(async move {
        let socket = tokio::net::UnixListener::from_std(socket).unwrap();
        control::serve(socket, Arc::new(Answers(why))).await;
    });
    assert_eq!(told(car.path(), SPEED).0, Some(0));
    let (code, words) = told(car.path(), "--config try.toml why Vehicle.Other");
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("the daemon cannot be asked: asked otherwise"), "{words}");
}
