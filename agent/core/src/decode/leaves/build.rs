//! Databases and mappings of each bus to leaves, with their paths.

use super::derivation::{Unfit, derive};
use super::digest::digest;
use super::{BusDatabase, Leaf, LeavesError};
use crate::decode::dbc::{Database, Message, Signal};
use crate::decode::map::{Mapped, Mapping};
use crate::decode::predicate::DERIVED;
use crate::decode::{LeafIndex, Notice, Sampling, ValueType};
use crate::frame::CanId;
use crate::limits::LEAVES_MAX;
use crate::names::{NameError, SignalPath};
use std::collections::{HashMap, HashSet};

/// Collects leaves, keeps paths unique.
#[derive(Default)]
pub(super) struct Builder {
    all: Vec<Leaf>,
    by_path: HashMap<SignalPath, LeafIndex>,
    /// Beside `all`: where each was written.
    origins: Vec<Origin>,
    notices: Vec<Notice>,
    /// Databases before those of the current bus.
    databases: usize,
}

/// Where a leaf was written.
#[derive(Clone)]
struct Origin {
    place: String,
    /// Number of the database, over all buses.
    database: usize,
}

/// One signal of a bus with all that its leaf is made of.
#[derive(Clone, Copy)]
struct Source<'d> {
    /// Number of the signal within the bus.
    number: usize,
    /// Number of the database within the bus.
    file: usize,
    bus: &'d BusDatabase,
    database: &'d Database,
    message: &'d Message,
    /// An earlier message of the database has the same name.
    twin: bool,
    signal: &'d Signal,
}

impl Source<'_> {
    fn place(&self) -> String {
        format!("{}:{}", self.database.place, self.signal.line)
    }

    /// Whether two signals of one database say the same in different messages.
    fn alike(&self, other: &Self) -> bool {
        let (a, b) = (self.signal, other.signal);
        self.file == other.file
            && (a.layout, a.value_type, &a.selectors) == (b.layout, b.value_type, &b.selectors)
            && (a.scale, a.offset, a.range) == (b.scale, b.offset, b.range)
            && (&a.unit, &a.names) == (&b.unit, &b.names)
    }
}

impl Builder {
    pub(super) fn finish(self) -> (Vec<Leaf>, HashMap<SignalPath, LeafIndex>, Vec<Notice>) {
        (self.all, self.by_path, self.notices)
    }

    /// Adds the leaves of one bus.
    pub(super) fn bus(&mut self, bus: &BusDatabase) -> Result<(), LeavesError> {
        let vss = self.resolve(bus)?;
        for source in sources(bus) {
            let mut plain = true;
            for mapped in vss.get(&source.number).into_iter().flatten() {
                let Some((mapping, leaf)) = bus.mapping.as_ref().zip(self.mapped(source, mapped)) else {
                    continue;
                };
                self.add(source, leaf, mapping.place_of(mapped))?;
                plain = false;
            }
            if plain {
                self.add_plain(source)?;
            }
        }
        self.databases += bus.databases.len();
        Ok(())
    }

    /// Which signals of the bus have which VSS names, by number of the signal.
    fn resolve<'b>(&mut self, bus: &'b BusDatabase) -> Result<HashMap<usize, Vec<&'b Mapped>>, LeavesError> {
        let mut vss: HashMap<usize, Vec<&'b Mapped>> = HashMap::new();
        let Some(mapping) = &bus.mapping else { return Ok(vss) };
        let mut by_name: HashMap<&str, Vec<Source<'_>>> = HashMap::new();
        for source in sources(bus) {
            by_name.entry(&source.signal.name).or_default().push(source);
        }
        for mapped in &mapping.entries {
            if mapped.path.as_str().starts_with(DERIVED) {
                self.leave_out(mapping, mapped, "the names of derived signals are the agent's own");
                continue;
            }
            let found = by_name.get(mapped.signal.as_str()).map_or(&[][..], Vec::as_slice);
            match found {
                [] => self.leave_out(
                    mapping,
                    mapped,
                    &format!("no database of bus `{}` has its signal", bus.name),
                ),
                [source] => vss.entry(source.number).or_default().push(mapped),
                // Within one file the first counts, as for everything else that a DBC has twice.
                [first, others @ ..] if others.iter().all(|other| first.alike(other)) => {
                    let what = format!(
                        "{}: the database has its signal in several messages, all alike; the first counts, at {}",
                        mapped.at,
                        first.place()
                    );
                    self.tell_mapping(mapping, what);
                    vss.entry(first.number).or_default().push(mapped);
                }
                [first, second, ..] => {
                    return Err(LeavesError::Ambiguous {
                        at: mapping.place_of(mapped),
                        bus: bus.name.clone(),
                        first: first.place(),
                        second: second.place(),
                    });
                }
            }
        }
        Ok(vss)
    }

    /// The leaf that an entry makes of its signal; `None` if its transform does not fit: the value without it would
    /// be wrong.
    fn mapped(&mut self, source: Source<'_>, mapped: &Mapped) -> Option<Leaf> {
        let mapping = source.bus.mapping.as_ref()?;
        let mut leaf = leaf(source, mapped.path.clone());
        if let Some(transform) = &mapped.transform {
            let derivation = derive(&mut leaf, transform, &mut |unfit| match unfit {
                Unfit::Pair(at) => {
                    let what = "the value table of its signal has no such name, so that the pair is left out; write one of its names";
                    self.tell_mapping(mapping, format!("{at}.from: {what}"));
                }
                Unfit::Entry(why) => self.leave_out(mapping, mapped, &why),
            });
            leaf.derivation = Some(derivation?);
        }
        if let Some(unit) = &mapped.leaf.unit {
            leaf.unit.clone_from(unit);
        }
        // Neither true and false nor texts have a range.
        let texts =
            leaf.derivation.is_some() && matches!(leaf.value_type, ValueType::Boolean | ValueType::Unsigned);
        if let Some((least, most)) = mapped.leaf.range.filter(|_| !texts) {
            let (low, high) = leaf.range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
            let (low, high) = (low.max(least), high.min(most));
            if low > high {
                let what =
                    "the ranges in the VSS and in the database do not meet, so that no value is within";
                self.tell_mapping(mapping, format!("{}: {what}", mapped.at));
            }
            leaf.range = Some((low, high));
        }
        leaf.sampling = Sampling::new(mapped.interval_ms, mapped.on_change);
        Some(leaf)
    }

    fn leave_out(&mut self, mapping: &Mapping, mapped: &Mapped, why: &str) {
        self.tell_mapping(mapping, format!("{}: the entry is left out: {why}", mapped.at));
    }

    fn tell_mapping(&mut self, mapping: &Mapping, what: String) {
        self.notices.push(Notice { place: mapping.place.clone(), line: 0, column: 0, what });
    }

    /// Adds a signal under its `CAN.` name.
    fn add_plain(&mut self, source: Source<'_>) -> Result<(), LeavesError> {
        match can_path(source) {
            Ok(path) => self.add(source, leaf(source, path), source.place()),
            Err(NameError::Length { max, .. }) => {
                self.tell(source, format!("the signal is left out: its name has more than {max} characters"));
                Ok(())
            }
            Err(NameError::Character { .. }) => {
                self.tell(source, "the signal is left out: its name cannot be written".to_owned());
                Ok(())
            }
        }
    }

    fn add(&mut self, source: Source<'_>, mut leaf: Leaf, place: String) -> Result<(), LeavesError> {
        leaf.digest = digest(&leaf, &source.bus.name);
        let origin = Origin { place, database: self.databases + source.file };
        let first = self.by_path.get(&leaf.path).and_then(|first| usize::try_from(first.0).ok());
        if let Some(first) = first.and_then(|first| self.all.get(first).zip(self.origins.get(first))) {
            let (same, before) = (first.0.digest == leaf.digest, first.1.clone());
            // Within one file the first counts, as for everything else that a DBC has twice.
            if same || before.database == origin.database {
                self.tell(source, format!("the signal is left out: {} has the same name", before.place));
                return Ok(());
            }
            return Err(LeavesError::Duplicate { first: before.place, second: origin.place });
        }
        if self.all.len() >= LEAVES_MAX {
            return Err(LeavesError::TooMany { max: LEAVES_MAX });
        }
        let index = u32::try_from(self.all.len()).map_err(|_| LeavesError::TooMany { max: LEAVES_MAX })?;
        self.by_path.insert(leaf.path.clone(), LeafIndex(index));
        self.all.push(leaf);
        self.origins.push(origin);
        Ok(())
    }

    fn tell(&mut self, source: Source<'_>, what: String) {
        let (place, line) = (source.database.place.clone(), source.signal.line);
        self.notices.push(Notice { place, line, column: 1, what });
    }
}

fn sources(bus: &BusDatabase) -> impl Iterator<Item = Source<'_>> {
    let messages = bus.databases.iter().enumerate().flat_map(|(file, database)| {
        let mut names = HashSet::new();
        database
            .messages
            .iter()
            .map(move |message| (file, database, message, !names.insert(clean(&message.name))))
    });
    let signals = messages.flat_map(|(file, database, message, twin)| {
        message.signals.iter().map(move |signal| (file, database, message, twin, signal))
    });
    signals.enumerate().map(move |(number, (file, database, message, twin, signal))| Source {
        number,
        file,
        bus,
        database,
        message,
        twin,
        signal,
    })
}

/// `CAN.<bus>.<Message>.<Signal>`. Some files have several messages of one name: the later ones are told apart by
/// their identifier, `CAN.<bus>.<Message>-<hex>.<Signal>`.
fn can_path(source: Source<'_>) -> Result<SignalPath, NameError> {
    let Source { bus, message, twin, signal, .. } = source;
    let id = match message.id {
        CanId::Standard(id) => format!("-{id:x}"),
        CanId::Extended(id) => format!("-{id:08x}"),
    };
    let id = if twin { id.as_str() } else { "" };
    SignalPath::new(&format!("CAN.{}.{}{id}.{}", bus.name, clean(&message.name), clean(&signal.name)))
}

/// A character that a name in a path may not have becomes `_`.
pub(super) fn clean(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The signal as it is in the database; its digest is still to come.
fn leaf(source: Source<'_>, path: SignalPath) -> Leaf {
    let Source { bus, message, signal, .. } = source;
    Leaf {
        path,
        bus: bus.bus,
        id: message.id,
        j1939: message.j1939,
        size: message.size,
        message: message.name.clone(),
        signal: signal.name.clone(),
        unit: signal.unit.clone(),
        value_type: signal.value_type,
        scale: signal.scale,
        offset: signal.offset,
        names: signal.names.clone(),
        range: signal.range,
        layout: signal.layout,
        selectors: signal.selectors.clone(),
        derivation: None,
        sampling: None,
        made: None,
        digest: crate::names::Digest([0; 32]),
    }
}
