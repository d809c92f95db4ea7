//! The report in words, for a terminal.

use std::io::Write;

use super::report::{Flow, Report, Signal};
use super::source::Offset;
use super::words;
use crate::cli::consent::printable;
use crate::cli::out::columns;

/// Longest list of values in a line.
const VALUES_MAX: usize = 36;

pub(super) fn print(out: &mut impl Write, report: &Report) -> anyhow::Result<()> {
    let log = &report.log;
    writeln!(out, "{}", report.notice)?;
    let length = Offset(log.to_us - log.from_us);
    writeln!(
        out,
        "{}: {} of {} over {length}, from {} on",
        printable(&log.file),
        words::some(log.frames, "frame"),
        printable(&log.interfaces.join(", ")),
        Offset(log.from_us)
    )?;
    writeln!(out, "Policy version {}, {}.", report.policy_version, printable(&report.granted))?;
    for check in &report.signatures {
        let answer = if check.verified { "verified:    " } else { "NOT VERIFIED:" };
        writeln!(out, "  {answer} {}", printable(&check.what))?;
    }
    for flow in &report.flows {
        writeln!(out)?;
        print_flow(out, flow)?;
    }
    Ok(())
}

fn print_flow(out: &mut impl Write, flow: &Flow) -> anyhow::Result<()> {
    writeln!(out, "{} for {}", flow.recipient, flow.purpose)?;
    writeln!(out, "  {}", printable(&flow.sentence))?;
    for note in &flow.notes {
        writeln!(out, "  {}", printable(note))?;
    }
    let headings = ["signal", "in", "out", "bytes", "values that leave", "what becomes of it"];
    let rows: Vec<Vec<String>> = flow.signals.iter().map(row).collect();
    for line in columns(&headings, &rows) {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

fn row(signal: &Signal) -> Vec<String> {
    let source = signal.source.map(|source| format!(" from {source}")).unwrap_or_default();
    let becomes = match &signal.why_not {
        Some(why) => format!("stays in the car: {why}"),
        None => signal.becomes.clone(),
    };
    vec![
        printable(&format!("{}{source}", signal.signal)),
        words::count(signal.samples_in),
        words::count(signal.samples_out),
        words::count(signal.bytes),
        printable(&values(signal)),
        printable(&becomes),
    ]
}

/// Some values that leave, in a length that fits a line.
pub(super) fn values(signal: &Signal) -> String {
    let mut text = String::new();
    for example in &signal.examples {
        if text.len() + example.len() > VALUES_MAX && !text.is_empty() {
            text.push_str(" …");
            break;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(example);
    }
    // A cell, an event, a count, a state and a name have none.
    let is_number = |text: &String| text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let in_unit =
        !signal.unit.is_empty() && !matches!(signal.what.as_deref(), Some("event" | "cell" | "count"));
    if in_unit && signal.examples.iter().any(is_number) { format!("{text} {}", signal.unit) } else { text }
}
