//! `cargo bench -p glovebox --bench outbox`: a start with 100,000 queued batches of 500 to 1,000 bytes, and what is left
//! on disk of a full queue that has drained.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and fails loudly")]

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use glovebox::outbox::{Config, Outbox};
use glovebox::store::Store;
use glovebox::store::disk::Place;
use glovebox_core::names::{FlowId, TrustedTime, WallTime};
use glovebox_core::outbox::BatchId;

#[path = "../src/outbox/tests/envelope.rs"]
mod envelope;

const MIB: u64 = 1024 * 1024;
const BATCHES: u64 = 100_000;
const FLOWS: u64 = 3;
const STARTS: usize = 9;
const CONFIG: Config =
    Config { bytes_max: 256 * MIB, flow_bytes_max: 256 * MIB, free_bytes_min: 0, new_epoch: false };

fn open(folder: &Path, config: Config) -> Outbox {
    let (store, _) = Store::open(&folder.join("index")).unwrap();
    let place = Place::system(folder.join("outbox"));
    Outbox::open(place, config, store.table("outbox").unwrap(), &BTreeSet::new()).unwrap().0
}

fn put(outbox: &mut Outbox, flow: FlowId, bytes: usize) {
    let now = TrustedTime { earliest: WallTime(1), latest: WallTime(1) };
    let (epoch, sequence) = outbox.next(flow).unwrap();
    let batch = BatchId { flow, epoch, sequence };
    outbox.store(&envelope::sealed(batch, bytes), Some(now)).unwrap();
}

/// Bytes that the files below `folder` take.
fn taken(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                taken(&entry.path())
            } else {
                entry.metadata().unwrap().blocks() * 512
            }
        })
        .sum()
}

fn start() {
    let folder = tempfile::tempdir().unwrap();
    let mut outbox = open(folder.path(), CONFIG);
    let begun = Instant::now();
    for number in 0..BATCHES {
        put(&mut outbox, FlowId(1 + number % FLOWS), 300 + usize::try_from(number * 7919 % 500).unwrap());
    }
    outbox.sync().unwrap();
    let each = begun.elapsed() / u32::try_from(BATCHES).unwrap();
    println!("{BATCHES} batches, {} KiB in records, {each:?} to seal and store one", outbox.written() / 1024);
    drop(outbox);
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..STARTS {
        let (store, _) = Store::open(&folder.path().join("index")).unwrap();
        let (place, index) = (Place::system(folder.path().join("outbox")), store.table("outbox").unwrap());
        let begun = Instant::now();
        let (outbox, report) = Outbox::open(place, CONFIG, index, &BTreeSet::new()).unwrap();
        times.push(begun.elapsed());
        assert_eq!((report.batches as u64, report.lost), (BATCHES, 0));
        drop(outbox);
    }
    times.sort_unstable();
    println!("start: {:?}, {:?} to {:?} of {STARTS}", times[STARTS / 2], times[0], times[STARTS - 1]);
}

fn drained() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { bytes_max: 64 * MIB, flow_bytes_max: 64 * MIB, ..CONFIG };
    let mut outbox = open(folder.path(), config);
    while outbox.take_dropped().is_empty() {
        (1..=FLOWS).for_each(|flow| put(&mut outbox, FlowId(flow), 20_000));
        outbox.sync().unwrap();
    }
    let show = |when: &str, outbox: &Outbox| {
        let [segments, index] = ["outbox", "index"].map(|part| taken(&folder.path().join(part)) / 1024);
        println!(
            "{when}: {segments} KiB in segments and keys, {index} KiB in the index, counted {} KiB",
            outbox.bytes() / 1024
        );
    };
    show("full", &outbox);
    for batch in outbox.batches().collect::<Vec<_>>() {
        outbox.acked(batch).unwrap();
    }
    outbox.save().unwrap();
    show("drained", &outbox);
    outbox.close().unwrap();
    show("drained and stopped", &open(folder.path(), config));
}

fn main() {
    start();
    drained();
}
