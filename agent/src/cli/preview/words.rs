//! Numbers, bytes and samples as people read them.

use glovebox_recipient::{Sample, Value, What, lines};

/// Six digits of a number, without zeros at the end.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { value.to_string() };
    }
    #[expect(clippy::cast_possible_truncation, reason = "a double's exponent has three digits")]
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = usize::try_from(5 - magnitude).unwrap_or(0);
    if !(-4..15).contains(&magnitude) {
        return format!("{value:.5e}");
    }
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Groups of three digits: `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let (first, rest) = digits.split_at(head);
    let groups = rest.as_bytes().chunks(3).map(String::from_utf8_lossy);
    let parts: Vec<String> = Some(first.to_owned())
        .filter(|it| !it.is_empty())
        .into_iter()
        .chain(groups.map(Into::into))
        .collect();
    parts.join(",")
}

/// `1 signal`, `2 signals`.
pub(super) fn some(number: u64, one: &str) -> String {
    let many = if one.ends_with("tch") { format!("{one}es") } else { format!("{one}s") };
    format!("{} {}", count(number), if number == 1 { one } else { &many })
}

/// `999 B`, `12.3 KiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// A part of a whole in percent.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    let decimals = if percent >= 10.0 || percent == 0.0 { 0 } else { 2 };
    format!("{percent:.decimals$} %")
}

/// What a recipient reads.
pub(super) fn sample(sample: &Sample<'_>) -> String {
    let value = match sample.value {
        None => return lines::state(sample.state).replace('_', " "),
        Some(Value::Bool(true)) if sample.what == What::Event => return "it happened".to_owned(),
        Some(Value::Bool(yes)) => if yes { "yes" } else { "no" }.to_owned(),
        Some(Value::Integer(number)) => number.to_string(),
        Some(Value::Float(value)) => number(value),
        Some(Value::Cell(cell)) => format!("{cell:x}"),
    };
    match sample.label {
        Some(label) => format!("{label} ({value})"),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.1 + 0.2, "0.3"),
            (48.137_154_3, "48.1372"),
            (-12.5, "-12.5"),
            (1_234_567.0, "1234567"),
            (100.0, "100"),
            (1e-7, "1.00000e-7"),
            (-1e20, "-1.00000e20"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), text, "{value:e}");
        }
    }

    #[test]
    fn counts_bytes_and_parts() {
        assert_eq!([0, 12, 123, 1_234, 12_345_678].map(count), ["0", "12", "123", "1,234", "12,345,678"]);
        assert_eq!(
            [some(1, "batch"), some(2, "batch"), some(0, "sample")],
            ["1 batch", "2 batches", "0 samples"]
        );
        assert_eq!([1_023, 1_536, 3 << 20].map(bytes), ["1023 B", "1.5 KiB", "3.0 MiB"]);
        assert_eq!(
            [(1, 3), (1, 1_000), (0, 5), (1, 0)].map(|(a, b)| percent(a, b)),
            ["33 %", "0.10 %", "0 %", "0 %"]
        );
    }
}
