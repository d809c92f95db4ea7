//! The corpus of faulty documents in `tests/corpus/documents`: each is an example with one thing changed, gives exactly
//! the words in the `.expected` file beside it, and is refused by the schema too wherever a schema can say it.
//!
//! A case is a name and one of: `at` (a JSON pointer) with `put`, `cut` or `times` (the list there, made of its first
//! item so often); or `text`, two texts of which the first is replaced. `"schema": false`: beyond what a schema can say.

use super::schemas::validator_of;
use super::{Kind, bless};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

const CORPUS: &str = "tests/corpus/documents";

fn cases(kind: Kind) -> Vec<Value> {
    let file = Path::new(CORPUS).join(format!("{}.json", kind.name()));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// The example with what the case changes; as text, since two equal keys live only there.
fn faulty(kind: Kind, case: &Value) -> String {
    let mut document = kind.example();
    if let Some(at) = case["at"].as_str() {
        let (parent, last) = at.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {at}"));
        match (case.get("put"), case.get("times")) {
            (Some(value), _) => put(parent, last, value.clone()),
            (None, Some(times)) => {
                let list = parent[last].as_array_mut().unwrap();
                *list = vec![list[0].clone(); usize::try_from(times.as_u64().unwrap()).unwrap()];
            }
            (None, None) => drop(parent.as_object_mut().unwrap().remove(last).unwrap()),
        }
    }
    let mut text = serde_json::to_string_pretty(&document).unwrap();
    if let Some([from, to]) = case["text"].as_array().map(Vec::as_slice) {
        let (from, to) = (from.as_str().unwrap(), to.as_str().unwrap());
        assert!(text.contains(from), "{from} is not in the example");
        text = text.replacen(from, to, 1);
    }
    text
}

fn put(parent: &mut Value, last: &str, value: Value) {
    match parent {
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => list[last.parse::<usize>().unwrap()] = value,
        parent => parent[last] = value,
    }
}

/// `GLOVEBOX_BLESS=1` writes what is told now, to be read before it is committed.
#[test]
fn each_faulty_document_tells_its_fault() {
    for kind in Kind::ALL {
        let mut told = String::new();
        for case in cases(kind) {
            let name = case["name"].as_str().unwrap();
            let error = kind.read(faulty(kind, &case).as_bytes());
            let error = error.err().unwrap_or_else(|| panic!("{}: {name}: was taken", kind.name()));
            writeln!(told, "{name}: {error}").unwrap();
        }
        let beside = Path::new(CORPUS).join(format!("{}.expected", kind.name()));
        if bless() {
            std::fs::write(&beside, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        for (told, expected) in told.lines().zip(expected.lines()) {
            assert_eq!(told, expected, "{}", kind.name());
        }
        assert_eq!(told.lines().count(), expected.lines().count(), "{}", kind.name());
    }
}

#[test]
fn each_faulty_document_that_a_schema_can_express_is_refused_by_it() {
    for kind in Kind::ALL {
        let validator = validator_of(kind);
        for case in cases(kind) {
            let beyond = case["schema"] == Value::Bool(false);
            let Ok(document) = serde_json::from_str::<Value>(&faulty(kind, &case)) else {
                assert!(beyond, "{}: {}: is no JSON", kind.name(), case["name"]);
                continue;
            };
            // Both ways: what the schema learns to say is no longer marked as beyond it.
            assert_eq!(validator.is_valid(&document), beyond, "{}: {}", kind.name(), case["name"]);
        }
    }
}
