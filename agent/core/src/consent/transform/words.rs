//! What a transform does, in words for whoever decides on it or checks a bundle.

use super::{
    Aggregate, DeadBand, Function, Grid, Parameter, Period, Resolution, Side, Threshold, Transform,
    TransformSpec, parse,
};

/// A transform in words; what this agent does not know is told as it is written, and what comes of it: nothing.
#[must_use]
pub fn words(spec: &TransformSpec) -> String {
    match (spec.op.as_str(), parse(spec)) {
        ("drop", _) if spec.parameters.is_empty() => "nothing leaves".to_owned(),
        ("in_vehicle", _) if spec.parameters.is_empty() => "stays inside the car: nothing leaves".to_owned(),
        (_, Some(transform)) => told(&transform),
        (_, None) => format!("{}, which this agent cannot do: nothing leaves", as_written(spec)),
    }
}

/// One op's words; here a transform has one op, and a threshold its cool-down.
fn told(transform: &Transform) -> String {
    let mut parts = Vec::new();
    parts.extend(transform.aggregate.map(aggregate));
    parts.extend(transform.quantise.map(grid));
    parts.extend(transform.geo_cell.map(cell));
    parts.extend(transform.time_bucket.map(bucket));
    parts.extend(transform.threshold.map(threshold));
    if transform.min_interval_us > 0 {
        parts.push(format!("at most once in {}", span(transform.min_interval_us)));
    }
    parts.extend(transform.on_change.map(on_change));
    if transform.delay_us > 0 {
        parts.push(format!("sent {} later, with all else for this purpose", span(transform.delay_us)));
    }
    parts.join(", ")
}

fn aggregate(aggregate: Aggregate) -> String {
    let functions: Vec<&str> = aggregate.functions.iter().map(Function::name).collect();
    let least = match aggregate.min_samples {
        0 | 1 => String::new(),
        least => format!(", if there were {least} values or more"),
    };
    format!("no single value, only {} of each {}{least}", functions.join(", "), span(aggregate.window.us()))
}

fn grid(grid: Grid) -> String {
    let offset = if grid.offset().is_positive() { format!(" from {}", grid.offset()) } else { String::new() };
    format!("rounded down to steps of {}{offset}", grid.step())
}

fn cell(resolution: Resolution) -> String {
    let precise = if resolution > Resolution::COARSE_MAX { ", WHICH IS PRECISE" } else { "" };
    let area = resolution.area_km2();
    let area = if area < 10.0 { format!("{area:.2}") } else { format!("{area:.0}") };
    format!(
        "no point, only the cell of the map it lies in, about {area} km² (H3 resolution {resolution}){precise}"
    )
}

fn bucket(bucket: Period) -> String {
    format!("its time rounded down to {}, and sent only after that", span(bucket.us()))
}

fn threshold(threshold: Threshold) -> String {
    let (crosses, back) = match threshold.side {
        Side::Above => ("rises above", "fell"),
        Side::Below => ("falls below", "rose"),
    };
    let level = threshold.level;
    let again = if threshold.hysteresis.is_positive() {
        format!(", again only after it {back} by {} from there", threshold.hysteresis)
    } else {
        String::new()
    };
    format!("no value, only that it {crosses} {level}{again}")
}

fn on_change(band: DeadBand) -> String {
    let change = if band.min_delta.is_positive() {
        format!("only when it changed by {} or more", band.min_delta)
    } else {
        "only when it changed".to_owned()
    };
    match band.max_interval_us {
        Some(us) => format!("{change}, or after {}", span(us)),
        None => change,
    }
}

/// Microseconds in the largest unit that fits.
fn span(us: i64) -> String {
    const UNITS: [(i64, &str); 5] =
        [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms")];
    let unit = UNITS.iter().find(|(length, _)| us % length == 0);
    unit.map_or_else(|| format!("{us} µs"), |(length, name)| format!("{} {name}", us / length))
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
