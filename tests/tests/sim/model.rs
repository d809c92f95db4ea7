//! What was agreed, in the simulation's own words: it shares no code with the gate.

use std::collections::{BTreeMap, BTreeSet};

use glovebox_core::limits::BUILD_DATE_US;
use glovebox_core::names::FlowId;

pub const RECIPIENTS: usize = 2;
pub const PURPOSES: usize = 2;
pub const SIGNALS: usize = 4;

/// One recipient and one purpose.
pub type Chain = (usize, usize);

/// All of them.
pub fn chains() -> impl Iterator<Item = Chain> {
    (0..RECIPIENTS).flat_map(|recipient| (0..PURPOSES).map(move |purpose| (recipient, purpose)))
}

/// What a bundle says.
#[derive(Debug, Clone)]
pub struct Policy {
    pub version: u64,
    pub issued_us: i64,
    pub expires_us: i64,
    /// What is asked for, with the version of the request.
    pub asked: BTreeMap<Chain, (u64, BTreeSet<usize>)>,
    pub suspended: BTreeSet<usize>,
    pub dropped: BTreeSet<usize>,
}

/// What was done, once it is durable.
#[derive(Debug, Clone)]
pub enum Act {
    Policy(Policy),
    /// Given, or renewed.
    Give {
        chain: Chain,
        flow: FlowId,
        request: u64,
        signals: BTreeSet<usize>,
        from_us: i64,
        until_us: i64,
    },
    Narrow {
        flow: FlowId,
        keep: BTreeSet<usize>,
    },
    /// By a record or a tombstone.
    End(FlowId),
    /// Paused in the car: one recipient, or everything.
    Hold(Option<usize>),
    Release(Option<usize>),
}

#[derive(Debug, Clone)]
pub struct Live {
    pub flow: FlowId,
    request: u64,
    signals: BTreeSet<usize>,
    from_us: i64,
    until_us: i64,
}

/// What is in force.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub policy: Option<Policy>,
    pub live: BTreeMap<Chain, Live>,
    pub ended: BTreeSet<FlowId>,
    /// Recipients that get nothing for now; `None`: all of them.
    paused: BTreeSet<Option<usize>>,
}

impl Model {
    pub fn note(&mut self, act: &Act) {
        match act.clone() {
            Act::Policy(policy) => self.policy = Some(policy),
            Act::Give { chain, flow, request, signals, from_us, until_us } => {
                self.live.insert(chain, Live { flow, request, signals, from_us, until_us });
            }
            Act::Narrow { flow, keep } => {
                let live = self.live.values_mut().filter(|live| live.flow == flow);
                live.for_each(|live| live.signals = live.signals.intersection(&keep).copied().collect());
            }
            Act::End(flow) => {
                self.live.retain(|_, live| live.flow != flow);
                self.ended.insert(flow);
            }
            Act::Hold(whose) => drop(self.paused.insert(whose)),
            Act::Release(whose) => drop(self.paused.remove(&whose)),
        }
    }

    /// What may leave in this chain at this time.
    pub fn allowed(&self, chain: Chain, now_us: Option<i64>) -> Option<(FlowId, BTreeSet<usize>)> {
        let (policy, now, live) = (self.policy.as_ref()?, now_us?, self.live.get(&chain)?);
        let (request, asked) = policy.asked.get(&chain)?;
        let dates = (policy.issued_us..policy.expires_us).contains(&now)
            && (live.from_us..live.until_us).contains(&now);
        let paused = [None, Some(chain.0)].iter().any(|whose| self.paused.contains(whose));
        if !dates || paused || policy.suspended.contains(&chain.0) || *request != live.request {
            return None;
        }
        let signals = live.signals.iter().filter(|it| asked.contains(it) && !policy.dropped.contains(it));
        Some((live.flow, signals.copied().collect()))
    }

    /// Nothing of this flow may be handed over from here on.
    pub fn over_at(&self, flow: FlowId) -> Option<i64> {
        let live = self.live.values().find(|live| live.flow == flow)?;
        Some(live.until_us.min(self.policy.as_ref()?.expires_us))
    }
}

/// The time as far as it is to be trusted.
pub fn trusted(wall_us: i64, mark_us: i64) -> Option<i64> {
    (wall_us >= BUILD_DATE_US && wall_us >= mark_us).then_some(wall_us)
}
