//! How a signal is reduced before it leaves: one file for each op with its words in a document, the strictest of two, and
//! what it does to a reading. Here: all of them together, and their order.
//!
//! ```text
//! trim_ends ▶ aggregate ▶ quantise, geo_cell ▶ time_bucket ▶ threshold ▶ rate, on_change ▶ delay ▶ budget
//!  at all        what is told is made coarse             whether to emit           when to send, how many
//! ```
//! The order is fixed: a value is made coarse before it is decided whether to emit it, or the moment of emission would
//! tell what the value hides. `drop` and `in_vehicle` let nothing through; what is `in_vehicle` may feed a derived signal.

mod aggregate;
mod budget;
pub mod coding;
mod delay;
mod geo_cell;
mod histogram;
mod on_change;
mod parameters;
pub mod period;
mod quantise;
mod spec;
mod threshold;
mod time_bucket;
mod trim_ends;
mod words;

pub(super) use aggregate::Window;
pub use aggregate::{Aggregate, Figure, Function, Functions, Span};
pub use coding::Coding;
pub(super) use geo_cell::{Coordinate, Fix};
pub use geo_cell::{Resolution, boundary};
pub(super) use histogram::Bin;
pub use histogram::Edges;
pub(super) use on_change::Change;
pub use on_change::DeadBand;
pub use parameters::{Kind, OPS, Op, Taken, TransformFault, fault};
pub use period::Period;
pub use quantise::Grid;
pub(super) use quantise::Quantiser;
pub use spec::{Parameter, TransformSpec};
pub(super) use threshold::Trigger;
pub use threshold::{Side, Threshold};
pub use trim_ends::Ends;
pub use words::{transform, transforms, transforms_in};

/// What may leave of one signal: nothing, or its readings reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "rules are compiled, not looked at for a reading")]
pub enum Rule {
    /// Nothing.
    Deny,
    /// Readings, reduced.
    Pass(Transform),
}

/// The normal form of a list of transforms. The default lets everything through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transform {
    /// Nothing of the ends of a trip is told.
    pub trim_ends: Option<Ends>,
    /// Only figures of windows of time are told.
    pub aggregate: Option<Aggregate>,
    /// Only the cell of this grid is told.
    pub quantise: Option<Grid>,
    /// Of a place only the cell of this resolution is told.
    pub geo_cell: Option<Resolution>,
    /// Stamps lie on its edges, and nothing leaves before the next one.
    pub time_bucket: Option<Period>,
    /// Only a crossing is told.
    pub threshold: Option<Threshold>,
    /// Least time between two emitted readings, in microseconds; 0: none.
    pub min_interval_us: i64,
    /// Only changes are told.
    pub on_change: Option<DeadBand>,
    /// Sent so much later than recorded, in microseconds; 0: at once. All of its flow waits with it.
    pub delay_us: i64,
    /// At most so many samples a day.
    pub budget: Option<u32>,
}

/// An op and its parameters, as the descriptor tells them.
pub type Told = (&'static str, Vec<(&'static str, String)>);

impl Transform {
    /// Lets everything through.
    pub const OPEN: Self = Self {
        trim_ends: None,
        aggregate: None,
        quantise: None,
        geo_cell: None,
        time_bucket: None,
        threshold: None,
        min_interval_us: 0,
        on_change: None,
        delay_us: 0,
        budget: None,
    };

    /// Both apply; `None` if nothing is within both.
    fn meet(self, other: Self) -> Option<Self> {
        let met = Self {
            trim_ends: both(self.trim_ends, other.trim_ends, |a, b| Some(a.meet(b)))?,
            aggregate: both(self.aggregate, other.aggregate, Aggregate::meet)?,
            quantise: both(self.quantise, other.quantise, Grid::meet)?,
            geo_cell: both(self.geo_cell, other.geo_cell, Resolution::meet)?,
            time_bucket: both(self.time_bucket, other.time_bucket, time_bucket::meet)?,
            threshold: both(self.threshold, other.threshold, Threshold::meet)?,
            min_interval_us: self.min_interval_us.max(other.min_interval_us),
            on_change: both(self.on_change, other.on_change, DeadBand::meet)?,
            delay_us: self.delay_us.max(other.delay_us),
            budget: both(self.budget, other.budget, |a, b| Some(a.min(b)))?,
        };
        if met.has_a_meaning() { met.settled() } else { None }
    }

    /// A cell of a place is no number: it has neither figures nor steps nor levels. Figures of a whole trip are also of
    /// its ends.
    fn has_a_meaning(&self) -> bool {
        let on_numbers = self.aggregate.is_some()
            || self.quantise.is_some()
            || self.threshold.is_some()
            || self.on_change.is_some_and(|band| band.min_delta.is_positive());
        let of_trips = self.aggregate.is_some_and(|aggregate| aggregate.window == Span::Trip);
        !(self.geo_cell.is_some() && on_numbers || self.trim_ends.is_some() && of_trips)
    }

    /// What one op means beside another. A crossing is a change: two of them lie at least the hysteresis apart, so the
    /// dead band becomes that. The bins of a histogram are made of the cells of a grid, and what tells only crossings or
    /// changes of a size tells no histogram.
    fn settled(self) -> Option<Self> {
        let of_sizes =
            self.threshold.is_some() || self.on_change.is_some_and(|band| band.min_delta.is_positive());
        let aggregate = match self.aggregate {
            Some(aggregate) => Some(aggregate.within(|edges| match self.quantise {
                _ if of_sizes => None,
                Some(grid) => edges.on(grid),
                None => Some(edges),
            })?),
            None => None,
        };
        let settled = Self { aggregate, ..self };
        Some(match (self.threshold, self.on_change) {
            (Some(threshold), Some(band)) => {
                let threshold = Some(threshold.with_hysteresis(band.min_delta));
                Self { threshold, on_change: None, ..settled }
            }
            _ => settled,
        })
    }

    /// How values that are recorded as `recorded` are read when they leave.
    #[must_use]
    pub fn coding(&self, recorded: Coding) -> Coding {
        if self.threshold.is_some() { Coding::BOOLEAN } else { self.measured(recorded) }
    }

    /// The same where it is decided whether to emit.
    pub(super) fn measured(&self, recorded: Coding) -> Coding {
        match (self.geo_cell, self.grid()) {
            (Some(_), _) => Resolution::coding(),
            (None, Some(grid)) => grid.coding(),
            (None, None) => self.aggregated(recorded),
        }
    }

    /// The same after `aggregate`.
    pub(super) fn aggregated(&self, recorded: Coding) -> Coding {
        self.aggregate.map_or(recorded, |aggregate| aggregate.coding(recorded))
    }

    /// What is done to the numbers that are told: a count of a bin is as coarse as its edges.
    pub(super) fn grid(&self) -> Option<Grid> {
        self.quantise.filter(|_| self.function() != Some(Function::Histogram))
    }

    /// The figure that is told, if there is just one.
    #[must_use]
    pub fn figure(&self) -> Option<Figure> {
        self.aggregate?.figure()
    }

    /// The figure that is told, in a word: `mean`, or a bin's `0 to 50`.
    #[must_use]
    pub fn figure_words(&self) -> Option<String> {
        let aggregate = self.aggregate?;
        let bin = aggregate.edges.zip(aggregate.bin).map(|(edges, bin)| edges.bin_words(bin));
        bin.or_else(|| Some(aggregate.functions.only()?.name().to_owned()))
    }

    /// The function that is told, if there is just one.
    #[must_use]
    pub fn function(&self) -> Option<Function> {
        self.aggregate?.functions.only()
    }

    /// Whether the numbers that leave are still those that the names of the signal stand for.
    #[must_use]
    pub fn keeps_numbers(&self) -> bool {
        let figure = self.function();
        let recorded = figure.is_none_or(|f| matches!(f, Function::Min | Function::Max | Function::Last));
        recorded && self.quantise.is_none() && self.keeps_unit()
    }

    /// Whether what leaves is in the signal's unit.
    #[must_use]
    pub fn keeps_unit(&self) -> bool {
        let counts = matches!(self.function(), Some(Function::Count | Function::Histogram));
        self.geo_cell.is_none() && self.threshold.is_none() && !counts
    }

    /// Whether it leaves at once or not at all, and the reading alone says what.
    pub(super) fn is_plain(&self) -> bool {
        let changed = self.aggregate.is_some() || self.geo_cell.is_some() || self.threshold.is_some();
        !changed && self.time_bucket.is_none() && self.budget.is_none() && self.trim_ends.is_none()
    }

    /// Whether it depends on when trips begin and end.
    #[must_use]
    pub fn needs_trips(&self) -> bool {
        self.trim_ends.is_some() || self.aggregate.is_some_and(|aggregate| aggregate.window == Span::Trip)
    }

    /// In the order of application, for the descriptor.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        let mut list = Vec::new();
        list.extend(self.trim_ends.map(|ends| ("trim_ends", ends.told())));
        list.extend(self.aggregate.map(|aggregate| ("aggregate", aggregate.told())));
        list.extend(self.grid().map(|grid| ("quantise", grid.told())));
        list.extend(self.geo_cell.map(|resolution| ("geo_cell", resolution.told())));
        list.extend(
            self.time_bucket.map(|bucket| ("time_bucket", vec![("granularity_s", bucket.s().to_string())])),
        );
        list.extend(self.threshold.map(|threshold| ("threshold", threshold.told())));
        let ms = |us: i64| (us / 1000).to_string();
        if self.min_interval_us > 0 {
            list.push(("rate", vec![("min_interval_ms", ms(self.min_interval_us))]));
        }
        list.extend(self.on_change.map(|band| ("on_change", band.told())));
        if self.delay_us > 0 {
            list.push(("delay", vec![("hold_back_s", (self.delay_us / 1_000_000).to_string())]));
        }
        list.extend(self.budget.map(|most| ("budget", vec![("samples_per_day", most.to_string())])));
        list
    }
}

/// `Some(None)` if neither is there, `None` if there is nothing within both.
#[expect(clippy::option_option, reason = "the outer one is the answer, the inner one the axis")]
fn both<T>(a: Option<T>, b: Option<T>, meet: impl FnOnce(T, T) -> Option<T>) -> Option<Option<T>> {
    match (a, b) {
        (Some(a), Some(b)) => meet(a, b).map(Some),
        (a, b) => Some(a.or(b)),
    }
}

impl Rule {
    /// Everything through, as recorded.
    pub const OPEN: Self = Self::Pass(Transform::OPEN);

    /// The rule that a list in a document stands for: each of them applies.
    #[must_use]
    pub fn of(specs: &[TransformSpec]) -> Self {
        specs.iter().map(single).fold(Self::OPEN, Self::meet)
    }

    /// The strictest of two: lets out no more than either. Commutative, associative, idempotent.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        let (Self::Pass(a), Self::Pass(b)) = (self, other) else { return Self::Deny };
        a.meet(b).map_or(Self::Deny, Self::Pass)
    }

    /// The same of a whole histogram, if it is that of a bin.
    #[must_use]
    pub fn of_all_bins(self) -> Self {
        let Self::Pass(transform) = self else { return self };
        let aggregate = transform.aggregate.map(|aggregate| Aggregate { bin: None, ..aggregate });
        Self::Pass(Transform { aggregate, ..transform })
    }

    /// Whether this lets out no more than `other`.
    #[must_use]
    pub fn within(self, other: Self) -> bool {
        self.meet(other) == self
    }
}

/// The rule of one op; what is not built, or does not fit, denies.
fn single(spec: &TransformSpec) -> Rule {
    parse(spec).map_or(Rule::Deny, Rule::Pass)
}

/// Of what reduces a signal, what holds for all that is derived of it too: when and how often, and whether at all. What is
/// said of its values does not: the derived one has others. `in_vehicle` is just what lets it be derived.
pub fn inherited(specs: &[TransformSpec]) -> impl Iterator<Item = &TransformSpec> {
    let of_values =
        |op: &str| matches!(op, "in_vehicle" | "quantise" | "geo_cell" | "threshold" | "on_change");
    specs.iter().filter(move |spec| !of_values(&spec.op) || fault(spec).is_some())
}

/// `None` lets nothing through: `drop`, `in_vehicle`, and whatever this agent does not know.
fn parse(spec: &TransformSpec) -> Option<Transform> {
    let open = Transform::OPEN;
    Some(match spec.op.as_str() {
        "trim_ends" => Transform { trim_ends: Some(Ends::parse(spec)?), ..open },
        "aggregate" => Transform { aggregate: Some(Aggregate::parse(spec)?), ..open },
        "quantise" => Transform { quantise: Some(Grid::parse(spec)?), ..open },
        "geo_cell" => Transform { geo_cell: Some(Resolution::parse(spec)?), ..open },
        "time_bucket" => Transform { time_bucket: Some(time_bucket::parse(spec)?), ..open },
        "threshold" => {
            let (threshold, min_interval_us) = Threshold::parse(spec)?;
            Transform { threshold: Some(threshold), min_interval_us, ..open }
        }
        "rate" => Transform { min_interval_us: rate(spec)?, ..open },
        "delay" => Transform { delay_us: delay::parse(spec)?, ..open },
        "budget" => Transform { budget: Some(budget::parse(spec)?), ..open },
        "on_change" => Transform { on_change: Some(DeadBand::parse(spec)?), ..open },
        _ => return None,
    })
}

/// `{"op": "rate", "min_interval_ms": 1000}`
fn rate(spec: &TransformSpec) -> Option<i64> {
    spec.only(&["min_interval_ms"])?;
    spec.interval_us("min_interval_ms")
}

#[cfg(test)]
mod tests;
