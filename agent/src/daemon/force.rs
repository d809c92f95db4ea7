//! What is in force, and the order in which a change of it comes into force: the order that makes a withdrawal complete.
//!
//! ```text
//! hold the network ─▶ tombstone, record: durable ─▶ delivery: never again ─▶ gate swapped ─▶ connection cut
//!                                                ─▶ keys, segments, index destroyed ─▶ network free again
//! ```

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use glovebox_core::consent::effective::{Effective, FlowRules};
use glovebox_core::decode::Leaves;
use glovebox_core::ledger::{Event, Record};
use glovebox_core::names::FlowId;

use super::authority::{Change, LocalAuthority};
use super::rules::Rules;
use crate::control::AuthorityError;

/// The other stages, as they are told of a change. Each call returns when it is done there.
pub trait Stages {
    /// Nothing of this flow is offered or stored any more. Answers whether some of it may be on its way.
    fn withdraw(&mut self, flow: FlowId) -> bool;

    /// What is queued of this flow goes, and is declared. Answers whether some of it may be on its way; `None` if it may
    /// be there again after a restart.
    fn narrow(&mut self, flow: FlowId) -> Option<bool>;

    /// Whether what was narrowed of this flow is gone for good by now.
    fn is_settled(&mut self, flow: FlowId) -> bool;

    /// What may be offered from now on.
    fn permit(&mut self, flows: &[Arc<FlowRules>]);

    /// What may be collected from now on.
    fn swap(&mut self, effective: &Effective);

    /// What the network has in its hands is thrown away, with the connection.
    fn cut(&mut self);

    /// Keys, segments and index of a withdrawn flow are destroyed; if that fails, the next start does it.
    fn purge(&mut self, flow: FlowId);

    /// For the ledger.
    fn note(&mut self, record: Record);

    /// There may be something to offer again.
    fn wake(&mut self);

    /// Whether a trip goes on, as its signal said last since the last swap; `None` if nobody looks, or it said nothing.
    fn trip(&mut self) -> Option<bool> {
        None
    }
}

/// The authority, and what of its decisions is in force.
pub struct Force {
    /// Decides.
    pub authority: LocalAuthority,
    /// What the car's databases give.
    pub leaves: Arc<Leaves>,
    /// A batch is closed at this age at the latest, in microseconds.
    pub batch_age_us: i64,
    /// Held from before a withdrawal is stored until it is known to delivery: nothing is handed to the network meanwhile.
    pub sending: Arc<Mutex<()>>,
    /// The persisted mark of time, for the other threads' clocks.
    pub mark: Arc<AtomicI64>,
    /// Under which rules the queues were collected.
    pub rules: Rules,
    /// `None` until the first gate is in force.
    pub effective: Option<Effective>,
}

impl Force {
    /// Nothing is in force until the first look.
    #[must_use]
    pub fn new(authority: LocalAuthority, leaves: Arc<Leaves>, batch_age_us: i64, rules: Rules) -> Self {
        let mark = Arc::new(AtomicI64::new(authority.mark().0));
        let sending = Arc::new(Mutex::new(()));
        Self { authority, leaves, batch_age_us, sending, mark, rules, effective: None }
    }

    /// One act of the authority; what it changed is in force when this returns.
    ///
    /// # Errors
    /// Those of `what`; also then what it changed is in force.
    pub fn act<T>(
        &mut self,
        stages: &mut dyn Stages,
        what: impl FnOnce(&mut LocalAuthority) -> Result<T, AuthorityError>,
    ) -> Result<T, AuthorityError> {
        let sending = Arc::clone(&self.sending);
        let held = sending.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = what(&mut self.authority);
        let changes = self.authority.take_changes();
        if !changes.is_empty() {
            self.put(stages, &changes);
        }
        drop(held);
        self.mark.store(self.authority.mark().0, Ordering::Release);
        stages.wake();
        outcome
    }

    /// What applies is worked out anew: at start, and when a date has passed or the clock has changed.
    pub fn look_again(&mut self, stages: &mut dyn Stages) {
        if let Err(error) = self.authority.keep_time() {
            tracing::error!(target: "consent", %error, "the time could not be kept");
        }
        self.authority.pass_session(stages.trip());
        self.mark.store(self.authority.mark().0, Ordering::Release);
        let sending = Arc::clone(&self.sending);
        let held = sending.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(stages, &[]);
        drop(held);
        stages.wake();
    }

    fn put(&mut self, stages: &mut dyn Stages, changes: &[Change]) {
        let effective = self.worked_out();
        let same = |now: &Effective| {
            (&now.flows, &now.withheld, &now.unread, now.waits_for_trip)
                == (&effective.flows, &effective.withheld, &effective.unread, effective.waits_for_trip)
        };
        let quiet = changes.iter().all(|change| *change == Change::Owners);
        if quiet && self.effective.as_ref().is_some_and(same) {
            if self.rules.settle(|flow| stages.is_settled(flow)) {
                self.keep_rules(&effective, &[]);
            }
            self.note(stages, changes);
            return;
        }
        let ended: Vec<FlowId> = changes
            .iter()
            .filter_map(|c| if let Change::Ended(flow) = c { Some(*flow) } else { None })
            .collect();
        let mut cut = false;
        for flow in &ended {
            cut |= stages.withdraw(*flow);
        }
        let Narrowed { resumed, going_on } = narrowed(self.effective.as_ref(), &effective, &self.rules);
        // Before anything new of these is collected, which would go with the old.
        for flow in resumed {
            cut |= self.narrow(stages, flow);
        }
        stages.permit(&effective.flows);
        stages.swap(&effective);
        for flow in going_on {
            cut |= self.narrow(stages, flow);
        }
        if cut {
            stages.cut();
        }
        ended.iter().for_each(|flow| stages.purge(*flow));
        self.rules.settle(|flow| stages.is_settled(flow));
        self.keep_rules(&effective, &ended);
        self.note(stages, changes);
        self.effective = Some(effective);
    }

    fn narrow(&mut self, stages: &mut dyn Stages, flow: FlowId) -> bool {
        stages.narrow(flow).unwrap_or_else(|| {
            self.rules.doubt(flow);
            true
        })
    }

    fn keep_rules(&mut self, effective: &Effective, ended: &[FlowId]) {
        if let Err(error) = self.rules.keep(effective, ended) {
            tracing::error!(target: "consent", %error, "the rules of the queues could not be noted");
        }
    }

    fn worked_out(&self) -> Effective {
        let effective = Effective::of(&self.authority.situation(&self.leaves));
        self.authority.under_session(effective).closing_within(self.batch_age_us)
    }

    fn note(&self, stages: &mut dyn Stages, changes: &[Change]) {
        for change in changes {
            let event = match change {
                Change::Policy => Event::PolicyAccepted,
                Change::Widened(_) | Change::Narrowed(_) => Event::ConsentStored,
                Change::Ended(_) => Event::Withdrawn,
                Change::Owners => Event::OwnersChanged,
                // It is no consent, and leaves no trace.
                Change::InCar => continue,
            };
            stages.note(Record::new(self.authority.now().map(|now| now.earliest), event));
        }
    }
}

/// Flows that have less than before.
struct Narrowed {
    /// Held back until now, or not known: it counts under which rules their queue was collected.
    resumed: Vec<FlowId>,
    going_on: Vec<FlowId>,
}

fn narrowed(old: Option<&Effective>, new: &Effective, rules: &Rules) -> Narrowed {
    let before = |flow| old.and_then(|old| old.flows.iter().find(|rules| rules.flow == flow));
    let mut resumed = rules.changed(new);
    resumed.retain(|flow| before(*flow).is_none());
    let less = |rules: &&Arc<FlowRules>| before(rules.flow).is_some_and(|old| rules.narrower_than(old));
    let going_on = new.flows.iter().filter(less).map(|rules| rules.flow).collect();
    Narrowed { resumed, going_on }
}
