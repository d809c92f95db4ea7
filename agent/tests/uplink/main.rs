//! The uplink against a real Mosquitto over mutual TLS 1.3: delivery through a broker's deaths, each failure under
//! its own name, cutting off, half-open links, documents. Skipped in one line where Mosquitto is absent.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may fail loudly")]

mod brokers;
mod check;
mod common;
mod faults;
mod protocol;
mod renewal;

use common::broker::{Broker, free_port, missing};
use common::certs::{Authority, EARLY, EXPIRED, Pair, VALID};
use common::driver::{Driver, config, plain};
use glovebox::uplink::{self, Command, DocumentTopic, Failure, NotTaken, Protocol};
use glovebox_core::limits::ENVELOPE_BYTES_MAX;
use glovebox_core::names::{DeviceId, WallTime};
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DEVICE: &str = "glovebox/v1/device/car-1";

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("gb").tempdir().unwrap()
}

fn message(id: u64) -> Vec<u8> {
    format!("m{id}-{}", "x".repeat(200)).into_bytes()
}

fn ids(lines: &[String]) -> BTreeSet<u64> {
    lines.iter().filter_map(|line| line.strip_prefix('m')?.split('-').next()?.parse().ok()).collect()
}

/// Invariant 8, the uplink's part: nothing counts as delivered before the broker has it, and everything gets there.
#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_though_the_broker_is_killed_and_stopped() {
    if !missing() {
        let folder = folder();
        let broker = Broker::start(folder.path());
        killed_and_stopped(broker, plain, 20_000).await;
    }
}

/// The same for both versions of MQTT.
async fn killed_and_stopped(mut broker: Broker, config: fn(&Broker) -> uplink::Config, total: u64) {
    let subscriber = broker.subscribe("glovebox/v1/insurer/#");
    let mut driver = Driver::start_with(config(&broker), &broker.folder.clone());
    driver.left = (0..total).map(|id| (id, message(id))).collect();
    let start = Instant::now();
    for (share, fault) in [(20, "kill"), (40, "stop"), (60, "kill"), (80, "kill")] {
        driver.until(120, |driver| driver.acked.len() as u64 >= total * share / 100).await;
        if fault == "kill" {
            broker.kill();
            driver.until(20, |driver| driver.connection.is_none()).await;
            broker.restart();
        } else {
            broker.signal(Signal::SIGSTOP);
            let end = Instant::now() + Duration::from_secs(3);
            driver.until(20, |_| Instant::now() > end).await;
            broker.signal(Signal::SIGCONT);
        }
    }
    driver.until(120, |driver| driver.left.is_empty()).await;
    let seconds = start.elapsed().as_secs_f64();
    let end = Instant::now() + Duration::from_secs(10);
    while ids(&subscriber.lines.lock().unwrap()).len() as u64 != total && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lines = subscriber.lines.lock().unwrap().clone();
    eprintln!(
        "{total} acknowledged in {seconds:.1} s over {} connections, {} received, {} twice, {} times nobody subscribed, ends {:?}",
        driver.connections,
        ids(&lines).len(),
        lines.len() - ids(&lines).len(),
        driver.refused.len(),
        driver.reasons
    );
    assert_eq!(driver.acked.len() as u64, total);
    assert_eq!(ids(&lines).len() as u64, total);
    assert!(driver.connections >= 4);
    assert!(driver.shut_down().await < Duration::from_millis(1_500));
}

/// The first reason that an uplink with this configuration gives.
async fn reason(config: uplink::Config, folder: &std::path::Path) -> Failure {
    let mut driver = Driver::start_with(config, folder);
    driver.until(30, |driver| !driver.reasons.is_empty()).await;
    driver.reasons.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_certificate_is_named() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let address = format!("localhost:{}", broker.port);
    let stranger = Authority::new(&folder.path().join("other")).issue("car-1", "DNS:car-1", VALID);
    let failure = reason(config(&address, &broker.authority.cert, &stranger), folder.path()).await;
    assert!(matches!(&failure, Failure::ClientCertificate { .. }), "{failure:?}");
    assert!(failure.to_string().contains("authority that the broker trusts"), "{failure}");

    let old = broker.authority.issue("old", "DNS:car-1", EXPIRED);
    let failure = reason(config(&address, &broker.authority.cert, &old), folder.path()).await;
    assert!(
        matches!(&failure, Failure::ClientCertificate { alert, .. } if alert == "CertificateExpired"),
        "{failure:?}"
    );
    assert!(failure.to_string().contains("renew it"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_server_certificate_is_named() {
    if missing() {
        return;
    }
    for (names, dates, words) in [
        ("DNS:elsewhere.example", VALID, "`localhost` but for `elsewhere.example`"),
        ("DNS:localhost", EXPIRED, "2021-01-01T00:00:00Z"),
        ("DNS:localhost", EARLY, "2098-01-01T00:00:00Z"),
    ] {
        let folder = folder();
        let broker =
            Broker::start_with(folder.path(), |authority| authority.issue("server", names, dates), "");
        let address = format!("localhost:{}", broker.port);
        let failure = reason(config(&address, &broker.authority.cert, &broker.car), folder.path()).await;
        let fits = match dates {
            VALID => matches!(failure, Failure::ServerName { .. }),
            EXPIRED => matches!(failure, Failure::ServerExpired { .. }),
            _ => matches!(failure, Failure::ServerNotYetValid { .. }),
        };
        assert!(fits, "{failure:?}");
        assert!(failure.to_string().contains(words), "{failure}");
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let stranger = Authority::new(&folder.path().join("other"));
    let address = format!("localhost:{}", broker.port);
    let failure = reason(config(&address, &stranger.cert, &broker.car), folder.path()).await;
    assert!(matches!(&failure, Failure::ServerAuthority { .. }), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_tls_broker_is_named() {
    if missing() {
        return;
    }
    let folder = folder();
    let plain = free_port();
    let broker = Broker::start_with(
        folder.path(),
        |authority| authority.issue("server", "DNS:localhost", VALID),
        &format!("listener {plain} 127.0.0.1\n"),
    );
    let ask = |address: String| reason(config(&address, &broker.authority.cert, &broker.car), folder.path());
    let failure = ask(format!("localhost:{plain}")).await;
    assert!(
        matches!(&failure, Failure::NotTls { .. }) && failure.to_string().contains("8883"),
        "{failure:?}"
    );
    let failure = ask(format!("localhost:{}", free_port())).await;
    assert!(matches!(&failure, Failure::Refused { .. }), "{failure:?}");
    let failure = ask("no-such-broker.invalid:8883".to_owned()).await;
    assert!(matches!(&failure, Failure::Resolve { .. }), "{failure:?}");

    let talker = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("localhost:{}", talker.local_addr().unwrap().port());
    std::thread::spawn(move || {
        use std::io::Write;
        while let Ok((mut stream, _)) = talker.accept() {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n");
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let failure = ask(address).await;
    assert!(matches!(&failure, Failure::NotTls { .. }), "{failure:?}");
}

/// A broker of the day after tomorrow in its TLS, and of yesterday in its MQTT.
#[tokio::test(flavor = "multi_thread")]
async fn the_hybrid_key_exchange_is_agreed_on_and_an_old_mqtt_is_named() {
    if missing() {
        return;
    }
    let folder = folder();
    let authority = Authority::new(&folder.path().join("ca"));
    let (server, car) =
        (authority.issue("server", "DNS:localhost", VALID), authority.issue("car-1", "DNS:car-1", VALID));
    let chain = vec![CertificateDer::from_pem_file(&server.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&server.key).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let broker = tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(&[0x20, 0x02, 0x00, 0x01]).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.get_ref().1.negotiated_key_exchange_group().unwrap().name()
    });
    assert_eq!(
        reason(config(&address, &authority.cert, &car), folder.path()).await,
        Failure::ProtocolVersion { ours: Protocol::V5 }
    );
    assert_eq!(broker.await.unwrap(), rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_car_that_may_not_is_told_so() {
    if missing() {
        return;
    }
    let folder = folder();
    let acl = folder.path().join("acl");
    std::fs::write(&acl, format!("user car-1\ntopic read {DEVICE}/#\ntopic write glovebox/v1/insurer/#\nuser recipient\ntopic read #\n")).unwrap();
    let more = format!("acl_file {}\nmax_packet_size 20000\n", acl.display());
    let broker = Broker::start_with(
        folder.path(),
        |authority| authority.issue("server", "DNS:localhost", VALID),
        &more,
    );
    let mut driver = Driver::start(&broker);
    driver.until(10, |driver| driver.connection.is_some()).await;
    let connection = driver.connection.unwrap();
    for (ticket, topic, bytes) in [
        (1, "glovebox/v1/insurer/a/batch", 10),
        (2, "glovebox/v1/other/a/batch", 10),
        (3, "glovebox/v1/insurer/a/batch", 20_001),
        (4, "glovebox/v1/insurer/a/batch", ENVELOPE_BYTES_MAX + 1_000),
        (5, "glovebox/v1/insurer/+/batch", 10),
    ] {
        let publish = Command::Publish {
            connection,
            ticket: uplink::Ticket(ticket),
            topic: topic.to_owned(),
            payload: vec![0; bytes],
        };
        driver.commands.send(publish).await.unwrap();
    }
    driver.until(10, |driver| driver.refused.len() == 5).await;
    driver.refused.sort_by_key(|(ticket, _)| *ticket);
    let reasons: Vec<_> = driver.refused.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(reasons[..2], [NotTaken::NoSubscriber, NotTaken::NotAuthorised]);
    assert!(
        matches!(reasons[2], NotTaken::TooLarge { max: 20_000, .. })
            && matches!(reasons[3], NotTaken::TooLarge { .. })
    );
    assert_eq!(reasons[4], NotTaken::Other(0x90));
    assert!(driver.reasons.is_empty(), "{:?}", driver.reasons);
}

/// What a withdrawal needs (invariant 5): after the cut nothing more of what was in flight reaches the broker,
/// beyond what was in its socket already.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_throws_away_what_the_broker_had_not_received() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let subscriber = broker.subscribe("glovebox/v1/insurer/#");
    let mut driver = Driver::start(&broker);
    driver.left.insert(999, message(999));
    driver.until(10, |driver| driver.acked.contains(&999)).await;
    broker.signal(Signal::SIGSTOP);
    // 16 KiB each: the window is full of 19 messages, 304 KiB.
    driver.left = (0..64).map(|id| (id, format!("m{id}-{}", "x".repeat(16 * 1024)).into_bytes())).collect();
    driver.offer().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let queued = common::broker::unread_bytes(broker.port);
    let unsent = common::broker::unsent_bytes(broker.port);
    assert!(unsent.iter().any(|bytes| *bytes > 16 * 1024), "nothing to throw away: {unsent:?}");
    let before = driver.connection.unwrap();
    let took = driver.cut().await;
    let left = common::broker::unsent_bytes(broker.port);
    assert!(left.iter().all(|bytes| *bytes == 0), "the kernel would go on sending: {left:?}");
    let offered: Vec<_> = driver.offered.iter().copied().collect();
    driver.left.clear();
    tokio::time::sleep(Duration::from_millis(500)).await;
    broker.signal(Signal::SIGCONT);
    driver.until(20, |driver| driver.connections == 2).await;
    // One that was on its way when the connection ended must not go out on the next.
    let stale = Command::Publish {
        connection: before,
        ticket: uplink::Ticket(500),
        topic: common::driver::TOPIC.to_owned(),
        payload: message(500),
    };
    driver.commands.send(stale).await.unwrap();
    driver.left.insert(1_000, message(1_000));
    driver.until(20, |driver| driver.acked.contains(&1_000)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let received = ids(&subscriber.lines.lock().unwrap());
    eprintln!(
        "cut in {took:?}: {} offered, {queued:?} bytes unread in the broker's socket, {unsent:?} in ours, received {received:?}",
        offered.len()
    );
    assert!(took < Duration::from_millis(200));
    assert!(received.contains(&1_000));
    // Whole messages that were in the broker's socket when the reset came: no more of them can be read.
    let in_its_socket = queued.iter().max().unwrap() / (16 * 1024);
    assert!(in_its_socket < 19, "the window did not fill beyond the broker's socket: {queued:?}");
    assert!(received.iter().all(|id| *id < in_its_socket || *id >= 999), "{received:?} of {in_its_socket}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_says_nothing_any_more_is_noticed_within_twice_the_keep_alive() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let mut driver = Driver::start(&broker);
    driver.until(10, |driver| driver.connection.is_some()).await;
    broker.signal(Signal::SIGSTOP);
    // More than the sockets between hold: the client library hangs in writing and cannot even ping.
    driver.left = (0..8).map(|id| (id, vec![b'x'; 200 * 1024])).collect();
    let start = Instant::now();
    driver.until(20, |driver| driver.connection.is_none()).await;
    eprintln!("noticed after {:?}: {:?}", start.elapsed(), driver.reasons);
    assert!(start.elapsed() < Duration::from_secs(11));
    broker.signal(Signal::SIGCONT);
    driver.until(30, |driver| driver.connection.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_happens_is_kept() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let mut driver = Driver::start(&broker);
    // Longer than every limit that is for beginning a connection, and three pings.
    let end = Instant::now() + Duration::from_secs(17);
    driver.until(20, |_| Instant::now() > end).await;
    assert_eq!((driver.connections, driver.reasons.len()), (1, 0), "{:?}", driver.reasons);
    driver.left.insert(1, message(1));
    let _subscriber = broker.subscribe("glovebox/v1/insurer/#");
    driver.until(10, |driver| driver.acked.contains(&1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_come_again_until_they_are_acknowledged() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    broker.publish(&format!("{DEVICE}/policy"), "policy 1", true);
    let mut driver = Driver::start(&broker);
    driver.until(10, |driver| driver.documents.len() == 1).await;
    assert_eq!(
        (driver.documents[0].0, driver.documents[0].1.as_slice()),
        (DocumentTopic::Policy, b"policy 1".as_slice())
    );
    driver.documents.clear();
    // Long enough for an acknowledgement that nobody asked for to arrive.
    tokio::time::sleep(Duration::from_millis(300)).await;
    driver.cut().await;
    driver.until(20, |driver| driver.documents.len() == 1).await;
    driver.documents.remove(0).2.acknowledge();
    driver
        .commands
        .send(Command::Answer { topic: format!("{DEVICE}/status"), payload: b"{}".to_vec() })
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(broker.log().contains(&format!("'{DEVICE}/status'")), "the answer came");
    driver.cut().await;
    driver.until(20, |driver| driver.connections == 3).await;
    driver.commands.send(Command::Disconnect).await.unwrap();
    driver.until(20, |driver| driver.reasons.last() == Some(&Failure::Told)).await;
    // While the car is away the broker keeps what comes.
    broker.publish(&format!("{DEVICE}/consent"), "record 1", false);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(
        (driver.connections, driver.documents.len()),
        (3, 0),
        "acknowledged is not sent again, away is away"
    );
    driver.commands.send(Command::Connect).await.unwrap();
    driver.until(20, |driver| driver.documents.len() == 1).await;
    assert_eq!(
        (driver.documents[0].0, driver.documents[0].1.as_slice()),
        (DocumentTopic::Consent, b"record 1".as_slice())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_what_is_wrong_with_the_files_and_a_probe_what_the_broker_offers() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let address = format!("localhost:{}", broker.port);
    let at = |day: &str| WallTime::parse(&format!("{day}T00:00:00Z")).unwrap();
    let good = config(&address, &broker.authority.cert, &broker.car);
    assert_eq!(uplink::certificate_until(&good), Some(at("2099-01-01")));
    let check = |config: &uplink::Config, day: &str| -> Vec<_> {
        uplink::check_files(config, at(day))
            .into_iter()
            .map(|finding| (finding.grave, finding.text))
            .collect()
    };
    let one = |config: &uplink::Config, day: &str, grave: bool, words: &str| {
        let found = check(config, day);
        assert!(found.iter().any(|(g, text)| *g == grave && text.contains(words)), "{words}: {found:?}");
    };
    assert_eq!(check(&good, "2027-01-01"), []);
    one(&good, "2098-12-20", false, "expires at 2099-01-01");
    one(&good, "2099-01-02", true, "expired at 2099-01-01");
    one(&good, "2019-01-01", true, "valid only from 2020-01-01");
    let both = folder.path().join("both");
    let old = broker.authority.issue("old-authority", "DNS:old", EXPIRED);
    let list = [&old.cert, &broker.authority.cert].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&both, list.concat()).unwrap();
    one(&config(&address, &both, &broker.car), "2027-01-01", false, "expired at 2021-01-01");
    one(&config(&address, &old.cert, &broker.car), "2027-01-01", true, "expired at 2021-01-01");
    let other = broker.authority.issue("other", "DNS:other", VALID);
    let mixed = Pair { cert: broker.car.cert.clone(), key: other.key.clone() };
    one(
        &config(&address, &broker.authority.cert, &mixed),
        "2027-01-01",
        true,
        "does not belong to certificate",
    );
    one(&config(&address, &broker.car.key, &broker.car), "2027-01-01", true, "holds no certificate");
    one(
        &config(&address, &folder.path().join("none"), &broker.car),
        "2027-01-01",
        true,
        "cannot read authority file",
    );
    std::fs::set_permissions(&other.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    one(&config(&address, &broker.authority.cert, &other), "2027-01-01", true, "chmod 600");

    let device = DeviceId::new("car-1").unwrap();
    let mut driver = Driver::start(&broker);
    driver.until(10, |driver| driver.connection.is_some()).await;
    let probe = uplink::probe(&good, &good.brokers[0], &device, &folder.path().join("ca")).await.unwrap();
    eprintln!("{probe:?}");
    assert_eq!((probe.address.port(), probe.receive_maximum), (broker.port, Some(20)));
    assert_eq!(probe.protocol, Protocol::V5);
    driver.turn(Duration::from_millis(500)).await;
    assert!(driver.connection.is_some(), "a probe does not disturb: {:?}", driver.reasons);
}
