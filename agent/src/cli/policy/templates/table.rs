//! The table of ready-made purposes. Times are milliseconds; `KM` behind a step makes metres of kilometres where a car
//! counts so.

use super::{Asked, Template};
use glovebox_core::consent::document::request::Necessity::{self, Optional, Required};

const PROVISION: &str = "https://w3id.org/dpv#ServiceProvision";
const OPTIMISATION: &str = "https://w3id.org/dpv#ServiceOptimisation";

const PRESSURES: &[&str] = &[
    "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure",
    "Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.Pressure",
    "Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.Pressure",
    "Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.Pressure",
];
const LOW: &[&str] = &[
    "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.IsPressureLow",
    "Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.IsPressureLow",
    "Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.IsPressureLow",
    "Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.IsPressureLow",
];
const TEMPERATURES: &[&str] = &[
    "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Temperature",
    "Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.Temperature",
    "Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.Temperature",
    "Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.Temperature",
];
const ODOMETER: &[&str] = &["Vehicle.TraveledDistance"];
const PLACE: &[&str] = &["Vehicle.CurrentLocation.Latitude", "Vehicle.CurrentLocation.Longitude"];

const fn ask(leaves: &'static [&'static str], necessity: Necessity, transforms: &'static str) -> Asked {
    Asked { leaves, necessity, transforms, unit: "", km: false }
}

impl Asked {
    const fn of(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }
}

const fn by_km(leaves: &'static [&'static str], necessity: Necessity, transforms: &'static str) -> Asked {
    Asked { leaves, necessity, transforms, unit: "km", km: true }
}

pub(super) const ALL: &[Template] = &[
    Template {
        id: "tyre-care",
        texts: [
            "To tell you in time when a tyre loses air or wears.",
            "Um Ihnen rechtzeitig zu sagen, wenn ein Reifen Luft verliert oder sich abnutzt.",
        ],
        code: PROVISION,
        retention: "P1Y",
        batch_age_s: 3_600,
        max_age_s: Some(604_800),
        judges: false,
        days: None,
        signals: &[
            ask(
                PRESSURES,
                Required,
                r#"[{"op":"quantise","step":5},{"op":"rate","min_interval_ms":300000}]"#,
            )
            .of("kPa"),
            ask(LOW, Optional, r#"[{"op":"on_change"}]"#),
            ask(
                TEMPERATURES,
                Optional,
                r#"[{"op":"quantise","step":5},{"op":"rate","min_interval_ms":300000}]"#,
            )
            .of("°C"),
        ],
    },
    Template {
        id: "service-planning",
        texts: ["To plan the next service with you.", "Um die nächste Wartung mit Ihnen zu planen."],
        code: PROVISION,
        retention: "P1Y",
        batch_age_s: 3_600,
        max_age_s: None,
        judges: false,
        days: None,
        signals: &[
            ask(&["Vehicle.Service.IsServiceDue"], Required, r#"[{"op":"on_change"}]"#),
            ask(
                &["Vehicle.Service.DistanceToService"],
                Required,
                r#"[{"op":"quantise","step":100},{"op":"rate","min_interval_ms":86400000}]"#,
            )
            .of("km"),
            ask(
                &["Vehicle.Service.TimeToService"],
                Required,
                r#"[{"op":"quantise","step":86400},{"op":"rate","min_interval_ms":86400000}]"#,
            )
            .of("s"),
            ask(&["Vehicle.Diagnostics.DTCCount"], Optional, r#"[{"op":"rate","min_interval_ms":86400000}]"#),
            by_km(
                ODOMETER,
                Optional,
                r#"[{"op":"quantise","step":100KM},{"op":"rate","min_interval_ms":86400000}]"#,
            ),
        ],
    },
    Template {
        id: "ubi-mileage",
        texts: [
            "To set your insurance premium by how far you drive, never by where or how.",
            "Um Ihren Beitrag danach zu bemessen, wie weit Sie fahren, nie danach, wo oder wie.",
        ],
        code: PROVISION,
        retention: "P1Y",
        batch_age_s: 3_600,
        max_age_s: None,
        judges: false,
        days: None,
        signals: &[by_km(
            ODOMETER,
            Required,
            r#"[{"op":"quantise","step":10KM},{"op":"rate","min_interval_ms":2592000000}]"#,
        )],
    },
    Template {
        id: "ubi-score",
        texts: [
            "To set your insurance premium by a score that your car works out. What it works it out of stays in the car.",
            "Um Ihren Beitrag nach einer Zahl zu bemessen, die Ihr Auto ausrechnet. Woraus, das bleibt im Auto.",
        ],
        code: PROVISION,
        retention: "P1Y",
        batch_age_s: 3_600,
        max_age_s: None,
        judges: true,
        days: None,
        signals: &[
            // Of a trip the share in which the car braked hard, in hundredths; not of one of a few moments.
            ask(
                &["Derived.IsBrakingHard"],
                Required,
                r#"[{"op":"aggregate","window":"trip","functions":["mean"],"min_samples":60},{"op":"quantise","step":0.01}]"#,
            ),
            ask(&["Vehicle.Acceleration.Longitudinal"], Required, r#"[{"op":"in_vehicle"}]"#),
        ],
    },
    Template {
        id: "charge-optimise",
        texts: [
            "To charge your car when power is cheap and clean.",
            "Um Ihr Auto zu laden, wenn Strom günstig und sauber ist.",
        ],
        code: OPTIMISATION,
        retention: "P90D",
        batch_age_s: 900,
        max_age_s: Some(86_400),
        judges: false,
        days: None,
        signals: &[
            ask(
                &["Vehicle.Powertrain.TractionBattery.StateOfCharge.Displayed"],
                Required,
                r#"[{"op":"quantise","step":5},{"op":"on_change"}]"#,
            )
            .of("%"),
            ask(
                &[
                    "Vehicle.Powertrain.TractionBattery.Charging.IsCharging",
                    "Vehicle.Powertrain.TractionBattery.Charging.ChargeLimit",
                ],
                Required,
                r#"[{"op":"on_change"}]"#,
            ),
            ask(
                &["Vehicle.Powertrain.TractionBattery.Charging.TimeToComplete"],
                Optional,
                r#"[{"op":"quantise","step":900},{"op":"rate","min_interval_ms":900000}]"#,
            )
            .of("s"),
        ],
    },
    Template {
        id: "stolen-car",
        texts: [
            "To find your car when it was stolen. Agree to it then, for a day, and never before.",
            "Um Ihr Auto zu finden, wenn es gestohlen wurde. Stimmen Sie dann zu, für einen Tag, und nie vorher.",
        ],
        code: PROVISION,
        retention: "P30D",
        batch_age_s: 30,
        max_age_s: Some(86_400),
        judges: false,
        days: Some(1),
        signals: &[ask(PLACE, Required, r#"[{"op":"rate","min_interval_ms":10000}]"#)],
    },
    Template {
        id: "road-weather",
        texts: [
            "To warn others of ice and rain, by area and half an hour later, not by your way.",
            "Um andere vor Eis und Regen zu warnen, nach Gegend und eine halbe Stunde später, nicht nach Ihrem Weg.",
        ],
        code: PROVISION,
        retention: "P1D",
        batch_age_s: 900,
        max_age_s: Some(7_200),
        judges: false,
        days: None,
        signals: &[
            ask(
                &["Vehicle.Exterior.AirTemperature"],
                Required,
                r#"[{"op":"quantise","step":1},{"op":"time_bucket","granularity_s":900},{"op":"delay","hold_back_s":1800}]"#,
            )
            .of("°C"),
            ask(
                &[
                    "Vehicle.Exterior.Humidity",
                    "Vehicle.Body.Raindetection.Intensity",
                    "Vehicle.ADAS.ESC.RoadFriction.MostProbable",
                ],
                Optional,
                r#"[{"op":"quantise","step":10},{"op":"time_bucket","granularity_s":900},{"op":"delay","hold_back_s":1800}]"#,
            )
            .of("%"),
            ask(
                PLACE,
                Required,
                r#"[{"op":"geo_cell","resolution":7},{"op":"time_bucket","granularity_s":900},{"op":"delay","hold_back_s":1800}]"#,
            ),
        ],
    },
    Template {
        id: "breakdown",
        texts: [
            "To send help when you ask for it: once, with what is broken and where you are. Agree to it then, for a day.",
            "Um Hilfe zu schicken, wenn Sie darum bitten: einmal, mit dem, was kaputt ist und wo Sie sind. Stimmen Sie dann zu, für einen Tag.",
        ],
        code: PROVISION,
        retention: "P30D",
        batch_age_s: 5,
        max_age_s: Some(3_600),
        judges: false,
        days: Some(1),
        signals: &[
            ask(
                &["Vehicle.Diagnostics.DTCList"],
                Required,
                r#"[{"op":"rate","min_interval_ms":86400000}]"#,
            ),
            ask(PLACE, Required, r#"[{"op":"rate","min_interval_ms":86400000}]"#),
        ],
    },
];
