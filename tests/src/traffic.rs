//! A drive of one signal whose values do not compress: batches of a size that is known beforehand.

use crate::agent::Bus;
use crate::random::Random;
use anyhow::Result;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The one signal.
pub const SIGNAL: &str = "CAN.can0.M.A";

const DBC: &str = "VERSION \"\"\nNS_ :\nBS_ :\nBU_: X\nBO_ 256 M: 4 X\n SG_ A : 0|32@1- (1,0) [0|0] \"\" X\n";

/// A log and the database of its bus.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// candump log.
    pub log: PathBuf,
    /// Its bus.
    pub bus: Bus,
}

impl Traffic {
    /// Writes it into `folder`: `rate` samples a second, each about five bytes in a batch.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(folder: &Path, rate: u32, time: Duration) -> Result<Self> {
        let mut random = Random::new("traffic");
        let mut text = String::new();
        let rate = u64::from(rate);
        for at in 0..rate * time.as_secs() {
            let (second, micros) = (at / rate, at % rate * 1_000_000 / rate);
            let value = random.below(1 << 32);
            let _ = writeln!(text, "({}.{micros:06}) can0 100#{value:08X}", 1_700_000_000 + second);
        }
        let (log, dbc) = (folder.join("traffic.log"), folder.join("traffic.dbc"));
        std::fs::write(&log, text)?;
        std::fs::write(&dbc, DBC)?;
        let bus = Bus { name: "can0".to_owned(), interface: "can0".to_owned(), dbc: vec![dbc] };
        Ok(Self { log, bus })
    }
}
