//! Over restarts, starts of the machine and damage: never less than was set.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::clock::tests::Set;
use glovebox_core::consent::session::Lasts;
use glovebox_core::names::{DriverId, WallTime};
use std::fs;

const MINUTE_US: i64 = 60_000_000;

fn at(boot: &str, us: i64) -> Set {
    Set { boot: boot.to_owned(), ..Set::at(WallTime(0), Moment(us)) }
}

fn pause(lasts: Lasts, began: i64) -> Session {
    let mut session = Session::default();
    session.hold(Hold::new(What::All, lasts, Moment(began))).unwrap();
    session
}

#[test]
fn a_pause_goes_on_after_a_restart_and_ends_by_the_same_clock() {
    let folder = tempfile::tempdir().unwrap();
    let open = |clock: &Set| Kept::open(folder.path().join("session"), clock);
    let (mut kept, complaint) = open(&at("one", 0));
    assert!(complaint.is_none() && !kept.session().is_paused());
    kept.narrow(pause(Lasts::Seconds(900), 0)).unwrap();
    assert!(open(&at("one", 15 * MINUTE_US - 1)).0.session().is_paused());
    assert!(!open(&at("one", 15 * MINUTE_US)).0.session().is_paused());
    // Another start of the machine, or one that cannot be told from another: it begins again.
    for (boot, now) in [("two", 20 * MINUTE_US), ("", 20 * MINUTE_US), ("one", -1)] {
        let (mut kept, _) = open(&at(boot, now));
        assert!(!kept.pass(Moment(now + 15 * MINUTE_US - 1), None) && kept.session().is_paused(), "{boot}");
        assert!(kept.pass(Moment(now + 15 * MINUTE_US), None) && !kept.session().is_paused(), "{boot}");
        kept.narrow(pause(Lasts::Seconds(900), 0)).unwrap();
        let (mut again, _) = open(&at("one", 0));
        again.narrow(pause(Lasts::Seconds(900), 0)).unwrap();
    }
}

#[test]
fn all_that_can_be_set_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let clock = at("one", 5 * MINUTE_US);
    let (mut kept, _) = Kept::open(folder.path().join("session"), &clock);
    let mut session = pause(Lasts::Trip, 1);
    let flow = What::Flow { recipient: "acme".parse().unwrap(), purpose: "tyre-care".parse().unwrap() };
    for (what, lasts) in [
        (What::Location, Lasts::UntilEnded),
        (What::Recipient("acme".parse().unwrap()), Lasts::Seconds(7_200)),
        (flow, Lasts::Trip),
    ] {
        session.hold(Hold::new(what, lasts, Moment(3))).unwrap();
    }
    let driver: DriverId = "seat-1".parse().unwrap();
    for what in [What::All, What::Flow { recipient: "of".parse().unwrap(), purpose: "of".parse().unwrap() }] {
        let own = Hold { driver: Some(driver.clone()), ..Hold::new(what, Lasts::Trip, Moment(3)) };
        session.hold(own).unwrap();
    }
    for who in [Driver::Is(driver), Driver::Guest, Driver::Unknown] {
        session.drives(who);
        kept.narrow(session.clone()).unwrap();
        let (kept, complaint) = Kept::open(folder.path().join("session"), &clock);
        assert_eq!((kept.session(), complaint), (&session, None));
    }
}

#[test]
fn who_drives_is_not_known_after_a_start_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session");
    let mut session = pause(Lasts::Trip, 0);
    session.drives(Driver::Guest);
    Kept::open(path.clone(), &at("one", 0)).0.narrow(session).unwrap();
    let driver = |boot| Kept::open(path.clone(), &at(boot, 1)).0.session().driver().clone();
    assert_eq!((driver("one"), driver("two"), driver("")), (Driver::Guest, Driver::Unknown, Driver::Unknown));
}

#[test]
fn that_a_trip_went_on_is_known_after_a_restart_and_its_end_ends_the_pause() {
    let folder = tempfile::tempdir().unwrap();
    let open = |boot: &str| Kept::open(folder.path().join("session"), &at(boot, 5)).0;
    let mut kept = open("one");
    kept.narrow(pause(Lasts::Trip, 0)).unwrap();
    // Parked, by the signal: the trip is still to come.
    let mut kept = open("two");
    assert!(!kept.pass(Moment(6), None) && !kept.pass(Moment(6), Some(false)) && kept.session().is_paused());
    assert!(!kept.pass(Moment(7), Some(true)) && kept.session().is_paused());
    // The machine went off before the signal said that the trip was over.
    let mut kept = open("three");
    assert!(!kept.pass(Moment(6), None) && !kept.pass(Moment(6), Some(true)) && kept.session().is_paused());
    assert!(kept.pass(Moment(7), Some(false)) && !kept.session().is_paused());
    assert!(!open("three").session().is_paused(), "it is back after a restart");
}

#[test]
fn invariant_3_a_file_that_cannot_be_read_means_that_nothing_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("session");
    let clock = at("one", 0);
    let (mut kept, _) = Kept::open(path.clone(), &clock);
    kept.narrow(pause(Lasts::Trip, 0)).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let damaged = |text: &str| {
        fs::write(&path, text).unwrap();
        let (kept, complaint) = Kept::open(path.clone(), &clock);
        let in_doubt = kept.session().is_paused() && kept.session().is_without_location();
        assert_eq!(in_doubt, complaint.is_some(), "{text}");
        in_doubt
    };
    assert!(!damaged(&good));
    let checked = |body: &str| format!("{body}check {}\n", Digest::of(body.as_bytes()));
    assert!(!damaged(&checked("glovebox session 1\nboot \n")));
    for text in [
        String::new(),
        "nonsense".to_owned(),
        good.replace("trip", "1m"),
        good[..good.len() - 1].to_owned(),
        checked("glovebox session 2\nboot one\n"),
        checked("glovebox session 1\nboot one\nhold 0 trip everything\n"),
        checked("glovebox session 1\nboot one\nhold 0 26h all\n"),
        checked("glovebox session 1\nboot one\ndriver\n"),
        checked("glovebox session 1\nboot one\ndriver is A b\n"),
        checked("glovebox session 1\nboot one\nhold 0 trip of all\n"),
        checked("glovebox session 1\nboot one\nunder-way 0 1m all\n"),
        checked("glovebox session 1\nboot one\nhold 0 trip recipient acme tyres more\n"),
        "x".repeat(SESSION_FILE_BYTES_MAX + 1),
    ] {
        assert!(damaged(&text), "{text}");
    }
}

/// A file on a disk that refuses.
struct Full;

impl Keep for Full {
    fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        Ok(None)
    }

    fn write(&self, _: &str) -> Result<(), FileError> {
        let source = std::io::Error::from_raw_os_error(28);
        Err(FileError::Io { act: "write", path: PathBuf::from("session"), source })
    }
}

#[test]
fn on_a_full_disk_more_is_held_back_and_nothing_is_let_go() {
    let (mut kept, _) = Kept::of(Box::new(Full), &at("one", 0));
    assert!(kept.narrow(pause(Lasts::Trip, 0)).is_err() && kept.session().is_paused());
    assert!(kept.widen(Session::default()).is_err() && kept.session().is_paused());
}
