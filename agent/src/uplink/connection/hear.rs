//! What the broker says: taken, subscribed, acknowledged, documents.

use super::{Connection, Ended, FAR, Phase, full};
use crate::uplink::failure::Failure;
use crate::uplink::mqtt::{Heard, Message, Receipt, Taken};
use crate::uplink::{ConnectionNumber, DocumentTopic, Event, NotTaken};
use glovebox_core::limits::{DOCUMENT_BYTES_MAX, UPLINK_ACK_MS_MAX, UPLINK_SUBACK_MS_MAX};
use glovebox_core::uplink::{Flight, Window, packet_bytes_max};
use std::time::Duration;
use tokio::time::Instant;

impl Connection<'_> {
    pub(super) fn on_heard(
        &mut self,
        heard: Heard,
        connected: &mut impl FnMut() -> ConnectionNumber,
    ) -> Result<(), Ended> {
        let step = match heard {
            Heard::Taken(answer) => self.on_taken(&answer, connected()),
            Heard::Subscribed(refusals) => self.on_subscribed(&refusals),
            Heard::Answered(packet_id, reason) => {
                self.on_answer(packet_id, reason).map_err(Ended::failed)?;
                self.look_whether_drained()?;
                self.feed()
            }
            Heard::Message(message) => self.on_document(message),
            Heard::Sent(packet_id) => self.window.sent(packet_id).map_err(Failure::from),
            Heard::Alive | Heard::Own => Ok(()),
        };
        step.map_err(Ended::failed)
    }

    /// The connection is over, but what the broker has acknowledged stays acknowledged.
    pub(super) fn on_last(&mut self, heard: &Heard) {
        let step = match heard {
            Heard::Answered(packet_id, reason) => self.on_answer(*packet_id, *reason),
            Heard::Sent(packet_id) => self.window.sent(*packet_id).map_err(Failure::from),
            _ => Ok(()),
        };
        if let Err(failure) = step {
            tracing::warn!(target: "uplink", %failure, "after the end");
        }
    }

    fn on_taken(&mut self, answer: &Taken, number: ConnectionNumber) -> Result<(), Failure> {
        let Taken { session_present, receive_maximum, packet_bytes_max: packet_max } = *answer;
        if receive_maximum == Some(0) || packet_max == Some(0) {
            return Err(Failure::Protocol { detail: "CONNACK allows no messages at all".to_owned() });
        }
        self.window = Window::new(receive_maximum);
        self.packet_bytes_max = packet_bytes_max(packet_max);
        self.number = Some(number);
        let setup = self.around.setup;
        tracing::info!(target: "uplink", connection = number.0, broker = %self.attempt.broker,
            mqtt = %setup.config.protocol, session_present, receive_maximum, packet_max, "connected");
        self.around.daemon.reports.push(Event::Connected {
            connection: number,
            session_present,
            attempt: self.attempt.clone(),
            network: self.network.clone(),
        });
        let known = self.around.known && session_present;
        self.phase = Phase::Subscribing;
        self.deadline = Instant::now() + Duration::from_millis(UPLINK_SUBACK_MS_MAX);
        if self.client.subscribe(&setup.identity, known).map_err(full)? { Ok(()) } else { self.begin() }
    }

    fn on_subscribed(&mut self, refusals: &[Option<String>]) -> Result<(), Failure> {
        if self.phase != Phase::Subscribing {
            return Ok(());
        }
        for (topic, code) in DocumentTopic::ALL.into_iter().zip(refusals) {
            if let Some(code) = code {
                tracing::warn!(target: "uplink", ?topic, code, "not subscribed: documents cannot come down; mend the broker's access list");
                self.around.daemon.reports.push(Event::NotSubscribed { topic });
            }
        }
        self.begin()
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.phase = Phase::Ready;
        self.subscribed = true;
        self.expect_answer();
        self.feed()
    }

    fn on_answer(&mut self, packet_id: u16, reason: Option<NotTaken>) -> Result<(), Failure> {
        let Flight::Ticket(ticket) = self.window.answered(packet_id)? else {
            self.expect_answer();
            return Ok(());
        };
        self.delivered |= reason.is_none();
        self.around.daemon.reports.push(match reason {
            None => Event::Acked { ticket },
            Some(reason) => Event::NotTaken { ticket, reason },
        });
        self.expect_answer();
        Ok(())
    }

    fn on_document(&mut self, message: Message) -> Result<(), Failure> {
        let Message { topic, packet_id, payload } = message;
        match DocumentTopic::of(&topic, &self.around.setup.identity) {
            Some(topic) if payload.len() <= DOCUMENT_BYTES_MAX => {
                let receipt = Receipt::new(self.acks.clone(), packet_id);
                self.around.daemon.reports.push(Event::Document { topic, payload, receipt });
                Ok(())
            }
            _ => {
                tracing::warn!(target: "uplink", bytes = payload.len(), "a message that was not asked for, or too large, is ignored");
                self.acknowledge(packet_id).map_err(|ended| ended.reason)
            }
        }
    }

    pub(super) fn acknowledge(&mut self, packet_id: u16) -> Result<(), Ended> {
        if packet_id == 0 {
            return Ok(());
        }
        self.client.acknowledge(packet_id).map_err(|error| Ended::failed(full(error)))
    }

    /// Something moved: the limit for the next acknowledgement starts anew.
    fn expect_answer(&mut self) {
        if self.phase == Phase::Ready {
            let limit = if self.window.is_empty() { FAR } else { Duration::from_millis(UPLINK_ACK_MS_MAX) };
            self.deadline = Instant::now() + limit;
        }
    }
}
