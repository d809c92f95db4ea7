//! `glovebox erase`: the end of an owner's time with this car, and what to do when the PIN is lost.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::consent::agreed;
use crate::daemon::erase::erase;
use crate::notice_store::NoticeStore;

/// Erase keys, consent, queue, ledger, private places and what is paused, to provision anew.
///
/// Nothing of it comes back, and what was not sent yet is lost. No key is needed: this is also what is left when the PIN
/// is lost. The daemon must be stopped first. A cut of power leaves the car whole, or erased; then the next start or
/// `provision` does what is left. On flash old blocks may stay until they are used again: an encrypted disk closes that.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Without being asked; a script must say it.
    #[arg(long)]
    yes: bool,
}

/// Runs it on the state folder of the configuration.
///
/// # Errors
/// If a daemon runs, nobody agreed, or the system refuses.
pub(super) fn run(args: &Args, state: &Path) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if !args.yes {
        writeln!(
            out,
            "Erase keys, consent records, queue, ledger, private places and what is paused in {}. Nothing of it comes back.",
            state.display()
        )?;
        if !agreed(&mut out)? {
            writeln!(out, "nothing has changed")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    erase(state).with_context(|| format!("{} is not erased", state.display()))?;
    let notices = NoticeStore::in_folder(state).flows().map_or(0, |flows| flows.len());
    if notices > 0 {
        writeln!(
            out,
            "{notices} notices that ask companies to erase what they have stay, sealed and without a value: they go out when the \
             car is provisioned again and has a network."
        )?;
    }
    writeln!(out, "This car is erased. Next: glovebox provision --authority A.pub --owner O.pub")?;
    Ok(ExitCode::SUCCESS)
}
