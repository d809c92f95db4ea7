//! What was emitted last, kept over a restart: a rate holds across it. No values. Written twice a run: a cut run leaves
//! `running`, and then all that has a rate waits.
//!
//! ```text
//! file: `running`
//!   or: `ended` and, if a run before it was cut, when the one after that began; then lines of
//!       `flow leaf figure sender time`: numbers; the leaf by a hash of its name, times in microseconds since 1970
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use glovebox_core::consent::SourceAddress;
use glovebox_core::consent::gate::{LastRun, Remembered};
use glovebox_core::consent::transform::Figure;
use glovebox_core::decode::{LeafIndex, Leaves};
use glovebox_core::limits::EMITTED_FILE_BYTES_MAX;
use glovebox_core::names::{Digest, FlowId, SignalPath, WallTime};

use crate::store::files::{self, FileError, Privacy};

/// The file.
pub(super) struct Emitted {
    path: PathBuf,
    leaves: Arc<Leaves>,
}

impl Emitted {
    pub(super) fn new(path: PathBuf, leaves: Arc<Leaves>) -> Self {
        Self { path, leaves }
    }

    /// How the last run ended, and marks this one as running. Without a file there was none; one that cannot be read tells
    /// of a cut one.
    pub(super) fn begin(&self) -> LastRun {
        let text = match files::read_bounded(&self.path, EMITTED_FILE_BYTES_MAX, Privacy::Public) {
            Ok(None) => "ended\n".to_owned(),
            read => read.ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default(),
        };
        if let Err(error) = files::write_atomically(&self.path, b"running\n") {
            tracing::warn!(target: "consent", %error, "a cut of this run will not be noticed: rates hold within it only");
        }
        parse(&text, &self.leaves).unwrap_or(LastRun::Cut)
    }

    /// The run ends in order.
    pub(super) fn end(&self, run: &LastRun) -> Result<(), FileError> {
        let LastRun::Ended { remembered, cut } = run else { return Ok(()) };
        let mut text = "ended".to_owned();
        // A string takes everything.
        let _ = match cut {
            Some(cut) => writeln!(text, " {}", cut.0),
            None => writeln!(text),
        };
        for it in remembered {
            let Some(leaf) = self.leaves.get(it.leaf) else { continue };
            let (leaf, figure) =
                (hash(&leaf.path), it.figure.map_or("-".to_owned(), |figure| figure.to_string()));
            let _ = writeln!(text, "{} {leaf:016x} {figure} {} {}", it.flow, it.source.0, it.at.0);
        }
        files::write_atomically(&self.path, text.as_bytes())
    }
}

/// `None` if it is not of an orderly end, whole and in this form. What this car has no leaf for any more is left out.
fn parse(text: &str, leaves: &Leaves) -> Option<LastRun> {
    let names: HashMap<u64, LeafIndex> =
        leaves.iter().map(|(index, leaf)| (hash(&leaf.path), index)).collect();
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let cut = match lines.next()?.strip_prefix("ended")? {
        "" => None,
        cut => Some(WallTime(cut.strip_prefix(' ')?.parse().ok()?)),
    };
    let mut remembered = Vec::new();
    for line in lines {
        let [flow, leaf, figure, source, at] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let flow: FlowId = flow.parse().ok()?;
        let leaf = names.get(&u64::from_str_radix(leaf, 16).ok()?);
        let figure = match figure {
            "-" => None,
            name => Some(Figure::parse(name)?),
        };
        let (source, at) = (SourceAddress(source.parse().ok()?), WallTime(at.parse().ok()?));
        remembered.extend(leaf.map(|leaf| Remembered { flow, leaf: *leaf, figure, source, at }));
    }
    Some(LastRun::Ended { remembered, cut })
}

/// A name that is in no file in the clear.
pub(super) fn hash(path: &SignalPath) -> u64 {
    let digest = Digest::of(path.as_str().as_bytes()).0;
    digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
pub(super) mod tests {
    use super::*;
    use glovebox_core::decode::dbc::Database;
    use glovebox_core::decode::leaves::BusDatabase;
    use glovebox_core::frame::BusIndex;
    use glovebox_core::names::BusName;

    pub(in super::super) fn leaves() -> Arc<Leaves> {
        let text = "BO_ 1 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] \"\" X\n SG_ B : 8|8@1+ (1,0) [0|0] \"\" X\n";
        let database = Database::parse(text.as_bytes(), "a.dbc").unwrap().0;
        let name = BusName::new("can0").unwrap();
        let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
        Arc::new(Leaves::build(&[bus]).unwrap().0)
    }

    #[test]
    fn an_orderly_end_is_read_back_once_and_what_follows_it_is_a_cut() {
        let folder = tempfile::tempdir().unwrap();
        let emitted = Emitted::new(folder.path().join("emitted"), leaves());
        let fresh = LastRun::Ended { remembered: Vec::new(), cut: None };
        assert_eq!(emitted.begin(), fresh, "there was no run");
        assert_eq!(emitted.begin(), LastRun::Cut);
        let of = |leaf, figure: Option<&str>, source| Remembered {
            flow: FlowId(7),
            leaf: LeafIndex(leaf),
            figure: figure.map(|it| Figure::parse(it).unwrap()),
            source: SourceAddress(source),
            at: WallTime(-5),
        };
        let all = vec![of(0, None, 255), of(1, Some("mean"), 3), of(1, Some("histogram.2"), 3)];
        for cut in [None, Some(WallTime(12))] {
            let run = LastRun::Ended { remembered: all.clone(), cut };
            emitted.end(&run).unwrap();
            assert_eq!(emitted.begin(), run);
            assert_eq!(emitted.begin(), LastRun::Cut);
        }
    }

    #[test]
    fn what_is_not_whole_tells_of_a_cut_run() {
        let leaves = leaves();
        let line = format!("0000000000000007 {:016x} - 255 5", hash(&leaves.get(LeafIndex(1)).unwrap().path));
        assert!(parse(&format!("ended\n{line}\n"), &leaves).is_some());
        for text in ["", "running\n", "ended", "ended 5x\n", "ended\n1 2\n"] {
            assert_eq!(parse(text, &leaves), None, "{text:?}");
        }
        for cut in 1..line.len() {
            assert_eq!(parse(&format!("ended\n{}", &line[..cut]), &leaves), None, "no end of line");
        }
        let gone = "ended\n0000000000000007 00000000000000ff - 255 5\n";
        assert_eq!(parse(gone, &leaves), Some(LastRun::Ended { remembered: Vec::new(), cut: None }));
    }
}
