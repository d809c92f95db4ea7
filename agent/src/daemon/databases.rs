//! The configured DBC files and mappings, read and joined: what daemon, `check` and the commands decode by.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glovebox_core::decode::dbc::{Database, DbcError, strict};
use glovebox_core::decode::leaves::{BusDatabase, LeavesError};
use glovebox_core::decode::map::{MapError, Mapping};
use glovebox_core::decode::{Leaves, Notice};
use glovebox_core::limits::{DBC_FILE_BYTES_MAX, MAPPING_FILE_BYTES_MAX};
use glovebox_core::names::SignalPath;

use super::authority::{KnownLeaf, KnownLeaves};
use crate::config::{self, Decode};

/// Why the databases cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A DBC file that cannot be used.
    #[error(transparent)]
    Dbc(#[from] DbcError),
    /// A mapping that cannot be used.
    #[error(transparent)]
    Map(#[from] MapError),
    /// They do not fit together.
    #[error(transparent)]
    Names(#[from] LeavesError),
}

/// What the databases give.
#[derive(Debug, Clone)]
pub struct Databases {
    /// All leaves of the car.
    pub leaves: Arc<Leaves>,
    /// What was left out or mended.
    pub notices: Vec<Notice>,
}

impl Databases {
    /// Reads all files.
    ///
    /// # Errors
    /// Every file that cannot be used; if all can, the first name that means two signals.
    pub fn load(decode: &Decode) -> Result<Self, Vec<DatabaseError>> {
        let mut errors = Vec::new();
        let mut notices = Vec::new();
        let mut buses = Vec::new();
        for database in &decode.databases {
            buses.push(read_bus(database, &mut notices, &mut errors));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let (leaves, more) = Leaves::build(&buses).map_err(|error| vec![error.into()])?;
        notices.extend(more);
        Ok(Self { leaves: Arc::new(leaves), notices })
    }

    /// What the car knows of each leaf: as consent records hold it, and as owners read it.
    #[must_use]
    pub fn known(&self) -> KnownLeaves {
        let leaves = Arc::clone(&self.leaves);
        Box::new(move |path: &SignalPath| {
            let leaf = leaves.get(leaves.find(path)?)?;
            Some(KnownLeaf { digest: leaf.digest, unit: leaf.unit.clone() })
        })
    }
}

fn read_bus(
    database: &config::Database,
    notices: &mut Vec<Notice>,
    errors: &mut Vec<DatabaseError>,
) -> BusDatabase {
    let mut bus =
        BusDatabase { bus: database.index, name: database.bus.clone(), databases: Vec::new(), mapping: None };
    for path in &database.dbc {
        let parse = |bytes: Vec<u8>| parse_dbc(database, &bytes, path);
        match read(path, DBC_FILE_BYTES_MAX).and_then(parse) {
            Ok((parsed, more)) => {
                bus.databases.push(parsed);
                notices.extend(more);
            }
            Err(error) => errors.push(error),
        }
    }
    if let Some(path) = &database.map {
        let parse = |bytes: Vec<u8>| Ok(Mapping::parse(&bytes, &path.display().to_string())?);
        match read(path, MAPPING_FILE_BYTES_MAX).and_then(parse) {
            Ok((mapping, more)) => {
                bus.mapping = Some(mapping);
                notices.extend(more);
            }
            Err(error) => errors.push(error),
        }
    }
    bus
}

fn parse_dbc(
    wanted: &config::Database,
    bytes: &[u8],
    path: &Path,
) -> Result<(Database, Vec<Notice>), DatabaseError> {
    let place = path.display().to_string();
    let (mut parsed, notices) = if wanted.strict {
        // All of the file, also what nothing is decoded by.
        let (parsed, notices) = Database::describe(bytes, &place)?;
        strict(&notices)?;
        (parsed, notices)
    } else {
        Database::parse(bytes, &place)?
    };
    if wanted.j1939 {
        parsed.make_j1939();
    }
    Ok((parsed, notices))
}

/// At most one byte more than `max`, so that the parser can refuse it by its own words.
fn read(path: &Path, max: usize) -> Result<Vec<u8>, DatabaseError> {
    let mut bytes = Vec::new();
    let max = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)
        .and_then(|file| file.take(max).read_to_end(&mut bytes))
        .map_err(|source| DatabaseError::Unreadable { path: path.to_owned(), source })?;
    Ok(bytes)
}
