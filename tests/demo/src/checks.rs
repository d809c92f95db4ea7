//! The named checks: what was shown is compared with what must be so, by a path that shares nothing with how it came.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use glovebox_tests::certs::Identity;
use glovebox_tests::leak::{Needle, search};
use glovebox_tests::source::tree;

use crate::broker::Seen;
use crate::car;
use crate::company::Reader;
use crate::story::{Company, Story};
use crate::stranger::{knock, knock_in_the_clear};
use crate::truth::{Truth, differences};

/// Values of a signal that are looked for in the broker's bytes.
const VALUES_PER_SIGNAL: usize = 12;
/// The least bytes of a needle: fewer would be found by chance.
const NEEDLE_BYTES_MIN: usize = 6;

/// A named check; `Err` says why it failed.
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) outcome: std::result::Result<(), String>,
}

impl Check {
    /// The name may tell figures that only the check knows.
    pub(crate) fn of(name: &str, outcome: Result<String>) -> Self {
        match outcome {
            Ok(figures) if figures.is_empty() => Self { name: name.to_owned(), outcome: Ok(()) },
            Ok(figures) => Self { name: format!("{name} ({figures})"), outcome: Ok(()) },
            Err(error) => Self { name: name.to_owned(), outcome: Err(format!("{error:#}")) },
        }
    }
}

fn none(found: &[String]) -> Result<()> {
    let more = found.len().saturating_sub(3);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    ensure!(found.is_empty(), "{}{rest}", found[..found.len() - more].join("; "));
    Ok(())
}

/// The broker talks to nobody who does not show a certificate of its authority.
pub(crate) fn strangers(
    port: u16,
    inner: u16,
    ca: &Path,
    car: &Identity,
    other: &Identity,
) -> Result<String> {
    let known = knock(port, ca, Some(car))?;
    ensure!(
        known.is_ok(),
        "not even a client with a certificate is let in, so this shows nothing: {known:?}"
    );
    let Err(said) = knock(port, ca, None)? else { anyhow::bail!("a client without one is let in") };
    ensure!(knock(port, ca, Some(other))?.is_err(), "a certificate of another authority is taken");
    ensure!(knock_in_the_clear(port)?.is_err(), "it answers without TLS");
    ensure!(knock_in_the_clear(inner)?.is_err(), "behind the door it answers to anybody");
    Ok(said.replace("received fatal alert: ", "it says "))
}

/// All private keys can be read by their owner alone.
pub(crate) fn keys_are_private(folder: &Path) -> Result<String> {
    let keys: Vec<_> =
        tree(folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "key")).collect();
    for key in &keys {
        let mode = std::fs::metadata(key)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{} has mode {mode:o}", key.display());
    }
    ensure!(keys.len() >= 8, "only {} keys were found", keys.len());
    Ok(format!("{} keys", keys.len()))
}

/// What the agent says that it withholds is what the owner did not grant.
pub(crate) fn withheld(company: &Company, said: &[String]) -> Result<String> {
    let want: BTreeSet<&str> = company.denied().map(|asked| asked.path.as_str()).collect();
    let said: BTreeSet<&str> = said.iter().map(String::as_str).collect();
    ensure!(want == said, "the agent says {said:?} instead of {want:?}");
    Ok(format!("{} signals", said.len()))
}

/// Each value that a company opened is the car's own, reduced as the grant says, and none is missing; but for the end
/// of what was withdrawn.
pub(crate) fn opened(truth: &Truth, company: &Company, reader: &Reader, is_prefix: bool) -> Result<String> {
    let expected = truth.expected(company);
    none(&differences(&expected, &reader.samples, is_prefix))?;
    ensure!(reader.count > 0, "nothing was opened");
    let granted = company.granted().count();
    ensure!(reader.samples.len() == granted, "{} signals instead of {granted}", reader.samples.len());
    let signals = if granted == 1 { "signal" } else { "signals" };
    Ok(format!("{} samples of {granted} {signals}", reader.count))
}

/// All batches were taken, each once, in order, and nothing was declared as lost.
pub(crate) fn complete(reader: &Reader) -> Result<String> {
    none(&reader.complaints)?;
    in_order(&reader.sequences)?;
    let again = match reader.again {
        0 => String::new(),
        again => format!("; {again} sent again and not taken again"),
    };
    Ok(format!("{} batches{again}", reader.sequences.len()))
}

fn in_order(sequences: &[u64]) -> Result<()> {
    let first = sequences.first().context("no batch came")?;
    match sequences.iter().zip(*first..).find(|(came, due)| *came != due) {
        Some((came, due)) => anyhow::bail!("batch {came} came where {due} was due"),
        None => Ok(()),
    }
}

/// The insurer opened the mileage and nothing else.
pub(crate) fn only(company: &Company, reader: &Reader) -> Result<String> {
    let granted: Vec<&str> = company.granted().map(|asked| asked.path.as_str()).collect();
    let opened: Vec<&str> = reader.samples.keys().map(String::as_str).collect();
    ensure!(opened == granted, "it opened {opened:?}, granted was {granted:?}");
    Ok(String::new())
}

/// What waits on disk bears no signal's name.
pub(crate) fn sealed_on_disk(story: &Story, queue: &Path) -> Result<String> {
    let (needles, mut bytes) = (names(story), 0);
    for path in tree(queue) {
        let content = std::fs::read(&path)?;
        bytes += content.len();
        none(&search(&path.display().to_string(), &content, &needles))?;
    }
    ensure!(bytes > 0, "nothing is on disk");
    Ok(String::new())
}

/// Names of signals, as the agent and the car write them.
fn names(story: &Story) -> Vec<Needle> {
    let mut names: Vec<&str> = story.truth.signals().iter().map(|(path, _)| path.as_str()).collect();
    if story.is_vss {
        names.extend(car::SIGNALS.iter().map(|signal| signal.name));
    }
    names.retain(|name| name.len() >= NEEDLE_BYTES_MIN);
    names.iter().map(|name| Needle::new(name, name.as_bytes())).collect()
}

/// In all that the broker saw there is no name and no value, in no form; in what the companies opened the same search
/// finds them.
pub(crate) fn blind(story: &Story, seen: &[Seen], readers: &[Reader; 2]) -> Result<String> {
    let mut needles = names(story);
    let mut texts = Vec::new();
    for (path, samples) in readers.iter().flat_map(|reader| &reader.samples) {
        let every = (samples.len() / VALUES_PER_SIGNAL).max(1);
        for value in samples.iter().step_by(every).filter_map(|(_, value)| *value) {
            let text = value.to_string();
            if text.len() >= NEEDLE_BYTES_MIN {
                texts.push(Needle::new(&format!("{text} of {path}"), text.as_bytes()));
            }
            // Zero and the like are too plain to be anybody's value.
            if value.to_bits().count_ones() > 6 {
                needles.push(Needle::new(&format!("{value} of {path} as a double"), &value.to_le_bytes()));
                needles.push(Needle::new(&format!("{value} of {path} as a double"), &value.to_be_bytes()));
            }
        }
    }
    let mut bytes = 0;
    let mut found = Vec::new();
    let wanted: Vec<Needle> = needles.iter().chain(&texts).cloned().collect();
    for seen in seen {
        bytes += seen.payload.len();
        found.extend(search("a payload", &seen.payload, &wanted));
        found.extend(search("a topic", seen.topic.as_bytes(), &wanted));
    }
    none(&found)?;
    let printed: Vec<u8> = readers.iter().map(Reader::printed).collect::<Result<Vec<_>>>()?.concat();
    let granted = story.companies.iter().flat_map(Company::granted).map(|asked| &asked.path);
    for path in granted.filter(|path| path.len() >= NEEDLE_BYTES_MIN) {
        let hit = Needle::new(path, path.as_bytes()).find(&printed).is_some();
        ensure!(hit, "the search does not even find {path} in what was opened");
    }
    let missed = texts.iter().find(|needle| needle.find(&printed).is_none());
    ensure!(missed.is_none(), "the search does not even find {missed:?} in what was opened");
    Ok(format!("{} needles, {bytes} bytes", wanted.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_is_missing_or_comes_twice_is_found() {
        assert!(in_order(&[4, 5, 6]).is_ok());
        for bad in [&[][..], &[4, 6], &[4, 5, 5], &[5, 4]] {
            assert!(in_order(bad).is_err(), "{bad:?}");
        }
    }
}
