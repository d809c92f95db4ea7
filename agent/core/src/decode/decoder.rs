//! Frames to readings, with what has to be remembered between frames. The plan is what never changes.

use super::plan::Outcome;
use super::sampling::Memories;
use super::{Plan, Reading};
use crate::frame::Frame;

/// A plan at work.
#[derive(Debug, Default)]
pub struct Decoder {
    plan: Plan,
    memories: Memories,
}

impl Decoder {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut decoder = Self::default();
        decoder.swap(plan);
        decoder
    }

    /// Goes on with another plan of the same leaves: those in both are looked at no sooner for it.
    pub fn swap(&mut self, plan: Plan) {
        self.memories.carry(plan.mapped());
        self.plan = plan;
    }

    /// What is extracted.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Appends the readings of a frame to `readings`, as [`Plan::decode`], less what a mapping file does not want so
    /// often ([`super::Sampling`]).
    #[inline]
    pub fn decode(&mut self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        self.plan.decode_sampled(frame, readings, &mut self.memories)
    }
}
