//! The policy bundle and the key statements in it.

use super::super::transform::TransformSpec;
use super::check::{
    Checked, before, count, country, distinct, each, leaf, rule, schema, texts, transforms, words,
};
use super::dsse::DsseEnvelope;
use super::{Complaint, Document, DocumentKind};
pub use crate::consent::category::Category;
use crate::limits::{
    CATALOGUE_ENTRIES_MAX, DIRECTIVES_MAX, HPKE_KEYS_PER_RECIPIENT_MAX, RECIPIENTS_MAX, REQUESTS_MAX,
    TRANSFORMS_PER_SIGNAL_MAX,
};
use crate::names::{DeviceId, PolicyVersion, RecipientId, RequestId, SignalPath, VerifyingKey, WallTime};
use serde::{Deserialize, Serialize};

/// Payload type of a bundle.
pub const POLICY_TYPE: &str = "application/vnd.glovebox.policy+json";
/// Payload type of a statement that a key belongs to somebody.
pub const KEY_TYPE: &str = "application/vnd.glovebox.key+json";

/// The pushed file: catalogue, recipients, requests, directives. It can narrow and never widen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// 1.
    pub schema_version: u32,
    /// Only rises, counted per root.
    pub version: PolicyVersion,
    /// When it was made.
    pub issued: WallTime,
    /// After this nothing leaves under it.
    pub expires: WallTime,
    /// Which cars it is for.
    pub target: Target,
    /// What each signal is.
    pub catalogue: Vec<CatalogueEntry>,
    /// Companies.
    pub recipients: Vec<Recipient>,
    /// Each a DSSE document of its own, signed by its recipient.
    pub requests: Vec<DsseEnvelope>,
    /// What the authority suspends, drops or tightens.
    #[serde(default)]
    pub directives: Vec<Directive>,
}

/// Which cars a bundle is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// One car.
    Vehicle(DeviceId),
    /// Cars that are configured into this group.
    Group(DeviceId),
}

/// What one signal is and how coarse it is at least made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// Leaf.
    pub signal: SignalPath,
    /// `unknown` denies.
    pub category: Category,
    /// Words for the owner, by language.
    #[serde(default)]
    pub labels: Vec<Text>,
    /// Applies unless the owner gave a separate yes to more (`floor_waived`).
    #[serde(default)]
    pub floor: Vec<TransformSpec>,
    /// Between which values it lies if it is what it says. A leaf of this car that can be read as anything else does
    /// not leave: perhaps a signal map calls a place a pressure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plausible: Option<Plausible>,
}

/// A range of physical values in the signal's unit, both ends in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plausible {
    /// Least.
    pub min: f64,
    /// Most.
    pub max: f64,
}

impl Plausible {
    /// Whether no reading of a leaf with this range is another value. A leaf without a range may read anything.
    #[must_use]
    pub fn holds(&self, range: Option<(f64, f64)>) -> bool {
        range.is_some_and(|(least, most)| self.min <= least && most <= self.max)
    }
}

/// Words in one language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// BCP 47 tag.
    pub language: String,
    /// The words.
    pub text: String,
}

/// A company.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// Part of topics.
    pub id: RecipientId,
    /// Name as the owner reads it.
    pub name: String,
    /// Where to reach it.
    pub contact: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Signs its requests and HPKE keys; a grant pins it.
    pub request_key: VerifyingKey,
    /// Each a DSSE statement ([`HpkeStatement`]) signed by `request_key`; the first valid one is used.
    pub hpke_keys: Vec<DsseEnvelope>,
    /// Suspended: nothing leaves for it.
    pub status: RecipientStatus,
}

/// Whether a recipient gets anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum RecipientStatus {
    Active,
    Suspended,
}

/// A verb of the authority. None of them widens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Directive {
    /// Nothing leaves for this recipient, or for this one request of it.
    Suspend {
        /// The recipient.
        recipient: RecipientId,
        /// Only this request of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
    },
    /// This signal leaves for nobody.
    Drop {
        /// Leaf.
        signal: SignalPath,
    },
    /// This signal is made at least so coarse for everybody.
    Tighten {
        /// Leaf.
        signal: SignalPath,
        /// Met with what applies.
        transforms: Vec<TransformSpec>,
    },
    /// An older agent sends nothing.
    RequireMinVersion {
        /// Semantic version.
        version: String,
    },
}

/// The statement by which the offline root names the bundle-signing key. Signed by the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKeyStatement {
    /// 1.
    pub schema_version: u32,
    /// The key.
    pub key: VerifyingKey,
    /// Only rises: an older key is refused once a newer was seen.
    pub serial: u64,
    /// From when it may sign.
    pub not_before: WallTime,
    /// Until when.
    pub not_after: WallTime,
}

/// The statement by which a recipient names its HPKE key. Signed by its request key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HpkeStatement {
    /// 1.
    pub schema_version: u32,
    /// Who: must be the recipient that brings it.
    pub recipient: RecipientId,
    /// X25519 public key.
    pub hpke_key: crate::names::HpkeKey,
    /// From when it may be used.
    pub not_before: WallTime,
    /// Until when.
    pub not_after: WallTime,
}

impl Document for Bundle {
    const KIND: DocumentKind = DocumentKind::Bundle;
    const TYPE: &'static str = POLICY_TYPE;
    const SIGNED_BY: &'static str = "the key that its signing-key statement names";

    fn check(&self) -> Result<(), Complaint> {
        schema(self.schema_version)?;
        before(self.issued, self.expires, "expires", "must be later than `issued`")?;
        count(self.catalogue.len(), 0, CATALOGUE_ENTRIES_MAX, "catalogue")?;
        each(&self.catalogue, "catalogue", CatalogueEntry::check)?;
        distinct(&self.catalogue, "catalogue", "signal", |entry| &entry.signal)?;
        count(self.recipients.len(), 0, RECIPIENTS_MAX, "recipients")?;
        each(&self.recipients, "recipients", Recipient::check)?;
        distinct(&self.recipients, "recipients", "id", |recipient| &recipient.id)?;
        distinct(&self.recipients, "recipients", "request_key", |recipient| recipient.request_key)?;
        count(self.requests.len(), 0, REQUESTS_MAX, "requests")?;
        count(self.directives.len(), 0, DIRECTIVES_MAX, "directives")?;
        each(&self.directives, "directives", Directive::check)
    }
}

impl CatalogueEntry {
    fn check(&self) -> Checked {
        leaf(&self.signal, "signal")?;
        texts(&self.labels, 0, "labels")?;
        transforms(&self.floor, TRANSFORMS_PER_SIGNAL_MAX, "floor")?;
        let grows = self.plausible.is_none_or(|range| range.min < range.max);
        rule(grows, "plausible.max", "must be above `min`")
    }
}

impl Recipient {
    fn check(&self) -> Checked {
        // Topics of cars begin with it.
        rule(
            self.id.as_str() != "device",
            "id",
            "must not be `device`: that name is taken by the cars' own topics",
        )?;
        words(&self.name, "name")?;
        words(&self.contact, "contact")?;
        country(&self.country, "country")?;
        let least = usize::from(self.status == RecipientStatus::Active);
        count(self.hpke_keys.len(), least, HPKE_KEYS_PER_RECIPIENT_MAX, "hpke_keys")
    }
}

impl Directive {
    fn check(&self) -> Checked {
        match self {
            Self::Suspend { .. } => Ok(()),
            Self::Drop { signal } => leaf(signal, "signal"),
            Self::Tighten { signal, transforms: list } => {
                leaf(signal, "signal")?;
                count(list.len(), 1, TRANSFORMS_PER_SIGNAL_MAX, "transforms")?;
                transforms(list, TRANSFORMS_PER_SIGNAL_MAX, "transforms")
            }
            Self::RequireMinVersion { version } => {
                let parts: Vec<&str> = version.split('.').collect();
                let number =
                    |part: &&str| part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u32>().is_ok();
                let fits = parts.len() == 3 && parts.iter().all(number);
                rule(fits, "version", "must be three numbers with dots, as `1.4.0`")
            }
        }
    }
}

impl Document for SigningKeyStatement {
    const KIND: DocumentKind = DocumentKind::SigningKey;
    const TYPE: &'static str = KEY_TYPE;
    const SIGNED_BY: &'static str = "the authority's root key that this car was provisioned with";

    fn check(&self) -> Result<(), Complaint> {
        schema(self.schema_version)?;
        before(self.not_before, self.not_after, "not_after", "must be later than `not_before`")
    }
}

impl Document for HpkeStatement {
    const KIND: DocumentKind = DocumentKind::HpkeKey;
    const TYPE: &'static str = KEY_TYPE;
    const SIGNED_BY: &'static str = "the request key of the recipient that brings it";

    fn check(&self) -> Result<(), Complaint> {
        schema(self.schema_version)?;
        before(self.not_before, self.not_after, "not_after", "must be later than `not_before`")
    }
}
