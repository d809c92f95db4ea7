//! What was asked counts with the tombstone and not without it; damage, bounds and modes.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use glovebox_core::limits::NOTICES_WAITING_MAX;
use glovebox_core::names::{Digest, FlowId, HpkeKey, WallTime};
use glovebox_core::seal::{Erasure, SealedNotice};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::{Notice, NoticeError, NoticeStore};
use crate::sealer::{CarSealer, StrictVerifier};

fn notice(flow: u64) -> Notice {
    let (recipient, at) = ("acme".parse().unwrap(), WallTime(1_800_000_000_000_000));
    let erasure = Erasure { recipient, flow: FlowId(flow), request_digest: Digest([3; 32]), at };
    let sealer = CarSealer::new(Zeroizing::new([1; 32]), 1);
    // The base point of X25519: a key like any other.
    let mut key = [0; 32];
    key[0] = 9;
    let sealed = SealedNotice::seal(&erasure, &HpkeKey(key), 5, &sealer).unwrap();
    Notice { recipient: erasure.recipient, at, sealed }
}

fn names(folder: &TempDir) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder.path().join("notices")).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn what_was_asked_counts_with_the_tombstone_alone() {
    let folder = TempDir::new().unwrap();
    let store = NoticeStore::in_folder(folder.path());
    store.confirm(FlowId(1)).unwrap();
    store.reconcile(&|_| true).unwrap();
    assert!(store.flows().unwrap().is_empty(), "without a folder there is nothing");
    for flow in [1, 2, 3] {
        store.ask(&notice(flow)).unwrap();
    }
    assert!(store.flows().unwrap().is_empty(), "asked is not yet withdrawn");
    let half_written = folder.path().join(format!("notices/{}.asked.new", FlowId(4)));
    fs::write(half_written, "half").unwrap();
    store.confirm(FlowId(1)).unwrap();
    store.reconcile(&|flow| flow == FlowId(2)).unwrap();
    assert_eq!(names(&folder), [format!("{}.notice", FlowId(1)), format!("{}.notice", FlowId(2))]);
    assert_eq!(store.read(FlowId(2), &StrictVerifier).unwrap(), notice_like(&store, 2));
    store.remove(FlowId(1)).unwrap();
    store.remove(FlowId(1)).unwrap();
    assert_eq!(store.flows().unwrap(), [FlowId(2)]);
    let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("notices"), mode(&format!("notices/{}.notice", FlowId(2)))), (0o700, 0o600));
}

/// The seal is random; all else is as it was stored.
fn notice_like(store: &NoticeStore, flow: u64) -> Notice {
    Notice { sealed: store.read(FlowId(flow), &StrictVerifier).unwrap().sealed, ..notice(flow) }
}

#[test]
fn a_damaged_notice_and_one_of_another_flow_are_none() {
    let folder = TempDir::new().unwrap();
    let store = NoticeStore::in_folder(folder.path());
    store.ask(&notice(1)).unwrap();
    store.confirm(FlowId(1)).unwrap();
    let path = folder.path().join(format!("notices/{}.notice", FlowId(1)));
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        assert!(
            matches!(store.read(FlowId(1), &StrictVerifier), Err(NoticeError::Damaged { .. })),
            "byte {at}"
        );
        fs::write(&path, &whole[..at]).unwrap();
        assert!(store.read(FlowId(1), &StrictVerifier).is_err(), "cut at {at}");
    }
    fs::write(&path, &whole).unwrap();
    fs::rename(&path, folder.path().join(format!("notices/{}.notice", FlowId(2)))).unwrap();
    assert!(store.read(FlowId(2), &StrictVerifier).is_err());
}

#[test]
fn no_more_are_taken_than_there_is_room_for() {
    let folder = TempDir::new().unwrap();
    let store = NoticeStore::in_folder(folder.path());
    fs::create_dir(folder.path().join("notices")).unwrap();
    for flow in 0..NOTICES_WAITING_MAX as u64 {
        fs::write(folder.path().join(format!("notices/{}.notice", FlowId(flow))), "").unwrap();
    }
    assert!(matches!(store.ask(&notice(1_000)), Err(NoticeError::Full)));
    store.remove(FlowId(0)).unwrap();
    store.ask(&notice(1_000)).unwrap();
}
