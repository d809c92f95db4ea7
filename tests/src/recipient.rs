//! The real `glovebox-recipient`: subscribes, and its JSON Lines are read.

use crate::agent::binary;
use crate::certs::Identity;
use crate::process::{Process, until};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long it may take to subscribe, and to end.
const LIMIT: Duration = Duration::from_secs(30);

/// One line of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Flow, 16 hexadecimal digits.
    pub flow: String,
    /// Counter of the stream epoch.
    pub epoch: u32,
    /// Sequence of its batch.
    pub sequence: u64,
    /// Signal; of a histogram with its bin: `Vehicle.Speed 0 to 50`.
    pub signal: String,
    /// Stamp.
    pub time_us: i64,
    /// `value`, `out_of_range` …
    pub state: String,
    /// A boolean is 0 or 1; nothing where the state is not `value`.
    pub value: Option<f64>,
}

/// What a recipient has printed.
#[derive(Debug, Clone, Default)]
pub struct Printed {
    /// Samples in order.
    pub samples: Vec<Sample>,
    /// Events: batch, gap, loss, duplicate, held, refused, notice.
    pub events: Vec<Value>,
}

impl Printed {
    /// Events of one name.
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == name).collect()
    }

    /// Nothing is missing, refused or held back.
    ///
    /// # Errors
    /// If something is.
    pub fn must_be_quiet(&self, who: &str) -> Result<()> {
        let bad = |name: &&str| !self.events(name).is_empty();
        let events: Vec<&str> = ["gap", "loss", "refused", "held"].into_iter().filter(bad).collect();
        ensure!(events.is_empty(), "{who} saw {events:?}: {:?}", self.events);
        Ok(())
    }
}

/// Who subscribes, and how.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Recipient id.
    pub id: String,
    /// `HOST:PORT`.
    pub broker: String,
    /// Who signed the broker's certificate.
    pub ca: PathBuf,
    /// Its certificate.
    pub identity: Identity,
    /// Its HPKE key.
    pub hpke_key: PathBuf,
    /// Where its files go.
    pub folder: PathBuf,
    /// More arguments.
    pub more: Vec<String>,
}

/// A running subscriber. Dropping it kills it.
#[derive(Debug)]
pub struct Subscriber {
    process: Process,
    lines: PathBuf,
}

impl Subscriber {
    /// Starts it; `subscribed` says whether the broker has its subscription.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(subscription: &Subscription, subscribed: impl Fn() -> bool) -> Result<Self> {
        std::fs::create_dir_all(&subscription.folder)?;
        let file = |name: &str| subscription.folder.join(name);
        let mut command = Command::new(binary("glovebox-recipient")?);
        command.args(["subscribe", "--json", "--keep-alive", "5", "--id", &subscription.id]);
        command.args(["--broker", &subscription.broker]).arg("--ca").arg(&subscription.ca);
        command.arg("--cert").arg(&subscription.identity.cert).arg("--key").arg(&subscription.identity.key);
        command.arg("--hpke-key").arg(&subscription.hpke_key).arg("--state").arg(file("state"));
        command.args(&subscription.more);
        let mut process = Process::start(&mut command, &file("recipient.log"), Some(&file("lines.jsonl")))?;
        until(&format!("the subscription of {}", subscription.id), LIMIT, || {
            process.must_run()?;
            Ok(subscribed().then_some(()))
        })?;
        Ok(Self { process, lines: file("lines.jsonl") })
    }

    /// The file of its lines.
    #[must_use]
    pub fn lines(&self) -> &Path {
        &self.lines
    }

    /// Everything that it has printed so far.
    ///
    /// # Errors
    /// If it has ended, or a line is not as it should be.
    pub fn printed(&mut self) -> Result<Printed> {
        self.process.must_run()?;
        self.printed_now()
    }

    /// Everything that it has printed so far, whether it still runs or not.
    ///
    /// # Errors
    /// If a line is not as it should be.
    pub fn printed_now(&self) -> Result<Printed> {
        read(&std::fs::read_to_string(&self.lines)?)
    }

    /// SIGTERM, and all that it has printed.
    ///
    /// # Errors
    /// If it does not end well.
    pub fn finish(mut self) -> Result<Printed> {
        self.end()?;
        self.printed_now()
    }

    /// SIGTERM: what it has printed it has noted too, so that it prints nothing twice when it comes back.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn end(&mut self) -> Result<()> {
        self.process.terminate(LIMIT).map(|_| ())
    }
}

/// Reads whole lines.
///
/// # Errors
/// If one is not as it should be.
pub fn read(text: &str) -> Result<Printed> {
    let mut printed = Printed::default();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    for (number, line) in complete.lines().enumerate() {
        let value: Value =
            serde_json::from_str(line).with_context(|| format!("line {}: {line}", number + 1))?;
        if value["event"].is_string() {
            printed.events.push(value);
        } else {
            let sample = sample(&value).with_context(|| format!("line {}: {line}", number + 1))?;
            printed.samples.push(sample);
        }
    }
    Ok(printed)
}

/// `{"t":46408.584930,"alias":"…","flow":"…","epoch":1,"seq":7,"path":"…","value":1.5,"state":"value", …}`
fn sample(line: &Value) -> Result<Sample> {
    let text =
        |name: &str| line[name].as_str().map(str::to_owned).with_context(|| format!("`{name}` is no text"));
    let value = match &line["value"] {
        Value::Null => None,
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Number(number) => number.as_f64(),
        other => bail!("a value {other}"),
    };
    let bin = line["what"].as_str().filter(|what| what.contains(' '));
    let path = text("path")?;
    Ok(Sample {
        flow: text("flow")?,
        epoch: u32::try_from(line["epoch"].as_u64().context("`epoch` is no number")?)?,
        sequence: line["seq"].as_u64().context("`seq` is no number")?,
        signal: bin.map_or_else(|| path.clone(), |bin| format!("{path} {bin}")),
        time_us: microseconds(&line["t"]).context("`t` is no number of seconds")?,
        state: text("state")?,
        value,
    })
}

/// Seconds of less than 285 years are exact to the microsecond in a double.
fn microseconds(seconds: &Value) -> Option<i64> {
    let rounded = (seconds.as_f64()? * 1e6).round();
    #[expect(clippy::cast_possible_truncation, reason = "bounded by the line above")]
    (rounded.abs() < 9e15).then_some(rounded as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_events_are_told_apart() -> Result<()> {
        let text = concat!(
            r#"{"t":46408.584930,"alias":"a","flow":"00","epoch":2,"seq":7,"path":"A.B","value":true,"unit":"","label":null,"state":"value"}"#,
            "\n",
            r#"{"event":"gap","alias":"a","flow":"00","epoch":2,"seq":9,"first":8,"last":8}"#,
            "\n{\"unfinished"
        );
        let printed = read(text)?;
        assert_eq!(printed.samples[0].time_us, 46_408_584_930);
        assert_eq!(printed.samples[0].value, Some(1.0));
        assert_eq!(
            (printed.samples.len(), printed.events("gap").len(), printed.events("loss").len()),
            (1, 1, 0)
        );
        Ok(())
    }
}
