//! Transforms as a person reads them, the same wherever they are shown: before a signature, in a bundle, in a difference.

use super::decimal::Decimal;
use super::transform::{Parameter, Rule, TransformSpec};

/// What becomes of a signal: `at most one every 10 s; in steps of 5`.
#[must_use]
pub fn transforms(list: &[TransformSpec]) -> String {
    if list.is_empty() {
        return "as it is".to_owned();
    }
    list.iter().map(transform).collect::<Vec<_>>().join("; ")
}

fn transform(spec: &TransformSpec) -> String {
    let plain = match spec.op.as_str() {
        "drop" => return "not at all".to_owned(),
        "in_vehicle" => return "used inside the car only".to_owned(),
        "rate" => rate(spec),
        "on_change" => on_change(spec),
        "quantise" => quantise(spec),
        "geo_cell" => geo_cell(spec),
        _ => None,
    };
    let text = plain.unwrap_or_else(|| as_written(spec));
    if Rule::of(std::slice::from_ref(spec)) == Rule::Deny {
        return format!("{text} [this agent cannot do that, so nothing leaves]");
    }
    text
}

/// All parameters are among these, so that none is passed over in silence.
fn only(spec: &TransformSpec, names: &[&str]) -> Option<()> {
    spec.parameters.keys().all(|name| names.contains(&name.as_str())).then_some(())
}

fn rate(spec: &TransformSpec) -> Option<String> {
    only(spec, &["min_interval_ms"])?;
    Some(format!("at most one every {}", span(spec.parameters.get("min_interval_ms")?)?))
}

fn on_change(spec: &TransformSpec) -> Option<String> {
    only(spec, &["min_delta", "max_interval_ms"])?;
    let mut text = match spec.parameters.get("min_delta") {
        Some(delta) => format!("only when it has changed by {} or more", number(delta)?),
        None => "only when it has changed".to_owned(),
    };
    if let Some(repeat) = spec.parameters.get("max_interval_ms") {
        text.push_str(&format!(", and every {}", span(repeat)?));
    }
    Some(text)
}

fn quantise(spec: &TransformSpec) -> Option<String> {
    only(spec, &["step", "offset"])?;
    let step = number(spec.parameters.get("step")?)?;
    let from = match spec.parameters.get("offset") {
        Some(offset) => format!(" from {}", number(offset)?),
        None => String::new(),
    };
    Some(format!("in steps of {step}{from}"))
}

/// Mean areas of H3 cells (h3geo.org, table of cell statistics).
fn geo_cell(spec: &TransformSpec) -> Option<String> {
    only(spec, &["resolution"])?;
    let Some(Parameter::Integer(resolution)) = spec.parameters.get("resolution") else { return None };
    let area = match resolution {
        3 => "12,393 km²",
        4 => "1,770 km²",
        5 => "253 km²",
        6 => "36 km²",
        7 => "5.2 km²",
        8 => "0.74 km²",
        9 => "0.11 km²",
        _ => return None,
    };
    Some(format!("as a map cell of about {area} (H3 resolution {resolution})"))
}

fn as_written(spec: &TransformSpec) -> String {
    let parameters: Vec<String> =
        spec.parameters.iter().map(|(name, value)| format!("{name} {}", parameter(value))).collect();
    if parameters.is_empty() { spec.op.clone() } else { format!("{} ({})", spec.op, parameters.join(", ")) }
}

fn parameter(value: &Parameter) -> String {
    match value {
        Parameter::Flag(flag) => flag.to_string(),
        Parameter::Integer(number) => number.to_string(),
        Parameter::Number(number) => number.to_string(),
        Parameter::Text(text) => text.clone(),
        Parameter::List(items) => items.iter().map(parameter).collect::<Vec<_>>().join(" "),
    }
}

/// A number however it is written; text is one only if it is a decimal.
fn number(value: &Parameter) -> Option<String> {
    match value {
        Parameter::Text(text) => Decimal::parse(text).map(|number| number.to_string()),
        Parameter::Integer(_) | Parameter::Number(_) => Some(parameter(value)),
        Parameter::Flag(_) | Parameter::List(_) => None,
    }
}

/// Milliseconds in the largest unit that has no remainder: `90 s`, `5 min`.
fn span(value: &Parameter) -> Option<String> {
    let Parameter::Integer(ms) = value else { return None };
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
    let (unit, name) = units.into_iter().find(|(unit, _)| *ms >= *unit && ms % unit == 0)?;
    Some(format!("{} {name}", ms / unit))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn words(json: &str) -> String {
        transforms(&serde_json::from_str::<Vec<TransformSpec>>(json).unwrap())
    }

    #[test]
    fn what_is_built_reads_as_a_sentence() {
        assert_eq!(words("[]"), "as it is");
        assert_eq!(
            words(r#"[{"op":"quantise","step":0.5,"offset":-40},{"op":"rate","min_interval_ms":1000}]"#),
            "in steps of 0.5 from -40; at most one every 1 s"
        );
        assert_eq!(words(r#"[{"op":"rate","min_interval_ms":86400000}]"#), "at most one every 1 d");
        assert_eq!(words(r#"[{"op":"rate","min_interval_ms":90500}]"#), "at most one every 90500 ms");
        assert_eq!(
            words(r#"[{"op":"on_change","min_delta":"2.50","max_interval_ms":300000}]"#),
            "only when it has changed by 2.5 or more, and every 5 min"
        );
        assert_eq!(words(r#"[{"op":"drop"}]"#), "not at all");
    }

    #[test]
    fn what_this_agent_cannot_do_is_said() {
        let cannot = "[this agent cannot do that, so nothing leaves]";
        assert_eq!(words(r#"[{"op":"tomorrow"}]"#), format!("tomorrow {cannot}"));
        assert_eq!(
            words(r#"[{"op":"rate","min_interval_ms":1000,"burst":5}]"#),
            format!("rate (burst 5, min_interval_ms 1000) {cannot}"),
            "a parameter that is not known is not passed over"
        );
        assert_eq!(
            words(r#"[{"op":"rate","min_interval_ms":0}]"#),
            format!("rate (min_interval_ms 0) {cannot}")
        );
        assert_eq!(words(r#"[{"op":"quantise","step":-1}]"#), format!("in steps of -1 {cannot}"));
    }
}
