//! What turns the DBC's value of a signal into the VSS's: an expression, or a table of values.

use super::{Leaf, Number};
use crate::decode::ValueType;
use crate::decode::map::{Pair, Scalar, Transform};
use crate::decode::math::Expression;
use std::sync::Arc;

/// How the value of a leaf follows from the signal's.
#[derive(Debug, Clone, PartialEq)]
pub struct Derivation {
    /// The signal as the DBC has it: how raw bits are read, and within which range they are a value at all.
    pub source: Arc<Leaf>,
    /// What is done with its value.
    pub rule: Rule,
}

/// What is done with a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// The expression over the physical value; a value that has a name in the value table is no number, and has none.
    Math(Expression),
    /// What the first match gives, as bits of the result; no match, no value.
    Table(Arc<[(Match, u64)]>),
}

/// A value of the signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Match {
    /// By its raw bits: a name of the value table.
    Raw(u64),
    /// By its physical value.
    Value(Number),
}

/// Why a transform does not fit its signal.
pub(super) enum Unfit {
    /// The pair at this JSON path has a name that the value table does not have; the others are taken.
    Pair(String),
    /// The entry cannot be used, because of this.
    Entry(String),
}

impl Derivation {
    /// Bits of the result for raw bits of the signal.
    #[must_use]
    pub fn apply(&self, raw: u64) -> Option<u64> {
        match &self.rule {
            Rule::Math(_) if self.source.label(raw).is_some() => None,
            // Adding zero makes the negative zero a plain one, which is no change of it.
            Rule::Math(expression) => {
                expression.evaluate(&[self.source.float(raw)]).map(|value| (value + 0.0).to_bits())
            }
            Rule::Table(table) => {
                let value = self.source.value(raw);
                let hit = table.iter().find(|(wanted, _)| match wanted {
                    Match::Raw(bits) => *bits == raw,
                    Match::Value(wanted) => same(*wanted, value),
                });
                hit.map(|(_, bits)| *bits)
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a whole number that a double cannot hold is not equal to one"
)]
fn same(wanted: Number, value: Number) -> bool {
    match (wanted, value) {
        (Number::Integer(whole), Number::Float(float)) | (Number::Float(float), Number::Integer(whole)) => {
            whole as f64 == float
        }
        _ => wanted == value,
    }
}

/// Makes `leaf`, which is still as the DBC has it, the result of a transform. Pairs that do not fit are given to `tell`.
pub(super) fn derive(
    leaf: &mut Leaf,
    transform: &Transform,
    tell: &mut impl FnMut(Unfit),
) -> Option<Derivation> {
    let source = Arc::new(leaf.clone());
    (leaf.scale, leaf.offset, leaf.range, leaf.names) = (1.0, 0.0, None, Vec::new());
    // The DBC's unit is that of another value.
    leaf.unit = String::new();
    let rule = match transform {
        Transform::Math(_) if all_named(&source) => {
            let what = "each value of its signal has a name, of which `math` makes nothing; use `mapping`";
            tell(Unfit::Entry(what.to_owned()));
            return None;
        }
        Transform::Math(expression) => {
            leaf.value_type = ValueType::Float64;
            Rule::Math(expression.clone())
        }
        Transform::Mapping(pairs) => {
            let (value_type, results) = results(pairs, &mut leaf.names);
            leaf.value_type = value_type;
            let mut table = Vec::new();
            for (pair, result) in pairs.iter().zip(results) {
                let matches = matches(&source, pair, tell)?;
                table.extend(matches.into_iter().map(|wanted| (wanted, result)));
            }
            if table.is_empty() {
                tell(Unfit::Entry("no pair of its `mapping` is left".to_owned()));
                return None;
            }
            Rule::Table(table.into())
        }
    };
    Some(Derivation { source, rule })
}

fn all_named(source: &Leaf) -> bool {
    source.layout.length < 16 && source.names.len() >= 1 << source.layout.length
}

/// How the results are read, and the bits of each; texts become numbers with `names`, in the order in which they
/// first stand there.
fn results(pairs: &[Pair], names: &mut Vec<(i64, String)>) -> (ValueType, Vec<u64>) {
    let whole = pairs.iter().all(|pair| matches!(pair.to, Scalar::Integer(_)));
    let mut value_type = if whole { ValueType::Signed } else { ValueType::Float64 };
    let mut bits = |to: &Scalar| match to {
        Scalar::Integer(value) if whole => value.cast_unsigned(),
        #[expect(clippy::cast_precision_loss, reason = "beside numbers that are not whole it is a double")]
        Scalar::Integer(value) => (*value as f64).to_bits(),
        Scalar::Float(value) => value.to_bits(),
        Scalar::Boolean(value) => {
            value_type = ValueType::Boolean;
            u64::from(*value)
        }
        Scalar::Text(text) => {
            value_type = ValueType::Unsigned;
            let known = names.iter().find(|(_, name)| name == text).map(|(number, _)| *number);
            let number = known.unwrap_or_else(|| {
                let number = i64::try_from(names.len()).unwrap_or(i64::MAX);
                names.push((number, text.clone()));
                number
            });
            number.cast_unsigned()
        }
    };
    let results = pairs.iter().map(|pair| bits(&pair.to)).collect();
    (value_type, results)
}

/// The values of the signal that a pair's `from` means; `None` if that is not plain.
fn matches(source: &Leaf, pair: &Pair, tell: &mut impl FnMut(Unfit)) -> Option<Vec<Match>> {
    let number = match &pair.from {
        Scalar::Text(name) => {
            let raws = source.names.iter().filter(|(_, known)| known == name);
            let found: Vec<Match> = raws.map(|(raw, _)| Match::Raw(raw.cast_unsigned())).collect();
            if found.is_empty() {
                tell(Unfit::Pair(pair.at.clone()));
            }
            return Some(found);
        }
        Scalar::Integer(value) => Number::Integer((*value).into()),
        Scalar::Float(value) => Number::Float(*value),
        Scalar::Boolean(value) => Number::Integer((*value).into()),
    };
    // Kuksa compares a number with the raw value where that has a name, else with the physical one.
    let scaled = source.scale.to_bits() != 1f64.to_bits() || source.offset != 0.0;
    let named = |(raw, _): &(i64, String)| {
        same(number, Number::Integer((*raw).into())) || same(number, source.value(raw.cast_unsigned()))
    };
    if scaled && source.names.iter().any(named) {
        let what =
            "a number in `from` could be a raw or a physical value, as that has a name; write the name";
        tell(Unfit::Entry(what.to_owned()));
        return None;
    }
    Some(vec![Match::Value(number)])
}
