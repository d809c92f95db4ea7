//! Question and answer over a real socket, and what a client that misbehaves gets.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::{
    Accepted, Asked, Authority, AuthorityError, Consent, ControlClient, Draft, DraftOrder, EnrolmentOrder,
    Handler, Owner, Request, SocketError, WithdrawOrder, Withdrawn, answer, listen, serve,
};
use glovebox_core::consent::document::enrolment::EnrolmentAct;
use glovebox_core::limits::{CONTROL_CLIENTS_MAX, CONTROL_LINE_BYTES_MAX};
use glovebox_core::names::{Digest, FlowId, PurposeId, RecipientId, VerifyingKey, WallTime};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Remembers what it was asked and answers with what the question held.
#[derive(Default)]
struct Echo;

impl Authority for Echo {
    fn draft(&mut self, order: &DraftOrder) -> Result<Draft, AuthorityError> {
        Ok(Draft { payload: vec![0, 255, 10], words: format!("{order:?}") })
    }
    fn submit(&mut self, document: &[u8]) -> Result<Accepted, AuthorityError> {
        if document.is_empty() {
            return Err(AuthorityError::Refused("an empty document".to_owned()));
        }
        let effect = document.len().to_string();
        Ok(Accepted { kind: "request".to_owned(), digest: Digest::of(document), effect })
    }
    fn withdraw(&mut self, order: &WithdrawOrder) -> Result<Vec<Withdrawn>, AuthorityError> {
        let purpose = order.purpose.clone().unwrap_or_else(|| PurposeId::new("all").unwrap());
        let not = Asked::Not { why: "no key".to_owned(), contact: "x@tyres.example".to_owned() };
        let erasure = order.erase.then_some(if order.purpose.is_some() { not } else { Asked::Waits });
        let recipient = order.recipient.clone();
        Ok(vec![Withdrawn { recipient, purpose, flow: FlowId(7), left: None, erasure }])
    }
    fn list(&mut self) -> Result<Vec<Consent>, AuthorityError> {
        Ok(vec![Consent {
            recipient: RecipientId::new("tyres").unwrap(),
            name: "Example Tyres GmbH".to_owned(),
            purpose: PurposeId::new("tyre-care").unwrap(),
            record: "r".to_owned(),
            state: "given".to_owned(),
            live: true,
            not_before: WallTime(0),
            not_after: WallTime(1),
            at: None,
            signals: vec!["Vehicle.Speed".to_owned()],
            reduced: vec!["as it is".to_owned()],
            never: Vec::new(),
            waits: None,
        }])
    }
    fn draft_enrolment(&mut self, order: &EnrolmentOrder) -> Result<Draft, AuthorityError> {
        Ok(Draft { payload: order.owner_key.0.to_vec(), words: format!("{order:?}") })
    }
    fn owners(&mut self) -> Result<Vec<Owner>, AuthorityError> {
        let (owner_key, by) = (VerifyingKey([1; 32]), VerifyingKey([2; 32]));
        let first = Owner { owner_key, enrolled: None, enrolled_by: None, gave: 0 };
        Ok(vec![first, Owner { enrolled: Some(WallTime(1)), enrolled_by: Some(by), gave: 2, ..first }])
    }
}

struct Answering(Mutex<Echo>);

impl Handler for Answering {
    fn handle(&self, request: Request) -> Result<Value, String> {
        let mut authority = self.0.lock().unwrap();
        match answer(&mut *authority, &request) {
            Some(answer) => answer.map_err(|error| error.to_string()),
            None => Ok(json!({ "flows": 3 })),
        }
    }
}

/// A daemon that answers on a socket; ends with the runtime.
fn daemon() -> (TempDir, PathBuf, tokio::runtime::Runtime) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("control.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = listen(&path).unwrap();
    let guard = runtime.enter();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    drop(guard);
    runtime.spawn(serve(listener, Arc::new(Answering(Mutex::default()))));
    (folder, path, runtime)
}

fn client(path: &Path) -> ControlClient {
    ControlClient::connect(path).unwrap().unwrap()
}

#[test]
fn every_question_is_answered_alike_over_the_socket_and_without_it() {
    let (_folder, path, _runtime) = daemon();
    let (mut remote, mut local) = (client(&path), Echo);
    let (recipient, purpose) = (RecipientId::new("tyres").unwrap(), PurposeId::new("tyre-care").unwrap());
    let order = DraftOrder {
        recipient: recipient.clone(),
        purpose: purpose.clone(),
        signals: vec!["Vehicle.*".to_owned()],
        until: Some(WallTime(1_800_000_000_000_000)),
        waive_floor: true,
        max_bytes_per_day: Some(9),
    };
    assert_eq!(remote.draft(&order).unwrap(), local.draft(&order).unwrap());
    let large = vec![0xA5; 1024 * 1024];
    assert_eq!(remote.submit(&large).unwrap(), local.submit(&large).unwrap());
    for (purpose, erase) in [(None, false), (Some(purpose.clone()), true), (None, true)] {
        let order = WithdrawOrder { recipient: recipient.clone(), purpose, erase };
        assert_eq!(remote.withdraw(&order).unwrap(), local.withdraw(&order).unwrap());
    }
    assert_eq!(remote.list().unwrap(), local.list().unwrap());
    assert_eq!(remote.owners().unwrap(), local.owners().unwrap());
    for act in [EnrolmentAct::Enrol, EnrolmentAct::Remove] {
        let order = EnrolmentOrder { act, owner_key: VerifyingKey([3; 32]) };
        assert_eq!(remote.draft_enrolment(&order).unwrap(), local.draft_enrolment(&order).unwrap());
    }
    assert_eq!(remote.status().unwrap(), json!({ "flows": 3 }));
    let refused = remote.submit(&[]).unwrap_err();
    assert!(matches!(&refused, AuthorityError::Refused(why) if why == "an empty document"), "{refused}");
    assert!(remote.list().is_ok(), "a refusal does not end the connection");
}

#[test]
fn what_is_not_understood_is_said_without_repeating_it() {
    let (_folder, path, _runtime) = daemon();
    for line in [
        "hello",
        "{}",
        r#"{"do":"obey"}"#,
        r#"{"do":"submit","document":"Jane Doe"}"#,
        r#"{"do":"consents","Jane Doe":1}"#,
        r#"{"do":"owners","Jane Doe":1}"#,
        r#"{"do":"draft_enrolment","act":"Jane Doe","owner_key":"00"}"#,
        r#"{"do":"draft","recipient":"Jane Doe","purpose":"p"}"#,
    ] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut said = String::new();
        BufReader::new(&stream).read_line(&mut said).unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["ok"], false, "{line}: {said}");
        assert!(said["error"].as_str().unwrap().contains("one JSON object a line"), "{said}");
        assert!(!said.to_string().contains("Jane"), "{said}");
    }
}

#[test]
fn a_line_without_end_is_cut_off() {
    let (_folder, path, _runtime) = daemon();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&vec![b'x'; CONTROL_LINE_BYTES_MAX]).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains("at most"), "{said}");
}

#[test]
fn more_clients_than_there_are_places_are_turned_away() {
    let (_folder, path, _runtime) = daemon();
    let mut held: Vec<UnixStream> =
        (0..CONTROL_CLIENTS_MAX).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for stream in &mut held {
        stream.write_all(b"no question\n").unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "it has a place");
    }
    let error = client(&path).list().unwrap_err();
    assert!(error.to_string().contains("too many"), "{error}");
    held.clear();
    let freed = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        client(&path).list().is_ok()
    });
    assert!(freed, "places are given back");
}

#[test]
fn who_reads_longer_than_a_daemon_waits_for_the_next_question_may_ask_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("control.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let answers = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            stream.write_all(b"{\"ok\":true,\"consents\":[]}\n").unwrap();
        }
    });
    let mut client = client(&path);
    for _ in 0..2 {
        assert!(client.list().unwrap().is_empty());
    }
    answers.join().unwrap();
}

#[test]
fn a_daemon_that_dies_while_it_is_asked_has_done_nothing_that_is_known() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("control.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let recipient = RecipientId::new("tyres").unwrap();
    let died = |said: &'static [u8], reads: bool| {
        let mut client = client(&path);
        let (mut stream, _) = listener.accept().unwrap();
        let dies = move || {
            if reads {
                BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            }
            stream.write_all(said).unwrap();
        };
        let dying = std::thread::spawn(dies);
        if !reads {
            while !dying.is_finished() {
                std::thread::yield_now();
            }
        }
        client
            .withdraw(&WithdrawOrder { recipient: recipient.clone(), purpose: None, erase: false })
            .unwrap_err()
    };
    for (said, reads) in [(&b""[..], false), (b"", true), (b"{\"ok\":true,\"withdrawn\":[]}", true)] {
        let error = died(said, reads);
        assert!(matches!(error, AuthorityError::Socket(SocketError::Ended { .. })), "{error}");
    }
}

#[test]
fn the_socket_is_not_open_to_others_and_a_living_one_is_not_taken() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("control.sock");
    assert!(ControlClient::connect(&path).unwrap().is_none(), "no daemon");
    let first = listen(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(matches!(listen(&path), Err(SocketError::InUse { .. })));
    drop(first);
    assert!(ControlClient::connect(&path).unwrap().is_none(), "a stale socket is no daemon");
    let _second = listen(&path).unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"precious").unwrap();
    assert!(matches!(listen(&file), Err(SocketError::NotASocket { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}
