//! `glovebox dbc show`: messages and signals of a DBC file for people, or as JSON.
//!
//! ```text
//! WHEEL_SPEEDS  0x0AA (170), 8 bytes, from ABS, each 20 ms
//!   signal          bits  order     type      scale  offset  range   unit  when    to
//!   WHEEL_SPEED_FR  7|16  Motorola  unsigned  0.01   -67.67  0..250  kph   Mode=1  EPS
//!     0 = stands, 1 = rolls
//! ```

mod json;

use super::{describe, is_fd, pgn};
use crate::cli::FINDINGS;
use crate::cli::consent::printable;
use crate::cli::glob::matches;
use crate::cli::out::columns;
use glovebox_core::decode::ValueType;
use glovebox_core::decode::dbc::{Message, Signal};
use glovebox_core::decode::j1939::Address;
use glovebox_core::decode::leaves::{ByteOrder, Layout, path_word};
use glovebox_core::frame::CanId;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show messages and signals of a DBC file
///
/// Exit code 0: shown; 1: no message matches; 2: the file cannot be used.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// DBC file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only messages of this name (`*` and `?`), identifier or group of J1939 (`170`, `0xAA`) [default: all]
    #[arg(value_name = "MESSAGE|GLOB")]
    messages: Vec<String>,
    /// A line for each signal
    #[arg(long, conflicts_with = "json")]
    signals: bool,
    /// One JSON object: `{"file", "messages": [{"id", "name", "bytes", "signals": […]}…]}`
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be used; stdout cannot be written.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (database, notices) = describe(&args.file)?;
    let place = args.file.display();
    let wanted: Vec<&Message> =
        database.messages.iter().filter(|message| is_wanted(message, &args.messages)).collect();
    if wanted.is_empty() {
        writeln!(std::io::stderr(), "{place}: no message matches `{}`", args.messages.join(" "))?;
        return Ok(ExitCode::from(FINDINGS));
    }
    let text = if args.json {
        json::text(&database.place, &wanted)?
    } else if args.signals {
        in_lines(&wanted)
    } else {
        in_words(&wanted)?
    };
    writeln!(std::io::stdout().lock(), "{}", text.trim_end())?;
    if !notices.is_empty() {
        let count = notices.len();
        writeln!(std::io::stderr(), "{place}: findings: {count}; `glovebox dbc lint` tells them")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_wanted(message: &Message, wanted: &[String]) -> bool {
    let number = |text: &str| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    // Of J1939 also by the group's number, and by the identifier of any sender.
    let group = pgn(message);
    let is_it = |number: u32| {
        let from = Address::of(number).map(|from| from.pgn.0);
        number == raw_id(message.id) || group.is_some_and(|group| group == number || from == Some(group))
    };
    wanted.is_empty()
        || wanted.iter().any(|one| matches(one, &message.name) || number(one).is_some_and(is_it))
}

/// Message and signal as they stand in a path, `CAN.<bus>.<Message>.<Signal>`.
fn path_words(message: &Message, signal: &Signal) -> String {
    format!("{}.{}", path_word(&message.name), path_word(&signal.name))
}

fn raw_id(id: CanId) -> u32 {
    match id {
        CanId::Standard(id) => id.into(),
        CanId::Extended(id) => id,
    }
}

/// Its width tells an identifier of 29 bits.
fn id_shown(id: CanId) -> String {
    match id {
        CanId::Standard(id) => format!("0x{id:03X}"),
        CanId::Extended(id) => format!("0x{id:08X}"),
    }
}

const HEADINGS: [&str; 10] =
    ["signal", "bits", "order", "type", "scale", "offset", "range", "unit", "when", "to"];

fn in_words(messages: &[&Message]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for message in messages {
        writeln!(text, "{}", title(message))?;
        indented(&mut text, 2, &message.comment)?;
        let rows: Vec<Vec<String>> = message.signals.iter().map(|signal| row(message, signal)).collect();
        let headings: &[&str] = if rows.is_empty() { &[] } else { &HEADINGS };
        let mut rows = columns(headings, &rows).into_iter();
        rows.next().map_or(Ok(()), |headings| writeln!(text, "  {headings}"))?;
        for (signal, row) in message.signals.iter().zip(rows) {
            writeln!(text, "  {row}")?;
            indented(&mut text, 4, &signal.comment)?;
            let mut notes: Vec<String> =
                signal.names.iter().map(|(value, name)| format!("{value} = {name}")).collect();
            let (full, word) = (format!("{}.{}", message.name, signal.name), path_words(message, signal));
            notes.extend((full != word).then(|| format!("in signal paths {word}")));
            notes.extend(signal.start_value.map(|value| format!("starts with {}", number(value))));
            indented(&mut text, 4, &notes.join(", "))?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// Name, identifier, and what else is known of a message.
fn title(message: &Message) -> String {
    let mut parts = vec![format!("{} ({})", id_shown(message.id), raw_id(message.id))];
    parts.extend(pgn(message).map(|pgn| format!("J1939 group {pgn} (0x{pgn:04X})")));
    parts.push(format!("{} bytes", message.size));
    parts.extend(is_fd(message).then(|| "CAN FD".to_owned()));
    parts.extend((!message.sender.is_empty()).then(|| format!("from {}", message.sender)));
    parts.extend(message.cycle_time_ms.map(|time| format!("each {time} ms")));
    printable(&format!("{}  {}", message.name, parts.join(", ")))
}

fn indented(text: &mut String, by: usize, lines: &str) -> std::fmt::Result {
    let lines = printable(lines);
    lines
        .lines()
        .filter(|line| !line.trim().is_empty())
        .try_for_each(|line| writeln!(text, "{:by$}{}", "", line.trim_end()))
}

/// A line for each signal, which can be searched.
fn in_lines(messages: &[&Message]) -> String {
    let rows = messages.iter().flat_map(|message| {
        message.signals.iter().map(|signal| {
            let mut row = row(message, signal);
            row[0] = format!("{}.{}", message.name, signal.name);
            row.insert(0, id_shown(message.id));
            row.into_iter().map(|cell| printable(&cell)).collect()
        })
    });
    columns(&[], &rows.collect::<Vec<Vec<String>>>()).join("\n")
}

/// As [`HEADINGS`] say.
fn row(message: &Message, signal: &Signal) -> Vec<String> {
    let Layout { start, length, order } = signal.layout;
    let order = match order {
        ByteOrder::LittleEndian => "Intel",
        ByteOrder::BigEndian => "Motorola",
    };
    let range = signal.range.map(|(low, high)| format!("{}..{}", number(low), number(high)));
    let cells = [
        signal.name.clone(),
        format!("{start}|{length}"),
        order.to_owned(),
        type_name(signal.value_type).to_owned(),
        number(signal.scale),
        number(signal.offset),
        range.unwrap_or_default(),
        signal.unit.clone(),
        when(message, signal),
        signal.receivers.join(","),
    ];
    cells.map(|cell| printable(&cell).replace('\n', " ")).to_vec()
}

fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Unsigned => "unsigned",
        ValueType::Signed => "signed",
        ValueType::Float32 => "float",
        ValueType::Float64 => "double",
        ValueType::Boolean => "boolean",
    }
}

/// Which multiplexors must hold what: `Mode=1 Page=0..3,7`; `selects` where it is one itself.
fn when(message: &Message, signal: &Signal) -> String {
    let selects = is_multiplexor(message, signal).then(|| "selects".to_owned());
    let above = signal.selectors.iter().enumerate().map(|(at, selector)| {
        let ranges = selector.ranges.iter().map(|(low, high)| match low == high {
            true => low.to_string(),
            false => format!("{low}..{high}"),
        });
        format!("{}={}", multiplexor(message, signal, at), ranges.collect::<Vec<_>>().join(","))
    });
    selects.into_iter().chain(above).collect::<Vec<_>>().join(" ")
}

fn is_multiplexor(message: &Message, signal: &Signal) -> bool {
    message.signals.iter().any(|below| {
        let mut above = 0..below.selectors.len();
        above.any(|at| multiplexor(message, below, at) == signal.name)
    })
}

/// The name of a multiplexor above the signal, of which a selector knows only the place. Others may lie there when the
/// multiplexors above have other values, so that those must be the same.
fn multiplexor<'m>(message: &'m Message, signal: &Signal, at: usize) -> &'m str {
    let (above, selector) = (&signal.selectors[..at], &signal.selectors[at]);
    let there = |one: &&Signal| one.layout == selector.layout;
    let same = message.signals.iter().find(|one| there(one) && one.selectors == above);
    let found = same.or_else(|| message.signals.iter().find(there));
    found.map_or("?", |signal| signal.name.as_str())
}

/// As short as reads back the same, and not in hundreds of digits.
fn number(value: f64) -> String {
    let is_handy = value == 0.0 || (1e-6..1e16).contains(&value.abs());
    if is_handy { value.to_string() } else { format!("{value:e}") }
}
