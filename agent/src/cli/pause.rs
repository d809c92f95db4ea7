//! `glovebox pause`, `resume` and `location`: what anybody in the car may hold back for a while, and let go again.

use std::io::Write;
use std::process::ExitCode;

use glovebox_core::consent::session::{HoldStatus, Lasts, Scope, What};
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
  glovebox resume --recipient acme                 what was paused for one recipient, all purposes
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
    scope: ForDriver,
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
    scope: ForDriver,
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
        scope: ForDriver,
        #[command(flatten)]
        shown: Shown,
    },
    /// Places leave again, as far as they are granted.
    On {
        #[command(flatten)]
        scope: ForDriver,
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
struct ForDriver {
    /// Only while the one drives who does now: see `glovebox driver --help`.
    #[arg(long)]
    for_driver: bool,
}

impl ForDriver {
    fn scope(&self) -> Scope {
        if self.for_driver { Scope::Driver } else { Scope::Car }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Shown {
    /// Print what is set afterwards as JSON.
    #[arg(long)]
    pub(super) json: bool,
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
    held(&mut *in_car(common)?, (&args.whose.what(), args.lasts), args.scope.scope(), &args.shown)
}

/// Of two times for the same thing the later end counts: whoever wanted the earlier one is told.
fn held(
    car: &mut dyn InCar,
    (what, lasts): (&What, Lasts),
    scope: Scope,
    shown: &Shown,
) -> anyhow::Result<ExitCode> {
    let holds = car.hold(what, lasts, scope)?;
    let outlasts = |hold: &&HoldStatus| match (lasts, hold.left_s) {
        (Lasts::Seconds(wanted), Some(left)) => {
            hold.what == *what && hold.scope == scope && left > u64::from(wanted)
        }
        _ => false,
    };
    if let Some(hold) = holds.iter().find(outlasts) {
        let mut stderr = std::io::stderr().lock();
        writeln!(stderr, "it was held back for longer already, which stays: {hold}")?;
        writeln!(stderr, "for a shorter time end that first: `{}`", hold.ended_by())?;
    }
    print("held back", &holds, shown)
}

pub(super) fn resume(args: &ResumeArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let mut car = in_car(common)?;
    let holds = match args.trip {
        true => car.trip_ended()?,
        false => car.release(&args.whose.what(), args.scope.scope())?,
    };
    print("still held back", &holds, &args.shown)
}

pub(super) fn location(args: &LocationArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let mut car = in_car(common)?;
    match &args.switch {
        Switch::Off { lasts, scope, shown } => {
            held(&mut *car, (&What::Location, *lasts), scope.scope(), shown)
        }
        Switch::On { scope, shown } => {
            print("still held back", &car.release(&What::Location, scope.scope())?, shown)
        }
    }
}

/// The running daemon, or the stores when none runs.
pub(super) fn in_car(common: &Common) -> anyhow::Result<Box<dyn InCar>> {
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

/// `how` begins each line: what is held back still after something was let go is said with what ends it.
fn print(how: &str, holds: &[HoldStatus], shown: &Shown) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if shown.json {
        writeln!(out, "{}", serde_json::json!({ "holds": holds }))?;
        return Ok(ExitCode::SUCCESS);
    }
    say(&mut out, how, holds)?;
    Ok(ExitCode::SUCCESS)
}

/// A line for each.
pub(super) fn say(out: &mut impl Write, how: &str, holds: &[HoldStatus]) -> std::io::Result<()> {
    if holds.is_empty() {
        writeln!(out, "nothing is held back")?;
    }
    for hold in holds {
        let ends =
            if how.starts_with("still") { format!("; `{}` ends it", hold.ended_by()) } else { String::new() };
        writeln!(out, "{how}: {hold}{ends}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_is_said_with_its_end() {
        let say =
            |lasts, left_s| HoldStatus { what: What::All, lasts, left_s, scope: Scope::Car }.to_string();
        assert_eq!(say(Lasts::Seconds(900), Some(841)), "everything, 15 min left");
        assert_eq!(say(Lasts::Seconds(900), Some(90)), "everything, 90 s left");
        assert_eq!(say(Lasts::Trip, None), "everything, until this trip ends");
        assert_eq!(say(Lasts::UntilEnded, None), "everything, until somebody ends it");
        let (lasts, scope) = (Lasts::UntilEnded, Scope::Driver);
        let own = HoldStatus { what: What::Location, lasts, left_s: None, scope };
        assert_eq!(own.ended_by(), "glovebox location on --for-driver");
        assert_eq!(own.to_string(), "location, until somebody ends it, while this driver drives");
    }
}
