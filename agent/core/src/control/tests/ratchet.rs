//! Random documents from everybody, against a model that knows only who signed what.

use super::{aliases, car, enrolment, given, take};
use crate::consent::document::bundle::{Directive, RecipientStatus};
use crate::consent::document::record::{ConsentRecord, EventState};
use crate::consent::document::samples::{
    ACME, Dalek, OWNER, RECORD, ROOT, SIGNING, STRANGER, bundle, bundle_file, id, record_file,
};
use crate::control::{Control, Stored};
use crate::names::FlowId;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Record { number: u64, request: usize, state: EventState, signer: u8, follows: Follows },
    Bundle { version: u64, suspend: bool, fewer: usize, no_floor: bool },
    Bury { which: usize },
    Restart,
}

#[derive(Debug, Clone)]
enum Follows {
    Nothing,
    Last,
    Number(u64),
}

fn states() -> impl Strategy<Value = EventState> {
    prop_oneof![
        6 => Just(EventState::ConsentGiven),
        4 => Just(EventState::RenewedConsentGiven),
        3 => Just(EventState::ConsentNarrowed),
        1 => Just(EventState::ConsentRefused),
        1 => Just(EventState::ConsentRequestDeferred),
        2 => Just(EventState::ConsentWithdrawn),
        1 => Just(EventState::ConsentExpired),
        1 => Just(EventState::ConsentInvalidated),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let signer = prop_oneof![6 => Just(OWNER), 3 => Just(RECORD), 1 => prop::sample::select(vec![STRANGER, ROOT, SIGNING, ACME])];
    let follows = prop_oneof![1 => Just(Follows::Nothing), 3 => Just(Follows::Last), 1 => (0u64..24).prop_map(Follows::Number)];
    let record = (0u64..24, 0usize..2, states(), signer, follows).prop_map(
        |(number, request, state, signer, follows)| Step::Record { number, request, state, signer, follows },
    );
    let bundle = (1u64..20, any::<bool>(), 0usize..3, any::<bool>())
        .prop_map(|(version, suspend, fewer, no_floor)| Step::Bundle { version, suspend, fewer, no_floor });
    prop_oneof![12 => record, 2 => bundle, 1 => (0usize..3).prop_map(|which| Step::Bury { which }), 1 => Just(Step::Restart)]
}

/// What somebody who watches the signatures knows: which flows an owner began, and which were ended.
#[derive(Default)]
struct Watcher {
    begun: Vec<(FlowId, ConsentRecord)>,
    owner_yes: Vec<ConsentRecord>,
    ended: Vec<FlowId>,
}

impl Watcher {
    fn check(&self, control: &Control) {
        for grant in control.grants().live() {
            let yes = grant.given().payload();
            let began = |(flow, first): &(FlowId, ConsentRecord)| {
                *flow == grant.flow() && first.recipient == yes.recipient && first.purpose == yes.purpose
            };
            assert!(self.begun.iter().any(began), "an owner's Given began this chain, for this purpose");
            assert!(self.owner_yes.contains(yes), "an owner signed what is given");
            assert!(!self.ended.contains(&grant.flow()), "what was ended stays so");
        }
    }
}

/// A car, its stores, and the watcher beside it.
struct World {
    control: Control,
    stored: Stored,
    watcher: Watcher,
}

impl World {
    fn record(&mut self, mut record: ConsentRecord, state: EventState, signer: u8, follows: &Follows) {
        let (recipient, purpose) = (record.recipient.party_id.clone(), record.purpose.id.clone());
        record.events[0].event_state = state;
        record.supersedes = match follows {
            Follows::Nothing => None,
            Follows::Last => self.control.grants().last_for(&recipient, &purpose),
            Follows::Number(number) => Some(id(*number)),
        };
        let running = self.control.grants().find_for(&recipient, &purpose).cloned();
        let before = self.control.grants().live().to_vec();
        if signer == OWNER && state == EventState::ConsentGiven {
            self.watcher.begun.push((FlowId::from_record(record.record_id), record.clone()));
        }
        if signer == OWNER && matches!(state, EventState::ConsentGiven | EventState::RenewedConsentGiven) {
            self.watcher.owner_yes.push(record.clone());
        }
        let file = record_file(&record, signer);
        let taken = take(&mut self.control, &file).is_ok();
        if taken {
            self.stored.records.push(file);
        }
        let live = self.control.grants().live();
        if signer != OWNER {
            assert!(live.iter().all(|g| before.iter().any(|b| b.given() == g.given())), "others never widen");
            assert!(before.iter().all(|b| {
                live.iter().all(|g| g.flow() != b.flow() || g.narrowed().count() >= b.narrowed().count())
            }));
        }
        let ends = matches!(
            state,
            EventState::ConsentWithdrawn | EventState::ConsentExpired | EventState::ConsentInvalidated
        );
        let own = matches!(signer, OWNER | RECORD);
        if let (true, true, Some(running)) = (ends, own, running)
            && (record.supersedes.is_none() || record.supersedes == Some(running.given().payload().record_id))
            && taken
        {
            assert!(self.control.grants().find(running.flow()).is_none(), "a withdrawal always works");
            self.watcher.ended.push(running.flow());
        }
    }

    fn bundle(&mut self, version: u64, suspend: bool, fewer: usize, no_floor: bool) {
        let mut bundle = bundle(version);
        bundle.requests.truncate(3 - fewer);
        if suspend {
            bundle.recipients[0].status = RecipientStatus::Suspended;
            bundle.directives.push(Directive::Drop { signal: "Vehicle.Speed".parse().unwrap() });
        }
        if no_floor {
            bundle.catalogue[0].floor.clear();
        }
        let before = self.control.grants().clone();
        let file = bundle_file(&bundle);
        if take(&mut self.control, &file).is_ok() {
            self.stored.policy = Some(file);
        }
        assert_eq!(self.control.grants(), &before, "a bundle touches no grant");
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Record { number, request, state, signer, follows } => {
                self.record(given(*number, *request), *state, *signer, follows);
            }
            Step::Bundle { version, suspend, fewer, no_floor } => {
                self.bundle(*version, *suspend, *fewer, *no_floor);
            }
            Step::Bury { which } => {
                let Some(flow) = self.control.grants().live().get(*which).map(|grant| grant.flow()) else {
                    return;
                };
                self.control.bury(flow);
                self.watcher.ended.push(flow);
            }
            Step::Restart => {
                self.stored.floor = self.control.counters();
                self.stored.tombstones = self.control.grants().tombstones().clone();
                let (again, refusals) = Control::restore(enrolment(), self.stored.clone(), &aliases, &Dalek);
                assert_eq!(refusals, []);
                assert_eq!(again.grants().live(), self.control.grants().live(), "a restart changes nothing");
                self.control = again;
            }
        }
        self.watcher.check(&self.control);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn invariant_4_no_sequence_makes_a_flow_live_without_an_owners_given(steps in prop::collection::vec(steps(), 1..32)) {
        let stored = Stored { policy: Some(bundle_file(&bundle(1))), ..Stored::default() };
        let mut world = World { control: car(), stored, watcher: Watcher::default() };
        for step in &steps {
            world.step(step);
        }
        world.step(&Step::Restart);
    }

    #[test]
    fn bytes_from_outside_never_stop_it(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in any::<prop::sample::Index>()) {
        let control = car();
        prop_assert!(super::examine(&control, &bytes).is_err());
        let file = bundle_file(&bundle(2));
        prop_assert!(super::examine(&control, &file[..cut.index(file.len() - 2)]).is_err());
    }
}
