//! What goes on all the time: looks at everything, brings the view up to date, draws.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use glovebox_proto::v1::Envelope;
use glovebox_tests::source::tree;
use prost::Message as _;
use serde_json::Value;

use super::{LIMIT, Play};
use crate::broker::Seen;
use crate::company::Reader;
use crate::view::{BROKER_ROWS, CompanyView, Look, Row};
use crate::{model, stop};

/// Between two looks at everything, and between two questions to the agent.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const ASK_EVERY: Duration = Duration::from_millis(400);

impl Play<'_> {
    /// Goes on until `fits`.
    pub(super) fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut fits: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let begin = Instant::now();
        while !fits(self)? {
            ensure!(
                begin.elapsed() < limit,
                "waited {limit:?} in vain for {what}; the agent says: {}",
                self.status
            );
            self.tick()?;
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, ms: u64) -> Result<()> {
        let begin = Instant::now();
        self.until("a pause", LIMIT, |_| Ok(begin.elapsed() >= Duration::from_millis(ms)))
    }

    pub(super) fn tick(&mut self) -> Result<()> {
        std::thread::sleep(LOOK_EVERY);
        if stop::is_asked() {
            bail!("interrupted");
        }
        self.captured.extend(self.seen.try_iter());
        self.readers.iter_mut().try_for_each(Reader::look)?;
        if self.begun.is_some() && self.asked.elapsed() >= ASK_EVERY {
            self.asked = Instant::now();
            self.car.must_run()?;
            self.status = self.car.status()?;
        }
        self.update();
        self.screen.show(&self.view);
        Ok(())
    }

    pub(super) fn happened(&mut self, look: Look, text: &str) {
        let text = format!("{:02}:{:02}  {text}", self.view.time_s / 60, self.view.time_s % 60);
        self.screen.say(look, &text);
        self.view.happened(look, &text);
    }

    pub(super) fn queued(&self, company: usize) -> u64 {
        self.flow(company)["queued_batches"].as_u64().unwrap_or(0)
    }

    fn flow(&self, company: usize) -> &Value {
        let id = self.story.companies[company].id;
        let flows = self.status["flows"].as_array();
        flows.and_then(|flows| flows.iter().find(|flow| flow["recipient"] == id)).unwrap_or(&Value::Null)
    }

    pub(super) fn link(&self) -> &str {
        self.status["link"]["state"].as_str().unwrap_or_default()
    }

    /// Messages that the broker has seen for a company.
    pub(super) fn messages(&self, company: usize) -> usize {
        self.of(company).count()
    }

    fn of(&self, company: usize) -> impl Iterator<Item = &Seen> {
        let prefix = format!("glovebox/v1/{}/", self.story.companies[company].id);
        self.captured.iter().filter(move |seen| seen.topic.starts_with(&prefix))
    }

    fn update(&mut self) {
        self.update_car();
        for number in 0..2 {
            let (messages, sealed_bytes) =
                (self.messages(number), self.of(number).map(|seen| seen.payload.len()).sum());
            let queued = (self.queued(number), self.flow(number)["queued_bytes"].as_u64().unwrap_or(0));
            let files = self.readers[number].flow.as_ref().map(|flow| listing(&self.car.queue(flow)));
            let reader = &self.readers[number];
            let row = |(path, (value, unit)): (&String, &(Option<f64>, String))| Row {
                name: path.clone(),
                value: shown(*value, unit),
            };
            let rows = reader.latest.iter().map(row).collect();
            let samples = reader.count;
            let files = files.unwrap_or_default();
            let old = std::mem::take(&mut self.view.companies[number]);
            self.view.companies[number] =
                CompanyView { rows, samples, messages, sealed_bytes, queued, files, ..old };
        }
        let skip = self.captured.len().saturating_sub(BROKER_ROWS);
        self.view.broker = self.captured[skip..].iter().map(brief).collect();
        self.view.broker_total =
            (self.captured.len(), self.captured.iter().map(|seen| seen.payload.len()).sum());
        self.view.link = self.link().to_owned();
        let bus = |name: &str| counter(&self.status["counters"], name);
        self.view.frames = (bus("frames_read"), bus("frames_read") - bus("frames_not_needed"));
    }

    /// Where the replay must have come to by now, and the values then.
    fn update_car(&mut self) {
        let Some(begun) = self.begun else { return };
        let total = self.view.total_s;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a drive is short")]
        let time_us = (begun.elapsed().as_secs_f64() * self.story.speed * 1e6) as u64;
        self.view.time_s = (time_us / 1_000_000).min(total);
        let (first, _) = self.story.truth.span_us();
        let until = first.saturating_add_unsigned(time_us);
        let mut came_to = self.at;
        for (time, signal, value) in
            self.story.truth.readings().skip(self.at).take_while(|(time, ..)| *time <= until)
        {
            debug_assert!(time <= until);
            self.now.insert(signal, value);
            came_to += 1;
        }
        self.at = came_to;
        let signals = self.story.truth.signals();
        let row = |path: &String| {
            let index = signals.iter().position(|(own, _)| own == path)?;
            let value =
                self.now.get(&index).map_or_else(String::new, |value| shown(*value, &signals[index].1));
            Some(Row { name: path.clone(), value })
        };
        self.view.car = self.story.shown.iter().filter_map(row).collect();
        self.view.more = signals.len() - self.view.car.len();
        #[expect(clippy::cast_precision_loss, reason = "a drive is short")]
        let time_s = self.view.time_s as f64;
        self.view.part = if self.story.is_vss { model::part(time_s) } else { "recorded" }.to_owned();
        if !self.view.has_network {
            self.view.part = "in a tunnel".to_owned();
        }
    }
}

fn shown(value: Option<f64>, unit: &str) -> String {
    let Some(value) = value else { return "no value".to_owned() };
    let digits = if value.fract() == 0.0 {
        0
    } else if unit == "degrees" {
        5
    } else {
        2
    };
    format!("{value:.digits$} {unit:<7}")
}

/// `workshop/1f0c…/batch`, the size, the first bytes of what is sealed.
fn brief(seen: &Seen) -> (String, usize, String) {
    let words: Vec<&str> = seen.topic.trim_start_matches("glovebox/v1/").split('/').collect();
    let topic = match words.as_slice() {
        [recipient, alias, kind] => {
            format!("{recipient}/{}…/{kind}", alias.chars().take(4).collect::<String>())
        }
        _ => seen.topic.clone(),
    };
    let sealed =
        Envelope::decode(seen.payload.as_slice()).map(|envelope| envelope.ciphertext).unwrap_or_default();
    (topic, seen.payload.len(), sealed.iter().take(10).map(|byte| format!("{byte:02x}")).collect())
}

/// Names of the files in a folder of the queue.
fn listing(queue: &Path) -> String {
    let files = tree(queue);
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    match files.is_empty() {
        true => "no folder, no keys".to_owned(),
        false => files.iter().filter_map(name).collect::<Vec<_>>().join(", "),
    }
}

/// A counter, in whatever stage it is.
fn counter(counters: &Value, name: &str) -> u64 {
    let stages = counters.as_object();
    stages.and_then(|stages| stages.values().find_map(|stage| stage[name].as_u64())).unwrap_or(0)
}
