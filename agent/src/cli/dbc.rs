//! `glovebox dbc`: what a DBC file has, and what is wrong with it.

mod lint;
mod show;

use super::read_bounded;
use glovebox_core::decode::dbc::{Database, Message, strict};
use glovebox_core::decode::{Notice, j1939};
use glovebox_core::frame::CanId;
use glovebox_core::limits::DBC_FILE_BYTES_MAX;
use std::path::Path;
use std::process::ExitCode;

/// Look into DBC files: what they have, and what is wrong with them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Lint(lint::Args),
    Show(show::Args),
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be used, with its place.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Lint(args) => lint::run(args),
        Command::Show(args) => show::run(args),
    }
}

/// Reads a file to decode with. `strict` refuses it if anything has to be left out or mended.
///
/// # Errors
/// It cannot be read, used, or is refused.
pub(super) fn read(path: &Path, is_strict: bool) -> anyhow::Result<(Database, Vec<Notice>)> {
    if is_strict {
        // All of the file, also what nothing is decoded by.
        let (database, notices) = describe(path)?;
        strict(&notices)?;
        return Ok((database, notices));
    }
    let bytes = read_bounded(path, DBC_FILE_BYTES_MAX)?;
    Ok(Database::parse(&bytes, &path.display().to_string())?)
}

/// Reads a file with all that people look at.
fn describe(path: &Path) -> anyhow::Result<(Database, Vec<Notice>)> {
    let bytes = read_bounded(path, DBC_FILE_BYTES_MAX)?;
    Ok(Database::describe(&bytes, &path.display().to_string())?)
}

/// More bytes than a classic frame has are CAN FD, where they are not J1939.
fn is_fd(message: &Message) -> bool {
    message.fd || (message.size > 8 && !message.j1939)
}

/// The number of its parameter group, if it is one of J1939.
fn pgn(message: &Message) -> Option<u32> {
    match message.id {
        CanId::Extended(id) if message.j1939 => j1939::Address::of(id).map(|address| address.pgn.0),
        _ => None,
    }
}
