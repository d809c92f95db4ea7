//! What a restart makes of the stores, also of damaged and forged ones.

use super::{aliases, car, enrolment, examine, following, given, take};
use crate::consent::document::record::EventState;
use crate::consent::document::samples::{
    Dalek, OWNER, RECORD, STRANGER, act, bundle, bundle_file, record_file,
};
use crate::consent::grants::{Effect, GrantError, Grants};
use crate::control::{Control, Counters, Refusal, Stored};
use crate::limits::NARROWINGS_PER_FLOW_MAX;
use crate::names::{FlowId, PolicyVersion};

fn restored(stored: Stored) -> (Control, Vec<Refusal>) {
    Control::restore(enrolment(), stored, &aliases, &Dalek)
}

fn records(records: &[Vec<u8>]) -> Stored {
    Stored { records: records.to_vec(), ..Stored::default() }
}

#[test]
fn everything_comes_back() {
    let mut control = car();
    let first = given(1, 0);
    let end = following(2, &first, EventState::ConsentWithdrawn);
    let second = following(3, &end, EventState::ConsentGiven);
    let files = [record_file(&first, OWNER), record_file(&end, RECORD), record_file(&second, OWNER)];
    for file in &files {
        take(&mut control, file).unwrap();
    }
    let stored = Stored {
        policy: Some(bundle_file(&bundle(1))),
        floor: control.counters(),
        records: files.to_vec(),
        tombstones: control.grants().tombstones().clone(),
        ..Stored::default()
    };
    let (again, refusals) = restored(stored);
    assert_eq!(refusals, []);
    assert_eq!(again.policy(), control.policy());
    assert_eq!(again.grants().live(), control.grants().live());
    assert_eq!(again.records().count(), 3);
}

#[test]
fn invariant_5_a_tombstone_alone_keeps_a_flow_dead() {
    // The power went after the tombstone and before the withdrawal was stored.
    let first = given(1, 0);
    let flow = FlowId::from_record(first.record_id);
    let less = following(2, &first, EventState::ConsentNarrowed);
    let stored = Stored {
        policy: Some(bundle_file(&bundle(1))),
        records: vec![record_file(&first, OWNER), record_file(&less, RECORD)],
        tombstones: [flow].into(),
        ..Stored::default()
    };
    let (mut control, refusals) = restored(stored);
    assert_eq!(refusals, []);
    assert!(control.grants().live().is_empty());
    let renewal = following(3, &less, EventState::RenewedConsentGiven);
    assert!(take(&mut control, &record_file(&renewal, OWNER)).is_err());
    let anew = following(4, &less, EventState::ConsentGiven);
    assert!(take(&mut control, &record_file(&anew, OWNER)).is_ok());
}

#[test]
fn invariant_4_a_record_forged_in_the_store_is_left_out() {
    for seed in [STRANGER, RECORD] {
        let (control, refusals) = restored(records(&[record_file(&given(1, 0), seed)]));
        assert!(control.grants().live().is_empty());
        assert!(
            refusals[0].to_string().starts_with("stored consent record 0 is not used"),
            "{}",
            refusals[0]
        );
    }
}

#[test]
fn a_record_of_another_car_in_the_store_is_left_out() {
    let mut other = given(1, 0);
    other.subject_vehicle.0[0] ^= 1;
    let (control, refusals) = restored(records(&[record_file(&other, OWNER)]));
    assert!(control.grants().live().is_empty());
    assert_eq!(refusals.len(), 1);
}

#[test]
fn a_damaged_narrowing_stops_its_flow_until_the_owner_acts() {
    let first = given(1, 0);
    let less = following(2, &first, EventState::ConsentNarrowed);
    let other = given(3, 1);
    let files = [record_file(&first, OWNER), record_file(&less, STRANGER), record_file(&other, OWNER)];
    let mut stored = records(&files);
    stored.policy = Some(bundle_file(&bundle(1)));
    let (mut control, refusals) = restored(stored);
    assert_eq!(refusals.len(), 1);
    let live: Vec<_> =
        control.grants().live().iter().map(|grant| grant.given().payload().record_id).collect();
    assert_eq!(live, [other.record_id], "the other flow goes on");
    let anew = following(4, &first, EventState::ConsentGiven);
    assert!(take(&mut control, &record_file(&anew, OWNER)).is_ok());
}

#[test]
fn invariant_3_a_rolled_back_or_broken_policy_leaves_none() {
    let floor = Counters { policy_version: PolicyVersion(5), signing_serial: 5 };
    for bytes in [bundle_file(&bundle(4)), b"{".to_vec()] {
        let stored = Stored { policy: Some(bytes), floor, ..Stored::default() };
        let (control, refusals) = restored(stored);
        assert!(control.policy().is_none());
        assert!(refusals[0].to_string().starts_with("the stored policy is not used: "), "{}", refusals[0]);
        assert_eq!(control.counters(), floor);
        assert!(examine(&control, &bundle_file(&bundle(4))).is_err());
        assert!(examine(&control, &bundle_file(&bundle(5))).is_ok(), "the same version mends it");
    }
    let floor = Counters { policy_version: PolicyVersion(1), signing_serial: 6 };
    let stored = Stored { policy: Some(bundle_file(&bundle(1))), floor, ..Stored::default() };
    assert!(restored(stored).0.policy().is_none());
}

#[test]
fn invariant_5_a_grant_whose_flow_is_buried_does_not_come_back() {
    // The records were lost and the tombstone was not; the old grant is delivered once more.
    let first = given(1, 0);
    let stored = Stored {
        policy: Some(bundle_file(&bundle(1))),
        tombstones: [FlowId::from_record(first.record_id)].into(),
        ..Stored::default()
    };
    let (mut control, _) = restored(stored);
    let refusal = take(&mut control, &record_file(&first, OWNER)).unwrap_err();
    assert_eq!(refusal, Refusal::Grant(GrantError::Buried));
}

#[test]
fn invariant_9_narrowings_of_a_flow_are_bounded_and_a_withdrawal_still_works() {
    let first = given(0, 0);
    let mut grants = Grants::default();
    grants.apply(act(&first)).unwrap();
    let most = u64::try_from(NARROWINGS_PER_FLOW_MAX).unwrap();
    for number in 1..=most {
        grants.apply(act(&following(number, &first, EventState::ConsentNarrowed))).unwrap();
    }
    let more = following(most + 1, &first, EventState::ConsentNarrowed);
    assert!(matches!(grants.apply(act(&more)), Err(GrantError::Full { .. })));
    let end = following(most + 1, &first, EventState::ConsentWithdrawn);
    assert_eq!(grants.apply(act(&end)).unwrap().effect, Effect::Ends);
}
