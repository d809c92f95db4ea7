//! Owner keys come and go through the commands, with real keys and stores, and what they gave stays.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use crate::cli::trial::Trial;
use crate::control::{Authority as _, EnrolmentOrder};
use crate::daemon::authority::Change;
use crate::key_store::{read_verifying_key, thumb};
use glovebox_core::consent::document::enrolment::EnrolmentAct;
use glovebox_core::names::VerifyingKey;
use std::fs;

const GRANT: &str = "consent grant --yes --recipient tyres --purpose tyre-care --key @phone.key";

fn with_phone() -> Trial {
    let trial = Trial::provisioned();
    trial.run("policy install @bundle.dsse").unwrap();
    trial.run("keys new ed25519 --out @phone").unwrap();
    trial
}

fn key(trial: &Trial, name: &str) -> VerifyingKey {
    read_verifying_key(&trial.path(&format!("{name}.pub"))).unwrap()
}

fn enrolled(trial: &Trial) -> Vec<VerifyingKey> {
    trial.local().owners().unwrap().iter().map(|owner| owner.owner_key).collect()
}

#[test]
fn a_second_key_grants_until_it_is_removed_and_what_it_gave_stays() {
    let trial = with_phone();
    assert!(trial.fails(GRANT).contains("owner key"));
    trial.run("owner add --yes @phone.pub --key @owner.key").unwrap();
    trial.run(GRANT).unwrap();
    trial.run("owner list").unwrap();
    let owners = trial.local().owners().unwrap();
    assert_eq!(owners.iter().map(|owner| owner.gave).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((owners[0].enrolled, owners[1].enrolled_by), (None, Some(key(&trial, "owner"))));
    // By the first digits of its name, and by its own hand.
    let name: String = thumb(&key(&trial, "phone")).chars().take(6).collect();
    assert!(
        trial.fails(&format!("owner remove --yes {} --key @phone.key", &name[..3])).contains("at least four")
    );
    trial.run(&format!("owner remove --yes {name} --key @phone.key")).unwrap();
    assert_eq!(enrolled(&trial), [key(&trial, "owner")]);
    let local = trial.local();
    assert!(local.complaints().is_empty(), "{:?}", local.complaints());
    assert_eq!(local.control().grants().live().len(), 1);
    drop(local);
    assert!(trial.fails(GRANT).contains("not taken"));
    trial.run("consent withdraw --recipient tyres").unwrap();
}

#[test]
fn the_last_key_and_other_offices_are_refused_in_words() {
    let trial = with_phone();
    assert!(
        trial
            .fails("owner remove --yes @owner.pub --key @owner.key")
            .contains("the last owner key cannot be removed")
    );
    assert!(
        trial.fails("owner add --yes @root.pub --key @owner.key").contains("must not be able to consent")
    );
    assert!(trial.fails("owner add --yes @owner.pub --key @owner.key").contains("enrolled already"));
    assert!(trial.fails("owner remove --yes @phone.pub --key @owner.key").contains("not enrolled"));
    assert!(
        trial.fails("owner remove --yes 0123456789 --key @owner.key").contains("no enrolled key is called")
    );
    for by in ["phone", "root", "signing", "tyres"] {
        let error = trial.fails(&format!("owner add --yes @phone.pub --key @{by}.key"));
        assert!(error.contains("not taken") && error.contains("owner key"), "{error}");
    }
    assert_eq!(enrolled(&trial), [key(&trial, "owner")]);
}

/// The core has no curve: what is no key that could sign is refused before it is stored.
#[test]
fn a_key_with_which_anybody_could_sign_is_not_enrolled() {
    let trial = with_phone();
    let mut local = trial.local();
    let mut identity = [0; 32];
    identity[0] = 1;
    for weak in [[0; 32], identity] {
        let order = EnrolmentOrder { act: EnrolmentAct::Enrol, owner_key: VerifyingKey(weak) };
        let error = local.draft_enrolment(&order).unwrap_err().to_string();
        assert!(error.contains("cannot be used"), "{error}");
    }
    // Nor if it was drafted by hand.
    let order = EnrolmentOrder { act: EnrolmentAct::Enrol, owner_key: key(&trial, "phone") };
    let payload = local.draft_enrolment(&order).unwrap().payload;
    drop(local);
    let text = String::from_utf8(payload).unwrap();
    let weak = text.replace(&key(&trial, "phone").to_string(), &"0".repeat(64));
    fs::write(trial.path("weak.json"), weak).unwrap();
    trial.run("policy sign @weak.json --type enrolment --key @owner.key -o @weak.dsse").unwrap();
    assert!(trial.fails("policy install @weak.dsse").contains("cannot be used"));
    assert_eq!(enrolled(&trial), [key(&trial, "owner")]);
}

#[test]
fn both_kinds_can_be_signed_elsewhere() {
    let trial = with_phone();
    trial.run("owner add --yes @phone.pub --draft @e.json").unwrap();
    assert_eq!(enrolled(&trial).len(), 1, "a draft changes nothing");
    trial.run("policy show @e.json").unwrap();
    trial.run("policy sign @e.json --type enrolment --key @owner.key -o @e.dsse").unwrap();
    trial.run("policy verify @e.dsse --authority @owner.pub").unwrap();
    trial.run("policy install @e.dsse").unwrap();
    trial.run(&GRANT.replace("--key @phone.key", "--draft @c.json")).unwrap();
    assert!(trial.local().list().unwrap().is_empty());
    trial.run("policy sign @c.json --type consent --key @phone.key -o @c.dsse").unwrap();
    trial.run("policy install @c.dsse").unwrap();
    assert!(trial.local().list().unwrap()[0].live);
    // Played again they change nothing.
    trial.run("owner remove --yes @phone.pub --key @owner.key").unwrap();
    assert!(trial.fails("policy install @e.dsse").contains("does not follow the last enrolment"));
    assert_eq!(enrolled(&trial).len(), 1);
    // One hand, and only one.
    for hands in ["", "--pin --draft @x.json", "--key @owner.key --draft @x.json"] {
        assert!(trial.run(&GRANT.replace("--key @phone.key", hands)).is_err(), "{hands}");
    }
}

#[test]
fn a_change_of_owners_is_told_and_moves_no_flow() {
    let trial = with_phone();
    let mut local = trial.local();
    let order = EnrolmentOrder { act: EnrolmentAct::Enrol, owner_key: key(&trial, "phone") };
    fs::write(trial.path("e.json"), local.draft_enrolment(&order).unwrap().payload).unwrap();
    trial.run("policy sign @e.json --type enrolment --key @owner.key -o @e.dsse").unwrap();
    local.submit(&trial.read("e.dsse")).unwrap();
    assert_eq!(local.take_changes(), [Change::Owners]);
    assert!(local.submit(&trial.read("e.dsse")).unwrap().effect.contains("already"));
    assert_eq!(local.take_changes(), []);
}

#[test]
fn an_enrolment_that_cannot_be_stored_is_not_in_force() {
    let trial = with_phone();
    // Its file cannot be made.
    fs::create_dir_all(trial.state().join("enrolments/0000.dsse.new")).unwrap();
    let error = trial.fails("owner add --yes @phone.pub --key @owner.key");
    assert!(error.contains("0000.dsse"), "{error}");
    assert!(trial.fails(GRANT).contains("owner key"));
    fs::remove_dir(trial.state().join("enrolments/0000.dsse.new")).unwrap();
    trial.run("owner add --yes @phone.pub --key @owner.key").unwrap();
    trial.run(GRANT).unwrap();
}

#[test]
fn a_damaged_enrolment_lets_nobody_widen_and_is_told() {
    let trial = with_phone();
    trial.run("owner add --yes @phone.pub --key @owner.key").unwrap();
    trial.run(GRANT).unwrap();
    trial.run("owner remove --yes @phone.pub --key @owner.key").unwrap();
    let file = trial.state().join("enrolments/0001.dsse");
    let good = fs::read(&file).unwrap();
    for damaged in [good[..good.len() / 2].to_vec(), Vec::new(), vec![b' '; 2 << 20]] {
        fs::write(&file, damaged).unwrap();
        let local = trial.local();
        assert!(local.complaints()[0].contains("stored enrolment 1"), "{:?}", local.complaints());
        assert!(local.control().owners().keys().is_empty());
        drop(local);
        assert!(trial.fails(&GRANT.replace("phone", "owner")).contains("owner key"));
    }
    fs::write(&file, good).unwrap();
    assert_eq!(enrolled(&trial), [key(&trial, "owner")]);
    assert_eq!(trial.local().control().grants().live().len(), 1);
}
