//! Events on their way to the daemon. They wait here rather than in the connection, so that a daemon that is busy,
//! or waits for room in the command channel, never holds up a `Cut`.

use super::{Command, Event};
use glovebox_core::limits::UPLINK_EVENTS_WAITING;
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// The other side of the uplink.
pub(super) struct Daemon {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) reports: Reports,
}

/// The daemon is gone.
pub(super) struct Gone;

pub(super) struct Reports {
    waiting: VecDeque<Event>,
    events: mpsc::Sender<Event>,
}

impl Reports {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { waiting: VecDeque::new(), events }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.waiting.push_back(event);
    }

    /// Whether what brings forth more events may go on.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < UPLINK_EVENTS_WAITING
    }

    /// Sends the oldest; without one it waits for ever. May be dropped at any time without a loss.
    pub(super) async fn send_next(&mut self) -> Result<(), Gone> {
        if self.waiting.is_empty() {
            self.events.closed().await;
            return Err(Gone);
        }
        let place = self.events.reserve().await.map_err(|_| Gone)?;
        if let Some(event) = self.waiting.pop_front() {
            place.send(event);
        }
        Ok(())
    }

    /// Sends what there is room for: the end.
    pub(super) fn flush_now(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if self.events.try_send(event).is_err() {
                return;
            }
        }
    }
}
