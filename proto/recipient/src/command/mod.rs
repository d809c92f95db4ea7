//! The command `glovebox-recipient`: arguments and what they lead to.
//! Exit codes: 0 fine, 1 refused, 2 unusable arguments, files or keys.

mod intake;
mod mqtt;
mod offline;
mod relay;
mod screen;
mod subscribe;
mod table;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::{HpkeKey, Opener};
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

/// Prints what cars sent to one recipient: verified, opened, decoded, once each.
#[derive(Debug, Parser)]
#[command(version, about, after_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Keys: `glovebox keys new x25519 --out hpke` makes hpke.key (stays here, mode 0600) and hpke.pub (goes into your
entry of the policy bundle).

Exit codes: 0 fine, 1 refused (an envelope, or by the broker), 2 unusable arguments, files or keys.
The format is described in proto/README.md, with a reader in Python in tests/foreign.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Subscribe at a broker and print what comes, until interrupted
    Subscribe(Box<Subscribe>),
    /// Open one envelope from a file
    Open(Open),
    /// Check header and signature of one envelope; needs no private key
    Verify(Verify),
}

/// Who reads.
#[derive(Debug, Args)]
struct Reader {
    /// Recipient id, as in the policy bundle
    #[arg(long, value_name = "ID")]
    id: String,
    /// X25519 private key (PEM, readable by you alone); several, as long as an old one may be in use
    #[arg(long, value_name = "FILE", required = true)]
    hpke_key: Vec<PathBuf>,
}

impl Reader {
    fn opener(&self) -> anyhow::Result<Opener> {
        let keys: Result<Vec<HpkeKey>, _> = self.hpke_key.iter().map(|path| HpkeKey::read(path)).collect();
        Ok(Opener::new(&self.id, keys?)?)
    }
}

#[derive(Debug, Args)]
#[command(after_help = SUBSCRIBE_HELP)]
struct Subscribe {
    #[command(flatten)]
    reader: Reader,
    /// Broker: MQTT 5 over TLS 1.3; the name must be in its certificate
    #[arg(long, value_name = "HOST:PORT")]
    broker: String,
    /// Certificates of the authority that signed the broker's (PEM)
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Certificate that the broker knows you by (PEM, with its chain)
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Private key of that certificate (PEM, readable by you alone)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// JSON Lines even on a terminal
    #[arg(long)]
    json: bool,
    /// Remember what was output, so that a restart neither repeats nor overlooks anything
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Share the work with other readers of this group; gaps are not reported then
    #[arg(long, value_name = "GROUP", value_parser = group)]
    group: Option<String>,
    /// Name of the broker session [default: glovebox-recipient-<ID>, with --group a random one]
    #[arg(long, value_name = "NAME")]
    client_id: Option<String>,
    /// Also store each payload as it came
    #[arg(long, value_name = "DIR")]
    write_envelopes: Option<PathBuf>,
    /// Seconds without traffic before the connection is probed
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=3600))]
    keep_alive: u16,
}

const SUBSCRIBE_HELP: &str = "\
Prints a table of the latest values on a terminal, else one JSON object a line:
  {\"t\":1700000000.250000,\"alias\":\"…\",\"flow\":\"…\",\"epoch\":1,\"seq\":7,\"path\":\"Vehicle.Speed\",\"value\":42.5,
   \"unit\":\"km/h\",\"label\":null,\"state\":\"value\"}
and where it is more than a reading \"what\":\"event\"|\"cell\"|\"min\"|\"max\"|\"mean\"|\"sum\"|\"count\"|\"last\"; a cell's value
is its H3 index as hexadecimal text.
  {\"event\":\"batch\"|\"gap\"|\"loss\"|\"duplicate\"|\"held\"|\"refused\"|\"notice\", …}

A message is acknowledged to the broker after its samples were written out and, with --state, after that was
recorded on disk. Without --state, duplicates are known only until the next restart, a batch that waits for its
descriptor is lost when the program ends, and one that is sealed to a key that you did not give is lost at once.

Example:
  glovebox-recipient subscribe --id acme --broker broker.example:8883 --ca ca.crt --cert acme.crt \\
      --key acme-tls.key --hpke-key hpke.key --state /var/lib/acme --json | jq .";

#[derive(Debug, Args)]
struct Open {
    /// An envelope: one MQTT payload
    file: PathBuf,
    #[command(flatten)]
    reader: Reader,
    /// JSON Lines even on a terminal
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Verify {
    /// An envelope: one MQTT payload
    file: PathBuf,
    /// The topic it came on, to be checked against the header
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The inputs were usable; what was read with them was refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

/// Refuses with the text of an error.
fn refused(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Refused(error.to_string()))
}

/// A group becomes a level of a topic filter.
fn group(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains(['/', '+', '#']) {
        true => Err("a group has at least one character, and none of `/`, `+`, `#`".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// One line to standard error; that it cannot be written is no reason to end.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Parses the arguments, the program's name first, and runs the command.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match run(Arguments::parse_from(arguments)) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("glovebox-recipient: {error:#}"));
            ExitCode::from(error.downcast_ref::<Refused>().map_or(2, |_| 1))
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Subscribe(subscribe) => subscribe::run(&subscribe),
        Command::Open(open) => offline::open(&open),
        Command::Verify(verify) => offline::verify(&verify),
    }
}

/// Reads at most one byte more than an envelope may have.
fn read_envelope(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let limit = glovebox_proto::envelope::ENVELOPE_BYTES_MAX as u64 + 1;
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.take(limit).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}
