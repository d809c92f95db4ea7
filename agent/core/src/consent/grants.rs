//! All consent records in their order, folded into the flows that are live.
//!
//! ```text
//! Given ─▶ live ─ Narrowed ─▶ live, met with it ─ Renewed ─▶ live, anew ─ Withdrawn | Expired | Invalidated ─▶ ended
//! ```
//! Each recipient × purpose is one chain. What widens must name the chain's last record in `supersedes` (none, if it
//! is the first), so that a grant that somebody held back cannot come to life after a withdrawal that it did not know.
//! What narrows or ends may name any record of the flow, or none: it always works.
//! Dates are not looked at here: `effective` does that.

use super::document::record::{ConsentRecord, EventState, Narrowing, Widening};
use super::document::{ConsentAct, Verified};
use crate::limits::{FLOWS_MAX, NARROWINGS_PER_FLOW_MAX, RECORDS_MAX};
use crate::names::{Digest, FlowId, PurposeId, RecipientId};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// A live flow: the owner's last yes, and what narrows it since. `effective` takes the meet of all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    flow: FlowId,
    given: Widening,
    narrowed: Vec<Narrowing>,
}

impl Grant {
    /// Its flow: named after the Given record that began it.
    #[must_use]
    pub fn flow(&self) -> FlowId {
        self.flow
    }

    /// The Given record, or the last renewal. An owner key signed it.
    #[must_use]
    pub fn given(&self) -> &Verified<ConsentRecord> {
        self.given.record()
    }

    /// What narrows it since, oldest first.
    pub fn narrowed(&self) -> impl Iterator<Item = &Verified<ConsentRecord>> {
        self.narrowed.iter().map(Narrowing::record)
    }
}

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// More may leave.
    Widens,
    /// Less may leave.
    Narrows,
    /// The flow ends.
    Ends,
    /// It is kept, and nothing changes: a refusal, a deferral, a withdrawal that overtook its grant.
    Nothing,
}

/// Why a record does not fit into the chain that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The same record again.
    #[error("this consent record is already there")]
    AlreadyThere,
    /// Another record has this id.
    #[error("another consent record has this record_id; make a new random one")]
    IdTaken,
    /// A second Given for a live flow.
    #[error("consent for this recipient and purpose is already given; withdraw it first, or renew it")]
    AlreadyGiven,
    /// A renewal of nothing.
    #[error("nothing is given for this recipient and purpose that could be renewed; give consent anew")]
    NothingToRenew,
    /// A widening record that does not know what happened last.
    #[error(
        "supersedes must name the last record for this recipient and purpose{}; sign one that does",
        named(.0)
    )]
    NotTheLast(Option<Uuid>),
    /// `supersedes` names a record of another recipient or purpose.
    #[error("supersedes names a record of another recipient or purpose; name one of this flow")]
    OtherChain,
    /// It narrows what has ended.
    #[error("nothing is given for this recipient and purpose any more that could be narrowed")]
    NotLive,
    /// The flow was ended for good.
    #[error("this flow was ended and stays so; give consent anew with a new record_id")]
    Buried,
    /// A bound.
    #[error("{what} is at its bound of {max}; {remedy}")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
        /// What to do.
        remedy: &'static str,
    },
}

fn named(last: &Option<Uuid>) -> String {
    last.map_or_else(|| ", and there is none yet".to_owned(), |id| format!(", `{id}`"))
}

/// A record as a list shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Listed<'a> {
    /// The record.
    pub record: &'a Verified<ConsentRecord>,
    /// The flow it is about; none for a refusal.
    pub flow: Option<FlowId>,
    /// Its state.
    pub state: Option<EventState>,
    /// Whether that flow is live now.
    pub live: bool,
}

type Chain = (RecipientId, PurposeId);

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    act: ConsentAct,
    chain: Chain,
    flow: Option<FlowId>,
}

/// All records that were accepted, and the flows that are live by them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grants {
    live: Vec<Grant>,
    entries: Vec<Entry>,
    by_id: HashMap<Uuid, usize>,
    last: HashMap<Chain, Uuid>,
    tombstones: BTreeSet<FlowId>,
}

/// What [`Grants::apply`] will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What it does.
    pub effect: Effect,
    /// To which flow.
    pub flow: Option<FlowId>,
}

impl Grants {
    /// No records yet; flows in `tombstones` are dead whatever comes.
    #[must_use]
    pub fn new(tombstones: BTreeSet<FlowId>) -> Self {
        Self { tombstones, ..Self::default() }
    }

    /// The flows that are live, in the order in which they began.
    #[must_use]
    pub fn live(&self) -> &[Grant] {
        &self.live
    }

    /// The live grant of this flow.
    #[must_use]
    pub fn find(&self, flow: FlowId) -> Option<&Grant> {
        self.live.iter().find(|grant| grant.flow == flow)
    }

    /// The live grant for this recipient and purpose.
    #[must_use]
    pub fn find_for(&self, recipient: &RecipientId, purpose: &PurposeId) -> Option<&Grant> {
        self.live.iter().find(|grant| {
            let record = grant.given().payload();
            record.recipient.party_id == *recipient && record.purpose.id == *purpose
        })
    }

    /// The last record for this recipient and purpose: what a widening record must supersede.
    #[must_use]
    pub fn last_for(&self, recipient: &RecipientId, purpose: &PurposeId) -> Option<Uuid> {
        self.last.get(&(recipient.clone(), purpose.clone())).copied()
    }

    /// Flows that were ended for good.
    #[must_use]
    pub fn tombstones(&self) -> &BTreeSet<FlowId> {
        &self.tombstones
    }

    /// Every record in its order, with its state.
    pub fn history(&self) -> impl Iterator<Item = Listed<'_>> {
        self.entries.iter().map(|entry| {
            let record = entry.act.record();
            let live = entry.flow.is_some_and(|flow| self.find(flow).is_some());
            Listed { record, flow: entry.flow, state: record.payload().state(), live }
        })
    }

    /// Whether a record of this id and digest was accepted before.
    #[must_use]
    pub fn holds(&self, id: Uuid, digest: Digest) -> bool {
        self.by_id.get(&id).is_some_and(|index| self.entries[*index].act.record().digest() == digest)
    }

    /// What `act` would do.
    ///
    /// # Errors
    /// [`GrantError`] says why it does not fit.
    pub fn weigh(&self, act: &ConsentAct) -> Result<Outcome, GrantError> {
        let record = act.record();
        let id = record.payload().record_id;
        if self.by_id.contains_key(&id) {
            return Err(if self.holds(id, record.digest()) {
                GrantError::AlreadyThere
            } else {
                GrantError::IdTaken
            });
        }
        match act {
            ConsentAct::Widening(widening) => self.weigh_widening(widening.record().payload()),
            ConsentAct::Narrowing(narrowing) => self.weigh_narrowing(narrowing.record().payload()),
        }
    }

    fn weigh_widening(&self, record: &ConsentRecord) -> Result<Outcome, GrantError> {
        self.room()?;
        let chain = chain(record);
        let last = self.last.get(&chain).copied();
        let running = self.find_for(&chain.0, &chain.1);
        let renews = record.state() == Some(EventState::RenewedConsentGiven);
        let flow = match (renews, running) {
            (true, None) => return Err(GrantError::NothingToRenew),
            (false, Some(_)) => return Err(GrantError::AlreadyGiven),
            (true, Some(grant)) => grant.flow,
            (false, None) => FlowId::from_record(record.record_id),
        };
        if record.supersedes != last {
            return Err(GrantError::NotTheLast(last));
        }
        if self.tombstones.contains(&flow) || (!renews && self.entries.iter().any(|e| e.flow == Some(flow))) {
            return Err(GrantError::Buried);
        }
        if !renews && self.live.len() >= FLOWS_MAX {
            return Err(GrantError::Full {
                what: "number of live flows",
                max: FLOWS_MAX,
                remedy: "withdraw one",
            });
        }
        Ok(Outcome { effect: Effect::Widens, flow: Some(flow) })
    }

    /// Which flow it is about: that of the record it names; if it names none, or one that this car never saw, the live
    /// one for its recipient and purpose.
    fn weigh_narrowing(&self, record: &ConsentRecord) -> Result<Outcome, GrantError> {
        let chain = chain(record);
        let running = self.find_for(&chain.0, &chain.1);
        let named = self.named(record);
        if named.is_none() && record.supersedes.is_some_and(|id| self.by_id.contains_key(&id)) {
            return Err(GrantError::OtherChain);
        }
        let flow = match named.and_then(|entry| entry.flow) {
            Some(flow) => running.filter(|grant| grant.flow == flow),
            None => running,
        };
        let names_given = named.is_some_and(|entry| entry.flow.is_some());
        let narrows = record.state() == Some(EventState::ConsentNarrowed);
        // A refusal says no to a question; only if it names a record of the running flow does it say no to that.
        let refuses = record.state().is_some_and(refuses);
        match flow {
            Some(grant) if narrows => room_to_narrow(grant),
            Some(grant) if !refuses || names_given => {
                Ok(Outcome { effect: Effect::Ends, flow: Some(grant.flow) })
            }
            None if !refuses && names_given => Err(GrantError::NotLive),
            // A refusal; or what overtook its grant: that one is refused when it comes, since it does not know this.
            _ => self.room().map(|()| Outcome { effect: Effect::Nothing, flow: None }),
        }
    }

    fn room(&self) -> Result<(), GrantError> {
        if self.entries.len() < RECORDS_MAX {
            return Ok(());
        }
        let remedy = "only what narrows or ends is taken; start again with a new owner enrolment";
        Err(GrantError::Full { what: "number of consent records", max: RECORDS_MAX, remedy })
    }

    /// Takes `act` in.
    ///
    /// # Errors
    /// [`GrantError`] says why it does not fit; nothing changed then.
    pub fn apply(&mut self, act: ConsentAct) -> Result<Outcome, GrantError> {
        let outcome = self.weigh(&act)?;
        match (&act, outcome.flow) {
            (ConsentAct::Widening(given), Some(flow)) => {
                let grant = Grant { flow, given: given.clone(), narrowed: Vec::new() };
                match self.live.iter_mut().find(|grant| grant.flow == flow) {
                    Some(renewed) => *renewed = grant,
                    None => self.live.push(grant),
                }
            }
            (ConsentAct::Narrowing(_), Some(flow)) if outcome.effect == Effect::Ends => self.bury(flow),
            (ConsentAct::Narrowing(narrowing), Some(flow)) => {
                if let Some(grant) = self.live.iter_mut().find(|grant| grant.flow == flow) {
                    grant.narrowed.push(narrowing.clone());
                }
            }
            (_, None) => {}
        }
        self.keep(act, outcome.flow);
        Ok(outcome)
    }

    /// Takes in a record that was accepted in an earlier life. What belongs to a flow that is over by now stays in the
    /// history, so that the chain holds, and has no effect.
    ///
    /// # Errors
    /// [`GrantError`] says why it does not fit; nothing changed then.
    pub fn replay(&mut self, act: ConsentAct) -> Result<Outcome, GrantError> {
        let record = act.record().payload();
        let state = record.state();
        let over = match state {
            Some(EventState::ConsentGiven) => {
                Some(FlowId::from_record(record.record_id)).filter(|flow| self.tombstones.contains(flow))
            }
            Some(state) if refuses(state) => None,
            _ => self.named(record).and_then(|entry| entry.flow).filter(|flow| self.find(*flow).is_none()),
        };
        // A renewal whose flow is over, but which followed a record that named none.
        let unnamed = state == Some(EventState::RenewedConsentGiven)
            && record.supersedes == self.last.get(&chain(record)).copied()
            && self.find_for(&record.recipient.party_id, &record.purpose.id).is_none();
        if (over.is_none() && !unnamed) || self.by_id.contains_key(&record.record_id) {
            return self.apply(act);
        }
        self.keep(act, over);
        Ok(Outcome { effect: Effect::Nothing, flow: over })
    }

    /// The entry that `record` supersedes, if it is known and of the same recipient and purpose.
    fn named(&self, record: &ConsentRecord) -> Option<&Entry> {
        let entry = self.by_id.get(&record.supersedes?).map(|index| &self.entries[*index])?;
        (entry.chain == chain(record)).then_some(entry)
    }

    fn keep(&mut self, act: ConsentAct, flow: Option<FlowId>) {
        let record = act.record().payload();
        let (id, chain) = (record.record_id, chain(record));
        self.by_id.insert(id, self.entries.len());
        self.last.insert(chain.clone(), id);
        self.entries.push(Entry { act, chain, flow });
    }

    /// Ends a flow for good, without a record: always works.
    pub fn bury(&mut self, flow: FlowId) {
        self.live.retain(|grant| grant.flow != flow);
        self.tombstones.insert(flow);
    }

    /// Something about this recipient and purpose cannot be read any more, perhaps what narrowed it: doubt denies.
    /// Not for good: no tombstone, so that the owner may give consent anew.
    pub(crate) fn doubt(&mut self, recipient: &RecipientId, purpose: &PurposeId) {
        let flow = self.find_for(recipient, purpose).map(|grant| grant.flow);
        self.live.retain(|grant| Some(grant.flow) != flow);
    }
}

fn refuses(state: EventState) -> bool {
    matches!(state, EventState::ConsentRefused | EventState::ConsentRequestDeferred)
}

fn chain(record: &ConsentRecord) -> Chain {
    (record.recipient.party_id.clone(), record.purpose.id.clone())
}

fn room_to_narrow(grant: &Grant) -> Result<Outcome, GrantError> {
    if grant.narrowed.len() < NARROWINGS_PER_FLOW_MAX {
        return Ok(Outcome { effect: Effect::Narrows, flow: Some(grant.flow) });
    }
    let remedy = "withdraw the consent or renew it";
    Err(GrantError::Full { what: "number of narrowings of this flow", max: NARROWINGS_PER_FLOW_MAX, remedy })
}
