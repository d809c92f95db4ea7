//! What the signal of trips said last, from the pipeline's thread to the steward, who ends what was set for a trip.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Whether a trip goes on; `None` if it is not known.
#[derive(Debug, Clone, Default)]
pub(super) struct TripSeen(Arc<AtomicU8>);

const OVER: u8 = 1;
const GOES_ON: u8 = 2;

impl TripSeen {
    pub(super) fn tell(&self, goes_on: Option<bool>) {
        let code = goes_on.map_or(0, |goes_on| if goes_on { GOES_ON } else { OVER });
        self.0.store(code, Ordering::Release);
    }

    pub(super) fn look(&self) -> Option<bool> {
        match self.0.load(Ordering::Acquire) {
            OVER => Some(false),
            GOES_ON => Some(true),
            _ => None,
        }
    }
}
