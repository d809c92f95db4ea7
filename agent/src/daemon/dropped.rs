//! Documents that are dropped into the policy folder go through the same door as all others.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::steward::{self, Steward};
use crate::policy_folder::{Folder, Found};

/// How often it is looked whether there is still somebody to take them.
const WAIT: Duration = Duration::from_secs(1);

/// Takes what is there, and from then on, on a thread of its own, what comes.
pub(super) fn take_up(steward: &Arc<Steward>) {
    let Some(path) = steward.config.consent.policy_folder.clone() else { return };
    let mut folder = Folder::new(path);
    take(steward, folder.look(), true);
    let steward = Arc::downgrade(steward);
    let begun = std::thread::Builder::new().name("folder".to_owned()).spawn(move || run(folder, &steward));
    if let Err(error) = begun {
        tracing::error!(target: "consent", %error, "the policy folder is not watched: restart the agent");
    }
}

fn run(mut folder: Folder, steward: &Weak<Steward>) {
    loop {
        folder.wait(WAIT);
        let Some(steward) = steward.upgrade() else { return };
        take(&steward, folder.look(), false);
    }
}

fn take(steward: &Steward, found: Vec<Found>, was_there: bool) {
    for one in found {
        match one {
            // Refused or not, it stays where it is; why is logged.
            Found::Document { path, bytes } => {
                let dropped = steward::Dropped { file: &path, was_there };
                drop(steward.submit(&bytes, Some(dropped)));
            }
            Found::Fault { path, why } => {
                tracing::warn!(target: "consent", "policy folder: {} {why}", path.display());
            }
        }
    }
}
