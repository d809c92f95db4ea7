//! A bad network between a car and its broker: a TCP relay on this machine that delays, throttles, cuts off, resets and
//! goes half-open, as it is told.

use anyhow::Result;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// How the network is; a change takes hold of connections that are open too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// As it should be.
    Good,
    /// Each byte is late by this, both ways.
    Late(Duration),
    /// So many bytes a second, each way.
    Slow(u64),
    /// Connections are reset (RST) after so many bytes of both ways together.
    ResetAfter(u64),
    /// Connections are closed (FIN) after so many bytes: in the middle of a packet.
    EndAfter(u64),
    /// Connections go half-open after so many bytes of both ways together.
    StuckAfter(u64),
    /// Connections stay and new ones are taken, and not a byte goes through. Those that were open then stay dead.
    HalfOpen,
}

/// How often a pump looks whether the network has changed.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A read at once, and what a slow network carries in one piece.
const PIECE: usize = 4096;

/// The relay. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: u16,
    network: Mutex<Network>,
    ended: AtomicBool,
    connections: AtomicU64,
}

impl Shared {
    fn network(&self) -> Network {
        *self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Relays from a free port of this machine to `to` (`HOST:PORT` on this machine).
    ///
    /// # Errors
    /// If there is no port.
    pub fn new(to: &str) -> Result<Self> {
        let to = to.rsplit(':').next().unwrap_or_default().parse()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (ended, connections) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { to, network: Mutex::new(Network::Good), ended, connections });
        let ours = Arc::clone(&shared);
        spawn(move || {
            for taken in listener.incoming().map_while(Result::ok) {
                if ours.ended.load(Ordering::Acquire) {
                    return;
                }
                ours.connections.fetch_add(1, Ordering::AcqRel);
                let ours = Arc::clone(&ours);
                spawn(move || relay(&taken, &ours));
            }
        });
        Ok(Self { port, shared })
    }

    /// `localhost:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// From now on the network is like this.
    pub fn set(&self, network: Network) {
        *self.shared.network.lock().unwrap_or_else(PoisonError::into_inner) = network;
    }

    /// Connections that were taken so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // Wakes whoever waits for a connection.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// One connection: its two sockets, and what both pumps know of it.
struct Pair {
    car: TcpStream,
    broker: TcpStream,
    bytes: AtomicU64,
    over: AtomicBool,
    dead: AtomicBool,
}

fn relay(car: &TcpStream, shared: &Arc<Shared>) {
    let Ok(broker) = TcpStream::connect(("127.0.0.1", shared.to)) else { return };
    let Ok(car) = car.try_clone() else { return };
    let (bytes, over, dead) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let pair = Arc::new(Pair { car, broker, bytes, over, dead });
    for upwards in [true, false] {
        let (pair, shared) = (Arc::clone(&pair), Arc::clone(shared));
        let (late, due) = channel();
        let (writing, ours) = (Arc::clone(&pair), Arc::clone(&shared));
        spawn(move || write(&writing, &ours, upwards, &due));
        spawn(move || read(&pair, &shared, upwards, &late));
    }
}

/// What is to be written, and when at the earliest.
type Piece = (Instant, Vec<u8>);

fn read(pair: &Pair, shared: &Shared, upwards: bool, late: &Sender<Piece>) {
    let mut from = if upwards { &pair.car } else { &pair.broker };
    let _bounded = from.set_read_timeout(Some(LOOK_EVERY));
    let mut buffer = vec![0; PIECE];
    while !pair.over.load(Ordering::Acquire) && !shared.ended.load(Ordering::Acquire) {
        if pair.dead.load(Ordering::Acquire) {
            sleep(LOOK_EVERY);
            continue;
        }
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(_) => break,
        };
        let network = shared.network();
        if network == Network::HalfOpen {
            pair.dead.store(true, Ordering::Release);
            continue;
        }
        let after = if let Network::Late(by) = network { by } else { Duration::ZERO };
        if count > 0 && late.send((Instant::now() + after, buffer[..count].to_vec())).is_err() {
            break;
        }
    }
}

fn write(pair: &Pair, shared: &Shared, upwards: bool, due: &Receiver<Piece>) {
    let mut to = if upwards { &pair.broker } else { &pair.car };
    while let Ok((at, bytes)) = due.recv() {
        sleep(at.saturating_duration_since(Instant::now()));
        let network = shared.network();
        let left = match network {
            Network::ResetAfter(most) | Network::EndAfter(most) | Network::StuckAfter(most) => {
                let before = pair.bytes.fetch_add(bytes.len() as u64, Ordering::AcqRel);
                usize::try_from(most.saturating_sub(before)).unwrap_or(usize::MAX).min(bytes.len())
            }
            _ => bytes.len(),
        };
        if to.write_all(&bytes[..left]).is_err() {
            break;
        }
        if left < bytes.len() && matches!(network, Network::StuckAfter(_)) {
            pair.dead.store(true, Ordering::Release);
            continue;
        }
        if left < bytes.len() {
            if matches!(network, Network::ResetAfter(_)) {
                reset_when_closed(&pair.car);
                reset_when_closed(&pair.broker);
            }
            break;
        }
        if let Network::Slow(rate) = network {
            sleep(Duration::from_secs_f64(bytes.len() as f64 / rate.max(1) as f64));
        }
    }
    pair.over.store(true, Ordering::Release);
    let lingers = |socket: &TcpStream| {
        nix::sys::socket::getsockopt(socket, sockopt::Linger).is_ok_and(|it| it.l_onoff != 0)
    };
    // A shutdown would send FIN: for RST the sockets are closed instead, when the last pump lets go of them.
    if !lingers(&pair.car) {
        let _gone = pair.car.shutdown(Shutdown::Both);
        let _gone = pair.broker.shutdown(Shutdown::Both);
    }
}

fn reset_when_closed(socket: &TcpStream) {
    let _gone = setsockopt(socket, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 });
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    /// A connection through a proxy to somebody who sends back what comes.
    fn echo() -> Result<(Proxy, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Proxy::new(&listener.local_addr()?.to_string())?;
        spawn(move || {
            for mut taken in listener.incoming().map_while(Result::ok) {
                spawn(move || {
                    let mut buffer = [0; 1000];
                    while let Ok(count @ 1..) = taken.read(&mut buffer) {
                        let _gone = taken.write_all(&buffer[..count]);
                    }
                });
            }
        });
        let client = TcpStream::connect(("127.0.0.1", proxy.port))?;
        client.set_read_timeout(Some(Duration::from_millis(300)))?;
        Ok((proxy, client))
    }

    fn round(mut client: &TcpStream, bytes: usize) -> std::io::Result<Duration> {
        let start = Instant::now();
        client.write_all(&vec![7; bytes])?;
        client.read_exact(&mut vec![0; bytes])?;
        Ok(start.elapsed())
    }

    #[test]
    fn the_network_is_as_bad_as_it_was_told() -> Result<()> {
        let (proxy, client) = echo()?;
        ensure!(round(&client, 100)? < Duration::from_millis(200), "good");
        client.set_read_timeout(Some(Duration::from_secs(5)))?;
        proxy.set(Network::Late(Duration::from_millis(150)));
        ensure!(round(&client, 100)? >= Duration::from_millis(300), "late");
        proxy.set(Network::Slow(1000));
        round(&client, 500)?;
        ensure!(round(&client, 100)? >= Duration::from_millis(400), "slow: it waits behind the one before");
        client.set_read_timeout(Some(Duration::from_millis(300)))?;
        proxy.set(Network::HalfOpen);
        sleep(LOOK_EVERY * 4);
        let silent = round(&client, 100).err().map(|error| error.kind());
        ensure!(silent == Some(ErrorKind::WouldBlock), "half-open: {silent:?}");
        proxy.set(Network::Good);
        let silent = round(&client, 100).err().map(|error| error.kind());
        ensure!(silent == Some(ErrorKind::WouldBlock), "it stays dead: {silent:?}");
        Ok(())
    }

    #[test]
    fn connections_end_and_are_reset_within_a_message() -> Result<()> {
        for (network, kind) in [
            (Network::EndAfter(150), ErrorKind::UnexpectedEof),
            (Network::ResetAfter(150), ErrorKind::ConnectionReset),
        ] {
            let (proxy, client) = echo()?;
            proxy.set(network);
            let end = round(&client, 100).err().map(|error| error.kind());
            ensure!(end == Some(kind), "{network:?}: {end:?}");
        }
        Ok(())
    }
}
