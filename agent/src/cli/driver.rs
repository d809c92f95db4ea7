//! `glovebox driver`: who drives, so that what one driver set for himself holds while he drives.

use std::io::Write;
use std::process::ExitCode;

use glovebox_core::names::DriverId;

use super::Common;
use super::pause::{in_car, say};
use crate::control::{DriverOrder, DriverStatus};

const HELP: &str = "\
Examples:
  glovebox driver is seat-1                        for the service of the head unit that knows
  glovebox location off --for-driver               no place leaves while seat-1 drives
  glovebox pause until-ended --recipient acme --for-driver
  glovebox driver guest                            somebody without a name here
  glovebox driver forget seat-1                    what was set for seat-1 is let go

Needs no key. A name is the head unit's own for a profile, never a person's; it stays in the car.
What was set for a driver holds while that driver drives, and while nobody has said who does:
so after each start of the machine until the head unit says it. Nobody outside is told.

Exit codes: 0 in force and stored, 1 not stored: what any driver has set is held back, 2 unusable
arguments or configuration";

/// Says who drives: what each driver has set for himself is held back while he does.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Option<Act>,
    /// Who drives and what is held back then, as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// This one drives.
    Is {
        /// The head unit's name for the profile: a to z, digits, `-`, `_` and `.`.
        #[arg(value_name = "ID")]
        driver: DriverId,
    },
    /// Nobody drives who has a name here.
    Guest,
    /// Lets go what was set for this one, as when a profile is deleted.
    Forget {
        /// Whose.
        #[arg(value_name = "ID")]
        driver: DriverId,
    },
}

pub(super) fn run(args: Args, common: &Common) -> anyhow::Result<ExitCode> {
    let order = match args.act {
        None => DriverOrder::Ask,
        Some(Act::Is { driver }) => DriverOrder::Is(driver),
        Some(Act::Guest) => DriverOrder::Guest,
        Some(Act::Forget { driver }) => DriverOrder::Forget(driver),
    };
    let DriverStatus { driver, holds } = in_car(common)?.driver(&order)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "driver": driver, "holds": holds }))?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "the driver is {driver}")?;
    say(&mut out, "held back", &holds)?;
    Ok(ExitCode::SUCCESS)
}
