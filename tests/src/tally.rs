//! What the agent said it had stored, held against what the recipients opened and what was declared to them as lost.

use crate::agent::Stored;
use crate::need::say;
use crate::recipient::{self, Sample};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a sample of the log must be: signal and stamp in microseconds give the value.
pub type Truth = fn(&str, i64) -> Option<f64>;

/// A batch has no more samples: one second, three stamps, two signals.
const SAMPLES_A_BATCH: u64 = 6;

/// The account of one car. Nothing in it is ever taken back.
#[derive(Debug)]
pub struct Tally {
    truth: Truth,
    stored: BTreeSet<Stored>,
    /// A sequence that was said to be stored twice.
    twice: Vec<Stored>,
    arrived: BTreeMap<Stored, BTreeSet<(String, i64)>>,
    doubled: usize,
    wrong: Vec<Sample>,
    /// Batches declared lost, by flow: sequences of an earlier epoch are declared by their number alone.
    declared: BTreeMap<String, u64>,
    /// Samples declared lost that were in no stored batch, by flow.
    samples_declared: BTreeMap<String, u64>,
    gaps: Vec<(Stored, u64)>,
    /// What loss records name.
    named_lost: Vec<(Stored, u64)>,
    events: BTreeMap<String, usize>,
    flows: BTreeMap<String, BTreeSet<String>>,
    read: BTreeMap<PathBuf, u64>,
}

impl Tally {
    /// Nothing so far.
    #[must_use]
    pub fn new(truth: Truth) -> Self {
        Self {
            truth,
            stored: BTreeSet::new(),
            twice: Vec::new(),
            arrived: BTreeMap::new(),
            doubled: 0,
            wrong: Vec::new(),
            declared: BTreeMap::new(),
            samples_declared: BTreeMap::new(),
            gaps: Vec::new(),
            named_lost: Vec::new(),
            events: BTreeMap::new(),
            flows: BTreeMap::new(),
            read: BTreeMap::new(),
        }
    }

    /// An account that begins now: the same batches were stored, and nothing has come yet.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { stored: self.stored.clone(), read: self.read.clone(), ..Self::new(self.truth) }
    }

    /// All that one life of the agent said it had stored; once a life.
    pub fn said(&mut self, stored: Vec<Stored>) {
        for batch in stored {
            if !self.stored.insert(batch.clone()) {
                self.twice.push(batch);
            }
        }
    }

    /// Takes what a recipient has printed since the last call.
    ///
    /// # Errors
    /// If a line is not as it should be.
    pub fn read(&mut self, recipient: &str, lines: &Path) -> Result<()> {
        let from = self.read.get(lines).copied().unwrap_or(0);
        let mut file = std::fs::File::open(lines).with_context(|| format!("open {}", lines.display()))?;
        file.seek(SeekFrom::Start(from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read.insert(lines.to_path_buf(), from + whole as u64);
        let printed = recipient::read(&text[..whole])?;
        printed.samples.into_iter().for_each(|sample| self.sample(recipient, sample));
        printed.events.iter().try_for_each(|event| self.event(event))
    }

    fn sample(&mut self, recipient: &str, sample: Sample) {
        if self.flows.get(recipient).is_none_or(|flows| !flows.contains(&sample.flow)) {
            self.flows.entry(recipient.to_owned()).or_default().insert(sample.flow.clone());
        }
        let batch = Stored { flow: sample.flow.clone(), epoch: sample.epoch, sequence: sample.sequence };
        let new = self.arrived.entry(batch).or_default().insert((sample.signal.clone(), sample.time_us));
        self.doubled += usize::from(!new);
        let right = |truth: f64| sample.value.is_some_and(|value| (value - truth).abs() < 1e-6);
        if !(self.truth)(&sample.signal, sample.time_us).is_some_and(right) {
            self.wrong.push(sample);
        }
    }

    fn event(&mut self, event: &Value) -> Result<()> {
        let name = event["event"].as_str().unwrap_or_default();
        *self.events.entry(name.to_owned()).or_default() += 1;
        let number = |name: &str| event[name].as_u64().with_context(|| format!("`{name}` of {event}"));
        let flow = || event["flow"].as_str().unwrap_or_default().to_owned();
        match name {
            "loss" => {
                let epoch = u32::try_from(number("epoch")?)?;
                let first = Stored { flow: flow(), epoch, sequence: number("first")? };
                self.named_lost.push((first, number("last")?));
                *self.declared.entry(flow()).or_default() += number("batches")?;
                // Null: of whole batches nobody knows how many.
                let samples = if event["samples"].is_null() { 0 } else { number("samples")? };
                *self.samples_declared.entry(flow()).or_default() += samples;
            }
            "gap" => {
                let epoch = u32::try_from(number("epoch")?)?;
                self.gaps.push((Stored { flow: flow(), epoch, sequence: number("first")? }, number("last")?));
            }
            // It came, and had come before.
            "duplicate" => {
                let epoch = u32::try_from(number("epoch")?)?;
                self.arrived.entry(Stored { flow: flow(), epoch, sequence: number("seq")? }).or_default();
            }
            _ => {}
        }
        Ok(())
    }

    /// Flows of which a recipient has opened something.
    #[must_use]
    pub fn flows_of(&self, recipient: &str) -> BTreeSet<String> {
        self.flows.get(recipient).cloned().unwrap_or_default()
    }

    /// The last stamp in a batch, in microseconds of the log.
    #[must_use]
    pub fn end_of(&self, batch: &Stored) -> Option<i64> {
        self.arrived.get(batch)?.iter().map(|(_, time_us)| *time_us).max()
    }

    /// How many batches were stored.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.stored.len()
    }

    /// How many batches arrived, also those that were not said to be stored.
    #[must_use]
    pub fn arrived(&self) -> usize {
        self.arrived.len()
    }

    /// How often recipients told of an event: duplicate, gap, loss, refused, held.
    #[must_use]
    pub fn events(&self, name: &str) -> usize {
        self.events.get(name).copied().unwrap_or(0)
    }

    /// Stored and not opened by anybody so far, but for the flows in `gone`.
    #[must_use]
    pub fn missing(&self, gone: &BTreeSet<String>) -> Vec<&Stored> {
        let wanted = |batch: &&Stored| !gone.contains(&batch.flow) && !self.arrived.contains_key(*batch);
        self.stored.iter().filter(wanted).collect()
    }

    /// Of the missing ones, those of which no loss record speaks.
    #[must_use]
    pub fn undeclared(&self, gone: &BTreeSet<String>) -> u64 {
        let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
        self.missing(gone).iter().for_each(|batch| *lost.entry(&batch.flow).or_default() += 1);
        let declared = |flow: &str| self.declared.get(flow).copied().unwrap_or(0);
        lost.iter().map(|(flow, lost)| lost.saturating_sub(declared(flow))).sum()
    }

    /// Nothing is missing within what came of a life, a sample of each signal every `tick_us`, unless as much of its flow
    /// was declared lost.
    ///
    /// # Errors
    /// If more is missing.
    pub fn must_be_whole(&self, tick_us: i64) -> Result<()> {
        let mut stamps: BTreeMap<(&str, u32, &str), Vec<i64>> = BTreeMap::new();
        for (batch, samples) in &self.arrived {
            for (signal, time_us) in samples {
                stamps.entry((&batch.flow, batch.epoch, signal)).or_default().push(*time_us);
            }
        }
        let mut missing: BTreeMap<&str, i64> = BTreeMap::new();
        for ((flow, ..), stamps) in &stamps {
            let (Some(first), Some(last)) = (stamps.iter().min(), stamps.iter().max()) else { continue };
            let ticks = (last - first) / tick_us + 1;
            *missing.entry(flow).or_default() += ticks - i64::try_from(stamps.len())?;
        }
        for (flow, missing) in missing {
            let of = |declared: &BTreeMap<String, u64>| declared.get(flow).copied().unwrap_or(0);
            let declared = of(&self.samples_declared) + of(&self.declared) * SAMPLES_A_BATCH;
            ensure!(
                missing <= i64::try_from(declared)?,
                "flow {flow}: {missing} samples are missing, {declared} declared"
            );
        }
        Ok(())
    }

    /// Gaps in what a recipient has that nothing filled later, and no later loss record named (a batch may be sealed before
    /// an earlier one gives way): batches that were passed over.
    #[must_use]
    pub fn gaps(&self, gone: &BTreeSet<String>) -> usize {
        let open = |(first, last): &&(Stored, u64)| {
            let batch = |sequence| Stored { sequence, ..first.clone() };
            !gone.contains(&first.flow) && (first.sequence..=*last).any(|at| !self.is_accounted(&batch(at)))
        };
        self.gaps.iter().filter(open).count()
    }

    fn is_accounted(&self, batch: &Stored) -> bool {
        let names = |(first, last): &(Stored, u64)| {
            (&first.flow, first.epoch) == (&batch.flow, batch.epoch)
                && (first.sequence..=*last).contains(&batch.sequence)
        };
        self.arrived.contains_key(batch) || self.named_lost.iter().any(names)
    }

    /// Nothing came twice, nothing came that is not in the log, and no sequence was used twice.
    ///
    /// # Errors
    /// If one of these is not so.
    pub fn must_be_true(&self) -> Result<()> {
        let wrong: Vec<&Sample> = self.wrong.iter().take(3).collect();
        ensure!(wrong.is_empty(), "{} samples are not those of the log: {wrong:?}", self.wrong.len());
        ensure!(self.doubled == 0, "{} samples came twice behind the recipient", self.doubled);
        let twice: Vec<&Stored> = self.twice.iter().take(3).collect();
        ensure!(twice.is_empty(), "{} sequences were used twice: {twice:?}", self.twice.len());
        Ok(())
    }

    /// A line of the table of faults.
    #[must_use]
    pub fn row(&self, fault: &str, gone: &BTreeSet<String>) -> Row {
        Row {
            fault: fault.to_owned(),
            runs: 0,
            stored: self.stored(),
            lost: self.missing(gone).len(),
            undeclared: self.undeclared(gone),
            doubled: self.doubled,
            withdrawn_sent: None,
            recovery: Vec::new(),
        }
    }
}

/// A line of the table of faults, which `tests/run` collects.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// What was done to the car.
    pub fault: String,
    /// How often.
    pub runs: usize,
    /// Batches that the agent said it had stored.
    pub stored: usize,
    /// Of these, not opened by their recipient.
    pub lost: usize,
    /// Of these, not declared to it.
    pub undeclared: u64,
    /// Samples that came twice behind the recipient.
    pub doubled: usize,
    /// Batches of a withdrawn grant on the wire after the withdrawal, if there was one.
    pub withdrawn_sent: Option<usize>,
    /// From the end of each fault to the next batch at a recipient.
    pub recovery: Vec<Duration>,
}

impl Row {
    /// Adds the figures of another car under the same fault.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.stored += other.stored;
        self.lost += other.lost;
        self.undeclared += other.undeclared;
        self.doubled += other.doubled;
        let sent = |row: &Self| row.withdrawn_sent;
        self.withdrawn_sent = sent(self).map_or(sent(other), |one| Some(one + sent(other).unwrap_or(0)));
        self.recovery.extend(&other.recovery);
    }

    /// Prints it: fault, runs, stored, lost, undeclared, doubled, of a withdrawn grant sent, seconds to recover
    /// (median, most).
    pub fn say(&self) {
        let Self { fault, runs, stored, lost, undeclared, doubled, .. } = self;
        let sent = self.withdrawn_sent.map_or("-".to_owned(), |sent| sent.to_string());
        let mut recovery = self.recovery.clone();
        recovery.sort_unstable();
        let seconds =
            |found: Option<&Duration>| found.map_or("-".to_owned(), |it| format!("{:.2}", it.as_secs_f64()));
        let (median, most) = (seconds(recovery.get(recovery.len() / 2)), seconds(recovery.last()));
        say(&format!("fault|{fault}|{runs}|{stored}|{lost}|{undeclared}|{doubled}|{sent}|{median}|{most}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(epoch: u32, sequence: u64, value: f64) -> String {
        format!(
            "{{\"t\":1.0,\"alias\":\"a\",\"flow\":\"0f\",\"epoch\":{epoch},\"seq\":{sequence},\"path\":\"A\",\"value\":{value},\"state\":\"value\"}}\n"
        )
    }

    fn tally(text: &str) -> Result<Tally> {
        let folder = tempfile::tempdir()?;
        let lines = folder.path().join("lines");
        std::fs::write(&lines, text)?;
        let mut tally = Tally::new(|_, _| Some(5.0));
        let stored = (1..=3).map(|sequence| Stored { flow: "0f".to_owned(), epoch: 1, sequence });
        tally.said(stored.collect());
        tally.read("r", &lines)?;
        tally.read("r", &lines)?;
        Ok(tally)
    }

    #[test]
    fn what_is_missing_is_lost_and_what_is_declared_is_not_undeclared() -> Result<()> {
        let none = BTreeSet::new();
        let all = tally(&[line(1, 1, 5.0), line(1, 2, 5.0), line(1, 3, 5.0)].concat())?;
        assert_eq!((all.missing(&none).len(), all.undeclared(&none), all.stored()), (0, 0, 3));
        all.must_be_true()?;
        let gap = r#"{"event":"gap","flow":"0f","epoch":1,"seq":3,"first":1,"last":2}"#;
        let loss =
            r#"{"event":"loss","flow":"0f","epoch":2,"seq":1,"batches":1,"samples":4,"first":0,"last":0}"#;
        let some = tally(&format!("{gap}\n{}{loss}\n", line(1, 3, 5.0)))?;
        assert_eq!((some.missing(&none).len(), some.undeclared(&none)), (2, 1));
        assert_eq!((some.gaps(&none), some.events("loss")), (1, 1));
        let late =
            r#"{"event":"loss","flow":"0f","epoch":1,"seq":4,"batches":2,"samples":0,"first":1,"last":2}"#;
        assert_eq!(tally(&format!("{gap}\n{}{late}\n", line(1, 3, 5.0)))?.gaps(&none), 0);
        let gone = some.flows_of("r");
        assert_eq!((some.missing(&gone).len(), some.gaps(&gone)), (0, 0));
        Ok(())
    }

    #[test]
    fn a_hole_is_found_unless_it_is_declared() -> Result<()> {
        let later = line(1, 2, 5.0).replace("1.0", "3.0");
        let hole = [line(1, 1, 5.0), later].concat();
        assert!(tally(&hole)?.must_be_whole(1_000_000).is_err());
        tally(&hole)?.must_be_whole(2_000_000)?;
        let loss =
            r#"{"event":"loss","flow":"0f","epoch":1,"seq":2,"batches":0,"samples":1,"first":0,"last":0}"#;
        tally(&format!("{hole}{loss}\n"))?.must_be_whole(1_000_000)
    }

    #[test]
    fn what_is_wrong_or_comes_twice_is_found() -> Result<()> {
        assert!(tally(&line(1, 1, 6.0))?.must_be_true().is_err());
        assert!(tally(&[line(1, 1, 5.0), line(1, 1, 5.0)].concat())?.must_be_true().is_err());
        let mut twice = tally(&line(1, 1, 5.0))?;
        twice.must_be_true()?;
        twice.said(vec![Stored { flow: "0f".to_owned(), epoch: 1, sequence: 2 }]);
        assert!(twice.must_be_true().is_err());
        Ok(())
    }
}
