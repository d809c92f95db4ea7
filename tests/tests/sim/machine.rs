//! What the machine does to the agent: its clocks, power that goes, a disk that fills up, fails or is made read-only.

use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use glovebox::clock::Time;
use glovebox_core::names::{Moment, WallTime};
use glovebox_tests::seeded::Seeded;

/// The power went, or the process was killed: carried up through the code that ran at that moment.
pub struct Cut;

/// What the disk does with what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    Sound,
    /// Takes nothing that needs more room.
    Full,
    ReadOnly,
    /// Fails once in three times.
    Failing,
}

/// What is asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Read,
    /// Needs more room.
    Grow,
    /// Changes what is there, or a name.
    Change,
    Sync,
}

#[derive(Debug)]
struct State {
    random: Seeded,
    temper: Temper,
    /// Operations of the disk until the power goes.
    cut_in: Option<u64>,
    wall_us: i64,
    moment_us: i64,
}

/// Shared by all that stands on it.
#[derive(Debug, Clone)]
pub struct Machine(Arc<Mutex<State>>);

impl Machine {
    pub fn new(random: Seeded, wall_us: i64) -> Self {
        let state = State { random, temper: Temper::Sound, cut_in: None, wall_us, moment_us: 1_000_000 };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn below(&self, end: u64) -> u64 {
        self.state().random.below(end)
    }

    pub fn set_temper(&self, temper: Temper) {
        self.state().temper = temper;
    }

    pub fn temper(&self) -> Temper {
        self.state().temper
    }

    /// The power goes at the `operations`-th operation from now.
    pub fn cut_in(&self, operations: Option<u64>) {
        self.state().cut_in = operations;
    }

    /// Moves both clocks on.
    pub fn pass(&self, us: i64) {
        let mut state = self.state();
        state.wall_us += us;
        state.moment_us += us;
    }

    pub fn step_wall(&self, to_us: i64) {
        self.state().wall_us = to_us;
    }

    /// A moment at which the power may go; it does not come back if it does.
    pub fn moment(&self) {
        let mut state = self.state();
        match state.cut_in {
            Some(0) => {
                state.cut_in = None;
                drop(state);
                resume_unwind(Box::new(Cut));
            }
            left => state.cut_in = left.map(|left| left - 1),
        }
    }

    /// One operation of the disk.
    pub fn op(&self, op: Op) -> io::Result<()> {
        self.moment();
        let mut state = self.state();
        let (full, read_only, failed) = (28, 30, 5);
        let errno = match (state.temper, op) {
            (Temper::Full, Op::Grow) => full,
            (Temper::ReadOnly, Op::Grow | Op::Change) => read_only,
            (Temper::Failing, _) if state.random.one_in(3) => failed,
            _ => return Ok(()),
        };
        Err(io::Error::from_raw_os_error(errno))
    }
}

impl Time for Machine {
    fn now(&self) -> WallTime {
        WallTime(self.state().wall_us)
    }

    fn monotonic(&self) -> Moment {
        Moment(self.state().moment_us)
    }

    fn synchronised(&self) -> bool {
        true
    }
}
