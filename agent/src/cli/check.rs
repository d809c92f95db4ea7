//! `glovebox check`: everything that can be checked before driving off. Each stage gives its findings.

mod databases;
mod folders;
mod grants;
mod interfaces;
mod replay;
mod uplink;

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::out::Paint;
use super::{Common, FINDINGS, UNUSABLE};
use crate::config::{Config, Faults, Files};

/// Checks the configuration, the files that it names and the folder of the state.
///
/// It starts nothing, changes nothing and needs no network; with --online it also speaks with each broker, under a
/// client id of its own. What leaves nothing is said too: no policy, no grant, a pause, a grant in vain; asked is the
/// running daemon, and if none runs a copy of the stores.
///
/// Exit codes: 0 all is fine, though perhaps nothing is granted, 1 there is something to look at, 2 the agent cannot run like this.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON object on stdout: `{"findings": [{"level", "stage", "what", "mend"}…]}`.
    #[arg(long)]
    json: bool,
    /// Connect to each broker as the agent would: address, TLS, certificate, which MQTT it speaks.
    #[arg(long)]
    online: bool,
}

/// How bad a finding is; the worst one is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Checked and found well.
    Ok,
    /// Well, and nothing leaves like this: somebody may have forgotten it.
    Note,
    /// The agent runs; somebody should look at it.
    Warn,
    /// The agent cannot run like this.
    Fail,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    level: Level,
    stage: &'static str,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Finding {
    /// Checked and found well.
    pub(super) fn ok(stage: &'static str, what: impl Display) -> Self {
        Self { level: Level::Ok, stage, what: what.to_string(), mend: None }
    }

    /// Well, and nothing leaves like this.
    pub(super) fn note(stage: &'static str, what: impl Display, mend: impl Display) -> Self {
        Self { level: Level::Note, stage, what: what.to_string(), mend: Some(mend.to_string()) }
    }

    /// The agent runs; somebody should look at it.
    pub(super) fn warn(stage: &'static str, what: impl Display, mend: impl Display) -> Self {
        Self { level: Level::Warn, stage, what: what.to_string(), mend: Some(mend.to_string()) }
    }

    /// The agent cannot run like this.
    pub(super) fn fail(stage: &'static str, what: impl Display, mend: impl Display) -> Self {
        Self { level: Level::Fail, stage, what: what.to_string(), mend: Some(mend.to_string()) }
    }
}

/// What each stage checks, in the order of the stages.
const CHECKS: &[fn(&Config) -> Vec<Finding>] = &[
    replay::check,
    interfaces::check,
    databases::check,
    uplink::files,
    folders::state,
    folders::keys,
    folders::socket,
    grants::check,
];

/// Runs the command.
pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let files = common.files()?;
    let findings = match Config::load(&files, Files::MustExist) {
        Ok(config) => {
            let mut findings = vec![Finding::ok("config", format!("{} file(s) read", files.len()))];
            findings.extend(CHECKS.iter().flat_map(|check| check(&config)));
            if args.online {
                findings.extend(uplink::online(&config)?);
            }
            findings
        }
        Err(faults) => config_findings(&faults),
    };
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    if args.json {
        print_json(&findings)?;
    } else {
        print_text(&findings, Paint::of_stdout())?;
    }
    Ok(match worst {
        Level::Ok | Level::Note => ExitCode::SUCCESS,
        Level::Warn => ExitCode::from(FINDINGS),
        Level::Fail => ExitCode::from(UNUSABLE),
    })
}

fn config_findings(faults: &Faults) -> Vec<Finding> {
    let finding = |fault: &crate::config::Fault| {
        Finding::fail("config", format!("{}: {}", fault.place, fault.kind), fault.kind.mend())
    };
    faults.iter().map(finding).collect()
}

fn print_json(findings: &[Finding]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, &serde_json::json!({ "findings": findings }))?;
    Ok(writeln!(stdout)?)
}

fn print_text(findings: &[Finding], paint: Paint) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => paint.good("ok  "),
            Level::Note => paint.doubtful("note"),
            Level::Warn => paint.doubtful("warn"),
            Level::Fail => paint.bad("fail"),
        };
        writeln!(stdout, "{level}  {:8} {}", finding.stage, finding.what)?;
        if let Some(mend) = &finding.mend {
            writeln!(stdout, "{:15}→ {mend}", "")?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (ok, warn, fail) = (count(Level::Ok), count(Level::Warn), count(Level::Fail));
    Ok(writeln!(stdout, "{ok} ok, {warn} to look at, {fail} that keep the agent from running")?)
}
