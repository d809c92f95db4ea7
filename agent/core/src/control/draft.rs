//! Consent records for the owner to read and sign, made of the request in force.

use super::{Aliases, Control, OwnersError};
use crate::consent::Predicate;
use crate::consent::document::bundle::{Category, Recipient};
use crate::consent::document::enrolment::{EnrolmentAct, OwnerEnrolment};
use crate::consent::document::record::{
    Conditions, ConsentEvent, ConsentRecord, Decision, EventState, PiiInformation, Processing,
    RecordedPurpose, RecordedRecipient,
};
use crate::consent::document::request::{Request, RequestedSignal};
use crate::consent::document::{Policy, Verified, describe};
use crate::limits::{DAY_BATCH_BYTES_MIN, DAY_SIGNAL_BYTES_MIN, ENROLMENT_US_DEFAULT};
use crate::names::{Digest, FlowId, PurposeId, RecipientId, SignalPath, VerifyingKey, WallTime};
use uuid::Uuid;

/// What the core cannot know of an act of consent: chance, time, and how it was done.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Random (version 4).
    pub record_id: Uuid,
    /// When; the earliest that it can be, since a grant is live only from here on.
    pub now: WallTime,
    /// When, as the clock says: what people are told.
    pub at: WallTime,
    /// `owner`, `driver` or `agent`.
    pub entity: &'a str,
    /// `command_line`, `owner_page` or `remote`.
    pub shown_by: &'a str,
}

/// What the owner wants to give.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// To whom.
    pub recipient: &'a RecipientId,
    /// What for.
    pub purpose: &'a PurposeId,
    /// Which of the leaves that are asked for.
    pub wanted: &'a dyn Fn(&SignalPath) -> bool,
    /// Until before when.
    pub until: WallTime,
    /// The second, separate yes to more than the catalogue's floor.
    pub floor_waived: bool,
    /// So many bytes a day at most.
    pub max_bytes_per_day: Option<u64>,
    /// BCP 47 tag of the words that are shown, if the request has them.
    pub language: &'a str,
    /// When and how.
    pub stamp: Stamp<'a>,
}

/// Why there is nothing to sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// Nothing to agree to.
    #[error("no policy is in force; install a policy bundle first")]
    NoPolicy,
    /// No such request.
    #[error(
        "the policy in force has no request of recipient `{recipient}` for purpose `{purpose}`; see `policy show`"
    )]
    NoRequest {
        /// The recipient.
        recipient: RecipientId,
        /// The purpose.
        purpose: PurposeId,
    },
    /// Nothing would leave.
    #[error(
        "nothing would leave: no signal of the request is wanted, has a category in the bundle and is in this car; \
         `policy show` shows what is asked for, `decode` what the car's databases name"
    )]
    NothingWanted,
    /// Of all that is wanted the inputs are missing.
    #[error("nothing would leave: {signal} is made of {input}, which is not agreed to; take it too")]
    NotFed {
        /// The derived signal.
        signal: SignalPath,
        /// What it is made of.
        input: SignalPath,
    },
    /// Over before it begins.
    #[error("`until` {until} is not after now, {now}; take a later one")]
    Dates {
        /// Wanted end.
        until: WallTime,
        /// Now.
        now: WallTime,
    },
    /// Every batch would be dropped.
    #[error(
        "{wanted} bytes a day are fewer than one batch of these signals may have, and all would be dropped; take at least \
         {least}"
    )]
    TooFewBytes {
        /// Wanted.
        wanted: u64,
        /// The least that makes sense.
        least: u64,
    },
    /// The alias secret is not to be had.
    #[error("the alias of this car is not to be had; see the key store")]
    NoAlias,
    /// No such flow.
    #[error("flow {0} is not live; see `consent list`")]
    NotLive(FlowId),
}

impl Control {
    /// The record by which the owner gives what is wished: each leaf of the request in force with yes or no, reduced as
    /// the request says and the catalogue's floor. If consent is given already, it is a renewal that takes its place.
    /// `leaf_digest` says how this car extracts a leaf; what it does not have is `not_set`.
    ///
    /// # Errors
    /// [`DraftError`] says what is missing.
    pub fn draft(
        &self,
        wish: &Wish<'_>,
        leaf_digest: &dyn Fn(&SignalPath) -> Option<Digest>,
        aliases: Aliases<'_>,
    ) -> Result<ConsentRecord, DraftError> {
        let policy = self.policy().ok_or(DraftError::NoPolicy)?;
        let missing =
            || DraftError::NoRequest { recipient: wish.recipient.clone(), purpose: wish.purpose.clone() };
        let request = policy.request_for(wish.recipient, wish.purpose).ok_or_else(missing)?;
        let recipient = policy.recipient(wish.recipient).ok_or_else(missing)?;
        let alias = aliases(wish.recipient).ok_or(DraftError::NoAlias)?;
        if wish.until <= wish.stamp.now {
            return Err(DraftError::Dates { until: wish.until, now: wish.stamp.now });
        }
        let asked = &request.payload().signals;
        let leaves: Vec<_> = asked.iter().map(|it| decide((it, asked), wish, policy, leaf_digest)).collect();
        let given: Vec<_> = leaves.iter().filter(|leaf| leaf.decision == Decision::Yes).collect();
        let unfed = given.iter().map(|leaf| not_fed(&leaf.signal, &leaves)).collect::<Option<Vec<_>>>();
        if let Some(all) = unfed {
            let not_fed = |(signal, input)| DraftError::NotFed { signal, input };
            return Err(all.into_iter().next().map_or(DraftError::NothingWanted, not_fed));
        }
        let given = given.len() as u64;
        let least = DAY_BATCH_BYTES_MIN.saturating_add(given.saturating_mul(DAY_SIGNAL_BYTES_MIN));
        if let Some(wanted) = wish.max_bytes_per_day.filter(|wanted| *wanted < least) {
            return Err(DraftError::TooFewBytes { wanted, least });
        }
        let (state, word) = match self.grants().find_for(wish.recipient, wish.purpose) {
            Some(_) => (EventState::RenewedConsentGiven, "renewed"),
            None => (EventState::ConsentGiven, "given"),
        };
        let mut record = filled(request, recipient, wish, leaves);
        (record.subject_vehicle, record.pii_principal_id) = alias;
        record.supersedes = self.grants().last_for(wish.recipient, wish.purpose);
        Ok(stamped(record, state, word, wish.stamp))
    }

    /// The record that withdraws a live flow.
    ///
    /// # Errors
    /// If the flow is not live.
    pub fn draft_withdrawal(&self, flow: FlowId, stamp: Stamp<'_>) -> Result<ConsentRecord, DraftError> {
        let mut record = self.follow(flow, stamp)?;
        record.pii_information.clear();
        record.conditions.event = None;
        Ok(stamped(record, EventState::ConsentWithdrawn, "withdrawn", stamp))
    }

    /// The record that takes away from a live flow all leaves but those to `keep`, also of what stays in the car.
    ///
    /// # Errors
    /// If the flow is not live.
    pub fn draft_narrowing(
        &self,
        flow: FlowId,
        keep: &dyn Fn(&SignalPath) -> bool,
        stamp: Stamp<'_>,
    ) -> Result<ConsentRecord, DraftError> {
        let mut record = self.follow(flow, stamp)?;
        for leaf in &mut record.pii_information {
            let agreed = matches!(leaf.decision, Decision::Yes | Decision::InVehicle);
            if agreed && !keep(&leaf.signal) {
                leaf.decision = Decision::No;
            }
        }
        Ok(stamped(record, EventState::ConsentNarrowed, "narrowed", stamp))
    }

    /// The enrolment that makes `owner_key` an owner's, or no more: for an enrolled key to sign.
    ///
    /// # Errors
    /// If it would not be taken anyhow.
    pub fn draft_enrolment(
        &self,
        act: EnrolmentAct,
        owner_key: VerifyingKey,
        now: WallTime,
    ) -> Result<OwnerEnrolment, OwnersError> {
        let enrolment = OwnerEnrolment {
            schema_version: 1,
            device: self.enrolment().device.clone(),
            follows: self.owners().head(),
            act,
            owner_key,
            issued: now,
            not_after: WallTime(now.0.saturating_add(ENROLMENT_US_DEFAULT)),
        };
        self.owners().weigh(&enrolment)?;
        Ok(enrolment)
    }

    /// The given record of a live flow as the base of one that follows the flow's last.
    fn follow(&self, flow: FlowId, stamp: Stamp<'_>) -> Result<ConsentRecord, DraftError> {
        let grant = self.grants().find(flow).ok_or(DraftError::NotLive(flow))?;
        let mut record = grant.given().payload().clone();
        record.supersedes = self.grants().last_for(&record.recipient.party_id, &record.purpose.id);
        record.record_id = stamp.record_id;
        Ok(record)
    }
}

/// Sets the one event of a record, with the digest of the words that describe it.
fn stamped(mut record: ConsentRecord, state: EventState, word: &str, stamp: Stamp<'_>) -> ConsentRecord {
    record.events = vec![ConsentEvent {
        event_time: stamp.at,
        event_state: state,
        event_type: word.to_owned(),
        entity_id: stamp.entity.to_owned(),
        indication_method: stamp.shown_by.to_owned(),
        ui_digest: Digest([0; 32]),
    }];
    let shown = Digest::of(describe(&record).as_bytes());
    if let Some(event) = record.events.last_mut() {
        event.ui_digest = shown;
    }
    record
}

/// A derived signal and the first input of it that is not agreed to beside it.
fn not_fed(signal: &SignalPath, beside: &[PiiInformation]) -> Option<(SignalPath, SignalPath)> {
    let agreed = |input: &SignalPath| {
        let feeds = |leaf: &PiiInformation| matches!(leaf.decision, Decision::Yes | Decision::InVehicle);
        beside.iter().any(|leaf| leaf.signal == *input && feeds(leaf))
    };
    let input = Predicate::named(signal)?.made_of().find(|input| !agreed(input))?;
    Some((signal.clone(), input))
}

/// What the catalogue does not list is unknown, and unknown is denied; what the car does not have cannot be decided. What
/// is asked for inside the car stays there, and is agreed to with what is derived of it.
fn decide(
    (asked, all): (&RequestedSignal, &[RequestedSignal]),
    wish: &Wish<'_>,
    policy: &Policy,
    leaf_digest: &dyn Fn(&SignalPath) -> Option<Digest>,
) -> PiiInformation {
    let category = policy.category(&asked.signal);
    let extracted = leaf_digest(&asked.signal);
    let stays = asked.transforms.iter().any(|spec| spec.op == "in_vehicle");
    let feeds = |derived: &RequestedSignal| {
        let made_of = Predicate::named(&derived.signal).map(Predicate::made_of);
        made_of.is_some_and(|mut inputs| inputs.any(|input| input == asked.signal))
    };
    let wanted =
        (wish.wanted)(&asked.signal) || stays && all.iter().any(|it| feeds(it) && (wish.wanted)(&it.signal));
    let decision = match extracted {
        None => Decision::NotSet,
        Some(_) if category == Category::Unknown || !wanted => Decision::No,
        Some(_) if stays => Decision::InVehicle,
        Some(_) => Decision::Yes,
    };
    let floor = policy.floor(&asked.signal);
    let agreed = matches!(decision, Decision::Yes | Decision::InVehicle);
    let floor_waived = wish.floor_waived && agreed && !floor.is_empty();
    let mut transform = asked.transforms.clone();
    if !floor_waived {
        // Just both lists: where an op stands twice the strictest applies.
        transform.extend(floor.iter().filter(|spec| !asked.transforms.contains(spec)).cloned());
    }
    PiiInformation {
        signal: asked.signal.clone(),
        pii_type: category.pii_type().to_owned(),
        category,
        necessity: asked.necessity,
        decision,
        transform,
        floor_waived,
        signal_map_digest: extracted.unwrap_or(Digest([0; 32])),
    }
}

fn filled(
    verified: &Verified<Request>,
    recipient: &Recipient,
    wish: &Wish<'_>,
    leaves: Vec<PiiInformation>,
) -> ConsentRecord {
    let request = verified.payload();
    let texts = &request.purpose.text;
    let text = texts.iter().find(|text| text.language == wish.language).or_else(|| texts.first());
    let text = text.map(|text| text.text.as_str()).unwrap_or_default();
    ConsentRecord {
        schema_version: 1,
        record_id: wish.stamp.record_id,
        pii_principal_id: Digest([0; 32]),
        subject_vehicle: crate::names::VerifyingKey([0; 32]),
        supersedes: None,
        request_digest: verified.digest(),
        privacy_notice: request.privacy_notice.clone(),
        purpose: RecordedPurpose {
            id: request.purpose.id.clone(),
            code: request.purpose.code.clone(),
            text_digest: Digest::of(text.as_bytes()),
        },
        lawful_basis: request.lawful_basis.clone(),
        jurisdiction: request.jurisdiction.clone(),
        recipient: RecordedRecipient {
            party_id: recipient.id.clone(),
            party_name: recipient.name.clone(),
            party_contact: recipient.contact.clone(),
            party_role: "dpv:DataController".to_owned(),
            key_thumbprint: Digest::of(&recipient.request_key.0),
        },
        pii_information: leaves,
        processing: Processing {
            off_board: true,
            profiling: request.profiling,
            automated_decision: request.automated_decision,
            onward_disclosure: request.onward_disclosure.clone(),
        },
        retention_period: request.retention_period.clone(),
        storage_locations: request.storage_locations.clone(),
        not_before: wish.stamp.now,
        not_after: wish.until,
        conditions: Conditions {
            max_bytes_per_day: wish.max_bytes_per_day,
            max_age_s: None,
            event: request.event.clone(),
        },
        withdrawal_method: "`glovebox consent withdraw`, in the car at any time".to_owned(),
        events: Vec::new(),
    }
}
