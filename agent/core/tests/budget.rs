//! `budget` through the real gate: never more than it a day, over swaps, restarts, cuts and clocks that step.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "common/rules.rs"]
mod rules;

use glovebox_core::consent::effective::{Effective, FlowRules, SignalRules};
use glovebox_core::consent::gate::Spending;
use glovebox_core::consent::transform::{Rule, TransformSpec};
use glovebox_core::consent::{Consented, Gate};
use glovebox_core::decode::dbc::Database;
use glovebox_core::decode::leaves::BusDatabase;
use glovebox_core::decode::{LeafIndex, Leaves, Reading, SourceAddress, State};
use glovebox_core::frame::BusIndex;
use glovebox_core::limits::BUDGET_DAYS_MAX;
use glovebox_core::names::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const DBC: &str =
    "BO_ 256 M: 8 X\n SG_ S : 0|16@1+ (1,0) [0|0] \"\" X\n SG_ T : 16|16@1+ (1,0) [0|0] \"\" X\n";
const DAY_US: i64 = 86_400_000_000;
/// Wall time less moment: noon of a day.
const OFFSET_US: i64 = 20_000 * DAY_US + DAY_US / 2;

fn leaves() -> Leaves {
    let database = Database::parse(DBC.as_bytes(), "b.dbc").unwrap().0;
    let name = BusName::new("b").unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    Leaves::build(&[bus]).unwrap().0
}

/// One flow of this number, with the transforms of its signals.
fn flow(number: u64, lists: &[&str]) -> Arc<FlowRules> {
    let leaves = leaves();
    let signal = |(leaf, json): (u32, &&str)| {
        let specs: Vec<TransformSpec> = serde_json::from_str(json).unwrap();
        let Rule::Pass(transform) = Rule::of(&specs) else { unreachable!("{json}") };
        let from = leaves.get(LeafIndex(leaf)).unwrap();
        SignalRules {
            leaf: LeafIndex(leaf),
            path: from.path.clone(),
            unit: String::new(),
            value_type: from.value_type,
            scale: 1.0,
            offset: 0.0,
            names: Vec::new(),
            granted: transform,
            permitted: Rule::Pass(transform),
        }
    };
    Arc::new(rules::flow(number, (0..).zip(lists).map(signal).collect()))
}

fn gate(flows: Vec<Arc<FlowRules>>) -> Gate {
    Gate::compile(&Effective { flows, ..Effective::default() }, &leaves())
}

/// As in a car: the clock is known before there are rules.
fn started(flows: Vec<Arc<FlowRules>>) -> Gate {
    let (mut gate, mut before) = (gate(flows), Gate::default());
    before.set_offset(OFFSET_US);
    gate.inherit(&mut before);
    gate
}

fn pass(gate: &mut Gate, now: i64, leaf: u32, source: u8) -> Vec<Consented> {
    let mut out = Vec::new();
    gate.release(Moment(now), |sample| out.push(sample));
    let (state, source) = (State::Value, SourceAddress(source));
    let reading = Reading { leaf: LeafIndex(leaf), state, source, bits: now.cast_unsigned() & 0xFF };
    gate.pass(Moment(now), &[reading], |sample| out.push(sample));
    out
}

fn restarted(old: &Gate, flows: Vec<Arc<FlowRules>>) -> Gate {
    let mut gate = started(flows);
    gate.recall_spending(&old.spending());
    gate
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Two senders, swaps between two budgets, restarts, a clock that steps by days: of no day by its stamps more than the
    /// larger budget leaves, what is over is counted, and a quiet day's budget is there in full.
    #[test]
    fn no_day_has_more_than_its_budget(
        acts in proptest::collection::vec((0u8..12, 0i64..DAY_US / 3), 1..120),
        most in 1u32..6,
    ) {
        let wide = format!(r#"[{{"op":"budget","samples_per_day":{most}}}]"#);
        let narrow = r#"[{"op":"budget","samples_per_day":1},{"op":"on_change"}]"#;
        let mut gate = started(vec![flow(1, &[&wide])]);
        let (mut now, mut offset) = (0, OFFSET_US);
        let mut left: BTreeMap<i64, u32> = BTreeMap::new();
        let (mut seen, mut emitted) = (0, 0);
        for (act, step) in acts {
            match act {
                0 => {
                    let mut next = started(vec![flow(1, &[if step % 2 == 0 { &wide } else { narrow }])]);
                    next.inherit(&mut gate);
                    gate = next;
                }
                1 => {
                    let counted = gate.over_budget();
                    prop_assert!(counted <= seen - emitted);
                    seen = emitted;
                    let next = restarted(&gate, vec![flow(1, &[&wide])]);
                    gate = next;
                    gate.set_offset(offset);
                }
                2 => {
                    offset += (step % 5 - 2) * DAY_US;
                    gate.set_offset(offset);
                }
                _ => {
                    now += step;
                    seen += 1;
                    for sample in pass(&mut gate, now, 0, act % 2) {
                        emitted += 1;
                        *left.entry((sample.moment().0 + offset).div_euclid(DAY_US)).or_default() += 1;
                    }
                }
            }
        }
        for (day, samples) in left {
            prop_assert!(samples <= most, "{samples} on day {day}");
        }
    }
}

const TWO: &str = r#"[{"op":"budget","samples_per_day":2}]"#;

#[test]
fn the_first_of_a_day_leave_and_the_rest_is_counted() {
    let mut gate = started(vec![flow(1, &[TWO, "[]"])]);
    let half = DAY_US / 2;
    for (now, left) in [(0, 1), (1, 1), (2, 0), (half - 1, 0), (half, 1), (half + 1, 1), (half + 2, 0)] {
        assert_eq!(pass(&mut gate, now, 0, 255).len(), left, "at {now}: a day ends at midnight by UTC");
        assert_eq!(pass(&mut gate, now, 1, 255).len(), 1, "another signal has its own");
    }
    assert_eq!(gate.over_budget(), 3);
    assert_eq!(gate.spent_so_far(), 4);
}

#[test]
fn figures_senders_and_a_rule_that_changes_share_one_budget() {
    let figures =
        r#"[{"op":"aggregate","window_s":1,"functions":["min"]},{"op":"budget","samples_per_day":2}]"#;
    let mut gate = started(vec![flow(1, &[TWO])]);
    assert_eq!(pass(&mut gate, 0, 0, 3).len() + pass(&mut gate, 1, 0, 4).len(), 2);
    let mut next = started(vec![flow(1, &[figures])]);
    next.inherit(&mut gate);
    assert!(pass(&mut next, 2, 0, 3).is_empty() && pass(&mut next, 5_000_000, 0, 3).is_empty());
    assert_eq!(next.over_budget(), 1, "the window's figure");
}

#[test]
fn a_flow_that_is_held_back_for_a_while_has_spent_what_it_spent() {
    let mut gate = started(vec![flow(1, &[TWO])]);
    pass(&mut gate, 0, 0, 255);
    let mut paused = started(vec![flow(2, &[TWO])]);
    paused.inherit(&mut gate);
    let mut again = started(vec![flow(1, &[TWO])]);
    again.inherit(&mut paused);
    assert_eq!([1, 2, 3].map(|now| pass(&mut again, now, 0, 255).len()), [1, 0, 0]);
}

#[test]
fn of_a_day_that_nobody_knows_of_nothing_more_leaves() {
    let today = UtcDay::of(WallTime(OFFSET_US));
    let mut gate = started(vec![flow(1, &[TWO])]);
    gate.recall_spending(&Spending { spent: Vec::new(), unknown_until: Some(today) });
    assert!(pass(&mut gate, 0, 0, 255).is_empty());
    assert_eq!(gate.spending().unknown_until, Some(today), "the next run does not know either");
    assert_eq!(pass(&mut gate, DAY_US, 0, 255).len(), 1, "tomorrow it is known");
}

#[test]
fn a_clock_that_was_ahead_costs_no_day_that_is_known_and_a_forgotten_one_is_spent() {
    let mut gate = started(vec![flow(1, &[TWO])]);
    let mut days = |list: &[i64]| {
        let at = |day: &i64| {
            gate.set_offset(OFFSET_US + day * DAY_US);
            pass(&mut gate, 0, 0, 255).len()
        };
        list.iter().map(at).collect::<Vec<_>>()
    };
    assert_eq!(days(&[0, 400, 0, 0, 1, 1, 1]), [1, 1, 1, 0, 1, 1, 0]);
    let later: Vec<i64> = (10..).take(BUDGET_DAYS_MAX).collect();
    assert_eq!(days(&later), [1; BUDGET_DAYS_MAX]);
    assert_eq!(days(&[0, 2]), [0, 0], "what is before all that is known may be spent");
}
