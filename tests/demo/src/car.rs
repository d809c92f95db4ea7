//! A car of our own: its messages and signals, as DBC, as a mapping to VSS names, and as frames.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// A message: identifier, name, and how often it is sent.
pub(crate) struct Message {
    pub(crate) id: u32,
    pub(crate) name: &'static str,
    pub(crate) every_ms: u64,
}

/// A signal in little-endian bits.
pub(crate) struct Signal {
    /// Index into [`MESSAGES`].
    pub(crate) message: usize,
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    start: u32,
    bits: u32,
    signed: bool,
    factor: f64,
    offset: f64,
    pub(crate) unit: &'static str,
}

pub(crate) const MESSAGES: [Message; 7] = [
    Message { id: 0x0F1, name: "Motion", every_ms: 50 },
    Message { id: 0x1B0, name: "Odometer", every_ms: 500 },
    Message { id: 0x2C0, name: "TyresFront", every_ms: 1000 },
    Message { id: 0x2C1, name: "TyresRear", every_ms: 1000 },
    Message { id: 0x3D0, name: "TractionBattery", every_ms: 200 },
    Message { id: 0x4E0, name: "Position", every_ms: 200 },
    Message { id: 0x5F0, name: "Occupants", every_ms: 500 },
];

const fn signal(
    message: usize,
    (name, path): (&'static str, &'static str),
    (start, bits, signed): (u32, u32, bool),
    (factor, offset): (f64, f64),
    unit: &'static str,
) -> Signal {
    Signal { message, name, path, start, bits, signed, factor, offset, unit }
}

const TYRE_BITS: [(u32, u32, bool); 4] = [(0, 16, false), (16, 8, false), (24, 16, false), (40, 8, false)];
const KPA: (f64, f64) = (0.1, 0.0);
const CELSIUS: (f64, f64) = (0.5, -40.0);

/// All signals, in the order of [`crate::model::State::values`].
#[rustfmt::skip]
pub(crate) const SIGNALS: [Signal; 25] = [
    signal(0, ("Speed", "Vehicle.Speed"), (0, 16, false), (0.01, 0.0), "km/h"),
    signal(0, ("AccelLong", "Vehicle.Acceleration.Longitudinal"), (16, 16, true), (0.001, 0.0), "m/s^2"),
    signal(0, ("SteerAngle", "Vehicle.Chassis.SteeringWheel.Angle"), (32, 16, true), (0.1, 0.0), "degrees"),
    signal(0, ("Accelerator", "Vehicle.Chassis.Accelerator.PedalPosition"), (48, 8, false), (0.5, 0.0), "percent"),
    signal(0, ("Brake", "Vehicle.Chassis.Brake.PedalPosition"), (56, 8, false), (0.5, 0.0), "percent"),
    signal(1, ("Distance", "Vehicle.TraveledDistance"), (0, 32, false), (0.01, 0.0), "km"),
    signal(2, ("PressureFL", "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Pressure"), TYRE_BITS[0], KPA, "kPa"),
    signal(2, ("TempFL", "Vehicle.Chassis.Axle.Row1.Wheel.Left.Tire.Temperature"), TYRE_BITS[1], CELSIUS, "celsius"),
    signal(2, ("PressureFR", "Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.Pressure"), TYRE_BITS[2], KPA, "kPa"),
    signal(2, ("TempFR", "Vehicle.Chassis.Axle.Row1.Wheel.Right.Tire.Temperature"), TYRE_BITS[3], CELSIUS, "celsius"),
    signal(3, ("PressureRL", "Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.Pressure"), TYRE_BITS[0], KPA, "kPa"),
    signal(3, ("TempRL", "Vehicle.Chassis.Axle.Row2.Wheel.Left.Tire.Temperature"), TYRE_BITS[1], CELSIUS, "celsius"),
    signal(3, ("PressureRR", "Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.Pressure"), TYRE_BITS[2], KPA, "kPa"),
    signal(3, ("TempRR", "Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.Temperature"), TYRE_BITS[3], CELSIUS, "celsius"),
    signal(4, ("StateOfCharge", "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current"), (0, 16, false), (0.01, 0.0), "percent"),
    signal(4, ("Voltage", "Vehicle.Powertrain.TractionBattery.CurrentVoltage"), (16, 16, false), (0.1, 0.0), "V"),
    signal(4, ("Current", "Vehicle.Powertrain.TractionBattery.CurrentCurrent"), (32, 16, true), (0.1, 0.0), "A"),
    signal(4, ("PackTemp", "Vehicle.Powertrain.TractionBattery.Temperature.Average"), (48, 8, false), CELSIUS, "celsius"),
    signal(5, ("Latitude", "Vehicle.CurrentLocation.Latitude"), (0, 32, true), (0.000_000_1, 0.0), "degrees"),
    signal(5, ("Longitude", "Vehicle.CurrentLocation.Longitude"), (32, 32, true), (0.000_000_1, 0.0), "degrees"),
    signal(6, ("Heading", "Vehicle.CurrentLocation.Heading"), (0, 16, false), (0.01, 0.0), "degrees"),
    signal(6, ("DriverDoor", "Vehicle.Cabin.Door.Row1.DriverSide.IsOpen"), (16, 1, false), (1.0, 0.0), ""),
    signal(6, ("DriverBelt", "Vehicle.Cabin.Seat.Row1.DriverSide.IsBelted"), (17, 1, false), (1.0, 0.0), ""),
    signal(6, ("HeartRate", "Vehicle.Driver.HeartRate"), (24, 8, false), (1.0, 0.0), "bpm"),
    signal(6, ("Fatigue", "Vehicle.Driver.FatigueLevel"), (32, 8, false), (0.5, 0.0), "percent"),
];

impl Signal {
    /// The raw number that stands for a value.
    #[expect(clippy::cast_possible_truncation, reason = "clamped to at most 32 bits just before")]
    fn raw(&self, value: f64) -> i64 {
        let (low, high) = match self.signed {
            true => (-(1_i64 << (self.bits - 1)), (1_i64 << (self.bits - 1)) - 1),
            false => (0, (1_i64 << self.bits) - 1),
        };
        let raw = ((value - self.offset) / self.factor).round();
        (raw.clamp(-2_147_483_648.0, 4_294_967_295.0) as i64).clamp(low, high)
    }

    /// The value as it stands on the bus.
    pub(crate) fn on_bus(&self, value: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most 32 bits")]
        let raw = self.raw(value) as f64;
        raw * self.factor + self.offset
    }

    fn bits(&self, value: f64) -> u64 {
        let mask = (1_u64 << self.bits) - 1;
        (self.raw(value).cast_unsigned() & mask) << self.start
    }
}

/// The data of a message, of the values of all signals.
pub(crate) fn data(message: usize, values: &[f64]) -> [u8; 8] {
    let of_message = SIGNALS.iter().zip(values).filter(|(signal, _)| signal.message == message);
    of_message.map(|(signal, value)| signal.bits(*value)).fold(0, |all, bits| all | bits).to_le_bytes()
}

/// The database of this car.
pub(crate) fn dbc() -> String {
    let mut text = String::from("VERSION \"\"\n\nNS_ :\n\nBS_:\n\nBU_: Car\n");
    for (number, message) in MESSAGES.iter().enumerate() {
        let _ = write!(text, "\nBO_ {} {}: 8 Car\n", message.id, message.name);
        for signal in SIGNALS.iter().filter(|signal| signal.message == number) {
            let Signal { name, start, bits, factor, offset, unit, .. } = signal;
            let sign = if signal.signed { '-' } else { '+' };
            let _ = writeln!(
                text,
                " SG_ {name} : {start}|{bits}@1{sign} ({factor},{offset}) [0|0] \"{unit}\" Car"
            );
        }
    }
    text
}

/// Which signal is which leaf of VSS, in the form of Kuksa's mapping files.
pub(crate) fn mapping() -> Value {
    let mut root = Map::new();
    for signal in &SIGNALS {
        let words: Vec<&str> = signal.path.split('.').collect();
        insert(&mut root, &words, signal.name);
    }
    Value::Object(root)
}

fn insert(branch: &mut Map<String, Value>, words: &[&str], name: &str) {
    let Some((first, rest)) = words.split_first() else { return };
    if rest.is_empty() {
        // Without an interval it would be once a second.
        let leaf = json!({ "type": "sensor", "dbc2vss": { "signal": name, "interval_ms": 0 } });
        branch.insert((*first).to_owned(), leaf);
        return;
    }
    let node = branch.entry(*first).or_insert_with(|| json!({ "type": "branch", "children": {} }));
    if let Some(Value::Object(children)) = node.get_mut("children") {
        insert(children, rest, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_of_a_message_do_not_overlap_and_fit() {
        for number in 0..MESSAGES.len() {
            let mut used = 0_u64;
            for signal in SIGNALS.iter().filter(|signal| signal.message == number) {
                let bits = ((1_u64 << signal.bits) - 1) << signal.start;
                assert!(signal.start + signal.bits <= 64 && used & bits == 0, "{}", signal.name);
                used |= bits;
            }
            assert_ne!(used, 0);
        }
    }

    #[test]
    fn what_stands_on_the_bus_is_the_nearest_step() {
        let latitude = &SIGNALS[18];
        assert!((latitude.on_bus(-48.137_123_456) - -48.137_123_5).abs() < 1e-9);
        assert_eq!(latitude.bits(-0.000_000_1), 0xFFFF_FFFF);
        assert!((SIGNALS[7].on_bus(-60.0) - -40.0).abs() < 1e-9, "clamped");
    }
}
