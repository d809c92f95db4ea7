//! `aggregate`: of a window only figures of its values are told, and not before it is over. A window is a span of time on
//! a public grid ([`Period`]), or a trip.

use super::coding::Coding;
use super::histogram::{Bin, Edges};
use super::period::Period;
use super::spec::{Parameter, TransformSpec};
use crate::decode::ValueType;
use crate::limits::{AGGREGATE_SAMPLES_MAX, AGGREGATE_WINDOW_S_MAX};
use std::fmt;

/// Figures of windows that had at least `min_samples` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aggregate {
    /// What a window is.
    pub window: Span,
    /// What is told of it.
    pub functions: Functions,
    /// Of fewer values nothing is told.
    pub min_samples: u32,
    /// Between the bins of the histogram, if that is one of them.
    pub edges: Option<Edges>,
    /// Of the histogram only this bin.
    pub bin: Option<u8>,
}

/// One figure of a window, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Figure {
    /// Which.
    pub function: Function,
    /// Of a histogram which bin.
    pub bin: u8,
}

impl fmt::Display for Figure {
    /// `mean`, `histogram.2`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.function {
            Function::Histogram => write!(f, "{}.{}", self.function.name(), self.bin),
            function => f.write_str(function.name()),
        }
    }
}

impl Figure {
    /// As it is displayed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, bin) = text.split_once('.').unwrap_or((text, "0"));
        let function = Function::ALL.into_iter().find(|function| function.name() == name)?;
        let figure = Self { function, bin: bin.parse().ok()? };
        (figure.to_string() == text).then_some(figure)
    }
}

/// What values are gathered over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// So long.
    Time(Period),
    /// From the beginning to the end of a trip, if both were seen.
    Trip,
}

impl Span {
    /// `"window_s": 3600` or `"window": "trip"`
    fn parse(spec: &TransformSpec) -> Option<Self> {
        if !spec.has("window") {
            let seconds = spec.integer("window_s", 1..=AGGREGATE_WINDOW_S_MAX)?;
            return Period::from_s(seconds).map(Self::Time);
        }
        (spec.text("window") == Some("trip") && !spec.has("window_s")).then_some(Self::Trip)
    }

    /// A trip has no edges of time, so it has none in common with a span of it.
    fn meet(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Time(a), Self::Time(b)) => a.meet(b, AGGREGATE_WINDOW_S_MAX).map(Self::Time),
            (Self::Trip, Self::Trip) => Some(Self::Trip),
            _ => None,
        }
    }
}

/// A figure of many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// Sum over count.
    Mean,
    /// In the signal's unit.
    Sum,
    /// How many values there were.
    Count,
    /// The last.
    Last,
    /// How many lay in each bin.
    Histogram,
}

impl Function {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 7] =
        [Self::Min, Self::Max, Self::Mean, Self::Sum, Self::Count, Self::Last, Self::Histogram];

    /// As documents and descriptors write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::Count => "count",
            Self::Last => "last",
            Self::Histogram => "histogram",
        }
    }
}

/// A set of functions, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Functions(u8);

impl Functions {
    /// Just this one.
    #[must_use]
    pub fn of(function: Function) -> Self {
        Self(1 << function as u8)
    }

    /// Those that are in it, in their order.
    pub fn iter(self) -> impl Iterator<Item = Function> {
        Function::ALL.into_iter().filter(move |function| self.has(*function))
    }

    /// The one that is in it, if there is just one.
    #[must_use]
    pub fn only(self) -> Option<Function> {
        let mut all = self.iter();
        all.next().filter(|_| all.next().is_none())
    }

    fn has(self, function: Function) -> bool {
        self.0 & Self::of(function).0 != 0
    }

    fn meet(self, other: Self) -> Option<Self> {
        let both = self.0 & other.0;
        (both != 0).then_some(Self(both))
    }

    fn without(self, function: Function) -> Option<Self> {
        let rest = self.0 & !Self::of(function).0;
        (rest != 0).then_some(Self(rest))
    }

    fn parse(parameter: &Parameter) -> Option<Self> {
        let Parameter::List(names) = parameter else { return None };
        let find = |name: &Parameter| match name {
            Parameter::Text(name) => Function::ALL.into_iter().find(|function| function.name() == name),
            _ => None,
        };
        let found = names.iter().map(find).collect::<Option<Vec<_>>>()?;
        let set = found.into_iter().fold(0, |set, function| set | Self::of(function).0);
        (set != 0).then_some(Self(set))
    }
}

impl Aggregate {
    /// `{"op": "aggregate", "window_s": 3600, "functions": ["min", "max"], "min_samples": 10}`; the last may be left out.
    /// For trips `"window": "trip"` instead of `window_s`; with the function `histogram`, `"edges": [0, 50, 100]`.
    pub(super) fn parse(spec: &TransformSpec) -> Option<Self> {
        spec.only(&["window", "window_s", "functions", "min_samples", "edges"])?;
        let window = Span::parse(spec)?;
        let functions = Functions::parse(spec.parameters.get("functions")?)?;
        let edges = match spec.parameters.get("edges") {
            Some(edges) => Some(Edges::parse(edges)?),
            None => None,
        };
        if functions.has(Function::Histogram) != edges.is_some() {
            return None;
        }
        let min_samples = match spec.has("min_samples") {
            true => spec.integer("min_samples", 1..=AGGREGATE_SAMPLES_MAX)?,
            false => 1,
        };
        Some(Self { window, functions, min_samples: u32::try_from(min_samples).ok()?, edges, bin: None })
    }

    /// Windows in which those of both nest, figures that both tell, as many values as the stricter wants.
    pub(super) fn meet(self, other: Self) -> Option<Self> {
        let met = Self {
            window: self.window.meet(other.window)?,
            functions: self.functions.meet(other.functions)?,
            min_samples: self.min_samples.max(other.min_samples),
            ..self
        };
        if !met.functions.has(Function::Histogram) {
            return Some(Self { edges: None, bin: None, ..met });
        }
        let same = self.edges == other.edges;
        match (self.bin, other.bin) {
            (Some(a), Some(b)) if a != b => None,
            (Some(_), _) | (_, Some(_)) if !same => None,
            (a, b) => Self { bin: a.or(b), ..met }.within(|edges| edges.meet(other.edges?)),
        }
    }

    /// The same with the edges of its histogram that `keep` leaves; without the histogram if that is none.
    pub(super) fn within(self, keep: impl FnOnce(Edges) -> Option<Edges>) -> Option<Self> {
        let Some(before) = self.edges else { return Some(self) };
        match keep(before) {
            Some(edges) if self.bin.is_none() || edges == before => Some(Self { edges: Some(edges), ..self }),
            _ => {
                let functions = self.functions.without(Function::Histogram)?;
                Some(Self { functions, edges: None, bin: None, ..self })
            }
        }
    }

    /// Each figure alone.
    pub(in super::super) fn figures(self) -> impl Iterator<Item = Self> {
        self.functions.iter().flat_map(move |function| {
            let alone = Self { functions: Functions::of(function), edges: None, bin: None, ..self };
            let bins = self.edges.filter(|_| function == Function::Histogram).map(|edges| edges.bins());
            let of_bin = move |bin| Self { edges: self.edges, bin: Some(bin), ..alone };
            let whole = bins.is_none().then_some(alone);
            whole.into_iter().chain(bins.into_iter().flatten().map(of_bin))
        })
    }

    /// Of all its figures the one that `granted` is, alone; a bin is the one that begins where that does. `None` if it is
    /// not told.
    pub(in super::super) fn like(self, granted: &Self) -> Option<Self> {
        let functions = self.functions.meet(granted.functions)?;
        let (Some(bin), Some(theirs)) = (granted.bin, granted.edges) else {
            return Some(Self { functions, edges: None, bin: None, ..self });
        };
        let bin = self.edges?.bin_like(&theirs, bin)?;
        Some(Self { functions, bin: Some(bin), ..self })
    }

    /// The figure that it is, if it is just one.
    #[must_use]
    pub fn figure(&self) -> Option<Figure> {
        let function = self.functions.only()?;
        let bin = if function == Function::Histogram { self.bin? } else { 0 };
        Some(Figure { function, bin })
    }

    /// How its bin is found in values that are read as `recorded`; `None` inside if it has none.
    #[expect(clippy::option_option, reason = "whether it can be found, and whether there is one")]
    pub(in super::super) fn bin(&self, recorded: Coding) -> Option<Option<Bin>> {
        match (self.edges, self.bin) {
            (Some(edges), Some(bin)) => Bin::new(&edges, bin, recorded).map(Some),
            _ => Some(None),
        }
    }

    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        let functions: Vec<&str> = self.functions.iter().map(Function::name).collect();
        let window = match self.window {
            Span::Time(period) => ("window_s", period.s().to_string()),
            Span::Trip => ("window", "trip".to_owned()),
        };
        let mut told =
            vec![window, ("functions", functions.join(" ")), ("min_samples", self.min_samples.to_string())];
        told.extend(self.edges.map(|edges| ("edges", edges.told())));
        told.extend(self.edges.zip(self.bin).map(|(edges, bin)| ("bin", edges.bin_words(bin))));
        told
    }

    /// How a figure is read, of values that are read as `recorded`.
    pub(super) fn coding(&self, recorded: Coding) -> Coding {
        match self.functions.only() {
            Some(Function::Mean | Function::Sum) => Coding::of(ValueType::Float64, 1.0, 0.0),
            Some(Function::Count | Function::Histogram) => Coding::of(ValueType::Unsigned, 1.0, 0.0),
            Some(Function::Min | Function::Max | Function::Last) | None => recorded,
        }
    }
}

/// The values of one window so far.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Window {
    /// Its first edge: wall time in microseconds.
    pub(in super::super) begin_us: i64,
    /// Its beginning was not seen: not told.
    partial: bool,
    count: u32,
    /// In the bin that is told.
    inside: u32,
    sum: f64,
    least: u64,
    greatest: u64,
    last: u64,
}

impl Window {
    pub(in super::super) fn new(begin_us: i64, partial: bool) -> Self {
        Self { begin_us, partial, count: 0, inside: 0, sum: 0.0, least: 0, greatest: 0, last: 0 }
    }

    pub(in super::super) fn add(&mut self, coding: Coding, bin: Option<&Bin>, bits: u64) {
        let value = coding.value(bits);
        if value.is_nan() {
            return;
        }
        if self.count == 0 || value < coding.value(self.least) {
            self.least = bits;
        }
        if self.count == 0 || value > coding.value(self.greatest) {
            self.greatest = bits;
        }
        self.last = bits;
        let inside = bin.is_some_and(|bin| bin.holds(bits));
        self.inside = self.inside.saturating_add(u32::from(inside));
        self.sum += value;
        self.count = self.count.saturating_add(1);
    }

    /// The figure, when it is over; `None` if it is not to be told.
    pub(in super::super) fn figure(&self, aggregate: &Aggregate) -> Option<u64> {
        if self.partial || self.count < aggregate.min_samples {
            return None;
        }
        Some(match aggregate.functions.only()? {
            Function::Min => self.least,
            Function::Max => self.greatest,
            Function::Last => self.last,
            Function::Count => u64::from(self.count),
            Function::Histogram => u64::from(self.inside),
            Function::Sum => self.sum.to_bits(),
            Function::Mean => (self.sum / f64::from(self.count)).to_bits(),
        })
    }
}
