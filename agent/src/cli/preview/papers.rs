//! The documents that the preview is of: those that are named, in a car of their own that lives only here, or those that
//! are installed. Both go through the core's one door for documents.
//!
//! A document whose signature is not to be checked is signed anew with a key thrown away afterwards: nothing in the core
//! takes one that is not signed.

use std::path::Path;

use anyhow::{Context as _, ensure};
use ed25519_dalek::{Signer as _, SigningKey};
use glovebox_core::consent::document::bundle::{Bundle, SigningKeyStatement, Target};
use glovebox_core::consent::document::record::{ConsentRecord, EventState};
use glovebox_core::consent::document::{Document, DsseEnvelope, verify, write};
use glovebox_core::consent::session::Session;
use glovebox_core::control::{Accepted, Control, Counters, DraftError, Enrolment, Stamp, Stored, Wish};
use glovebox_core::limits::GRANT_US_DEFAULT;
use glovebox_core::names::{
    DeviceId, Digest, PolicyVersion, PurposeId, RecipientId, SignalPath, TrustedTime, VerifyingKey, WallTime,
};
use glovebox_core::seal::Sealer as _;
use serde::Serialize;

use super::Args;
use crate::cli::copy::Copied;
use crate::cli::policy::Kind;
use crate::cli::policy::document::Held;
use crate::clock::{Clock, Time as _};
use crate::config::Config;
use crate::daemon::authority::{KnownLeaves, LocalAuthority, random_uuid, throwaway_key};
use crate::daemon::session::Kept;
use crate::daemon::zones::ZoneFile;
use crate::key_store::read_verifying_key;
use crate::policy_store::PolicyStore;
use crate::sealer::{CarSealer, StrictVerifier};

/// What may leave, and how far that is to be believed.
pub(super) struct Papers {
    /// Policy and grants.
    pub(super) control: Control,
    /// As of when.
    pub(super) time: Option<TrustedTime>,
    /// What the grants are.
    pub(super) granted: String,
    /// Which signatures were checked, and which were not.
    pub(super) checks: Vec<Check>,
    /// Requests to which nothing could be granted, and why.
    pub(super) refused: Vec<(RecipientId, PurposeId, String)>,
    /// What is not in the preview.
    pub(super) aside: Aside,
}

/// What is set in the car and no document says: of documents that are named it is nothing.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// There are private places.
    pub(super) places: bool,
    /// What is paused.
    pub(super) session: Session,
}

/// One kind of signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// Whether it was checked, and is good.
    pub(super) verified: bool,
    /// In words.
    pub(super) what: String,
}

impl Check {
    fn good(what: impl Into<String>) -> Self {
        Self { verified: true, what: what.into() }
    }

    fn unchecked(what: impl Into<String>) -> Self {
        Self { verified: false, what: what.into() }
    }
}

/// What is installed, read from a copy.
pub(super) fn installed(config: &Config, leaves: KnownLeaves) -> anyhow::Result<Papers> {
    let state = &config.health.state;
    let copy = Copied::of(state)?;
    let keys = crate::daemon::authority::Keys::open(state, crate::cli::car(config))?;
    ensure!(
        keys.sealer.is_some(),
        "{}: this car is not provisioned: name documents with `--policy`",
        state.display()
    );
    let store = PolicyStore::open(copy.path())?;
    let faults: Vec<String> = store.faults().iter().map(ToString::to_string).collect();
    ensure!(
        faults.is_empty(),
        "the stores could not be copied as a whole, perhaps they were just written; try again: {}",
        faults.join("; ")
    );
    let authority = LocalAuthority::new(keys, Box::new(store), std::sync::Arc::new(Clock::new()), leaves)?;
    let mut checks = vec![Check::good("policy, requests, keys and consent records: by the keys of this car")];
    checks.extend(authority.complaints().iter().map(Check::unchecked));
    ensure!(
        authority.control().policy().is_some(),
        "{}: no policy is in force: install one, or name documents with `--policy`",
        state.display()
    );
    let granted = format!("as the owner has granted in the car ({})", state.display());
    let (control, time) = (authority.control().clone(), authority.now());
    let (session, _) = Kept::open(copy.path().join("session"), &Clock::new());
    let places = !ZoneFile::in_folder(state).zones().is_empty();
    let mut session = session.session().clone();
    session.pass(Clock::new().monotonic());
    let aside = Aside { places, session };
    Ok(Papers { control, time, granted, checks, refused: Vec::new(), aside })
}

/// The policy that is named; granted is what the records say, and without records all that is asked for.
pub(super) fn given(args: &Args, policy: &Path, leaves: &KnownLeaves) -> anyhow::Result<Papers> {
    let mut bench = Bench::new(policy, args.authority.as_deref())?;
    if args.record.is_empty() {
        let granted = "as if the owner granted every request in full".to_owned();
        return bench.grant_all(leaves).map(|()| bench.papers(granted));
    }
    for file in &args.record {
        bench.take_record(file, args.owner.as_deref()).with_context(|| file.display().to_string())?;
    }
    let files: Vec<String> = args.record.iter().map(|file| file.display().to_string()).collect();
    Ok(bench.papers(format!("as the owner has granted in {}", files.join(", "))))
}

/// A car that lives only here.
struct Bench {
    control: Control,
    time: TrustedTime,
    sealer: CarSealer,
    owner: SigningKey,
    checks: Vec<Check>,
    refused: Vec<(RecipientId, PurposeId, String)>,
}

impl Bench {
    fn new(file: &Path, authority: Option<&Path>) -> anyhow::Result<Self> {
        let place = || file.display().to_string();
        let clock = Clock::new();
        let time = clock.trusted(WallTime(0)).with_context(|| {
            format!("the clock says {}, which is before this release: set it", clock.now())
        })?;
        let held = Held::open(file)?;
        ensure!(held.kind == Kind::Bundle, "{}: not a policy bundle: `--policy` wants one", place());
        let bundle: Bundle = held.read().with_context(place)?;
        let (document, root, check) = match (authority, &held.envelope) {
            (Some(authority), Some(envelope)) => {
                let check = Check::good(format!("the policy bundle's, by {}", authority.display()));
                (envelope.to_bytes()?, read_verifying_key(authority)?, check)
            }
            (Some(_), None) => anyhow::bail!("{}: `--authority` needs it signed", place()),
            (None, envelope) => {
                let what = match envelope {
                    Some(_) => "the policy bundle's; `--authority A.pub` checks it",
                    None => "the policy bundle is not signed yet",
                };
                let (document, root) = signed_anew(&held.payload, &bundle)?;
                (document, root, Check::unchecked(what))
            }
        };
        let owner = throwaway_key()?;
        let enrolment = enrolment(&bundle, root, &owner)?;
        let policy_version = PolicyVersion(bundle.version.0.saturating_sub(1));
        let stored = Stored { floor: Counters { policy_version, signing_serial: 0 }, ..Stored::default() };
        let sealer = throwaway_car()?;
        let (control, _) = Control::restore(enrolment, stored, &|id| alias(&sealer, id), &StrictVerifier);
        let checks =
            vec![check, Check::good("requests and HPKE keys, by the request keys in the policy bundle")];
        let mut bench = Self { control, time, sealer, owner, checks, refused: Vec::new() };
        bench.take(&document).with_context(place).context("no car would take this policy")?;
        Ok(bench)
    }

    fn papers(self, granted: String) -> Papers {
        let Self { control, time, checks, refused, .. } = self;
        Papers { control, time: Some(time), granted, checks, refused, aside: Aside::default() }
    }

    fn take(&mut self, document: &[u8]) -> anyhow::Result<()> {
        let accepted: Accepted = self.control.examine(
            document,
            Some(self.time),
            &|id| alias(&self.sealer, id),
            &StrictVerifier,
        )?;
        Ok(self.control.adopt(accepted)?)
    }

    /// The owner says yes to everything, but does not waive the catalogue's usual limits.
    fn grant_all(&mut self, leaves: &KnownLeaves) -> anyhow::Result<()> {
        let requests = self.control.policy().map(|policy| policy.requests().to_vec()).unwrap_or_default();
        for request in &requests {
            let request = request.payload();
            let year = WallTime(self.time.earliest.0.saturating_add(GRANT_US_DEFAULT));
            let record_id = random_uuid().context("no randomness to be had from the system")?;
            let wish = Wish {
                recipient: &request.recipient,
                purpose: &request.purpose.id,
                wanted: &|_: &SignalPath| true,
                until: year.min(request.expires),
                floor_waived: false,
                max_bytes_per_day: None,
                language: "en",
                stamp: Stamp {
                    record_id,
                    now: self.time.earliest,
                    at: self.time.earliest,
                    entity: "owner",
                    shown_by: "command_line",
                },
            };
            match self.control.draft(&wish, &|path| Some(leaves(path)?.digest), &|id| alias(&self.sealer, id))
            {
                Ok(record) => self.take(&signed::<ConsentRecord>(&write(&record)?, &self.owner)?)?,
                Err(error) => {
                    let (recipient, purpose) = (request.recipient.clone(), request.purpose.id.clone());
                    let why = match error {
                        DraftError::NothingWanted => {
                            "no signal of the request is in this car and has a category in the policy"
                                .to_owned()
                        }
                        error => error.to_string(),
                    };
                    self.refused.push((recipient, purpose, why));
                }
            }
        }
        self.checks.push(Check::unchecked("no owner has agreed: each yes here is only supposed"));
        Ok(())
    }

    fn take_record(&mut self, file: &Path, owner: Option<&Path>) -> anyhow::Result<()> {
        let held = Held::open(file)?;
        ensure!(held.kind == Kind::Consent, "not a consent record: `--record` wants one");
        let record: ConsentRecord = held.read()?;
        let check = self.checked(&held, &record, file, owner)?;
        let record = self.aboard(record);
        self.take(&signed::<ConsentRecord>(&write(&record)?, &self.owner)?)?;
        self.checks.push(check);
        Ok(())
    }

    /// The owner's signature, if there is a key to check it by. What narrows may bear the car's own instead.
    fn checked(
        &self,
        held: &Held,
        record: &ConsentRecord,
        file: &Path,
        owner: Option<&Path>,
    ) -> anyhow::Result<Check> {
        let of = format!("the consent record's in {}", file.display());
        let widens = record.state().is_some_and(EventState::widens);
        let Some(owner) = owner.filter(|_| widens) else {
            let more = if widens { "; `--owner OWNER.pub` checks it" } else { ", which only narrows" };
            return Ok(Check::unchecked(of + more));
        };
        let envelope = held.envelope.as_ref().context("`--owner` needs it signed")?;
        verify::<ConsentRecord>(envelope, &[read_verifying_key(owner)?], &StrictVerifier)?;
        Ok(Check::good(format!("{of}, by {}", owner.display())))
    }

    /// As a record for the car that lives here. A chain may begin in its middle: what came before has no effect any more.
    fn aboard(&self, mut record: ConsentRecord) -> ConsentRecord {
        let recipient = record.recipient.party_id.clone();
        if let Some((vehicle, principal)) = alias(&self.sealer, &recipient) {
            (record.subject_vehicle, record.pii_principal_id) = (vehicle, principal);
        }
        let is_first = self.control.grants().last_for(&recipient, &record.purpose.id).is_none();
        if let (true, Some(event)) = (is_first, record.events.last_mut())
            && event.event_state.widens()
        {
            event.event_state = EventState::ConsentGiven;
            record.supersedes = None;
        }
        record
    }
}

/// Whom the car that lives here listens to.
fn enrolment(bundle: &Bundle, root: VerifyingKey, owner: &SigningKey) -> anyhow::Result<Enrolment> {
    let (device, groups) = match &bundle.target {
        Target::Vehicle(device) => (device.clone(), Vec::new()),
        Target::Group(group) => (DeviceId::new("preview")?, vec![group.clone()]),
    };
    let record_key = public(&throwaway_key()?);
    Ok(Enrolment { device, groups, root: Some(root), owners: vec![public(owner)], record_key })
}

/// The bundle under a root that is made for it.
fn signed_anew(payload: &[u8], bundle: &Bundle) -> anyhow::Result<(Vec<u8>, VerifyingKey)> {
    let (root, signing) = (throwaway_key()?, throwaway_key()?);
    let statement = SigningKeyStatement {
        schema_version: 1,
        key: public(&signing),
        serial: 1,
        not_before: bundle.issued,
        not_after: WallTime(bundle.expires.0.saturating_add(1)),
    };
    let statement = envelope::<SigningKeyStatement>(&write(&statement)?, &root)?;
    let document = envelope::<Bundle>(payload, &signing)?.with_statement(statement);
    Ok((document.to_bytes()?, public(&root)))
}

fn signed<T: Document>(payload: &[u8], key: &SigningKey) -> anyhow::Result<Vec<u8>> {
    Ok(envelope::<T>(payload, key)?.to_bytes()?)
}

fn envelope<T: Document>(payload: &[u8], key: &SigningKey) -> anyhow::Result<DsseEnvelope> {
    let envelope = DsseEnvelope::unsigned(T::TYPE, payload);
    let signature = key.sign(&envelope.signing_input()?).to_bytes();
    Ok(envelope.with_signature(&public(key).to_string(), &signature))
}

fn public(key: &SigningKey) -> VerifyingKey {
    VerifyingKey(key.verifying_key().to_bytes())
}

fn alias(sealer: &CarSealer, recipient: &RecipientId) -> Option<(VerifyingKey, Digest)> {
    Some((sealer.alias(recipient).ok()?, sealer.principal(recipient)))
}

/// A car's cryptography over a secret that is gone afterwards.
pub(super) fn throwaway_car() -> anyhow::Result<CarSealer> {
    let mut secret = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice())
        .map_err(|_| anyhow::anyhow!("no randomness to be had from the system"))?;
    Ok(CarSealer::new(secret, 1))
}
