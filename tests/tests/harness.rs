//! The harness itself: the broker lets in whom it should and keeps what it should, or the tests on it prove nothing.

use anyhow::{Result, ensure};
use glovebox_tests::broker::{Broker, HOSTS};
use glovebox_tests::certs::{Authority, Validity};
use glovebox_tests::need;
use glovebox_tests::process::{output, until};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn broker_gives_each_certificate_its_rights_and_survives_a_kill() -> Result<()> {
    if need::broker("broker_gives_each_certificate_its_rights")?.is_none() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(&folder.path().join("ca"), "Test CA")?;
    let stranger = Authority::new(&folder.path().join("other"), "Another CA")?;
    let mut broker = Broker::start(&folder.path().join("broker"), &authority)?;
    let port = broker.address().split(':').nth(1).unwrap_or_default().to_owned();
    let publish = |identity: &glovebox_tests::certs::Identity, topic: &str| -> Result<bool> {
        let mut command = Command::new("mosquitto_pub");
        command.args([
            "-V",
            "mqttv5",
            "-h",
            "localhost",
            "-p",
            &port,
            "-q",
            "1",
            "-i",
            "x",
            "-t",
            topic,
            "-m",
            "hello",
        ]);
        command.arg("--cafile").arg(authority.certificate());
        command.arg("--cert").arg(&identity.cert).arg("--key").arg(&identity.key);
        let said = output(&mut command, LIMIT)?;
        Ok(said.status.success() && !String::from_utf8_lossy(&said.stderr).contains("authori"))
    };
    let car = authority.issue("car-1", "", Validity::Live)?;
    let mut capture = broker.watch()?;
    ensure!(publish(&car, "glovebox/v1/shop/abc/batch")?, "the car publishes its batches");
    ensure!(!publish(&car, "glovebox/v1/device/car-1/policy")?, "a car makes no policy");
    let expired = authority.issue("car-expired", "", Validity::Expired)?;
    let rogue = stranger.issue("car-1", HOSTS, Validity::Live)?;
    ensure!(!publish(&expired, "glovebox/v1/shop/abc/batch")?, "an expired certificate");
    ensure!(!publish(&rogue, "glovebox/v1/shop/abc/batch")?, "a certificate of another authority");
    let seen = until("the capture", LIMIT, || Ok(Some(capture.all()?).filter(|all| !all.is_empty())))?;
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].topic.as_str(), seen[0].payload.as_slice()),
        ("glovebox/v1/shop/abc/batch", &b"hello"[..])
    );
    broker.save()?;
    broker.kill()?;
    ensure!(!publish(&car, "glovebox/v1/shop/abc/batch")?, "a dead broker takes nothing");
    broker.restart()?;
    ensure!(publish(&car, "glovebox/v1/shop/abc/batch")?, "the broker is back on its port");
    let document = folder.path().join("document");
    std::fs::write(&document, "{}")?;
    broker.publish("glovebox/v1/device/car-1/policy", &document, true)?;
    let topics =
        ["glovebox/v1/shop/abc/batch", "glovebox/v1/shop/abc/batch", "glovebox/v1/device/car-1/policy"];
    let refused = |topic: &&String| topic.ends_with("policy");
    let received = broker.received();
    ensure!(topics.iter().all(|topic| received.iter().any(|each| each == topic)), "{received:?}");
    ensure!(
        received.iter().filter(refused).count() == 1,
        "the log tells a refused one from a received one: {received:?}"
    );
    Ok(())
}
