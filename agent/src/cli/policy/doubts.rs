//! What a document reduces in a way that this agent cannot do: said where it is made, for where it is read nothing of that
//! signal leaves, and nobody is there to wonder.

use glovebox_core::consent::document::bundle::{Bundle, Directive};
use glovebox_core::consent::document::record::ConsentRecord;
use glovebox_core::consent::document::request::Request;
use glovebox_core::consent::document::{DocumentError, read};
use glovebox_core::consent::transform::{Rule, TransformFault, TransformSpec, fault};
use glovebox_core::decode::Predicate;
use glovebox_core::decode::predicate::DERIVED;
use glovebox_core::names::SignalPath;

/// A list of transforms that lets nothing through, and is not meant so.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// A parameter that no agent takes: a slip of the pen.
    Wrong(String),
    /// An agent of tomorrow may know better.
    Strange(String),
}

/// Of the document itself; a request inside a bundle is signed already, so all of it is merely strange.
pub(super) fn of_bundle(bundle: &Bundle) -> Result<Vec<Doubt>, DocumentError> {
    let mut found = Vec::new();
    for (index, entry) in bundle.catalogue.iter().enumerate() {
        look(&mut found, &format!("catalogue[{index}].floor"), &entry.floor);
    }
    for (index, directive) in bundle.directives.iter().enumerate() {
        if let Directive::Tighten { transforms, .. } = directive {
            look(&mut found, &format!("directives[{index}].transforms"), transforms);
        }
        let nobody = bears_on_nothing(directive, bundle);
        found.extend(nobody.map(|what| Doubt::Strange(format!("directives[{index}]: {what}"))));
    }
    for (index, envelope) in bundle.requests.iter().enumerate() {
        let request: Request = read(&envelope.payload_bytes()?)?;
        let within =
            |(Doubt::Wrong(what) | Doubt::Strange(what))| Doubt::Strange(format!("requests[{index}].{what}"));
        found.extend(of_request(&request).into_iter().map(within));
    }
    Ok(found)
}

/// A directive with a slip of the pen in it holds nobody back, and that nobody would notice.
fn bears_on_nothing(directive: &Directive, bundle: &Bundle) -> Option<String> {
    let (what, is_known) = match directive {
        Directive::Suspend { recipient, .. } => {
            (recipient.as_str(), bundle.recipients.iter().any(|known| known.id == *recipient))
        }
        Directive::Drop { signal } | Directive::Tighten { signal, .. } => {
            (signal.as_str(), bundle.catalogue.iter().any(|entry| entry.signal == *signal))
        }
        Directive::RequireMinVersion { .. } => return None,
    };
    (!is_known).then(|| format!("is about {what}, which nothing else in this bundle names: is it misspelt?"))
}

pub(super) fn of_request(request: &Request) -> Vec<Doubt> {
    let mut found = Vec::new();
    for (index, asked) in request.signals.iter().enumerate() {
        look(&mut found, &format!("signals[{index}].transforms"), &asked.transforms);
        let paths: Vec<&SignalPath> = request.signals.iter().map(|asked| &asked.signal).collect();
        found.extend(
            unfed(&asked.signal, &paths).map(|what| Doubt::Strange(format!("signals[{index}]: {what}"))),
        );
    }
    found
}

/// Why a derived signal leaves no car, if it does not: its name, or what it is made of is not asked for beside it.
fn unfed(signal: &SignalPath, beside: &[&SignalPath]) -> Option<String> {
    if !signal.as_str().starts_with(DERIVED) {
        return None;
    }
    let Some(predicate) = Predicate::named(signal) else {
        return Some("is no derived signal of this agent: `glovebox policy derived` lists them".to_owned());
    };
    let missing = predicate.made_of().find(|input| !beside.contains(&input))?;
    Some(format!("is made of {missing}, which is not asked for beside it: ask for it with `in_vehicle`"))
}

pub(super) fn of_record(record: &ConsentRecord) -> Vec<Doubt> {
    let mut found = Vec::new();
    for (index, pii) in record.pii_information.iter().enumerate() {
        look(&mut found, &format!("pii_information[{index}].transform"), &pii.transform);
    }
    found
}

fn look(found: &mut Vec<Doubt>, place: &str, list: &[TransformSpec]) {
    let before = found.len();
    for (index, spec) in list.iter().enumerate() {
        found.extend(fault(spec).map(|fault| match fault {
            TransformFault::UnknownOp { .. } => Doubt::Strange(format!("{place}[{index}]: {fault}")),
            _ => Doubt::Wrong(format!("{place}[{index}]: {fault}")),
        }));
    }
    let is_meant = list.iter().any(|spec| matches!(spec.op.as_str(), "drop" | "in_vehicle"));
    if found.len() == before && !is_meant && Rule::of(list) == Rule::Deny {
        let what = "no two of these go together: they have no common coarsening, or a cell is no number";
        found.push(Doubt::Strange(format!("{place}: {what}")));
    }
}
