//! Derived signals from wish to record, and in the words that the owner reads.

use super::drafts::{Names, wish};
use super::{aliases, empty, take};
use crate::consent::category::Category;
use crate::consent::document::bundle::Bundle;
use crate::consent::document::record::{ConsentRecord, Decision};
use crate::consent::document::samples::{
    ACME, OWNER, SPEED, bundle, bundle_file, catalogued, leaf_digest, rate, record_file, request, sign,
};
use crate::consent::document::{describe, never_leave};
use crate::consent::effective::Clause;
use crate::consent::grants::Effect;
use crate::consent::transform::TransformSpec;
use crate::control::DraftError;
use crate::names::SignalPath;

const PARKED: &str = "Derived.IsParked";
const BRAKE: &str = "Vehicle.Chassis.ParkingBrake.IsEngaged";

fn in_vehicle() -> TransformSpec {
    TransformSpec { op: "in_vehicle".to_owned(), parameters: [].into() }
}

/// Acme asks whether the car is parked, and for what that is made of inside the car.
fn asks() -> Bundle {
    let mut asked = request("acme", "tyre-care", &[PARKED, SPEED, BRAKE]);
    for signal in &mut asked.signals[1..] {
        signal.transforms = vec![in_vehicle()];
    }
    let mut bundle = bundle(1);
    bundle.requests = vec![sign(&asked, ACME)];
    bundle.catalogue = [PARKED, SPEED, BRAKE].map(|path| catalogued(path, Category::Driving)).to_vec();
    bundle.catalogue[1].floor = vec![rate(60_000)];
    bundle
}

fn drafted(bundle: &Bundle, wanted: &dyn Fn(&SignalPath) -> bool) -> ConsentRecord {
    let mut control = empty();
    take(&mut control, &bundle_file(bundle)).unwrap();
    let names = Names("acme".parse().unwrap(), "tyre-care".parse().unwrap());
    control.draft(&wish(&names, 1, wanted), &leaf_digest, &aliases).unwrap()
}

fn decisions(record: &ConsentRecord) -> Vec<Decision> {
    record.pii_information.iter().map(|item| item.decision).collect()
}

#[test]
fn what_is_asked_for_inside_the_car_is_agreed_to_with_what_is_made_of_it() {
    use Decision::{InVehicle, No, Yes};
    assert_eq!(decisions(&drafted(&asks(), &|_| true)), [Yes, InVehicle, InVehicle]);
    let parked = |signal: &SignalPath| signal.as_str() == PARKED;
    let record = drafted(&asks(), &parked);
    assert_eq!(decisions(&record), [Yes, InVehicle, InVehicle], "to want the one is to have it worked out");
    let mut other = asks();
    let mut asked = request("acme", "tyre-care", &[PARKED, SPEED, BRAKE, "Vehicle.Powertrain.Range"]);
    asked.signals[1].transforms = vec![in_vehicle()];
    asked.signals[2].transforms = vec![in_vehicle()];
    other.requests = vec![sign(&asked, ACME)];
    other.catalogue.push(catalogued("Vehicle.Powertrain.Range", Category::Energy));
    let range = |signal: &SignalPath| signal.as_str() == "Vehicle.Powertrain.Range";
    assert_eq!(decisions(&drafted(&other, &range)), [No, No, No, Yes]);
}

/// A renewal that lets nothing leave would end the grant that is there without a word.
#[test]
fn a_derived_signal_alone_is_not_drafted_without_what_it_is_made_of() {
    let mut bundle = asks();
    bundle.requests = vec![sign(&request("acme", "tyre-care", &[PARKED, SPEED, BRAKE]), ACME)];
    let mut control = empty();
    take(&mut control, &bundle_file(&bundle)).unwrap();
    let names = Names("acme".parse().unwrap(), "tyre-care".parse().unwrap());
    let draft = |wanted: &[&str]| {
        let wanted = |signal: &SignalPath| wanted.contains(&signal.as_str());
        control.draft(&wish(&names, 1, &wanted), &leaf_digest, &aliases)
    };
    let not_fed = |input: &str| {
        Err(DraftError::NotFed { signal: PARKED.parse().unwrap(), input: input.parse().unwrap() })
    };
    assert_eq!(draft(&[PARKED]), not_fed(SPEED));
    assert_eq!(draft(&[PARKED, SPEED]).map(|_| ()), Ok(()), "the speed leaves");
    assert_eq!(draft(&[PARKED, SPEED, BRAKE]).map(|_| ()), Ok(()));
}

#[test]
fn the_limits_of_its_inputs_are_resolved_in_it_and_a_record_without_them_is_refused() {
    let record = drafted(&asks(), &|_| true);
    assert_eq!(record.pii_information[0].transform, [rate(60_000)]);
    let mut control = empty();
    take(&mut control, &bundle_file(&asks())).unwrap();
    let mut more = record.clone();
    more.pii_information[0].transform.clear();
    let refusal = take(&mut control, &record_file(&more, OWNER)).unwrap_err().to_string();
    assert!(refusal.contains("pii_information[0].transform"), "{refusal}");
    let mut hidden = asks();
    hidden.catalogue[0].category = Category::Condition;
    assert_eq!(drafted(&hidden, &|_| true).pii_information[0].category, Category::Driving);
    assert_eq!(take(&mut control, &record_file(&record, OWNER)).unwrap().1, Effect::Widens);
}

#[test]
fn the_owner_reads_what_it_is_made_of_and_that_it_stays() {
    let record = drafted(&asks(), &|_| true);
    let text = describe(&record);
    for line in [
        "May leave the car:\n  + Derived.IsParked: at most once in 1 min\n      says whether the car stands (below 1 km/h) with its parking brake on\n",
        "      worked out in the car of Vehicle.Speed, Vehicle.Chassis.ParkingBrake.IsEngaged, which it does not tell\n",
        "Stays in the car, and is used there:\n  - Vehicle.Speed: for Derived.IsParked\n  - Vehicle.Chassis.ParkingBrake.IsEngaged: for Derived.IsParked\n",
    ] {
        assert!(text.contains(line), "{line}\nis missing in:\n{text}");
    }
    assert_eq!(never_leave(&record), []);
    let mut also = record.clone();
    also.pii_information[1].decision = Decision::Yes;
    also.pii_information[1].transform.clear();
    let text = describe(&also);
    assert!(text.contains("of Vehicle.Speed, also told above\n"), "{text}");
    assert!(text.contains("of Vehicle.Chassis.ParkingBrake.IsEngaged, which it does not tell\n"), "{text}");
    let mut without = record;
    without.pii_information[2].decision = Decision::No;
    let told: Vec<_> = never_leave(&without).into_iter().map(|(path, why)| (path.to_string(), why)).collect();
    assert_eq!(told, [(PARKED.to_owned(), Clause::InputNotGranted)]);
    let text = describe(&without);
    assert!(text.contains("May leave the car:\n  nothing\nAGREED TO, BUT NOTHING OF IT LEAVES"), "{text}");
    assert!(
        text.contains("  ! Derived.IsParked: at most once in 1 min (the owner did not agree to all"),
        "{text}"
    );
}
