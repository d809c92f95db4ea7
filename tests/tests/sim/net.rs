//! The uplink, the network and a broker, by the commands and events of the real uplink and with its window, back-off and
//! course. In place of sockets there are two queues that can be cut, stopped and delayed.
//!
//! ```text
//! Command ─▶ waiting ─▶ window ─▶ up ═════▶ broker ─▶ recipient
//! Event  ◀──────────────────────── down ◀══════┘ PUBACK: success, refused, lost, doubled, late
//! ```

use std::collections::VecDeque;

use glovebox::uplink::{Attempt, Broker, Command, ConnectionNumber, Event, Failure, NotTaken, Ticket};
use glovebox_core::limits::UPLINK_WAITING_MESSAGES;
use glovebox_core::names::Moment;
use glovebox_core::uplink::{Course, End, Flight, State, Window, packet_bytes_max, publish_packet_bytes};
use glovebox_tests::seeded::Seeded;

/// Reason codes of PUBACK (MQTT 5, table 3-4) by which a broker refuses; the last one for good.
const REFUSALS: [u8; 4] = [0x10, 0x87, 0x97, 0x80];

/// What the broker and the network are like now.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// Nothing gets through, and nobody is told.
    pub silent: bool,
    /// No new connection.
    pub away: bool,
    /// Of 100 publishes so many are refused.
    pub refuses: u64,
    /// Of 100 acknowledgements so many are lost, and so many come twice.
    pub loses: u64,
    pub doubles: u64,
    /// The broker's largest packet, in bytes.
    pub packet_max: Option<u32>,
    pub receive_max: Option<u16>,
}

/// A publish on its way.
#[derive(Debug)]
pub struct Parcel {
    pub ticket: Ticket,
    pub topic: String,
    pub payload: Vec<u8>,
}

impl Parcel {
    fn bytes(&self) -> usize {
        publish_packet_bytes(self.topic.len(), self.payload.len())
    }
}

struct Link {
    number: ConnectionNumber,
    window: Window,
    waiting: VecDeque<Parcel>,
    up: VecDeque<(u16, Parcel)>,
    down: VecDeque<(u16, u8)>,
    next_id: u16,
}

/// What came of a step.
#[derive(Default)]
pub struct Happened {
    pub events: Vec<Event>,
    /// What the broker passed on to the recipient.
    pub delivered: Vec<Parcel>,
}

pub struct Net {
    pub random: Seeded,
    pub weather: Weather,
    course: Course,
    link: Option<Link>,
    /// Answers of a broker that come again, whatever the connection.
    old: Vec<Ticket>,
}

/// There is one broker, and no certificate that could end.
fn attempt() -> Attempt {
    let broker = Broker::new("broker.example:8883").unwrap();
    Attempt { broker, place: 0, certificate_until: None }
}

impl Net {
    pub fn new(random: Seeded) -> Self {
        Self { random, weather: Weather::default(), course: Course::new(1), link: None, old: Vec::new() }
    }

    pub fn connection(&self) -> Option<ConnectionNumber> {
        self.link.as_ref().map(|link| link.number)
    }

    fn percent(&mut self, percent: u64) -> bool {
        percent > 0 && self.random.below(100) < percent
    }

    /// A command of the agent.
    pub fn take(&mut self, command: Command, out: &mut Happened) {
        let Command::Publish { connection, ticket, topic, payload } = command else { return };
        let packet_max = packet_bytes_max(self.weather.packet_max);
        let Some(link) = self.link.as_mut().filter(|link| link.number == connection) else { return };
        let parcel = Parcel { ticket, topic, payload };
        let bytes = parcel.bytes();
        if bytes > packet_max {
            let reason = NotTaken::TooLarge { bytes, max: packet_max };
            out.events.push(Event::NotTaken { ticket, reason });
        } else if link.waiting.len() >= UPLINK_WAITING_MESSAGES {
            out.events.push(Event::NotTaken { ticket, reason: NotTaken::Crowded });
        } else {
            link.waiting.push_back(parcel);
        }
    }

    /// One small step of whatever is going on.
    pub fn step(&mut self, now: Moment) -> Happened {
        let mut out = Happened::default();
        match self.course.state() {
            State::Waiting { until } if now >= until => self.course.waited(),
            State::Connecting if !self.weather.away => self.connect(now, &mut out),
            State::Connecting => self.ended(now, &mut out),
            State::Connected { .. } if !self.weather.silent => match self.random.below(4) {
                0 => self.hand_over(),
                1 => self.arrive(&mut out),
                2 => self.answer(now, &mut out),
                _ => {}
            },
            _ => {}
        }
        if !self.old.is_empty() && self.random.one_in(40) {
            let ticket = self.random.pick(&self.old);
            out.events.push(Event::Acked { ticket });
        }
        out
    }

    fn connect(&mut self, now: Moment, out: &mut Happened) {
        let number = self.course.connected(now);
        self.link = Some(Link {
            number,
            window: Window::new(self.weather.receive_max),
            waiting: VecDeque::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            next_id: 0,
        });
        out.events.push(Event::Connected {
            connection: number,
            session_present: true,
            attempt: attempt(),
            network: None,
        });
    }

    /// Into the socket, as far as the window reaches.
    fn hand_over(&mut self) {
        let Some(link) = &mut self.link else { return };
        while link.waiting.front().is_some_and(|parcel| link.window.has_room(parcel.bytes())) {
            let Some(parcel) = link.waiting.pop_front() else { return };
            link.next_id = link.next_id.wrapping_add(1).max(1);
            link.window.offered(Flight::Ticket(parcel.ticket), parcel.bytes());
            link.window.sent(link.next_id).unwrap();
            link.up.push_back((link.next_id, parcel));
        }
    }

    fn arrive(&mut self, out: &mut Happened) {
        let refused = self.percent(self.weather.refuses);
        let code = if refused { self.random.pick(&REFUSALS) } else { 0 };
        let (lost, doubled) = (self.percent(self.weather.loses), self.percent(self.weather.doubles));
        let Some(link) = &mut self.link else { return };
        let Some((id, parcel)) = link.up.pop_front() else { return };
        let answers = if lost { 0 } else { 1 + usize::from(doubled) };
        link.down.extend(std::iter::repeat_n((id, code), answers));
        if code == 0 {
            out.delivered.push(parcel);
        }
    }

    fn answer(&mut self, now: Moment, out: &mut Happened) {
        let Some(link) = &mut self.link else { return };
        let Some((id, code)) = link.down.pop_front() else { return };
        let Ok(Flight::Ticket(ticket)) = link.window.answered(id) else {
            // As the real one does when the broker's answers make no sense.
            return self.ended(now, out);
        };
        self.old.push(ticket);
        out.events.push(match NotTaken::from_code(code) {
            None => {
                self.course.delivered();
                Event::Acked { ticket }
            }
            Some(reason) => Event::NotTaken { ticket, reason },
        });
    }

    /// The connection, or the attempt, ends; a beginning of what was in the socket still arrives.
    pub fn ended(&mut self, now: Moment, out: &mut Happened) {
        if let Some(link) = self.link.take() {
            let arrives = self.random.index(link.up.len() + 1);
            out.delivered.extend(link.up.into_iter().take(arrives).map(|(_, parcel)| parcel));
        }
        let random = self.random.bits();
        self.course.ended(End::Lost, now, random);
        out.events.push(Event::Disconnected { reason: Failure::Told, attempt: attempt() });
    }

    /// The agent has ended with whatever it had; the next one begins with a new course.
    pub fn lost_agent(&mut self, now: Moment) -> Vec<Parcel> {
        let mut out = Happened::default();
        self.ended(now, &mut out);
        self.course = Course::new(1);
        self.old.clear();
        out.delivered
    }

    /// Nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.window.is_empty() && link.waiting.is_empty())
    }
}
