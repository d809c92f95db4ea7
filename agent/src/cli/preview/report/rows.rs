//! What is asked for, and what becomes of each of it: a row a signal, figure and sender.

use glovebox_core::consent::atom;
use glovebox_core::consent::category::{Category, Language};
use glovebox_core::consent::document::record::{Decision, PiiInformation};
use glovebox_core::consent::document::request::Request;
use glovebox_core::consent::effective::{Clause, Effective, FlowRules, SignalRules, Situation, explain};
use glovebox_core::consent::transform::{Function, Rule, Transform, transform, transforms};
use glovebox_core::decode::{LeafIndex, SourceAddress};
use glovebox_core::names::{FlowId, PurposeId, RecipientId, SignalPath};

use super::{Made, Place, Signal};
use crate::cli::glob::matches;
use crate::cli::preview::Args;
use crate::cli::preview::papers::Papers;

/// One recipient and purpose, with the signals that are shown of it.
#[derive(Debug)]
pub(in crate::cli::preview) struct Asked {
    pub(in crate::cli::preview) recipient: RecipientId,
    pub(in crate::cli::preview) purpose: PurposeId,
    /// The grant; `None`: nothing is granted.
    pub(in crate::cli::preview) flow: Option<FlowId>,
    /// As it is in the policy.
    pub(super) request: Option<Request>,
    /// Why nothing leaves at all.
    pub(super) why_not: Option<String>,
    pub(in crate::cli::preview) items: Vec<Item>,
}

/// One signal that is asked for.
#[derive(Debug)]
pub(in crate::cli::preview) struct Item {
    pub(in crate::cli::preview) signal: SignalPath,
    /// Why it does not leave, as far as the grant says.
    why_not: Option<String>,
    /// What would become of it, where nothing is granted.
    asked: String,
}

/// First each grant, then each request to which nothing is granted; of these what the globs let through.
pub(in crate::cli::preview) fn asked(
    situation: &Situation<'_>,
    papers: &Papers,
    effective: &Effective,
    args: &Args,
) -> Vec<Asked> {
    let granted = situation.grants.live().iter().map(|grant| of_grant(situation, effective, grant.flow()));
    let mut all: Vec<Asked> = granted.flatten().collect();
    let requests = situation.policy.map(|policy| policy.requests()).unwrap_or_default();
    for request in requests.iter().map(|request| request.payload()) {
        if situation.grants.find_for(&request.recipient, &request.purpose.id).is_none() {
            all.push(of_request(situation, papers, request));
        }
    }
    let wanted = |globs: &[String], name: &str| globs.is_empty() || globs.iter().any(|it| matches(it, name));
    all.retain(|asked| wanted(&args.recipient, asked.recipient.as_str()));
    for asked in &mut all {
        asked.items.retain(|item| wanted(&args.signal, item.signal.as_str()));
    }
    all.retain(|asked| !asked.items.is_empty());
    all
}

fn of_grant(situation: &Situation<'_>, effective: &Effective, flow: FlowId) -> Option<Asked> {
    let given = situation.grants.find(flow)?.given().payload();
    let (recipient, purpose) = (given.recipient.party_id.clone(), given.purpose.id.clone());
    let withheld = |signal: Option<&SignalPath>| {
        let of = effective.withheld.iter().filter(|it| it.flow.is_none_or(|it| it == flow));
        of.filter(|it| it.signal.as_ref() == signal).map(|it| it.clause).next()
    };
    let whole = withheld(None).map(no);
    let items = given.pii_information.iter().map(|item| {
        // Where the owner could not say yes, the reason is why.
        let refused = match (item.decision, item.category) {
            (Decision::Yes, _) => None,
            (Decision::NotSet, _) => Some(Clause::NoSuchLeaf),
            (_, Category::Unknown) => Some(Clause::CategoryUnknown),
            (Decision::InVehicle, _) => return stays(item),
            _ => Some(Clause::NotGranted),
        };
        let why_not = refused.or_else(|| withheld(Some(&item.signal))).map(no).or_else(|| whole.clone());
        Item { signal: item.signal.clone(), why_not, asked: transforms(&item.transform) }
    });
    let request = situation.policy.and_then(|policy| policy.request(&given.request_digest));
    Some(Asked {
        items: items.collect(),
        request: request.map(|request| request.payload().clone()),
        why_not: whole,
        flow: Some(flow),
        recipient,
        purpose,
    })
}

/// What the owner agreed to inside the car.
fn stays(item: &PiiInformation) -> Item {
    let why_not = Some("it stays in the car, where it may be used".to_owned());
    Item { signal: item.signal.clone(), why_not, asked: transforms(&item.transform) }
}

fn of_request(situation: &Situation<'_>, papers: &Papers, request: &Request) -> Asked {
    let same =
        |id: &RecipientId, purpose: &PurposeId| *id == request.recipient && *purpose == request.purpose.id;
    let refused = papers.refused.iter().find(|(recipient, purpose, _)| same(recipient, purpose));
    // Where the owner could not say yes, the reason is why; else the first clause that says no.
    let first_no = |signal: &SignalPath| {
        let category = situation.policy.map(|policy| policy.category(signal));
        match (situation.leaves.find(signal), category) {
            (None, _) => return Some(Clause::NoSuchLeaf),
            (_, Some(Category::Unknown)) => return Some(Clause::CategoryUnknown),
            _ => {}
        }
        let explained = explain(situation, signal, Some(&request.recipient));
        let explained = explained.into_iter().find(|it| same(&it.recipient, &it.purpose))?;
        explained.answers.into_iter().find(|answer| !answer.holds).map(|answer| answer.clause)
    };
    let why_not = match refused {
        Some((.., why)) => why.clone(),
        None => no(Clause::NotGiven),
    };
    let items = request.signals.iter().map(|asked| Item {
        signal: asked.signal.clone(),
        why_not: Some(first_no(&asked.signal).map_or_else(|| why_not.clone(), no)),
        asked: transforms(&asked.transforms),
    });
    Asked {
        items: items.collect(),
        recipient: request.recipient.clone(),
        purpose: request.purpose.id.clone(),
        flow: None,
        request: Some(request.clone()),
        why_not: Some(why_not.clone()),
    }
}

/// A clause that says no, as part of a sentence.
fn no(clause: Clause) -> String {
    clause.to_string()
}

/// The rows of one signal: each figure that is told of it, from each sender.
pub(super) fn of(made: &Made<'_>, asked: &Asked, item: &Item) -> Vec<Signal> {
    let rules = made.effective.flows.iter().find(|rules| Some(rules.flow) == asked.flow);
    let leaf = made.leaves.find(&item.signal);
    let mut sources: Vec<SourceAddress> = made
        .driven
        .inputs
        .keys()
        .filter(|(found, _)| Some(*found) == leaf)
        .map(|(_, source)| *source)
        .collect();
    if sources.is_empty() {
        sources.push(SourceAddress::NONE);
    }
    let told: Vec<&SignalRules> =
        rules.iter().flat_map(|rules| &rules.signals).filter(|it| it.path == item.signal).collect();
    let mut rows = Vec::new();
    for source in sources {
        let row = |told| row(made, (asked, item), (leaf, source), rules.map(AsRef::as_ref).zip(told));
        match told.as_slice() {
            [] => rows.push(row(None)),
            told => rows.extend(told.iter().map(|told| row(Some(*told)))),
        }
    }
    rows
}

fn row(
    made: &Made<'_>,
    (asked, item): (&Asked, &Item),
    (leaf, source): (Option<LeafIndex>, SourceAddress),
    told: Option<(&FlowRules, &SignalRules)>,
) -> Signal {
    let permitted = told.and_then(|(_, rules)| match rules.permitted {
        Rule::Pass(transform) => Some(transform),
        Rule::Deny => None,
    });
    let what = permitted.as_ref().and_then(what);
    let path = item.signal.as_str();
    let input = leaf.and_then(|leaf| made.driven.inputs.get(&(leaf, source)));
    let output = asked.flow.and_then(|flow| made.driven.outputs.find(flow, (path, what.as_deref()), source));
    let policy = made.papers.control.policy();
    let category = policy.map_or(Category::Unknown, |policy| policy.category(&item.signal));
    let known = leaf.and_then(|leaf| made.leaves.get(leaf));
    let counted = matches!(
        permitted.and_then(|it| it.function()),
        Some(Function::Count | Function::Sum | Function::Histogram)
    );
    let cells = output.map(|it| it.cells.iter().map(|(cell, count)| (format!("{cell:x}"), *count)));
    Signal {
        signal: path.to_owned(),
        what,
        source: (source != SourceAddress::NONE).then_some(source.0),
        unit: known.map(|leaf| leaf.unit.clone()).unwrap_or_default(),
        category: category.label(Language::English),
        leaves: permitted.is_some(),
        becomes: becomes(permitted.as_ref(), told, item),
        why_not: if permitted.is_some() { None } else { item.why_not.clone() },
        samples_in: input.map_or(0, |it| it.count),
        samples_out: output.map_or(0, |it| it.count),
        states_out: output.map_or(0, |it| it.valueless),
        range_in: input.and_then(|it| it.trace.range()),
        range_out: output.and_then(|it| it.trace.range()),
        examples: output.map(|it| it.examples()).unwrap_or_default(),
        cells: cells.map(Iterator::collect).unwrap_or_default(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a log")]
        bytes: output.map_or(0, |it| it.bytes.round() as u64),
        place: Place { flow: asked.flow, leaf, source, own_scale: counted },
    }
}

/// What of it is told, in the recipient's word.
fn what(transform: &Transform) -> Option<String> {
    match (transform.threshold.is_some(), transform.geo_cell.is_some()) {
        (true, _) => Some("event".to_owned()),
        (_, true) => Some("cell".to_owned()),
        _ => transform.figure_words(),
    }
}

fn becomes(permitted: Option<&Transform>, told: Option<(&FlowRules, &SignalRules)>, item: &Item) -> String {
    let (Some(permitted), Some((rules, told))) = (permitted, told) else { return item.asked.clone() };
    let words = transform(permitted, &told.unit);
    let latitude = |other: &&SignalRules| atom::is_place(&other.path, &told.path);
    match rules.signals.iter().find(latitude) {
        Some(latitude) if permitted.geo_cell.is_some() => format!("told as one with {}", latitude.path),
        _ => words,
    }
}
