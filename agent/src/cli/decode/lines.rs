//! One line for each signal and frame. What never changes of a line is written once for each signal beforehand.
//!
//! ```text
//! {"t":1533151834.123456,"bus":"can0","id":170,"message":"M","signal":"S","value":12.34,"raw":1234,"unit":"kph"}
//! also "extended":true, "path" (VSS name), "label" (name of the value), "state" (not_available, error, out_of_range)
//! ```

use super::Format;
use glovebox_core::decode::leaves::{Leaf, Number};
use glovebox_core::decode::{Leaves, Reading, State};
use glovebox_core::frame::{CanId, Frame};
use std::io::{self, Write};

/// Writes the readings of one interface.
pub(super) struct Lines {
    format: Format,
    /// By number of the leaf: what stands before the value, and the unit behind it.
    parts: Vec<(String, String)>,
}

/// What stands above all lines.
pub(super) fn header(format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Table => writeln!(
            out,
            "{:>17}  {:<8} {:>8}  {:<44} {:>16} {:<8} name or state",
            "time", "bus", "id", "signal", "value", "unit"
        ),
        Format::Jsonl => Ok(()),
        Format::Csv => writeln!(out, "t,bus,id,message,signal,path,value,raw,unit,label,state"),
    }
}

impl Lines {
    pub(super) fn new(format: Format, interface: &str, leaves: &Leaves) -> anyhow::Result<Self> {
        let parts = leaves.iter().map(|(_, leaf)| match format {
            Format::Table => Ok(table_parts(interface, leaf)),
            Format::Jsonl => json_parts(interface, leaf),
            Format::Csv => Ok(csv_parts(interface, leaf)),
        });
        Ok(Self { format, parts: parts.collect::<Result<_, serde_json::Error>>()? })
    }

    pub(super) fn write(
        &self,
        leaves: &Leaves,
        frame: &Frame,
        reading: &Reading,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let parts = usize::try_from(reading.leaf.0).ok().and_then(|index| self.parts.get(index));
        let (Some(leaf), Some((before, unit))) = (leaves.get(reading.leaf), parts) else { return Ok(()) };
        // A reading out of range carries no value, but here it is shown.
        let Some(raw) = leaf.raw(frame) else { return Ok(()) };
        let time = Time(frame.moment.0);
        // A mapped signal has its own value beside the raw one; a transform may have none for what is out of range.
        let bits = leaf.result(raw);
        let value = bits.map_or(Number::Float(f64::NAN), |bits| leaf.value(bits));
        let (label, state) = (bits.and_then(|bits| leaf.label(bits)), state_name(reading.state));
        match self.format {
            Format::Table => {
                let note = state.or(label).unwrap_or_default();
                writeln!(out, "{time:>17}  {before} {:>16} {unit:<8} {note}", plain(value))?;
            }
            Format::Jsonl => {
                write!(
                    out,
                    "{{\"t\":{time}{before}{},\"raw\":{}{unit}",
                    json(value),
                    json(raw_number(leaf, raw))
                )?;
                if let Some(label) = label {
                    write!(out, ",\"label\":{}", serde_json::to_string(label)?)?;
                }
                if let Some(state) = state {
                    write!(out, ",\"state\":\"{state}\"")?;
                }
                out.write_all(b"}\n")?;
            }
            Format::Csv => {
                let (label, state) = (csv_text(label.unwrap_or_default()), state.unwrap_or_default());
                let raw = plain(raw_number(leaf, raw));
                writeln!(out, "{time}{before}{},{raw},{unit},{label},{state}", plain(value))?;
            }
        }
        Ok(())
    }
}

fn raw_number(leaf: &Leaf, raw: u64) -> Number {
    let leaf = leaf.source();
    leaf.integer(raw).map_or_else(|| Number::Float(leaf.raw_float(raw)), Number::Integer)
}

fn state_name(state: State) -> Option<&'static str> {
    match state {
        State::Value => None,
        State::NotAvailable => Some("not_available"),
        State::Error => Some("error"),
        State::OutOfRange => Some("out_of_range"),
    }
}

fn id_of(leaf: &Leaf) -> (u32, bool) {
    match leaf.id {
        CanId::Standard(id) => (u32::from(id), false),
        CanId::Extended(id) => (id, true),
    }
}

fn vss_path(leaf: &Leaf) -> Option<&str> {
    Some(leaf.path.as_str()).filter(|path| !path.starts_with("CAN."))
}

fn json_parts(interface: &str, leaf: &Leaf) -> Result<(String, String), serde_json::Error> {
    let text = |text: &str| serde_json::to_string(text);
    let (id, extended) = id_of(leaf);
    let mut before = format!(",\"bus\":{},\"id\":{id}", text(interface)?);
    if extended {
        before += ",\"extended\":true";
    }
    before += &format!(",\"message\":{},\"signal\":{}", text(&leaf.message)?, text(&leaf.signal)?);
    if let Some(path) = vss_path(leaf) {
        before += &format!(",\"path\":{}", text(path)?);
    }
    before += ",\"value\":";
    Ok((before, format!(",\"unit\":{}", text(&leaf.unit)?)))
}

fn csv_parts(interface: &str, leaf: &Leaf) -> (String, String) {
    let fields =
        [interface, &id_of(leaf).0.to_string(), &leaf.message, &leaf.signal, vss_path(leaf).unwrap_or("")];
    let before: String = fields.iter().map(|field| format!(",{}", csv_text(field))).collect();
    (before + ",", csv_text(&leaf.unit))
}

fn table_parts(interface: &str, leaf: &Leaf) -> (String, String) {
    let id = match leaf.id {
        CanId::Standard(id) => format!("{id:03X}"),
        CanId::Extended(id) => format!("{id:08X}"),
    };
    let both = format!("{}.{}", leaf.message, leaf.signal);
    let name = vss_path(leaf).unwrap_or(&both);
    (format!("{interface:<8} {id:>8}  {name:<44}"), leaf.unit.clone())
}

/// RFC 4180: quoted where a comma, a quote or a line end is in it.
fn csv_text(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Microseconds as `seconds.fraction`, exactly.
struct Time(i64);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let width = f.width().unwrap_or(0).saturating_sub(7);
        write!(f, "{sign}{:>width$}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// Integers exactly, doubles as the shortest text that reads back the same.
enum Written {
    Integer(i128),
    Float(f64),
    Name(&'static str, bool),
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(value) => std::fmt::Display::fmt(value, f),
            Self::Float(value) => std::fmt::Debug::fmt(value, f),
            Self::Name(name, false) => f.pad(name),
            Self::Name(name, true) => write!(f, "\"{name}\""),
        }
    }
}

fn plain(number: Number) -> Written {
    written(number, false)
}

/// JSON has no word for what is no number: these are strings.
fn json(number: Number) -> Written {
    written(number, true)
}

fn written(number: Number, quoted: bool) -> Written {
    match number {
        Number::Integer(value) => Written::Integer(value),
        Number::Float(value) if value.is_nan() => Written::Name("NaN", quoted),
        Number::Float(value) if value.is_infinite() => {
            Written::Name(if value > 0.0 { "Infinity" } else { "-Infinity" }, quoted)
        }
        Number::Float(value) => Written::Float(value),
    }
}
