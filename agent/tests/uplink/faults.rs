//! What networks and brokers do to the uplink: links that are gone without a word, acknowledgements that do not come,
//! refusals, lost sessions; and what it does to them: rate limit, last will.

use crate::common::broker::{Broker, missing};
use crate::common::driver::{Driver, TOPIC, config, plain};
use crate::common::proxy::Proxy;
use crate::common::scripted::{CONNACK_5, CONNECT, DISCONNECT, PUBLISH, Scripted, Wire, packet_id};
use crate::{DEVICE, folder, ids, message};
use glovebox::uplink::{self, Command, Config, Failure, NotTaken, Protocol};
use glovebox_core::limits::{UPLINK_ACK_MS_MAX, UPLINK_BURST_MS, UPLINK_WINDOW_MESSAGES};
use std::time::{Duration, Instant};

/// The documented bound: twice the keep-alive after the last that was heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_gone_is_noticed_within_twice_the_keep_alive() {
    if missing() {
        return;
    }
    let (a, b, c, d) = tokio::join!(
        notices(Protocol::V5, false),
        notices(Protocol::V5, true),
        notices(Protocol::V311, false),
        notices(Protocol::V311, true),
    );
    for (case, (took, reason)) in [("5", a), ("5, busy", b), ("3.1.1", c), ("3.1.1, busy", d)] {
        eprintln!("MQTT {case}: noticed after {took:?}: {reason}");
        assert!(took < Duration::from_millis(10_500), "MQTT {case}: {took:?}");
    }
}

/// How long it takes, from the moment that a proxy stops forwarding, with or without messages under way.
async fn notices(protocol: Protocol, busy: bool) -> (Duration, Failure) {
    let folder = folder();
    let broker = Broker::start(folder.path());
    let _subscriber = broker.subscribe("glovebox/v1/insurer/#");
    let proxy = Proxy::before(broker.port).await;
    let base = config(&proxy.address(), &broker.authority.cert, &broker.car);
    let mut driver = Driver::start_with(Config { protocol, ..base }, folder.path());
    driver.until(10, |driver| driver.connection.is_some()).await;
    if busy {
        driver.left = (0..100_000).map(|id| (id, message(id))).collect();
        driver.until(10, |driver| driver.acked.len() > 100).await;
    } else {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    proxy.freeze(true);
    let start = Instant::now();
    driver.until(25, |driver| driver.connection.is_none()).await;
    let took = start.elapsed();
    let reason = driver.reasons.remove(0);
    proxy.freeze(false);
    driver.until(30, |driver| driver.connection.is_some()).await;
    (took, reason)
}

/// A broker that is alive, answers pings, and acknowledges nothing: the stall timer makes the connection anew, and all
/// is offered again. The test's clock is moved on in steps in which pings are answered.
#[tokio::test]
async fn a_broker_that_acknowledges_nothing_is_left_and_all_is_offered_again() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Scripted::new(folder.path()).await;
    let config = config(&broker.address(), &broker.authority.cert, &broker.car);
    let mut driver = Driver::start_with(config, folder.path());
    driver.left = (0..100).map(|id| (id, message(id))).collect();
    let script = tokio::spawn(async move {
        let mut wire = broker.accept_with(&CONNACK_5).await;
        let mut seen = 0;
        while let Some((first, _)) = wire.packet_beside_pings().await {
            seen += usize::from(first == PUBLISH);
        }
        let mut wire = broker.accept_with(&CONNACK_5).await;
        for _ in 0..100 {
            let (first, body) = wire.packet_beside_pings().await.unwrap();
            assert_eq!(first, PUBLISH);
            wire.puback(&body, 0).await;
        }
        seen
    });
    driver.until(10, |driver| driver.offered.len() == UPLINK_WINDOW_MESSAGES).await;
    let (mut stalled_ms, mut looks) = (0, 0);
    while driver.connection.is_some() {
        // From there on it is only a slow machine that is waited for.
        if stalled_ms < UPLINK_ACK_MS_MAX + 8_000 {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(4)).await;
            tokio::time::resume();
            stalled_ms += 4_000;
        } else {
            looks += 1;
        }
        assert!(looks < 100, "still connected after {stalled_ms} ms");
        let end = Instant::now() + Duration::from_millis(60);
        while Instant::now() < end {
            driver.turn(Duration::from_millis(10)).await;
        }
    }
    let expected = Failure::TimedOut {
        step: "an acknowledgement of the broker",
        ms: UPLINK_ACK_MS_MAX,
        advice: "is the network fast enough, and the broker well?",
    };
    assert_eq!(driver.reasons, [expected]);
    assert!(stalled_ms >= UPLINK_ACK_MS_MAX, "already after {stalled_ms} ms");
    driver.until(30, |driver| driver.left.is_empty()).await;
    assert_eq!(driver.acked.len(), 100);
    assert_eq!(script.await.unwrap(), UPLINK_WINDOW_MESSAGES, "no more than the window went out");
}

/// With a receive maximum of 1 the broker never has two unanswered, and everything arrives in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_receive_maximum_of_one_is_kept() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Scripted::new(folder.path()).await;
    let base = config(&broker.address(), &broker.authority.cert, &broker.car);
    let mut driver = Driver::start_with(base, folder.path());
    driver.left = (0..50).map(|id| (id, message(id))).collect();
    let script = tokio::spawn(async move {
        // CONNACK with the property Receive Maximum 1.
        let mut wire = broker.accept_with(&[0x20, 6, 0, 0, 3, 0x21, 0, 1]).await;
        for id in 0..50 {
            let (first, body) = wire.packet_beside_pings().await.unwrap();
            assert_eq!(first, PUBLISH);
            assert!(String::from_utf8_lossy(&body).contains(&format!("m{id}-")), "out of order");
            let more = tokio::time::timeout(Duration::from_millis(30), wire.packet()).await;
            assert!(more.is_err(), "a second one while {id} is not answered: {more:?}");
            wire.puback(&body, 0).await;
        }
    });
    driver.until(30, |driver| driver.left.is_empty()).await;
    script.await.unwrap();

    let beside = folder.path().join("real");
    std::fs::create_dir(&beside).unwrap();
    let server = |authority: &crate::Authority| authority.issue("server", "DNS:localhost", crate::VALID);
    let broker = Broker::start_with(&beside, server, "max_inflight_messages 1\n");
    let subscriber = broker.subscribe("glovebox/v1/insurer/#");
    let mut driver = Driver::start(&broker);
    driver.left = (0..500).map(|id| (id, message(id))).collect();
    driver.until(60, |driver| driver.left.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let lines = subscriber.lines.lock().unwrap().clone();
    assert_eq!((lines.len(), ids(&lines).len()), (500, 500), "once each");
}

/// Quota and rights, in a PUBACK, a DISCONNECT and a CONNACK.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_refuses_is_told_by_its_name() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Scripted::new(folder.path()).await;
    let base = config(&broker.address(), &broker.authority.cert, &broker.car);
    let mut driver = Driver::start_with(base, folder.path());
    driver.left = (0..3).map(|id| (id, message(id))).collect();
    let script = tokio::spawn(async move {
        let mut wire = broker.accept_with(&CONNACK_5).await;
        for reason in [0x97, 0x87, 0x83] {
            let (_, body) = wire.packet_beside_pings().await.unwrap();
            wire.puback(&body, reason).await;
        }
        // DISCONNECT: quota exceeded, session taken over.
        for reason in [0x97, 0x8E] {
            wire.send(&[0xE0, 2, reason, 0]).await;
            wire = broker.accept_with(&CONNACK_5).await;
        }
        drop(wire);
        // CONNACK: not authorised, quota exceeded, client id, version.
        for reason in [0x87, 0x97, 0x85, 0x84] {
            let mut wire = broker.accept().await;
            wire.packet().await.unwrap();
            wire.send(&[0x20, 3, 0, reason, 0]).await;
            let _ = wire.packet().await;
        }
    });
    driver.until(20, |driver| driver.refused.len() == 3).await;
    let refused: Vec<_> = driver.refused.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(refused, [NotTaken::Quota, NotTaken::NotAuthorised, NotTaken::Other(0x83)]);
    driver.left.clear();
    driver.until(120, |driver| driver.reasons.len() == 7).await;
    script.abort();
    let fits = |at: usize, fits: fn(&Failure) -> bool| {
        assert!(fits(&driver.reasons[at]), "{at}: {:?}", driver.reasons);
    };
    fits(0, |failure| matches!(failure, Failure::Busy { code } if code == "QuotaExceeded"));
    fits(1, |failure| matches!(failure, Failure::TakenOver));
    fits(2, |failure| matches!(failure, Failure::Closed | Failure::Broken { .. }));
    fits(3, |failure| matches!(failure, Failure::NotAuthorised { .. }));
    fits(4, |failure| matches!(failure, Failure::Busy { .. }));
    fits(5, |failure| matches!(failure, Failure::ClientId));
    fits(6, |failure| matches!(failure, Failure::ProtocolVersion { ours: Protocol::V5 }));
}

/// A broker that was restarted without what it knew: what it had not acknowledged is offered again, and documents are
/// subscribed to again.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_lost_costs_nothing() {
    if missing() {
        return;
    }
    let folder = folder();
    let mut broker = Broker::start(folder.path());
    let subscriber = broker.subscribe("glovebox/v1/insurer/#");
    let mut driver = Driver::start(&broker);
    driver.left = (0..3_000).map(|id| (id, message(id))).collect();
    driver.until(60, |driver| driver.acked.len() > 1_000).await;
    broker.kill();
    let _ = std::fs::remove_file(folder.path().join("mosquitto.db"));
    driver.until(20, |driver| driver.connection.is_none()).await;
    broker.restart();
    driver.until(60, |driver| driver.left.is_empty()).await;
    assert_eq!(driver.attempts.last().map(|(_, session_present)| *session_present), Some(false));
    let end = Instant::now() + Duration::from_secs(5);
    while ids(&subscriber.lines.lock().unwrap()).len() < 3_000 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ids(&subscriber.lines.lock().unwrap()).len(), 3_000);
    broker.publish(&format!("{DEVICE}/consent"), "record", false);
    driver.until(10, |driver| driver.documents.len() == 1).await;
}

/// The rate holds on the wire in every second; an answer does not wait behind batches, and a cut is as quick as ever.
#[tokio::test(flavor = "multi_thread")]
async fn invariant_9_a_rate_limit_holds_and_delays_neither_answers_nor_a_cut() {
    if missing() {
        return;
    }
    const KBIT_S: u32 = 400;
    const BYTES: usize = 5_000;
    let folder = folder();
    let broker = Broker::start(folder.path());
    let _subscriber = broker.subscribe("glovebox/v1/insurer/#");
    let proxy = Proxy::before(broker.port).await;
    let base = config(&proxy.address(), &broker.authority.cert, &broker.car);
    let mut driver = Driver::start_with(Config { rate_kbit_s: Some(KBIT_S), ..base }, folder.path());
    driver.until(10, |driver| driver.connection.is_some()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.up.lock().unwrap().clear();
    driver.left = (0..1_000).map(|id| (id, vec![b'x'; BYTES])).collect();
    driver.until(20, |driver| driver.acked.len() >= 40).await;
    assert_rate(&proxy.up.lock().unwrap(), KBIT_S, BYTES);

    let before = Instant::now();
    let answer = Command::Answer { topic: format!("{DEVICE}/status"), payload: b"{}".to_vec() };
    driver.commands.send(answer).await.unwrap();
    let topic = format!("'{DEVICE}/status'");
    driver.until(5, |_| broker.log().contains(&topic)).await;
    let answered = before.elapsed();
    let cut = driver.cut().await;
    let sent: usize = proxy.up.lock().unwrap().iter().map(|(_, bytes)| bytes).sum();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let later: usize = proxy.up.lock().unwrap().iter().map(|(_, bytes)| bytes).sum();
    eprintln!("answered within {answered:?}, cut in {cut:?}, {} bytes after it", later - sent);
    assert!(answered < Duration::from_millis(400), "{answered:?}");
    assert!(cut < Duration::from_millis(200), "{cut:?}");
}

/// TLS, MQTT and a ping take some more than what is counted.
fn assert_rate(up: &[(Instant, usize)], kbit_s: u32, packet: usize) {
    let per_second = f64::from(kbit_s) * 1_000.0 / 8.0;
    let burst = per_second * (UPLINK_BURST_MS as f64) / 1_000.0;
    for (from, (begin, _)) in up.iter().enumerate() {
        let mut sum = 0;
        for (at, bytes) in &up[from..] {
            sum += bytes;
            let span = at.duration_since(*begin).as_secs_f64();
            let most = (per_second * span + burst + 2.0 * packet as f64) * 1.05 + 1_000.0;
            assert!((sum as f64) < most, "{sum} bytes in {span} s, at most {most}");
        }
    }
    let whole = up.last().unwrap().0.duration_since(up[0].0).as_secs_f64();
    let sum: usize = up.iter().map(|(_, bytes)| bytes).sum();
    eprintln!("{sum} bytes in {whole:.2} s at {kbit_s} kbit/s");
    assert!(whole > 2.0 && sum as f64 > per_second * whole * 0.8, "and it is used: {sum} bytes in {whole} s");
}

/// Under full load, in both versions: the budget of a withdrawal is 50 ms to the last byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_quick_under_full_load() {
    if missing() {
        return;
    }
    for protocol in [Protocol::V5, Protocol::V311] {
        let folder = folder();
        let broker = Broker::start(folder.path());
        let _subscriber = broker.subscribe("glovebox/v1/insurer/#");
        let mut driver = Driver::start_with(Config { protocol, ..plain(&broker) }, folder.path());
        driver.left = (0..100_000).map(|id| (id, message(id))).collect();
        let mut took = Vec::new();
        for round in 1..=20 {
            let before = driver.acked.len();
            driver.until(20, |driver| driver.connections == round && driver.acked.len() > before + 100).await;
            driver.offer().await;
            took.push(driver.cut().await);
        }
        took.sort();
        eprintln!("MQTT {protocol}: 20 cuts, median {:?}, longest {:?}", took[10], took[19]);
        assert!(took[10] < Duration::from_millis(50) && took[19] < Duration::from_millis(200), "{took:?}");
    }
}

/// What CONNECT says of the will, from its bytes: flags, delay, topic, payload.
fn will(connect: &[u8]) -> (u8, u32, String, Vec<u8>) {
    let flags = connect[7];
    let mut rest = &connect[10..];
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at(count);
        rest = left;
        taken.to_vec()
    };
    let skip = |what: &mut dyn FnMut(usize) -> Vec<u8>| -> Vec<u8> {
        let length = u16::from_be_bytes(what(2).try_into().unwrap());
        what(usize::from(length))
    };
    let properties = take(1)[0];
    take(usize::from(properties));
    skip(&mut take);
    let properties = take(1)[0];
    let properties = take(usize::from(properties));
    let delay = match properties.as_slice() {
        [0x18, delay @ ..] => u32::from_be_bytes(delay.try_into().unwrap()),
        other => panic!("more than a delay: {other:?}"),
    };
    let topic = String::from_utf8(skip(&mut take)).unwrap();
    (flags, delay, topic, skip(&mut take))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_will_tells_the_device_id_and_nothing_else() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Scripted::new(folder.path()).await;
    let base = config(&broker.address(), &broker.authority.cert, &broker.car);
    let _driver = Driver::start_with(base, folder.path());
    let mut wire: Wire = broker.accept().await;
    let (first, connect) = wire.packet().await.unwrap();
    assert_eq!(first, CONNECT);
    let (flags, delay, topic, payload) = will(&connect);
    // Will, at QoS 1, not retained; no user name or password; the session is kept.
    assert_eq!(flags, 0b0000_1100);
    assert_eq!((delay, topic.as_str(), payload), (60, "glovebox/v1/device/car-1/gone", Vec::new()));
}

/// The broker publishes it when the connection ends without DISCONNECT, and not after one.
#[tokio::test(flavor = "multi_thread")]
async fn a_last_will_is_published_unless_the_car_says_goodbye() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let gone = broker.subscribe("glovebox/v1/device/+/gone");
    // MQTT 3.1.1 knows no delay.
    let old = Config { protocol: Protocol::V311, ..plain(&broker) };
    let mut driver = Driver::start_with(old.clone(), folder.path());
    driver.until(10, |driver| driver.connection.is_some()).await;
    driver.shut_down().await;
    let mut driver = Driver::start_with(old, folder.path());
    driver.until(10, |driver| driver.connection.is_some()).await;
    assert_eq!(gone.lines.lock().unwrap().len(), 0, "after a goodbye there is no will");
    driver.cut().await;
    driver.until(10, |driver| driver.connections == 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(*gone.lines.lock().unwrap(), [""]);
    driver.shut_down().await;
    // MQTT 5: who comes back within the delay is not gone.
    let mut driver = Driver::start(&broker);
    driver.until(10, |driver| driver.connection.is_some()).await;
    driver.cut().await;
    driver.until(10, |driver| driver.connections == 2).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(gone.lines.lock().unwrap().len(), 1);
}

/// A stop is a goodbye: DISCONNECT, and everything that was answered is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_goodbye() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Scripted::new(folder.path()).await;
    let base = config(&broker.address(), &broker.authority.cert, &broker.car);
    let mut driver = Driver::start_with(base, folder.path());
    driver.left = (0..5).map(|id| (id, message(id))).collect();
    let script = tokio::spawn(async move {
        let mut wire = broker.accept_with(&CONNACK_5).await;
        let mut last = 0;
        while let Some((first, body)) = wire.packet_beside_pings().await {
            last = first;
            if first == PUBLISH {
                assert_ne!(packet_id(&body), [0, 0]);
                wire.puback(&body, 0).await;
            } else {
                break;
            }
        }
        last
    });
    driver.until(10, |driver| driver.left.is_empty()).await;
    driver.shut_down().await;
    assert_eq!(script.await.unwrap(), DISCONNECT);
}

/// For the other files: a publish by hand.
pub(crate) fn publish(driver: &Driver, ticket: u64, payload: Vec<u8>) -> Command {
    let connection = driver.connection.unwrap();
    Command::Publish { connection, ticket: uplink::Ticket(ticket), topic: TOPIC.to_owned(), payload }
}
