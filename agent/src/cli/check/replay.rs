//! The recorded log: whether it is one, and whether the configured interfaces are in it.

use std::collections::BTreeMap;

use glovebox_core::frame::BusIndex;

use super::Finding;
use crate::bus::replay::Log;
use crate::config::Config;

/// Lines that are looked at: every interface of a real log has spoken by then.
const LINES_LOOKED_AT: u64 = 10_000;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let Some(path) = &config.bus.replay else { return Vec::new() };
    let mut seen = BTreeMap::new();
    let counted = Log::open(path).and_then(|mut log| {
        let mut count = |interface: &str| {
            *seen.entry(interface.to_owned()).or_insert(0_u64) += 1;
            Some(BusIndex(0))
        };
        while log.counts().lines < LINES_LOOKED_AT && log.next_frame(&mut count)?.is_some() {}
        Ok(log.counts())
    });
    let counts = match counted {
        Ok(counts) => counts,
        Err(error) => {
            let what = anyhow::Error::from(error);
            return vec![Finding::fail(
                "bus",
                format!("{what:#}"),
                "name a log as `candump -L` writes it, or a Vector ASC file",
            )];
        }
    };
    let shown = path.display();
    let mut findings = vec![Finding::ok(
        "bus",
        format!("{shown} is a log: {} of the first {} lines are frames", counts.frames, counts.lines),
    )];
    if counts.bad > 0 {
        let what = format!("{shown}: {} of the first {} lines are no frames", counts.bad, counts.lines);
        findings.push(Finding::warn(
            "bus",
            what,
            "they are passed over and counted; `glovebox decode` names the first",
        ));
    }
    let names: Vec<&str> = seen.keys().map(String::as_str).collect();
    let absent = config.bus.interface.iter().filter(|interface| !seen.contains_key(&interface.interface));
    findings.extend(absent.map(|interface| {
        let what = format!("{shown}: no frame of `{}` at its beginning", interface.interface);
        Finding::warn("bus", what, format!("the log has: {}", names.join(", ")))
    }));
    findings
}
