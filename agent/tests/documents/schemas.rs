//! The published schemas, and that each example is as they say.

use super::{Kind, proto};
use jsonschema::{Registry, Validator};
use serde_json::Value;

const BASE: &str = "file:///schema/";
const FILES: [&str; 7] = ["common", "envelope", "policy", "request", "consent", "key", "enrolment"];

pub(crate) fn schema(name: &str) -> Value {
    let file = proto("schema").join(format!("{name}.schema.json"));
    serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap()
}

/// The validator of a schema, as `policy`.
pub(crate) fn validator(name: &str) -> Validator {
    let uri = |name: &str| format!("{BASE}{name}.schema.json");
    let registry = FILES.iter().fold(Registry::new(), |all, name| all.add(uri(name), schema(name)).unwrap());
    let registry = registry.prepare().unwrap();
    let options = jsonschema::options();
    let options = options.with_registry(&registry).with_base_uri(uri(name)).should_validate_formats(true);
    options.build(&schema(name)).unwrap()
}

pub(crate) fn validator_of(kind: Kind) -> Validator {
    match kind {
        Kind::SigningKey | Kind::HpkeKey => validator("key"),
        kind => validator(kind.name()),
    }
}

#[track_caller]
pub(crate) fn fits(validator: &Validator, document: &Value, what: &str) {
    let faults: Vec<String> =
        validator.iter_errors(document).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "{what}\n{}", faults.join("\n"));
}

#[test]
fn the_schemas_are_schemas_and_refer_to_what_is_there() {
    for name in FILES {
        let schema = schema(name);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        assert!(!validator(name).is_valid(&Value::Bool(true)) || name == "common", "{name} takes anything");
    }
}

#[test]
fn each_example_is_as_its_schema_says() {
    let envelope = validator("envelope");
    for kind in Kind::ALL {
        fits(&validator_of(kind), &kind.example(), kind.name());
        let file = proto("examples").join(format!("{}.dsse", kind.name()));
        let signed: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        fits(&envelope, &signed, kind.name());
    }
}

#[test]
fn a_document_of_one_kind_fits_no_other_schema() {
    for kind in Kind::ALL {
        for other in ["policy", "request", "consent", "key", "enrolment", "envelope"] {
            let own =
                matches!((kind, other), (Kind::SigningKey | Kind::HpkeKey, "key")) || kind.name() == other;
            assert_eq!(validator(other).is_valid(&kind.example()), own, "{} as {other}", kind.name());
        }
    }
}
