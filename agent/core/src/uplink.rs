//! Which broker when, back-off, rate limit, in-flight window, acknowledgement to ticket. Pure: what the sockets do is
//! in the shell, which tells these files what happened and asks them what to do next.
//!
//! ```text
//!   offered ─▶ fifo ── sent(packet id) ─▶ in flight ── answered(packet id) ─▶ Flight
//! ```

mod course;
mod pace;

pub use course::{Backoff, Course, End, State, drawn};
pub use pace::Pace;

use crate::limits::{
    ENVELOPE_BYTES_MAX, UPLINK_TOPIC_BYTES_MAX, UPLINK_WINDOW_BYTES, UPLINK_WINDOW_MESSAGES,
};
use crate::names::DeviceId;
use std::collections::{HashMap, VecDeque};

/// What the daemon knows a publish by; it is free to choose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Number of a connection since the start, from 1. A publish names the connection it was offered to, so that one
/// that was on its way when the connection ended cannot go out on the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConnectionNumber(pub u32);

/// A topic on which documents come down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentTopic {
    /// The policy bundle, retained.
    Policy,
    /// Consent records signed by an enrolled owner key.
    Consent,
}

impl DocumentTopic {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Policy, Self::Consent];

    /// The topic of `device`.
    #[must_use]
    pub fn topic(self, device: &DeviceId) -> String {
        let last = match self {
            Self::Policy => "policy",
            Self::Consent => "consent",
        };
        format!("glovebox/v1/device/{device}/{last}")
    }

    /// Which one `topic` is, if it is one of `device`.
    #[must_use]
    pub fn of(topic: &[u8], device: &DeviceId) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.topic(device).as_bytes() == topic)
    }
}

/// The topic on which `device` answers documents.
#[must_use]
pub fn status_topic(device: &DeviceId) -> String {
    format!("glovebox/v1/device/{device}/status")
}

/// The topic of the last will of `device`: the broker publishes it, empty, when the connection ended without a goodbye.
#[must_use]
pub fn gone_topic(device: &DeviceId) -> String {
    format!("glovebox/v1/device/{device}/gone")
}

/// Why a publish was not taken, though the connection holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Nobody subscribes to the topic, so nobody got it: keep it, offer it later.
    #[error("the broker has no subscriber for the topic")]
    NoSubscriber,
    /// It is larger than the broker's maximum packet or than ours; it was not sent.
    #[error(
        "the packet has {bytes} bytes, the limit is {max}: make batches smaller or raise the broker's packet limit"
    )]
    TooLarge {
        /// Bytes of the whole packet.
        bytes: usize,
        /// The smaller of the broker's and our own limit.
        max: usize,
    },
    /// The broker's quota is used up: offer it later.
    #[error("the broker says that its quota is exceeded")]
    Quota,
    /// The broker does not let this car publish there.
    #[error("the broker does not allow this car to publish to the topic: mend the broker's access list")]
    NotAuthorised,
    /// More was offered than fits into the window and the queue before it; it was not sent.
    #[error("too many publishes were offered at once")]
    Crowded,
    /// Another reason code of MQTT 5.
    #[error("the broker refused the message with reason code {0:#04x}")]
    Other(u8),
}

impl NotTaken {
    /// The meaning of a reason code of PUBACK (MQTT 5, table 3-4); `None` is success.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0x00 => None,
            0x10 => Some(Self::NoSubscriber),
            0x87 => Some(Self::NotAuthorised),
            0x97 => Some(Self::Quota),
            other => Some(Self::Other(other)),
        }
    }
}

/// Bytes of a PUBLISH at QoS 1 without properties (MQTT 5, section 3.3).
#[must_use]
pub fn publish_packet_bytes(topic_bytes: usize, payload_bytes: usize) -> usize {
    let remaining = 2 + topic_bytes + 2 + 1 + payload_bytes;
    let length_bytes = match remaining {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    };
    1 + length_bytes + remaining
}

/// The largest packet we send: the broker's limit, or our own where that is smaller.
#[must_use]
pub fn packet_bytes_max(broker: Option<u32>) -> usize {
    let own = ENVELOPE_BYTES_MAX + UPLINK_TOPIC_BYTES_MAX + 16;
    broker.map_or(own, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX).min(own))
}

/// What was handed to the client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flight {
    /// A batch.
    Ticket(Ticket),
    /// An answer to a document: nobody waits for its acknowledgement.
    Answer,
}

/// The client library and the broker disagree with our book-keeping: the connection must not be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disorder {
    /// The client library sent something that was not offered.
    #[error("packet {packet_id} was sent, but nothing was offered")]
    Unoffered {
        /// Its packet id.
        packet_id: u16,
    },
    /// A packet id was given out while it was in use.
    #[error("packet id {packet_id} was given out twice")]
    Twice {
        /// The packet id.
        packet_id: u16,
    },
    /// A PUBACK for a packet that is not in flight.
    #[error("packet {packet_id} was acknowledged, but is not in flight")]
    NotInFlight {
        /// The packet id.
        packet_id: u16,
    },
}

/// What was offered to the client library on this connection and is not acknowledged: first in the order of
/// offering, then, once the library has given it a packet id, by that. A new connection begins with a new window.
#[derive(Debug)]
pub struct Window {
    messages_max: usize,
    fifo: VecDeque<(Flight, usize)>,
    in_flight: HashMap<u16, (Flight, usize)>,
    bytes: usize,
}

impl Window {
    /// A window for a broker that takes `receive_maximum` publishes at once. One place of it stays free, so that
    /// the client library never stops reading its requests, acknowledgements among them.
    #[must_use]
    pub fn new(receive_maximum: Option<u16>) -> Self {
        let broker = receive_maximum.map_or(usize::MAX, |max| usize::from(max).saturating_sub(1).max(1));
        Self {
            messages_max: broker.min(UPLINK_WINDOW_MESSAGES),
            fifo: VecDeque::new(),
            in_flight: HashMap::new(),
            bytes: 0,
        }
    }

    /// Whether `bytes` more may be offered. An empty window takes one message of any size.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.is_empty() || (self.len() < self.messages_max && self.bytes + bytes <= UPLINK_WINDOW_BYTES)
    }

    /// Messages offered and not acknowledged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fifo.len() + self.in_flight.len()
    }

    /// Nothing is offered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// To be called before the message goes to the client library, so that its order is the fifo's.
    pub fn offered(&mut self, flight: Flight, bytes: usize) {
        self.bytes += bytes;
        self.fifo.push_back((flight, bytes));
    }

    /// The client library did not take what was just offered.
    pub fn taken_back(&mut self) {
        if let Some((_, bytes)) = self.fifo.pop_back() {
            self.bytes -= bytes;
        }
    }

    /// The client library has given the oldest offered message `packet_id`.
    ///
    /// # Errors
    /// [`Disorder`]: end the connection.
    pub fn sent(&mut self, packet_id: u16) -> Result<(), Disorder> {
        let front = self.fifo.pop_front().ok_or(Disorder::Unoffered { packet_id })?;
        match self.in_flight.insert(packet_id, front) {
            None => Ok(()),
            Some(_) => Err(Disorder::Twice { packet_id }),
        }
    }

    /// The broker has answered `packet_id`, in whatever sense.
    ///
    /// # Errors
    /// [`Disorder`]: end the connection.
    pub fn answered(&mut self, packet_id: u16) -> Result<Flight, Disorder> {
        let (flight, bytes) = self.in_flight.remove(&packet_id).ok_or(Disorder::NotInFlight { packet_id })?;
        self.bytes -= bytes;
        Ok(flight)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the order of acknowledgements: each ticket comes back once, and by the packet id that it got.
        #[test]
        fn every_ticket_comes_back_once(receive_maximum in prop::option::of(1u16..100), steps in prop::collection::vec(any::<(u8, u16)>(), 0..400)) {
            let mut window = Window::new(receive_maximum);
            let (mut next, mut next_id) = (0u64, 0u16);
            let mut offered = VecDeque::new();
            let mut flying: Vec<(u16, u64)> = Vec::new();
            for (kind, pick) in steps {
                match kind % 3 {
                    0 if window.has_room(usize::from(pick)) => {
                        window.offered(Flight::Ticket(Ticket(next)), usize::from(pick));
                        offered.push_back(next);
                        next += 1;
                    }
                    1 if !offered.is_empty() => {
                        next_id = next_id.wrapping_add(1).max(1);
                        window.sent(next_id).unwrap();
                        flying.push((next_id, offered.pop_front().unwrap()));
                    }
                    2 if !flying.is_empty() => {
                        let (id, ticket) = flying.swap_remove(usize::from(pick) % flying.len());
                        prop_assert_eq!(window.answered(id).unwrap(), Flight::Ticket(Ticket(ticket)));
                        prop_assert_eq!(window.answered(id), Err(Disorder::NotInFlight { packet_id: id }));
                    }
                    _ => {}
                }
                prop_assert_eq!(window.len(), offered.len() + flying.len());
                let most = receive_maximum.map_or(UPLINK_WINDOW_MESSAGES, usize::from).min(UPLINK_WINDOW_MESSAGES);
                prop_assert!(window.len() <= most);
                if window.is_empty() { prop_assert_eq!(window.bytes, 0); }
            }
        }
    }

    #[test]
    fn bytes_bound_the_window_but_one_message_may_always_go() {
        let mut window = Window::new(None);
        assert!(window.has_room(10 * UPLINK_WINDOW_BYTES));
        window.offered(Flight::Answer, UPLINK_WINDOW_BYTES - 10);
        assert!(window.has_room(10) && !window.has_room(11));
        window.taken_back();
        assert!(window.has_room(11) && window.is_empty());
    }

    #[test]
    fn what_was_never_offered_or_sent_twice_is_disorder() {
        let mut window = Window::new(Some(10));
        assert_eq!(window.sent(1), Err(Disorder::Unoffered { packet_id: 1 }));
        window.offered(Flight::Answer, 1);
        window.offered(Flight::Answer, 1);
        window.sent(1).unwrap();
        assert_eq!(window.sent(1), Err(Disorder::Twice { packet_id: 1 }));
    }

    #[test]
    fn sizes_of_packets_follow_the_length_field() {
        for (payload, bytes) in [(122, 129), (123, 131), (16_378, 16_386), (16_379, 16_388)] {
            assert_eq!(publish_packet_bytes(0, payload), bytes);
        }
        assert_eq!(packet_bytes_max(Some(1_000)), 1_000);
        assert!(packet_bytes_max(None) >= publish_packet_bytes(UPLINK_TOPIC_BYTES_MAX, ENVELOPE_BYTES_MAX));
    }

    #[test]
    fn topics_are_those_of_the_device_alone() {
        let (car, other) = (DeviceId::new("car-1").unwrap(), DeviceId::new("car-11").unwrap());
        for topic in DocumentTopic::ALL {
            assert_eq!(DocumentTopic::of(topic.topic(&car).as_bytes(), &car), Some(topic));
            assert_eq!(DocumentTopic::of(topic.topic(&other).as_bytes(), &car), None);
        }
        assert_eq!(status_topic(&car), "glovebox/v1/device/car-1/status");
        assert_eq!(gone_topic(&car), "glovebox/v1/device/car-1/gone");
    }

    #[test]
    fn reason_codes_keep_their_meaning() {
        assert_eq!(NotTaken::from_code(0), None);
        assert_eq!(NotTaken::from_code(0x10), Some(NotTaken::NoSubscriber));
        assert_eq!(NotTaken::from_code(0x83), Some(NotTaken::Other(0x83)));
    }
}
