//! The documents of a random life, made of what the checker's model holds.

use super::car::path;
use super::model::{Asked, Party, Policy, Reduce};
use super::world::{START, category, sign, time};
use glovebox_core::consent::document::bundle::{
    Bundle, CatalogueEntry, Directive, HpkeStatement, Recipient, RecipientStatus, Target, Text,
};
use glovebox_core::consent::document::record::{ConsentEvent, ConsentRecord, EventState};
use glovebox_core::consent::document::request::{
    Necessity, PrivacyNotice, Purpose, Request, RequestedSignal,
};
use glovebox_core::consent::transform::{Parameter, TransformSpec};
use glovebox_core::names::*;

pub fn key(recipient: usize, key: u8) -> VerifyingKey {
    VerifyingKey([10 + 10 * u8::try_from(recipient).unwrap() + key; 32])
}

pub fn names(recipient: usize, purpose: usize) -> (RecipientId, PurposeId) {
    (RecipientId::new(&format!("r{recipient}")).unwrap(), PurposeId::new(&format!("p{purpose}")).unwrap())
}

pub fn notice() -> PrivacyNotice {
    PrivacyNotice {
        uri: "https://example.com/privacy".into(),
        digest: Digest([0; 32]),
        language: "en".into(),
    }
}

pub fn event(event_state: EventState) -> ConsentEvent {
    ConsentEvent {
        event_time: time(START),
        event_state,
        event_type: "done".into(),
        entity_id: "owner".into(),
        indication_method: "command_line".into(),
        ui_digest: Digest([0; 32]),
    }
}

pub fn bytes(record: &ConsentRecord, key: &VerifyingKey) -> Vec<u8> {
    sign(record, key).to_bytes().unwrap()
}

pub fn request(recipient: usize, asked: &Asked) -> Request {
    let (id, purpose) = names(recipient, asked.purpose);
    let signal = |(signal, transforms): (&usize, &Vec<Reduce>)| RequestedSignal {
        signal: path(*signal),
        necessity: Necessity::Optional,
        transforms: specs(transforms),
    };
    Request {
        schema_version: 1,
        id: RequestId::new(&format!("q{}", asked.purpose)).unwrap(),
        version: 1,
        recipient: id,
        purpose: Purpose {
            id: purpose,
            code: "https://w3id.org/dpv#ServiceProvision".into(),
            text: vec![Text { language: "en".into(), text: "Words.".into() }],
        },
        lawful_basis: "dpv:Consent".into(),
        signals: asked.signals.iter().map(signal).collect(),
        retention_period: "P30D".into(),
        storage_locations: vec!["DE".into()],
        onward_disclosure: Vec::new(),
        profiling: false,
        automated_decision: false,
        incentive: String::new(),
        privacy_notice: notice(),
        jurisdiction: vec!["DE".into()],
        batch_age_s: 1,
        max_age_s: None,
        microseconds: false,
        expires: time(asked.expires),
        event: None,
        subject_reference: None,
    }
}

pub fn bundle(policy: &Policy) -> Bundle {
    let recipient = |(number, party): (usize, &Party)| {
        let hpke_key = HpkeKey([u8::try_from(number).unwrap() + 50; 32]);
        let statement = HpkeStatement {
            schema_version: 1,
            recipient: names(number, 0).0,
            hpke_key,
            not_before: time(START - 1_000_000),
            not_after: time(party.hpke_until),
        };
        Recipient {
            id: names(number, 0).0,
            name: "Example".into(),
            contact: "mailto:a@example.com".into(),
            country: "DE".into(),
            request_key: key(number, party.key),
            hpke_keys: vec![sign(&statement, &key(number, party.key))],
            status: if party.active { RecipientStatus::Active } else { RecipientStatus::Suspended },
        }
    };
    let requests = policy.recipients.iter().enumerate().flat_map(|(number, party)| {
        party.requests.iter().map(move |asked| sign(&request(number, asked), &key(number, party.key)))
    });
    let entry = |(signal, (letter, floor)): (&usize, &(char, Vec<Reduce>))| CatalogueEntry {
        signal: path(*signal),
        category: category(*letter),
        labels: Vec::new(),
        floor: specs(floor),
        plausible: None,
    };
    let suspend = policy.suspended.iter().map(|(who, whole)| Directive::Suspend {
        recipient: names(*who, 0).0,
        request: (!whole).then(|| RequestId::new("q0").unwrap()),
    });
    let dropped = policy.dropped.iter().map(|signal| Directive::Drop { signal: path(*signal) });
    let tightened = policy
        .tightened
        .iter()
        .map(|(signal, reduce)| Directive::Tighten { signal: path(*signal), transforms: specs(&[*reduce]) });
    Bundle {
        schema_version: 1,
        version: PolicyVersion(policy.version),
        issued: time(policy.issued),
        expires: time(policy.expires),
        target: Target::Vehicle(DeviceId::new("car-1").unwrap()),
        catalogue: policy.catalogue.iter().map(entry).collect(),
        recipients: policy.recipients.iter().enumerate().map(recipient).collect(),
        requests: requests.collect(),
        directives: suspend.chain(dropped).chain(tightened).collect(),
    }
}

pub fn specs(reduce: &[Reduce]) -> Vec<TransformSpec> {
    let tenths = |n: i128| {
        let sign = if n < 0 { "-" } else { "" };
        Parameter::Text(format!("{sign}{}.{}", n.abs() / 10, n.abs() % 10))
    };
    let spec = |reduce: &Reduce| {
        let (op, parameters) = match reduce {
            Reduce::Grid { step, offset } => {
                ("quantise", vec![("step", tenths(*step)), ("offset", tenths(*offset))])
            }
            Reduce::Rate { ms } => ("rate", vec![("min_interval_ms", Parameter::Integer(*ms))]),
            Reduce::Change { delta, repeat } => {
                let mut list = vec![("min_delta", tenths(*delta))];
                list.extend(repeat.map(|ms| ("max_interval_ms", Parameter::Integer(ms))));
                ("on_change", list)
            }
            Reduce::Bucket { s } => ("time_bucket", vec![("granularity_s", Parameter::Integer(*s))]),
            Reduce::Max { s } => {
                let functions = Parameter::List(vec![Parameter::Text("max".to_owned())]);
                ("aggregate", vec![("window_s", Parameter::Integer(*s)), ("functions", functions)])
            }
            Reduce::Bins { s, edges } => {
                let functions = Parameter::List(vec![Parameter::Text("histogram".to_owned())]);
                let edges = Parameter::List(edges.iter().map(|edge| tenths(*edge)).collect());
                let window = ("window_s", Parameter::Integer(*s));
                ("aggregate", vec![window, ("functions", functions), ("edges", edges)])
            }
            Reduce::Above { level, back } => {
                let when = Parameter::Text("above".to_owned());
                ("threshold", vec![("when", when), ("value", tenths(*level)), ("hysteresis", tenths(*back))])
            }
            Reduce::Budget { n } => ("budget", vec![("samples_per_day", Parameter::Integer(*n))]),
            Reduce::Inside => ("in_vehicle", Vec::new()),
            Reduce::Nothing => ("drop", Vec::new()),
        };
        let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        TransformSpec { op: op.to_owned(), parameters }
    };
    reduce.iter().map(spec).collect()
}
