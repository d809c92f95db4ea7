//! `time_bucket`: stamps lie on the edge of a granularity, and nothing is let out before its bucket is over: else the
//! moment of sending would tell what the stamp hides.

use super::period::Period;
use super::spec::TransformSpec;
use crate::limits::TIME_BUCKET_S_MAX;

/// `{"op": "time_bucket", "granularity_s": 900}`
pub(super) fn parse(spec: &TransformSpec) -> Option<Period> {
    spec.only(&["granularity_s"])?;
    Period::from_s(spec.integer("granularity_s", 1..=TIME_BUCKET_S_MAX)?)
}

pub(super) fn meet(a: Period, b: Period) -> Option<Period> {
    a.meet(b, TIME_BUCKET_S_MAX)
}
