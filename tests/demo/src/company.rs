//! A company's reader, as a process of its own: `glovebox-recipient subscribe`, and what it prints.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use glovebox_tests::certs::Identity;
use glovebox_tests::process::{Process, until};
use serde_json::Value;

use crate::agent::{READER, role};
use crate::truth::Samples;

const LIMIT: Duration = Duration::from_secs(30);

/// A running reader and what it has opened so far.
pub(crate) struct Reader {
    process: Process,
    lines: PathBuf,
    read: u64,
    rest: Vec<u8>,
    /// All samples.
    pub(crate) samples: Samples,
    /// The last value of each signal, with its unit.
    pub(crate) latest: BTreeMap<String, (Option<f64>, String)>,
    /// How many samples.
    pub(crate) count: usize,
    /// Flow of its samples, 16 hexadecimal digits.
    pub(crate) flow: Option<String>,
    /// Sequence numbers of its batches, in the order of arrival.
    pub(crate) sequences: Vec<u64>,
    /// Gaps, losses, refusals.
    pub(crate) complaints: Vec<String>,
    /// Batches that came again and were not taken again: where an acknowledgement was lost with the network, the agent
    /// sends once more (MQTT 5, 4.4), and the reader knows it.
    pub(crate) again: usize,
}

impl Reader {
    /// Starts it and waits until it is subscribed.
    pub(crate) fn start(
        folder: &Path,
        id: &str,
        port: u16,
        ca: &Path,
        identity: &Identity,
        key: &Path,
    ) -> Result<Self> {
        let file = |end: &str| folder.join(format!("{id}{end}"));
        let mut command = role(READER)?;
        command.args(["subscribe", "--json", "--id", id, "--broker", &format!("localhost:{port}")]);
        command.arg("--ca").arg(ca).arg("--cert").arg(&identity.cert).arg("--key").arg(&identity.key);
        command.arg("--hpke-key").arg(key).arg("--state").arg(file("-state"));
        let (log, lines) = (file(".log"), file(".jsonl"));
        let mut process = Process::start(&mut command, &log, Some(&lines))?;
        until(&format!("the subscription of {id}"), LIMIT, || {
            process.must_run()?;
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            Ok(said.contains("subscribed to ").then_some(()))
        })?;
        Ok(Self {
            process,
            lines,
            read: 0,
            rest: Vec::new(),
            samples: Samples::new(),
            latest: BTreeMap::new(),
            count: 0,
            flow: None,
            sequences: Vec::new(),
            complaints: Vec::new(),
            again: 0,
        })
    }

    /// Reads what it has printed since.
    pub(crate) fn look(&mut self) -> Result<()> {
        self.process.must_run()?;
        let mut file =
            File::open(&self.lines).with_context(|| format!("cannot open {}", self.lines.display()))?;
        file.seek(SeekFrom::Start(self.read))?;
        let new = file.read_to_end(&mut self.rest)?;
        self.read += u64::try_from(new)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        for line in String::from_utf8(whole)?.lines() {
            self.take(line).with_context(|| line.to_owned())?;
        }
        Ok(())
    }

    fn take(&mut self, line: &str) -> Result<()> {
        let fields: Value = serde_json::from_str(line)?;
        match fields["event"].as_str() {
            None => {}
            // Every batch has one.
            Some("batch") => return Ok(()),
            Some("duplicate") => {
                self.again += 1;
                return Ok(());
            }
            Some(_) => {
                self.complaints.push(line.to_owned());
                return Ok(());
            }
        }
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        let seconds = fields["t"].as_f64().context("no stamp")?;
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 are far below 2^53")]
        let time_us = (seconds * 1000.0).round() as i64 * 1000;
        let value = match &fields["value"] {
            Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
            value => value.as_f64(),
        };
        let sequence = fields["seq"].as_u64().context("no sequence")?;
        if self.sequences.last() != Some(&sequence) {
            self.sequences.push(sequence);
        }
        self.flow = Some(text("flow"));
        self.latest.insert(text("path"), (value, text("unit")));
        self.samples.entry(text("path")).or_default().push((time_us, value));
        self.count += 1;
        Ok(())
    }

    /// All that it printed, as it stands in its file.
    pub(crate) fn printed(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(&self.lines)?)
    }

    /// Tells it to end, and waits.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.terminate(LIMIT).map(|_| ())
    }
}
