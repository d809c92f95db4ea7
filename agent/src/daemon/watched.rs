//! The signal of `[uplink.only_when]`, found among those of the car's databases.

use glovebox_core::decode::Leaves;
use glovebox_core::pipeline::watch::{Watch, WatchError};

use crate::config::{self, Delivery, Signal};

/// Where it stands, what is wrong with it, and what may have been meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WatchedError(String);

/// What the pipeline has to watch; `None` if nothing is configured.
///
/// # Errors
/// [`WatchedError`] if there is no such signal, or what is asked of it can never be.
pub fn find(delivery: &Delivery, leaves: &Leaves) -> Result<Option<Watch>, WatchedError> {
    let Some(signal) = delivery.only_when.as_ref().and_then(|only_when| only_when.signal.as_ref()) else {
        return Ok(None);
    };
    Watch::new(leaves, &signal.path, &signal.test).map(Some).map_err(|why| explain(signal, leaves, &why))
}

fn explain(signal: &Signal, leaves: &Leaves, why: &WatchError) -> WatchedError {
    let Signal { path, place, .. } = signal;
    let known: Vec<&str> = leaves.iter().map(|(_, leaf)| leaf.path.as_str()).collect();
    let mend = match (why, config::nearest(path.as_str(), &known)) {
        (WatchError::Unknown, Some(name)) => format!("; did you mean `{name}`?"),
        (WatchError::Unknown, None) => "; `glovebox dbc show` lists what there is".to_owned(),
        _ => String::new(),
    };
    WatchedError(format!("{place}: `uplink.only_when.signal` is `{path}`: {why}{mend}"))
}
