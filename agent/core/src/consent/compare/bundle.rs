//! Two policy bundles: what each allows at most, and what the authority says otherwise.

use super::super::document::bundle::{Bundle, CatalogueEntry, Directive, Recipient, RecipientStatus};
use super::super::document::request::Request;
use super::super::document::{DocumentError, read};
use super::super::plain::period;
use super::request::{asked, dates, promises, signals};
use super::{About, Change, Direction, Found, Reach, Said};
use crate::consent::category::{Category, is_place};
use crate::consent::transform::TransformSpec;
use crate::consent::transform::transforms;
use crate::names::{Digest, PurposeId, RecipientId, SignalPath};
use std::collections::{BTreeMap, BTreeSet};

/// A bundle with its requests read, by recipient and purpose.
struct Opened<'a> {
    bundle: &'a Bundle,
    requests: BTreeMap<(RecipientId, PurposeId), (Digest, Request)>,
}

/// Who would get more or less if `new` came after `old`. Signatures are not looked at.
///
/// # Errors
/// If a request in one of them cannot be read.
pub fn bundles(old: &Bundle, new: &Bundle) -> Result<Vec<Change>, DocumentError> {
    let (old, new) = (Opened::of(old)?, Opened::of(new)?);
    let mut found = Found::default();
    whole(&mut found, (old.bundle, new.bundle));
    for id in ids(&old, &new) {
        recipient(&mut found, id, (old.recipient(id), new.recipient(id)));
    }
    let keys: BTreeSet<_> = old.requests.keys().chain(new.requests.keys()).collect();
    for key in keys {
        flow(&mut found, key, (&old, &new));
    }
    catalogue(&mut found, (old.bundle, new.bundle));
    Ok(found.sorted())
}

/// Why no car that has `old` in force takes `new`, as far as versions say.
///
/// # Errors
/// If a request in one of them cannot be read.
pub fn refusals(old: &Bundle, new: &Bundle) -> Result<Vec<String>, DocumentError> {
    let mut all = Vec::new();
    if new.version <= old.version {
        let (is, was) = (new.version.0, old.version.0);
        all.push(format!("version {is} is not above {was}: raise it (`policy new bundle --policy-version`)"));
    }
    let (old, new) = (Opened::of(old)?, Opened::of(new)?);
    let requests = |opened: Opened<'_>| opened.requests.into_values().collect::<Vec<_>>();
    let before = requests(old);
    for (digest, asked) in requests(new) {
        let same = |it: &&(Digest, Request)| it.1.recipient == asked.recipient && it.1.id == asked.id;
        let Some((was, old)) = before.iter().find(same) else { continue };
        if asked.version < old.version || (asked.version == old.version && *was != digest) {
            let Request { recipient, id, version, .. } = &asked;
            all.push(format!(
                "request {id} of {recipient} is another document, and its version {version} is not above {}: raise it \
                 (`policy new request --request-version`)",
                old.version
            ));
        }
    }
    Ok(all)
}

impl<'a> Opened<'a> {
    fn of(bundle: &'a Bundle) -> Result<Self, DocumentError> {
        let mut requests = BTreeMap::new();
        for (index, envelope) in bundle.requests.iter().enumerate() {
            let place = |error: DocumentError| error.within(&format!("requests[{index}]"));
            let payload = envelope.payload_bytes().map_err(place)?;
            let request: Request = read(&payload).map_err(place)?;
            let key = (request.recipient.clone(), request.purpose.id.clone());
            requests.insert(key, (Digest::of(&payload), request));
        }
        Ok(Self { bundle, requests })
    }

    fn recipient(&self, id: &RecipientId) -> Option<&'a Recipient> {
        self.bundle.recipients.iter().find(|recipient| recipient.id == *id)
    }

    /// What may leave of one signal at most: as `effective` decides, but for what only a car knows.
    fn reach(&self, key: &(RecipientId, PurposeId), signal: &SignalPath) -> Reach {
        let Some((_, request)) = self.requests.get(key) else { return Reach::Nothing("not asked for") };
        let Reach::Reduced(mut list) = asked(Some(request), signal) else {
            return Reach::Nothing("not asked for");
        };
        match self.recipient(&key.0) {
            None => return Reach::Nothing("the recipient is not named"),
            Some(recipient) if recipient.status != RecipientStatus::Active => {
                return Reach::Nothing("the recipient is suspended");
            }
            Some(_) => {}
        }
        let entry = self.bundle.catalogue.iter().find(|entry| entry.signal == *signal);
        let Some(entry) = entry.filter(|entry| entry.category != Category::Unknown) else {
            return Reach::Nothing("the catalogue does not say what it is");
        };
        list.extend(entry.floor.iter().cloned());
        for directive in &self.bundle.directives {
            match bears(directive, request, signal) {
                Some(Reach::Reduced(tighter)) => list.extend(tighter),
                Some(nothing) => return nothing,
                None => {}
            }
        }
        list.dedup();
        Reach::Reduced(list)
    }
}

/// What a directive does to this signal of this request.
fn bears(directive: &Directive, request: &Request, on: &SignalPath) -> Option<Reach> {
    match directive {
        Directive::Suspend { recipient, request: None } if *recipient == request.recipient => {
            Some(Reach::Nothing("the recipient is suspended"))
        }
        Directive::Suspend { recipient, request: Some(id) }
            if *recipient == request.recipient && *id == request.id =>
        {
            Some(Reach::Nothing("the request is suspended"))
        }
        Directive::Drop { signal } if signal == on => Some(Reach::Nothing("dropped for everybody")),
        Directive::Tighten { signal, transforms } if signal == on => Some(Reach::Reduced(transforms.clone())),
        _ => None,
    }
}

fn ids<'a>(old: &Opened<'a>, new: &Opened<'a>) -> BTreeSet<&'a RecipientId> {
    old.bundle.recipients.iter().chain(&new.bundle.recipients).map(|recipient| &recipient.id).collect()
}

fn whole(found: &mut Found, (old, new): (&Bundle, &Bundle)) {
    let all = About::default();
    let version = format!("version {} (was: {})", new.version.0, old.version.0);
    found.other(all, (&old.version, &new.version), &version);

    found.other(all, (&old.issued, &new.issued), &format!("issued {} (was: {})", new.issued, old.issued));
    found.other(all, (&old.target, &new.target), "is for other cars");
    dates(found, all, (&old.expires, &new.expires), "data may leave until");
    let least = |bundle: &Bundle| -> BTreeSet<String> {
        let version = |directive: &Directive| match directive {
            Directive::RequireMinVersion { version } => Some(version.clone()),
            _ => None,
        };
        bundle.directives.iter().filter_map(version).collect()
    };
    for (direction, what, here, there) in [
        (Direction::Less, "now send nothing", least(new), least(old)),
        (Direction::More, "are no longer kept from sending", least(old), least(new)),
    ] {
        for version in here.difference(&there) {
            found.add(all, direction, format!("agents before {version} {what}"));
        }
    }
}

fn recipient(found: &mut Found, id: &RecipientId, both: (Option<&Recipient>, Option<&Recipient>)) {
    let about = About { recipient: Some(id), ..About::default() };
    let (old, new) = match both {
        (Some(old), Some(new)) => (old, new),
        (None, Some(new)) => {
            return found.add(
                about,
                Direction::Other,
                format!("a new recipient: {}, {}", new.name, new.country),
            );
        }
        (Some(_), None) => {
            return found.add(about, Direction::Less, "is not named any more: nothing leaves for it");
        }
        (None, None) => return,
    };
    found.other(about, (&old.name, &new.name), &format!("is called {} (was: {})", new.name, old.name));
    found.other(
        about,
        (&old.contact, &new.contact),
        &format!("contact {} (was: {})", new.contact, old.contact),
    );
    found.other(about, (&old.country, &new.country), &format!("in {} (was: {})", new.country, old.country));
    let rekeyed = "another request key: what was granted to the old one does not hold";
    if old.request_key != new.request_key {
        found.add(about, Direction::Less, rekeyed);
    }
    found.other(about, (&old.hpke_keys, &new.hpke_keys), "batches are sealed to other keys");
    let active = |recipient: &Recipient| recipient.status == RecipientStatus::Active;
    let what = if active(new) { "is active again" } else { "is suspended: nothing leaves for it" };
    found.ordered(about, &active(old), &active(new), Said { greater: Direction::More, what });
}

fn flow(found: &mut Found, key: &(RecipientId, PurposeId), (old, new): (&Opened<'_>, &Opened<'_>)) {
    let about = About { recipient: Some(&key.0), purpose: Some(&key.1), signal: None };
    let both = (old.requests.get(key), new.requests.get(key));
    let asked: BTreeSet<&SignalPath> = match both {
        (Some((_, old)), Some((_, new))) => signals(old, new),
        (Some((_, one)), None) | (None, Some((_, one))) => signals(one, one),
        (None, None) => return,
    };
    for signal in asked {
        found.reach(
            About { signal: Some(signal), ..about },
            &old.reach(key, signal),
            &new.reach(key, signal),
        );
    }
    if let (None, Some((_, request))) = both {
        found.add(about, Direction::Other, format!("of what is new: {}", promised(request)));
    }
    if let (Some((was, old)), Some((is, new))) = both {
        promises(found, about, (old, new));
        if was != is {
            let what = "the request is another document: what was granted waits until the owner agrees to the new one";
            found.add(about, Direction::Other, what);
        }
    }
}

/// What becomes of the data of a request that is new, which is as much a part of the decision as the signals.
fn promised(request: &Request) -> String {
    let mut all = vec![format!(
        "kept for {} in {}",
        period(&request.retention_period),
        request.storage_locations.join(", ")
    )];
    all.extend(request.event.as_ref().map(ToString::to_string));
    let passed_on = &request.onward_disclosure;
    all.extend((!passed_on.is_empty()).then(|| format!("passed on to {}", passed_on.join(", "))));
    all.extend(request.profiling.then(|| "profiling".to_owned()));
    all.extend(request.automated_decision.then(|| "automated decisions".to_owned()));
    all.join("; ")
}

/// What the catalogue says, beside floors, which count in what each recipient gets.
fn catalogue(found: &mut Found, (old, new): (&Bundle, &Bundle)) {
    let before: BTreeMap<&SignalPath, &CatalogueEntry> =
        old.catalogue.iter().map(|entry| (&entry.signal, entry)).collect();
    for entry in &new.catalogue {
        let Some(old) = before.get(&entry.signal) else { continue };
        let about = About { signal: Some(&entry.signal), ..About::default() };
        let category = |entry: &CatalogueEntry| match entry.category {
            Category::Unknown => Category::Unknown,
            _ if is_place(&entry.signal) => Category::Location,
            listed => listed,
        };
        if category(old) != category(entry) {
            let (is, was) = (category(entry).id(), category(old).id());
            let what = format!("is {is} (was: {was}): what was granted of it waits for the owner");
            found.add(about, Direction::Less, what);
        }
        found.other(about, (&old.labels, &entry.labels), "has other labels");
        if old.plausible != entry.plausible {
            found.add(about, Direction::Other, format!("{} (was: {})", range(entry), range(old)));
        }
        if old.floor != entry.floor {
            let (is, was) = (floor(&entry.floor), floor(&old.floor));
            found.reach(about, &Reach::Reduced(old.floor.clone()), &Reach::Reduced(entry.floor.clone()));
            if let Some(last) = found.0.last_mut() {
                last.what = format!("usual limit, unless the owner waives it: {is} (was: {was})");
            }
        }
    }
}

fn floor(list: &[TransformSpec]) -> String {
    if list.is_empty() { "none".to_owned() } else { transforms(list) }
}

fn range(entry: &CatalogueEntry) -> String {
    entry.plausible.map_or("any value is plausible".to_owned(), |range| {
        format!("plausible from {} to {}", range.min, range.max)
    })
}
