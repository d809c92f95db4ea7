//! The PIN's key: opened by its PIN alone, tries counted before they are made, and never for the asking.

use super::attempts::{Attempts, Uptime};
use super::{BYTES, Cost, HEAD, Pin, PinError, PinRule, Sealed};
use crate::key_store::{KeyError, KeyStore};
use crate::store::files;
use ed25519_dalek::SigningKey;
use glovebox_core::limits::{PIN_FREE_TRIES, PIN_KIB_MIN, PIN_PASSES_MIN, PIN_TRIES_MAX, PIN_WAIT_MS_MAX};
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;
use zeroize::Zeroizing;

/// The least that a file may say: the tests are many.
const COST: Cost = Cost { kib: PIN_KIB_MIN, passes: PIN_PASSES_MIN, lanes: 1 };
const GOOD: &str = "274915";

fn pin(text: &str) -> Pin {
    Pin::entered(Zeroizing::new(text.as_bytes().to_vec()))
}

fn at(s: u64) -> Uptime {
    Uptime { ms: s * 1_000, boot: [1; 16] }
}

fn store() -> (TempDir, KeyStore) {
    let folder = TempDir::new().unwrap();
    let store = KeyStore::open(&folder.path().join("keys")).unwrap();
    (folder, store)
}

#[track_caller]
fn refused(outcome: Result<SigningKey, KeyError>) -> PinError {
    match outcome {
        Err(KeyError::Pin(error)) => error,
        other => unreachable!("{other:?}"),
    }
}

fn is_open(outcome: Result<SigningKey, KeyError>, public: glovebox_core::names::VerifyingKey) -> bool {
    outcome.is_ok_and(|key| key.verifying_key().to_bytes() == public.0)
}

#[test]
fn the_right_pin_opens_the_key_and_no_other_does() {
    let (folder, store) = store();
    assert_eq!(store.pin_key().unwrap(), None);
    assert_eq!(refused(store.unlock(&pin(GOOD), &at(0))), PinError::None);
    let public = store.set_pin(&pin(GOOD), COST).unwrap();
    assert_eq!(store.pin_key().unwrap(), Some(public));
    assert!(is_open(store.unlock(&pin(GOOD), &at(0)), public));
    assert!(matches!(refused(store.unlock(&pin("274916"), &at(0))), PinError::Wrong { wait_s: 0, .. }));
    assert!(is_open(store.unlock(&pin(GOOD), &at(0)), public));
    // Another file each time, for nobody else, without the key in it.
    let file = folder.path().join("keys/pin");
    let first = std::fs::read(&file).unwrap();
    assert_eq!((first.len(), std::fs::metadata(&file).unwrap().permissions().mode() & 0o777), (BYTES, 0o600));
    let secret = store.unlock(&pin(GOOD), &at(0)).unwrap().to_bytes();
    assert!(!first.windows(8).any(|window| secret.windows(8).any(|part| part == window)));
    store.set_pin(&pin(GOOD), COST).unwrap();
    assert_ne!(std::fs::read(&file).unwrap()[20..36], first[20..36], "a salt of its own");
    store.forget_pin().unwrap();
    store.forget_pin().unwrap();
    assert!(store.pin_key().unwrap().is_none() && !file.exists());
}

#[test]
fn a_changed_pin_opens_the_same_key() {
    let (_folder, store) = store();
    let public = store.set_pin(&pin(GOOD), COST).unwrap();
    let wrong = store.change_pin(&pin("999999"), &pin("538246"), &at(0));
    assert!(matches!(wrong, Err(KeyError::Pin(PinError::Wrong { .. }))), "{wrong:?}");
    let trivial = store.change_pin(&pin(GOOD), &pin("123456"), &at(0));
    assert!(matches!(trivial, Err(KeyError::Pin(PinError::Rule(PinRule::Trivial)))), "{trivial:?}");
    assert_eq!(store.change_pin(&pin(GOOD), &pin("538246"), &at(0)).unwrap(), public);
    assert!(matches!(refused(store.unlock(&pin(GOOD), &at(0))), PinError::Wrong { .. }));
    assert!(is_open(store.unlock(&pin("538246"), &at(0)), public));
}

#[test]
fn wrong_pins_wait_longer_and_longer_and_end() {
    let (_folder, store) = store();
    let public = store.set_pin(&pin(GOOD), COST).unwrap();
    let mut s = 0;
    for (tries, wait) in [(1, 0), (2, 0), (3, 30), (4, 60), (5, 120)] {
        let left = PIN_TRIES_MAX - tries;
        assert_eq!(refused(store.unlock(&pin("000000"), &at(s))), PinError::Wrong { wait_s: wait, left });
        s += wait;
        if wait > 0 {
            // Not even the right one, one second too early; and that is no try.
            assert_eq!(refused(store.unlock(&pin(GOOD), &at(s - 1))), PinError::Wait { wait_s: 1 });
        }
    }
    assert!(is_open(store.unlock(&pin(GOOD), &at(s)), public));
    assert!(
        matches!(refused(store.unlock(&pin("000000"), &at(s))), PinError::Wrong { wait_s: 0, .. }),
        "from the first"
    );
}

#[test]
fn the_last_try_blocks_for_good() {
    let (folder, store) = store();
    store.set_pin(&pin(GOOD), COST).unwrap();
    let mut attempts = Attempts::default();
    for n in 1..=PIN_TRIES_MAX {
        attempts = attempts.after(&at(u64::from(n) * 10_000)).unwrap();
    }
    assert_eq!(attempts.wrong(), PinError::Blocked);
    assert_eq!(attempts.after(&at(u64::MAX / 2_000)), Err(PinError::Blocked));
    attempts.write(&folder.path().join("keys")).unwrap();
    assert_eq!(refused(store.unlock(&pin(GOOD), &at(u64::MAX / 2_000))), PinError::Blocked);
}

/// Between count and trial the process may die: what counts is what is on the disk by then.
#[test]
fn a_try_is_on_the_disk_before_it_is_made() {
    let (folder, store) = store();
    let public = store.set_pin(&pin(GOOD), COST).unwrap();
    let keys = folder.path().join("keys");
    let before = std::fs::read(Attempts::path(&keys)).unwrap();
    // Nothing can be counted: the count's new file cannot be made. So nothing is tried, right or wrong.
    std::fs::create_dir(keys.join("pin.attempts.new")).unwrap();
    for text in [GOOD, "000000"] {
        assert!(matches!(store.unlock(&pin(text), &at(0)), Err(KeyError::File(_))), "{text}");
    }
    std::fs::remove_dir(keys.join("pin.attempts.new")).unwrap();
    assert_eq!(std::fs::read(Attempts::path(&keys)).unwrap(), before);
    // The state that a kill in the middle of three trials leaves.
    let mut killed = Attempts::default();
    for _ in 0..PIN_FREE_TRIES {
        killed = killed.after(&at(5)).unwrap();
    }
    killed.write(&keys).unwrap();
    assert_eq!(refused(store.unlock(&pin(GOOD), &at(6))), PinError::Wait { wait_s: 29 });
    assert!(is_open(store.unlock(&pin(GOOD), &at(35)), public));
}

#[test]
fn neither_a_restart_nor_a_clock_shortens_the_wait() {
    let (folder, store) = store();
    let public = store.set_pin(&pin(GOOD), COST).unwrap();
    for _ in 0..PIN_FREE_TRIES {
        refused(store.unlock(&pin("000000"), &at(1_000)));
    }
    let restarted = |s: u64| Uptime { ms: s * 1_000, boot: [9; 16] };
    assert_eq!(refused(store.unlock(&pin(GOOD), &restarted(0))), PinError::Wait { wait_s: 30 });
    assert_eq!(refused(store.unlock(&pin(GOOD), &restarted(29))), PinError::Wait { wait_s: 1 });
    // Nor a machine that does not tell which start it is.
    assert_eq!(
        refused(store.unlock(&pin(GOOD), &Uptime { ms: 1, boot: [0; 16] })),
        PinError::Wait { wait_s: 30 }
    );
    assert_eq!(refused(store.unlock(&pin(GOOD), &at(10))), PinError::Wait { wait_s: 20 });
    assert!(is_open(store.unlock(&pin(GOOD), &restarted(30)), public));
    // A count that is gone or damaged leaves one try, after the longest wait.
    let path = Attempts::path(&folder.path().join("keys"));
    for damage in [None, Some(b"".to_vec()), Some(vec![0; 48]), Some(vec![1; 5_000])] {
        match damage {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => files::write_atomically(&path, &bytes).unwrap(),
        }
        let wait_s = PIN_WAIT_MS_MAX / 1_000;
        assert_eq!(refused(store.unlock(&pin(GOOD), &at(0))), PinError::Wait { wait_s });
    }
    assert_eq!(refused(store.unlock(&pin("000000"), &at(100_000))), PinError::Blocked);
}

#[test]
fn a_file_that_is_not_what_was_written_is_refused() {
    let (folder, store) = store();
    store.set_pin(&pin(GOOD), COST).unwrap();
    let file = folder.path().join("keys/pin");
    let good = std::fs::read(&file).unwrap();
    for at in [0, 7, 11, 15, 19, 20, HEAD - 1, HEAD, BYTES - 17, BYTES - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&file, bad).unwrap();
        assert!(matches!(store.pin_key(), Err(KeyError::Pin(PinError::Damaged { .. }))), "{at}");
    }
    for length in [0, HEAD, BYTES - 1, BYTES + 1] {
        let mut bad = good.clone();
        bad.resize(length, 0);
        assert!(Sealed::parse(&bad).is_none(), "{length}");
    }
    std::fs::write(&file, good).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(store.pin_key(), Err(KeyError::File(_))), "open to others");
}

#[test]
fn a_file_cannot_ask_for_cheap_or_endless_work() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let sealed = |cost| Sealed::parse(&Sealed::seal(&key, &pin(GOOD), cost).unwrap()).is_some();
    assert!(sealed(COST));
    assert!(!sealed(Cost { kib: PIN_KIB_MIN - 1, ..COST }));
    assert!(!sealed(Cost { passes: PIN_PASSES_MIN - 1, ..COST }));
    assert!(!sealed(Cost { lanes: 17, ..COST }));
    assert!(
        Cost::CAR.is_sane()
            && !Cost { kib: u32::MAX, ..COST }.is_sane()
            && !Cost { passes: 99, ..COST }.is_sane()
    );
}

/// A public key of another under a fitting check: the additional data does not fit any more.
#[test]
fn the_public_half_cannot_be_exchanged() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let bytes = Sealed::seal(&key, &pin(GOOD), COST).unwrap();
    let mut sealed = Sealed::parse(&bytes).unwrap();
    assert!(sealed.open(&pin(GOOD)).unwrap().is_some());
    sealed.head[HEAD - 1] ^= 1;
    assert!(sealed.open(&pin(GOOD)).unwrap().is_none());
}

#[test]
fn pins_that_are_tried_first_cannot_be_set() {
    let rule = |text: &str| pin(text).check().err();
    for text in ["", "1", "27491", "x".repeat(65).as_str()] {
        assert_eq!(rule(text), Some(PinRule::Length), "{text}");
    }
    for text in ["27 4915", "27491\u{e9}", "274915\n"] {
        assert_eq!(rule(text), Some(PinRule::Characters), "{text}");
    }
    for text in [
        "000000", "111111", "121212", "123123", "112233", "123456", "654321", "567890", "890123", "210987",
        "abcdef", "12341234", "147258", "159753", "Password", "qwerty12", "102030", "696969",
    ] {
        assert_eq!(rule(text), Some(PinRule::Trivial), "{text}");
    }
    for text in [GOOD, "538246", "190783", "correct-horse", "a1b2c3", "13579x"] {
        assert_eq!(rule(text), None, "{text}");
    }
    // Of the six digits few are lost: what is left is still a million tries, nearly.
    let lost = (0..1_000_000).step_by(97).filter(|n| rule(&format!("{n:06}")).is_some()).count();
    assert!(lost * 97 < 100_000, "{lost}");
    assert!(matches!(
        store().1.set_pin(&pin("123456"), COST),
        Err(KeyError::Pin(PinError::Rule(PinRule::Trivial)))
    ));
}

#[test]
fn nothing_of_a_pin_is_shown() {
    assert_eq!(format!("{:?}", pin(GOOD)), "Pin");
    let sealed =
        Sealed::parse(&Sealed::seal(&SigningKey::from_bytes(&[7; 32]), &pin(GOOD), COST).unwrap()).unwrap();
    assert!(!format!("{sealed:?}").contains("salt"));
}

/// Made by other implementations: argon2-cffi (the reference code of Argon2) and pyca/cryptography, by the layout above.
#[test]
fn a_file_made_elsewhere_by_the_same_layout_opens() {
    let bytes = hex::decode(include_str!("foreign.hex").trim()).unwrap();
    let key = Sealed::parse(&bytes).unwrap().open(&pin(GOOD)).unwrap();
    assert_eq!(key.unwrap().to_bytes(), [7; 32]);
}
