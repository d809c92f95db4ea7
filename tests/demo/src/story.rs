//! Who asks for what, and what the owner gives of it.

use std::path::PathBuf;

use crate::car::SIGNALS;
use crate::truth::Truth;

/// One signal that a company asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// What it asks for itself: at most one reading in so many milliseconds, in cells of this width.
    pub(crate) rate: Option<i64>,
    pub(crate) step: Option<f64>,
    /// What the catalogue adds for every company.
    pub(crate) floor_rate: Option<i64>,
    pub(crate) floor_step: Option<f64>,
    /// What the owner says.
    pub(crate) is_granted: bool,
}

impl Asked {
    pub(crate) fn new(path: &str) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    fn granted(self) -> Self {
        Self { is_granted: true, ..self }
    }

    fn every(self, ms: i64) -> Self {
        Self { rate: Some(ms), ..self }
    }

    /// The stricter of both: the rarer one.
    pub(crate) fn rate_ms(&self) -> Option<i64> {
        self.rate.max(self.floor_rate)
    }

    /// One of both; no signal here has two.
    pub(crate) fn step(&self) -> Option<f64> {
        self.floor_step.or(self.step)
    }

    /// As `policy new request --signal` takes it.
    pub(crate) fn spec(&self) -> String {
        let mut spec = self.path.clone();
        if let Some(ms) = self.rate {
            spec += &format!(":rate={ms}");
        }
        if let Some(step) = self.step {
            spec += &format!(":quantise={step}");
        }
        spec
    }
}

/// A company.
#[derive(Debug, Clone, Default)]
pub(crate) struct Company {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) purpose: &'static str,
    /// The purpose in words.
    pub(crate) words: &'static str,
    pub(crate) batch_age_s: u32,
    pub(crate) asked: Vec<Asked>,
}

impl Company {
    pub(crate) fn granted(&self) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(|asked| asked.is_granted)
    }

    pub(crate) fn denied(&self) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(|asked| !asked.is_granted)
    }
}

/// Everything that the play needs to know of the drive.
#[derive(Debug)]
pub(crate) struct Story {
    /// In a few words, for the title.
    pub(crate) title: String,
    pub(crate) log: PathBuf,
    pub(crate) dbc: PathBuf,
    pub(crate) map: Option<PathBuf>,
    /// The interface in the log.
    pub(crate) bus: String,
    pub(crate) truth: Truth,
    /// The one whose grant stays, then the one whose grant is withdrawn.
    pub(crate) companies: [Company; 2],
    /// Signals that are worth a line on the screen.
    pub(crate) shown: Vec<String>,
    /// Drive seconds a second.
    pub(crate) speed: f64,
    /// Whether paths are those of VSS, whose categories the agent knows.
    pub(crate) is_vss: bool,
}

/// Both companies of the simulated drive.
pub(crate) fn companies() -> [Company; 2] {
    let parts = ["Tire.", "TractionBattery"];
    let is_part = |path: &str| parts.iter().any(|part| path.contains(part));
    let paths = SIGNALS.iter().map(|signal| signal.path).filter(|path| is_part(path));
    let workshop = Company {
        id: "workshop",
        name: "Tyre & Battery Workshop",
        purpose: "wear-check",
        words: "To tell you when a tyre or the battery needs attention.",
        batch_age_s: 20,
        asked: paths.map(|path| coarse(Asked::new(path).granted().every(1000))).collect(),
    };
    let mileage = Asked {
        // It asked for every reading as it is; the catalogue says that nobody gets more than this.
        floor_rate: Some(10_000),
        floor_step: Some(1.0),
        ..Asked::new("Vehicle.TraveledDistance").granted()
    };
    let more = [
        "Vehicle.Speed",
        "Vehicle.CurrentLocation.Latitude",
        "Vehicle.CurrentLocation.Longitude",
        "Vehicle.Driver.FatigueLevel",
    ];
    let insurer = Company {
        id: "insurer",
        name: "Mileage Insurer",
        purpose: "pay-as-you-drive",
        words: "To bill your insurance by the kilometre.",
        batch_age_s: 20,
        asked: [mileage].into_iter().chain(more.map(Asked::new)).collect(),
    };
    [workshop, insurer]
}

/// Temperatures by the degree, tyres by the kPa: enough for a workshop.
fn coarse(asked: Asked) -> Asked {
    let step =
        if asked.path.ends_with("Pressure") || asked.path.contains("Temperature") { Some(1.0) } else { None };
    Asked { step, ..asked }
}

/// What the screen shows of the simulated car.
pub(crate) fn shown() -> Vec<String> {
    [0, 5, 18, 19, 20, 6, 12, 13, 14, 16, 23, 22].map(|index: usize| SIGNALS[index].path.to_owned()).to_vec()
}
