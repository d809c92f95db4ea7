//! How a signal is reduced before it leaves: what a document says, what of it is built, and the strictest of two.
//!
//! Order of application is fixed: quantise, then rate and on-change together. A value is made coarse before it is
//! decided whether to emit it, or the moment of emission would tell what the value hides.

use super::decimal::Decimal;
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

/// What may leave of one signal: nothing, or its readings reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Nothing.
    Deny,
    /// Readings, reduced.
    Pass(Transform),
}

/// The normal form of a list of transforms. The default lets everything through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transform {
    /// Only the cell of this grid is told.
    pub quantise: Option<Grid>,
    /// Least time between two emitted readings, in microseconds; 0: none.
    pub min_interval_us: i64,
    /// Only changes are told.
    pub on_change: Option<DeadBand>,
}

/// Cells `[offset + n step, offset + (n + 1) step)`. The offset is kept in `[0, step)`, so that equal grids are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    step: Decimal,
    offset: Decimal,
}

/// A change of at least `min_delta` (0: any change), or silence of `max_interval_us`, is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadBand {
    /// Least change, in the signal's unit.
    pub min_delta: Decimal,
    /// Repeat an unchanged value after so long, in microseconds; `None`: never.
    pub max_interval_us: Option<i64>,
}

impl Grid {
    /// `None` unless the step is above zero and both have few enough digits.
    #[must_use]
    pub fn new(step: Decimal, offset: Decimal) -> Option<Self> {
        if !step.is_positive() {
            return None;
        }
        let (s, o, scale) = Decimal::aligned(step, offset)?;
        Some(Self { step, offset: Decimal::new(o.rem_euclid(s), scale)? })
    }

    /// Width of a cell.
    #[must_use]
    pub fn step(&self) -> Decimal {
        self.step
    }

    /// Lower edge of cell 0.
    #[must_use]
    pub fn offset(&self) -> Decimal {
        self.offset
    }

    /// The finest grid that both contain: its edges are those that both have. `None` if there are none.
    fn meet(self, other: Self) -> Option<Self> {
        let (a, b, scale) = Decimal::aligned(self.step, other.step)?;
        let scale = scale.max(self.offset.scale()).max(other.offset.scale());
        let up = 10i128.checked_pow(u32::from(scale - self.step.scale().max(other.step.scale())))?;
        let (a, b) = (a.checked_mul(up)?, b.checked_mul(up)?);
        let (p, q) = (self.offset.scaled(scale)?, other.offset.scaled(scale)?);
        let (gcd, x) = extended_gcd(a, b);
        let gap = q - p;
        if gap % gcd != 0 {
            return None;
        }
        // Chinese remainder: an edge of both is p + a k with a k = gap (mod b).
        let k = (gap / gcd).checked_mul(x)?.rem_euclid(b / gcd);
        let edge = p.checked_add(a.checked_mul(k)?)?;
        let step = (a / gcd).checked_mul(b)?;
        Self::new(Decimal::new(step, scale)?, Decimal::new(edge, scale)?)
    }
}

/// `(g, x)` with `g = gcd(a, b)` and `a x = g (mod b)`; both above zero.
fn extended_gcd(a: i128, b: i128) -> (i128, i128) {
    let (mut r0, mut r1, mut x0, mut x1) = (a, b, 1i128, 0i128);
    while r1 != 0 {
        let q = r0 / r1;
        (r0, r1) = (r1, r0 - q * r1);
        (x0, x1) = (x1, x0 - q * x1);
    }
    (r0, x0)
}

impl DeadBand {
    fn meet(self, other: Self) -> Self {
        let min_delta = if self.min_delta >= other.min_delta { self.min_delta } else { other.min_delta };
        // Never repeating tells less than repeating; seldom less than often.
        let max_interval_us = self.max_interval_us.zip(other.max_interval_us).map(|(a, b)| a.max(b));
        Self { min_delta, max_interval_us }
    }
}

impl Rule {
    /// Everything through, as recorded.
    pub const OPEN: Self = Self::Pass(Transform { quantise: None, min_interval_us: 0, on_change: None });

    /// The rule that a list in a document stands for: each of them applies.
    #[must_use]
    pub fn of(specs: &[TransformSpec]) -> Self {
        specs.iter().map(single).fold(Self::OPEN, Self::meet)
    }

    /// The strictest of two: lets out no more than either. Commutative, associative, idempotent.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        let (Self::Pass(a), Self::Pass(b)) = (self, other) else { return Self::Deny };
        let quantise = match (a.quantise, b.quantise) {
            (Some(a), Some(b)) => match a.meet(b) {
                Some(grid) => Some(grid),
                None => return Self::Deny,
            },
            (a, b) => a.or(b),
        };
        let on_change = match (a.on_change, b.on_change) {
            (Some(a), Some(b)) => Some(a.meet(b)),
            (a, b) => a.or(b),
        };
        let min_interval_us = a.min_interval_us.max(b.min_interval_us);
        Self::Pass(Transform { quantise, min_interval_us, on_change })
    }

    /// Whether this lets out no more than `other`.
    #[must_use]
    pub fn within(self, other: Self) -> bool {
        self.meet(other) == self
    }
}

/// The rule of one op; what is not built, or does not fit, denies.
fn single(spec: &TransformSpec) -> Rule {
    let built = match spec.op.as_str() {
        "rate" => rate(spec),
        "on_change" => on_change(spec),
        "quantise" => quantise(spec),
        _ => None,
    };
    built.map_or(Rule::Deny, Rule::Pass)
}

fn rate(spec: &TransformSpec) -> Option<Transform> {
    only(spec, &["min_interval_ms"])?;
    let min_interval_us = microseconds(spec.parameters.get("min_interval_ms")?)?;
    Some(Transform { min_interval_us, ..Transform::default() })
}

fn on_change(spec: &TransformSpec) -> Option<Transform> {
    only(spec, &["min_delta", "max_interval_ms"])?;
    let min_delta = spec.parameters.get("min_delta").map_or(Some(Decimal::ZERO), decimal)?;
    if min_delta.is_negative() {
        return None;
    }
    let max_interval_us = match spec.parameters.get("max_interval_ms") {
        Some(parameter) => Some(microseconds(parameter)?),
        None => None,
    };
    Some(Transform { on_change: Some(DeadBand { min_delta, max_interval_us }), ..Transform::default() })
}

fn quantise(spec: &TransformSpec) -> Option<Transform> {
    only(spec, &["step", "offset"])?;
    let step = decimal(spec.parameters.get("step")?)?;
    let offset = spec.parameters.get("offset").map_or(Some(Decimal::ZERO), decimal)?;
    Some(Transform { quantise: Some(Grid::new(step, offset)?), ..Transform::default() })
}

fn only(spec: &TransformSpec, known: &[&str]) -> Option<()> {
    spec.parameters.keys().all(|key| known.contains(&key.as_str())).then_some(())
}

fn decimal(parameter: &Parameter) -> Option<Decimal> {
    match parameter {
        Parameter::Integer(number) => Decimal::new(i128::from(*number), 0),
        Parameter::Number(number) => Decimal::from_f64(*number),
        Parameter::Text(text) => Decimal::parse(text),
        Parameter::Flag(_) | Parameter::List(_) => None,
    }
}

/// Whole milliseconds, 1 ms to 10 years.
fn microseconds(parameter: &Parameter) -> Option<i64> {
    match parameter {
        Parameter::Integer(ms) if (1..=315_360_000_000).contains(ms) => Some(ms * 1000),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec(json: &str) -> TransformSpec {
        serde_json::from_str(json).unwrap()
    }

    fn grid(step: i32, offset: i32) -> Rule {
        let decimal = |n: i32| Decimal::new(i128::from(n), 1).unwrap();
        let quantise = Grid::new(decimal(step), decimal(offset));
        assert!(quantise.is_some());
        Rule::Pass(Transform { quantise, ..Transform::default() })
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let quantise = proptest::option::of((1i32..60, -50i32..50));
        let change = proptest::option::of((0i64..5, proptest::option::of(1i64..5)));
        let pass = (quantise, 0i64..5, change).prop_map(|(quantise, min_interval_us, change)| {
            let decimal = |n: i32| Decimal::new(i128::from(n), 1).unwrap();
            Rule::Pass(Transform {
                quantise: quantise.and_then(|(s, o)| Grid::new(decimal(s), decimal(o))),
                min_interval_us,
                on_change: change.map(|(delta, max_interval_us)| DeadBand {
                    min_delta: Decimal::new(i128::from(delta), 0).unwrap(),
                    max_interval_us,
                }),
            })
        });
        prop_oneof![9 => pass, 1 => Just(Rule::Deny)]
    }

    proptest! {
        #[test]
        fn meet_is_commutative_associative_idempotent(a in any_rule(), b in any_rule(), c in any_rule()) {
            prop_assert_eq!(a.meet(b), b.meet(a));
            prop_assert_eq!(a.meet(b).meet(c), a.meet(b.meet(c)));
            prop_assert_eq!(a.meet(a), a);
            prop_assert!(a.meet(b).within(a) && a.meet(b).within(b));
            prop_assert_eq!(a.meet(Rule::OPEN), a);
            prop_assert_eq!(a.meet(Rule::Deny), Rule::Deny);
        }

        #[test]
        fn the_meet_of_grids_has_the_edges_of_both(s in 1i32..40, o in -40i32..40, t in 1i32..40, p in -40i32..40) {
            let edge = |step: i32, offset: i32, x: i32| (x - offset).rem_euclid(step) == 0;
            let both: Vec<i32> = (0..4000).filter(|x| edge(s, o, *x) && edge(t, p, *x)).collect();
            match grid(s, o).meet(grid(t, p)) {
                Rule::Deny => prop_assert!(both.is_empty()),
                Rule::Pass(transform) => {
                    let met = transform.quantise.unwrap();
                    let ten = |d: Decimal| i32::try_from(d.scaled(1).unwrap()).unwrap();
                    let want: Vec<i32> = (0..4000).filter(|x| edge(ten(met.step()), ten(met.offset()), *x)).collect();
                    prop_assert_eq!(both, want);
                }
            }
        }
    }

    #[test]
    fn what_is_not_built_or_does_not_fit_denies() {
        for json in [
            r#"{"op":"geo_cell","resolution":7}"#,
            r#"{"op":"drop"}"#,
            r#"{"op":"rate"}"#,
            r#"{"op":"rate","min_interval_ms":0}"#,
            r#"{"op":"rate","min_interval_ms":-5}"#,
            r#"{"op":"rate","min_interval_ms":1000,"burst":5}"#,
            r#"{"op":"rate","min_interval_ms":"1000"}"#,
            r#"{"op":"quantise","step":0}"#,
            r#"{"op":"quantise","step":-1}"#,
            r#"{"op":"quantise","step":true}"#,
            r#"{"op":"on_change","min_delta":-0.5}"#,
            r#"{"op":"on_change","max_interval_ms":0.5}"#,
            r#"{"op":"tomorrow"}"#,
        ] {
            assert_eq!(Rule::of(&[spec(json)]), Rule::Deny, "{json}");
            assert_eq!(Rule::of(&[spec(r#"{"op":"rate","min_interval_ms":10}"#), spec(json)]), Rule::Deny);
        }
    }

    #[test]
    fn each_of_a_list_applies() {
        let rule = Rule::of(&[
            spec(r#"{"op":"rate","min_interval_ms":100}"#),
            spec(r#"{"op":"rate","min_interval_ms":500}"#),
            spec(r#"{"op":"quantise","step":0.5}"#),
            spec(r#"{"op":"quantise","step":"2"}"#),
        ]);
        let Rule::Pass(transform) = rule else { unreachable!("it passes") };
        assert_eq!(transform.min_interval_us, 500_000);
        assert_eq!(transform.quantise.unwrap().step().to_string(), "2");
        assert_eq!(Rule::of(&[]), Rule::OPEN);
    }
}
