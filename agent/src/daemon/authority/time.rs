//! The time as the authority knows it: an interval, the persisted mark below it, and somebody in the car who mends the mark.

use super::{LocalAuthority, refused};
use crate::control::{AuthorityError, ClockStatus, TrustsClock};
use crate::policy_store::PolicyStoreError;
use glovebox_core::limits::{
    BUILD_DATE_US, ISSUED_AHEAD_US_MAX, MARK_EVERY_US, MARK_STEP_US_MAX, MARK_TIMES_AS_FAST,
};
use glovebox_core::names::WallTime;

impl LocalAuthority {
    /// Remembers that it is at least this late. To be called every second or so. A clock that is not synchronised moves the
    /// mark only so many times as fast as time passes: what it says for a moment after the start is not held against the
    /// right time for days.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub fn keep_time(&mut self) -> Result<(), PolicyStoreError> {
        self.bury_again();
        let Some(now) = self.now() else { return Ok(()) };
        let (moment, mark) = (self.clock.monotonic(), self.store.mark());
        let passed = self.kept_time.map_or(MARK_EVERY_US, |at| moment.0.saturating_sub(at.0));
        let synchronised = self.clock.synchronised();
        let may = if synchronised { MARK_STEP_US_MAX } else { passed.saturating_mul(MARK_TIMES_AS_FAST) };
        let to = now.earliest.min(WallTime(mark.0.saturating_add(may.min(MARK_STEP_US_MAX))));
        let ended = self.ends().any(|end| mark < end && end <= to);
        if ended {
            // At once, or a clock set back a little would bring it back.
            self.store.set_mark(to)?;
        } else if synchronised || passed >= MARK_EVERY_US {
            self.store.raise_mark(to)?;
        } else {
            return Ok(());
        }
        self.kept_time = Some(moment);
        Ok(())
    }

    /// When something ends by which data may leave.
    fn ends(&self) -> impl Iterator<Item = WallTime> {
        let policy = self.control.policy().map(|policy| policy.bundle().payload().expires);
        let requests = self.control.policy().into_iter().flat_map(|policy| policy.requests());
        let records = self.control.records().map(|record| record.payload().not_after);
        policy.into_iter().chain(requests.map(|request| request.payload().expires)).chain(records)
    }

    /// A clock before this is wrong whatever anybody says: the date of the release, and that of the policy in force, which
    /// was verified when it came.
    fn floor(&self) -> WallTime {
        let issued = self.control.policy().map_or(0, |policy| policy.bundle().payload().issued.0);
        WallTime(BUILD_DATE_US.max(issued.saturating_sub(ISSUED_AHEAD_US_MAX)))
    }
}

impl TrustsClock for LocalAuthority {
    fn clock(&mut self) -> Result<ClockStatus, AuthorityError> {
        let known = self.now();
        Ok(ClockStatus {
            now: self.clock.now(),
            synchronised: self.clock.synchronised(),
            mark: self.store.mark(),
            trusted: known.is_some(),
            earliest: known.map(|known| known.earliest),
            latest: known.map(|known| known.latest),
        })
    }

    fn trust_clock(&mut self) -> Result<ClockStatus, AuthorityError> {
        let (now, floor) = (self.clock.now(), self.floor());
        if now < floor {
            return Err(AuthorityError::Refused(format!(
                "the clock says {now}, and it is at least {floor}, the date of the release or of the policy in force: set \
                 the clock, and try again"
            )));
        }
        if now < self.store.mark() {
            self.store.set_mark(now).map_err(|error| refused(&error))?;
            self.kept_time = Some(self.clock.monotonic());
            self.changes.push(super::Change::InCar);
            tracing::warn!(target: "consent", %now, "somebody in the car vouches for the clock");
        }
        self.clock()
    }
}

#[cfg(test)]
mod tests;
