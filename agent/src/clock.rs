//! The only reader of the clock.
//!
//! The kernel's own word on synchronisation (`adjtimex`) cannot be had in safe code with the crates used here, so the
//! system clock is taken as right to a second unless it contradicts what is known: the date of the release and the
//! persisted mark, the highest time seen before. A contradiction is doubt, and doubt denies.

use glovebox_core::limits::{BUILD_DATE_US, CLOCK_ERROR_US};
use glovebox_core::names::{Moment, TrustedTime, WallTime};
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

/// Two clocks that were read within this were read together.
const APART_US: i64 = 100;
/// Tried so often; a machine that is busier than that has no better reading.
const READINGS_MAX: u32 = 8;

/// What is decided by time asks these; a test puts others in their place.
pub trait Time: Debug + Send + Sync {
    /// Wall time as the system says it, right or wrong.
    fn now(&self) -> WallTime;

    /// The car's own time line: never steps, and goes on while the car sleeps.
    fn monotonic(&self) -> Moment;

    /// Which start of the machine its time line began with; nothing if that is not known.
    fn boot(&self) -> String {
        String::new()
    }

    /// What is known of the wall time, if the clock does not contradict `mark` and the date of the release.
    fn trusted(&self, mark: WallTime) -> Option<TrustedTime> {
        interval(self.now(), mark)
    }
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Time for Clock {
    fn now(&self) -> WallTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Moment {
        // The clock exists on every Linux since 2.6.39; without it nothing would be due, which sends nothing.
        Moment(clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.num_microseconds()))
    }

    fn boot(&self) -> String {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    }
}

impl Clock {
    /// The clocks of this system.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// Both clocks as of one moment. A thread that was put aside between two readings would see a step of the wall clock
    /// where there was none, so the readings that lie closest together count.
    #[must_use]
    pub fn both(&self) -> (WallTime, Moment) {
        let read = || {
            let (before, wall, after) = (self.monotonic(), self.now(), self.monotonic());
            let apart = after.0 - before.0;
            (apart, wall, Moment(before.0 + apart / 2))
        };
        let mut best = read();
        for _ in 1..READINGS_MAX {
            if best.0 <= APART_US {
                break;
            }
            best = std::cmp::min(best, read());
        }
        (best.1, best.2)
    }
}

fn interval(now: WallTime, mark: WallTime) -> Option<TrustedTime> {
    if now.0 < BUILD_DATE_US || now < mark {
        return None;
    }
    Some(TrustedTime {
        earliest: WallTime(now.0.saturating_sub(CLOCK_ERROR_US)),
        latest: WallTime(now.0.saturating_add(CLOCK_ERROR_US)),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
pub(crate) mod tests {
    use super::{Clock, Time, interval};
    use glovebox_core::limits::BUILD_DATE_US;
    use glovebox_core::names::{Moment, WallTime};

    /// Clocks that say what a test sets.
    #[derive(Debug, Clone)]
    pub(crate) struct Set {
        pub(crate) wall: WallTime,
        pub(crate) moment: Moment,
        pub(crate) boot: String,
    }

    impl Set {
        pub(crate) fn at(wall: WallTime, moment: Moment) -> Self {
            Self { wall, moment, boot: String::new() }
        }
    }

    impl Time for Set {
        fn now(&self) -> WallTime {
            self.wall
        }

        fn monotonic(&self) -> Moment {
            self.moment
        }

        fn boot(&self) -> String {
            self.boot.clone()
        }
    }

    #[test]
    fn the_release_date_is_the_day_it_says() {
        assert_eq!(WallTime(BUILD_DATE_US).to_string(), "2026-11-01T00:00:00Z");
    }

    #[test]
    fn a_clock_set_back_is_doubted_and_one_that_goes_on_is_trusted() {
        let mark = WallTime(BUILD_DATE_US + 1_000_000_000);
        assert_eq!(interval(WallTime(0), WallTime(0)), None, "no battery: 1970");
        assert_eq!(interval(WallTime(BUILD_DATE_US - 1), WallTime(0)), None, "before the release");
        assert_eq!(interval(WallTime(mark.0 - 1), mark), None, "before what was seen");
        let now = interval(mark, mark).unwrap();
        assert!(now.earliest < mark && mark < now.latest);
    }

    #[test]
    fn the_time_line_never_goes_back() {
        let clock = Clock::new();
        let readings: Vec<_> = (0..1_000).map(|_| clock.monotonic()).collect();
        assert!(readings.is_sorted() && readings[0].0 > 0);
        assert!(clock.trusted(WallTime(0)).is_some(), "this machine's clock is before the release");
    }

    #[test]
    fn both_clocks_are_read_as_of_one_moment() {
        let clock = Clock::new();
        let before = clock.monotonic();
        let (wall, moment) = clock.both();
        assert!((before..=clock.monotonic()).contains(&moment));
        assert!(wall <= clock.now());
    }
}
