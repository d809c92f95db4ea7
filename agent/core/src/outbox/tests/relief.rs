//! What goes when there is no room, and what goes because it is old.

use std::cmp::Reverse;

use super::*;
use crate::limits::STORED_US_MAX;
use crate::names::TrustedTime;

const NO_CAP: Room = Room { bytes_max: u64::MAX, flow_bytes_max: u64::MAX, free_bytes: u64::MAX };

fn wanted(flow: FlowId, bytes: u64) -> Wanted {
    Wanted { flow, bytes }
}

/// Flows 1, 2, … with so many batches of 100 bytes in segments of two.
fn queue(flows: &[(Priority, u64)]) -> Queue {
    let mut queue = Queue::default();
    for (flow, (priority, count)) in (1..).map(FlowId).zip(flows) {
        queue.set_priority(flow, *priority);
        filled(&mut queue, flow, *count, 2);
    }
    queue
}

#[test]
fn the_lowest_class_goes_first_however_little_it_takes() {
    let queue = queue(&[(Priority::Normal, 8), (Priority::Bulk, 3), (Priority::Urgent, 20)]);
    let full = Room { bytes_max: queue.bytes(), ..NO_CAP };
    let bulk = FlowId(2);
    let expected = Relief::Drop(bulk, SegmentNumber(0), vec![at(1, 1).of(bulk), at(1, 2).of(bulk)]);
    assert_eq!(queue.relief(wanted(FlowId(3), 1), &full), Some(expected.clone()));
    let crowded = Room { free_bytes: 0, ..NO_CAP };
    assert_eq!(
        queue.relief(wanted(FlowId(1), 1), &crowded),
        Some(expected),
        "the floor is kept by the same rule"
    );
    assert_eq!(queue.relief(wanted(FlowId(1), 0), &crowded), None);
}

#[test]
fn what_comes_gives_way_to_what_is_more_urgent() {
    let queue = queue(&[(Priority::Urgent, 4), (Priority::Normal, 0)]);
    let full = Room { bytes_max: 400, ..NO_CAP };
    assert_eq!(queue.relief(wanted(FlowId(2), 1), &full), Some(Relief::Refuse));
    assert!(matches!(queue.relief(wanted(FlowId(1), 1), &full), Some(Relief::Drop(FlowId(1), ..))));
}

#[test]
fn a_flow_over_its_own_share_gives_its_own_oldest() {
    let queue = queue(&[(Priority::Urgent, 6), (Priority::Bulk, 6)]);
    let room = Room { flow_bytes_max: 600, ..NO_CAP };
    assert!(matches!(
        queue.relief(wanted(FlowId(1), 1), &room),
        Some(Relief::Drop(FlowId(1), SegmentNumber(0), _))
    ));
    assert_eq!(queue.relief(wanted(FlowId(3), 1), &room), None, "another flow has room");
}

#[test]
fn what_is_beside_the_segments_counts() {
    let mut queue = queue(&[(Priority::Normal, 2)]);
    queue.set_bytes_beside(Some(FlowId(1)), 50);
    queue.set_bytes_beside(None, 7);
    assert_eq!((queue.bytes(), queue.figures(FlowId(1))), (257, (2, 250)));
    let room = Room { bytes_max: 257, flow_bytes_max: 250, ..NO_CAP };
    assert_eq!(queue.relief(wanted(FlowId(1), 0), &room), None);
    assert!(queue.relief(wanted(FlowId(1), 1), &room).is_some());
}

fn now(us: i64) -> TrustedTime {
    TrustedTime { earliest: WallTime(us - 5), latest: WallTime(us) }
}

#[test]
fn what_could_be_too_old_goes_and_nothing_else() {
    let mut queue = queue(&[(Priority::Normal, 5), (Priority::Normal, 5)]);
    queue.set_age_max(FlowId(1), Some(10));
    let aged = |queue: &Queue, us| {
        queue.aged(now(us)).map(|batch| (batch.flow.0, batch.sequence.0)).collect::<Vec<_>>()
    };
    assert_eq!(aged(&queue, 11), []);
    assert_eq!(aged(&queue, 14), [(1, 1), (1, 2), (1, 3)], "stored at 1, 2, 3, … µs");
    let late = STORED_US_MAX + 2;
    queue.set_age_max(FlowId(1), None);
    assert_eq!(aged(&queue, late), [(1, 1), (2, 1)], "no grant is longer than the longest");
}

#[test]
fn of_unknown_time_is_as_old_as_the_one_before() {
    let mut queue = Queue::default();
    queue.begin(FLOW, at(1, 0));
    queue.set_age_max(FLOW, Some(10));
    let push = |queue: &mut Queue, sequence, stored| {
        queue.push(FLOW, Entry { stored, ..entry(1, sequence, 0) }).unwrap();
    };
    push(&mut queue, 1, Some(WallTime(5)));
    push(&mut queue, 2, None);
    push(&mut queue, 3, Some(WallTime(9)));
    assert_eq!(queue.aged(now(16)).map(|batch| batch.sequence.0).collect::<Vec<_>>(), [1, 2]);
    let mut queue = Queue::default();
    queue.begin(FLOW, at(1, 0));
    push(&mut queue, 1, None);
    assert_eq!(queue.aged(now(1)).count(), 1, "in doubt it is too old");
}

#[test]
fn a_batch_that_is_written_again_keeps_its_time() {
    let mut queue = Queue::default();
    filled(&mut queue, FLOW, 1, 2);
    queue.moved(FLOW, Entry { stored: Some(WallTime(99)), ..entry(1, 1, 4) });
    assert_eq!(queue.entry(at(1, 1).of(FLOW)).unwrap().stored, Some(WallTime(1)));
}

/// What a queue holds of a flow beside the queue's own books.
#[derive(Debug, Default, Clone)]
struct Model {
    segments: BTreeMap<u64, (u64, u64)>,
    next: u64,
}

impl Model {
    /// Bytes, and batches that are wanted.
    fn figures(&self) -> (u64, u64) {
        self.segments.values().fold((0, 0), |(bytes, count), segment| (bytes + segment.0, count + segment.1))
    }
}

/// Of each flow: its class, how many batches, how many a segment, how many of them are acknowledged.
fn stored(flows: Vec<(usize, u64, u64, u64)>) -> (Queue, BTreeMap<FlowId, Model>) {
    let (mut queue, mut models) = (Queue::default(), BTreeMap::<FlowId, Model>::new());
    let classes = [Priority::Bulk, Priority::Normal, Priority::Urgent];
    for (flow, (class, count, per_segment, acked)) in (0..).map(FlowId).zip(flows) {
        queue.set_priority(flow, classes[class]);
        filled(&mut queue, flow, count, per_segment);
        let model = models.entry(flow).or_default();
        for sequence in 1..=count {
            let segment = model.segments.entry((sequence - 1) / per_segment).or_default();
            (segment.0, segment.1) = (segment.0 + 100, segment.1 + u64::from(sequence > acked));
            if sequence <= acked {
                queue.remove(at(1, sequence).of(flow)).unwrap();
            }
        }
        model.next = acked.min(count) + 1;
    }
    (queue, models)
}

proptest! {
    /// Whatever is stored, in whatever classes, under whatever caps: what goes is always what the rule says, all that
    /// goes is declared, and it ends when there is room or nothing is left.
    #[test]
    fn invariant_9_what_goes_follows_the_rule_and_is_declared(
        flows in prop::collection::vec((0_usize..3, 0_u64..12, 1_u64..5, 0_u64..6), 1..5),
        coming in (0_usize..5, 1_u64..400),
        room in (0_u64..4000, 0_u64..2000, 0_u64..1000)
    ) {
        let (mut queue, mut models) = stored(flows);
        let wanted = Wanted { flow: FlowId(coming.0 as u64), bytes: coming.1 };
        let room = Room { bytes_max: room.0, flow_bytes_max: room.1, free_bytes: room.2 };
        let free = room.free_bytes;
        let (mut freed, mut losses, mut gone) = (0, Losses::default(), 0);
        loop {
            let total: u64 = models.values().map(|model| model.figures().0).sum();
            let own = models.get(&wanted.flow).map_or(0, |model| model.figures().0);
            let room = Room { free_bytes: free + freed, ..room };
            let own_over = own + wanted.bytes > room.flow_bytes_max;
            let over = total + wanted.bytes > room.bytes_max || wanted.bytes > room.free_bytes;
            let held = || models.iter().filter(|(_, model)| model.figures().1 > 0);
            let lowest = held().map(|(flow, model)| (queue.priority(*flow), Reverse(model.figures().0))).min();
            let idle = |model: &Model| model.segments.values().next().is_some_and(|segment| segment.1 == 0);
            let Some(relief) = queue.relief(wanted, &room) else {
                let own_empty = models.get(&wanted.flow).is_none_or(|model| model.segments.is_empty());
                prop_assert!(!own_over || own_empty);
                prop_assert!(!over || models.values().all(|model| model.segments.is_empty()), "nothing is left");
                break;
            };
            let (flow, segment) = match relief {
                Relief::Refuse => {
                    prop_assert!(over && lowest.unwrap().0 > queue.priority(wanted.flow));
                    prop_assert!(!models.values().any(idle), "nothing goes for nothing");
                    break;
                }
                Relief::Delete(flow, segment) => {
                    prop_assert_eq!(models[&flow].segments[&segment.0].1, 0, "nothing wanted is lost");
                    prop_assert!(over || (own_over && flow == wanted.flow));
                    (flow, segment)
                }
                Relief::Drop(flow, segment, batches) => {
                    let model = models.get_mut(&flow).unwrap();
                    for batch in batches {
                        prop_assert_eq!(batch, at(1, model.next).of(flow), "the oldest, in order");
                        model.next += 1;
                        queue.remove(batch).unwrap();
                        let range = (batch.sequence, batch.sequence);
                        losses.add_batches(LossReason::Quota, batch.epoch, range);
                        gone += 1;
                    }
                    let figures = models[&flow].figures();
                    if own_over && models.get(&wanted.flow).is_some_and(|model| !model.segments.is_empty()) {
                        prop_assert_eq!(flow, wanted.flow);
                    } else {
                        prop_assert_eq!(Some((queue.priority(flow), Reverse(figures.0))), lowest);
                        prop_assert!(!models.values().any(idle), "first what nothing wants");
                        prop_assert!(queue.priority(flow) <= queue.priority(wanted.flow));
                    }
                    (flow, segment)
                }
            };
            freed += queue.segment_bytes(flow, segment);
            queue.remove_segment(flow, segment);
            let (bytes, _) = models.get_mut(&flow).unwrap().segments.remove(&segment.0).unwrap();
            prop_assert!(bytes > 0);
        }
        let declared: u64 = losses.take(at(1, 1000)).iter().map(|loss| loss.batches).sum();
        prop_assert_eq!(declared, gone);
    }
}
