//! `glovebox man DIR`: a man page a command.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;

/// Writes the man pages, one a command, into a folder.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder; it is made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The folder cannot be made or written.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let place = || format!("the man pages cannot be written to {}", args.folder.display());
    std::fs::create_dir_all(&args.folder).with_context(place)?;
    let command = super::Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, &args.folder).with_context(place)?;
    Ok(ExitCode::SUCCESS)
}
