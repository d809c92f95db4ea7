//! Damage is never fatal: what cannot be read is counted and declared, the rest is delivered.

use proptest::prelude::*;

use super::*;

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

fn corrupt(batches: u64, first: u64) -> Loss {
    let last = first + batches - 1;
    Loss { reason: LossReason::Corrupt, batches, first_sequence: first, last_sequence: last, samples: 0 }
}

/// Five records of one size in one segment; answers the bytes of a record.
fn five(rig: &Rig) -> usize {
    let mut outbox = rig.open();
    put_many(&mut outbox, A, 5, 1000);
    let bytes = std::fs::read(&segments(&rig.dir())[0]).unwrap();
    bytes.windows(4).skip(1).position(|window| window == b"GBX2").unwrap() + 1
}

#[test]
fn a_damaged_head_is_stepped_over_and_declared_once() {
    for byte in [0, 5, 9, 13, 22, 29] {
        let rig = Rig::new(64 * MIB);
        let record = five(&rig);
        flip(&segments(&rig.dir())[0], 2 * record + byte);
        let (mut outbox, report) = rig.open_with(&[]);
        assert_eq!((report.damaged, report.lost, report.torn), (1, 1, 0), "byte {byte}");
        assert_eq!(sequences(&stored(&outbox)), [1, 2, 4, 5]);
        read_all(&mut outbox, 1000);
        drop(outbox);
        let (mut outbox, report) = rig.open_with(&[]);
        assert_eq!(report.lost, 0, "noted");
        assert_eq!(outbox.take_losses(A), [corrupt(1, 3)]);
    }
}

#[test]
fn a_damaged_body_is_found_when_it_is_read_and_declared() {
    let rig = Rig::new(64 * MIB);
    let record = five(&rig);
    flip(&segments(&rig.dir())[0], record + 500);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.damaged, report.lost), (0, 0));
    let batch = stored(&outbox)[1];
    assert!(matches!(outbox.read(batch, &Car), Err(ReadError::Corrupt { .. })));
    assert!(matches!(outbox.read(batch, &Car), Err(ReadError::NotStored { .. })));
    assert_eq!(outbox.take_dropped(), [Dropped { batch, reason: LossReason::Corrupt }]);
    drop(outbox);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.lost, sequences(&stored(&outbox))), (0, vec![1, 3, 4, 5]));
    assert_eq!(outbox.take_losses(A), [corrupt(1, 2)]);
}

#[test]
fn a_torn_end_is_cut_off_and_its_sequence_not_taken_again() {
    let rig = Rig::new(64 * MIB);
    let record = five(&rig);
    let path = segments(&rig.dir())[0].clone();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(u64::try_from(5 * record - 7).unwrap()).unwrap();
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.torn, report.lost, report.damaged), (1, 1, 0));
    assert_eq!(path.metadata().unwrap().len(), u64::try_from(4 * record).unwrap());
    assert_eq!(sequences(&stored(&outbox)), [1, 2, 3, 4]);
    let (epoch, sequence) = outbox.next(A).unwrap();
    assert_eq!((epoch.counter, sequence), (2, Sequence(1)));
    let losses = outbox.take_losses(A);
    assert_eq!((losses.len(), losses[0].batches), (1, 1), "it may have been whole once, and reported");
}

#[test]
fn invariant_8_a_torn_end_is_declared_though_the_start_that_found_it_does_not_come_to_its_end() {
    let rig = Rig::new(64 * MIB);
    let record = five(&rig);
    let path = segments(&rig.dir())[0].clone();
    let cut = |bytes: usize| {
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(u64::try_from(bytes).unwrap()).unwrap();
    };
    cut(5 * record - 7);
    rig.disk.0.syncs_fail(EIO);
    assert_eq!(rig.open_with(&[]).1.failed.len(), 1);
    rig.disk.0.syncs_fail(0);
    // It had been cut off by then.
    cut(4 * record);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.torn, report.lost, sequences(&stored(&outbox))), (0, 0, vec![1, 2, 3, 4]));
    assert_eq!(outbox.next(A).unwrap().1, Sequence(6), "it is used");
    assert_eq!(outbox.take_losses(A), [corrupt(1, 5)]);
}

#[test]
fn a_torn_end_before_another_epoch_is_declared() {
    let mut rig = Rig::new(64 * MIB);
    let record = five(&rig);
    rig.config.new_epoch = true;
    put_many(&mut rig.open(), A, 2, 1000);
    flip(&segments(&rig.dir())[0], 4 * record + 3);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.lost, sequences(&stored(&outbox))), (1, vec![1, 2, 3, 4, 1, 2]));
    let declared: u64 = outbox.take_losses(A).iter().map(|loss| loss.batches).sum();
    assert_eq!(declared, 1, "behind it nothing shows as a gap");
}

#[test]
fn without_its_key_a_segment_is_lost_and_declared() {
    let rig = Rig::new(8 * 64 * 1024);
    let mut outbox = rig.open();
    put_many(&mut outbox, A, 9, 20_000);
    drop(outbox);
    flip(&rig.dir().join(A.to_string()).join("keys"), 64 + 30);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!(report.lost, 3);
    assert_eq!(sequences(&stored(&outbox)), [1, 2, 3, 7, 8, 9]);
    read_all(&mut outbox, 20_000);
    assert_eq!(outbox.take_losses(A), [corrupt(3, 4)]);
    std::fs::remove_file(rig.dir().join(A.to_string()).join("keys")).unwrap();
    drop(outbox);
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.lost, stored(&outbox).len()), (6, 0));
    assert_eq!(
        outbox.next(A).unwrap().1,
        Sequence(1),
        "of a new epoch: a purge may have begun, and taken some"
    );
    let declared: u64 = outbox.take_losses(A).iter().map(|loss| loss.batches).sum();
    assert_eq!(declared, 9);
}

#[test]
fn a_record_in_another_place_is_not_taken_for_its_own() {
    let rig = Rig::new(64 * MIB);
    let record = five(&rig);
    let path = &segments(&rig.dir())[0];
    let mut bytes = std::fs::read(path).unwrap();
    let (one, two) = bytes.split_at_mut(record);
    one.swap_with_slice(&mut two[..record]);
    std::fs::write(path, bytes).unwrap();
    let (mut outbox, report) = rig.open_with(&[]);
    assert_eq!((report.lost, sequences(&stored(&outbox))), (1, vec![2, 3, 4, 5]), "order is sequence order");
    read_all(&mut outbox, 1000);
    let moved = path.with_file_name(format!("{:016x}.seg", 7));
    std::fs::copy(path, moved).unwrap();
    drop(outbox);
    let (mut outbox, _) = rig.open_with(&[]);
    assert_eq!(sequences(&stored(&outbox)), [2, 3, 4, 5], "a copied file is noise");
    read_all(&mut outbox, 1000);
}

#[test]
fn foreign_files_and_folders_are_left_alone() {
    let rig = Rig::new(64 * MIB);
    five(&rig);
    for name in ["notes.txt", "0000000000000000", "zz", "000000000000000A"] {
        std::fs::write(rig.dir().join(name), b"x").unwrap();
    }
    std::fs::create_dir(rig.dir().join("lost+found")).unwrap();
    std::fs::write(rig.dir().join(A.to_string()).join("x.seg"), b"x").unwrap();
    let (outbox, report) = rig.open_with(&[]);
    assert_eq!((report.flows, stored(&outbox).len(), report.failed), (1, 5, vec![]));
}

#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, prop::sample::Index),
    Zero(prop::sample::Index, prop::sample::Index, usize),
    Cut(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), index()).prop_map(|(file, at)| Damage::Flip(file, at)),
        2 => (index(), index(), 1_usize..3000).prop_map(|(file, at, length)| Damage::Zero(file, at, length)),
        1 => (index(), index()).prop_map(|(file, at)| Damage::Cut(file, at)),
        1 => index().prop_map(Damage::Remove),
    ]
}

fn apply(damage: &Damage, files: &[PathBuf]) {
    let (Damage::Flip(file, _) | Damage::Zero(file, ..) | Damage::Cut(file, _) | Damage::Remove(file)) =
        damage;
    let path = &files[file.index(files.len())];
    let Ok(mut bytes) = std::fs::read(path) else { return };
    let length = bytes.len();
    match damage {
        Damage::Remove(_) => return std::fs::remove_file(path).unwrap(),
        _ if length == 0 => return,
        Damage::Flip(_, at) => bytes[at.index(length)] ^= 1,
        Damage::Zero(_, at, count) => {
            let at = at.index(length);
            bytes[at..(at + count).min(length)].fill(0);
        }
        Damage::Cut(_, at) => bytes.truncate(at.index(length)),
    }
    std::fs::write(path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any damage to keys and segments: each batch is read back as it was, or declared lost, never both; only the
    /// last ones of the stream, after which nothing came, may be missing without a word.
    #[test]
    fn invariant_8_after_any_damage_each_batch_is_whole_or_declared(
        damages in prop::collection::vec(damage(), 1..6)
    ) {
        let rig = Rig::new(8 * 8 * 1024);
        let mut outbox = rig.open();
        let all: Vec<BatchId> = (0..30).flat_map(|_| put_many(&mut outbox, A, 1, 1000)).collect();
        drop(outbox);
        let files = files_below(&rig.dir());
        damages.iter().for_each(|damage| apply(damage, &files));
        let (mut outbox, report) = rig.open_with(&[]);
        prop_assert_eq!(report.failed, vec![]);
        let mut read = Vec::new();
        for batch in stored(&outbox) {
            if let Ok(found) = outbox.read(batch, &Car) {
                prop_assert_eq!(found, sealed(batch, 1000));
                read.push(batch);
            }
        }
        let (epoch, sequence) = outbox.next(A).unwrap();
        let known = if epoch == all[0].epoch { sequence.0 - 1 } else {
            let pending = outbox.folders[&A].losses.pending();
            let lost = pending.iter().map(|known| known.loss.last_sequence).max().unwrap_or(0);
            read.last().map_or(0, |batch| batch.sequence.0).max(lost)
        };
        let declared: u64 = outbox.take_losses(A).iter().map(|loss| loss.batches).sum();
        let read_count = u64::try_from(read.len()).unwrap();
        prop_assert_eq!(read_count + declared, known, "of {}", all.len());
        // A bit that is flipped in the zeros behind the last record looks like the beginning of one more.
        prop_assert!(known <= 31);
        drop(outbox);
        let (outbox, report) = rig.open_with(&[]);
        prop_assert_eq!((stored(&outbox), report.lost), (read, 0));
    }
}
