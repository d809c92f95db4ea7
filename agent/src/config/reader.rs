//! Takes typed values out of a table and notes every fault on the way, so that all are told at once.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::Files;
use super::fault::{Fault, FaultKind, Hint, Place};
use super::source::{Item, Table, Value};

/// Every table and its keys. The reader refuses all others.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    ("bus", &["replay", "speed", "interface"]),
    ("bus.interface", &["name", "interface"]),
    ("decode", &["database"]),
    ("decode.database", &["bus", "dbc", "map", "strict", "j1939"]),
    ("consent", &["device", "groups", "policy_folder", "trip"]),
    ("consent.trip", &["signal", "equals", "at_least", "at_most"]),
    ("batch", &["age_s", "size_kib"]),
    ("seal", &[]),
    ("outbox", &["size_mib", "flow_size_mib", "free_mib", "gather_s"]),
    (
        "uplink",
        &[
            "broker",
            "protocol",
            "ca",
            "cert",
            "key",
            "keep_alive_s",
            "rate_kbit_s",
            "return_s",
            "urgent",
            "bulk",
            "only_when",
        ],
    ),
    ("uplink.only_when", &["classes", "networks", "interfaces", "signal", "equals", "at_least", "at_most"]),
    ("ledger", &[]),
    ("health", &["state", "control_socket"]),
];

/// Those of the inner tables that there is one of; of the others there are lists.
pub(super) const SINGLE: &[&str] = &["uplink.only_when", "consent.trip"];

/// Proof that a fault has been noted: made by [`Collector::tell`] only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told(());

/// What reading a value gives.
pub(super) type Read<T> = Result<T, Told>;

/// Gathers the faults.
pub(super) struct Collector {
    pub(super) faults: Vec<Fault>,
    files: Files,
    first_file: Place,
    /// Something is not TOML: what is missing may only be unreadable.
    cut: bool,
    /// Lines with such a fault: what follows from it is not told as well.
    spoiled: Vec<Place>,
}

impl Collector {
    pub(super) fn new(first: &Path, files: Files, faults: Vec<Fault>) -> Self {
        let first_file = Place { file: first.into(), position: None };
        let spoiled = faults.iter().map(|fault| fault.place.clone()).collect();
        Self { cut: !faults.is_empty(), faults, files, first_file, spoiled }
    }

    pub(super) fn tell(&mut self, place: &Place, kind: FaultKind) -> Told {
        let may_be_cut = matches!(kind, FaultKind::Missing { .. } | FaultKind::UnknownBus { .. });
        let follows = (self.cut && may_be_cut) || self.spoiled.iter().any(|line| same_line(line, place));
        if !follows {
            self.faults.push(Fault { place: place.clone(), kind });
        }
        Told(())
    }

    /// Whether the caller reads the files that are named.
    pub(super) fn needs_files(&self) -> bool {
        self.files == Files::MustExist
    }

    /// Notes tables that do not exist, and keys that do not exist in those that do.
    pub(super) fn check_names(&mut self, root: &Table) {
        for (name, entry) in &root.0 {
            match (keys_of(name), &entry.item.value) {
                (None, _) => {
                    let hint = hint_for(name, None);
                    self.tell(&entry.key, FaultKind::Unknown { key: name.clone(), hint });
                }
                (Some(_), Value::Table(table)) => self.check_keys(name, table),
                (Some(_), value) => {
                    let wanted = "its keys under a line with the section in square brackets";
                    let key = name.clone();
                    self.tell(&entry.key, FaultKind::WrongType { key, found: value.kind(), wanted });
                    self.spoiled.push(entry.key.clone());
                }
            }
        }
    }

    fn check_keys(&mut self, section: &str, table: &Table) {
        let known = keys_of(section).unwrap_or(&[]);
        for (name, entry) in &table.0 {
            let path = format!("{section}.{name}");
            if !known.contains(&name.as_str()) {
                let hint = hint_for(name, Some(section));
                self.tell(&entry.key, FaultKind::Unknown { key: path, hint });
            } else if keys_of(&path).is_some() {
                let inner = match &entry.item.value {
                    Value::List(items) => items.as_slice(),
                    _ => std::slice::from_ref(&entry.item),
                };
                for item in inner {
                    if let Value::Table(inner) = &item.value {
                        self.check_keys(&path, inner);
                    }
                }
            }
        }
    }
}

fn same_line(one: &Place, other: &Place) -> bool {
    let line = |place: &Place| place.position.map(|(line, _)| line);
    one.file == other.file && line(one) == line(other)
}

fn keys_of(section: &str) -> Option<&'static [&'static str]> {
    KEYS.iter().find(|(name, _)| *name == section).map(|(_, keys)| *keys)
}

fn hint_for(name: &str, section: Option<&str>) -> Hint {
    let sections = || KEYS.iter().map(|(name, _)| *name).filter(|name| !name.contains('.'));
    let here = match section {
        Some(section) => Hint::nearest(name, keys_of(section).unwrap_or(&[]).iter().copied()),
        None => Hint::nearest(name, sections()),
    };
    let home = KEYS.iter().find(|(home, keys)| Some(*home) != section && keys.contains(&name));
    match (here, home) {
        (Hint::Known(_), Some((home, _))) => Hint::Elsewhere((*home).to_owned()),
        (hint, _) => hint,
    }
}

/// One section, or one table of a list.
pub(super) struct Reader<'t> {
    path: String,
    table: Option<&'t Table>,
    home: Place,
}

impl<'t> Reader<'t> {
    /// The section `name`; it need not be there.
    pub(super) fn section(root: &'t Table, name: &str, collector: &Collector) -> Self {
        let entry = root.0.get(name);
        let table = entry.and_then(|entry| match &entry.item.value {
            Value::Table(table) => Some(table),
            _ => None,
        });
        let home = entry.map_or_else(|| collector.first_file.clone(), |entry| entry.key.clone());
        Self { path: name.to_owned(), table, home }
    }

    /// The tables of the list `key`, numbered from 1; none if it is not there.
    pub(super) fn tables(&self, key: &str, collector: &mut Collector) -> Read<Vec<Reader<'t>>> {
        let Some(item) = self.get(key) else { return Ok(Vec::new()) };
        let path = self.name(key);
        let wanted = "a list of tables, each under [[…]]";
        let Value::List(items) = &item.value else {
            return Err(self.wrong(key, item, wanted, collector));
        };
        let reader = |(number, item): (usize, &'t Item)| match &item.value {
            Value::Table(table) => {
                let home = item.place.clone();
                Ok(Reader { path: format!("{path}[{}]", number + 1), table: Some(table), home })
            }
            _ => Err(self.wrong(key, item, wanted, collector)),
        };
        items.iter().enumerate().map(reader).collect()
    }

    /// The table `key` inside this one, if it is there.
    pub(super) fn inner(&self, key: &str, collector: &mut Collector) -> Read<Option<Reader<'t>>> {
        let Some(item) = self.get(key) else { return Ok(None) };
        let Value::Table(table) = &item.value else {
            return Err(self.wrong(
                key,
                item,
                "its keys under a line with its name in square brackets",
                collector,
            ));
        };
        let home = self.table.and_then(|outer| outer.0.get(key)).map(|entry| entry.key.clone());
        let home = home.unwrap_or_else(|| item.place.clone());
        Ok(Some(Reader { path: self.name(key), table: Some(table), home }))
    }

    pub(super) fn get(&self, key: &str) -> Option<&'t Item> {
        self.table?.0.get(key).map(|entry| &entry.item)
    }

    pub(super) fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Where a fault of `key` is: at its value, or at the section.
    pub(super) fn place(&self, key: &str) -> Place {
        self.get(key).map_or_else(|| self.home.clone(), |item| item.place.clone())
    }

    pub(super) fn missing(&self, key: &str, example: &'static str, collector: &mut Collector) -> Told {
        collector.tell(&self.home, FaultKind::Missing { key: self.name(key), example })
    }

    pub(super) fn wrong(&self, key: &str, item: &Item, wanted: &'static str, to: &mut Collector) -> Told {
        let kind = FaultKind::WrongType { key: self.name(key), found: item.value.kind(), wanted };
        to.tell(&item.place, kind)
    }

    /// A text that `parse` makes a value of; `None` if it is not there.
    pub(super) fn parsed<T, E: Display>(
        &self,
        key: &str,
        example: &'static str,
        collector: &mut Collector,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Read<Option<T>> {
        let Some(item) = self.get(key) else { return Ok(None) };
        let Value::Text(text) = &item.value else {
            return Err(self.wrong(key, item, "a text in quotes", collector));
        };
        let malformed = |why: E| FaultKind::Malformed { key: self.name(key), why: why.to_string(), example };
        parse(text).map(Some).map_err(|why| collector.tell(&item.place, malformed(why)))
    }

    /// The same, and it must be there.
    pub(super) fn needed<T, E: Display>(
        &self,
        key: &str,
        example: &'static str,
        collector: &mut Collector,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Read<T> {
        match self.parsed(key, example, collector, parse)? {
            Some(value) => Ok(value),
            None => Err(self.missing(key, example, collector)),
        }
    }

    /// A whole number within its bounds, or the default.
    pub(super) fn number(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
        default: u64,
        collector: &mut Collector,
    ) -> Read<u64> {
        let Some(item) = self.get(key) else { return Ok(default) };
        let Value::Integer(number, text) = &item.value else {
            return Err(self.wrong(key, item, "a whole number without quotes", collector));
        };
        match number.and_then(|number| u64::try_from(number).ok()).filter(|number| range.contains(number)) {
            Some(number) => Ok(number),
            None => Err(self.outside(key, text, &range, collector)),
        }
    }

    /// True or false; false if it is not there.
    pub(super) fn flag(&self, key: &str, collector: &mut Collector) -> Read<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(Item { value: Value::Boolean(value), .. }) => Ok(*value),
            Some(item) => Err(self.wrong(key, item, "`true` or `false` without quotes", collector)),
        }
    }

    /// Notes that a value or a count is outside its bounds.
    pub(super) fn outside<V: Display, B: Display>(
        &self,
        key: &str,
        found: V,
        range: &RangeInclusive<B>,
        collector: &mut Collector,
    ) -> Told {
        let kind = FaultKind::OutOfRange {
            key: self.name(key),
            found: found.to_string(),
            min: range.start().to_string(),
            max: range.end().to_string(),
        };
        collector.tell(&self.place(key), kind)
    }

    /// A list of texts with their places; empty if it is not there.
    pub(super) fn texts(&self, key: &str, collector: &mut Collector) -> Read<Vec<(&'t str, Place)>> {
        let Some(item) = self.get(key) else { return Ok(Vec::new()) };
        let Value::List(items) = &item.value else {
            return Err(self.wrong(key, item, "a list of texts in square brackets", collector));
        };
        let mut told = None;
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(text) => texts.push((text.as_str(), item.place.clone())),
                _ => told = Some(self.wrong(key, item, "a text in quotes", collector)),
            }
        }
        told.map_or(Ok(texts), Err)
    }

    /// A path, relative to the folder of the file that names it; `None` if it is not there.
    pub(super) fn path(&self, key: &str, collector: &mut Collector) -> Read<Option<PathBuf>> {
        let Some(item) = self.get(key) else { return Ok(None) };
        let Value::Text(text) = &item.value else {
            return Err(self.wrong(key, item, "a path in quotes", collector));
        };
        self.resolve(key, text, &item.place, collector).map(Some)
    }

    /// A path of a file that must be there and readable, if the caller needs the files.
    pub(super) fn file(&self, key: &str, collector: &mut Collector) -> Read<Option<PathBuf>> {
        match self.path(key, collector)? {
            Some(path) => self.exists(key, path, &self.place(key), collector).map(Some),
            None => Ok(None),
        }
    }

    /// The same, and it must be named.
    pub(super) fn needed_file(
        &self,
        key: &str,
        example: &'static str,
        collector: &mut Collector,
    ) -> Read<PathBuf> {
        match self.file(key, collector)? {
            Some(path) => Ok(path),
            None => Err(self.missing(key, example, collector)),
        }
    }

    /// Files of a list; each must be there and readable, if the caller needs the files.
    pub(super) fn files(&self, key: &str, collector: &mut Collector) -> Read<Vec<(PathBuf, Place)>> {
        let mut told = None;
        let mut paths = Vec::new();
        for (text, place) in self.texts(key, collector)? {
            let path = self
                .resolve(key, text, &place, collector)
                .and_then(|path| self.exists(key, path, &place, collector));
            match path {
                Ok(path) => paths.push((path, place)),
                Err(error) => told = Some(error),
            }
        }
        told.map_or(Ok(paths), Err)
    }

    fn resolve(&self, key: &str, text: &str, place: &Place, collector: &mut Collector) -> Read<PathBuf> {
        if text.contains("-----BEGIN") {
            return Err(collector.tell(place, FaultKind::SecretInside { key: self.name(key) }));
        }
        if text.is_empty() || text.contains(['\0', '\n']) {
            let why = "a path is not empty and has no line break".to_owned();
            let kind = FaultKind::Malformed { key: self.name(key), why, example: "\"folder/file\"" };
            return Err(collector.tell(place, kind));
        }
        Ok(place.file.parent().unwrap_or(Path::new("")).join(text))
    }

    /// The file must be there and readable, if the caller needs the files.
    pub(super) fn exists(
        &self,
        key: &str,
        path: PathBuf,
        place: &Place,
        collector: &mut Collector,
    ) -> Read<PathBuf> {
        if collector.files == Files::NotNeeded {
            return Ok(path);
        }
        let reason = match std::fs::File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => return Ok(path),
            Ok(_) => "it is not a file".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(collector.tell(place, FaultKind::NoFile { key: self.name(key), path, reason }))
    }

    /// A folder that must be there, if the caller needs the files; `None` if it is not named.
    pub(super) fn folder(&self, key: &str, collector: &mut Collector) -> Read<Option<PathBuf>> {
        let Some(path) = self.path(key, collector)? else { return Ok(None) };
        if collector.files == Files::NotNeeded {
            return Ok(Some(path));
        }
        match std::fs::read_dir(&path) {
            Ok(_) => Ok(Some(path)),
            Err(error) => {
                let reason = error.to_string();
                let kind = FaultKind::NoFile { key: self.name(key), path, reason };
                Err(collector.tell(&self.place(key), kind))
            }
        }
    }
}
