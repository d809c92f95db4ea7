//! Real files in a real folder.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use nix::sys::stat::Mode;
use std::fs;
use std::io::Write as _;

const WHOLE: &[u8] = br#"{"payloadType":"application/vnd.glovebox.policy+json","payload":"e30=","signatures":[{"keyid":"","sig":"AAAA"}]}"#;

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
    folder: Folder,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.d");
        fs::create_dir(&path).unwrap();
        Self { _folder: folder, folder: Folder::new(path.clone()), path }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path.join(name), bytes).unwrap();
    }

    /// Names of what was read, and faults.
    fn look(&mut self) -> Vec<String> {
        let said = |found: Found| match found {
            Found::Document { path, bytes } => format!("{} {}", name(&path), bytes.len()),
            Found::Fault { path, why } => format!("{}: {why}", name(&path)),
        };
        self.folder.look().into_iter().map(said).collect()
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn what_is_dropped_is_read_once_and_again_when_it_changed() {
    let mut place = Place::new();
    place.put("b", WHOLE);
    place.put("a", WHOLE);
    let size = WHOLE.len();
    assert_eq!(place.look(), [format!("a {size}"), format!("b {size}")], "what was there at start, in order");
    assert!(place.look().is_empty());
    place.put("c", b"no document");
    fs::write(place.path.join(".c"), WHOLE).unwrap();
    assert_eq!(place.look(), ["c 11"], "closed, so it is whole, whatever it is");
    fs::rename(place.path.join(".c"), place.path.join("d")).unwrap();
    place.put("a", b"another");
    place.folder.wait(Duration::from_secs(10));
    assert_eq!(place.look(), [format!("d {size}"), "a 7".to_owned()]);
    fs::remove_file(place.path.join("a")).unwrap();
    assert!(place.look().is_empty());
}

#[test]
fn half_a_file_is_not_taken() {
    let mut place = Place::new();
    let mut writer = File::create(place.path.join("early")).unwrap();
    writer.write_all(&WHOLE[..40]).unwrap();
    assert!(place.look().is_empty(), "there at start, and half");
    let mut later = File::create(place.path.join("later")).unwrap();
    later.write_all(&WHOLE[..40]).unwrap();
    assert!(place.look().is_empty(), "not closed");
    writer.write_all(&WHOLE[40..]).unwrap();
    later.write_all(&WHOLE[40..]).unwrap();
    drop(later);
    let size = WHOLE.len();
    let mut read = place.look();
    read.sort();
    assert_eq!(read, [format!("early {size}"), format!("later {size}")]);
    drop(writer);
    assert!(place.look().is_empty(), "read already");
    // A file that nobody writes on, and that is half for good, is said once.
    let mut half = Place::new();
    half.put("half", &WHOLE[..40]);
    assert!(half.look().is_empty());
    std::thread::sleep(Duration::from_millis(DROPPED_SETTLED_MS + 50));
    assert_eq!(half.look(), ["half 40"]);
    assert!(half.look().is_empty());
}

#[test]
fn links_pipes_folders_and_large_files_are_not_read_and_said_once() {
    let mut place = Place::new();
    let secret = place.path.join("../secret");
    fs::write(&secret, WHOLE).unwrap();
    std::os::unix::fs::symlink(&secret, place.path.join("link")).unwrap();
    nix::unistd::mkfifo(&place.path.join("pipe"), Mode::S_IRWXU).unwrap();
    fs::create_dir(place.path.join("sub")).unwrap();
    File::create(place.path.join("large")).unwrap().set_len(DROPPED_BYTES_MAX as u64 + 1).unwrap();
    let said = place.look();
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(said[0].starts_with("large: has ") && said[0].contains("at most"), "{said:?}");
    assert!(
        said[1..].iter().all(|line| line.ends_with("is no plain file: put the file itself there")),
        "{said:?}"
    );
    assert!(place.look().is_empty());
    std::os::unix::fs::symlink(&secret, place.path.join(".new")).unwrap();
    fs::rename(place.path.join(".new"), place.path.join("moved")).unwrap();
    assert_eq!(place.look(), ["moved: is no plain file: put the file itself there"]);
}

#[test]
fn a_folder_that_vanishes_and_returns_is_taken_up_again() {
    let mut place = Place::new();
    assert!(place.look().is_empty());
    let away = place.path.with_extension("away");
    fs::rename(&place.path, &away).unwrap();
    let said = [place.look(), place.look(), place.look()].concat();
    assert!(said.len() == 1 && said[0].starts_with("policy.d: cannot be read"), "{said:?}");
    fs::create_dir(&place.path).unwrap();
    place.put("a", WHOLE);
    assert_eq!(place.look(), [format!("a {}", WHOLE.len())]);
    place.put("b", WHOLE);
    assert_eq!(place.look(), [format!("b {}", WHOLE.len())], "watched again");
    fs::remove_dir_all(&place.path).unwrap();
    let said = [place.look(), place.look(), place.look()].concat();
    assert_eq!(said.len(), 1, "said again, since it was there meanwhile: {said:?}");
}

#[test]
fn after_an_overflow_nothing_is_missed() {
    let most: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let mut place = Place::new();
    assert!(place.look().is_empty());
    // Two files in turn, since an event that repeats the one before is left out.
    place.put("one", b"1");
    place.put("two", b"2");
    for _ in 0..=most / 2 {
        for name in ["one", "two"] {
            drop(OpenOptions::new().append(true).open(place.path.join(name)).unwrap());
        }
    }
    place.put("late", WHOLE);
    let mut read = place.look();
    for _ in 0..most {
        if read.iter().any(|line| line.starts_with("late")) {
            return;
        }
        read = place.look();
    }
    unreachable!("what came after the overflow was never read");
}

#[test]
fn invariant_9_a_folder_of_very_many_files_is_bounded() {
    let mut place = Place::new();
    for number in 0..DROPPED_FILES_MAX + 5 {
        place.put(&format!("{number:05}"), b"");
    }
    std::thread::sleep(Duration::from_millis(50));
    let said = place.look();
    assert!(said.iter().any(|line| line.contains("remove old ones")), "{said:?}");
    assert!(place.folder.files.len() <= DROPPED_FILES_MAX);
}
