//! Invariant 1 as a property: random policies, grants, withdrawals, clock steps and frames go through the real core;
//! an independent checker opens all that came out and finds nothing outside the grants.
//!
//! The checker (`model.rs`) shares no code with the gate: it keeps the acts as they were made, not as they were parsed,
//! and does its own arithmetic. A failing sequence prints its seed; `GLOVEBOX_SEED=n` runs that one alone,
//! `GLOVEBOX_SEQUENCES=n` sets how many.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly, and says its figures"
)]
#![expect(unreachable_pub, reason = "the modules of one test")]

mod car;
mod documents;
mod model;
mod world;

use glovebox_tests::seeded::Seeded as Random;
use model::{Checker, Sample};
use world::World;

/// How many sequences a run makes in each of four tests, which run beside each other.
const SEQUENCES: u64 = 25_000;

fn run(first: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("GLOVEBOX_SEED") {
        Some(seed) => seed..seed + 1,
        None => first << 32..(first << 32) + number("GLOVEBOX_SEQUENCES").map_or(SEQUENCES, |n| n / 4),
    };
    let alone = seeds.end - seeds.start == 1;
    let (mut samples, mut derived, mut sequences) = (0, 0, 0);
    for seed in seeds {
        let (found, of_these) = sequence(seed, true).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        samples += found;
        derived += of_these;
        sequences += 1;
    }
    println!(
        "{sequences} sequences, {samples} samples left, {derived} of them derived, all within the grants"
    );
    assert!(alone || samples > sequences, "so little left that nothing was shown");
    assert!(alone || 100 * derived > sequences, "so little that is derived left that nothing was shown");
}

/// One sequence; how many samples left, and how many of them were derived.
fn sequence(seed: u64, honest: bool) -> Result<(u64, u64), String> {
    let mut random = Random::new(seed);
    let mut world = World::new();
    let mut checker = Checker::new(honest);
    for _ in 0..random.below(40) + 10 {
        let act = world.act(&mut random);
        checker.note(&act);
        let mut out: Vec<Sample> = Vec::new();
        world.perform(&act, &mut out);
        checker.check(&out, false)?;
    }
    let mut out = Vec::new();
    world.finish(&mut out);
    checker.check(&out, true)?;
    Ok((checker.samples(), checker.derived()))
}

#[test]
fn invariant_1_nothing_leaves_without_a_live_grant_a() {
    run(0);
}

#[test]
fn invariant_1_nothing_leaves_without_a_live_grant_b() {
    run(1);
}

#[test]
fn invariant_1_nothing_leaves_without_a_live_grant_c() {
    run(2);
}

#[test]
fn invariant_1_nothing_leaves_without_a_live_grant_d() {
    run(3);
}

/// The checker is no rubber stamp: told of one grant less than there was, it soon finds what left.
#[test]
fn the_checker_notices_what_was_not_granted() {
    assert!((0..2000).any(|seed| sequence(seed, false).is_err()));
}
