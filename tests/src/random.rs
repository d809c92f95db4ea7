//! Random choices that a printed seed repeats.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// xorshift64* (Vigna, 2016): good enough to choose moments.
#[derive(Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Seeded by `GLOVEBOX_SEED`, else by the clock; the seed is printed.
    #[must_use]
    pub fn new(test: &str) -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.subsec_nanos().into());
        let given = std::env::var("GLOVEBOX_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = given.unwrap_or(clock);
        crate::need::say(&format!("{test}: GLOVEBOX_SEED={seed}"));
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    /// From 0 to `end`, without `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % end.max(1)
    }

    /// Sleeps for less than `most`.
    pub fn sleep(&mut self, most: Duration) {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        std::thread::sleep(Duration::from_micros(self.below(most)));
    }
}
