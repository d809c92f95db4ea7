//! What applies to each flow: the meet of request, grant, floor and directive; and if nothing leaves, why not.

use super::transform::{Rule, Transform};
use crate::decode::{LeafIndex, ValueType};
use crate::names::{Digest, FlowId, HpkeKey, PolicyVersion, PurposeId, RecipientId, SignalPath, WallTime};
use std::sync::Arc;

/// All that may leave now.
#[derive(Debug, Clone, Default)]
pub struct Effective {
    /// Version of the policy in force.
    pub policy_version: PolicyVersion,
    /// One for each flow that may send something.
    pub flows: Vec<Arc<FlowRules>>,
}

/// What may leave in one flow.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowRules {
    /// The flow.
    pub flow: FlowId,
    /// Who gets it.
    pub recipient: RecipientId,
    /// What for.
    pub purpose: PurposeId,
    /// The request that was granted.
    pub request_digest: Digest,
    /// The key it is sealed to.
    pub hpke_key: HpkeKey,
    /// Nothing leaves from here on.
    pub live_until: WallTime,
    /// A batch is closed when its first sample is so old.
    pub batch_age_us: i64,
    /// Stamps in microseconds instead of milliseconds.
    pub microseconds: bool,
    /// Every leaf of the grant, in its order; the position is the signal number on the wire.
    pub signals: Vec<SignalRules>,
}

/// One leaf of a grant. All but `permitted` follows from the grant alone and stands in the descriptor.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalRules {
    /// The leaf.
    pub leaf: LeafIndex,
    /// Its name.
    pub path: SignalPath,
    /// Its unit.
    pub unit: String,
    /// How its raw values are read, before quantising.
    pub value_type: ValueType,
    /// `value = raw * scale + offset`, before quantising.
    pub scale: f64,
    /// See `scale`.
    pub offset: f64,
    /// Value table.
    pub names: Vec<(i64, String)>,
    /// As granted.
    pub granted: Transform,
    /// What applies now: the grant or stricter.
    pub permitted: Rule,
}

impl SignalRules {
    /// The transform that coded values and descriptor follow: what applies, or the grant while nothing may leave.
    #[must_use]
    pub fn coded(&self) -> Transform {
        match self.permitted {
            Rule::Pass(transform) => transform,
            Rule::Deny => self.granted,
        }
    }
}

impl FlowRules {
    /// Whether everything that these rules let out, `other` lets out too. Batches made under `other` may then not
    /// go on when these come into force, unless the two are equal.
    #[must_use]
    pub fn narrower_than(&self, other: &FlowRules) -> bool {
        let still = |old: &SignalRules| {
            self.signals.iter().find(|new| new.path == old.path).map_or(Rule::Deny, |new| new.permitted)
        };
        other.signals.iter().any(|old| !old.permitted.within(still(old)))
    }
}
