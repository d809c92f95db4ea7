//! `glovebox policy categories`: the categories that owners see, in their language and by the names that others use.

use std::io::Write as _;
use std::process::ExitCode;

use glovebox_core::consent::category::{Category, Language, is_place};
use glovebox_core::names::SignalPath;
use serde_json::json;

/// What a bundle made with `policy new` says of a signal by its name. A signal of a CAN database without a VSS name is
/// unknown until the bundle says otherwise; what is a place by its name stays one whatever a bundle says.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Signals to look up, as `Vehicle.Speed`; without any, all categories are listed.
    signal: Vec<SignalPath>,
    /// Language of the labels: en, de, ar.
    #[arg(long, default_value = "en", value_parser = language)]
    lang: Language,
    /// As JSON, a list.
    #[arg(long)]
    json: bool,
}

fn language(text: &str) -> Result<Language, String> {
    let known = || Language::ALL.map(Language::tag).join(", ");
    Language::from_tag(text).ok_or_else(|| format!("there are labels in {}", known()))
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match (args.signal.as_slice(), args.json) {
        ([], false) => {
            for category in Category::ALL {
                writeln!(out, "{}", listed(category, args.lang))?;
            }
        }
        ([], true) => writeln!(out, "{:#}", json!(Category::ALL.map(|it| described(it, args.lang))))?,
        (signals, false) => {
            for signal in signals {
                let category = Category::of(signal);
                writeln!(out, "{signal}: {} ({})", category.id(), category.label(args.lang))?;
            }
        }
        (signals, true) => {
            let found = signals.iter().map(|signal| {
                let category = Category::of(signal);
                json!({ "signal": signal, "category": category, "label": category.label(args.lang),
                    "sensitivity": category.sensitivity(), "place": is_place(signal) })
            });
            writeln!(out, "{:#}", found.collect::<serde_json::Value>())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(category: Category, language: Language) -> String {
    let known = category.known_as();
    let mut text = format!("{:12} {}  {}", category.id(), category.sensitivity(), category.label(language));
    for (whose, names) in
        [("Smartcar", known.smartcar), ("CarData", known.cardata), ("Android", known.android)]
    {
        if !names.is_empty() {
            text.push_str(&format!("\n                {whose}: {}", names.join(", ")));
        }
    }
    text
}

fn described(category: Category, language: Language) -> serde_json::Value {
    let known = category.known_as();
    json!({ "category": category, "sensitivity": category.sensitivity(), "label": category.label(language),
        "smartcar": known.smartcar, "cardata": known.cardata, "android": known.android })
}
