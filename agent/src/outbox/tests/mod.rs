//! On real files: what was reported as stored is there, in order, once; what is destroyed is gone.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use glovebox_core::limits::OUTBOX_UNSYNCED_BYTES_MAX;
use glovebox_core::names::WallTime;
use tempfile::TempDir;

use super::*;
use crate::store::Store;
use envelope::{Car, sealed};
use faults::{EIO, FaultyDisk};

mod crash;
mod damage;
mod envelope;
mod faults;
mod room;

const A: FlowId = FlowId(0xA);
const B: FlowId = FlowId(0xB);
const MIB: u64 = 1024 * 1024;
const NOW: Option<TrustedTime> = Some(time(1_000_000));

const fn time(us: i64) -> TrustedTime {
    TrustedTime { earliest: WallTime(us), latest: WallTime(us) }
}

/// One cap for each flow, and beside it room for the index; no floor.
fn capped(flow_bytes_max: u64) -> Config {
    let bytes_max = 4 * flow_bytes_max + 4 * MIB;
    Config { bytes_max, flow_bytes_max, free_bytes_min: 0, new_epoch: false }
}

/// A state folder.
struct Rig {
    folder: TempDir,
    config: Config,
    disk: FaultyDisk,
}

impl Rig {
    fn new(bytes_max: u64) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), config: capped(bytes_max), disk: FaultyDisk::default() }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("outbox")
    }

    fn open_with(&self, tombstones: &[FlowId]) -> (Outbox, Report) {
        let (store, _) = Store::open(&self.folder.path().join("index")).unwrap();
        let tombstones = tombstones.iter().copied().collect();
        let place = Place { disk: Arc::new(self.disk.clone()), path: self.dir() };
        Outbox::open(place, self.config, store.table("outbox").unwrap(), &tombstones).unwrap()
    }

    fn open(&self) -> Outbox {
        self.open_with(&[]).0
    }
}

fn put(outbox: &mut Outbox, flow: FlowId, bytes: usize) -> BatchId {
    let (epoch, sequence) = outbox.next(flow).unwrap();
    let batch = BatchId { flow, epoch, sequence };
    outbox.store(&sealed(batch, bytes), NOW).unwrap();
    batch
}

fn put_many(outbox: &mut Outbox, flow: FlowId, count: usize, bytes: usize) -> Vec<BatchId> {
    let batches = (0..count).map(|_| put(outbox, flow, bytes)).collect();
    outbox.sync().unwrap();
    batches
}

fn stored(outbox: &Outbox) -> Vec<BatchId> {
    outbox.batches().collect()
}

/// Reads all that is stored; each must be what was sealed.
fn read_all(outbox: &mut Outbox, bytes: usize) {
    for batch in stored(outbox) {
        assert_eq!(outbox.read(batch, &Car).unwrap(), sealed(batch, bytes), "{batch}");
    }
}

/// Every file below `dir`.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    files_below(dir).into_iter().filter(|path| path.extension().is_some_and(|it| it == "seg")).collect()
}

fn sequences(batches: &[BatchId]) -> Vec<u64> {
    batches.iter().map(|batch| batch.sequence.0).collect()
}

#[test]
fn invariant_8_it_is_stored_only_when_synced_and_then_for_good() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    let first = put(&mut outbox, A, 1000);
    let second = put(&mut outbox, B, 1000);
    assert_eq!(stored(&outbox), []);
    assert!(matches!(outbox.read(first, &Car), Err(ReadError::NotStored { .. })));
    assert_eq!(outbox.sync().unwrap(), [first, second]);
    assert_eq!(outbox.sync().unwrap(), []);
    drop(outbox);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.flows, report.batches, report.lost, report.torn), (2, 2, 0, 0));
    assert_eq!(stored(&outbox), [first, second]);
    read_all(&mut outbox, 1000);
    let third = put(&mut outbox, A, 1000);
    assert_eq!((third.epoch, third.sequence), (first.epoch, first.sequence.next()));
}

#[test]
fn acknowledged_batches_go_with_their_key_and_never_come_again() {
    let rig = Rig::new(8 * 64 * 1024);
    let mut outbox = rig.open();
    let batches = put_many(&mut outbox, A, 20, 20_000);
    assert!(segments(&rig.dir()).len() >= 7, "three of them fill a segment");
    let keys = std::fs::read(rig.dir().join(A.to_string()).join("keys")).unwrap();
    for batch in &batches[..10] {
        outbox.acked(*batch).unwrap();
        outbox.acked(*batch).unwrap();
    }
    assert_eq!(segments(&rig.dir()).len(), 4);
    let left = std::fs::read(rig.dir().join(A.to_string()).join("keys")).unwrap();
    let there = |key: &[u8]| left.windows(32).any(|window| window == key);
    let survivors = keys.chunks(64).filter(|slot| there(&slot[16..48])).count();
    assert_eq!(survivors, 4, "a key for each file that is left");
    outbox.save().unwrap();
    drop(outbox);
    let mut outbox = rig.open();
    assert_eq!(stored(&outbox), batches[10..]);
    for batch in &batches[10..] {
        outbox.acked(*batch).unwrap();
    }
    outbox.close().unwrap();
    assert_eq!(segments(&rig.dir()), Vec::<PathBuf>::new());
    let mut outbox = rig.open();
    assert_eq!(outbox.next(A).unwrap(), (batches[0].epoch, Sequence(21)), "the same stream goes on");
}

#[test]
fn out_of_order_acknowledgements_are_no_gap() {
    let rig = Rig::new(8 * 64 * 1024);
    let mut outbox = rig.open();
    let batches = put_many(&mut outbox, A, 12, 20_000);
    for index in [3, 4, 5, 1, 8] {
        outbox.acked(batches[index]).unwrap();
    }
    outbox.save().unwrap();
    drop(outbox);
    let (outbox, report) = rig.open_with(&[]);
    assert_eq!(report.lost, 0);
    assert_eq!(sequences(&stored(&outbox)), (1..=12).collect::<Vec<_>>(), "sent twice rather than lost");
}

#[test]
fn invariant_7_disk_sees_the_envelope_only_as_ciphertext() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    let batch = put_many(&mut outbox, A, 1, 5000)[0];
    let envelope = outbox.read(batch, &Car).unwrap().envelope().to_vec();
    outbox.close().unwrap();
    for path in files_below(rig.folder.path()) {
        let bytes = std::fs::read(&path).unwrap();
        for part in envelope.chunks_exact(16) {
            assert!(!bytes.windows(16).any(|window| window == part), "{}", path.display());
        }
    }
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&rig.dir()), 0o700);
    assert!(files_below(&rig.dir()).iter().all(|path| mode(path) == 0o600));
}

#[test]
fn a_batch_out_of_order_or_of_a_withdrawn_flow_is_refused() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    let batch = put(&mut outbox, A, 100);
    let again = outbox.store(&sealed(batch, 100), NOW);
    assert!(matches!(again, Err(OutboxError::Disorder { .. })), "{again:?}");
    let skipped = BatchId { sequence: Sequence(3), ..batch };
    assert!(matches!(outbox.store(&sealed(skipped, 100), NOW), Err(OutboxError::Disorder { .. })));
    outbox.purge(A).unwrap();
    let next = BatchId { sequence: Sequence(2), ..batch };
    assert!(matches!(outbox.store(&sealed(next, 100), NOW), Err(OutboxError::Withdrawn { flow: A })));
    assert!(matches!(outbox.next(A), Err(OutboxError::Withdrawn { flow: A })));
    assert_eq!(outbox.sync().unwrap(), [], "what was not synced went too");
}

#[test]
fn each_start_of_a_replay_begins_an_epoch_and_keeps_what_waits() {
    let mut rig = Rig::new(64 * MIB);
    rig.config.new_epoch = true;
    let mut all = Vec::new();
    for life in 1..=3 {
        let mut outbox = rig.open();
        let batches = put_many(&mut outbox, A, 2, 100);
        assert_eq!((batches[0].epoch.counter, sequences(&batches)), (life, vec![1, 2]));
        all.extend(batches);
    }
    let mut outbox = rig.open();
    assert_eq!(stored(&outbox), all);
    read_all(&mut outbox, 100);
    assert_eq!(outbox.take_losses(A), []);
}

#[test]
fn without_its_index_all_is_sent_again_under_a_new_epoch() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    let batches = put_many(&mut outbox, A, 3, 100);
    outbox.acked(batches[0]).unwrap();
    outbox.save().unwrap();
    drop(outbox);
    std::fs::remove_dir_all(rig.folder.path().join("index")).unwrap();
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.index_lost, report.lost), (1, 0));
    assert_eq!(stored(&outbox), batches, "twice rather than not at all");
    let (epoch, sequence) = outbox.next(A).unwrap();
    assert_eq!((epoch.counter, sequence), (batches[0].epoch.counter + 1, Sequence(1)));
    put_many(&mut outbox, A, 1, 100);
    drop(outbox);
    let (outbox, report) = rig.open_with(&[]);
    assert_eq!((stored(&outbox).len(), report.lost, report.index_lost), (4, 0, 0));
}

#[test]
fn invariant_9_the_cap_holds_on_disk_and_what_was_dropped_is_declared() {
    let mut rig = Rig::new(2 * MIB);
    (rig.config.bytes_max, rig.config.flow_bytes_max) = (3 * MIB, 3 * MIB);
    let mut outbox = rig.open();
    let small = put_many(&mut outbox, B, 5, 20_000);
    let mut kept = Vec::new();
    for _ in 0..300 {
        kept.extend(put_many(&mut outbox, A, 1, 20_000));
        let blocks = |path: &PathBuf| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap()) * 512;
        let held: u64 = files_below(rig.folder.path()).iter().map(blocks).sum();
        assert!(held <= 3 * MIB, "{held}");
    }
    let dropped: Vec<BatchId> = outbox.take_dropped().iter().map(|it| it.batch).collect();
    assert!(dropped.len() > 150 && dropped == kept[..dropped.len()], "the oldest of the largest flow");
    drop(outbox);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!(report.lost, 0, "declared already");
    let left: Vec<BatchId> = kept[dropped.len()..].iter().chain(&small).copied().collect();
    assert_eq!(stored(&outbox), left);
    let batches = u64::try_from(dropped.len()).unwrap();
    let loss =
        Loss { reason: LossReason::Quota, batches, first_sequence: 1, last_sequence: batches, samples: 0 };
    assert_eq!(outbox.take_losses(A), [loss]);
    assert_eq!(outbox.take_losses(B), []);
}

#[test]
fn invariant_8_a_loss_is_declared_until_the_batch_that_says_so_is_acknowledged() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    let batches = put_many(&mut outbox, A, 3, 100);
    outbox.lost(batches[1], LossReason::Refused).unwrap();
    outbox.lose_samples(A, LossReason::Overload, 11).unwrap();
    outbox.save().unwrap();
    drop(outbox);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!(report.lost, 0, "it was noted, so it is no gap");
    assert_eq!(sequences(&stored(&outbox)), [1, 3], "declared lost, so it is not sent");
    let losses = outbox.take_losses(A);
    let named: Vec<_> =
        losses.iter().map(|it| (it.reason, it.batches, it.first_sequence, it.samples)).collect();
    assert_eq!(named, [(LossReason::Refused, 1, 2, 0), (LossReason::Overload, 0, 0, 11)]);
    let carrier = put(&mut outbox, A, 100);
    drop(outbox);
    let mut outbox = rig.open();
    // The process died before the sync, as after a kill: the record is there, and says so.
    assert_eq!(stored(&outbox).last(), Some(&carrier));
    assert_eq!(outbox.take_losses(A), [], "a stored batch says so");
    outbox.lost(carrier, LossReason::Age).unwrap();
    assert_eq!(outbox.take_losses(A).len(), losses.len() + 1, "it is lost itself");
    drop(outbox);
    let mut outbox = rig.open();
    assert_eq!(outbox.take_losses(A).len(), losses.len() + 1, "the batch that was to say so never was");
    let carrier = put_many(&mut outbox, A, 1, 100)[0];
    outbox.acked(carrier).unwrap();
    drop(outbox);
    assert_eq!(rig.open().take_losses(A), []);
}

#[test]
fn a_narrowed_grant_empties_the_queue_and_the_flow_goes_on() {
    let rig = Rig::new(8 * 64 * 1024);
    let mut outbox = rig.open();
    let batches = put_many(&mut outbox, A, 10, 20_000);
    outbox.discard(A, LossReason::Narrowed).unwrap();
    assert_eq!((stored(&outbox), segments(&rig.dir())), (vec![], vec![]));
    let losses = outbox.take_losses(A);
    assert_eq!((losses[0].reason, losses[0].batches), (LossReason::Narrowed, 10));
    let next = put_many(&mut outbox, A, 1, 100)[0];
    assert_eq!((next.epoch, next.sequence), (batches[0].epoch, Sequence(11)));
}

#[test]
fn what_was_settled_and_not_yet_deleted_goes_at_the_next_start() {
    let rig = Rig::new(8 * 64 * 1024);
    let mut outbox = rig.open();
    let batches = put_many(&mut outbox, A, 9, 20_000);
    let before: Vec<(PathBuf, Vec<u8>)> = files_below(&rig.dir())
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    batches[..6].iter().for_each(|batch| outbox.acked(*batch).unwrap());
    outbox.close().unwrap();
    assert_eq!(segments(&rig.dir()).len(), 1);
    before.into_iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    let (outbox, report) = rig.open_with(&[]);
    assert_eq!((stored(&outbox), report.lost), (batches[6..].to_vec(), 0));
    assert_eq!(segments(&rig.dir()).len(), 1);
    assert_eq!(outbox.folders[&A].keys.segments().count(), 1);
}

/// The keys of a flow's segments.
fn secrets(rig: &Rig, flow: FlowId) -> Vec<Vec<u8>> {
    let keys = std::fs::read(rig.dir().join(flow.to_string()).join("keys")).unwrap();
    keys.chunks(64).map(|slot| slot[16..48].to_vec()).collect()
}

fn holds_any(dir: &Path, keys: &[Vec<u8>]) -> bool {
    let found = |bytes: Vec<u8>| bytes.windows(32).any(|window| keys.iter().any(|key| window == key));
    files_below(dir).iter().any(|path| found(std::fs::read(path).unwrap()))
}

#[test]
fn invariant_5_a_purge_is_complete_from_wherever_it_stopped() {
    let mut steps = 0;
    for stop_before in 0..40 {
        let rig = Rig::new(8 * 64 * 1024);
        let mut outbox = rig.open();
        let other = put_many(&mut outbox, B, 4, 20_000);
        let doomed = put_many(&mut outbox, A, 8, 20_000);
        outbox.lost(doomed[2], LossReason::Refused).unwrap();
        let keys = secrets(&rig, A);
        let mut counter = Steps::stopping_before(stop_before);
        let outcome = outbox.purge_in_steps(A, &mut counter);
        assert!(outbox.batches().all(|batch| batch.flow == B), "from the call on");
        assert!(outbox.read(doomed[0], &Car).is_err());
        drop(outbox);
        // The keys go first: after the first step, whatever is left is noise.
        assert_eq!(holds_any(&rig.dir(), &keys), stop_before < 1);
        let (mut outbox, report) = rig.open_with(&[A]);
        assert_eq!(report.failed, []);
        assert_eq!(stored(&outbox), other);
        read_all(&mut outbox, 20_000);
        assert!(!rig.dir().join(A.to_string()).exists());
        assert_eq!(outbox.index.flows().unwrap().into_iter().collect::<Vec<_>>(), [B]);
        assert!(!holds_any(&rig.dir(), &keys));
        outbox.purge(A).unwrap();
        steps = stop_before;
        if outcome.is_ok() {
            break;
        }
    }
    assert!((8..40).contains(&steps), "{steps} steps");
    println!("purge: stopped before each of {steps} steps, complete after the next start each time");
}

#[test]
fn what_a_failed_sync_left_in_doubt_is_written_again() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    put_many(&mut outbox, A, 2, 1000);
    let doubtful = [put(&mut outbox, A, 1000), put(&mut outbox, A, 1000)];
    let other = put(&mut outbox, B, 1000);
    rig.disk.0.syncs_fail(EIO);
    assert!(outbox.sync().is_err());
    rig.disk.0.syncs_fail(0);
    assert_eq!(stored(&outbox).len(), 2, "nothing new is reported");
    let late = put(&mut outbox, A, 1000);
    assert_eq!(outbox.sync().unwrap(), [doubtful[0], doubtful[1], other, late]);
    read_all(&mut outbox, 1000);
    drop(outbox);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.lost, stored(&outbox).len()), (0, 6));
    read_all(&mut outbox, 1000);
}

#[test]
fn what_waits_for_a_sync_is_bounded_in_memory() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    let batches: Vec<BatchId> = (0..24).map(|_| put(&mut outbox, A, 100_000)).collect();
    let held: usize = outbox.unsynced.iter().flat_map(|it| &it.envelope).map(Vec::len).sum();
    assert!(held <= OUTBOX_UNSYNCED_BYTES_MAX, "{held}");
    assert_eq!(stored(&outbox), []);
    assert_eq!(outbox.sync().unwrap(), batches);
    assert_eq!(stored(&outbox), batches);
}
