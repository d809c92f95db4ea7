//! Attributes (`BA_`) that change how a message is read, and those that people want to see. Names are Vector's.
//!
//! ```text
//! BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","StandardCAN_FD","ExtendedCAN_FD","J1939PG";
//! BA_DEF_DEF_ "VFrameFormat" "StandardCAN";        what holds where no BA_ says otherwise
//! BA_ "VFrameFormat" BO_ 2566844926 4;             a number of the list, or its text
//! ```

use super::Signal;
use can_dbc::{AttributeDefinition, AttributeValue, AttributeValueType, Dbc, NumericValue};
use std::collections::HashMap;

/// Those that matter for decoding.
const DECODING: [&str; 4] =
    ["SystemSignalLongSymbol", "SystemMessageLongSymbol", "VFrameFormat", "ProtocolType"];
/// Those that only people look at.
const DESCRIBING: [&str; 2] = ["GenMsgCycleTime", "GenSigStartValue"];
/// Numbers of `VFrameFormat` where it is defined as a number.
const FRAME_FORMATS: [(u64, &str); 5] =
    [(0, "StandardCAN"), (1, "ExtendedCAN"), (3, "J1939PG"), (14, "StandardCAN_FD"), (15, "ExtendedCAN_FD")];

/// Whether the statement is about an attribute that somebody wants.
pub(super) fn wanted(statement: &str, describe: bool) -> bool {
    let name = statement.split('"').nth(1).unwrap_or_default();
    DECODING.contains(&name) || (describe && DESCRIBING.contains(&name))
}

/// What the attributes of a file say.
#[derive(Default)]
pub(super) struct Attributes {
    enums: HashMap<String, Vec<String>>,
    defaults: HashMap<String, AttributeValue>,
    file: HashMap<String, AttributeValue>,
    messages: HashMap<(u64, &'static str), AttributeValue>,
    signals: HashMap<(u64, String, &'static str), AttributeValue>,
}

/// The name as this file writes it.
fn known(name: &str) -> Option<&'static str> {
    DECODING.into_iter().chain(DESCRIBING).find(|known| *known == name)
}

impl Attributes {
    /// Takes one parsed statement; `id` is the message's as written.
    pub(super) fn store(&mut self, id: Option<u64>, parsed: &mut Dbc) {
        for definition in parsed.attribute_definitions.drain(..) {
            let (AttributeDefinition::Message(name, kind)
            | AttributeDefinition::Signal(name, kind)
            | AttributeDefinition::Plain(name, kind)) = definition
            else {
                continue;
            };
            if let AttributeValueType::Enum(names) = kind {
                self.enums.insert(name, names);
            }
        }
        let defaults = parsed.attribute_defaults.drain(..).map(|default| (default.name, default.value));
        self.defaults.extend(defaults);
        self.file.extend(parsed.attribute_values_database.drain(..).map(|value| (value.name, value.value)));
        let Some(id) = id else { return };
        for entry in parsed.attribute_values_message.drain(..) {
            if let Some(name) = known(&entry.name) {
                self.messages.insert((id, name), entry.value);
            }
        }
        for entry in parsed.attribute_values_signal.drain(..) {
            if let Some(name) = known(&entry.name) {
                self.signals.insert((id, entry.signal_name, name), entry.value);
            }
        }
    }

    /// The long name of a message.
    pub(super) fn long_message(&self, id: u64) -> Option<&str> {
        text(self.messages.get(&(id, "SystemMessageLongSymbol"))?)
    }

    /// The long name of a signal.
    pub(super) fn long_signal(&self, id: u64, signal: &str) -> Option<&str> {
        text(self.signals.get(&(id, signal.to_owned(), "SystemSignalLongSymbol"))?)
    }

    /// Whether an extended message is a parameter group of J1939, to be found by its number: its frame format says
    /// so or, in a file that knows no frame formats, the protocol of the file.
    pub(super) fn is_j1939(&self, id: u64) -> bool {
        match self.frame_format(id) {
            Some(format) => format == "J1939PG",
            None => {
                let protocol = self.file.get("ProtocolType").or_else(|| self.defaults.get("ProtocolType"));
                protocol.and_then(text).is_some_and(|protocol| protocol.starts_with("J1939"))
            }
        }
    }

    /// Whether the frame format says CAN FD.
    pub(super) fn is_fd(&self, id: u64) -> bool {
        self.frame_format(id).is_some_and(|format| format.ends_with("_FD"))
    }

    /// Milliseconds between two frames, if they come in a cycle.
    pub(super) fn cycle_time_ms(&self, id: u64) -> Option<u32> {
        let value = self.messages.get(&(id, "GenMsgCycleTime"));
        let value = value.or_else(|| self.defaults.get("GenMsgCycleTime")).and_then(number)?;
        let whole = value.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&value);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
        whole.then_some(value as u32)
    }

    /// The value before the first frame; the file gives it raw.
    pub(super) fn start_value(&self, id: u64, short: &str, signal: &Signal) -> Option<f64> {
        let value = self.signals.get(&(id, short.to_owned(), "GenSigStartValue")).and_then(number)?;
        Some(value * signal.scale + signal.offset)
    }

    fn frame_format(&self, id: u64) -> Option<&str> {
        let name = "VFrameFormat";
        let value = self.messages.get(&(id, name)).or_else(|| self.defaults.get(name))?;
        let format = match value {
            AttributeValue::String(format) => format.as_str(),
            value => {
                let number = unsigned(value)?;
                let listed = |names: &Vec<String>| usize::try_from(number).is_ok_and(|at| at < names.len());
                match self.enums.get(name).filter(|names| listed(names)) {
                    Some(names) => names.get(usize::try_from(number).ok()?)?,
                    None => FRAME_FORMATS.iter().find(|(format, _)| *format == number)?.1,
                }
            }
        };
        Some(format).filter(|format| !format.is_empty())
    }
}

fn text(value: &AttributeValue) -> Option<&str> {
    match value {
        AttributeValue::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn unsigned(value: &AttributeValue) -> Option<u64> {
    match value {
        AttributeValue::Uint(value) => Some(*value),
        _ => None,
    }
}

fn number(value: &AttributeValue) -> Option<f64> {
    match value {
        AttributeValue::Uint(value) => Some(super::message::number(NumericValue::Uint(*value))),
        AttributeValue::Int(value) => Some(super::message::number(NumericValue::Int(*value))),
        AttributeValue::Double(value) => Some(*value),
        AttributeValue::String(_) => None,
    }
}
