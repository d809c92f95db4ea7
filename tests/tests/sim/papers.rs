//! Everybody beside the car, with keys of fixed seeds: authority, owner, companies; and the documents that they sign.

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use glovebox::daemon::authority::{Keys, LocalAuthority};
use glovebox::sealer::CarSealer;
use glovebox_core::consent::document::bundle::{
    Bundle, CatalogueEntry, Category, Directive, HpkeStatement, Recipient, RecipientStatus,
    SigningKeyStatement, Target, Text,
};
use glovebox_core::consent::document::record::{ConsentRecord, EventState};
use glovebox_core::consent::document::request::{
    Necessity, PrivacyNotice, Purpose, Request, RequestedSignal,
};
use glovebox_core::consent::document::{Document, DsseEnvelope, pae, write};
use glovebox_core::control::{DraftError, Enrolment, Stamp, Wish};
use glovebox_core::names::*;
use glovebox_core::outbox::Priority;
use glovebox_core::seal::Sealer as _;
use glovebox_recipient::HpkeKey as PrivateKey;
use uuid::Uuid;

use super::bus::{leaf_digest, path};
use super::model::{Chain, Policy, RECIPIENTS, SIGNALS};

const ROOT: u8 = 1;
const SIGNING: u8 = 2;
const OWNER: u8 = 3;
const RECORD: u8 = 4;
pub const STRANGER: u8 = 5;
const COMPANY: u8 = 10;
const ALIAS: [u8; 32] = [77; 32];
/// Nothing expires by these.
const ALWAYS: (i64, i64) = (0, 4_000_000_000_000_000);

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> VerifyingKey {
    VerifyingKey(signer(seed).verifying_key().to_bytes())
}

fn company(recipient: usize) -> u8 {
    COMPANY + u8::try_from(recipient).unwrap()
}

pub fn hpke(recipient: usize) -> PrivateKey {
    PrivateKey::from_secret(&[100 + u8::try_from(recipient).unwrap(); 32]).unwrap()
}

pub fn recipient_id(recipient: usize) -> RecipientId {
    RecipientId::new(&format!("company-{recipient}")).unwrap()
}

fn purpose_id(purpose: usize) -> PurposeId {
    PurposeId::new(&format!("purpose-{purpose}")).unwrap()
}

/// The first purpose is urgent, all others give way to it.
pub fn priority(purpose: &PurposeId) -> Priority {
    if *purpose == purpose_id(0) { Priority::Urgent } else { Priority::Bulk }
}

fn sign<T: Document>(document: &T, seed: u8) -> DsseEnvelope {
    let payload = write(document).unwrap();
    let signature = signer(seed).sign(&pae(T::TYPE, &payload)).to_bytes();
    DsseEnvelope::unsigned(T::TYPE, &payload).with_signature("", &signature)
}

/// The car's own keys, and whom it listens to.
pub fn keys() -> Keys {
    let enrolment = Enrolment {
        device: DeviceId::new("car-1").unwrap(),
        groups: Vec::new(),
        root: Some(public(ROOT)),
        owners: vec![public(OWNER)],
        record_key: public(RECORD),
    };
    let sealer = CarSealer::new(zeroize::Zeroizing::new(ALIAS), 1);
    Keys { enrolment, record: signer(RECORD), sealer: Some(Arc::new(sealer)) }
}

fn request((recipient, purpose): Chain, policy: &Policy) -> Request {
    let (version, signals) = &policy.asked[&(recipient, purpose)];
    let ask = |signal: &usize| RequestedSignal {
        signal: path(*signal),
        necessity: Necessity::Optional,
        transforms: Vec::new(),
    };
    Request {
        schema_version: 1,
        id: RequestId::new(&format!("request-{purpose}")).unwrap(),
        version: *version,
        recipient: recipient_id(recipient),
        purpose: Purpose {
            id: purpose_id(purpose),
            code: "https://w3id.org/dpv#ServiceProvision".into(),
            text: vec![Text { language: "en".into(), text: "Words.".into() }],
        },
        lawful_basis: "dpv:Consent".into(),
        signals: signals.iter().map(ask).collect(),
        retention_period: "P30D".into(),
        storage_locations: vec!["DE".into()],
        onward_disclosure: Vec::new(),
        profiling: false,
        automated_decision: false,
        incentive: String::new(),
        privacy_notice: PrivacyNotice {
            uri: "https://example.com/privacy".into(),
            digest: Digest([0; 32]),
            language: "en".into(),
        },
        jurisdiction: vec!["DE".into()],
        batch_age_s: 2,
        max_age_s: None,
        microseconds: false,
        expires: WallTime(ALWAYS.1),
        event: None,
        subject_reference: None,
    }
}

fn party(recipient: usize, policy: &Policy) -> Recipient {
    let statement = HpkeStatement {
        schema_version: 1,
        recipient: recipient_id(recipient),
        hpke_key: HpkeKey(*hpke(recipient).public()),
        not_before: WallTime(ALWAYS.0),
        not_after: WallTime(ALWAYS.1),
    };
    let suspended = policy.suspended.contains(&recipient);
    Recipient {
        id: recipient_id(recipient),
        name: "Example".into(),
        contact: "mailto:a@example.com".into(),
        country: "DE".into(),
        request_key: public(company(recipient)),
        hpke_keys: vec![sign(&statement, company(recipient))],
        status: if suspended { RecipientStatus::Suspended } else { RecipientStatus::Active },
    }
}

/// The bundle's file; `by` somebody else than the authority it is false.
pub fn bundle(policy: &Policy, by: Option<u8>) -> Vec<u8> {
    let entry = |signal| CatalogueEntry {
        signal: path(signal),
        category: Category::Driving,
        labels: Vec::new(),
        floor: Vec::new(),
        plausible: None,
    };
    let bundle = Bundle {
        schema_version: 1,
        version: PolicyVersion(policy.version),
        issued: WallTime(policy.issued_us),
        expires: WallTime(policy.expires_us),
        target: Target::Vehicle(DeviceId::new("car-1").unwrap()),
        catalogue: (0..SIGNALS).map(entry).collect(),
        recipients: (0..RECIPIENTS).map(|recipient| party(recipient, policy)).collect(),
        requests: policy.asked.keys().map(|chain| sign(&request(*chain, policy), company(chain.0))).collect(),
        directives: policy.dropped.iter().map(|signal| Directive::Drop { signal: path(*signal) }).collect(),
    };
    let statement = SigningKeyStatement {
        schema_version: 1,
        key: public(SIGNING),
        serial: 1,
        not_before: WallTime(ALWAYS.0),
        not_after: WallTime(ALWAYS.1),
    };
    sign(&bundle, by.unwrap_or(SIGNING)).with_statement(sign(&statement, ROOT)).to_bytes().unwrap()
}

/// What the owner wishes of one chain.
pub struct Wanted<'a> {
    pub chain: Chain,
    pub signals: &'a dyn Fn(usize) -> bool,
    pub now: WallTime,
    pub until: WallTime,
    pub record_id: Uuid,
}

/// A record by which the owner gives or renews, signed by `by` or the owner; and the flow that it begins if it is the
/// first.
pub fn given(
    authority: &LocalAuthority,
    wanted: &Wanted<'_>,
    by: Option<u8>,
) -> Result<(Vec<u8>, Option<FlowId>), DraftError> {
    let (recipient, purpose) = (recipient_id(wanted.chain.0), purpose_id(wanted.chain.1));
    let sealer = authority.sealer().unwrap();
    let aliases = |it: &RecipientId| Some((sealer.alias(it).ok()?, sealer.principal(it)));
    let stamp = Stamp {
        record_id: wanted.record_id,
        now: wanted.now,
        at: wanted.now,
        entity: "owner",
        shown_by: "command_line",
    };
    let wish = Wish {
        recipient: &recipient,
        purpose: &purpose,
        wanted: &|signal| (wanted.signals)((0..SIGNALS).find(|it| path(*it) == *signal).unwrap()),
        until: wanted.until,
        floor_waived: false,
        max_bytes_per_day: None,
        language: "en",
        stamp,
    };
    let record = authority.control().draft(&wish, &leaf_digest, &aliases)?;
    let first = record.state() == Some(EventState::ConsentGiven);
    let flow = first.then(|| FlowId::from_record(record.record_id));
    Ok((sign(&record, by.unwrap_or(OWNER)).to_bytes().unwrap(), flow))
}

/// A record that takes signals away from a live flow; signed by the owner, as one that comes over the network is.
pub fn narrowed(
    authority: &LocalAuthority,
    flow: FlowId,
    keep: &dyn Fn(usize) -> bool,
    stamp: Stamp<'_>,
) -> Vec<u8> {
    let keep = |signal: &SignalPath| keep((0..SIGNALS).find(|it| path(*it) == *signal).unwrap());
    signed(&authority.control().draft_narrowing(flow, &keep, stamp).unwrap())
}

/// A record that ends a live flow.
pub fn withdrawn(authority: &LocalAuthority, flow: FlowId, stamp: Stamp<'_>) -> Vec<u8> {
    signed(&authority.control().draft_withdrawal(flow, stamp).unwrap())
}

fn signed(record: &ConsentRecord) -> Vec<u8> {
    sign(record, OWNER).to_bytes().unwrap()
}
