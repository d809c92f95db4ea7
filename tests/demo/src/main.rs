//! The whole of Glovebox in one command. This program is also the agent and the companies' readers: it starts itself
//! again as each of them, so that they are processes of their own.

mod agent;
mod broker;
mod car;
mod certs;
mod checks;
mod company;
mod door;
mod model;
mod papers;
mod play;
mod real;
mod screen;
mod stop;
mod story;
mod stranger;
mod truth;
mod view;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::real::Files;
use crate::screen::Screen;

const LEARN: &str = "\
What happens:
  1  Keys, certificates and documents are made, the documents by the agent's own commands:
     provision, policy new and sign, policy install, consent grant.
  2  An MQTT broker with mutual TLS starts inside; agent and companies run as processes.
  3  A car drives. A workshop may know tyres and battery; an insurer asked for speed and
     place too, and may know the mileage only, by the kilometre.
  4  The car enters a tunnel: batches wait on its disk. There the owner withdraws from the
     insurer.
  5  The network comes back: the workshop gets all that waited, the insurer nothing more.
  6  Everything shown is checked, a line for each check.

Examples:
  glovebox-demo                                    less than a minute, drawn on the terminal
  glovebox-demo --fast                             less than 20 seconds, for a script
  glovebox-demo --keep /tmp/demo                   keys, documents, queue and logs stay there
  glovebox-demo --log drive.log.gz --dbc car.dbc   your own recording (candump -L)
  glovebox-demo --log drive.log --dbc car.dbc --signal '*TEMP*' --signal '*VOLT*'

Environment:
  NO_COLOR   no colours

Exit codes:
  0    all that was shown is so
  1    a check failed, or something could not be started
  2    unusable arguments
  130  interrupted";

/// A drive, the agent, a broker, two companies and a withdrawal, in one command
#[derive(Debug, Parser)]
#[command(version, about, after_help = LEARN, max_term_width = 100)]
struct Options {
    /// As fast as can be followed by a script, without waiting for eyes
    #[arg(long)]
    fast: bool,
    /// Plain lines even on a terminal
    #[arg(long)]
    plain: bool,
    /// Another simulated drive
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "log")]
    seed: u64,
    /// A recorded drive instead of the simulated one: candump -L, .gz too
    #[arg(long, value_name = "FILE", requires = "dbc")]
    log: Option<PathBuf>,
    /// Its DBC
    #[arg(long, value_name = "FILE", requires = "log")]
    dbc: Option<PathBuf>,
    /// VSS names of its signals: a Kuksa mapping file
    #[arg(long, value_name = "FILE", requires = "log")]
    map: Option<PathBuf>,
    /// Signals that the workshop asks for, else chosen and told; `*` stands for anything
    #[arg(long, value_name = "GLOB", requires = "log")]
    signal: Vec<String>,
    /// Keep keys, documents, queue and logs in this new folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Options {
    fn files(&self) -> Option<Files> {
        let (log, dbc) = (self.log.clone()?, self.dbc.clone()?);
        Some(Files { log, dbc, map: self.map.clone(), signals: self.signal.clone() })
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let first = arguments.next();
    let again = |name: &str| std::iter::once(OsString::from(name)).chain(std::env::args_os().skip(2));
    match first.as_ref().and_then(|first| first.to_str()) {
        Some(agent::AGENT) if stop::with_parent() => glovebox::cli::main(again("glovebox")),
        Some(agent::READER) if stop::with_parent() => {
            glovebox_recipient::command::main(again("glovebox-recipient"))
        }
        _ => demo(&Options::parse_from([program].into_iter().chain(first).chain(arguments))),
    }
}

fn demo(options: &Options) -> ExitCode {
    let mut screen = Screen::new(options.plain);
    let played = stop::watch().and_then(|()| play::play(options, &mut screen));
    screen.leave();
    match played {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) if stop::is_asked() => ExitCode::from(130),
        Err(error) => {
            let _gone = writeln!(std::io::stderr(), "glovebox-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
