//! What is to be seen, and how it is laid out; where it goes is `screen`'s.

use std::collections::VecDeque;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Plain,
    Dim,
    Bold,
    Good,
    Warn,
    Bad,
    Head,
}

/// A line in pieces.
pub(crate) type Line = Vec<(Look, String)>;

/// A name and its value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// One company's part of the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct CompanyView {
    pub(crate) name: String,
    pub(crate) is_withdrawn: bool,
    pub(crate) rows: Vec<Row>,
    pub(crate) samples: usize,
    pub(crate) messages: usize,
    pub(crate) sealed_bytes: usize,
    /// How the one signal that it gets is reduced.
    pub(crate) reduced: Option<String>,
    /// Asked for and not granted.
    pub(crate) withheld: Vec<String>,
    /// Waiting on disk.
    pub(crate) queued: (u64, u64),
    /// What its folder of the queue holds.
    pub(crate) files: String,
}

/// All that is to be seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) title: String,
    pub(crate) part: String,
    pub(crate) time_s: u64,
    pub(crate) total_s: u64,
    pub(crate) speed: f64,
    pub(crate) has_network: bool,
    pub(crate) link: String,
    pub(crate) car: Vec<Row>,
    /// Signals of the car that have no line.
    pub(crate) more: usize,
    pub(crate) frames: (u64, u64),
    pub(crate) companies: [CompanyView; 2],
    /// Newest last: topic, bytes, first bytes in hexadecimal.
    pub(crate) broker: VecDeque<(String, usize, String)>,
    pub(crate) broker_total: (usize, usize),
    pub(crate) events: VecDeque<(Look, String)>,
}

/// Messages that the broker's part shows at most.
pub(crate) const BROKER_ROWS: usize = 10;
const ROWS_MAX: usize = 12;
const EVENT_ROWS: usize = 6;
const EVENT_ROWS_MIN: usize = 3;
/// Lines that are there on every screen: title, progress, headings, the two queues.
const FIXED_ROWS: usize = 8;
const BAR: usize = 40;

fn plain(text: impl Into<String>) -> (Look, String) {
    (Look::Plain, text.into())
}

fn dim(text: impl Into<String>) -> (Look, String) {
    (Look::Dim, text.into())
}

/// Pads or cuts to `width` characters; what is cut ends in `…`.
pub(crate) fn fit(line: &Line, width: usize) -> Line {
    let (mut left, mut fitted) = (width, Line::new());
    let total: usize = line.iter().map(|(_, text)| text.chars().count()).sum();
    let room = if total > width { width.saturating_sub(1) } else { width };
    for (look, text) in line {
        let cut: String = text.chars().take(room.saturating_sub(width - left)).collect();
        left -= cut.chars().count();
        fitted.push((*look, cut));
    }
    if total > width && left > 0 {
        fitted.push((Look::Dim, "…".to_owned()));
        left -= 1;
    }
    fitted.push(plain(" ".repeat(left)));
    fitted
}

/// The end of a path that is worth reading: without the first words that all share.
pub(crate) fn short(path: &str, width: usize) -> String {
    let path = path.strip_prefix("Vehicle.").unwrap_or(path);
    let mut path = path.replace("Chassis.Axle.", "").replace(".Wheel.", ".").replace("Powertrain.", "");
    if path.chars().count() > width {
        path = path
            .replace(".Tire.", ".")
            .replace("TractionBattery.", "Battery.")
            .replace("CurrentLocation.", "");
    }
    match path.chars().count().checked_sub(width) {
        None | Some(0) => path,
        Some(more) => format!("…{}", path.chars().skip(more + 1).collect::<String>()),
    }
}

/// Bytes for people.
pub(crate) fn size(bytes: usize) -> String {
    if bytes < 10_240 { format!("{bytes} B") } else { format!("{} KiB", bytes.div_ceil(1024)) }
}

impl View {
    /// Something has happened.
    pub(crate) fn happened(&mut self, look: Look, text: &str) {
        self.events.push_back((look, text.to_owned()));
        if self.events.len() > EVENT_ROWS {
            self.events.pop_front();
        }
    }

    /// One line for where nobody looks at a terminal.
    pub(crate) fn brief(&self) -> String {
        let Self { time_s, part, companies: [a, b], broker_total: (messages, bytes), .. } = self;
        let network = if self.has_network { "" } else { ", no network" };
        format!(
            "{:02}:{:02} {part}{network}: {} opened {} samples, {} opened {}; broker saw {messages} messages, {}; \
             on disk {} + {} batches",
            time_s / 60,
            time_s % 60,
            a.name,
            a.samples,
            b.name,
            b.samples,
            size(*bytes),
            a.queued.0,
            b.queued.0,
        )
    }

    /// The whole screen, `width` wide and at most `height` high.
    pub(crate) fn lines(&self, width: usize, height: usize) -> Vec<Line> {
        let room = height.saturating_sub(FIXED_ROWS);
        let events = room.saturating_sub(2 * ROWS_MAX).clamp(EVENT_ROWS_MIN, EVENT_ROWS);
        let room = room.saturating_sub(events);
        let company_rows = (room * 3 / 5).clamp(2, ROWS_MAX);
        let car_rows = room.saturating_sub(company_rows).clamp(2, ROWS_MAX);
        let left = width / 2;
        let right = width - left - 1;
        let mut lines = vec![fit(&self.head(), width), fit(&self.progress(), width)];
        let both = |lines: &mut Vec<Line>, a: Vec<Line>, b: Vec<Line>, rows: usize| {
            let (mut a, mut b) = (a.into_iter(), b.into_iter());
            for _ in 0..rows {
                let (a, b) = (a.next().unwrap_or_default(), b.next().unwrap_or_default());
                lines.push([fit(&a, left), vec![dim("│")], fit(&b, right)].concat());
            }
        };
        lines.push(heading(&[("on the car's bus", left), ("what the broker sees", right)]));
        both(&mut lines, self.car_lines(left, car_rows), self.broker_lines(car_rows), car_rows);
        let [a, b] = &self.companies;
        lines.push(heading(&[
            (&format!("{} can read", a.name), left),
            (&format!("{} can read", b.name), right),
        ]));
        both(&mut lines, a.lines(left, company_rows), b.lines(right, company_rows), company_rows);
        lines.push(heading(&[("queue on the car's disk", width)]));
        lines.extend([a.queue(), b.queue()].map(|line| fit(&line, width)));
        lines.push(heading(&[("what happened", width)]));
        let skip = self.events.len().saturating_sub(events);
        lines.extend(
            self.events.iter().skip(skip).map(|(look, text)| fit(&vec![(*look, format!(" {text}"))], width)),
        );
        lines
    }

    fn head(&self) -> Line {
        let keys = "Ctrl-C ends";
        vec![
            (Look::Bold, " glovebox demo ".to_owned()),
            plain(format!("  {}   ", self.title)),
            dim(format!("{:.0} x real time   {keys}", self.speed)),
        ]
    }

    fn progress(&self) -> Line {
        let done = (BAR as u64 * self.time_s.min(self.total_s)).checked_div(self.total_s).unwrap_or(0);
        let done = usize::try_from(done).unwrap_or(0).min(BAR);
        let network = match (self.has_network, self.link.as_str()) {
            (false, _) => (Look::Bad, "NO NETWORK".to_owned()),
            (true, "connected") => (Look::Good, "connected".to_owned()),
            (true, other) => {
                (Look::Warn, if other.is_empty() { "not started".to_owned() } else { other.to_owned() })
            }
        };
        vec![
            plain(" "),
            (Look::Good, "━".repeat(done)),
            dim("─".repeat(BAR - done)),
            plain(format!(
                " {:02}:{:02} of {:02}:{:02}  ",
                self.time_s / 60,
                self.time_s % 60,
                self.total_s / 60,
                self.total_s % 60
            )),
            plain("network: "),
            network,
            plain("   "),
            (Look::Bold, self.part.clone()),
        ]
    }

    fn car_lines(&self, width: usize, rows: usize) -> Vec<Line> {
        let rows = self.car.len().min(rows - 1);
        let mut lines: Vec<Line> =
            self.car.iter().take(rows).map(|row| row.line(width, Look::Plain)).collect();
        let (read, needed) = self.frames;
        lines.push(vec![dim(format!(
            " and {} more; {needed} of {read} frames serve a grant",
            self.more + self.car.len() - rows
        ))]);
        lines
    }

    fn broker_lines(&self, rows: usize) -> Vec<Line> {
        let (messages, bytes) = self.broker_total;
        let mut lines = vec![vec![dim(format!(" subscribed to #: {messages} messages, {}", size(bytes)))]];
        let skip = (self.broker.len() + 1).saturating_sub(rows);
        lines.extend(self.broker.iter().skip(skip).map(|(topic, bytes, first)| {
            vec![plain(format!(" {topic:<22}")), plain(format!("{bytes:>6} B ")), dim(first.clone())]
        }));
        lines
    }
}

impl Row {
    fn line(&self, width: usize, look: Look) -> Line {
        let room = width.saturating_sub(20);
        vec![plain(format!(" {:<room$} ", short(&self.name, room))), (look, format!("{:>17}", self.value))]
    }
}

impl CompanyView {
    fn lines(&self, width: usize, rows: usize) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        if self.is_withdrawn {
            lines.push(vec![(Look::Warn, " the owner has withdrawn: nothing new comes".to_owned())]);
        }
        let look = if self.is_withdrawn { Look::Dim } else { Look::Good };
        let refused = if self.withheld.is_empty() { 0 } else { self.withheld.len() + 1 };
        let others = lines.len() + refused + usize::from(self.reduced.is_some());
        let room = (rows - 1).saturating_sub(others).max(1);
        lines.extend(self.rows.iter().take(room).map(|row| row.line(width, look)));
        if let Some(last) = lines.last_mut().filter(|_| self.rows.len() > room) {
            *last = vec![dim(format!(" and {} more signals", self.rows.len() - room + 1))];
        }
        lines.extend(self.reduced.iter().map(|how| vec![dim(format!("   {how}"))]));
        if !self.withheld.is_empty() {
            lines.push(vec![plain(" Asked for and not granted:")]);
            lines.extend(
                self.withheld
                    .iter()
                    .map(|path| vec![(Look::Bad, format!("   - {}", short(path, width - 6)))]),
            );
        }
        lines.resize_with(rows - 1, Vec::new);
        lines.push(vec![dim(format!(" {}", self.weight()))]);
        lines
    }

    /// Bytes a sample.
    pub(crate) fn weight(&self) -> String {
        let Self { samples, messages, sealed_bytes, .. } = self;
        let (tenths, per) = (sealed_bytes * 10, *samples);
        match tenths.checked_div(per) {
            None => "nothing yet".to_owned(),
            Some(tenths) => format!(
                "{samples} samples in {messages} batches, {}: {}.{} bytes a sample",
                size(*sealed_bytes),
                tenths / 10,
                tenths % 10
            ),
        }
    }

    fn queue(&self) -> Line {
        let (batches, bytes) = self.queued;
        // What was sent leaves its segment behind until that is full.
        let bytes = size(usize::try_from(bytes).unwrap_or(usize::MAX));
        let waiting = match batches {
            0 => (Look::Plain, format!("{:<28}", "nothing waits")),
            1 => (Look::Warn, format!("{:<28}", format!("1 batch waits in {bytes}"))),
            _ => (Look::Warn, format!("{:<28}", format!("{batches} batches wait in {bytes}"))),
        };
        vec![plain(format!(" {:<26}", self.name)), waiting, dim(format!("  {}", self.files))]
    }
}

/// A rule with headings in it, in columns.
fn heading(columns: &[(&str, usize)]) -> Line {
    let mut line = Line::new();
    for (number, (text, width)) in columns.iter().enumerate() {
        if number > 0 {
            line.push(dim("┬"));
        }
        let text: String = text.chars().take(width.saturating_sub(4)).collect();
        let rest = width.saturating_sub(text.chars().count() + 4);
        line.extend([dim("──"), (Look::Head, format!(" {text} ")), dim("─".repeat(rest))]);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_as_wide_as_the_screen() {
        let row = |name: &str| Row { name: name.to_owned(), value: "1.5 km/h".to_owned() };
        let mut view = View { car: vec![row(&"Vehicle.Long.".repeat(20)); 20], ..View::default() };
        view.companies[0].rows = vec![row("Vehicle.Speed"); 30];
        view.companies[1].withheld = vec!["Vehicle.Speed".to_owned(); 4];
        view.broker.push_back(("t".repeat(90), 5, "00".to_owned()));
        for number in 0..9 {
            view.happened(Look::Good, &format!("{number} {}", "long ".repeat(40)));
        }
        for (width, height) in [(60, 24), (80, 24), (80, 30), (110, 38), (110, 40), (200, 70)] {
            let lines = view.lines(width, height);
            assert!(lines.len() <= height && lines.len() >= height.min(38), "{} of {height}", lines.len());
            for line in lines {
                let count: usize = line.iter().map(|(_, text)| text.chars().count()).sum();
                assert_eq!(count, width, "{line:?}");
            }
        }
    }

    #[test]
    fn paths_are_shortened_from_the_left() {
        assert_eq!(
            short("Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure", 40),
            "Row1.Left.Tire.Pressure"
        );
        assert_eq!(short("CAN.can0.LONG_MESSAGE.SIGNAL", 10), "…GE.SIGNAL");
    }
}
