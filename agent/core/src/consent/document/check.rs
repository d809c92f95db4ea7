//! The rules that documents share: counts, words, dates, codes, repeats.

use super::super::transform::{Parameter, TransformSpec};
use super::bundle::Text;
use super::error::{Fault, join};
use super::request::PrivacyNotice;
use crate::limits::{
    COUNTRIES_MAX, LANGUAGE_BYTES_MAX, LANGUAGES_MAX, LIST_PARAMETER_ITEMS_MAX, MAX_AGE_S_MIN,
    TEXT_BYTES_MAX, TRANSFORM_NAME_BYTES_MAX, TRANSFORM_PARAMETERS_MAX,
};
use crate::names::{SignalPath, WallTime};
use std::collections::HashMap;
use std::hash::Hash;

/// A rule that does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Place in the document.
    pub path: String,
    /// What is wrong there.
    pub fault: Fault,
}

pub(super) type Checked = Result<(), Complaint>;

impl Complaint {
    pub(super) fn new(path: impl Into<String>, fault: Fault) -> Self {
        Self { path: path.into(), fault }
    }

    pub(super) fn within(mut self, outer: &str) -> Self {
        self.path = join(outer, &self.path);
        self
    }
}

pub(super) fn rule(holds: bool, path: &str, words: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(Complaint::new(path, Fault::Rule(words))) }
}

pub(super) fn schema(version: u32) -> Checked {
    rule(version == 1, "schema_version", "must be 1; this agent knows no other")
}

pub(super) fn count(count: usize, min: usize, max: usize, path: &str) -> Checked {
    if (min..=max).contains(&count) {
        return Ok(());
    }
    Err(Complaint::new(path, Fault::Count { count, min, max }))
}

/// Runs `check` on each item with its path.
pub(super) fn each<T>(items: &[T], path: &str, check: impl Fn(&T) -> Checked) -> Checked {
    items
        .iter()
        .enumerate()
        .try_for_each(|(i, item)| check(item).map_err(|c| c.within(&format!("{path}[{i}]"))))
}

/// No two items with the same key.
pub(super) fn distinct<'a, T, K: Hash + Eq>(
    items: &'a [T],
    path: &str,
    field: &str,
    key: impl Fn(&'a T) -> K,
) -> Checked {
    let mut seen = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let here = join(&format!("{path}[{index}]"), field);
        if let Some(first) = seen.insert(key(item), here.clone()) {
            return Err(Complaint::new(here, Fault::Repeated { first }));
        }
    }
    Ok(())
}

/// Words that a person will read: one line, not blank, not endless, nothing that moves the cursor or turns the line around.
pub(super) fn words(text: &str, path: &str) -> Checked {
    rule(!text.trim().is_empty(), path, "is empty; the owner must be told it (GDPR Art. 13)")?;
    plain(text, path)
}

/// As [`words`], but may be empty.
pub(super) fn plain(text: &str, path: &str) -> Checked {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Complaint::new(path, Fault::TooLarge { bytes: text.len(), max: TEXT_BYTES_MAX }));
    }
    rule(!text.chars().any(hides), path, "holds a line end, a control or a direction character; leave it out")
}

/// A line end too: a company's words would go on as if they were the car's.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

pub(super) fn texts(texts: &[Text], min: usize, path: &str) -> Checked {
    count(texts.len(), min, LANGUAGES_MAX, path)?;
    each(texts, path, |text| {
        language(&text.language, "language")?;
        words(&text.text, "text")
    })?;
    distinct(texts, path, "language", |text| text.language.as_str())
}

/// The form of BCP 47 (RFC 5646): subtags of letters and digits.
pub(super) fn language(tag: &str, path: &str) -> Checked {
    let subtag = |s: &str| (1..=8).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric());
    let first = tag.split('-').next().unwrap_or_default();
    let fits = tag.len() <= LANGUAGE_BYTES_MAX
        && tag.split('-').all(subtag)
        && first.len() >= 2
        && first.bytes().all(|b| b.is_ascii_alphabetic());
    rule(fits, path, "must be a language tag of BCP 47, as `de` or `en-GB`")
}

pub(super) fn country(code: &str, path: &str) -> Checked {
    let fits = code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
    rule(fits, path, "must be two capital letters of ISO 3166-1, as `DE`")
}

pub(super) fn countries(codes: &[String], path: &str) -> Checked {
    count(codes.len(), 1, COUNTRIES_MAX, path)?;
    each(codes, path, |code| country(code, ""))?;
    distinct(codes, path, "", String::as_str)
}

fn is_web(text: &str) -> bool {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic())
}

/// A term of W3C DPV, in short (`dpv:Consent`) or as its IRI.
pub(super) fn term(text: &str, path: &str) -> Checked {
    words(text, path)?;
    let name = |part: &str, more: &[u8]| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let short = text.split_once(':').is_some_and(|(prefix, term)| name(prefix, b"-") && name(term, b"-_"));
    rule(
        short || is_web(text),
        path,
        "must be a term of DPV, as `dpv:Consent` or `https://w3id.org/dpv#Consent`",
    )
}

/// A non-negative ISO 8601 duration.
pub(super) fn duration(text: &str, path: &str) -> Checked {
    words(text, path)?;
    let fits = text.starts_with('P') && text.parse::<jiff::Span>().is_ok();
    rule(fits, path, "must be a duration of ISO 8601, as `P30D`")
}

pub(super) fn max_age(seconds: Option<u32>, path: &str) -> Checked {
    let fits = seconds.is_none_or(|seconds| seconds >= MAX_AGE_S_MIN);
    rule(fits, path, "must be at least 60 seconds, or left out")
}

pub(super) fn before(first: WallTime, second: WallTime, path: &str, words: &'static str) -> Checked {
    rule(first < second, path, words)
}

pub(super) fn notice(notice: &PrivacyNotice) -> Checked {
    words(&notice.uri, "privacy_notice.uri")?;
    // It becomes a link on the owner's screen: no scheme that runs or opens anything else.
    rule(
        is_web(&notice.uri),
        "privacy_notice.uri",
        "must be an `https://` address, in ASCII and without spaces",
    )?;
    language(&notice.language, "privacy_notice.language")
}

/// A leaf has no empty part: `Vehicle.` or `Vehicle..Speed` name none.
pub(super) fn leaf(signal: &SignalPath, path: &str) -> Checked {
    rule(!signal.as_str().split('.').any(str::is_empty), path, "must name a leaf, without empty parts")
}

pub(super) fn transforms(transforms: &[TransformSpec], max: usize, path: &str) -> Checked {
    count(transforms.len(), 0, max, path)?;
    each(transforms, path, |transform| {
        rule(identifier(&transform.op), "op", "must be a name: small letters, digits and `_`, at most 32")?;
        let names = transform.parameters.keys().all(|name| identifier(name));
        rule(names, "", "has a parameter whose name is not of small letters, digits and `_`, at most 32")?;
        count(transform.parameters.len(), 0, TRANSFORM_PARAMETERS_MAX, "")?;
        transform.parameters.values().try_for_each(|value| parameter(value, ""))
    })
}

fn identifier(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=TRANSFORM_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

fn parameter(value: &Parameter, path: &str) -> Checked {
    match value {
        Parameter::Text(text) => plain(text, path),
        Parameter::List(items) => {
            count(items.len(), 0, LIST_PARAMETER_ITEMS_MAX, path)?;
            items.iter().try_for_each(|item| parameter(item, path))
        }
        Parameter::Flag(_) | Parameter::Integer(_) | Parameter::Number(_) => Ok(()),
    }
}
