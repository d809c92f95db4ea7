//! What each op takes: names, kinds and ranges of its parameters, for whoever writes a document. Who reads one asks
//! `parse`; a test has both say the same.

use super::aggregate::Function;
use super::histogram::Edges;
use super::{Parameter, TransformSpec, parse};
use crate::limits::{
    AGGREGATE_SAMPLES_MAX, AGGREGATE_WINDOW_S_MAX, BUDGET_SAMPLES_MAX, DELAY_S_MAX, GEO_CELL_DEPTH_MAX,
    HISTOGRAM_EDGES_MAX, INTERVAL_MS_MAX, TIME_BUCKET_S_MAX, TRIM_MINUTES_MAX,
};
use std::fmt;

/// One op of the agent.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    /// As a document writes it.
    pub name: &'static str,
    /// What it takes.
    pub takes: &'static [Taken],
}

/// One parameter of an op.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// As a document writes it.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Without it the op says nothing.
    pub is_needed: bool,
}

/// What a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// Any number.
    Number,
    /// A number, 0 or more.
    Size,
    /// A number above 0.
    Above0,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of these words, with one at least.
    Words(&'static [&'static str]),
    /// A list of numbers, each greater than the one before it, with one at least and so many at most. It stands beside
    /// `histogram` in `functions`, and neither without the other.
    Edges(usize),
}

const HISTOGRAM: &str = "histogram";
const FUNCTIONS: [&str; 7] = ["min", "max", "mean", "sum", "count", "last", HISTOGRAM];
const _: () = assert!(FUNCTIONS.len() == Function::ALL.len());

const fn needed(name: &'static str, kind: Kind) -> Taken {
    Taken { name, kind, is_needed: true }
}

const fn or_not(name: &'static str, kind: Kind) -> Taken {
    Taken { name, kind, is_needed: false }
}

/// All ops of this agent, in the order of application; `drop` and `in_vehicle` let nothing through.
pub const OPS: &[Op] = &[
    Op { name: "drop", takes: &[] },
    Op { name: "in_vehicle", takes: &[] },
    Op {
        name: "trim_ends",
        takes: &[
            needed("first_min", Kind::Whole(1, TRIM_MINUTES_MAX)),
            needed("last_min", Kind::Whole(1, TRIM_MINUTES_MAX)),
        ],
    },
    Op {
        name: "aggregate",
        takes: &[
            needed("window_s", Kind::Whole(1, AGGREGATE_WINDOW_S_MAX)),
            needed("functions", Kind::Words(&FUNCTIONS)),
            or_not("min_samples", Kind::Whole(1, AGGREGATE_SAMPLES_MAX)),
            or_not("edges", Kind::Edges(HISTOGRAM_EDGES_MAX)),
        ],
    },
    Op {
        name: "aggregate",
        takes: &[
            needed("window", Kind::Word(&["trip"])),
            needed("functions", Kind::Words(&FUNCTIONS)),
            or_not("min_samples", Kind::Whole(1, AGGREGATE_SAMPLES_MAX)),
            or_not("edges", Kind::Edges(HISTOGRAM_EDGES_MAX)),
        ],
    },
    Op { name: "quantise", takes: &[needed("step", Kind::Above0), or_not("offset", Kind::Number)] },
    Op { name: "geo_cell", takes: &[needed("resolution", Kind::Whole(0, GEO_CELL_DEPTH_MAX))] },
    Op { name: "time_bucket", takes: &[needed("granularity_s", Kind::Whole(1, TIME_BUCKET_S_MAX))] },
    Op {
        name: "threshold",
        takes: &[
            needed("when", Kind::Word(&["above", "below"])),
            needed("value", Kind::Number),
            or_not("hysteresis", Kind::Size),
            or_not("cooldown_ms", Kind::Whole(1, INTERVAL_MS_MAX)),
        ],
    },
    Op { name: "rate", takes: &[needed("min_interval_ms", Kind::Whole(1, INTERVAL_MS_MAX))] },
    Op {
        name: "on_change",
        takes: &[or_not("min_delta", Kind::Size), or_not("max_interval_ms", Kind::Whole(1, INTERVAL_MS_MAX))],
    },
    Op { name: "delay", takes: &[needed("hold_back_s", Kind::Whole(1, DELAY_S_MAX))] },
    Op { name: "budget", takes: &[needed("samples_per_day", Kind::Whole(1, BUDGET_SAMPLES_MAX))] },
];

/// The op that is meant: of several with a name the last whose first parameter stands there, or the first of them.
fn meant(spec: &TransformSpec) -> Option<&'static Op> {
    let named = || OPS.iter().filter(|op| op.name == spec.op);
    let begins = |op: &&Op| op.takes.first().is_some_and(|first| spec.parameters.contains_key(first.name));
    named().rfind(begins).or_else(|| named().next())
}

/// Why a transform lets nothing through though it is not meant to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransformFault {
    /// No op of this agent.
    #[error("`{op}` is no transform of this agent, known are {}", known())]
    UnknownOp {
        /// What stands there.
        op: String,
    },
    /// No parameter of this op.
    #[error("{op} takes no `{name}`, {takes}")]
    UnknownParameter {
        /// Which op.
        op: &'static str,
        /// What stands there.
        name: String,
        /// What it takes.
        takes: String,
    },
    /// One that is needed is not there.
    #[error("{op} needs `{name}`, {kind}")]
    Missing {
        /// Which op.
        op: &'static str,
        /// Which parameter.
        name: &'static str,
        /// What it may be.
        kind: Kind,
    },
    /// It is something else, or out of its range.
    #[error("`{name}` of {op} is {kind}, not {value}")]
    OutOfRange {
        /// Which op.
        op: &'static str,
        /// Which parameter.
        name: &'static str,
        /// What it may be.
        kind: Kind,
        /// What stands there.
        value: String,
    },
    /// A histogram without edges, or edges without one.
    #[error("{op} needs `edges` with the function {HISTOGRAM}, and takes them with no other")]
    Unpaired {
        /// Which op.
        op: &'static str,
    },
    /// More digits than are computed with.
    #[error("a number of {op} has too many digits")]
    Digits {
        /// Which op.
        op: &'static str,
    },
}

/// What is wrong with a transform; `None` if this agent can do it, or it is one of those that let nothing through.
#[must_use]
pub fn fault(spec: &TransformSpec) -> Option<TransformFault> {
    if parse(spec).is_some() {
        return None;
    }
    let Some(op) = meant(spec) else {
        return Some(TransformFault::UnknownOp { op: spec.op.clone() });
    };
    let found = unknown(op, spec)
        .or_else(|| op.takes.iter().find_map(|taken| unfit(op.name, taken, spec)))
        .or_else(|| unpaired(op, spec));
    found.or_else(|| (!op.takes.is_empty()).then_some(TransformFault::Digits { op: op.name }))
}

fn unknown(op: &Op, spec: &TransformSpec) -> Option<TransformFault> {
    let name = spec.parameters.keys().find(|name| !op.takes.iter().any(|taken| taken.name == *name))?;
    let names: Vec<&str> = op.takes.iter().map(|taken| taken.name).collect();
    let takes =
        if names.is_empty() { "nor anything else".to_owned() } else { format!("but {}", names.join(", ")) };
    Some(TransformFault::UnknownParameter { op: op.name, name: name.clone(), takes })
}

fn unpaired(op: &Op, spec: &TransformSpec) -> Option<TransformFault> {
    let edges = op.takes.iter().find(|taken| matches!(taken.kind, Kind::Edges(_)))?;
    let is_one = |function: &Parameter| matches!(function, Parameter::Text(name) if name == HISTOGRAM);
    let counts =
        matches!(spec.parameters.get("functions"), Some(Parameter::List(list)) if list.iter().any(is_one));
    (counts != spec.has(edges.name)).then_some(TransformFault::Unpaired { op: op.name })
}

fn unfit(op: &'static str, taken: &Taken, spec: &TransformSpec) -> Option<TransformFault> {
    let Taken { name, kind, is_needed } = *taken;
    match spec.parameters.get(name) {
        None => is_needed.then_some(TransformFault::Missing { op, name, kind }),
        Some(value) if kind.takes(spec, (name, value)) => None,
        Some(value) => Some(TransformFault::OutOfRange { op, name, kind, value: value.to_string() }),
    }
}

impl Kind {
    fn takes(self, spec: &TransformSpec, (name, value): (&str, &Parameter)) -> bool {
        let number = || spec.decimal(name);
        let is_one_of = |words: &[&str], value: &Parameter| matches!(value, Parameter::Text(text) if words.contains(&text.as_str()));
        match (self, value) {
            (Self::Whole(least, most), _) => spec.integer(name, least..=most).is_some(),
            (Self::Number, _) => number().is_some(),
            (Self::Size, _) => number().is_some_and(|number| !number.is_negative()),
            (Self::Above0, _) => number().is_some_and(|number| number.is_positive()),
            (Self::Word(words), value) => is_one_of(words, value),
            (Self::Words(words), Parameter::List(list)) => {
                !list.is_empty() && list.iter().all(|word| is_one_of(words, word))
            }
            (Self::Edges(_), value) => Edges::parse(value).is_some(),
            (Self::Words(_), _) => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::Number => f.write_str("a number"),
            Self::Size => f.write_str("a number, 0 or more"),
            Self::Above0 => f.write_str("a number above 0"),
            Self::Word(words) => f.write_str(&words.join(" or ")),
            Self::Words(words) => write!(f, "a list of some of {}", words.join(", ")),
            Self::Edges(most) => write!(f, "a list of 1 to {most} numbers that rise"),
        }
    }
}

fn known() -> String {
    let mut names: Vec<&str> = OPS.iter().map(|op| op.name).collect();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(json: &str) -> String {
        fault(&serde_json::from_str(json).unwrap()).map_or_else(String::new, |fault| fault.to_string())
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_range() {
        for (json, words) in [
            (
                r#"{"op":"geo_cell","resolution":11}"#,
                "`resolution` of geo_cell is a whole number from 0 to 10, not 11",
            ),
            (r#"{"op":"time_bucket"}"#, "time_bucket needs `granularity_s`, a whole number from 1 to 86400"),
            (r#"{"op":"rate","min_interval_s":1}"#, "rate takes no `min_interval_s`, but min_interval_ms"),
            (r#"{"op":"drop","hard":true}"#, "drop takes no `hard`, nor anything else"),
            (r#"{"op":"threshold","when":"at","value":1}"#, "`when` of threshold is above or below, not at"),
            (
                r#"{"op":"aggregate","window_s":60,"functions":["median"]}"#,
                "`functions` of aggregate is a list of some of min, max, mean, sum, count, last, histogram, not median",
            ),
            (
                r#"{"op":"aggregate","window_s":60,"functions":["histogram"]}"#,
                "aggregate needs `edges` with the function histogram, and takes them with no other",
            ),
            (
                r#"{"op":"aggregate","window_s":60,"functions":["histogram"],"edges":[5,5]}"#,
                "`edges` of aggregate is a list of 1 to 12 numbers that rise, not 5 5",
            ),
            (r#"{"op":"quantise","step":0}"#, "`step` of quantise is a number above 0, not 0"),
            (r#"{"op":"quantise","step":1e-30,"offset":1e20}"#, "a number of quantise has too many digits"),
        ] {
            assert_eq!(said(json), words);
        }
        let unknown = said(r#"{"op":"blur"}"#);
        assert!(
            unknown.starts_with("`blur` is no transform of this agent, known are drop, in_vehicle, "),
            "{unknown}"
        );
        for fine in [r#"{"op":"drop"}"#, r#"{"op":"in_vehicle"}"#, r#"{"op":"rate","min_interval_ms":1000}"#]
        {
            assert_eq!(said(fine), "", "{fine}");
        }
    }

    fn value() -> impl Strategy<Value = Parameter> {
        prop_oneof![
            any::<bool>().prop_map(Parameter::Flag),
            (-2i64..20).prop_map(Parameter::Integer),
            prop_oneof![Just(86_400), Just(86_401), Just(i64::MAX)].prop_map(Parameter::Integer),
            (-2.0f64..2.0).prop_map(Parameter::Number),
            prop_oneof![Just("above"), Just("min"), Just("trip"), Just("0.5"), Just("x")]
                .prop_map(|it| Parameter::Text(it.to_owned())),
            prop::collection::vec((-3i64..9).prop_map(Parameter::Integer), 0..4).prop_map(Parameter::List),
            prop::collection::vec(prop_oneof![Just("min"), Just("histogram"), Just("x")], 0..3).prop_map(
                |list| {
                    Parameter::List(list.into_iter().map(|it| Parameter::Text(it.to_owned())).collect())
                }
            ),
        ]
    }

    prop_compose! {
        /// An op with some of its parameters, now and then one of another op, and values of all kinds.
        fn spec()(
            op in prop::sample::select(OPS), values in prop::collection::vec(prop::option::weighted(0.8, value()), 5),
            strange in prop::option::weighted(0.1, prop::sample::select(vec!["step", "resolution", "burst", "window", "window_s"])),
        ) -> TransformSpec {
            let named = op.takes.iter().zip(values).filter_map(|(taken, value)| Some((taken.name.to_owned(), value?)));
            let strange = strange.map(|name| (name.to_owned(), Parameter::Integer(1)));
            TransformSpec { op: op.name.to_owned(), parameters: named.chain(strange).collect() }
        }
    }

    proptest! {
        /// The table says of a transform what its parser does: but for too many digits, which only the parser counts.
        #[test]
        fn the_table_takes_what_the_ops_take(spec in spec()) {
            let op = meant(&spec).unwrap();
            let fits = unknown(op, &spec).is_none() && unpaired(op, &spec).is_none() && op.takes.iter().all(|taken| unfit(op.name, taken, &spec).is_none());
            let denies = op.takes.is_empty();
            prop_assert_eq!(fits && !denies, parse(&spec).is_some(), "{:?}", spec);
            prop_assert_eq!(fits, fault(&spec).is_none(), "{:?}", spec);
        }
    }

    #[test]
    fn every_figure_is_in_the_table() {
        assert_eq!(FUNCTIONS, Function::ALL.map(Function::name));
    }
}
