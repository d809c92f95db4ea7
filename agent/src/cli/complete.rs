//! `glovebox completions SHELL`: the shell's completion script on stdout.

use std::io::Write as _;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

/// Prints the completion script of a shell.
///
/// bash: glovebox completions bash > /etc/bash_completion.d/glovebox
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// Stdout cannot be written.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "glovebox", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
