//! The drop rule: what goes when there is no room.
//!
//! ```text
//!   1  segments in which nothing is wanted
//!   2  of a flow that is over its own share: its oldest segment
//!   3  else of the flows of the lowest class, the one that takes most space: its oldest segment
//! ```
//! What comes goes itself if all that is stored is of a higher class.

use std::cmp::Reverse;

use super::queue::{Flow, Queue};
use super::{BatchId, SegmentNumber};
use crate::names::FlowId;

/// Who asks for how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The flow of the batch that comes.
    pub flow: FlowId,
    /// Space on disk that it will take.
    pub bytes: u64,
}

/// Space on disk that may be taken, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// By all flows together.
    pub bytes_max: u64,
    /// By each flow.
    pub flow_bytes_max: u64,
    /// More than is taken now, before others on the same disk suffer.
    pub free_bytes: u64,
}

/// How space is won when there is no room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relief {
    /// Nothing in this segment is wanted: delete it, nothing is lost.
    Delete(FlowId, SegmentNumber),
    /// These batches go and are declared lost. Space comes back only with a whole segment, so they go together.
    Drop(FlowId, SegmentNumber, Vec<BatchId>),
    /// What comes is not stored: all that is there is more urgent.
    Refuse,
}

impl Queue {
    /// What must go so that what is `wanted` has room: `None` if it has, or if nothing is left that could go. Asked
    /// again until it answers `None`.
    #[must_use]
    pub fn relief(&self, wanted: Wanted, room: &Room) -> Option<Relief> {
        let over = |taken: u64, most: u64| taken.saturating_add(wanted.bytes) > most;
        let own = self.flows.get(&wanted.flow).filter(|known| over(known.bytes(), room.flow_bytes_max));
        let own = own.and_then(|known| delete(wanted.flow, known).or_else(|| oldest(wanted.flow, known)));
        if own.is_some() {
            return own;
        }
        if !over(self.bytes(), room.bytes_max) && wanted.bytes <= room.free_bytes {
            return None;
        }
        if let Some(idle) = self.flows.iter().find_map(|(&flow, known)| delete(flow, known)) {
            return Some(idle);
        }
        let held = self.flows.iter().filter(|(_, known)| !known.entries.is_empty());
        let (&flow, known) =
            held.min_by_key(|(flow, known)| (self.priority(**flow), Reverse(known.bytes())))?;
        if self.priority(flow) > self.priority(wanted.flow) {
            return Some(Relief::Refuse);
        }
        oldest(flow, known)
    }

    /// Space that a segment takes, in bytes.
    #[must_use]
    pub fn segment_bytes(&self, flow: FlowId, segment: SegmentNumber) -> u64 {
        self.flows.get(&flow).map_or(0, |known| known.segment_bytes(segment))
    }
}

fn delete(flow: FlowId, known: &Flow) -> Option<Relief> {
    known.idle().next().map(|(segment, _)| Relief::Delete(flow, segment))
}

fn oldest(flow: FlowId, known: &Flow) -> Option<Relief> {
    let segment = known.entries.front()?.segment;
    let batches = known.entries.iter().filter(|entry| entry.segment == segment);
    Some(Relief::Drop(flow, segment, batches.map(|entry| entry.position.of(flow)).collect()))
}
