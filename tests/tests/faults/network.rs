//! A network that delays, throttles, cuts connections off within a packet, resets them, and goes half-open: nothing that
//! was stored is lost, and the agent finds back by itself.

use crate::{behind_a_proxy, end, rounds};
use anyhow::{Result, ensure};
use glovebox_tests::need;
use glovebox_tests::proxy::{Network, Proxy};
use glovebox_tests::stage::{STORED_A_LIFE, Stage};
use std::time::{Duration, Instant};

/// Keep-alive in the settings of the tests.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A link that says nothing is given up within two keep-alives, and on a busy machine a little later.
const NOTICED: Duration = Duration::from_secs(2 * KEEP_ALIVE.as_secs() + 3);
/// The longest wait of the back-off after the failures of one round, and TLS over a good network.
const BACK: Duration = Duration::from_secs(90);
/// A round takes as long as so many lives.
const LIVES: u64 = 25;
/// So long a bad network lasts: the agent comes back more than once meanwhile.
const BAD: Duration = Duration::from_secs(3);

/// Rounds of one kind of network. Each begins with a fresh agent, so that the waits of one do not add up to those of
/// the next.
fn suffer(test: &str, fault: &str, bad: impl Fn(&mut Stage, &Proxy) -> Result<()>) -> Result<()> {
    let Some(()) = need::broker(test)? else { return Ok(()) };
    let (mut stage, proxy) = behind_a_proxy(test)?;
    for _ in 0..rounds(LIVES) {
        stage.agent.start()?;
        stage.stores(STORED_A_LIFE)?;
        bad(&mut stage, &proxy)?;
        let since = Instant::now();
        proxy.set(Network::Good);
        stage.recovers(since, BACK)?;
        stage.kill()?;
    }
    stage.agent.start()?;
    let row = end(stage, fault, rounds(LIVES))?;
    ensure!(row.lost == 0, "{row:?}");
    Ok(())
}

/// The network is bad for a while, and the agent keeps storing.
fn lasts(stage: &mut Stage, proxy: &Proxy, network: Network) -> Result<()> {
    let stored = stage.agent.stored().len();
    proxy.set(network);
    std::thread::sleep(BAD);
    ensure!(stage.agent.stored().len() > stored, "nothing was stored while the network was {network:?}");
    Ok(())
}

#[test]
fn delays_cost_nothing() -> Result<()> {
    suffer("faults_network_late", "network: 400 ms late each way", |stage, proxy| {
        let before = stage.printed();
        lasts(stage, proxy, Network::Late(Duration::from_millis(400)))?;
        ensure!(stage.printed() > before, "nothing came over a network that is only late");
        Ok(())
    })
}

#[test]
fn a_slow_network_costs_nothing() -> Result<()> {
    suffer("faults_network_slow", "network: 8 kB/s", |stage, proxy| {
        let before = stage.printed();
        lasts(stage, proxy, Network::Slow(8_000))?;
        ensure!(stage.printed() > before, "nothing came over a network that is only slow");
        Ok(())
    })
}

#[test]
fn resets_cost_nothing() -> Result<()> {
    suffer("faults_network_resets", "network: reset at random bytes", |stage, proxy| {
        let connections = proxy.connections();
        let after = stage.random.below(12_000);
        lasts(stage, proxy, Network::ResetAfter(after))?;
        ensure!(proxy.connections() > connections, "no connection was made anew");
        Ok(())
    })
}

#[test]
fn connections_cut_off_within_a_packet_cost_nothing() -> Result<()> {
    suffer("faults_network_ends", "network: closed within a packet", |stage, proxy| {
        let connections = proxy.connections();
        let after = stage.random.below(12_000);
        lasts(stage, proxy, Network::EndAfter(after))?;
        ensure!(proxy.connections() > connections, "no connection was made anew");
        Ok(())
    })
}

#[test]
fn a_half_open_network_is_noticed_and_costs_nothing() -> Result<()> {
    suffer("faults_network_half_open", "network: half-open", |stage, proxy| {
        let start = Instant::now();
        lasts(stage, proxy, Network::HalfOpen)?;
        stage.agent.wait_for("the silence to be noticed", NOTICED, |status| {
            status["link"]["state"] != "connected"
        })?;
        need::say(&format!("a half-open link was noticed after {:.1} s", start.elapsed().as_secs_f64()));
        Ok(())
    })
}
