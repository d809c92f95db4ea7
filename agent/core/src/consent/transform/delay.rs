//! `delay`: what is recorded now is sent later. Its batches wait in the outbox, sealed, so the wait outlives a restart;
//! see `delivery`.

use super::spec::TransformSpec;
use crate::limits::DELAY_S_MAX;

/// `{"op": "delay", "hold_back_s": 3600}`; answers microseconds.
pub(super) fn parse(spec: &TransformSpec) -> Option<i64> {
    spec.only(&["hold_back_s"])?;
    spec.integer("hold_back_s", 1..=DELAY_S_MAX).map(|s| s * 1_000_000)
}
