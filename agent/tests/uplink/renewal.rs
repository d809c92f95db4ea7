//! Certificates that are renewed while everything runs: without a restart, without a batch lost or doubled; and what is
//! wrong with a renewal costs nothing.

use crate::common::broker::{Broker, missing};
use crate::common::certs::{Authority, EXPIRED, Pair, VALID, replace};
use crate::common::driver::{Driver, config, plain};
use crate::common::scripted::{CONNACK_5, PINGREQ, Scripted};
use crate::{folder, ids, message};
use glovebox::uplink::{Config, Failure, Reason, Source};
use std::path::Path;
use std::time::{Duration, Instant};

/// A configuration of files that may be replaced, in a folder of their own.
fn files(broker: &Broker) -> (Config, Pair) {
    let folder = broker.folder.join("car");
    std::fs::create_dir(&folder).unwrap();
    let own = Pair { cert: folder.join("car.crt"), key: folder.join("car.key") };
    broker.car.replaces(&own);
    replace(&broker.authority.cert, &folder.join("ca.crt"));
    let source = |path: &Path| Source::file(path.to_owned());
    let config = Config {
        ca: source(&folder.join("ca.crt")),
        cert: source(&own.cert),
        key: source(&own.key),
        ..plain(broker)
    };
    (config, own)
}

/// Offers as fast as acknowledgements come, until `done`.
async fn under_load(driver: &mut Driver, next: &mut u64, done: impl Fn(&Driver) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done(driver) {
        assert!(Instant::now() < end, "connections {}, reasons {:?}", driver.connections, driver.reasons);
        while driver.left.len() < 8 {
            driver.left.insert(*next, message(*next));
            *next += 1;
        }
        driver.offer().await;
        driver.turn(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_under_load_and_each_batch_arrives_once() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let subscriber = broker.subscribe("glovebox/v1/insurer/#");
    let (config, own) = files(&broker);
    let mut driver = Driver::start_with(config, folder.path());
    let mut next = 0;
    under_load(&mut driver, &mut next, |driver| driver.acked.len() > 100).await;
    for round in 1..=3 {
        let renewed = broker.authority.issue_as(&format!("new-{round}"), &format!("car-1-{round}"), VALID);
        renewed.replaces(&own);
        let start = Instant::now();
        under_load(&mut driver, &mut next, |driver| driver.connections == 1 + round).await;
        eprintln!("renewal {round} in use after {:?}, {} acknowledged", start.elapsed(), driver.acked.len());
        assert!(broker.log().contains(&format!("u'car-1-{round}'")), "the broker saw the new name");
    }
    driver.until(20, |driver| driver.left.is_empty()).await;
    let rebuilt = Failure::Rebuilt(Reason::Renewed);
    assert_eq!(driver.reasons, [rebuilt.clone(), rebuilt.clone(), rebuilt]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let lines = subscriber.lines.lock().unwrap().clone();
    let received = ids(&lines).len() as u64;
    eprintln!("{next} published, {received} received, {} twice", lines.len() as u64 - received);
    assert_eq!((received, lines.len() as u64), (next, next));
}

/// In order: nothing new is published, what is in flight may be acknowledged, and only then comes DISCONNECT.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_waits_for_what_is_in_flight() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Scripted::new(folder.path()).await;
    let base = config(&broker.address(), &broker.authority.cert, &broker.car);
    let renewed = broker.authority.issue_as("new", "car-1-new", VALID);
    let own = Pair { cert: broker.car.cert.clone(), key: broker.car.key.clone() };
    let mut driver = Driver::start_with(base, folder.path());
    driver.left = (0..3).map(|id| (id, message(id))).collect();
    let script = tokio::spawn(async move {
        let mut wire = broker.accept_with(&CONNACK_5).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(wire.packet_beside_pings().await.unwrap().1);
        }
        // The certificate is shown on a connection of its own, on which nothing is said.
        let pings = tokio::spawn(async move {
            let early = loop {
                match tokio::time::timeout(Duration::from_secs(30), wire.packet()).await.unwrap().unwrap() {
                    (PINGREQ, _) => wire.send(&[0xD0, 0]).await,
                    other => break other,
                }
            };
            (wire, early)
        });
        let mut shown = broker.accept().await;
        assert_eq!(shown.packet().await, None);
        // Two seconds for an alert are over: now it would leave, and waits.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(!pings.is_finished(), "DISCONNECT before the acknowledgements");
        pings.abort();
        let _ = pings.await;
        drop(held);
        broker.accept_with(&CONNACK_5).await
    });
    driver.until(10, |driver| driver.offered.len() == 3).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    renewed.replaces(&own);
    // The script takes its connection away in the end: the three are offered to the next.
    driver.until(40, |driver| driver.connections == 2).await;
    assert!(driver.acked.is_empty());
    let mut wire = script.await.unwrap();
    let answers = tokio::spawn(async move {
        for _ in 0..3 {
            let (_, body) = wire.packet_beside_pings().await.unwrap();
            wire.puback(&body, 0).await;
        }
        wire
    });
    driver.until(10, |driver| driver.left.is_empty()).await;
    answers.await.unwrap();
}

/// Garbage, another's key, out of date, an authority that the broker does not know: the connection goes on, and so does
/// the next one, from memory; the good files that follow are taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_renewal_costs_nothing() {
    if missing() {
        return;
    }
    let folder = folder();
    let mut broker = Broker::start(folder.path());
    let (config, own) = files(&broker);
    let mut driver = Driver::start_with(config, folder.path());
    driver.until(10, |driver| driver.connection.is_some()).await;
    let stranger = Authority::new(&folder.path().join("stranger"));
    let unknown = stranger.issue_as("unknown", "car-1", VALID);
    let expired = broker.authority.issue_as("expired", "car-1", EXPIRED);
    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n").unwrap();
    let breaks: [&dyn Fn(); 4] = [
        &|| unknown.replaces(&own),
        &|| expired.replaces(&own),
        &|| replace(&unknown.key, &own.key),
        &|| replace(&garbage, &own.cert),
    ];
    for broken in breaks {
        broken();
        // Two looks, and the time for an alert.
        let end = Instant::now() + Duration::from_secs(14);
        driver.until(20, |_| Instant::now() > end).await;
        assert_eq!((driver.connections, driver.reasons.len()), (1, 0), "{:?}", driver.reasons);
    }
    broker.kill();
    driver.until(20, |driver| driver.connection.is_none()).await;
    // Also what is broken while there is no connection.
    std::fs::write(&garbage, "nothing").unwrap();
    replace(&garbage, &own.cert);
    broker.restart();
    driver.until(30, |driver| driver.connections == 2).await;
    let used = |reason: &Failure| !matches!(reason, Failure::File(_));
    assert!(driver.reasons.iter().all(used), "from memory at once: {:?}", driver.reasons);
    let renewed = broker.authority.issue_as("good", "car-1-good", VALID);
    renewed.replaces(&own);
    driver.until(30, |driver| driver.connections == 3).await;
    assert_eq!(driver.reasons.last(), Some(&Failure::Rebuilt(Reason::Renewed)));
    assert!(broker.log().contains("u'car-1-good'"));
}

/// Authorities: one that did not sign the broker's certificate is refused, one list of the old and the new is taken,
/// and then the broker may have a certificate of the new one.
#[tokio::test(flavor = "multi_thread")]
async fn authorities_may_be_exchanged() {
    if missing() {
        return;
    }
    let folder = folder();
    let mut broker = Broker::start(folder.path());
    let (config, _) = files(&broker);
    let ca = config.ca.path().to_owned();
    let mut driver = Driver::start_with(config, folder.path());
    driver.until(10, |driver| driver.connection.is_some()).await;
    let successor = Authority::new(&folder.path().join("successor"));
    replace(&successor.cert, &ca);
    let end = Instant::now() + Duration::from_secs(14);
    driver.until(20, |_| Instant::now() > end).await;
    assert_eq!((driver.connections, driver.reasons.len()), (1, 0), "{:?}", driver.reasons);

    let both = folder.path().join("both");
    let list = [&broker.authority.cert, &successor.cert].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&both, list.concat()).unwrap();
    replace(&both, &ca);
    driver.until(30, |driver| driver.connections == 2).await;
    assert_eq!(driver.reasons, [Failure::Rebuilt(Reason::Renewed)]);

    let server = successor.issue("server", "DNS:localhost", VALID);
    server.replaces(&broker.server);
    broker.kill();
    broker.restart();
    driver.until(30, |driver| driver.connections == 3).await;
}
