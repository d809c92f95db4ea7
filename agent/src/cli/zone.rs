//! `glovebox zone`: private places, in a file of the car alone.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use glovebox_core::consent::transform::{Resolution, boundary};

use crate::daemon::zones::ZoneFile;

/// Private places: inside them nothing of where the car is, nor of its trips, leaves for anybody. They stay in the car.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a place private, and about 5 km² around it; a running daemon follows within two seconds.
    Add(Coordinates),
    /// Make it public again: any place in the same cell.
    Remove(Coordinates),
    /// The cells (H3, resolution 8) that are private, and about where they are: degrees by which one is removed.
    List,
}

#[derive(Debug, clap::Args)]
struct Coordinates {
    /// In degrees, north is positive.
    #[arg(allow_negative_numbers = true, value_parser = degrees)]
    latitude: f64,
    /// In degrees, east is positive.
    #[arg(allow_negative_numbers = true, value_parser = degrees)]
    longitude: f64,
}

/// Many write a comma in numbers.
fn degrees(text: &str) -> Result<f64, String> {
    let hint = if text.contains(',') {
        "a point instead of the comma, and a space between the two"
    } else {
        "only a number"
    };
    text.parse().map_err(|_| format!("no degrees: write {hint}, as in `zone add 52.5163 13.3777`"))
}

impl Coordinates {
    fn cell(&self) -> anyhow::Result<u64> {
        let cell = Resolution::ZONE.cell(self.latitude, self.longitude);
        cell.ok_or_else(|| anyhow::anyhow!("no place on earth: latitude is -90 to 90, longitude -180 to 180"))
    }
}

/// The middle of a cell: its corners lie evenly around it, and a thousandth of a degree is far less than its width.
fn about(cell: u64) -> String {
    let corners = boundary(cell).unwrap_or_default();
    let mean = |of: fn(&(f64, f64)) -> f64| corners.iter().map(of).sum::<f64>() / corners.len().max(1) as f64;
    format!("{:.3} {:.3}", mean(|corner| corner.0), mean(|corner| corner.1))
}

/// Runs it on the state folder of the configuration.
///
/// # Errors
/// If the file cannot be read or written, or holds as many as it may.
pub(super) fn run(args: &Args, state: &Path) -> anyhow::Result<ExitCode> {
    let file = ZoneFile::in_folder(state);
    let mut cells = file.read()?;
    let mut out = std::io::stdout().lock();
    let changed = match &args.command {
        Command::Add(place) => cells.insert(place.cell()?),
        Command::Remove(place) => cells.remove(&place.cell()?),
        Command::List => {
            if cells.is_empty() {
                writeln!(std::io::stderr(), "no place is private: `glovebox zone add LATITUDE LONGITUDE`")?;
            }
            for cell in &cells {
                writeln!(out, "{cell:x}  {}", about(*cell))?;
            }
            false
        }
    };
    if changed {
        file.write(&cells)?;
    }
    if !matches!(args.command, Command::List) {
        let what = match (&args.command, changed) {
            (Command::Add(_), true) => "private from now on",
            (Command::Add(_), false) => "it was private already",
            (_, true) => "public again",
            (_, false) => "it was not private: nothing has changed",
        };
        let (count, places) = (cells.len(), if cells.len() == 1 { "place is" } else { "places are" });
        writeln!(out, "{what}; {count} {places} private")?;
    }
    Ok(ExitCode::SUCCESS)
}
