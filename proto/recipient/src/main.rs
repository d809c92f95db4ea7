//! `glovebox-recipient`: prints what cars sent to one recipient.

mod command;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match command::run(command::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            command::say(&format!("glovebox-recipient: {error:#}"));
            ExitCode::from(error.downcast_ref::<command::Refused>().map_or(2, |_| 1))
        }
    }
}
