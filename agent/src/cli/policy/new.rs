//! `glovebox policy new`: documents with sensible content, made of options or to be edited by hand.

mod request;
mod spec;

use super::read_file;
use crate::key_store;
use crate::sealer::{StrictVerifier, usable_hpke_key};
use anyhow::{Context as _, bail};
use glovebox_core::consent::document::bundle::{
    Bundle, CatalogueEntry, Category, Directive, HpkeStatement, Recipient, RecipientStatus,
    SigningKeyStatement, Target,
};
use glovebox_core::consent::document::policy::check_parts;
use glovebox_core::consent::document::request::Request;
use glovebox_core::consent::document::{Document, DsseEnvelope, read, write};
use glovebox_core::names::{DeviceId, PolicyVersion, RecipientId, SignalPath, WallTime};
use spec::{CategorySpec, RecipientSpec, category_of};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const DAY_US: i64 = 24 * 3_600 * 1_000_000;
const SECOND_US: i64 = 1_000_000;

/// Write a new document.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    /// Where to; standard output if it is not given.
    #[arg(short, long, value_name = "FILE", global = true)]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// A policy bundle: which signals are what, who may ask, and what they ask for.
    Bundle(BundleArgs),
    Request(request::Args),
    /// The authority's statement on the key that signs its bundles. Sign it with the root key.
    SigningKey(SigningKeyArgs),
    /// A recipient's statement on its HPKE key. Sign it with the recipient's request key.
    HpkeKey(HpkeKeyArgs),
}

#[derive(Debug, clap::Args)]
struct BundleArgs {
    /// The car it is for.
    #[arg(long, required_unless_present = "group")]
    device: Option<DeviceId>,
    /// The group of cars it is for.
    #[arg(long, conflicts_with = "device")]
    group: Option<DeviceId>,
    /// Its version: each car takes only higher ones.
    #[arg(long, default_value_t = 1)]
    policy_version: u64,
    /// Nothing leaves under it after so many days.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    expires_days: u32,
    /// A recipient: its id, name and country, its request key, its signed HPKE-key statement (more may follow).
    #[arg(long, value_name = "ID:NAME:COUNTRY:REQUEST.pub:HPKE.dsse")]
    recipient: Vec<RecipientSpec>,
    /// A signed request of one of these recipients.
    #[arg(long, value_name = "REQUEST.dsse")]
    request: Vec<PathBuf>,
    /// Catalogue entries from a JSON file: a list of {"signal", "category", "floor"}.
    #[arg(long, value_name = "FILE.json")]
    catalogue: Option<PathBuf>,
    /// The category of requested signals that the catalogue file does not list. The first that fits counts.
    #[arg(long, value_name = "CATEGORY=GLOB")]
    category: Vec<CategorySpec>,
    /// Nothing leaves for this recipient.
    #[arg(long, value_name = "ID")]
    suspend: Vec<RecipientId>,
    /// This signal leaves for nobody.
    #[arg(long, value_name = "SIGNAL")]
    drop: Vec<SignalPath>,
}

#[derive(Debug, clap::Args)]
struct SigningKeyArgs {
    /// The key that will sign bundles (Ed25519, PEM).
    #[arg(long, value_name = "S.pub")]
    key: PathBuf,
    /// Only rises: a car that saw a higher one takes this no more.
    #[arg(long, default_value_t = 1)]
    serial: u64,
    /// How long it may sign.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

#[derive(Debug, clap::Args)]
struct HpkeKeyArgs {
    /// Whose key it is.
    #[arg(long)]
    recipient: RecipientId,
    /// The key (X25519, PEM).
    #[arg(long, value_name = "H.pub")]
    key: PathBuf,
    /// How long it may be used.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// Makes the document and checks it before it is written.
pub(super) fn run(args: &Args, now: WallTime) -> anyhow::Result<ExitCode> {
    // Whole seconds: a person reads it.
    let now = WallTime(now.0 - now.0.rem_euclid(SECOND_US));
    let bytes = match &args.command {
        Command::Bundle(args) => {
            let bundle = bundle(args, now)?;
            check_parts(&bundle, &StrictVerifier).context("no car would take this bundle")?;
            let contacts = bundle.recipients.iter().map(|it| format!("contact of {}: {}", it.id, it.contact));
            let contacts: Vec<String> = contacts.collect();
            let bytes = checked(&bundle)?;
            made_up(&contacts)?;
            bytes
        }
        Command::Request(args) => {
            let request = request::made(args, now)?;
            let bytes = checked(&request)?;
            made_up(&args.made_up(&request))?;
            bytes
        }
        Command::SigningKey(args) => checked(&signing_key(args, now)?)?,
        Command::HpkeKey(args) => checked(&hpke_key(args, now)?)?,
    };
    match &args.out {
        Some(path) => super::write_file(path, &bytes)?,
        None => std::io::stdout().lock().write_all(&bytes)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing that the owner will read is invented in silence.
fn made_up(values: &[String]) -> anyhow::Result<()> {
    let mut stderr = std::io::stderr().lock();
    for value in values {
        writeln!(stderr, "made up, correct it before you sign: {value}")?;
    }
    Ok(())
}

fn checked<T: Document>(document: &T) -> anyhow::Result<Vec<u8>> {
    let bytes = write(document)?;
    read::<T>(&bytes).context("these options make no document that a car would take")?;
    Ok(bytes)
}

fn after(now: WallTime, days: u32) -> WallTime {
    WallTime(now.0.saturating_add(i64::from(days).saturating_mul(DAY_US)))
}

/// From the beginning of the day, so that a car whose clock is a little behind takes it at once.
fn today(now: WallTime) -> WallTime {
    WallTime(now.0 - now.0.rem_euclid(DAY_US))
}

fn signing_key(args: &SigningKeyArgs, now: WallTime) -> anyhow::Result<SigningKeyStatement> {
    Ok(SigningKeyStatement {
        schema_version: 1,
        key: key_store::read_verifying_key(&args.key)?,
        serial: args.serial,
        not_before: today(now),
        not_after: after(now, args.days),
    })
}

fn hpke_key(args: &HpkeKeyArgs, now: WallTime) -> anyhow::Result<HpkeStatement> {
    let key = key_store::read_x25519_public(&args.key)?;
    if !usable_hpke_key(&key) {
        bail!(
            "{}: nothing can be sealed to this key: make a new one with `glovebox keys new x25519`",
            args.key.display()
        );
    }
    Ok(HpkeStatement {
        schema_version: 1,
        recipient: args.recipient.clone(),
        hpke_key: key,
        not_before: today(now),
        not_after: after(now, args.days),
    })
}

fn bundle(args: &BundleArgs, now: WallTime) -> anyhow::Result<Bundle> {
    let target = match (&args.device, &args.group) {
        (_, Some(group)) => Target::Group(group.clone()),
        (Some(device), None) => Target::Vehicle(device.clone()),
        (None, None) => bail!("name the car (`--device`) or the group (`--group`) it is for"),
    };
    let requests = args.request.iter().map(|file| envelope(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut directives: Vec<Directive> = Vec::new();
    directives
        .extend(args.suspend.iter().map(|id| Directive::Suspend { recipient: id.clone(), request: None }));
    directives.extend(args.drop.iter().map(|signal| Directive::Drop { signal: signal.clone() }));
    Ok(Bundle {
        schema_version: 1,
        version: PolicyVersion(args.policy_version),
        issued: now,
        expires: after(now, args.expires_days),
        target,
        catalogue: catalogue(args, &requests)?,
        recipients: args.recipient.iter().map(recipient).collect::<anyhow::Result<Vec<_>>>()?,
        requests,
        directives,
    })
}

fn envelope(file: &Path) -> anyhow::Result<DsseEnvelope> {
    super::document::signed(&read_file(file)?, file)
}

fn recipient(spec: &RecipientSpec) -> anyhow::Result<Recipient> {
    let mut hpke_keys = Vec::new();
    for file in &spec.hpke_statements {
        let statement = envelope(file)?;
        let place = || file.display().to_string();
        let payload: HpkeStatement = read(&statement.payload_bytes()?).with_context(place)?;
        if payload.recipient != spec.id {
            bail!("{}: this is the HPKE key of {}, not of {}", file.display(), payload.recipient, spec.id);
        }
        hpke_keys.push(statement);
    }
    Ok(Recipient {
        id: spec.id.clone(),
        name: spec.name.clone(),
        contact: format!("privacy@{}.example", spec.id),
        country: spec.country.clone(),
        request_key: key_store::read_verifying_key(&spec.request_key)?,
        hpke_keys,
        status: RecipientStatus::Active,
    })
}

/// The entries of the file, then each requested signal that it does not list.
fn catalogue(args: &BundleArgs, requests: &[DsseEnvelope]) -> anyhow::Result<Vec<CatalogueEntry>> {
    let mut entries: BTreeMap<SignalPath, CatalogueEntry> = BTreeMap::new();
    if let Some(file) = &args.catalogue {
        let listed: Vec<CatalogueEntry> =
            serde_json::from_slice(&read_file(file)?).with_context(|| file.display().to_string())?;
        for entry in listed {
            if let Some(twice) = entries.insert(entry.signal.clone(), entry) {
                bail!("{}: {} is listed twice", file.display(), twice.signal);
            }
        }
    }
    for (envelope, file) in requests.iter().zip(&args.request) {
        let request: Request =
            read(&envelope.payload_bytes()?).with_context(|| file.display().to_string())?;
        for signal in request.signals.into_iter().map(|asked| asked.signal) {
            let category = category_of(&signal, &args.category);
            if category == Category::Unknown && !entries.contains_key(&signal) {
                // An unknown signal never leaves: whoever makes the bundle is told, the car need not be.
                writeln!(
                    std::io::stderr().lock(),
                    "{}: {signal} has no category, so it will not leave; give it one: --category driving={signal}",
                    file.display()
                )?;
            }
            entries.entry(signal.clone()).or_insert(CatalogueEntry {
                signal,
                category,
                labels: Vec::new(),
                floor: Vec::new(),
                plausible: None,
            });
        }
    }
    Ok(entries.into_values().collect())
}
