//! Under which rules each flow's queue was collected, kept over a restart: what was narrowed while the agent did not
//! run is noticed when it starts.
//!
//! ```text
//! file: lines of `flow digest`, both hexadecimal; the digest is SHA-256 over paths and rules in their order
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use glovebox_core::consent::effective::{Effective, FlowRules};
use glovebox_core::names::{Digest, FlowId};

use crate::store::files::{self, FileError};

/// Where the file is.
pub trait Keep: Send {
    /// What it says; nothing if it cannot be read.
    fn read(&self) -> String;

    /// Replaces it; durable when it returns.
    ///
    /// # Errors
    /// The system's.
    fn write(&self, text: &str) -> Result<(), FileError>;
}

/// A file of that path.
struct AtPath(PathBuf);

impl Keep for AtPath {
    fn read(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }

    fn write(&self, text: &str) -> Result<(), FileError> {
        files::write_atomically(&self.0, text.as_bytes())
    }
}

/// The file and what it said when the agent started.
pub struct Rules {
    file: Box<dyn Keep>,
    before: BTreeMap<FlowId, Digest>,
    in_doubt: BTreeSet<FlowId>,
}

impl Rules {
    /// A file that is not there, or that cannot be read, knows of no flow.
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        Self::kept(Box::new(AtPath(path)))
    }

    /// As [`Self::open`], wherever the file is.
    #[must_use]
    pub fn kept(file: Box<dyn Keep>) -> Self {
        let before = parse(&file.read());
        Self { file, before, in_doubt: BTreeSet::new() }
    }

    /// Flows that go on under other rules than those that their queue was collected under. Whether the others are
    /// narrower cannot be told any more, so it counts as if.
    pub(super) fn changed(&self, effective: &Effective) -> Vec<FlowId> {
        let differs = |rules: &FlowRules| self.before.get(&rules.flow) != Some(&digest(rules));
        effective.flows.iter().filter(|rules| differs(rules)).map(|rules| rules.flow).collect()
    }

    /// What was queued of `flow` under a wider rule may be there again after a restart: until that is settled it is as
    /// if its rules were not known.
    pub(super) fn doubt(&mut self, flow: FlowId) {
        self.in_doubt.insert(flow);
    }

    /// Looks again at what is in doubt. True if some of it is settled now, so that [`Self::keep`] has to be called.
    pub(super) fn settle(&mut self, mut is_settled: impl FnMut(FlowId) -> bool) -> bool {
        let before = self.in_doubt.len();
        self.in_doubt.retain(|flow| !is_settled(*flow));
        self.in_doubt.len() < before
    }

    /// Notes what applies from now on. A flow that is held back keeps what it had.
    pub(super) fn keep(&mut self, effective: &Effective, ended: &[FlowId]) -> Result<(), FileError> {
        let mut now = self.before.clone();
        now.extend(effective.flows.iter().map(|rules| (rules.flow, digest(rules))));
        self.in_doubt.retain(|flow| !ended.contains(flow));
        now.retain(|flow, _| !ended.contains(flow) && !self.in_doubt.contains(flow));
        if now == self.before {
            return Ok(());
        }
        let mut text = String::new();
        for (flow, digest) in &now {
            // A string takes everything.
            let _ = writeln!(text, "{flow} {digest}");
        }
        self.file.write(&text)?;
        self.before = now;
        Ok(())
    }
}

fn parse(text: &str) -> BTreeMap<FlowId, Digest> {
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
            event: None,
            hpke_key: HpkeKey([0; 32]),
            live_until: WallTime(1),
            batch_age_us: 1,
            age_us_max: None,
            bytes_per_day_max: None,
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
        assert_eq!(Rules::open(path.clone()).changed(&effective(1, 5)), [FlowId(1)], "ended is");
        rules.keep(&effective(1, 6), &[]).unwrap();
        rules.doubt(FlowId(1));
        rules.keep(&effective(1, 7), &[]).unwrap();
        assert!(!rules.settle(|_| false));
        rules.keep(&effective(1, 7), &[]).unwrap();
        let changed = |path: &PathBuf| Rules::open(path.clone()).changed(&effective(1, 7));
        assert_eq!(changed(&path), [FlowId(1)], "it may be queued under the old one");
        assert!(rules.settle(|_| true));
        rules.keep(&effective(1, 7), &[]).unwrap();
        assert!(changed(&path).is_empty());
    }
}
