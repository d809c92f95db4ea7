//! What is to be published, and when: answers first, then batches in their order, as the window and the rate limit
//! allow.

use super::{Connection, Phase, full};
use crate::uplink::failure::Failure;
use crate::uplink::{Event, NotTaken, Ticket};
use glovebox_core::limits::{UPLINK_ACK_MS_MAX, UPLINK_TOPIC_BYTES_MAX, UPLINK_WAITING_MESSAGES};
use glovebox_core::uplink::{Flight, publish_packet_bytes};
use std::time::Duration;
use tokio::time::Instant;

/// A publish that waits for its turn.
pub(super) struct Waiting {
    flight: Flight,
    topic: String,
    payload: Vec<u8>,
    bytes: usize,
}

impl Connection<'_> {
    pub(super) fn offer_batch(&mut self, ticket: Ticket, topic: String, payload: Vec<u8>) {
        if !self.takes() {
            return;
        }
        match self.waiting(Flight::Ticket(ticket), topic, payload, self.batches.len()) {
            Ok(waiting) => self.batches.push_back(waiting),
            Err(reason) => self.around.daemon.reports.push(Event::NotTaken { ticket, reason }),
        }
    }

    pub(super) fn offer_answer(&mut self, topic: String, payload: Vec<u8>) {
        if !self.takes() {
            return;
        }
        match self.waiting(Flight::Answer, topic, payload, self.answers.len()) {
            Ok(waiting) => self.answers.push_back(waiting),
            Err(reason) => tracing::warn!(target: "uplink", %reason, "an answer was not sent"),
        }
    }

    /// What comes while we leave is offered again to the next connection.
    fn takes(&self) -> bool {
        matches!(self.phase, Phase::Subscribing | Phase::Ready)
    }

    fn waiting(
        &self,
        flight: Flight,
        topic: String,
        payload: Vec<u8>,
        before_it: usize,
    ) -> Result<Waiting, NotTaken> {
        let bytes = publish_packet_bytes(topic.len(), payload.len());
        if topic.is_empty() || topic.len() > UPLINK_TOPIC_BYTES_MAX || topic.contains(['+', '#', '\0']) {
            Err(NotTaken::Other(0x90))
        } else if bytes > self.packet_bytes_max {
            Err(NotTaken::TooLarge { bytes, max: self.packet_bytes_max })
        } else if before_it >= UPLINK_WAITING_MESSAGES {
            Err(NotTaken::Crowded)
        } else {
            Ok(Waiting { flight, topic, payload, bytes })
        }
    }

    /// Hands to the client library what there is room and time for.
    pub(super) fn feed(&mut self) -> Result<(), Failure> {
        self.resume = None;
        while let Some(next) = self.next() {
            if self.window.is_empty() {
                self.deadline = Instant::now() + Duration::from_millis(UPLINK_ACK_MS_MAX);
            }
            self.around.meter.sent(next.bytes);
            self.window.offered(next.flight, next.bytes);
            if let Err(error) = self.client.publish(next.topic, next.payload) {
                self.window.taken_back();
                return Err(full(error));
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Waiting> {
        if self.phase != Phase::Ready {
            return None;
        }
        if let Some(answer) = self.answers.front() {
            return if self.window.has_room(answer.bytes) { self.answers.pop_front() } else { None };
        }
        let fits = self.batches.front().is_some_and(|batch| self.window.has_room(batch.bytes));
        if !fits {
            return None;
        }
        self.resume = self.around.meter.not_before();
        if self.resume.is_some() { None } else { self.batches.pop_front() }
    }
}
