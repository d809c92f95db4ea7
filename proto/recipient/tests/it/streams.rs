//! The account of a stream: order, duplicates, gaps, losses, holding, restarts.

use std::collections::BTreeSet;

use glovebox_proto::v1;
use glovebox_recipient::open::Opened;
use glovebox_recipient::state::StateDir;
use glovebox_recipient::{Event, Streams};
use proptest::prelude::*;
use prost::Message as _;

use crate::car;

fn opened(sequence: u64, batch: &v1::Batch) -> Opened {
    car::opener().open(None, &car::payload(sequence, batch)).unwrap()
}

/// What happened, in short.
fn told(events: &[Event]) -> Vec<String> {
    let short = |event: &Event| match event {
        Event::Ready(ready) => format!("ready {}", ready.header.sequence),
        Event::Gap { first, last, .. } => format!("gap {first}-{last}"),
        Event::Duplicate(header) => format!("duplicate {}", header.sequence),
        Event::Held(header) => format!("held {}", header.sequence),
        Event::GivenUp(header) => format!("given up {}", header.sequence),
        Event::Notice(header, _) => format!("notice {}", header.sequence),
    };
    events.iter().map(short).collect()
}

fn take(streams: &mut Streams, sequence: u64, batch: &v1::Batch) -> Vec<String> {
    told(&streams.accept(opened(sequence, batch)))
}

fn with_losses(losses: Vec<v1::Loss>) -> v1::Batch {
    v1::Batch { losses, ..car::batch(true) }
}

#[test]
fn gaps_duplicates_and_late_comers() {
    let (mut streams, batch) = (Streams::new(), car::batch(true));
    assert_eq!(take(&mut streams, 1, &batch), ["ready 1"]);
    assert_eq!(take(&mut streams, 1, &batch), ["duplicate 1"]);
    assert_eq!(take(&mut streams, 5, &batch), ["gap 2-4", "ready 5"]);
    assert_eq!(take(&mut streams, 3, &batch), ["ready 3"], "late, not a duplicate");
    assert_eq!(take(&mut streams, 3, &batch), ["duplicate 3"]);
    assert_eq!(streams.gaps().map(|(_, first, last)| (first, last)).collect::<Vec<_>>(), [(2, 2), (4, 4)]);
    let mut fresh = Streams::new();
    assert_eq!(take(&mut fresh, 3, &batch), ["gap 1-2", "ready 3"], "sequences count from 1");
    fresh.set_partial(true);
    assert_eq!(take(&mut fresh, 9, &batch), ["ready 9"], "others of the group read the rest");
}

#[test]
fn a_declared_loss_is_no_gap() {
    let mut streams = Streams::new();
    assert_eq!(take(&mut streams, 1, &car::batch(true)), ["ready 1"]);
    assert_eq!(take(&mut streams, 5, &with_losses(vec![car::loss(2, 3)])), ["gap 4-4", "ready 5"]);
    assert_eq!(take(&mut streams, 6, &with_losses(vec![car::loss(4, 4)])), ["ready 6"]);
    assert_eq!(streams.gaps().count(), 0);
    assert_eq!(take(&mut streams, 2, &car::batch(true)), ["ready 2"], "declared lost, and came after all");
    // A loss cannot speak of what comes after it.
    assert_eq!(take(&mut streams, 7, &with_losses(vec![car::loss(8, u64::MAX)])), ["ready 7"]);
    assert_eq!(take(&mut streams, 10, &car::batch(true)), ["gap 8-9", "ready 10"]);
    assert_eq!(take(&mut streams, 8, &with_losses(vec![car::loss(9, 9)])), ["ready 8"]);
    assert_eq!(streams.gaps().map(|(_, first, last)| (first, last)).collect::<Vec<_>>(), [(9, 9)]);
    assert_eq!(take(&mut streams, u64::MAX, &car::batch(true)).len(), 2, "the last number there is");
}

#[test]
fn a_batch_waits_for_its_descriptor() {
    let mut streams = Streams::new();
    assert_eq!(take(&mut streams, 1, &car::batch(false)), ["held 1"]);
    assert_eq!(take(&mut streams, 2, &car::batch(false)), ["held 2"]);
    assert_eq!(take(&mut streams, 2, &car::batch(false)), ["duplicate 2"]);
    assert_eq!(take(&mut streams, 3, &car::batch(true)), ["ready 1", "ready 2", "ready 3"]);
    assert_eq!(take(&mut streams, 4, &car::batch(false)), ["ready 4"]);
    assert_eq!(take(&mut streams, 1, &car::batch(false)), ["duplicate 1"]);
    assert_eq!((streams.held(), streams.gaps().count()), (0, 0));
}

#[test]
fn waiting_is_bounded() {
    let mut streams = Streams::new();
    let most = glovebox_recipient::stream::HELD_BATCHES_MAX as u64;
    for sequence in 1..=most {
        let mut one = opened(1, &car::batch(false));
        one.header.sequence = sequence;
        assert_eq!(told(&streams.accept(one)), [format!("held {sequence}")]);
    }
    assert_eq!(
        take(&mut streams, most + 1, &car::batch(false)),
        [format!("held {}", most + 1), "given up 1".into()]
    );
    assert_eq!(streams.held() as u64, most);
}

#[test]
fn epochs_flows_and_notices_are_apart() {
    let mut streams = Streams::new();
    let seal = |header: &v1::Header, message: &[u8]| {
        car::opener().open(None, &car::seal(header, message).encode_to_vec()).unwrap()
    };
    let batch = car::batch(true).encode_to_vec();
    assert_eq!(take(&mut streams, 1, &car::batch(true)), ["ready 1"]);
    let epoch = v1::Header { epoch: 2, ..car::header(1) };
    assert_eq!(told(&streams.accept(seal(&epoch, &batch))), ["ready 1"]);
    let tag = v1::Header { epoch_tag: 1, ..car::header(1) };
    assert_eq!(told(&streams.accept(seal(&tag, &batch))), ["ready 1"]);
    let flow = v1::Header { flow: 1, ..car::header(2) };
    assert_eq!(told(&streams.accept(seal(&flow, &batch))), ["gap 1-1", "ready 2"]);
    let notice = v1::Header { kind: v1::Kind::Notice.into(), ..car::header(1) };
    let message = v1::Notice { kind: v1::NoticeKind::Given.into(), ..v1::Notice::default() };
    let message = message.encode_to_vec();
    assert_eq!(told(&streams.accept(seal(&notice, &message))), ["notice 1"]);
    assert_eq!(
        told(&streams.accept(seal(&notice, &message))),
        ["duplicate 1"],
        "a car that was killed sends it again"
    );
    let later = v1::Header { sequence: 4, ..notice.clone() };
    assert_eq!(told(&streams.accept(seal(&later, &message))), ["notice 4"]);
    assert!(streams.gaps().all(|(id, ..)| !id.is_notice), "a notice is no link of a chain");
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(folder.path(), "acme").unwrap();
    state.save(&streams).unwrap();
    let mut streams = state.load().unwrap();
    assert_eq!(told(&streams.accept(seal(&notice, &message))), ["duplicate 1"], "known over a restart");
    assert_eq!(take(&mut streams, 1, &car::batch(true)), ["duplicate 1"]);
}

#[test]
fn a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    {
        let mut state = StateDir::open(&path, "acme").unwrap();
        assert!(StateDir::open(&path, "acme").is_err(), "one reader at a time");
        let mut streams = state.load().unwrap();
        take(&mut streams, 1, &car::batch(true));
        take(&mut streams, 4, &car::batch(false));
        // This one waits for a descriptor that the reader has not seen.
        let stranger = v1::Batch { descriptor_digest: vec![9; 32], ..car::batch(false) };
        assert_eq!(take(&mut streams, 5, &stranger), ["held 5"]);
        let waiting = opened(5, &stranger);
        assert!(state.keep(&waiting.header, &car::payload(5, &stranger)).unwrap());
        state.save(&streams).unwrap();
    }
    let error = StateDir::open(&path, "globex").unwrap_err().to_string();
    assert!(error.contains("belongs to the recipient `acme`, not `globex`"), "{error}");
    let mut state = StateDir::open(&path, "acme").unwrap();
    let mut streams = state.load().unwrap();
    assert_eq!(streams.gaps().map(|(_, first, last)| (first, last)).collect::<Vec<_>>(), [(2, 3)]);
    assert_eq!(take(&mut streams, 1, &car::batch(true)), ["duplicate 1"]);
    let kept = state.kept().unwrap();
    let again = car::opener().open(None, &kept[0]).unwrap();
    let header = again.header.clone();
    assert_eq!(told(&streams.accept(again)), ["held 5"], "what waited was not taken for seen");
    assert_eq!(take(&mut streams, 6, &car::batch(false)), ["ready 6"], "the descriptor was remembered");
    state.release(&header).unwrap();
    assert_eq!(state.kept().unwrap().len(), 0);
    std::fs::write(path.join("streams.json"), "{}").unwrap();
    let error = state.load().unwrap_err().to_string();
    assert!(error.contains("streams.json is damaged") && error.contains("move it away"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any order, any repetition, restarts in between: each batch that has come is output exactly once, and the
    /// open gaps are exactly what is missing below the highest.
    #[test]
    fn once_each_in_any_order(arrivals in prop::collection::vec((1u64..40, any::<bool>(), 0u8..10), 1..80)) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path(), "acme").unwrap();
        let (with, without) = (opened(1, &car::batch(true)), opened(1, &car::batch(false)));
        let mut streams = Streams::new();
        let (mut came, mut output) = (BTreeSet::new(), Vec::new());
        let mut waiting: Vec<Opened> = Vec::new();
        for (sequence, has_descriptor, restart) in arrivals {
            let mut one = if has_descriptor { with.clone() } else { without.clone() };
            one.header.sequence = sequence;
            came.insert(sequence);
            let events = streams.accept(one.clone());
            waiting.extend(events.iter().any(|event| matches!(event, Event::Held(_))).then_some(one));
            let ready = |event: &Event| match event {
                Event::Ready(ready) => Some(ready.header.sequence),
                _ => None,
            };
            output.extend(events.iter().filter_map(ready));
            if streams.held() == 0 {
                waiting.clear();
            }
            if restart == 0 {
                state.save(&streams).unwrap();
                streams = state.load().unwrap();
                waiting.iter().for_each(|kept| { streams.accept(kept.clone()); });
            }
        }
        let once: BTreeSet<u64> = output.iter().copied().collect();
        prop_assert_eq!(once.len(), output.len(), "output twice: {:?}", output);
        prop_assert_eq!(once.len() + streams.held(), came.len());
        let open: BTreeSet<u64> = streams.gaps().flat_map(|(_, first, last)| first..=last).collect();
        let missing: BTreeSet<u64> = (1..*came.last().unwrap()).filter(|number| !came.contains(number)).collect();
        prop_assert_eq!(open, missing);
    }
}
