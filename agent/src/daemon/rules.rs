//! Under which rules each flow's queue was collected, kept over a restart: what was narrowed while the agent did not
//! run is noticed when it starts.
//!
//! ```text
//! file: lines of `flow digest`, both hexadecimal; the digest is SHA-256 over paths and rules in their order
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use glovebox_core::consent::effective::{Effective, FlowRules};
use glovebox_core::names::{Digest, FlowId};

use crate::store::files::{self, FileError};

/// The file and what it said when the agent started.
pub(super) struct Rules {
    path: PathBuf,
    before: BTreeMap<FlowId, Digest>,
}

impl Rules {
    /// A file that is not there, or that cannot be read, knows of no flow.
    pub(super) fn open(path: PathBuf) -> Self {
        let before = read(&path);
        Self { path, before }
    }

    /// Flows that go on under other rules than those that their queue was collected under. Whether the others are
    /// narrower cannot be told any more, so it counts as if.
    pub(super) fn changed(&self, effective: &Effective) -> Vec<FlowId> {
        let differs = |rules: &FlowRules| self.before.get(&rules.flow) != Some(&digest(rules));
        effective.flows.iter().filter(|rules| differs(rules)).map(|rules| rules.flow).collect()
    }

    /// Notes what applies from now on. A flow that is held back keeps what it had.
    pub(super) fn keep(&mut self, effective: &Effective, ended: &[FlowId]) -> Result<(), FileError> {
        let mut now = self.before.clone();
        now.extend(effective.flows.iter().map(|rules| (rules.flow, digest(rules))));
        now.retain(|flow, _| !ended.contains(flow));
        if now == self.before {
            return Ok(());
        }
        let mut text = String::new();
        for (flow, digest) in &now {
            // A string takes everything.
            let _ = writeln!(text, "{flow} {digest}");
        }
        files::write_atomically(&self.path, text.as_bytes())?;
        self.before = now;
        Ok(())
    }
}

fn read(path: &Path) -> BTreeMap<FlowId, Digest> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let pair = |line: &str| {
        let (flow, digest) = line.split_once(' ')?;
        Some((flow.parse().ok()?, digest.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn digest(rules: &FlowRules) -> Digest {
    let rules: Vec<_> = rules.signals.iter().map(|signal| (&signal.path, signal.permitted)).collect();
    Digest::of(format!("{rules:?}").as_bytes())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use glovebox_core::consent::transform::{Rule, Transform};
    use glovebox_core::decode::{LeafIndex, ValueType};
    use glovebox_core::names::{HpkeKey, PurposeId, RecipientId, SignalPath, WallTime};
    use std::sync::Arc;

    fn effective(flow: u64, min_interval_us: i64) -> Effective {
        let transform = Transform { min_interval_us, ..Transform::default() };
        let signal = glovebox_core::consent::effective::SignalRules {
            leaf: LeafIndex(0),
            path: SignalPath::new("Vehicle.Speed").unwrap(),
            unit: String::new(),
            value_type: ValueType::Unsigned,
            scale: 1.0,
            offset: 0.0,
            names: Vec::new(),
            granted: transform,
            permitted: Rule::Pass(transform),
        };
        let rules = FlowRules {
            flow: FlowId(flow),
            recipient: RecipientId::new("r").unwrap(),
            purpose: PurposeId::new("p").unwrap(),
            request_digest: Digest([0; 32]),
            hpke_key: HpkeKey([0; 32]),
            live_until: WallTime(1),
            batch_age_us: 1,
            age_us_max: None,
            microseconds: false,
            signals: vec![signal],
        };
        Effective { flows: vec![Arc::new(rules)], ..Effective::default() }
    }

    #[test]
    fn invariant_4_what_was_narrowed_while_the_agent_stood_still_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules");
        let mut rules = Rules::open(path.clone());
        assert_eq!(rules.changed(&effective(1, 5)), [FlowId(1)], "nothing is known of it");
        rules.keep(&effective(1, 5), &[]).unwrap();
        let mut rules = Rules::open(path.clone());
        assert!(rules.changed(&effective(1, 5)).is_empty());
        assert_eq!(rules.changed(&effective(1, 6)), [FlowId(1)]);
        rules.keep(&Effective::default(), &[]).unwrap();
        assert!(Rules::open(path.clone()).changed(&effective(1, 5)).is_empty(), "held back is not forgotten");
        rules.keep(&Effective::default(), &[FlowId(1)]).unwrap();
        assert_eq!(Rules::open(path).changed(&effective(1, 5)), [FlowId(1)], "ended is");
    }
}
