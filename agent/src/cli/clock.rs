//! `glovebox clock`: what is known of the time, and how to mend it.

use std::io::Write;
use std::process::ExitCode;

use super::{Common, FINDINGS};
use crate::config::Files;
use crate::control::{ClockStatus, ControlClient, TrustsClock};
use crate::daemon::authority::LocalAuthority;

const LEARN: &str = "\
Nothing leaves while the time is in doubt: while the clock says less than the date of the release,
or less than it said before. If it was far ahead once and is right now, somebody in the car says so:

  date                       look whether the clock is right, and set it if not
  glovebox clock trust

Exit codes: 0 the clock is believed, 1 it is not, or `trust` was refused, 2 unusable arguments or
configuration";

/// Shows what is known of the time, or vouches for the clock.
#[derive(Debug, clap::Args)]
#[command(after_help = LEARN)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Option<Act>,
    /// As JSON, for a script.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Believe the clock as it is now, though it was later before.
    Trust,
}

pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let mut car = in_car(common)?;
    let before = car.clock()?;
    let clock = match args.act {
        None => before.clone(),
        Some(Act::Trust) => car.trust_clock()?,
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_value(&clock)?)?;
    } else {
        if args.act.is_some() {
            writeln!(out, "{}", trusted(&before))?;
        }
        show(&mut out, &clock)?;
    }
    Ok(if clock.trusted { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) })
}

fn in_car(common: &Common) -> anyhow::Result<Box<dyn TrustsClock>> {
    let config = common.load(Files::NotNeeded)?;
    if let Some(client) = ControlClient::connect(&config.health.control_socket)? {
        return Ok(Box::new(client));
    }
    Ok(Box::new(LocalAuthority::open(&config.health.state, super::car(&config), Box::new(|_| None))?))
}

/// What it changed that somebody vouched for the clock.
fn trusted(before: &ClockStatus) -> String {
    match before.trusted {
        true => "the clock was believed already: nothing has changed".to_owned(),
        false => format!("the clock is believed from now on, though it was {} before", before.mark),
    }
}

fn show(out: &mut impl Write, clock: &ClockStatus) -> std::io::Result<()> {
    let ClockStatus { now, synchronised, mark, trusted, .. } = clock;
    let how = if *synchronised { "synchronised" } else { "not known to be synchronised" };
    writeln!(out, "clock    {now}, {how}")?;
    writeln!(out, "before   it was at least {mark}")?;
    let words =
        if *trusted { "yes" } else { "no: nothing leaves; set it, or `glovebox clock trust` if it is right" };
    writeln!(out, "believed {words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use glovebox_core::names::WallTime;

    #[test]
    fn a_clock_in_doubt_is_said_with_the_mend() -> anyhow::Result<()> {
        let clock = ClockStatus {
            now: WallTime(1_793_491_200_000_000),
            synchronised: false,
            mark: WallTime(1_793_491_201_000_000),
            trusted: false,
            earliest: None,
            latest: None,
        };
        let mut text = Vec::new();
        show(&mut text, &clock)?;
        let expected = "clock    2026-11-01T00:00:00Z, not known to be synchronised\n\
                        before   it was at least 2026-11-01T00:00:01Z\n\
                        believed no: nothing leaves; set it, or `glovebox clock trust` if it is right\n";
        assert_eq!(String::from_utf8(text)?, expected);
        let vouched = "the clock is believed from now on, though it was 2026-11-01T00:00:01Z before";
        assert_eq!(trusted(&clock), vouched);
        Ok(())
    }
}
