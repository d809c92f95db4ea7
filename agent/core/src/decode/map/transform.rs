//! What a mapping file says of a value beside its name: `transform`, and the VSS leaf's unit, range and allowed values.
//!
//! ```text
//! "transform": { "math": "floor(x*40 - 100)" }
//! "transform": { "mapping": [ { "from": "LIGHT_ON", "to": true }, { "from": 3, "to": false } ] }
//! "datatype": "int8", "unit": "percent", "min": -100, "max": 100, "allowed": ["ACTIVE", "INACTIVE"]
//! ```

use super::{MapError, Reader};
use crate::decode::math::Expression;
use crate::limits::{MAPPING_PAIRS_MAX, MAPPING_TEXT_BYTES_MAX};
use serde_json::{Map, Value};

/// How a DBC value becomes the VSS value.
#[derive(Debug, Clone, PartialEq)]
pub enum Transform {
    /// An expression over the physical value, `x`.
    Math(Expression),
    /// Tried in order; the first `from` that is the value counts.
    Mapping(Vec<Pair>),
}

/// One line of a mapping transform.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// JSON path of the pair.
    pub at: String,
    /// A name of the value table, or the physical value.
    pub from: Scalar,
    /// The VSS value. All of one transform are of one kind.
    pub to: Scalar,
}

/// A value that JSON can write.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// A whole number, exact.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A text.
    Text(String),
}

impl Scalar {
    #[expect(clippy::cast_precision_loss, reason = "only to compare two kinds of number")]
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(whole), Self::Float(number)) | (Self::Float(number), Self::Integer(whole)) => {
                *whole as f64 == *number
            }
            _ => self == other,
        }
    }

    /// As a VSS `datatype` would have it.
    fn kind(&self) -> Kind {
        match self {
            Self::Integer(_) | Self::Float(_) => Kind::Number,
            Self::Boolean(_) => Kind::Boolean,
            Self::Text(_) => Kind::Text,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Boolean,
    Text,
}

/// What the VSS says of the leaf.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VssLeaf {
    /// Its unit.
    pub unit: Option<String>,
    /// Least and greatest value; infinite where the file gives only the other.
    pub range: Option<(f64, f64)>,
}

impl Reader<'_> {
    /// Unit and range of a leaf. What cannot be meant is left out and told.
    pub(super) fn vss_leaf(&mut self, leaf: &Map<String, Value>, at: &str) -> VssLeaf {
        let unit = leaf.get("unit").and_then(Value::as_str).map(str::to_owned);
        let mut bound = |key: &str| match leaf.get(key) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let number = value.as_f64().filter(|number| number.is_finite());
                if number.is_none() {
                    self.tell(&format!("{at}.{key}"), "is not a number and left out");
                }
                number
            }
        };
        let range = match (bound("min"), bound("max")) {
            (None, None) => None,
            (Some(min), Some(max)) if min > max => {
                self.tell(at, "`min` is above `max`; both are left out");
                None
            }
            (min, max) => Some((min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY))),
        };
        VssLeaf { unit, range }
    }

    /// The transform of an entry.
    pub(super) fn transform(
        &mut self,
        transform: &Value,
        leaf: &Map<String, Value>,
        at: &str,
    ) -> Result<Transform, MapError> {
        let Some(transform) = transform.as_object() else {
            return Err(self.fault(at, "must be an object with `math` or `mapping`"));
        };
        for key in transform.keys().filter(|key| !matches!(key.as_str(), "math" | "mapping")) {
            self.tell(&format!("{at}.{key}"), "the key is not known and left out");
        }
        match (transform.get("math"), transform.get("mapping")) {
            (Some(_), Some(_)) => Err(self.fault(at, "has `math` and `mapping`; leave one out")),
            (Some(math), None) => self.math(math, &format!("{at}.math")),
            (None, Some(mapping)) => self.mapping(mapping, leaf, &format!("{at}.mapping")),
            (None, None) => Err(self.fault(at, "has neither `math` nor `mapping`; write one of them")),
        }
    }

    fn math(&self, math: &Value, at: &str) -> Result<Transform, MapError> {
        let Some(text) = math.as_str() else {
            return Err(self.fault(at, "must be an expression over `x` as a string"));
        };
        let expression =
            Expression::parse(text, &["x"]).map_err(|error| self.fault(at, error.to_string()))?;
        Ok(Transform::Math(expression))
    }

    fn mapping(
        &mut self,
        mapping: &Value,
        leaf: &Map<String, Value>,
        at: &str,
    ) -> Result<Transform, MapError> {
        let Some(list) = mapping.as_array().filter(|list| !list.is_empty()) else {
            return Err(self.fault(at, "must be a list of `{\"from\": …, \"to\": …}`"));
        };
        if list.len() > MAPPING_PAIRS_MAX {
            let what = format!("has {} pairs, at most {MAPPING_PAIRS_MAX} are read", list.len());
            return Err(self.fault(at, what));
        }
        let pairs = list.iter().enumerate().map(|(number, pair)| self.pair(pair, &format!("{at}[{number}]")));
        let mut pairs: Vec<Pair> = pairs.collect::<Result<_, _>>()?;
        let kind = pairs.first().map(|pair| pair.to.kind());
        if let Some(other) = pairs.iter().find(|pair| Some(pair.to.kind()) != kind) {
            let what = "is of another kind than the first `to`; all must be numbers, booleans or strings";
            return Err(self.fault(&format!("{}.to", other.at), what));
        }
        self.check_datatype(kind, leaf, at);
        self.keep_allowed(&mut pairs, leaf);
        self.keep_first(&mut pairs);
        Ok(Transform::Mapping(pairs))
    }

    fn pair(&self, pair: &Value, at: &str) -> Result<Pair, MapError> {
        let get = |key: &str| {
            let what = "must have `from` and `to`, each a number, true, false or a string";
            let value = pair.get(key).ok_or_else(|| self.fault(at, what))?;
            self.scalar(value, &format!("{at}.{key}"))
        };
        Ok(Pair { at: at.to_owned(), from: get("from")?, to: get("to")? })
    }

    fn scalar(&self, value: &Value, at: &str) -> Result<Scalar, MapError> {
        match value {
            Value::Bool(value) => Ok(Scalar::Boolean(*value)),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Ok(Scalar::Integer(whole)),
                (None, Some(number)) if number.is_finite() => Ok(Scalar::Float(number)),
                _ => Err(self.fault(at, "is no number that a double can hold")),
            },
            Value::String(text) if text.len() <= MAPPING_TEXT_BYTES_MAX => Ok(Scalar::Text(text.clone())),
            Value::String(text) => {
                let what = format!("has {} bytes, at most {MAPPING_TEXT_BYTES_MAX} are taken", text.len());
                Err(self.fault(at, what))
            }
            _ => Err(self.fault(at, "must be a number, true, false or a string")),
        }
    }

    /// Tells of values that the leaf's `datatype` does not have, as `"false"` where `false` is meant.
    fn check_datatype(&mut self, kind: Option<Kind>, leaf: &Map<String, Value>, at: &str) {
        let (want, word) = match leaf.get("datatype").and_then(Value::as_str) {
            Some("boolean") => (Kind::Boolean, "true or false"),
            Some("string") => (Kind::Text, "a string"),
            Some("float" | "double") => (Kind::Number, "a number"),
            Some(name) if name.trim_start_matches('u').starts_with("int") && !name.ends_with(']') => {
                (Kind::Number, "a number")
            }
            _ => return,
        };
        if kind.is_some_and(|kind| kind != want) {
            self.tell(at, &format!("the leaf's `datatype` asks for {word} in `to`"));
        }
    }

    /// Leaves out values that the VSS does not allow.
    fn keep_allowed(&mut self, pairs: &mut Vec<Pair>, leaf: &Map<String, Value>) {
        let Some(allowed) = leaf.get("allowed").and_then(Value::as_array) else { return };
        let allowed: Vec<Scalar> = allowed.iter().filter_map(|value| self.scalar(value, "").ok()).collect();
        pairs.retain(|pair| {
            let fine = allowed.iter().any(|value| value.same(&pair.to));
            if !fine {
                let what = "is not among the leaf's `allowed` values, so that the pair is left out; write one of them";
                self.tell(&format!("{}.to", pair.at), what);
            }
            fine
        });
    }

    /// Leaves out what comes twice.
    fn keep_first(&mut self, pairs: &mut Vec<Pair>) {
        let mut kept: Vec<Pair> = Vec::with_capacity(pairs.len());
        for pair in pairs.drain(..) {
            if kept.iter().any(|earlier| earlier.from.same(&pair.from)) {
                self.tell(&format!("{}.from", pair.at), "comes twice; the first counts");
            } else {
                kept.push(pair);
            }
        }
        *pairs = kept;
    }
}
