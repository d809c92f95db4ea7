//! The command line as a person or a script meets it: the real binary, its output and exit codes.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

fn glovebox(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_glovebox")).args(arguments).env_remove("GLOVEBOX_LOG").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder with a configuration that `check` finds fine.
fn fine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let mode = |name: &str, mode| {
        let rights = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path().join(name), rights).unwrap();
    };
    for name in ["drive.log", "car.dbc", "ca.crt", "car.crt", "car.key"] {
        put(name, "");
    }
    std::fs::create_dir(folder.path().join("state")).unwrap();
    mode("state", 0o700);
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
    let key = folder.path().join("car.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("chmod 600"), "{}", stdout(&output));
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
fn check_without_a_replay_says_that_this_version_cannot_read_interfaces() {
    let folder = fine();
    let config = folder.path().join("glovebox.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("replay = \"drive.log\"\n", "");
    std::fs::write(&config, text).unwrap();
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("no `bus.replay`"), "{}", stdout(&output));
}

#[test]
fn check_speaks_json_to_scripts() {
    let output = check(fine().path(), &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = json["findings"].as_array().unwrap();
    assert!(findings.len() >= 3 && findings.iter().all(|finding| finding["level"] == "ok"), "{json}");
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
    let output = glovebox(&["check", "--log", "uplnk=debug"]);
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
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
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
