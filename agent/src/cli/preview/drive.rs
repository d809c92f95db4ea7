//! The log through the car's own pipeline. What comes out is sealed as it would be, but to a key of our own, and opened
//! again by the recipient's code: what is shown is what the bytes hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use glovebox_core::batch::{Batch, Loss};
use glovebox_core::consent::Gate;
use glovebox_core::consent::effective::Effective;
use glovebox_core::decode::{Decoder, LeafIndex, Leaves, Plan, Reading, SourceAddress, State};
use glovebox_core::frame::Frame;
use glovebox_core::names::{Epoch, FlowId, HpkeKey, RecipientId, Sequence};
use glovebox_core::pipeline::{Compiled, Event, Output, Pipeline, Watches};
use glovebox_core::seal::Sealing;
use glovebox_recipient::{Event as Received, Opener, Ready, Sample, Streams, Value, What, lines, samples};
use zeroize::Zeroizing;

use super::source::Source;
use super::tally::{COLUMNS, ROUTE_COLUMNS, SERIES_DRAWN_MAX, Seen, Tally};
use super::words;
use crate::cli::decode::progress::Progress;
use crate::cli::policy::not_over_a_key;
use crate::sealer::CarSealer;

/// What is driven.
pub(super) struct Order<'a> {
    /// What may leave.
    pub(super) effective: Effective,
    /// Leaves that are looked at where they come in.
    pub(super) wanted: Vec<LeafIndex>,
    /// A batch closes at so many bytes of columns.
    pub(super) batch_bytes: usize,
    /// Where each sample that comes out is written, one JSON object a line.
    pub(super) samples: Option<&'a Path>,
    /// Of these flows and signals.
    pub(super) shown: HashSet<(FlowId, String)>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Driven {
    /// By leaf and sender.
    pub(super) inputs: BTreeMap<(LeafIndex, SourceAddress), Tally>,
    /// What the recipients can read.
    pub(super) outputs: Outputs,
    /// By flow.
    pub(super) flows: BTreeMap<FlowId, Sent>,
    /// Frames that were driven.
    pub(super) frames: u64,
}

/// What one flow would send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Sealed batches.
    pub(super) batches: u64,
    /// Their bytes, as they would be published.
    pub(super) bytes: u64,
    /// Samples in them.
    pub(super) samples: u64,
    /// Samples that consent let through and that had to be given up.
    pub(super) lost: u64,
}

/// Series by flow, path, what of it is told, and sender.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    index: HashMap<Key, usize>,
    all: Vec<Tally>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    flow: FlowId,
    path: String,
    what: Option<String>,
    source: Option<u32>,
}

impl Outputs {
    /// The series of a signal in a flow, if anything of it came out.
    pub(super) fn find(
        &self,
        flow: FlowId,
        (path, what): (&str, Option<&str>),
        source: SourceAddress,
    ) -> Option<&Tally> {
        let source = (source != SourceAddress::NONE).then_some(source.0.into());
        let key = Key { flow, path: path.to_owned(), what: what.map(str::to_owned), source };
        self.index.get(&key).and_then(|at| self.all.get(*at))
    }

    fn at(&mut self, key: Key, span: &Range<i64>, columns: usize) -> usize {
        *self.index.entry(key).or_insert_with(|| {
            self.all.push(Tally::new(span.clone(), columns));
            self.all.len() - 1
        })
    }
}

/// Drives the part of the log that is wanted.
pub(super) fn drive(source: &Source, order: Order<'_>) -> anyhow::Result<Driven> {
    let leaves = &source.databases.leaves;
    let mut reader = Reader::new(source.span.clone(), order.samples, order.shown)?;
    let mut effective = order.effective;
    for rules in &mut effective.flows {
        Arc::make_mut(rules).hpke_key = reader.public;
    }
    let mut pipeline = Pipeline::of_a_log(order.batch_bytes);
    let compiled = Compiled::new(leaves, Gate::compile(&effective, leaves), Watches::default());
    let mut inputs = Inputs::new(leaves, &order.wanted, source.span.clone());
    let mut outputs = Vec::new();
    pipeline.on_event(Event::Swap(Box::new(compiled)), &mut outputs);
    let (mut replay, mut progress, mut frames) = (source.replay()?, Progress::new(), 0);
    while let Some(frame) = replay.next().transpose()? {
        progress.frame(frame.moment, || replay.position());
        if !source.span.contains(&frame.moment.0) {
            continue;
        }
        frames += 1;
        inputs.take(&frame);
        pipeline.on_event(Event::Frame(&frame), &mut outputs);
        outputs.drain(..).try_for_each(|output| reader.take(output))?;
    }
    pipeline.on_event(Event::Flush, &mut outputs);
    outputs.drain(..).try_for_each(|output| reader.take(output))?;
    drop(progress);
    if let Some(bad) = replay.first_bad() {
        let (count, line) = (replay.counts().bad, bad.line);
        writeln!(
            std::io::stderr(),
            "{count} lines of the log could not be read, the first is line {line}: {}",
            bad.what
        )?;
    }
    reader.close(inputs.tallies, frames)
}

/// The readings that come in, counted beside the pipeline by a decoder of their own: the pipeline's extracts only what may
/// leave.
struct Inputs<'a> {
    leaves: &'a Leaves,
    decoder: Decoder,
    readings: Vec<Reading>,
    tallies: BTreeMap<(LeafIndex, SourceAddress), Tally>,
    span: Range<i64>,
}

impl<'a> Inputs<'a> {
    fn new(leaves: &'a Leaves, wanted: &[LeafIndex], span: Range<i64>) -> Self {
        let decoder = Decoder::new(Plan::compile(leaves, wanted));
        Self { leaves, decoder, readings: Vec::new(), tallies: BTreeMap::new(), span }
    }

    fn take(&mut self, frame: &Frame) {
        self.readings.clear();
        self.decoder.decode(frame, &mut self.readings);
        for reading in &self.readings {
            let Some(leaf) = self.leaves.get(reading.leaf) else { continue };
            let columns = columns(leaf.path.as_str(), self.tallies.len());
            let new = || Tally::new(self.span.clone(), columns);
            let tally = self.tallies.entry((reading.leaf, reading.source)).or_insert_with(new);
            let seen = match reading.state {
                State::Value => Seen::Number(leaf.float(reading.bits)),
                _ => Seen::Nothing,
            };
            tally.add(frame.moment.0, &seen);
        }
    }
}

/// Of a series beside so many others. A coordinate is drawn on a map as well.
fn columns(path: &str, others: usize) -> usize {
    let path = path.to_ascii_lowercase();
    match path.contains("latitude") || path.contains("longitude") {
        _ if others >= SERIES_DRAWN_MAX => 1,
        true => ROUTE_COLUMNS,
        false => COLUMNS,
    }
}

/// Seals what the pipeline gives, and reads it as its recipient does.
struct Reader {
    sealing: Sealing,
    car: CarSealer,
    /// Everything is sealed to this key instead of the recipient's, and only here.
    secret: Zeroizing<[u8; 32]>,
    public: HpkeKey,
    openers: HashMap<RecipientId, Opener>,
    streams: Streams,
    losses: HashMap<FlowId, Vec<Loss>>,
    flows: BTreeMap<FlowId, Sent>,
    outputs: Outputs,
    span: Range<i64>,
    lines: Option<BufWriter<File>>,
    line: String,
    shown: HashSet<(FlowId, String)>,
}

impl Reader {
    fn new(
        span: Range<i64>,
        samples: Option<&Path>,
        shown: HashSet<(FlowId, String)>,
    ) -> anyhow::Result<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut_slice())
            .map_err(|_| anyhow::anyhow!("no randomness to be had from the system"))?;
        let key =
            glovebox_recipient::HpkeKey::from_secret(secret.as_slice()).context("no key could be made")?;
        let create = |path: &Path| {
            not_over_a_key(path)?;
            File::create(path).map(BufWriter::new).with_context(|| path.display().to_string())
        };
        Ok(Self {
            sealing: Sealing::new()?,
            car: super::papers::throwaway_car()?,
            public: HpkeKey(*key.public()),
            secret,
            openers: HashMap::new(),
            streams: Streams::new(),
            losses: HashMap::new(),
            flows: BTreeMap::new(),
            outputs: Outputs::default(),
            span,
            lines: samples.map(create).transpose()?,
            line: String::new(),
            shown,
        })
    }

    fn take(&mut self, output: Output) -> anyhow::Result<()> {
        match output {
            Output::Batch(batch) => self.seal(batch),
            Output::Lost { flow, reason, samples } => {
                self.flows.entry(flow).or_default().lost += samples;
                let loss = Loss { reason, batches: 0, first_sequence: 0, last_sequence: 0, samples };
                self.losses.entry(flow).or_default().push(loss);
                Ok(())
            }
        }
    }

    fn seal(&mut self, batch: Batch) -> anyhow::Result<()> {
        let (flow, recipient) = (batch.rules().flow, batch.rules().recipient.clone());
        let sent = self.flows.entry(flow).or_default();
        sent.batches += 1;
        let place = (Epoch { counter: 1, tag: 0 }, Sequence(sent.batches));
        let losses = self.losses.remove(&flow).unwrap_or_default();
        let envelope = self.sealing.seal(batch, place, &losses, &self.car)?.into_envelope();
        self.flows.entry(flow).or_default().bytes += envelope.len() as u64;
        let opened = self.opener(&recipient)?.open(None, &envelope)?;
        for received in self.streams.accept(opened) {
            match received {
                Received::Ready(ready) => self.read(flow, &ready, envelope.len())?,
                other => anyhow::bail!("a batch could not be read back: {other:?}"),
            }
        }
        Ok(())
    }

    fn opener(&mut self, recipient: &RecipientId) -> anyhow::Result<&Opener> {
        if !self.openers.contains_key(recipient) {
            let key = glovebox_recipient::HpkeKey::from_secret(self.secret.as_slice());
            let opener = Opener::new(recipient.as_str(), key.into_iter().collect())?;
            self.openers.insert(recipient.clone(), opener);
        }
        self.openers.get(recipient).context("the recipient has no reader")
    }

    fn read(&mut self, flow: FlowId, ready: &Ready, sealed: usize) -> anyhow::Result<()> {
        // Checked first: a column names no times that are not there.
        let read = samples(&ready.batch, &ready.descriptor)?;
        self.share_bytes(flow, ready, sealed);
        let mut last: Option<(&str, What<'_>, Option<u32>, usize)> = None;
        let mut count = 0;
        for sample in read {
            let Sample { path, what, source, .. } = sample;
            let at = match last {
                Some((a, b, c, at)) if (a, b, c) == (path, what, source) => at,
                _ => self.series(flow, path, what, source),
            };
            last = Some((path, what, source, at));
            count += 1;
            let tally = &mut self.outputs.all[at];
            tally.add(sample.time_us, &seen(&sample));
            tally.example(|| words::sample(&sample));
            if let (Some(out), true) = (&mut self.lines, tally.is_shown) {
                self.line.clear();
                lines::sample(&mut self.line, &ready.header, &sample);
                out.write_all(self.line.as_bytes())?;
            }
        }
        self.flows.entry(flow).or_default().samples += count;
        Ok(())
    }

    fn series(&mut self, flow: FlowId, path: &str, what: What<'_>, source: Option<u32>) -> usize {
        let key = Key { flow, path: path.to_owned(), what: what.word().map(str::to_owned), source };
        let columns = columns(path, self.outputs.all.len());
        let at = self.outputs.at(key, &self.span, columns);
        if self.outputs.all[at].count == 0 {
            self.outputs.all[at].is_shown = self.shown.contains(&(flow, path.to_owned()));
        }
        at
    }

    /// Each column has its part of the sealed bytes: as much as of the coded ones, times that are kept once shared.
    #[expect(clippy::cast_precision_loss, reason = "bytes of one batch")]
    fn share_bytes(&mut self, flow: FlowId, ready: &Ready, sealed: usize) {
        let batch = &ready.batch;
        let mut users = vec![0usize; batch.times.len()];
        for column in &batch.columns {
            users[column.time as usize] += 1;
        }
        let coded = |column: usize| {
            let column = &batch.columns[column];
            let times = batch.times[column.time as usize].deltas.len();
            // One for the column itself, so that what codes to nothing has a part too.
            1.0 + (column.values.len() + column.states.len()) as f64
                + times as f64 / users[column.time as usize] as f64
        };
        let all: f64 = (0..batch.columns.len()).map(coded).sum();
        for (number, column) in batch.columns.iter().enumerate() {
            let Some(signal) = ready.descriptor.signals.get(column.signal as usize) else { continue };
            let at = self.series(flow, &signal.path, What::of(signal), column.source_address);
            self.outputs.all[at].bytes += sealed as f64 * coded(number) / all;
        }
    }

    fn close(
        mut self,
        inputs: BTreeMap<(LeafIndex, SourceAddress), Tally>,
        frames: u64,
    ) -> anyhow::Result<Driven> {
        if let Some(out) = &mut self.lines {
            out.flush()?;
        }
        let gaps = self.streams.gaps().count();
        ensure!(gaps == 0, "{gaps} gaps in what was read back");
        Ok(Driven { inputs, outputs: self.outputs, flows: self.flows, frames })
    }
}

#[expect(clippy::cast_precision_loss, reason = "for a plot")]
fn seen(sample: &Sample<'_>) -> Seen {
    match sample.value {
        None => Seen::Nothing,
        Some(Value::Integer(number)) => Seen::Number(number as f64),
        Some(Value::Float(number)) => Seen::Number(number),
        Some(Value::Bool(yes)) => Seen::Number(f64::from(u8::from(yes))),
        Some(Value::Cell(cell)) => Seen::Cell(cell),
    }
}
