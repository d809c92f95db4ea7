//! What a test needs of the machine: where it is, or one line why the test is skipped (with `CI` set: why it fails).

use crate::source::root;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// Says in one line that `test` is skipped; with `CI` set that is a failure.
///
/// # Errors
/// With `CI` set, so that nothing is skipped for ever.
#[expect(clippy::print_stdout, reason = "tests/run counts these lines")]
pub fn skip(test: &str, why: &str) -> Result<()> {
    if std::env::var_os("CI").is_some() {
        bail!("{test} cannot run and CI is set: {why}");
    }
    println!("skipped: {test}: {why}");
    Ok(())
}

/// A figure that a test has found, for whoever reads the log of a test that went well.
#[expect(clippy::print_stdout, reason = "figures belong to the proof")]
pub fn say(figure: &str) {
    println!("{figure}");
}

/// How often each random fault strikes: `GLOVEBOX_LIVES`, as `tests/run` says.
#[must_use]
pub fn lives() -> u64 {
    std::env::var("GLOVEBOX_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Where a program is, by the `PATH` and the folders of system programs.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The name of the first of `programs` that is missing.
#[must_use]
pub fn missing(programs: &[&str]) -> Option<String> {
    programs.iter().find(|name| program(name).is_none()).map(|name| format!("{name} is not installed"))
}

/// The folder of shared test data: `GLOVEBOX_SHARED`, or `../shared` beside the repository.
#[must_use]
pub fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("GLOVEBOX_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    folder.join("data").is_dir().then_some(folder)
}

/// The recorded drive and the databases of its two buses.
#[derive(Debug, Clone)]
pub struct Drive {
    /// candump log, gzipped.
    pub log: PathBuf,
    /// Of `can0`.
    pub powertrain: PathBuf,
    /// Of `can1`.
    pub radar: PathBuf,
}

/// The recorded drive, if the shared data are here.
#[must_use]
pub fn drive() -> Option<Drive> {
    let data = shared()?.join("data");
    Some(Drive {
        log: data.join("logs/comma2k19_rav4.log.gz"),
        powertrain: data.join("dbc/opendbc__toyota_new_mc_pt_generated.dbc"),
        radar: data.join("dbc/opendbc__toyota_adas.dbc"),
    })
}

/// A Python that has the oracle's packages: `GLOVEBOX_PYTHON`, or the one that `tests/run` made.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let own = root().join("target/venv/bin/python3");
    let python = std::env::var_os("GLOVEBOX_PYTHON").map_or(own, PathBuf::from);
    let output = Command::new(&python).args(["-c", "import cantools"]).output().ok()?;
    output.status.success().then_some(python)
}

/// What every end-to-end test needs; `None` if it was said that the test is skipped.
///
/// # Errors
/// With `CI` set.
pub fn broker(test: &str) -> Result<Option<()>> {
    match missing(&["mosquitto", "mosquitto_sub", "mosquitto_pub", "openssl"]) {
        None => Ok(Some(())),
        Some(why) => skip(test, &why).map(|()| None),
    }
}
