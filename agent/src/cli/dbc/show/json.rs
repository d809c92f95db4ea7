//! Messages and signals as JSON. What a file does not say is not there.

use super::super::{is_fd, pgn};
use super::{is_multiplexor, multiplexor, raw_id, type_name};
use glovebox_core::decode::dbc::{Message, Signal};
use glovebox_core::decode::leaves::{ByteOrder, Layout};
use glovebox_core::frame::CanId;
use serde_json::{Map, Value, json};

pub(super) fn text(file: &str, messages: &[&Message]) -> Result<String, serde_json::Error> {
    let messages: Vec<Value> = messages.iter().map(|one| message(one)).collect();
    serde_json::to_string_pretty(&json!({ "file": file, "messages": messages }))
}

fn message(message: &Message) -> Value {
    let signals: Vec<Value> = message.signals.iter().map(|one| signal(message, one)).collect();
    let is_extended = matches!(message.id, CanId::Extended(_));
    object([
        ("id", Some(json!(raw_id(message.id)))),
        ("extended", is_extended.then_some(Value::Bool(true))),
        ("name", Some(json!(message.name))),
        ("bytes", Some(json!(message.size))),
        ("fd", is_fd(message).then_some(Value::Bool(true))),
        ("pgn", pgn(message).map(|pgn| json!(pgn))),
        ("sender", said(&message.sender)),
        ("cycle_time_ms", message.cycle_time_ms.map(|time| json!(time))),
        ("comment", said(&message.comment)),
        ("line", Some(json!(message.line))),
        ("signals", Some(json!(signals))),
    ])
}

fn signal(message: &Message, signal: &Signal) -> Value {
    let Layout { start, length, order } = signal.layout;
    let order = match order {
        ByteOrder::LittleEndian => "little_endian",
        ByteOrder::BigEndian => "big_endian",
    };
    let names = signal.names.iter().map(|(value, name)| json!({ "value": value, "name": name }));
    let names: Vec<Value> = names.collect();
    let when = signal.selectors.iter().enumerate().map(|(at, selector)| {
        json!({ "multiplexor": multiplexor(message, signal, at), "ranges": selector.ranges })
    });
    let when: Vec<Value> = when.collect();
    object([
        ("name", Some(json!(signal.name))),
        ("start", Some(json!(start))),
        ("length", Some(json!(length))),
        ("order", Some(json!(order))),
        ("type", Some(json!(type_name(signal.value_type)))),
        ("scale", Some(json!(signal.scale))),
        ("offset", Some(json!(signal.offset))),
        ("minimum", signal.range.map(|(low, _)| json!(low))),
        ("maximum", signal.range.map(|(_, high)| json!(high))),
        ("unit", said(&signal.unit)),
        ("multiplexor", is_multiplexor(message, signal).then_some(Value::Bool(true))),
        ("when", (!when.is_empty()).then(|| json!(when))),
        ("values", (!names.is_empty()).then(|| json!(names))),
        ("start_value", signal.start_value.map(|value| json!(value))),
        ("receivers", (!signal.receivers.is_empty()).then(|| json!(signal.receivers))),
        ("comment", said(&signal.comment)),
        ("line", Some(json!(signal.line))),
    ])
}

fn said(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!(text))
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}
