//! The command line: one file a subcommand.

mod check;
mod clock;
mod complete;
pub mod consent;
mod copy;
mod dbc;
pub mod decode;
mod driver;
mod erase;
mod glob;
pub mod keys;
mod log;
mod man;
mod out;
pub mod owner;
mod pause;
pub mod policy;
#[cfg(feature = "preview")]
mod preview;
pub mod provision;
mod run;
mod secret;
mod signer;
mod status;
mod stores;
#[cfg(test)]
pub(crate) mod trial;
mod why;
mod zone;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::clock::{Clock, Time as _};
use crate::config::{self, Config, Faults, Files};
use crate::control::Authority;
use crate::daemon::authority::Car;
use crate::daemon::databases::Databases;

/// Exit code of findings and refusals.
const FINDINGS: u8 = 1;
/// Exit code of unusable arguments or configuration; clap uses the same.
const UNUSABLE: u8 = 2;

const ABOUT: &str = "In-vehicle telematics agent: only what the owner has agreed to leaves the car";

const LEARN: &str = "\
Examples:
  glovebox check                                 what is wrong before driving off
  glovebox --config my.toml check --json         the same for a script
  glovebox status                                what the running daemon does
  glovebox keys new ed25519 --out owner          a key pair: owner.key and owner.pub
  glovebox provision --authority A.pub --owner owner.pub
  glovebox policy install bundle.dsse            a signed policy, into the daemon or the stores
  glovebox policy diff in-force.dsse next.dsse   who would get more or less by a new one
  glovebox consent grant --recipient R --purpose P --key owner.key
  glovebox owner pin --key owner.key             a PIN, which signs in place of the key: `--pin`
  glovebox pause                                 nothing leaves for 15 minutes, and nobody is told
  glovebox location off                          no place leaves, and nobody is told
  glovebox why Vehicle.Speed                     whether it leaves, for whom, which clause says so
  glovebox zone add 52.5163 13.3777              a private place: no place or trip leaves from it
  glovebox preview --policy bundle.dsse --log drive.log.gz --dbc car.dbc --html report.html
  glovebox decode --dbc car.dbc drive.log.gz     a recorded log as signals; `can0`: a live bus
  glovebox dbc lint car.dbc                      what a DBC has, and what is wrong with it
  glovebox dbc show car.dbc 'WHEEL*'             its messages and signals in words
  glovebox completions bash                      completion for a shell

Configuration:
  /etc/glovebox/glovebox.toml, and over it glovebox.d/*.toml beside it in the order of their names.
  --config FILE takes the place of both and may be repeated: later files win.

Environment:
  GLOVEBOX_LOG   what is logged to stderr: LEVEL, or STAGE=LEVEL, joined by commas
  NO_COLOR       no colours

Exit codes:
  0  fine
  1  findings, or refused
  2  unusable arguments or configuration";

/// The arguments.
#[derive(Debug, Parser)]
#[command(name = "glovebox", version, about = ABOUT, after_help = LEARN, max_term_width = 100)]
#[command(arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes. The ids are such that no command has an argument of the same id.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
struct Common {
    /// A configuration file instead of /etc/glovebox; may be repeated, later ones win.
    #[arg(id = "config-file", long = "config", global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// What is logged to stderr, for example `warn,uplink=debug`.
    #[arg(
        id = "log-filter",
        long = "log-filter",
        global = true,
        value_name = "FILTER",
        env = "GLOVEBOX_LOG",
        default_value = ""
    )]
    log: log::Filter,
    /// How it is logged.
    #[arg(
        id = "log-line",
        long = "log-format",
        global = true,
        value_name = "FORMAT",
        default_value = "text"
    )]
    log_format: log::Format,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Status(status::Args),
    Clock(clock::Args),
    Keys(keys::Args),
    Provision(provision::Args),
    Policy(policy::Args),
    Consent(consent::Args),
    Owner(owner::Args),
    Erase(erase::Args),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Location(pause::LocationArgs),
    Driver(driver::Args),
    Why(why::Args),
    Zone(zone::Args),
    #[cfg(feature = "preview")]
    Preview(preview::Args),
    Decode(decode::Args),
    Dbc(dbc::Args),
    Completions(complete::Args),
    Man(man::Args),
}

/// Parses the arguments, the program's name first, and runs the command.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(arguments);
    // What these are given are arguments: a log or a database that cannot be used is an unusable one.
    // What cannot tell why must not look like a no.
    let is_reader = match &cli.command {
        Command::Decode(_) | Command::Dbc(_) | Command::Why(_) => true,
        #[cfg(feature = "preview")]
        Command::Preview(_) => true,
        Command::Policy(args) => args.only_reads(),
        _ => false,
    };
    let on_error = if is_reader { UNUSABLE } else { FINDINGS };
    match log::start(&cli.common.log, cli.common.log_format).and_then(|()| run(cli)) {
        Ok(code) => code,
        Err(error) if out::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => tell(&error, on_error),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let common = &cli.common;
    match cli.command {
        Command::Run(args) => run::run(&args, common),
        Command::Check(args) => check::run(&args, common),
        Command::Status(args) => status::run(&args, common),
        Command::Clock(args) => clock::run(&args, common),
        Command::Keys(args) => keys::run(&args),
        Command::Provision(args) => provision::run(&args, &common.state()?),
        Command::Policy(args) => policy::run(&args, Clock::new().now(), || common.authority()),
        Command::Consent(args) => consent::run(&args, &common.state()?, || common.authority()),
        Command::Owner(args) => owner::run(&args, &common.state()?, common.authority()?),
        Command::Erase(args) => erase::run(&args, &common.state()?),
        Command::Pause(args) => pause::pause(&args, common),
        Command::Resume(args) => pause::resume(&args, common),
        Command::Location(args) => pause::location(&args, common),
        Command::Driver(args) => driver::run(args, common),
        Command::Why(args) => why::run(&args, common),
        Command::Zone(args) => zone::run(&args, &common.load(Files::NotNeeded)?.health.state),
        #[cfg(feature = "preview")]
        Command::Preview(args) => preview::run(&args, common),
        Command::Decode(args) => decode::run(args),
        Command::Dbc(args) => dbc::run(&args),
        Command::Completions(args) => complete::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

impl Common {
    /// The files of the configuration in their order.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        config::files(&self.config).context("the folder of the configuration cannot be read")
    }

    /// The configuration, for a command that cannot do without.
    fn load(&self, named: Files) -> anyhow::Result<Config> {
        Ok(Config::load(&self.files()?, named)?)
    }

    /// The folder of the state.
    fn state(&self) -> anyhow::Result<PathBuf> {
        Ok(self.load(Files::NotNeeded)?.health.state)
    }
}

impl Common {
    /// Where documents are decided: the running daemon, or the stores when none runs.
    fn authority(&self) -> anyhow::Result<Box<dyn Authority>> {
        let config = self.load(Files::NotNeeded)?;
        consent::authority(&config.health.control_socket, &config.health.state, car(&config), || {
            Ok(databases(&config.decode)?.known())
        })
    }
}

/// Which car this is.
fn car(config: &Config) -> Car {
    Car { device: config.consent.device.clone(), groups: config.consent.groups.clone() }
}

/// The databases; all their faults at once.
fn databases(decode: &config::Decode) -> anyhow::Result<Databases> {
    Databases::load(decode).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })
}

/// A file of at most `max` bytes, and one more of a larger one: its reader then says that it is too large.
fn read_bounded(path: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    let place = path.display();
    let file = File::open(path).with_context(|| format!("{place}: cannot open the file"))?;
    let mut bytes = Vec::new();
    let max = u64::try_from(max)?.saturating_add(1);
    file.take(max).read_to_end(&mut bytes).with_context(|| format!("{place}: cannot read the file"))?;
    Ok(bytes)
}

/// Says on stderr what went wrong; where even that fails, the exit code says it.
fn tell(error: &anyhow::Error, code: u8) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    match error.downcast_ref::<Faults>() {
        Some(faults) => {
            let _ = writeln!(stderr, "{faults}");
            ExitCode::from(UNUSABLE)
        }
        None => {
            let _ = writeln!(stderr, "glovebox: {}", out::chain(error));
            ExitCode::from(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    /// Lines of help are written for a terminal of 100 columns: longer ones would be broken a second time.
    #[test]
    fn no_line_of_help_is_broken_twice() {
        fn long(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let wide = help.lines().filter(|line| line.chars().count() > 100);
            found.extend(wide.map(|line| format!("{path}: {line}")));
            for inner in command.get_subcommands() {
                long(inner, &format!("{path} {}", inner.get_name()), found);
            }
        }
        let mut found = Vec::new();
        long(&super::Cli::command(), "glovebox", &mut found);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn no_argument_of_a_command_collides_with_a_common_one() {
        super::Cli::command().debug_assert();
    }
}
