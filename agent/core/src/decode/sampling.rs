//! How often a mapped signal is let through, as Kuksa's mapping files ask: `interval_ms` and `on_change`.
//!
//! ```text
//! observation ─ time since the last one that passed here ≥ interval ─▶ transform ─ another value than the last ─▶ reading
//! ```

use super::{LeafIndex, Reading, SourceAddress, State};
use crate::limits::GATE_SOURCES_MAX;
use crate::names::Moment;
use std::collections::HashMap;

/// How often values are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Shortest time between two observations that are looked at, in µs.
    pub interval_us: u64,
    /// Whether a value equal to the last one is left out.
    pub on_change: bool,
}

impl Sampling {
    /// What an entry asks for; `None` if for every observation. A second if it says nothing, no interval if it says
    /// only `on_change`.
    pub(super) fn new(interval_ms: Option<u64>, on_change: Option<bool>) -> Option<Self> {
        let on_change = on_change.unwrap_or(false);
        let interval_ms = interval_ms.unwrap_or(if on_change { 0 } else { 1_000 });
        let interval_us = interval_ms.saturating_mul(1_000);
        (interval_us > 0 || on_change).then_some(Self { interval_us, on_change })
    }

    #[expect(clippy::cast_precision_loss, reason = "far from where doubles are not exact")]
    fn interval_ms(self) -> f64 {
        self.interval_us as f64 / 1_000.0
    }
}

/// Between two moments. Kuksa subtracts seconds in doubles, in which an interval that is over to the microsecond may
/// be a hair shorter: with the same rounding the same recording gives the same readings.
#[expect(clippy::cast_precision_loss, reason = "as Kuksa")]
fn milliseconds(from: Moment, to: Moment) -> f64 {
    let seconds = |moment: Moment| moment.0 as f64 / 1_000_000.0;
    ((seconds(to) - seconds(from)) * 1_000.0).abs()
}

/// What is remembered of one leaf.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// When an observation last passed the interval.
    passed: Option<Moment>,
    /// What last came of one.
    last: Option<(State, u64)>,
}

impl Memory {
    /// Whether the interval is over. An observation from before the last one counts by the same distance: a few
    /// frames out of order are not let through, and a clock that was set back holds nothing up for longer than that.
    pub(super) fn due(&mut self, sampling: Sampling, now: Moment) -> bool {
        let due = self.passed.is_none_or(|passed| milliseconds(passed, now) >= sampling.interval_ms());
        if due {
            self.passed = Some(now);
        }
        due
    }

    /// Whether there is something new.
    pub(super) fn changed(&mut self, sampling: Sampling, reading: &Reading) -> bool {
        let new = Some((reading.state, reading.bits));
        let fine = !sampling.on_change || self.last != new;
        self.last = new;
        fine
    }
}

/// The memory of a plan's mapped leaves, in the order of the plan. Each sender of J1939 has its own.
#[derive(Debug, Default)]
pub(super) struct Memories {
    all: Vec<(LeafIndex, Vec<(SourceAddress, Memory)>)>,
}

impl Memories {
    /// Goes on with the leaves of another plan; what that does not need is forgotten.
    pub(super) fn carry(&mut self, leaves: &[LeafIndex]) {
        let mut old: HashMap<_, _> = std::mem::take(&mut self.all).into_iter().collect();
        let fresh = || vec![(SourceAddress::NONE, Memory::default())];
        self.all = leaves.iter().map(|leaf| (*leaf, old.remove(leaf).unwrap_or_else(fresh))).collect();
    }

    /// The memory at a place in the plan; of more senders than are told apart, the last share one.
    pub(super) fn get(&mut self, place: usize, sender: SourceAddress) -> Option<&mut Memory> {
        let (_, senders) = self.all.get_mut(place)?;
        let at = senders.iter().position(|(known, _)| *known == sender).unwrap_or_else(|| {
            if senders.len() < GATE_SOURCES_MAX {
                senders.push((sender, Memory::default()));
            }
            senders.len() - 1
        });
        senders.get_mut(at).map(|(_, memory)| memory)
    }
}
