//! The log before a table: what survives what.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A table in memory that forgets at a power cut what was not synced, and fails when it is told to.
#[derive(Debug, Clone, Default)]
struct Memory {
    now: Arc<Mutex<Map>>,
    synced: Arc<Mutex<Map>>,
    fails: Arc<AtomicBool>,
    /// Syncs fail, and what was not synced stays in memory.
    cannot_sync: Arc<AtomicBool>,
    syncs: Arc<Mutex<u32>>,
}

impl Memory {
    fn power_cut(&self) {
        self.now.lock().unwrap().clone_from(&self.synced.lock().unwrap());
    }

    /// What was not synced has come to the disk all the same.
    fn power_cut_after_writing(&self) {
        self.synced.lock().unwrap().clone_from(&self.now.lock().unwrap());
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.fails.load(Ordering::Relaxed) {
            // As a store that is opened again afterwards.
            self.power_cut();
            return Err(failure());
        }
        Ok(())
    }
}

fn failure() -> StoreError {
    StoreError::Io { dir: "memory".into(), what: "told to".to_owned() }
}

impl Table for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check()?;
        Ok(self.now.lock().unwrap().get(key).cloned())
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.check()?;
        for (key, value) in batch.writes() {
            let mut now = self.now.lock().unwrap();
            match value {
                Some(value) => drop(now.insert(key.to_vec(), value.to_vec())),
                None => drop(now.remove(key)),
            }
        }
        Ok(())
    }

    fn range(&self, from: &[u8], to: &[u8]) -> Entries<'_> {
        let found: Vec<_> =
            self.now.lock().unwrap().range(from.to_vec()..to.to_vec()).map(own).map(Ok).collect();
        Box::new(found.into_iter())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.check()?;
        if self.cannot_sync.load(Ordering::Relaxed) {
            return Err(failure());
        }
        *self.syncs.lock().unwrap() += 1;
        self.synced.lock().unwrap().clone_from(&self.now.lock().unwrap());
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

fn own((key, value): (&Vec<u8>, &Vec<u8>)) -> Entry {
    (key.clone(), value.clone())
}

struct Scene {
    folder: tempfile::TempDir,
    table: Memory,
}

impl Scene {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), table: Memory::default() }
    }

    fn open(&self) -> Logged {
        let place = Place::system(self.folder.path().to_owned());
        Logged::open(Box::new(self.table.clone()), &place, "test.wal").unwrap()
    }

    /// The table forgets what it had not synced.
    fn after_a_power_cut(&self) -> Logged {
        self.table.power_cut();
        self.open()
    }

    fn log(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("test.wal")
    }

    fn syncs(&self) -> u32 {
        *self.table.syncs.lock().unwrap()
    }
}

fn put(logged: &Logged, key: &str, value: &str) {
    logged.commit(&one(key, value)).unwrap();
}

fn one(key: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.insert(key.as_bytes(), value.as_bytes());
    batch
}

fn get(logged: &Logged, key: &str) -> Option<String> {
    logged.get(key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap())
}

#[test]
fn what_was_committed_survives_a_power_cut_that_the_table_does_not() {
    let scene = Scene::new();
    let logged = scene.open();
    put(&logged, "a", "1");
    put(&logged, "b", "2");
    let mut batch = one("a", "3");
    batch.remove(b"b");
    logged.commit(&batch).unwrap();
    assert_eq!(scene.syncs(), 1, "only when it was begun");
    for _ in 0..3 {
        let logged = scene.after_a_power_cut();
        assert_eq!((get(&logged, "a"), get(&logged, "b")), (Some("3".to_owned()), None));
        assert!(!logged.damaged());
    }
    put(&scene.after_a_power_cut(), "c", "4");
    let logged = scene.after_a_power_cut();
    let found: Vec<Entry> = logged.range(b"a", b"v").map(Result::unwrap).collect();
    assert_eq!(found, [(b"a".to_vec(), b"3".to_vec()), (b"c".to_vec(), b"4".to_vec())]);
}

#[test]
fn the_log_goes_round_and_what_an_earlier_round_left_counts_nothing() {
    let scene = Scene::new();
    let mut logged = scene.open();
    for number in 0..1000 {
        put(&logged, &format!("k{}", number % 7), &format!("{number:>90}"));
        if number % 13 == 0 {
            logged = scene.after_a_power_cut();
        }
        for back in 0..number.min(6) {
            let last = number - back;
            assert_eq!(get(&logged, &format!("k{}", last % 7)).unwrap().trim(), last.to_string());
        }
    }
    assert!((2..=4).contains(&scene.syncs()), "{} syncs of the table", scene.syncs());
    assert_eq!(fs::metadata(scene.log()).unwrap().len(), WAL_BYTES);
}

#[test]
fn a_change_too_large_for_the_log_is_synced_in_the_table() {
    let scene = Scene::new();
    let logged = scene.open();
    put(&logged, "small", "1");
    let mut large = Batch::default();
    let value = [7; STORE_VALUE_BYTES_MAX];
    (0..9u8).for_each(|key| large.insert(&[key], &value));
    logged.commit(&large).unwrap();
    put(&logged, "small", "2");
    let logged = scene.after_a_power_cut();
    assert_eq!(logged.get(&[8]).unwrap().unwrap(), value);
    assert_eq!(get(&logged, "small").unwrap(), "2");
    large.insert(b"larger", &[0; STORE_VALUE_BYTES_MAX + 1]);
    assert!(matches!(logged.commit(&large), Err(StoreError::Large { .. })));
}

#[test]
fn a_torn_end_is_no_record_and_damage_before_the_end_is_said() {
    let scene = Scene::new();
    let logged = scene.open();
    let ends: Vec<u64> = (0..4)
        .map(|number| {
            put(&logged, "k", &number.to_string());
            logged.state().offset
        })
        .collect();
    let whole = fs::read(scene.log()).unwrap();
    let open_with = |at: u64| {
        let mut bytes = whole.clone();
        bytes[usize::try_from(at).unwrap()] ^= 1;
        fs::write(scene.log(), bytes).unwrap();
        scene.after_a_power_cut()
    };
    for at in ends[2]..ends[3] {
        let logged = open_with(at);
        assert_eq!((get(&logged, "k").unwrap(), logged.damaged()), ("2".to_owned(), false), "byte {at}");
    }
    for at in ends[1]..ends[2] {
        let logged = open_with(at);
        assert_eq!((get(&logged, "k").unwrap(), logged.damaged()), ("3".to_owned(), true), "byte {at}");
    }
    fs::write(scene.log(), &whole[..100]).unwrap();
    let logged = scene.after_a_power_cut();
    assert_eq!((get(&logged, "k"), logged.damaged()), (None, true), "its log is gone");
    put(&logged, "k", "9");
    assert_eq!(get(&scene.after_a_power_cut(), "k").unwrap(), "9");
}

#[test]
fn the_log_of_another_table_counts_nothing() {
    let scene = Scene::new();
    put(&scene.open(), "k", "1");
    let other = Scene { folder: scene.folder, table: Memory::default() };
    let logged = other.open();
    assert_eq!((get(&logged, "k"), logged.damaged()), (None, false));
    put(&logged, "k", "2");
    assert_eq!(get(&other.after_a_power_cut(), "k").unwrap(), "2");
}

#[test]
fn a_table_that_fails_is_not_asked_until_the_log_is_full() {
    let scene = Scene::new();
    let logged = scene.open();
    scene.table.fails.store(true, Ordering::Relaxed);
    put(&logged, "a", "1");
    let many: Vec<_> = (0..800).map(|_| logged.commit(&one("b", &"x".repeat(60)))).collect();
    assert!(many[0].is_ok() && many[799].is_err());
    assert_eq!(get(&logged, "b").unwrap(), "x".repeat(60));
    assert!(logged.get(b"c").is_err());
    scene.table.fails.store(false, Ordering::Relaxed);
    put(&logged, "c", "3");
    let logged = scene.after_a_power_cut();
    assert_eq!((get(&logged, "a").unwrap(), get(&logged, "c").unwrap()), ("1".to_owned(), "3".to_owned()));
}

/// A change of several keys that the table takes and cannot sync.
fn fail(scene: &Scene, logged: &Logged, first: u8) {
    let mut batch = Batch::default();
    for key in first..first + 3 {
        if key % 2 == 0 { batch.insert(&[key], b"!") } else { batch.remove(&[key]) }
    }
    scene.table.cannot_sync.store(true, Ordering::Relaxed);
    assert!(logged.fold(&mut logged.state(), &batch).is_err());
    scene.table.cannot_sync.store(false, Ordering::Relaxed);
}

fn all(logged: &Logged) -> Vec<Entry> {
    logged.range(b"a", b"q").map(Result::unwrap).collect()
}

proptest::proptest! {
    /// Against a map that is written at once. What failed is not seen, neither then nor after the next change, though the
    /// table has it and may keep it.
    #[test]
    fn what_is_read_is_what_was_written(
        steps in proptest::collection::vec((0u8..12, proptest::option::of(0u8..9), 0u8..36), 1..40),
    ) {
        let scene = Scene::new();
        let (mut logged, mut model) = (scene.open(), Map::new());
        for (key, value, act) in steps {
            if act >= 24 {
                fail(&scene, &logged, b'a' + key);
                proptest::prop_assert_eq!(all(&logged), model.iter().map(own).collect::<Vec<_>>());
            }
            let (key, mut batch) = (vec![b'a' + key], Batch::default());
            match value {
                Some(value) => {
                    batch.insert(&key, &[value]);
                    model.insert(key, vec![value]);
                }
                None => {
                    batch.remove(&key);
                    model.remove(&key);
                }
            }
            logged.commit(&batch).unwrap();
            match act {
                0 => logged.fold(&mut logged.state(), &Batch::default()).unwrap(),
                1 | 24 => logged = scene.after_a_power_cut(),
                2 | 25 => {
                    scene.table.power_cut_after_writing();
                    logged = scene.open();
                }
                _ => {}
            }
            proptest::prop_assert_eq!(all(&logged), model.iter().map(own).collect::<Vec<_>>());
            let part: Vec<Entry> = logged.range(b"b", b"j").map(Result::unwrap).collect();
            let expected: Vec<Entry> = model.range(vec![b'b']..vec![b'j']).map(own).collect();
            proptest::prop_assert_eq!(part, expected);
        }
    }
}

#[test]
fn a_log_that_cannot_be_read_is_not_passed_over() {
    let scene = Scene::new();
    put(&scene.open(), "k", "1");
    let elsewhere = scene.folder.path().join("elsewhere");
    fs::rename(scene.log(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(scene.log(), scene.log()).unwrap();
    scene.table.power_cut();
    let place = Place::system(scene.folder.path().to_owned());
    let opened = Logged::open(Box::new(scene.table.clone()), &place, "test.wal");
    assert!(opened.unwrap_err().to_string().contains("test.wal"));
    fs::remove_file(scene.log()).unwrap();
    fs::rename(elsewhere, scene.log()).unwrap();
    assert_eq!(get(&scene.open(), "k").unwrap(), "1");
}

#[test]
fn without_a_log_each_change_is_synced_in_the_table() {
    let scene = Scene::new();
    fs::create_dir(scene.log()).unwrap();
    let logged = scene.open();
    for value in ["1", "2"] {
        put(&logged, "k", value);
        scene.table.power_cut();
        assert_eq!(get(&logged, "k").unwrap(), value);
    }
    fs::remove_dir(scene.log()).unwrap();
    let logged = scene.after_a_power_cut();
    assert_eq!((get(&logged, "k").unwrap(), logged.damaged()), ("2".to_owned(), false));
    put(&logged, "k", "3");
    assert_eq!(get(&scene.after_a_power_cut(), "k").unwrap(), "3");
}
