//! `glovebox check`: everything that can be checked before driving off. Each stage gives its findings.

use std::fmt::Display;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;

use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use super::Common;
use super::out::Paint;
use crate::config::{Config, Faults, Files};

/// Checks the configuration, the files that it names and the folder of the state.
///
/// It starts nothing, changes nothing and needs no network. Exit codes: 0 all is fine, 1 there is something
/// to look at, 2 the agent cannot run like this.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON object on stdout: `{"findings": [{"level", "stage", "what", "mend"}…]}`.
    #[arg(long)]
    json: bool,
}

/// How bad a finding is; the worst one is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Checked and found well.
    Ok,
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
const CHECKS: &[fn(&Config) -> Vec<Finding>] = &[bus, decode, uplink, health];

/// Runs the command.
pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let files = common.files()?;
    let findings = match Config::load(&files, Files::MustExist) {
        Ok(config) => {
            let read = Finding::ok("config", format!("{} file(s) read", files.len()));
            std::iter::once(read).chain(CHECKS.iter().flat_map(|check| check(&config))).collect()
        }
        Err(faults) => config_findings(&faults),
    };
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    if args.json {
        print_json(&findings)?;
    } else {
        print_text(&findings, Paint::of_stdout())?;
    }
    Ok(ExitCode::from(worst as u8))
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

fn bus(config: &Config) -> Vec<Finding> {
    vec![match &config.bus.replay {
        Some(replay) => Finding::ok("bus", format!("{} is there", replay.log.display())),
        None => Finding::fail(
            "bus",
            "no `bus.replay`, and this version cannot read live interfaces yet",
            "add replay = \"drive.log.gz\" to [bus]",
        ),
    }]
}

fn decode(config: &Config) -> Vec<Finding> {
    let covered = |name| config.decode.databases.iter().any(|database| database.bus == name);
    let bare = config.bus.interfaces.iter().filter(|interface| !covered(interface.name.clone()));
    bare.map(|interface| {
        Finding::warn(
            "decode",
            format!("bus `{}` has no database: none of its frames is decoded", interface.name),
            "add a [[decode.database]] for it, or remove the [[bus.interface]]",
        )
    })
    .collect()
}

fn uplink(config: &Config) -> Vec<Finding> {
    vec![rights_of_secret("uplink", &config.uplink.key)]
}

fn health(config: &Config) -> Vec<Finding> {
    let socket = config.health.control_socket.parent();
    let mut findings = vec![state_folder(&config.health.state)];
    if let Some(folder) = socket.filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        findings.push(Finding::warn(
            "health",
            format!("{}, the folder of the control socket, is not there yet", folder.display()),
            "systemd makes it with the service; else make it yourself",
        ));
    }
    findings
}

/// The folder of all state: whoever else may write there could put an older store in its place.
fn state_folder(folder: &Path) -> Finding {
    let shown = folder.display();
    let metadata = match std::fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) => {
            let what = format!("state folder {shown}: {error}");
            return Finding::warn(
                "health",
                what,
                "`glovebox provision` makes it, or systemd with the service",
            );
        }
    };
    let mode = metadata.mode() & 0o777;
    if !metadata.is_dir() {
        return Finding::fail("health", format!("{shown} is no folder"), "correct `health.state`");
    }
    if access(folder, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        let what = format!("state folder {shown} cannot be read and written by this user");
        return Finding::fail("health", what, "run as the agent's user, or correct the owner of the folder");
    }
    if mode & 0o022 != 0 {
        let what = format!("state folder {shown} has rights {mode:03o}: others may write");
        return Finding::fail("health", what, format!("chmod 700 {shown}"));
    }
    if mode & 0o055 != 0 {
        let what = format!("state folder {shown} has rights {mode:03o}: others may look");
        return Finding::warn("health", what, format!("chmod 700 {shown}"));
    }
    Finding::ok("health", format!("state folder {shown} is closed to others"))
}

fn rights_of_secret(stage: &'static str, file: &Path) -> Finding {
    let shown = file.display();
    match std::fs::metadata(file).map(|metadata| metadata.mode() & 0o777) {
        Ok(mode) if mode & 0o077 == 0 => {
            Finding::ok(stage, format!("{shown} can be read by its owner alone"))
        }
        Ok(mode) => {
            let what = format!("the key {shown} has rights {mode:03o}: others may read it");
            Finding::warn(stage, what, format!("chmod 600 {shown}"))
        }
        Err(error) => Finding::fail(stage, format!("{shown}: {error}"), "correct the path"),
    }
}
