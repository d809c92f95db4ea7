//! `glovebox policy new`: documents with sensible content, made of options or to be edited by hand.

mod spec;

use super::read_file;
use crate::key_store;
use crate::sealer::{StrictVerifier, usable_hpke_key};
use anyhow::{Context as _, bail};
use glovebox_core::consent::document::bundle::Text;
use glovebox_core::consent::document::bundle::{
    Bundle, CatalogueEntry, Category, Directive, HpkeStatement, Recipient, RecipientStatus,
    SigningKeyStatement, Target,
};
use glovebox_core::consent::document::policy::check_parts;
use glovebox_core::consent::document::request::{
    Necessity, PrivacyNotice, Purpose, Request, RequestedSignal,
};
use glovebox_core::consent::document::{Document, DsseEnvelope, read, write};
use glovebox_core::names::{
    DeviceId, Digest, PolicyVersion, PurposeId, RecipientId, RequestId, SignalPath, WallTime,
};
use spec::{CategorySpec, RecipientSpec, SignalSpec, category_of};
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
    /// A recipient's request: exact signals for one purpose.
    Request(RequestArgs),
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
struct RequestArgs {
    /// Who asks.
    #[arg(long, default_value = "example-tyres")]
    recipient: RecipientId,
    /// What for.
    #[arg(long, default_value = "tyre-care")]
    purpose: PurposeId,
    /// A signal, and how coarse it may be made: `Vehicle.Speed:rate=1000:quantise=0.5:optional`. Known are rate=MS,
    /// quantise=STEP, on_change=DELTA, time_bucket=SECONDS, geo_cell=RESOLUTION, delay=SECONDS, optional; threshold and
    /// aggregate have more than a number: write them into the JSON.
    #[arg(long, value_name = "SIGNAL[:OP=NUMBER…][:optional]")]
    signal: Vec<SignalSpec>,
    /// Its name within the recipient; the purpose if it is not given.
    #[arg(long)]
    id: Option<RequestId>,
    /// Its version.
    #[arg(long, default_value_t = 1)]
    request_version: u64,
    /// The purpose in words that the owner reads.
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
    /// ISO 3166-1 code of storage and law.
    #[arg(long, default_value = "DE")]
    country: String,
    /// How long it is kept (ISO 8601).
    #[arg(long, default_value = "P30D")]
    retention: String,
    /// Seconds until a batch is closed.
    #[arg(long, default_value_t = 10)]
    batch_age: u32,
    /// What could not be sent within so many seconds is of no use and is dropped in the car; at least 60.
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u32>,
    /// Microsecond stamps instead of milliseconds.
    #[arg(long)]
    microseconds: bool,
    /// Where the privacy notice can be read.
    #[arg(long, value_name = "URI")]
    notice_uri: Option<String>,
    /// A file with the privacy notice; its SHA-256 is recorded.
    #[arg(long, value_name = "FILE")]
    notice: Option<PathBuf>,
    /// Nothing leaves under it after so many days.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    expires_days: u32,
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
            made_up(&contacts.collect::<Vec<_>>())?;
            checked(&bundle)?
        }
        Command::Request(args) => {
            let request = request(args, now)?;
            made_up(&args.made_up(&request))?;
            checked(&request)?
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

impl RequestArgs {
    fn made_up(&self, request: &Request) -> Vec<String> {
        let mut values = Vec::new();
        if self.text.is_none() {
            values.extend(request.purpose.text.iter().map(|text| format!("purpose (--text): {}", text.text)));
        }
        if self.notice_uri.is_none() {
            values.push(format!("privacy notice (--notice-uri): {}", request.privacy_notice.uri));
        }
        if self.notice.is_none() {
            values
                .push("digest of the privacy notice (--notice FILE): that of the purpose's words".to_owned());
        }
        if self.signal.is_empty() {
            let signals: Vec<&str> = request.signals.iter().map(|asked| asked.signal.as_str()).collect();
            values.push(format!("signals (--signal): {}", signals.join(", ")));
        }
        values
    }
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

fn request(args: &RequestArgs, now: WallTime) -> anyhow::Result<Request> {
    let id = match &args.id {
        Some(id) => id.clone(),
        None => RequestId::new(args.purpose.as_str())?,
    };
    let words = args
        .text
        .clone()
        .unwrap_or_else(|| format!("To provide the service {} that you ordered.", args.purpose));
    let digest = match &args.notice {
        Some(file) => Digest::of(&read_file(file)?),
        None => Digest::of(words.as_bytes()),
    };
    let mut signals: Vec<RequestedSignal> = args.signal.iter().map(SignalSpec::requested).collect();
    if signals.is_empty() {
        signals = samples()?;
    }
    Ok(Request {
        schema_version: 1,
        id,
        version: args.request_version,
        recipient: args.recipient.clone(),
        purpose: Purpose {
            id: args.purpose.clone(),
            code: "https://w3id.org/dpv#ServiceProvision".to_owned(),
            text: vec![Text { language: "en".to_owned(), text: words }],
        },
        lawful_basis: "https://w3id.org/dpv#Consent".to_owned(),
        signals,
        retention_period: args.retention.clone(),
        storage_locations: vec![args.country.clone()],
        onward_disclosure: Vec::new(),
        profiling: false,
        automated_decision: false,
        incentive: String::new(),
        privacy_notice: PrivacyNotice {
            uri: args
                .notice_uri
                .clone()
                .unwrap_or_else(|| format!("https://{}.example/privacy", args.recipient)),
            digest,
            language: "en".to_owned(),
        },
        jurisdiction: vec![args.country.clone()],
        batch_age_s: args.batch_age,
        max_age_s: args.max_age,
        microseconds: args.microseconds,
        expires: after(now, args.expires_days),
        subject_reference: None,
    })
}

/// What a template asks for when no signal is named.
fn samples() -> anyhow::Result<Vec<RequestedSignal>> {
    [
        "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure:on_change=5",
        "Vehicle.Speed:rate=1000:quantise=5:optional",
    ]
    .into_iter()
    .map(|text| Ok(text.parse::<SignalSpec>().map_err(anyhow::Error::msg)?.requested()))
    .collect()
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
    let place = || file.display().to_string();
    DsseEnvelope::parse(&read_file(file)?).with_context(place)
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
            });
        }
    }
    Ok(entries.into_values().collect())
}

impl SignalSpec {
    fn requested(&self) -> RequestedSignal {
        RequestedSignal {
            signal: self.signal.clone(),
            necessity: if self.optional { Necessity::Optional } else { Necessity::Required },
            transforms: self.transforms.clone(),
        }
    }
}
