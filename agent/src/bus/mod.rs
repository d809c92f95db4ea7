//! Where frames come from: SocketCAN interfaces or a recorded log. Nothing here can write to a bus.

pub mod asc;
mod candump;
pub mod config;
pub mod line;
pub mod live;
pub mod replay;
mod states;

pub use states::{Controller, Link, States};

use glovebox_core::names::BusName;
use replay::{Log, Replay, ReplayError, Speed};
use std::path::PathBuf;

/// Section `[bus]` of the configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// A recorded log instead of interfaces.
    pub replay: Option<PathBuf>,
    /// How fast it is replayed.
    pub speed: Speed,
    /// The buses; their order gives the numbers.
    pub interface: Vec<Interface>,
}

/// One `[[bus.interface]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name of the bus in signal names.
    pub name: BusName,
    /// Name of the interface in the log, or of the kernel.
    pub interface: String,
}

impl Config {
    /// Opens the log; `None` if none is configured.
    ///
    /// # Errors
    /// If the log cannot be opened.
    pub fn open(&self) -> Result<Option<Replay>, ReplayError> {
        let Some(path) = &self.replay else { return Ok(None) };
        let interfaces = self.interface.iter().map(|interface| interface.interface.clone()).collect();
        Ok(Some(Replay::new(Log::open(path)?, interfaces)))
    }
}
