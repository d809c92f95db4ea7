//! What gives way on disk: to caps, to others on the same disk, to age; and what happens while nothing can be written.

use super::faults::{ENOSPC, EROFS};
use super::*;

fn keep(priority: Priority, age_us_max: Option<i64>) -> Keep {
    Keep { priority, age_us_max }
}

fn next(outbox: &mut Outbox, flow: FlowId) -> BatchId {
    let (epoch, sequence) = outbox.next(flow).unwrap();
    BatchId { flow, epoch, sequence }
}

/// What was dropped since the last call, as flow and sequence.
fn dropped(outbox: &mut Outbox, reason: LossReason) -> Vec<(FlowId, u64)> {
    let dropped = outbox.take_dropped();
    assert!(dropped.iter().all(|it| it.reason == reason), "{dropped:?}");
    dropped.iter().map(|it| (it.batch.flow, it.batch.sequence.0)).collect()
}

/// Batches of `flow` that are to be declared.
fn to_declare(outbox: &Outbox, flow: FlowId) -> u64 {
    outbox.folders[&flow].losses.pending().iter().map(|known| known.loss.batches).sum()
}

fn of_flow(gone: &[(FlowId, u64)], flow: FlowId) -> u64 {
    gone.iter().filter(|(it, _)| *it == flow).count() as u64
}

#[test]
fn invariant_9_what_is_less_urgent_gives_way_and_the_caps_hold_on_disk() {
    let mut rig = Rig::new(MIB);
    rig.config.bytes_max = 3 * MIB;
    let mut outbox = rig.open();
    outbox.keep(A, keep(Priority::Urgent, None));
    outbox.keep(B, keep(Priority::Bulk, None));
    put_many(&mut outbox, B, 20, 20_000);
    for _ in 0..80 {
        put_many(&mut outbox, A, 1, 20_000);
        assert!(outbox.bytes() <= 3 * MIB, "{}", outbox.bytes());
    }
    let gone = dropped(&mut outbox, LossReason::Quota);
    assert!(of_flow(&gone, A) > 20, "over its own share");
    assert_eq!([A, B].map(|flow| to_declare(&outbox, flow)), [A, B].map(|flow| of_flow(&gone, flow)));
    put_many(&mut outbox, B, 1, 20_000);
    drop(outbox);
    let mut outbox = rig.open();
    assert_eq!((outbox.priority(A), outbox.priority(B)), (Priority::Urgent, Priority::Bulk), "noted");
    outbox.config.bytes_max = 1;
    let late = next(&mut outbox, A);
    outbox.store(&sealed(late, 1000), NOW).unwrap();
    let declared = [A, B].map(|flow| to_declare(&outbox, flow) - of_flow(&gone, flow));
    let gone = dropped(&mut outbox, LossReason::Quota);
    assert_eq!(declared, [A, B].map(|flow| of_flow(&gone, flow)));
    let last_bulk = gone.iter().rposition(|(flow, _)| *flow == B).unwrap();
    let first_urgent = gone.iter().position(|(flow, _)| *flow == A).unwrap();
    assert!(last_bulk < first_urgent, "all that is less urgent goes first");
    let bulk = next(&mut outbox, B);
    let refused = outbox.store(&sealed(bulk, 1000), NOW);
    assert!(matches!(refused, Err(OutboxError::LessUrgent { flow: B })), "{refused:?}");
}

#[test]
fn a_floor_of_the_file_system_is_kept() {
    let mut rig = Rig::new(64 * MIB);
    rig.config.free_bytes_min = MIB;
    let mut outbox = rig.open();
    rig.disk.0.has_space(Some(2 * MIB));
    let all: Vec<BatchId> = (0..100).flat_map(|_| put_many(&mut outbox, A, 1, 20_000)).collect();
    assert!(rig.disk.0.space_left() >= MIB - 64 * 1024, "{}", rig.disk.0.space_left());
    let gone = dropped(&mut outbox, LossReason::Quota).len();
    assert!((40..100).contains(&gone), "{gone}");
    assert_eq!(stored(&outbox), all[gone..]);
    // Others take all of it: the newest stays.
    rig.disk.0.has_space(Some(MIB / 2));
    let last = put_many(&mut outbox, A, 2, 20_000)[1];
    assert_eq!(stored(&outbox).last(), Some(&last));
}

#[test]
fn a_full_disk_gives_way_by_the_rule_and_loses_no_more() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    outbox.keep(B, keep(Priority::Bulk, None));
    put_many(&mut outbox, A, 5, 20_000);
    put_many(&mut outbox, B, 5, 20_000);
    rig.disk.0.has_space(Some(30_000));
    let urgent = put_many(&mut outbox, A, 6, 20_000);
    let gone = dropped(&mut outbox, LossReason::Quota);
    assert_eq!(to_declare(&outbox, B), 5);
    assert_eq!(gone, (1..=5).map(|sequence| (B, sequence)).collect::<Vec<_>>());
    assert_eq!(stored(&outbox).len(), 11);
    read_all(&mut outbox, 20_000);
    drop(outbox);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.lost, stored(&outbox).last()), (0, Some(&urgent[5])));
    read_all(&mut outbox, 20_000);
}

#[test]
fn where_giving_way_does_not_help_little_is_given() {
    let rig = Rig::new(8 * 64 * 1024);
    let mut outbox = rig.open();
    let before = put_many(&mut outbox, A, 9, 20_000);
    rig.disk.0.writes_fail(ENOSPC);
    let waiting = next(&mut outbox, A);
    for _ in 0..5 {
        let error = outbox.store(&sealed(waiting, 1000), NOW).unwrap_err();
        assert!(error.is_full() && error.is_trouble(), "{error}");
    }
    assert_eq!(stored(&outbox), before[3..], "one segment was tried");
    rig.disk.0.writes_fail(0);
    assert_eq!(put_many(&mut outbox, A, 1, 1000), [waiting], "the same sequence");
    drop(outbox);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.lost, report.torn), (0, 0));
    assert_eq!(stored(&outbox).len(), 7);
    assert_eq!(outbox.take_losses(A)[0].batches, 3);
}

#[test]
fn while_nothing_can_be_written_all_stays_and_then_it_goes_on() {
    for errno in [EROFS, EIO] {
        let rig = Rig::new(64 * MIB);
        let mut outbox = rig.open();
        let before = put_many(&mut outbox, A, 2, 1000);
        rig.disk.0.writes_fail(errno);
        let waiting = next(&mut outbox, A);
        let error = outbox.store(&sealed(waiting, 1000), NOW).unwrap_err();
        assert!(error.is_trouble() && !error.is_full(), "{error}");
        assert_eq!(stored(&outbox), before);
        assert_eq!(outbox.read(before[0], &Car).unwrap(), sealed(before[0], 1000), "what is there is sent");
        rig.disk.0.writes_fail(0);
        assert_eq!(put_many(&mut outbox, A, 1, 1000), [waiting]);
        drop(outbox);
        let (mut outbox, report) = rig.open_with(&[]);
        assert_eq!((report.lost, stored(&outbox).len()), (0, 3));
        read_all(&mut outbox, 1000);
    }
}

#[test]
fn what_is_too_old_goes_with_its_key_also_after_a_restart_and_without_a_grant() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    outbox.keep(A, keep(Priority::Normal, Some(10_000_000)));
    let old = put_many(&mut outbox, A, 3, 1000);
    let kept = put_many(&mut outbox, B, 1, 1000);
    drop(outbox);
    // Nobody says again what the limit is: the grant has expired.
    let mut outbox = rig.open();
    let limit = NOW.unwrap().latest.0 + 10_000_000;
    outbox.drop_aged(time(limit)).unwrap();
    assert_eq!(stored(&outbox).len(), 4, "not older than the limit");
    outbox.drop_aged(time(limit + 1)).unwrap();
    assert_eq!(stored(&outbox), kept);
    assert_eq!(dropped(&mut outbox, LossReason::Age).len(), 3);
    assert_eq!(segments(&rig.dir()).len(), 1);
    assert_eq!(outbox.folders[&A].keys.segments().count(), 0);
    let losses = outbox.take_losses(A);
    assert_eq!((losses[0].reason, losses[0].batches), (LossReason::Age, 3));
    assert_eq!(put_many(&mut outbox, A, 1, 1000)[0].sequence, old[2].sequence.next());
}

#[test]
fn in_doubt_about_its_time_a_batch_is_as_old_as_the_one_before() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    outbox.keep(A, keep(Priority::Normal, Some(5)));
    let store = |outbox: &mut Outbox, now| {
        let batch = next(outbox, A);
        outbox.store(&sealed(batch, 100), now).unwrap();
        outbox.sync().unwrap();
    };
    for now in [Some(time(100)), None, Some(time(105))] {
        store(&mut outbox, now);
    }
    drop(outbox);
    let mut outbox = rig.open();
    outbox.drop_aged(time(106)).unwrap();
    assert_eq!(sequences(&stored(&outbox)), [3]);
    assert_eq!(dropped(&mut outbox, LossReason::Age), [(A, 1), (A, 2)]);
}

#[test]
fn what_is_reserved_is_counted_and_given_back() {
    let rig = Rig::new(64 * MIB);
    let mut outbox = rig.open();
    put_many(&mut outbox, A, 1, 1000);
    drop(outbox);
    let outbox = rig.open();
    let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap()) * 512;
    let on_disk: u64 = files_below(&rig.dir()).iter().map(|path| blocks(path)).sum();
    let index = outbox.index.0.size_on_disk().unwrap();
    // The folder of the flow is counted as a block.
    assert_eq!(outbox.bytes(), on_disk + index + 4096);
    assert!(segments(&rig.dir()).iter().map(|path| blocks(path)).sum::<u64>() <= 16 * 1024);
}

#[test]
fn the_disk_is_given_back_when_the_queue_has_drained() {
    let rig = Rig::new(16 * MIB);
    let mut outbox = rig.open();
    put_many(&mut outbox, A, 500, 20_000);
    let full = outbox.bytes();
    for batch in stored(&outbox) {
        outbox.acked(batch).unwrap();
    }
    outbox.save().unwrap();
    let index = outbox.index.0.size_on_disk().unwrap();
    assert!(full > 10 * MIB && outbox.bytes() - index <= MIB + 64 * 1024, "{full} {}", outbox.bytes());
    assert!(index <= 4 * MIB, "{index}");
    outbox.close().unwrap();
    let outbox = rig.open();
    assert_eq!(segments(&rig.dir()), Vec::<PathBuf>::new());
    assert!(outbox.bytes() - index <= 16 * 1024, "{}", outbox.bytes());
}
