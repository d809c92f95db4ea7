//! The command, as people and scripts see it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use glovebox_proto::v1;
use prost::Message as _;
use tempfile::TempDir;

use crate::car;

pub(crate) struct Desk {
    pub(crate) folder: TempDir,
}

impl Desk {
    /// A folder with the recipient's key in it.
    pub(crate) fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        desk.private("acme.key", &car::pem());
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn private(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    /// Runs the command inside the folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command().args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glovebox-recipient"));
        command.current_dir(self.folder.path());
        command
    }
}

const OPEN: [&str; 5] = ["--id", "acme", "--hpke-key", "acme.key", "--json"];

fn open(desk: &Desk, file: &str) -> (i32, String, String) {
    desk.run(&[&["open", file], OPEN.as_slice()].concat())
}

#[test]
fn open_prints_json_lines() {
    let desk = Desk::new();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let file = fs::canonicalize(vectors.join("v1-batch.envelope.bin")).unwrap();
    let (code, out, error) = open(&desk, file.to_str().unwrap());
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out, fs::read_to_string(vectors.join("v1-batch.jsonl")).unwrap());
    let first = "{\"t\":1700000000.000000,\"alias\":\"";
    assert!(out.lines().nth(2).unwrap().starts_with(first), "{out}");
    let (code, out, _) = desk.run(&["verify", file.to_str().unwrap()]);
    assert_eq!(code, 0);
    assert!(out.contains("flow        0123456789abcdef, epoch 1-feedbeef, sequence 3"), "{out}");
    let wrong = ["verify", file.to_str().unwrap(), "--json", "--topic", "glovebox/v1/acme/00/batch"];
    assert_eq!(desk.run(&wrong).0, 1);
}

#[test]
fn refusals_say_what_to_do() {
    let desk = Desk::new();
    fs::write(desk.path("without"), car::payload(2, &car::batch(false))).unwrap();
    let (code, out, error) = open(&desk, "without");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(error.contains("descriptor does not travel in this envelope"), "{error}");
    fs::write(desk.path("garbage"), b"garbage").unwrap();
    assert_eq!(open(&desk, "garbage").0, 1);
    assert_eq!(open(&desk, "missing").0, 2);
    let other = v1::Header { recipient_key_id: vec![5; 32], ..car::header(1) };
    let payload = car::seal(&other, &car::batch(true).encode_to_vec()).encode_to_vec();
    fs::write(desk.path("other"), payload).unwrap();
    let (code, _, error) = open(&desk, "other");
    assert!(code == 1 && error.contains("give that private key as well"), "{error}");
}

#[test]
fn private_keys_are_checked() {
    let desk = Desk::new();
    fs::write(desk.path("envelope"), car::payload(1, &car::batch(true))).unwrap();
    assert_eq!(open(&desk, "envelope").0, 0);
    for mode in [0o640, 0o604, 0o644] {
        fs::set_permissions(desk.path("acme.key"), Permissions::from_mode(mode)).unwrap();
        let (code, _, error) = open(&desk, "envelope");
        assert!(code == 2 && error.contains("run `chmod 600 acme.key`"), "{mode:o}: {error}");
    }
    let private = fs::read_to_string(desk.path("acme.key")).unwrap();
    desk.private("acme.key", &private.replace("PRIVATE", "PUBLIC"));
    fs::set_permissions(desk.path("acme.key"), Permissions::from_mode(0o644)).unwrap();
    let error = open(&desk, "envelope").2;
    assert!(error.contains("holds a public key") && !error.contains("chmod"), "{error}");
    desk.private("acme.key", "nonsense");
    assert!(open(&desk, "envelope").2.contains("no PEM section"));
    // The same, with the object identifier of Ed25519.
    desk.private("acme.key", &car::pem().replace("MC4CAQAwBQYDK2Vu", "MC4CAQAwBQYDK2Vw"));
    let (code, _, error) = open(&desk, "envelope");
    assert!(code == 2 && error.contains("an Ed25519 key, not an X25519 key"), "{error}");
}

#[test]
fn help_teaches() {
    let desk = Desk::new();
    let (code, out, _) = desk.run(&["--help"]);
    assert!(code == 0 && out.contains("Exit codes") && out.contains("glovebox keys new x25519"), "{out}");
    let (_, out, _) = desk.run(&["subscribe", "--help"]);
    assert!(out.contains("\"event\":\"batch\"|\"gap\"") && out.contains("Example:"), "{out}");
    assert!(!out.contains('\u{1b}'), "no colour where nobody looks");
    assert_eq!(desk.run(&["subscribe", "--id", "acme"]).0, 2);
}
