//! What the owner and the authority do, handed to the real authority as documents or commands; and what it means.

use glovebox::clock::Time as _;
use glovebox::control::{Authority as _, AuthorityError, InCar as _, WithdrawOrder};
use glovebox::daemon::authority::LocalAuthority;
use glovebox_core::consent::session::{HoldStatus, Lasts, Scope, What};
use glovebox_core::control::Stamp;
use glovebox_core::names::{FlowId, WallTime};
use uuid::Uuid;

use super::model::{Act, Chain, SIGNALS};
use super::papers::{self, Wanted};
use super::world::World;

const HOUR_US: i64 = 3_600_000_000;

impl World {
    fn record_id(&mut self) -> Uuid {
        self.records += 1;
        let half = self.outside.random.bits();
        uuid::Builder::from_u128((u128::from(half) << 64) | u128::from(self.records))
            .with_version(uuid::Version::Random)
            .into_uuid()
    }

    /// Shows a document to the authority; `act` is what it means if it is taken.
    fn show(&mut self, document: Vec<u8>, act: Option<Act>) {
        let Some(car) = &mut self.car else { return };
        self.outside.documents.expect(act.clone());
        let mut hands = super::car::Hands { inside: &mut car.inside, outside: &mut self.outside };
        let outcome = car.force.act(&mut hands, |authority| authority.submit(&document));
        self.outside.trace.say(|| match &outcome {
            Ok(taken) => format!("  taken: {}", taken.kind),
            Err(error) => format!("  refused: {error}"),
        });
        self.outside.documents.expect(None);
        self.shown.push((document, act));
    }

    /// A document that came before comes again.
    pub(super) fn again(&mut self) {
        if !self.shown.is_empty() {
            let (document, act) = self.outside.random.pick(&self.shown);
            self.show(document, act);
        }
    }

    /// The next version, issued now.
    pub(super) fn new_policy(&mut self) {
        self.policy.version += 1;
        let now = self.outside.machine.now().0;
        self.policy.issued_us = now - 1_000_000;
        self.policy.expires_us = now + 300 * 24 * HOUR_US;
        self.show(papers::bundle(&self.policy, None), Some(Act::Policy(self.policy.clone())));
    }

    /// One that narrows, or lifts what an earlier one did, or asks anew, or soon expires.
    pub(super) fn another_policy(&mut self) {
        let random = &mut self.outside.random;
        match random.below(5) {
            0 if self.policy.suspended.is_empty() => drop(self.policy.suspended.insert(random.index(2))),
            1 if self.policy.dropped.is_empty() => drop(self.policy.dropped.insert(random.index(SIGNALS))),
            2 => {
                let chains: Vec<Chain> = self.policy.asked.keys().copied().collect();
                let chain = random.pick(&chains);
                let signals = (0..SIGNALS).filter(|_| !random.one_in(3)).chain([0]).collect();
                let version = self.policy.asked[&chain].0 + 1;
                self.policy.asked.insert(chain, (version, signals));
            }
            _ => {
                self.policy.suspended.clear();
                self.policy.dropped.clear();
            }
        }
        self.new_policy();
    }

    /// The owner gives or renews; `by` somebody else it is false.
    pub(super) fn give(&mut self, chain: Chain, by: Option<u8>) {
        let record_id = self.record_id();
        let wanted: Vec<usize> = (0..SIGNALS).filter(|_| !self.outside.random.one_in(4)).collect();
        let days = self.outside.random.pick(&[1, 40, 200]);
        let Some(car) = &self.car else { return };
        let now = self.outside.machine.now();
        let until = WallTime(now.0 + days * 24 * HOUR_US);
        let wish = Wanted { chain, signals: &|signal| wanted.contains(&signal), now, until, record_id };
        let Ok((document, first)) = papers::given(&car.force.authority, &wish, by) else { return };
        let policy = car.force.authority.control().policy().map(|it| it.bundle().payload().version.0);
        // What is asked is what the policy in force asks.
        let model = self.outside.documents.model();
        let Some(in_force) = model.policy.as_ref().filter(|it| Some(it.version) == policy) else { return };
        let (request, asked) = in_force.asked[&chain].clone();
        let Some(flow) = first.or_else(|| model.live.get(&chain).map(|live| live.flow)) else { return };
        let signals = asked.into_iter().filter(|signal| wanted.contains(signal)).collect();
        let act = Act::Give { chain, flow, request, signals, from_us: now.0, until_us: until.0 };
        self.show(document, Some(act).filter(|_| by.is_none()));
    }

    /// The flows that are live for the authority.
    fn live_flow(&mut self) -> Option<FlowId> {
        let live: Vec<FlowId> =
            self.car.as_ref()?.force.authority.control().grants().live().iter().map(|it| it.flow()).collect();
        (!live.is_empty()).then(|| self.outside.random.pick(&live))
    }

    pub(super) fn narrow(&mut self) {
        let (Some(flow), record_id) = (self.live_flow(), self.record_id()) else { return };
        let keep: Vec<usize> = (0..SIGNALS).filter(|_| self.outside.random.one_in(2)).collect();
        let Some(car) = &self.car else { return };
        let stamp = Stamp {
            record_id,
            now: self.outside.machine.now(),
            at: self.outside.machine.now(),
            entity: "owner",
            shown_by: "remote",
        };
        let document = papers::narrowed(&car.force.authority, flow, &|signal| keep.contains(&signal), stamp);
        self.show(document, Some(Act::Narrow { flow, keep: keep.into_iter().collect() }));
    }

    /// By command in the car, or by a record that came over the network.
    pub(super) fn withdraw(&mut self) {
        let (Some(flow), record_id) = (self.live_flow(), self.record_id()) else { return };
        let remote = self.outside.random.one_in(2);
        self.outside.oracle.withdraws(flow);
        let Some(car) = &mut self.car else { return };
        if remote {
            let stamp = Stamp {
                record_id,
                now: self.outside.machine.now(),
                at: self.outside.machine.now(),
                entity: "owner",
                shown_by: "remote",
            };
            let document = papers::withdrawn(&car.force.authority, flow, stamp);
            self.show(document, None);
        } else {
            let grant = car
                .force
                .authority
                .control()
                .grants()
                .find(flow)
                .map(|grant| grant.given().payload().clone());
            let Some(record) = grant else { return };
            let (recipient, purpose) = (record.recipient.party_id, Some(record.purpose.id));
            let order = WithdrawOrder { recipient, purpose, erase: false };
            let mut hands = super::car::Hands { inside: &mut car.inside, outside: &mut self.outside };
            let outcome = car.force.act(&mut hands, |authority| authority.withdraw(&order));
            self.outside.trace.say(|| format!("  withdrawn: {}", outcome.is_ok()));
        }
        if self.live_now(flow) {
            self.outside.oracle.fail("5: withdrawn, and still live".to_owned());
        }
        self.outside.oracle.withdrawn(flow);
    }

    fn live_now(&self, flow: FlowId) -> bool {
        self.car.as_ref().is_some_and(|car| car.force.authority.control().grants().find(flow).is_some())
    }

    /// Somebody in the car pauses everything or one recipient, or lets it go again.
    pub(super) fn pause(&mut self) {
        let random = &mut self.outside.random;
        let whose = random.pick(&[None, Some(0), Some(1)]);
        let lasts = random.pick(&[Lasts::Trip, Lasts::UntilEnded]);
        match random.below(5) {
            0..=2 => self.in_car(Act::Hold(whose), |car| car.hold(&what(whose), lasts, Scope::Car)),
            _ => self.in_car(Act::Release(whose), |car| car.release(&what(whose), Scope::Car)),
        }
    }

    /// Whatever is paused goes on.
    pub(super) fn resume_all(&mut self) {
        for whose in [None, Some(0), Some(1)] {
            self.in_car(Act::Release(whose), |car| car.release(&what(whose), Scope::Car));
        }
    }

    fn in_car(
        &mut self,
        act: Act,
        what: impl FnOnce(&mut LocalAuthority) -> Result<Vec<HoldStatus>, AuthorityError>,
    ) {
        let Some(car) = &mut self.car else { return };
        self.outside.trace.say(|| format!("  in the car: {act:?}"));
        self.outside.documents.expect(Some(act));
        let mut hands = super::car::Hands { inside: &mut car.inside, outside: &mut self.outside };
        let outcome = car.force.act(&mut hands, what);
        self.outside.trace.say(|| format!("  in the car: {outcome:?}"));
        self.outside.documents.expect(None);
    }

    /// Signed by somebody who may not.
    pub(super) fn false_document(&mut self) {
        if self.outside.random.one_in(2) {
            let policy = super::model::Policy { version: self.policy.version + 1, ..self.policy.clone() };
            self.show(papers::bundle(&policy, Some(papers::STRANGER)), None);
        } else {
            let chain = (self.outside.random.index(2), self.outside.random.index(2));
            self.give(chain, Some(papers::STRANGER));
        }
    }
}

fn what(whose: Option<usize>) -> What {
    whose.map_or(What::All, |recipient| What::Recipient(papers::recipient_id(recipient)))
}
