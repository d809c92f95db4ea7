//! The agent's core and its custody under one seed: pipeline, gate, sealing, outbox, ledger, delivery, authority and what
//! joins them are the real ones, in one thread, over a simulated bus, clock, disk and broker. What happens next is drawn:
//! frames, acts of the owner, policies, lost and doubled acknowledgements, power cuts at any operation of the disk. After
//! each step all invariants are looked at; at the end all is mended, and what was stored must have come or been declared.
//!
//! `GLOVEBOX_SEEDS=n` sets how many lives; a failed seed is printed with the command that shows all of it again.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly, and says its figures"
)]
#![expect(unreachable_pub, reason = "the modules of one test")]

mod acts;
mod bus;
mod car;
mod disk;
mod documents;
mod machine;
mod model;
mod net;
mod oracle;
mod papers;
mod recipient;
mod table;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Life, World};

/// How many lives each of the two tests has, if `GLOVEBOX_SEEDS` does not say how many they have together.
const SEEDS: u64 = 100;
/// Failed lives that are named.
const FAULTS_SHOWN: u64 = 5;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// A life, or what went wrong in it.
fn life(seed: u64, kept: bool) -> Result<Life, String> {
    let Ok(life) = catch_unwind(AssertUnwindSafe(|| World::live(seed, kept))) else {
        return Err("it panicked".to_owned());
    };
    if kept {
        println!("{}", life.trace);
    }
    match &life.fault {
        Some(fault) => Err(fault.clone()),
        None => Ok(life),
    }
}

fn run(half: u64) {
    let seeds = number("GLOVEBOX_SEEDS").map_or(SEEDS, |all| all / 2);
    let (mut total, mut failed) = (Totals::default(), 0);
    for seed in half << 32..(half << 32) + seeds {
        match life(seed, false) {
            Ok(life) => total.add(&life),
            Err(fault) => {
                failed += 1;
                if failed <= FAULTS_SHOWN {
                    show(seed, &fault);
                }
            }
        }
    }
    println!("{seeds} lives: {total}");
    assert!(failed == 0, "{failed} of {seeds} lives went wrong");
    assert!(total.published > seeds, "so little left that nothing was shown");
}

/// At once: many lives take long.
fn show(seed: u64, fault: &str) {
    println!("seed {seed}: {fault}");
    println!(
        "  again, with all that happened: GLOVEBOX_SEED={seed} cargo nextest run -p glovebox-tests --test sim replay --no-capture"
    );
}

/// What all lives came to.
#[derive(Default)]
struct Totals {
    deaths: u64,
    stored: u64,
    published: u64,
    duplicates: u64,
    samples: u64,
}

impl Totals {
    fn add(&mut self, life: &Life) {
        self.deaths += life.deaths;
        self.stored += life.counts.stored;
        self.published += life.counts.published;
        self.duplicates += life.duplicates;
        self.samples += life.counts.samples;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { deaths, stored, published, duplicates, samples } = self;
        write!(
            f,
            "{deaths} kills and power cuts, {stored} batches stored, {published} published, {duplicates} came twice, \
             {samples} samples read; nothing lost without a word, nothing sent that was not allowed"
        )
    }
}

#[test]
fn invariants_hold_whatever_happens_a() {
    run(0);
}

#[test]
fn invariants_hold_whatever_happens_b() {
    run(1);
}

#[test]
fn replay() {
    let Some(seed) = number("GLOVEBOX_SEED") else { return };
    if let Err(fault) = life(seed, true) {
        panic!("seed {seed}: {fault}");
    }
}

#[test]
fn one_seed_is_one_life_byte_for_byte() {
    for seed in 0..10 {
        let (one, other) = (World::live(seed, true), World::live(seed, true));
        assert_eq!(one.trace, other.trace, "seed {seed}");
    }
}
