//! What a check finds: rights of a credential; and by `glovebox check --online`, the real binary, what each broker says
//! and which MQTT it speaks.

use crate::common::broker::{Broker, free_port, missing};
use crate::common::certs::{Authority, VALID};
use crate::common::driver::{config, plain};
use crate::common::scripted::{CONNECT, Scripted};
use crate::folder;
use glovebox::uplink::{self, Config, Protocol, Source};
use glovebox_core::names::WallTime;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Lines of the stage `uplink`: level, and the text with its mend.
fn online(folder: &Path, config: &Config) -> Vec<(String, String)> {
    let file = folder.join("glovebox.toml");
    let brokers: Vec<String> = config.brokers.iter().map(ToString::to_string).collect();
    let text = format!(
        "[bus]\n[[bus.interface]]\nname = \"can0\"\ninterface = \"can0\"\n[consent]\ndevice = \"car-1\"\n\
         [uplink]\nbroker = {brokers:?}\nprotocol = \"{}\"\nca = {:?}\ncert = {:?}\nkey = {:?}\n",
        config.protocol,
        config.ca.path(),
        config.cert.path(),
        config.key.path()
    );
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_glovebox"))
        .args(["--config", file.to_str().unwrap(), "check", "--online", "--json"])
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let word = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings = said["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["stage"] == "uplink")
        .map(|f| (word(f, "level"), format!("{} {}", word(f, "what"), word(f, "mend"))))
        .skip(1)
        .collect()
}

/// systemd leaves it to root, with an access list for the agent whose mask shows as the group's rights, or to the agent.
#[test]
fn a_credential_has_the_rights_that_systemd_gives_and_no_others() {
    if missing() {
        return;
    }
    let folder = folder();
    let authority = Authority::new(&folder.path().join("ca"));
    let pair = authority.issue("handed", "DNS:car", VALID);
    let config = Config {
        key: Source::credential(pair.key.parent().unwrap(), "handed.key"),
        ..config("localhost:1", &authority.cert, &pair)
    };
    let now = WallTime::parse("2027-01-01T00:00:00Z").unwrap();
    let with = |mode| {
        std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(mode)).unwrap();
        uplink::check_files(&config, now).into_iter().map(|finding| finding.text).collect::<Vec<_>>()
    };
    let refused = |mode| {
        let said = with(mode);
        assert!(said.len() == 1 && said[0].contains("is not as systemd leaves it"), "{mode:o}: {said:?}");
    };
    assert_eq!(with(0o400), Vec::<String>::new());
    if nix::unistd::geteuid().is_root() {
        assert_eq!(with(0o440), Vec::<String>::new());
        refused(0o460);
        std::os::unix::fs::chown(&pair.key, Some(12_345), None).unwrap();
        refused(0o400);
    } else {
        refused(0o440);
    }
    refused(0o404);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_says_what_each_broker_speaks() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let nobody = format!("localhost:{}", free_port());
    let both = format!("{} {nobody}", broker.address());
    let said = online(folder.path(), &config(&both, &broker.authority.cert, &broker.car));
    assert_eq!(said[0].0, "ok", "{said:?}");
    for part in [&format!("broker {}", broker.address()), "TLS 1.3 with X25519", "MQTT 5", "20 in flight"] {
        assert!(said[0].1.contains(part), "{part}: {said:?}");
    }
    assert!(said[1].0 == "warn" && said[1].1.contains("refused the TCP connection"), "{said:?}");

    let old = Config { protocol: Protocol::V311, ..plain(&broker) };
    let said = online(folder.path(), &old);
    assert!(said[0].0 == "warn" && said[0].1.contains("MQTT 3.1.1, and MQTT 5 as well"), "{said:?}");
    assert!(!broker.log().contains("'glovebox/v1/device/car-1/gone'"), "a check leaves no will");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_finds_a_broker_of_mqtt_3_alone() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Scripted::new(folder.path()).await;
    let new = config(&broker.address(), &broker.authority.cert, &broker.car);
    tokio::spawn(async move {
        loop {
            let mut wire = broker.accept().await;
            let Some((CONNECT, body)) = wire.packet().await else { continue };
            wire.send(&[0x20, 2, 0, u8::from(body[6] != 4)]).await;
            while wire.packet().await.is_some() {}
        }
    });
    let path = folder.path().to_owned();
    let said = tokio::task::spawn_blocking(move || online(&path, &new)).await.unwrap();
    assert_eq!(said[0].0, "fail", "{said:?}");
    assert!(said[0].1.contains("MQTT 3.1.1, and not MQTT 5"), "{said:?}");
    assert!(said[0].1.contains("set `protocol = \"3.1.1\"` in [uplink]"), "{said:?}");
}
