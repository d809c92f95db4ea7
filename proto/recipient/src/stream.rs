//! What came, what is missing, what was declared lost: one account per alias, flow and epoch.
//!
//! ```text
//! sequences of a stream:  1 2 3 · 5 6 · · 9        next = 10
//!                               │     └─┴─ missing, a Loss declared them     -> `undelivered`
//!                               └───────── missing, nobody said why: a gap   -> `undelivered`, `undeclared`
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use glovebox_proto::{envelope, v1};
use prost::Message as _;

use crate::open::{Header, Message, Opened};
use crate::ranges::Ranges;

/// Streams that are remembered; the one that was silent for longest is forgotten first.
pub const STREAMS_MAX: usize = 16_384;
/// Descriptors that are remembered for one flow.
pub const DESCRIPTORS_PER_FLOW_MAX: usize = 8;
/// Batches that wait for their descriptor.
pub const HELD_BATCHES_MAX: usize = 1_024;
/// Their encoded bytes.
pub const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Names one stream: within it, sequences count from 1 without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Alias public key.
    pub alias: [u8; 32],
    /// Flow.
    pub flow: u64,
    /// Counter of the epoch.
    pub epoch: u32,
    /// Random tag of the epoch.
    pub epoch_tag: u32,
    /// Of notices: they have an account of their own.
    pub is_notice: bool,
}

impl From<&Header> for StreamId {
    fn from(header: &Header) -> Self {
        let Header { alias, flow, epoch, epoch_tag, .. } = *header;
        Self { alias, flow, epoch, epoch_tag, is_notice: header.kind == v1::Kind::Notice }
    }
}

/// A batch with the descriptor that explains it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    /// What stood in the clear.
    pub header: Header,
    /// The batch.
    pub batch: Box<v1::Batch>,
    /// Its descriptor, carried or remembered.
    pub descriptor: Arc<v1::Descriptor>,
}

/// What an opened envelope means for its stream. In the order in which it is to be told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A batch can be output. Its losses stand in it.
    Ready(Ready),
    /// An act of consent.
    Notice(Header, v1::Notice),
    /// Sequences that were passed over, and that no loss declared so far. They may still come, or be declared.
    Gap {
        /// Header of the batch that showed it.
        header: Header,
        /// First that is missing.
        first: u64,
        /// Last that is missing.
        last: u64,
    },
    /// This one came before.
    Duplicate(Header),
    /// The descriptor is not known yet; the batch waits.
    Held(Header),
    /// It waited, and there was no more room.
    GivenUp(Header),
}

/// One stream's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) next: u64,
    pub(crate) undelivered: Ranges,
    pub(crate) undeclared: Ranges,
    pub(crate) touched: u64,
}

impl Stream {
    fn is_duplicate(&self, sequence: u64) -> bool {
        sequence < self.next && !self.undelivered.contains(sequence)
    }

    /// Notes the arrival; what it passes over and no loss has declared is returned.
    fn arrive(&mut self, sequence: u64, losses: &[v1::Loss]) -> Vec<(u64, u64)> {
        let before = self.next;
        if sequence >= before {
            self.undelivered.insert(before, sequence - 1);
            self.undeclared.insert(before, sequence - 1);
            self.next = sequence.saturating_add(1);
        }
        self.undelivered.remove(sequence, sequence);
        self.undeclared.remove(sequence, sequence);
        for loss in losses.iter().filter(|loss| loss.first_sequence > 0) {
            // A batch can only speak of those before it.
            self.undeclared.remove(loss.first_sequence, loss.last_sequence.min(sequence.saturating_sub(1)));
        }
        match sequence.checked_sub(1) {
            Some(last) if sequence >= before => self.undeclared.within(before, last),
            _ => Vec::new(),
        }
    }
}

/// Descriptors of one flow with their digests, oldest first.
pub(crate) type Descriptors = Vec<([u8; 32], Arc<v1::Descriptor>)>;
/// Descriptors by alias public key and flow.
pub(crate) type Flows = BTreeMap<([u8; 32], u64), Descriptors>;
/// Accounts by stream.
pub(crate) type Accounts = BTreeMap<StreamId, Stream>;

/// The account of all streams of a recipient.
#[derive(Debug, Default)]
pub struct Streams {
    streams: Accounts,
    descriptors: Flows,
    held: BTreeMap<(StreamId, u64), (Header, Box<v1::Batch>)>,
    held_bytes: usize,
    clock: u64,
    is_partial: bool,
}

impl Streams {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This reader gets only a part of each stream (a shared subscription), so that gaps mean nothing.
    pub fn set_partial(&mut self, is_partial: bool) {
        self.is_partial = is_partial;
    }

    /// Takes an opened envelope into the account.
    pub fn accept(&mut self, opened: Opened) -> Vec<Event> {
        let Opened { header, message } = opened;
        let batch = match message {
            Message::Batch(batch) => batch,
            Message::Notice(notice) => return vec![self.accept_notice(header, notice)],
        };
        let id = StreamId::from(&header);
        let is_held = self.held.contains_key(&(id, header.sequence));
        let stream = self.stream(id);
        if is_held || stream.is_duplicate(header.sequence) {
            return vec![Event::Duplicate(header)];
        }
        let gaps = stream.arrive(header.sequence, &batch.losses);
        let gap = |(first, last)| Event::Gap { header: header.clone(), first, last };
        let mut events: Vec<Event> = match self.is_partial {
            true => Vec::new(),
            false => gaps.into_iter().map(gap).collect(),
        };
        if let Some(descriptor) = &batch.descriptor {
            self.remember(&header, Arc::new(descriptor.clone()));
        }
        match self.descriptor(&header, &batch) {
            None => self.hold(header, batch, &mut events),
            Some(descriptor) => self.release(Ready { header, batch, descriptor }, &mut events),
        }
        events
    }

    /// A notice is no link of a chain: whatever number it has, nothing is missing before it.
    fn accept_notice(&mut self, header: Header, notice: v1::Notice) -> Event {
        let stream = self.stream(StreamId::from(&header));
        if stream.is_duplicate(header.sequence) {
            return Event::Duplicate(header);
        }
        stream.arrive(header.sequence, &[]);
        stream.undeclared = Ranges::default();
        Event::Notice(header, notice)
    }

    /// Sequences that are missing and undeclared, by stream.
    pub fn gaps(&self) -> impl Iterator<Item = (StreamId, u64, u64)> + '_ {
        let of = |(id, stream): (&StreamId, &Stream)| {
            let id = *id;
            stream.undeclared.iter().map(move |(first, last)| (id, first, last)).collect::<Vec<_>>()
        };
        self.streams.iter().flat_map(of)
    }

    /// Batches that wait for their descriptor.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn stream(&mut self, id: StreamId) -> &mut Stream {
        if !self.streams.contains_key(&id) && self.streams.len() >= STREAMS_MAX {
            let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.touched).map(|(id, _)| *id);
            oldest.map(|id| self.streams.remove(&id));
            let streams = &self.streams;
            self.descriptors
                .retain(|(alias, flow), _| streams.keys().any(|id| id.alias == *alias && id.flow == *flow));
        }
        self.clock += 1;
        let stream = self.streams.entry(id).or_default();
        stream.touched = self.clock;
        stream
    }

    fn remember(&mut self, header: &Header, descriptor: Arc<v1::Descriptor>) {
        let known = self.descriptors.entry((header.alias, header.flow)).or_default();
        let digest = envelope::descriptor_digest(&descriptor);
        known.retain(|(other, _)| *other != digest);
        known.push((digest, descriptor));
        if known.len() > DESCRIPTORS_PER_FLOW_MAX {
            known.remove(0);
        }
    }

    fn descriptor(&self, header: &Header, batch: &v1::Batch) -> Option<Arc<v1::Descriptor>> {
        let known = self.descriptors.get(&(header.alias, header.flow))?;
        let named = known.iter().find(|(digest, _)| digest.as_slice() == batch.descriptor_digest);
        named.map(|(_, descriptor)| Arc::clone(descriptor))
    }

    /// The batch waits; it counts as not delivered, so that a restart does not take it for seen.
    fn hold(&mut self, header: Header, batch: Box<v1::Batch>, events: &mut Vec<Event>) {
        let (id, sequence) = (StreamId::from(&header), header.sequence);
        self.stream(id).undelivered.insert(sequence, sequence);
        self.held_bytes += batch.encoded_len();
        events.push(Event::Held(header.clone()));
        self.held.insert((id, sequence), (header, batch));
        while self.held.len() > HELD_BATCHES_MAX || self.held_bytes > HELD_BYTES_MAX {
            let Some((_, (header, batch))) = self.held.pop_first() else { break };
            self.held_bytes -= batch.encoded_len();
            self.stream(StreamId::from(&header)).undelivered.remove(header.sequence, header.sequence);
            events.push(Event::GivenUp(header));
        }
    }

    /// Outputs `ready` and all of its flow that waited for the same descriptor, by sequence.
    fn release(&mut self, ready: Ready, events: &mut Vec<Event>) {
        let Header { alias, flow, .. } = ready.header;
        let waits = |key: &(StreamId, u64), batch: &v1::Batch| {
            key.0.alias == alias
                && key.0.flow == flow
                && batch.descriptor_digest == ready.batch.descriptor_digest
        };
        let freed: Vec<(StreamId, u64)> =
            self.held.iter().filter(|(key, (_, batch))| waits(key, batch)).map(|(key, _)| *key).collect();
        let descriptor = Arc::clone(&ready.descriptor);
        let mut all = vec![ready];
        for key in freed {
            let Some((header, batch)) = self.held.remove(&key) else { continue };
            self.held_bytes -= batch.encoded_len();
            self.stream(key.0).undelivered.remove(key.1, key.1);
            all.push(Ready { header, batch, descriptor: Arc::clone(&descriptor) });
        }
        all.sort_by_key(|ready| (ready.header.epoch, ready.header.epoch_tag, ready.header.sequence));
        events.extend(all.into_iter().map(Event::Ready));
    }

    pub(crate) fn parts(&self) -> (&Accounts, &Flows) {
        (&self.streams, &self.descriptors)
    }

    pub(crate) fn from_parts(streams: Accounts, descriptors: Flows) -> Self {
        let clock = streams.values().map(|stream| stream.touched).max().unwrap_or(0);
        Self { streams, descriptors, clock, ..Self::default() }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self { next: 1, undelivered: Ranges::default(), undeclared: Ranges::default(), touched: 0 }
    }
}
