//! `glovebox pause`, `resume` and `location`: what anybody in the car may hold back for a while, and let go again.

use std::io::Write;
use std::process::ExitCode;

use glovebox_core::consent::session::{HoldStatus, Lasts, What};
use glovebox_core::names::{PurposeId, RecipientId};

use super::Common;
use crate::config::Files;
use crate::control::{ControlClient, InCar};
use crate::daemon::authority::LocalAuthority;

const PAUSE: &str = "\
Examples:
  glovebox pause                                   for 15 minutes
  glovebox pause trip                              until this trip ends, or in a parked car the next
  glovebox pause until-ended
  glovebox pause trip --recipient acme             only what goes to one recipient

Needs no key. It is in force at once and outlives a restart; the time is that of the car's own time
line, which no clock moves. What was sealed before waits. Nobody outside is told: no message, no
record, no gap in the numbers.
Only somebody in the car ends it: `glovebox resume`; or the end of the trip, by the signal of
[consent.trip].

Exit codes: 0 in force and stored, 1 refused or not stored, 2 unusable arguments or configuration";

const RESUME: &str = "\
Examples:
  glovebox resume                                  what was paused as a whole
  glovebox resume --recipient acme                 what was paused for one recipient
  glovebox resume --trip                           all that was set for a trip, which has ended:
                                                   where no signal of [consent.trip] says so

Exit codes: 0 done, also if nothing was paused, 1 not stored: all stays paused, 2 unusable arguments
or configuration";

const LOCATION: &str = "\
Examples:
  glovebox location off                            until `glovebox location on`
  glovebox location off trip                       until this trip ends
  glovebox location on

Needs no key. From then on no place is read; what is sealed already goes as it is. Nothing
else that goes out differs, and nobody is told.

Exit codes: 0 in force and stored, 1 refused or not stored, 2 unusable arguments or configuration";

/// Holds back all that leaves, for a while and in silence.
#[derive(Debug, clap::Args)]
#[command(after_help = PAUSE)]
pub(super) struct PauseArgs {
    /// How long: `15m`, `2h`, at most a day; `trip`; `until-ended`.
    #[arg(value_name = "TIME", default_value = "15m")]
    lasts: Lasts,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    shown: Shown,
}

/// Lets go what was paused.
#[derive(Debug, clap::Args)]
#[command(after_help = RESUME)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    whose: Whose,
    /// The trip has ended: lets go all that was set for it, location too, and nothing else.
    #[arg(long, conflicts_with_all = ["recipient", "purpose"])]
    trip: bool,
    #[command(flatten)]
    shown: Shown,
}

/// Switches location off or on: no place leaves while it is off.
#[derive(Debug, clap::Args)]
#[command(after_help = LOCATION)]
pub(super) struct LocationArgs {
    #[command(subcommand)]
    switch: Switch,
}

#[derive(Debug, clap::Subcommand)]
enum Switch {
    /// No place leaves.
    Off {
        /// How long: `2h`, at most a day; `trip`; `until-ended`.
        #[arg(value_name = "TIME", default_value = "until-ended")]
        lasts: Lasts,
        #[command(flatten)]
        shown: Shown,
    },
    /// Places leave again, as far as they are granted.
    On {
        #[command(flatten)]
        shown: Shown,
    },
}

#[derive(Debug, clap::Args)]
struct Whose {
    /// Only what goes to this recipient.
    #[arg(long, value_name = "ID")]
    recipient: Option<RecipientId>,
    /// Of that, only what is for this purpose.
    #[arg(long, value_name = "ID", requires = "recipient")]
    purpose: Option<PurposeId>,
}

#[derive(Debug, clap::Args)]
struct Shown {
    /// What is set now, as JSON.
    #[arg(long)]
    json: bool,
}

impl Whose {
    fn what(&self) -> What {
        match (self.recipient.clone(), self.purpose.clone()) {
            (Some(recipient), Some(purpose)) => What::Flow { recipient, purpose },
            (Some(recipient), None) => What::Recipient(recipient),
            (None, _) => What::All,
        }
    }
}

pub(super) fn pause(args: &PauseArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let holds = in_car(common)?.hold(&args.whose.what(), args.lasts)?;
    print(&holds, &args.shown)
}

pub(super) fn resume(args: &ResumeArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let mut car = in_car(common)?;
    let holds = if args.trip { car.trip_ended()? } else { car.release(&args.whose.what())? };
    print(&holds, &args.shown)
}

pub(super) fn location(args: &LocationArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let mut car = in_car(common)?;
    match &args.switch {
        Switch::Off { lasts, shown } => print(&car.hold(&What::Location, *lasts)?, shown),
        Switch::On { shown } => print(&car.release(&What::Location)?, shown),
    }
}

/// The running daemon, or the stores when none runs.
fn in_car(common: &Common) -> anyhow::Result<Box<dyn InCar>> {
    let config = common.load(Files::NotNeeded)?;
    if let Some(client) = ControlClient::connect(&config.health.control_socket)? {
        return Ok(Box::new(client));
    }
    // No document is drafted, so no database is asked.
    let local = LocalAuthority::open(&config.health.state, super::car(&config), Box::new(|_| None))?;
    for complaint in local.complaints() {
        writeln!(std::io::stderr().lock(), "glovebox: {complaint}")?;
    }
    Ok(Box::new(local))
}

fn print(holds: &[HoldStatus], shown: &Shown) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if shown.json {
        writeln!(out, "{}", serde_json::json!({ "holds": holds }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if holds.is_empty() {
        writeln!(out, "nothing is held back")?;
    }
    for hold in holds {
        writeln!(out, "held back: {}", words(hold))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `everything, 14 min left`.
pub(super) fn words(hold: &HoldStatus) -> String {
    let left = match (hold.left_s, hold.lasts) {
        (Some(left), _) if left > 90 => format!("{} min left", left.div_ceil(60)),
        (Some(left), _) => format!("{left} s left"),
        (None, Lasts::Trip) => "until this trip ends".to_owned(),
        (None, _) => "until somebody ends it".to_owned(),
    };
    format!("{}, {left}", hold.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_is_said_with_its_end() {
        let say = |lasts, left_s| words(&HoldStatus { what: What::All, lasts, left_s });
        assert_eq!(say(Lasts::Seconds(900), Some(841)), "everything, 15 min left");
        assert_eq!(say(Lasts::Seconds(900), Some(90)), "everything, 90 s left");
        assert_eq!(say(Lasts::Trip, None), "everything, until this trip ends");
        assert_eq!(say(Lasts::UntilEnded, None), "everything, until somebody ends it");
    }
}
