//! What the service manager and a person are told: readiness, a watchdog that is fed by progress only,
//! counters and status.

mod counters;
mod status;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

pub use counters::{Counter, Counters, Snapshot};
pub use status::{BusStatus, FlowStatus, LinkState, LinkStatus, NoticeStatus, QueueStatus, Status};

/// Speaks to systemd; silent where the process was started by something else.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manager(());

impl Manager {
    /// Everything is up: commands are answered, frames are taken.
    ///
    /// # Errors
    /// The socket of the service manager cannot be written.
    pub fn ready(self, status: &str) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
    }

    /// A line for `systemctl status`.
    ///
    /// # Errors
    /// The socket of the service manager cannot be written.
    pub fn status(self, status: &str) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Status(&one_line(status))])
    }

    /// The stop has begun.
    ///
    /// # Errors
    /// The socket of the service manager cannot be written.
    pub fn stopping(self) -> io::Result<()> {
        sd_notify::notify(&[NotifyState::Stopping])
    }

    /// How often [`Watchdog::look`] is to be called: half of what the unit allows; `None` without watchdog.
    #[must_use]
    pub fn watchdog_every(self) -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|limit| limit / 2)
    }
}

/// A line break would begin another assignment in the protocol.
fn one_line(status: &str) -> String {
    status.replace(char::is_control, " ")
}

/// The pulse of one task: it beats each time round its loop, also when there is nothing to do.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Once round.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Watches the pulses. The service manager hears of it only if every task has moved since the last look:
/// a task that hangs must not be covered by a timer that does not.
#[derive(Debug, Default)]
pub struct Watchdog {
    tasks: Mutex<Vec<Task>>,
}

#[derive(Debug)]
struct Task {
    name: &'static str,
    pulse: Arc<AtomicU64>,
    seen: u64,
}

impl Watchdog {
    /// A pulse for the task `name` (its stage). A task that ends drops its pulse and is no longer watched.
    #[must_use]
    pub fn pulse(&self, name: &'static str) -> Pulse {
        let pulse = Arc::new(AtomicU64::new(1));
        let task = Task { name, pulse: Arc::clone(&pulse), seen: 0 };
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        Pulse(pulse)
    }

    /// The tasks that have not moved since the last look.
    #[must_use]
    pub fn standing(&self) -> Vec<&'static str> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| Arc::strong_count(&task.pulse) > 1);
        let mut standing = Vec::new();
        for task in tasks.iter_mut() {
            let now = task.pulse.load(Ordering::Relaxed);
            if now == task.seen {
                standing.push(task.name);
            }
            task.seen = now;
        }
        standing
    }

    /// Feeds the service manager's watchdog if all tasks have moved; returns those that have not.
    ///
    /// # Errors
    /// The socket of the service manager cannot be written.
    pub fn look(&self) -> io::Result<Vec<&'static str>> {
        let standing = self.standing();
        if standing.is_empty() {
            sd_notify::notify(&[NotifyState::Watchdog])?;
        }
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_stands_still_is_named_until_it_moves_or_ends() {
        let watchdog = Watchdog::default();
        let (bus, uplink) = (watchdog.pulse("bus"), watchdog.pulse("uplink"));
        assert!(watchdog.standing().is_empty(), "a new task has a full interval");
        bus.beat();
        assert_eq!(watchdog.standing(), ["uplink"]);
        assert_eq!(watchdog.standing(), ["bus", "uplink"]);
        bus.beat();
        uplink.beat();
        assert!(watchdog.standing().is_empty());
        drop(uplink);
        bus.beat();
        assert!(watchdog.standing().is_empty());
    }

    #[test]
    fn a_status_stays_one_line() {
        assert_eq!(one_line("up\nWATCHDOG=1"), "up WATCHDOG=1");
    }
}
