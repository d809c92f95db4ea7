//! A CAN interface as the source of frames, until somebody ends it.

use super::Args;
use super::work::{Tally, Work};
use crate::bus::live::{Clocks, Live, TimeLine, look};
use crate::bus::{Interface, Link, States};
use crate::clock::{Clock, Time as _};
use anyhow::{Context as _, bail, ensure};
use glovebox_core::frame::{CanId, IdPattern};
use glovebox_core::limits::INTERFACE_NAME_BYTES_MAX;
use glovebox_core::names::{BusName, Moment};
use nix::sys::signal::{SigSet, Signal};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// `ARPHRD_CAN` of linux/if_arp.h.
const CAN_TYPE: &str = "280";
/// A signal and a frame end a wait at once; nothing else is to be done.
const BEAT: Duration = Duration::from_secs(60);

/// Whether it may be the name of an interface (netdevice(7)).
pub(super) fn plausible(name: &str) -> bool {
    let strange = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
    (1..=INTERFACE_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(strange)
}

/// Whether there is an interface of that name that can be listened to.
///
/// # Errors
/// There is none, or it is of another kind.
pub(super) fn check(name: &str) -> anyhow::Result<()> {
    let link = look(name);
    ensure!(
        link != Link::Missing,
        "{name}: there is neither such a file nor such an interface; `ip link show` lists interfaces"
    );
    let kind = std::fs::read_to_string(format!("/sys/class/net/{name}/type"));
    if kind.is_ok_and(|kind| kind.trim() != CAN_TYPE) {
        bail!("{name}: there is no such file, and the interface of this name is not a CAN interface");
    }
    if let Link::Down(_) = link {
        writeln!(io::stderr(), "{name} is down: its frames come when it is up (`ip link set {name} up`)")?;
    }
    Ok(())
}

/// Decodes what comes until Ctrl-C or SIGTERM.
///
/// # Errors
/// The kernel gives no socket; the lines cannot be written.
pub(super) fn decode<W: Write>(args: &Args, name: &str, mut work: Work<'_, W>) -> anyhow::Result<Tally> {
    let names = [name.to_owned()];
    let interface = Interface { name: BusName::new("live")?, interface: name.to_owned() };
    let mut live = Live::open(&[interface], Arc::new(States::new(1)))?;
    let stop = stop_on_signal(&live).context("cannot wait for signals")?;
    let Some(bus) = work.bus(0, &names)? else { bail!("{name}: no decoder") };
    live.filter(|number| if args.all { everything() } else { bus.decoder.plan().patterns(number) });
    let clock = Clock::new();
    let mut line = TimeLine::new(wall(clock));
    let mut more = false;
    loop {
        live.wait(if more { Duration::ZERO } else { BEAT }).context("cannot wait for frames")?;
        line.look(wall(clock));
        let stopped = stop.load(Ordering::Acquire);
        let mut result = Ok(());
        more = live.read(&line, |frame| {
            if result.is_ok() {
                result = work.frame(*frame, &names);
            }
        });
        result?;
        work.flush()?;
        // What had come before the signal is still shown.
        if stopped && !more {
            break;
        }
    }
    let tally = work.finish()?;
    let counts = live.counts();
    writeln!(
        io::stderr(),
        "{} frames: {tally}, {} error, {} faulty, {} dropped by the kernel",
        counts.frames,
        counts.errors,
        counts.faulty,
        counts.dropped
    )?;
    Ok(tally)
}

/// Identifiers of both widths.
fn everything() -> Vec<IdPattern> {
    vec![IdPattern { id: CanId::Standard(0), any: 0x7FF }, IdPattern::extended(0, 0x1FFF_FFFF)]
}

/// Wall time is the time line here: people read it.
fn wall(clock: Clock) -> Clocks {
    let wall = clock.now();
    Clocks { wall, moment: Moment(wall.0) }
}

/// Becomes true with the first signal; the second ends the program as usual, should stdout be stuck.
fn stop_on_signal(live: &Live) -> io::Result<Arc<AtomicBool>> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    // Of this thread, and so of those that it starts.
    signals.thread_block()?;
    let (stop, bell) = (Arc::new(AtomicBool::new(false)), live.bell());
    let told = Arc::clone(&stop);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        // It can fail only for signals that do not exist.
        let _ = signals.wait();
        told.store(true, Ordering::Release);
        bell.ring();
        let _ = signals.thread_unblock();
        loop {
            std::thread::park();
        }
    })?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::plausible;

    #[test]
    fn names_of_interfaces() {
        for name in ["can0", "vcan0", "slcan0.1", "a23456789012345"] {
            assert!(plausible(name), "{name}");
        }
        for name in ["", "./can0", "log/drive.log", "a234567890123456", "can 0", "can:0"] {
            assert!(!plausible(name), "{name}");
        }
    }
}
