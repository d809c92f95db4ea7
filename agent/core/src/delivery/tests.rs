//! What may be sent, against a simple model.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::limits::{LIVE_OFFERS_IN_A_ROW_MAX, REFUSED_WAIT_S_MAX, REFUSED_WAIT_S_MIN};
use crate::names::{Epoch, Sequence, WallTime};
use crate::outbox::Priority;

mod model;

const WINDOW: usize = 4;
const EPOCH: Epoch = Epoch { counter: 1, tag: 9 };

fn batch(flow: u64, sequence: u64) -> BatchId {
    BatchId { flow: FlowId(flow), epoch: EPOCH, sequence: Sequence(sequence) }
}

fn clock(us: i64) -> Option<TrustedTime> {
    Some(TrustedTime { earliest: WallTime(us), latest: WallTime(us + 1) })
}

fn permit(delivery: &mut Delivery, flows: &[u64], until: i64) {
    permit_as(delivery, &flows.iter().map(|flow| (*flow, Priority::Normal)).collect::<Vec<_>>(), until);
}

fn permit_as(delivery: &mut Delivery, flows: &[(u64, Priority)], until: i64) {
    let permission =
        |priority| Permission { until: WallTime(until), priority, hold_back_us: 0, bytes_per_day_max: None };
    delivery.permit(flows.iter().map(|(flow, class)| (FlowId(*flow), permission(*class))).collect());
}

fn filled(flows: &[u64], each: u64) -> Delivery {
    let mut delivery = Delivery::new(WINDOW);
    for flow in flows {
        (1..=each).for_each(|sequence| delivery.stored(batch(*flow, sequence)));
    }
    delivery
}

fn send(delivery: &mut Delivery) -> Option<Publish> {
    let offer = delivery.offer(clock(0))?;
    delivery.recorded(offer.ticket, clock(0))
}

#[test]
fn invariant_1_no_offer_without_connection_permission_or_time() {
    let mut delivery = filled(&[1], 1);
    permit(&mut delivery, &[1], 100);
    assert_eq!(delivery.offer(clock(0)), None, "not connected");
    delivery.connected();
    assert_eq!(delivery.offer(None), None, "time in doubt");
    assert_eq!(delivery.offer(clock(99)), None, "perhaps 100 already: over");
    permit(&mut delivery, &[2], 100);
    assert_eq!(delivery.offer(clock(0)), None, "another flow");
    permit(&mut delivery, &[1], 100);
    assert_eq!(delivery.offer(clock(98)).unwrap().batch, batch(1, 1));
}

#[test]
fn invariant_1_the_gate_is_asked_again_after_the_ledger() {
    let mut delivery = filled(&[1], 1);
    delivery.connected();
    for now in [None, clock(100)] {
        permit(&mut delivery, &[1], 100);
        let offer = delivery.offer(clock(0)).unwrap();
        assert_eq!(delivery.recorded(offer.ticket, now), None);
    }
    let offer = delivery.offer(clock(0)).unwrap();
    permit(&mut delivery, &[], 100);
    assert_eq!(delivery.recorded(offer.ticket, clock(0)), None);
    permit(&mut delivery, &[1], 100);
    assert_eq!(send(&mut delivery).unwrap().batch(), batch(1, 1), "it was kept");
}

#[test]
fn invariant_11_nothing_is_published_or_acknowledged_that_the_ledger_has_not() {
    let mut delivery = filled(&[1], 1);
    delivery.connected();
    permit(&mut delivery, &[1], 100);
    let offer = delivery.offer(clock(0)).unwrap();
    assert_eq!(delivery.acked(offer.ticket), None, "not recorded");
    assert_eq!(delivery.recorded(Ticket(77), clock(0)), None, "never offered");
    assert!(delivery.recorded(offer.ticket, clock(0)).is_some());
    assert_eq!(delivery.recorded(offer.ticket, clock(0)), None, "one entry, one publish");
    assert_eq!(delivery.acked(offer.ticket), Some(batch(1, 1)));
    assert_eq!(delivery.acked(offer.ticket), None);
}

#[test]
fn flows_take_turns() {
    let mut delivery = filled(&[1, 2, 3], 9);
    delivery.connected();
    permit(&mut delivery, &[1, 2, 3], 100);
    let sent: Vec<_> = std::iter::from_fn(|| send(&mut delivery)).map(|it| it.batch()).collect();
    assert_eq!(sent, [batch(1, 1), batch(2, 1), batch(3, 1), batch(1, 2)], "window of 4");
}

#[test]
fn invariant_8_after_a_connection_it_goes_on_from_the_oldest() {
    let mut delivery = filled(&[1], 6);
    delivery.connected();
    permit(&mut delivery, &[1], 100);
    let sent: Vec<_> = std::iter::from_fn(|| send(&mut delivery)).collect();
    assert_eq!(delivery.acked(sent[1].ticket()), Some(batch(1, 2)));
    delivery.disconnected();
    assert_eq!(delivery.acked(sent[0].ticket()), None, "of the old connection");
    delivery.connected();
    let again: Vec<_> = std::iter::from_fn(|| send(&mut delivery)).map(|it| it.batch()).collect();
    assert_eq!(again, [batch(1, 1), batch(1, 3), batch(1, 4), batch(1, 5)]);
}

fn seconds(number: u64) -> Moment {
    Moment(i64::try_from(number).unwrap() * 1_000_000)
}

#[test]
fn what_the_broker_did_not_take_is_kept_unless_it_never_will() {
    for why in [NotTaken::NoSubscriber, NotTaken::Quota, NotTaken::NotAuthorised] {
        let mut delivery = filled(&[1, 2], 2);
        delivery.connected();
        permit(&mut delivery, &[1, 2], 100);
        let first = send(&mut delivery).unwrap();
        assert_eq!(delivery.refused(first.ticket(), why, Moment(0)), None);
        let others: Vec<_> = std::iter::from_fn(|| send(&mut delivery)).map(|it| it.batch()).collect();
        assert_eq!(others, [batch(2, 1), batch(2, 2)], "the other flow goes on");
        let again = seconds(REFUSED_WAIT_S_MIN);
        assert_eq!(delivery.held(FlowId(1)), Some(Held::NotTaken { why, again }));
        assert_eq!(delivery.held(FlowId(2)), None);
        delivery.retry(Moment(again.0 - 1));
        assert_eq!(send(&mut delivery), None);
        delivery.retry(again);
        let tried = send(&mut delivery).unwrap();
        assert_eq!(tried.batch(), batch(1, 1));
        assert_eq!(send(&mut delivery), None, "one batch is tried, not a window full");
        assert_eq!(delivery.acked(tried.ticket()), Some(batch(1, 1)));
        let next = send(&mut delivery).unwrap();
        let large = NotTaken::TooLarge { bytes: 2, max: 1 };
        assert_eq!(delivery.refused(next.ticket(), large, again), Some(batch(1, 2)));
        assert_eq!(delivery.waiting(), 2);
    }
}

#[test]
fn a_new_connection_tries_at_once_and_then_waits_longer() {
    let mut delivery = filled(&[1], 1);
    permit(&mut delivery, &[1], 100);
    let mut waits = Vec::new();
    for _ in 0..6 {
        delivery.connected();
        let sent = send(&mut delivery).unwrap();
        delivery.refused(sent.ticket(), NotTaken::NoSubscriber, Moment(0));
        if let Some(Held::NotTaken { again, .. }) = delivery.held(FlowId(1)) {
            waits.push(again);
        }
        delivery.disconnected();
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, REFUSED_WAIT_S_MAX].map(seconds));
}

const NONE: [u64; 0] = [];

/// The flows of the next `count` batches, each acknowledged at once.
fn next(delivery: &mut Delivery, count: usize) -> Vec<u64> {
    let sent = (0..count).filter_map(|_| {
        let sent = send(delivery)?;
        delivery.acked(sent.ticket()).map(|batch| batch.flow.0)
    });
    sent.collect()
}

#[test]
fn a_higher_class_goes_first_and_live_flows_before_a_backlog() {
    let mut delivery = filled(&[1, 2, 3, 4], 2);
    let classes = [(1, Priority::Bulk), (2, Priority::Normal), (3, Priority::Urgent), (4, Priority::Normal)];
    permit_as(&mut delivery, &classes, 100);
    delivery.connected();
    // Nothing of this flow was stored before: it is live.
    permit_as(&mut delivery, &[classes.as_slice(), &[(5, Priority::Normal)]].concat(), 100);
    (1..=2).for_each(|sequence| delivery.stored(batch(5, sequence)));
    assert_eq!(next(&mut delivery, 20), [3, 3, 5, 5, 2, 4, 2, 4, 1, 1]);
    // All are live now.
    for flow in [1, 2, 3] {
        delivery.stored(batch(flow, 3));
    }
    assert_eq!(next(&mut delivery, 20), [3, 2, 1]);
}

#[test]
fn a_flow_is_live_again_once_its_backlog_is_on_its_way() {
    let mut delivery = filled(&[1, 2], 3);
    permit(&mut delivery, &[1, 2], 100);
    delivery.connected();
    (4..=5).for_each(|sequence| delivery.stored(batch(1, sequence)));
    assert_eq!(next(&mut delivery, 20), [1, 2, 1, 2, 1, 1, 1, 2], "in its own order, whatever is fresh");
}

#[test]
fn live_flows_leave_an_eighth_for_the_backlog_of_their_class() {
    let mut delivery = filled(&[1], 2);
    permit(&mut delivery, &[1, 2], 100);
    delivery.connected();
    (1..=20).for_each(|sequence| delivery.stored(batch(2, sequence)));
    let flows = next(&mut delivery, 17);
    let row = [2; LIVE_OFFERS_IN_A_ROW_MAX as usize];
    assert_eq!(flows, [&row[..], &[1], &row, &[1], &[2]].concat());
}

#[test]
fn a_class_that_has_to_wait_waits_and_the_others_go_on() {
    let networks = Networks { kinds: vec![NetworkKind::Wifi], interfaces: Vec::new() };
    let only_when = OnlyWhen { classes: vec![Priority::Bulk], networks, signal: true };
    let mut delivery = Delivery::new(WINDOW).only_when(only_when);
    let classes = [(1, Priority::Bulk), (2, Priority::Normal)];
    permit_as(&mut delivery, &classes, 100);
    (1..=4).for_each(|sequence| delivery.stored(batch(1, sequence)));
    (1..=2).for_each(|sequence| delivery.stored(batch(2, sequence)));
    delivery.connected();
    assert_eq!(next(&mut delivery, 9), [2, 2]);
    assert!(matches!(delivery.held(FlowId(1)), Some(Held::Waits(_))));
    assert_eq!(delivery.held(FlowId(2)), None);
    delivery.signalled(Some(true));
    assert_eq!(next(&mut delivery, 9), NONE, "the network is not known");
    delivery.reached_by(Some(Network { interface: "wlan0".to_owned(), kind: NetworkKind::Wifi }));
    assert_eq!(next(&mut delivery, 1), [1]);
    let offer = delivery.offer(clock(0)).unwrap();
    delivery.signalled(Some(false));
    assert_eq!(delivery.recorded(offer.ticket, clock(0)), None, "asked again after the ledger");
    assert_eq!(next(&mut delivery, 9), NONE);
    delivery.signalled(Some(true));
    assert_eq!(next(&mut delivery, 1), [1]);
    delivery.disconnected();
    delivery.connected();
    assert_eq!(next(&mut delivery, 9), NONE, "a new connection may be by another network");
    delivery.reached_by(Some(Network { interface: "wlan0".to_owned(), kind: NetworkKind::Wifi }));
    assert_eq!(next(&mut delivery, 9), [1, 1], "nothing was lost by waiting");
}

#[test]
fn invariant_5_what_was_dropped_on_its_way_is_perhaps_sent_too() {
    let mut delivery = filled(&[1], 2);
    permit(&mut delivery, &[1], 100);
    delivery.connected();
    let sent = send(&mut delivery).unwrap();
    delivery.dropped(sent.batch());
    assert!(delivery.has_strays(FlowId(1)) && delivery.in_flight() == 1, "the network has it all the same");
    assert_eq!(delivery.withdraw(FlowId(1)), [sent.batch()]);
    assert!(!delivery.has_strays(FlowId(1)));
    let mut delivery = filled(&[1], 2);
    permit(&mut delivery, &[1], 100);
    delivery.connected();
    let sent = send(&mut delivery).unwrap();
    delivery.dropped(sent.batch());
    assert_eq!(delivery.acked(sent.ticket()), None, "its acknowledgement means nothing any more");
    assert_eq!(delivery.withdraw(FlowId(1)), [], "and it is over by that");
}

#[test]
fn invariant_5_what_was_published_of_a_withdrawn_flow_is_perhaps_sent() {
    let mut delivery = filled(&[1, 2], 2);
    delivery.connected();
    permit(&mut delivery, &[1, 2], 100);
    let published = send(&mut delivery).unwrap();
    let other = delivery.offer(clock(0)).unwrap();
    let offered = delivery.offer(clock(0)).unwrap();
    assert_eq!(
        (published.batch().flow, other.batch.flow, offered.batch),
        (FlowId(1), FlowId(2), batch(1, 2))
    );
    assert_eq!(delivery.withdraw(FlowId(1)), [batch(1, 1)], "the other one never reached the network");
    assert_eq!(delivery.recorded(offered.ticket, clock(0)), None);
    assert!(delivery.recorded(other.ticket, clock(0)).is_some());
    assert_eq!(delivery.acked(published.ticket()), None);
    delivery.stored(batch(1, 3));
    permit(&mut delivery, &[1, 2], 100);
    delivery.disconnected();
    delivery.connected();
    let left: Vec<_> = std::iter::from_fn(|| send(&mut delivery)).map(|it| it.batch()).collect();
    assert_eq!(left, [batch(2, 1), batch(2, 2)]);
}

#[test]
fn what_goes_at_once_is_what_is_offered_next() {
    let mut delivery = filled(&[], 0);
    let goes = |delivery: &Delivery| delivery.goes_at_once(FlowId(1), clock(0));
    permit(&mut delivery, &[1], 100);
    assert!(!goes(&delivery), "not connected");
    delivery.connected();
    assert!(goes(&delivery) && !delivery.goes_at_once(FlowId(2), clock(0)));
    assert!(!delivery.goes_at_once(FlowId(1), None) && !delivery.goes_at_once(FlowId(1), clock(100)));
    for sequence in 1..=WINDOW as u64 {
        assert!(goes(&delivery));
        delivery.stored(batch(1, sequence));
        assert!(!goes(&delivery), "another one comes first");
        assert_eq!(send(&mut delivery).unwrap().batch(), batch(1, sequence));
    }
    assert!(!goes(&delivery), "the window is full");
    permit(&mut delivery, &[], 100);
    assert!(!goes(&delivery));
}

/// The second one's time was in doubt: it counts from when it is first looked at.
#[test]
fn invariant_1_what_is_held_back_goes_when_its_time_has_surely_come() {
    let mut delivery = Delivery::new(WINDOW);
    delivery.stored_at(batch(1, 1), Some(WallTime(100)));
    delivery.stored(batch(1, 2));
    let permission = Permission {
        until: WallTime(1_000),
        priority: Priority::Normal,
        hold_back_us: 50,
        bytes_per_day_max: None,
    };
    delivery.permit([(FlowId(1), permission)].into());
    delivery.connected();
    assert_eq!(delivery.offer(clock(149)), None);
    assert!(delivery.held(FlowId(1)).is_none(), "shorter than a second is not told");
    assert_eq!(delivery.offer(None), None);
    assert_eq!(delivery.offer(clock(150)).unwrap().batch, batch(1, 1));
    assert_eq!(delivery.offer(clock(199)), None, "first looked at when it was 150 at the latest");
    assert_eq!(delivery.offer(clock(200)).unwrap().batch, batch(1, 2));
    delivery.disconnected();
    delivery.connected();
    assert_eq!(delivery.offer(clock(201)).unwrap().batch, batch(1, 1), "its time had come");
    let hour = Permission { hold_back_us: 3_600_000_000, ..permission };
    delivery.permit([(FlowId(1), hour)].into());
    delivery.permit([(FlowId(2), hour)].into());
    assert!(!delivery.goes_at_once(FlowId(2), clock(0)), "what comes is held back");
    delivery.permit([(FlowId(2), Permission { hold_back_us: 0, ..hour })].into());
    assert!(delivery.goes_at_once(FlowId(2), clock(0)));
    delivery.permit([(FlowId(1), hour)].into());
    assert_eq!(
        delivery.held(FlowId(1)),
        Some(Held::Waits("held back for 3600 s, as its consent says".to_owned()))
    );
}

const DAY_US: i64 = 86_400_000_000;

/// One flow with a limit of bytes a day, connected, and what the ledger says of the past.
fn limited(most: u64, batches: u64, sent: &[(i64, u64)]) -> Delivery {
    let mut delivery = filled(&[1], batches);
    let until = WallTime(i64::MAX);
    let limit =
        Permission { until, priority: Priority::Normal, hold_back_us: 0, bytes_per_day_max: Some(most) };
    delivery.permit([(FlowId(1), limit)].into());
    delivery.connected();
    let sent = sent.iter().map(|(day, bytes)| ((FlowId(1), UtcDay(*day)), *bytes)).collect();
    delivery.recall_bytes(&sent, None);
    delivery
}

/// The bytes of the next batch, if it goes.
fn weighed(delivery: &mut Delivery, bytes: u64, now: Option<TrustedTime>) -> Option<Weighed> {
    let offer = delivery.offer(now)?;
    let weighed = delivery.weigh(offer.ticket, bytes, now);
    if weighed == Weighed::Fits {
        delivery.recorded(offer.ticket, now).unwrap();
    }
    Some(weighed)
}

#[test]
fn what_has_room_goes_though_what_comes_behind_it_has_none() {
    let mut delivery = limited(100, 20, &[(0, 0)]);
    let noon = clock(DAY_US / 2);
    let first = delivery.offer(noon).unwrap();
    assert_eq!(delivery.weigh(first.ticket, 70, noon), Weighed::Fits);
    let second = delivery.offer(noon).unwrap();
    assert_eq!(delivery.weigh(second.ticket, 70, noon), Weighed::Later);
    assert_eq!(delivery.recorded(first.ticket, noon).map(|publish| publish.batch()), Some(first.batch));
    assert!(delivery.offer(noon).is_none() && delivery.recorded(second.ticket, noon).is_none());
}

#[test]
fn no_day_has_more_bytes_than_the_grant_allows() {
    let mut delivery = limited(100, 20, &[(0, 30)]);
    let noon = clock(DAY_US / 2);
    assert_eq!(weighed(&mut delivery, 70, noon), Some(Weighed::Fits));
    assert_eq!(weighed(&mut delivery, 1, noon), Some(Weighed::Later));
    assert_eq!(weighed(&mut delivery, 1, noon), None, "it waits for another day");
    assert!(
        matches!(delivery.held(FlowId(1)), Some(Held::Waits(why)) if why.starts_with("its 100 bytes a day are used up") && why.ends_with("goes on at 1970-01-02T00:00:00Z"))
    );
    assert!(!delivery.goes_at_once(FlowId(1), noon));
    // Perhaps the first day, perhaps the second.
    assert_eq!(weighed(&mut delivery, 1, clock(DAY_US - 1)), None);
    assert_eq!(weighed(&mut delivery, 60, clock(DAY_US)), Some(Weighed::Fits));
    assert_eq!(delivery.held(FlowId(1)), None);
    assert_eq!(weighed(&mut delivery, 40, clock(2 * DAY_US - 1)), Some(Weighed::Fits), "both days pay");
    assert_eq!(weighed(&mut delivery, 61, clock(2 * DAY_US)), Some(Weighed::Later));
    assert_eq!(weighed(&mut delivery, 1, None), None);
    let mut delivery = limited(100, 20, &[(0, 100)]);
    assert_eq!(weighed(&mut delivery, 1, clock(DAY_US - 1)), Some(Weighed::Later));
    assert_eq!(weighed(&mut delivery, 1, clock(DAY_US)), Some(Weighed::Fits), "the second day had room");
}

#[test]
fn what_is_offered_at_once_has_room_together_and_a_batch_larger_than_a_day_never() {
    let mut delivery = limited(100, 5, &[]);
    let offers = [0; 2].map(|_| delivery.offer(clock(5)).unwrap());
    assert_eq!(delivery.weigh(offers[0].ticket, 60, clock(5)), Weighed::Fits);
    assert_eq!(delivery.weigh(offers[1].ticket, 41, clock(5)), Weighed::Later, "the other one is on its way");
    assert!(delivery.recorded(offers[1].ticket, clock(5)).is_none());
    let mut delivery = limited(100, 5, &[]);
    assert_eq!(weighed(&mut delivery, 101, clock(5)), Some(Weighed::Never));
    delivery.dropped(batch(1, 1));
    assert_eq!(weighed(&mut delivery, 100, clock(5)), Some(Weighed::Fits), "the next one may fit");
}

#[test]
fn a_batch_that_was_not_weighed_or_a_past_that_is_not_known_denies() {
    let mut delivery = limited(100, 5, &[]);
    let offer = delivery.offer(clock(5)).unwrap();
    assert!(delivery.recorded(offer.ticket, clock(5)).is_none());
    delivery.recall_bytes(&BTreeMap::new(), Some(UtcDay(0)));
    assert_eq!(weighed(&mut delivery, 1, clock(5)), Some(Weighed::Later));
    assert_eq!(weighed(&mut delivery, 1, clock(DAY_US - 1)), None);
    assert_eq!(weighed(&mut delivery, 1, clock(DAY_US)), Some(Weighed::Fits));
    let mut fresh = filled(&[1], 5);
    fresh.connected();
    fresh.permit(BTreeMap::from([(FlowId(1), delivery.flows[&FlowId(1)].permission.unwrap())]));
    assert_eq!(weighed(&mut fresh, 1, clock(5)), Some(Weighed::Later), "the ledger was not asked");
    fresh.recall_bytes(&BTreeMap::new(), None);
    assert_eq!(weighed(&mut fresh, 1, clock(5)), Some(Weighed::Fits));
}

#[test]
fn a_new_number_is_looked_at_at_once_and_without_one_there_is_no_limit() {
    let mut delivery = limited(10, 5, &[(0, 10)]);
    assert_eq!(weighed(&mut delivery, 1, clock(5)), Some(Weighed::Later));
    let permission = delivery.flows[&FlowId(1)].permission.unwrap();
    let more = |most| BTreeMap::from([(FlowId(1), Permission { bytes_per_day_max: most, ..permission })]);
    delivery.permit(more(Some(12)));
    assert_eq!(weighed(&mut delivery, 2, clock(5)), Some(Weighed::Fits));
    assert_eq!(weighed(&mut delivery, 1, clock(5)), Some(Weighed::Later));
    delivery.permit(more(None));
    assert_eq!(weighed(&mut delivery, 1_000_000, clock(5)), Some(Weighed::Fits));
    delivery.permit(more(Some(1_000_010)));
    assert_eq!(weighed(&mut delivery, 1, clock(5)), Some(Weighed::Later), "what went without a limit counts");
}
