//! Entries, hash chain, checkpoint: the record of what left, in which a change or a cut is noticed.
//!
//! ```text
//! entry (version 1), integers big-endian, lp(x) = u32 length of x, then x; what does not apply is empty or zero
//!   u8 version ‖ u64 number ‖ u8 time known ‖ i64 µs since 1970 ‖ u8 event ‖ u8 reason
//!   ‖ lp(recipient) ‖ lp(purpose) ‖ u8 has a batch ‖ u64 flow ‖ u32 epoch ‖ u32 epoch tag ‖ u64 sequence
//!   ‖ u64 bytes ‖ 32 bytes digest
//!
//! hash(0) = 32 zero bytes
//! hash(n) = SHA-256( lp("glovebox/v1/ledger") ‖ lp(hash(n-1)) ‖ lp(entry n) )
//! ```

use crate::names::{Digest, Epoch, FlowId, PurposeId, RecipientId, Sequence, WallTime};

const VERSION: u8 = 1;
const LABEL: &[u8] = b"glovebox/v1/ledger";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A sealed batch is on disk.
    Stored,
    /// It is about to be handed to the network.
    Offered,
    /// The broker has it.
    Acked,
    /// It was lost before that.
    Dropped(DropReason),
    /// The grant was withdrawn; `bytes` is how much of the flow was destroyed.
    Purged,
    /// It was on its way when the grant was withdrawn.
    PerhapsSent,
    /// A policy bundle is in force.
    PolicyAccepted,
    /// A policy bundle was refused.
    PolicyRefused,
    /// A consent record is stored.
    ConsentStored,
    /// A grant was withdrawn.
    Withdrawn,
    /// The first keys were set.
    Provisioned,
    /// Older entries were removed to keep the bound; `digest` is the hash up to which they are gone.
    Truncated,
    /// The ledger could not be read and was set aside: the chain begins anew.
    Restarted,
    /// An owner key was enrolled or removed.
    OwnersChanged,
    /// A notice is about to be handed to the network: a recipient is asked to erase what it has.
    NoticeOffered,
    /// The broker has it.
    NoticeAcked,
    /// It was given up: too old, or it could not be read back.
    NoticeDropped,
}

/// Why a batch was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// The outbox was full.
    Quota = 1,
    /// Readings came faster than they could be sealed.
    Overload = 2,
    /// The grant was narrowed.
    Narrowed = 3,
    /// It could not be read back.
    Corrupt = 4,
    /// The broker would never take it.
    Refused = 5,
    /// Older than the grant allows.
    Age = 6,
}

impl Event {
    fn code(self) -> (u8, u8) {
        match self {
            Self::Stored => (1, 0),
            Self::Offered => (2, 0),
            Self::Acked => (3, 0),
            Self::Dropped(reason) => (4, reason as u8),
            Self::Purged => (5, 0),
            Self::PerhapsSent => (6, 0),
            Self::PolicyAccepted => (7, 0),
            Self::PolicyRefused => (8, 0),
            Self::ConsentStored => (9, 0),
            Self::Withdrawn => (10, 0),
            Self::Provisioned => (11, 0),
            Self::Truncated => (12, 0),
            Self::Restarted => (13, 0),
            Self::OwnersChanged => (14, 0),
            Self::NoticeOffered => (15, 0),
            Self::NoticeAcked => (16, 0),
            Self::NoticeDropped => (17, 0),
        }
    }

    fn from_code(event: u8, reason: u8) -> Option<Self> {
        let drop = [
            DropReason::Quota,
            DropReason::Overload,
            DropReason::Narrowed,
            DropReason::Corrupt,
            DropReason::Refused,
            DropReason::Age,
        ];
        let all = [
            Self::Stored,
            Self::Offered,
            Self::Acked,
            Self::Purged,
            Self::PerhapsSent,
            Self::PolicyAccepted,
            Self::PolicyRefused,
            Self::ConsentStored,
            Self::Withdrawn,
            Self::Provisioned,
            Self::Truncated,
            Self::Restarted,
            Self::OwnersChanged,
            Self::NoticeOffered,
            Self::NoticeAcked,
            Self::NoticeDropped,
        ];
        let mut known = all.into_iter().chain(drop.map(Self::Dropped));
        known.find(|known| known.code() == (event, reason))
    }
}

/// A batch, as the ledger names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRef {
    /// Flow.
    pub flow: FlowId,
    /// Stream epoch; zero if the whole flow is meant.
    pub epoch: Epoch,
    /// Number in the epoch; 0 if the whole flow is meant.
    pub sequence: Sequence,
}

impl BatchRef {
    /// The whole flow.
    #[must_use]
    pub fn flow(flow: FlowId) -> Self {
        Self { flow, epoch: Epoch { counter: 0, tag: 0 }, sequence: Sequence(0) }
    }
}

/// What is to be recorded; [`Chain::append`] gives it its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When; `None` while the wall time is in doubt.
    pub time: Option<WallTime>,
    /// What happened.
    pub event: Event,
    /// To whom it belongs.
    pub recipient: Option<RecipientId>,
    /// What for.
    pub purpose: Option<PurposeId>,
    /// Which batch or flow.
    pub batch: Option<BatchRef>,
    /// Size of the envelope or the document.
    pub bytes: u64,
    /// SHA-256 of the envelope or the document; zeros if there is none.
    pub digest: Digest,
}

impl Record {
    /// A record of `event` about nothing in particular yet.
    #[must_use]
    pub fn new(time: Option<WallTime>, event: Event) -> Self {
        Self { time, event, recipient: None, purpose: None, batch: None, bytes: 0, digest: Digest([0; 32]) }
    }
}

/// A numbered record. Numbers count from 1 without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the chain.
    pub number: u64,
    /// What happened.
    pub record: Record,
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ledger entry of version 1: fault at byte {at} of {length}")]
pub struct EntryError {
    /// Where.
    pub at: usize,
    /// How long they are.
    pub length: usize,
}

impl Entry {
    /// The exact bytes that are hashed and stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let record = &self.record;
        let (event, reason) = record.event.code();
        let batch = record.batch.unwrap_or(BatchRef::flow(FlowId(0)));
        let mut out = vec![VERSION];
        out.extend(self.number.to_be_bytes());
        out.push(u8::from(record.time.is_some()));
        out.extend(record.time.unwrap_or_default().0.to_be_bytes());
        out.extend([event, reason]);
        lp(&mut out, record.recipient.as_ref().map_or("", RecipientId::as_str).as_bytes());
        lp(&mut out, record.purpose.as_ref().map_or("", PurposeId::as_str).as_bytes());
        out.push(u8::from(record.batch.is_some()));
        out.extend(batch.flow.0.to_be_bytes());
        out.extend(batch.epoch.counter.to_be_bytes());
        out.extend(batch.epoch.tag.to_be_bytes());
        out.extend(batch.sequence.0.to_be_bytes());
        out.extend(record.bytes.to_be_bytes());
        out.extend(record.digest.0);
        out
    }

    /// Reads what [`Self::encode`] wrote, and nothing else: one entry has one encoding.
    ///
    /// # Errors
    /// [`EntryError`] says where it stopped.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut reader = Reader { rest: bytes };
        let entry = reader.entry();
        let error = EntryError { at: bytes.len() - reader.rest.len(), length: bytes.len() };
        let entry = entry.filter(|_| reader.rest.is_empty()).ok_or(error)?;
        if entry.encode() == bytes { Ok(entry) } else { Err(error) }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        self.take::<1>().map(|[flag]| flag != 0)
    }

    fn text(&mut self) -> Option<&str> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(head).ok()
    }

    fn entry(&mut self) -> Option<Entry> {
        let [version] = self.take()?;
        if version != VERSION {
            return None;
        }
        let number = self.u64()?;
        let time = (self.flag()?, self.take().map(i64::from_be_bytes)?);
        let [event, reason] = self.take()?;
        let recipient = self.text().map(|text| RecipientId::new(text).ok())?;
        let purpose = self.text().map(|text| PurposeId::new(text).ok())?;
        let has_batch = self.flag()?;
        let flow = FlowId(self.u64()?);
        let epoch = Epoch { counter: self.u32()?, tag: self.u32()? };
        let batch = BatchRef { flow, epoch, sequence: Sequence(self.u64()?) };
        let record = Record {
            time: time.0.then_some(WallTime(time.1)),
            event: Event::from_code(event, reason)?,
            recipient,
            purpose,
            batch: has_batch.then_some(batch),
            bytes: self.u64()?,
            digest: Digest(self.take()?),
        };
        Some(Entry { number, record })
    }
}

fn lp(out: &mut Vec<u8>, bytes: &[u8]) {
    // Names are at most 64 bytes and entries below 300, so the length always fits.
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

fn chained(previous: &Digest, encoding: &[u8]) -> Digest {
    let mut text = Vec::with_capacity(encoding.len() + 64);
    lp(&mut text, LABEL);
    lp(&mut text, &previous.0);
    lp(&mut text, encoding);
    Digest::of(&text)
}

/// The head of a chain at some moment. Whoever holds one notices if what came before it is changed or cut later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of the last entry, 0 before the first.
    pub number: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Checkpoint {
    /// Before the first entry.
    pub const GENESIS: Self = Self { number: 0, hash: Digest([0; 32]) };
}

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its place in the chain.
    pub number: u64,
    /// The exact bytes of the entry.
    pub encoding: Vec<u8>,
    /// The chain's hash up to and with it.
    pub hash: Digest,
}

impl Link {
    /// The head of the chain if it ended here.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { number: self.number, hash: self.hash }
    }
}

/// The growing end of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    head: Checkpoint,
}

impl Chain {
    /// Goes on after `head`.
    #[must_use]
    pub fn resume(head: Checkpoint) -> Self {
        Self { head }
    }

    /// The last entry's number and hash.
    #[must_use]
    pub fn head(&self) -> Checkpoint {
        self.head
    }

    /// Numbers and chains a record.
    pub fn append(&mut self, record: Record) -> Link {
        let number = self.head.number.saturating_add(1);
        let encoding = Entry { number, record }.encode();
        let hash = chained(&self.head.hash, &encoding);
        self.head = Checkpoint { number, hash };
        Link { number, encoding, hash }
    }
}

/// Where a ledger is not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An entry is not the one that was chained there.
    #[error("ledger entry {number} was changed")]
    Changed {
        /// Which.
        number: u64,
    },
    /// An entry is missing.
    #[error("ledger is cut: entry {number} is missing")]
    Cut {
        /// Which.
        number: u64,
    },
    /// The chain is whole in itself, but not the one that the checkpoint was taken of.
    #[error("ledger was rewritten at or before entry {number}, of which there is a checkpoint")]
    Rewritten {
        /// The checkpoint's number.
        number: u64,
    },
}

/// Checks the chain from `start` (what was kept when older entries were truncated, or [`Checkpoint::GENESIS`])
/// and against checkpoints held elsewhere. Answers the head. A checkpoint older than `start` says nothing.
///
/// # Errors
/// [`Broken`] names the first place that is not as it was.
pub fn verify(
    start: Checkpoint,
    links: impl IntoIterator<Item = Link>,
    checkpoints: &[Checkpoint],
) -> Result<Checkpoint, Broken> {
    let mut head = start;
    let rewritten = |head: &Checkpoint| {
        checkpoints.iter().any(|known| known.number == head.number && known.hash != head.hash)
    };
    if rewritten(&head) {
        return Err(Broken::Rewritten { number: head.number });
    }
    for link in links {
        let number = head.number.saturating_add(1);
        if link.number > number {
            return Err(Broken::Cut { number });
        }
        let sound = Entry::decode(&link.encoding).is_ok_and(|entry| entry.number == number);
        if !sound || link.number != number || chained(&head.hash, &link.encoding) != link.hash {
            return Err(Broken::Changed { number });
        }
        head = Checkpoint { number, hash: link.hash };
        if rewritten(&head) {
            return Err(Broken::Rewritten { number });
        }
    }
    match checkpoints.iter().filter(|known| known.number > head.number).min_by_key(|known| known.number) {
        Some(_) => Err(Broken::Cut { number: head.number.saturating_add(1) }),
        None => Ok(head),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(seed: u64) -> Record {
        let events =
            [Event::Stored, Event::Offered, Event::Acked, Event::Dropped(DropReason::Quota), Event::Purged];
        let index = usize::try_from(seed % 5).unwrap();
        let mut record =
            Record::new((!seed.is_multiple_of(3)).then_some(WallTime(1_700_000_000)), events[index]);
        if !seed.is_multiple_of(7) {
            record.recipient = Some(RecipientId::new("acme").unwrap());
            record.purpose = Some(PurposeId::new("service").unwrap());
            let epoch = Epoch { counter: 1, tag: 7 };
            record.batch = Some(BatchRef { flow: FlowId(seed), epoch, sequence: Sequence(seed) });
            record.digest = Digest::of(&seed.to_be_bytes());
        }
        record.bytes = seed;
        record
    }

    fn chain(count: u64) -> Vec<Link> {
        let mut chain = Chain::resume(Checkpoint::GENESIS);
        (0..count).map(|seed| chain.append(record(seed))).collect()
    }

    #[test]
    fn every_event_reads_back() {
        for (event, reason) in (0..=u8::MAX).flat_map(|event| (0..8).map(move |reason| (event, reason))) {
            if let Some(event) = Event::from_code(event, reason) {
                let entry = Entry { number: 3, record: Record::new(None, event) };
                assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
            }
        }
        assert_eq!(Event::from_code(4, 6), Some(Event::Dropped(DropReason::Age)));
        assert_eq!(Event::from_code(13, 0), Some(Event::Restarted));
    }

    #[test]
    fn the_encoding_and_the_hash_stay_as_they_are() {
        let link = Chain::resume(Checkpoint::GENESIS).append(record(4));
        assert_eq!(
            hex::encode(&link.encoding),
            concat!(
                "01",
                "0000000000000001",
                "01",
                "000000006553f100",
                "0500",
                "0000000461636d65",
                "0000000773657276696365",
                "01",
                "0000000000000004",
                "00000001",
                "00000007",
                "0000000000000004",
                "0000000000000004",
                "8005f02d43fa06e7d0585fb64c961d57e318b27a145c857bcd3a6bdb413ff7fc",
            )
        );
        // Computed by Python's hashlib from the drawing at the head.
        assert_eq!(link.hash.to_string(), "a9f456bbbaae95037c536924d25607cfcb6e9cf8d1336d7c533a38a59fb2b954");
    }

    #[test]
    fn invariant_11_a_cut_end_is_noticed_by_who_holds_a_checkpoint() {
        let links = chain(20);
        let held = links[14].checkpoint();
        assert_eq!(verify(Checkpoint::GENESIS, links.clone(), &[held]), Ok(links[19].checkpoint()));
        for kept in 0..15 {
            let number = u64::try_from(kept).unwrap() + 1;
            let cut = links[..kept].to_vec();
            assert!(verify(Checkpoint::GENESIS, cut.clone(), &[]).is_ok(), "nothing to compare with");
            assert_eq!(verify(Checkpoint::GENESIS, cut, &[held]), Err(Broken::Cut { number }));
        }
    }

    #[test]
    fn invariant_11_a_rewritten_chain_is_noticed_by_who_holds_a_checkpoint() {
        let links = chain(20);
        let mut forged = Chain::resume(links[4].checkpoint());
        let forged: Vec<Link> =
            links[..5].iter().cloned().chain((0..15).map(|_| forged.append(record(9)))).collect();
        assert!(verify(Checkpoint::GENESIS, forged.clone(), &[]).is_ok());
        let held = links[14].checkpoint();
        let found = verify(Checkpoint::GENESIS, forged, &[links[2].checkpoint(), held]);
        assert_eq!(found, Err(Broken::Rewritten { number: 15 }));
    }

    #[test]
    fn a_truncated_ledger_verifies_from_the_hash_that_was_kept() {
        let links = chain(20);
        let start = links[7].checkpoint();
        assert_eq!(verify(start, links[8..].to_vec(), &[start]), Ok(links[19].checkpoint()));
        let older = links[2].checkpoint();
        assert!(verify(start, links[8..].to_vec(), &[older]).is_ok(), "older than what is kept");
        let wrong = Checkpoint { number: 8, hash: Digest([1; 32]) };
        assert_eq!(verify(wrong, links[8..].to_vec(), &[]), Err(Broken::Changed { number: 9 }));
    }

    proptest! {
        #[test]
        fn invariant_11_any_change_of_an_entry_is_found_at_its_place(
            at in 0_usize..20, byte in any::<prop::sample::Index>(), bit in 0_u32..8, in_hash in any::<bool>()
        ) {
            let mut links = chain(20);
            if in_hash {
                links[at].hash.0[byte.index(32)] ^= 1 << bit;
            } else {
                let index = byte.index(links[at].encoding.len());
                links[at].encoding[index] ^= 1 << bit;
            }
            let number = u64::try_from(at).unwrap() + 1;
            prop_assert_eq!(verify(Checkpoint::GENESIS, links, &[]), Err(Broken::Changed { number }));
        }

        #[test]
        fn invariant_11_a_missing_or_moved_entry_is_found(at in 0_usize..19, other in 0_usize..20) {
            let mut cut = chain(20);
            cut.remove(at);
            let number = u64::try_from(at).unwrap() + 1;
            prop_assert_eq!(verify(Checkpoint::GENESIS, cut, &[]), Err(Broken::Cut { number }));
            prop_assume!(at != other);
            let mut swapped = chain(20);
            swapped.swap(at, other);
            prop_assert!(verify(Checkpoint::GENESIS, swapped, &[]).is_err());
        }

        #[test]
        fn decoding_never_accepts_two_encodings(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), bytes);
            }
        }
    }
}
