//! Who may widen: enrolments in their order, on this car alone, by enrolled keys alone.

use super::{Accepted, Control, Enrolment, Refusal, Stored, aliases, enrolment, examine, given, take};
use crate::consent::document::enrolment::{EnrolmentAct, OwnerEnrolment};
use crate::consent::document::samples::{
    Dalek, OWNER, RECORD, ROOT, STRANGER, bundle, bundle_file, now, public, record_file, sign, sign_bytes,
    time,
};
use crate::consent::document::{DocumentKind, record, write};
use crate::control::OwnersError;
use crate::limits::{ENROLMENTS_MAX, OWNER_KEYS_MAX};
use crate::names::{Digest, VerifyingKey};

const PHONE: u8 = 20;
const FLEET: u8 = 21;
const KIND: DocumentKind = DocumentKind::Enrolment;

fn draft(control: &Control, act: EnrolmentAct, seed: u8) -> OwnerEnrolment {
    control.draft_enrolment(act, public(seed), now().earliest).unwrap()
}

fn file(enrolment: &OwnerEnrolment, by: u8) -> Vec<u8> {
    sign(enrolment, by).to_bytes().unwrap()
}

/// Drafts, signs, takes; answers the file.
fn enrol(control: &mut Control, act: EnrolmentAct, seed: u8, by: u8) -> Vec<u8> {
    let file = file(&draft(control, act, seed), by);
    take(control, &file).unwrap();
    file
}

fn car() -> Control {
    let mut control = super::empty();
    take(&mut control, &bundle_file(&bundle(1))).unwrap();
    control
}

fn seeds(control: &Control) -> Vec<VerifyingKey> {
    control.owners().keys()
}

fn restarted(enrolments: Vec<Vec<u8>>, records: Vec<Vec<u8>>) -> (Control, Vec<Refusal>) {
    let policy = Some(bundle_file(&bundle(1)));
    let stored = Stored { policy, enrolments, records, ..Stored::default() };
    Control::restore(enrolment(), stored, &aliases, &Dalek)
}

#[test]
fn invariant_4_a_key_widens_from_its_enrolment_to_its_removal() {
    let mut control = car();
    let grant = record_file(&given(1, 0), PHONE);
    assert!(matches!(examine(&control, &grant), Err(Refusal::Document(_))), "a stranger's");
    let first = enrol(&mut control, EnrolmentAct::Enrol, PHONE, OWNER);
    assert_eq!(seeds(&control), [public(OWNER), public(PHONE)]);
    take(&mut control, &grant).unwrap();
    let second = enrol(&mut control, EnrolmentAct::Remove, PHONE, OWNER);
    assert_eq!(seeds(&control), [public(OWNER)]);
    // What it gave stays, and nothing new of it counts.
    assert_eq!(control.grants().live().len(), 1);
    let another = record_file(&given(2, 1), PHONE);
    assert!(matches!(examine(&control, &another), Err(Refusal::Document(_))));
    // The same after a restart.
    let (again, refusals) = restarted(vec![first, second], vec![grant]);
    assert_eq!(refusals, []);
    assert_eq!(again.owners(), control.owners());
    assert_eq!(again.grants().live().len(), 1);
    assert!(examine(&again, &another).is_err());
}

#[test]
fn invariant_4_a_recorded_enrolment_cannot_be_played_again() {
    let mut control = car();
    let enrolled = enrol(&mut control, EnrolmentAct::Enrol, PHONE, OWNER);
    assert_eq!(examine(&control, &enrolled), Err(Refusal::AlreadyThere { kind: KIND }));
    let removed = enrol(&mut control, EnrolmentAct::Remove, PHONE, OWNER);
    // The set is as it was at the first, and the old enrolment names it no more.
    let old = Err(Refusal::Owners(OwnersError::OutOfOrder));
    assert_eq!(examine(&control, &enrolled), old);
    enrol(&mut control, EnrolmentAct::Enrol, PHONE, OWNER);
    assert_eq!(examine(&control, &removed), old);
    // Nor on a car that was provisioned anew with the same keys: its record key is another.
    let provisioned_again = Enrolment { record_key: public(ROOT + 100), ..enrolment() };
    let (other, _) = Control::restore(provisioned_again, Stored::default(), &aliases, &Dalek);
    assert_eq!(examine(&other, &enrolled), old);
    let named_otherwise = Enrolment { device: "car-2".parse().unwrap(), ..enrolment() };
    let (other, _) = Control::restore(named_otherwise, Stored::default(), &aliases, &Dalek);
    assert_eq!(examine(&other, &enrolled), Err(Refusal::OtherCar { kind: KIND, field: "device" }));
}

#[test]
fn invariant_4_only_an_enrolled_owner_enrols() {
    let mut control = car();
    let wanted = draft(&control, EnrolmentAct::Enrol, PHONE);
    // Not the new key itself, the authority, the car's own key or a stranger.
    for by in [PHONE, ROOT, RECORD, STRANGER] {
        assert!(matches!(examine(&control, &file(&wanted, by)), Err(Refusal::Document(_))), "{by}");
    }
    // Nor an owner's signature on the same bytes as another kind of document.
    let payload = write(&wanted).unwrap();
    let as_record = sign_bytes(record::CONSENT_TYPE, &payload, OWNER).to_bytes().unwrap();
    assert!(matches!(examine(&control, &as_record), Err(Refusal::Document(_))));
    let mut relabelled = sign_bytes(record::CONSENT_TYPE, &payload, OWNER);
    relabelled.payload_type = crate::consent::document::enrolment::ENROLMENT_TYPE.to_owned();
    assert!(matches!(examine(&control, &relabelled.to_bytes().unwrap()), Err(Refusal::Document(_))));
    // A removed key enrols nobody, not even by what it signed while it was an owner's.
    enrol(&mut control, EnrolmentAct::Enrol, PHONE, OWNER);
    let early = file(&draft(&control, EnrolmentAct::Enrol, FLEET), PHONE);
    enrol(&mut control, EnrolmentAct::Remove, PHONE, OWNER);
    assert!(matches!(examine(&control, &early), Err(Refusal::Document(_))));
    assert_eq!(seeds(&control), [public(OWNER)]);
}

#[test]
fn the_last_owner_key_cannot_be_removed_and_offices_stay_apart() {
    let mut control = car();
    let cannot = |control: &Control, act, seed| control.draft_enrolment(act, public(seed), now().earliest);
    assert_eq!(cannot(&control, EnrolmentAct::Remove, OWNER), Err(OwnersError::Last));
    assert_eq!(cannot(&control, EnrolmentAct::Remove, PHONE), Err(OwnersError::NotEnrolled));
    assert_eq!(cannot(&control, EnrolmentAct::Enrol, OWNER), Err(OwnersError::Enrolled));
    assert_eq!(cannot(&control, EnrolmentAct::Enrol, ROOT), Err(OwnersError::Office));
    assert_eq!(cannot(&control, EnrolmentAct::Enrol, RECORD), Err(OwnersError::Office));
    // The draft is a service: who makes one by hand is refused all the same.
    let mut last = draft(&control, EnrolmentAct::Enrol, PHONE);
    (last.act, last.owner_key) = (EnrolmentAct::Remove, public(OWNER));
    assert_eq!(examine(&control, &file(&last, OWNER)), Err(Refusal::Owners(OwnersError::Last)));
    // The first one may go once there is another, by its own hand too.
    enrol(&mut control, EnrolmentAct::Enrol, PHONE, OWNER);
    enrol(&mut control, EnrolmentAct::Remove, OWNER, OWNER);
    assert_eq!(seeds(&control), [public(PHONE)]);
    assert_eq!(cannot(&control, EnrolmentAct::Remove, PHONE), Err(OwnersError::Last));
}

#[test]
fn of_two_drafts_one_is_taken() {
    let mut control = car();
    let (one, two) =
        (draft(&control, EnrolmentAct::Enrol, PHONE), draft(&control, EnrolmentAct::Enrol, FLEET));
    let examined = examine(&control, &file(&two, OWNER)).unwrap();
    take(&mut control, &file(&one, OWNER)).unwrap();
    assert_eq!(control.adopt(examined), Err(Refusal::Owners(OwnersError::OutOfOrder)));
    assert_eq!(seeds(&control), [public(OWNER), public(PHONE)]);
}

#[test]
fn a_key_comes_only_in_time_and_goes_at_any() {
    let mut control = car();
    let enrolment = draft(&control, EnrolmentAct::Enrol, PHONE);
    let wanted = file(&enrolment, OWNER);
    let at = |control: &Control, file: &[u8], now| control.examine(file, now, &aliases, &Dalek);
    assert_eq!(at(&control, &wanted, None), Err(Refusal::TimeInDoubt { kind: KIND }));
    let mut late = now();
    late.latest = time("2026-11-08T12:00:00Z");
    let end = enrolment.not_after;
    assert_eq!(at(&control, &wanted, Some(late)), Err(Refusal::Expired { kind: KIND, end }));
    take(&mut control, &wanted).unwrap();
    let gone = file(&draft(&control, EnrolmentAct::Remove, PHONE), OWNER);
    for now in [None, Some(late)] {
        assert!(matches!(at(&control, &gone, now), Ok(Accepted::Enrolment(_))));
    }
}

#[test]
fn a_stored_enrolment_that_does_not_verify_leaves_nobody_who_widens() {
    let mut control = car();
    let enrolled = enrol(&mut control, EnrolmentAct::Enrol, PHONE, OWNER);
    let removed = enrol(&mut control, EnrolmentAct::Remove, PHONE, OWNER);
    let grant = record_file(&given(1, 0), OWNER);
    for broken in [
        vec![enrolled.clone(), b"{}".to_vec()],
        vec![b"".to_vec(), removed.clone()],
        vec![removed.clone(), enrolled.clone()],
        vec![enrolled.clone(), enrolled.clone()],
        vec![removed],
    ] {
        let (again, refusals) = restarted(broken, vec![grant.clone()]);
        assert!(matches!(refusals[..], [Refusal::StoredEnrolment { .. }]), "{refusals:?}");
        assert_eq!(seeds(&again), []);
        assert!(examine(&again, &record_file(&given(2, 1), OWNER)).is_err());
        // What was given before goes on, and can be ended.
        assert_eq!(again.grants().live().len(), 1);
    }
}

#[test]
fn owner_keys_and_their_changes_are_bounded() {
    let mut control = car();
    let many = u8::try_from(OWNER_KEYS_MAX).unwrap();
    for seed in 100..100 + many - 1 {
        enrol(&mut control, EnrolmentAct::Enrol, seed, OWNER);
    }
    let full = control.draft_enrolment(EnrolmentAct::Enrol, public(PHONE), now().earliest);
    assert_eq!(full, Err(OwnersError::ManyKeys));
    while control.owners().count() < ENROLMENTS_MAX {
        let is_in = seeds(&control).contains(&public(100));
        enrol(&mut control, if is_in { EnrolmentAct::Remove } else { EnrolmentAct::Enrol }, 100, OWNER);
    }
    let more = control.draft_enrolment(EnrolmentAct::Remove, public(101), now().earliest);
    assert_eq!(more, Err(OwnersError::ManyEnrolments));
}

#[test]
fn an_enrolment_says_what_it_does() {
    let control = car();
    let enrolment = draft(&control, EnrolmentAct::Enrol, PHONE);
    let words = enrolment.describe();
    assert!(
        words.contains("Enrol an owner key on the car car-1") && words.contains(&public(PHONE).to_string())
    );
    assert!(OwnerEnrolment { act: EnrolmentAct::Remove, ..enrolment.clone() }.describe().contains("Remove"));
    assert_eq!(enrolment.follows, control.owners().head());
    assert_ne!(enrolment.follows, Digest([0; 32]));
}
