//! The report as one page: no foreign address, no script, everything from documents and databases escaped, and a policy in
//! it (CSP) by which a browser would load and run nothing even if something had slipped through.

mod axis;
mod map;
mod plot;
mod text;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use glovebox_core::consent::atom;
use glovebox_core::names::Digest;

use super::report::{Flow, Made, Report, Signal};
use super::source::Offset;
use super::tally::{COLUMNS, Tally};
use super::{shown, words};
use axis::Span;
use map::Map;
use plot::Plot;
use text::Text;

const STYLE: &str = include_str!("html/style.css");

/// The page is to stay below 2 MiB: so much of it may be plots and maps.
const DRAWN_BYTES_MAX: usize = 1_500_000;
/// A column of a plot takes at most so many bytes for what comes in and what leaves together.
const COLUMN_BYTES: usize = 60;
/// And its scales and words so many.
const PLOT_BYTES: usize = 2_000;
/// Fewer columns make no plot.
const COLUMNS_MIN: usize = 60;
/// Rows of tables; a row has some 400 bytes.
const ROWS_MAX: usize = 1_000;

/// The whole page.
pub(super) fn page(report: &Report, made: &Made<'_>) -> String {
    let mut page = Page { out: String::new(), made, report, rows_left: ROWS_MAX, drawn: 0, columns: 0 };
    let drawn = report.flows.iter().flat_map(|flow| &flow.signals).filter(|it| it.samples_in > 0).count();
    let room = (DRAWN_BYTES_MAX / drawn.max(1)).saturating_sub(PLOT_BYTES);
    page.columns = (room / COLUMN_BYTES).clamp(COLUMNS_MIN, COLUMNS);
    // Writing to a String cannot fail.
    let _ = page.write();
    page.out
}

struct Page<'a> {
    out: String,
    made: &'a Made<'a>,
    report: &'a Report,
    rows_left: usize,
    /// Bytes of plots and maps.
    drawn: usize,
    /// Columns of each plot.
    columns: usize,
}

impl Page<'_> {
    fn write(&mut self) -> std::fmt::Result {
        self.head()?;
        self.about()?;
        self.summary()?;
        for (number, flow) in self.report.flows.iter().enumerate() {
            self.flow(number, flow)?;
        }
        let version = Text(self.report.version);
        write!(
            self.out,
            "<footer><p>{}</p><p>Made by glovebox {version}.</p></footer>",
            Text(self.report.notice)
        )?;
        self.out.push_str("</main></body></html>\n");
        Ok(())
    }

    fn head(&mut self) -> std::fmt::Result {
        let hash = STANDARD.encode(Digest::of(STYLE.as_bytes()).0);
        write!(
            self.out,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
             base-uri 'none'; form-action 'none'\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"referrer\" content=\"no-referrer\"><meta name=\"color-scheme\" content=\"light dark\">\
             <title>Preview: what would leave the car</title><style>{STYLE}</style></head>\n<body><main>\
             <h1>What would leave the car</h1><p class=\"notice\"><strong>{}</strong></p>",
            Text(self.report.notice)
        )
    }

    fn about(&mut self) -> std::fmt::Result {
        let Report { log, as_of, granted, policy_version, .. } = self.report;
        write!(
            self.out,
            "<dl class=\"about\"><dt>Drive</dt><dd>{}: {} of {}, {} long, from {} into the log on</dd>",
            Text(&log.file),
            words::some(log.frames, "frame"),
            Text(&log.interfaces.join(", ")),
            Offset(log.to_us - log.from_us),
            Offset(log.from_us)
        )?;
        write!(self.out, "<dt>Consent</dt><dd>Policy version {policy_version}, {}", Text(granted))?;
        if let Some(as_of) = as_of {
            write!(self.out, "; looked at as of {}", Text(&minute(&as_of.to_string())))?;
        }
        self.out.push_str("</dd><dt>Signatures</dt><dd><ul>");
        for check in &self.report.signatures {
            let (class, answer) = if check.verified { ("yes", "verified") } else { ("no", "not verified") };
            write!(self.out, "<li><span class=\"tag {class}\">{answer}</span> {}</li>", Text(&check.what))?;
        }
        self.out.push_str("</ul></dd></dl>\n");
        Ok(())
    }

    fn summary(&mut self) -> std::fmt::Result {
        self.out.push_str(
            "<h2>In short</h2><div class=\"wide\"><table><thead><tr><th>Recipient</th><th>Purpose</th>\
             <th>In a sentence</th><th class=\"n\">Samples out</th><th class=\"n\">Sealed bytes</th></tr></thead><tbody>",
        );
        for (number, flow) in self.report.flows.iter().enumerate() {
            write!(
                self.out,
                "<tr><th scope=\"row\"><a href=\"#flow-{number}\">{}</a></th><td>{}</td><td>{}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                Text(&flow.name),
                Text(&flow.purpose),
                Text(&flow.sentence),
                words::count(flow.samples_out),
                words::count(flow.bytes)
            )?;
        }
        self.out.push_str("</tbody></table></div>\n");
        Ok(())
    }

    fn flow(&mut self, number: usize, flow: &Flow) -> std::fmt::Result {
        let Flow { name, country, purpose, recipient, text, sentence, .. } = flow;
        write!(
            self.out,
            "<section id=\"flow-{number}\"><h2>{} <small>{} ({}), for {}</small></h2><p>{}</p>",
            Text(name),
            Text(recipient),
            Text(country),
            Text(purpose),
            Text(sentence)
        )?;
        if !text.is_empty() {
            write!(self.out, "<p>In the company's words: <q>{}</q></p>", Text(text))?;
        }
        for note in &flow.notes {
            write!(self.out, "<p>{}</p>", Text(note))?;
        }
        self.sides(flow)?;
        self.table(flow)?;
        self.figures(flow)?;
        self.out.push_str("</section>\n");
        Ok(())
    }

    /// What the car enforces, and what it cannot.
    fn sides(&mut self, flow: &Flow) -> std::fmt::Result {
        let names = |leaves: bool| {
            let mut names: Vec<&str> =
                flow.signals.iter().filter(|it| it.leaves == leaves).map(|it| it.signal.as_str()).collect();
            names.dedup();
            words::some(names.len() as u64, "signal")
        };
        let until = match flow.live_until {
            Some(until) => minute(&until.to_string()),
            None => "nothing leaves at all".to_owned(),
        };
        write!(
            self.out,
            "<div class=\"sides\"><div class=\"kept\"><h3>Kept by the car</h3><p>Whatever the company wants or says.</p>\
             <dl><dt>May leave</dt><dd>{}, reduced as the table says</dd><dt>Stays in the car</dt><dd>{}, and all that is not \
             in the table</dd><dt>Until</dt><dd>{}</dd><dt>Sealed</dt><dd>so that only this company can open it</dd></dl></div>",
            names(true),
            names(false),
            Text(&until)
        )?;
        self.out.push_str(
            "<div class=\"promised\"><h3>Promised by the company</h3><p>No car can enforce this.</p><dl>",
        );
        for promise in &flow.promises {
            write!(self.out, "<dt>{}</dt><dd>{}</dd>", promise.about, Text(&promise.says))?;
        }
        self.out.push_str("</dl></div></div>\n");
        Ok(())
    }

    fn table(&mut self, flow: &Flow) -> std::fmt::Result {
        self.out.push_str(
            "<div class=\"wide\"><table><thead><tr><th>Signal</th><th>What becomes of it</th><th class=\"n\">In</th>\
             <th class=\"n\">Out</th><th class=\"n\">Bytes</th><th>Values that leave</th></tr></thead><tbody>",
        );
        let shown = flow.signals.len().min(self.rows_left);
        self.rows_left -= shown;
        for signal in &flow.signals[..shown] {
            self.row(signal)?;
        }
        self.out.push_str("</tbody></table></div>\n");
        if shown < flow.signals.len() {
            let left = words::some((flow.signals.len() - shown) as u64, "row");
            write!(self.out, "<p class=\"left\">{left} more: narrow by --recipient and --signal.</p>")?;
        }
        Ok(())
    }

    fn row(&mut self, signal: &Signal) -> std::fmt::Result {
        let class = if signal.leaves { "leaves" } else { "stays" };
        write!(self.out, "<tr class=\"{class}\"><th scope=\"row\">{}", Signalled(signal))?;
        write!(self.out, "<small>{}</small></th>", Text(signal.category))?;
        match &signal.why_not {
            None if signal.leaves => write!(self.out, "<td>{}</td>", Text(&signal.becomes))?,
            why => {
                let why = why.as_deref().unwrap_or("it is not permitted");
                write!(self.out, "<td><span class=\"tag in\">stays in the car</span> {}</td>", Text(why))?;
            }
        }
        write!(
            self.out,
            "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            words::count(signal.samples_in),
            words::count(signal.samples_out),
            words::count(signal.bytes),
            Text(&shown::values(signal))
        )
    }

    /// A map of each place and a plot of each other signal that came in.
    fn figures(&mut self, flow: &Flow) -> std::fmt::Result {
        let mut left = 0u64;
        if flow.signals.iter().any(|signal| signal.samples_in > 0) {
            self.out
                .push_str("<p class=\"left\">Times below are hours, minutes and seconds into the log.</p>");
        }
        self.out.push_str("<div class=\"figures\">");
        for signal in &flow.signals {
            if signal.samples_in == 0 && signal.samples_out == 0 {
                continue;
            }
            let (came, told) = self.series(signal);
            let is_drawn = came.into_iter().chain(told).all(|tally| tally.trace.is_drawn());
            if self.drawn > DRAWN_BYTES_MAX || !is_drawn {
                left += 1;
                continue;
            }
            let before = self.out.len();
            let mut drawn = String::new();
            if let Some(map) = self.map(flow, signal) {
                map.draw(&mut drawn)?;
                self.figure(signal, &drawn)?;
                drawn.clear();
            }
            if signal.what.as_deref() != Some("cell") {
                self.plot(signal).draw(&mut drawn)?;
                self.figure(signal, &drawn)?;
            }
            self.drawn += self.out.len() - before;
        }
        self.out.push_str("</div>\n");
        if left > 0 {
            let left = words::some(left, "plot");
            write!(self.out, "<p class=\"left\">{left} more: narrow by --recipient and --signal.</p>")?;
        }
        Ok(())
    }

    fn figure(&mut self, signal: &Signal, drawn: &str) -> std::fmt::Result {
        let becomes = signal.why_not.as_ref().unwrap_or(&signal.becomes);
        write!(self.out, "<figure><figcaption><strong>{}</strong>", Signalled(signal))?;
        write!(self.out, "<span>{}</span></figcaption>", Text(becomes))?;
        write!(self.out, "{drawn}</figure>")
    }

    fn plot<'b>(&'b self, signal: &'b Signal) -> Plot<'b> {
        let log = &self.report.log;
        let (came, left) = self.series(signal);
        Plot {
            signal,
            span: Span { from: log.from_us, to: log.to_us },
            came: came.map(|it| it.trace.columns(self.columns)).unwrap_or_default(),
            left: left.map(|it| it.trace.columns(self.columns)).unwrap_or_default(),
        }
    }

    fn series(&self, signal: &Signal) -> (Option<&Tally>, Option<&Tally>) {
        let (place, driven) = (signal.place, self.made.driven);
        let came = place.leaf.and_then(|leaf| driven.inputs.get(&(leaf, place.source)));
        let what = signal.what.as_deref();
        let left = place.flow.and_then(|it| driven.outputs.find(it, (&signal.signal, what), place.source));
        (came, left)
    }

    /// Of a latitude whose longitude is there too.
    fn map(&self, flow: &Flow, signal: &Signal) -> Option<Map> {
        let leaves = self.made.leaves;
        let path = |signal: &Signal| Some(&leaves.get(signal.place.leaf?)?.path);
        let latitude = path(signal)?;
        let belongs = |other: &&Signal| {
            path(other).is_some_and(|longitude| atom::is_place(latitude, longitude))
                && other.place.source == signal.place.source
        };
        let longitude = flow.signals.iter().find(belongs)?;
        let (a, b) = (self.series(signal), self.series(longitude));
        let both = |a: Option<&Tally>, b: Option<&Tally>| -> Vec<(f64, f64)> {
            a.zip(b).map(|(a, b)| a.trace.beside(&b.trace).collect()).unwrap_or_default()
        };
        let cells = a.1.map(|told| told.cells.iter().map(|(cell, count)| (*cell, *count)).collect());
        let map = Map { route: both(a.0, b.0), points: both(a.1, b.1), cells: cells.unwrap_or_default() };
        (!map.is_empty()).then_some(map)
    }
}

/// A signal's name with what is told of it and who sends it.
struct Signalled<'a>(&'a Signal);

impl std::fmt::Display for Signalled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Signal { signal, what, source, .. } = self.0;
        // A long path may be broken at its dots.
        let path = Text(signal).to_string().replace('.', ".<wbr>");
        write!(f, "<span class=\"path\">{path}</span>")?;
        if let Some(what) = what {
            write!(f, " <em>{}</em>", Text(what))?;
        }
        source.map_or(Ok(()), |source| write!(f, " from {source}"))
    }
}

/// `2026-11-26T05:18:51.123456Z` to the minute.
fn minute(time: &str) -> String {
    match time.get(..16) {
        Some(head) if time.ends_with('Z') => format!("{} UTC", head.replace('T', " ")),
        _ => time.to_owned(),
    }
}
