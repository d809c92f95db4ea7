//! `signal_map_digest` of a leaf: SHA-256 over all that is compiled, so that a leaf that changed waits for the owner.
//!
//! ```text
//! lp("glovebox/v1/signal-map") lp(bus name) lp(id) lp(layout) lp(type) lp(scale) lp(offset) lp(unit)
//! lp(range: nothing, or minimum and maximum)
//! lp(selectors: for each lp(layout) lp(ranges: for each low, high as u64))
//! lp(names: for each raw as i64, lp(name))
//! then, only where a mapping file gives them,
//! 1 lp(rule) lp(type) lp(scale) lp(offset) lp(range) lp(names) of the signal itself
//! 2 lp(interval in µs as u64) lp(0 or 1: on change)
//! rule = 1, text, or 2 and for each pair: 1 (raw), 2 (integer, i128) or 3 (double), lp(it), bits of the result as u64
//! id = 0, 1 (extended) or 2 (J1939), u32     layout = start u16, length u8, order 0 (Intel) or 1     type = u8
//! ```
//!
//! All numbers big-endian, doubles as their IEEE 754 bits, `lp(x)` = length of x as u32, then x.

use super::{ByteOrder, Layout, Leaf, Match, Number, Rule};
use crate::decode::ValueType;
use crate::frame::CanId;
use crate::names::{BusName, Digest};

pub(super) fn digest(leaf: &Leaf, bus: &BusName) -> Digest {
    let mut text = Vec::with_capacity(256);
    lp(&mut text, b"glovebox/v1/signal-map");
    lp(&mut text, bus.as_str().as_bytes());
    let (kind, id) = match leaf.id {
        CanId::Standard(id) => (0, u32::from(id)),
        CanId::Extended(id) if leaf.j1939 => (2, id),
        CanId::Extended(id) => (1, id),
    };
    lp(&mut text, &[&[kind][..], &id.to_be_bytes()].concat());
    lp(&mut text, &layout(leaf.layout));
    lp(&mut text, &[type_code(leaf.value_type)]);
    lp(&mut text, &double(leaf.scale));
    lp(&mut text, &double(leaf.offset));
    lp(&mut text, leaf.unit.as_bytes());
    lp(&mut text, &range(leaf));
    let mut selectors = Vec::new();
    for selector in &leaf.selectors {
        lp(&mut selectors, &layout(selector.layout));
        let ranges: Vec<u8> = selector
            .ranges
            .iter()
            .flat_map(|(low, high)| [low.to_be_bytes(), high.to_be_bytes()].concat())
            .collect();
        lp(&mut selectors, &ranges);
    }
    lp(&mut text, &selectors);
    lp(&mut text, &names(leaf));
    mapped(&mut text, leaf);
    Digest::of(&text)
}

/// What a mapping file adds.
fn mapped(text: &mut Vec<u8>, leaf: &Leaf) {
    if let Some(derivation) = &leaf.derivation {
        let source = &derivation.source;
        text.push(1);
        lp(text, &rule(&derivation.rule));
        lp(text, &[type_code(source.value_type)]);
        lp(text, &double(source.scale));
        lp(text, &double(source.offset));
        lp(text, &range(source));
        lp(text, &names(source));
    }
    if let Some(sampling) = leaf.sampling {
        text.push(2);
        lp(text, &sampling.interval_us.to_be_bytes());
        lp(text, &[u8::from(sampling.on_change)]);
    }
}

fn rule(rule: &Rule) -> Vec<u8> {
    let table = match rule {
        Rule::Math(expression) => return [&[1], expression.text().as_bytes()].concat(),
        Rule::Table(table) => table,
    };
    let mut text = vec![2];
    for (wanted, result) in table.iter() {
        let (kind, value) = match wanted {
            Match::Raw(bits) => (1, bits.to_be_bytes().to_vec()),
            Match::Value(Number::Integer(value)) => (2, value.to_be_bytes().to_vec()),
            Match::Value(Number::Float(value)) => (3, double(*value).to_vec()),
        };
        text.push(kind);
        lp(&mut text, &value);
        text.extend_from_slice(&result.to_be_bytes());
    }
    text
}

fn range(leaf: &Leaf) -> Vec<u8> {
    let range = leaf.range.map(|(minimum, maximum)| [double(minimum), double(maximum)].concat());
    range.unwrap_or_default()
}

fn names(leaf: &Leaf) -> Vec<u8> {
    let mut names = Vec::new();
    for (raw, name) in &leaf.names {
        names.extend_from_slice(&raw.to_be_bytes());
        lp(&mut names, name.as_bytes());
    }
    names
}

fn lp(text: &mut Vec<u8>, part: &[u8]) {
    // Everything here comes from a file far below 4 GiB.
    text.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    text.extend_from_slice(part);
}

fn double(number: f64) -> [u8; 8] {
    number.to_bits().to_be_bytes()
}

fn layout(layout: Layout) -> [u8; 4] {
    let [high, low] = layout.start.to_be_bytes();
    let order = match layout.order {
        ByteOrder::LittleEndian => 0,
        ByteOrder::BigEndian => 1,
    };
    [high, low, layout.length, order]
}

fn type_code(value_type: ValueType) -> u8 {
    match value_type {
        ValueType::Unsigned => 1,
        ValueType::Signed => 2,
        ValueType::Float32 => 3,
        ValueType::Float64 => 4,
        ValueType::Boolean => 5,
    }
}
