//! `glovebox policy diff`: who would get more and who less, as words or JSON. Signatures are not checked.

use super::super::UNUSABLE;
use super::super::consent::printable;
use super::super::out::{answered, chain};
use super::document::{Held, both};
use super::doubts::Doubt;
use super::{Kind, doubtful};
use glovebox_core::consent::compare::{Change, Direction, bundles, records, refusals, requests, words};
use glovebox_core::names::Digest;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code when the two differ, as diff has it.
const DIFFERS: u8 = 1;

const LEARN: &str = "\
Examples:
  glovebox policy diff in-force.dsse next.dsse        what a new bundle changes, for whom
  glovebox policy diff r1.json r2.json                two requests before they are signed
  glovebox policy diff given.dsse renewed.dsse        two consent records
  glovebox policy diff a.dsse b.dsse --json | jq '.changes[] | select(.direction == \"more\")'

Exit codes:
  0  the same document, byte for byte
  1  they differ
  2  one of them cannot be read, or they are of two kinds";

/// Say who would get more or less by the new one of two documents: bundles, requests or consent records.
#[derive(Debug, clap::Args)]
#[command(after_help = LEARN)]
pub(super) struct Args {
    /// The document as it is: signed, or the JSON before it is signed; `-` is standard input.
    old: PathBuf,
    /// The document as it would be.
    new: PathBuf,
    /// As JSON, for a script.
    #[arg(long)]
    json: bool,
}

/// Compares and prints; any trouble is exit code 2, so that it is not taken for a difference.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match compared(args) {
        Err(error) => {
            writeln!(std::io::stderr().lock(), "glovebox: {}", chain(&error))?;
            Ok(ExitCode::from(UNUSABLE))
        }
        answer => answer,
    }
}

fn compared(args: &Args) -> anyhow::Result<ExitCode> {
    let (old, new) = both(&args.old, &args.new)?;
    let same = old.payload == new.payload;
    let changes = if same { Vec::new() } else { changes(&old, &new)? };
    let refused = match old.kind {
        Kind::Bundle if !same => refusals(&old.read()?, &new.read()?)?,
        _ => Vec::new(),
    };
    if !same {
        doubts(&new, &args.new)?;
    }
    let text = if args.json {
        let document = json!({ "same": same, "old": Digest::of(&old.payload), "new": Digest::of(&new.payload),
            "changes": changes, "refused": refused });
        format!("{document:#}\n")
    } else {
        printable(&(in_words(same, &changes) + &refused_words(&refused)))
    };
    let printed = std::io::stdout().lock().write_all(text.as_bytes());
    let code = if same { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) };
    answered(printed.map_err(Into::into), code)
}

/// What of the new one would hold nobody back, or let nothing leave, though it was hardly meant so.
fn doubts(new: &Held, file: &Path) -> anyhow::Result<()> {
    let mut stderr = std::io::stderr().lock();
    for Doubt::Wrong(what) | Doubt::Strange(what) in doubtful(new.kind, &new.payload)? {
        write!(stderr, "{}", printable(&format!("{}: {what}\n", file.display())))?;
    }
    Ok(())
}

fn changes(old: &Held, new: &Held) -> anyhow::Result<Vec<Change>> {
    Ok(match old.kind {
        Kind::Bundle => bundles(&old.read()?, &new.read()?)?,
        Kind::Request => requests(&old.read()?, &new.read()?),
        Kind::Consent => records(&old.read()?, &new.read()?),
        Kind::SigningKey | Kind::HpkeKey | Kind::Enrolment => {
            let lines = |held: &Held| String::from_utf8_lossy(&held.payload).into_owned();
            let what = format!("another key or other dates:\n{}instead of\n{}", lines(new), lines(old));
            vec![Change { direction: Direction::Other, recipient: None, purpose: None, signal: None, what }]
        }
    })
}

pub(super) fn in_words(same: bool, changes: &[Change]) -> String {
    if same {
        return "the same document; signatures were not looked at\n".to_owned();
    }
    if changes.is_empty() {
        return "other bytes that say the same; a grant names its request by these bytes\n".to_owned();
    }
    words(changes)
}

/// Why no car that has the old one would take the new one.
fn refused_words(refused: &[String]) -> String {
    let lines: String = refused.iter().map(|why| format!("  {why}\n")).collect();
    if lines.is_empty() {
        lines
    } else {
        format!("A car that has the old one in force refuses the new one:\n{lines}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::trial::Trial;
    use std::fs;
    use std::process::ExitCode;

    fn code(trial: &Trial, line: &str) -> String {
        format!("{:?}", trial.run(line).unwrap_or(ExitCode::FAILURE))
    }

    #[test]
    fn exit_codes_are_those_of_diff() -> anyhow::Result<()> {
        let trial = Trial::new();
        trial.keys_and_statements();
        trial.bundle(1, "");
        fs::copy(trial.path("bundle.dsse"), trial.path("old.dsse"))?;
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(&trial, "policy diff @old.dsse @bundle.dsse"), is(0));
        trial.bundle(2, "--drop Vehicle.Speed");
        assert_eq!(code(&trial, "policy diff @old.dsse @bundle.dsse"), is(1));
        assert_eq!(
            code(&trial, "policy diff @old.dsse @bundle.json --json"),
            is(1),
            "signed and before it is"
        );
        assert_eq!(code(&trial, "policy diff @old.dsse @request.dsse"), is(2), "two kinds");
        assert_eq!(code(&trial, "policy diff @old.dsse @gone"), is(2));
        assert_eq!(code(&trial, "policy diff @signing.dsse @signing.json"), is(0), "the same payload");
        Ok(())
    }
}
