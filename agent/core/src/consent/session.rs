//! What somebody in the car has set for a while: sending paused, one recipient stopped, location switched off. It is no
//! consent and no document: it is met last, only takes away, and leaves no trace outside (`decisions/0018`).
//!
//! ```text
//! Effective (what documents allow) ─ under(session) ─▶ Effective (what leaves now)
//! ```

mod driver;

use super::atom;
use super::effective::{Answer, Clause, Effective, Explanation, FlowRules, SignalRules, Withheld};
use super::transform::Rule;
use crate::limits::{SESSION_HOLDS_MAX, SESSION_SECONDS_MAX, SESSION_SECONDS_MIN};
use crate::names::{DriverId, Moment, PurposeId, RecipientId, SignalPath};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use driver::{Driver, Scope};

/// What does not leave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// Nothing leaves.
    All,
    /// No place leaves.
    Location,
    /// Nothing leaves for this recipient.
    Recipient(RecipientId),
    /// Nothing leaves for this recipient and purpose.
    Flow {
        /// Whose.
        recipient: RecipientId,
        /// What for.
        purpose: PurposeId,
    },
}

impl What {
    /// All is not: it is set and ended as a whole, and what was stopped beside it stays so.
    fn includes(&self, other: &Self) -> bool {
        let of_its_own = |whose| matches!(other, Self::Flow { recipient, .. } if recipient == whose);
        self == other || matches!(self, Self::Recipient(whose) if of_its_own(whose))
    }
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Lasts {
    /// So many seconds of the car's own time line, which no clock moves.
    Seconds(u32),
    /// Until this trip ends, or somebody ends it.
    Trip,
    /// Until somebody ends it.
    UntilEnded,
}

/// One thing that was set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// What does not leave.
    pub what: What,
    /// How long.
    pub lasts: Lasts,
    /// While this driver drives; none: whoever drives.
    pub driver: Option<DriverId>,
    /// Since when, on the time line of this start of the machine.
    pub began: Moment,
    /// It is for a trip, and since it was set that was seen to go on.
    pub under_way: bool,
}

/// All that is set now. The default holds nothing back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// In order, at most one of each [`What`], driver and kind of [`Lasts`].
    holds: Vec<Hold>,
    driver: Driver,
}

/// One thing that is set, for whoever asks in the car.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HoldStatus {
    /// What does not leave.
    pub what: What,
    /// As it was set: `15m`, `trip`, `until-ended`.
    pub lasts: Lasts,
    /// Seconds that are left of a time; none if time does not end it.
    pub left_s: Option<u64>,
    /// Whether it is set for the one who drives alone.
    pub scope: Scope,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{SESSION_HOLDS_MAX} recipients and purposes are stopped already, or things set for one driver: pause everything, for \
     whoever drives, instead"
)]
pub struct Full;

impl Hold {
    /// From now on.
    #[must_use]
    pub fn new(what: What, lasts: Lasts, now: Moment) -> Self {
        Self { what, lasts, driver: None, began: now, under_way: false }
    }

    /// Its end, if time ends it.
    #[must_use]
    pub fn end(&self) -> Option<Moment> {
        match self.lasts {
            Lasts::Seconds(seconds) => Some(self.began.plus_us(i64::from(seconds) * 1_000_000)),
            Lasts::Trip | Lasts::UntilEnded => None,
        }
    }

    /// The same thing for the same kind of time.
    fn is_like(&self, other: &Self) -> bool {
        let kind = |lasts| std::mem::discriminant(&lasts);
        (&self.what, &self.driver) == (&other.what, &other.driver) && kind(self.lasts) == kind(other.lasts)
    }
}

impl Session {
    /// Nothing leaves until somebody ends it, and then no place: for whoever cannot read what was set.
    #[must_use]
    pub fn in_doubt() -> Self {
        let hold = |what| Hold::new(what, Lasts::UntilEnded, Moment(0));
        Self { holds: [What::All, What::Location].map(hold).to_vec(), driver: Driver::Unknown }
    }

    /// Sets one thing more. Of two that differ only in their end the later end counts.
    ///
    /// # Errors
    /// [`Full`]; never for all or for location, whoever drives.
    pub fn hold(&mut self, new: Hold) -> Result<(), Full> {
        if let Some(old) = self.holds.iter_mut().find(|old| old.is_like(&new)) {
            if (new.end(), new.began) > (old.end(), old.began) {
                *old = new;
                self.holds.sort();
            }
            return Ok(());
        }
        let bounded = new.driver.is_some() || matches!(new.what, What::Recipient(_) | What::Flow { .. });
        if bounded && self.holds.len() >= SESSION_HOLDS_MAX {
            return Err(Full);
        }
        self.holds.push(new);
        self.holds.sort();
        Ok(())
    }

    /// Ends this, set for this driver or for whoever drives; of a recipient, what was set for one of its purposes too.
    /// False if nothing of it was set.
    pub fn end(&mut self, what: &What, driver: Option<&DriverId>) -> bool {
        self.keep(|hold| hold.driver.as_ref() != driver || !what.includes(&hold.what))
    }

    /// Ends all that was set for this driver. False if nothing was.
    pub fn forget(&mut self, driver: &DriverId) -> bool {
        self.keep(|hold| hold.driver.as_ref() != Some(driver))
    }

    /// Somebody else drives.
    pub fn drives(&mut self, driver: Driver) {
        self.driver = driver;
    }

    /// Who drives.
    #[must_use]
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    /// What was set for the trip ends with it. False if nothing was.
    pub fn trip_ended(&mut self) -> bool {
        self.keep(|hold| hold.lasts != Lasts::Trip)
    }

    /// What the signal that tells of trips says. What was set for a trip ends when that trip was seen to go on and then
    /// not to: a pause that was set in a parked car lasts for the trip that comes. False if nothing of it is news.
    pub fn look_at_trip(&mut self, goes_on: bool) -> bool {
        if !goes_on {
            return self.keep(|hold| !hold.under_way);
        }
        let news = self.holds.iter_mut().filter(|hold| hold.lasts == Lasts::Trip && !hold.under_way);
        news.map(|hold| hold.under_way = true).count() > 0
    }

    /// Whether something ends with a trip.
    #[must_use]
    pub fn waits_for_trip(&self) -> bool {
        self.holds.iter().any(|hold| hold.lasts == Lasts::Trip)
    }

    /// Ends what is over by now. False if nothing is.
    pub fn pass(&mut self, now: Moment) -> bool {
        self.keep(|hold| hold.end().is_none_or(|end| now < end))
    }

    fn keep(&mut self, keep: impl FnMut(&Hold) -> bool) -> bool {
        let before = self.holds.len();
        self.holds.retain(keep);
        self.holds.len() < before
    }

    /// The machine was started anew: its time line begins again, and neither how long it was off is known nor who drives.
    /// Each time that was set begins again.
    #[must_use]
    pub fn begun_again(mut self, now: Moment) -> Self {
        self.holds.iter_mut().for_each(|hold| hold.began = now);
        self.driver = Driver::Unknown;
        self
    }

    /// What is held back, as of `now`: of what other drivers set nobody hears.
    #[must_use]
    pub fn status(&self, now: Moment) -> Vec<HoldStatus> {
        let left = |end: Moment| u64::try_from(end.0.saturating_sub(now.0)).unwrap_or(0).div_ceil(1_000_000);
        let status = |hold: &Hold| HoldStatus {
            what: hold.what.clone(),
            lasts: hold.lasts,
            left_s: hold.end().map(left),
            scope: if hold.driver.is_some() { Scope::Driver } else { Scope::Car },
        };
        self.applying().map(status).collect()
    }

    /// What holds something back while the one drives who does.
    fn applying(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter().filter(|hold| hold.driver.as_ref().is_none_or(|of| self.driver.may_be(of)))
    }

    /// What is set, also for drivers who do not drive now.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter()
    }

    /// Whether nothing leaves at all.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.has(&What::All)
    }

    /// Whether no place leaves.
    #[must_use]
    pub fn is_without_location(&self) -> bool {
        self.has(&What::Location)
    }

    fn has(&self, what: &What) -> bool {
        self.applying().any(|hold| hold.what == *what)
    }

    /// Whether nothing leaves for this recipient and purpose.
    #[must_use]
    pub fn stops(&self, recipient: &RecipientId, purpose: &PurposeId) -> bool {
        self.applying().any(|hold| match &hold.what {
            What::All => true,
            What::Location => false,
            What::Recipient(stopped) => stopped == recipient,
            What::Flow { recipient: whose, purpose: why } => whose == recipient && why == purpose,
        })
    }

    /// Adds to an explanation what this says. `is_location`: the signal is a place for the policy in force.
    pub fn answer(&self, explanation: &mut Explanation, is_location: bool) {
        let Explanation { recipient, purpose, answers, .. } = explanation;
        let flows = !self.stops(recipient, purpose);
        answers.push(Answer { clause: Clause::Paused, holds: flows });
        let located = !(is_location && self.is_without_location());
        answers.push(Answer { clause: Clause::LocationOff, holds: located });
    }
}

impl Effective {
    /// What leaves of it while `session` lasts. Rules stay as they are: a flow is there or not, and a place is read or
    /// not, so that nothing else of what goes out changes.
    #[must_use]
    pub fn under(mut self, session: &Session, is_location: impl Fn(&SignalPath) -> bool) -> Self {
        self.waits_for_trip = session.waits_for_trip();
        if session.is_paused() {
            let withheld = vec![Withheld { flow: None, signal: None, clause: Clause::Paused }];
            let Self { policy_version, waits_for_trip, .. } = self;
            return Self { policy_version, withheld, waits_for_trip, ..Self::default() };
        }
        let stopped = |rules: &Arc<FlowRules>| session.stops(&rules.recipient, &rules.purpose);
        let flows = self.flows.iter().filter(|rules| stopped(rules)).map(|rules| rules.flow);
        let held = flows.map(|flow| Withheld { flow: Some(flow), signal: None, clause: Clause::Paused });
        self.withheld.extend(held);
        self.flows.retain(|rules| !stopped(rules));
        if session.is_without_location() {
            self.leave_places(is_location);
        }
        self
    }

    fn leave_places(&mut self, is_location: impl Fn(&SignalPath) -> bool) {
        for rules in &self.flows {
            for signal in rules.signals.iter().filter(|it| is_location(&it.path) || makes_a_place(it)) {
                self.unread.insert(signal.leaf);
                let (flow, path) = (Some(rules.flow), Some(signal.path.clone()));
                let held = Withheld { flow, signal: path, clause: Clause::LocationOff };
                if signal.permitted != Rule::Deny && !self.withheld.contains(&held) {
                    self.withheld.push(held);
                }
            }
        }
    }
}

/// Whatever the catalogue calls it: what is named like a coordinate, or becomes a cell.
fn makes_a_place(signal: &SignalRules) -> bool {
    let cell = matches!(signal.permitted, Rule::Pass(transform) if transform.geo_cell.is_some());
    cell || signal.granted.geo_cell.is_some() || atom::coordinate(&signal.path).is_some()
}

/// `everything, 14 min left`.
impl HoldStatus {
    /// The command that lets it go.
    #[must_use]
    pub fn ended_by(&self) -> String {
        let command = match &self.what {
            What::All => "glovebox resume".to_owned(),
            What::Location => "glovebox location on".to_owned(),
            What::Recipient(recipient) => format!("glovebox resume --recipient {recipient}"),
            What::Flow { recipient, purpose } => {
                format!("glovebox resume --recipient {recipient} --purpose {purpose}")
            }
        };
        if self.scope == Scope::Driver { command + " --for-driver" } else { command }
    }
}

impl fmt::Display for HoldStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match (self.left_s, self.lasts) {
            (Some(left), _) if left > 90 => write!(f, "{what}, {} min left", left.div_ceil(60)),
            (Some(left), _) => write!(f, "{what}, {left} s left"),
            (None, Lasts::Trip) => write!(f, "{what}, until this trip ends"),
            (None, _) => write!(f, "{what}, until somebody ends it"),
        }?;
        if self.scope == Scope::Driver { f.write_str(", while this driver drives") } else { Ok(()) }
    }
}

impl fmt::Display for Lasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trip => f.write_str("trip"),
            Self::UntilEnded => f.write_str("until-ended"),
            Self::Seconds(seconds) if seconds % 3_600 == 0 => write!(f, "{}h", seconds / 3_600),
            Self::Seconds(seconds) if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
        }
    }
}

/// No such time; with the beginning of what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTime {
    /// Not understood.
    #[error("`{0}` is no time: write `15m`, `2h` (at most a day), `trip` or `until-ended`")]
    Form(String),
    /// Longer than a time that ends by itself.
    #[error(
        "`{0}` is too long: a pause that ends by itself lasts at most 24h; write `until-ended` to end it by hand"
    )]
    Long(String),
    /// No time at all.
    #[error("`{0}` is too short: it lasts at least {SESSION_SECONDS_MIN}s")]
    Short(String),
}

impl FromStr for Lasts {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Self, NoTime> {
        let told = || text.chars().take(80).collect();
        let no_time = || NoTime::Form(told());
        match text {
            "trip" => return Ok(Self::Trip),
            "until-ended" => return Ok(Self::UntilEnded),
            _ => {}
        }
        let unit = text.chars().next_back().ok_or_else(no_time)?;
        let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| no_time())?;
        let seconds = match unit {
            's' => number,
            'm' => number.saturating_mul(60),
            'h' => number.saturating_mul(3_600),
            _ => return Err(no_time()),
        };
        match seconds {
            ..SESSION_SECONDS_MIN => Err(NoTime::Short(told())),
            SESSION_SECONDS_MIN..=SESSION_SECONDS_MAX => Ok(Self::Seconds(seconds)),
            _ => Err(NoTime::Long(told())),
        }
    }
}

impl TryFrom<String> for Lasts {
    type Error = NoTime;

    fn try_from(text: String) -> Result<Self, NoTime> {
        text.parse()
    }
}

impl From<Lasts> for String {
    fn from(lasts: Lasts) -> Self {
        lasts.to_string()
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Location => f.write_str("location"),
            Self::Recipient(recipient) => write!(f, "everything for {recipient}"),
            Self::Flow { recipient, purpose } => write!(f, "{purpose} for {recipient}"),
        }
    }
}

#[cfg(test)]
mod tests;
