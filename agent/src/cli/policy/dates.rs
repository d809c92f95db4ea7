//! What of a document is over: its signature stays good, so nobody would notice before nothing leaves.

use glovebox_core::consent::document::bundle::{Bundle, HpkeStatement, SigningKeyStatement};
use glovebox_core::consent::document::enrolment::OwnerEnrolment;
use glovebox_core::consent::document::record::ConsentRecord;
use glovebox_core::consent::document::request::Request;
use glovebox_core::consent::document::{Document, DocumentError, DsseEnvelope, read};
use glovebox_core::consent::plain::moment;
use glovebox_core::names::WallTime;
use std::io::Write as _;
use std::path::Path;

use super::Kind;

/// Says on standard error what of `payload` is over at `now`; whether anything is.
///
/// # Errors
/// If it is no document of that kind, or cannot be said.
pub(super) fn tell(file: &Path, document: (Kind, &[u8]), now: WallTime) -> anyhow::Result<bool> {
    let mut stderr = std::io::stderr().lock();
    let all = over(document, now)?;
    for what in &all {
        writeln!(stderr, "{}: {what}", file.display())?;
    }
    Ok(!all.is_empty())
}

pub(super) fn over((kind, payload): (Kind, &[u8]), now: WallTime) -> Result<Vec<String>, DocumentError> {
    let said =
        |(field, end)| format!("{field}: this was over at {}: no car goes by it any more", moment(end));
    Ok(ends(kind, payload)?.into_iter().filter(|(_, end)| *end <= now).map(said).collect())
}

/// Each date on which something in the document ends, by its field.
fn ends(kind: Kind, payload: &[u8]) -> Result<Vec<(String, WallTime)>, DocumentError> {
    let of = |field: &str, end| Ok(vec![(field.to_owned(), end)]);
    match kind {
        Kind::Bundle => of_bundle(&read(payload)?),
        Kind::Request => of("expires", read::<Request>(payload)?.expires),
        Kind::SigningKey => of("not_after", read::<SigningKeyStatement>(payload)?.not_after),
        Kind::HpkeKey => of("not_after", read::<HpkeStatement>(payload)?.not_after),
        Kind::Consent => of("not_after", read::<ConsentRecord>(payload)?.not_after),
        Kind::Enrolment => of("not_after", read::<OwnerEnrolment>(payload)?.not_after),
    }
}

/// Of old HPKE keys the last one counts: the others are there for what was sealed before.
fn of_bundle(bundle: &Bundle) -> Result<Vec<(String, WallTime)>, DocumentError> {
    let mut found = vec![("expires".to_owned(), bundle.expires)];
    for (index, recipient) in bundle.recipients.iter().enumerate() {
        let keys: Result<Vec<HpkeStatement>, _> = recipient.hpke_keys.iter().map(inner).collect();
        let last = keys?.into_iter().map(|key| key.not_after).max();
        found.extend(last.map(|end| (format!("recipients[{index}].hpke_keys"), end)));
    }
    for (index, envelope) in bundle.requests.iter().enumerate() {
        found.push((format!("requests[{index}].expires"), inner::<Request>(envelope)?.expires));
    }
    Ok(found)
}

fn inner<T: Document>(envelope: &DsseEnvelope) -> Result<T, DocumentError> {
    read(&envelope.payload_bytes()?)
}
