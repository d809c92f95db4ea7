//! `glovebox provision`: the first keys of a car.

use super::secret;
use crate::daemon::erase;
use crate::key_store::pin::Cost;
use crate::key_store::{self, KeyStore};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Set the policy authority and the first owner of this car, once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Root key of the policy authority (Ed25519, PEM): only bundles under it are taken.
    #[arg(long, value_name = "A.pub")]
    authority: PathBuf,
    /// Key of the first owner (Ed25519, PEM): only what it signs can let more leave.
    #[arg(long, value_name = "O.pub", required_unless_present = "pin")]
    owner: Option<PathBuf>,
    /// The first owner has a PIN instead, which opens a key that is made and kept here: asked for, or a line on standard
    /// input.
    #[arg(long, conflicts_with = "owner")]
    pin: bool,
}

/// Runs it on the state folder of the configuration.
///
/// # Errors
/// If an owner is enrolled already, a key cannot be used, or the system refuses.
pub fn run(args: &Args, state: &Path) -> anyhow::Result<ExitCode> {
    let authority = key_store::read_verifying_key(&args.authority)?;
    erase::finish(state)?;
    let keys = KeyStore::open(&state.join("keys"))?;
    let owner = match &args.owner {
        Some(path) => key_store::read_verifying_key(path)?,
        None => {
            // Before the PIN of the owner that there is would be lost.
            keys.no_owner_yet()?;
            keys.set_pin(&secret::new_pin()?, Cost::CAR)?
        }
    };
    let made = keys.provision(&authority, &owner)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "This car is provisioned. Its keys are in {}.", made.dir.display())?;
    writeln!(
        out,
        "  authority   {}  (pinned: only bundles under it are taken)",
        key_store::thumb(&authority)
    )?;
    writeln!(
        out,
        "  owner       {}  (enrolled: only this key can let more leave)",
        key_store::thumb(&owner)
    )?;
    writeln!(out, "  record key  {}  (made here: signs what narrows)", key_store::thumb(&made.record_key))?;
    writeln!(out, "  alias       made here, owner epoch {}", made.epoch)?;
    writeln!(out, "Nothing leaves yet. Next:")?;
    writeln!(out, "  glovebox policy install BUNDLE")?;
    let hand = if args.pin { "--pin" } else { "--key OWNER.key" };
    writeln!(out, "  glovebox consent grant --recipient R --purpose P {hand}")?;
    Ok(ExitCode::SUCCESS)
}
