//! What statements other than `BO_` and `SG_` say of messages and signals.

use super::attributes::{self, Attributes};
use super::message::Draft;
use super::statements::{Statement, message_id};
use super::{Notices, message};
use crate::decode::ValueType;
use can_dbc::{Comment, Dbc, SignalExtendedValueType, ValueDescription};
use std::collections::{HashMap, HashSet};

/// A signal: message identifier as written, short name.
type Key = (u64, String);

/// A fact with the line that states it.
type At<T> = (u32, T);

/// `SG_MUL_VAL_`: the multiplexor above a signal, and its values, inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Above {
    pub(super) multiplexor: String,
    pub(super) ranges: Vec<(u64, u64)>,
}

/// What is said of signals and messages, by identifier and short name.
#[derive(Default)]
pub(super) struct Extras {
    names: HashMap<Key, At<Vec<(i64, String)>>>,
    types: HashMap<Key, At<ValueType>>,
    above: HashMap<Key, At<Vec<Above>>>,
    /// By identifier and short name; no name: of the message.
    comments: HashMap<Key, String>,
    pub(super) attributes: Attributes,
    /// Also what only people look at: comments, cycle times, start values.
    pub(super) describe: bool,
}

/// `\"` stands for a quote in a string.
pub(super) fn unescape(text: String) -> String {
    if text.contains('\\') { text.replace("\\\"", "\"") } else { text }
}

impl Extras {
    pub(super) fn new(describe: bool) -> Self {
        Self { describe, ..Self::default() }
    }

    pub(super) fn names(&self, id: u64, signal: &str) -> Vec<(i64, String)> {
        self.names.get(&(id, signal.to_owned())).map(|(_, names)| names.clone()).unwrap_or_default()
    }

    pub(super) fn float_type(&self, id: u64, signal: &str) -> Option<ValueType> {
        self.types.get(&(id, signal.to_owned())).map(|(_, value_type)| *value_type)
    }

    pub(super) fn above(&self, id: u64, signal: &str) -> &[Above] {
        self.above.get(&(id, signal.to_owned())).map_or(&[], |(_, above)| above)
    }

    /// What the file says about a signal, or about the message if the name is empty.
    pub(super) fn comment(&self, id: u64, signal: &str) -> String {
        self.comments.get(&(id, signal.to_owned())).cloned().unwrap_or_default()
    }

    /// Takes what is needed of a statement; others (nodes, groups, …) are passed over unread.
    pub(super) fn take(&mut self, statement: Statement<'_>, notices: &mut Notices<'_>) {
        let needed = match statement.keyword {
            "VAL_" | "SIG_VALTYPE_" | "SG_MUL_VAL_" => true,
            // Of the thousands of attributes in a file few are needed.
            "BA_" | "BA_DEF_" | "BA_DEF_DEF_" => attributes::wanted(statement.text, self.describe),
            "CM_" => self.describe,
            _ => false,
        };
        if !needed {
            return;
        }
        match message::parse(statement, "") {
            Ok(mut parsed) => {
                let of_message = matches!(parsed.comments[..], [Comment::Message { .. }]);
                if of_message && statement.text.split_whitespace().nth(1) != Some("BO_") {
                    let what =
                        "the comment names neither signal nor message (`SG_`, `BO_`): read as the message's";
                    notices.add(statement.line, statement.column, what.to_owned());
                }
                let id = message_id(statement.text);
                self.attributes.store(id, &mut parsed);
                if let Some(id) = id {
                    self.store(id, statement.line, parsed);
                }
            }
            Err(fault) => {
                let what = format!("the statement is left out: {}", fault.what);
                notices.add(fault.line, fault.column, what);
            }
        }
    }

    fn store(&mut self, id: u64, line: u32, parsed: Dbc) {
        for table in parsed.value_descriptions {
            if let ValueDescription::Signal { name, value_descriptions, .. } = table {
                let mut names: Vec<_> =
                    value_descriptions.into_iter().map(|v| (v.id, unescape(v.description))).collect();
                // Where a value is named twice the last name counts, as in the tools that people compare with.
                names.reverse();
                names.sort_by_key(|(raw, _)| *raw);
                names.dedup_by_key(|(raw, _)| *raw);
                self.names.insert((id, name), (line, names));
            }
        }
        for entry in parsed.signal_extended_value_type_list {
            let value_type = match entry.signal_extended_value_type {
                SignalExtendedValueType::SignedOrUnsignedInteger => continue,
                SignalExtendedValueType::IEEEfloat32Bit => ValueType::Float32,
                SignalExtendedValueType::IEEEdouble64bit => ValueType::Float64,
            };
            self.types.insert((id, entry.signal_name), (line, value_type));
        }
        for entry in parsed.extended_multiplex {
            let ranges = entry.mappings.iter().map(|range| (range.min_value, range.max_value)).collect();
            let above = Above { multiplexor: entry.multiplexor_signal_name, ranges };
            self.above.entry((id, entry.signal_name)).or_insert_with(|| (line, Vec::new())).1.push(above);
        }
        for comment in parsed.comments {
            match comment {
                Comment::Signal { name, comment, .. } => self.comments.insert((id, name), unescape(comment)),
                Comment::Message { comment, .. } => {
                    self.comments.insert((id, String::new()), unescape(comment))
                }
                _ => None,
            };
        }
    }

    /// Tells of statements about signals that no message of the file has.
    pub(super) fn tell_orphans(&self, drafts: &[Draft<'_>], notices: &mut Notices<'_>) {
        let known: HashSet<Key> = drafts
            .iter()
            .flat_map(|draft| {
                let id = message_id(draft.header.text).unwrap_or(u64::MAX);
                draft.signals.iter().map(move |signal| (id, message::short_name(signal.text).to_owned()))
            })
            .collect();
        let named = self.names.iter().map(|(key, (line, _))| (key, *line));
        let typed = self.types.iter().map(|(key, (line, _))| (key, *line));
        let above = self.above.iter().map(|(key, (line, _))| (key, *line));
        let mut lines: Vec<u32> = named
            .chain(typed)
            .chain(above)
            .filter(|(key, _)| !known.contains(*key))
            .map(|(_, line)| line)
            .collect();
        lines.sort_unstable();
        for line in lines {
            notices.add(line, 1, "the statement is left out: its message has no such signal".to_owned());
        }
    }
}
