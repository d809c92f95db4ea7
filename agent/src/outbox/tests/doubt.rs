//! Found by the simulation: what cannot be read at start, what a withdrawal left that was not stored, what syncs leave.

use super::*;

/// The folder of flow A with something in place of its key file, and that put right again.
fn hide_keys(rig: &Rig) -> impl Fn() {
    let keys = rig.dir().join(A.to_string()).join("keys");
    let aside = keys.with_extension("aside");
    std::fs::rename(&keys, &aside).unwrap();
    std::fs::create_dir(&keys).unwrap();
    move || {
        std::fs::remove_dir(&keys).unwrap();
        std::fs::rename(&aside, &keys).unwrap();
    }
}

#[test]
fn nothing_is_stored_in_a_flow_that_could_not_be_read_and_it_is_taken_up_later() {
    let rig = Rig::new(MIB);
    let before = put_many(&mut rig.open(), A, 3, 500);
    let put_right = hide_keys(&rig);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.failed.len(), stored(&outbox)), (1, vec![]));
    assert!(matches!(outbox.next(A), Err(OutboxError::NotTakenUp { flow: A, .. })));
    assert!(outbox.take_up_again().is_err() && !outbox.is_taken_up(A));
    put_right();
    outbox.take_up_again().unwrap();
    assert_eq!(outbox.sync().unwrap(), before, "reported as stored, so that they are offered");
    let after = put(&mut outbox, A, 500);
    assert_eq!((after.epoch, after.sequence), (before[0].epoch, Sequence(4)));
    read_all(&mut outbox, 500);
}

#[test]
fn what_was_narrowed_while_it_could_not_be_read_is_lost_when_it_can() {
    let rig = Rig::new(MIB);
    put_many(&mut rig.open(), A, 3, 500);
    let put_right = hide_keys(&rig);
    let mut outbox = rig.open();
    assert!(outbox.discard(A, LossReason::Narrowed).is_err());
    put_right();
    outbox.take_up_again().unwrap();
    assert_eq!((outbox.sync().unwrap(), outbox.take_dropped().len()), (vec![], 3));
    let losses = outbox.take_losses(A);
    assert_eq!((losses[0].reason, losses[0].batches), (LossReason::Narrowed, 3));
}

#[test]
fn after_a_purge_that_a_power_cut_revived_sequences_do_not_come_again() {
    let rig = Rig::new(MIB);
    let before = put_many(&mut rig.open(), A, 3, 500);
    // The purge got so far, and there is no tombstone.
    for file in files_below(&rig.dir().join(A.to_string())) {
        std::fs::remove_file(file).unwrap();
    }
    // Taken up, and nothing stored in it.
    drop(rig.open());
    let (epoch, _) = rig.open().next(A).unwrap();
    assert!(epoch > before[0].epoch, "nobody knows which of them were sent");
}

#[test]
fn a_narrowing_also_deletes_what_is_acknowledged_already() {
    let rig = Rig::new(MIB);
    let mut outbox = rig.open();
    for batch in put_many(&mut outbox, A, 2, 500) {
        outbox.acked(batch).unwrap();
    }
    assert_eq!(segments(&rig.dir()).len(), 1, "it is still written to");
    outbox.discard(A, LossReason::Narrowed).unwrap();
    assert_eq!(segments(&rig.dir()).len(), 0);
}

#[test]
fn invariant_9_syncs_that_fail_again_and_again_do_not_fill_the_disk() {
    let rig = Rig::new(MIB);
    let mut outbox = rig.open();
    put(&mut outbox, A, 500);
    rig.disk.0.syncs_fail(EIO);
    for _ in 0..10 {
        assert!(outbox.sync().is_err());
        assert!(segments(&rig.dir()).len() <= 2, "{:?}", segments(&rig.dir()));
    }
    rig.disk.0.syncs_fail(0);
    outbox.sync().unwrap();
    read_all(&mut outbox, 500);
}

/// Puts a folder in the place of the newest segment, and that right again.
fn hide_newest(rig: &Rig) -> impl Fn() {
    let newest = segments(&rig.dir()).pop().unwrap();
    let aside = newest.with_extension("aside");
    std::fs::rename(&newest, &aside).unwrap();
    std::fs::create_dir(&newest).unwrap();
    move || {
        std::fs::remove_dir(&newest).unwrap();
        std::fs::rename(&aside, &newest).unwrap();
    }
}

#[test]
fn a_segment_that_cannot_be_read_is_waited_for() {
    let rig = Rig::new(8 * 4 * 1024);
    let before = put_many(&mut rig.open(), A, 9, 1_000);
    let put_right = hide_newest(&rig);
    let mut outbox = rig.open();
    assert!(outbox.take_up_again().is_err() && !outbox.is_taken_up(A));
    put_right();
    outbox.take_up_again().unwrap();
    assert_eq!((outbox.sync().unwrap(), outbox.take_losses(A)), (before, vec![]));
}

#[test]
fn a_segment_that_stays_unreadable_is_lost_and_behind_it_a_new_epoch_begins() {
    let rig = Rig::new(8 * 4 * 1024);
    let before = put_many(&mut rig.open(), A, 9, 1_000);
    let _ = hide_newest(&rig);
    let mut outbox = rig.open();
    for _ in 1..UNREADABLE_TRIES_MAX {
        assert!(outbox.take_up_again().is_err());
    }
    outbox.take_up_again().unwrap();
    let found = outbox.sync().unwrap();
    assert_eq!(found, before[..found.len()]);
    assert!(found.len() < before.len());
    let (epoch, _) = outbox.next(A).unwrap();
    assert!(epoch > before[0].epoch, "it may hold many sequences");
    let losses = outbox.take_losses(A);
    assert_eq!((losses.len(), losses[0].batches), (1, 1), "nobody knows how many, but that there was one");
}

#[test]
fn a_record_is_stored_though_nobody_says_how_large_its_file_is() {
    let rig = Rig::new(MIB);
    let mut outbox = rig.open();
    put_many(&mut outbox, A, 1, 500);
    rig.disk.0.sizes_fail(EIO);
    put_many(&mut outbox, A, 1, 500);
    rig.disk.0.sizes_fail(0);
    assert!(outbox.bytes() > 0);
    drop(outbox);
    assert_eq!(stored(&rig.open()).len(), 2);
}

#[test]
fn what_a_failed_write_left_goes_with_a_narrowing() {
    let rig = Rig::new(MIB);
    let mut outbox = rig.open();
    rig.disk.0.writes_fail_late(EIO);
    let (epoch, sequence) = outbox.next(A).unwrap();
    let batch = BatchId { flow: A, epoch, sequence };
    assert!(outbox.store(&sealed(batch, 500), NOW).unwrap_err().is_trouble());
    rig.disk.0.writes_fail_late(0);
    assert_eq!(segments(&rig.dir()).len(), 1);
    outbox.discard(A, LossReason::Narrowed).unwrap();
    assert_eq!(segments(&rig.dir()).len(), 0);
}

#[test]
fn invariant_8_what_was_given_up_does_not_come_to_light_as_another_batch() {
    let rig = Rig::new(MIB);
    let mut outbox = rig.open();
    let before = put_many(&mut outbox, A, 1, 500);
    outbox.lose_samples(A, LossReason::Overload, 7).unwrap();
    assert_eq!(outbox.take_losses(A).len(), 1);
    rig.disk.0.writes_fail_late(EIO);
    let given_up = BatchId { sequence: Sequence(2), ..before[0] };
    assert!(outbox.store(&sealed(given_up, 500), NOW).unwrap_err().is_trouble());
    assert!(outbox.give_up(given_up, LossReason::Quota) && !outbox.give_up(given_up, LossReason::Quota));
    assert_eq!(outbox.next(A).unwrap().1, Sequence(3), "its own is used");
    assert_eq!(outbox.take_losses(A).len(), 2, "also what it had declared");
    let next = BatchId { sequence: Sequence(3), ..before[0] };
    assert!(outbox.store(&sealed(next, 500), NOW).unwrap_err().is_trouble());
    drop(outbox);
    rig.disk.0.writes_fail_late(0);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.lost, stored(&outbox)), (0, vec![before[0], next]), "both lie there whole");
    assert_eq!(outbox.take_losses(A), [], "that one declares all");
}

#[test]
fn what_was_lost_before_one_that_was_given_up_is_declared_too() {
    let rig = Rig::new(MIB);
    let mut outbox = rig.open();
    let unsynced = put(&mut outbox, A, 500);
    rig.disk.0.writes_fail_late(EIO);
    let given_up = BatchId { sequence: Sequence(2), ..unsynced };
    assert!(outbox.store(&sealed(given_up, 500), NOW).unwrap_err().is_trouble());
    assert!(outbox.give_up(given_up, LossReason::Quota));
    let _ = outbox.save();
    drop(outbox);
    rig.disk.0.writes_fail_late(0);
    // The power went.
    std::fs::write(&segments(&rig.dir())[0], b"").unwrap();
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.lost, outbox.next(A).unwrap().1), (1, Sequence(3)));
    let declared: u64 = outbox.take_losses(A).iter().map(|loss| loss.batches).sum();
    assert_eq!(declared, 2);
}
