//! The queue keeps order and count, against a simple model.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

mod relief;

const FLOW: FlowId = FlowId(7);

fn epoch(counter: u32) -> Epoch {
    Epoch { counter, tag: counter ^ 0x55 }
}

fn at(counter: u32, sequence: u64) -> Position {
    Position { epoch: epoch(counter), sequence: Sequence(sequence) }
}

fn entry(counter: u32, sequence: u64, segment: u64) -> Entry {
    let stored = Some(WallTime(i64::try_from(sequence).unwrap()));
    Entry { position: at(counter, sequence), segment: SegmentNumber(segment), offset: 0, stored }
}

/// What gives way for `bytes` of [`FLOW`] under one cap for all.
fn relief(queue: &Queue, bytes: u64, bytes_max: u64) -> Option<Relief> {
    let room = Room { bytes_max, flow_bytes_max: u64::MAX, free_bytes: u64::MAX };
    queue.relief(Wanted { flow: FLOW, bytes }, &room)
}

/// `count` batches in segments of `per_segment`, each segment 100 bytes a batch, the last one open.
fn filled(queue: &mut Queue, flow: FlowId, count: u64, per_segment: u64) {
    queue.begin(flow, at(1, 0));
    for sequence in 1..=count {
        let segment = SegmentNumber((sequence - 1) / per_segment);
        if (sequence - 1) % per_segment == 0 {
            if segment.0 > 0 {
                queue.close_segment(flow, SegmentNumber(segment.0 - 1));
            }
            queue.add_segment(flow, segment, true);
        }
        queue.push(flow, entry(1, sequence, segment.0)).unwrap();
        let held = (sequence - 1) % per_segment + 1;
        queue.set_segment_bytes(flow, segment, held * 100);
    }
}

#[test]
fn a_sequence_is_never_taken_twice() {
    let mut queue = Queue::default();
    let disorder = Disorder { batch: at(1, 1).of(FLOW) };
    assert_eq!(queue.push(FLOW, entry(1, 1, 0)), Err(disorder), "unknown flow");
    filled(&mut queue, FLOW, 3, 2);
    for sequence in 0..=3 {
        let disorder = Disorder { batch: at(1, sequence).of(FLOW) };
        assert_eq!(queue.push(FLOW, entry(1, sequence, 1)), Err(disorder));
    }
    queue.begin(FLOW, Position::start(epoch(2)));
    assert!(queue.push(FLOW, entry(1, 4, 1)).is_err(), "the old epoch is over");
    queue.push(FLOW, entry(2, 1, 1)).unwrap();
    assert_eq!(queue.last(FLOW), Some(at(2, 1)));
}

#[test]
fn the_watermark_waits_for_the_oldest() {
    let mut queue = Queue::default();
    filled(&mut queue, FLOW, 5, 10);
    assert_eq!(queue.watermark(FLOW), Some(at(1, 0)));
    assert!(!queue.remove(at(1, 2).of(FLOW)).unwrap().oldest);
    assert_eq!(queue.watermark(FLOW), Some(at(1, 0)));
    assert!(queue.remove(at(1, 1).of(FLOW)).unwrap().oldest);
    assert_eq!(queue.watermark(FLOW), Some(at(1, 2)));
    for sequence in 3..=5 {
        queue.remove(at(1, sequence).of(FLOW)).unwrap();
    }
    assert_eq!(queue.watermark(FLOW), Some(at(1, 5)));
    assert_eq!(queue.remove(at(1, 5).of(FLOW)), None, "acknowledged twice");
}

#[test]
fn a_segment_goes_when_closed_and_unwanted() {
    let mut queue = Queue::default();
    filled(&mut queue, FLOW, 3, 2);
    assert!(!queue.remove(at(1, 1).of(FLOW)).unwrap().emptied);
    assert!(queue.remove(at(1, 2).of(FLOW)).unwrap().emptied);
    assert_eq!(queue.unwanted(FLOW).collect::<Vec<_>>(), [SegmentNumber(0)]);
    queue.remove_segment(FLOW, SegmentNumber(0));
    assert!(!queue.remove(at(1, 3).of(FLOW)).unwrap().emptied, "still written to");
    queue.close_segment(FLOW, SegmentNumber(1));
    assert_eq!(queue.unwanted(FLOW).count(), 1);
}

#[test]
fn the_cap_takes_the_oldest_segment_of_the_largest_flow() {
    let (small, large) = (FlowId(1), FlowId(2));
    let mut queue = Queue::default();
    filled(&mut queue, small, 3, 2);
    filled(&mut queue, large, 5, 2);
    assert_eq!(queue.bytes(), 800);
    assert_eq!(relief(&queue, 200, 1000), None);
    let dropped = vec![at(1, 1).of(large), at(1, 2).of(large)];
    assert_eq!(relief(&queue, 201, 1000), Some(Relief::Drop(large, SegmentNumber(0), dropped.clone())));
    for batch in dropped {
        queue.remove(batch);
    }
    assert_eq!(relief(&queue, 201, 1000), Some(Relief::Delete(large, SegmentNumber(0))));
    queue.remove_segment(large, SegmentNumber(0));
    assert_eq!(relief(&queue, 201, 1000), None);
}

#[test]
fn what_was_delivered_goes_before_what_was_not() {
    let mut queue = Queue::default();
    filled(&mut queue, FlowId(1), 8, 4);
    filled(&mut queue, FlowId(2), 1, 4);
    queue.remove(at(1, 1).of(FlowId(2)));
    assert_eq!(relief(&queue, 0, 1), Some(Relief::Delete(FlowId(2), SegmentNumber(0))), "even the open one");
}

#[test]
fn a_gap_is_a_loss_except_at_the_end_of_an_epoch() {
    let gap = |before, found| missing(before, found).map(|(first, last)| (first.0, last.0));
    assert_eq!(gap(at(1, 4), at(1, 5)), None);
    assert_eq!(gap(at(1, 4), at(1, 8)), Some((5, 7)));
    assert_eq!(gap(at(1, 4), at(2, 1)), None);
    assert_eq!(gap(at(1, 4), at(2, 3)), Some((1, 2)));
}

#[test]
fn a_loss_is_pending_until_the_batch_that_declares_it_is_acknowledged() {
    let mut losses = Losses::default();
    losses.add_batches(LossReason::Quota, epoch(1), (Sequence(1), Sequence(2)));
    losses.add_batches(LossReason::Quota, epoch(1), (Sequence(3), Sequence(3)));
    losses.add_samples(LossReason::Overload, 40);
    losses.add_samples(LossReason::Overload, 2);
    let quota =
        Loss { reason: LossReason::Quota, batches: 3, first_sequence: 1, last_sequence: 3, samples: 0 };
    let overload =
        Loss { reason: LossReason::Overload, batches: 0, first_sequence: 0, last_sequence: 0, samples: 42 };
    assert_eq!(losses.take(at(1, 9)), [quota, overload]);
    assert_eq!(losses.take(at(1, 9)), [quota, overload], "the same batch is made again");
    assert_eq!(losses.take(at(1, 10)), [], "the next one has nothing to say");
    losses.add_batches(LossReason::Quota, epoch(1), (Sequence(4), Sequence(4)));
    assert_eq!(losses.take(at(1, 11)).len(), 1);
    assert!(losses.undeclared(at(1, 9)), "the carrier was lost");
    assert_eq!(losses.take(at(1, 12)), [quota, overload]);
    assert!(losses.declared(at(1, 12)));
    assert!(losses.declared(at(1, 11)));
    assert!(!losses.declared(at(1, 11)));
    assert!(losses.pending().is_empty());
}

#[test]
fn sequences_of_another_epoch_are_not_named() {
    let mut losses = Losses::default();
    losses.add_batches(LossReason::Corrupt, epoch(1), (Sequence(5), Sequence(6)));
    let loss =
        Loss { reason: LossReason::Corrupt, batches: 2, first_sequence: 0, last_sequence: 0, samples: 0 };
    assert_eq!(losses.take(at(2, 1)), [loss]);
}

proptest! {
    #[test]
    fn losses_are_bounded_and_none_is_forgotten(
        added in prop::collection::vec((0_u64..3, 1_u64..1000, 1_u64..5, 0_u64..9), 1..300)
    ) {
        let mut losses = Losses::default();
        let (mut batches, mut samples) = (0, 0);
        for (index, (kind, first, count, some)) in added.into_iter().enumerate() {
            let reason = [LossReason::Quota, LossReason::Corrupt, LossReason::Refused][usize::try_from(kind).unwrap()];
            losses.add_batches(reason, epoch(1), (Sequence(first), Sequence(first + count - 1)));
            losses.add_samples(reason, some);
            batches += count;
            samples += some;
            if index % 7 == 0 {
                losses.take(at(1, 2000 + u64::try_from(index).unwrap()));
            }
            prop_assert!(losses.pending().len() <= crate::limits::LOSSES_PER_BATCH_MAX);
        }
        prop_assert_eq!(losses.pending().iter().map(|known| known.loss.batches).sum::<u64>(), batches);
        prop_assert_eq!(losses.pending().iter().map(|known| known.loss.samples).sum::<u64>(), samples);
    }

    /// The queue against a list of pairs: whatever is pushed, removed and dropped, order and counts agree.
    #[test]
    fn invariant_8_the_queue_keeps_order_and_count(
        acts in prop::collection::vec((0_u8..10, 0_u64..3, any::<prop::sample::Index>()), 1..200)
    ) {
        let mut queue = Queue::default();
        let mut model: BTreeMap<FlowId, Vec<BatchId>> = BTreeMap::new();
        let mut next = BTreeMap::new();
        for flow in (0..3).map(FlowId) {
            queue.begin(flow, at(1, 0));
        }
        for (act, flow, index) in acts {
            let flow = FlowId(flow);
            let held = model.entry(flow).or_default();
            let number = next.entry(flow).or_insert((1_u32, 0_u64));
            match act {
                0..=4 => {
                    number.1 += 1;
                    let new = entry(number.0, number.1, number.1 / 4 + u64::from(number.0) * 1000);
                    queue.add_segment(flow, new.segment, false);
                    queue.push(flow, new).unwrap();
                    let bytes = queue.segment_bytes(flow, new.segment);
                    queue.set_segment_bytes(flow, new.segment, bytes + 10);
                    held.push(new.position.of(flow));
                }
                5 => {
                    *number = (number.0 + 1, 0);
                    queue.begin(flow, Position::start(epoch(number.0)));
                }
                6..=8 if !held.is_empty() => {
                    let batch = held.remove(index.index(held.len()));
                    let removed = queue.remove(batch).unwrap();
                    let unwanted: Vec<_> = queue.unwanted(flow).collect();
                    prop_assert_eq!(removed.emptied, !unwanted.is_empty());
                    unwanted.into_iter().for_each(|segment| queue.remove_segment(flow, segment));
                }
                9 => {
                    if let Some(Relief::Drop(flow, segment, batches)) = relief(&queue, 0, queue.bytes().saturating_sub(1)) {
                        let held = model.get_mut(&flow).unwrap();
                        prop_assert_eq!(&held[..batches.len()], &batches[..], "the oldest go");
                        held.drain(..batches.len());
                        for batch in batches {
                            queue.remove(batch).unwrap();
                        }
                        let unwanted: Vec<_> = queue.unwanted(flow).collect();
                        prop_assert!(unwanted.contains(&segment));
                        unwanted.into_iter().for_each(|segment| queue.remove_segment(flow, segment));
                    }
                }
                _ => {}
            }
            for (&flow, held) in &model {
                prop_assert_eq!(&queue.batches(flow).collect::<Vec<_>>(), held);
                let watermark = queue.watermark(flow).unwrap();
                prop_assert!(held.iter().all(|batch| batch.position() > watermark));
            }
        }
        prop_assert!(queue.flows().all(|flow| queue.unwanted(flow).next().is_none()));
    }
}

#[test]
fn no_segment_goes_while_an_older_one_is_wanted() {
    let mut queue = Queue::default();
    filled(&mut queue, FLOW, 6, 2);
    queue.remove(at(1, 3).of(FLOW)).unwrap();
    assert!(!queue.remove(at(1, 4).of(FLOW)).unwrap().emptied, "acknowledged out of order");
    let relief = relief(&queue, 1000, 1000);
    assert!(matches!(relief, Some(Relief::Drop(FLOW, SegmentNumber(0), _))), "{relief:?}");
    queue.remove(at(1, 1).of(FLOW)).unwrap();
    assert!(queue.remove(at(1, 2).of(FLOW)).unwrap().emptied);
    assert_eq!(queue.unwanted(FLOW).collect::<Vec<_>>(), [SegmentNumber(0), SegmentNumber(1)]);
}

#[test]
fn a_batch_that_is_written_again_leaves_its_old_segment() {
    let mut queue = Queue::default();
    filled(&mut queue, FLOW, 2, 2);
    queue.add_segment(FLOW, SegmentNumber(9), true);
    queue.moved(FLOW, entry(1, 1, 9));
    queue.moved(FLOW, entry(1, 2, 9));
    queue.close_segment(FLOW, SegmentNumber(0));
    let Some(found) = queue.entry(at(1, 2).of(FLOW)) else { panic!("it was moved") };
    assert_eq!(found.segment, SegmentNumber(9));
    assert_eq!(queue.unwanted(FLOW).collect::<Vec<_>>(), [SegmentNumber(0)]);
}

#[test]
fn noted_losses_are_not_counted_again() {
    let without = |from, to, noted: &[(u64, u64)]| -> Vec<(u64, u64)> {
        let noted: Vec<_> = noted.iter().map(|(a, b)| (Sequence(*a), Sequence(*b))).collect();
        super::without((Sequence(from), Sequence(to)), &noted).into_iter().map(|(a, b)| (a.0, b.0)).collect()
    };
    assert_eq!(without(3, 9, &[]), [(3, 9)]);
    assert_eq!(without(3, 9, &[(1, 2), (10, 12)]), [(3, 9)]);
    assert_eq!(without(3, 9, &[(1, 4), (6, 6), (9, 20)]), [(5, 5), (7, 8)]);
    assert_eq!(without(3, 9, &[(0, u64::MAX)]), []);
}
