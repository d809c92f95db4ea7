//! What stands in one option: a recipient, a signal with its transforms, a category with its pattern.

use crate::daemon::authority::glob_matches;
use glovebox_core::consent::category::{Category, is_place};
use glovebox_core::consent::transform::{Parameter, TransformSpec, fault};
use glovebox_core::names::{RecipientId, SignalPath};
use std::path::PathBuf;
use std::str::FromStr;

/// `ID:NAME:COUNTRY:REQUEST.pub:HPKE.dsse[:HPKE.dsse]…`
#[derive(Debug, Clone)]
pub(super) struct RecipientSpec {
    pub(super) id: RecipientId,
    pub(super) name: String,
    pub(super) country: String,
    pub(super) request_key: PathBuf,
    pub(super) hpke_statements: Vec<PathBuf>,
}

impl FromStr for RecipientSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [id, name, country, request_key, hpke @ ..] = parts.as_slice() else {
            return Err("must be ID:NAME:COUNTRY:REQUEST.pub:HPKE.dsse".to_owned());
        };
        if hpke.is_empty() {
            return Err("the signed HPKE-key statement is missing at the end".to_owned());
        }
        Ok(Self {
            id: id.parse().map_err(|error: glovebox_core::names::NameError| error.to_string())?,
            name: (*name).to_owned(),
            country: (*country).to_owned(),
            request_key: request_key.into(),
            hpke_statements: hpke.iter().map(PathBuf::from).collect(),
        })
    }
}

/// `SIGNAL[:OP=NUMBER…][:optional]`, see [`OPS`].
#[derive(Debug, Clone)]
pub(super) struct SignalSpec {
    pub(super) signal: SignalPath,
    pub(super) optional: bool,
    pub(super) transforms: Vec<TransformSpec>,
}

impl FromStr for SignalSpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let signal = SignalPath::new(parts.next().unwrap_or_default()).map_err(|error| error.to_string())?;
        let mut spec = Self { signal, optional: false, transforms: Vec::new() };
        for part in parts {
            if part == "optional" {
                spec.optional = true;
            } else if part == IN_VEHICLE {
                spec.transforms.push(in_vehicle());
            } else {
                spec.transforms.push(transform(part)?);
            }
        }
        Ok(spec)
    }
}

/// Ops with one number, and the name of it. Others are written into the request's JSON.
const OPS: [(&str, &str); 7] = [
    ("rate", "min_interval_ms"),
    ("quantise", "step"),
    ("on_change", "min_delta"),
    ("time_bucket", "granularity_s"),
    ("geo_cell", "resolution"),
    ("delay", "hold_back_s"),
    ("budget", "samples_per_day"),
];

const IN_VEHICLE: &str = "in_vehicle";

/// It stays in the car, where something may be derived of it.
pub(super) fn in_vehicle() -> TransformSpec {
    TransformSpec { op: IN_VEHICLE.to_owned(), parameters: [].into() }
}

fn transform(text: &str) -> Result<TransformSpec, String> {
    let (op, value) = text.split_once('=').ok_or_else(|| {
        format!(
            "`{text}` is no transform: known are {}, {IN_VEHICLE} and optional",
            OPS.map(|(op, name)| format!("{op}={name}")).join(", ")
        )
    })?;
    let Some((_, name)) = OPS.iter().find(|(known, _)| *known == op) else {
        let known = OPS.map(|(op, _)| op).join(", ");
        return Err(format!("transform `{op}` is not known here: known are {known}"));
    };
    let number = match (value.parse::<i64>(), value.parse::<f64>()) {
        (Ok(number), _) => Parameter::Integer(number),
        (_, Ok(number)) => Parameter::Number(number),
        _ => return Err(format!("`{value}` is no number that {op} takes")),
    };
    let spec = TransformSpec { op: op.to_owned(), parameters: [((*name).to_owned(), number)].into() };
    fault(&spec).map_or(Ok(spec), |fault| Err(format!("{fault}; nothing would leave")))
}

/// `CATEGORY=GLOB`
#[derive(Debug, Clone)]
pub(super) struct CategorySpec {
    category: Category,
    glob: String,
}

impl FromStr for CategorySpec {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, glob) = text.split_once('=').ok_or("must be CATEGORY=GLOB, as `driving=CAN.can0.*`")?;
        let known = || Category::ALL.map(Category::id).join(", ");
        let category = Category::ALL.into_iter().find(|category| category.id() == name);
        let category = category.ok_or_else(|| format!("`{name}` is no category: known are {}", known()))?;
        Ok(Self { category, glob: glob.to_owned() })
    }
}

/// The first `--category` that fits, else what the name says, else unknown. A place stays one: no car takes it for
/// anything else.
pub(super) fn category_of(signal: &SignalPath, given: &[CategorySpec]) -> Category {
    let chosen = given.iter().find(|spec| glob_matches(&spec.glob, signal.as_str()));
    match chosen {
        Some(spec) if !is_place(signal) => spec.category,
        _ => Category::of(signal),
    }
}
