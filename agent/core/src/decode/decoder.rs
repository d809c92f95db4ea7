//! Frames to readings, with what has to be remembered between frames. The plan is what never changes.

use super::j1939::{Address, DATA, Pgn, Transport};
use super::plan::Outcome;
use super::predicate::Works;
use super::sampling::Memories;
use super::{Leaf, Plan, Reading};
use crate::frame::{CanId, Frame};

/// A plan at work.
#[derive(Debug, Default)]
pub struct Decoder {
    plan: Plan,
    between: Between,
    works: Works,
}

/// What is remembered between frames.
#[derive(Debug, Default)]
pub(super) struct Between {
    /// Messages of several frames.
    pub(super) transport: Transport,
    /// How often mapped signals were looked at.
    pub(super) memories: Memories,
}

/// Where a reading came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The frame's identifier; of a message of several frames the one that it would have in one.
    pub id: CanId,
    /// The signal's raw bits, whatever they mean.
    pub raw: Option<u64>,
}

impl Decoder {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut decoder = Self::default();
        decoder.swap(plan);
        decoder
    }

    /// Goes on with another plan of the same leaves: what is in both goes on, what is not needed is forgotten.
    pub fn swap(&mut self, plan: Plan) {
        self.between.transport.retain(|bus, from| plan.wants_long(bus, from));
        self.between.memories.carry(plan.mapped());
        let mut works = plan.works().clone();
        works.carry(&self.works);
        self.works = works;
        self.plan = plan;
    }

    /// What is extracted.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What became of messages of several frames.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.between.transport
    }

    /// Appends the readings of a frame to `readings`, as [`Plan::decode`], less what a mapping file does not want so
    /// often ([`super::Sampling`]), and then what is derived of them. The last frame of a long message brings those of the
    /// whole.
    #[inline]
    pub fn decode(&mut self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        let first = readings.len();
        let outcome = self.plan.decode_between(frame, readings, Some(&mut self.between));
        if !self.works.is_empty() {
            self.works.add(frame.moment, first, readings);
        }
        outcome
    }

    /// Where a reading of the last frame came from. For people: what is no ordinary value bears no raw bits.
    #[must_use]
    pub fn origin(&self, leaf: &Leaf, frame: &Frame) -> Origin {
        let long = self.between.transport.last().filter(|long| {
            let [own, carrier] = [leaf.id, frame.id].map(group);
            leaf.j1939 && own == Some(long.address.pgn) && carrier == Some(DATA) && own != carrier
        });
        match (long, leaf.id) {
            (Some(long), CanId::Extended(id)) => Origin {
                id: CanId::Extended(id & !0xFF | u32::from(long.address.source.0)),
                raw: leaf.raw_of(long.padded, long.length),
            },
            _ => Origin { id: frame.id, raw: leaf.raw(frame) },
        }
    }
}

fn group(id: CanId) -> Option<Pgn> {
    match id {
        CanId::Extended(id) => Address::of(id).map(|address| address.pgn),
        CanId::Standard(_) => None,
    }
}
