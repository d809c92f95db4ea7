//! `glovebox policy`: bundles, requests and key statements from a shell.

mod categories;
mod dates;
mod derived;
mod diff;
pub(super) mod document;
mod doubts;
mod inspect;
mod new;
mod templates;

use self::doubts::Doubt;
use super::FINDINGS;
use super::consent::printable;
use crate::control::Authority;
use crate::key_store;
use crate::sealer::StrictVerifier;
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use ed25519_dalek::Signer as _;
use glovebox_core::consent::document::bundle::{Bundle, HpkeStatement, SigningKeyStatement};
use glovebox_core::consent::document::enrolment::OwnerEnrolment;
use glovebox_core::consent::document::record::ConsentRecord;
use glovebox_core::consent::document::request::Request;
use glovebox_core::consent::document::{Document, DsseEnvelope, Policy, read, verify};
use glovebox_core::limits::DOCUMENT_BYTES_MAX;
use glovebox_core::names::{Digest, VerifyingKey, WallTime};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Make, sign, show, check and install policy documents.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write a new document, ready to be read over and signed.
    New(new::Args),
    /// Sign a document: JSON in, DSSE envelope out.
    Sign(SignArgs),
    /// Say in words what a document holds, without checking its signature.
    #[command(visible_alias = "inspect", after_help = inspect::LEARN)]
    Show {
        /// The document: signed, or the JSON before it is signed.
        file: PathBuf,
        /// As JSON, for a script.
        #[arg(long)]
        json: bool,
    },
    /// Check signature, content and dates of a signed document.
    ///
    /// Exit codes: 0 good, 1 not good, or good and over by now, which is said on standard error.
    Verify {
        /// The signed document.
        file: PathBuf,
        /// The key it must go back to: for a bundle or a signing-key statement the authority's root, for a request or
        /// an HPKE-key statement the recipient's request key, for a consent record or an enrolment the owner's.
        #[arg(long, value_name = "A.pub")]
        authority: PathBuf,
    },
    Diff(diff::Args),
    Templates(templates::Args),
    /// List the categories of signals that owners see, or say which one a signal is in.
    Categories(categories::Args),
    Derived(derived::Args),
    /// Put a signed document in force, in the running daemon or in the stores: a bundle, or a consent record or enrolment
    /// that was signed elsewhere.
    Install {
        /// The signed document.
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct SignArgs {
    /// The document, as `policy new` writes it.
    file: PathBuf,
    /// What kind of document it is.
    #[arg(long = "type")]
    kind: Kind,
    /// Private key to sign with (Ed25519, PEM).
    #[arg(long, value_name = "K.key")]
    key: PathBuf,
    /// For a bundle: the root's signed statement on that key, which travels with it.
    #[arg(long, value_name = "SIGNING.dsse")]
    statement: Option<PathBuf>,
    /// Where to write the signed document.
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Policy bundle, signed by the key that the statement names.
    Bundle,
    /// Request, signed by its recipient.
    Request,
    /// Statement on the bundle-signing key, signed by the authority's root.
    SigningKey,
    /// Statement on an HPKE key, signed by its recipient.
    HpkeKey,
    /// Consent record, signed by the owner.
    Consent,
    /// Enrolment or removal of an owner key, signed by an owner.
    Enrolment,
}

impl Kind {
    /// The key that its signature must go back to.
    fn trusted(self) -> &'static str {
        match self {
            Self::Bundle | Self::SigningKey => "the authority's root key",
            Self::Request | Self::HpkeKey => "the recipient's request key",
            Self::Consent => "the owner's key",
            Self::Enrolment => "an owner's key",
        }
    }

    /// As `--type` has it.
    fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn payload_type(self) -> &'static str {
        match self {
            Self::Bundle => Bundle::TYPE,
            Self::Request => Request::TYPE,
            Self::SigningKey => SigningKeyStatement::TYPE,
            Self::HpkeKey => HpkeStatement::TYPE,
            Self::Consent => ConsentRecord::TYPE,
            Self::Enrolment => OwnerEnrolment::TYPE,
        }
    }
}

impl Args {
    /// Whether what fails is a document that cannot be read, as an unusable argument.
    pub(super) fn only_reads(&self) -> bool {
        matches!(self.command, Command::Show { .. })
    }
}

/// Runs it. `authority` opens the way to the daemon or the stores and is asked only by `install`.
///
/// # Errors
/// With file, place and what to do.
pub fn run(
    args: &Args,
    now: WallTime,
    authority: impl FnOnce() -> anyhow::Result<Box<dyn Authority>>,
) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::New(args) => new::run(args, now),
        Command::Sign(args) => sign(args, now),
        Command::Show { file, json } => inspect::run(file, *json),
        Command::Verify { file, authority } => check(file, authority, now),
        Command::Diff(args) => diff::run(args),
        Command::Templates(args) => templates::run(args),
        Command::Categories(args) => categories::run(args),
        Command::Derived(args) => derived::run(args),
        Command::Install { file } => {
            let document = read_file(file)?;
            document::signed(&document, file)?;
            let taken = authority()?
                .submit(&document)
                .with_context(|| format!("{} is not installed", file.display()))?;
            writeln!(std::io::stdout().lock(), "{}: {} {}", taken.kind, taken.effect, taken.digest)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn sign(args: &SignArgs, now: WallTime) -> anyhow::Result<ExitCode> {
    let place = || args.file.display().to_string();
    not_over_an_input(&args.out, [&args.file])?;
    let payload = read_file(&args.file)?;
    let key = key_store::read_signing_key(&args.key)?;
    let own = VerifyingKey(key.verifying_key().to_bytes());
    let payload_type = args.kind.payload_type();
    document::other_kind(&payload, args.kind).with_context(place)?;
    doubts(&doubtful(args.kind, &payload).with_context(place)?, &args.file)?;
    dates::tell(&args.file, (args.kind, &payload), now)?;
    let envelope = DsseEnvelope::unsigned(payload_type, &payload);
    let signature = key.sign(&envelope.signing_input().with_context(place)?).to_bytes();
    let mut envelope = envelope.with_signature(&own.to_string(), &signature);
    match (&args.statement, args.kind) {
        (Some(file), Kind::Bundle) => envelope = envelope.with_statement(statement(file, &own)?),
        (None, Kind::Bundle) => bail!(
            "a bundle needs `--statement SIGNING.dsse`: the authority's statement on the key that signs it; make it \
             with `glovebox policy new signing-key` and sign it with the root key"
        ),
        (Some(_), _) => bail!("`--statement` belongs to a bundle only"),
        (None, _) => {}
    }
    let bytes = envelope.to_bytes()?;
    write_file(&args.out, &bytes)?;
    let digest = Digest::of(&payload);
    writeln!(
        std::io::stdout().lock(),
        "{}  signed by {}, sha-256 {digest}",
        args.out.display(),
        key_store::thumb(&own)
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a payload of this kind, and says which of its transforms let nothing through.
fn doubtful(kind: Kind, payload: &[u8]) -> anyhow::Result<Vec<Doubt>> {
    Ok(match kind {
        Kind::Bundle => doubts::of_bundle(&read::<Bundle>(payload)?)?,
        Kind::Request => doubts::of_request(&read::<Request>(payload)?),
        Kind::Consent => doubts::of_record(&read::<ConsentRecord>(payload)?),
        Kind::SigningKey => read::<SigningKeyStatement>(payload).map(|_| Vec::new())?,
        Kind::HpkeKey => read::<HpkeStatement>(payload).map(|_| Vec::new())?,
        Kind::Enrolment => read::<OwnerEnrolment>(payload).map(|_| Vec::new())?,
    })
}

/// What is wrong is refused, all of it at once; what is strange is signed, and said.
fn doubts(found: &[Doubt], file: &Path) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    let mut stderr = std::io::stderr().lock();
    for doubt in found {
        match doubt {
            Doubt::Wrong(what) => wrong.push(format!("{}: {what}", file.display())),
            Doubt::Strange(what) => {
                let said = format!("{}: {what}; nothing of it will leave", file.display());
                writeln!(stderr, "{}", printable(&said))?;
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("nothing of this would leave, so it is not signed:\n{}", wrong.join("\n"))
}

/// The statement must name the key that signs, or no car would take the bundle. Its own signature is the car's to check.
fn statement(file: &Path, own: &VerifyingKey) -> anyhow::Result<DsseEnvelope> {
    let place = || file.display().to_string();
    let envelope = document::signed(&read_file(file)?, file)?;
    let payload: SigningKeyStatement =
        read(&envelope.payload_bytes().with_context(place)?).with_context(place)?;
    if payload.key != *own {
        bail!(
            "{}: the statement names the key {}, but `--key` is {own}: sign with the key that the statement names",
            file.display(),
            payload.key
        );
    }
    Ok(envelope)
}

fn check(file: &Path, authority: &Path, now: WallTime) -> anyhow::Result<ExitCode> {
    let bytes = read_file(file)?;
    let root = key_store::read_verifying_key(authority)?;
    let envelope = document::signed(&bytes, file)?;
    let place = || format!("{}, checked with {}", file.display(), authority.display());
    let words = checked_words((&bytes, &envelope), &root).with_context(place)?;
    writeln!(std::io::stdout().lock(), "{}: good: {words}", file.display())?;
    let is_over = dates::tell(file, (kind_of(&envelope)?, &envelope.payload_bytes()?), now)?;
    Ok(if is_over { ExitCode::from(FINDINGS) } else { ExitCode::SUCCESS })
}

fn checked_words((bytes, envelope): (&[u8], &DsseEnvelope), root: &VerifyingKey) -> anyhow::Result<String> {
    let keys = [*root];
    match kind_of(envelope)? {
        Kind::Bundle => {
            let policy = Policy::verify(bytes, root, &StrictVerifier)?;
            let bundle = policy.bundle().payload();
            Ok(format!(
                "policy bundle version {}, {} recipients, {} requests, signed by {} (serial {})",
                bundle.version.0,
                bundle.recipients.len(),
                policy.requests().len(),
                key_store::thumb(&policy.bundle().signer()),
                policy.signing().payload().serial
            ))
        }
        Kind::Request => {
            let request = verify::<Request>(envelope, &keys, &StrictVerifier)?;
            let request = request.payload();
            Ok(format!("request {} version {} by {}", request.id, request.version, request.recipient))
        }
        Kind::SigningKey => {
            let statement = verify::<SigningKeyStatement>(envelope, &keys, &StrictVerifier)?;
            Ok(format!("signing-key statement, serial {}", statement.payload().serial))
        }
        Kind::HpkeKey => {
            let statement = verify::<HpkeStatement>(envelope, &keys, &StrictVerifier)?;
            Ok(format!("HPKE-key statement of {}", statement.payload().recipient))
        }
        Kind::Consent => {
            let record = verify::<ConsentRecord>(envelope, &keys, &StrictVerifier)?;
            let record = record.payload();
            Ok(format!("consent record for {}, {}", record.recipient.party_id, record.purpose.id))
        }
        Kind::Enrolment => {
            let enrolment = verify::<OwnerEnrolment>(envelope, &keys, &StrictVerifier)?;
            Ok(format!("enrolment about {}", key_store::thumb(&enrolment.payload().owner_key)))
        }
    }
}

/// Which kind of document is in the envelope; the two key statements share a type and differ in a field.
fn kind_of(envelope: &DsseEnvelope) -> anyhow::Result<Kind> {
    let kind = [
        (Bundle::TYPE, Kind::Bundle),
        (Request::TYPE, Kind::Request),
        (SigningKeyStatement::TYPE, Kind::SigningKey),
        (ConsentRecord::TYPE, Kind::Consent),
        (OwnerEnrolment::TYPE, Kind::Enrolment),
    ]
    .into_iter()
    .find_map(|(name, kind)| (name == envelope.payload_type).then_some(kind));
    match kind {
        Some(Kind::SigningKey) if read::<HpkeStatement>(&envelope.payload_bytes()?).is_ok() => {
            Ok(Kind::HpkeKey)
        }
        Some(kind) => Ok(kind),
        None => bail!("the payload type is none of Glovebox's: is it another tool's DSSE envelope?"),
    }
}

/// Writes a document; never over a key, which nobody could get back.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    not_over_a_key(path)?;
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// A file that is a key stays. A pipe holds none, and would let the reader wait.
pub(crate) fn not_over_a_key(path: &Path) -> anyhow::Result<()> {
    let mut head = Vec::new();
    if path.is_file()
        && let Ok(file) = std::fs::File::open(path)
    {
        file.take(16).read_to_end(&mut head).with_context(|| path.display().to_string())?;
    }
    if head.starts_with(b"-----BEGIN") {
        bail!("{}: this is a key or a certificate, not overwritten: name another file", path.display());
    }
    Ok(())
}

/// What is written must not be what was read, by whatever name: it would be lost.
pub(crate) fn not_over_an_input<'a>(
    out: &Path,
    inputs: impl IntoIterator<Item = &'a PathBuf>,
) -> anyhow::Result<()> {
    let Ok(out_is) = out.canonicalize() else { return Ok(()) };
    let same = |input: &&PathBuf| input.canonicalize().is_ok_and(|input| input == out_is);
    match inputs.into_iter().find(same) {
        Some(_) => bail!("{}: this is read here, not overwritten: name another file", out.display()),
        None => Ok(()),
    }
}

/// Reads a document of bounded size; `-` is standard input.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let place = || path.display().to_string();
    let bound = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(bound).read_to_end(&mut bytes).context("standard input")?;
    } else {
        let file = std::fs::File::open(path).with_context(place)?;
        file.take(bound).read_to_end(&mut bytes).with_context(place)?;
    }
    if bytes.len() > DOCUMENT_BYTES_MAX {
        bail!("{}: longer than {DOCUMENT_BYTES_MAX} bytes: not a document of Glovebox", path.display());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
