//! What came in and what leaves, laid over each other.

use std::fmt::{Result, Write as _};

use super::axis::{Scale, Span};
use super::text::Text;
use crate::cli::preview::report::Signal;
use crate::cli::preview::trace::Column;

/// The drawing, in units of the SVG.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 24.0;
/// A scale of its own on the right needs so much.
const SECOND: f64 = 44.0;
/// More marks than this would be a smear: then what leaves is a line alone.
const MARKS_MAX: usize = 120;

/// One signal.
pub(super) struct Plot<'a> {
    pub(super) signal: &'a Signal,
    pub(super) span: Span,
    /// Position and values of what came in.
    pub(super) came: Vec<(f64, Column)>,
    /// Of what leaves.
    pub(super) left: Vec<(f64, Column)>,
}

/// The area that is drawn in.
struct Area {
    right: f64,
}

impl Area {
    fn x(&self, part: f64) -> f64 {
        LEFT + part * (self.right - LEFT)
    }

    fn y(part: f64) -> f64 {
        HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)
    }
}

impl Plot<'_> {
    pub(super) fn draw(&self, out: &mut String) -> Result {
        let is_event = self.signal.what.as_deref() == Some("event");
        let own = self.signal.place.own_scale && !self.left.is_empty();
        let ranges = |columns: &[(f64, Column)]| -> Vec<(f64, f64)> {
            columns.iter().map(|(_, column)| (column.min, column.max)).collect()
        };
        let together = if own || is_event { Vec::new() } else { ranges(&self.left) };
        let scale = Scale::around(ranges(&self.came).into_iter().chain(together));
        let area = Area { right: WIDTH - RIGHT - if own { SECOND } else { 0.0 } };
        self.begin(out)?;
        self.times(out, &area)?;
        if let Some(scale) = scale {
            self.values(out, &area, &scale)?;
            write!(out, "<path class=\"came\" d=\"{}\"/>", line(&area, &scale, &self.came, 'L'))?;
        }
        let second = if own { Scale::around(ranges(&self.left).into_iter()) } else { None };
        if let Some(second) = second {
            second_scale(out, &area, &second)?;
        }
        match second.or(scale) {
            _ if is_event => self.events(out, &area)?,
            Some(scale) => self.leaves(out, &area, &scale)?,
            None => {}
        }
        self.legend(out, is_event, own)?;
        out.push_str("</svg>");
        Ok(())
    }

    fn begin(&self, out: &mut String) -> Result {
        let Signal { signal, samples_in, samples_out, .. } = self.signal;
        write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{}: {samples_in} readings came in, \
             {samples_out} samples leave</title>",
            Text(signal)
        )
    }

    fn times(&self, out: &mut String, area: &Area) -> Result {
        let (ticks, bottom) = (self.span.ticks(), HEIGHT - BOTTOM);
        out.push_str("<path class=\"grid\" d=\"");
        ticks.iter().try_for_each(|(part, _)| write!(out, "M{:.1} {TOP}V{bottom}", area.x(*part)))?;
        out.push_str("\"/>");
        ticks.iter().try_for_each(|(part, words)| {
            let (x, y) = (area.x(*part), bottom + 14.0);
            write!(out, "<text x=\"{x:.1}\" y=\"{y}\" class=\"mid\">{words}</text>")
        })
    }

    fn values(&self, out: &mut String, area: &Area, scale: &Scale) -> Result {
        let (ticks, right, x) = (scale.ticks(5.0), area.right, LEFT - 5.0);
        let y = |value: f64| Area::y(scale.part(value));
        out.push_str("<path class=\"grid\" d=\"");
        ticks.iter().try_for_each(|(value, _)| write!(out, "M{LEFT} {:.1}H{right:.1}", y(*value)))?;
        out.push_str("\"/>");
        for (value, words) in ticks {
            write!(out, "<text x=\"{x}\" y=\"{:.1}\" class=\"end\">{words}</text>", y(value) + 3.5)?;
        }
        let unit = if self.signal.unit.is_empty() { "value" } else { &self.signal.unit };
        write!(out, "<text x=\"2\" y=\"12\" class=\"unit\">{}</text>", Text(unit))
    }

    fn leaves(&self, out: &mut String, area: &Area, scale: &Scale) -> Result {
        if self.left.is_empty() {
            return Ok(());
        }
        let sparse = self.left.len() <= MARKS_MAX;
        // Between two samples a recipient knows no more than the last.
        let (class, join) = if sparse { ("left sparse", 'H') } else { ("left", 'L') };
        write!(out, "<path class=\"{class}\" d=\"{}\"/>", line(area, scale, &self.left, join))?;
        if sparse {
            out.push_str("<path class=\"mark\" d=\"");
            for (part, column) in &self.left {
                diamond(out, area.x(*part), Area::y(scale.part(column.last)))?;
            }
            out.push_str("\"/>");
        }
        Ok(())
    }

    /// That it happened, and when; no value.
    fn events(&self, out: &mut String, area: &Area) -> Result {
        out.push_str("<path class=\"left event\" d=\"");
        for (part, _) in &self.left {
            write!(out, "M{:.1} {TOP}V{}", area.x(*part), HEIGHT - BOTTOM)?;
        }
        out.push_str("\"/><path class=\"mark\" d=\"");
        for (part, _) in &self.left {
            write!(out, "M{:.1} {}l-5 -8h10z", area.x(*part), TOP + 4.0)?;
        }
        out.push_str("\"/>");
        Ok(())
    }

    fn legend(&self, out: &mut String, is_event: bool, own: bool) -> Result {
        let came = "<path class=\"came\" d=\"M120 9h22\"/><text x=\"147\" y=\"12\">in the car</text>";
        out.push_str(came);
        if self.left.is_empty() {
            out.push_str("<text x=\"226\" y=\"12\" class=\"none\">nothing leaves</text>");
            return Ok(());
        }
        let words = match (is_event, own) {
            (true, _) => "leaves: only that it happened",
            (_, true) => "leaves (scale on the right)",
            _ => "leaves",
        };
        let sparse = self.left.len() <= MARKS_MAX;
        let class = if sparse { "left sparse" } else { "left" };
        write!(out, "<path class=\"{class}\" d=\"M226 9h22\"/>")?;
        if is_event {
            out.push_str("<path class=\"mark\" d=\"M237 13l-5 -8h10z\"/>");
        } else if sparse {
            out.push_str("<path class=\"mark\" d=\"");
            diamond(out, 237.0, 9.0)?;
            out.push_str("\"/>");
        }
        write!(out, "<text x=\"254\" y=\"12\">{words}</text>")
    }
}

fn second_scale(out: &mut String, area: &Area, scale: &Scale) -> Result {
    for (value, words) in scale.ticks(5.0) {
        let (x, y) = (area.right, Area::y(scale.part(value)));
        write!(out, "<path class=\"axis\" d=\"M{x:.1} {y:.1}h4\"/>")?;
        write!(out, "<text x=\"{:.1}\" y=\"{:.1}\" class=\"second\">{words}</text>", x + 6.0, y + 3.5)?;
    }
    Ok(())
}

pub(super) fn diamond(out: &mut String, x: f64, y: f64) -> Result {
    write!(out, "M{:.1} {y:.1}l3.5 -3.5 3.5 3.5 -3.5 3.5z", x - 3.5)
}

/// A line through the columns, up to the largest and down to the smallest of each; broken where for long nothing came.
/// `join`: `L` goes straight to the next, `H` stays where it was until then.
fn line(area: &Area, scale: &Scale, columns: &[(f64, Column)], join: char) -> String {
    let mut path = String::new();
    let gap = gap(columns);
    let mut last: Option<f64> = None;
    for (part, column) in columns {
        let joined = last.is_some_and(|last| part - last <= gap);
        last = Some(*part);
        let y = |value: f64| Area::y(scale.part(value));
        let (x, first) = (area.x(*part), y(column.first));
        // Writing to a String cannot fail.
        let _ = match (joined, join) {
            (true, 'H') => write!(path, "H{x:.1}V{first:.1}"),
            (true, _) => write!(path, "L{x:.1} {first:.1}"),
            (false, _) => write!(path, "M{x:.1} {first:.1}"),
        };
        let mut before = y(column.first);
        for value in [column.min, column.max, column.last] {
            if (y(value) - before).abs() >= 0.05 {
                before = y(value);
                let _ = write!(path, "V{before:.1}");
            }
        }
    }
    path
}

/// Columns that lie further apart than this are not joined.
fn gap(columns: &[(f64, Column)]) -> f64 {
    let mut gaps: Vec<f64> = columns.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    gaps.sort_by(f64::total_cmp);
    gaps.get(gaps.len() / 2).map_or(1.0, |middle| middle * 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(first: f64, min: f64, max: f64, last: f64) -> Column {
        Column { first, min, max, last }
    }

    /// A line of these on a scale from 0 to 10, on an area of 100 units beginning at [`LEFT`].
    fn drawn(columns: &[(f64, Column)], join: char) -> String {
        line(&Area { right: LEFT + 100.0 }, &Scale { min: 0.0, max: 10.0 }, columns, join)
    }

    #[test]
    fn a_line_reaches_the_peaks_of_its_columns() {
        let flat = |value| column(value, value, value, value);
        let columns = [(0.0, flat(0.0)), (0.5, column(5.0, 0.0, 10.0, 2.5)), (1.0, flat(10.0))];
        assert_eq!(drawn(&columns, 'L'), "M52.0 166.0L102.0 95.0V166.0V24.0V130.5L152.0 24.0");
        assert_eq!(drawn(&columns[..1], 'L'), "M52.0 166.0");
        let held = [(0.0, flat(0.0)), (1.0, flat(10.0))];
        assert_eq!(drawn(&held, 'H'), "M52.0 166.0H152.0V24.0", "the last one known, until the next");
    }

    #[test]
    fn a_line_is_broken_where_for_long_nothing_came() {
        let flat = column(5.0, 5.0, 5.0, 5.0);
        let columns: Vec<_> = [0.0, 0.1, 0.2, 0.3, 0.95, 1.0].map(|part| (part, flat)).to_vec();
        assert_eq!(drawn(&columns, 'L').matches('M').count(), 1, "six times as long is not");
        let columns: Vec<_> = [0.0, 0.01, 0.02, 0.03, 0.95, 1.0].map(|part| (part, flat)).to_vec();
        assert_eq!(drawn(&columns, 'L').matches('M').count(), 2);
    }
}
