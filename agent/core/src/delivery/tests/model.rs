//! Any schedule against a model that is as simple as can be: plain lists, searched from the front.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

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
    Permit(Vec<(u64, i64, u8)>),
    Withdraw(u64),
    /// So many seconds later.
    Retry(u64),
    Network(bool),
    Signal(Option<bool>),
}

fn act() -> impl Strategy<Value = Act> {
    let now = || prop::option::weighted(0.9, 0_i64..40);
    prop_oneof![
        9 => (0_u64..4).prop_map(Act::Store),
        12 => now().prop_map(Act::Offer),
        12 => (any::<Index>(), now()).prop_map(|(ticket, now)| Act::Record(ticket, now)),
        9 => any::<Index>().prop_map(Act::Ack),
        2 => (any::<Index>(), 0_u8..4).prop_map(|(ticket, why)| Act::Refuse(ticket, why)),
        1 => any::<Index>().prop_map(Act::Return),
        1 => any::<Index>().prop_map(Act::Drop),
        2 => Just(Act::Connect),
        1 => Just(Act::Disconnect),
        2 => prop::collection::vec((0_u64..4, 0_i64..80, 0_u8..3), 0..4).prop_map(Act::Permit),
        1 => (0_u64..12).prop_map(Act::Withdraw),
        2 => (0_u64..100).prop_map(Act::Retry),
        2 => any::<bool>().prop_map(Act::Network),
        2 => any::<Option<bool>>().prop_map(Act::Signal),
    ]
}

const CLASSES: [Priority; 3] = [Priority::Bulk, Priority::Normal, Priority::Urgent];

/// What must be true.
#[derive(Default)]
struct Model {
    stored: Vec<BatchId>,
    /// Of these, stored on the present connection.
    fresh: Vec<BatchId>,
    numbers: [u64; 4],
    flying: Vec<(Ticket, BatchId, bool)>,
    /// Published, and dropped since.
    strays: Vec<(Ticket, BatchId)>,
    /// Every ticket ever given, so that old ones are tried too, and its flow.
    tickets: Vec<(Ticket, FlowId)>,
    permitted: BTreeMap<FlowId, (i64, Priority)>,
    withdrawn: Vec<FlowId>,
    /// Refusals in a row, and until when it is not tried again.
    refused: BTreeMap<FlowId, (u32, Option<Moment>)>,
    /// Live offers in a row, of each class.
    rows: [u8; 3],
    now: Moment,
    connected: bool,
    wifi: bool,
    signal: Option<bool>,
}

/// Held back by neither time nor bytes.
fn permission((until, priority): (i64, Priority)) -> Permission {
    Permission { until: WallTime(until), priority, hold_back_us: 0, bytes_per_day_max: None }
}

/// Bulk waits for both.
fn condition() -> OnlyWhen {
    let networks = Networks { kinds: vec![NetworkKind::Wifi], interfaces: Vec::new() };
    OnlyWhen { classes: vec![Priority::Bulk], networks, signal: true }
}

fn network(wifi: bool) -> Network {
    let (interface, kind) = if wifi { ("wlan0", NetworkKind::Wifi) } else { ("eth0", NetworkKind::Wired) };
    Network { interface: interface.to_owned(), kind }
}

impl Model {
    fn class(&self, flow: FlowId) -> Priority {
        self.permitted.get(&flow).map_or(Priority::Normal, |(_, class)| *class)
    }

    fn live(&self, flow: FlowId, now: Option<i64>) -> bool {
        let until = self.permitted.get(&flow).map(|(until, _)| *until);
        let waits = self.class(flow) == Priority::Bulk && !(self.wifi && self.signal == Some(true));
        !waits
            && !self.withdrawn.contains(&flow)
            && until.zip(now).is_some_and(|(until, now)| now + 1 < until)
    }

    fn taken(&self, flow: FlowId) -> bool {
        let flies = self.flying.iter().any(|(_, batch, _)| batch.flow == flow);
        match self.refused.get(&flow) {
            None => true,
            Some((_, Some(_))) => false,
            Some((_, None)) => !flies,
        }
    }

    /// The oldest batch of each flow that may be sent.
    fn ready(&self, now: Option<i64>) -> Vec<BatchId> {
        let free = |batch: &&BatchId| !self.flying.iter().any(|(_, flying, _)| flying == *batch);
        let mut seen = Vec::new();
        self.stored
            .iter()
            .filter(|batch| self.live(batch.flow, now) && self.taken(batch.flow))
            .filter(free)
            .filter(|batch| (!seen.contains(&batch.flow)).then(|| seen.push(batch.flow)).is_some())
            .copied()
            .collect()
    }

    /// The one of `ready` whose turn it is.
    fn turn(&self, ready: &[BatchId]) -> Option<BatchId> {
        let highest = ready.iter().map(|batch| self.class(batch.flow)).max()?;
        let class: Vec<&BatchId> = ready.iter().filter(|batch| self.class(batch.flow) == highest).collect();
        let (fresh, old): (Vec<&BatchId>, Vec<&BatchId>) =
            class.into_iter().partition(|batch| self.fresh.contains(batch));
        let owed = self.rows[highest as usize] >= LIVE_OFFERS_IN_A_ROW_MAX;
        let (first, second) = if owed { (old, fresh) } else { (fresh, old) };
        let group = if first.is_empty() { second } else { first };
        let last = |flow: FlowId| self.tickets.iter().rposition(|(_, of)| *of == flow);
        group.into_iter().min_by_key(|batch| (last(batch.flow), batch.flow)).copied()
    }

    fn land(&mut self, ticket: Ticket) -> Option<(BatchId, bool)> {
        self.strays.retain(|(stray, _)| *stray != ticket);
        let index = self.flying.iter().position(|(flying, ..)| *flying == ticket)?;
        let (_, batch, published) = self.flying.remove(index);
        Some((batch, published))
    }

    fn forget(&mut self, batch: BatchId) {
        self.stored.retain(|stored| *stored != batch);
    }

    fn ticket(&self, index: Index) -> Ticket {
        if self.tickets.is_empty() { Ticket(index.index(9) as u64) } else { index.get(&self.tickets).0 }
    }

    fn refuse(&mut self, flow: FlowId) {
        let (count, until) = self.refused.entry(flow).or_default();
        if until.is_none() {
            let wait_s = (REFUSED_WAIT_S_MIN << (*count).min(16)).min(REFUSED_WAIT_S_MAX);
            *until = Some(self.now.plus_us(seconds(wait_s).0));
            *count += 1;
        }
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
            let batch = batch(flow, *number);
            delivery.stored(batch);
            if !model.withdrawn.contains(&batch.flow) {
                model.stored.push(batch);
                model.fresh.push(batch);
            }
        }
        Act::Offer(now) => offer(now, delivery, model)?,
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
            model.strays.retain(|(stray, _)| *stray != ticket);
            let landed = if published { model.land(ticket).map(|(batch, _)| batch) } else { None };
            prop_assert_eq!(delivery.acked(ticket), landed);
            if let Some(batch) = landed {
                model.forget(batch);
                model.refused.remove(&batch.flow);
            }
        }
        other => return rare(other, delivery, model),
    }
    Ok(())
}

fn offer(now: Option<i64>, delivery: &mut Delivery, model: &mut Model) -> Result<(), TestCaseError> {
    let ready = model.ready(now);
    let free = model.connected && model.flying.len() + model.strays.len() < WINDOW;
    let expected = model.turn(&ready).filter(|_| free);
    let offered = delivery.offer(at(now));
    prop_assert_eq!(offered.map(|offer| offer.batch), expected, "of {:?}", ready);
    if let Some(Offer { ticket, batch }) = offered {
        prop_assert!(!model.tickets.iter().any(|(old, _)| *old == ticket));
        let row = &mut model.rows[model.permitted[&batch.flow].1 as usize];
        *row = if model.fresh.contains(&batch) { row.saturating_add(1) } else { 0 };
        model.tickets.push((ticket, batch.flow));
        model.flying.push((ticket, batch, false));
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
            prop_assert_eq!(delivery.refused(ticket, why, model.now), lost);
            lost.into_iter().for_each(|batch| model.forget(batch));
            if matches!(why, NotTaken::NoSubscriber | NotTaken::Quota) {
                landed.into_iter().for_each(|batch| model.refuse(batch.flow));
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
            let strays = model.flying.iter().filter(|(_, flying, published)| *flying == batch && *published);
            model.strays.extend(strays.map(|(ticket, batch, _)| (*ticket, *batch)));
            model.flying.retain(|(_, flying, _)| *flying != batch);
        }
        Act::Connect | Act::Disconnect => connection(matches!(act, Act::Connect), delivery, model),
        Act::Permit(flows) => {
            let class = |number| CLASSES[usize::from(number)];
            model.permitted =
                flows.into_iter().map(|(flow, until, by)| (FlowId(flow), (until, class(by)))).collect();
            delivery.permit(model.permitted.iter().map(|(flow, it)| (*flow, permission(*it))).collect());
        }
        Act::Withdraw(flow) if flow < 4 => {
            let flow = FlowId(flow);
            let sent = model.flying.iter().filter(|(_, batch, published)| batch.flow == flow && *published);
            let strays = model.strays.iter().filter(|(_, batch)| batch.flow == flow);
            let sent: Vec<BatchId> =
                sent.map(|(_, batch, _)| *batch).chain(strays.map(|(_, batch)| *batch)).collect();
            let mut perhaps = delivery.withdraw(flow);
            perhaps.sort_unstable();
            prop_assert!(sent.iter().all(|batch| perhaps.contains(batch)) && perhaps.len() == sent.len());
            model.withdrawn.push(flow);
            model.stored.retain(|batch| batch.flow != flow);
            model.flying.retain(|(_, batch, _)| batch.flow != flow);
            model.strays.retain(|(_, batch)| batch.flow != flow);
        }
        Act::Retry(later_s) => {
            model.now = model.now.plus_us(seconds(later_s).0);
            delivery.retry(model.now);
            for (_, until) in model.refused.values_mut() {
                *until = until.filter(|until| model.now < *until);
            }
        }
        Act::Network(wifi) => {
            delivery.reached_by(Some(network(wifi)));
            model.wifi = wifi;
        }
        Act::Signal(signal) => {
            delivery.signalled(signal);
            model.signal = signal;
        }
        _ => {}
    }
    Ok(())
}

fn connection(connected: bool, delivery: &mut Delivery, model: &mut Model) {
    model.connected = connected;
    model.flying.clear();
    model.strays.clear();
    if connected {
        delivery.connected();
        model.fresh.clear();
        model.refused.values_mut().for_each(|(_, until)| *until = None);
    } else {
        delivery.disconnected();
        model.wifi = false;
    }
}

/// Connects, permits all and acknowledges all: what comes is all that was stored, each flow in its order.
fn drain(delivery: &mut Delivery, model: &Model) -> Result<(), TestCaseError> {
    delivery.connected();
    delivery.reached_by(Some(network(true)));
    delivery.signalled(Some(true));
    let classes: Vec<_> = (0..4).map(|flow| (flow, model.class(FlowId(flow)))).collect();
    permit_as(delivery, &classes, 1000);
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
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn invariants_1_5_8_any_schedule_agrees_with_the_model(acts in prop::collection::vec(act(), 1..160)) {
        let mut delivery = Delivery::new(WINDOW).only_when(condition());
        let mut model = Model::default();
        for act in acts {
            step(act, &mut delivery, &mut model)?;
            prop_assert_eq!(delivery.in_flight(), model.flying.len() + model.strays.len());
            prop_assert_eq!(delivery.waiting(), model.stored.len());
            prop_assert!(delivery.in_flight() <= WINDOW);
        }
        drain(&mut delivery, &model)?;
    }
}
