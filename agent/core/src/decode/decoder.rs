//! Frames to readings, with what has to be remembered between frames. The plan is what never changes.

use super::j1939::{Address, CONNECTION, DATA, Transport};
use super::plan::Outcome;
use super::{Plan, Reading};
use crate::frame::{CanId, Frame};

/// A plan at work.
#[derive(Debug, Default)]
pub struct Decoder {
    plan: Plan,
    transport: Transport,
}

impl Decoder {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan, transport: Transport::default() }
    }

    /// Goes on with another plan; what it does not need is forgotten.
    pub fn swap(&mut self, plan: Plan) {
        self.transport.retain(|bus, from| plan.wants_long(bus, from));
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
        &self.transport
    }

    /// Appends the readings of a frame to `readings`; see [`Plan::decode`]. The last frame of a long message brings
    /// those of the whole.
    #[inline]
    pub fn decode(&mut self, frame: &Frame, readings: &mut Vec<Reading>) -> Outcome {
        let outcome = self.plan.decode(frame, readings);
        match frame.id {
            CanId::Standard(_) => outcome,
            CanId::Extended(id) => match self.plan.has_long(frame.bus).then(|| Address::of(id)).flatten() {
                Some(from) if matches!(from.pgn, CONNECTION | DATA) => {
                    self.carrier(frame, from, readings, outcome)
                }
                _ => outcome,
            },
        }
    }

    /// A frame that carries a part of a long message.
    fn carrier(
        &mut self,
        frame: &Frame,
        from: Address,
        readings: &mut Vec<Reading>,
        outcome: Outcome,
    ) -> Outcome {
        let Self { plan, transport } = self;
        match transport.take(frame, from, |bus, from| plan.wants_long(bus, from)) {
            Some(message) => plan.decode_long(message, readings),
            None => outcome,
        }
    }
}
