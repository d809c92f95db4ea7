//! A document for commands that look at it: signed, or the bare payload that is about to be.

use super::{Kind, kind_of, read_file};
use anyhow::{Context as _, bail};
use glovebox_core::consent::document::bundle::{Bundle, HpkeStatement, SigningKeyStatement};
use glovebox_core::consent::document::enrolment::OwnerEnrolment;
use glovebox_core::consent::document::record::ConsentRecord;
use glovebox_core::consent::document::request::Request;
use glovebox_core::consent::document::{Document, DocumentError, DsseEnvelope, read};
use std::path::Path;

/// What a file holds. No signature was checked.
pub(in crate::cli) struct Held {
    pub(in crate::cli) kind: Kind,
    /// The exact bytes that are signed.
    pub(in crate::cli) payload: Vec<u8>,
    /// `None`: a bare payload.
    pub(in crate::cli) envelope: Option<DsseEnvelope>,
}

impl Held {
    /// Reads a file; `-` is standard input.
    pub(in crate::cli) fn open(file: &Path) -> anyhow::Result<Self> {
        Self::of(read_file(file)?).with_context(|| file.display().to_string())
    }

    fn of(bytes: Vec<u8>) -> anyhow::Result<Self> {
        if let Some(kind) = bare(&bytes) {
            return Ok(Self { kind, payload: bytes, envelope: None });
        }
        if let Some(fault) = at_fault(&bytes) {
            return Err(fault.into());
        }
        let neither = "neither a signed document nor a payload that `glovebox policy sign` would take";
        let envelope = DsseEnvelope::parse(&bytes).context(neither)?;
        let kind = kind_of(&envelope)?;
        Ok(Self { kind, payload: envelope.payload_bytes()?, envelope: Some(envelope) })
    }

    pub(in crate::cli) fn read<T: Document>(&self) -> Result<T, DocumentError> {
        read(&self.payload)
    }
}

/// The envelope of a document that has to be signed.
///
/// # Errors
/// With the file, and the command that signs it if that is all that is missing.
pub(super) fn signed(bytes: &[u8], file: &Path) -> anyhow::Result<DsseEnvelope> {
    if let Some(kind) = bare(bytes) {
        let (place, word) = (file.display(), kind.word());
        bail!(
            "{place}: not signed yet: run `glovebox policy sign {place} --type {word} --key KEY.key -o {}`",
            file.with_extension("dsse").display()
        );
    }
    let is_bare = || {
        let value = serde_json::from_slice::<serde_json::Value>(bytes).ok();
        value.is_some_and(|value| value.get("schema_version").is_some() && value.get("payload").is_none())
    };
    DsseEnvelope::parse(bytes).with_context(|| match is_bare() {
        true => format!(
            "{}: not signed, and no document that could be: `glovebox policy sign` says why",
            file.display()
        ),
        false => file.display().to_string(),
    })
}

/// Why a payload is not taken as one of `wanted`, if it is of another kind or signed already.
pub(super) fn other_kind(bytes: &[u8], wanted: Kind) -> anyhow::Result<()> {
    match bare(bytes) {
        Some(kind) if kind != wanted => {
            let (is, no) = (kind.word(), wanted.word());
            bail!("this is of type {is}, not {no}: sign it with `--type {is}`")
        }
        _ if DsseEnvelope::parse(bytes).is_ok() => {
            bail!("this is signed already: sign the JSON that it was made of, or leave it as it is")
        }
        _ => Ok(()),
    }
}

/// The kind of a payload without envelope; the kinds have no document in common.
fn bare(bytes: &[u8]) -> Option<Kind> {
    let fits: [(Kind, bool); 6] = [
        (Kind::Bundle, read::<Bundle>(bytes).is_ok()),
        (Kind::Request, read::<Request>(bytes).is_ok()),
        (Kind::Consent, read::<ConsentRecord>(bytes).is_ok()),
        (Kind::Enrolment, read::<OwnerEnrolment>(bytes).is_ok()),
        (Kind::SigningKey, read::<SigningKeyStatement>(bytes).is_ok()),
        (Kind::HpkeKey, read::<HpkeStatement>(bytes).is_ok()),
    ];
    fits.into_iter().find_map(|(kind, fits)| fits.then_some(kind))
}

/// What is wrong with a payload, by a field that no other kind has.
fn at_fault(bytes: &[u8]) -> Option<DocumentError> {
    let value = serde_json::from_slice::<serde_json::Value>(bytes).ok()?;
    let has = |field| value.get(field).is_some();
    match () {
        () if has("catalogue") || has("directives") => read::<Bundle>(bytes).err(),
        () if has("pii_information") => read::<ConsentRecord>(bytes).err(),
        () if has("retention_period") || has("signals") => read::<Request>(bytes).err(),
        () if has("owner_key") => read::<OwnerEnrolment>(bytes).err(),
        () if has("hpke_key") => read::<HpkeStatement>(bytes).err(),
        () if has("serial") => read::<SigningKeyStatement>(bytes).err(),
        () => None,
    }
}

/// Two documents that can be compared.
pub(super) fn both(old: &Path, new: &Path) -> anyhow::Result<(Held, Held)> {
    let held = (Held::open(old)?, Held::open(new)?);
    if held.0.kind != held.1.kind {
        bail!(
            "{} is a {}, {} a {}: compare two of one kind",
            old.display(),
            held.0.kind.word(),
            new.display(),
            held.1.kind.word()
        );
    }
    Ok(held)
}
