//! `aggregate` through the real gate: figures against those of plain lists, window by window.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "common/rules.rs"]
mod rules;

use glovebox_core::consent::effective::{Effective, SignalRules};
use glovebox_core::consent::transform::{Aggregate, Function, Rule, Transform, TransformSpec};
use glovebox_core::consent::{Consented, Gate};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{LeafIndex, Leaves, Reading, SourceAddress, State, ValueType};
use glovebox_core::frame::BusIndex;
use glovebox_core::names::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const DBC: &str = "BO_ 256 M: 8 X\n SG_ S : 0|16@1- (0.5,-40) [0|0] \"km/h\" X\n";
/// All figures but the histogram, which has edges.
const PLAIN: [Function; 6] =
    [Function::Min, Function::Max, Function::Mean, Function::Sum, Function::Count, Function::Last];
/// Wall time less moment.
const OFFSET_US: i64 = 1_234_567;

fn transform(specs: &[String]) -> Transform {
    let specs: Vec<TransformSpec> = specs.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
    let Rule::Pass(transform) = Rule::of(&specs) else { unreachable!("{specs:?}") };
    transform
}

fn aggregate(window_s: i64, function: Function, min_samples: usize) -> String {
    let name = function.name();
    format!(
        r#"{{"op":"aggregate","window_s":{window_s},"functions":["{name}"],"min_samples":{min_samples}}}"#
    )
}

fn gate(transforms: &[Transform]) -> Gate {
    let database = Database::parse(DBC.as_bytes(), "w.dbc").unwrap().0;
    let name = BusName::new("b").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let leaves = Leaves::build(&[bus]).unwrap().0;
    let (leaf, from) = leaves.iter().next().unwrap();
    let signal = |transform: &Transform| SignalRules {
        leaf,
        path: from.path.clone(),
        unit: from.unit.clone(),
        value_type: from.value_type,
        scale: from.scale,
        offset: from.offset,
        names: Vec::new(),
        granted: *transform,
        permitted: Rule::Pass(*transform),
    };
    let rules = rules::flow(1, transforms.iter().map(signal).collect());
    let mut gate =
        Gate::compile(&Effective { flows: vec![Arc::new(rules)], ..Effective::default() }, &leaves);
    // As in a car: the clock is known before there are rules.
    let mut before = Gate::default();
    before.set_offset(OFFSET_US);
    gate.inherit(&mut before);
    gate
}

fn pass(gate: &mut Gate, now: i64, source: u8, raw: Option<i16>) -> Vec<Consented> {
    let mut out = Vec::new();
    gate.release(Moment(now), |sample| out.push(sample));
    let state = if raw.is_some() { State::Value } else { State::Error };
    let bits = i64::from(raw.unwrap_or(0)).cast_unsigned();
    let reading = Reading { leaf: LeafIndex(0), state, source: SourceAddress(source), bits };
    gate.pass(Moment(now), &[reading], |sample| out.push(sample));
    out
}

fn value(raw: i16) -> f64 {
    f64::from(raw) * 0.5 - 40.0
}

/// A figure of all values of a window, as its definition has it.
fn figure(function: Function, raws: &[i16]) -> f64 {
    let values = raws.iter().map(|raw| value(*raw));
    match function {
        Function::Min => values.fold(f64::INFINITY, f64::min),
        Function::Max => values.fold(f64::NEG_INFINITY, f64::max),
        Function::Sum => values.sum(),
        Function::Mean => values.sum::<f64>() / f64::from(u32::try_from(raws.len()).unwrap()),
        Function::Count => f64::from(u32::try_from(raws.len()).unwrap()),
        Function::Last => value(*raws.last().unwrap()),
        Function::Histogram => unreachable!("it has bins"),
    }
}

/// Edges in tenths; beside a grid of steps of 5, or not.
fn histogram(window_s: i64, tenths: &[i32], least: usize, on_grid: bool) -> Transform {
    let edges: Vec<String> = tenths.iter().map(|edge| format!(r#""{edge}e-1""#)).collect();
    let edges = edges.join(",");
    let mut specs = vec![format!(
        r#"{{"op":"aggregate","window_s":{window_s},"functions":["histogram"],"edges":[{edges}],"min_samples":{least}}}"#
    )];
    specs.extend(on_grid.then(|| r#"{"op":"quantise","step":5}"#.to_owned()));
    transform(&specs)
}

/// What a recipient reads.
fn read(gate: &Gate, sample: &Consented) -> f64 {
    let coding = gate.flows()[0].signals[usize::from(sample.signal())].coding();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let raw = match coding.value_type {
        ValueType::Float64 => f64::from_bits(sample.bits()),
        _ => sample.bits().cast_signed() as f64,
    };
    raw * coding.scale + coding.offset
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The same of a histogram: of each window that is over and had enough values, for each bin how many lay in it; worked out
    /// in tenths. Edges that are not on the grid that applies too make no bins.
    #[test]
    fn of_each_window_how_many_values_lay_in_each_bin(
        frames in proptest::collection::vec((0i64..900_000, 0u8..2, proptest::option::weighted(0.9, -300i16..300)), 1..80),
        edges in proptest::collection::btree_set(-2_000i32..1_200, 1..8),
        on_grid in any::<bool>(),
        window_s in 1i64..5,
        least in 1usize..4,
        swap_at in 0usize..80,
    ) {
        let edges: Vec<i32> = edges.into_iter().map(|edge| if on_grid { edge / 50 * 50 } else { edge }).collect();
        let edges: Vec<i32> = BTreeSet::from_iter(edges).into_iter().collect();
        let histogram = histogram(window_s, &edges, least, on_grid);
        let bins = 0..=u8::try_from(edges.len()).unwrap();
        let transforms: Vec<Transform> = bins.map(|bin| {
            let aggregate = histogram.aggregate.map(|it| Aggregate { bin: Some(bin), ..it });
            Transform { aggregate, ..histogram }
        }).collect();
        let mut gate_now = gate(&transforms);
        let mut windows: BTreeMap<(i64, u8), Vec<u64>> = BTreeMap::new();
        let mut now = 0;
        for (at, (gap, source, raw)) in frames.iter().enumerate() {
            if at == swap_at {
                let mut next = gate(&transforms);
                next.inherit(&mut gate_now);
                gate_now = next;
            }
            now += gap;
            let wall = now + OFFSET_US;
            let mut got: Vec<_> = pass(&mut gate_now, now, *source, *raw)
                .iter().map(|it| (it.moment().0 + OFFSET_US, it.source().0, it.signal(), it.bits())).collect();
            got.sort_unstable();
            let over = windows.extract_if(.., |(begin, _), _| begin + window_s * SECOND <= wall);
            let enough = over.filter(|(_, counts)| counts.iter().sum::<u64>() >= least as u64);
            let want: Vec<_> = enough.flat_map(|((begin, source), counts)| {
                (0u16..).zip(counts).map(move |(bin, count)| (begin, source, bin, count))
            }).collect();
            prop_assert_eq!(got, want);
            if let Some(raw) = raw {
                let begin = wall.div_euclid(window_s * SECOND) * window_s * SECOND;
                let counts = windows.entry((begin, *source)).or_insert_with(|| vec![0; edges.len() + 1]);
                counts[edges.iter().filter(|edge| **edge <= i32::from(*raw) * 5 - 400).count()] += 1;
            }
        }
    }

    /// Somebody's consent to something else, or the end of a pause: what a flow that is not concerned sends is the same to
    /// the last sample, or its recipient would learn of it. Each bin and figure is compared with itself.
    #[test]
    fn invariant_1_a_swap_that_does_not_concern_a_flow_is_not_seen_in_it(
        frames in proptest::collection::vec((0i64..900_000, 0u8..2, -300i16..300, any::<bool>()), 1..80),
        rate_ms in proptest::option::of(1i64..3_000),
        repeat_ms in proptest::option::of(1i64..5_000),
    ) {
        let on_change = repeat_ms.map_or_else(
            || r#"{"op":"on_change"}"#.to_owned(),
            |ms| format!(r#"{{"op":"on_change","max_interval_ms":{ms}}}"#),
        );
        let thinned: Vec<String> =
            rate_ms.map(|ms| format!(r#"{{"op":"rate","min_interval_ms":{ms}}}"#)).into_iter().chain([on_change]).collect();
        let with = |spec: String| transform(&[&[spec], &*thinned].concat());
        let bins = with(r#"{"op":"aggregate","window_s":1,"functions":["histogram"],"edges":[0,20],"min_samples":1}"#.to_owned());
        let bins = (0..3).map(|bin| {
            let aggregate = bins.aggregate.map(|it| Aggregate { bin: Some(bin), ..it });
            Transform { aggregate, ..bins }
        });
        let transforms: Vec<Transform> = bins.chain([with(aggregate(1, Function::Max, 1))]).collect();
        let (mut calm, mut swapped) = (gate(&transforms), gate(&transforms));
        let mut now = 0;
        for (gap, source, raw, swap) in frames {
            now += gap;
            if swap {
                let mut next = gate(&transforms);
                next.inherit(&mut swapped);
                swapped = next;
            }
            let told = |gate: &mut Gate| -> Vec<_> {
                let out = pass(gate, now, source, Some(raw));
                let mut out: Vec<_> = out.iter().map(|it| (it.moment(), it.source().0, it.signal(), it.bits())).collect();
                out.sort_unstable();
                out
            };
            prop_assert_eq!(told(&mut swapped), told(&mut calm));
        }
    }

    /// Two senders, all functions at once, half of them in longer windows, a swap on the way: of each window that is over,
    /// and had enough values, the figure, stamped with its beginning; nothing before it is over and nothing else.
    #[test]
    fn of_each_window_its_figures_and_not_before_it_is_over(
        frames in proptest::collection::vec((0i64..900_000, 0u8..2, proptest::option::weighted(0.9, any::<i16>())), 1..80),
        window_s in 1i64..5,
        least in 1usize..4,
        swap_at in 0usize..80,
    ) {
        let lengths_s = PLAIN.map(|function| window_s + i64::from(function as u8 % 2));
        let transforms: Vec<Transform> = PLAIN
            .into_iter()
            .zip(lengths_s)
            .map(|(function, length_s)| transform(&[aggregate(length_s, function, least)]))
            .collect();
        let mut gate_now = gate(&transforms);
        let mut windows: BTreeMap<(i64, i64, u8), Vec<i16>> = BTreeMap::new();
        let mut now = 0;
        for (at, (gap, source, raw)) in frames.iter().enumerate() {
            if at == swap_at {
                let mut next = gate(&transforms);
                next.inherit(&mut gate_now);
                gate_now = next;
            }
            now += gap;
            let wall = now + OFFSET_US;
            let mut got: Vec<_> = pass(&mut gate_now, now, *source, *raw)
                .iter()
                .map(|it| (it.moment().0 + OFFSET_US, it.source().0, it.signal(), read(&gate_now, it).to_bits()))
                .collect();
            got.sort_unstable();
            let over = windows.extract_if(.., |(length_s, begin, _), _| begin + *length_s * SECOND <= wall);
            let mut want = Vec::new();
            for ((length_s, begin, source), raws) in over.filter(|(_, raws)| raws.len() >= least) {
                let all = (0u16..).zip(PLAIN).zip(lengths_s);
                for ((signal, function), _) in all.filter(|(_, of)| *of == length_s) {
                    want.push((begin, source, signal, figure(function, &raws).to_bits()));
                }
            }
            want.sort_unstable();
            prop_assert_eq!(got, want);
            if let Some(raw) = raw {
                for length_s in [window_s, window_s + 1] {
                    let begin = wall.div_euclid(length_s * SECOND) * length_s * SECOND;
                    windows.entry((length_s, begin, *source)).or_default().push(*raw);
                }
            }
            let due = windows.keys().map(|(length_s, begin, _)| begin + length_s * SECOND - OFFSET_US).min();
            prop_assert_eq!(gate_now.next_due().map(|due| due.0), due);
        }
        let mut at_the_end = 0;
        gate_now.release_all(|_| at_the_end += 1);
        prop_assert_eq!(at_the_end, 0, "a window that is not over");
    }
}

const SECOND: i64 = 1_000_000;

/// Begins and figures of what a gate tells in these seconds, a value in each.
fn told(gate: &mut Gate, seconds: std::ops::Range<i64>) -> Vec<(i64, f64)> {
    let mut out = Vec::new();
    for second in seconds {
        let raw = i16::try_from(second).unwrap();
        let samples = pass(gate, second * SECOND - OFFSET_US, 0, Some(raw));
        out.extend(samples.iter().map(|it| ((it.moment().0 + OFFSET_US) / SECOND, read(gate, it))));
    }
    out
}

#[test]
fn a_figure_is_made_coarse_and_thinned_after_it_was_made() {
    let with = |more: &str| transform(&[aggregate(10, Function::Mean, 1), more.to_owned()]);
    let mut coarse = gate(&[with(r#"{"op":"quantise","step":5}"#)]);
    // Seconds 0 to 9 have a mean of 4.5 raw, which is -37.75.
    assert_eq!(told(&mut coarse, 0..31), [(0, -40.0), (10, -35.0), (20, -30.0)]);
    let mut seldom = gate(&[with(r#"{"op":"rate","min_interval_ms":15000}"#)]);
    assert_eq!(told(&mut seldom, 0..41), [(0, -37.75), (20, -27.75)]);
    let mut event = gate(&[with(r#"{"op":"threshold","when":"above","value":-33}"#)]);
    assert_eq!(told(&mut event, 0..41), [(10, 1.0)]);
    let mut bucketed = gate(&[with(r#"{"op":"time_bucket","granularity_s":20}"#)]);
    assert_eq!(told(&mut bucketed, 0..40), [(0, -37.75), (0, -32.75)]);
}

/// A window that the clock's step cut is not told, nor what follows before the next edge.
#[test]
fn after_a_step_of_the_clock_the_first_window_that_is_told_is_a_whole_one() {
    let mut gate = gate(&[transform(&[aggregate(10, Function::Count, 1)])]);
    assert_eq!(told(&mut gate, 0..15), [(0, 10.0)]);
    gate.set_offset(OFFSET_US - 3 * SECOND);
    let mut counts = Vec::new();
    for second in 15..40 {
        for it in pass(&mut gate, second * SECOND - OFFSET_US, 0, Some(0)) {
            counts.push(((it.moment().0 + OFFSET_US) / SECOND - 3, it.bits()));
        }
    }
    assert_eq!(counts, [(20, 10)], "12 to 20 by the new clock is a part");
}
