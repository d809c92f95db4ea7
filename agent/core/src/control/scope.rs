//! A consent record says yes to one request of the policy in force, on this car, and to no more.

use super::{Aliases, Refusal};
use crate::consent::document::record::{ConsentRecord, Decision, PiiInformation};
use crate::consent::document::request::Request;
use crate::consent::document::{DocumentKind, Policy};
use crate::consent::transform::Rule;
use crate::names::Digest;

/// The alias and the principal must be those of this car: an owner may hold one key for many.
pub(super) fn for_this_car(record: &ConsentRecord, aliases: Aliases<'_>) -> Result<(), Refusal> {
    let kind = DocumentKind::Consent;
    let (alias, principal) = aliases(&record.recipient.party_id).ok_or(Refusal::NoAlias)?;
    if record.subject_vehicle != alias {
        return Err(Refusal::OtherCar { kind, field: "subject_vehicle" });
    }
    if record.pii_principal_id != principal {
        return Err(Refusal::OtherCar { kind, field: "pii_principal_id" });
    }
    Ok(())
}

fn holds(fits: bool, path: &str, what: &'static str) -> Result<(), Refusal> {
    if fits { Ok(()) } else { Err(Refusal::Differs { path: path.to_owned(), what }) }
}

/// All that the owner read must be what the request says, and every leaf one that it asks for.
pub(super) fn within_request(record: &ConsentRecord, policy: &Policy) -> Result<(), Refusal> {
    let request = policy.request(&record.request_digest).ok_or(Refusal::RequestNotInForce)?.payload();
    same_recipient(record, request, policy)?;
    same_words(record, request)?;
    for (index, pii) in record.pii_information.iter().enumerate() {
        let path = |field| format!("pii_information[{index}].{field}");
        let asked = request.signals.iter().find(|asked| asked.signal == pii.signal);
        let asked = asked.ok_or_else(|| Refusal::Differs {
            path: path("signal"),
            what: "the request does not ask for it",
        })?;
        holds(pii.necessity == asked.necessity, &path("necessity"), "is not that of the request")?;
        let category = policy.category(&pii.signal);
        holds(pii.category == category, &path("category"), "is not that of the catalogue in force")?;
        holds(
            has_floor(pii, policy),
            &path("transform"),
            "lets out more than the usual limit, and `floor_waived` is false",
        )?;
    }
    Ok(())
}

/// The catalogue's floor of this day is resolved in what is granted, so that a looser one of later loosens nothing; or the
/// owner said a second yes to more.
fn has_floor(pii: &PiiInformation, policy: &Policy) -> bool {
    let floor = Rule::of(&policy.floor(&pii.signal));
    pii.decision != Decision::Yes || pii.floor_waived || Rule::of(&pii.transform).within(floor)
}

fn same_recipient(record: &ConsentRecord, request: &Request, policy: &Policy) -> Result<(), Refusal> {
    let shown = &record.recipient;
    holds(shown.party_id == request.recipient, "recipient.party_id", "is not the recipient of the request")?;
    let known = policy.recipient(&request.recipient).ok_or(Refusal::RequestNotInForce)?;
    let thumbprint = Digest::of(&known.request_key.0);
    holds(
        shown.key_thumbprint == thumbprint,
        "recipient.key_thumbprint",
        "is not of the recipient's request key",
    )?;
    holds(shown.party_name == known.name, "recipient.party_name", "is not the recipient's name in the bundle")
}

fn same_words(record: &ConsentRecord, request: &Request) -> Result<(), Refusal> {
    let differs = "is not as in the request";
    holds(record.purpose.id == request.purpose.id, "purpose.id", differs)?;
    holds(record.purpose.code == request.purpose.code, "purpose.code", differs)?;
    let shown =
        request.purpose.text.iter().any(|t| Digest::of(t.text.as_bytes()) == record.purpose.text_digest);
    holds(shown, "purpose.text_digest", "is of other words than those of the request")?;
    holds(record.privacy_notice == request.privacy_notice, "privacy_notice", differs)?;
    holds(record.lawful_basis == request.lawful_basis, "lawful_basis", differs)?;
    holds(record.jurisdiction == request.jurisdiction, "jurisdiction", differs)?;
    holds(record.retention_period == request.retention_period, "retention_period", differs)?;
    holds(record.storage_locations == request.storage_locations, "storage_locations", differs)?;
    let processing = &record.processing;
    holds(processing.profiling == request.profiling, "processing.profiling", differs)?;
    let automated = processing.automated_decision == request.automated_decision;
    holds(automated, "processing.automated_decision", differs)?;
    let onward = processing.onward_disclosure == request.onward_disclosure;
    holds(onward, "processing.onward_disclosure", differs)
}
