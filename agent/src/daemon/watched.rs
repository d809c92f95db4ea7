//! The signals of `[uplink.only_when]` and `[consent.trip]`, found among those of the car's databases.

use glovebox_core::decode::Leaves;
use glovebox_core::pipeline::Watches;
use glovebox_core::pipeline::watch::{Watch, WatchError};

use crate::config::{self, Config, Signal};

/// Where it stands, what is wrong with it, and what may have been meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WatchedError(String);

/// What the pipeline has to watch.
///
/// # Errors
/// [`WatchedError`] if there is no such signal, or what is asked of it can never be.
pub fn find(config: &Config, leaves: &Leaves) -> Result<Watches, WatchedError> {
    let only_when = config.delivery.only_when.as_ref().and_then(|only_when| only_when.signal.as_ref());
    let of = |key: &str, signal: Option<&Signal>| {
        let watch = |it: &Signal| {
            Watch::new(leaves, &it.path, &it.test).map_err(|why| explain(key, it, leaves, &why))
        };
        signal.map(watch).transpose()
    };
    let only_when = of("uplink.only_when.signal", only_when)?;
    Ok(Watches { only_when, trip: of("consent.trip.signal", config.consent.trip.as_ref())?, place: None })
}

fn explain(key: &str, signal: &Signal, leaves: &Leaves, why: &WatchError) -> WatchedError {
    let Signal { path, place, .. } = signal;
    let known: Vec<&str> = leaves.iter().map(|(_, leaf)| leaf.path.as_str()).collect();
    let mend = match (why, config::nearest(path.as_str(), &known)) {
        (WatchError::Unknown, Some(name)) => format!("; did you mean `{name}`?"),
        (WatchError::Unknown, None) => "; `glovebox dbc show` lists what there is".to_owned(),
        _ => String::new(),
    };
    WatchedError(format!("{place}: `{key}` is `{path}`: {why}{mend}"))
}
