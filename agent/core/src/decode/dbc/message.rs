//! One message: its `BO_` and `SG_` statements, read, joined with the extras and checked.

use super::extras::{Extras, unescape};
use super::statements::{Statement, message_id};
use super::{Message, Notices, Selector, Signal, multiplex};
use crate::decode::ValueType;
use crate::decode::layout::{ByteOrder, Layout};
use crate::frame::CanId;
use crate::limits::{FRAME_BYTES_MAX, J1939_MESSAGE_BYTES_MAX};
use can_dbc::{Dbc, DbcError, NumericValue};
use std::collections::HashMap;

/// `BO_ 3221225472 VECTOR__INDEPENDENT_SIG_MSG`: signals that are in no frame.
const INDEPENDENT_SIGNALS: u64 = 0xC000_0000;

/// Where a statement wants a node and there is none.
const NO_NODE: &str = "Vector__XXX";

/// The statements of one message.
pub(super) struct Draft<'t> {
    pub(super) header: Statement<'t>,
    pub(super) signals: Vec<Statement<'t>>,
}

/// Why a statement cannot be read, and where.
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) what: String,
}

/// A signal with its place among the multiplexors of the message.
pub(super) struct Read<'t> {
    pub(super) statement: Statement<'t>,
    pub(super) short: String,
    pub(super) indicator: can_dbc::MultiplexIndicator,
    pub(super) signal: Signal,
}

/// Gives one statement to the parser crate, behind the line `before` if it cannot stand alone.
pub(super) fn parse(statement: Statement<'_>, before: &str) -> Result<Dbc, Fault> {
    // The crate wants all statements but strings in one line.
    let one_line = statement.text.contains('\n').then(|| join_lines(statement.text));
    let text = one_line.as_deref().unwrap_or(statement.text);
    Dbc::try_from(format!("{before}{text}\n").as_str()).map_err(|error| {
        let (line, column, what) = explain(&error, statement.keyword);
        let line = line.saturating_sub(u32::from(!before.is_empty()) + 1);
        let indent = if line == 0 { statement.column - 1 } else { 0 };
        Fault { line: statement.line + line, column: column + indent, what }
    })
}

/// Line ends outside strings become spaces.
fn join_lines(text: &str) -> String {
    let mut in_string = false;
    text.chars()
        .map(|c| {
            in_string ^= c == '"';
            if !in_string && matches!(c, '\n' | '\r') { ' ' } else { c }
        })
        .collect()
}

/// The crate's error as line, column and words.
fn explain(error: &DbcError, keyword: &str) -> (u32, u32, String) {
    let DbcError::Pest(error) = error else { return (0, 1, error.to_string().to_lowercase()) };
    // The place is of a type of the parser below the crate: read it from the text, ` --> line:column`.
    let text = error.to_string();
    let mut numbers = text
        .split_once("--> ")
        .and_then(|(_, rest)| rest.lines().next())
        .unwrap_or_default()
        .split(':')
        .map(|number| number.trim().parse().unwrap_or(0));
    let (line, column) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(1));
    // The parser knows the last place that was right, not what it wants there.
    (line, column, format!("it cannot be read from here on; its form is `{}`", form(keyword)))
}

/// How a statement must look.
fn form(keyword: &str) -> &'static str {
    match keyword {
        "BO_" => "BO_ id name: bytes sender",
        "SG_" => "SG_ name : start|length@order sign (factor,offset) [minimum|maximum] \"unit\" receiver",
        "VAL_" => "VAL_ id signal raw \"name\" raw \"name\" ;",
        "SIG_VALTYPE_" => "SIG_VALTYPE_ id signal : 1;",
        "SG_MUL_VAL_" => "SG_MUL_VAL_ id signal multiplexor 1-3, 5-5;",
        _ => "BA_ \"attribute\" SG_ id signal \"value\";",
    }
}

/// The name in an `SG_` statement.
pub(super) fn short_name(statement: &str) -> &str {
    statement
        .strip_prefix("SG_")
        .and_then(|rest| rest.split([' ', '\t', ':']).find(|word| !word.is_empty()))
        .unwrap_or_default()
}

/// The message of these statements, if it can be used.
pub(super) fn build(draft: &Draft<'_>, extras: &Extras, notices: &mut Notices<'_>) -> Option<Message> {
    let header = draft.header;
    let raw_id = message_id(header.text).unwrap_or(u64::MAX);
    if raw_id == INDEPENDENT_SIGNALS {
        return None;
    }
    let mut refuse = |line, column, what: &str| {
        let with = draft.signals.len();
        notices.add(line, column, format!("the message is left out with its {with} signals: {what}"));
    };
    let parsed = parse(header, "").map_err(|fault| refuse(fault.line, fault.column, &fault.what)).ok()?;
    let Some(parsed) = parsed.messages.into_iter().next() else {
        refuse(header.line, header.column, "no message was found in the statement");
        return None;
    };
    let (id, mended) = match can_id(raw_id) {
        Ok(id) => id,
        Err(what) => {
            refuse(header.line, header.column, what);
            return None;
        }
    };
    if let Some(what) = mended {
        notices.add(header.line, header.column, format!("{what}: read as an extended one (29 bits)"));
    }
    let attributes = &extras.attributes;
    let j1939 = matches!(id, CanId::Extended(_)) && attributes.is_j1939(raw_id);
    let size = u32::try_from(parsed.size).unwrap_or(u32::MAX);
    let frame = size.min(if j1939 { J1939_MESSAGE_BYTES_MAX } else { FRAME_BYTES_MAX });
    let read = signals(draft, frame, &|short| extras.float_type(raw_id, short), notices);
    let mut signals = multiplex::resolve(read, |short| extras.above(raw_id, short), notices);
    for (short, signal) in &mut signals {
        signal.names = extras.names(raw_id, short);
        refine(signal);
        if let Some(long) = extras.attributes.long_signal(raw_id, short) {
            long.clone_into(&mut signal.name);
        }
        if extras.describe {
            signal.comment = extras.comment(raw_id, short);
            signal.start_value = extras.attributes.start_value(raw_id, short, signal);
        }
    }
    let signals: Vec<Signal> = signals.into_iter().map(|(_, signal)| signal).collect();
    tell_overlaps(&signals, notices);
    let name = attributes.long_message(raw_id).map_or(parsed.name, str::to_owned);
    let mut message = Message {
        id,
        name,
        size,
        line: header.line,
        j1939,
        fd: attributes.is_fd(raw_id),
        signals,
        comment: String::new(),
        sender: String::new(),
        cycle_time_ms: None,
    };
    if extras.describe {
        message.comment = extras.comment(raw_id, "");
        message.sender = parsed.transmitter.unwrap_or_default();
        message.cycle_time_ms = attributes.cycle_time_ms(raw_id);
    }
    Some(message)
}

/// The identifier, and what had to be mended of it.
fn can_id(raw: u64) -> Result<(CanId, Option<&'static str>), &'static str> {
    const EXTENDED: u32 = 1 << 31;
    const REMOTE: u32 = 1 << 30;
    const EXTENDED_MAX: u32 = 0x1FFF_FFFF;
    let raw = u32::try_from(raw).map_err(|_| "the identifier has more than 32 bits")?;
    let standard = u16::try_from(raw).ok().filter(|id| *id < 0x800).map(CanId::Standard);
    match (standard, raw) {
        (Some(id), _) => Ok((id, None)),
        (None, ..=EXTENDED_MAX) => {
            Ok((CanId::Extended(raw), Some("the identifier has more than 11 bits and bit 31 is not set")))
        }
        (None, _) if raw & !EXTENDED <= EXTENDED_MAX => Ok((CanId::Extended(raw & !EXTENDED), None)),
        // As some tools write it, which keep SocketCAN's flags beside the identifier.
        (None, _) if raw & !REMOTE <= EXTENDED_MAX => Ok((
            CanId::Extended(raw & !REMOTE),
            Some("bit 30 of the identifier is set, that of a remote frame, and bit 31 is not"),
        )),
        (None, _) => Err("the identifier has more than 29 bits"),
    }
}

fn signals<'t>(
    draft: &Draft<'t>,
    frame: u32,
    float_type: &dyn Fn(&str) -> Option<ValueType>,
    notices: &mut Notices<'_>,
) -> Vec<Read<'t>> {
    let mut read: Vec<Read<'t>> = Vec::with_capacity(draft.signals.len());
    let mut lines: HashMap<String, u32> = HashMap::new();
    for &statement in &draft.signals {
        let result = parse(statement, "BO_ 0 M: 8 X\n").and_then(|mut parsed| {
            let fault = |what: String| Fault { line: statement.line, column: statement.column, what };
            let signal = parsed.messages.pop().and_then(|mut message| message.signals.pop());
            let signal = signal.ok_or_else(|| fault("no signal was found in the statement".to_owned()))?;
            if let Some(first) = lines.get(&signal.name) {
                return Err(fault(format!("line {first} of the same message has the same name")));
            }
            lines.insert(signal.name.clone(), statement.line);
            check(signal, statement, frame, float_type).map_err(fault)
        });
        match result {
            Ok(signal) => read.push(signal),
            Err(fault) => {
                notices.add(fault.line, fault.column, format!("the signal is left out: {}", fault.what));
            }
        }
    }
    read
}

/// What the crate does not check: whether the bits are in the frame, and whether the numbers make sense.
fn check<'t>(
    parsed: can_dbc::Signal,
    statement: Statement<'t>,
    frame: u32,
    float_type: &dyn Fn(&str) -> Option<ValueType>,
) -> Result<Read<'t>, String> {
    let length = u8::try_from(parsed.size).ok().filter(|length| (1..=64).contains(length));
    let length = length.ok_or_else(|| format!("it has {} bits, must have 1 to 64", parsed.size))?;
    let start = u16::try_from(parsed.start_bit)
        .ok()
        .filter(|start| u32::from(*start) < frame.max(FRAME_BYTES_MAX) * 8);
    let start = start.ok_or_else(|| format!("it begins at bit {}, behind any frame", parsed.start_bit))?;
    let order = match parsed.byte_order {
        can_dbc::ByteOrder::LittleEndian => ByteOrder::LittleEndian,
        can_dbc::ByteOrder::BigEndian => ByteOrder::BigEndian,
    };
    let layout = Layout { start, length, order };
    if layout.bytes() > frame {
        return Err(format!("its bits reach into byte {} of a frame of {frame} bytes", layout.bytes()));
    }
    if !parsed.factor.is_finite() || !parsed.offset.is_finite() {
        return Err("its factor or offset is not a finite number".to_owned());
    }
    let value_type = match (float_type(&parsed.name), length, parsed.value_type) {
        (Some(ValueType::Float32), 32, _) => ValueType::Float32,
        (Some(ValueType::Float64), 64, _) => ValueType::Float64,
        (Some(_), ..) => {
            return Err(format!("it has {length} bits and `SIG_VALTYPE_` makes it another float"));
        }
        (None, _, can_dbc::ValueType::Signed) => ValueType::Signed,
        (None, _, can_dbc::ValueType::Unsigned) => ValueType::Unsigned,
    };
    let (minimum, maximum) = (number(parsed.min), number(parsed.max));
    let signal = Signal {
        name: parsed.name.clone(),
        line: statement.line,
        layout,
        value_type,
        scale: parsed.factor,
        offset: parsed.offset,
        range: (minimum < maximum).then_some((minimum, maximum)),
        unit: unescape(parsed.unit),
        names: Vec::new(),
        selectors: Vec::new(),
        comment: String::new(),
        start_value: None,
        receivers: parsed.receivers.into_iter().filter(|node| node != NO_NODE).collect(),
    };
    Ok(Read { statement, short: parsed.name, indicator: parsed.multiplexer_indicator, signal })
}

#[expect(clippy::cast_precision_loss, reason = "ranges are compared in doubles, as the DBC says")]
pub(super) fn number(value: NumericValue) -> f64 {
    match value {
        NumericValue::Uint(value) => value as f64,
        NumericValue::Int(value) => value as f64,
        NumericValue::Double(value) => value,
    }
}

/// A single bit that is neither scaled nor named is a boolean; floats have no value tables.
fn refine(signal: &mut Signal) {
    let plain = signal.scale.to_bits() == 1f64.to_bits() && signal.offset == 0.0 && signal.names.is_empty();
    match signal.value_type {
        ValueType::Unsigned if signal.layout.length == 1 && plain => signal.value_type = ValueType::Boolean,
        ValueType::Float32 | ValueType::Float64 => signal.names.clear(),
        _ => {}
    }
}

/// Overlapping signals are common and decoded as they are, but often a slip: told once for each message.
fn tell_overlaps(signals: &[Signal], notices: &mut Notices<'_>) {
    let masks: Vec<[u64; 8]> = signals.iter().map(|signal| signal.layout.mask()).collect();
    let share = |a: &[u64; 8], b: &[u64; 8]| a.iter().zip(b).any(|(a, b)| a & b != 0);
    // Only signals under the same selectors are surely in one frame.
    let mut taken: HashMap<&[Selector], [u64; 8]> = HashMap::new();
    let (mut first, mut more) = (None, 0);
    for (signal, mask) in signals.iter().zip(&masks) {
        let taken = taken.entry(&signal.selectors).or_default();
        if share(taken, mask) {
            let mut others = signals.iter().zip(&masks);
            let other =
                others.find(|(other, taken)| other.selectors == signal.selectors && share(taken, mask));
            match (first, other) {
                (None, Some((other, _))) => first = Some((signal.line, other.line)),
                _ => more += 1,
            }
        }
        for (taken, mask) in taken.iter_mut().zip(mask) {
            *taken |= mask;
        }
    }
    if let Some((line, other)) = first {
        let rest = if more > 0 { format!("; {more} more of this message do so") } else { String::new() };
        notices.add(line, 1, format!("the signal shares bits with that of line {other}{rest}"));
    }
}
