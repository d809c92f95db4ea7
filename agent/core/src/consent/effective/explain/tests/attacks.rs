//! Attacks by documents that are rightly signed, a test each: nothing more leaves by them. `tests/attacks.txt` has all.

use super::*;
use crate::consent::document::samples::{LATITUDE, STRANGER, recipient};
use crate::consent::document::write;

/// What leaves now, by name.
fn leaving(world: &World) -> Vec<String> {
    let effective = world.ask(Effective::of);
    let signals = effective.flows.iter().flat_map(|flow| &flow.signals);
    signals.filter(|rules| rules.permitted != Rule::Deny).map(|rules| rules.path.to_string()).collect()
}

/// A car in which the speed leaves until the world is bent so; then nothing does, for this reason.
#[track_caller]
fn stopped(bend: impl FnOnce(&mut World), clause: Clause) {
    let mut world = World::new();
    assert_eq!(leaving(&world), [SPEED]);
    bend(&mut world);
    assert_eq!(leaving(&world), Vec::<String>::new());
    assert_eq!(world.no(), clause);
}

#[test]
fn attack_a_bundle_widens_the_scope() {
    let mut wider = request("acme", "tyre-care", &[SPEED, TORQUE, LATITUDE]);
    wider.version = 2;
    stopped(|world| world.bundle.requests = vec![sign(&wider, ACME)], Clause::RequestGone);
    // Nor does what the owner refused leave because its entry in the catalogue says so.
    let mut world = World::new();
    world.records[0].pii_information[1].decision = Decision::No;
    world.bundle.catalogue.push(catalogued(TORQUE, Category::Driving));
    assert_eq!(leaving(&world), [SPEED]);
}

#[test]
fn attack_the_catalogue_moves_a_signal_into_another_category() {
    stopped(|world| world.bundle.catalogue[0].category = Category::Condition, Clause::CategoryChanged);
}

#[test]
fn attack_a_signal_map_relabels_a_place_as_a_pressure() {
    // The name that was granted now gives other bits of the bus.
    let other = String::from_utf8(DBC.to_vec()).unwrap().replace("Speed : 0|16@1+", "Speed : 32|16@1+");
    let (database, _) = Database::parse(other.as_bytes(), "car.dbc").unwrap();
    let name = "can0".parse().unwrap();
    let bus = BusDatabase { bus: BusIndex(0), name, databases: vec![database], mapping: None };
    let relabelled = Leaves::build(&[bus]).unwrap().0;
    stopped(|world| world.leaves = relabelled, Clause::ExtractionChanged);
}

#[test]
fn attack_the_key_of_a_recipient_is_swapped() {
    let asked = request("acme", "tyre-care", &[SPEED, TORQUE]);
    stopped(
        |world| {
            world.bundle.recipients[0] = recipient("acme", STRANGER);
            world.bundle.requests = vec![sign(&asked, STRANGER)];
        },
        Clause::RecipientKeyChanged,
    );
}

#[test]
fn attack_a_new_bundle_is_withheld() {
    let year_later = time("2027-12-01T00:00:00Z");
    let later = TrustedTime { earliest: year_later, latest: year_later };
    stopped(
        |world| {
            world.records[0].not_after = time("2028-01-01T00:00:00Z");
            let mut asked = request("acme", "tyre-care", &[SPEED, TORQUE]);
            asked.expires = world.records[0].not_after;
            world.bundle.requests = vec![sign(&asked, ACME)];
            world.records[0].request_digest = Digest::of(&write(&asked).unwrap());
            let mut statement = crate::consent::document::samples::hpke_statement("acme");
            statement.not_after = asked.expires;
            world.bundle.recipients[0].hpke_keys = vec![sign(&statement, ACME)];
            world.time = Some(later);
        },
        Clause::PolicyExpired,
    );
    let told = World { time: Some(later), ..World::new() }.ask(Effective::of).withheld;
    assert_eq!(told.len(), 1, "the owner is told why, for everybody");
    assert_eq!((told[0].flow, told[0].clause), (None, Clause::PolicyExpired));
}
