//! Where frames come from: recorded logs now, SocketCAN next. Nothing here can write to a bus.

pub mod candump;
pub mod config;
pub mod replay;

use glovebox_core::limits::BUSES_MAX;
use glovebox_core::names::BusName;
use replay::{Log, Replay, ReplayError, Speed};
use serde::Deserialize;
use std::path::PathBuf;

/// Section `[bus]` of the configuration.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A recorded log instead of interfaces.
    pub replay: Option<PathBuf>,
    /// How fast it is replayed.
    pub speed: Speed,
    /// The buses; their order gives the numbers.
    pub interface: Vec<Interface>,
}

/// One `[[bus.interface]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Name of the bus in signal names.
    pub name: BusName,
    /// Name of the interface in the log, or of the kernel.
    pub interface: String,
}

/// A fault of the section: the key, as `interface[1].name`, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Key within `[bus]`.
    pub key: String,
    /// What is wrong and what to write.
    pub what: String,
}

impl Config {
    /// Everything that is wrong with the section, beside what its types refuse.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, what: String| faults.push(Fault { key: key.to_owned(), what });
        if self.replay.is_none() {
            let what = "no log to replay; live interfaces are not built yet, name a candump log".to_owned();
            fault("replay", what);
        }
        if self.interface.is_empty() {
            fault("interface", "no bus; add `[[bus.interface]]` with `name` and `interface`".to_owned());
        }
        if self.interface.len() > BUSES_MAX {
            let what = format!("{} buses, at most {BUSES_MAX} are read", self.interface.len());
            fault("interface", what);
        }
        for (index, this) in self.interface.iter().enumerate() {
            let before = &self.interface[..index];
            if before.iter().any(|other| other.name == this.name) {
                let what = format!("the bus name `{}` is used twice; give each bus its own", this.name);
                fault(&format!("interface[{index}].name"), what);
            }
            if before.iter().any(|other| other.interface == this.interface) {
                let what = format!("the interface `{}` is used twice; leave one out", this.interface);
                fault(&format!("interface[{index}].interface"), what);
            }
            let known = |c: char| c.is_ascii_graphic() && c != '/' && c != '#';
            if this.interface.is_empty() || this.interface.len() > 15 || !this.interface.chars().all(known) {
                let what =
                    format!("`{}` is no interface name: 1 to 15 characters, as `can0`", this.interface);
                fault(&format!("interface[{index}].interface"), what);
            }
        }
        faults
    }

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
