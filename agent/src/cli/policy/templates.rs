//! Ready-made purposes: requests that ask for the least that a purpose needs, to be completed and signed by a recipient.
//!
//! Leaves are those of VSS 4.2, 5.1 and 6.0, where the odometer alone changed its unit, and derived ones; what feeds one
//! (`in_vehicle`) stays in the car.

mod table;

use anyhow::Context as _;
use clap::ValueEnum;
use glovebox_core::consent::category::Category;
use glovebox_core::consent::document::bundle::Text;
use glovebox_core::consent::document::request::{Necessity, RequestedSignal};
use glovebox_core::consent::plain::period;
use glovebox_core::consent::transform::{Rule, TransformSpec};
use glovebox_core::consent::transform::{transforms, transforms_in};
use serde_json::json;
use std::io::Write as _;
use std::process::ExitCode;

/// A purpose that many have.
pub(super) struct Template {
    /// Its name, also that of the purpose.
    pub(super) id: &'static str,
    /// What for, in English and German.
    texts: [&'static str; 2],
    /// DPV.
    pub(super) code: &'static str,
    /// ISO 8601.
    pub(super) retention: &'static str,
    /// Seconds.
    pub(super) batch_age_s: u32,
    /// Seconds; `None`: it is worth sending however late.
    pub(super) max_age_s: Option<u32>,
    /// People are judged by it, without a person who looks.
    pub(super) judges: bool,
    /// The owner agrees only when it is needed, for so many days; `None`: as long as the service lasts.
    days: Option<u32>,
    signals: &'static [Asked],
}

/// Leaves that are reduced alike.
struct Asked {
    leaves: &'static [&'static str],
    necessity: Necessity,
    transforms: &'static str,
    /// Of all its leaves, in VSS, if numbers are in its transforms.
    unit: &'static str,
    /// The step is in kilometres.
    km: bool,
}

impl Asked {
    fn unit_in(&self, vss: Vss) -> &'static str {
        if self.km && vss == Vss::V6 { "m" } else { self.unit }
    }
}

/// Which VSS the car's leaves are of: the odometer is in kilometres before 6 and in metres since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Vss {
    #[value(name = "4")]
    V4,
    #[value(name = "5")]
    V5,
    #[value(name = "6")]
    V6,
}

/// List the ready-made purposes with the signals they ask for, or show one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  glovebox policy templates                       all of them
  glovebox policy templates ubi-mileage           one
  glovebox policy new request --template tyre-care --recipient acme -o r.json")]
pub(super) struct Args {
    /// Only this one.
    #[arg(value_parser = Template::named)]
    name: Option<&'static Template>,
    /// The VSS of the cars.
    #[arg(long, value_enum, default_value = "6")]
    vss: Vss,
    /// As JSON, a list.
    #[arg(long)]
    json: bool,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

impl Template {
    /// The template of this name.
    pub(super) fn named(name: &str) -> Result<&'static Self, String> {
        let known = || table::ALL.iter().map(|template| template.id).collect::<Vec<_>>().join(", ");
        let found = table::ALL.iter().find(|template| template.id == name);
        found.ok_or_else(|| format!("there is no template of this name; known are {}", known()))
    }

    pub(super) fn texts(&self) -> Vec<Text> {
        let text = |(language, text): (&str, &&str)| Text {
            language: language.to_owned(),
            text: (*text).to_owned(),
        };
        ["en", "de"].into_iter().zip(&self.texts).map(text).collect()
    }

    pub(super) fn signals(&self, vss: Vss) -> anyhow::Result<Vec<RequestedSignal>> {
        let mut signals = Vec::new();
        for asked in self.signals {
            let written = asked.transforms.replace("KM", if vss == Vss::V6 { "000" } else { "" });
            let transforms: Vec<TransformSpec> =
                serde_json::from_str(&written).with_context(|| format!("template {}", self.id))?;
            for leaf in asked.leaves {
                let (necessity, transforms) = (asked.necessity, transforms.clone());
                signals.push(RequestedSignal { signal: leaf.parse()?, necessity, transforms });
            }
        }
        Ok(signals)
    }

    /// What to look at before it is signed.
    pub(super) fn notes(&self, vss: Vss) -> Vec<String> {
        let mut notes = Vec::new();
        if self.signals.iter().any(|asked| asked.km) {
            let (unit, other) =
                if vss == Vss::V6 { ("metres, as in VSS 6", "4 or 5") } else { ("kilometres", "6") };
            notes.push(format!("steps of the odometer (--vss): in {unit}; for cars of VSS {other} say so"));
        }
        if let Some(days) = self.days {
            notes.push(format!("the owner agrees only when it is needed: `consent grant --days {days}`"));
        }
        notes
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let shown: Vec<&Template> = match args.name {
        Some(one) => vec![one],
        None => table::ALL.iter().collect(),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let list = shown.into_iter().map(|it| as_json(it, args.vss)).collect::<anyhow::Result<Vec<_>>>()?;
        writeln!(out, "{:#}", json!(list))?;
        return Ok(ExitCode::SUCCESS);
    }
    for template in shown {
        write!(out, "{}", in_words(template, args.vss)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn in_words(template: &Template, vss: Vss) -> anyhow::Result<String> {
    let mut text = format!("{}: {}\n", template.id, template.texts[0]);
    let units = template.signals.iter().flat_map(|asked| asked.leaves.iter().map(|_| asked.unit_in(vss)));
    for (asked, unit) in template.signals(vss)?.iter().zip(units) {
        let optional = if asked.necessity == Necessity::Optional { "; optional" } else { "" };
        let reduced = transforms_in(&asked.transforms, unit);
        text.push_str(&format!("  + {}: {reduced}{optional}\n", asked.signal));
    }
    if let Some(days) = template.days {
        text.push_str(&format!(
            "    agreed to only when it is needed: `glovebox consent grant … --days {days}`\n"
        ));
    }
    let judged = if template.judges { "; people are judged by it" } else { "" };
    text.push_str(&format!(
        "    kept for {}, a batch every {} s{judged}\n",
        period(template.retention),
        template.batch_age_s
    ));
    Ok(text)
}

fn as_json(template: &Template, vss: Vss) -> anyhow::Result<serde_json::Value> {
    let signals = template.signals(vss)?;
    let signal = |asked: &RequestedSignal| {
        json!({ "signal": asked.signal, "necessity": asked.necessity, "transforms": asked.transforms,
            "words": transforms(&asked.transforms), "category": Category::of(&asked.signal),
            "built": Rule::of(&asked.transforms) != Rule::Deny })
    };
    Ok(json!({ "template": template.id, "text": template.texts(), "code": template.code,
        "retention_period": template.retention, "batch_age_s": template.batch_age_s, "max_age_s": template.max_age_s,
        "days": template.days, "profiling": template.judges, "signals": signals.iter().map(signal).collect::<Vec<_>>() }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests;
