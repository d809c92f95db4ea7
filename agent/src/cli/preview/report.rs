//! What the preview found, in one form for words, JSON and HTML.

mod rows;

use std::fmt::Write as _;

use glovebox_core::consent::document::Policy;
use glovebox_core::consent::document::request::Request;
use glovebox_core::consent::effective::Effective;
use glovebox_core::decode::{LeafIndex, Leaves, SourceAddress};
use glovebox_core::names::{FlowId, SignalPath, WallTime};
use serde::Serialize;

use super::drive::{Driven, Sent};
use super::papers::{Aside, Check, Papers};
use super::source::Source;
use super::words;

pub(super) use rows::{Asked, asked};

/// What is said first, everywhere.
pub(super) const NOTICE: &str = "A preview: nothing was sent, stored or granted. A drive of another day gives other figures. Private places, pauses and \
     limits of bytes a day are of the car, and not in it.";

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// That it is a preview.
    pub(super) notice: &'static str,
    /// Of this program.
    pub(super) version: &'static str,
    /// As of when documents and grants were looked at.
    pub(super) as_of: Option<WallTime>,
    /// Whose yes it rests on.
    pub(super) granted: String,
    /// Version of the policy bundle.
    pub(super) policy_version: u64,
    /// Which signatures were checked.
    pub(super) signatures: Vec<Check>,
    /// The drive.
    pub(super) log: Log,
    /// By recipient and purpose.
    pub(super) flows: Vec<Flow>,
}

/// The drive.
#[derive(Debug, Serialize)]
pub(super) struct Log {
    /// The file.
    pub(super) file: String,
    /// Those of its interfaces that have a database.
    pub(super) interfaces: Vec<String>,
    /// Frames of these in the part that was driven.
    pub(super) frames: u64,
    /// Beginning of the log by its own clock, in microseconds.
    pub(super) begin_us: i64,
    /// The part that was driven, in microseconds after that.
    pub(super) from_us: i64,
    /// See `from_us`.
    pub(super) to_us: i64,
}

/// One recipient and purpose.
#[derive(Debug, Serialize)]
pub(super) struct Flow {
    /// Its id.
    pub(super) recipient: String,
    /// As the owner reads it.
    pub(super) name: String,
    /// ISO 3166-1 alpha-2.
    pub(super) country: String,
    /// What for.
    pub(super) purpose: String,
    /// In the recipient's own words.
    pub(super) text: String,
    /// The whole in one sentence.
    pub(super) sentence: String,
    /// Why nothing leaves at all.
    pub(super) why_not: Option<String>,
    /// Nothing leaves from here on.
    pub(super) live_until: Option<WallTime>,
    /// What holds for all of it: the event around which it leaves, and what the preview leaves out.
    pub(super) notes: Vec<String>,
    /// Sealed batches.
    pub(super) batches: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Readings that came in of what is asked for.
    pub(super) samples_in: u64,
    /// Samples in the batches.
    pub(super) samples_out: u64,
    /// Samples that were let through and had to be given up.
    pub(super) samples_lost: u64,
    /// What the company says that it does, and what no car can enforce.
    pub(super) promises: Vec<Promise>,
    /// Each signal that is asked for.
    pub(super) signals: Vec<Signal>,
}

/// What a company says of one thing.
#[derive(Debug, Serialize)]
pub(super) struct Promise {
    /// The thing.
    pub(super) about: &'static str,
    /// What it says.
    pub(super) says: String,
}

/// One signal of a flow, and of one sender on J1939.
#[derive(Debug, Serialize)]
pub(super) struct Signal {
    /// Its name.
    pub(super) signal: String,
    /// `event`, `cell` or the figure that is told of it.
    pub(super) what: Option<String>,
    /// Who sends it.
    pub(super) source: Option<u8>,
    /// Of what comes in.
    pub(super) unit: String,
    /// The category that owners see.
    pub(super) category: &'static str,
    /// Whether it may leave.
    pub(super) leaves: bool,
    /// What becomes of it, in words.
    pub(super) becomes: String,
    /// Why it does not leave.
    pub(super) why_not: Option<String>,
    /// Readings that came in.
    pub(super) samples_in: u64,
    /// Samples that leave.
    pub(super) samples_out: u64,
    /// Of these, states without a value.
    pub(super) states_out: u64,
    /// Smallest and largest value that came in.
    pub(super) range_in: Option<(f64, f64)>,
    /// The same of what leaves.
    pub(super) range_out: Option<(f64, f64)>,
    /// Some values that leave.
    pub(super) examples: Vec<String>,
    /// Cells that are told, H3 numbers in hexadecimal, and how often each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) cells: Vec<(String, u64)>,
    /// Its part of the sealed bytes.
    pub(super) bytes: u64,
    /// Where its series are.
    #[serde(skip)]
    pub(super) place: Place,
}

/// Where what is drawn of a signal is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) flow: Option<FlowId>,
    pub(super) leaf: Option<LeafIndex>,
    pub(super) source: SourceAddress,
    /// Its numbers are on another scale than what comes in.
    pub(super) own_scale: bool,
}

/// What the report is made of.
pub(super) struct Made<'a> {
    pub(super) papers: &'a Papers,
    pub(super) effective: &'a Effective,
    pub(super) leaves: &'a Leaves,
    pub(super) driven: &'a Driven,
}

impl Report {
    pub(super) fn new(made: &Made<'_>, asked: &[Asked], source: &Source) -> Self {
        let Made { papers, effective, driven, .. } = made;
        let log = Log {
            file: source.path.display().to_string(),
            interfaces: source.interfaces.clone(),
            frames: driven.frames,
            begin_us: source.survey.first,
            from_us: source.span.start - source.survey.first,
            to_us: source.span.end - source.survey.first,
        };
        Self {
            notice: NOTICE,
            version: env!("CARGO_PKG_VERSION"),
            as_of: papers.time.map(|time| time.earliest),
            granted: papers.granted.clone(),
            policy_version: effective.policy_version.0,
            signatures: papers.checks.clone(),
            log,
            flows: asked.iter().map(|asked| flow(made, asked)).collect(),
        }
    }

    /// Whether anything leaves.
    pub(super) fn leaves(&self) -> bool {
        self.flows.iter().any(|flow| flow.samples_out > 0)
    }
}

fn flow(made: &Made<'_>, asked: &Asked) -> Flow {
    let policy = made.papers.control.policy();
    let known = policy.and_then(|policy| policy.recipient(&asked.recipient));
    let rules = made.effective.flows.iter().find(|rules| Some(rules.flow) == asked.flow);
    let sent = asked.flow.and_then(|flow| made.driven.flows.get(&flow)).copied().unwrap_or_default();
    let signals: Vec<Signal> = asked.items.iter().flat_map(|item| rows::of(made, asked, item)).collect();
    // A leaf that several figures are told of came in once.
    let mut leaves: Vec<(LeafIndex, SourceAddress)> =
        signals.iter().filter_map(|signal| Some((signal.place.leaf?, signal.place.source))).collect();
    leaves.sort_unstable();
    leaves.dedup();
    let samples_in = leaves.iter().filter_map(|key| made.driven.inputs.get(key)).map(|it| it.count).sum();
    let name = known.map_or_else(|| asked.recipient.to_string(), |known| known.name.clone());
    let request = asked.request.as_ref();
    let mut flow = Flow {
        recipient: asked.recipient.to_string(),
        name,
        country: known.map(|known| known.country.clone()).unwrap_or_default(),
        purpose: asked.purpose.to_string(),
        text: request.map(text).unwrap_or_default(),
        sentence: String::new(),
        why_not: asked.why_not.clone(),
        live_until: rules.map(|rules| rules.live_until),
        notes: notes(made, asked),
        batches: sent.batches,
        bytes: sent.bytes,
        samples_in,
        samples_out: sent.samples,
        samples_lost: sent.lost,
        promises: request.map(promises).unwrap_or_default(),
        signals,
    };
    flow.sentence = sentence(&flow, &sent);
    flow
}

/// The event counts in this preview; a day's bytes and what is set in the car do not.
fn notes(made: &Made<'_>, asked: &Asked) -> Vec<String> {
    let rules = made.effective.flows.iter().find(|rules| Some(rules.flow) == asked.flow);
    let event = asked.request.as_ref().and_then(|request| request.event.as_ref());
    let mut notes: Vec<String> = event.map(|event| format!("Leaves {event}.")).into_iter().collect();
    if let Some(most) = rules.and_then(|rules| rules.bytes_per_day_max) {
        let most = words::count(most);
        notes.push(format!("At most {most} bytes a day leave; here nothing is held back for that."));
    }
    let Aside { places, session } = &made.papers.aside;
    if session.stops(&asked.recipient, &asked.purpose) {
        notes.push("Sending to it is paused in the car now; here it is not.".to_owned());
    }
    let of = |is: &dyn Fn(&Policy, &SignalPath) -> bool| {
        let policy = made.papers.control.policy();
        policy.is_some_and(|policy| asked.items.iter().any(|item| is(policy, &item.signal)))
    };
    if *places && of(&Policy::is_private) {
        notes.push("Private places in the car keep of it what is near them; here they do not.".to_owned());
    }
    if session.is_without_location() && of(&Policy::is_location) {
        notes.push("Location is switched off in the car now; here it is not.".to_owned());
    }
    notes
}

fn text(request: &Request) -> String {
    let texts = &request.purpose.text;
    let text = texts.iter().find(|text| text.language == "en").or(texts.first());
    text.map(|text| text.text.clone()).unwrap_or_default()
}

fn promises(request: &Request) -> Vec<Promise> {
    let yes_no = |flag| if flag { "yes" } else { "no" };
    let onward = match request.onward_disclosure.as_slice() {
        [] => "nobody".to_owned(),
        names => names.join(", "),
    };
    let storage = request.storage_locations.join(", ");
    let mut list = vec![
        ("Kept for", format!("{}, in {storage}", request.retention_period)),
        ("Passed on to", onward),
        ("Profiling", yes_no(request.profiling).to_owned()),
        ("Automated decisions", yes_no(request.automated_decision).to_owned()),
        ("Legal ground", format!("{}, law of {}", request.lawful_basis, request.jurisdiction.join(", "))),
        ("Privacy notice", request.privacy_notice.uri.clone()),
    ];
    if !request.incentive.is_empty() {
        list.push(("In return", request.incentive.clone()));
    }
    list.into_iter().map(|(about, says)| Promise { about, says }).collect()
}

fn sentence(flow: &Flow, sent: &Sent) -> String {
    let name = &flow.name;
    if let Some(why) = &flow.why_not {
        return format!("{name} gets nothing: {why}.");
    }
    let distinct = |wanted: &dyn Fn(&Signal) -> bool| {
        let mut names: Vec<&str> =
            flow.signals.iter().filter(|it| wanted(it)).map(|it| it.signal.as_str()).collect();
        names.dedup();
        names.len() as u64
    };
    let (all, may) = (distinct(&|_| true), distinct(&|signal| signal.leaves));
    let of = if all == may { String::new() } else { format!(" of the {all} it asks for") };
    let mut text = format!("{name} may get {}{of}", words::some(may, "signal"));
    if sent.samples == 0 {
        let _ = write!(text, ", and on this drive nothing came of it.");
        return text;
    }
    let part = words::percent(sent.samples, flow.samples_in);
    let _ = write!(
        text,
        ": {} out of {} ({part}), sealed in {} of {}.",
        words::some(sent.samples, "sample"),
        words::some(flow.samples_in, "reading"),
        words::some(sent.batches, "batch"),
        words::bytes(sent.bytes)
    );
    if sent.lost > 0 {
        let _ = write!(text, " {} had to be given up.", words::some(sent.lost, "sample"));
    }
    text
}
