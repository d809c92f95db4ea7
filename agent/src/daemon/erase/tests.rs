//! A car is erased whole, not under somebody's hands, and what is not the agent's stays.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::{EraseError, erase, finish};
use crate::cli::trial::Trial;
use crate::control::Authority as _;
use crate::notice_store::NoticeStore;
use crate::sealer::StrictVerifier;
use crate::store::StoreError;
use std::fs;
use std::path::Path;

fn provisioned() -> Trial {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run("consent grant --yes --recipient tyres --purpose tyre-care --key @owner.key").unwrap();
    trial.run("keys new ed25519 --out @phone").unwrap();
    trial.run("owner add --yes @phone.pub --key @owner.key").unwrap();
    for folder in ["outbox/2d61ccc51124682b", "ledger", "ledger.corrupt-1", "tombstones"] {
        fs::create_dir_all(trial.state().join(folder)).unwrap();
    }
    for file in [
        "outbox/2d61ccc51124682b/keys",
        "outbox/2d61ccc51124682b/0.seg",
        "rules",
        "emitted",
        "spent",
        "session",
        "zones",
        "counters.corrupt",
    ] {
        fs::write(trial.state().join(file), "x").unwrap();
    }
    trial
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn nothing_is_left_but_what_is_not_ours() {
    let trial = provisioned();
    for foreign in ["car.key", "policy-notes.txt", "ledgers"] {
        fs::write(trial.state().join(foreign), "mine").unwrap();
    }
    erase(&trial.state()).unwrap();
    assert_eq!(names(&trial.state()), ["car.key", "ledgers", "policy-notes.txt"]);
    // And again: there is nothing to do.
    erase(&trial.state()).unwrap();
    erase(Path::new("/nonexistent/state")).unwrap();
    // A new owner, a new authority, the first bundle again.
    trial.run("provision --authority @root.pub --owner @phone.pub").unwrap();
    trial.run("policy install @bundle.dsse").unwrap();
    let mut local = trial.local();
    assert!(local.list().unwrap().is_empty() && local.complaints().is_empty());
    assert_eq!(local.owners().unwrap().len(), 1);
    assert!(local.control().grants().tombstones().is_empty());
}

#[test]
fn a_car_that_somebody_works_with_is_not_erased() {
    let trial = provisioned();
    let before = names(&trial.state());
    let local = trial.local();
    let error = erase(&trial.state()).unwrap_err();
    assert!(matches!(&error, EraseError::Store(StoreError::Locked { .. })), "{error}");
    assert!(error.to_string().contains("`systemctl stop glovebox`"), "{error}");
    assert!(names(&trial.state()).iter().all(|name| before.contains(name) || name.ends_with(".lock")));
    assert!(trial.state().join("keys/alias").exists());
    assert_eq!(local.control().grants().live().len(), 1);
    drop(local);
    erase(&trial.state()).unwrap();
}

/// From the rename on the car has no owner and no alias, and whoever comes next does the rest.
#[test]
fn what_a_cut_left_is_done_by_the_next_provision() {
    let trial = provisioned();
    finish(&trial.state()).unwrap();
    assert!(trial.state().join("keys").exists(), "nothing was begun");
    fs::rename(trial.state().join("keys"), trial.state().join("keys.erased")).unwrap();
    assert!(trial.local().control().owners().keys().is_empty());
    trial.run("provision --authority @root.pub --owner @phone.pub").unwrap();
    assert!(!trial.state().join("keys.erased").exists() && !trial.state().join("outbox").exists());
    let mut local = trial.local();
    assert!(local.list().unwrap().is_empty() && local.complaints().is_empty());
    assert!(local.control().policy().is_none());
    drop(local);
    // A second erasing, cut short with the keys of the first still there.
    fs::create_dir(trial.state().join("keys.erased")).unwrap();
    fs::write(trial.state().join("keys.erased/alias"), "old").unwrap();
    erase(&trial.state()).unwrap();
    assert!(names(&trial.state()).is_empty(), "{:?}", names(&trial.state()));
}

#[test]
fn a_recipient_that_is_asked_to_erase_is_told_after_the_car_was_erased() {
    let trial = provisioned();
    let flow = trial.local().control().grants().live()[0].flow();
    trial.run("consent withdraw --recipient tyres --erase").unwrap();
    trial.run("consent grant --yes --recipient tyres --purpose tyre-care --key @owner.key").unwrap();
    let other = trial.local().control().grants().live()[0].flow();
    let file = |flow, state| trial.state().join(format!("notices/{flow}.{state}"));
    // One withdrawal was cut off behind its tombstone, one before it.
    fs::copy(file(flow, "notice"), file(other, "asked")).unwrap();
    fs::rename(file(flow, "notice"), file(flow, "asked")).unwrap();
    erase(&trial.state()).unwrap();
    assert_eq!(names(&trial.state()), ["notices"]);
    assert_eq!(names(&trial.state().join("notices")), [format!("{flow}.notice")]);
    trial.run("provision --authority @root.pub --owner @phone.pub").unwrap();
    drop(trial.local());
    let notice = NoticeStore::in_folder(&trial.state()).read(flow, &StrictVerifier).unwrap();
    assert_eq!(notice.recipient.as_str(), "tyres");
}
