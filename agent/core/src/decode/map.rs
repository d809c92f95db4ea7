//! Kuksa mapping files: VSS names of DBC signals. The only user of `serde_json` in decode.
//!
//! ```text
//! { "Vehicle": { "children": { "Speed": { "datatype": "float", …,
//!     "dbc2vss": { "signal": "DI_uiSpeed", "interval_ms": 100, "on_change": false, "transform": {…} } } } } }
//! ```
//!
//! `dbc` is an old name of `dbc2vss`; `vss2dbc` would write to the bus and is passed over. What is wrong in the file
//! itself is an error, as in Kuksa; what does not fit a database is told and leaves the entry out (see `leaves`).

mod transform;

pub use transform::{Pair, Scalar, Transform, VssLeaf};

use super::Notice;
use crate::limits::{DBC_NOTICES_MAX, MAPPING_FILE_BYTES_MAX};
use crate::names::SignalPath;
use serde_json::{Map, Value};

/// Why a mapping file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Larger than the bound.
    #[error("{place}: the mapping has {bytes} bytes, at most {max} are read")]
    TooLarge {
        /// The file.
        place: String,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Not JSON.
    #[error("{place}:{line}:{column}: this is not JSON ({what}); mend it there")]
    Syntax {
        /// The file.
        place: String,
        /// Where.
        line: usize,
        /// Where in the line.
        column: usize,
        /// The parser's words.
        what: String,
    },
    /// JSON that is not a mapping.
    #[error("{place}: {at}: {what}")]
    Content {
        /// The file.
        place: String,
        /// JSON path.
        at: String,
        /// What is wrong and what to write.
        what: String,
    },
}

/// A mapping file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapping {
    /// The file, as given.
    pub place: String,
    /// By path.
    pub entries: Vec<Mapped>,
}

/// One VSS leaf with a DBC signal.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    /// Its VSS path.
    pub path: SignalPath,
    /// Where it is in the file: JSON path of the mapping object.
    pub at: String,
    /// Name of the DBC signal.
    pub signal: String,
    /// Shortest time between two values that the file asks for.
    pub interval_ms: Option<u64>,
    /// Whether the file asks for changed values only.
    pub on_change: Option<bool>,
    /// How the DBC value becomes the VSS value; `None`: it is the value.
    pub transform: Option<Transform>,
    /// What the VSS says of the leaf.
    pub leaf: VssLeaf,
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// [`MapError`] names the place and the JSON path.
    pub fn parse(bytes: &[u8], place: &str) -> Result<(Self, Vec<Notice>), MapError> {
        if bytes.len() > MAPPING_FILE_BYTES_MAX {
            let (place, bytes) = (place.to_owned(), bytes.len());
            return Err(MapError::TooLarge { place, bytes, max: MAPPING_FILE_BYTES_MAX });
        }
        let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
        let tree: Value = serde_json::from_slice(bytes).map_err(|error| MapError::Syntax {
            place: place.to_owned(),
            line: error.line(),
            column: error.column(),
            what: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        })?;
        let mut reader = Reader { place, entries: Vec::new(), notices: Vec::new() };
        let roots = reader.object(&tree, "the file")?;
        for (name, node) in roots {
            reader.node(node, name, name)?;
        }
        let Reader { mut entries, mut notices, .. } = reader;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        if entries.is_empty() {
            let what = "no leaf has `dbc2vss`: the mapping names nothing".to_owned();
            notices.push(Notice { place: place.to_owned(), line: 0, column: 0, what });
        }
        Ok((Self { place: place.to_owned(), entries }, notices))
    }

    /// File and JSON path of an entry.
    #[must_use]
    pub fn place_of(&self, mapped: &Mapped) -> String {
        format!("{}: {}", self.place, mapped.at)
    }
}

struct Reader<'p> {
    place: &'p str,
    entries: Vec<Mapped>,
    notices: Vec<Notice>,
}

impl Reader<'_> {
    fn fault(&self, at: &str, what: impl Into<String>) -> MapError {
        MapError::Content { place: self.place.to_owned(), at: at.to_owned(), what: what.into() }
    }

    fn object<'v>(&self, value: &'v Value, at: &str) -> Result<&'v Map<String, Value>, MapError> {
        value.as_object().ok_or_else(|| self.fault(at, "must be an object of a VSS tree in JSON"))
    }

    /// A branch or a leaf; the nesting is bounded by the JSON parser.
    fn node(&mut self, node: &Value, path: &str, at: &str) -> Result<(), MapError> {
        let node = self.object(node, at)?;
        let old = node.get("dbc").map(|entry| ("dbc", entry));
        let new = node.get("dbc2vss").map(|entry| ("dbc2vss", entry));
        if let (Some(_), Some(_)) = (old, new) {
            return Err(self.fault(at, "has `dbc` and `dbc2vss`, which mean the same; leave one out"));
        }
        let children = node.get("children");
        match (old.or(new), children) {
            (Some((key, _)), Some(_)) => {
                return Err(
                    self.fault(&format!("{at}.{key}"), "stands at a branch; only leaves have signals")
                );
            }
            (Some((key, entry)), None) => self.entry((node, at), (entry, key), path)?,
            (None, _) => {}
        }
        let Some(children) = children else { return Ok(()) };
        let below = format!("{at}.children");
        for (name, child) in self.object(children, &below)? {
            self.node(child, &format!("{path}.{name}"), &format!("{below}.{name}"))?;
        }
        Ok(())
    }

    /// The mapping object `key` of a leaf.
    fn entry(
        &mut self,
        (leaf, leaf_at): (&Map<String, Value>, &str),
        (entry, key): (&Value, &str),
        path: &str,
    ) -> Result<(), MapError> {
        let at = &format!("{leaf_at}.{key}");
        let entry = self.object(entry, at)?;
        let path = SignalPath::new(path).map_err(|error| self.fault(at, error.to_string()))?;
        let signal = match entry.get("signal") {
            Some(Value::String(signal)) if !signal.is_empty() => signal.clone(),
            Some(_) => return Err(self.fault(&format!("{at}.signal"), "must be the name of a DBC signal")),
            None => return Err(self.fault(at, "has no `signal`; add the name of the DBC signal")),
        };
        let interval_ms = match entry.get("interval_ms") {
            None => None,
            Some(value) => Some(value.as_u64().ok_or_else(|| {
                self.fault(&format!("{at}.interval_ms"), "must be a whole number of milliseconds, 0 or more")
            })?),
        };
        let on_change = match entry.get("on_change") {
            None => None,
            Some(value) => Some(
                value
                    .as_bool()
                    .ok_or_else(|| self.fault(&format!("{at}.on_change"), "must be true or false"))?,
            ),
        };
        for key in entry.keys() {
            if !matches!(key.as_str(), "signal" | "interval_ms" | "on_change" | "transform") {
                self.tell(&format!("{at}.{key}"), "the key is not known and left out");
            }
        }
        let transform = match entry.get("transform") {
            None => None,
            Some(transform) => Some(self.transform(transform, leaf, &format!("{at}.transform"))?),
        };
        let leaf = self.vss_leaf(leaf, leaf_at);
        self.entries.push(Mapped {
            path,
            at: at.to_owned(),
            signal,
            interval_ms,
            on_change,
            transform,
            leaf,
        });
        Ok(())
    }

    fn tell(&mut self, at: &str, what: &str) {
        if self.notices.len() < DBC_NOTICES_MAX {
            let what = format!("{at}: {what}");
            self.notices.push(Notice { place: self.place.to_owned(), line: 0, column: 0, what });
        }
    }
}
