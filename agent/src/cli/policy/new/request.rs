//! `glovebox policy new request`: what a recipient asks for, of options or by a template.

use super::super::read_file;
use super::super::templates::{Template, Vss};
use super::after;
use super::spec::{SignalSpec, in_vehicle};
use anyhow::bail;
use glovebox_core::consent::document::bundle::Text;
use glovebox_core::consent::document::event::EventCondition;
use glovebox_core::consent::document::request::{
    Necessity, PrivacyNotice, Purpose, Request, RequestedSignal,
};
use glovebox_core::decode::Predicate;
use glovebox_core::names::{Digest, PurposeId, RecipientId, RequestId, WallTime};
use std::path::PathBuf;

/// A recipient's request: exact signals for one purpose.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  glovebox policy new request --template tyre-care --recipient acme -o r.json
  glovebox policy new request --recipient acme --purpose speed -o r.json \\
    --signal Vehicle.Speed:rate=1000:quantise=5
  glovebox policy templates                       what the templates ask for")]
pub(super) struct Args {
    /// Who asks.
    #[arg(long, default_value = "example-tyres")]
    recipient: RecipientId,
    /// A ready-made purpose; options go over it, and more signals may be named.
    #[arg(long, value_name = "NAME", value_parser = Template::named)]
    template: Option<&'static Template>,
    /// The VSS of the cars, for the units of a template.
    #[arg(long, value_enum, default_value = "6", requires = "template")]
    vss: Vss,
    /// What for; the template's name, or `tyre-care`.
    #[arg(long)]
    purpose: Option<PurposeId>,
    /// A signal, and how coarse it may be made: `Vehicle.Speed:rate=1000:quantise=0.5:optional`. Known are rate=MS,
    /// quantise=STEP, on_change=DELTA, time_bucket=SECONDS, geo_cell=RESOLUTION, delay=SECONDS, budget=SAMPLES_A_DAY,
    /// in_vehicle, optional; threshold and aggregate have more than a number: write them into the JSON. What a derived
    /// signal (`glovebox policy derived`) is made of is asked for with it, `in_vehicle`.
    #[arg(long, value_name = "SIGNAL[:OP=NUMBER…][:optional]")]
    signal: Vec<SignalSpec>,
    /// Its name within the recipient; the purpose if it is not given.
    #[arg(long)]
    id: Option<RequestId>,
    /// Its version.
    #[arg(long, default_value_t = 1)]
    request_version: u64,
    /// The purpose in words that the owner reads.
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
    /// ISO 3166-1 code of storage and law.
    #[arg(long, default_value = "DE")]
    country: String,
    /// How long it is kept (ISO 8601); as the template says, or P30D.
    #[arg(long)]
    retention: Option<String>,
    /// Seconds until a batch is closed; as the template says, or 10.
    #[arg(long)]
    batch_age: Option<u32>,
    /// What could not be sent within so many seconds is of no use and is dropped in the car; at least 60.
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u32>,
    /// Microsecond stamps instead of milliseconds.
    #[arg(long)]
    microseconds: bool,
    /// Only what was recorded around the moment at which this becomes true: an expression over the signals, as
    /// `Vehicle.Speed > 100 and not Vehicle.IsMoving`.
    #[arg(long, value_name = "EXPRESSION")]
    only_around: Option<String>,
    /// From so many seconds before it.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "only_around")]
    before: u32,
    /// To so many seconds after it.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "only_around")]
    after: u32,
    /// And not again within so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "only_around")]
    not_within: u32,
    /// Where the privacy notice can be read.
    #[arg(long, value_name = "URI")]
    notice_uri: Option<String>,
    /// A file with the privacy notice; its SHA-256 is recorded.
    #[arg(long, value_name = "FILE")]
    notice: Option<PathBuf>,
    /// Nothing leaves under it after so many days.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    expires_days: u32,
}

impl Args {
    pub(super) fn made_up(&self, request: &Request) -> Vec<String> {
        let mut values = Vec::new();
        if let Some(template) = self.template {
            values.extend(template.notes(self.vss));
        }
        if self.text.is_none() && self.template.is_none() {
            values.extend(request.purpose.text.iter().map(|text| format!("purpose (--text): {}", text.text)));
        }
        if self.notice_uri.is_none() {
            values.push(format!("privacy notice (--notice-uri): {}", request.privacy_notice.uri));
        }
        if self.notice.is_none() {
            values
                .push("digest of the privacy notice (--notice FILE): that of the purpose's words".to_owned());
        }
        if self.signal.is_empty() && self.template.is_none() {
            let signals: Vec<&str> = request.signals.iter().map(|asked| asked.signal.as_str()).collect();
            values.push(format!("signals (--signal): {}", signals.join(", ")));
        }
        values
    }

    fn purpose(&self) -> anyhow::Result<PurposeId> {
        match &self.purpose {
            Some(purpose) => Ok(purpose.clone()),
            None => Ok(PurposeId::new(self.template.map_or("tyre-care", |template| template.id))?),
        }
    }

    fn event(&self) -> Option<EventCondition> {
        let when = self.only_around.clone()?;
        let (before_s, after_s, min_interval_s) = (self.before, self.after, self.not_within);
        Some(EventCondition { when, before_s, after_s, min_interval_s })
    }

    fn texts(&self, purpose: &PurposeId) -> Vec<Text> {
        let english = |text: String| vec![Text { language: "en".to_owned(), text }];
        match (&self.text, self.template) {
            (Some(text), _) => english(text.clone()),
            (None, Some(template)) => template.texts(),
            (None, None) => english(format!("To provide the service {purpose} that you ordered.")),
        }
    }

    fn signals(&self) -> anyhow::Result<Vec<RequestedSignal>> {
        let mut signals = match self.template {
            Some(template) => template.signals(self.vss)?,
            None if self.signal.is_empty() => samples()?,
            None => Vec::new(),
        };
        signals.extend(self.signal.iter().map(SignalSpec::requested));
        add_inputs(&mut signals);
        Ok(signals)
    }
}

/// What is derived is nothing without what it is made of, which is asked for too, to stay in the car.
fn add_inputs(signals: &mut Vec<RequestedSignal>) {
    let made_of = |asked: &RequestedSignal| {
        let (inputs, necessity) = (Predicate::named(&asked.signal).map(Predicate::made_of), asked.necessity);
        inputs.into_iter().flatten().map(move |signal| (signal, necessity))
    };
    for (signal, necessity) in signals.iter().flat_map(made_of).collect::<Vec<_>>() {
        if !signals.iter().any(|asked| asked.signal == signal) {
            signals.push(RequestedSignal { signal, necessity, transforms: vec![in_vehicle()] });
        }
    }
}

pub(super) fn made(args: &Args, now: WallTime) -> anyhow::Result<Request> {
    if args.only_around.is_some() && args.signal.is_empty() && args.template.is_none() {
        bail!("`--only-around` is over signals that the request asks for: name them with `--signal`");
    }
    let purpose = args.purpose()?;
    let id = match &args.id {
        Some(id) => id.clone(),
        None => RequestId::new(purpose.as_str())?,
    };
    let text = args.texts(&purpose);
    let digest = match &args.notice {
        Some(file) => Digest::of(&read_file(file)?),
        None => Digest::of(text.iter().map(|text| text.text.as_str()).collect::<String>().as_bytes()),
    };
    let template = args.template;
    let retention = args.retention.as_deref().or(template.map(|it| it.retention)).unwrap_or("P30D");
    let judges = template.is_some_and(|it| it.judges);
    Ok(Request {
        schema_version: 1,
        id,
        version: args.request_version,
        recipient: args.recipient.clone(),
        purpose: Purpose {
            id: purpose,
            code: template.map_or("https://w3id.org/dpv#ServiceProvision", |it| it.code).to_owned(),
            text,
        },
        lawful_basis: "https://w3id.org/dpv#Consent".to_owned(),
        signals: args.signals()?,
        retention_period: retention.to_owned(),
        storage_locations: vec![args.country.clone()],
        onward_disclosure: Vec::new(),
        profiling: judges,
        automated_decision: judges,
        incentive: String::new(),
        privacy_notice: PrivacyNotice {
            uri: args
                .notice_uri
                .clone()
                .unwrap_or_else(|| format!("https://{}.example/privacy", args.recipient)),
            digest,
            language: "en".to_owned(),
        },
        jurisdiction: vec![args.country.clone()],
        batch_age_s: args.batch_age.or(template.map(|it| it.batch_age_s)).unwrap_or(10),
        max_age_s: args.max_age.or(template.and_then(|it| it.max_age_s)),
        microseconds: args.microseconds,
        event: args.event(),
        expires: after(now, args.expires_days),
        subject_reference: None,
    })
}

/// What is asked for when neither signal nor template is named.
fn samples() -> anyhow::Result<Vec<RequestedSignal>> {
    [
        "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure:on_change=5",
        "Vehicle.Speed:rate=1000:quantise=5:optional",
    ]
    .into_iter()
    .map(|text| Ok(text.parse::<SignalSpec>().map_err(anyhow::Error::msg)?.requested()))
    .collect()
}

impl SignalSpec {
    fn requested(&self) -> RequestedSignal {
        RequestedSignal {
            signal: self.signal.clone(),
            necessity: if self.optional { Necessity::Optional } else { Necessity::Required },
            transforms: self.transforms.clone(),
        }
    }
}
