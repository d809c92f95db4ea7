//! A place is one thing: latitude, longitude, altitude, heading and accuracy under one name are one atom. If a
//! `geo_cell` applies to any of them no point of it leaves: latitude and longitude become one cell, the others stay.

use super::effective::SignalRules;
use super::transform::{Coordinate, Rule, Transform};
use crate::decode::{LeafIndex, ValueType};
use crate::names::SignalPath;
use std::collections::BTreeSet;

/// What a degree is called: a coordinate in another unit makes no cell.
pub(super) const DEGREES: [&str; 4] = ["degrees", "degree", "deg", "°"];

/// Besides what the catalogue calls a place.
const BELONGS: [&str; 5] = ["altitude", "heading", "accuracy", "bearing", "course"];

/// Which coordinate a leaf is, by its name.
pub(super) fn coordinate(path: &SignalPath) -> Option<Coordinate> {
    let name = leaf(path).to_ascii_lowercase();
    let short = ["gps", "gnss"].iter().find_map(|of| name.strip_prefix(of)).unwrap_or(&name);
    let short = short.trim_start_matches('_');
    let is = |long: &str, shorts: &[&str]| name.contains(long) || shorts.contains(&short);
    match (is("latitude", &["lat"]), is("longitude", &["lon", "lng", "long"])) {
        (true, false) => Some(Coordinate::Latitude),
        (false, true) => Some(Coordinate::Longitude),
        _ => None,
    }
}

/// Whether these two are latitude and longitude of one place.
#[must_use]
pub fn is_place(latitude: &SignalPath, longitude: &SignalPath) -> bool {
    parent(latitude) == parent(longitude)
        && coordinate(latitude) == Some(Coordinate::Latitude)
        && coordinate(longitude) == Some(Coordinate::Longitude)
}

/// The other coordinate of the place of this one.
pub(super) fn partner<'a>(signals: &'a [SignalRules], of: &SignalRules) -> Option<&'a SignalRules> {
    let other = |signal: &&SignalRules| {
        parent(&signal.path) == parent(&of.path) && coordinate(&signal.path) == Some(Coordinate::Longitude)
    };
    signals.iter().find(other)
}

/// Of these granted leaves those of which nothing leaves, for the place that they belong to, by index: as far as names
/// tell, since units are the car's.
pub(super) fn lost_by_name(
    granted: &[(&SignalPath, Transform)],
    is_place: impl Fn(&SignalPath) -> bool,
) -> Vec<usize> {
    let in_degrees = |(path, transform): &(&SignalPath, Transform)| SignalRules {
        leaf: LeafIndex(0),
        path: (*path).clone(),
        unit: DEGREES[0].to_owned(),
        value_type: ValueType::Signed,
        scale: 1.0,
        offset: 0.0,
        names: Vec::new(),
        granted: *transform,
        permitted: Rule::Pass(*transform),
    };
    let mut signals: Vec<SignalRules> = granted.iter().map(in_degrees).collect();
    bind(&mut signals, is_place)
}

/// Makes one of all places in a flow's `signals` to which a `geo_cell` applies. Answers those of which nothing leaves
/// for that, by index.
pub(super) fn bind(signals: &mut [SignalRules], is_place: impl Fn(&SignalPath) -> bool) -> Vec<usize> {
    let has_cell = |rule: &Rule| matches!(rule, Rule::Pass(transform) if transform.geo_cell.is_some());
    let in_cells = |signal: &&SignalRules| has_cell(&signal.permitted) || signal.granted.geo_cell.is_some();
    let parents: BTreeSet<String> =
        signals.iter().filter(in_cells).map(|signal| parent(&signal.path).to_owned()).collect();
    let mut denied = Vec::new();
    for place in parents {
        let belongs = |signal: &SignalRules| {
            let name = leaf(&signal.path).to_ascii_lowercase();
            let named = || BELONGS.iter().any(|part| name.contains(part));
            parent(&signal.path) == place
                && (coordinate(&signal.path).is_some()
                    || is_place(&signal.path)
                    || named()
                    || in_cells(&signal))
        };
        let members: Vec<usize> = (0..signals.len()).filter(|at| belongs(&signals[*at])).collect();
        bind_one(signals, &members, &mut denied);
    }
    denied
}

fn bind_one(signals: &mut [SignalRules], members: &[usize], denied: &mut Vec<usize>) {
    let permitted = together(signals, members, |signal| signal.permitted);
    let granted = together(signals, members, |signal| Rule::Pass(signal.granted));
    for &at in members {
        let signal = &mut signals[at];
        let is_coordinate = coordinate(&signal.path).is_some();
        if let (Rule::Pass(granted), true) = (granted, is_coordinate) {
            signal.granted = granted;
        }
        let before = signal.permitted;
        signal.permitted = if is_coordinate { permitted } else { Rule::Deny };
        if signal.permitted == Rule::Deny && before != Rule::Deny {
            denied.push(at);
        }
    }
}

/// The rule of a place's cell: what both coordinates allow, as coarse as any of the members. Without exactly one latitude
/// and one longitude in degrees there is none.
fn together(signals: &[SignalRules], members: &[usize], rule: impl Fn(&SignalRules) -> Rule) -> Rule {
    let of = |wanted| {
        let mut found =
            members.iter().map(|at| &signals[*at]).filter(|s| coordinate(&s.path) == Some(wanted));
        found.next().filter(|signal| found.next().is_none() && DEGREES.contains(&signal.unit.as_str()))
    };
    let (Some(latitude), Some(longitude)) = (of(Coordinate::Latitude), of(Coordinate::Longitude)) else {
        return Rule::Deny;
    };
    let cells = members.iter().filter_map(|at| match rule(&signals[*at]) {
        Rule::Pass(transform) => {
            Some(Rule::Pass(Transform { geo_cell: transform.geo_cell, ..Transform::OPEN }))
        }
        Rule::Deny => None,
    });
    cells.fold(rule(latitude).meet(rule(longitude)), Rule::meet)
}

fn parent(path: &SignalPath) -> &str {
    path.as_str().rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn leaf(path: &SignalPath) -> &str {
    path.as_str().rsplit_once('.').map_or(path.as_str(), |(_, leaf)| leaf)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::super::transform::Resolution;
    use super::*;

    fn cell(resolution: u8) -> Transform {
        Transform { geo_cell: Resolution::new(resolution), ..Transform::OPEN }
    }

    fn signal(path: &str, transform: &Transform) -> SignalRules {
        SignalRules {
            leaf: LeafIndex(0),
            path: SignalPath::new(path).unwrap(),
            unit: "degrees".to_owned(),
            value_type: ValueType::Signed,
            scale: 1e-7,
            offset: 0.0,
            names: Vec::new(),
            granted: *transform,
            permitted: Rule::Pass(*transform),
        }
    }

    fn bound(signals: &[(&str, Transform)]) -> (Vec<Rule>, Vec<usize>) {
        let mut signals: Vec<SignalRules> = signals.iter().map(|(path, it)| signal(path, it)).collect();
        let denied = bind(&mut signals, |path| path.as_str().starts_with("Vehicle.CurrentLocation"));
        (signals.iter().map(|signal| signal.permitted).collect(), denied)
    }

    const LATITUDE: &str = "Vehicle.CurrentLocation.Latitude";
    const LONGITUDE: &str = "Vehicle.CurrentLocation.Longitude";

    #[test]
    fn a_place_is_one_atom() {
        let (rules, denied) = bound(&[
            ("Vehicle.Speed", Transform::OPEN),
            (LATITUDE, Transform { min_interval_us: 5, ..cell(8) }),
            (LONGITUDE, Transform::OPEN),
            ("Vehicle.CurrentLocation.Altitude", cell(6)),
            ("Vehicle.CurrentLocation.Timestamp", Transform::OPEN),
            ("Vehicle.CurrentLocation.Heading", Transform::OPEN),
        ]);
        let whole = Rule::Pass(Transform { min_interval_us: 5, ..cell(6) });
        assert_eq!(rules, [Rule::OPEN, whole, whole, Rule::Deny, Rule::Deny, Rule::Deny]);
        assert_eq!(denied, [3, 4, 5]);
    }

    #[test]
    fn without_a_cell_nothing_is_bound_and_without_a_pair_nothing_leaves() {
        let (rules, denied) = bound(&[(LATITUDE, Transform::OPEN), (LONGITUDE, Transform::OPEN)]);
        assert_eq!((rules, denied), (vec![Rule::OPEN; 2], vec![]));
        for lone in [
            vec![(LATITUDE, cell(5))],
            vec![(LONGITUDE, cell(5)), ("Vehicle.CurrentLocation.Altitude", Transform::OPEN)],
            vec![(LATITUDE, cell(5)), (LONGITUDE, cell(5)), ("Vehicle.CurrentLocation.OldLatitude", cell(5))],
            vec![("Vehicle.Speed", cell(5))],
        ] {
            let (rules, denied) = bound(&lone);
            assert!(rules.iter().all(|rule| *rule == Rule::Deny), "{lone:?}");
            assert_eq!(denied.len(), lone.len());
        }
    }

    #[test]
    fn what_names_alone_tell_is_what_binds() {
        let path = |name: &str| SignalPath::new(name).unwrap();
        let (latitude, longitude, speed) = (path(LATITUDE), path(LONGITUDE), path("Vehicle.Speed"));
        let lost = |granted: &[(&SignalPath, Transform)]| lost_by_name(granted, |_| false);
        assert_eq!(lost(&[(&latitude, cell(7)), (&longitude, cell(7))]), Vec::<usize>::new());
        assert_eq!(lost(&[(&speed, Transform::OPEN), (&latitude, cell(7))]), [1], "without its longitude");
        assert_eq!(lost(&[(&speed, cell(7))]), [0]);
    }

    #[test]
    fn coordinates_in_another_unit_make_no_cell() {
        let mut signals = [signal(LATITUDE, &cell(5)), signal(LONGITUDE, &cell(5))];
        signals[1].unit = "rad".to_owned();
        assert_eq!(bind(&mut signals, |_| false), [0, 1]);
    }
}
