//! `glovebox owner`: whose keys can let more leave, and the PIN of the one that is kept in the car.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use glovebox_core::consent::document::enrolment::{EnrolmentAct, OwnerEnrolment};
use glovebox_core::names::VerifyingKey;

use super::consent::agreed;
use super::secret;
use super::signer::{Hand, Signer};
use crate::control::{Authority, EnrolmentOrder, Owner};
use crate::key_store::pin::Cost;
use crate::key_store::pin::attempts::Uptime;
use crate::key_store::{KeyStore, read_verifying_key, thumb};

const LEARN: &str = "\
Examples:
  glovebox owner pin --key owner.key              set a PIN: a key made here, enrolled by owner.key
  glovebox owner pin                              change it
  glovebox owner add phone.pub --pin              enrol another key
  glovebox owner remove 5573a0b1 --pin            remove one, by the first digits that `list` shows
  glovebox owner add fleet.pub --draft e.json     to be signed elsewhere (`policy sign`, `install`)

Whoever has the flash can try PINs offline, where nobody counts: each costs 64 MiB and some tenths
of a second. Six digits last a determined thief days; a passphrase, or a key in a token or on a
phone, lasts.";

/// List, enrol and remove owner keys; set the PIN.
#[derive(Debug, clap::Args)]
#[command(after_help = LEARN)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The enrolled owner keys.
    List {
        /// As JSON, for a script.
        #[arg(long)]
        json: bool,
    },
    /// Enrol another owner key; an enrolled one signs that.
    Add {
        /// The public key (Ed25519, PEM).
        owner: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Remove an owner key; an enrolled one signs that. The last one stays.
    Remove {
        /// Its public key (PEM), or the first digits of its name in `list`.
        owner: String,
        #[command(flatten)]
        how: How,
    },
    /// Set a PIN, which opens an owner key of its own that is kept in the car; or change it.
    Pin {
        /// Private key of an enrolled owner (Ed25519, PEM), to enrol the PIN's; needed if there is no PIN yet.
        #[arg(long, value_name = "OWNER.key")]
        key: Option<PathBuf>,
        /// Have the enrolment of the PIN's key signed elsewhere: write it to OUT.
        #[arg(long, value_name = "OUT", conflicts_with = "key")]
        draft: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct How {
    #[command(flatten)]
    signer: Signer,
    /// Agree without being asked; a script, which has no terminal, must say it.
    #[arg(long)]
    yes: bool,
}

/// Where the keys are, and who decides.
struct Car<'a> {
    state: &'a Path,
    authority: Box<dyn Authority>,
}

/// Runs it. `authority` is the daemon, or the stores when none runs.
///
/// # Errors
/// The refusal's reason, or what cannot be read.
pub fn run(args: &Args, state: &Path, authority: Box<dyn Authority>) -> anyhow::Result<ExitCode> {
    let mut car = Car { state, authority };
    match &args.command {
        Command::List { json } => car.list(*json),
        Command::Add { owner, how } => car.add(owner, how),
        Command::Remove { owner, how } => car.remove(owner, how),
        Command::Pin { key, draft } => car.pin(key.as_ref(), draft.as_ref()),
    }
}

impl Car<'_> {
    fn keys(&self) -> anyhow::Result<KeyStore> {
        Ok(KeyStore::open(&self.state.join("keys"))?)
    }

    fn list(&mut self, json: bool) -> anyhow::Result<ExitCode> {
        let owners = self.authority.owners()?;
        let pin = self.keys()?.pin_key()?;
        let mut out = std::io::stdout().lock();
        if json {
            serde_json::to_writer_pretty(&mut out, &owners)?;
            writeln!(out)?;
            return Ok(ExitCode::SUCCESS);
        }
        if owners.is_empty() {
            writeln!(out, "no owner key is enrolled: nothing can be granted")?;
        }
        for owner in &owners {
            writeln!(out, "{}", words(owner, pin))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn add(&mut self, owner: &Path, how: &How) -> anyhow::Result<ExitCode> {
        let hand = how.signer.hand()?;
        let owner_key = read_verifying_key(owner)?;
        self.enrol(EnrolmentOrder { act: EnrolmentAct::Enrol, owner_key }, &hand, how.yes)
    }

    /// With the PIN's key goes the PIN.
    fn remove(&mut self, owner: &str, how: &How) -> anyhow::Result<ExitCode> {
        let hand = how.signer.hand()?;
        let owner_key = self.find(owner)?;
        let done = self.enrol(EnrolmentOrder { act: EnrolmentAct::Remove, owner_key }, &hand, how.yes)?;
        let is_gone = !self.authority.owners()?.iter().any(|owner| owner.owner_key == owner_key);
        let keys = self.keys()?;
        if is_gone && keys.pin_key().is_ok_and(|pin| pin == Some(owner_key)) {
            keys.forget_pin()?;
            writeln!(std::io::stdout().lock(), "the PIN went with its key")?;
        }
        Ok(done)
    }

    fn find(&mut self, owner: &str) -> anyhow::Result<VerifyingKey> {
        if Path::new(owner).is_file() {
            return Ok(read_verifying_key(Path::new(owner))?);
        }
        let owners = self.authority.owners()?;
        let fits: Vec<VerifyingKey> =
            owners.iter().map(|owner| owner.owner_key).filter(|key| thumb(key).starts_with(owner)).collect();
        match fits[..] {
            [key] if owner.len() >= 4 => Ok(key),
            [] => bail!("no enrolled key is called {owner}: `glovebox owner list` shows them"),
            _ => bail!("{owner} is not enough to tell which key: give more of its digits, at least four"),
        }
    }

    /// Shows it, asks, signs it, has it taken.
    fn enrol(&mut self, order: EnrolmentOrder, hand: &Hand, yes: bool) -> anyhow::Result<ExitCode> {
        let draft = self.authority.draft_enrolment(&order)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}  called {} in `owner list`", draft.words, thumb(&order.owner_key))?;
        if hand.is_here() && !yes && !agreed(&mut out)? {
            writeln!(out, "not signed: nothing has changed")?;
            return Ok(ExitCode::FAILURE);
        }
        let Some(document) = hand.sign::<OwnerEnrolment>(&draft.payload, self.state, &mut out)? else {
            return Ok(ExitCode::SUCCESS);
        };
        let taken = self.authority.submit(&document).with_context(|| hand.by())?;
        writeln!(out, "{}: {}", taken.kind, taken.effect)?;
        Ok(ExitCode::SUCCESS)
    }

    fn pin(&mut self, key: Option<&PathBuf>, draft: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
        let keys = self.keys()?;
        let there = keys.pin_key()?;
        let is_enrolled = self.authority.owners()?.iter().any(|owner| Some(owner.owner_key) == there);
        let signer = Signer { key: key.cloned(), pin: false, draft: draft.cloned() };
        match (is_enrolled, key.is_some() || draft.is_some()) {
            (true, false) => {
                let (old, new) = (secret::pin("PIN until now")?, secret::new_pin()?);
                keys.change_pin(&old, &new, &Uptime::now())?;
                writeln!(std::io::stdout().lock(), "the PIN is changed; its key is the same")?;
                Ok(ExitCode::SUCCESS)
            }
            (true, true) => bail!(
                "a PIN is set: change it with `glovebox owner pin`; if it is lost, remove its key first (`glovebox owner \
                 remove {} --key OWNER.key`)",
                there.as_ref().map(thumb).unwrap_or_default()
            ),
            (false, false) => bail!(
                "no PIN is set: an enrolled owner has to enrol its key: `glovebox owner pin --key OWNER.key`, or `--draft \
                 OUT` to have that signed elsewhere"
            ),
            (false, true) => {
                let hand = signer.hand()?;
                let owner_key = keys.set_pin(&secret::new_pin()?, Cost::CAR)?;
                self.enrol(EnrolmentOrder { act: EnrolmentAct::Enrol, owner_key }, &hand, true)
            }
        }
    }
}

fn words(owner: &Owner, pin: Option<VerifyingKey>) -> String {
    let since = match (owner.enrolled, owner.enrolled_by) {
        (Some(at), Some(by)) => format!("enrolled {at} by {}", thumb(&by)),
        _ => "since the car was provisioned".to_owned(),
    };
    let opened = if pin == Some(owner.owner_key) { ", opened by the PIN" } else { "" };
    let gave = match owner.gave {
        0 => String::new(),
        count => format!(", gave consent to {count} live flow(s)"),
    };
    format!("{}  {since}{opened}{gave}", thumb(&owner.owner_key))
}
