//! What was put is there after a restart; what was restored, cut or changed does not count.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use super::{Documents as _, Fault, PolicyStore, PolicyStoreError};
use glovebox_core::control::{Counters, Stored};
use glovebox_core::limits::{BUILD_DATE_US, DOCUMENT_BYTES_MAX, MARK_STEP_US_MAX, MARK_STEP_US_MIN};
use glovebox_core::names::{FlowId, PolicyVersion, WallTime};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn counters(policy_version: u64, signing_serial: u64) -> Counters {
    Counters { policy_version: PolicyVersion(policy_version), signing_serial }
}

fn load(state: &Path) -> (Stored, Vec<Fault>) {
    let store = PolicyStore::open(state).unwrap();
    (store.load().unwrap(), store.faults().to_vec())
}

#[test]
fn a_new_car_has_nothing_in_force_and_no_fault() {
    let state = TempDir::new().unwrap();
    for _ in 0..2 {
        let (stored, faults) = load(state.path());
        assert_eq!((stored.policy, stored.floor), (None, counters(0, 0)));
        assert!(stored.records.is_empty() && stored.tombstones.is_empty() && faults.is_empty());
    }
}

#[test]
fn documents_of_all_sizes_come_back_in_order() {
    let state = TempDir::new().unwrap();
    let large = |seed: u8, length: usize| (0..length).map(|n| n.to_le_bytes()[1] ^ seed).collect::<Vec<u8>>();
    let records = [large(1, 10), large(2, 300_000), large(3, 65_536), large(4, 65_537)];
    let mut store = PolicyStore::open(state.path()).unwrap();
    store.put_policy(&large(9, 700_000), counters(1, 1)).unwrap();
    store.put_policy(&large(8, 1_000_000), counters(2, 1)).unwrap();
    store.put_policy(&large(7, 70_000), counters(3, 2)).unwrap();
    for record in &records {
        store.put_record(record).unwrap();
    }
    store.tombstone(FlowId(0xAB)).unwrap();
    store.tombstone(FlowId(7)).unwrap();
    let before = store.load().unwrap();
    drop(store);
    let (after, _) = load(state.path());
    assert_eq!((&before.policy, before.floor, &before.records), (&after.policy, after.floor, &after.records));
    assert_eq!(after.policy, Some(large(7, 70_000)), "no piece of a longer one before is left");
    assert_eq!(after.floor, counters(3, 2));
    assert_eq!(after.records, records);
    assert_eq!(after.tombstones, [FlowId(7), FlowId(0xAB)].into());
    let too_large = vec![0; DOCUMENT_BYTES_MAX + 1];
    let mut store = PolicyStore::open(state.path()).unwrap();
    assert!(matches!(store.put_record(&too_large), Err(PolicyStoreError::Large { .. })));
}

#[test]
fn counters_only_rise_also_when_the_store_is_lost() {
    let state = TempDir::new().unwrap();
    let mut store = PolicyStore::open(state.path()).unwrap();
    store.put_policy(b"five", counters(5, 2)).unwrap();
    for lower in [counters(4, 2), counters(6, 1)] {
        let error = store.put_policy(b"older", lower).unwrap_err();
        assert!(matches!(error, PolicyStoreError::Lower { .. }), "{error}");
    }
    assert_eq!(store.load().unwrap().policy, Some(b"five".to_vec()));
    drop(store);

    fs::remove_dir_all(state.path().join("policy")).unwrap();
    let mut store = PolicyStore::open(state.path()).unwrap();
    assert_eq!(store.counters(), counters(5, 2), "from the file beside");
    assert!(store.put_policy(b"older", counters(4, 2)).is_err());
    store.put_policy(b"five", counters(5, 2)).unwrap();
    drop(store);

    fs::remove_file(state.path().join("counters")).unwrap();
    assert_eq!(PolicyStore::open(state.path()).unwrap().counters(), counters(5, 2), "from the store");
}

#[test]
fn a_power_cut_between_store_and_counters_loses_nothing() {
    let state = TempDir::new().unwrap();
    let mut store = PolicyStore::open(state.path()).unwrap();
    store.put_record(b"one").unwrap();
    let before = fs::read(state.path().join("counters")).unwrap();
    store.put_record(b"two").unwrap();
    store.put_policy(b"bundle", counters(2, 1)).unwrap();
    drop(store);
    fs::write(state.path().join("counters"), before).unwrap();
    let (stored, faults) = load(state.path());
    assert_eq!(stored.records, [b"one", b"two"]);
    assert_eq!(stored.floor, counters(2, 1));
    assert!(faults.is_empty());
    assert_eq!(load(state.path()).0.records.len(), 2, "and the chain goes on");
}

/// Copies a closed store and what sled's guard keeps beside it.
fn back_up(state: &Path, to: &Path) {
    fs::create_dir_all(to.join("policy/blobs")).unwrap();
    for name in ["policy/db", "policy/conf", "policy.synced"] {
        fs::copy(state.join(name), to.join(name)).unwrap();
    }
    for entry in fs::read_dir(state.join("policy")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join("policy").join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn a_grant_store_restored_from_a_backup_brings_no_grant_back() {
    let (state, backup) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = PolicyStore::open(state.path()).unwrap();
    store.put_record(b"given").unwrap();
    drop(store);
    back_up(state.path(), backup.path());
    let mut store = PolicyStore::open(state.path()).unwrap();
    store.tombstone(FlowId(1)).unwrap();
    store.put_record(b"withdrawn").unwrap();
    drop(store);

    fs::remove_dir_all(state.path().join("policy")).unwrap();
    back_up(backup.path(), state.path());
    let (stored, faults) = load(state.path());
    assert_eq!(stored.records, Vec::<Vec<u8>>::new(), "the grant of the backup does not count");
    assert_eq!(faults, [Fault::Records { stored: 2, found: 1 }]);
    assert_eq!(stored.tombstones, [FlowId(1)].into());
    assert!(load(state.path()).0.records.is_empty(), "nor at the next start");

    let mut store = PolicyStore::open(state.path()).unwrap();
    store.put_record(b"given anew").unwrap();
    drop(store);
    let (stored, faults) = load(state.path());
    assert_eq!((stored.records, faults), (vec![b"given anew".to_vec()], vec![]));
}

#[test]
fn records_of_another_store_do_not_count() {
    let (state, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for (folder, record) in [(&state, b"own"), (&other, b"set")] {
        PolicyStore::open(folder.path()).unwrap().put_record(record).unwrap();
    }
    fs::remove_dir_all(state.path().join("policy")).unwrap();
    back_up(other.path(), state.path());
    let (stored, faults) = load(state.path());
    assert!(stored.records.is_empty());
    assert_eq!(faults, [Fault::Records { stored: 1, found: 1 }]);
}

#[test]
fn records_without_their_counters_do_not_count() {
    let state = TempDir::new().unwrap();
    for damage in [None, Some("glovebox counters 1\nrubbish"), Some("")] {
        let mut store = PolicyStore::open(state.path()).unwrap();
        store.put_record(b"given").unwrap();
        drop(store);
        let path = state.path().join("counters");
        match damage {
            None => fs::remove_file(&path).unwrap(),
            Some(text) => fs::write(&path, text).unwrap(),
        }
        let (stored, faults) = load(state.path());
        assert!(stored.records.is_empty(), "{damage:?}");
        assert!(faults.iter().any(|fault| matches!(fault, Fault::Records { .. })), "{damage:?}");
    }
    let changed =
        fs::read_to_string(state.path().join("counters")).unwrap().replace("version 0", "version 9");
    fs::write(state.path().join("counters"), changed).unwrap();
    let Fault::Counters(aside) = &load(state.path()).1[0] else { panic!("not noticed") };
    assert!(aside.exists());
}

#[test]
fn the_mark_rises_by_bounded_steps_and_only_a_person_sets_it_back() {
    let state = TempDir::new().unwrap();
    let mut store = PolicyStore::open(state.path()).unwrap();
    assert_eq!(store.mark().0, BUILD_DATE_US);
    store.raise_mark(WallTime(i64::MAX)).unwrap();
    assert_eq!(store.mark().0, BUILD_DATE_US + MARK_STEP_US_MAX, "a clock far ahead does not poison it");
    store.raise_mark(WallTime(0)).unwrap();
    let mark = store.mark();
    assert_eq!(mark.0, BUILD_DATE_US + MARK_STEP_US_MAX, "never back");
    store.raise_mark(WallTime(mark.0 + MARK_STEP_US_MIN - 1)).unwrap();
    assert_eq!(store.mark(), mark, "too small to wear the flash");
    drop(store);
    let mut store = PolicyStore::open(state.path()).unwrap();
    assert_eq!(store.mark(), mark, "kept");
    store.set_mark(WallTime(BUILD_DATE_US + 5)).unwrap();
    assert_eq!(store.mark().0, BUILD_DATE_US + 5);
}

#[test]
fn a_tombstone_is_a_synced_file_of_its_own() {
    let state = TempDir::new().unwrap();
    let mut store = PolicyStore::open(state.path()).unwrap();
    store.tombstone(FlowId(0xFEED)).unwrap();
    store.tombstone(FlowId(0xFEED)).unwrap();
    assert!(state.path().join("tombstones/000000000000feed").exists());
    fs::write(state.path().join("tombstones/000000000000beef.new"), b"").unwrap();
    fs::write(state.path().join("tombstones/README"), b"").unwrap();
    drop(store);
    assert_eq!(load(state.path()).0.tombstones, [FlowId(0xBEEF), FlowId(0xFEED)].into());
}

#[test]
fn behind_a_write_that_failed_the_next_is_kept_and_nothing_of_the_failed_one() {
    let state = TempDir::new().unwrap();
    let mut store = PolicyStore::open(state.path()).unwrap();
    store.put_record(b"one").unwrap();
    // What lies in blobs/ is never synced, so the store refuses to call anything durable.
    let in_the_way = state.path().join("policy/blobs/1");
    fs::write(&in_the_way, b"x").unwrap();
    assert!(store.put_record(&vec![7; 70_000]).is_err());
    assert!(store.put_policy(&vec![8; 70_000], counters(1, 1)).is_err());
    fs::remove_file(&in_the_way).unwrap();
    store.put_record(b"two").unwrap();
    store.put_policy(b"bundle", counters(2, 1)).unwrap();
    drop(store);
    let (stored, faults) = load(state.path());
    assert_eq!(
        (stored.records, stored.policy),
        (vec![b"one".to_vec(), b"two".to_vec()], Some(b"bundle".to_vec()))
    );
    assert_eq!(faults, []);
}
