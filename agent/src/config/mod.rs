//! TOML to a checked configuration: all faults at once, each with its place.
//!
//! Files are laid over each other: a key of a later file wins, a section may be split, lists of tables
//! (`[[…]]`) add up. Paths are relative to the folder of the file that names them.

mod delivery;
mod fault;
mod reader;
mod sections;
mod source;
mod uplink;

use std::path::{Path, PathBuf};

use glovebox_core::limits::CONFIG_FILES_MAX;

pub use crate::bus::Config as Bus;
pub use crate::uplink::Config as Uplink;
pub use delivery::{Delivery, OnlyWhen, Signal};
pub(crate) use fault::nearest;
pub use fault::{Fault, FaultKind, Faults, Hint, Place};
pub use sections::{Batch, Consent, Database, Decode, Health, Outbox};

use reader::Collector;

/// Where the configuration is if nothing else is said.
pub const DEFAULT_FILE: &str = "/etc/glovebox/glovebox.toml";

/// A checked configuration: one field a stage. `[seal]` and `[ledger]` have nothing to set.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[bus]`: the position of an interface is its `BusIndex`.
    pub bus: Bus,
    /// `[decode]`.
    pub decode: Decode,
    /// `[consent]`.
    pub consent: Consent,
    /// `[batch]`.
    pub batch: Batch,
    /// `[outbox]`.
    pub outbox: Outbox,
    /// `[uplink]`: where to, and how.
    pub uplink: Uplink,
    /// `[uplink]`: in which order, and when.
    pub delivery: Delivery,
    /// `[health]`.
    pub health: Health,
}

/// Whether the files that the configuration names must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// `run` and `check`.
    MustExist,
    /// Commands that only need names and folders of it.
    NotNeeded,
}

impl Config {
    /// Reads `files`, later ones over earlier ones.
    ///
    /// # Errors
    /// All faults of all files.
    pub fn load(files: &[PathBuf], named: Files) -> Result<Self, Faults> {
        let first = files.first().map_or(Path::new(DEFAULT_FILE), PathBuf::as_path);
        let mut faults = Vec::new();
        if files.len() > CONFIG_FILES_MAX {
            let kind = FaultKind::TooManyFiles { count: files.len(), max: CONFIG_FILES_MAX };
            return Err(Faults(vec![Fault { place: Place { file: first.into(), position: None }, kind }]));
        }
        let mut root = source::Table::default();
        for file in files {
            root.overlay(source::read(file, &mut faults));
        }
        let mut collector = Collector::new(first, named, faults);
        collector.check_names(&root);
        match Self::assemble(&root, &mut collector) {
            Ok(config) if collector.faults.is_empty() => Ok(config),
            _ => Err(sorted(collector.faults, files)),
        }
    }

    /// Every section is read before the first fault counts, so that all are noted.
    fn assemble(root: &source::Table, to: &mut Collector) -> reader::Read<Self> {
        let interfaces = sections::read_interfaces(root, to);
        let decode = Decode::read(root, &interfaces, to);
        let bus = sections::read_bus(root, interfaces, to);
        let consent = Consent::read(root, to);
        let batch = Batch::read(root, to);
        let outbox = Outbox::read(root, to);
        let uplink = uplink::read(root, to);
        let delivery = Delivery::read(root, to);
        let health = Health::read(root, to);
        Ok(Self {
            bus: bus?,
            decode: decode?,
            consent: consent?,
            batch: batch?,
            outbox: outbox?,
            uplink: uplink?,
            delivery: delivery?,
            health: health?,
        })
    }
}

/// Every section as `[section]` or `[[list]]`, and every key as `key =`.
#[must_use]
pub fn keys() -> Vec<String> {
    let is_table = |path: &str| reader::KEYS.iter().any(|(name, _)| *name == path);
    let mut all = Vec::new();
    for (name, keys) in reader::KEYS {
        let single = !name.contains('.') || reader::SINGLE.contains(name);
        all.push(if single { format!("[{name}]") } else { format!("[[{name}]]") });
        let plain = keys.iter().filter(|key| !is_table(&format!("{name}.{key}")));
        all.extend(plain.map(|key| format!("{key} =")));
    }
    all
}

fn sorted(mut faults: Vec<Fault>, files: &[PathBuf]) -> Faults {
    let order = |fault: &Fault| files.iter().position(|file| **file == *fault.place.file);
    faults.sort_by_key(|fault| (order(fault), fault.place.position));
    Faults(faults)
}

/// The files to read: those that were named, or the default one and the drop-ins beside it in the order
/// of their names.
///
/// # Errors
/// The folder of the drop-ins is there and cannot be read.
pub fn files(named: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
    if named.is_empty() { with_drop_ins(Path::new(DEFAULT_FILE)) } else { Ok(named.to_vec()) }
}

fn with_drop_ins(main: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut drop_ins = Vec::new();
    match std::fs::read_dir(main.with_extension("d")) {
        Ok(entries) => {
            for entry in entries {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    drop_ins.push(path);
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    drop_ins.sort();
    drop_ins.insert(0, main.to_owned());
    Ok(drop_ins)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_follow_the_main_file_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("glovebox.toml");
        let beside = folder.path().join("glovebox.d");
        assert_eq!(with_drop_ins(&main).unwrap(), std::slice::from_ref(&main));
        std::fs::create_dir(&beside).unwrap();
        for name in ["20-b.toml", "10-a.toml", "notes.txt", "30-c.toml.bak"] {
            std::fs::write(beside.join(name), "").unwrap();
        }
        let expected = [main, beside.join("10-a.toml"), beside.join("20-b.toml")];
        assert_eq!(with_drop_ins(&expected[0]).unwrap(), expected);
    }
}
