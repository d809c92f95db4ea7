//! What documents write for machines, as a person says it: durations, terms of a vocabulary, moments.

use crate::names::WallTime;

/// `P12M` as `12 months`; what is no ISO 8601 duration stays as it is written.
#[must_use]
pub fn period(iso: &str) -> String {
    let Ok(span) = iso.parse::<jiff::Span>() else { return iso.to_owned() };
    let parts = [
        (i64::from(span.get_years()), "year"),
        (i64::from(span.get_months()), "month"),
        (i64::from(span.get_weeks()), "week"),
        (i64::from(span.get_days()), "day"),
        (i64::from(span.get_hours()), "hour"),
        (span.get_minutes(), "minute"),
        (span.get_seconds(), "second"),
    ];
    let said = |(count, unit): (i64, &str)| match count {
        0 => None,
        1 => Some(format!("1 {unit}")),
        count => Some(format!("{count} {unit}s")),
    };
    let said: Vec<String> = parts.into_iter().filter_map(said).collect();
    if said.is_empty() || span.is_negative() { iso.to_owned() } else { said.join(" ") }
}

/// The name in a term of a vocabulary: `https://w3id.org/dpv#ServiceProvision` and `dpv:ServiceProvision` are `service
/// provision`. What has none stays as it is written.
#[must_use]
pub fn term(iri: &str) -> String {
    let Some((_, name)) = iri.rsplit_once(['#', '/', ':']).filter(|(_, name)| !name.is_empty()) else {
        return iri.to_owned();
    };
    let is_camel =
        name.chars().all(|c| c.is_ascii_alphabetic()) && name.starts_with(|c: char| c.is_ascii_uppercase());
    if !is_camel || name.chars().all(|c| c.is_ascii_uppercase()) {
        return name.to_owned();
    }
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

/// Minutes are enough to read: `2026-11-03 09:30 UTC`. An end is told a little early rather than late.
#[must_use]
pub fn moment(time: WallTime) -> String {
    match jiff::Timestamp::from_microsecond(time.0) {
        Ok(at) => at.strftime("%F %H:%M UTC").to_string(),
        Err(_) => time.to_string(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn what_machines_write_reads_as_a_person_says_it() {
        for (iso, words) in [
            ("P12M", "12 months"),
            ("P1Y", "1 year"),
            ("P30D", "30 days"),
            ("P1Y6M", "1 year 6 months"),
            ("PT12H", "12 hours"),
            ("P0D", "P0D"),
            ("as long as needed", "as long as needed"),
        ] {
            assert_eq!(period(iso), words);
        }
        for (iri, words) in [
            ("https://w3id.org/dpv#ServiceProvision", "service provision"),
            ("dpv:Consent", "consent"),
            ("https://w3id.org/dpv/legal/eu/gdpr#A6-1-a", "A6-1-a"),
            ("dpv:DPIA", "DPIA"),
            ("https://law.example/", "https://law.example/"),
            ("consent", "consent"),
        ] {
            assert_eq!(term(iri), words);
        }
        let time = WallTime::parse("2026-11-03T09:30:59.123456Z").unwrap();
        assert_eq!(moment(time), "2026-11-03 09:30 UTC");
    }
}
