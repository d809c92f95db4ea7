//! `cargo bench -p glovebox-core --bench delivery`: what to send next, with 100,000 batches of 250 flows in the queue.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a benchmark reads a clock, prints, and fails loudly"
)]

use glovebox_core::delivery::{Delivery, Permission};
use glovebox_core::limits::UPLINK_WINDOW_MESSAGES;
use glovebox_core::names::{Epoch, FlowId, Sequence, TrustedTime, WallTime};
use glovebox_core::outbox::{BatchId, Priority};
use glovebox_core::uplink::Ticket;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const FLOWS: u64 = 250;
const BATCHES: u64 = 100_000;
const CLASSES: [Priority; 3] = [Priority::Bulk, Priority::Normal, Priority::Urgent];

fn each(what: &str, times: u64, took: Duration) {
    println!("{what:32} {:>10} ns", took.as_nanos() / u128::from(times));
}

fn filled() -> Delivery {
    let mut delivery = Delivery::default();
    let begin = Instant::now();
    for number in 0..BATCHES {
        let (flow, sequence) = (FlowId(number % FLOWS), Sequence(number / FLOWS + 1));
        delivery.stored(BatchId { flow, epoch: Epoch { counter: 1, tag: 9 }, sequence });
    }
    each("a batch found at the start", BATCHES, begin.elapsed());
    let class = |flow: u64| CLASSES[usize::try_from(flow % 3).unwrap()];
    let permission = |flow| Permission {
        until: WallTime(i64::MAX),
        priority: class(flow),
        hold_back_us: 0,
        bytes_per_day_max: None,
    };
    delivery.permit((0..FLOWS).map(|flow| (FlowId(flow), permission(flow))).collect());
    delivery
}

/// One batch goes on its way; the oldest of a full window is acknowledged before.
fn send(delivery: &mut Delivery, window: &mut VecDeque<Ticket>) -> bool {
    let now = Some(TrustedTime { earliest: WallTime(0), latest: WallTime(1) });
    if window.len() == UPLINK_WINDOW_MESSAGES {
        delivery.acked(window.pop_front().unwrap()).unwrap();
    }
    let Some(offer) = delivery.offer(now) else { return false };
    delivery.recorded(offer.ticket, now).unwrap();
    window.push_back(offer.ticket);
    true
}

fn main() {
    let mut delivery = filled();
    let mut window = VecDeque::new();
    let begin = Instant::now();
    const TURNS: u64 = 1_000;
    for _ in 0..TURNS {
        delivery.connected();
        while window.len() < UPLINK_WINDOW_MESSAGES {
            send(&mut delivery, &mut window);
        }
        delivery.disconnected();
        window.clear();
    }
    each("a connection, 32 offers, its end", TURNS, begin.elapsed());
    delivery.connected();
    let begin = Instant::now();
    let mut sent = 0;
    while send(&mut delivery, &mut window) {
        sent += 1;
    }
    each("an offer and an acknowledgement", sent, begin.elapsed());
    assert_eq!(sent, BATCHES);
}
