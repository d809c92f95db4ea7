//! The consent record: field names after ISO/IEC TS 27560 and W3C DPV.

use super::super::transform::TransformSpec;
use super::bundle::Category;
use super::check::{
    Checked, before, count, countries, distinct, duration, each, leaf, max_age, notice, rule, schema, term,
    transforms, words,
};
use super::dsse::{DsseEnvelope, verify};
use super::event::EventCondition;
use super::request::{Necessity, PrivacyNotice};
use super::{Complaint, Document, DocumentError, DocumentKind, Fault, Verified, Verifier, strict};
use crate::limits::{
    DISCLOSURES_MAX, EVENTS_PER_RECORD_MAX, SIGNALS_PER_REQUEST_MAX, TRANSFORMS_PER_RECORDED_SIGNAL_MAX,
};
use crate::names::{Digest, PurposeId, RecipientId, SignalPath, VerifyingKey, WallTime};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Payload type of a consent record.
pub const CONSENT_TYPE: &str = "application/vnd.glovebox.consent+json";

/// One recipient, one purpose: what the owner decided. No VIN, no name of a person, no value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentRecord {
    /// 1.
    pub schema_version: u32,
    /// Random (RFC 9562, version 4).
    #[serde(with = "uuid::serde::hyphenated")]
    pub record_id: Uuid,
    /// HMAC of the alias secret over the recipient: the same for one recipient, nothing to another.
    pub pii_principal_id: Digest,
    /// Alias public key under which this recipient knows the car.
    pub subject_vehicle: VerifyingKey,
    /// The record that this one follows in the same flow; none begins a new flow.
    #[serde(default, with = "uuid::serde::hyphenated::option", skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Uuid>,
    /// SHA-256 of the request's payload.
    pub request_digest: Digest,
    /// The words that were shown.
    pub privacy_notice: PrivacyNotice,
    /// What for.
    pub purpose: RecordedPurpose,
    /// As in the request.
    pub lawful_basis: String,
    /// As in the request.
    pub jurisdiction: Vec<String>,
    /// Who gets it.
    pub recipient: RecordedRecipient,
    /// Leaves, resolved when consent was given.
    pub pii_information: Vec<PiiInformation>,
    /// As in the request.
    pub processing: Processing,
    /// As in the request.
    pub retention_period: String,
    /// As in the request.
    pub storage_locations: Vec<String>,
    /// Live from here.
    pub not_before: WallTime,
    /// Live until before here.
    pub not_after: WallTime,
    /// What else must hold.
    #[serde(default)]
    pub conditions: Conditions,
    /// How to end it, in words or as a URI.
    pub withdrawal_method: String,
    /// What happened; the last one is the state.
    pub events: Vec<ConsentEvent>,
}

/// The purpose as it was agreed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedPurpose {
    /// As in the request.
    pub id: PurposeId,
    /// DPV IRI.
    pub code: String,
    /// SHA-256 of the words that were shown.
    pub text_digest: Digest,
}

/// The recipient as it was when consent was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedRecipient {
    /// Recipient id of the bundle.
    pub party_id: RecipientId,
    /// Company name.
    pub party_name: String,
    /// Where to reach it.
    pub party_contact: String,
    /// DPV: `dpv:DataController`.
    pub party_role: String,
    /// SHA-256 of its request key: if that changes, the grant does not hold.
    pub key_thumbprint: Digest,
}

/// The decision on one leaf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PiiInformation {
    /// Leaf.
    pub signal: SignalPath,
    /// What it is by DPV's list of personal data: `pd:CurrentLocation`; empty: not said.
    #[serde(default)]
    pub pii_type: String,
    /// Category when consent was given.
    pub category: Category,
    /// As in the request.
    pub necessity: Necessity,
    /// Only `yes` lets it leave.
    pub decision: Decision,
    /// With the floor of that day resolved in it.
    #[serde(default)]
    pub transform: Vec<TransformSpec>,
    /// The owner gave a second, separate yes to more than the floor.
    #[serde(default)]
    pub floor_waived: bool,
    /// How the leaf was extracted then; another extraction waits for the owner.
    pub signal_map_digest: Digest,
}

/// The owner's word on one leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Decision {
    Yes,
    No,
    InVehicle,
    NotSet,
}

/// What the recipient does with it, as it promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processing {
    /// Leaves the car.
    pub off_board: bool,
    /// GDPR Art. 22.
    pub profiling: bool,
    /// GDPR Art. 22.
    pub automated_decision: bool,
    /// To whom it is passed on.
    pub onward_disclosure: Vec<String>,
}

/// What else must hold for data to leave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// So many bytes of sealed batches a day (UTC) at most; 0 lets nothing leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_day: Option<u64>,
    /// What could not be sent within so many seconds is dropped in the car, at least 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
    /// As in the request: nothing leaves but what was recorded around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventCondition>,
}

/// One thing that happened to the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentEvent {
    /// When.
    pub event_time: WallTime,
    /// DPV state that it led to.
    pub event_state: EventState,
    /// What was done, in a word: `given`, `narrowed`, `withdrawn`, `refused`, `renewed`.
    pub event_type: String,
    /// Who: `owner`, `driver`, `agent`.
    pub entity_id: String,
    /// How it was shown: `command_line`, `owner_page`, `remote`.
    pub indication_method: String,
    /// SHA-256 of what was shown.
    pub ui_digest: Digest,
}

/// States of W3C DPV (`dpv:ConsentStatus`); `Narrowed` is ours: still given, but less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are DPV's")]
pub enum EventState {
    ConsentGiven,
    RenewedConsentGiven,
    ConsentNarrowed,
    ConsentRefused,
    ConsentRequestDeferred,
    ConsentWithdrawn,
    ConsentExpired,
    ConsentInvalidated,
}

impl EventState {
    /// Whether a record in this state lets more leave than before: only an owner's signature can do that.
    #[must_use]
    pub fn widens(self) -> bool {
        match self {
            Self::ConsentGiven | Self::RenewedConsentGiven => true,
            Self::ConsentNarrowed
            | Self::ConsentRefused
            | Self::ConsentRequestDeferred
            | Self::ConsentWithdrawn
            | Self::ConsentExpired
            | Self::ConsentInvalidated => false,
        }
    }

    /// Whether a record in this state ends its flow.
    #[must_use]
    pub fn ends(self) -> bool {
        matches!(self, Self::ConsentWithdrawn | Self::ConsentExpired | Self::ConsentInvalidated)
    }
}

impl ConsentRecord {
    /// The state after its last event; a record without events permits nothing.
    #[must_use]
    pub fn state(&self) -> Option<EventState> {
        self.events.last().map(|event| event.event_state)
    }
}

impl Document for ConsentRecord {
    const KIND: DocumentKind = DocumentKind::Consent;
    const TYPE: &'static str = CONSENT_TYPE;
    const SIGNED_BY: &'static str = "an owner key that is enrolled on this car";

    fn check(&self) -> Result<(), Complaint> {
        schema(self.schema_version)?;
        rule(
            self.record_id.get_version_num() == 4,
            "record_id",
            "must be a random UUID (RFC 9562, version 4)",
        )?;
        rule(
            self.supersedes != Some(self.record_id),
            "supersedes",
            "is the record itself; name the one before it",
        )?;
        count(self.events.len(), 1, EVENTS_PER_RECORD_MAX, "events")?;
        each(&self.events, "events", ConsentEvent::check)?;
        notice(&self.privacy_notice)?;
        term(&self.purpose.code, "purpose.code")?;
        term(&self.lawful_basis, "lawful_basis")?;
        countries(&self.jurisdiction, "jurisdiction")?;
        words(&self.recipient.party_name, "recipient.party_name")?;
        words(&self.recipient.party_contact, "recipient.party_contact")?;
        term(&self.recipient.party_role, "recipient.party_role")?;
        duration(&self.retention_period, "retention_period")?;
        countries(&self.storage_locations, "storage_locations")?;
        before(self.not_before, self.not_after, "not_after", "must be later than `not_before`")?;
        max_age(self.conditions.max_age_s, "conditions.max_age_s")?;
        words(&self.withdrawal_method, "withdrawal_method")?;
        let leaves = self.pii_information.iter().any(|pii| pii.decision == Decision::Yes);
        rule(
            self.processing.off_board || !leaves,
            "processing.off_board",
            "is false, and yet a signal may leave; say true or grant none",
        )?;
        let onward = &self.processing.onward_disclosure;
        count(onward.len(), 0, DISCLOSURES_MAX, "processing.onward_disclosure")?;
        each(onward, "processing.onward_disclosure", |party| words(party, ""))?;
        let least = usize::from(self.state().is_some_and(EventState::widens));
        count(self.pii_information.len(), least, SIGNALS_PER_REQUEST_MAX, "pii_information")?;
        each(&self.pii_information, "pii_information", PiiInformation::check)?;
        distinct(&self.pii_information, "pii_information", "signal", |pii| &pii.signal)?;
        let signals: Vec<&SignalPath> = self.pii_information.iter().map(|pii| &pii.signal).collect();
        let event = self.conditions.event.as_ref();
        event.map_or(Ok(()), |event| event.check(&signals).map_err(|c| c.within("conditions.event")))
    }
}

impl ConsentEvent {
    fn check(&self) -> Checked {
        words(&self.event_type, "event_type")?;
        words(&self.entity_id, "entity_id")?;
        words(&self.indication_method, "indication_method")
    }
}

impl PiiInformation {
    fn check(&self) -> Checked {
        leaf(&self.signal, "signal")?;
        if !self.pii_type.is_empty() {
            term(&self.pii_type, "pii_type")?;
        };
        transforms(&self.transform, TRANSFORMS_PER_RECORDED_SIGNAL_MAX, "transform")
    }
}

/// A record that lets more leave. Made only where an owner's signature on it was checked: [`verify_record`].
#[derive(Debug, Clone, PartialEq)]
pub struct Widening(Verified<ConsentRecord>);

/// A record that lets less leave, or says that nothing changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Narrowing(Verified<ConsentRecord>);

impl Widening {
    /// The record, signed by an owner.
    #[must_use]
    pub fn record(&self) -> &Verified<ConsentRecord> {
        &self.0
    }
}

impl Narrowing {
    /// The record, signed by an owner or by the car's record key.
    #[must_use]
    pub fn record(&self) -> &Verified<ConsentRecord> {
        &self.0
    }
}

/// A consent record by what it may do: the ratchet as a type.
#[derive(Debug, Clone, PartialEq)]
pub enum ConsentAct {
    /// Given or renewed, by an owner.
    Widening(Widening),
    /// Anything else, by an owner or by the car itself.
    Narrowing(Narrowing),
}

impl ConsentAct {
    /// The record.
    #[must_use]
    pub fn record(&self) -> &Verified<ConsentRecord> {
        match self {
            Self::Widening(widening) => widening.record(),
            Self::Narrowing(narrowing) => narrowing.record(),
        }
    }
}

/// Verifies a consent record: what widens needs one of `owners`, what narrows one of them or the car's `record_key`.
/// A key that is both counts as the record key, which cannot widen.
///
/// # Errors
/// [`DocumentError`] names the place and what to do.
pub fn verify_record(
    bytes: &[u8],
    owners: &[VerifyingKey],
    record_key: &VerifyingKey,
    verifier: &dyn Verifier,
) -> Result<ConsentAct, DocumentError> {
    let envelope = DsseEnvelope::parse(bytes)?;
    let owners: Vec<VerifyingKey> = owners.iter().filter(|key| *key != record_key).copied().collect();
    let keys = [owners.as_slice(), &[*record_key]].concat();
    let record: Verified<ConsentRecord> = verify(&envelope, &keys, verifier)?;
    // `check` refused a record without events; if it had not, this would.
    let Some(state) = record.payload.state() else {
        return Err(DocumentError::new(DocumentKind::Consent, "events", Fault::Rule("must not be empty")));
    };
    if !state.widens() {
        return Ok(ConsentAct::Narrowing(Narrowing(record)));
    }
    if owners.contains(&record.signer) {
        return Ok(ConsentAct::Widening(Widening(record)));
    }
    let fault = Fault::Signature { by: ConsentRecord::SIGNED_BY };
    Err(DocumentError::new(DocumentKind::Consent, "signatures", fault))
}

/// What a stored record that does not verify says of itself: enough to stop the flow that it was about.
/// Never a ground to let anything leave.
#[must_use]
pub fn claimed_flow(bytes: &[u8]) -> Option<(RecipientId, PurposeId)> {
    let payload = DsseEnvelope::parse(bytes).ok()?.payload_bytes().ok()?;
    let record: ConsentRecord = strict::typed(DocumentKind::Consent, &payload).ok()?;
    Some((record.recipient.party_id, record.purpose.id))
}
