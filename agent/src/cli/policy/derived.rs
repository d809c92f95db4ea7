//! `glovebox policy derived`: the signals that cars work out of others, which stay in the car.

use std::io::Write as _;
use std::process::ExitCode;

use glovebox_core::consent::category::{Category, Language};
use glovebox_core::decode::Predicate;
use glovebox_core::names::SignalPath;
use serde_json::json;

/// List the signals that a car works out of others: what each says, and of what. A request asks for one by its name, and
/// for what it is made of with `in_vehicle`, which stays in the car.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// As JSON, a list.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", json!(Predicate::ALL.map(described)))?;
        return Ok(ExitCode::SUCCESS);
    }
    for predicate in Predicate::ALL {
        write!(out, "{}", listed(predicate))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// At least: a bundle may say a more sensitive one.
fn category(predicate: Predicate) -> Category {
    SignalPath::new(predicate.path()).map_or(Category::Unknown, |path| Category::of(&path))
}

fn listed(predicate: Predicate) -> String {
    let category = category(predicate);
    let mut text = format!("{}: says {}\n", predicate.path(), predicate.says());
    text.push_str(&format!("  category {} ({})\n", category.id(), category.label(Language::English)));
    for input in predicate.inputs() {
        let unit =
            input.units.first().map_or_else(|| "true or false".to_owned(), |unit| format!("in {unit}"));
        text.push_str(&format!("  made of {}, {unit}\n", input.path));
    }
    text.push_str(&format!("  what was read of these counts for {} s\n", predicate.counts_us() / 1_000_000));
    text
}

fn described(predicate: Predicate) -> serde_json::Value {
    let inputs: Vec<_> = predicate
        .inputs()
        .iter()
        .map(|input| json!({ "signal": input.path, "units": input.units }))
        .collect();
    json!({ "signal": predicate.path(), "version": predicate.version(), "says": predicate.says(),
        "category": category(predicate), "made_of": inputs, "names": predicate.names(),
        "counts_s": predicate.counts_us() / 1_000_000 })
}
