//! Schemas and code agree on everything that can be done to one place of an example: it is taken out, has another
//! type, is emptied, is joined by an unknown field. A field that only one of them knows is found by this.

use super::Kind;
use super::schemas::validator_of;
use glovebox_core::consent::document::{DocumentError, Fault};
use serde_json::{Value, json};

/// Every place below `value`, as JSON pointers; inside an envelope nothing is looked at.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    if value.get("payloadType").is_some() {
        return;
    }
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, inner)| places(inner, &format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, inner)| places(inner, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

/// What becomes of `document` if something is done at `place`.
fn changes(document: &Value, place: &str) -> Vec<(String, Value)> {
    let mut changed = Vec::new();
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(7),
        json!(0.5),
        json!(1e300),
        json!(""),
        json!(" "),
        json!("a"),
        json!("A b"),
        json!("x\u{1b}y"),
        json!("DE"),
        json!("dpv:Consent"),
        json!([]),
        json!([[]]),
        json!(["a"]),
        json!({}),
        json!({ "strange": 1 }),
    ];
    for value in values {
        let mut other = document.clone();
        *other.pointer_mut(place).unwrap() = value.clone();
        changed.push((format!("{place} = {value}"), other));
    }
    if let Some((parent, last)) = place.rsplit_once('/') {
        let mut other = document.clone();
        match other.pointer_mut(parent).unwrap() {
            Value::Object(fields) => drop(fields.remove(last)),
            Value::Array(items) => drop(items.remove(last.parse().unwrap())),
            _ => unreachable!("only these have places below them"),
        }
        changed.push((format!("{place} taken out"), other));
    }
    let mut other = document.clone();
    if let Value::Object(fields) = other.pointer_mut(place).unwrap() {
        fields.insert("strange".to_owned(), json!(1));
        changed.push((format!("{place} with a strange field"), other));
    }
    changed
}

/// Rules between fields are not in a schema.
fn beyond(kind: Kind, change: &str) -> bool {
    let begins = |places: &[&str]| places.iter().any(|place| change.starts_with(place));
    match kind {
        // A granted signal leaves the car; a record that gives has at least one.
        Kind::Consent => change == "/pii_information = []" || begins(&["/processing/off_board = "]),
        // The least value lies below the most.
        Kind::Policy => begins(&["/catalogue/0/plausible/"]) && !change.ends_with("taken out"),
        _ => false,
    }
}

/// An expression is more than a text, and its signals stand elsewhere in the document.
fn of_expression(error: &DocumentError) -> bool {
    error.path.ends_with("event.when") && matches!(error.fault, Fault::Expression(_) | Fault::Rule(_))
}

#[test]
fn schemas_and_code_agree_on_every_change_of_one_place() {
    let mut count = 0;
    let mut apart = Vec::new();
    for kind in Kind::ALL {
        let (example, validator) = (kind.example(), validator_of(kind));
        let mut found = Vec::new();
        places(&example, "", &mut found);
        for (change, document) in found.iter().flat_map(|place| changes(&example, place)) {
            count += 1;
            let code = kind.read(document.to_string().as_bytes());
            let schema = validator.is_valid(&document);
            let excused = code.as_ref().is_err_and(|error| beyond(kind, &change) || of_expression(error));
            if code.is_ok() != schema && !excused {
                let code = code.err().map_or_else(|| "takes it".to_owned(), |error| error.to_string());
                apart.push(format!("{}: {change}: schema {schema}, code: {code}", kind.name()));
            }
        }
    }
    assert!(count > 3_000, "only {count} changes were tried");
    assert!(apart.is_empty(), "{} of {count}:\n{}", apart.len(), apart.join("\n"));
}
