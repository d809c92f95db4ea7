//! DBC text to a database. Each statement is given to the parser crate alone, so that a bad one costs only itself
//! and everything keeps its line; what the crate does not check is checked here.

mod attributes;
mod extras;
mod message;
mod multiplex;
mod statements;
mod windows_1252;

use super::layout::{Layout, Selector};
use super::{Notice, ValueType};
use crate::frame::CanId;
use crate::limits::{DBC_FILE_BYTES_MAX, DBC_NOTICES_MAX};
use extras::Extras;
use message::Draft;
use statements::{Item, scan};
use std::borrow::Cow;
use std::collections::HashMap;

/// Why a DBC file cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DbcError {
    /// Larger than the bound.
    #[error("{place}: the file has {bytes} bytes, at most {max} are read; split it by bus")]
    TooLarge {
        /// The file.
        place: String,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Not text in UTF-8 or Windows-1252.
    #[error("{place}:{line}:{column}: this is not text ({what}); save the file as UTF-8 or Windows-1252")]
    NotText {
        /// The file.
        place: String,
        /// Where.
        line: u32,
        /// Where in the line.
        column: u32,
        /// What was found.
        what: &'static str,
    },
    /// A string that swallows the rest of the file.
    #[error("{place}:{line}:{column}: the string that begins here is never closed; close it with `\"`")]
    OpenString {
        /// The file.
        place: String,
        /// Line of the opening quote.
        line: u32,
        /// Its column.
        column: u32,
    },
    /// No message at all.
    #[error("{place}:1:1: no message (`BO_`) in the file; is it a DBC file, and whole?")]
    Empty {
        /// The file.
        place: String,
    },
    /// Something of the file had to be left out or mended, and that was not wanted.
    #[error("{place}:{line}:{column}: {what}{}; mend the file, or read it without `strict`", and_more(*more))]
    Strict {
        /// The file.
        place: String,
        /// Line of the first finding; 0 where the file as a whole is meant.
        line: u32,
        /// Its column.
        column: u32,
        /// What would have been done and why.
        what: String,
        /// Findings besides.
        more: usize,
    },
    /// There are messages, and none can be used.
    #[error(
        "{place}:{line}:{column}: no message of the file can be used, the first because {what}; mend it there"
    )]
    NothingLoads {
        /// The file.
        place: String,
        /// Line of the first fault.
        line: u32,
        /// Its column.
        column: u32,
        /// What is wrong.
        what: String,
    },
}

/// The messages of one DBC file, checked: every signal lies in its frame and can be read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Database {
    /// The file, as given.
    pub place: String,
    /// In the order of the file; identifiers are unique.
    pub messages: Vec<Message>,
}

/// A message and its signals.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its identifier.
    pub id: CanId,
    /// Its name; the long one if the file gives one.
    pub name: String,
    /// Bytes of its frame, or of the whole message where J1939 needs several frames.
    pub size: u32,
    /// Line of its `BO_`.
    pub line: u32,
    /// A parameter group of J1939 (`VFrameFormat`, else `ProtocolType`): frames are found by its number, whoever
    /// sends them, and it may be longer than a frame.
    pub j1939: bool,
    /// `VFrameFormat` says CAN FD. Many files lack it: more than 8 bytes are CAN FD as well.
    pub fd: bool,
    /// In the order of the file; names are unique within the message.
    pub signals: Vec<Signal>,
    /// What the file says about it. This and what follows only from [`Database::describe`].
    pub comment: String,
    /// The node that sends it; empty if none is named.
    pub sender: String,
    /// Time between two frames (`GenMsgCycleTime`).
    pub cycle_time_ms: Option<u32>,
}

/// A signal as the file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Its name; the long one if the file gives one.
    pub name: String,
    /// Line of its `SG_`.
    pub line: u32,
    /// Where its bits are.
    pub layout: Layout,
    /// How raw bits are read.
    pub value_type: ValueType,
    /// `value = raw * scale + offset`.
    pub scale: f64,
    /// See `scale`.
    pub offset: f64,
    /// Minimum and maximum of the value, if minimum < maximum.
    pub range: Option<(f64, f64)>,
    /// Empty if none.
    pub unit: String,
    /// Raw value to name, ascending.
    pub names: Vec<(i64, String)>,
    /// Which multiplexors must hold which values.
    pub selectors: Vec<Selector>,
    /// What the file says about it. This and the start value only from [`Database::describe`].
    pub comment: String,
    /// Its value before the first frame (`GenSigStartValue`), scaled.
    pub start_value: Option<f64>,
    /// The nodes that read it.
    pub receivers: Vec<String>,
}

impl Database {
    /// Reads a DBC file. What cannot be used is left out and told in a notice.
    ///
    /// # Errors
    /// [`DbcError`] if nothing of the file can be used.
    pub fn parse(bytes: &[u8], place: &str) -> Result<(Self, Vec<Notice>), DbcError> {
        Self::read(bytes, place, false)
    }

    /// As [`Self::parse`], with what only people look at: comments, cycle times, start values. It takes longer.
    ///
    /// # Errors
    /// [`DbcError`] if nothing of the file can be used.
    pub fn describe(bytes: &[u8], place: &str) -> Result<(Self, Vec<Notice>), DbcError> {
        Self::read(bytes, place, true)
    }

    /// Takes all 29-bit messages for groups of J1939: for files that do not say so.
    pub fn make_j1939(&mut self) {
        for message in &mut self.messages {
            message.j1939 = matches!(message.id, CanId::Extended(_));
        }
    }

    fn read(bytes: &[u8], place: &str, describe: bool) -> Result<(Self, Vec<Notice>), DbcError> {
        let text = text(bytes, place)?;
        let mut notices = Notices { place, list: Vec::new(), more: 0 };
        let (drafts, extras) = collect(&text, Extras::new(describe), &mut notices)?;
        if drafts.is_empty() {
            return Err(DbcError::Empty { place: place.to_owned() });
        }
        let mut messages: Vec<Message> = Vec::with_capacity(drafts.len());
        let mut lines: HashMap<CanId, u32> = HashMap::new();
        for draft in &drafts {
            let Some(message) = message::build(draft, &extras, &mut notices) else { continue };
            if let Some(first) = lines.get(&message.id) {
                let what = format!("the message is left out: line {first} has the same identifier");
                notices.add(message.line, draft.header.column, what);
            } else {
                lines.insert(message.id, message.line);
                messages.push(message);
            }
        }
        if messages.is_empty() {
            return Err(notices.nothing_loads());
        }
        extras.tell_orphans(&drafts, &mut notices);
        Ok((Self { place: place.to_owned(), messages }, notices.finish()))
    }
}

/// For who wants no file but a faultless one.
///
/// # Errors
/// [`DbcError::Strict`] with the first notice, if there is one.
pub fn strict(notices: &[Notice]) -> Result<(), DbcError> {
    let Some(first) = notices.first() else { return Ok(()) };
    let Notice { place, line, column, what } = first.clone();
    Err(DbcError::Strict { place, line, column, what, more: notices.len() - 1 })
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more)") }
}

/// Notices of one file, bounded: a file of nothing but faults says so once.
struct Notices<'p> {
    place: &'p str,
    list: Vec<Notice>,
    more: usize,
}

impl Notices<'_> {
    fn add(&mut self, line: u32, column: u32, what: String) {
        if self.list.len() < DBC_NOTICES_MAX {
            self.list.push(Notice { place: self.place.to_owned(), line, column, what });
        } else {
            self.more += 1;
        }
    }

    fn nothing_loads(&self) -> DbcError {
        let fault = self.list.first();
        DbcError::NothingLoads {
            place: self.place.to_owned(),
            line: fault.map_or(1, |fault| fault.line),
            column: fault.map_or(1, |fault| fault.column),
            what: fault.map_or_else(
                || "its messages hold no signals of a frame".to_owned(),
                |fault| fault.what.clone(),
            ),
        }
    }

    fn finish(mut self) -> Vec<Notice> {
        if self.more > 0 {
            let what = format!("{} more notices of this file are not shown", self.more);
            self.list.push(Notice { place: self.place.to_owned(), line: 0, column: 0, what });
        }
        self.list
    }
}

/// UTF-8 with or without a byte order mark, else Windows-1252.
fn text<'b>(bytes: &'b [u8], place: &str) -> Result<Cow<'b, str>, DbcError> {
    if bytes.len() > DBC_FILE_BYTES_MAX {
        let place = place.to_owned();
        return Err(DbcError::TooLarge { place, bytes: bytes.len(), max: DBC_FILE_BYTES_MAX });
    }
    let not_text = |before: &[u8], what| {
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        let [line, column] = [line, column].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        DbcError::NotText { place: place.to_owned(), line, column, what }
    };
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(not_text(&[], "UTF-16"));
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(not_text(&bytes[..at], "a zero byte"));
    }
    let bytes = bytes.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        // The library would do it too, and bring the tables of all encodings there are.
        Err(_) => Cow::Owned(windows_1252::decode(bytes)),
    };
    let old_line_ends = text.contains('\r') && !text.contains('\n');
    Ok(if old_line_ends { Cow::Owned(text.replace('\r', "\n")) } else { text })
}

/// First pass: messages with their signal statements, and what the other statements say.
fn collect<'t>(
    text: &'t str,
    mut extras: Extras,
    notices: &mut Notices<'_>,
) -> Result<(Vec<Draft<'t>>, Extras), DbcError> {
    let mut drafts: Vec<Draft<'t>> = Vec::new();
    let mut inside = false;
    for item in scan(text) {
        match item {
            Item::OpenString { line, column, ends_file: true } => {
                return Err(DbcError::OpenString { place: notices.place.to_owned(), line, column });
            }
            Item::OpenString { line, column, .. } => {
                notices.add(line, column, "the statement is left out: its string is never closed".to_owned());
            }
            Item::Unknown { line, column } => {
                inside = false;
                notices.add(
                    line,
                    column,
                    "the line is left out: no statement of a DBC file begins so".to_owned(),
                );
            }
            Item::Statement(statement) => match statement.keyword {
                "BO_" => {
                    inside = true;
                    drafts.push(Draft { header: statement, signals: Vec::new() });
                }
                "SG_" => match drafts.last_mut().filter(|_| inside) {
                    Some(draft) => draft.signals.push(statement),
                    None => notices.add(
                        statement.line,
                        statement.column,
                        "the signal is left out: it does not follow its message".to_owned(),
                    ),
                },
                _ => {
                    if let Some((line, column)) = statement.lacks_semicolon() {
                        notices.add(
                            line,
                            column,
                            "a `;` is missing here: read as if it were there".to_owned(),
                        );
                    }
                    extras.take(statement, notices);
                }
            },
        }
    }
    Ok((drafts, extras))
}
