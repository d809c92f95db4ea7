//! What signals with a `budget` have spent of it, kept over a restart and a cut of power. It is on disk before the batch
//! that it is about is handed on, so nothing can leave that is not counted. So that few samples cost a write, a quarter
//! more is noted than was spent: a cut costs that, an orderly end nothing.
//!
//! ```text
//! file: `known` or `unknown DAY`: of that day and those before it only what follows is known
//!       lines of `flow leaf day samples`; the leaf by a hash of its name, days counted from 1970, by UTC
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use glovebox_core::consent::gate::{Spending, Spent};
use glovebox_core::decode::{LeafIndex, Leaves};
use glovebox_core::limits::SPENT_FILE_BYTES_MAX;
use glovebox_core::names::{FlowId, UtcDay};

use super::emitted::hash;
use crate::store::files::{self, FileError, Privacy};

/// The file, and what it covers.
pub(super) struct Kept {
    path: PathBuf,
    leaves: Arc<Leaves>,
    covered: HashMap<(FlowId, LeafIndex, UtcDay), u32>,
    unknown_until: Option<UtcDay>,
    /// The gate's count when it was looked at last.
    looked_at: u64,
}

impl Kept {
    /// Nothing is covered yet.
    pub(super) fn new(path: PathBuf, leaves: Arc<Leaves>) -> Self {
        Self { path, leaves, covered: HashMap::new(), unknown_until: None, looked_at: 0 }
    }

    /// What earlier runs spent. Without a file there was nothing; of one that cannot be read `today` is not known.
    pub(super) fn begin(&mut self, today: UtcDay) -> Spending {
        let read = files::read_bounded(&self.path, SPENT_FILE_BYTES_MAX, Privacy::Public);
        let spending = match read {
            Ok(None) => Spending::default(),
            read => read.ok().flatten().and_then(|bytes| parse(&bytes, &self.leaves)).unwrap_or_else(|| {
                tracing::error!(target: "consent", "what was spent of budgets cannot be read: no more of today's is");
                Spending { spent: Vec::new(), unknown_until: Some(today) }
            }),
        };
        self.cover(&spending);
        spending
    }

    /// Sees to it that all of `spending` is durable; `count` is the gate's, which is the same if nothing was spent.
    ///
    /// # Errors
    /// The system's: then nothing of it may be handed on.
    pub(super) fn keep(&mut self, count: u64, spending: impl FnOnce() -> Spending) -> Result<(), FileError> {
        if count == self.looked_at {
            return Ok(());
        }
        let mut spending = spending();
        let covered = |it: &Spent| self.covered.get(&(it.flow, it.leaf, it.day)) >= Some(&it.samples);
        if spending.unknown_until != self.unknown_until || !spending.spent.iter().all(covered) {
            for it in &mut spending.spent {
                it.samples = it.samples.saturating_add(it.samples / 4 + 1);
            }
            self.write(&spending)?;
        }
        self.looked_at = count;
        Ok(())
    }

    /// The run ends in order: just what was spent.
    pub(super) fn end(&mut self, spending: &Spending) -> Result<(), FileError> {
        if self.covered.is_empty() && spending.spent.is_empty() {
            return Ok(());
        }
        self.write(spending)
    }

    fn write(&mut self, spending: &Spending) -> Result<(), FileError> {
        files::write_atomically(&self.path, text(spending, &self.leaves).as_bytes())?;
        self.cover(spending);
        Ok(())
    }

    fn cover(&mut self, spending: &Spending) {
        self.covered = spending.spent.iter().map(|it| ((it.flow, it.leaf, it.day), it.samples)).collect();
        self.unknown_until = spending.unknown_until;
    }
}

fn text(spending: &Spending, leaves: &Leaves) -> String {
    let mut text = match spending.unknown_until {
        None => "known\n".to_owned(),
        Some(day) => format!("unknown {}\n", day.0),
    };
    for it in &spending.spent {
        let Some(leaf) = leaves.get(it.leaf) else { continue };
        // A string takes everything.
        let _ = writeln!(text, "{} {:016x} {} {}", it.flow, hash(&leaf.path), it.day.0, it.samples);
    }
    text
}

/// `None` if it is not whole and in this form. What this car has no leaf for any more is left out.
fn parse(bytes: &[u8], leaves: &Leaves) -> Option<Spending> {
    let names: HashMap<u64, LeafIndex> =
        leaves.iter().map(|(index, leaf)| (hash(&leaf.path), index)).collect();
    let mut lines = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split('\n');
    let unknown_until = match lines.next()? {
        "known" => None,
        line => Some(UtcDay(line.strip_prefix("unknown ")?.parse().ok()?)),
    };
    let mut spent = Vec::new();
    for line in lines {
        let [flow, leaf, day, samples] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let flow: FlowId = flow.parse().ok()?;
        let leaf = names.get(&u64::from_str_radix(leaf, 16).ok()?);
        let (day, samples) = (UtcDay(day.parse().ok()?), samples.parse().ok()?);
        spent.extend(leaf.map(|leaf| Spent { flow, leaf: *leaf, day, samples }));
    }
    spent.sort_unstable();
    Some(Spending { spent, unknown_until })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::super::emitted::tests::leaves;
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    const TODAY: UtcDay = UtcDay(20_783);

    fn spent(leaf: u32, samples: u32) -> Spending {
        let spent = vec![Spent { flow: FlowId(7), leaf: LeafIndex(leaf), day: TODAY, samples }];
        Spending { spent, unknown_until: None }
    }

    #[test]
    fn what_was_handed_on_is_known_after_a_cut_and_no_less() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spent");
        let mut kept = Kept::new(path.clone(), leaves());
        assert_eq!(kept.begin(TODAY), Spending::default(), "there was no run");
        let mut writes = 0;
        let mut before = None;
        for samples in 1..=1_000 {
            kept.keep(u64::from(samples), || spent(1, samples)).unwrap();
            let file = std::fs::metadata(&path).unwrap().ino();
            writes += u32::from(before.replace(file) != Some(file));
            let known = Kept::new(path.clone(), leaves()).begin(TODAY).spent[0].samples;
            assert!(known >= samples && known <= samples + samples / 4 + 1, "{known} of {samples}");
        }
        assert!(writes < 40, "{writes} writes");
        kept.end(&spent(1, 1_000)).unwrap();
        assert_eq!(Kept::new(path, leaves()).begin(TODAY), spent(1, 1_000), "in order it is exact");
    }

    #[test]
    fn what_cannot_be_written_is_an_error_each_time_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not there").join("spent");
        let mut kept = Kept::new(path.clone(), leaves());
        assert!(kept.keep(1, || spent(0, 1)).is_err());
        assert!(kept.keep(1, || spent(0, 1)).is_err());
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        kept.keep(1, || spent(0, 1)).unwrap();
        assert_eq!(Kept::new(path, leaves()).begin(TODAY).spent[0].samples, 2);
    }

    #[test]
    fn of_a_file_that_cannot_be_read_today_is_not_known_and_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spent");
        let whole = text(&spent(1, 5), &leaves());
        let unknown = Spending { spent: Vec::new(), unknown_until: Some(TODAY) };
        for bad in ["", "known", "unknown x\n", "knows\n", "known\n1 2 3\n", &whole[..whole.len() - 1]] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(Kept::new(path.clone(), leaves()).begin(TODAY), unknown, "{bad:?}");
        }
        let mut kept = Kept::new(path.clone(), leaves());
        kept.begin(TODAY);
        let known = Spending { unknown_until: Some(TODAY), ..spent(0, 3) };
        kept.keep(1, || known.clone()).unwrap();
        let read = Kept::new(path, leaves()).begin(UtcDay(TODAY.0 + 1));
        assert_eq!((read.unknown_until, read.spent[0].samples), (Some(TODAY), 4));
    }
}
