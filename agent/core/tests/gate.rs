//! The gate against a simple model of each transform: exact fractions, one signal at a time.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "common/rules.rs"]
mod rules;

use glovebox_core::consent::effective::{Effective, FlowRules, SignalRules};
use glovebox_core::consent::gate::{LastRun, Lost, Remembered};
use glovebox_core::consent::transform::{Rule, Transform, TransformSpec};
use glovebox_core::consent::{Consented, Gate};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{LeafIndex, Leaves, Reading, SourceAddress, State};
use glovebox_core::frame::BusIndex;
use glovebox_core::limits::{GATE_SOURCES_MAX, HELD_SAMPLES_MAX};
use glovebox_core::names::*;
use proptest::prelude::*;
use std::sync::Arc;

/// Scales of the four signals, as (numerator, denominator) and in the DBC's words; the offset is -40.
const SCALES: [(i128, i128, &str); 4] = [(1, 1, "1"), (1, 2, "0.5"), (1, 100, "0.01"), (-3, 10, "-0.3")];

fn leaves() -> Leaves {
    let signal = |(n, (_, _, scale)): (usize, &(i128, i128, &str))| {
        format!(" SG_ S{n} : {}|16@1+ ({scale},-40) [0|0] \"\" X\n", n * 16)
    };
    let signals: String = SCALES.iter().enumerate().map(signal).collect();
    let text = format!("VERSION \"\"\n\nNS_ :\n\nBS_:\n\nBU_: X\n\nBO_ 256 M: 8 X\n{signals}\n");
    let database = Database::parse(text.as_bytes(), "test.dbc").unwrap().0;
    let name = BusName::new("b").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    Leaves::build(&[bus]).unwrap().0
}

fn flow(number: u64, leaves: &Leaves, transforms: &[Option<Transform>]) -> Arc<FlowRules> {
    let mut signals = Vec::new();
    for ((leaf, from), transform) in leaves.iter().zip(transforms) {
        let Some(transform) = transform else { continue };
        signals.push(SignalRules {
            leaf,
            path: from.path.clone(),
            unit: String::new(),
            value_type: from.value_type,
            scale: from.scale,
            offset: from.offset,
            names: Vec::new(),
            granted: *transform,
            permitted: Rule::Pass(*transform),
        });
    }
    Arc::new(rules::flow(number, signals))
}

fn gate(leaves: &Leaves, flows: Vec<Arc<FlowRules>>) -> Gate {
    Gate::compile(&Effective { flows, ..Effective::default() }, leaves)
}

/// (numerator, denominator) of `value - offset` in the grid's terms is avoided: all in twelfths of a hundredth.
const UNIT: i128 = 1200;

fn value(signal: usize, raw: u16) -> i128 {
    let (numerator, denominator, _) = SCALES[signal];
    i128::from(raw) * numerator * (UNIT / denominator) - 40 * UNIT
}

/// What the unit of time of wishes and frames is, in microseconds: a bucket is a whole second at least.
const TICK_US: i64 = 10_000;
/// Wall time less moment.
const OFFSET_US: i64 = 7_654_321;

#[derive(Debug, Clone, Copy)]
struct Wish {
    /// Step and offset in tenths.
    grid: Option<(i64, i64)>,
    /// Seconds.
    bucket: Option<i64>,
    when: When,
    /// In ticks.
    min_interval: i64,
}

#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    /// Tenths, and repeat in ticks.
    Change(i64, Option<i64>),
    /// Above or below, level and hysteresis in tenths.
    Crossing(bool, i64, i64),
}

impl Wish {
    /// As a document has it.
    fn transform(self) -> Transform {
        let ms = |ticks: i64| ticks * TICK_US / 1000;
        let mut list = Vec::new();
        list.extend(
            self.grid.map(|(s, o)| format!(r#"{{"op":"quantise","step":"{s}e-1","offset":"{o}e-1"}}"#)),
        );
        list.extend(self.bucket.map(|s| format!(r#"{{"op":"time_bucket","granularity_s":{s}}}"#)));
        match self.when {
            When::Always => {}
            When::Change(delta, None) => {
                list.push(format!(r#"{{"op":"on_change","min_delta":"{delta}e-1"}}"#));
            }
            When::Change(delta, Some(most)) => {
                list.push(format!(
                    r#"{{"op":"on_change","min_delta":"{delta}e-1","max_interval_ms":{}}}"#,
                    ms(most)
                ));
            }
            When::Crossing(above, level, back) => {
                let when = if above { "above" } else { "below" };
                list.push(format!(
                    r#"{{"op":"threshold","when":"{when}","value":"{level}e-1","hysteresis":"{back}e-1"}}"#
                ));
            }
        }
        if self.min_interval > 0 {
            list.push(format!(r#"{{"op":"rate","min_interval_ms":{}}}"#, ms(self.min_interval)));
        }
        let specs: Vec<TransformSpec> = list.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
        let Rule::Pass(transform) = Rule::of(&specs) else { unreachable!("{specs:?} let nothing through") };
        transform
    }
}

/// What the design says of one signal, word for word.
#[derive(Default, Clone)]
struct Model {
    last: Option<(i64, State, i128)>,
    armed: bool,
}

impl Model {
    /// Stamp, when it leaves, and the reduced value (in `UNIT`ths; of a cell its lower edge, of a crossing 1) if the
    /// reading is emitted.
    fn emit(&mut self, wish: Wish, now: i64, state: State, value: i128) -> Option<(i64, i64, i128)> {
        let mut reduced = match (wish.grid, state) {
            (_, s) if s != State::Value => 0,
            (None, _) => value,
            (Some((step, offset)), _) => {
                let (step, offset) = (i128::from(step) * UNIT / 10, i128::from(offset) * UNIT / 10);
                (value - offset).div_euclid(step) * step + offset
            }
        };
        let (mut stamp, mut leaves) = (now, now);
        if let Some(seconds) = wish.bucket {
            let length = seconds * 1_000_000;
            stamp = (now + OFFSET_US).div_euclid(length) * length - OFFSET_US;
            leaves = stamp + length;
        }
        if let When::Crossing(above, level, back) = wish.when {
            let (level, back) = (i128::from(level) * UNIT / 10, i128::from(back) * UNIT / 10);
            let beyond = if above { reduced > level } else { reduced < level };
            let recovered = if above { reduced <= level - back } else { reduced >= level + back };
            let event = state == State::Value && self.armed && beyond;
            if state == State::Value {
                self.armed = !beyond && (recovered || self.armed);
            }
            if !event {
                return None;
            }
            reduced = 1;
        }
        if let Some((then, was, before)) = self.last {
            let gap = stamp - then;
            if gap < wish.min_interval * TICK_US {
                return None;
            }
            if let When::Change(delta, repeat) = wish.when {
                let differs = (reduced - before).abs();
                let enough = differs > 0 && differs * 10 >= i128::from(delta) * UNIT;
                if !enough && was == state && repeat.is_none_or(|most| gap < most * TICK_US) {
                    return None;
                }
            }
        }
        self.last = Some((stamp, state, reduced));
        Some((stamp, leaves, reduced))
    }
}

fn any_wish() -> impl Strategy<Value = Option<Wish>> {
    let grid = proptest::option::of((1i64..300, -100i64..100));
    let bucket = proptest::option::weighted(0.3, 1i64..4);
    let when = prop_oneof![
        Just(When::Always),
        (0i64..50, proptest::option::of(1i64..400)).prop_map(|(delta, most)| When::Change(delta, most)),
        (any::<bool>(), -400i64..400, 0i64..100)
            .prop_map(|(above, level, back)| When::Crossing(above, level, back)),
    ];
    let rate = prop_oneof![Just(0i64), 1i64..300];
    proptest::option::weighted(
        0.8,
        (grid, bucket, when, rate).prop_map(|(grid, bucket, when, min_interval)| Wish {
            grid,
            bucket,
            when,
            min_interval,
        }),
    )
}

fn any_reading() -> impl Strategy<Value = (State, u16)> {
    prop_oneof![
        12 => (0u16..400).prop_map(|raw| (State::Value, raw)),
        2 => any::<u16>().prop_map(|raw| (State::Value, raw)),
        1 => Just((State::NotAvailable, 0)),
        1 => Just((State::OutOfRange, 0)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Two flows with random transforms see one drive of three senders; each gets exactly what the model says of each
    /// sender, when it says so, also across a swap.
    #[test]
    fn the_gate_emits_what_the_design_says(
        wishes in proptest::collection::vec(any_wish(), 8),
        frames in proptest::collection::vec((0i64..200, 0u8..3, [any_reading(), any_reading(), any_reading(), any_reading()]), 1..60),
        swap_at in 0usize..60,
    ) {
        let leaves = leaves();
        let make = || {
            let transforms: Vec<_> = wishes.iter().map(|wish| wish.map(Wish::transform)).collect();
            gate(&leaves, vec![flow(1, &leaves, &transforms[..4]), flow(2, &leaves, &transforms[4..])])
        };
        let mut gate = make();
        gate.set_offset(OFFSET_US);
        let mut models = vec![[const { Model { last: None, armed: false } }; 3]; 8];
        let mut now = 0;
        let mut waiting = Vec::new();
        for (at, (gap, sender, readings)) in frames.iter().enumerate() {
            if at == swap_at {
                let mut next = make();
                next.inherit(&mut gate);
                gate = next;
            }
            now += gap * TICK_US;
            let source = SourceAddress(*sender);
            let of = |(leaf, (state, raw)): (_, &(State, u16))| Reading { leaf, state: *state, source, bits: u64::from(*raw) };
            let list: Vec<_> = leaves.iter().map(|(leaf, _)| leaf).zip(readings).map(of).collect();
            let mut out = Vec::new();
            gate.release(Moment(now), |sample| out.push(sample));
            gate.pass(Moment(now), &list, |sample| out.push(sample));
            let mut got: Vec<_> = out.iter().map(|c| found(&wishes, &gate, c)).collect();
            got.sort();
            for (at, wish) in wishes.iter().enumerate() {
                let (flow, signal) = (at / 4, at % 4);
                let (state, raw) = readings[signal];
                let Some(wish) = wish else { continue };
                let emitted = models[at][usize::from(*sender)].emit(*wish, now, state, value(signal, raw));
                waiting.extend(emitted.map(|(stamp, leaves, amount)| (leaves, (flow, signal, *sender, stamp, state as u8, amount))));
            }
            let mut want: Vec<_> = waiting.extract_if(.., |(leaves, _)| *leaves <= now).map(|(_, it)| it).collect();
            want.sort();
            prop_assert_eq!(got, want);
        }
        prop_assert_eq!(gate.next_due().map(|due| due.0), waiting.iter().map(|(leaves, _)| *leaves).min());
        prop_assert!(gate.take_lost().is_empty());
    }
}

/// Flow, signal, sender, stamp, state and amount of a sample, as the model has them.
fn found(wishes: &[Option<Wish>], gate: &Gate, c: &Consented) -> (usize, usize, u8, i64, u8, i128) {
    let rules = &gate.flows()[c.flow().index()].signals[usize::from(c.signal())];
    let signal = rules.leaf.0 as usize;
    let wish = wishes[c.flow().index() * 4 + signal].unwrap();
    let amount = match (wish.when, wish.grid, c.state()) {
        (_, _, state) if state != State::Value => 0,
        (When::Crossing(..), _, _) => i128::from(c.bits()),
        (_, None, _) => value(signal, u16::try_from(c.bits()).unwrap()),
        (_, Some((step, offset)), _) => {
            // The grid's offset is told modulo its step: so is its lower edge.
            let edge = i128::from(offset.rem_euclid(step)) * UNIT / 10;
            i128::from(c.bits().cast_signed()) * i128::from(step) * UNIT / 10 + edge
        }
    };
    (c.flow().index(), signal, c.source().0, c.moment().0, c.state() as u8, amount)
}

#[test]
fn invariant_6_a_leaf_that_nobody_was_granted_is_not_needed() {
    let leaves = leaves();
    let gate = gate(&leaves, vec![flow(1, &leaves, &[None, Some(Transform::default()), None, None])]);
    let needed: Vec<u32> = gate.needed().iter().map(|leaf| leaf.0).collect();
    assert_eq!(needed, [1]);
    assert!(Gate::default().needed().is_empty());
}

#[test]
fn invariant_9_only_so_many_senders_are_told_apart() {
    let leaves = leaves();
    let slow = Transform { min_interval_us: 1_000, ..Transform::default() };
    let mut gate = gate(&leaves, vec![flow(1, &leaves, &[Some(slow), None, None, None])]);
    let mut emitted = 0;
    for now in 0..2 {
        for sender in 0..=u8::MAX {
            let reading =
                Reading { leaf: LeafIndex(0), state: State::Value, source: SourceAddress(sender), bits: 0 };
            gate.pass(Moment(now), &[reading], |_| emitted += 1);
        }
    }
    assert_eq!(emitted, GATE_SOURCES_MAX);
}

fn bucketed(seconds: i64) -> Transform {
    Wish { grid: None, bucket: Some(seconds), when: When::Always, min_interval: 0 }.transform()
}

fn pass(gate: &mut Gate, now: i64, bits: u64) -> Vec<Consented> {
    let reading = Reading { leaf: LeafIndex(0), state: State::Value, source: SourceAddress(0), bits };
    let mut out = Vec::new();
    gate.pass(Moment(now), &[reading], |sample| out.push(sample));
    out
}

#[test]
fn invariant_9_what_is_held_back_has_a_bound_and_is_declared() {
    let leaves = leaves();
    let mut gate = gate(&leaves, vec![flow(1, &leaves, &[Some(bucketed(60)), None, None, None])]);
    for _ in 0..HELD_SAMPLES_MAX + 3 {
        assert!(pass(&mut gate, 5, 1).is_empty());
    }
    assert_eq!(gate.take_lost().into_iter().collect::<Vec<_>>(), [((FlowId(1), Lost::Full), 3)]);
    let mut released = 0;
    gate.release(Moment(59_999_999), |_| released += 1);
    assert_eq!(released, 0);
    gate.release(Moment(60_000_000), |_| released += 1);
    assert_eq!(released, HELD_SAMPLES_MAX);
}

#[test]
fn what_is_held_back_under_another_rule_is_declared_as_lost_and_of_an_ended_flow_forgotten() {
    let leaves = leaves();
    let of = |number, seconds| flow(number, &leaves, &[Some(bucketed(seconds)), None, None, None]);
    let mut old = gate(&leaves, vec![of(1, 60), of(2, 60), of(3, 60)]);
    assert!(pass(&mut old, 5, 1).is_empty());
    let mut new = gate(&leaves, vec![of(2, 60), of(1, 120)]);
    new.inherit(&mut old);
    assert_eq!(new.take_lost().into_iter().collect::<Vec<_>>(), [((FlowId(1), Lost::Narrowed), 1)]);
    let mut flows = Vec::new();
    new.release(Moment(i64::MAX), |sample| flows.push(new_flow(sample)));
    assert_eq!(flows, [0], "of flow 2, which has the first slot now");
}

fn new_flow(sample: Consented) -> usize {
    sample.flow().index()
}

/// The clock was wrong by a minute and five seconds while the sample waited.
#[test]
fn what_is_held_back_stays_on_its_edge_when_the_clock_steps() {
    let leaves = leaves();
    let mut gate = gate(&leaves, vec![flow(1, &leaves, &[Some(bucketed(60)), None, None, None])]);
    gate.set_offset(30_000_000);
    assert!(pass(&mut gate, 5, 1).is_empty());
    gate.set_offset(95_000_000);
    let mut stamps = Vec::new();
    gate.release(Moment(30_000_000), |sample| stamps.push(sample.moment().0 + 95_000_000));
    assert_eq!(stamps, [0]);
}

/// A run after the other, each with a time line of its own: ended in order, or cut.
#[derive(Debug, Clone)]
struct Run {
    cut: bool,
    readings: Vec<(i64, u8)>,
}

proptest! {
    /// By their stamps no two emitted readings of a sender lie closer than the rate says, whatever ends between them; and
    /// after an orderly end nothing waits that need not.
    #[test]
    fn no_restart_shortens_a_gap(
        runs in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec((0i64..40, 0u8..2), 1..12))
                .prop_map(|(cut, readings)| Run { cut, readings }),
            1..6,
        ),
        swap: bool,
    ) {
        const INTERVAL_US: i64 = 50;
        let leaves = leaves();
        let make = || {
            let slow = Transform { min_interval_us: INTERVAL_US, ..Transform::default() };
            gate(&leaves, vec![flow(1, &leaves, &[None, Some(slow), None, None])])
        };
        let (mut wall, mut last): (i64, [Option<i64>; 2]) = (1_000_000, [None; 2]);
        let mut told = LastRun::Ended { remembered: Vec::new(), cut: None };
        let mut cut_at = None;
        for (number, run) in runs.iter().enumerate() {
            let begin = wall;
            let mut gate = make();
            // Every run counts its moments from its own begin.
            gate.set_offset(begin);
            gate.recall(&told, Moment(0));
            if swap {
                let mut empty = Gate::default();
                empty.inherit(&mut gate);
                gate = make();
                gate.inherit(&mut empty);
            }
            if number > 0 && runs[number - 1].cut {
                cut_at = Some(begin);
            }
            for (gap, sender) in &run.readings {
                wall += gap;
                let reading = Reading { leaf: LeafIndex(1), state: State::Value, source: SourceAddress(*sender), bits: 0 };
                let mut emitted = false;
                gate.pass(Moment(wall - begin), &[reading], |_| emitted = true);
                let before = &mut last[usize::from(*sender)];
                let waits = before.is_some_and(|before| wall - before < INTERVAL_US);
                prop_assert!(!(emitted && waits), "{} after the last one", wall - before.unwrap());
                let unknown = cut_at.filter(|cut| before.is_none_or(|before| before < *cut));
                let due = unknown.map_or(!waits, |cut| wall - cut >= INTERVAL_US);
                prop_assert_eq!(emitted, due);
                if emitted {
                    *before = Some(wall);
                }
            }
            told = if run.cut { LastRun::Cut } else { gate.remembered(Moment(wall - begin)) };
        }
    }
}

/// The clock is a day behind what the last run said: it waits its interval and no longer.
#[test]
fn a_clock_that_was_set_back_does_not_silence_a_signal() {
    let leaves = leaves();
    let slow = Transform { min_interval_us: 50, ..Transform::default() };
    let mut gate = gate(&leaves, vec![flow(1, &leaves, &[Some(slow), None, None, None])]);
    let at = WallTime(86_400_000_000);
    let it = Remembered { flow: FlowId(1), leaf: LeafIndex(0), figure: None, source: SourceAddress(0), at };
    gate.recall(&LastRun::Ended { remembered: vec![it], cut: None }, Moment(7));
    assert!(pass(&mut gate, 56, 1).is_empty());
    assert_eq!(pass(&mut gate, 57, 1).len(), 1);
    let waits = |now| match gate.remembered(Moment(now)) {
        LastRun::Ended { remembered, .. } => remembered.len(),
        LastRun::Cut => unreachable!("it ends in order"),
    };
    assert_eq!((waits(106), waits(107)), (1, 0), "then it need not wait");
}
