//! The command line: one file a subcommand.

pub mod consent;
pub mod keys;
pub mod policy;
pub mod provision;
#[cfg(test)]
pub(crate) mod trial;

use std::process::ExitCode;

/// Parses the arguments and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
