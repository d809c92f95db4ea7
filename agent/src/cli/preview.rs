//! `glovebox preview`: what would leave the car of a recorded drive, without network and without touching a store.
//!
//! ```text
//! source: log, DBC ─┐
//! papers: policy, ──┴▶ what may leave ─▶ drive: the core's pipeline; sealed, and opened again as the recipient would
//!         records                          └─▶ tally, trace ─▶ report ─▶ shown in words, as JSON, as HTML with plots
//! ```

mod drive;
mod html;
mod papers;
mod report;
mod shown;
mod source;
mod tally;
mod trace;
mod words;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use glovebox_core::consent::effective::{Effective, Situation};
use glovebox_core::decode::LeafIndex;
use glovebox_core::limits;

use super::out::answered;
use super::policy::{not_over_a_key, not_over_an_input, write_file};
use super::{Common, FINDINGS};
use crate::config::{Config, Files};
use drive::Order;
use report::{Asked, Made, Report, asked};
use source::{Offset, Source};

const LEARN: &str = "\
Examples:
  glovebox preview --policy bundle.json --log drive.log.gz --dbc car.dbc
        what each recipient would get if the owner granted all that it asks for; the bundle need not
        be signed yet
  glovebox preview --policy b.dsse --authority A.pub --record r.dsse --log drive.log --dbc car.dbc
        exactly as granted in r.dsse; the bundle must be signed by A's keys
  glovebox --config my.toml preview --log drive.log --html report.html
        what the policy and the grants that are installed let out, as a page with plots
  glovebox preview --policy b.json --log drive.log --dbc car.dbc --json | jq '.flows[].samples_out'

Nothing is sent, stored or granted. The pipeline is the daemon's own; each batch is sealed as it
would be, but to a key that is thrown away, and opened again by the recipient's code: the samples
and the bytes are those that would leave. As in the car at its start, nothing is known of the time
before the drive.

Exit codes:
  0  something would leave
  1  nothing would
  2  this cannot be told: unusable arguments, documents, databases or log";

/// Show what would leave the car of a recorded drive: for whom, and how reduced
#[derive(Debug, clap::Args)]
#[command(after_help = LEARN)]
pub(super) struct Args {
    /// Policy bundle, signed or not [default: what is installed, by the configuration].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Key that the bundle's signature must go back to; else it is not checked, and that is said.
    #[arg(long, value_name = "A.pub", requires = "policy")]
    authority: Option<PathBuf>,
    /// Consent record, signed or not; may be given several times, oldest first [default: all is granted in full].
    #[arg(long, value_name = "FILE", requires = "policy")]
    record: Vec<PathBuf>,
    /// Key that must have signed the records that let something leave; else that is not checked, and that is said.
    #[arg(long, value_name = "OWNER.pub", requires = "record")]
    owner: Option<PathBuf>,
    /// The recorded drive: candump or Vector ASC, plain or gzip [default: `bus.replay` of the configuration].
    #[arg(long, value_name = "LOG")]
    log: Option<PathBuf>,
    /// DBC file; may be given several times [default: those of the configuration].
    #[arg(long, value_name = "FILE")]
    dbc: Vec<PathBuf>,
    /// Kuksa mapping file: VSS names of DBC signals.
    #[arg(long, value_name = "FILE", requires = "dbc")]
    map: Option<PathBuf>,
    /// The files are for this interface of the log alone [default: for each].
    #[arg(long, value_name = "NAME", requires = "dbc")]
    bus: Option<String>,
    /// All 29-bit messages are of J1939, whatever the files say.
    #[arg(long, requires = "dbc")]
    j1939: bool,
    /// Drive only from here on: seconds, or h:mm:ss, into the log.
    #[arg(long, value_name = "TIME")]
    from: Option<Offset>,
    /// Drive only until here.
    #[arg(long, value_name = "TIME")]
    to: Option<Offset>,
    /// Show only these recipients; `*` and `?` stand for anything; may be given several times.
    #[arg(long, value_name = "GLOB")]
    recipient: Vec<String>,
    /// Show only these signals; may be given several times.
    #[arg(long, value_name = "GLOB")]
    signal: Vec<String>,
    /// As JSON, for a script.
    #[arg(long)]
    json: bool,
    /// Write a page with plots and maps, which needs no network and no JavaScript.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write every sample as its recipient would read it, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let config = config(args, common)?;
    args.keep_inputs(config.as_ref(), &common.config)?;
    if let Some(file) = &args.html {
        writable(file)?;
    }
    let source = Source::open(args, config.as_ref())?;
    let known = source.databases.known();
    let papers = match (&args.policy, &config) {
        (Some(policy), _) => papers::given(args, policy, &known)?,
        (None, Some(config)) => papers::installed(config, known)?,
        (None, None) => anyhow::bail!("name a policy bundle with `--policy`"),
    };
    let leaves = &source.databases.leaves;
    let situation = Situation {
        policy: papers.control.policy(),
        grants: papers.control.grants(),
        leaves,
        time: papers.time,
        agent_version: env!("CARGO_PKG_VERSION"),
    };
    let (batch_age_us, batch_bytes) = batches(config.as_ref());
    let effective = Effective::of(&situation).closing_within(batch_age_us);
    let shown = asked(&situation, &papers, &effective, args);
    ensure!(
        !shown.is_empty(),
        "nobody asks for what `--recipient` and `--signal` leave over, or for anything"
    );
    let wanted = wanted(&shown, &source);
    let samples = args.samples.as_deref();
    let named = shown.iter().filter_map(|it| Some((it.flow?, &it.items)));
    let named = named.flat_map(|(flow, items)| items.iter().map(move |it| (flow, it.signal.to_string())));
    let order = Order { effective: effective.clone(), wanted, batch_bytes, samples, shown: named.collect() };
    let driven = drive::drive(&source, order)?;
    let made = Made { papers: &papers, effective: &effective, leaves, driven: &driven };
    let report = Report::new(&made, &shown, &source);
    if let Some(file) = &args.html {
        write_file(file, html::page(&report, &made).as_bytes())?;
    }
    let code = if report.leaves() { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) };
    answered(print(args, &report), code)
}

impl Args {
    /// Nothing that is read is written over.
    fn keep_inputs(&self, config: Option<&Config>, files: &[PathBuf]) -> anyhow::Result<()> {
        let named = [&self.policy, &self.authority, &self.owner, &self.log, &self.map].into_iter().flatten();
        let named = named.chain(&self.record).chain(&self.dbc).chain(files);
        let databases = config.iter().flat_map(|config| &config.decode.databases);
        let configured = databases.flat_map(|database| database.dbc.iter().chain(&database.map));
        let inputs: Vec<&PathBuf> =
            named.chain(configured).chain(config.and_then(|config| config.bus.replay.as_ref())).collect();
        let outputs = [&self.html, &self.samples].into_iter().flatten();
        outputs.into_iter().try_for_each(|out| not_over_an_input(out, inputs.iter().copied()))
    }
}

/// Before the drive, which takes its time: what is there stays as it is, and what is not yet is not there after.
fn writable(file: &Path) -> anyhow::Result<()> {
    not_over_a_key(file)?;
    let is_new = !file.exists();
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .with_context(|| file.display().to_string())?;
    if is_new {
        // If that fails the page is written over it.
        let _ = std::fs::remove_file(file);
    }
    Ok(())
}

/// Read only where something of it is needed.
fn config(args: &Args, common: &Common) -> anyhow::Result<Option<Config>> {
    if common.config.is_empty() && args.policy.is_some() {
        ensure!(args.log.is_some(), "name a recorded drive with `--log`, or a configuration with `--config`");
        ensure!(!args.dbc.is_empty(), "name DBC files with `--dbc`, or a configuration with `--config`");
        return Ok(None);
    }
    common.load(Files::NotNeeded).map(Some).context("without `--policy` the configuration is needed")
}

/// When batches close in this car: at which age in microseconds, and at how many bytes.
fn batches(config: Option<&Config>) -> (i64, usize) {
    match config {
        Some(config) => {
            let age = i64::try_from(config.batch.age.as_micros()).unwrap_or(limits::BATCH_AGE_US_MAX);
            (age, config.batch.size_bytes)
        }
        None => {
            let age = i64::try_from(limits::BATCH_AGE_S_DEFAULT).unwrap_or(10) * 1_000_000;
            (age, limits::BATCH_COLUMN_BYTES_MAX)
        }
    }
}

/// The leaves that are shown.
fn wanted(shown: &[Asked], source: &Source) -> Vec<LeafIndex> {
    let leaves = &source.databases.leaves;
    let named = shown.iter().flat_map(|asked| &asked.items);
    let mut wanted: Vec<LeafIndex> = named.filter_map(|item| leaves.find(&item.signal)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

fn print(args: &Args, report: &Report) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
        return Ok(());
    }
    shown::print(&mut out, report)?;
    for file in args.html.iter().chain(&args.samples) {
        let size = std::fs::metadata(file).map_or(0, |data| data.len());
        writeln!(out, "{}: {}", file.display(), words::bytes(size))?;
    }
    Ok(())
}
