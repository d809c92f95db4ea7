//! What was synced is there after a kill; what is damaged is set aside, never fatal.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::panic, reason = "a test may fail loudly")]

use super::{Batch, Opened, Store, StoreError};
use glovebox_core::limits::{STORE_OPENINGS_MAX, STORE_VALUE_BYTES_MAX};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const CHILD: &str = "GLOVEBOX_TEST_STORE_CHILD";

fn open(dir: &Path) -> (Store, Opened) {
    Store::open(dir).unwrap()
}

#[test]
fn a_new_store_is_fresh_then_existing_and_keeps_its_order() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("state/policy");
    let (store, opened) = open(&dir);
    assert_eq!(opened, Opened::Fresh);
    let tree = store.tree("a").unwrap();
    for key in [3u8, 1, 2, 4] {
        tree.insert(&[key], &[key * 10]).unwrap();
    }
    tree.remove(&[4]).unwrap();
    store.sync().unwrap();
    drop((tree, store));

    let (store, opened) = open(&dir);
    assert_eq!(opened, Opened::Existing);
    let tree = store.tree("a").unwrap();
    assert_eq!(tree.get(&[2]).unwrap(), Some(vec![20]));
    assert_eq!(tree.get(&[4]).unwrap(), None);
    let keys: Vec<u8> = tree.iter().map(|entry| entry.unwrap().0[0]).collect();
    assert_eq!(keys, [1, 2, 3]);
    let from: Vec<u8> = tree.range(&[2u8][..]..).map(|entry| entry.unwrap().0[0]).collect();
    assert_eq!((from, tree.len(), tree.is_empty()), (vec![2, 3], 3, false));
    assert_eq!(tree.iter().last().unwrap().unwrap().0, [3]);
    assert!(store.tree("other").unwrap().is_empty());
}

/// What a kill leaves that comes while the store is being opened.
#[test]
fn a_snapshot_that_was_cut_short_damages_nothing() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("policy");
    let (store, _) = open(&dir);
    store.tree("a").unwrap().insert(b"k", b"v").unwrap();
    store.sync().unwrap();
    drop(store);
    for half in [&b""[..], &[0x93, 0x21, 0, 0, 0]] {
        fs::write(dir.join("snap.7FFFFFFFFFFFFFFF.generating"), half).unwrap();
        let (store, opened) = open(&dir);
        assert_eq!(opened, Opened::Existing);
        assert_eq!(store.tree("a").unwrap().get(b"k").unwrap(), Some(b"v".to_vec()));
    }
}

#[test]
fn a_batch_is_applied_whole_and_a_large_value_is_refused() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(&folder.path().join("s"));
    let tree = store.tree("a").unwrap();
    tree.insert(b"old", b"x").unwrap();
    let mut batch = Batch::default();
    batch.insert(b"new", b"y");
    batch.remove(b"old");
    tree.apply(&batch).unwrap();
    assert_eq!((tree.get(b"new").unwrap(), tree.get(b"old").unwrap()), (Some(b"y".to_vec()), None));

    let large = vec![0; STORE_VALUE_BYTES_MAX + 1];
    assert!(matches!(tree.insert(b"k", &large), Err(StoreError::Large { .. })));
    let mut batch = Batch::default();
    batch.insert(b"small", b"z");
    batch.insert(b"k", &large);
    assert!(matches!(tree.apply(&batch), Err(StoreError::Large { .. })));
    assert_eq!(tree.get(b"small").unwrap(), None);
}

#[test]
fn values_of_the_largest_size_never_go_to_blobs() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(&folder.path().join("s"));
    let tree = store.tree("a").unwrap();
    for number in 0..200u32 {
        tree.insert(&number.to_be_bytes(), &vec![number.to_le_bytes()[0]; STORE_VALUE_BYTES_MAX]).unwrap();
        store.sync().unwrap();
    }
}

#[test]
fn values_in_blobs_are_an_alarm() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("s");
    let (store, _) = open(&dir);
    fs::write(dir.join("blobs/1"), b"x").unwrap();
    assert!(matches!(store.sync(), Err(StoreError::Blobs { .. })));
}

#[test]
fn a_store_in_use_is_refused_and_not_set_aside() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("s");
    let (store, _) = open(&dir);
    let error = Store::open(&dir).unwrap_err();
    let StoreError::Locked { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(*holder, Some(std::process::id()));
    assert!(error.to_string().contains(&format!("by process {}", std::process::id())), "{error}");
    drop(store);
    assert_eq!(open(&dir).1, Opened::Existing);
}

/// A store with 300 synced entries, closed.
fn filled(dir: &Path) {
    let (store, _) = open(dir);
    let tree = store.tree("a").unwrap();
    for number in 0..300u32 {
        tree.insert(&number.to_be_bytes(), &[0x5A; 200]).unwrap();
    }
    store.sync().unwrap();
}

/// Copies a closed store with the number of its last sync.
fn copy(from: &Path, to: &Path) {
    fs::copy(super::beside(from, ".synced"), super::beside(to, ".synced")).unwrap();
    fs::create_dir_all(to.join("blobs")).unwrap();
    for name in ["db", "conf"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// Opens what may be damaged: whatever is found, nothing panics and what comes back is usable.
fn usable(dir: &Path) -> Opened {
    let (store, opened) = open(dir);
    let tree = store.tree("a").unwrap();
    if opened == Opened::Existing {
        assert_eq!(tree.len(), 300, "what was synced is lost in silence");
    }
    tree.insert(b"again", b"works").unwrap();
    store.sync().unwrap();
    assert_eq!(tree.get(b"again").unwrap(), Some(b"works".to_vec()));
    opened
}

#[test]
fn flipped_bytes_never_panic_and_what_cannot_be_read_is_set_aside() {
    let folder = TempDir::new().unwrap();
    let sound = folder.path().join("sound");
    filled(&sound);
    let length = usize::try_from(fs::metadata(sound.join("db")).unwrap().len()).unwrap();
    // Where the log is: its head, then the first 100 KiB, which hold the entries.
    let places = (0..32).chain((32..100_000).step_by(9_001)).filter(|at| *at < length);
    let (mut aside, mut kept) = (0, 0);
    for (number, at) in places.enumerate() {
        let dir = folder.path().join(format!("d{number}"));
        copy(&sound, &dir);
        let mut bytes = fs::read(dir.join("db")).unwrap();
        for byte in &mut bytes[at..(at + 40).min(length)] {
            *byte ^= 0xFF;
        }
        fs::write(dir.join("db"), bytes).unwrap();
        match usable(&dir) {
            Opened::SetAside(path) => {
                assert!(path.join("db").exists());
                aside += 1;
            }
            _ => kept += 1,
        }
        fs::remove_dir_all(&dir).unwrap();
    }
    println!("{aside} set aside, {kept} opened");
    assert!(aside > 30, "{aside} set aside, {kept} opened with all their entries");
}

#[test]
fn settings_and_log_that_are_rubbish_or_cut_never_panic() {
    let folder = TempDir::new().unwrap();
    let sound = folder.path().join("sound");
    filled(&sound);
    for (number, (name, bytes)) in
        [("conf", &b"rubbish rubbish"[..]), ("conf", b""), ("db", b""), ("db", &[0xFF; 9000]), ("db", b"x")]
            .into_iter()
            .enumerate()
    {
        let dir = folder.path().join(format!("d{number}"));
        copy(&sound, &dir);
        fs::write(dir.join(name), bytes).unwrap();
        let opened = usable(&dir);
        println!("{name} of {} bytes: {opened:?}", bytes.len());
        assert!(name == "conf" || matches!(opened, Opened::SetAside(_)), "{name}: {opened:?}");
    }
}

#[test]
fn an_opening_that_never_comes_back_sets_the_store_aside_at_the_third_time() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("s");
    filled(&dir);
    fs::write(super::beside(&dir, ".opening"), [STORE_OPENINGS_MAX - 1]).unwrap();
    assert_eq!(open(&dir).1, Opened::Existing);
    fs::write(super::beside(&dir, ".opening"), [STORE_OPENINGS_MAX]).unwrap();
    assert_eq!(open(&dir).1, Opened::SetAside(folder.path().join("s.corrupt-1")));
    assert_eq!(open(&dir).1, Opened::Existing);
}

#[test]
fn damaged_stores_that_are_kept_are_bounded() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("s");
    for number in 1..=4 {
        filled(&dir);
        fs::write(super::beside(&dir, ".opening"), [STORE_OPENINGS_MAX]).unwrap();
        assert_eq!(open(&dir).1, Opened::SetAside(folder.path().join(format!("s.corrupt-{number}"))));
    }
    let left: Vec<bool> = (1..=4).map(|n| folder.path().join(format!("s.corrupt-{n}")).exists()).collect();
    assert_eq!(left, [false, false, true, true]);
}

/// Not a test of its own: what the killed process does, when the test below starts it.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let (store, _) = open(&dir);
    let tree = store.tree("a").unwrap();
    let next = tree.iter().last().map_or(0, |entry| number(&entry.unwrap().0) + 1);
    for number in next.. {
        tree.insert(&number.to_be_bytes(), &[0x5A; 700]).unwrap();
        if number % 7 == 0 {
            store.sync().unwrap();
            println!("synced {number}");
            std::io::stdout().flush().unwrap();
        }
    }
}

fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().unwrap())
}

#[test]
fn what_was_synced_survives_a_kill_in_mid_write() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("s");
    let mut synced = 0;
    for life in 0..8u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said =
            lines.map(Result::unwrap).filter_map(|line| line.strip_prefix("synced ")?.parse::<u64>().ok());
        // Another moment in each life: the kill falls between syncs.
        for said in said.take(usize::try_from(3 + life * 5).unwrap()) {
            synced = said;
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let (store, opened) = open(&dir);
        assert_eq!(opened, Opened::Existing);
        let there: Vec<u64> =
            store.tree("a").unwrap().iter().map(|entry| number(&entry.unwrap().0)).collect();
        assert!(there.len() as u64 > synced, "{} of {synced}", there.len());
        assert!(there.iter().zip(0..).all(|(key, expected)| *key == expected), "no gap");
    }
    assert!(synced > 100, "{synced}");
}
