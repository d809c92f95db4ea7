//! The bounds in the schemas are those of `limits.rs`, and their words those of the code.

use super::schemas::schema;
use glovebox_core::consent::category::Category;
use glovebox_core::limits;
use serde_json::{Value, json};

#[test]
fn the_bounds_of_the_schemas_are_those_of_the_agent() {
    let bounds: &[(&str, &str, usize)] = &[
        ("common", "/$defs/plain/maxLength", limits::TEXT_BYTES_MAX),
        ("common", "/$defs/term/maxLength", limits::TEXT_BYTES_MAX),
        ("common", "/$defs/web/maxLength", limits::TEXT_BYTES_MAX),
        ("common", "/$defs/language/maxLength", limits::LANGUAGE_BYTES_MAX),
        ("common", "/$defs/countries/maxItems", limits::COUNTRIES_MAX),
        ("common", "/$defs/disclosure/maxItems", limits::DISCLOSURES_MAX),
        ("common", "/$defs/max_age_s/allOf/1/minimum", limits::MAX_AGE_S_MIN as usize),
        ("common", "/$defs/event/properties/when/maxLength", limits::EXPRESSION_BYTES_MAX),
        ("common", "/$defs/event/properties/before_s/maximum", limits::EVENT_BEFORE_S_MAX as usize),
        ("common", "/$defs/event/properties/after_s/maximum", limits::EVENT_AFTER_S_MAX as usize),
        ("common", "/$defs/event/properties/min_interval_s/maximum", limits::EVENT_INTERVAL_S_MAX as usize),
        ("common", "/$defs/transform/maxProperties", 1 + limits::TRANSFORM_PARAMETERS_MAX),
        ("common", "/$defs/parameter/anyOf/2/maxItems", limits::LIST_PARAMETER_ITEMS_MAX),
        ("common", "/$defs/transforms/maxItems", limits::TRANSFORMS_PER_SIGNAL_MAX),
        ("envelope", "/properties/signatures/maxItems", limits::SIGNATURES_MAX),
        ("request", "/properties/signals/maxItems", limits::SIGNALS_PER_REQUEST_MAX),
        ("request", "/properties/purpose/properties/text/maxItems", limits::LANGUAGES_MAX),
        ("consent", "/properties/pii_information/maxItems", limits::SIGNALS_PER_REQUEST_MAX),
        ("consent", "/properties/events/maxItems", limits::EVENTS_PER_RECORD_MAX),
        (
            "consent",
            "/properties/pii_information/items/properties/transform/maxItems",
            limits::TRANSFORMS_PER_RECORDED_SIGNAL_MAX,
        ),
        ("policy", "/properties/catalogue/maxItems", limits::CATALOGUE_ENTRIES_MAX),
        ("policy", "/properties/catalogue/items/properties/labels/maxItems", limits::LANGUAGES_MAX),
        ("policy", "/properties/recipients/maxItems", limits::RECIPIENTS_MAX),
        ("policy", "/properties/requests/maxItems", limits::REQUESTS_MAX),
        ("policy", "/properties/directives/maxItems", limits::DIRECTIVES_MAX),
        (
            "policy",
            "/properties/recipients/items/properties/hpke_keys/maxItems",
            limits::HPKE_KEYS_PER_RECIPIENT_MAX,
        ),
    ];
    for (name, pointer, bound) in bounds {
        assert_eq!(schema(name).pointer(pointer), Some(&json!(bound)), "{name}{pointer}");
    }
    let name = format!("^[a-z0-9_]{{1,{}}}$", limits::TRANSFORM_NAME_BYTES_MAX);
    assert_eq!(schema("common")["$defs"]["name"]["pattern"], name);
    let says = schema("envelope")["description"].as_str().unwrap_or_default().to_owned();
    assert!(says.contains("1 MiB") && limits::DOCUMENT_BYTES_MAX == 1 << 20, "{says}");
    assert!(says.contains(&format!("{} levels", limits::DOCUMENT_DEPTH_MAX)), "{says}");
}

#[test]
fn the_categories_of_the_schemas_are_those_of_the_agent() {
    let mut listed: Vec<Value> =
        schema("common")["$defs"]["category"]["enum"].as_array().cloned().unwrap_or_default();
    let mut known: Vec<Value> = Category::ALL.map(|category| json!(category)).to_vec();
    let by_text = |value: &Value| value.to_string();
    listed.sort_by_key(by_text);
    known.sort_by_key(by_text);
    assert_eq!(listed, known);
}
