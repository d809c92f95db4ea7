//! A verified bundle with all that it brings: what the authority allows at most.

use super::super::transform::{TransformSpec, inherited};
use super::bundle::{Bundle, CatalogueEntry, Category, HpkeStatement, Recipient, SigningKeyStatement};
use super::dsse::{DsseEnvelope, verify, verify_beside_statement};
use super::error::{DocumentError, DocumentKind, Fault};
use super::request::Request;
use super::{Document, Verified, Verifier};
use crate::consent::category::is_place;
use crate::decode::Predicate;
use crate::names::{Digest, HpkeKey, PurposeId, RecipientId, SignalPath, TrustedTime, VerifyingKey};
use std::borrow::Cow;
use std::collections::HashMap;

/// A bundle, its signing key, its requests and HPKE keys: all verified, or there is no policy at all.
///
/// A policy can only say what may leave *at most*. Nothing here knows consent records, so no bundle can widen a grant.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    bundle: Verified<Bundle>,
    signing: Verified<SigningKeyStatement>,
    requests: Vec<Verified<Request>>,
    hpke: Vec<(RecipientId, Verified<HpkeStatement>)>,
    catalogue: HashMap<SignalPath, usize>,
}

impl Policy {
    /// Verifies a bundle file from the pinned root down: the root's statement, the bundle by the key it names, each
    /// request and HPKE key by its recipient's request key. One bad part refuses the whole.
    ///
    /// Only what the bytes themselves say is checked here; target, version and time are the caller's
    /// ([`crate::control`]).
    ///
    /// # Errors
    /// [`DocumentError`] names the part and the place.
    pub fn verify(bytes: &[u8], root: &VerifyingKey, verifier: &dyn Verifier) -> Result<Self, DocumentError> {
        let envelope = DsseEnvelope::parse(bytes)?;
        if envelope.payload_type != Bundle::TYPE {
            // Says which kind it is instead.
            verify::<Bundle>(&envelope, &[], verifier)?;
        }
        let Some(statement) = envelope.signing_key.as_deref() else {
            return Err(DocumentError::new(DocumentKind::Bundle, "signingKey", Fault::StatementMissing));
        };
        let signing: Verified<SigningKeyStatement> =
            verify(statement, &[*root], verifier).map_err(|error| error.within("signingKey"))?;
        let bundle: Verified<Bundle> = verify_beside_statement(&envelope, &[signing.payload.key], verifier)?;
        let (issued, key) = (bundle.payload.issued, &signing.payload);
        if issued < key.not_before || issued >= key.not_after {
            let words = "is outside the dates of the signing key; sign it with a key that was valid then";
            return Err(DocumentError::new(DocumentKind::Bundle, "issued", Fault::Rule(words)));
        }
        let requests = requests(&bundle.payload, verifier)?;
        let hpke = hpke_keys(&bundle.payload.recipients, verifier)?;
        let catalogue = bundle.payload.catalogue.iter().enumerate();
        let catalogue = catalogue.map(|(index, entry)| (entry.signal.clone(), index)).collect();
        Ok(Self { bundle, signing, requests, hpke, catalogue })
    }

    /// The bundle itself: dates, target, directives.
    #[must_use]
    pub fn bundle(&self) -> &Verified<Bundle> {
        &self.bundle
    }

    /// The root's statement on the key that signed it.
    #[must_use]
    pub fn signing(&self) -> &Verified<SigningKeyStatement> {
        &self.signing
    }

    /// All requests, in the bundle's order.
    #[must_use]
    pub fn requests(&self) -> &[Verified<Request>] {
        &self.requests
    }

    /// The request whose payload has this digest.
    #[must_use]
    pub fn request(&self, digest: &Digest) -> Option<&Verified<Request>> {
        self.requests.iter().find(|request| request.digest == *digest)
    }

    /// The one request of this recipient for this purpose: perhaps a newer version than a grant names.
    #[must_use]
    pub fn request_for(&self, recipient: &RecipientId, purpose: &PurposeId) -> Option<&Verified<Request>> {
        self.requests.iter().find(|r| r.payload.recipient == *recipient && r.payload.purpose.id == *purpose)
    }

    /// The recipient of this id.
    #[must_use]
    pub fn recipient(&self, id: &RecipientId) -> Option<&Recipient> {
        self.bundle.payload.recipients.iter().find(|recipient| recipient.id == *id)
    }

    /// The recipient's first HPKE key whose dates hold for certain at `now`.
    #[must_use]
    pub fn hpke_key(&self, recipient: &RecipientId, now: TrustedTime) -> Option<HpkeKey> {
        let mut statements = self.hpke.iter().filter(|(id, _)| id == recipient).map(|(_, key)| key.payload());
        statements
            .find(|key| key.not_before <= now.earliest && now.latest < key.not_after)
            .map(|key| key.hpke_key)
    }

    /// The key for a notice: that of batches, or if no dates hold the one that ends last. An old key gives nothing away that
    /// a notice holds, and what the owner asks for is not to get lost.
    #[must_use]
    pub fn notice_key(&self, recipient: &RecipientId, now: TrustedTime) -> Option<HpkeKey> {
        let stated = self.hpke.iter().filter(|(id, _)| id == recipient).map(|(_, key)| key.payload());
        let last = || stated.max_by_key(|key| key.not_after).map(|key| key.hpke_key);
        self.hpke_key(recipient, now).or_else(last)
    }

    /// What the catalogue says of this leaf; `None` is unknown, and unknown denies.
    #[must_use]
    pub fn catalogue(&self, signal: &SignalPath) -> Option<&CatalogueEntry> {
        self.bundle.payload.catalogue.get(*self.catalogue.get(signal)?)
    }

    /// What this leaf is: as the catalogue says, but what is a place by its name stays one (`category::is_place`), and
    /// what the catalogue does not list is unknown. What is derived is at least what the most sensitive of its inputs is.
    #[must_use]
    pub fn category(&self, signal: &SignalPath) -> Category {
        let inputs = inputs_of(signal).map(|input| self.listed(&input)).reduce(Category::or_more);
        let own = self.listed(signal);
        inputs.map_or(own, |inputs| inputs.or_more(own))
    }

    /// Whether it tells where the car is, or of its trips; also by what it is derived of.
    #[must_use]
    pub fn is_private(&self, signal: &SignalPath) -> bool {
        self.any_of(signal, Category::is_private)
    }

    /// Whether it tells where the car is; also by what it is derived of.
    #[must_use]
    pub fn is_location(&self, signal: &SignalPath) -> bool {
        self.any_of(signal, |category| category == Category::Location)
    }

    fn any_of(&self, signal: &SignalPath, is: impl Fn(Category) -> bool) -> bool {
        is(self.category(signal)) || inputs_of(signal).any(|input| is(self.listed(&input)))
    }

    /// What applies to it unless the owner gives a separate yes to more; to what is derived also what the limits of its
    /// inputs say of when and how often.
    #[must_use]
    pub fn floor(&self, signal: &SignalPath) -> Cow<'_, [TransformSpec]> {
        let of = |signal: &SignalPath| self.catalogue(signal).map_or(&[][..], |entry| &entry.floor);
        let mut floor = Cow::Borrowed(of(signal));
        for input in inputs_of(signal) {
            floor.to_mut().extend(inherited(of(&input)).cloned());
        }
        floor
    }

    /// As the catalogue says; what is a place by its name stays one.
    fn listed(&self, signal: &SignalPath) -> Category {
        match self.catalogue(signal).map(|entry| entry.category) {
            None | Some(Category::Unknown) => Category::Unknown,
            Some(_) if is_place(signal) => Category::Location,
            Some(listed) => listed,
        }
    }
}

fn inputs_of(signal: &SignalPath) -> impl Iterator<Item = SignalPath> {
    Predicate::named(signal).into_iter().flat_map(Predicate::made_of)
}

/// Whether every request and key statement in a bundle is signed by the recipient that it names: what each car will
/// check, for whoever makes one.
///
/// # Errors
/// The first that is not, with its place.
pub fn check_parts(bundle: &Bundle, verifier: &dyn Verifier) -> Result<(), DocumentError> {
    requests(bundle, verifier)?;
    hpke_keys(&bundle.recipients, verifier)?;
    Ok(())
}

fn requests(bundle: &Bundle, verifier: &dyn Verifier) -> Result<Vec<Verified<Request>>, DocumentError> {
    let keys: Vec<VerifyingKey> = bundle.recipients.iter().map(|recipient| recipient.request_key).collect();
    let mut verified = Vec::with_capacity(bundle.requests.len());
    for (index, envelope) in bundle.requests.iter().enumerate() {
        let place = format!("requests[{index}]");
        let request: Verified<Request> = verify(envelope, &hinted_first(&keys, envelope), verifier)
            .map_err(|error| error.within(&place))?;
        let asks = bundle.recipients.iter().find(|recipient| recipient.id == request.payload.recipient);
        if asks.map(|recipient| recipient.request_key) != Some(request.signer) {
            let words =
                "is not the recipient whose request key signed it; each recipient signs its own requests";
            return Err(fault(&place, "recipient", Fault::Rule(words)));
        }
        verified.push(request);
    }
    distinct(&verified, "id", |request| request.id.as_str())?;
    distinct(&verified, "purpose.id", |request| request.purpose.id.as_str())?;
    Ok(verified)
}

/// The key that the envelope hints at is tried first. A hint saves work and decides nothing: all others follow.
fn hinted_first(keys: &[VerifyingKey], envelope: &DsseEnvelope) -> Vec<VerifyingKey> {
    let hinted = |key: &&VerifyingKey| envelope.signatures.iter().any(|s| s.keyid == key.to_string());
    let (first, rest): (Vec<_>, Vec<_>) = keys.iter().partition(hinted);
    first.into_iter().chain(rest).copied().collect()
}

/// Within a recipient a request id, and a purpose, stands once: a flow is one recipient and one purpose.
fn distinct(
    requests: &[Verified<Request>],
    field: &str,
    key: fn(&Request) -> &str,
) -> Result<(), DocumentError> {
    let mut seen = HashMap::new();
    for (index, request) in requests.iter().enumerate() {
        let request = request.payload();
        if let Some(first) = seen.insert((&request.recipient, key(request)), index) {
            let first = format!("requests[{first}].{field}");
            return Err(fault(&format!("requests[{index}]"), field, Fault::Repeated { first }));
        }
    }
    Ok(())
}

fn fault(place: &str, field: &str, fault: Fault) -> DocumentError {
    DocumentError::new(DocumentKind::Request, field, fault).within(place)
}

fn hpke_keys(
    recipients: &[Recipient],
    verifier: &dyn Verifier,
) -> Result<Vec<(RecipientId, Verified<HpkeStatement>)>, DocumentError> {
    let mut verified = Vec::new();
    for (index, recipient) in recipients.iter().enumerate() {
        for (number, envelope) in recipient.hpke_keys.iter().enumerate() {
            let place = format!("recipients[{index}].hpke_keys[{number}]");
            let statement: Verified<HpkeStatement> =
                verify(envelope, &[recipient.request_key], verifier).map_err(|error| error.within(&place))?;
            if statement.payload.recipient != recipient.id {
                let words =
                    "is another recipient than the one that brings it; each recipient states its own key";
                let error = DocumentError::new(DocumentKind::HpkeKey, "recipient", Fault::Rule(words));
                return Err(error.within(&place));
            }
            verified.push((recipient.id.clone(), statement));
        }
    }
    Ok(verified)
}
