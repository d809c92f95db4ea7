//! Joins key store, policy store and the core's control: takes documents, and makes what was decided durable before it
//! is in force. The daemon holds one behind its control socket; commands make their own while no daemon runs.

mod owners;
mod session;
mod time;
mod why;
mod withdrawal;

use crate::clock::{Clock, Time};
use crate::control::{
    Accepted, Authority, AuthorityError, Consent, Draft, DraftOrder, EnrolmentOrder, Never, Owner, Waits,
    WithdrawOrder, Withdrawn,
};
use crate::daemon::session::{Kept, Nowhere};
use crate::key_store::{KeyError, KeyStore};
use crate::notice_store::NoticeStore;
use crate::policy_store::{Documents, PolicyStore, PolicyStoreError};
use crate::sealer::{CarSealer, StrictVerifier};
use ed25519_dalek::{Signer as _, SigningKey};
use glovebox_core::consent::compare::{self, Direction, records, words};
use glovebox_core::consent::document::enrolment::EnrolmentAct;
use glovebox_core::consent::document::record::{ConsentRecord, Decision, EventState};
use glovebox_core::consent::document::request::Request;
use glovebox_core::consent::document::{
    Document as _, DocumentKind, DsseEnvelope, describe_in, never_leave, write,
};
use glovebox_core::consent::effective::{Situation, halted};
use glovebox_core::consent::grants::{Effect, Grant, Listed};
use glovebox_core::consent::transform::transforms_in;
use glovebox_core::control::{self, Control, Enrolment, Refusal, Stamp, Wish};
use glovebox_core::decode::Leaves;
use glovebox_core::limits::GRANT_US_DEFAULT;
use glovebox_core::names::{
    DeviceId, Digest, FlowId, Moment, RecipientId, SignalPath, TrustedTime, VerifyingKey, WallTime,
};
use glovebox_core::seal::Sealer as _;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// What this car knows of a leaf; `None` if it does not have it.
pub type KnownLeaves = Box<dyn Fn(&SignalPath) -> Option<KnownLeaf> + Send + Sync>;

/// A leaf of this car.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLeaf {
    /// How it is extracted.
    pub digest: Digest,
    /// Its unit; empty if it has none.
    pub unit: String,
}

/// Which car this is, from the configuration.
#[derive(Debug, Clone)]
pub struct Car {
    /// As bundles name it.
    pub device: DeviceId,
    /// Groups that it is configured into.
    pub groups: Vec<DeviceId>,
}

/// What this car signs with, and whom it listens to.
pub struct Keys {
    /// The root, the owners and the public half of `record`.
    pub enrolment: Enrolment,
    /// Signs what narrows.
    pub record: SigningKey,
    /// `None` before the car is provisioned.
    pub sealer: Option<Arc<CarSealer>>,
}

impl Keys {
    /// Reads the keys in the state folder.
    pub(crate) fn open(state: &Path, car: Car) -> Result<Self, OpenError> {
        let keys = KeyStore::open(&state.join("keys"))?;
        let owners = keys.owners()?;
        // The owner's file is written last: without it the others do not count.
        let (root, sealer, record) = if owners.is_empty() {
            (None, None, throwaway_key()?)
        } else {
            let alias = keys.alias()?;
            let sealer = Arc::new(CarSealer::new(alias.secret, alias.epoch));
            (Some(keys.root()?), Some(sealer), keys.record_key()?)
        };
        let record_key = VerifyingKey(record.verifying_key().to_bytes());
        let enrolment = Enrolment { device: car.device, groups: car.groups, root, owners, record_key };
        Ok(Self { enrolment, record, sealer })
    }
}

/// Why documents and keys cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The documents.
    #[error(transparent)]
    Documents(#[from] PolicyStoreError),
    /// No randomness to be had.
    #[error("no randomness to be had from the system")]
    Random,
}

/// What is in force now that was not before; in the order in which it came into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Another policy.
    Policy,
    /// More may leave in this flow, or it is new.
    Widened(FlowId),
    /// Less may leave in this flow: what is queued under a wider rule goes.
    Narrowed(FlowId),
    /// An owner key has come or gone. What leaves is as before.
    Owners,
    /// Something was set in the car for a while, or let go; or somebody there vouched for the clock.
    InCar,
    /// This flow has ended, its tombstone is durable: gate, connection, keys, segments, index follow.
    Ended(FlowId),
}

/// Decides on documents, with the stores in hand.
pub struct LocalAuthority {
    sealer: Option<Arc<CarSealer>>,
    record_key: SigningKey,
    store: Box<dyn Documents>,
    control: Control,
    clock: Arc<dyn Time>,
    leaves: KnownLeaves,
    complaints: Vec<String>,
    changes: Vec<Change>,
    /// What is set in the car for a while.
    session: Kept,
    /// When the mark of time was moved last.
    kept_time: Option<Moment>,
    /// Ended flows whose tombstone could not be stored yet.
    unburied: Vec<FlowId>,
    /// Where notices wait; `None` for an authority without a state folder.
    notices: Option<NoticeStore>,
}

impl LocalAuthority {
    /// Opens keys and documents in the state folder and verifies again all that was in force. A car that is not
    /// provisioned is opened too: it takes no document.
    ///
    /// # Errors
    /// If another process has the documents, or a file is open to others or cannot be read.
    pub fn open(state: &Path, car: Car, leaves: KnownLeaves) -> Result<Self, OpenError> {
        let keys = Keys::open(state, car)?;
        let store = PolicyStore::open(state)?;
        let faults: Vec<String> = store.faults().iter().map(ToString::to_string).collect();
        let mut this = Self::new(keys, Box::new(store), Arc::new(Clock::new()), leaves)?;
        this.complaints.splice(..0, faults);
        let (session, doubt) = Kept::open(state.join("session"), &*this.clock);
        this.session = session;
        this.complaints.extend(doubt);
        let (notices, ended) = (NoticeStore::in_folder(state), this.control.grants().tombstones());
        let reconciled = notices.reconcile(&|flow| ended.contains(&flow));
        this.complaints.extend(reconciled.err().map(|error| error.to_string()));
        this.notices = Some(notices);
        Ok(this)
    }

    /// With these keys, documents and clocks; nothing is set in the car.
    ///
    /// # Errors
    /// If the documents cannot be read.
    pub fn new(
        keys: Keys,
        store: Box<dyn Documents>,
        clock: Arc<dyn Time>,
        leaves: KnownLeaves,
    ) -> Result<Self, OpenError> {
        let Keys { enrolment, record: record_key, sealer } = keys;
        let aliases = |recipient: &RecipientId| alias(sealer.as_deref(), recipient);
        let (control, refused) = Control::restore(enrolment, store.load()?, &aliases, &StrictVerifier);
        let complaints = refused.iter().map(ToString::to_string).collect();
        let (changes, unburied) = (Vec::new(), Vec::new());
        let (session, _) = Kept::of(Box::new(Nowhere), &*clock);
        let kept_time = None;
        Ok(Self {
            sealer,
            record_key,
            store,
            control,
            clock,
            leaves,
            complaints,
            changes,
            session,
            kept_time,
            unburied,
            notices: None,
        })
    }

    /// The policy in force and the grants, of which the gate is made.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// All that decides what may leave of `leaves` now.
    #[must_use]
    pub fn situation<'a>(&'a self, leaves: &'a Leaves) -> Situation<'a> {
        Situation {
            policy: self.control.policy(),
            grants: self.control.grants(),
            leaves,
            time: self.now(),
            agent_version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// The car's cryptography; `None` before it is provisioned.
    #[must_use]
    pub fn sealer(&self) -> Option<Arc<CarSealer>> {
        self.sealer.clone()
    }

    /// What was wrong with what was stored, for a person.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// What is known of the time now; `None` is doubt.
    #[must_use]
    pub fn now(&self) -> Option<TrustedTime> {
        self.clock.trusted(self.store.mark())
    }

    /// The latest time that is known to have passed.
    #[must_use]
    pub fn mark(&self) -> WallTime {
        self.store.mark()
    }

    /// What came into force since it was asked last: the daemon swaps its gate by it.
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// How the car extracts leaves, after the configuration was read again.
    pub fn set_leaves(&mut self, leaves: KnownLeaves) {
        self.leaves = leaves;
    }

    /// A document in, and why not.
    fn take(&mut self, document: &[u8]) -> Result<Accepted, AuthorityError> {
        self.bury_again();
        let aliases = |recipient: &RecipientId| alias(self.sealer.as_deref(), recipient);
        let examined = self.control.examine(document, self.now(), &aliases, &StrictVerifier);
        let digest = payload_digest(document);
        let accepted = match examined {
            Ok(accepted) => accepted,
            Err(Refusal::AlreadyThere { kind }) => {
                let effect = match kind {
                    DocumentKind::Consent => {
                        "was taken before and changes nothing: `consent list` says whether it counts"
                    }
                    _ => "was in force already",
                };
                let effect = effect.to_owned();
                return Ok(Accepted { kind: kind.to_string(), digest, effect });
            }
            Err(refusal @ Refusal::RolledBack { .. }) => {
                return Err(AuthorityError::Superseded(refusal.to_string()));
            }
            Err(refusal) => return Err(refused(&refusal)),
        };
        if let control::Accepted::Enrolment(enrolment) = &accepted {
            owners::usable(enrolment.payload())?;
        }
        let (kind, mut effect, change) = said(&accepted);
        let waited = self.waiting();
        // Stored first, in force after: a power cut in between takes nothing back that was said to be done.
        self.keep(document, &accepted).map_err(|error| refused(&error))?;
        self.control.adopt(accepted).map_err(|refusal| refused(&refusal))?;
        self.changes.extend(change);
        for (flow, words) in self.waiting() {
            if !waited.iter().any(|(before, _)| *before == flow) {
                effect = format!("{effect}\n  now waits: {words}");
            }
        }
        Ok(Accepted { kind: kind.to_owned(), digest, effect })
    }

    fn keep(&mut self, document: &[u8], accepted: &control::Accepted) -> Result<(), PolicyStoreError> {
        match accepted {
            control::Accepted::Policy(policy) => {
                self.store.put_policy(document, self.control.counters_after(accepted))?;
                if let Err(error) = self.store.raise_mark(policy.bundle().payload().issued) {
                    // The policy is stored all the same, and may narrow; the clock raises the mark too.
                    tracing::warn!(target: "consent", %error, "the time of the policy could not be kept");
                }
                Ok(())
            }
            control::Accepted::Record { flow: Some(flow), effect: Effect::Ends, .. } => {
                // The tombstone first: from here on the flow stays dead whatever happens to the record.
                let stored = self.end(*flow).and_then(|()| self.store.put_record(document));
                if stored.is_err() {
                    self.control.bury(*flow);
                }
                stored
            }
            control::Accepted::Record { .. } => self.store.put_record(document),
            control::Accepted::Enrolment(_) => {
                self.store.put_enrolment(self.control.owners().count(), document)
            }
        }
    }

    /// Sets the tombstone of a flow. If that fails it is tried again with each later act; whoever calls buries it in
    /// this process in any case.
    fn end(&mut self, flow: FlowId) -> Result<(), PolicyStoreError> {
        self.changes.push(Change::Ended(flow));
        let stored = self.store.tombstone(flow);
        match stored {
            Ok(()) => self.erasure_counts(flow),
            Err(_) => self.unburied.push(flow),
        }
        stored
    }

    fn bury_again(&mut self) {
        let unburied = std::mem::take(&mut self.unburied);
        for flow in unburied {
            match self.store.tombstone(flow) {
                Ok(()) => self.erasure_counts(flow),
                Err(_) => self.unburied.push(flow),
            }
        }
    }

    fn stamp(&self) -> Stamp<'static> {
        // For what narrows, a clock in doubt is no obstacle.
        let now = self.now().map_or_else(|| self.clock.now(), |now| now.earliest);
        let at = self.clock.now();
        Stamp { record_id: Uuid::nil(), now, at, entity: "agent", shown_by: "command_line" }
    }

    fn signed(&self, record: &ConsentRecord) -> Option<Vec<u8>> {
        let envelope = DsseEnvelope::unsigned(ConsentRecord::TYPE, &write(record).ok()?);
        let signature = self.record_key.sign(&envelope.signing_input().ok()?).to_bytes();
        let keyid = VerifyingKey(self.record_key.verifying_key().to_bytes()).to_string();
        envelope.with_signature(&keyid, &signature).to_bytes().ok()
    }

    /// What keeps all of a live grant from leaving now.
    fn waits(&self, grant: &Grant) -> Option<Waits> {
        let clause = halted(&self.situation(&Leaves::default()), grant)?;
        let given = grant.given().payload();
        let remedy = clause.remedy(&given.recipient.party_id, &given.purpose.id);
        Some(Waits { why: clause.to_string(), remedy })
    }

    /// Each live grant of which nothing leaves now, in words.
    fn waiting(&self) -> Vec<(FlowId, String)> {
        let of = |grant: &Grant| {
            let Waits { why, remedy } = self.waits(grant)?;
            let given = grant.given().payload();
            let whom = format!("{} for {}", given.recipient.party_id, given.purpose.id);
            Some((grant.flow(), format!("{whom}: {why}; needs: {remedy}")))
        };
        self.control.grants().live().iter().filter_map(of).collect()
    }

    /// What a record would change of what is in force: whoever renews sees at once what is new in it.
    fn otherwise_than_now(&self, record: &ConsentRecord) -> String {
        let grant = self.control.grants().find_for(&record.recipient.party_id, &record.purpose.id);
        let Some(grant) = grant else { return String::new() };
        let in_force = std::iter::once(grant.given()).chain(grant.narrowed()).map(|record| record.payload());
        // That it is another record, given now, goes without saying.
        let changes = |now: &ConsentRecord| {
            let (not_before, events) = (now.not_before, now.events.clone());
            records(now, &ConsentRecord { not_before, events, ..record.clone() })
        };
        let mut all: Vec<Vec<compare::Change>> = in_force.map(changes).collect();
        // All of them are met: more than any of them is more. What is less, or other, is so beside the last.
        let mut found = all.pop().unwrap_or_default();
        found.extend(all.into_iter().flatten().filter(|change| change.direction == Direction::More));
        found.sort();
        found.dedup();
        match words(&found) {
            none if none.is_empty() => "It says the same as what is in force now.\n".to_owned(),
            some => format!("What changes of what is in force now:\n{some}"),
        }
    }

    fn listed(&self, listed: &Listed<'_>) -> Consent {
        let record = listed.record.payload();
        let grant = listed.flow.and_then(|flow| self.control.grants().find(flow));
        let counts = grant.is_some_and(|grant| {
            let own = record.record_id;
            grant.given().payload().record_id == own || grant.narrowed().any(|r| r.payload().record_id == own)
        });
        let dates =
            self.now().is_some_and(|now| record.not_before <= now.earliest && now.latest < record.not_after);
        let granted = || record.pii_information.iter().filter(|pii| pii.decision == Decision::Yes);
        let unit = |signal: &SignalPath| (self.leaves)(signal).map(|leaf| leaf.unit).unwrap_or_default();
        let never = never_leave(record).into_iter();
        Consent {
            recipient: record.recipient.party_id.clone(),
            name: record.recipient.party_name.clone(),
            purpose: record.purpose.id.clone(),
            record: record.record_id.to_string(),
            state: state_word(record.state()).to_owned(),
            live: counts && dates,
            not_before: record.not_before,
            not_after: record.not_after,
            at: record.events.last().map(|event| event.event_time),
            signals: granted().map(|pii| pii.signal.to_string()).collect(),
            reduced: granted().map(|pii| transforms_in(&pii.transform, &unit(&pii.signal))).collect(),
            never: never
                .map(|(path, why)| Never { signal: path.to_string(), why: why.to_string() })
                .collect(),
            waits: grant.filter(|_| counts).and_then(|grant| self.waits(grant)),
        }
    }
}

impl Authority for LocalAuthority {
    fn draft(&mut self, order: &DraftOrder) -> Result<Draft, AuthorityError> {
        let now = self.now().ok_or_else(|| {
            let (now, mark) = (self.clock.now(), self.store.mark());
            AuthorityError::Refused(format!(
                "the time is in doubt (the clock says {now}, it was at least {mark} before): set the clock; if it is right, \
                 `glovebox clock trust`"
            ))
        })?;
        let request = self.control.policy().and_then(|p| p.request_for(&order.recipient, &order.purpose));
        let request_ends = request.map_or(WallTime(i64::MAX), |request| request.payload().expires);
        let default = WallTime(now.earliest.0.saturating_add(GRANT_US_DEFAULT)).min(request_ends);
        let record_id = random_uuid()
            .ok_or_else(|| AuthorityError::Refused("no randomness to be had from the system".to_owned()))?;
        let wanted = |signal: &SignalPath| {
            order.signals.is_empty() || order.signals.iter().any(|glob| glob_matches(glob, signal.as_str()))
        };
        let wish = Wish {
            recipient: &order.recipient,
            purpose: &order.purpose,
            wanted: &wanted,
            until: order.until.unwrap_or(default),
            floor_waived: order.waive_floor,
            max_bytes_per_day: order.max_bytes_per_day,
            language: "en",
            stamp: Stamp {
                record_id,
                now: now.earliest,
                at: self.clock.now(),
                entity: "owner",
                shown_by: "command_line",
            },
        };
        let aliases = |recipient: &RecipientId| alias(self.sealer.as_deref(), recipient);
        let digest = |signal: &SignalPath| (self.leaves)(signal).map(|leaf| leaf.digest);
        let unit = |signal: &SignalPath| (self.leaves)(signal).map(|leaf| leaf.unit).unwrap_or_default();
        let record = self.control.draft(&wish, &digest, &aliases).map_err(|error| refused(&error))?;
        let payload = write(&record).map_err(|error| refused(&error))?;
        let asked = request.map_or_else(String::new, |request| in_its_own_words(request.payload()));
        let words = asked + &describe_in(&record, &unit) + &self.otherwise_than_now(&record);
        Ok(Draft { payload, words })
    }

    fn submit(&mut self, document: &[u8]) -> Result<Accepted, AuthorityError> {
        self.take(document)
    }

    fn withdraw(&mut self, order: &WithdrawOrder) -> Result<Vec<Withdrawn>, AuthorityError> {
        self.withdraw_all(order)
    }

    fn list(&mut self) -> Result<Vec<Consent>, AuthorityError> {
        Ok(self.control.grants().history().map(|listed| self.listed(&listed)).collect())
    }

    fn draft_enrolment(&mut self, order: &EnrolmentOrder) -> Result<Draft, AuthorityError> {
        self.drafted_enrolment(*order)
    }

    fn owners(&mut self) -> Result<Vec<Owner>, AuthorityError> {
        Ok(self.listed_owners())
    }
}

/// The company's: what for, and what it gives. The record holds only the digest of that.
fn in_its_own_words(request: &Request) -> String {
    let texts = &request.purpose.text;
    let text = texts.iter().find(|text| text.language == "en").or(texts.first());
    let mut words = text.map_or_else(String::new, |text| format!("In the company's words: {}\n", text.text));
    if !request.incentive.is_empty() {
        words += &format!("In return it offers: {}\n", request.incentive);
    }
    words
}

/// Whether `name` is what `glob` stands for; `*` is any number of any characters.
#[must_use]
pub fn glob_matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some((_, behind)) = rest.split_once(middle) else { return false };
            rest = behind;
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

fn alias(sealer: Option<&CarSealer>, recipient: &RecipientId) -> Option<(VerifyingKey, Digest)> {
    let sealer = sealer?;
    Some((sealer.alias(recipient).ok()?, sealer.principal(recipient)))
}

/// A key of this process alone. Before the car is provisioned nothing is signed or taken; the type wants a key all the
/// same.
pub(crate) fn throwaway_key() -> Result<SigningKey, OpenError> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|_| OpenError::Random)?;
    Ok(SigningKey::from_bytes(&seed))
}

pub(crate) fn random_uuid() -> Option<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// SHA-256 of the payload; of the bytes as they came if they are no document, so that the sender knows them again.
pub(super) fn payload_digest(document: &[u8]) -> Digest {
    let payload = DsseEnvelope::parse(document).and_then(|envelope| envelope.payload_bytes());
    Digest::of(payload.as_deref().unwrap_or(document))
}

fn refused(error: &dyn std::error::Error) -> AuthorityError {
    AuthorityError::Refused(error.to_string())
}

/// What an accepted document is, what it does, and the change that others are told.
fn said(accepted: &control::Accepted) -> (&'static str, String, Option<Change>) {
    match accepted {
        control::Accepted::Policy(policy) => {
            let version = policy.bundle().payload().version.0;
            ("policy bundle", format!("version {version} is in force"), Some(Change::Policy))
        }
        control::Accepted::Enrolment(enrolment) => {
            let words = match enrolment.payload().act {
                EnrolmentAct::Enrol => "is in force: what this key signs can let more leave",
                EnrolmentAct::Remove => "is in force: what this key signs counts no more",
            };
            ("enrolment", words.to_owned(), Some(Change::Owners))
        }
        control::Accepted::Record { flow, effect, .. } => {
            let flow_words = flow.map_or_else(String::new, |flow| format!(" (flow {flow})"));
            let (words, change) = match effect {
                Effect::Widens => ("is in force: what it grants may leave", flow.map(Change::Widened)),
                Effect::Narrows => ("is in force: less may leave", flow.map(Change::Narrowed)),
                // Told already, when the tombstone was set.
                Effect::Ends => ("is in force: nothing leaves by that grant any more", None),
                Effect::Nothing => ("is kept; nothing changes", None),
            };
            ("consent record", format!("{words}{flow_words}"), change)
        }
    }
}

fn state_word(state: Option<EventState>) -> &'static str {
    match state {
        Some(EventState::ConsentGiven) => "given",
        Some(EventState::RenewedConsentGiven) => "renewed",
        Some(EventState::ConsentNarrowed) => "narrowed",
        Some(EventState::ConsentRefused) => "refused",
        Some(EventState::ConsentRequestDeferred) => "deferred",
        Some(EventState::ConsentWithdrawn) => "withdrawn",
        Some(EventState::ConsentExpired) => "expired",
        Some(EventState::ConsentInvalidated) => "invalidated",
        None => "unknown",
    }
}

#[cfg(test)]
mod tests;
