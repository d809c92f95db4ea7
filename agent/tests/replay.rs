//! Logs of every kind and state as a source of frames.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use flate2::Compression;
use flate2::write::GzEncoder;
use glovebox::bus::replay::{Log, Pace, Replay, ReplayError, Speed};
use glovebox::bus::{Config, Interface};
use glovebox_core::frame::{BusIndex, CanId};
use glovebox_core::names::{BusName, Moment};
use std::io::{Cursor, Write as _};
use std::time::Duration;

const LOG: &str = "(1.0) can0 001#11\n\n(1.5) can1 00000002#22\n(1.6) can9 003#33\n(1.7) can0 004#R\n(1.8) can1 20000080#0000000000000000\nnonsense\n(2.0) can0 005##1AABBCC\n(2.5) can0 006#6";

fn replay(bytes: &[u8]) -> Replay {
    let log = Log::new(Cursor::new(bytes.to_vec()), "log").unwrap();
    Replay::new(log, vec!["can0".to_owned(), "can1".to_owned()])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn frames_of_the_configured_interfaces_in_order_and_the_rest_counted() {
    let halves = [gzip(&LOG.as_bytes()[..40]), gzip(&LOG.as_bytes()[40..])].concat();
    for bytes in
        [LOG.as_bytes().to_vec(), LOG.replace('\n', "\r\n").into_bytes(), gzip(LOG.as_bytes()), halves]
    {
        let mut replay = replay(&bytes);
        let frames: Vec<_> = replay.by_ref().map(Result::unwrap).collect();
        let seen: Vec<_> = frames.iter().map(|f| (f.bus.0, f.id, f.moment.0, f.data().to_vec())).collect();
        let want = [
            (0, CanId::Standard(1), 1_000_000, vec![0x11]),
            (1, CanId::Extended(2), 1_500_000, vec![0x22]),
            (0, CanId::Standard(5), 2_000_000, vec![0xAA, 0xBB, 0xCC]),
        ];
        assert_eq!(seen, want);
        let counts = replay.counts();
        let got = [counts.lines, counts.frames, counts.ignored, counts.remote, counts.error, counts.bad];
        assert_eq!(got, [9, 3, 1, 1, 1, 2]);
        let bad = replay.first_bad().unwrap();
        assert_eq!(
            (bad.line, bad.what.to_string().as_str()),
            (7, "no time stamp in the form `(seconds.fraction)` at the start")
        );
        assert!(replay.next().is_none());
    }
}

#[test]
fn a_line_beyond_the_bound_costs_itself() {
    let long =
        format!("(1.0) can0 001#11{}\n(2.0) can0 002#22\n{}", " ".repeat(100_000), "x".repeat(1_000_000));
    let mut replay = replay(long.as_bytes());
    let ids: Vec<_> = replay.by_ref().map(|frame| frame.unwrap().id).collect();
    assert_eq!(ids, [CanId::Standard(2)]);
    assert_eq!((replay.counts().bad, replay.first_bad().unwrap().line), (2, 1));
}

#[test]
fn logs_that_cannot_be_used() {
    let error = |bytes: &[u8]| replay(bytes).find_map(Result::err).unwrap().to_string();
    let empty = "log: no frame is in the log; record one with `candump -L`";
    for nothing in ["", "\n\n  \n", "\ndate Mon Jan 1\nbase hex\n"] {
        assert_eq!(error(nothing.as_bytes()), empty);
    }
    let bad = |what| {
        format!(
            "log:2: no line of the log can be read, the first because: {what}; record it with `candump -L`, or export it as Vector ASC"
        )
    };
    let unknown = bad("neither a line of a candump log nor of a Vector ASC file");
    assert_eq!(error(b"\n***BUSMASTER Ver 2.4.0***\n***PROTOCOL CAN***\n"), unknown);
    let screen = bad("this is what candump shows on a screen, whose times are not sure");
    for screenful in [" (000.000000)  can0  0AA   [3]  1A 2B 3C", "  can0  0AA   [3]  1A 2B 3C"] {
        assert_eq!(error(format!("\n{screenful}\n").as_bytes()), screen);
    }
    let mut broken = gzip(LOG.repeat(10_000).as_bytes());
    broken.truncate(broken.len() / 2);
    let error = replay(&broken).find_map(Result::err).unwrap();
    assert!(matches!(&error, ReplayError::Read { line, .. } if *line > 0), "{error}");
    let mut replay = replay(&broken);
    // Bounded, so that a replay that goes on after its error fails and does not hang.
    assert_eq!(replay.by_ref().take(100_000).filter(Result::is_err).count(), 1, "an error ends the log");
}

#[test]
fn a_log_of_ignored_frames_is_no_error() {
    let mut replay = replay(b"(1.0) can7 001#11\n");
    assert!(replay.next().is_none());
    assert_eq!(replay.counts().ignored, 1);
}

#[test]
fn pace_follows_the_stamps() {
    let ms = Duration::from_millis;
    let waits = |speed, steps: &[(i64, u64)]| -> Vec<Duration> {
        let mut pace = Pace::new(speed);
        steps.iter().map(|(at_ms, gone_ms)| pace.wait(Moment(at_ms * 1_000), ms(*gone_ms))).collect()
    };
    let steps = [(5_000, 0), (5_100, 20), (6_000, 1_200), (4_000, 1_300), (7_000, 1_500)];
    assert_eq!(waits(Speed::Max, &steps), [ms(0); 5]);
    assert_eq!(waits(Speed::Factor(1.0), &steps), [ms(0), ms(80), ms(0), ms(0), ms(500)]);
    assert_eq!(waits(Speed::Factor(0.5), &steps), [ms(0), ms(180), ms(800), ms(0), ms(2_500)]);
    assert_eq!(waits(Speed::Factor(10.0), &steps), [ms(0); 5]);
    assert_eq!(waits(Speed::Factor(1e-300), &[(0, 0), (1, 5)])[1], Duration::MAX - ms(5));
    assert_eq!(waits(Speed::Factor(1.0), &[(i64::MIN / 1_000, 0), (i64::MAX / 1_000, 0)]).len(), 2);
}

#[test]
fn the_log_is_opened_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    std::fs::write(&path, LOG).unwrap();
    let interface = Interface { name: BusName::new("x").unwrap(), interface: "can1".to_owned() };
    let config = Config { replay: Some(path), speed: Speed::Max, interface: vec![interface] };
    let frames: Vec<_> = config.open().unwrap().unwrap().map(Result::unwrap).collect();
    assert_eq!((frames.len(), frames[0].bus), (1, BusIndex(0)));
    let absent = Config { replay: Some("/absent/a.log".into()), ..Config::default() };
    let error = absent.open().err().unwrap();
    assert_eq!(error.to_string(), "/absent/a.log: cannot open the log; check the path and its permissions");
    assert!(Config::default().open().unwrap().is_none());
}
