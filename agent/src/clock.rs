//! The only reader of the clock.
//!
//! Time is an interval around what the system clock says: narrow if the system says that the clock is synchronised, as wide
//! as a quartz runs off if not. It is doubted if it contradicts what is known: the date of the release and the persisted
//! mark, the highest time seen before. Doubt denies.
//!
//! The kernel's own word on synchronisation (`adjtimex`) cannot be had in safe code with the crates used here; what
//! systemd-timesyncd leaves in `/run` says the same. With another service the clock counts as not synchronised.

use glovebox_core::limits::{BUILD_DATE_US, CLOCK_DRIFT_US, CLOCK_ERROR_US};
use glovebox_core::names::{Moment, TrustedTime, WallTime};
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

/// There since the first synchronisation of this start of the machine.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
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

    /// Whether the system says that the wall time is synchronised.
    fn synchronised(&self) -> bool {
        false
    }

    /// What is known of the wall time, if the clock does not contradict `mark` and the date of the release.
    fn trusted(&self, mark: WallTime) -> Option<TrustedTime> {
        let error_us = if self.synchronised() { CLOCK_ERROR_US } else { CLOCK_DRIFT_US };
        interval(self.now(), mark, error_us)
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
        // The unit hides that file and passes on what is in it.
        let told = std::env::var("GLOVEBOX_BOOT").ok();
        let id = told.or_else(|| std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok());
        id.unwrap_or_default().trim().replace('-', "")
    }

    fn synchronised(&self) -> bool {
        std::path::Path::new(SYNCHRONISED).exists()
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

fn interval(now: WallTime, mark: WallTime, error_us: i64) -> Option<TrustedTime> {
    if now.0 < BUILD_DATE_US || now < mark {
        return None;
    }
    Some(TrustedTime {
        earliest: WallTime(now.0.saturating_sub(error_us)),
        latest: WallTime(now.0.saturating_add(error_us)),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
pub(crate) mod tests {
    use super::{Clock, Time, interval};
    use glovebox_core::limits::BUILD_DATE_US;
    use glovebox_core::names::{Moment, WallTime};
    use std::sync::{Arc, Mutex};

    /// Clocks that say what a test sets.
    #[derive(Debug, Clone)]
    pub(crate) struct Set {
        pub(crate) wall: WallTime,
        pub(crate) moment: Moment,
        pub(crate) boot: String,
        pub(crate) synchronised: bool,
    }

    impl Set {
        pub(crate) fn at(wall: WallTime, moment: Moment) -> Self {
            Self { wall, moment, boot: String::new(), synchronised: true }
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

        fn synchronised(&self) -> bool {
            self.synchronised
        }
    }

    /// The same, in the hand of a test that sets them while somebody reads them.
    #[derive(Debug, Clone)]
    pub(crate) struct Hand(Arc<Mutex<Set>>);

    impl Hand {
        pub(crate) fn new(set: Set) -> Self {
            Self(Arc::new(Mutex::new(set)))
        }

        pub(crate) fn set(&self, change: impl FnOnce(&mut Set)) {
            change(&mut self.0.lock().unwrap());
        }
    }

    impl Time for Hand {
        fn now(&self) -> WallTime {
            self.0.lock().unwrap().now()
        }

        fn monotonic(&self) -> Moment {
            self.0.lock().unwrap().monotonic()
        }

        fn boot(&self) -> String {
            self.0.lock().unwrap().boot()
        }

        fn synchronised(&self) -> bool {
            self.0.lock().unwrap().synchronised()
        }
    }

    #[test]
    fn the_release_date_is_the_day_it_says() {
        assert_eq!(WallTime(BUILD_DATE_US).to_string(), "2026-11-01T00:00:00Z");
    }

    #[test]
    fn a_clock_set_back_is_doubted_and_one_that_goes_on_is_trusted() {
        let mark = WallTime(BUILD_DATE_US + 1_000_000_000);
        assert_eq!(interval(WallTime(0), WallTime(0), 1), None, "no battery: 1970");
        assert_eq!(interval(WallTime(BUILD_DATE_US - 1), WallTime(0), 1), None, "before the release");
        assert_eq!(interval(WallTime(mark.0 - 1), mark, 1), None, "before what was seen");
        let now = interval(mark, mark, 1).unwrap();
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
