//! `glovebox keys`: new key pairs as PEM files.

use crate::key_store::{self, KeyKind};
use clap::ValueEnum;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make keys.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// A new key pair of fresh randomness: PATH.key (mode 0600) and PATH.pub.
    New {
        /// ed25519 signs documents; x25519 is what data is sealed to.
        kind: Kind,
        /// Where to; nothing is overwritten.
        #[arg(long, value_name = "PATH")]
        out: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Ed25519,
    X25519,
}

/// Runs it.
///
/// # Errors
/// If a file is there already or cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::New { kind, out } = &args.command;
    let kind = match kind {
        Kind::Ed25519 => KeyKind::Ed25519,
        Kind::X25519 => KeyKind::X25519,
    };
    let (private, public) = key_store::new_key_pair(kind, out)?;
    writeln!(
        std::io::stdout().lock(),
        "{}  the private key: keep it to yourself\n{}  the public key: give it away",
        private.display(),
        public.display()
    )?;
    Ok(ExitCode::SUCCESS)
}
