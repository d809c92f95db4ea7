//! Several brokers in order: two real ones, the first of which dies and comes back.

use crate::common::broker::{Broker, Subscriber, free_port, missing};
use crate::common::driver::{Driver, config};
use crate::{folder, ids, message};
use glovebox::uplink::{Config, Failure, Reason};
use std::time::{Duration, Instant};

fn pair() -> (tempfile::TempDir, Broker, Broker, Config) {
    let folder = folder();
    let first = Broker::start(folder.path());
    let second = Broker::start_beside(&folder.path().join("second"), &first);
    let both = format!("{} {}", first.address(), second.address());
    let config = config(&both, &first.authority.cert, &first.car);
    (folder, first, second, config)
}

/// Everything arrives at one or the other; only what was not acknowledged when the first died may arrive twice, and
/// going back to it, which is in order, doubles nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_takes_over_and_the_first_is_gone_back_to() {
    if missing() {
        return;
    }
    const TOTAL: u64 = 12_000;
    let (folder, mut first, second, config) = pair();
    let (at_first, at_second) =
        (first.subscribe("glovebox/v1/insurer/#"), second.subscribe("glovebox/v1/insurer/#"));
    let mut driver = Driver::start_with(config, folder.path());
    driver.left = (0..TOTAL).map(|id| (id, message(id))).collect();
    driver.until(60, |driver| driver.acked.len() as u64 >= TOTAL / 4).await;
    first.kill();
    let start = Instant::now();
    let offered = driver.offered.len();
    driver.until(30, |driver| driver.attempts.last().is_some_and(|(attempt, _)| attempt.place == 1)).await;
    let took = start.elapsed();
    driver.until(60, |driver| driver.acked.len() as u64 >= TOTAL / 2).await;
    let doubled = twice(&[&at_first, &at_second]);
    first.restart();
    let start = Instant::now();
    // Slowly, so that there is something under way when it goes back.
    while driver.attempts.last().is_none_or(|(attempt, _)| attempt.place == 1) {
        driver.offer_some(3).await;
        driver.turn(Duration::from_millis(5)).await;
        assert!(start.elapsed() < Duration::from_secs(30), "not back: {:?}", driver.reasons);
    }
    let back = start.elapsed();
    assert_eq!(driver.reasons.last(), Some(&Failure::Rebuilt(Reason::FirstAgain)), "{:?}", driver.reasons);
    driver.until(60, |driver| driver.left.is_empty()).await;
    let end = Instant::now() + Duration::from_secs(5);
    while received(&[&at_first, &at_second]) < TOTAL && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let again = twice(&[&at_first, &at_second]);
    eprintln!(
        "second after {took:?} with {offered} under way, {doubled} twice by then; back after {back:?}, {again} twice in all"
    );
    assert_eq!(received(&[&at_first, &at_second]), TOTAL, "nothing is lost");
    assert!(doubled <= offered as u64, "{doubled} of {offered}");
    assert_eq!(again, doubled, "going back in order doubles nothing");
    // 500 ms at most before the second; going back is asked for after 5 to 10 s.
    assert!(took < Duration::from_secs(4), "{took:?}");
}

fn received(subscribers: &[&Subscriber]) -> u64 {
    ids(&lines(subscribers)).len() as u64
}

fn twice(subscribers: &[&Subscriber]) -> u64 {
    let lines = lines(subscribers);
    (lines.len() - ids(&lines).len()) as u64
}

fn lines(subscribers: &[&Subscriber]) -> Vec<String> {
    subscribers.iter().flat_map(|subscriber| subscriber.lines.lock().unwrap().clone()).collect()
}

/// One that is not there costs no back-off, wherever it stands in the list.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_goes_on_to_the_first_that_is_there() {
    if missing() {
        return;
    }
    let folder = folder();
    let broker = Broker::start(folder.path());
    let nobody = || format!("localhost:{}", free_port());
    let list = format!("{} {} {}", nobody(), nobody(), broker.address());
    let start = Instant::now();
    let mut driver = Driver::start_with(config(&list, &broker.authority.cert, &broker.car), folder.path());
    driver.until(10, |driver| driver.connection.is_some()).await;
    let took = start.elapsed();
    eprintln!("third after {took:?}: {:?}", driver.reasons);
    assert!(matches!(driver.reasons[..], [Failure::Refused { .. }, Failure::Refused { .. }]));
    assert_eq!(driver.attempts[0].0.place, 2);
    assert_eq!(driver.attempts[0].0.broker.to_string(), broker.address());
    assert!(took < Duration::from_secs(3), "{took:?}");
}
