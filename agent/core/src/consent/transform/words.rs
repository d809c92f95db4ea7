//! What a transform does, in words for whoever decides on it or checks a bundle.

use super::super::decimal::Decimal;
use super::{
    Aggregate, DeadBand, Edges, Ends, Function, Grid, Period, Resolution, Side, Span, Threshold, Transform,
    TransformSpec, parse,
};

/// What becomes of a signal: `at most once in 10 s; rounded down to steps of 5`.
#[must_use]
pub fn transforms(list: &[TransformSpec]) -> String {
    transforms_in(list, "")
}

/// The same of a signal whose unit is known: `rounded down to steps of 5 kPa`.
#[must_use]
pub fn transforms_in(list: &[TransformSpec], unit: &str) -> String {
    if list.is_empty() {
        return "as it is".to_owned();
    }
    list.iter().map(|spec| words(spec, unit)).collect::<Vec<_>>().join("; ")
}

/// The same of all that applies to a signal together.
#[must_use]
pub fn transform(transform: &Transform, unit: &str) -> String {
    if *transform == Transform::OPEN { "as it is".to_owned() } else { parts(transform, unit).join("; ") }
}

/// A transform in words; what this agent does not know is told as it is written, and what comes of it: nothing.
fn words(spec: &TransformSpec, unit: &str) -> String {
    match (spec.op.as_str(), parse(spec)) {
        ("drop", _) if spec.parameters.is_empty() => "nothing leaves".to_owned(),
        ("in_vehicle", _) if spec.parameters.is_empty() => "stays inside the car: nothing leaves".to_owned(),
        (_, Some(transform)) => told(&transform, unit),
        (_, None) => format!("{}, which this agent cannot do: nothing leaves", as_written(spec)),
    }
}

/// One op's words; here a transform has one op, and a threshold its cool-down.
fn told(transform: &Transform, unit: &str) -> String {
    parts(transform, unit).join(", ")
}

/// Each op's words, in the order of application.
fn parts(transform: &Transform, unit: &str) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(transform.trim_ends.map(trim_ends));
    parts.extend(transform.aggregate.map(|it| aggregate(it, unit)));
    parts.extend(transform.quantise.map(|it| grid(it, unit)));
    parts.extend(transform.geo_cell.map(cell));
    parts.extend(transform.time_bucket.map(bucket));
    parts.extend(transform.threshold.map(|it| threshold(it, unit)));
    if transform.min_interval_us > 0 {
        parts.push(format!("at most once in {}", span(transform.min_interval_us)));
    }
    parts.extend(transform.on_change.map(|it| on_change(it, unit)));
    if transform.delay_us > 0 {
        parts.push(format!("sent {} later, with all else for this purpose", span(transform.delay_us)));
    }
    parts.extend(transform.budget.map(budget));
    parts
}

fn trim_ends(ends: Ends) -> String {
    format!(
        "nothing of the first {} and the last {} of a trip, nor between trips",
        span(ends.first_us),
        span(ends.last_us)
    )
}

fn budget(most: u32) -> String {
    format!("at most {most} a day (UTC)")
}

fn aggregate(aggregate: Aggregate, unit: &str) -> String {
    let name = |function: Function| match aggregate.edges.filter(|_| function == Function::Histogram) {
        Some(edges) => bins(edges, aggregate.bin, unit),
        None => function.name().to_owned(),
    };
    let functions: Vec<String> = aggregate.functions.iter().map(name).collect();
    let least = match aggregate.min_samples {
        0 | 1 => String::new(),
        least => format!(", if there were {least} values or more"),
    };
    let window = match aggregate.window {
        Span::Time(period) => span(period.us()),
        Span::Trip => "trip".to_owned(),
    };
    format!("no single value, only {} of each {window}{least}", functions.join(", "))
}

fn bins(edges: Edges, bin: Option<u8>, unit: &str) -> String {
    let in_unit = |words: String| if unit.is_empty() { words } else { format!("{words} {unit}") };
    let of_bin = |bin| edges.bin_words(bin);
    match bin {
        Some(bin) => format!("how many were {}", in_unit(of_bin(bin))),
        None => format!("how many were {}", in_unit(edges.bins().map(of_bin).collect::<Vec<_>>().join(", "))),
    }
}

fn grid(grid: Grid, unit: &str) -> String {
    let offset = if grid.offset().is_positive() {
        format!(" from {}", amount(grid.offset(), unit))
    } else {
        String::new()
    };
    format!("rounded down to steps of {}{offset}", amount(grid.step(), unit))
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
    format!("every value leaves, its time rounded down to {}, and only after that", span(bucket.us()))
}

fn threshold(threshold: Threshold, unit: &str) -> String {
    let (crosses, back) = match threshold.side {
        Side::Above => ("rises above", "fell"),
        Side::Below => ("falls below", "rose"),
    };
    let level = amount(threshold.level, unit);
    let again = if threshold.hysteresis.is_positive() {
        format!(", again only after it {back} by {} from there", amount(threshold.hysteresis, unit))
    } else {
        String::new()
    };
    format!("no value, only that it {crosses} {level}{again}")
}

fn on_change(band: DeadBand, unit: &str) -> String {
    let change = if band.min_delta.is_positive() {
        format!("only when it changed by {} or more", amount(band.min_delta, unit))
    } else {
        "only when it changed".to_owned()
    };
    match band.max_interval_us {
        Some(us) => format!("{change}, or after {}", span(us)),
        None => change,
    }
}

/// A number in its unit; whole kilometres and minutes or more are told as such.
fn amount(number: Decimal, unit: &str) -> String {
    let thousands =
        number.scaled(0).filter(|number| *number != 0 && number % 1_000 == 0).map(|number| number / 1_000);
    match (unit, thousands, number.scaled(0).and_then(|number| i64::try_from(number).ok())) {
        ("", ..) => number.to_string(),
        ("m", Some(thousands), _) => format!("{thousands} km"),
        ("s", _, Some(seconds)) if seconds > 0 => span(seconds.saturating_mul(1_000_000)),
        _ => format!("{number} {unit}"),
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
        spec.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if parameters.is_empty() { spec.op.clone() } else { format!("{} ({})", spec.op, parameters.join(", ")) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn words(json: &str) -> String {
        words_in(json, "")
    }

    fn words_in(json: &str, unit: &str) -> String {
        transforms_in(&serde_json::from_str::<Vec<TransformSpec>>(json).unwrap(), unit)
    }

    #[test]
    fn numbers_are_told_in_the_unit_of_their_signal() {
        for (json, unit, told) in [
            (r#"[{"op":"quantise","step":10000}]"#, "m", "rounded down to steps of 10 km"),
            (r#"[{"op":"quantise","step":500}]"#, "m", "rounded down to steps of 500 m"),
            (r#"[{"op":"quantise","step":86400}]"#, "s", "rounded down to steps of 1 d"),
            (
                r#"[{"op":"quantise","step":0.5,"offset":0.25}]"#,
                "km/h",
                "rounded down to steps of 0.5 km/h from 0.25 km/h",
            ),
            (r#"[{"op":"on_change","min_delta":5}]"#, "kPa", "only when it changed by 5 kPa or more"),
            (
                r#"[{"op":"threshold","when":"below","value":180,"hysteresis":10}]"#,
                "kPa",
                "no value, only that it falls below 180 kPa, again only after it rose by 10 kPa from there",
            ),
            (r#"[{"op":"rate","min_interval_ms":1000}]"#, "kPa", "at most once in 1 s"),
        ] {
            assert_eq!(words_in(json, unit), told);
        }
    }

    #[test]
    fn what_is_built_reads_as_a_sentence() {
        assert_eq!(words("[]"), "as it is");
        assert_eq!(
            words(r#"[{"op":"quantise","step":0.5,"offset":-39.8},{"op":"rate","min_interval_ms":1000}]"#),
            "rounded down to steps of 0.5 from 0.2; at most once in 1 s"
        );
        assert_eq!(words(r#"[{"op":"rate","min_interval_ms":90500}]"#), "at most once in 90500 ms");
        assert_eq!(
            words(r#"[{"op":"on_change","min_delta":"2.50","max_interval_ms":300000}]"#),
            "only when it changed by 2.5 or more, or after 5 min"
        );
        assert_eq!(words(r#"[{"op":"drop"}]"#), "nothing leaves");
    }

    #[test]
    fn all_that_applies_together_is_told_in_the_order_of_application() {
        let list = r#"[{"op":"rate","min_interval_ms":1000},{"op":"quantise","step":5}]"#;
        let specs: Vec<TransformSpec> = serde_json::from_str(list).unwrap();
        let super::super::Rule::Pass(both) = super::super::Rule::of(&specs) else { panic!("denied") };
        assert_eq!(transform(&both, "kPa"), "rounded down to steps of 5 kPa; at most once in 1 s");
        assert_eq!(transform(&Transform::OPEN, ""), "as it is");
    }

    #[test]
    fn what_this_agent_cannot_do_is_said() {
        let cannot = "which this agent cannot do: nothing leaves";
        assert_eq!(words(r#"[{"op":"tomorrow"}]"#), format!("tomorrow, {cannot}"));
        assert_eq!(
            words(r#"[{"op":"rate","min_interval_ms":1000,"burst":5}]"#),
            format!("rate (burst 5, min_interval_ms 1000), {cannot}"),
            "a parameter that is not known is not passed over"
        );
    }
}
