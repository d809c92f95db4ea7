//! An event, as a request asks for it and a record agrees to it: what is recorded leaves only around it.
//!
//! ```text
//!        before_s          after_s
//!    ├──────────────┤├──────────────────┤      the next one not before min_interval_s have passed
//!                   ▲ `when` becomes true
//! ```

use super::check::{Checked, Complaint, rule};
use super::error::Fault;
use crate::decode::math::Expression;
use crate::limits::{EVENT_AFTER_S_MAX, EVENT_BEFORE_S_MAX, EVENT_INTERVAL_S_MAX};
use crate::names::SignalPath;
use serde::{Deserialize, Serialize};

/// Nothing of the flow leaves but what was recorded around this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventCondition {
    /// An expression over signals of the same request, as they leave: `Vehicle.Speed > 100`. The event is that it becomes
    /// true. See [`crate::decode::math`].
    pub when: String,
    /// What was recorded so many seconds before leaves too.
    pub before_s: u32,
    /// And so many seconds after.
    pub after_s: u32,
    /// So many seconds lie between two events at least; what happens sooner is none.
    pub min_interval_s: u32,
}

impl EventCondition {
    /// `when`, over these signals: a variable is a signal's name, and its number the place there.
    ///
    /// # Errors
    /// [`Fault`]: it cannot be read, or names none of them.
    pub fn expression(&self, signals: &[&SignalPath]) -> Result<Expression, Fault> {
        let names: Vec<&str> = signals.iter().map(|path| path.as_str()).collect();
        let when = Expression::parse(&self.when, &names).map_err(Fault::Expression)?;
        if when.variables().next().is_none() {
            let what = "names no signal, so it never becomes true; compare one: `Vehicle.Speed > 100`";
            return Err(Fault::Rule(what));
        }
        Ok(when)
    }

    pub(super) fn check(&self, signals: &[&SignalPath]) -> Checked {
        self.expression(signals).map_err(|fault| Complaint::new("when", fault))?;
        rule(self.before_s <= EVENT_BEFORE_S_MAX, "before_s", "must be at most 300")?;
        rule(self.after_s <= EVENT_AFTER_S_MAX, "after_s", "must be at most 3600")?;
        rule(
            self.before_s + self.after_s > 0,
            "after_s",
            "must be at least 1 if `before_s` is 0, or nothing would leave",
        )?;
        rule(
            self.min_interval_s <= EVENT_INTERVAL_S_MAX,
            "min_interval_s",
            "must be at most 2678400, which is 31 days",
        )
    }
}

impl std::fmt::Display for EventCondition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { when, before_s, after_s, min_interval_s } = self;
        write!(f, "only from {before_s} s before to {after_s} s after this becomes true: {when}")?;
        match min_interval_s {
            0 => Ok(()),
            s => write!(f, "; not again within {s} s"),
        }
    }
}
