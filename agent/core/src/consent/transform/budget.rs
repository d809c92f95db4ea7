//! `budget`: so many samples of a signal a day (UTC, by their stamps), and no more. Figures and senders of a signal share
//! it. What was spent is counted over a restart; see the gate's `budget`.

use super::spec::TransformSpec;
use crate::limits::BUDGET_SAMPLES_MAX;

/// `{"op": "budget", "samples_per_day": 100}`
pub(super) fn parse(spec: &TransformSpec) -> Option<u32> {
    spec.only(&["samples_per_day"])?;
    u32::try_from(spec.integer("samples_per_day", 1..=BUDGET_SAMPLES_MAX)?).ok()
}
