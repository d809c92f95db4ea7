//! Connection states, back-off, in-flight window, acknowledgement to ticket. Pure: what the sockets do is in the
//! shell, which tells this file what happened and asks it what to do next.
//!
//! ```text
//!            wanted                 connected               ended
//!   Away ───────────▶ Connecting ─────────────▶ Connected ─────────▶ Waiting(until) ──▶ Connecting
//!     ◀── not wanted ──────┴────────────────────────┴────────────────────┘
//!
//!   offered ─▶ fifo ── sent(packet id) ─▶ in flight ── answered(packet id) ─▶ Flight
//! ```

use crate::limits::{
    BACKOFF_MAX_MS, BACKOFF_MIN_MS, ENVELOPE_BYTES_MAX, UPLINK_HELD_MS, UPLINK_TOPIC_BYTES_MAX,
    UPLINK_WINDOW_BYTES, UPLINK_WINDOW_MESSAGES,
};
use crate::names::{DeviceId, Moment};
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

/// Waits between connections: full jitter, so that a million cars do not come back in the same second.
/// The n-th wait in a row is drawn evenly from 0 to `BACKOFF_MIN_MS` · 2ⁿ, at most `BACKOFF_MAX_MS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait in milliseconds; `random` is 64 fresh random bits.
    pub fn next_ms(&mut self, random: u64) -> u64 {
        self.failures = self.failures.saturating_add(1);
        let ceiling = self.ceiling_ms();
        // The product's upper half is even over 0..=ceiling but for 2⁻⁴⁵ (ceiling is below 2¹⁹).
        let product = u128::from(random) * u128::from(ceiling + 1);
        u64::try_from(product >> 64).unwrap_or(ceiling)
    }

    /// The longest that the last wait could be.
    #[must_use]
    pub fn ceiling_ms(&self) -> u64 {
        let factor = 1u64.checked_shl(self.failures.min(32)).unwrap_or(u64::MAX);
        BACKOFF_MIN_MS.saturating_mul(factor).min(BACKOFF_MAX_MS)
    }

    /// Starts anew: the connection held.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// What the uplink is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Told to stay away.
    Away,
    /// Opening a connection.
    Connecting,
    /// A broker has taken us.
    Connected {
        /// Which connection.
        number: ConnectionNumber,
        /// Since when.
        since: Moment,
    },
    /// The next attempt is at this moment.
    Waiting {
        /// When.
        until: Moment,
    },
}

/// The connection states and the rule of going from one to the next.
#[derive(Debug, Clone)]
pub struct Course {
    state: State,
    wanted: bool,
    backoff: Backoff,
    number: ConnectionNumber,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            state: State::Connecting,
            wanted: true,
            backoff: Backoff::default(),
            number: ConnectionNumber::default(),
        }
    }
}

impl Course {
    /// What to do now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The broker took us.
    pub fn connected(&mut self, now: Moment) -> ConnectionNumber {
        self.number = ConnectionNumber(self.number.0.wrapping_add(1));
        self.state = State::Connected { number: self.number, since: now };
        self.number
    }

    /// The connection, or the attempt, ended. `random` is 64 fresh random bits.
    pub fn ended(&mut self, now: Moment, random: u64) -> State {
        if let State::Connected { since, .. } = self.state
            && now.0.saturating_sub(since.0) >= i64::try_from(UPLINK_HELD_MS * 1_000).unwrap_or(i64::MAX)
        {
            self.backoff.reset();
        }
        let wait_us = i64::try_from(self.backoff.next_ms(random).saturating_mul(1_000)).unwrap_or(i64::MAX);
        self.state = if self.wanted { State::Waiting { until: now.plus_us(wait_us) } } else { State::Away };
        self.state
    }

    /// The wait is over.
    pub fn waited(&mut self) {
        if matches!(self.state, State::Waiting { .. }) {
            self.state = State::Connecting;
        }
    }

    /// Whether there is to be a connection. Coming back from [`State::Away`] is at once; a wait is not shortened.
    pub fn want(&mut self, wanted: bool) {
        self.wanted = wanted;
        match self.state {
            State::Away if wanted => self.state = State::Connecting,
            State::Waiting { .. } | State::Connecting if !wanted => self.state = State::Away,
            _ => {}
        }
    }
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
        #[test]
        fn a_wait_lies_between_zero_and_its_ceiling(randoms in prop::collection::vec(any::<u64>(), 1..64)) {
            let mut backoff = Backoff::default();
            let mut before = 0;
            for random in randoms {
                let wait = backoff.next_ms(random);
                prop_assert!(wait <= backoff.ceiling_ms());
                prop_assert!(backoff.ceiling_ms() >= before && backoff.ceiling_ms() <= BACKOFF_MAX_MS);
                before = backoff.ceiling_ms();
            }
            backoff.reset();
            backoff.next_ms(0);
            prop_assert_eq!(backoff.ceiling_ms(), 2 * BACKOFF_MIN_MS);
        }

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
    fn waits_are_spread_over_the_whole_range() {
        let mut backoff = Backoff::default();
        let mut seen = [0u32; 10];
        for step in 0..10_000u64 {
            backoff.reset();
            let wait = backoff.next_ms(step * (u64::MAX / 10_000));
            seen[usize::try_from(wait * 10 / (2 * BACKOFF_MIN_MS + 1)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (900..1_100).contains(count)), "{seen:?}");
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
    fn only_a_connection_that_held_starts_the_backoff_anew() {
        let mut course = Course::default();
        let mut now = Moment(0);
        for _ in 0..8 {
            assert_eq!(course.state(), State::Connecting);
            course.connected(now);
            now = now.plus_us(1_000_000);
            course.ended(now, u64::MAX);
            course.waited();
        }
        assert_eq!(course.backoff.ceiling_ms(), BACKOFF_MIN_MS << 8);
        assert_eq!(course.connected(now), ConnectionNumber(9));
        now = now.plus_us(60_000_000);
        let wait = i64::try_from(2 * BACKOFF_MIN_MS * 1_000).unwrap();
        assert_eq!(course.ended(now, u64::MAX), State::Waiting { until: now.plus_us(wait) });
    }

    #[test]
    fn who_is_told_to_stay_away_does() {
        let mut course = Course::default();
        course.want(false);
        assert_eq!(course.state(), State::Away);
        course.want(true);
        assert_eq!(course.state(), State::Connecting);
        course.connected(Moment(0));
        course.want(false);
        assert_eq!(course.ended(Moment(5), 7), State::Away);
        course.waited();
        assert_eq!(course.state(), State::Away);
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
    }

    #[test]
    fn reason_codes_keep_their_meaning() {
        assert_eq!(NotTaken::from_code(0), None);
        assert_eq!(NotTaken::from_code(0x10), Some(NotTaken::NoSubscriber));
        assert_eq!(NotTaken::from_code(0x83), Some(NotTaken::Other(0x83)));
    }
}
