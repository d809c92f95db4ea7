//! `glovebox dbc lint`: what files have, and everything that was left out or mended, with its place.

use super::{describe, is_fd};
use crate::cli::consent::printable;
use crate::cli::out::Paint;
use crate::cli::{FINDINGS, UNUSABLE};
use glovebox_core::decode::dbc::{Database, Message, Signal, strict};
use glovebox_core::decode::leaves::ByteOrder;
use glovebox_core::decode::{Notice, ValueType};
use glovebox_core::frame::CanId;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Say what DBC files have, and what of them is left out or mended, each with its place
///
/// Exit code 0: nothing is; 1: there are findings; 2: a file cannot be used at all.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// DBC files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Refuse a file with its first finding, as `glovebox decode --strict` does
    #[arg(long)]
    strict: bool,
    /// One JSON object: `{"files": [{"file", "usable", "has", "findings": [{"line", "column", "what"}…]}…]}`
    #[arg(long)]
    json: bool,
}

/// One file.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    usable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    has: Option<Contents>,
    findings: Vec<Finding>,
}

/// Where line and column are 0 the file as a whole is meant.
#[derive(Debug, Serialize)]
struct Finding {
    line: u32,
    column: u32,
    what: String,
}

/// What can be used of a file.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Contents {
    messages: usize,
    signals: usize,
    extended_messages: usize,
    fd_messages: usize,
    j1939_messages: usize,
    messages_without_signals: usize,
    multiplexed_messages: usize,
    multiplexed_signals: usize,
    /// Below more than one multiplexor.
    cascaded_signals: usize,
    motorola_signals: usize,
    signed_signals: usize,
    float_signals: usize,
    value_tables: usize,
    comments: usize,
    cycle_times: usize,
    start_values: usize,
    nodes: BTreeSet<String>,
}

/// Runs the command.
///
/// # Errors
/// Stdout cannot be written.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let reports: Vec<Report> = args.files.iter().map(|file| report(file, args.strict)).collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &serde_json::json!({ "files": reports }))?;
        writeln!(out)?;
    } else {
        let paint = Paint::of_stdout();
        reports.iter().try_for_each(|report| print(report, paint, &mut out))?;
    }
    let worst = reports.iter().map(|report| match report {
        Report { usable: false, .. } => UNUSABLE,
        Report { findings, .. } if !findings.is_empty() => FINDINGS,
        _ => 0,
    });
    Ok(ExitCode::from(worst.max().unwrap_or(0)))
}

fn report(path: &Path, is_strict: bool) -> Report {
    let file = path.display().to_string();
    let read = describe(path).and_then(|(database, notices)| {
        if is_strict {
            strict(&notices)?;
        }
        Ok((database, notices))
    });
    match read {
        Ok((database, notices)) => {
            let findings =
                notices.into_iter().map(|Notice { line, column, what, .. }| Finding { line, column, what });
            let (has, findings) = (Some(Contents::of(&database)), findings.collect());
            Report { file, usable: true, error: None, has, findings }
        }
        Err(error) => {
            let error = Some(format!("{error:#}"));
            Report { file, usable: false, error, has: None, findings: Vec::new() }
        }
    }
}

impl Contents {
    fn of(database: &Database) -> Self {
        let mut contents = Self { messages: database.messages.len(), ..Self::default() };
        for message in &database.messages {
            contents.message(message);
            message.signals.iter().for_each(|signal| contents.signal(signal));
        }
        contents
    }

    fn message(&mut self, message: &Message) {
        let is_multiplexed = message.signals.iter().any(|signal| !signal.selectors.is_empty());
        for (count, holds) in [
            (&mut self.extended_messages, matches!(message.id, CanId::Extended(_))),
            (&mut self.fd_messages, is_fd(message)),
            (&mut self.j1939_messages, message.j1939),
            (&mut self.messages_without_signals, message.signals.is_empty()),
            (&mut self.multiplexed_messages, is_multiplexed),
            (&mut self.comments, !message.comment.is_empty()),
            (&mut self.cycle_times, message.cycle_time_ms.is_some()),
        ] {
            *count += usize::from(holds);
        }
        self.nodes.extend(Some(&message.sender).filter(|node| !node.is_empty()).cloned());
    }

    fn signal(&mut self, signal: &Signal) {
        let is_float = matches!(signal.value_type, ValueType::Float32 | ValueType::Float64);
        for (count, holds) in [
            (&mut self.signals, true),
            (&mut self.multiplexed_signals, !signal.selectors.is_empty()),
            (&mut self.cascaded_signals, signal.selectors.len() > 1),
            (&mut self.motorola_signals, signal.layout.order == ByteOrder::BigEndian),
            (&mut self.signed_signals, signal.value_type == ValueType::Signed),
            (&mut self.float_signals, is_float),
            (&mut self.value_tables, !signal.names.is_empty()),
            (&mut self.comments, !signal.comment.is_empty()),
            (&mut self.start_values, signal.start_value.is_some()),
        ] {
            *count += usize::from(holds);
        }
        self.nodes.extend(signal.receivers.iter().cloned());
    }
}

fn print(report: &Report, paint: Paint, out: &mut impl Write) -> std::io::Result<()> {
    let file = printable(&report.file);
    if let Some(error) = &report.error {
        // It begins with the place.
        return writeln!(out, "{}", paint.bad(&printable(error)));
    }
    if let Some(has) = &report.has {
        writeln!(out, "{file}: {} messages, {} signals", has.messages, has.signals)?;
        contents(has, out)?;
    }
    for Finding { line, column, what } in &report.findings {
        let place = if *line == 0 { file.clone() } else { format!("{file}:{line}:{column}") };
        writeln!(out, "{}: {}", paint.doubtful(&place), printable(what))?;
    }
    match report.findings.len() {
        0 => writeln!(out, "{}", paint.good("nothing is left out or mended")),
        1 => writeln!(out, "{}", paint.doubtful("1 finding")),
        more => writeln!(out, "{}", paint.doubtful(&format!("{more} findings"))),
    }
}

/// What there is none of is not named.
fn contents(has: &Contents, out: &mut impl Write) -> std::io::Result<()> {
    let unsigned = has.signals - has.signed_signals - has.float_signals;
    let nodes = has.nodes.iter().map(|node| printable(node)).collect::<Vec<_>>().join(" ");
    let lines: [(&str, &[(usize, &str)]); 5] = [
        (
            "messages",
            &[
                (has.messages - has.extended_messages, "of 11 bits"),
                (has.extended_messages, "of 29 bits"),
                (has.fd_messages, "CAN FD"),
                (has.j1939_messages, "J1939"),
                (has.messages_without_signals, "without signals"),
            ],
        ),
        ("byte order", &[(has.signals - has.motorola_signals, "Intel"), (has.motorola_signals, "Motorola")]),
        ("numbers", &[(unsigned, "unsigned"), (has.signed_signals, "signed"), (has.float_signals, "float")]),
        (
            "multiplexed",
            &[
                (has.multiplexed_messages, "messages"),
                (has.multiplexed_signals, "signals"),
                (has.cascaded_signals, "below several multiplexors"),
            ],
        ),
        (
            "described",
            &[
                (has.value_tables, "value tables"),
                (has.comments, "comments"),
                (has.cycle_times, "cycle times"),
                (has.start_values, "start values"),
            ],
        ),
    ];
    for (name, counts) in lines {
        let there = counts.iter().filter(|(count, _)| *count > 0);
        let there: Vec<String> = there.map(|(count, what)| format!("{count} {what}")).collect();
        if !there.is_empty() {
            writeln!(out, "  {name:<12} {}", there.join(", "))?;
        }
    }
    if nodes.is_empty() { Ok(()) } else { writeln!(out, "  {:<12} {nodes}", "nodes") }
}
