//! Messages of several frames, put together by listening only (SAE J1939-21, section 5.10).
//!
//! ```text
//! connection management, group EC00, first byte:
//!   16 request to send   | bytes u16 | packets | at most | group u24     to one receiver, which answers with
//!   17 clear to send     | packets | next packet | FF FF | group u24     and may ask for a packet again
//!   19 end of message, 255 abort | … | group u24
//!   32 broadcast announce| bytes u16 | packets | FF | group u24          to all (BAM)
//! data transfer, group EB00: number of the packet from 1 | 7 bytes
//! ```
//!
//! All numbers little-endian. A message counts only when every packet was seen; what has a gap, comes too late or is
//! begun anew is dropped.

use super::{Address, CONNECTION, DATA, Pgn};
use crate::decode::SourceAddress;
use crate::frame::{BusIndex, Frame};
use crate::limits::{J1939_MESSAGE_BYTES_MAX, J1939_PACKET_GAP_US_MAX, J1939_SESSIONS_MAX};
use crate::names::Moment;

const REQUEST_TO_SEND: u8 = 16;
const CLEAR_TO_SEND: u8 = 17;
const ABORT: u8 = 255;
const ANNOUNCE: u8 = 32;
const EVERYBODY: u8 = 0xFF;
const PACKET_BYTES: usize = 7;
/// A message of fewer bytes fits in a frame.
const MESSAGE_BYTES_MIN: u32 = 9;
/// Zero bytes behind a message, so that whole words can be read.
pub(crate) const PADDING_BYTES: usize = 16;

const _: () = assert!(J1939_MESSAGE_BYTES_MAX as usize == 255 * PACKET_BYTES);

/// A message that is being put together.
#[derive(Debug)]
struct Session {
    bus: BusIndex,
    address: Address,
    length: usize,
    packets: u8,
    /// Bit n: packet n + 1 was seen.
    seen: [u64; 4],
    last: Moment,
    bytes: Vec<u8>,
}

/// A message that is whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Long<'t> {
    pub(crate) bus: BusIndex,
    pub(crate) address: Address,
    /// Its bytes and [`PADDING_BYTES`] zeros.
    pub(crate) padded: &'t [u8],
    pub(crate) length: usize,
}

/// What became of long messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Put together.
    pub whole: u64,
    /// A packet was missing, late or of another message; or there were too many at once.
    pub broken: u64,
}

/// All that is being put together; bounded, and only what is wanted.
#[derive(Debug, Default)]
pub struct Transport {
    /// The first `open` are in use; the others keep their memory for the next.
    sessions: Vec<Session>,
    open: usize,
    counts: Counts,
}

impl Transport {
    /// What became of long messages so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Forgets what is not wanted any more.
    pub fn retain(&mut self, wanted: impl Fn(BusIndex, Address) -> bool) {
        let mut at = 0;
        while at < self.open {
            let session = &self.sessions[at];
            if wanted(session.bus, session.address) { at += 1 } else { self.close(at) }
        }
        // Also what came whole before: nobody may be permitted to have it any more.
        self.sessions.truncate(self.open);
    }

    /// The message that the last frame completed, if it did.
    pub(crate) fn last(&self) -> Option<Long<'_>> {
        // Closed, it is the first that is not in use: its bytes stay until the next begins.
        let Session { bus, address, length, bytes, .. } = self.sessions.get(self.open)?;
        Some(Long { bus: *bus, address: *address, padded: bytes, length: *length })
    }

    /// Takes a frame; gives the message that it completes. Only messages that are `wanted` are kept.
    pub(crate) fn take(
        &mut self,
        frame: &Frame,
        from: Address,
        wanted: impl Fn(BusIndex, Address) -> bool,
    ) -> Option<Long<'_>> {
        let data: &[u8; 8] = frame.data().first_chunk()?;
        match from.pgn {
            CONNECTION => {
                self.manage(frame, from, data, wanted);
                None
            }
            DATA => self.packet(frame, from, data),
            _ => None,
        }
    }

    fn manage(
        &mut self,
        frame: &Frame,
        from: Address,
        data: &[u8; 8],
        wanted: impl Fn(BusIndex, Address) -> bool,
    ) {
        let [control, low, high, packets, _, group @ ..] = *data;
        // The receiver's words come from where the packets go.
        let answered = (SourceAddress(from.destination), from.source.0);
        match control {
            ABORT => {
                self.end(frame.bus, (from.source, from.destination));
                self.end(frame.bus, answered);
            }
            CLEAR_TO_SEND => {
                // It may also say: not yet, hold the connection.
                if let Some(at) = self.find(frame.bus, answered) {
                    self.sessions[at].last = frame.moment;
                }
            }
            ANNOUNCE | REQUEST_TO_SEND => {
                // Whatever this pair had begun is over.
                self.end(frame.bus, (from.source, from.destination));
                let [first, second, third] = group;
                let pgn = Pgn(u32::from_le_bytes([first, second, third, 0]) & 0x3_FFFF);
                let length = u16::from_le_bytes([low, high]);
                let fits = (MESSAGE_BYTES_MIN..=J1939_MESSAGE_BYTES_MAX).contains(&length.into())
                    && usize::from(length).div_ceil(PACKET_BYTES) == usize::from(packets)
                    && (control == ANNOUNCE) == (from.destination == EVERYBODY);
                let address = Address { pgn, ..from };
                if fits && wanted(frame.bus, address) {
                    self.begin(frame, address, length.into(), packets);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, frame: &Frame, address: Address, length: usize, packets: u8) {
        if self.open == J1939_SESSIONS_MAX {
            let stale = (0..self.open).find(|at| self.sessions[*at].is_late(frame.moment));
            self.counts.broken += 1;
            match stale {
                Some(at) => self.close(at),
                None => return,
            }
        }
        let mut bytes =
            self.sessions.get_mut(self.open).map(|free| std::mem::take(&mut free.bytes)).unwrap_or_default();
        bytes.clear();
        bytes.resize(usize::from(packets) * PACKET_BYTES + PADDING_BYTES, 0);
        let (bus, last) = (frame.bus, frame.moment);
        let session = Session { bus, address, length, packets, seen: [0; 4], last, bytes };
        match self.sessions.get_mut(self.open) {
            Some(free) => *free = session,
            None => self.sessions.push(session),
        }
        self.open += 1;
    }

    fn packet(&mut self, frame: &Frame, from: Address, data: &[u8; 8]) -> Option<Long<'_>> {
        let at = self.find(frame.bus, (from.source, from.destination))?;
        let session = &mut self.sessions[at];
        let [number, payload @ ..] = data;
        if session.is_late(frame.moment) || !session.put(*number, payload) {
            self.counts.broken += 1;
            self.close(at);
            return None;
        }
        session.last = frame.moment;
        if !session.is_whole() {
            return None;
        }
        self.counts.whole += 1;
        self.close(at);
        self.last()
    }

    /// A broadcast and a connection of one sender do not meet: they have different receivers.
    fn find(&self, bus: BusIndex, (source, destination): (SourceAddress, u8)) -> Option<usize> {
        self.sessions[..self.open].iter().position(|session| {
            session.bus == bus
                && session.address.source == source
                && session.address.destination == destination
        })
    }

    fn end(&mut self, bus: BusIndex, pair: (SourceAddress, u8)) {
        if let Some(at) = self.find(bus, pair) {
            self.counts.broken += 1;
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) {
        self.open -= 1;
        self.sessions.swap(at, self.open);
    }
}

impl Session {
    fn is_late(&self, now: Moment) -> bool {
        now.0.saturating_sub(self.last.0) > J1939_PACKET_GAP_US_MAX
    }

    /// Puts a packet in its place; whether it may come now. A broadcast comes in order; of a connection the receiver
    /// may ask for packets again.
    fn put(&mut self, number: u8, payload: &[u8; PACKET_BYTES]) -> bool {
        let Some(index) = number.checked_sub(1).filter(|_| number <= self.packets) else { return false };
        if self.address.destination == EVERYBODY && u32::from(index) != self.count() {
            return false;
        }
        let begin = usize::from(index) * PACKET_BYTES;
        let Some(place) = self.bytes.get_mut(begin..begin + PACKET_BYTES) else { return false };
        place.copy_from_slice(payload);
        self.seen[usize::from(index / 64)] |= 1 << (index % 64);
        if number == self.packets {
            // What fills the last packet is not of the message.
            let length = self.length;
            if let Some(rest) = self.bytes.get_mut(length..) {
                rest.fill(0);
            }
        }
        true
    }

    fn count(&self) -> u32 {
        self.seen.iter().map(|bits| bits.count_ones()).sum()
    }

    fn is_whole(&self) -> bool {
        self.count() == u32::from(self.packets)
    }
}
