//! How a signal is reduced before it leaves: what a document says, and what of it is built.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One transform as a document writes it: `{"op": "rate", "min_interval_ms": 1000}`.
///
/// Any name is read, so that a document of tomorrow can be read today; an op that is not built, or a parameter that
/// does not fit, denies its signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransformSpec {
    /// Name in the design's table.
    pub op: String,
    /// Its parameters.
    #[serde(flatten)]
    pub parameters: BTreeMap<String, Parameter>,
}

/// A parameter of a transform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the names are those of JSON")]
pub enum Parameter {
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Parameter>),
}
