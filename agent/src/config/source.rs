//! A configuration file as a tree in which each key and value knows its place; trees of several files
//! are laid over each other.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use glovebox_core::limits::CONFIG_FILE_BYTES_MAX;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, FaultKind, Place};

/// A value with its place.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What TOML can say, without dates: no key takes one.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    /// With its text, for it may not fit.
    Integer(Option<i128>, String),
    Float(f64),
    Boolean(bool),
    Date,
    List(Vec<Item>),
    Table(Table),
}

/// A table; each key knows where it stands.
#[derive(Debug, Default)]
pub(super) struct Table(pub(super) BTreeMap<String, Entry>);

/// A key's place and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Place,
    pub(super) item: Item,
}

impl Value {
    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(..) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Boolean(_) => "true or false",
            Self::Date => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    fn tables_only(&self) -> bool {
        matches!(self, Self::List(items) if items.iter().all(|item| matches!(item.value, Self::Table(_))))
    }
}

impl Table {
    /// Lays `above` over this: a key of `above` wins, tables are merged, lists of tables add up.
    pub(super) fn overlay(&mut self, above: Table) {
        for (name, entry) in above.0 {
            match self.0.get_mut(&name) {
                None => {
                    self.0.insert(name, entry);
                }
                Some(below) => below.overlay(entry),
            }
        }
    }
}

impl Entry {
    fn overlay(&mut self, above: Entry) {
        let lists = self.item.value.tables_only() && above.item.value.tables_only();
        match (&mut self.item.value, above.item.value) {
            (Value::Table(below), Value::Table(table)) => below.overlay(table),
            (Value::List(below), Value::List(items)) if lists => below.extend(items),
            (_, value) => {
                *self = Entry { key: above.key, item: Item { place: above.item.place, value } };
            }
        }
    }
}

/// Reads a file and parses as much of it as can be parsed.
pub(super) fn read(path: &Path, faults: &mut Vec<Fault>) -> Table {
    let file: Arc<Path> = path.into();
    match read_bytes(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => parse(&file, &text, faults),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let head = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
                let place = Lines::new(&file, &head).place(good);
                faults.push(Fault { place, kind: FaultKind::NotUtf8 });
                Table::default()
            }
        },
        Err(kind) => {
            faults.push(Fault { place: Place { file, position: None }, kind });
            Table::default()
        }
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, FaultKind> {
    let unreadable = |error: std::io::Error| FaultKind::Unreadable { reason: error.to_string() };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(CONFIG_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > CONFIG_FILE_BYTES_MAX {
        let bytes = std::fs::metadata(path).map_or(length, |metadata| metadata.len().max(length));
        return Err(FaultKind::TooLarge { bytes, max: CONFIG_FILE_BYTES_MAX });
    }
    Ok(bytes)
}

fn parse(file: &Arc<Path>, text: &str, faults: &mut Vec<Fault>) -> Table {
    let lines = Lines::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = lines.place(error.span().map_or(text.len(), |span| span.start));
        let kind = FaultKind::Syntax { message: error.message().to_owned() };
        faults.push(Fault { place, kind });
    }
    convert_table(&lines, root.into_inner())
}

fn convert_table(lines: &Lines<'_>, table: DeTable<'_>) -> Table {
    let entry = |(key, value): (Spanned<std::borrow::Cow<'_, str>>, Spanned<DeValue<'_>>)| {
        let place = lines.place(key.span().start);
        (key.into_inner().into_owned(), Entry { key: place, item: convert(lines, value) })
    };
    Table(table.into_iter().map(entry).collect())
}

fn convert(lines: &Lines<'_>, value: Spanned<DeValue<'_>>) -> Item {
    let place = lines.place(value.span().start);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => {
            let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
            Value::Integer(value, number.to_string())
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| convert(lines, item)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(lines, table)),
    };
    Item { place, value }
}

/// Where lines begin, to turn an offset into a line and a column.
struct Lines<'t> {
    file: &'t Arc<Path>,
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(file: &'t Arc<Path>, text: &'t str) -> Self {
        let ends = text.match_indices('\n').map(|(offset, _)| offset + 1);
        Self { file, text, starts: std::iter::once(0).chain(ends).collect() }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or("");
        Place { file: Arc::clone(self.file), position: Some((line, before.chars().count() + 1)) }
    }
}
