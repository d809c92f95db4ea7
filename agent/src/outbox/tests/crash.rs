//! Killed at any moment: all that was reported as stored is there afterwards, and no sequence is used twice.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "GLOVEBOX_TEST_OUTBOX_CHILD";

/// A small generator, so that a seed gives the same run (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn contents(dir: &Path) -> HashMap<PathBuf, Vec<u8>> {
    let relative = |path: &PathBuf| path.strip_prefix(dir).unwrap().to_owned();
    files_below(dir).iter().map(|path| (relative(path), std::fs::read(path).unwrap())).collect()
}

/// What was reported at some moment, and what each file held then.
struct Moment {
    stored: Vec<BatchId>,
    files: HashMap<PathBuf, Vec<u8>>,
}

/// A life with 60 batches in two flows; the moments after each sync.
fn life(rig: &Rig) -> Vec<Moment> {
    let mut outbox = rig.open();
    let mut moments = Vec::new();
    for round in 0..30_usize {
        put(&mut outbox, A, 700 + round * 40);
        put(&mut outbox, if round % 3 == 0 { A } else { B }, 900);
        outbox.sync().unwrap();
        moments.push(Moment { stored: stored(&outbox), files: contents(&rig.dir()) });
    }
    drop(outbox);
    moments
}

/// Brings the copy in `dir` to a state between two syncs: what was synced is there, of the rest any beginning.
fn cut(dir: &Path, from: &Moment, to: &Moment, random: &mut Random) {
    for path in files_below(dir) {
        let name = path.strip_prefix(dir).unwrap();
        let (before, after) = (from.files.get(name), to.files.get(name));
        if before.is_none() && (random.below(3) == 0 || after.is_none()) {
            std::fs::remove_file(&path).unwrap();
            continue;
        }
        let none = Vec::new();
        let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
        let same = before.iter().zip(after).take_while(|(one, other)| one == other).count();
        // A third at a boundary of syncs, the rest anywhere.
        let end = match random.below(6) {
            0 => same,
            1 => after.len(),
            _ => same + usize::try_from(random.below((after.len() - same) as u64 + 1)).unwrap(),
        };
        let mut bytes = after[..end].to_vec();
        bytes.extend(before.get(end..).unwrap_or_default());
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn invariant_8_at_200_points_of_a_kill_all_that_was_reported_is_there() {
    let rig = Rig::new(8 * 4 * 1024 * 5);
    let moments = life(&rig);
    let mut random = Random(20_261_122);
    let (mut torn, mut extra) = (0, 0);
    for point in 0..200 {
        let copy = Rig::new(rig.config.flow_bytes_max);
        copy_tree(rig.folder.path(), copy.folder.path());
        let index = usize::try_from(random.below(29)).unwrap();
        cut(&copy.dir(), &moments[index], &moments[index + 1], &mut random);
        let (mut outbox, report) = copy.open_with(&[]);
        assert_eq!(report.failed, vec![], "point {point}");
        let found = stored(&outbox);
        assert!(moments[index].stored.iter().all(|batch| found.contains(batch)), "point {point}");
        assert!(found.iter().all(|batch| moments[index + 1].stored.contains(batch)), "point {point}");
        // One that was not reported may be half written where another one was before: then it is declared.
        for batch in &found {
            let reported = moments[index].stored.contains(batch);
            assert!(outbox.read(*batch, &Car).is_ok() || !reported, "point {point}: {batch}");
        }
        // Of what was not reported a later record may be there without an earlier one, or without its key.
        let unreported = moments[index + 1].stored.len() - moments[index].stored.len();
        assert!(report.lost <= unreported as u64, "point {point}");
        for flow in [A, B] {
            let (epoch, sequence) = outbox.next(flow).unwrap();
            assert!(!found.contains(&BatchId { flow, epoch, sequence }), "point {point}");
        }
        torn += report.torn;
        extra += found.len() - moments[index].stored.len();
    }
    println!("outbox: 200 kill points, {torn} torn ends, {extra} batches more than reported, 0 lost");
    assert!(torn > 30 && extra > 20, "the points fall within records: {torn} {extra}");
}

/// Not a test of its own: what the killed process does, when the test below starts it.
#[test]
fn child_that_stores_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let (store, _) = Store::open(&dir.join("index")).unwrap();
    let config = capped(64 * MIB);
    let (mut outbox, _) = Outbox::open(
        Place::system(dir.join("outbox")),
        config,
        store.table("outbox").unwrap(),
        &BTreeSet::new(),
    )
    .unwrap();
    let say = |word: &str, batch: BatchId| {
        let BatchId { flow, epoch, sequence } = batch;
        println!("{word} {flow} {} {} {}", epoch.counter, epoch.tag, sequence.0);
        std::io::stdout().flush().unwrap();
    };
    for round in 0_usize.. {
        for flow in [A, B] {
            put(&mut outbox, flow, 3000 + round % 7 * 1000);
        }
        outbox.sync().unwrap().into_iter().for_each(|batch| say("stored", batch));
        // Two of three are acknowledged, so that segments go while others come.
        let oldest: Vec<BatchId> = outbox.batches().filter(|batch| batch.flow == A).take(2).collect();
        for batch in oldest.into_iter().filter(|_| round % 3 != 0) {
            say("acking", batch);
            outbox.acked(batch).unwrap();
        }
    }
}

fn parse(line: &str) -> Option<(bool, BatchId)> {
    let mut words = line.split(' ');
    let word = words.next().filter(|word| ["stored", "acking"].contains(word))?;
    let flow = words.next()?.parse().ok()?;
    let epoch = Epoch { counter: words.next()?.parse().ok()?, tag: words.next()?.parse().ok()? };
    Some((word == "stored", BatchId { flow, epoch, sequence: Sequence(words.next()?.parse().ok()?) }))
}

#[test]
fn invariant_8_what_was_reported_survives_kill_9() {
    let rig = Rig::new(64 * MIB);
    let mut random = Random(9);
    let (mut reported, mut acking): (BTreeSet<BatchId>, BTreeSet<BatchId>) = Default::default();
    let lives = 12;
    for life in 0..lives {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "outbox::tests::crash::child_that_stores_until_it_is_killed", "--nocapture"])
            .env(CHILD, rig.folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let enough = 20 + usize::try_from(random.below(120)).unwrap();
        let mut seen = 0;
        let mut note = |line: String| {
            let Some((is_stored, batch)) = parse(&line) else { return 0 };
            match is_stored {
                true => assert!(reported.insert(batch), "life {life}: {batch} was used before"),
                false => drop(acking.insert(batch)),
            }
            usize::from(is_stored)
        };
        while seen < enough {
            seen += note(lines.next().unwrap());
        }
        std::thread::sleep(std::time::Duration::from_micros(random.below(3000)));
        child.kill().unwrap();
        lines.for_each(|line| seen += note(line));
        child.wait().unwrap();

        let (mut outbox, report) = rig.open_with(&[]);
        // A record that was cut in two was not reported; that it is lost is declared all the same.
        assert!(report.lost <= report.torn && report.index_lost == 0, "life {life}: {report:?}");
        let found: BTreeSet<BatchId> = outbox.batches().collect();
        let lost: Vec<&BatchId> =
            reported.iter().filter(|batch| !found.contains(batch) && !acking.contains(batch)).collect();
        assert_eq!(lost, Vec::<&BatchId>::new(), "life {life}");
        for batch in found.iter().take(500) {
            assert!(outbox.read(*batch, &Car).is_ok(), "life {life}: {batch}");
        }
        // What is found and was not reported was written in the last moment: it counts as reported from here on.
        reported.extend(found);
    }
    println!("outbox: {lives} kills, {} batches reported, 0 lost", reported.len());
}

/// Bytes that this process has caused to be written, by the kernel's count.
fn written_by_process() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    (field("wchar:"), field("write_bytes:"))
}

/// Prints what reaches the disk for a byte of sealed data: stored one by one, acknowledged at once.
#[test]
fn the_cost_of_a_sealed_byte_is_printed() {
    for bytes in [1_000, 20_000, 100_000] {
        let rig = Rig::new(64 * MIB);
        let mut outbox = rig.open();
        put_many(&mut outbox, A, 1, bytes);
        let count = 2_000_000 / bytes;
        let batches: Vec<Sealed> = (2..2 + count)
            .map(|sequence| {
                let epoch = outbox.next(A).unwrap().0;
                sealed(BatchId { flow: A, epoch, sequence: Sequence(sequence as u64) }, bytes)
            })
            .collect();
        let size: usize = batches.iter().map(|it| it.envelope().len()).sum();
        let (before, begun) = (written_by_process(), std::time::Instant::now());
        for batch in &batches {
            outbox.store(batch, NOW).unwrap();
            let synced = outbox.sync().unwrap();
            outbox.acked(synced[0]).unwrap();
        }
        let after = written_by_process();
        let ratio = |written: u64| written as f64 / size as f64;
        println!(
            "outbox: {count} × {bytes} bytes: {:.3} in records, {:.3} by write calls, {:.3} to the disk, {} µs a batch",
            ratio(outbox.written()) - ratio(0),
            ratio(after.0 - before.0),
            ratio(after.1 - before.1),
            begun.elapsed().as_micros() / count as u128,
        );
    }
}
