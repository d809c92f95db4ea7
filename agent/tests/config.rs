//! Replays the corpus of configurations: each bad one gives exactly the faults written beside it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use glovebox::bus::replay::Speed;
use glovebox::config::{Config, Files};

const CORPUS: &str = "tests/corpus/config";

fn corpus(name: &str) -> PathBuf {
    Path::new(CORPUS).join(name)
}

fn bad_ones() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(CORPUS).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter(|path| path.file_stem().is_some_and(|stem| stem != "good"))
        .collect();
    files.sort();
    files
}

fn faults_of(file: &Path) -> String {
    let alone = std::fs::read(file).unwrap().starts_with(b"# alone");
    let files = if alone { vec![file.to_owned()] } else { vec![corpus("good.toml"), file.to_owned()] };
    match Config::load(&files, Files::MustExist) {
        Ok(_) => panic!("{} was accepted", file.display()),
        Err(faults) => format!("{faults}\n").replace(&format!("{CORPUS}/"), ""),
    }
}

/// `GLOVEBOX_BLESS=1` writes what is told now beside the files, to be read before it is committed.
#[test]
fn each_bad_configuration_tells_its_faults() {
    let bless = std::env::var_os("GLOVEBOX_BLESS").is_some();
    let files = bad_ones();
    assert!(files.len() >= 25, "the corpus has shrunk to {}", files.len());
    for file in files {
        let told = faults_of(&file);
        let beside = file.with_extension("expected");
        if bless {
            std::fs::write(&beside, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(told, expected, "{}", file.display());
    }
}

#[test]
fn no_fault_shows_a_secret() {
    for file in ["key-inside.toml", "broker-url.toml"] {
        let told = faults_of(&corpus(file));
        assert!(!told.contains("bm90") && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_good_configuration_is_taken_whole() {
    let config = Config::load(&[corpus("good.toml")], Files::MustExist).unwrap();
    assert_eq!(config.bus.replay, Some(corpus("named/drive.log")));
    assert_eq!(config.bus.speed, Speed::Factor(2.5));
    let buses: Vec<_> = config.bus.interface.iter().map(|i| (i.name.as_str(), &*i.interface)).collect();
    assert_eq!(buses, [("can0", "can0"), ("body", "vcan1")]);
    let database = &config.decode.databases[0];
    assert_eq!((database.index.0, database.bus.as_str()), (1, "body"));
    assert_eq!(database.dbc, [corpus("named/car.dbc")]);
    assert_eq!(database.map, Some(corpus("named/map.json")));
    assert_eq!((database.strict, database.j1939), (true, false));
    assert_eq!((config.consent.device.as_str(), config.consent.groups.len()), ("car-1", 2));
    assert_eq!((config.batch.age, config.batch.size_bytes), (Duration::from_secs(5), 64 * 1024));
    let outbox = &config.outbox;
    let sizes = [outbox.size_bytes, outbox.flow_size_bytes, outbox.free_bytes].map(|bytes| bytes >> 20);
    assert_eq!((sizes, outbox.gather), ([16, 8, 0], Duration::from_secs(30)));
    assert_eq!((config.uplink.broker.host(), config.uplink.broker.port()), ("::1", 8883));
    assert_eq!(config.uplink.keep_alive_s, 60);
    assert_eq!(config.health.state, corpus("state"));
}

#[test]
fn a_later_file_wins_key_by_key_and_lists_of_tables_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let above = folder.path().join("above.toml");
    let text = "[batch]\nage_s = 7\n[uplink]\nbroker = \"b:1\"\n[consent]\ngroups = []\n\
                [[bus.interface]]\nname = \"adas\"\ninterface = \"can7\"\n[health]\nstate = \"here\"\n";
    std::fs::write(&above, text).unwrap();
    let config = Config::load(&[corpus("good.toml"), above], Files::MustExist).unwrap();
    assert_eq!((config.batch.age, config.batch.size_bytes), (Duration::from_secs(7), 64 * 1024));
    assert_eq!((config.uplink.broker.host(), config.uplink.broker.port()), ("b", 1));
    assert_eq!(config.uplink.ca, corpus("named/ca.crt"));
    assert!(config.consent.groups.is_empty());
    assert_eq!(config.bus.interface.len(), 3);
    assert_eq!(config.health.state, folder.path().join("here"));
}

#[test]
fn named_files_need_not_be_there_for_a_command_that_does_not_read_them() {
    let files = [corpus("good.toml"), corpus("files-not-there.toml")];
    let told = Config::load(&files, Files::NotNeeded).unwrap_err().to_string();
    assert!(!told.contains("cannot be read"), "{told}");
}

#[test]
fn a_file_that_is_not_there_or_too_large_is_told() {
    let told = Config::load(&[corpus("nowhere.toml")], Files::NotNeeded).unwrap_err().to_string();
    assert!(
        told.starts_with("tests/corpus/config/nowhere.toml: the configuration cannot be read: "),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.toml");
    std::fs::write(&large, "#".repeat(300 * 1024)).unwrap();
    let told = Config::load(&[large], Files::NotNeeded).unwrap_err().to_string();
    assert!(told.contains("the configuration has 307200 bytes, at most 262144 are read"), "{told}");
}

#[test]
fn the_example_is_a_configuration_and_names_every_key() {
    let example = Path::new("../systemd/glovebox.toml");
    let config = Config::load(&[example.to_owned()], Files::NotNeeded).unwrap();
    assert_eq!(config.health.state, Path::new("/var/lib/glovebox"));
    let text = std::fs::read_to_string(example).unwrap();
    for key in glovebox::config::keys() {
        let named = text.lines().any(|line| line.trim_start_matches(['#', ' ']).starts_with(&key));
        assert!(named, "the example does not show `{key}`");
    }
}

proptest::proptest! {
    /// Whatever is done to a file: it is taken, or at least one fault is told, and nothing panics.
    #[test]
    fn a_damaged_configuration_is_taken_or_told(cut in 0..700_usize, length in 0..40_usize, put in "[\\PC\n]{0,12}") {
        let mut text: Vec<char> = std::fs::read_to_string(corpus("good.toml")).unwrap().chars().collect();
        let start = cut.min(text.len());
        text.splice(start..(start + length).min(text.len()), put.chars());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("damaged.toml");
        std::fs::write(&file, text.into_iter().collect::<String>()).unwrap();
        if let Err(faults) = Config::load(&[file], Files::NotNeeded) {
            proptest::prop_assert!(faults.iter().count() > 0);
        }
    }
}
