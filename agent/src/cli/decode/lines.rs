//! One line for each signal and frame. What never changes of a line is written once for each signal beforehand.
//!
//! ```text
//! {"t":1533151834.123456,"bus":"can0","id":170,"message":"M","signal":"S","value":12.34,"raw":1234,"unit":"kph"}
//! also "extended":true, "source" (who sent it, J1939), "path" (VSS name), "label" (name of the value), "state" (not_available, error, out_of_range)
//! {"t":1533151834.123456,"bus":"can0","id":305419896,"extended":true,"data":"00ABFF"}   with --all: a frame of no message
//! ```

use super::Format;
use crate::cli::consent::printable;
use glovebox_core::decode::leaves::{Leaf, Number};
use glovebox_core::decode::{Leaves, Origin, Reading, SourceAddress, State};
use glovebox_core::frame::{CanId, Frame};
use glovebox_core::names::Moment;
use std::io::{self, Write};

/// Writes the readings of one interface.
pub(super) struct Lines {
    format: Format,
    /// The interface, as it stands in a line.
    interface: String,
    /// Frames of no message are printed too, so that CSV has a column for their data.
    all: bool,
    /// By number of the leaf: what stands between identifier and value, and the unit.
    parts: Vec<(String, String)>,
}

/// What stands above all lines.
pub(super) fn header(format: Format, all: bool, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Table => writeln!(
            out,
            "{:>17}  {:<8} {:>8}  {:<44} {:>16} {:<8} name or state",
            "time", "bus", "id", "signal", "value", "unit"
        ),
        Format::Jsonl => Ok(()),
        Format::Csv => {
            let data = if all { ",data" } else { "" };
            writeln!(out, "t,bus,id,message,signal,path,value,raw,unit,label,state{data}")
        }
    }
}

impl Lines {
    pub(super) fn new(format: Format, all: bool, interface: &str, leaves: &Leaves) -> anyhow::Result<Self> {
        let parts = leaves.iter().map(|(_, leaf)| match format {
            Format::Table => Ok(table_parts(leaf)),
            Format::Jsonl => json_parts(leaf),
            Format::Csv => Ok(csv_parts(leaf)),
        });
        let parts = parts.collect::<Result<_, serde_json::Error>>()?;
        let interface = match format {
            Format::Table => in_a_line(interface),
            Format::Jsonl => serde_json::to_string(interface)?,
            Format::Csv => csv_text(interface),
        };
        Ok(Self { format, interface, all, parts })
    }

    pub(super) fn write(
        &self,
        leaf: &Leaf,
        (moment, origin): (Moment, Origin),
        reading: &Reading,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let parts = usize::try_from(reading.leaf.0).ok().and_then(|index| self.parts.get(index));
        let Some((before, unit)) = parts else { return Ok(()) };
        // A reading that is no ordinary value carries none, but here it is shown. A mapped signal has its own value
        // beside the raw one; a transform may have none for what is out of range.
        let Some(raw) = origin.raw else { return Ok(()) };
        let bits = leaf.result(raw);
        let value = bits.map_or(Number::Float(f64::NAN), |bits| leaf.value(bits));
        let (label, state) = (bits.and_then(|bits| leaf.label(bits)), state_name(reading.state));
        let raw = raw_number(leaf, raw);
        self.begin(moment, origin.id, out)?;
        if self.format == Format::Jsonl && reading.source != SourceAddress::NONE {
            write!(out, ",\"source\":{}", reading.source.0)?;
        }
        out.write_all(before.as_bytes())?;
        match self.format {
            Format::Table => {
                let note = in_a_line(state.or(label).unwrap_or_default());
                writeln!(out, " {:>16} {unit:<8} {note}", plain(value))?;
            }
            Format::Jsonl => {
                write!(out, "{},\"raw\":{}{unit}", json(value), json(raw))?;
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
                let no_data = if self.all { "," } else { "" };
                writeln!(out, "{},{},{unit},{label},{state}{no_data}", plain(value), plain(raw))?;
            }
        }
        Ok(())
    }

    /// A frame that no database has.
    pub(super) fn write_raw(&self, frame: &Frame, out: &mut impl Write) -> io::Result<()> {
        self.begin(frame.moment, frame.id, out)?;
        let (before, gap, after) = match self.format {
            Format::Table => ("", " ", "\n"),
            Format::Jsonl => (",\"data\":\"", "", "\"}\n"),
            Format::Csv => (",,,,,,,,,", "", "\n"),
        };
        write!(out, "{before}")?;
        frame.data().iter().try_for_each(|byte| write!(out, "{gap}{byte:02X}"))?;
        write!(out, "{after}")
    }

    /// Time, interface and identifier.
    fn begin(&self, moment: Moment, id: CanId, out: &mut impl Write) -> io::Result<()> {
        let (time, bus) = (Time(moment.0), &self.interface);
        let (number, is_extended) = match id {
            CanId::Standard(id) => (u32::from(id), false),
            CanId::Extended(id) => (id, true),
        };
        match (self.format, is_extended) {
            // As candump shows it: its width tells an identifier of 29 bits.
            (Format::Table, false) => write!(out, "{time:>17}  {bus:<8}      {number:03X} "),
            (Format::Table, true) => write!(out, "{time:>17}  {bus:<8} {number:08X} "),
            (Format::Jsonl, false) => write!(out, "{{\"t\":{time},\"bus\":{bus},\"id\":{number}"),
            (Format::Jsonl, true) => {
                write!(out, "{{\"t\":{time},\"bus\":{bus},\"id\":{number},\"extended\":true")
            }
            (Format::Csv, _) => write!(out, "{time},{bus},{number}"),
        }
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

fn vss_path(leaf: &Leaf) -> Option<&str> {
    Some(leaf.path.as_str()).filter(|path| !path.starts_with("CAN."))
}

fn json_parts(leaf: &Leaf) -> Result<(String, String), serde_json::Error> {
    let text = |text: &str| serde_json::to_string(text);
    let mut before = format!(",\"message\":{},\"signal\":{}", text(&leaf.message)?, text(&leaf.signal)?);
    if let Some(path) = vss_path(leaf) {
        before += &format!(",\"path\":{}", text(path)?);
    }
    before += ",\"value\":";
    Ok((before, format!(",\"unit\":{}", text(&leaf.unit)?)))
}

fn csv_parts(leaf: &Leaf) -> (String, String) {
    let fields = [leaf.message.as_str(), &leaf.signal, vss_path(leaf).unwrap_or("")];
    let before: String = fields.iter().map(|field| format!(",{}", csv_text(field))).collect();
    (before + ",", csv_text(&leaf.unit))
}

fn table_parts(leaf: &Leaf) -> (String, String) {
    let both = format!("{}.{}", leaf.message, leaf.signal);
    let name = vss_path(leaf).unwrap_or(&both);
    (format!(" {name:<44}"), in_a_line(&leaf.unit))
}

/// RFC 4180: quoted where a comma or a quote is in it. Names come from files: without what moves a terminal's cursor.
fn csv_text(text: &str) -> String {
    let text = in_a_line(text);
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// A name as it may stand in a line.
fn in_a_line(text: &str) -> String {
    printable(text).replace('\n', "")
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of a log or a database may be anybody's: they neither colour the terminal nor begin a line.
    #[test]
    fn no_name_moves_the_cursor() {
        assert_eq!(csv_text("can\u{1b}[31m0\n,b"), "\"can[31m0,b\"");
        assert_eq!((in_a_line("\u{b0}C\r\u{9b}2J").as_str(), csv_text("kph").as_str()), ("\u{b0}C2J", "kph"));
    }
}
