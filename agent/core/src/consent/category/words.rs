//! What the categories are called: in the car, in three languages, and elsewhere.
//!
//! Names of others: Smartcar API permissions, BMW CarData telematics keys, Android Automotive OS car permissions.

use super::{Category, KnownAs};

/// Languages of the labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// `en`
    English,
    /// `de`
    German,
    /// `ar`, written from right to left.
    Arabic,
}

impl Language {
    /// All.
    pub const ALL: [Self; 3] = [Self::English, Self::German, Self::Arabic];

    /// Its tag (BCP 47).
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::Arabic => "ar",
        }
    }

    /// The language of a tag, whatever region or script follows.
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary))
    }
}

/// English, German, Arabic.
pub(super) fn label(category: Category, language: Language) -> &'static str {
    let [english, german, arabic] = match category {
        Category::Identity => {
            ["Car & account identity", "Kennung von Auto und Konto", "هوية السيارة والحساب"]
        }
        Category::Details => ["About the car", "Über das Auto", "معلومات عن السيارة"],
        Category::Location => ["Location & destinations", "Standort und Ziele", "الموقع والوجهات"],
        Category::Trips => ["Trips & mileage", "Fahrten und Kilometerstand", "الرحلات والمسافة المقطوعة"],
        Category::Driving => ["Driving style", "Fahrweise", "أسلوب القيادة"],
        Category::People => ["Driver & passengers", "Fahrer und Mitfahrer", "السائق والركاب"],
        Category::Energy => {
            ["Battery, charging & fuel", "Batterie, Laden und Kraftstoff", "البطارية والشحن والوقود"]
        }
        Category::Condition => {
            ["Health, tyres & service", "Zustand, Reifen und Wartung", "حالة السيارة والإطارات والصيانة"]
        }
        Category::Access => ["Doors, locks & alarm", "Türen, Schlösser und Alarm", "الأبواب والأقفال والإنذار"],
        Category::Comfort => ["Climate & seats", "Klima und Sitze", "التكييف والمقاعد"],
        Category::Media => {
            ["Media, phone & screen", "Medien, Telefon und Bildschirm", "الوسائط والهاتف والشاشة"]
        }
        Category::Surroundings => ["Road & weather", "Straße und Wetter", "الطريق والطقس"],
        Category::Unknown => ["Not classified", "Nicht eingeordnet", "غير مصنّف"],
    };
    match language {
        Language::English => english,
        Language::German => german,
        Language::Arabic => arabic,
    }
}

pub(super) fn pii_type(category: Category) -> &'static str {
    match category {
        Category::Identity => "pd:Identifier",
        Category::Details | Category::Condition => "pd:Vehicle",
        Category::Location => "pd:CurrentLocation",
        Category::Trips | Category::Energy => "pd:VehicleUsage",
        Category::Driving | Category::Access | Category::Comfort => "pd:Behavioural",
        Category::People => "pd:Biometric",
        Category::Media => "pd:ServiceConsumptionBehaviour",
        Category::Surroundings => "pd:Geographic",
        Category::Unknown => "",
    }
}

#[rustfmt::skip]
pub(super) fn known_as(category: Category) -> KnownAs {
    let (smartcar, cardata, android): (&[&str], &[&str], &[&str]) = match category {
        Category::Identity => (
            &["read_vin", "read_user_profile"],
            &["vehicle.vehicleIdentification.*", "vehicle.sim.status"],
            &["CAR_IDENTIFICATION"],
        ),
        Category::Details => (
            &["read_vehicle_info", "read_extended_vehicle_info"],
            &["vehicle.look.*", "vehicle.extras.*"],
            &["CAR_INFO"],
        ),
        Category::Location => (
            &["read_location", "read_compass", "read_charge_locations"],
            &["vehicle.cabin.infotainment.navigation.*", "vehicle.learningNavigation"],
            &["ACCESS_FINE_LOCATION", "ACCESS_COARSE_LOCATION"],
        ),
        Category::Trips => (
            &["read_odometer"],
            &["vehicle.vehicle.travelledDistance", "vehicle.trip.segment.end.*", "vehicle.isMoving"],
            &["CAR_MILEAGE", "CAR_MILEAGE_3P"],
        ),
        Category::Driving => (
            &["read_speedometer"],
            &["vehicle.trip.segment.accumulated.*", "vehicle.vehicle.avgSpeed", "vehicle.vehicle.speedRange.*"],
            &["CAR_SPEED", "READ_CAR_STEERING", "READ_CAR_PEDALS", "CAR_DYNAMICS_STATE"],
        ),
        Category::People => (&[], &[], &["READ_DRIVER_MONITORING_STATES"]),
        Category::Energy => (
            &["read_battery", "read_charge", "read_charge_events", "read_charge_records", "read_fuel"],
            &["vehicle.drivetrain.electricEngine.*", "vehicle.drivetrain.batteryManagement.*",
              "vehicle.drivetrain.fuelSystem.*", "vehicle.powertrain.*", "vehicle.electricalSystem.*",
              "vehicle.body.chargingPort.*"],
            &["CAR_ENERGY", "CAR_ENERGY_PORTS"],
        ),
        Category::Condition => (
            &["read_diagnostics", "read_engine_oil", "read_tires", "read_alerts", "read_service_history"],
            &["vehicle.chassis.axle.*", "vehicle.electronicControlUnit.*", "vehicle.status.*",
              "vehicle.serviceDemand.*", "vehicle.channel.teleservice.*"],
            &["CAR_TIRES", "CAR_TIRES_3P", "CAR_ENGINE_DETAILED"],
        ),
        Category::Access => (
            &["read_security"],
            &["vehicle.cabin.door.*", "vehicle.cabin.window.*", "vehicle.cabin.sunroof.*", "vehicle.cabin.convertible.*",
              "vehicle.body.hood.*", "vehicle.body.trunk.*", "vehicle.vehicle.antiTheftAlarmSystem.*"],
            &["CONTROL_CAR_DOORS", "CONTROL_CAR_WINDOWS"],
        ),
        Category::Comfort => (
            &["read_climate", "read_thermometer"],
            &["vehicle.cabin.hvac.*", "vehicle.cabin.climate.*", "vehicle.cabin.seat.*",
              "vehicle.vehicle.preConditioning.*"],
            &["CONTROL_CAR_CLIMATE"],
        ),
        Category::Media => (
            &[],
            &["vehicle.cabin.infotainment.hmi.*", "vehicle.cabin.infotainment.displayUnit.*",
              "vehicle.cabin.infotainment.isMobilePhoneConnected"],
            &[],
        ),
        Category::Surroundings => (&[], &[], &["CAR_EXTERIOR_ENVIRONMENT"]),
        Category::Unknown => (&[], &[], &[]),
    };
    KnownAs { smartcar, cardata, android }
}
