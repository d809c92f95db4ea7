//! What the commands make is as the schemas say.

use super::schemas::{fits, validator};
use base64::Engine as _;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the binary in `folder`; the words of `line` are its arguments.
pub(crate) fn run(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glovebox"));
    command.args(line.split_whitespace()).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

/// As [`run`]; it must go well.
pub(crate) fn glovebox(folder: &Path, line: &str) {
    let output = run(folder, line);
    assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
}

const CONFIG: &str = "[[bus.interface]]\nname = \"can0\"\ninterface = \"can0\"\n[[decode.database]]\nbus = \"can0\"\n\
                      dbc = [\"car.dbc\"]\n[consent]\ndevice = \"car-1\"\n[uplink]\nbroker = \"b.example:8883\"\n\
                      ca = \"x\"\ncert = \"x\"\nkey = \"x\"\n[health]\nstate = \"state\"\ncontrol_socket = \"c.sock\"\n";
const DBC: &str = "VERSION \"\"\n\nBS_:\n\nBU_: ECU\n\nBO_ 291 Motion: 8 ECU\n \
                   SG_ Speed : 0|16@1+ (0.01,0) [0|300] \"km/h\" ECU\n";

const LINES: &[&str] = &[
    "keys new ed25519 --out root",
    "keys new ed25519 --out signing",
    "keys new ed25519 --out owner",
    "keys new ed25519 --out acme",
    "keys new x25519 --out hpke",
    "policy new signing-key --key signing.pub -o s.json",
    "policy sign s.json --type signing-key --key root.key -o s.dsse",
    "policy new hpke-key --recipient acme --key hpke.pub -o h.json",
    "policy sign h.json --type hpke-key --key acme.key -o h.dsse",
    "policy new request --recipient acme --purpose speed --signal CAN.can0.Motion.Speed:rate=1000:quantise=5 --max-age 600 -o r.json",
    "policy sign r.json --type request --key acme.key -o r.dsse",
    "policy new bundle --device car-1 --recipient acme:Acme:DE:acme.pub:h.dsse --request r.dsse --category driving=CAN.* --suspend borg --drop Vehicle.Speed -o b.json",
    "policy sign b.json --type bundle --key signing.key --statement s.dsse -o b.dsse",
    "--config try.toml provision --authority root.pub --owner owner.pub",
    "--config try.toml policy install b.dsse",
];
pub(crate) const GRANT: &str =
    "--config try.toml consent grant --recipient acme --purpose speed --key owner.key --yes";
pub(crate) const WITHDRAW: &str = "--config try.toml consent withdraw --recipient acme";

/// A provisioned car with a bundle in force, and all files that led there.
pub(crate) fn car() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("try.toml"), CONFIG).unwrap();
    std::fs::write(folder.path().join("car.dbc"), DBC).unwrap();
    LINES.iter().for_each(|line| glovebox(folder.path(), line));
    folder
}

#[test]
fn what_the_commands_make_is_as_the_schemas_say() {
    let car = car();
    let folder = car.path();
    [GRANT, WITHDRAW].iter().for_each(|line| glovebox(folder, line));
    let json =
        |name: &str| serde_json::from_slice::<Value>(&std::fs::read(folder.join(name)).unwrap()).unwrap();
    for (name, schema) in [("s", "key"), ("h", "key"), ("r", "request"), ("b", "policy")] {
        fits(&validator(schema), &json(&format!("{name}.json")), name);
        fits(&validator("envelope"), &json(&format!("{name}.dsse")), name);
    }
    let records = records(folder);
    assert_eq!(records.len(), 2, "one given, one withdrawn");
    for envelope in records {
        fits(&validator("envelope"), &envelope, "record");
        let payload = base64::engine::general_purpose::STANDARD.decode(envelope["payload"].as_str().unwrap());
        fits(&validator("consent"), &serde_json::from_slice(&payload.unwrap()).unwrap(), "record");
    }
}

/// The signed records in the car's store.
pub(crate) fn records(folder: &Path) -> Vec<Value> {
    use glovebox::policy_store::{Documents as _, PolicyStore};
    let store = PolicyStore::open(&folder.join("state")).unwrap();
    let records = store.load().unwrap().records;
    records.iter().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect()
}

#[test]
fn each_template_is_as_the_schema_says() {
    let folder = tempfile::tempdir().unwrap();
    let listed = run(folder.path(), "policy templates --json");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 8);
    for template in listed {
        let name = template["template"].as_str().unwrap();
        glovebox(folder.path(), &format!("policy new request --template {name} --recipient acme -o r.json"));
        let request: Value =
            serde_json::from_slice(&std::fs::read(folder.path().join("r.json")).unwrap()).unwrap();
        fits(&validator("request"), &request, name);
        assert_eq!(request["signals"].as_array().map(Vec::len), template["signals"].as_array().map(Vec::len));
    }
}
