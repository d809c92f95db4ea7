//! The consent record: field names after ISO/IEC TS 27560 and W3C DPV.

use super::super::transform::TransformSpec;
use super::bundle::Category;
use super::request::{Necessity, PrivacyNotice};
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
    pub record_id: Uuid,
    /// HMAC of the alias secret over the recipient: the same for one recipient, nothing to another.
    pub pii_principal_id: Digest,
    /// Alias public key under which this recipient knows the car.
    pub subject_vehicle: VerifyingKey,
    /// The record that this one follows in the same flow; none begins a new flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// DPV-PD term: `dpv-pd:Location`; free.
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
    /// Until it is built, a record that sets it lets nothing leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_day: Option<u64>,
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

impl ConsentRecord {
    /// The state after its last event; a record without events permits nothing.
    #[must_use]
    pub fn state(&self) -> Option<EventState> {
        self.events.last().map(|event| event.event_state)
    }
}
