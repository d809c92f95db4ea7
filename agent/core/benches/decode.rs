//! `cargo bench -p glovebox-core --bench decode`: from frame to readings, on the bench stream.
//!
//! Prints nanoseconds a frame, and instructions a frame where valgrind is installed.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads files and a clock, prints, and fails loudly"
)]

mod stream;

use glovebox_core::decode::{Decoder, LeafIndex, Plan, Reading};
use std::path::Path;
use std::time::Instant;
use stream::Stream;

const ROUNDS: usize = 101;

struct Case {
    name: &'static str,
    /// Identifiers of 29 bits instead of 11.
    extended: bool,
    needed: fn(&Stream) -> Vec<LeafIndex>,
}

const CASES: [Case; 6] = [
    Case { name: "all 246 signals", extended: false, needed: |stream| stream.needed.clone() },
    Case { name: "all 246 signals, 29-bit ids", extended: true, needed: |stream| stream.needed.clone() },
    Case { name: "one signal", extended: false, needed: |stream| stream.needed[..1].to_vec() },
    Case { name: "nothing needed of any frame", extended: false, needed: elsewhere },
    Case { name: "nothing needed of any frame, 29-bit ids", extended: true, needed: elsewhere },
    Case { name: "nothing needed at all", extended: false, needed: |_| Vec::new() },
];

/// The signals whose identifiers do not come in the stream.
fn elsewhere(stream: &Stream) -> Vec<LeafIndex> {
    let seen: std::collections::HashSet<_> =
        stream.frames.iter().map(|frame| (frame.bus, frame.id)).collect();
    let absent = stream.leaves.iter().filter(|(_, leaf)| !seen.contains(&(leaf.bus, leaf.id)));
    absent.map(|(leaf, _)| leaf).collect()
}

/// What is measured: frames to readings, one frame after the other as the pipeline does it. Gives their number.
#[inline(never)]
fn decode_measured(stream: &Stream, decoder: &mut Decoder, readings: &mut Vec<Reading>) -> usize {
    let mut count = 0;
    for frame in &stream.frames {
        readings.clear();
        decoder.decode(frame, readings);
        count += readings.len();
    }
    count
}

fn row(folder: &Path, number: usize, case: &Case) {
    let stream = stream::load(folder, case.extended);
    let needed = (case.needed)(&stream);
    let mut decoder = Decoder::new(Plan::compile(&stream.leaves, &needed));
    let mut readings = Vec::with_capacity(64);
    if std::env::var_os(stream::INNER).is_some() {
        decode_measured(&stream, &mut decoder, &mut readings);
        return;
    }
    let frames = stream.frames.len() as f64;
    let mut times = Vec::new();
    let mut count = 0;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        count = decode_measured(&stream, &mut decoder, &mut readings);
        times.push(begin.elapsed().as_secs_f64() * 1e9 / frames);
    }
    times.sort_by(f64::total_cmp);
    let (best, median) = (times[0], times[ROUNDS / 2]);
    let instructions = stream::instructions("decode_measured", &number.to_string())
        .map_or("no valgrind".to_owned(), |count| format!("{:.1}", count / frames));
    println!("{:40} {:7.2} {best:9.2} {median:9.2} {instructions:>13}", case.name, count as f64 / frames);
}

fn main() {
    let Some(folder) = stream::folder() else { return };
    if let Some(inner) = std::env::var_os(stream::INNER) {
        let number: usize = inner.to_str().unwrap().parse().unwrap();
        return row(&folder, number, &CASES[number]);
    }
    println!("bench stream, a frame: {ROUNDS} rounds");
    println!("{:40} {:>7} {:>9} {:>9} {:>13}", "needed", "signals", "best ns", "median ns", "instructions");
    for (number, case) in CASES.iter().enumerate() {
        row(&folder, number, case);
    }
}
