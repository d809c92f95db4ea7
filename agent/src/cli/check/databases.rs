//! DBC files and mappings: readable, understood, and without a name that means two signals.

use glovebox_core::decode::Notice;
use glovebox_core::names::BusName;

use super::Finding;
use crate::config::Config;
use crate::daemon::databases::Databases;
use crate::daemon::watched;

/// Notices shown of one check; `glovebox dbc lint` shows all.
const NOTICES_SHOWN: usize = 5;

const MEND: &str = "mend the file at that place, or leave it out";

const MEND_WATCHED: &str = "mend [uplink.only_when] or [consent.trip], or leave it out";

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = bare_buses(config);
    match Databases::load(&config.decode) {
        Ok(databases) => {
            let signals = databases.leaves.len();
            findings.push(Finding::ok("decode", format!("{signals} signals can be decoded")));
            findings.extend(told(&databases.notices));
            let watched = watched::find(config, &databases.leaves);
            findings.extend(watched.err().map(|error| Finding::fail("uplink", error, MEND_WATCHED)));
        }
        Err(errors) => {
            findings.extend(errors.iter().map(|error| Finding::fail("decode", error, MEND)));
        }
    }
    findings
}

/// What was left out is worth a look, a thousand lines of it are not.
fn told(notices: &[Notice]) -> Vec<Finding> {
    let shown = notices.iter().take(NOTICES_SHOWN);
    let mut findings: Vec<Finding> =
        shown.map(|notice| Finding::warn("decode", notice, "fine if that signal is not needed")).collect();
    if notices.len() > NOTICES_SHOWN {
        let more = format!("{} more notices about databases", notices.len() - NOTICES_SHOWN);
        findings.push(Finding::warn(
            "decode",
            more,
            "`glovebox dbc lint` and `glovebox decode --notices` show all",
        ));
    }
    findings
}

fn bare_buses(config: &Config) -> Vec<Finding> {
    let covered = |name: &BusName| config.decode.databases.iter().any(|database| database.bus == *name);
    let bare = config.bus.interface.iter().filter(|interface| !covered(&interface.name));
    bare.map(|interface| {
        Finding::warn(
            "decode",
            format!("bus `{}` has no database: none of its frames is decoded", interface.name),
            "add a [[decode.database]] for it, or remove the [[bus.interface]]",
        )
    })
    .collect()
}
