//! The algebra of all ops, what is refused, and the words.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::consent::decimal::Decimal;
use proptest::prelude::*;

fn spec(json: &str) -> TransformSpec {
    serde_json::from_str(json).unwrap()
}

fn rule(json: &str) -> Rule {
    Rule::of(&[spec(json)])
}

/// Any op, now and then one that lets nothing through.
fn any_spec() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (1i32..60, -50i32..50).prop_map(|(s, o)| format!(r#"{{"op":"quantise","step":"{s}e-1","offset":"{o}e-1"}}"#)),
        3 => (1i64..5).prop_map(|ms| format!(r#"{{"op":"rate","min_interval_ms":{ms}}}"#)),
        3 => (0i64..5, proptest::option::of(1i64..5)).prop_map(|(delta, repeat)| match repeat {
            Some(ms) => format!(r#"{{"op":"on_change","min_delta":{delta},"max_interval_ms":{ms}}}"#),
            None => format!(r#"{{"op":"on_change","min_delta":{delta}}}"#),
        }),
        3 => prop_oneof![1i64..20, Just(86_400i64)].prop_map(|s| format!(r#"{{"op":"time_bucket","granularity_s":{s}}}"#)),
        3 => (0i64..2, 0i64..4, 0i64..3).prop_map(|(value, back, ms)| match ms {
            0 => format!(r#"{{"op":"threshold","when":"above","value":{value},"hysteresis":{back}}}"#),
            _ => format!(r#"{{"op":"threshold","when":"below","value":{value},"cooldown_ms":{ms}}}"#),
        }),
        2 => (0i64..=10).prop_map(|n| format!(r#"{{"op":"geo_cell","resolution":{n}}}"#)),
        2 => (1i64..20, 1u8..64, 1i64..4).prop_map(|(s, set, least)| {
            let names: Vec<String> = Function::ALL[..6]
                .iter()
                .filter(|function| set & (1 << **function as u8) != 0)
                .map(|function| format!("\"{}\"", function.name()))
                .collect();
            let names = names.join(",");
            format!(r#"{{"op":"aggregate","window_s":{s},"functions":[{names}],"min_samples":{least}}}"#)
        }),
        2 => (1i64..5).prop_map(|s| format!(r#"{{"op":"delay","hold_back_s":{s}}}"#)),
        2 => (1i64..4, 1i64..4).prop_map(|(a, b)| format!(r#"{{"op":"trim_ends","first_min":{a},"last_min":{b}}}"#)),
        1 => Just(r#"{"op":"aggregate","window":"trip","functions":["max","mean"]}"#.to_owned()),
        3 => (1i64..4, proptest::collection::btree_set(-3i32..6, 1..6), any::<bool>()).prop_map(|(s, edges, alone)| {
            let edges: Vec<String> = edges.iter().map(|edge| format!(r#""{edge}e-1""#)).collect();
            let (edges, more) = (edges.join(","), if alone { "" } else { r#""mean","# });
            format!(r#"{{"op":"aggregate","window_s":{s},"functions":[{more}"histogram"],"edges":[{edges}]}}"#)
        }),
        2 => (1i64..5).prop_map(|n| format!(r#"{{"op":"budget","samples_per_day":{n}}}"#)),
        1 => Just(r#"{"op":"in_vehicle"}"#.to_owned()),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    proptest::collection::vec(any_spec(), 0..4).prop_map(|list| {
        let specs: Vec<TransformSpec> = list.iter().map(|json| spec(json)).collect();
        Rule::of(&specs)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn meet_is_commutative_associative_idempotent(a in any_rule(), b in any_rule(), c in any_rule()) {
        prop_assert_eq!(a.meet(b), b.meet(a));
        prop_assert_eq!(a.meet(b).meet(c), a.meet(b.meet(c)));
        prop_assert_eq!(a.meet(a), a);
        prop_assert!(a.meet(b).within(a) && a.meet(b).within(b));
        prop_assert_eq!(a.meet(Rule::OPEN), a);
        prop_assert_eq!(a.meet(Rule::Deny), Rule::Deny);
    }
}

#[test]
fn what_is_not_built_or_does_not_fit_denies() {
    for json in [
        r#"{"op":"drop"}"#,
        r#"{"op":"in_vehicle"}"#,
        r#"{"op":"tomorrow"}"#,
        r#"{"op":"rate"}"#,
        r#"{"op":"rate","min_interval_ms":0}"#,
        r#"{"op":"rate","min_interval_ms":-5}"#,
        r#"{"op":"rate","min_interval_ms":315360000001}"#,
        r#"{"op":"rate","min_interval_ms":1000,"burst":5}"#,
        r#"{"op":"rate","min_interval_ms":"1000"}"#,
        r#"{"op":"quantise","step":0}"#,
        r#"{"op":"quantise","step":-1}"#,
        r#"{"op":"quantise","step":true}"#,
        r#"{"op":"on_change","min_delta":-0.5}"#,
        r#"{"op":"on_change","max_interval_ms":0.5}"#,
        r#"{"op":"time_bucket"}"#,
        r#"{"op":"time_bucket","granularity_s":0}"#,
        r#"{"op":"time_bucket","granularity_s":1.5}"#,
        r#"{"op":"time_bucket","granularity_s":86401}"#,
        r#"{"op":"time_bucket","granularity_s":60,"jitter_s":1}"#,
        r#"{"op":"aggregate","window_s":60}"#,
        r#"{"op":"aggregate","window_s":60,"functions":[]}"#,
        r#"{"op":"aggregate","window_s":60,"functions":"mean"}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["mean","histogram"]}"#,
        r#"{"op":"aggregate","window_s":86401,"functions":["mean"]}"#,
        r#"{"op":"aggregate","window_s":"trip","functions":["mean"]}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["mean"],"min_samples":0}"#,
        r#"{"op":"geo_cell"}"#,
        r#"{"op":"geo_cell","resolution":-1}"#,
        r#"{"op":"geo_cell","resolution":11}"#,
        r#"{"op":"geo_cell","resolution":7.0}"#,
        r#"{"op":"geo_cell","resolution":7,"grid_km":5}"#,
        r#"{"op":"delay"}"#,
        r#"{"op":"delay","hold_back_s":0}"#,
        r#"{"op":"delay","hold_back_s":2592001}"#,
        r#"{"op":"aggregate","window":"day","functions":["mean"]}"#,
        r#"{"op":"aggregate","window":"trip","window_s":60,"functions":["mean"]}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["histogram"]}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["mean"],"edges":[1]}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["histogram"],"edges":[]}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["histogram"],"edges":5}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["histogram"],"edges":[1,1]}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["histogram"],"edges":[2,"1.5"]}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["histogram"],"edges":[1,true]}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["histogram"],"edges":["1e-30","1e20"]}"#,
        r#"{"op":"aggregate","window_s":60,"functions":["histogram"],"edges":[1,2,3,4,5,6,7,8,9,10,11,12,13]}"#,
        r#"{"op":"trim_ends"}"#,
        r#"{"op":"trim_ends","first_min":5}"#,
        r#"{"op":"trim_ends","first_min":0,"last_min":5}"#,
        r#"{"op":"trim_ends","first_min":5,"last_min":121}"#,
        r#"{"op":"trim_ends","first_min":5,"last_min":5,"radius_m":100}"#,
        r#"{"op":"budget"}"#,
        r#"{"op":"budget","samples_per_day":0}"#,
        r#"{"op":"budget","samples_per_day":100000001}"#,
        r#"{"op":"budget","samples_per_day":"9"}"#,
        r#"{"op":"budget","samples_per_day":9,"bytes_per_day":9}"#,
        r#"{"op":"threshold","value":1}"#,
        r#"{"op":"threshold","when":"above"}"#,
        r#"{"op":"threshold","when":"at","value":1}"#,
        r#"{"op":"threshold","when":"above","value":1,"hysteresis":-1}"#,
        r#"{"op":"threshold","when":"above","value":1,"cooldown_ms":0}"#,
    ] {
        assert_eq!(rule(json), Rule::Deny, "{json}");
        assert_eq!(Rule::of(&[spec(r#"{"op":"rate","min_interval_ms":10}"#), spec(json)]), Rule::Deny);
        assert!(transforms(&[spec(json)]).contains("nothing leaves"), "{json}");
    }
}

#[test]
fn each_of_a_list_applies() {
    let rule = Rule::of(&[
        spec(r#"{"op":"rate","min_interval_ms":100}"#),
        spec(r#"{"op":"rate","min_interval_ms":500}"#),
        spec(r#"{"op":"quantise","step":0.5}"#),
        spec(r#"{"op":"quantise","step":"2"}"#),
        spec(r#"{"op":"time_bucket","granularity_s":60}"#),
        spec(r#"{"op":"time_bucket","granularity_s":90}"#),
    ]);
    let Rule::Pass(transform) = rule else { unreachable!("it passes") };
    assert_eq!(transform.min_interval_us, 500_000);
    assert_eq!(transform.quantise.unwrap().step().to_string(), "2");
    assert_eq!(transform.time_bucket.unwrap().s(), 180);
    assert_eq!(Rule::of(&[]), Rule::OPEN);
}

#[test]
fn of_two_trims_each_end_is_as_long_as_the_longer_and_a_whole_trip_has_its_ends() {
    let trim = |first: i64, last: i64| {
        rule(&format!(r#"{{"op":"trim_ends","first_min":{first},"last_min":{last}}}"#))
    };
    assert_eq!(trim(5, 20).meet(trim(10, 15)), trim(10, 20));
    let trip = rule(r#"{"op":"aggregate","window":"trip","functions":["mean","max"]}"#);
    let hour = rule(r#"{"op":"aggregate","window_s":3600,"functions":["mean"]}"#);
    assert_eq!(
        trip.meet(rule(r#"{"op":"aggregate","window":"trip","functions":["max"]}"#)),
        rule(r#"{"op":"aggregate","window":"trip","functions":["max"]}"#)
    );
    assert_eq!(trip.meet(hour), Rule::Deny);
    assert_eq!(trip.meet(trim(5, 5)), Rule::Deny);
    assert_ne!(hour.meet(trim(5, 5)), Rule::Deny);
}

#[test]
fn of_two_budgets_the_smaller_applies() {
    let budget = |n: i64| rule(&format!(r#"{{"op":"budget","samples_per_day":{n}}}"#));
    assert_eq!(budget(7).meet(budget(5)), budget(5));
}

#[test]
fn buckets_without_a_common_edge_within_a_day_deny() {
    let bucket = |s: i64| rule(&format!(r#"{{"op":"time_bucket","granularity_s":{s}}}"#));
    assert_eq!(bucket(86_399).meet(bucket(86_400)), Rule::Deny);
    assert_eq!(bucket(900).meet(bucket(3_600)), bucket(3_600));
}

#[test]
fn of_two_aggregates_what_both_tell_applies_in_common_windows() {
    let of = |s: i64, names: &str, least: i64| {
        rule(&format!(r#"{{"op":"aggregate","window_s":{s},"functions":[{names}],"min_samples":{least}}}"#))
    };
    let met = of(60, r#""min","mean""#, 3).meet(of(90, r#""mean","max""#, 2));
    assert_eq!(met, of(180, r#""mean""#, 3));
    assert_eq!(of(60, r#""min""#, 1).meet(of(60, r#""max""#, 1)), Rule::Deny);
    assert_eq!(of(86_399, r#""min""#, 1).meet(of(86_400, r#""min""#, 1)), Rule::Deny);
    assert_eq!(met.meet(rule(r#"{"op":"geo_cell","resolution":3}"#)), Rule::Deny);
}

#[test]
fn of_two_histograms_the_bins_in_which_both_nest_apply_and_none_is_finer_than_a_grid() {
    let of = |names: &str, edges: &str| {
        rule(&format!(r#"{{"op":"aggregate","window_s":60,"functions":[{names}],"edges":[{edges}]}}"#))
    };
    let alone = |edges: &str| of(r#""histogram""#, edges);
    let met = alone(r#"0,50,"99.50",130"#).meet(alone(r#"-5,50,"99.5""#));
    assert_eq!(met, alone(r#"50,"9.95e1""#));
    assert_eq!(alone("1,2").meet(alone("3")), Rule::Deny);
    let mean = rule(r#"{"op":"aggregate","window_s":60,"functions":["mean"]}"#);
    assert_eq!(of(r#""mean","histogram""#, "1").meet(mean), mean);
    assert_eq!(of(r#""mean","histogram""#, "1").meet(of(r#""mean","histogram""#, "2")), mean);
    let grid = rule(r#"{"op":"quantise","step":20,"offset":10}"#);
    assert_eq!(alone("0,10,45,50").meet(grid), alone("10,50").meet(grid));
    assert_eq!(alone("0,20").meet(grid), Rule::Deny);
    for json in [
        r#"{"op":"threshold","when":"above","value":1}"#,
        r#"{"op":"on_change","min_delta":1}"#,
        r#"{"op":"geo_cell","resolution":3}"#,
    ] {
        assert_eq!(alone("0,20").meet(rule(json)), Rule::Deny, "{json}");
    }
    assert_ne!(alone("0,20").meet(rule(r#"{"op":"on_change"}"#)), Rule::Deny);
}

#[test]
fn of_two_resolutions_the_coarser_applies_and_a_cell_has_no_steps_or_levels() {
    let cell = |n: u8| rule(&format!(r#"{{"op":"geo_cell","resolution":{n}}}"#));
    assert_eq!(cell(8).meet(cell(5)), cell(5));
    for json in [
        r#"{"op":"quantise","step":1}"#,
        r#"{"op":"threshold","when":"above","value":1}"#,
        r#"{"op":"on_change","min_delta":0.001}"#,
    ] {
        assert_eq!(cell(5).meet(rule(json)), Rule::Deny, "{json}");
    }
    assert_ne!(cell(5).meet(rule(r#"{"op":"on_change"}"#)), Rule::Deny);
}

#[test]
fn a_dead_band_beside_a_threshold_becomes_its_hysteresis() {
    let threshold =
        |back: i64| rule(&format!(r#"{{"op":"threshold","when":"above","value":7,"hysteresis":{back}}}"#));
    let band = rule(r#"{"op":"on_change","min_delta":3,"max_interval_ms":1000}"#);
    assert_eq!(threshold(1).meet(band), threshold(3));
    assert_eq!(threshold(5).meet(band), threshold(5));
    let other = rule(r#"{"op":"threshold","when":"above","value":8}"#);
    assert_eq!(threshold(1).meet(other), Rule::Deny, "two levels tell of a range");
    let cool = rule(r#"{"op":"threshold","when":"above","value":7,"cooldown_ms":5}"#);
    let Rule::Pass(transform) = threshold(1).meet(cool) else { unreachable!("it passes") };
    assert_eq!(
        (transform.min_interval_us, transform.threshold.unwrap().hysteresis),
        (5_000, Decimal::parse("1").unwrap())
    );
}

#[test]
fn words_say_what_an_op_does() {
    for (json, want) in [
        (r#"{"op":"drop"}"#, "nothing leaves"),
        (r#"{"op":"in_vehicle"}"#, "stays inside the car: nothing leaves"),
        (r#"{"op":"rate","min_interval_ms":1000}"#, "at most once in 1 s"),
        (r#"{"op":"quantise","step":0.5}"#, "rounded down to steps of 0.5"),
        (r#"{"op":"quantise","step":5,"offset":12}"#, "rounded down to steps of 5 from 2"),
        (r#"{"op":"on_change","min_delta":10}"#, "only when it changed by 10 or more"),
        (r#"{"op":"on_change","max_interval_ms":60000}"#, "only when it changed, or after 1 min"),
        (
            r#"{"op":"time_bucket","granularity_s":900}"#,
            "every value leaves, its time rounded down to 15 min, and only after that",
        ),
        (
            r#"{"op":"threshold","when":"below","value":140,"hysteresis":20,"cooldown_ms":3600000}"#,
            "no value, only that it falls below 140, again only after it rose by 20 from there, at most once in 1 h",
        ),
        (
            r#"{"op":"geo_cell","resolution":7}"#,
            "no point, only the cell of the map it lies in, about 5.16 km² (H3 resolution 7)",
        ),
        (
            r#"{"op":"geo_cell","resolution":8}"#,
            "no point, only the cell of the map it lies in, about 0.74 km² (H3 resolution 8), WHICH IS PRECISE",
        ),
        (
            r#"{"op":"aggregate","window_s":3600,"functions":["max","mean"],"min_samples":10}"#,
            "no single value, only max, mean of each 1 h, if there were 10 values or more",
        ),
        (r#"{"op":"delay","hold_back_s":3600}"#, "sent 1 h later, with all else for this purpose"),
        (
            r#"{"op":"aggregate","window":"trip","functions":["max"]}"#,
            "no single value, only max of each trip",
        ),
        (
            r#"{"op":"aggregate","window_s":3600,"functions":["histogram"],"edges":[0,50],"min_samples":10}"#,
            "no single value, only how many were below 0, 0 to 50, from 50 of each 1 h, if there were 10 values or more",
        ),
        (
            r#"{"op":"trim_ends","first_min":10,"last_min":90}"#,
            "nothing of the first 10 min and the last 90 min of a trip, nor between trips",
        ),
        (r#"{"op":"budget","samples_per_day":24}"#, "at most 24 a day (UTC)"),
        (r#"{"op":"blur","radius":3}"#, "blur (radius 3), which this agent cannot do: nothing leaves"),
    ] {
        assert_eq!(transforms(&[spec(json)]), want);
    }
}
