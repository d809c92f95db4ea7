//! `known_transform` of the schema says of each op what the agent's own table says.

use super::schemas::schema;
use glovebox_core::consent::transform::{Kind, OPS, Taken};
use serde_json::{Value, json};

fn of_kind(kind: Kind) -> Value {
    match kind {
        Kind::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Number => json!({ "type": ["number", "string"] }),
        Kind::Size => json!({ "type": ["number", "string"], "minimum": 0 }),
        Kind::Above0 => json!({ "type": ["number", "string"], "exclusiveMinimum": 0 }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Words(words) => json!({ "type": "array", "items": { "enum": words }, "minItems": 1 }),
        Kind::Edges(most) => json!({
            "type": "array", "items": { "type": ["number", "string"] }, "minItems": 1, "maxItems": most
        }),
    }
}

#[test]
fn the_schema_has_the_parameters_of_each_op() {
    let listed =
        schema("common")["$defs"]["known_transform"]["oneOf"].as_array().cloned().unwrap_or_default();
    let made: Vec<Value> = OPS
        .iter()
        .map(|op| {
            let mut properties = json!({ "op": { "const": op.name } });
            let needed: Vec<&str> = op.takes.iter().filter(|it| it.is_needed).map(|it| it.name).collect();
            for Taken { name, kind, .. } in op.takes {
                properties[*name] = of_kind(*kind);
            }
            let mut made = json!({ "properties": properties, "additionalProperties": false });
            if !needed.is_empty() {
                made["required"] = json!(needed);
            }
            if op.takes.iter().any(|it| matches!(it.kind, Kind::Edges(_))) {
                made["if"] =
                    json!({ "properties": { "functions": { "contains": { "const": "histogram" } } } });
                made["then"] = json!({ "required": ["edges"] });
                made["else"] = json!({ "not": { "required": ["edges"] } });
            }
            made
        })
        .collect();
    assert_eq!(listed.len(), made.len(), "an op is in one of them only");
    for (listed, made) in listed.iter().zip(&made) {
        assert_eq!(listed, made, "write it so: {made:#}");
    }
}
