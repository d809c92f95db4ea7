//! What applies to each flow: the meet of request, grant, floor and directive; and if nothing leaves, why not.
//!
//! A signal may leave when: recipient active ∧ request valid and unexpired ∧ grant live ∧ signal in request ∧ signal
//! granted `yes` ∧ not dropped or suspended ∧ the leaf is extracted as it was when granted ∧ the recipient's request key
//! is the one whose thumbprint the grant holds, and it signed the HPKE key in use ∧ the time is trustworthy. What is derived
//! may leave when all it is made of is also granted, `yes` or `in_vehicle`, and kept back by nobody.

mod clause;
mod docket;
mod explain;
mod inputs;

use super::atom;
use super::category::Category;
use super::document::bundle::{Bundle, Directive, Recipient, RecipientStatus};
use super::document::policy::Policy;
use super::document::record::{ConsentRecord, Decision, PiiInformation};
use super::document::request::Request;
use super::event::Occasion;
use super::grants::{Grant, Grants};
use super::transform::{Aggregate, Coding, Rule, Transform};
use crate::decode::{Leaf, LeafIndex, Leaves, ValueType};
use crate::limits::{BATCH_AGE_US_MAX, FLOWS_MAX};
use crate::names::{
    Digest, FlowId, HpkeKey, PolicyVersion, PurposeId, RecipientId, SignalPath, TrustedTime, WallTime,
};
use std::collections::BTreeSet;
use std::sync::Arc;

pub use clause::Clause;
pub use docket::Answer;
pub use explain::{Explanation, MadeOf, explain, halted};

use docket::Docket;

/// All that the decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The policy in force; `None`: nothing leaves.
    pub policy: Option<&'a Policy>,
    /// The owner's live grants.
    pub grants: &'a Grants,
    /// What the car's databases give.
    pub leaves: &'a Leaves,
    /// `None`: in doubt, so nothing leaves.
    pub time: Option<TrustedTime>,
    /// Of this program: `1.2.3`.
    pub agent_version: &'a str,
}

/// What does not leave, and why. In no log: a signal's name stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// The grant's flow; `None`: all.
    pub flow: Option<FlowId>,
    /// `None`: all of the flow.
    pub signal: Option<SignalPath>,
    /// The first clause that says no.
    pub clause: Clause,
}

/// All that may leave now.
#[derive(Debug, Clone, Default)]
pub struct Effective {
    /// Version of the policy in force.
    pub policy_version: PolicyVersion,
    /// One for each flow that may send something.
    pub flows: Vec<Arc<FlowRules>>,
    /// The rest.
    pub withheld: Vec<Withheld>,
    /// Leaves of these flows that tell of places or trips: nothing of them leaves from inside a private place.
    pub private: BTreeSet<LeafIndex>,
    /// Leaves that are not even read for now, though the rules of `flows` stand.
    pub unread: BTreeSet<LeafIndex>,
    /// Something is held back in the car until a trip ends.
    pub waits_for_trip: bool,
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
    /// Nothing leaves but what was recorded around it.
    pub event: Option<Occasion>,
    /// The key it is sealed to.
    pub hpke_key: HpkeKey,
    /// Nothing leaves from here on.
    pub live_until: WallTime,
    /// A batch is closed when its first sample is so old.
    pub batch_age_us: i64,
    /// A batch that was stored so long ago is not sent any more; `None`: nobody says so.
    pub age_us_max: Option<i64>,
    /// Bytes of sealed batches a day at most, by UTC; `None`: nobody says so.
    pub bytes_per_day_max: Option<u64>,
    /// Stamps in microseconds instead of milliseconds.
    pub microseconds: bool,
    /// Every leaf of the grant, in its order, once for each figure of it; the position is the signal number on the wire.
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

    /// One for each figure that was granted of it; itself if none was. Of a figure that is not permitted now nothing
    /// leaves, nor if there are several that were not granted one by one.
    fn figures(self) -> Vec<Self> {
        let Some(granted) = self.granted.aggregate else {
            let one = |rule: &Rule| match rule {
                Rule::Pass(transform) => transform.aggregate.is_none_or(|it| it.figure().is_some()),
                Rule::Deny => true,
            };
            let permitted = if one(&self.permitted) { self.permitted } else { Rule::Deny };
            return vec![Self { permitted, ..self }];
        };
        let alone = |figure: Aggregate| {
            let of = |transform: Transform| {
                let aggregate = transform.aggregate?.like(&figure)?;
                Some(Transform { aggregate: Some(aggregate), ..transform })
            };
            let permitted = match self.permitted {
                Rule::Pass(transform) => of(transform).map_or(Rule::Deny, Rule::Pass),
                Rule::Deny => Rule::Deny,
            };
            let granted = Transform { aggregate: Some(figure), ..self.granted };
            Self { granted, permitted, ..self.clone() }
        };
        granted.figures().map(alone).collect()
    }

    /// Whether `new` says what may leave of the same: a figure, or all that it could be made of.
    fn is_covered_by(&self, new: &Self) -> bool {
        let (old, new_one) = (self.granted.figure(), new.granted.figure());
        new.path == self.path && (new_one.is_none() || new_one == old)
    }

    /// How its raw values are read.
    #[must_use]
    pub fn recorded(&self) -> Coding {
        Coding { value_type: self.value_type, scale: self.scale, offset: self.offset }
    }

    /// How the values that leave are read.
    #[must_use]
    pub fn coding(&self) -> Coding {
        self.coded().coding(self.recorded())
    }
}

impl FlowRules {
    /// Its batches are sent so long after they were stored, in microseconds.
    #[must_use]
    pub fn hold_back_us(&self) -> i64 {
        hold_back_us(&self.signals)
    }

    /// Whether everything that these rules let out, `other` lets out too. Batches made under `other` may then not
    /// go on when these come into force, unless the two are equal.
    #[must_use]
    pub fn narrower_than(&self, other: &FlowRules) -> bool {
        let still = |old: &SignalRules| {
            self.signals.iter().find(|new| old.is_covered_by(new)).map_or(Rule::Deny, |new| new.permitted)
        };
        let waits = self.event.is_some() && self.event != other.event;
        // A bin is made of all the finer ones that nest in it.
        let all = Rule::of_all_bins;
        waits || other.signals.iter().any(|old| !all(old.permitted).within(all(still(old))))
    }
}

impl Effective {
    /// What applies in this situation.
    #[must_use]
    pub fn of(situation: &Situation<'_>) -> Self {
        match in_force(situation, &mut Docket::deciding()) {
            Err(clause) => {
                Self { withheld: vec![Withheld { flow: None, signal: None, clause }], ..Self::default() }
            }
            Ok((policy, time)) => Self::of_policy(situation, policy, time),
        }
    }

    /// The same with batches that close at this age at the latest, in microseconds.
    #[must_use]
    pub fn closing_within(mut self, batch_age_us: i64) -> Self {
        for rules in &mut self.flows {
            if rules.batch_age_us > batch_age_us {
                Arc::make_mut(rules).batch_age_us = batch_age_us;
            }
        }
        self
    }

    fn of_policy(situation: &Situation<'_>, policy: &Policy, time: TrustedTime) -> Self {
        let mut effective = Self { policy_version: policy.bundle().payload().version, ..Self::default() };
        for grant in situation.grants.live() {
            let view = View { policy, bundle: policy.bundle().payload(), leaves: situation.leaves, time };
            match view.flow(grant, &mut effective.withheld) {
                Ok(_) if effective.flows.len() >= FLOWS_MAX => {
                    effective.withhold(grant, Clause::TooManyFlows);
                }
                Ok(rules) if rules.signals.iter().any(|s| s.permitted != Rule::Deny) => {
                    let leaves = rules.signals.iter().filter(|signal| policy.is_private(&signal.path));
                    effective.private.extend(leaves.map(|signal| signal.leaf));
                    effective.flows.push(Arc::new(rules));
                }
                Ok(_) => {}
                Err(clause) => effective.withhold(grant, clause),
            }
        }
        effective
    }

    fn withhold(&mut self, grant: &Grant, clause: Clause) {
        self.withheld.push(Withheld { flow: Some(grant.flow()), signal: None, clause });
    }
}

/// The policy and the time, if both are to be trusted.
fn in_force<'a>(situation: &Situation<'a>, docket: &mut Docket) -> Result<(&'a Policy, TrustedTime), Clause> {
    let policy = docket.need(Clause::NoPolicy, situation.policy)?;
    let time = docket.need(Clause::TimeInDoubt, situation.time)?;
    let bundle = policy.bundle().payload();
    docket.hold(Clause::PolicyExpired, time.latest < bundle.expires && time.latest >= bundle.issued)?;
    let too_old = |directive: &Directive| match directive {
        Directive::RequireMinVersion { version } => !at_least(situation.agent_version, version),
        _ => false,
    };
    docket.hold(Clause::AgentTooOld, !bundle.directives.iter().any(too_old))?;
    Ok((policy, time))
}

/// Compares `major.minor.patch`; what is no such version is never reached.
fn at_least(have: &str, want: &str) -> bool {
    let numbers = |text: &str| -> Option<Vec<u64>> { text.split('.').map(|n| n.parse().ok()).collect() };
    match (numbers(have), numbers(want)) {
        (Some(have), Some(want)) => have >= want,
        _ => false,
    }
}

/// The strictest of what the recipient asks and the owner's records say.
fn age_us_max<'a>(request: &Request, records: impl Iterator<Item = &'a ConsentRecord>) -> Option<i64> {
    let said = records.filter_map(|record| record.conditions.max_age_s).chain(request.max_age_s);
    said.min().map(|seconds| i64::from(seconds) * 1_000_000)
}

fn held_back(grant: &Grant, signal: &SignalPath, clause: Clause, withheld: &mut Vec<Withheld>) {
    withheld.push(Withheld { flow: Some(grant.flow()), signal: Some(signal.clone()), clause });
}

/// All of a flow waits for the signal that waits the longest: its batches go in their order.
fn hold_back_us(signals: &[SignalRules]) -> i64 {
    let delay = |signal: &SignalRules| match signal.permitted {
        Rule::Pass(transform) => transform.delay_us,
        Rule::Deny => 0,
    };
    signals.iter().map(delay).max().unwrap_or(0)
}

struct View<'a> {
    policy: &'a Policy,
    bundle: &'a Bundle,
    leaves: &'a Leaves,
    time: TrustedTime,
}

impl View<'_> {
    /// The rules of one grant, or the first clause that ends it.
    fn flow(&self, grant: &Grant, withheld: &mut Vec<Withheld>) -> Result<FlowRules, Clause> {
        let mut docket = Docket::deciding();
        let given = grant.given().payload();
        let (hpke_key, request) = self.whole(grant, &mut docket)?;
        let records = || records(grant);
        let live_until = records().map(|record| record.not_after).min().unwrap_or(given.not_after);
        let signals = self.signals(request, grant, withheld);
        let event = self.event(request, &signals, &mut docket)?;
        let age_us_max = self.age_us_max(request, grant, &signals, &mut docket)?;
        Ok(FlowRules {
            flow: grant.flow(),
            recipient: given.recipient.party_id.clone(),
            purpose: given.purpose.id.clone(),
            request_digest: given.request_digest,
            event,
            hpke_key,
            live_until: live_until.min(request.expires).min(self.bundle.expires),
            batch_age_us: (i64::from(request.batch_age_s.max(1)) * 1_000_000).min(BATCH_AGE_US_MAX),
            age_us_max,
            bytes_per_day_max: bytes_per_day_max(grant),
            microseconds: request.microseconds,
            signals,
        })
    }

    /// The clauses that are about all of a flow.
    fn whole(&self, grant: &Grant, docket: &mut Docket) -> Result<(HpkeKey, &Request), Clause> {
        let given = grant.given().payload();
        docket.hold(Clause::GrantNotLive, records(grant).all(|record| self.is_live(record)))?;
        docket.hold(Clause::Condition, bytes_per_day_max(grant) != Some(0))?;
        let recipient = self.active(&given.recipient.party_id, docket)?;
        let agreed = Digest::of(&recipient.request_key.0) == given.recipient.key_thumbprint;
        docket.hold(Clause::RecipientKeyChanged, agreed)?;
        let hpke_key = docket.need(Clause::NoHpkeKey, self.policy.hpke_key(&recipient.id, self.time))?;
        let same = |request: &&Request| {
            request.recipient == given.recipient.party_id && request.purpose.id == given.purpose.id
        };
        let request = self.policy.request(&given.request_digest).map(super::document::Verified::payload);
        let request = docket.need(Clause::RequestGone, request.filter(same))?;
        // The event stands in the record for the owner to read; it is the request's, or nobody agreed to it.
        let agreed = records(grant).all(|record| record.conditions.event == request.event);
        docket.hold(Clause::Condition, agreed)?;
        self.valid(request, docket)?;
        Ok((hpke_key, request))
    }

    /// Every leaf of the grant that this car has; places are made one.
    fn signals(&self, request: &Request, grant: &Grant, withheld: &mut Vec<Withheld>) -> Vec<SignalRules> {
        let mut signals = Vec::new();
        for item in &grant.given().payload().pii_information {
            match self.signal(item, request, grant, &mut Docket::deciding()) {
                Ok((rules, held)) => {
                    if let Some(clause) = held {
                        held_back(grant, &item.signal, clause, withheld);
                    }
                    signals.extend(rules.figures());
                }
                Err(clause) => held_back(grant, &item.signal, clause, withheld),
            }
        }
        for at in atom::bind(&mut signals, |path| self.policy.is_location(path)) {
            held_back(grant, &signals[at].path, Clause::PartOfAPlace, withheld);
        }
        signals
    }

    /// The event that all of it waits for, in the numbers of its signals. Each signal in it must be one that leaves: so the
    /// event tells nothing that the grant does not.
    fn event(
        &self,
        request: &Request,
        signals: &[SignalRules],
        docket: &mut Docket,
    ) -> Result<Option<Occasion>, Clause> {
        let occasion = request.event.as_ref().map(|event| Occasion::new(event, signals));
        docket.hold(Clause::EventUnseen, occasion.as_ref().is_none_or(Option::is_some))?;
        Ok(occasion.flatten())
    }

    /// How old a batch may become; what is held back must not be as old when it may go.
    fn age_us_max(
        &self,
        request: &Request,
        grant: &Grant,
        signals: &[SignalRules],
        docket: &mut Docket,
    ) -> Result<Option<i64>, Clause> {
        let age_us_max = age_us_max(request, records(grant));
        let in_time = age_us_max.is_none_or(|most| hold_back_us(signals) < most);
        docket.hold(Clause::TooOldWhenDue, in_time)?;
        Ok(age_us_max)
    }

    fn is_live(&self, record: &ConsentRecord) -> bool {
        record.not_before <= self.time.earliest && self.time.latest < record.not_after
    }

    /// The recipient, if anything may leave for it.
    fn active(&self, id: &RecipientId, docket: &mut Docket) -> Result<&Recipient, Clause> {
        let recipient = docket.need(Clause::RecipientUnknown, self.policy.recipient(id))?;
        let suspends = |directive: &Directive| matches!(directive, Directive::Suspend { recipient, request: None } if recipient == id);
        let suspended = self.bundle.directives.iter().any(suspends);
        let active = recipient.status == RecipientStatus::Active && !suspended;
        docket.hold(Clause::RecipientSuspended, active)?;
        Ok(recipient)
    }

    /// Whether anything may leave by this request now.
    fn valid(&self, request: &Request, docket: &mut Docket) -> Result<(), Clause> {
        docket.hold(Clause::RequestExpired, self.time.latest < request.expires)?;
        let suspends = |directive: &Directive| {
            matches!(directive, Directive::Suspend { recipient, request: Some(id) }
                if *recipient == request.recipient && *id == request.id)
        };
        docket.hold(Clause::RequestSuspended, !self.bundle.directives.iter().any(suspends))
    }

    /// The rules of one leaf, and the clause that holds it back for now; or the clause that keeps it out of the flow.
    fn signal(
        &self,
        item: &PiiInformation,
        request: &Request,
        grant: &Grant,
        docket: &mut Docket,
    ) -> Result<(SignalRules, Option<Clause>), Clause> {
        let stays = item.decision == Decision::InVehicle;
        docket.hold(Clause::NotGranted, stays || item.decision == Decision::Yes)?;
        docket.hold(Clause::StaysInCar, !stays)?;
        if stays {
            return Err(Clause::StaysInCar);
        }
        let asked = request.signals.iter().find(|asked| asked.signal == item.signal);
        let asked = docket.need(Clause::NotRequested, asked)?;
        let leaf = self.leaves.find(&item.signal);
        let found = leaf.and_then(|leaf| Some((leaf, self.leaves.get(leaf)?)));
        let (leaf, extracted) = docket.need(Clause::NoSuchLeaf, found)?;
        docket.hold(Clause::ExtractionChanged, extracted.digest == item.signal_map_digest)?;
        let inputs = self.inputs(&item.signal, request, grant);
        docket.hold(Clause::InputNotGranted, inputs.iter().all(|input| input.granted.is_ok()))?;
        let granted = docket.rule(&asked.transforms).meet(docket.rule(&item.transform));
        let granted = granted.meet(docket.all(inputs.iter().flat_map(|input| &input.granted)));
        let Rule::Pass(as_granted) = granted else {
            docket.hold(Clause::TransformDenies, false)?;
            return Err(Clause::TransformDenies);
        };
        // What is held back now stays in the descriptor, which follows from the grant alone.
        let now = self.permitted(item, (granted, extracted), grant, docket).and_then(|rule| {
            docket.hold(Clause::InputHeld, inputs.iter().all(|input| input.now.is_ok()))?;
            let rule = rule.meet(docket.all(inputs.iter().flat_map(|input| &input.now)));
            docket.hold(Clause::TransformDenies, rule != Rule::Deny).map(|()| rule)
        });
        let (permitted, held) = match now {
            Ok(rule) => (rule, None),
            Err(clause) => (Rule::Deny, Some(clause)),
        };
        let rules = SignalRules {
            leaf,
            path: item.signal.clone(),
            unit: extracted.unit.clone(),
            value_type: extracted.value_type,
            scale: extracted.scale,
            offset: extracted.offset,
            names: extracted.names.clone(),
            granted: as_granted,
            permitted,
        };
        Ok((rules, held))
    }

    /// What the catalogue, the directives and later records leave of it.
    fn permitted(
        &self,
        item: &PiiInformation,
        (granted, extracted): (Rule, &Leaf),
        grant: &Grant,
        docket: &mut Docket,
    ) -> Result<Rule, Clause> {
        self.classified(item, extracted, docket)?;
        let mut rule = granted;
        if !item.floor_waived {
            rule = rule.meet(docket.rule(&self.policy.floor(&item.signal)));
        }
        for record in grant.narrowed() {
            let kept = record.payload().pii_information.iter().find(|kept| kept.signal == item.signal);
            let kept = kept.filter(|kept| kept.decision == Decision::Yes);
            let kept = docket.need(Clause::NotGranted, kept)?;
            rule = rule.meet(docket.rule(&kept.transform));
        }
        let drops =
            |directive: &Directive| matches!(directive, Directive::Drop { signal } if *signal == item.signal);
        docket.hold(Clause::SignalDropped, !self.bundle.directives.iter().any(drops))?;
        for directive in &self.bundle.directives {
            if let Directive::Tighten { signal, transforms } = directive
                && *signal == item.signal
            {
                rule = rule.meet(docket.rule(transforms));
            }
        }
        Ok(rule)
    }

    /// It is what it was agreed to as, as far as the catalogue and the database tell.
    fn classified(&self, item: &PiiInformation, leaf: &Leaf, docket: &mut Docket) -> Result<(), Clause> {
        let category = self.policy.category(&item.signal);
        let entry = self.policy.catalogue(&item.signal).filter(|_| category != Category::Unknown);
        let entry = docket.need(Clause::CategoryUnknown, entry)?;
        docket.hold(Clause::CategoryChanged, category == item.category)?;
        // Readings outside a leaf's range are states and no values: so the range alone says what can be read.
        let plausible = entry.plausible.is_none_or(|plausible| plausible.holds(leaf.range));
        docket.hold(Clause::Implausible, plausible)
    }
}

/// The strictest of what the owner's records say.
fn bytes_per_day_max(grant: &Grant) -> Option<u64> {
    records(grant).filter_map(|record| record.conditions.max_bytes_per_day).min()
}

/// The owner's yes and all that narrows it.
fn records(grant: &Grant) -> impl Iterator<Item = &ConsentRecord> {
    let narrowed = grant.narrowed().map(super::document::Verified::payload);
    std::iter::once(grant.given().payload()).chain(narrowed)
}

#[cfg(test)]
mod tests;
