//! What may be sent, against a simple model.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::names::{Epoch, Sequence};

const WINDOW: usize = 4;
const EPOCH: Epoch = Epoch { counter: 1, tag: 9 };

fn batch(flow: u64, sequence: u64) -> BatchId {
    BatchId { flow: FlowId(flow), epoch: EPOCH, sequence: Sequence(sequence) }
}

fn clock(us: i64) -> Option<TrustedTime> {
    Some(TrustedTime { earliest: WallTime(us), latest: WallTime(us + 1) })
}

fn permit(delivery: &mut Delivery, flows: &[u64], until: i64) {
    delivery.permit(flows.iter().map(|flow| (FlowId(*flow), WallTime(until))).collect());
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

#[test]
fn what_the_broker_did_not_take_is_kept_unless_it_never_will() {
    let mut delivery = filled(&[1, 2], 2);
    delivery.connected();
    permit(&mut delivery, &[1, 2], 100);
    let first = send(&mut delivery).unwrap();
    for why in [NotTaken::NoSubscriber, NotTaken::Quota, NotTaken::NotAuthorised] {
        let other = send(&mut delivery).unwrap();
        assert_eq!(other.batch().flow, FlowId(2));
        delivery.returned(other.ticket());
        assert_eq!(delivery.refused(first.ticket(), why), None);
    }
    delivery.retry();
    let again = (0..2).find_map(|_| send(&mut delivery).filter(|it| it.batch().flow == FlowId(1))).unwrap();
    assert_eq!(again.batch(), batch(1, 1));
    assert_eq!(delivery.refused(again.ticket(), NotTaken::TooLarge { bytes: 2, max: 1 }), Some(batch(1, 1)));
    assert_eq!(delivery.waiting(), 3);
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

#[derive(Debug, Clone)]
enum Act {
    Store(u64),
    Offer(Option<i64>),
    Record(Index, Option<i64>),
    Ack(Index),
    Refuse(Index, u8),
    Return(Index),
    Drop(Index),
    Connect,
    Disconnect,
    Permit(Vec<(u64, i64)>),
    Withdraw(u64),
    Retry,
}

fn act() -> impl Strategy<Value = Act> {
    let now = || prop::option::weighted(0.9, 0_i64..40);
    prop_oneof![
        6 => (0_u64..4).prop_map(Act::Store),
        8 => now().prop_map(Act::Offer),
        8 => (any::<Index>(), now()).prop_map(|(ticket, now)| Act::Record(ticket, now)),
        6 => any::<Index>().prop_map(Act::Ack),
        1 => (any::<Index>(), 0_u8..4).prop_map(|(ticket, why)| Act::Refuse(ticket, why)),
        1 => any::<Index>().prop_map(Act::Return),
        1 => any::<Index>().prop_map(Act::Drop),
        2 => Just(Act::Connect),
        1 => Just(Act::Disconnect),
        2 => prop::collection::vec((0_u64..4, 0_i64..80), 0..4).prop_map(Act::Permit),
        1 => (0_u64..12).prop_map(Act::Withdraw),
        1 => Just(Act::Retry),
    ]
}

/// What must be true, kept as simply as possible: plain lists, searched from the front.
#[derive(Default)]
struct Model {
    stored: Vec<BatchId>,
    numbers: [u64; 4],
    flying: Vec<(Ticket, BatchId, bool)>,
    /// Every ticket ever given, so that old ones are tried too.
    tickets: Vec<Ticket>,
    permitted: BTreeMap<FlowId, WallTime>,
    withdrawn: Vec<FlowId>,
    held: Vec<FlowId>,
    connected: bool,
}

impl Model {
    fn live(&self, flow: FlowId, now: Option<i64>) -> bool {
        let until = self.permitted.get(&flow).map(|until| until.0);
        !self.withdrawn.contains(&flow) && until.zip(now).is_some_and(|(until, now)| now + 1 < until)
    }

    fn ready(&self, now: Option<i64>) -> Vec<BatchId> {
        let free = |batch: &&BatchId| !self.flying.iter().any(|(_, flying, _)| flying == *batch);
        let mut seen = Vec::new();
        self.stored
            .iter()
            .filter(|batch| self.live(batch.flow, now) && !self.held.contains(&batch.flow))
            .filter(free)
            .filter(|batch| (!seen.contains(&batch.flow)).then(|| seen.push(batch.flow)).is_some())
            .copied()
            .collect()
    }

    fn land(&mut self, ticket: Ticket) -> Option<(BatchId, bool)> {
        let index = self.flying.iter().position(|(flying, ..)| *flying == ticket)?;
        let (_, batch, published) = self.flying.remove(index);
        Some((batch, published))
    }

    fn forget(&mut self, batch: BatchId) {
        self.stored.retain(|stored| *stored != batch);
    }

    fn ticket(&self, index: Index) -> Ticket {
        if self.tickets.is_empty() { Ticket(index.index(9) as u64) } else { *index.get(&self.tickets) }
    }
}

fn at(now: Option<i64>) -> Option<TrustedTime> {
    now.and_then(clock)
}

fn step(act: Act, delivery: &mut Delivery, model: &mut Model) -> Result<(), TestCaseError> {
    match act {
        Act::Store(flow) => {
            let number = &mut model.numbers[usize::try_from(flow).unwrap()];
            *number += 1;
            delivery.stored(batch(flow, *number));
            if !model.withdrawn.contains(&FlowId(flow)) {
                model.stored.push(batch(flow, *number));
            }
        }
        Act::Offer(now) => {
            let ready = model.ready(now);
            let free = model.connected && model.flying.len() < WINDOW;
            match delivery.offer(at(now)) {
                None => prop_assert!(!free || ready.is_empty(), "{ready:?} could have been offered"),
                Some(Offer { ticket, batch }) => {
                    prop_assert!(free && ready.contains(&batch), "{batch:?} is not the oldest of {ready:?}");
                    prop_assert!(!model.tickets.contains(&ticket));
                    model.tickets.push(ticket);
                    model.flying.push((ticket, batch, false));
                }
            }
        }
        Act::Record(index, now) => {
            let ticket = model.ticket(index);
            let found =
                model.flying.iter().find(|(flying, _, published)| *flying == ticket && !published).copied();
            let sent = delivery.recorded(ticket, at(now));
            let allowed = found.filter(|(_, batch, _)| model.live(batch.flow, now));
            prop_assert_eq!(sent.map(|sent| sent.batch()), allowed.map(|(_, batch, _)| batch));
            if found.is_some() {
                let (batch, _) = model.land(ticket).unwrap();
                allowed.is_some().then(|| model.flying.push((ticket, batch, true)));
            }
        }
        Act::Ack(index) => {
            let ticket = model.ticket(index);
            let published = model.flying.iter().any(|(flying, _, published)| *flying == ticket && *published);
            let landed = if published { model.land(ticket).map(|(batch, _)| batch) } else { None };
            prop_assert_eq!(delivery.acked(ticket), landed);
            landed.into_iter().for_each(|batch| model.forget(batch));
        }
        other => return rare(other, delivery, model),
    }
    Ok(())
}

fn rare(act: Act, delivery: &mut Delivery, model: &mut Model) -> Result<(), TestCaseError> {
    match act {
        Act::Refuse(index, why) => {
            let whys = [NotTaken::NoSubscriber, NotTaken::Crowded, NotTaken::Other(0x80), NotTaken::Quota];
            let (why, ticket) = (whys[usize::from(why)], model.ticket(index));
            let landed = model.land(ticket).map(|(batch, _)| batch);
            let lost = landed.filter(|_| matches!(why, NotTaken::Other(_)));
            prop_assert_eq!(delivery.refused(ticket, why), lost);
            lost.into_iter().for_each(|batch| model.forget(batch));
            if matches!(why, NotTaken::NoSubscriber | NotTaken::Quota) {
                model.held.extend(landed.map(|batch| batch.flow));
            }
        }
        Act::Return(index) => {
            let ticket = model.ticket(index);
            delivery.returned(ticket);
            model.land(ticket);
        }
        Act::Drop(index) if !model.stored.is_empty() => {
            let batch = *index.get(&model.stored);
            delivery.dropped(batch);
            model.forget(batch);
            model.flying.retain(|(_, flying, _)| *flying != batch);
        }
        Act::Connect | Act::Disconnect => {
            model.connected = matches!(act, Act::Connect);
            if model.connected {
                delivery.connected();
            } else {
                delivery.disconnected();
            }
            model.flying.clear();
            model.held.clear();
        }
        Act::Permit(flows) => {
            model.permitted =
                flows.into_iter().map(|(flow, until)| (FlowId(flow), WallTime(until))).collect();
            delivery.permit(model.permitted.clone());
        }
        Act::Withdraw(flow) if flow < 4 => {
            let flow = FlowId(flow);
            let sent = model.flying.iter().filter(|(_, batch, published)| batch.flow == flow && *published);
            let sent: Vec<BatchId> = sent.map(|(_, batch, _)| *batch).collect();
            let mut perhaps = delivery.withdraw(flow);
            perhaps.sort_unstable();
            prop_assert!(sent.iter().all(|batch| perhaps.contains(batch)) && perhaps.len() == sent.len());
            model.withdrawn.push(flow);
            model.stored.retain(|batch| batch.flow != flow);
            model.flying.retain(|(_, batch, _)| batch.flow != flow);
        }
        Act::Retry => {
            delivery.retry();
            model.held.clear();
        }
        _ => {}
    }
    Ok(())
}

/// Connects, permits all and acknowledges all: what comes is all that was stored, in order.
fn drain(delivery: &mut Delivery, model: &Model) -> Result<(), TestCaseError> {
    delivery.connected();
    permit(delivery, &[0, 1, 2, 3], 1000);
    let mut came: BTreeMap<FlowId, Vec<BatchId>> = BTreeMap::new();
    while let Some(sent) = send(delivery) {
        came.entry(sent.batch().flow).or_default().push(sent.batch());
        prop_assert_eq!(delivery.acked(sent.ticket()), Some(sent.batch()));
    }
    for flow in (0..4).map(FlowId) {
        let want: Vec<_> = model.stored.iter().filter(|batch| batch.flow == flow).copied().collect();
        prop_assert_eq!(came.remove(&flow).unwrap_or_default(), want);
    }
    prop_assert_eq!((delivery.waiting(), delivery.in_flight()), (0, 0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn invariants_1_5_8_any_schedule_agrees_with_the_model(acts in prop::collection::vec(act(), 1..120)) {
        let mut delivery = Delivery::new(WINDOW);
        let mut model = Model::default();
        for act in acts {
            step(act, &mut delivery, &mut model)?;
            prop_assert_eq!(delivery.in_flight(), model.flying.len());
            prop_assert_eq!(delivery.waiting(), model.stored.len());
            prop_assert!(delivery.in_flight() <= WINDOW);
        }
        drain(&mut delivery, &model)?;
    }
}
