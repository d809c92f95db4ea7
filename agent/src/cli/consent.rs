//! `glovebox consent`: the owner's acts from a shell.

use super::signer::Signer;
use super::stores::Stores;
use crate::clock::{Clock, Time as _};
use crate::control::{Asked, Authority, Consent, ControlClient, DraftOrder, Waits, WithdrawOrder, Withdrawn};
use crate::daemon::authority::{Car, KnownLeaves, LocalAuthority};
use anyhow::{Context as _, bail};
use glovebox_core::consent::document::record::ConsentRecord;
use glovebox_core::consent::plain::moment;
use glovebox_core::names::{PurposeId, RecipientId, WallTime};
use std::io::{IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;

/// Grant, withdraw and list consent.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Let a recipient have what it asks for, for one purpose. Shows what it means, then signs it: with
    /// an owner's key, by the PIN, or elsewhere.
    Grant(GrantArgs),
    /// End what was granted. Needs no key.
    Withdraw {
        /// To whom.
        #[arg(long)]
        recipient: RecipientId,
        /// For what; all purposes if it is not given.
        #[arg(long)]
        purpose: Option<PurposeId>,
        /// Also ask the recipient to erase what it has. It is told by a sealed notice, which holds no signal
        /// and no value, as soon as there is a network. That it erases is its duty, not the car's to see.
        /// Only together with the withdrawal: afterwards the car has nothing left to ask by.
        #[arg(long)]
        erase: bool,
    },
    /// All consent records, oldest first.
    List {
        /// As JSON, for a script.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct GrantArgs {
    /// To whom.
    #[arg(long)]
    recipient: RecipientId,
    /// For what.
    #[arg(long)]
    purpose: PurposeId,
    #[command(flatten)]
    signer: Signer,
    /// Only these of the signals asked for; `*` stands for anything.
    #[arg(long, value_name = "GLOB")]
    signal: Vec<String>,
    /// Until when (RFC 3339); a year or as long as the request if neither is given.
    #[arg(long, value_name = "RFC3339", value_parser = WallTime::parse, conflicts_with = "days")]
    until: Option<WallTime>,
    /// For so many days.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
    /// A second, separate yes: more than the usual limit of the catalogue.
    #[arg(long)]
    waive_floor: bool,
    /// So many bytes a day (UTC) at most; what is over waits for the next day.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_bytes_per_day: Option<u64>,
    /// Agree without being asked; a script, which has no terminal, must say it.
    #[arg(long)]
    yes: bool,
}

/// Where documents are decided: the running daemon, or the stores when none runs. `leaves` is asked only for the
/// latter.
///
/// # Errors
/// If a daemon is there and may not be asked, or the stores cannot be opened.
pub fn authority(
    control_socket: &Path,
    state: &Path,
    car: Car,
    leaves: impl FnOnce() -> anyhow::Result<KnownLeaves>,
) -> anyhow::Result<Box<dyn Authority>> {
    if let Some(client) = ControlClient::connect(control_socket)? {
        return Ok(Box::new(client));
    }
    let local = LocalAuthority::open(state, car, leaves()?)?;
    for complaint in local.complaints() {
        writeln!(std::io::stderr().lock(), "glovebox: {complaint}")?;
    }
    Ok(Box::new(Stores { local, state: state.to_owned() }))
}

/// Runs it. `open` is [`authority`] with the configuration's places.
///
/// # Errors
/// The refusal's reason, or what cannot be read.
pub fn run(
    args: &Args,
    state: &Path,
    open: impl FnOnce() -> anyhow::Result<Box<dyn Authority>>,
) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Grant(args) => grant(args, state, open),
        Command::Withdraw { recipient, purpose, erase } => {
            let (recipient, purpose, erase) = (recipient.clone(), purpose.clone(), *erase);
            let ended = open()?.withdraw(&WithdrawOrder { recipient, purpose, erase })?;
            write!(std::io::stdout().lock(), "{}", withdrawn(&ended))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::List { json } => list(&open()?.list()?, *json),
    }
}

/// What ended, and what became of what was queued.
fn withdrawn(ended: &[Withdrawn]) -> String {
    let mut text = String::new();
    for Withdrawn { recipient, purpose, flow, left, erasure } in ended {
        let queue = match left {
            None => "what still waited in the car is destroyed, with its keys".to_owned(),
            Some(why) => format!(
                "what still waits in the car is destroyed with its keys at the daemon's start ({why})"
            ),
        };
        text.push_str(&format!(
            "withdrawn: {recipient} for {purpose} (flow {flow})\n  {queue}; what was sent before is with {recipient}\n"
        ));
        match erasure {
            None => {}
            Some(Asked::Waits) => text.push_str(&format!(
                "  {recipient} is asked to erase what it has; it is told as soon as the agent runs and has a network\n"
            )),
            Some(Asked::Not { why, contact }) => text.push_str(&printable(&format!(
                "  {recipient} is NOT asked to erase what it has: {why}. Ask it yourself: {contact}\n"
            ))),
        }
    }
    text
}

fn grant(
    args: &GrantArgs,
    state: &Path,
    open: impl FnOnce() -> anyhow::Result<Box<dyn Authority>>,
) -> anyhow::Result<ExitCode> {
    let hand = args.signer.hand()?;
    let mut authority = open()?;
    let day_us = 24 * 3_600 * 1_000_000;
    let in_days = |days: u32| WallTime(Clock::new().now().0.saturating_add(i64::from(days) * day_us));
    let draft = authority.draft(&DraftOrder {
        recipient: args.recipient.clone(),
        purpose: args.purpose.clone(),
        signals: args.signal.clone(),
        until: args.until.or(args.days.map(in_days)),
        waive_floor: args.waive_floor,
        max_bytes_per_day: args.max_bytes_per_day,
    })?;
    let mut out = std::io::stdout().lock();
    write!(out, "{}", printable(&draft.words))?;
    if hand.is_here() && !args.yes && !agreed(&mut out)? {
        writeln!(out, "not signed: nothing has changed")?;
        return Ok(ExitCode::FAILURE);
    }
    let Some(document) = hand.sign::<ConsentRecord>(&draft.payload, state, &mut out)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let taken = authority.submit(&document).with_context(|| hand.by())?;
    writeln!(out, "{}: {}", taken.kind, taken.effect)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the person at the terminal; anything but a plain yes is a no.
///
/// # Errors
/// If nobody is there to be asked.
pub(super) fn agreed(out: &mut impl Write) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody is at a terminal to be asked, so nothing has changed: a script agrees with `--yes`");
    }
    write!(out, "Agree? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn list(consents: &[Consent], json: bool) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, consents)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    if consents.is_empty() {
        writeln!(out, "nothing was granted: nothing leaves")?;
    }
    for consent in consents {
        let live = match (consent.live, &consent.waits) {
            (true, None) => "live",
            (true, Some(_)) => "waits",
            (false, Some(_)) => "-",
            (false, None) => "over",
        };
        let Consent { recipient, purpose, .. } = consent;
        writeln!(out, "{live:5}  {recipient}  {purpose}  {}  {}", dates(consent), printable(&consent.name))?;
        if let Some(Waits { why, remedy }) = &consent.waits {
            writeln!(out, "         nothing leaves: {why}; needs: {remedy}")?;
        }
        for (number, signal) in consent.signals.iter().enumerate() {
            match consent.never.iter().find(|never| never.signal == *signal) {
                // What it once let leave: by this record nothing does any more.
                None if live == "over" => writeln!(out, "         - {signal}")?,
                None => {
                    let reduced =
                        consent.reduced.get(number).map_or_else(String::new, |it| format!(": {it}"));
                    writeln!(out, "         + {signal}{}", printable(&reduced))?;
                }
                Some(never) => writeln!(out, "         ! {signal}: nothing of it leaves: {}", never.why)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a record says and for when. What only ends something has no time of its own but that at which it did.
fn dates(consent: &Consent) -> String {
    let Consent { state, not_before, not_after, at, .. } = consent;
    match at {
        Some(at) if consent.signals.is_empty() => format!("{state} on {}", moment(*at)),
        _ => format!("{state} from {} until {}", moment(*not_before), moment(*not_after)),
    }
}

/// Words of a document, without what moves a terminal's cursor.
pub(crate) fn printable(words: &str) -> String {
    words.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}
