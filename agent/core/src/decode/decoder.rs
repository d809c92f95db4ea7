//! Frames to readings, with what has to be remembered between frames. The plan is what never changes.

use super::plan::Outcome;
use super::{Plan, Reading};
use crate::frame::Frame;

/// A plan at work.
#[derive(Debug, Default)]
pub struct Decoder {
    plan: Plan,
}

impl Decoder {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan }
    }

    /// Goes on with another plan.
    pub fn swap(&mut self, plan: Plan) {
        self.plan = plan;
    }

    /// What is extracted.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Appends the readings of a frame to `readings`; see [`Plan::decode`].
    #[inline]
    pub fn decode(&mut self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        self.plan.decode(frame, readings)
    }
}
