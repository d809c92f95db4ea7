//! `glovebox policy show`: a document in words, its signature unchecked.

use super::super::consent::printable;
use super::Kind;
use super::document::Held;
use crate::key_store::thumb;
use anyhow::Context as _;
use glovebox_core::consent::document::bundle::{
    Bundle, Directive, HpkeStatement, RecipientStatus, SigningKeyStatement, Target,
};
use glovebox_core::consent::document::enrolment::OwnerEnrolment;
use glovebox_core::consent::document::record::ConsentRecord;
use glovebox_core::consent::document::request::{Necessity, Request};
use glovebox_core::consent::document::{DsseEnvelope, describe, read};
use glovebox_core::consent::plain::{moment, period, term};
use glovebox_core::consent::transform::transforms;
use glovebox_core::names::Digest;
use glovebox_core::seal::key_id;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

pub(super) const LEARN: &str = "\
Examples:
  glovebox policy show bundle.dsse                all of a bundle, in words
  glovebox policy show r.json                     a request before it is signed
  glovebox policy show b.dsse --json | jq '.payload.directives'

Exit codes:
  0  shown
  2  it cannot be read, or is no document of Glovebox";

/// What can be done about signatures, which are not looked at here.
fn unchecked(held: &Held, file: &Path) -> String {
    let (place, key) = (file.display(), held.kind.trusted());
    match held.envelope {
        None => "Not signed yet: `glovebox policy sign` does.".to_owned(),
        Some(_) => format!(
            "Signatures are not checked here: `glovebox policy verify {place} --authority KEY.pub` does, with {key}."
        ),
    }
}

pub(super) fn run(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let place = || file.display().to_string();
    let held = Held::open(file)?;
    let text = if json { as_json(&held) } else { in_words(&held) }.with_context(place)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    if !json {
        writeln!(out, "{}", unchecked(&held, file))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The payload beside what the envelope says; documents inside stay as they are.
pub(super) fn as_json(held: &Held) -> anyhow::Result<String> {
    let signatures = held.envelope.iter().flat_map(|envelope| &envelope.signatures);
    let value = serde_json::json!({
        "type": held.kind.payload_type(),
        "sha256": Digest::of(&held.payload),
        "signed": held.envelope.is_some(),
        "keyids": signatures.map(|signature| &signature.keyid).collect::<Vec<_>>(),
        "payload": serde_json::from_slice::<serde_json::Value>(&held.payload)?,
    });
    Ok(serde_json::to_string_pretty(&value)?)
}

pub(super) fn in_words(held: &Held) -> anyhow::Result<String> {
    let payload = &held.payload;
    let mut text = String::new();
    match held.kind {
        Kind::Bundle => {
            let statement = held.envelope.as_ref().and_then(|envelope| envelope.signing_key.as_deref());
            let statement = statement.map(inner::<SigningKeyStatement>).transpose()?;
            bundle(&mut text, &read(payload)?, statement.as_ref())?;
        }
        Kind::Request => request(&mut text, &read(payload)?)?,
        Kind::SigningKey => signing_key(&mut text, &read(payload)?)?,
        Kind::HpkeKey => {
            let statement: HpkeStatement = read(payload)?;
            write!(text, "HPKE-key statement of {}", statement.recipient)?;
            hpke_key(&mut text, &statement)?;
        }
        Kind::Consent => text.push_str(&describe(&read::<ConsentRecord>(payload)?)),
        Kind::Enrolment => text.push_str(&read::<OwnerEnrolment>(payload)?.describe()),
    }
    writeln!(text, "SHA-256 of the document: {}", Digest::of(payload))?;
    Ok(printable(&text))
}

fn inner<T: glovebox_core::consent::document::Document>(envelope: &DsseEnvelope) -> anyhow::Result<T> {
    Ok(read(&envelope.payload_bytes()?)?)
}

fn signing_key(text: &mut String, statement: &SigningKeyStatement) -> fmt::Result {
    let SigningKeyStatement { key, serial, not_before, not_after, .. } = statement;
    writeln!(text, "signing-key statement, serial {serial}")?;
    writeln!(text, "  key {key} ({})", thumb(key))?;
    writeln!(text, "  may sign bundles issued from {} until {}", moment(*not_before), moment(*not_after))
}

fn hpke_key(text: &mut String, statement: &HpkeStatement) -> fmt::Result {
    let HpkeStatement { hpke_key, not_before, not_after, .. } = statement;
    let id = key_id(hpke_key);
    writeln!(
        text,
        "\n    sealed to {hpke_key} (key id {id}) from {} until {}",
        moment(*not_before),
        moment(*not_after)
    )
}

fn bundle(text: &mut String, bundle: &Bundle, statement: Option<&SigningKeyStatement>) -> anyhow::Result<()> {
    let target = match &bundle.target {
        Target::Vehicle(device) => format!("the car {device}"),
        Target::Group(group) => format!("the cars of group {group}"),
    };
    writeln!(text, "policy bundle, version {}, for {target}", bundle.version.0)?;
    writeln!(text, "  issued {}, data may leave until {}", moment(bundle.issued), moment(bundle.expires))?;
    let signed = statement.map_or_else(
        || "without a signing-key statement yet: no car takes it so".to_owned(),
        |s| format!("to be signed by {} (serial {}, until {})", s.key, s.serial, moment(s.not_after)),
    );
    writeln!(text, "  {signed}")?;
    for recipient in &bundle.recipients {
        let status = match recipient.status {
            RecipientStatus::Active => "active",
            RecipientStatus::Suspended => "SUSPENDED: nothing leaves for it",
        };
        let (id, name, country) = (&recipient.id, &recipient.name, &recipient.country);
        writeln!(text, "recipient {id}: {name}, {country}, {}, {status}", recipient.contact)?;
        write!(text, "    request key {} ({})", recipient.request_key, thumb(&recipient.request_key))?;
        for envelope in &recipient.hpke_keys {
            hpke_key(text, &inner(envelope)?)?;
        }
    }
    for (index, envelope) in bundle.requests.iter().enumerate() {
        let asked: Request = inner(envelope).with_context(|| format!("requests[{index}]"))?;
        request(text, &asked)?;
    }
    catalogue(text, bundle)?;
    for directive in &bundle.directives {
        writeln!(text, "directive: {}", directive_words(directive))?;
    }
    Ok(())
}

fn catalogue(text: &mut String, bundle: &Bundle) -> anyhow::Result<()> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &bundle.catalogue {
        let name = serde_json::to_value(entry.category)?.as_str().unwrap_or_default().to_owned();
        *counts.entry(name).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
    writeln!(text, "catalogue of {} signals: {}", bundle.catalogue.len(), counts.join(", "))?;
    for (entry, range) in bundle.catalogue.iter().filter_map(|entry| Some((entry, entry.plausible?))) {
        writeln!(text, "  {} leaves only if it reads {} to {} alone", entry.signal, range.min, range.max)?;
    }
    for entry in bundle.catalogue.iter().filter(|entry| !entry.floor.is_empty()) {
        writeln!(text, "  usual limit of {}: {}", entry.signal, transforms(&entry.floor))?;
    }
    Ok(())
}

fn directive_words(directive: &Directive) -> String {
    match directive {
        Directive::Suspend { recipient, request: None } => format!("nothing leaves for {recipient}"),
        Directive::Suspend { recipient, request: Some(id) } => {
            format!("nothing leaves for {recipient} by its request {id}")
        }
        Directive::Drop { signal } => format!("{signal} leaves for nobody"),
        Directive::Tighten { signal, transforms: list } => {
            format!("{signal} leaves at most so for anybody: {}", transforms(list))
        }
        Directive::RequireMinVersion { version } => format!("agents before {version} send nothing"),
    }
}

fn request(text: &mut String, request: &Request) -> fmt::Result {
    let Request { id, version, recipient, purpose, .. } = request;
    writeln!(
        text,
        "request {id}, version {version}: {recipient} asks, for {} ({})",
        purpose.id,
        term(&purpose.code)
    )?;
    for words in &purpose.text {
        writeln!(text, "    {}: \"{}\"", words.language, words.text)?;
    }
    for asked in &request.signals {
        let optional = if asked.necessity == Necessity::Optional { "; optional" } else { "" };
        writeln!(text, "  + {}: {}{optional}", asked.signal, transforms(&asked.transforms))?;
    }
    if let Some(event) = &request.event {
        writeln!(text, "    all of it {event}")?;
    }
    let yes_no = |flag| if flag { "yes" } else { "no" };
    let storage = request.storage_locations.join(", ");
    writeln!(
        text,
        "    kept for {} in {storage}, legal ground: {}",
        period(&request.retention_period),
        term(&request.lawful_basis)
    )?;
    let onward = &request.onward_disclosure;
    let onward = if onward.is_empty() { "nobody".to_owned() } else { onward.join(", ") };
    let (profiling, automated) = (yes_no(request.profiling), yes_no(request.automated_decision));
    writeln!(text, "    passed on to {onward}; profiling: {profiling}; automated decisions: {automated}")?;
    let notice = &request.privacy_notice;
    let law = request.jurisdiction.join(", ");
    writeln!(text, "    notice {} ({}), under the law of {law}", notice.uri, notice.language)?;
    if !request.incentive.is_empty() {
        writeln!(text, "    in return: {}", request.incentive)?;
    }
    let age = request.batch_age_s;
    if let Some(seconds) = request.max_age_s {
        writeln!(text, "    what could not be sent within {seconds} s is dropped in the car")?;
    }
    writeln!(text, "    a batch every {age} s; data may leave until {}", moment(request.expires))
}
