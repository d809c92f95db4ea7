//! The command line as a person or a script meets it: the real binary, its output and exit codes.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use glovebox::control::{self, Handler, Request};
use glovebox::health::{
    BusStatus, Counter, Counters, FlowStatus, LinkState, LinkStatus, NoticeStatus, QueueStatus, Status,
};
use glovebox::key_store::KeyStore;
use glovebox_core::names::{
    BusName, DeviceId, PolicyVersion, PurposeId, RecipientId, VerifyingKey, WallTime,
};

fn glovebox(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_glovebox")).args(arguments).env_remove("GLOVEBOX_LOG").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const DBC: &str = "VERSION \"\"\n\nBS_:\n\nBU_: ECU\n\nBO_ 291 Motion: 8 ECU\n \
                   SG_ Speed : 0|16@1+ (0.01,0) [0|300] \"km/h\" ECU\n";

/// A folder with a configuration that `check` finds fine.
fn fine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let mode = |name: &str, mode| {
        let rights = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path().join(name), rights).unwrap();
    };
    put("drive.log", "(1700000000.000000) can0 123#0011223344556677\n");
    for name in ["ca.crt", "car.crt", "car.key"] {
        std::fs::copy(Path::new("tests/corpus/tls").join(name), folder.path().join(name)).unwrap();
    }
    put("car.dbc", DBC);
    std::fs::create_dir(folder.path().join("state")).unwrap();
    mode("state", 0o700);
    let public = |seed| VerifyingKey(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes());
    let keys = KeyStore::open(&folder.path().join("state/keys")).unwrap();
    keys.provision(&public(1), &public(2)).unwrap();
    mode("car.key", 0o600);
    put(
        "glovebox.toml",
        "[bus]\nreplay = \"drive.log\"\n[[bus.interface]]\nname = \"can0\"\ninterface = \"can0\"\n\
         [[decode.database]]\nbus = \"can0\"\ndbc = [\"car.dbc\"]\n[consent]\ndevice = \"car-1\"\n\
         [uplink]\nbroker = \"broker.example:8883\"\nca = \"ca.crt\"\ncert = \"car.crt\"\nkey = \"car.key\"\n\
         [health]\nstate = \"state\"\ncontrol_socket = \"control.sock\"\n",
    );
    folder
}

fn check(folder: &Path, more: &[&str]) -> Output {
    let config = folder.join("glovebox.toml");
    glovebox(&[&["--config", config.to_str().unwrap(), "check"], more].concat())
}

#[test]
fn check_says_fine_to_look_at_and_unusable_by_its_exit_code() {
    let folder = fine();
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let none = "note  consent  no policy is in force, so nothing leaves";
    assert!(stdout(&output).lines().any(|line| line == none), "{}", stdout(&output));
    let key = folder.path().join("car.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = check(folder.path(), &[]);
    assert!(output.status.code() > Some(0) && stdout(&output).contains("car.key"), "{}", stdout(&output));
    std::fs::remove_file(key).unwrap();
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("glovebox.toml:15:7: `uplink.key` names"), "{}", stdout(&output));
}

#[test]
fn check_distrusts_a_state_folder_that_others_can_write() {
    let folder = fine();
    let rights = |mode| {
        let state = folder.path().join("state");
        std::fs::set_permissions(state, std::fs::Permissions::from_mode(mode)).unwrap();
        check(folder.path(), &[]).status.code()
    };
    assert_eq!(rights(0o755), Some(1));
    assert_eq!(rights(0o770), Some(2));
    assert_eq!(rights(0o700), Some(0));
}

#[test]
fn check_reads_the_databases_and_names_the_place_of_a_fault() {
    let folder = fine();
    let put = |text: &str| std::fs::write(folder.path().join("car.dbc"), text).unwrap();
    assert!(stdout(&check(folder.path(), &[])).contains("1 signals can be decoded"));
    put(&DBC.replace("0|16@1+", "60|16@1+"));
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("car.dbc:8:"), "{}", stdout(&output));
    put(&DBC.replace("BO_ 291", "BO_ "));
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stdout(&output).contains("car.dbc:"), "{}", stdout(&output));
    put("");
    assert_eq!(check(folder.path(), &[]).status.code(), Some(2));
}

#[test]
fn check_reads_the_log_and_misses_an_interface() {
    let folder = fine();
    let put = |text: &str| std::fs::write(folder.path().join("drive.log"), text).unwrap();
    put("(1700000000.000000) can7 123#0011223344556677\nnonsense\n");
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["no frame of `can0`", "the log has: can7", "1 of the first 2 lines are no frames"] {
        assert!(stdout(&output).contains(part), "`{part}` is not in\n{}", stdout(&output));
    }
    put("nonsense\n");
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stdout(&output).contains("drive.log:1"), "{}", stdout(&output));
}

#[test]
fn decode_of_a_file_that_is_not_there_is_unusable() {
    let output = glovebox(&["decode", "--dbc", "nowhere.dbc", "nowhere.log"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("nowhere.dbc"), "{}", stderr(&output));
}

#[test]
fn check_says_that_nobody_is_enrolled_and_that_a_key_is_lost() {
    let folder = fine();
    let key = folder.path().join("state/keys/record.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = check(folder.path(), &[]);
    let said = stdout(&output);
    assert!(output.status.code() > Some(0) && said.contains("run `chmod 600"), "{said}");
    assert!(!said.contains("glovebox erase"), "a mode is no reason to end all grants: {said}");
    std::fs::remove_file(&key).unwrap();
    let output = check(folder.path(), &[]);
    let said = stdout(&output);
    assert!(
        output.status.code() > Some(0) && said.contains("record.key is gone, though an owner is enrolled"),
        "{said}"
    );
    std::fs::remove_dir_all(folder.path().join("state/keys")).unwrap();
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2), "the agent does not start");
    assert!(stdout(&output).contains("no owner is enrolled"), "{}", stdout(&output));
}

/// Only root can give a file away, so elsewhere there is nothing to see.
#[test]
fn check_finds_what_another_user_left_in_the_state_folder() {
    let folder = fine();
    let key = folder.path().join("state/keys/root.pub");
    if std::os::unix::fs::chown(&key, Some(12_345), None).is_ok() {
        let output = check(folder.path(), &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stdout(&output).contains("root.pub belongs to another user"), "{}", stdout(&output));
    }
}

/// A daemon that says its status, and of one grant that it waits.
struct Says(Status);

impl Handler for Says {
    fn handle(&self, request: Request) -> Result<serde_json::Value, String> {
        match request {
            Request::Status {} => serde_json::to_value(&self.0).map_err(|error| error.to_string()),
            Request::Consents {} => Ok(serde_json::json!({ "consents": [{
                "recipient": "borg", "name": "Borg", "purpose": "all", "record": "", "state": "given", "live": true,
                "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z", "signals": [],
                "waits": { "why": "the request is gone", "remedy": "agree anew" },
            }] })),
            other => Err(format!("{other:?}")),
        }
    }
}

fn a_status() -> Status {
    let counters = Counters::default();
    counters.add(Counter::FramesRead, 123_456);
    let id = |name| RecipientId::new(name).unwrap();
    let flow = |recipient, held| FlowStatus {
        recipient: id(recipient),
        purpose: PurposeId::new("tyre-care").unwrap(),
        held,
        queued_batches: 3,
        queued_bytes: 2_048,
    };
    Status {
        version: "9.8.7".to_owned(),
        device: DeviceId::new("car-1").unwrap(),
        up_s: 3_725,
        policy: Some(PolicyVersion(7)),
        held: None,
        private_places: Some(2),
        held_back: Vec::new(),
        link: LinkStatus {
            broker: "broker.example:8883".to_owned(),
            brokers: vec!["first.example:8883".to_owned(), "broker.example:8883".to_owned()],
            protocol: "5".to_owned(),
            state: LinkState::Waiting,
            last_error: Some("certificate expired".to_owned()),
            certificate_until: Some("2020-03-01T00:00:00Z".to_owned()),
            in_flight: 2,
        },
        buses: vec![BusStatus {
            name: BusName::new("body").unwrap(),
            interface: "can1".to_owned(),
            state: "down".to_owned(),
            controller: "bus off".to_owned(),
        }],
        flows: vec![flow("acme", None), flow("other", Some("policy expired".to_owned()))],
        queue: QueueStatus { batches: 6, bytes: 4_096, cap_bytes: 64 * 1_048_576, notices: Vec::new() },
        notices: vec![NoticeStatus {
            recipient: RecipientId::new("gone").unwrap(),
            since: WallTime(1_800_000_000_000_000),
            until: WallTime(1_831_536_000_000_000),
            state: "waits for a network".to_owned(),
        }],
        counters: counters.snapshot(),
    }
}

#[test]
fn status_shows_what_the_daemon_says_as_a_table_and_as_json() {
    let folder = fine();
    let listener = control::listen(&folder.path().join("control.sock")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entered = runtime.enter();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    runtime.spawn(control::serve(listener, Arc::new(Says(a_status()))));
    drop(entered);
    let config = folder.path().join("glovebox.toml");
    let output = glovebox(&["status", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let shown = stdout(&output);
    for part in [
        "glovebox 9.8.7, car-1, up 1 h 2 min",
        "version 7",
        "broker.example:8883 (2 of 2): waiting for the next attempt, MQTT 5, 2 in flight (certificate expired)",
        "certificate ended at 2020-03-01T00:00:00Z: renew it",
        "body on can1: down, bus off",
        "6 batches, 4.0 KiB of 64.0 MiB",
        "places   2 are private: from there nothing of places and trips leaves",
        "acme for tyre-care: flows, 3 queued, 2.0 KiB",
        "other for tyre-care: waits: policy expired",
        "flow     borg for all: nothing leaves: the request is gone; needs: agree anew",
        "frames read                  123456",
    ] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "no colours into a pipe");
    let output = glovebox(&["status", "--json", "--config", config.to_str().unwrap()]);
    let status: Status = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status, a_status());
}

#[test]
fn status_without_a_daemon_says_how_to_start_it() {
    let folder = fine();
    let config = folder.path().join("glovebox.toml");
    let output = glovebox(&["status", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no daemon listens on"), "{}", stderr(&output));
    let output = glovebox(&["status", "--config", "tests/corpus/config/many.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("many.toml:9:7:"), "{}", stderr(&output));
}

/// [`fine`] with live buses.
fn live() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = fine();
    let config = folder.path().join("glovebox.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("replay = \"drive.log\"\n", "");
    std::fs::write(&config, text).unwrap();
    (folder, config)
}

#[test]
fn check_without_a_replay_looks_for_the_interfaces() {
    let (folder, _) = live();
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("there is no interface can0"), "{}", stdout(&output));
}

#[test]
fn a_live_bus_has_no_end_to_wait_for() {
    let (_folder, config) = live();
    let output = glovebox(&["run", "--until-sent", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--until-sent ends with a recorded log"), "{}", stderr(&output));
}

/// `LoadCredential=` leaves files of mode 0400 in a folder that only the service knows.
#[test]
fn check_takes_credentials_from_systemd_and_says_where_they_come_from_if_not() {
    let folder = fine();
    let credentials = folder.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    for (file, name) in [("ca.crt", "ca"), ("car.crt", "cert"), ("car.key", "key")] {
        std::fs::rename(folder.path().join(file), credentials.join(name)).unwrap();
        let rights = std::fs::Permissions::from_mode(0o400);
        std::fs::set_permissions(credentials.join(name), rights).unwrap();
    }
    let config = folder.path().join("glovebox.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text
        .replace("\"ca.crt\"", "\"credential:ca\"")
        .replace("\"car.crt\"", "\"credential:cert\"")
        .replace("\"car.key\"", "\"credential:key\"");
    std::fs::write(&config, text).unwrap();
    let run = |command: &str, credentials: Option<&Path>| {
        let mut glovebox = Command::new(env!("CARGO_BIN_EXE_glovebox"));
        glovebox.args(["--config", config.to_str().unwrap(), command]).env_remove("CREDENTIALS_DIRECTORY");
        credentials.map(|folder| glovebox.env("CREDENTIALS_DIRECTORY", folder));
        glovebox.output().unwrap()
    };
    let output = run("check", Some(&credentials));
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains("fit together and are in date, the certificate until 20"));
    let output = run("check", None);
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("a unit with `LoadCredential=key:/PATH`"), "{}", stdout(&output));
    // Another command needs none of them.
    let output = run("status", None);
    assert!(stderr(&output).contains("no daemon listens"), "{}", stderr(&output));
    std::fs::remove_file(credentials.join("key")).unwrap();
    let output = run("check", Some(&credentials));
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("credentials/key, which cannot be read"), "{}", stdout(&output));
}

#[test]
fn check_speaks_json_to_scripts() {
    let output = check(fine().path(), &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let (notes, rest): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding["level"] == "note");
    assert!(rest.len() >= 3 && rest.iter().all(|finding| finding["level"] == "ok"), "{json}");
    assert_eq!(notes.len(), 1, "nothing is in force: {json}");
    let output = glovebox(&["check", "--json", "--config", "tests/corpus/config/many.toml"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 9);
    assert_eq!(json["findings"][0]["level"], "fail");
    assert!(json["findings"].as_array().unwrap().iter().all(|finding| finding["mend"].is_string()));
}

#[test]
fn unusable_arguments_are_exit_code_2_and_say_what_was_meant() {
    let output = glovebox(&["chek"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("check"), "{}", stderr(&output));
    let output = glovebox(&["check", "--log-filter", "uplnk=debug"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`uplnk` is no stage"), "{}", stderr(&output));
}

#[test]
fn help_teaches_examples_and_exit_codes() {
    let help = stdout(&glovebox(&["--help"]));
    for part in ["Examples:", "Exit codes:", "NO_COLOR", "GLOVEBOX_LOG", "glovebox.d"] {
        assert!(help.contains(part), "{part} is not in\n{help}");
    }
    assert!(stdout(&glovebox(&["--version"])).starts_with("glovebox "));
}

#[test]
fn completions_and_man_pages_cover_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let output = glovebox(&["man", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let script = stdout(&glovebox(&["completions", "bash"]));
    let help = stdout(&glovebox(&["--help"]));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    // What a line begins with; the rest of a long description stands further in.
    let begins = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let names: Vec<&str> =
        commands.filter(begins).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        assert!(folder.path().join(format!("glovebox-{name}.1")).is_file(), "no man page of {name}");
        assert!(script.contains(name), "no completion of {name}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_glovebox"));
    let output = command.args(["completions", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn commands_on_keys_and_consent_find_state_and_databases_by_the_configuration() {
    let folder = fine();
    let config = folder.path().join("glovebox.toml");
    let run = |words: &str| {
        let words = words.replace('@', &format!("{}/", folder.path().display()));
        let words: Vec<&str> = words.split(' ').collect();
        glovebox(&[&["--config", config.to_str().unwrap()], &*words].concat())
    };
    std::fs::remove_dir_all(folder.path().join("state/keys")).unwrap();
    for name in ["root", "owner"] {
        let output = run(&format!("keys new ed25519 --out @{name}"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let provision = "provision --authority @root.pub --owner @owner.pub";
    assert_eq!(run(provision).status.code(), Some(0));
    let again = run(provision);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("enrolled already"), "{}", stderr(&again));
    let list = run("consent list --json");
    assert_eq!(list.status.code(), Some(0), "{}", stderr(&list));
    serde_json::from_slice::<serde_json::Value>(&list.stdout).unwrap();
    std::fs::write(folder.path().join("car.dbc"), "no database").unwrap();
    let list = run("consent list");
    assert_eq!(list.status.code(), Some(1));
    assert!(stderr(&list).contains("car.dbc"), "{}", stderr(&list));
    std::fs::write(&config, "[consent]\ndevice = 1\n").unwrap();
    let list = run("consent list");
    assert_eq!(list.status.code(), Some(2));
    assert!(stderr(&list).contains("glovebox.toml:2:10: `consent.device`"), "{}", stderr(&list));
}
