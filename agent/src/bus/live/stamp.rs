//! From the kernel's and the controller's time stamps to the car's own time line.
//!
//! The kernel stamps in wall time, which may step; the time line does not. The distance between the two is taken once
//! and kept until it has moved by more than [`BUS_CLOCK_STEP_US`]: so a sample's wall time is the kernel's own stamp,
//! to the microsecond, and a step shifts nothing that was stamped before it.

use glovebox_core::limits::{BUS_CLOCK_STEP_US, BUS_HARDWARE_DRIFT_PPM};
use glovebox_core::names::{Moment, WallTime};

/// Both clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Wall time, right or wrong.
    pub wall: WallTime,
    /// The car's time line.
    pub moment: Moment,
}

/// The time line of all buses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLine {
    offset_us: i64,
    now: Moment,
    before: Moment,
}

impl TimeLine {
    /// Begins at these clocks.
    #[must_use]
    pub fn new(clocks: Clocks) -> Self {
        Self { offset_us: clocks.wall.0 - clocks.moment.0, now: clocks.moment, before: clocks.moment }
    }

    /// Wall time less moment, in microseconds.
    #[must_use]
    pub fn offset_us(&self) -> i64 {
        self.offset_us
    }

    /// Looks at the clocks before a read; whether wall time has stepped, so that the offset is another one now.
    pub fn look(&mut self, clocks: Clocks) -> bool {
        (self.before, self.now) = (self.now, clocks.moment);
        let offset_us = clocks.wall.0 - clocks.moment.0;
        let stepped = (offset_us - self.offset_us).abs() > BUS_CLOCK_STEP_US;
        if stepped {
            self.offset_us = offset_us;
        }
        stepped
    }

    /// When a frame was received that the kernel stamped so. A stamp from before a step of the clock, or none at all,
    /// lies outside of what can be: such a frame came between the last read and this one, and counts as of now.
    #[must_use]
    pub fn moment(&self, stamp: Option<WallTime>) -> Moment {
        let Some(stamp) = stamp else { return self.now };
        let moment = Moment(stamp.0 - self.offset_us);
        // A frame may have waited in the kernel for longer than one read; an hour is no wait.
        let earliest = self.before.plus_us(-BACKLOG_US_MAX);
        let latest = self.now.plus_us(ASIDE_US_MAX);
        if (earliest..=latest).contains(&moment) { moment } else { self.now }
    }
}

/// Frames wait in the kernel's buffer at most so long before the read that finds them.
const BACKLOG_US_MAX: i64 = 60_000_000;

/// The clocks are looked at before a read. A busy machine may put the thread aside in between, and the frames that come
/// meanwhile bear later stamps, all of them right.
const ASIDE_US_MAX: i64 = 1_000_000;

/// A driver hands a frame over within this.
const LATE_US_MAX: i64 = 1_000_000;

/// The clock of one CAN controller against the kernel's. Its stamps have no jitter but run from another zero and a
/// little fast or slow; the kernel's are late by the way through the driver, never early. So the smallest distance seen
/// is the best, and it may grow only as fast as clocks drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HardwareClock {
    best: Option<(i64, i64)>,
}

impl HardwareClock {
    /// Wall time of a frame stamped `hardware_us` by the controller and `kernel` by the kernel.
    pub(super) fn wall(&mut self, hardware_us: i64, kernel: WallTime) -> WallTime {
        let distance = kernel.0 - hardware_us;
        let grown = |(best, since): (i64, i64)| {
            let passed = (hardware_us - since).max(0);
            best + passed / 1_000_000 * BUS_HARDWARE_DRIFT_PPM
        };
        let best = match self.best.map(grown) {
            // Nothing is that late: the controller or the kernel's clock was set.
            Some(best) if distance - best > LATE_US_MAX => distance,
            Some(best) => best.min(distance),
            None => distance,
        };
        if self.best.is_none_or(|(known, since)| best != known || hardware_us < since) {
            self.best = Some((best, hardware_us));
        }
        WallTime(hardware_us + best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clocks(wall: i64, moment: i64) -> Clocks {
        Clocks { wall: WallTime(wall), moment: Moment(moment) }
    }

    #[test]
    fn a_stamp_keeps_its_wall_time_to_the_microsecond() {
        let mut line = TimeLine::new(clocks(1_000_000_000, 5_000_000));
        assert!(!line.look(clocks(1_001_003_000, 6_000_000)), "slewed by 3 ms: no step");
        let stamp = WallTime(1_000_999_123);
        assert_eq!(line.moment(Some(stamp)).0 + line.offset_us(), stamp.0);
    }

    #[test]
    fn a_step_of_the_clock_moves_no_moment() {
        let year = 365 * 24 * 3_600 * 1_000_000;
        for step in [year, -year, 3_600_000_000, -500_000] {
            let mut line = TimeLine::new(clocks(2 * year, 5_000_000));
            assert!(line.look(clocks(2 * year + 1_000_000 + step, 6_000_000)));
            let after = line.moment(Some(WallTime(2 * year + 1_000_000 + step)));
            assert_eq!(after, Moment(6_000_000));
            let old = line.moment(Some(WallTime(2 * year + 900_000)));
            assert!((Moment(5_000_000)..=Moment(7_000_000)).contains(&old), "{step}: {old:?}");
        }
    }

    #[test]
    fn a_frame_that_came_after_the_look_at_the_clocks_keeps_its_stamp() {
        let line = TimeLine::new(clocks(1_000_000_000, 5_000_000));
        for late in [1, 12_000, 900_000] {
            assert_eq!(line.moment(Some(WallTime(1_000_000_000 + late))), Moment(5_000_000 + late));
        }
    }

    #[test]
    fn without_a_stamp_it_is_now() {
        let mut line = TimeLine::new(clocks(10, 10));
        line.look(clocks(1_010, 1_010));
        assert_eq!(line.moment(None), Moment(1_010));
    }

    proptest! {
        /// A controller whose clock is off by some days and drifts, a driver that is late by up to 5 ms.
        #[test]
        fn the_controllers_clock_is_followed(
            zero in -1_000_000_000_000_i64..1_000_000_000_000, ppm in -100_i64..100,
            late in proptest::collection::vec(0_i64..5_000, 200..400),
        ) {
            let mut clock = HardwareClock::default();
            for (true_us, late) in (0_i64..).step_by(100_000).zip(late.iter().copied().chain([0; 10])) {
                let hardware = zero + true_us + true_us * ppm / 1_000_000;
                let wall = clock.wall(hardware, WallTime(true_us + late));
                prop_assert!(wall.0 <= true_us + late, "never later than the kernel saw it");
                prop_assert!(wall.0 > true_us - 5_000, "{} at {true_us}", wall.0);
            }
        }

        #[test]
        fn a_controller_that_was_set_anew_is_followed_at_once(jump in prop_oneof![20_000_i64..1_000_000_000, -1_000_000_000_i64..-1_000_001]) {
            let mut clock = HardwareClock::default();
            clock.wall(1_000_000, WallTime(1_000_000));
            prop_assert_eq!(clock.wall(2_000_000 + jump, WallTime(2_000_000)), WallTime(2_000_000));
        }
    }
}
