//! Spans of time that lie on a public grid: whole multiples of their length since 1970, so that spans of two lengths
//! nest in those of their least common multiple.

/// A length of time in whole seconds, counted from the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    seconds: i64,
}

impl Period {
    /// `None` unless it is above zero.
    #[must_use]
    pub fn from_s(seconds: i64) -> Option<Self> {
        (seconds > 0).then_some(Self { seconds })
    }

    /// Seconds.
    #[must_use]
    pub fn s(self) -> i64 {
        self.seconds
    }

    /// Microseconds.
    #[must_use]
    pub fn us(self) -> i64 {
        self.seconds.saturating_mul(1_000_000)
    }

    /// The shortest period whose edges both have; `None` if it is longer than `max_s`.
    pub(super) fn meet(self, other: Self, max_s: i64) -> Option<Self> {
        let (a, b) = (self.seconds, other.seconds);
        let seconds = (a / gcd(a, b)).checked_mul(b)?;
        (seconds <= max_s).then_some(Self { seconds })
    }

    /// The edge at or before a wall time, both in microseconds.
    #[must_use]
    pub fn edge_us(self, wall_us: i64) -> i64 {
        wall_us.saturating_sub(wall_us.rem_euclid(self.us()))
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
