//! The gate against a simple model of each transform: exact fractions, one signal at a time.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use glovebox_core::consent::Gate;
use glovebox_core::consent::decimal::Decimal;
use glovebox_core::consent::effective::{Effective, FlowRules, SignalRules};
use glovebox_core::consent::transform::{DeadBand, Grid, Rule, Transform};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{LeafIndex, Leaves, Reading, SourceAddress, State};
use glovebox_core::frame::BusIndex;
use glovebox_core::limits::GATE_SOURCES_MAX;
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
    Arc::new(FlowRules {
        flow: FlowId(number),
        recipient: RecipientId::new("r").unwrap(),
        purpose: PurposeId::new("p").unwrap(),
        request_digest: Digest([0; 32]),
        hpke_key: HpkeKey([0; 32]),
        live_until: WallTime(i64::MAX),
        batch_age_us: 1,
        age_us_max: None,
        microseconds: false,
        signals,
    })
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

#[derive(Debug, Clone, Copy)]
struct Wish {
    /// Step and offset in tenths.
    grid: Option<(i64, i64)>,
    min_interval_us: i64,
    /// Tenths, and repeat.
    change: Option<(i64, Option<i64>)>,
}

impl Wish {
    fn transform(self) -> Transform {
        let tenths = |n: i64| Decimal::new(n.into(), 1).unwrap();
        Transform {
            quantise: self.grid.map(|(step, offset)| Grid::new(tenths(step), tenths(offset)).unwrap()),
            min_interval_us: self.min_interval_us,
            on_change: self
                .change
                .map(|(delta, max_interval_us)| DeadBand { min_delta: tenths(delta), max_interval_us }),
        }
    }
}

/// What the design says of one signal, word for word.
#[derive(Default, Clone)]
struct Model {
    last: Option<(i64, State, i128)>,
}

impl Model {
    /// The reduced value (in `UNIT`ths; for a cell its lower edge) if the reading is emitted.
    fn emit(&mut self, wish: Wish, now: i64, state: State, value: i128) -> Option<i128> {
        let reduced = match (wish.grid, state) {
            (_, s) if s != State::Value => 0,
            (None, _) => value,
            (Some((step, offset)), _) => {
                let (step, offset) = (i128::from(step) * UNIT / 10, i128::from(offset) * UNIT / 10);
                (value - offset).div_euclid(step) * step + offset
            }
        };
        if let Some((then, was, before)) = self.last {
            let gap = now - then;
            if gap < wish.min_interval_us {
                return None;
            }
            if let Some((delta, repeat)) = wish.change {
                let differs = (reduced - before).abs();
                let enough = differs > 0 && differs * 10 >= i128::from(delta) * UNIT;
                if !enough && was == state && repeat.is_none_or(|most| gap < most) {
                    return None;
                }
            }
        }
        self.last = Some((now, state, reduced));
        Some(reduced)
    }
}

fn any_wish() -> impl Strategy<Value = Option<Wish>> {
    let grid = proptest::option::of((1i64..300, -100i64..100));
    let change = proptest::option::of((0i64..50, proptest::option::of(1i64..400)));
    let rate = prop_oneof![Just(0i64), 1i64..300];
    proptest::option::weighted(
        0.8,
        (grid, rate, change).prop_map(|(grid, min_interval_us, change)| Wish {
            grid,
            min_interval_us,
            change,
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
    /// sender, also across a swap.
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
        let mut models = vec![[const { Model { last: None } }; 3]; 8];
        let mut now = 0;
        for (at, (gap, sender, readings)) in frames.iter().enumerate() {
            if at == swap_at {
                let mut next = make();
                next.inherit(&gate);
                gate = next;
            }
            now += gap;
            let source = SourceAddress(*sender);
            let of = |(leaf, (state, raw)): (_, &(State, u16))| Reading { leaf, state: *state, source, bits: u64::from(*raw) };
            let list: Vec<_> = leaves.iter().map(|(leaf, _)| leaf).zip(readings).map(of).collect();
            let mut out = Vec::new();
            gate.pass(Moment(now), &list, |sample| out.push(sample));
            prop_assert!(out.iter().all(|sample| sample.source() == source));
            let mut got: Vec<_> = out.iter().map(|c| {
                let rules = &gate.flows()[c.flow().index()].signals[usize::from(c.signal())];
                let signal = rules.leaf.0 as usize;
                let wish = wishes[c.flow().index() * 4 + signal].unwrap();
                let amount = match (wish.grid, c.state()) {
                    (_, state) if state != State::Value => 0,
                    (None, _) => value(signal, u16::try_from(c.bits()).unwrap()),
                    (Some((step, offset)), _) => {
                        // The grid's offset is told modulo its step: so is its lower edge.
                        let edge = i128::from(offset.rem_euclid(step)) * UNIT / 10;
                        i128::from(c.bits().cast_signed()) * i128::from(step) * UNIT / 10 + edge
                    }
                };
                (c.flow().index(), signal, c.state(), amount)
            }).collect();
            got.sort_by_key(|g| (g.0, g.1));
            let mut want = Vec::new();
            for (at, wish) in wishes.iter().enumerate() {
                let (flow, signal) = (at / 4, at % 4);
                let (state, raw) = readings[signal];
                let Some(wish) = wish else { continue };
                let emitted = models[at][usize::from(*sender)].emit(*wish, now, state, value(signal, raw));
                want.extend(emitted.map(|amount| (flow, signal, state, amount)));
            }
            prop_assert_eq!(got, want);
        }
    }
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
