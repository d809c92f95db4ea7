//! The latest value of each signal, for people.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use crate::open::Header;
use crate::{Sample, Value, lines};

/// Rows that are drawn; a longer table would scroll away.
const ROWS_MAX: usize = 48;
/// Signals that are kept.
const SIGNALS_MAX: usize = 10_000;
/// Events below the table.
const EVENTS_MAX: usize = 6;
/// Characters of a name.
const WIDTH_MAX: usize = 110;
/// Characters of an event: the terminal breaks it.
const EVENT_MAX: usize = 300;
/// First characters of an alias: enough to tell cars apart.
const ALIAS_CHARS: usize = 8;

const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

struct Row {
    value: String,
    unit: String,
    time_us: i64,
}

/// What is on the screen.
#[derive(Default)]
pub(crate) struct Table {
    rows: BTreeMap<(String, String), Row>,
    events: VecDeque<String>,
    samples: u64,
    is_cleared: bool,
}

/// Names come from the car: no control characters, so that none can steer the terminal.
fn plain(text: &str) -> String {
    plain_to(text, WIDTH_MAX)
}

fn plain_to(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(most).collect()
}

impl Table {
    pub(crate) fn sample(&mut self, header: &Header, sample: &Sample<'_>) {
        self.samples += 1;
        let alias = header.alias_id.chars().take(ALIAS_CHARS).collect();
        let source = sample.source.map(|source| format!(" from {source}")).unwrap_or_default();
        let what = sample.what.word().map(|what| format!(" ({})", plain(what))).unwrap_or_default();
        let key = (alias, plain(sample.path) + &what + &source);
        let is_new = self.rows.get(&key).is_none_or(|row| row.time_us <= sample.time_us);
        if is_new && (self.rows.len() < SIGNALS_MAX || self.rows.contains_key(&key)) {
            let row = Row { value: value_text(sample), unit: plain(sample.unit), time_us: sample.time_us };
            self.rows.insert(key, row);
        }
    }

    pub(crate) fn event(&mut self, line: &str) {
        self.events.push_back(plain_to(line, EVENT_MAX));
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    /// The table as text; `is_live`: over the one before.
    pub(crate) fn draw(&mut self, is_live: bool) -> String {
        let path_width = self.rows.keys().map(|(_, path)| path.chars().count()).max().unwrap_or(0);
        let mut lines = vec![format!("{} signals, {} samples; times are UTC", self.rows.len(), self.samples)];
        for ((alias, path), row) in self.rows.iter().take(ROWS_MAX) {
            let (value, unit, time) = (&row.value, &row.unit, time_text(row.time_us));
            lines.push(format!("{alias}  {path:path_width$}  {value:>16} {unit:<10} {time}"));
        }
        if self.rows.len() > ROWS_MAX {
            lines.push(format!("… and {} more; --json prints all", self.rows.len() - ROWS_MAX));
        }
        lines.extend(self.events.iter().cloned());
        if !is_live {
            return lines.join("\n") + "\n";
        }
        let mut text = if self.is_cleared { HOME.to_owned() } else { format!("{HOME}{CLEAR_BELOW}") };
        self.is_cleared = true;
        for line in lines {
            let _ = writeln!(text, "{line}{CLEAR_LINE}");
        }
        text + CLEAR_BELOW
    }
}

fn value_text(sample: &Sample<'_>) -> String {
    let Some(value) = sample.value else { return lines::state(sample.state).replace('_', " ") };
    if let Some(label) = sample.label {
        return plain(label);
    }
    match value {
        Value::Integer(integer) => integer.to_string(),
        Value::Float(float) => format!("{float:.3}"),
        Value::Bool(truth) => truth.to_string(),
        Value::Cell(cell) => format!("{cell:x}"),
    }
}

fn time_text(time_us: i64) -> String {
    match jiff::Timestamp::from_microsecond(time_us) {
        Ok(time) => time.strftime("%F %T%.3f").to_string(),
        Err(_) => format!("{time_us} µs"),
    }
}
