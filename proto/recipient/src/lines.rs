//! JSON Lines: one object a line, a sample or an event. `proto/README.md` lists the fields.

use std::fmt::Write as _;

use glovebox_proto::v1::{self, State};
use serde_json::{Map, Value as Json, json};

use crate::open::Header;
use crate::samples::{Sample, Value};
use crate::stream::{Event, Ready};

/// Appends the line of one sample.
pub fn sample(out: &mut String, header: &Header, sample: &Sample<'_>) {
    out.push_str("{\"t\":");
    push_seconds(out, sample.time_us);
    let _ = write!(out, ",\"alias\":\"{}\",\"flow\":\"{:016x}\"", header.alias_id, header.flow);
    let (epoch, sequence) = (header.epoch, header.sequence);
    let _ = write!(out, ",\"epoch\":{epoch},\"seq\":{sequence},\"path\":{}", Json::from(sample.path));
    if let Some(source) = sample.source {
        let _ = write!(out, ",\"source\":{source}");
    }
    if let Some(what) = sample.what.word() {
        let _ = write!(out, ",\"what\":{}", Json::from(what));
    }
    let value = sample.value.map_or(Json::Null, number);
    let _ = write!(out, ",\"value\":{value},\"unit\":{}", Json::from(sample.unit));
    let _ = write!(out, ",\"label\":{},\"state\":\"{}\"}}", Json::from(sample.label), state(sample.state));
    out.push('\n');
}

/// Appends the lines of an event; of a ready batch, those of its losses (its own line and its samples are the caller's).
pub fn event(out: &mut String, event: &Event) {
    match event {
        Event::Ready(ready) => {
            for loss in &ready.batch.losses {
                push(out, "loss", &ready.header, loss_fields(loss, &ready.descriptor));
            }
        }
        Event::Notice(header, notice) => push(out, "notice", header, notice_fields(notice)),
        Event::Gap { header, first, last } => {
            push(out, "gap", header, json!({ "first": first, "last": last }));
        }
        Event::Duplicate(header) => push(out, "duplicate", header, json!({})),
        Event::Held(header) => push(out, "held", header, json!({ "why": "its descriptor did not come yet" })),
        Event::GivenUp(header) => {
            push(
                out,
                "refused",
                header,
                json!({ "why": "its descriptor did not come and there is no more room" }),
            );
        }
    }
}

/// Appends the line of an envelope that was refused; `header` if it was readable.
pub fn refused(out: &mut String, topic: Option<&str>, header: Option<&Header>, why: &str) {
    match header {
        Some(header) => push(out, "refused", header, json!({ "topic": topic, "why": why })),
        None => {
            let _ = writeln!(out, "{}", json!({ "event": "refused", "topic": topic, "why": why }));
        }
    }
}

/// The name of a state in lines.
#[must_use]
pub fn state(state: State) -> &'static str {
    match state {
        State::Value => "value",
        State::NotAvailable => "not_available",
        State::Error => "error",
        State::OutOfRange => "out_of_range",
        State::Absent => "absent",
    }
}

fn push(out: &mut String, name: &str, header: &Header, fields: Json) {
    let mut line = json!({
        "alias": header.alias_id,
        "flow": format!("{:016x}", header.flow),
        "epoch": header.epoch,
        "seq": header.sequence,
    });
    if let (Json::Object(line), Json::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    // The kind of line first, for people who read it.
    let text = line.to_string();
    let _ = writeln!(out, "{{\"event\":\"{name}\",{}", text.trim_start_matches('{'));
}

/// Appends the line of a batch: under which consent it was collected, how far its times can be trusted, and, `in_full`,
/// what its descriptor says of how each signal was reduced.
pub fn batch(out: &mut String, ready: &Ready, in_full: bool) {
    let Ready { header, batch, descriptor } = ready;
    let clock = match batch.clock_quality() {
        v1::ClockQuality::Unspecified => "unspecified",
        v1::ClockQuality::Unknown => "unknown",
        v1::ClockQuality::Rtc => "rtc",
        v1::ClockQuality::Synchronised => "synchronised",
        v1::ClockQuality::Replay => "replay",
    };
    let mut fields = json!({
        "request": hex::encode(&descriptor.request_digest),
        "policy_version": batch.policy_version,
        "clock": clock,
        "descriptor": hex::encode(&batch.descriptor_digest),
    });
    if in_full {
        fields["signals"] = descriptor.signals.iter().map(signal_fields).collect();
    }
    push(out, "batch", header, fields);
}

fn signal_fields(signal: &v1::Signal) -> Json {
    let transform = |transform: &v1::Transform| {
        let parameter = |it: &v1::Parameter| (it.name.clone(), Json::from(it.value.as_str()));
        json!({ "op": transform.op, "parameters": transform.parameters.iter().map(parameter).collect::<Map<_, _>>() })
    };
    let transforms: Vec<Json> = signal.transforms.iter().map(transform).collect();
    json!({ "path": signal.path, "unit": signal.unit, "transforms": transforms })
}

fn loss_fields(loss: &v1::Loss, descriptor: &v1::Descriptor) -> Json {
    let path = |index: &u32| descriptor.signals.get(*index as usize).map(|signal| signal.path.as_str());
    let reason = match loss.reason() {
        v1::LossReason::Unspecified => "unspecified",
        v1::LossReason::Quota => "quota",
        v1::LossReason::Overload => "overload",
        v1::LossReason::Narrowed => "narrowed",
        v1::LossReason::Corrupt => "corrupt",
        v1::LossReason::Refused => "refused",
        v1::LossReason::Age => "age",
    };
    json!({
        "reason": reason,
        "batches": loss.batches,
        "first": loss.first_sequence,
        "last": loss.last_sequence,
        // Of batches nobody counted them.
        "samples": (loss.samples > 0 || loss.batches == 0).then_some(loss.samples),
        "signals": loss.signals.iter().map(path).collect::<Vec<_>>(),
    })
}

fn notice_fields(notice: &v1::Notice) -> Json {
    let kind = match notice.kind() {
        v1::NoticeKind::Unspecified => "unspecified",
        v1::NoticeKind::Given => "given",
        v1::NoticeKind::Narrowed => "narrowed",
        v1::NoticeKind::Withdrawn => "withdrawn",
        v1::NoticeKind::Renewed => "renewed",
        v1::NoticeKind::Expired => "expired",
    };
    json!({
        "kind": kind,
        "time_us": notice.time_us,
        "request": hex::encode(&notice.request_digest),
        "erasure_requested": notice.erasure_requested,
    })
}

/// An event in words, for people; empty: nothing that they would miss.
#[must_use]
pub fn words(event: &Event) -> String {
    let place = |header: &Header| format!("flow {:016x}, alias {}", header.flow, header.alias_id);
    match event {
        Event::Ready(ready) => {
            let lost = |loss: &v1::Loss| {
                let fields = loss_fields(loss, &ready.descriptor);
                let (what, count) = match loss.batches {
                    0 => ("samples", loss.samples),
                    batches => ("batches", batches),
                };
                let reason = fields["reason"].as_str().unwrap_or_default();
                format!("the car lost {count} {what} ({reason}); {}\n", place(&ready.header))
            };
            ready.batch.losses.iter().map(lost).collect()
        }
        Event::Notice(header, notice) => notice_words(header, notice),
        Event::Gap { header, first, last } => {
            format!("batches {first} to {last} did not come so far; {}", place(header))
        }
        Event::Duplicate(header) => format!("batch {} came again; {}", header.sequence, place(header)),
        Event::Held(header) => {
            format!("batch {} waits for its descriptor; {}", header.sequence, place(header))
        }
        Event::GivenUp(header) => {
            format!("batch {} is given up: its descriptor did not come; {}", header.sequence, place(header))
        }
    }
}

/// A notice in words.
#[must_use]
pub fn notice_words(header: &Header, notice: &v1::Notice) -> String {
    let what = match notice.kind() {
        v1::NoticeKind::Unspecified => "an act of consent",
        v1::NoticeKind::Given => "consent given",
        v1::NoticeKind::Narrowed => "consent narrowed",
        v1::NoticeKind::Withdrawn => "consent withdrawn",
        v1::NoticeKind::Renewed => "consent renewed",
        v1::NoticeKind::Expired => "consent expired",
    };
    let erase =
        if notice.erasure_requested { ", ERASE what you have of it: the owner asks you to" } else { "" };
    format!("flow {:016x}: {what}{erase}; alias {}", header.flow, header.alias_id)
}

/// Integers as they are; what JSON has no number for as text.
fn number(value: Value) -> Json {
    match value {
        Value::Bool(truth) => truth.into(),
        Value::Cell(cell) => format!("{cell:x}").into(),
        Value::Integer(integer) => match (u64::try_from(integer), i64::try_from(integer)) {
            (Ok(unsigned), _) => unsigned.into(),
            (_, Ok(signed)) => signed.into(),
            _ => integer.to_string().into(),
        },
        Value::Float(float) if float.is_nan() => "NaN".into(),
        Value::Float(f64::INFINITY) => "Infinity".into(),
        Value::Float(f64::NEG_INFINITY) => "-Infinity".into(),
        Value::Float(float) => float.into(),
    }
}

/// Seconds with six decimals, exact.
fn push_seconds(out: &mut String, time_us: i64) {
    let sign = if time_us < 0 { "-" } else { "" };
    let (seconds, rest) = (time_us.unsigned_abs() / 1_000_000, time_us.unsigned_abs() % 1_000_000);
    let _ = write!(out, "{sign}{seconds}.{rest:06}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: v1::Kind, sequence: u64) -> Header {
        let (key_id, alias, alias_id) = ([0; 32], [1; 32], "f704".to_owned());
        Header { key_id, alias, alias_id, flow: 0xAB, epoch: 0, epoch_tag: 1, sequence, kind }
    }

    #[test]
    fn samples_of_lost_batches_are_unknown_and_not_none() {
        let samples = |batches, samples| {
            let loss = v1::Loss { batches, samples, ..v1::Loss::default() };
            loss_fields(&loss, &v1::Descriptor::default())["samples"].clone()
        };
        assert_eq!([samples(3, 0), samples(0, 7), samples(0, 0)], [Json::Null, json!(7), json!(0)]);
    }

    #[test]
    fn a_notice_in_words_says_what_to_erase() {
        let header = header(v1::Kind::Notice, 1);
        let kind = v1::NoticeKind::Withdrawn.into();
        let mut notice = v1::Notice { kind, erasure_requested: true, ..v1::Notice::default() };
        let asked = "flow 00000000000000ab: consent withdrawn, ERASE what you have of it: the owner asks you to; alias f704";
        assert_eq!(notice_words(&header, &notice), asked);
        notice.erasure_requested = false;
        assert_eq!(notice_words(&header, &notice), "flow 00000000000000ab: consent withdrawn; alias f704");
    }

    #[test]
    fn people_read_an_event_in_words() {
        let header = header(v1::Kind::Batch, 7);
        let place = "flow 00000000000000ab, alias f704";
        let gap = Event::Gap { header: header.clone(), first: 3, last: 5 };
        assert_eq!(words(&gap), format!("batches 3 to 5 did not come so far; {place}"));
        let held = Event::Held(header.clone());
        assert_eq!(words(&held), format!("batch 7 waits for its descriptor; {place}"));
        let loss = |batches, samples| v1::Loss {
            reason: v1::LossReason::Quota.into(),
            batches,
            samples,
            ..v1::Loss::default()
        };
        let batch = Box::new(v1::Batch { losses: vec![loss(3, 0), loss(0, 9)], ..v1::Batch::default() });
        let ready = Event::Ready(Ready { header, batch, descriptor: v1::Descriptor::default().into() });
        let lost =
            format!("the car lost 3 batches (quota); {place}\nthe car lost 9 samples (quota); {place}\n");
        assert_eq!(words(&ready), lost);
    }

    #[test]
    fn seconds_are_exact() {
        let text = |time_us| {
            let mut out = String::new();
            push_seconds(&mut out, time_us);
            out
        };
        assert_eq!(text(0), "0.000000");
        assert_eq!(text(-1), "-0.000001");
        assert_eq!(text(1_700_000_000_000_001), "1700000000.000001");
        assert_eq!(text(i64::MIN), "-9223372036854.775808");
    }
}
