//! Expiry without network, and clocks that are set back or far ahead, with real stores and a clock that a test sets.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::super::{Car, Keys};
use super::*;
use crate::cli::trial::{Trial, leaves};
use crate::clock::tests::{Hand, Set};
use crate::clock::{Clock, Time as _};
use crate::control::Authority as _;
use crate::policy_store::PolicyStore;
use glovebox_core::names::Moment;
use std::sync::Arc;

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;
const DAY_US: i64 = 24 * HOUR_US;

/// A car with a grant of twenty days, and the hand on its clock.
struct Garage {
    trial: Trial,
    hand: Hand,
    now: WallTime,
}

impl Garage {
    fn new(synchronised: bool) -> Self {
        let trial = Trial::provisioned();
        trial.run("policy install @bundle.dsse").unwrap();
        trial
            .run("consent grant --yes --recipient tyres --purpose tyre-care --key @owner.key --days 20")
            .unwrap();
        let now = Clock::new().now();
        let now = WallTime(now.0 + CLOCK_SLACK_US);
        Self { trial, hand: Hand::new(Set { synchronised, ..Set::at(now, Moment(0)) }), now }
    }

    fn open(&self) -> LocalAuthority {
        let state = self.trial.state();
        let car = Car { device: "car-1".parse().unwrap(), groups: Vec::new() };
        let keys = Keys::open(&state, car).unwrap();
        let store = Box::new(PolicyStore::open(&state).unwrap());
        LocalAuthority::new(keys, store, Arc::new(self.hand.clone()), leaves()).unwrap()
    }

    /// An authority whose mark has come up to the clock, whenever this release is tested.
    fn kept(&self) -> LocalAuthority {
        let mut authority = self.open();
        let synchronised = self.hand.synchronised();
        self.hand.set(|set| set.synchronised = true);
        while authority.mark().0 + HOUR_US < self.now.0 {
            authority.keep_time().unwrap();
        }
        self.hand.set(|set| set.synchronised = synchronised);
        authority
    }

    /// The clock says so much more than at the beginning.
    fn set(&self, later_us: i64) {
        self.hand.set(|set| set.wall = WallTime(self.now.0 + later_us));
    }

    /// So many seconds of an authority that keeps the time, each with the clock going on.
    fn seconds(&self, authority: &mut LocalAuthority, count: i64) {
        for _ in 0..count {
            authority.keep_time().unwrap();
            self.hand.set(|set| {
                set.wall = WallTime(set.wall.0 + SECOND_US);
                set.moment = Moment(set.moment.0 + SECOND_US);
            });
        }
    }
}

/// A record that was made a moment ago is live for a clock that is not synchronised too.
const CLOCK_SLACK_US: i64 = 300 * SECOND_US;

/// When the grant ends, after the beginning.
const END_US: i64 = 20 * DAY_US - CLOCK_SLACK_US;

fn is_live(authority: &mut LocalAuthority) -> bool {
    authority.list().unwrap()[0].live
}

#[test]
fn invariant_3_a_grant_expires_without_a_network_and_a_clock_set_back_does_not_bring_it_back() {
    let garage = Garage::new(true);
    let mut authority = garage.kept();
    assert!(is_live(&mut authority));
    // The mark comes up to a few minutes before, and is not written for a few minutes more.
    garage.set(END_US - 330 * SECOND_US);
    garage.seconds(&mut authority, 30);
    assert!(is_live(&mut authority), "five minutes before its end");
    garage.set(END_US);
    assert!(!is_live(&mut authority), "at its end");
    // Once it is surely over a clock that is set back by a minute does not help either.
    garage.seconds(&mut authority, 30);
    garage.set(END_US - 60 * SECOND_US);
    assert!(authority.now().is_none() && !is_live(&mut authority), "set back by a minute");
    garage.set(END_US + 30 * SECOND_US);
    garage.seconds(&mut authority, 30);
    garage.set(DAY_US);
    assert!(authority.now().is_none() && !is_live(&mut authority), "set back");
    drop(authority);
    let mut authority = garage.open();
    assert!(authority.now().is_none() && !is_live(&mut authority), "set back, and restarted");
    garage.set(END_US + HOUR_US);
    assert!(authority.now().is_some() && !is_live(&mut authority), "right again, and over");
}

#[test]
fn a_clock_that_is_wrong_for_a_moment_after_the_start_costs_hours_and_not_days() {
    let garage = Garage::new(false);
    drop(garage.kept());
    // The battery is flat, the clock says anything, until it is set some seconds later.
    let mut authority = garage.open();
    garage.set(3_650 * DAY_US);
    garage.seconds(&mut authority, 60);
    garage.set(60 * SECOND_US);
    assert!(authority.now().is_none(), "it was later before");
    garage.set(4 * HOUR_US + CLOCK_SLACK_US);
    assert!(authority.now().is_some() && is_live(&mut authority));
}

#[test]
fn a_clock_far_ahead_does_not_poison_the_mark_for_ever() {
    let garage = Garage::new(true);
    let mut authority = garage.open();
    garage.set(3_650 * DAY_US);
    garage.seconds(&mut authority, 400);
    garage.set(HOUR_US);
    assert!(authority.now().is_none() && !authority.clock().unwrap().trusted);
    let clock = authority.trust_clock().unwrap();
    assert!(clock.trusted && clock.mark == clock.now && is_live(&mut authority), "{clock:?}");
    assert_eq!(authority.take_changes(), [crate::daemon::authority::Change::InCar]);
    drop(authority);
    let mut authority = garage.open();
    assert!(authority.now().is_some() && is_live(&mut authority), "mended for good");
    // A clock that is believed anyway needs nobody.
    authority.trust_clock().unwrap();
    assert!(authority.take_changes().is_empty());
}

#[test]
fn nobody_vouches_for_a_clock_before_the_policy_in_force() {
    let garage = Garage::new(true);
    let mut authority = garage.kept();
    for wrong in [-10 * DAY_US, -garage.now.0] {
        garage.set(wrong);
        let error = authority.trust_clock().unwrap_err().to_string();
        assert!(error.contains("set the clock, and try again"), "{error}");
        assert!(authority.now().is_none());
    }
}

#[test]
fn how_far_the_clock_may_be_off_depends_on_whether_it_is_synchronised() {
    let width = |synchronised| {
        let clock = Set { synchronised, ..Set::at(WallTime(BUILD_DATE_US + DAY_US), Moment(0)) };
        let known = clock.trusted(WallTime(BUILD_DATE_US)).unwrap();
        known.latest.0 - known.earliest.0
    };
    assert_eq!((width(true), width(false)), (2 * SECOND_US, 240 * SECOND_US));
}
