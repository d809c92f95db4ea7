//! Each template makes a request that a car takes, and asks for little.

use super::super::super::trial::Trial;
use super::*;
use glovebox_core::consent::document::read;
use glovebox_core::consent::document::request::Request;
use glovebox_core::consent::transform::fault;

fn made(line: &str) -> Request {
    let trial = Trial::new();
    trial.run(&format!("policy new request {line} -o @r.json")).unwrap();
    read(&trial.read("r.json")).unwrap()
}

#[test]
fn each_template_is_a_request_that_a_car_takes() {
    for template in table::ALL {
        let request = made(&format!("--template {} --recipient acme", template.id));
        assert_eq!((request.purpose.id.as_str(), request.id.as_str()), (template.id, template.id));
        assert_eq!(request.purpose.text.len(), 2, "{}", template.id);
        assert_eq!(request.signals, template.signals(Vss::V6).unwrap());
        assert_eq!((request.profiling, request.batch_age_s), (template.judges, template.batch_age_s));
        assert!(!in_words(template, Vss::V6).unwrap().is_empty());
    }
}

#[test]
fn every_leaf_of_a_template_has_a_category_and_only_three_ask_for_a_place() {
    let mut places = Vec::new();
    for template in table::ALL {
        for asked in template.signals(Vss::V5).unwrap() {
            let category = Category::of(&asked.signal);
            assert_ne!(category, Category::Unknown, "{}: {}", template.id, asked.signal);
            if category == Category::Location && !places.contains(&template.id) {
                places.push(template.id);
            }
        }
    }
    assert_eq!(places, ["stolen-car", "road-weather", "breakdown"]);
}

#[test]
fn no_template_asks_for_a_signal_as_it_is() {
    for template in table::ALL {
        for asked in template.signals(Vss::V6).unwrap() {
            assert!(!asked.transforms.is_empty(), "{}: {}", template.id, asked.signal);
        }
    }
}

#[test]
fn only_what_feeds_a_figure_is_denied() {
    let denied = |name: &str, leaf: &str| {
        let request = made(&format!("--template {name}"));
        let asked = request.signals.into_iter().find(|asked| asked.signal.as_str() == leaf).unwrap();
        Rule::of(&asked.transforms) == Rule::Deny
    };
    assert!(
        denied("ubi-score", "Vehicle.Acceleration.Longitudinal"),
        "what the score is made of stays in the car"
    );
    assert!(!denied("tyre-care", "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure"));
    assert!(!denied("ubi-mileage", "Vehicle.TraveledDistance"));
}

#[test]
fn no_template_names_an_op_that_is_not_there() {
    for template in table::ALL {
        for spec in template.signals(Vss::V6).unwrap().iter().flat_map(|asked| &asked.transforms) {
            assert_eq!(fault(spec), None, "{}", template.id);
        }
    }
}

#[test]
fn what_is_exact_is_agreed_to_for_a_day_when_it_is_needed() {
    for template in table::ALL {
        let exact = |asked: &RequestedSignal| {
            let is_cell = asked.transforms.iter().any(|spec| spec.op == "geo_cell");
            Category::of(&asked.signal) == Category::Location && !is_cell
        };
        let is_exact = template.signals(Vss::V6).unwrap().iter().any(exact);
        assert_eq!(template.days, is_exact.then_some(1), "{}", template.id);
        assert_eq!(in_words(template, Vss::V6).unwrap().contains("--days 1`"), is_exact, "{}", template.id);
    }
}

#[test]
fn ten_kilometres_are_ten_kilometres_in_each_vss() {
    let step = |vss: &str| {
        let request = made(&format!("--template ubi-mileage {vss}"));
        transforms(&request.signals[0].transforms)
    };
    let told = |vss| in_words(Template::named("ubi-mileage").unwrap(), vss).unwrap();
    for vss in [Vss::V5, Vss::V6] {
        assert!(told(vss).contains("rounded down to steps of 10 km; at most once in 30 d"), "{}", told(vss));
    }
    assert_eq!(step(""), "rounded down to steps of 10000; at most once in 30 d", "VSS 6 counts metres");
    assert_eq!(step("--vss 5"), "rounded down to steps of 10; at most once in 30 d");
}

#[test]
fn options_go_over_the_template_and_an_unknown_one_is_named() {
    let request = made("--template tyre-care --purpose winter --text Words --retention P1D --batch-age 60");
    assert_eq!(request.purpose.id.as_str(), "winter");
    assert_eq!((request.purpose.text.len(), request.purpose.text[0].text.as_str()), (1, "Words"));
    assert_eq!((request.retention_period.as_str(), request.batch_age_s), ("P1D", 60));
    let more = made("--template ubi-mileage --signal Vehicle.Speed:rate=1000");
    assert_eq!(more.signals.len(), 2, "the signals of the template and those named");
    let error = Trial::new().fails("policy new request --template tires");
    assert!(error.contains("known are tyre-care, service-planning"), "{error}");
}
