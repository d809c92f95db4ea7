//! JSON read strictly: size, depth and duplicate keys first, then the type, then the document's own rules.

use super::Document;
use super::error::{DocumentError, DocumentKind, Fault, join};
use crate::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX};
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// Reads a payload as the document `T`, without asking who signed it: for tools that are about to sign it.
///
/// # Errors
/// [`DocumentError`] names the place.
pub fn read<T: Document>(payload: &[u8]) -> Result<T, DocumentError> {
    let document: T = typed(T::KIND, payload)?;
    document.check().map_err(|c| DocumentError::new(T::KIND, c.path, c.fault))?;
    Ok(document)
}

/// Writes `document` as the payload bytes that are to be signed.
///
/// # Errors
/// If a number in it has no JSON form.
pub fn write<T: Document>(document: &T) -> Result<Vec<u8>, DocumentError> {
    pretty(T::KIND, document)
}

/// Indented JSON and a line end: a person reads these files.
pub(super) fn pretty<T: serde::Serialize>(kind: DocumentKind, value: &T) -> Result<Vec<u8>, DocumentError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|_| DocumentError::new(kind, "", Fault::Rule("holds a number that JSON cannot write")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Bounds, then one strict walk over everything, then serde, then that no struct was read from a list.
pub(super) fn typed<T: DeserializeOwned + Serialize>(
    kind: DocumentKind,
    bytes: &[u8],
) -> Result<T, DocumentError> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        let fault = Fault::TooLarge { bytes: bytes.len(), max: DOCUMENT_BYTES_MAX };
        return Err(DocumentError::new(kind, "", fault));
    }
    let shape = walk(kind, bytes)?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let document: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = safe_path(error.path());
        let fault = explain(error.inner(), &path);
        DocumentError::new(kind, path, fault)
    })?;
    by_name(kind, &shape, &document)?;
    Ok(document)
}

/// Serde reads a struct from a list of its fields too. By position nobody sees what is said, so it is refused.
/// What was read is written as [`write`] does: `to_value` would be another writer of each type in the program.
fn by_name<T: Serialize>(kind: DocumentKind, there: &Shape, document: &T) -> Result<(), DocumentError> {
    let meant = walk(kind, &pretty(kind, document)?)?;
    match listed(there, &meant) {
        Some(path) => Err(DocumentError::new(
            kind,
            path,
            Fault::Shape("must be an object with named fields".to_owned()),
        )),
        None => Ok(()),
    }
}

/// What a value is made of.
enum Shape {
    Plain,
    List(Vec<Shape>),
    Object(BTreeMap<String, Shape>),
}

/// The first place where an object is meant and a list stands.
fn listed(there: &Shape, meant: &Shape) -> Option<String> {
    match (there, meant) {
        (Shape::List(_), Shape::Object(_)) => Some(String::new()),
        (Shape::List(there), Shape::List(meant)) => there
            .iter()
            .zip(meant)
            .enumerate()
            .find_map(|(index, (there, meant))| Some(join(&format!("[{index}]"), &listed(there, meant)?))),
        (Shape::Object(there), Shape::Object(meant)) => {
            there.iter().find_map(|(key, there)| Some(join(safe_key(key), &listed(there, meant.get(key)?)?)))
        }
        _ => None,
    }
}

/// Depth and duplicate keys, everywhere: serde looks for them only in structs, not in the maps of a transform.
fn walk(kind: DocumentKind, bytes: &[u8]) -> Result<Shape, DocumentError> {
    let found = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let walked =
        Walk { depth: 0, found: &found }.deserialize(&mut json).and_then(|shape| json.end().map(|()| shape));
    walked.map_err(|error| match found.into_inner() {
        Some((path, fault)) => DocumentError::new(kind, path, fault),
        None => DocumentError::new(kind, "", syntax(&error)),
    })
}

fn syntax(error: &serde_json::Error) -> Fault {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default().to_owned();
    Fault::Syntax { line: error.line(), column: error.column(), what }
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    depth: usize,
    /// The fault, and its place as seen from where the walk has come back to.
    found: &'a RefCell<Option<(String, Fault)>>,
}

impl Walk<'_> {
    fn below(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    fn stop<E: serde::de::Error>(self, fault: Fault) -> E {
        *self.found.borrow_mut() = Some((String::new(), fault));
        E::custom("refused")
    }

    /// The fault lies in this step of here.
    fn at<E>(self, step: &str, error: E) -> E {
        if let Some((path, _)) = self.found.borrow_mut().as_mut() {
            *path = join(step, path);
        }
        error
    }

    fn check_depth<E: serde::de::Error>(self) -> Result<(), E> {
        if self.depth < DOCUMENT_DEPTH_MAX {
            return Ok(());
        }
        Err(self.stop(Fault::TooDeep { max: DOCUMENT_DEPTH_MAX }))
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Shape;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Plain)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Plain)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Plain)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Plain)
    }
    fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Plain)
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<Shape, E> {
        Err(self.stop(Fault::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        self.check_depth()?;
        let mut items = Vec::new();
        let step = |index: usize| format!("[{index}]");
        while let Some(item) =
            list.next_element_seed(self.below()).map_err(|error| self.at(&step(items.len()), error))?
        {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        self.check_depth()?;
        let mut fields = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if fields.contains_key(&key) {
                map.next_value::<IgnoredAny>()?;
                return Err(self.at(safe_key(&key), self.stop(Fault::DuplicateKey)));
            }
            let field = map.next_value_seed(self.below()).map_err(|error| self.at(safe_key(&key), error))?;
            fields.insert(key, field);
        }
        Ok(Shape::Object(fields))
    }
}

/// Keys come from outside too: one that looks like no field name is not repeated.
fn safe_key(key: &str) -> &str {
    let plain = key.len() <= 40 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain && !key.is_empty() { key } else { "…" }
}

fn safe_path(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |outer, segment| match segment {
        Segment::Seq { index } => join(&outer, &format!("[{index}]")),
        Segment::Map { key } => join(&outer, safe_key(key)),
        Segment::Enum { variant } => join(&outer, safe_key(variant)),
        Segment::Unknown => outer,
    })
}

/// Serde's words with the document's own values left out: a value may be a person's.
fn explain(error: &serde_json::Error, path: &str) -> Fault {
    // It is JSON, or the walk before had said so: serde calls a wrong type for an enum a fault of syntax.
    if !error.is_data() {
        return Fault::Shape(fallback(path).to_owned());
    }
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(head, _)| head);
    let tail = |mark: &str| message.rsplit_once(mark).map(|(_, tail)| tail.to_owned());
    let words = if message.starts_with("missing field ") {
        format!("{message}; add it")
    } else if message.starts_with("unknown field ") {
        format!("unknown field; known here: {}", tail("`, expected ").unwrap_or_else(|| "none".to_owned()))
    } else if message.starts_with("unknown variant ") {
        format!("unknown word; known here: {}", tail("`, expected ").unwrap_or_else(|| "none".to_owned()))
    } else if message.starts_with("invalid ") {
        format!("must be {}", plain(&tail(", expected ").unwrap_or_else(|| "something else".to_owned())))
    } else if message.starts_with("data did not match any variant") {
        "must be a boolean, number, text or a list of these".to_owned()
    } else if message.starts_with("not ") && message.ends_with(" hexadecimal digits") {
        message.replacen("not", "must be", 1)
    } else if let Some(tail) = tail(" holds the character ") {
        format!("holds the character {tail}")
    } else if let Some(tail) = tail(" characters, must have ") {
        format!("must have {tail} characters")
    } else {
        fallback(path).to_owned()
    };
    Fault::Shape(words)
}

/// Serde's names of types in words.
fn plain(expected: &str) -> &str {
    match expected {
        "u64" => "a whole number, not below 0",
        "u32" => "a whole number from 0 to 4294967295",
        "f64" => "a number",
        "a sequence" => "a list",
        "a string" => "a text",
        "a UUID string in the hyphenated format" => "a UUID with hyphens",
        other if other.starts_with("struct ") || other.contains("tagged enum") => "an object",
        other => other,
    }
}

fn fallback(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "issued" | "expires" | "not_before" | "not_after" | "event_time" => {
            "must be a time of RFC 3339: `2026-11-22T10:00:00Z`"
        }
        "record_id" | "supersedes" => "must be a UUID with hyphens",
        "target" => "must name one car or one group: `{\"vehicle\": \"car-1\"}`",
        "act" | "category" | "decision" | "event_state" | "necessity" | "status" => {
            "must be one of the words for it, as a text"
        }
        _ => "does not fit its field",
    }
}
