//! What is read before the first frame: databases and the mapping, and for each interface the decoder made of them.

use super::{Args, lines::Lines};
use crate::cli::glob::matches;
use crate::cli::{dbc, read_bounded};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::{BusDatabase, Leaf};
use glovebox_core::decode::map::Mapping;
use glovebox_core::decode::{Decoder, Leaves, Notice, Plan};
use glovebox_core::frame::BusIndex;
use glovebox_core::limits::MAPPING_FILE_BYTES_MAX;
use glovebox_core::names::BusName;
use std::io::{self, Write as _};

/// Notices shown without `--notices`.
const NOTICES_SHOWN: usize = 10;

/// Databases and mapping, the same for each interface.
pub(super) struct Files {
    databases: Vec<Database>,
    mapping: Option<Mapping>,
    notices: Vec<Notice>,
}

/// The decoder of one interface, which is bus 0 to it.
pub(super) struct Bus {
    pub(super) leaves: Leaves,
    pub(super) decoder: Decoder,
    pub(super) lines: Lines,
}

impl Files {
    pub(super) fn read(args: &Args) -> anyhow::Result<Self> {
        let mut files = Self { databases: Vec::new(), mapping: None, notices: Vec::new() };
        for path in &args.dbc {
            let (mut database, notices) = dbc::read(path, args.strict)?;
            if args.j1939 {
                database.make_j1939();
            }
            files.databases.push(database);
            files.notices.extend(notices);
        }
        if let Some(path) = &args.map {
            let bytes = read_bounded(path, MAPPING_FILE_BYTES_MAX)?;
            let (mapping, notices) = Mapping::parse(&bytes, &path.display().to_string())?;
            files.mapping = Some(mapping);
            files.notices.extend(notices);
        }
        Ok(files)
    }

    pub(super) fn bus(&mut self, args: &Args, interface: &str) -> anyhow::Result<Bus> {
        let bus = BusDatabase {
            bus: BusIndex(0),
            name: bus_name(interface)?,
            databases: self.databases.clone(),
            mapping: self.mapping.clone(),
        };
        let (leaves, notices) = Leaves::build(&[bus])?;
        // The same files give the same notices on each interface.
        for notice in notices {
            if !self.notices.contains(&notice) {
                self.notices.push(notice);
            }
        }
        let wanted = leaves.iter().filter(|(_, leaf)| wanted(&args.signal, leaf));
        let wanted: Vec<_> = wanted.map(|(index, _)| index).collect();
        if wanted.is_empty() {
            if !args.signal.is_empty() {
                self.tell(args.notices)?;
            }
            return Err(self.nothing_wanted(args));
        }
        let decoder = Decoder::new(Plan::compile(&leaves, &wanted));
        let lines = Lines::new(args.format, args.all, interface, &leaves)?;
        Ok(Bus { leaves, decoder, lines })
    }

    /// Why there is no signal to decode: the filter, or what is wrong with the files.
    fn nothing_wanted(&self, args: &Args) -> anyhow::Error {
        if !args.signal.is_empty() {
            return anyhow::anyhow!(
                "no signal of the databases matches `--signal {}`",
                args.signal.join(" ")
            );
        }
        match (self.notices.first(), args.dbc.first()) {
            (Some(notice), _) => anyhow::anyhow!("no signal can be decoded: {notice}"),
            (None, Some(file)) => anyhow::anyhow!("{}: no signal is in the database", file.display()),
            (None, None) => anyhow::anyhow!("no database was given"),
        }
    }

    /// What was left out or mended, on standard error.
    pub(super) fn tell(&self, all: bool) -> io::Result<()> {
        let mut err = io::stderr().lock();
        let shown = if all { self.notices.len() } else { NOTICES_SHOWN };
        for notice in self.notices.iter().take(shown) {
            writeln!(err, "{notice}")?;
        }
        if self.notices.len() > shown {
            writeln!(err, "{} more notices; `--notices` shows all", self.notices.len() - shown)?;
        }
        Ok(())
    }
}

/// An interface's name as the bus in signal names.
pub(in crate::cli) fn bus_name(interface: &str) -> anyhow::Result<BusName> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name: String = interface.chars().map(|c| if fits(c) { c } else { '_' }).take(32).collect();
    Ok(BusName::new(&name)?)
}

/// Whether some glob matches the path, `Message.Signal` or the signal's name; all if there is no glob.
fn wanted(globs: &[String], leaf: &Leaf) -> bool {
    let both = format!("{}.{}", leaf.message, leaf.signal);
    let names = [leaf.path.as_str(), both.as_str(), leaf.signal.as_str()];
    globs.is_empty() || globs.iter().any(|glob| names.iter().any(|name| matches(glob, name)))
}
