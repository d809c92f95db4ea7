//! `glovebox run`: the daemon.

use std::process::ExitCode;

use super::{Common, Files};
use crate::daemon::{self, Until};

const LEARN: &str = "\
Examples:
  glovebox run                          with /etc/glovebox, until SIGTERM
  glovebox --config my.toml run --until-sent
                                        replays the configured log, ends when all is acknowledged

Exit codes:
  0  stopped as it was told to
  1  could not start: no keys, stores in use, databases or log that cannot be read
  2  unusable arguments or configuration";

/// Run the agent: read, ask consent, seal, store, send.
#[derive(Debug, clap::Args)]
#[command(after_help = LEARN)]
pub(super) struct Args {
    /// End when the replayed log has ended and the broker has acknowledged all of it.
    ///
    /// It waits for as long as a broker cannot be reached or takes nothing: `glovebox status` says for what.
    /// A recording has a time of its own, so each run of it begins anew: `at most once in 30 d` holds within one run.
    #[arg(long)]
    until_sent: bool,
}

pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let until = if args.until_sent { Until::Sent } else { Until::Stopped };
    daemon::run(common.load(Files::MustExist)?, until)?;
    Ok(ExitCode::SUCCESS)
}
