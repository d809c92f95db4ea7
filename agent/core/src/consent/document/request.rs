//! What a recipient asks for, signed by it.

use super::super::transform::TransformSpec;
use super::bundle::Text;
use super::check::{
    Checked, count, countries, distinct, duration, each, leaf, max_age, notice, plain, rule, schema, term,
    texts, transforms, words,
};
use super::event::EventCondition;
use super::{Complaint, Document, DocumentKind};
use crate::limits::{DISCLOSURES_MAX, SIGNALS_PER_REQUEST_MAX, TRANSFORMS_PER_SIGNAL_MAX};
use crate::names::{PurposeId, RecipientId, RequestId, SignalPath, WallTime};
use serde::{Deserialize, Serialize};

/// Payload type of a request.
pub const REQUEST_TYPE: &str = "application/vnd.glovebox.request+json";

/// Exact data, exact purpose, and what GDPR Art. 13 wants said; empty words are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// 1.
    pub schema_version: u32,
    /// Unique within the recipient.
    pub id: RequestId,
    /// Only rises within the id.
    pub version: u64,
    /// Who asks.
    pub recipient: RecipientId,
    /// What for.
    pub purpose: Purpose,
    /// GDPR Art. 6, as a DPV IRI or term: `dpv:Consent`.
    pub lawful_basis: String,
    /// Leaves, never categories.
    pub signals: Vec<RequestedSignal>,
    /// ISO 8601 duration: `P30D`.
    pub retention_period: String,
    /// ISO 3166-1 alpha-2.
    pub storage_locations: Vec<String>,
    /// To whom it is passed on; empty: nobody.
    #[serde(default)]
    pub onward_disclosure: Vec<String>,
    /// GDPR Art. 22.
    pub profiling: bool,
    /// GDPR Art. 22.
    pub automated_decision: bool,
    /// What the owner gets for it; empty: nothing.
    #[serde(default)]
    pub incentive: String,
    /// The words shown to the owner.
    pub privacy_notice: PrivacyNotice,
    /// ISO 3166-1 alpha-2 of the laws that apply.
    pub jurisdiction: Vec<String>,
    /// A batch is closed when its first sample is so old. Seconds.
    pub batch_age_s: u32,
    /// What could not be sent within so many seconds is of no use and is dropped in the car, at least 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
    /// Microsecond stamps instead of milliseconds.
    #[serde(default)]
    pub microseconds: bool,
    /// Nothing leaves but what was recorded around this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventCondition>,
    /// After this nothing leaves under it.
    pub expires: WallTime,
    /// A code that the owner handed over out of band, to pair an alias with a car.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_reference: Option<String>,
}

/// What for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    /// Part of a flow's name.
    pub id: PurposeId,
    /// DPV IRI: `https://w3id.org/dpv#ServiceProvision`.
    pub code: String,
    /// In words, by language; at least one.
    pub text: Vec<Text>,
}

/// One signal that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedSignal {
    /// Leaf.
    pub signal: SignalPath,
    /// Whether the purpose works without it.
    pub necessity: Necessity,
    /// How coarse it may be made, as asked.
    #[serde(default)]
    pub transforms: Vec<TransformSpec>,
}

/// Whether the purpose works without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Necessity {
    Required,
    Optional,
}

/// Where the words are and what they hash to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyNotice {
    /// Where it can be read.
    pub uri: String,
    /// SHA-256 of its text.
    pub digest: crate::names::Digest,
    /// BCP 47 tag.
    pub language: String,
}

impl Document for Request {
    const KIND: DocumentKind = DocumentKind::Request;
    const TYPE: &'static str = REQUEST_TYPE;
    const SIGNED_BY: &'static str = "the request key of its recipient";

    fn check(&self) -> Result<(), Complaint> {
        schema(self.schema_version)?;
        term(&self.purpose.code, "purpose.code")?;
        texts(&self.purpose.text, 1, "purpose.text")?;
        term(&self.lawful_basis, "lawful_basis")?;
        duration(&self.retention_period, "retention_period")?;
        countries(&self.storage_locations, "storage_locations")?;
        countries(&self.jurisdiction, "jurisdiction")?;
        count(self.onward_disclosure.len(), 0, DISCLOSURES_MAX, "onward_disclosure")?;
        each(&self.onward_disclosure, "onward_disclosure", |party| words(party, ""))?;
        plain(&self.incentive, "incentive")?;
        notice(&self.privacy_notice)?;
        rule(self.batch_age_s > 0, "batch_age_s", "must be at least 1")?;
        max_age(self.max_age_s, "max_age_s")?;
        if let Some(reference) = &self.subject_reference {
            words(reference, "subject_reference")?;
        }
        count(self.signals.len(), 1, SIGNALS_PER_REQUEST_MAX, "signals")?;
        each(&self.signals, "signals", RequestedSignal::check)?;
        distinct(&self.signals, "signals", "signal", |signal| &signal.signal)?;
        let signals: Vec<&SignalPath> = self.signals.iter().map(|asked| &asked.signal).collect();
        self.event.as_ref().map_or(Ok(()), |event| event.check(&signals).map_err(|c| c.within("event")))
    }
}

impl RequestedSignal {
    fn check(&self) -> Checked {
        leaf(&self.signal, "signal")?;
        transforms(&self.transforms, TRANSFORMS_PER_SIGNAL_MAX, "transforms")
    }
}
