//! What a flow's rules are where a test does not care.
#![expect(unreachable_pub, reason = "shared by several test binaries")]

use glovebox_core::consent::effective::{FlowRules, SignalRules};
use glovebox_core::names::{Digest, FlowId, HpkeKey, PurposeId, RecipientId, WallTime};

/// A flow of this number that is live for ever, with no event and no limits.
pub fn flow(number: u64, signals: Vec<SignalRules>) -> FlowRules {
    FlowRules {
        flow: FlowId(number),
        recipient: RecipientId::new("r").unwrap(),
        purpose: PurposeId::new("p").unwrap(),
        request_digest: Digest([0; 32]),
        event: None,
        hpke_key: HpkeKey([0; 32]),
        live_until: WallTime(i64::MAX),
        batch_age_us: 1,
        age_us_max: None,
        bytes_per_day_max: None,
        microseconds: false,
        signals,
    }
}
