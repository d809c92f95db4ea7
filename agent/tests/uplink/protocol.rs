//! MQTT 3.1.1 for brokers that have no more: the same promises, less what that version cannot tell.

use crate::common::broker::{Broker, missing};
use crate::common::driver::{Driver, config, plain};
use crate::common::proxy::Proxy;
use crate::common::scripted::{CONNECT, Scripted};
use crate::faults::publish;
use crate::{DEVICE, folder, ids, message, reason};
use glovebox::uplink::{self, Config, DocumentTopic, Failure, NotTaken, Protocol};
use glovebox_core::limits::ENVELOPE_BYTES_MAX;
use glovebox_core::names::DeviceId;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

fn old(config: Config) -> Config {
    Config { protocol: Protocol::V311, ..config }
}

/// Its PUBACK cannot say that nobody subscribes, so the broker lives here; connections do not.
#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_by_mqtt_3_too_though_connections_break_and_the_broker_is_stopped() {
    if missing() {
        return;
    }
    const TOTAL: u64 = 10_000;
    let folder = folder();
    let broker = Broker::start(folder.path());
    let subscriber = broker.subscribe("glovebox/v1/insurer/#");
    let proxy = Proxy::before(broker.port).await;
    let base = config(&proxy.address(), &broker.authority.cert, &broker.car);
    let mut driver = Driver::start_with(old(base), folder.path());
    driver.left = (0..TOTAL).map(|id| (id, message(id))).collect();
    for share in [20, 40, 60, 80] {
        driver.until(120, |driver| driver.acked.len() as u64 >= TOTAL * share / 100).await;
        if share == 40 {
            broker.signal(Signal::SIGSTOP);
            let end = Instant::now() + Duration::from_secs(3);
            driver.until(20, |_| Instant::now() > end).await;
            broker.signal(Signal::SIGCONT);
        } else {
            proxy.cut();
            driver.until(20, |driver| driver.connection.is_none()).await;
        }
    }
    driver.until(120, |driver| driver.left.is_empty()).await;
    let end = Instant::now() + Duration::from_secs(10);
    while ids(&subscriber.lines.lock().unwrap()).len() as u64 != TOTAL && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lines = subscriber.lines.lock().unwrap().clone();
    let received = ids(&lines).len() as u64;
    let twice = lines.len() as u64 - received;
    eprintln!(
        "{received} received, {twice} twice, {} connections, ends {:?}",
        driver.connections, driver.reasons
    );
    assert_eq!((driver.acked.len() as u64, received), (TOTAL, TOTAL));
    assert!(driver.connections >= 4 && driver.refused.is_empty());
    assert!(driver.attempts[1..].iter().all(|(_, session_present)| *session_present), "the session is kept");
    assert!(driver.shut_down().await < Duration::from_millis(1_500));
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_3_takes_the_largest_envelope_and_tells_nobody_that_nobody_listens() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let mut driver = Driver::start_with(old(plain(&broker)), folder.path());
    driver.until(10, |driver| driver.connection.is_some()).await;
    // Nobody subscribes: the PUBACK has no reason, so it counts as delivered.
    for (ticket, bytes) in [(1, 10), (2, ENVELOPE_BYTES_MAX), (3, ENVELOPE_BYTES_MAX + 1_000)] {
        driver.commands.send(publish(&driver, ticket, vec![0; bytes])).await.unwrap();
    }
    driver.until(10, |driver| driver.acked.len() == 2 && driver.refused.len() == 1).await;
    assert!(driver.acked.contains(&1) && driver.acked.contains(&2));
    assert!(matches!(driver.refused[0], (3, NotTaken::TooLarge { .. })), "{:?}", driver.refused);
    assert!(driver.reasons.is_empty(), "{:?}", driver.reasons);
}

/// The broker keeps what comes while the car is away; the retained policy comes once after a start, not with each
/// connection.
#[tokio::test(flavor = "multi_thread")]
async fn mqtt_3_brings_documents_until_they_are_acknowledged_and_a_retained_one_once() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.publish(&format!("{DEVICE}/policy"), "policy 1", true);
    let mut driver = Driver::start_with(old(plain(&broker)), folder.path());
    driver.until(10, |driver| driver.documents.len() == 1).await;
    driver.documents.clear();
    driver.cut().await;
    driver.until(20, |driver| driver.documents.len() == 1).await;
    assert_eq!(driver.documents[0].1, b"policy 1", "not acknowledged: it comes again");
    driver.documents.remove(0).2.acknowledge();
    tokio::time::sleep(Duration::from_millis(300)).await;
    driver.cut().await;
    driver.until(20, |driver| driver.connections == 3).await;
    driver.commands.send(uplink::Command::Disconnect).await.unwrap();
    driver.until(20, |driver| driver.reasons.last() == Some(&Failure::Told)).await;
    broker.publish(&format!("{DEVICE}/consent"), "record 1", false);
    driver.commands.send(uplink::Command::Connect).await.unwrap();
    driver.until(20, |driver| !driver.documents.is_empty()).await;
    let end = Instant::now() + Duration::from_millis(500);
    driver.until(5, |_| Instant::now() > end).await;
    let got: Vec<_> = driver.documents.iter().map(|(topic, payload, _)| (*topic, payload.clone())).collect();
    assert_eq!(got, [(DocumentTopic::Consent, b"record 1".to_vec())]);
}

/// Each version's refusal names the setting, and a probe says what the broker speaks.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_of_the_other_version_is_named_and_found_out() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Scripted::new(folder.path()).await;
    let new = config(&broker.address(), &broker.authority.cert, &broker.car);
    let speaks = std::sync::Arc::new(std::sync::Mutex::new(Protocol::V311));
    let spoken = std::sync::Arc::clone(&speaks);
    tokio::spawn(async move {
        loop {
            let mut wire = broker.accept().await;
            let Some((CONNECT, body)) = wire.packet().await else { continue };
            let speaks = *spoken.lock().unwrap();
            match (speaks, body[6]) {
                (Protocol::V311, 4) => wire.send(&[0x20, 2, 0, 0]).await,
                (Protocol::V311, _) => wire.send(&[0x20, 2, 0, 1]).await,
                (Protocol::V5, 5) => wire.send(&[0x20, 3, 0, 0, 0]).await,
                (Protocol::V5, _) => wire.send(&[0x20, 3, 0, 0x84, 0]).await,
            }
            // Until the car closes.
            while wire.packet().await.is_some() {}
        }
    });
    let failure = reason(new.clone(), folder.path()).await;
    assert_eq!(failure, Failure::ProtocolVersion { ours: Protocol::V5 });
    assert!(failure.to_string().contains("set `protocol = \"3.1.1\"` in [uplink]"), "{failure}");
    let device = DeviceId::new("car-1").unwrap();
    let own = folder.path().join("ca");
    let probe = uplink::probe(&new, &new.brokers[0], &device, &own).await.unwrap();
    assert_eq!(probe.protocol, Protocol::V311);

    *speaks.lock().unwrap() = Protocol::V5;
    let failure = reason(old(new.clone()), folder.path()).await;
    assert_eq!(failure, Failure::ProtocolVersion { ours: Protocol::V311 });
    assert!(failure.to_string().contains("set `protocol = \"5\"`"), "{failure}");
    let probe = uplink::probe(&old(new.clone()), &new.brokers[0], &device, &own).await.unwrap();
    assert_eq!(probe.protocol, Protocol::V5);
}
