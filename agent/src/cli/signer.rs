//! Whose hand signs what an owner wants: a key file, the key that the PIN opens, or somebody elsewhere.

use std::io::Write;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use glovebox_core::consent::document::{Document, DsseEnvelope};
use glovebox_core::names::VerifyingKey;

use super::policy::write_file;
use super::secret;
use crate::key_store::pin::attempts::Uptime;
use crate::key_store::{self, KeyStore};

/// How a document of the owner's is signed.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "signer", required = true, multiple = false)]
pub(super) struct Signer {
    /// Private key of an enrolled owner (Ed25519, PEM).
    #[arg(long, value_name = "OWNER.key")]
    pub(super) key: Option<PathBuf>,
    /// Sign with the key that the owner's PIN opens: asked for, or a line on standard input.
    #[arg(long)]
    pub(super) pin: bool,
    /// Sign nothing: write to OUT what is to be signed elsewhere (a phone, a fleet's signing service) and then installed.
    #[arg(long, value_name = "OUT")]
    pub(super) draft: Option<PathBuf>,
}

/// A hand that is there.
pub(super) enum Hand {
    Key(Box<SigningKey>, PathBuf),
    Pin,
    Elsewhere(PathBuf),
}

impl Signer {
    /// A key file is read before anything is asked.
    pub(super) fn hand(&self) -> anyhow::Result<Hand> {
        match (&self.key, &self.draft) {
            (Some(path), _) => Ok(Hand::Key(Box::new(key_store::read_signing_key(path)?), path.clone())),
            (None, Some(out)) => Ok(Hand::Elsewhere(out.clone())),
            (None, None) if self.pin => Ok(Hand::Pin),
            (None, None) => anyhow::bail!(
                "who signs it? `--key OWNER.key`, `--pin`, or `--draft OUT` to have it signed elsewhere"
            ),
        }
    }
}

impl Hand {
    /// Whether somebody here is asked to agree.
    pub(super) fn is_here(&self) -> bool {
        !matches!(self, Self::Elsewhere(_))
    }

    /// The signed document; `None` if it is to be signed elsewhere, and `out` was told how.
    pub(super) fn sign<T: Document>(
        &self,
        payload: &[u8],
        state: &Path,
        out: &mut impl Write,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let key = match self {
            Self::Key(key, _) => key.clone(),
            Self::Pin => {
                let entered = secret::pin("PIN")?;
                Box::new(KeyStore::open(&state.join("keys"))?.unlock(&entered, &Uptime::now())?)
            }
            Self::Elsewhere(path) => {
                write_file(path, payload)?;
                let (file, kind) = (path.display(), T::KIND);
                writeln!(
                    out,
                    "{file}  not signed: nothing has changed. To sign this {kind} elsewhere and install it:"
                )?;
                let word = T::KIND.word();
                writeln!(out, "  glovebox policy sign {file} --type {word} --key OWNER.key -o {file}.dsse")?;
                writeln!(out, "  glovebox policy install {file}.dsse")?;
                return Ok(None);
            }
        };
        let envelope = DsseEnvelope::unsigned(T::TYPE, payload);
        let signature = key.sign(&envelope.signing_input()?).to_bytes();
        let keyid = VerifyingKey(key.verifying_key().to_bytes()).to_string();
        Ok(Some(envelope.with_signature(&keyid, &signature).to_bytes()?))
    }

    /// In an error: by what it was signed.
    pub(super) fn by(&self) -> String {
        match self {
            Self::Key(_, path) => format!("signed with {}, but not taken", path.display()),
            Self::Pin => "signed by the PIN's key, but not taken".to_owned(),
            Self::Elsewhere(_) => String::new(),
        }
    }
}
