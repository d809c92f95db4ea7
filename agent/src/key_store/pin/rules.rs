//! What may be a PIN: long enough, and not what is tried first.

use glovebox_core::limits::{PIN_BYTES_MAX, PIN_BYTES_MIN};
use std::fmt;
use zeroize::Zeroizing;

/// Fewer different characters than this are a pattern.
const DIFFERENT_MIN: usize = 4;
/// Walks over a keypad or keyboard, and words, of those that are chosen most; runs and repeats are found by rule.
const COMMON: [&str; 16] = [
    "102030", "123654", "147258", "147852", "159357", "159753", "258456", "321654", "741852", "753951",
    "789456", "963852", "password", "qwertz", "qwerty", "letmein",
];

/// A PIN as somebody entered it. Overwritten when it is dropped.
pub struct Pin(Zeroizing<Vec<u8>>);

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

/// Why a PIN cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinRule {
    /// Short or long.
    #[error("a PIN has {PIN_BYTES_MIN} to {PIN_BYTES_MAX} characters: choose another")]
    Length,
    /// A character that not every keyboard gives alike.
    #[error("a PIN is made of digits, letters and signs of ASCII, without spaces: choose another")]
    Characters,
    /// Guessed first.
    #[error(
        "this PIN is among those that are tried first (few different characters, a run, a repeat): choose another"
    )]
    Trivial,
}

impl Pin {
    /// As it was entered.
    #[must_use]
    pub fn entered(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are the same: of two entries of a new PIN.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Whether it may be set.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check(&self) -> Result<(), PinRule> {
        let bytes = self.bytes();
        if !(PIN_BYTES_MIN..=PIN_BYTES_MAX).contains(&bytes.len()) {
            return Err(PinRule::Length);
        }
        if !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(PinRule::Characters);
        }
        if is_trivial(&bytes.to_ascii_lowercase()) { Err(PinRule::Trivial) } else { Ok(()) }
    }
}

fn is_trivial(bytes: &[u8]) -> bool {
    let mut different = bytes.to_vec();
    different.sort_unstable();
    different.dedup();
    let step = |pair: &[u8]| i16::from(pair[1]) - i16::from(pair[0]);
    // 789012 and 321098 go on over the end of the digits.
    let is_run = |step_by: i16| bytes.windows(2).all(|pair| [step_by, -9 * step_by].contains(&step(pair)));
    let repeats = (1..=bytes.len() / 2).any(|period| {
        bytes.len().is_multiple_of(period) && bytes.chunks(period).all(|chunk| chunk == &bytes[..period])
    });
    let is_common = COMMON.iter().any(|common| bytes.starts_with(common.as_bytes()));
    different.len() < DIFFERENT_MIN || is_run(1) || is_run(-1) || repeats || is_common
}
