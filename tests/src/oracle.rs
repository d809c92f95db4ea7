//! What recipients must have opened, computed by `tests/oracle/expect.py` from the log, the databases and the grants.

use crate::agent::Bus;
use crate::fleet::Party;
use crate::process::succeed;
use crate::recipient::Sample;
use crate::source::root;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// One sample as it must come, or as it came, without where it was packed: stamp, state, value.
type Told = (i64, String, Option<f64>);

/// Samples by signal, in order.
pub type BySignal = BTreeMap<String, Vec<Told>>;

/// Runs the oracle over `log`, whose interfaces are the names of the buses, for the parties that were granted what they asked for; by recipient.
///
/// # Errors
/// What the oracle says.
pub fn expect(
    python: &Path,
    folder: &Path,
    log: &Path,
    buses: &[Bus],
    granted: &[&Party],
) -> Result<BTreeMap<String, BySignal>> {
    let buses: Map<String, Value> = buses.iter().map(|bus| (bus.name.clone(), json!(bus.dbc))).collect();
    let asked = |party: &&Party| {
        let signals: Map<String, Value> = party.signals.iter().cloned().collect();
        (party.id.clone(), json!({ "microseconds": party.microseconds, "signals": signals }))
    };
    let recipients: Map<String, Value> = granted.iter().map(asked).collect();
    let plan = folder.join("plan.json");
    std::fs::write(&plan, json!({ "log": log, "buses": buses, "recipients": recipients }).to_string())?;
    let text = succeed(Command::new(python).arg(root().join("tests/oracle/expect.py")).arg(&plan))?;
    let mut expected: BTreeMap<String, BySignal> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let text = |name: &str| line[name].as_str().map(str::to_owned).context("a line of the oracle");
        let told = (line["time_us"].as_i64().context("time_us")?, text("state")?, line["value"].as_f64());
        expected.entry(text("recipient")?).or_default().entry(text("signal")?).or_default().push(told);
    }
    Ok(expected)
}

/// Samples that came, by signal in the order in which they came.
#[must_use]
pub fn by_signal(samples: &[Sample]) -> BySignal {
    let mut came = BySignal::new();
    for sample in samples {
        let told = (sample.time_us, sample.state.clone(), sample.value);
        came.entry(sample.signal.clone()).or_default().push(told);
    }
    came
}

/// Both must be equal: the same signals, and of each the same samples in the same order.
///
/// # Errors
/// The first difference of each signal.
pub fn compare(who: &str, expected: &BySignal, came: &BySignal) -> Result<()> {
    compare_within(who, expected, came, 0)
}

/// As [`compare`], but the stamps may differ by so many microseconds.
///
/// # Errors
/// The first difference of each signal.
pub fn compare_within(who: &str, expected: &BySignal, came: &BySignal, slack_us: u64) -> Result<()> {
    let same = |want: Option<&Told>, got: Option<&Told>| match (want, got) {
        (Some(want), Some(got)) => want.0.abs_diff(got.0) <= slack_us && (&want.1, want.2) == (&got.1, got.2),
        _ => false,
    };
    let mut differences = Vec::new();
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(came.keys()).collect();
    for name in names {
        let none = Vec::new();
        let (want, got) = (expected.get(name).unwrap_or(&none), came.get(name).unwrap_or(&none));
        let first = (0..want.len().max(got.len())).find(|at| !same(want.get(*at), got.get(*at)));
        if let Some(at) = first {
            let (want_at, got_at) = (want.get(at), got.get(at));
            differences.push(format!(
                "{name}: {} samples instead of {}; number {at} is {got_at:?} instead of {want_at:?}",
                got.len(),
                want.len()
            ));
        }
    }
    ensure!(differences.is_empty(), "{who} opened something else:\n{}", differences.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_found() {
        let one = |time| BySignal::from([("a".to_owned(), vec![(time, "value".to_owned(), Some(1.0))])]);
        assert!(compare("x", &one(1), &one(1)).is_ok());
        assert!(compare("x", &one(1), &one(2)).is_err());
        assert!(compare("x", &one(1), &BySignal::new()).is_err());
        assert!(compare("x", &BySignal::new(), &one(1)).is_err());
        let twice = BySignal::from([("a".to_owned(), [one(1)["a"].clone(), one(1)["a"].clone()].concat())]);
        assert!(compare("x", &one(1), &twice).is_err());
        assert!(compare_within("x", &one(1), &one(3), 2).is_ok());
        assert!(compare_within("x", &one(4), &one(1), 2).is_err());
    }
}
