//! DBC files and mappings: readable, understood, and without a name that means two signals.

use std::io::Read as _;
use std::path::Path;

use glovebox_core::decode::Notice;
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, Leaves};
use glovebox_core::decode::map::Mapping;
use glovebox_core::limits::{DBC_FILE_BYTES_MAX, MAPPING_FILE_BYTES_MAX};
use glovebox_core::names::BusName;

use super::Finding;
use crate::config::{self, Config};

/// Notices shown of one check; `glovebox decode --notices` shows all.
const NOTICES_SHOWN: usize = 5;

const MEND: &str = "mend the file at that place, or leave it out";

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = bare_buses(config);
    let mut notices = Vec::new();
    let mut buses = Vec::new();
    for database in &config.decode.databases {
        match read(database, &mut notices) {
            Ok(bus) => buses.push(bus),
            Err(faults) => findings.extend(faults.iter().map(|fault| Finding::fail("decode", fault, MEND))),
        }
    }
    if buses.len() == config.decode.databases.len() {
        match Leaves::build(&buses) {
            Ok((leaves, more)) => {
                notices.extend(more);
                findings.push(Finding::ok("decode", format!("{} signals can be decoded", leaves.len())));
            }
            Err(error) => findings.push(Finding::fail("decode", error, "as it says")),
        }
    }
    findings.extend(told(&notices));
    findings
}

/// What was left out is worth a look, a thousand lines of it are not.
fn told(notices: &[Notice]) -> Vec<Finding> {
    let shown = notices.iter().take(NOTICES_SHOWN);
    let mut findings: Vec<Finding> =
        shown.map(|notice| Finding::warn("decode", notice, "fine if that signal is not needed")).collect();
    if notices.len() > NOTICES_SHOWN {
        let more = format!("{} more notices about databases", notices.len() - NOTICES_SHOWN);
        findings.push(Finding::warn("decode", more, "`glovebox decode --notices` shows all"));
    }
    findings
}

fn bare_buses(config: &Config) -> Vec<Finding> {
    let covered = |name: &BusName| config.decode.databases.iter().any(|database| database.bus == *name);
    let bare = config.bus.interface.iter().filter(|interface| !covered(&interface.name));
    bare.map(|interface| {
        Finding::warn(
            "decode",
            format!("bus `{}` has no database: none of its frames is decoded", interface.name),
            "add a [[decode.database]] for it, or remove the [[bus.interface]]",
        )
    })
    .collect()
}

/// The database of one bus, or every file of it that cannot be used.
fn read(database: &config::Database, notices: &mut Vec<Notice>) -> Result<BusDatabase, Vec<String>> {
    let mut faults = Vec::new();
    let mut databases = Vec::new();
    for path in &database.dbc {
        let place = path.display().to_string();
        let parsed = bytes(path, DBC_FILE_BYTES_MAX)
            .and_then(|bytes| Database::parse(&bytes, &place).map_err(|error| error.to_string()));
        match parsed {
            Ok((parsed, more)) => {
                databases.push(parsed);
                notices.extend(more);
            }
            Err(fault) => faults.push(fault),
        }
    }
    let mapping = database.map.as_ref().map(|path| {
        let place = path.display().to_string();
        bytes(path, MAPPING_FILE_BYTES_MAX)
            .and_then(|bytes| Mapping::parse(&bytes, &place).map_err(|error| error.to_string()))
    });
    let mapping = match mapping.transpose() {
        Ok(mapping) => mapping.map(|(mapping, more)| {
            notices.extend(more);
            mapping
        }),
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    if faults.is_empty() {
        return Ok(BusDatabase { bus: database.index, name: database.bus.clone(), databases, mapping });
    }
    Err(faults)
}

/// At most one byte more than `max`, so that the parser can refuse it by its own words.
fn bytes(path: &Path, max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let max = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)
        .and_then(|file| file.take(max).read_to_end(&mut bytes))
        .map(|_| bytes)
        .map_err(|error| format!("{}: {error}", path.display()))
}
