//! How the car drives: through a town, along a motorway, into a car park. One seed, one drive.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use crate::car::{self, MESSAGES, SIGNALS};
use crate::truth::Truth;

/// How long it drives.
pub(crate) const DRIVE_S: u64 = 360;
const STEP_MS: u64 = 50;
const STEP_S: f64 = 0.05;
/// When the drive is said to have begun, in Unix time.
const BEGIN_MS: u64 = 1_760_000_000_000;
const METRES_PER_DEGREE: f64 = 111_320.0;

/// xorshift64*; the drive needs no better chance than this.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x0123_4567_89AB_CDEF | 1)
    }

    /// Evenly from `low` to `high`.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = u32::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32).unwrap_or(0);
        low + (high - low) * f64::from(bits) / f64::from(u32::MAX)
    }
}

/// What the car is doing.
struct State {
    chance: Chance,
    time_s: f64,
    speed_ms: f64,
    acceleration: f64,
    goal_ms: f64,
    goal_until_s: f64,
    heading: f64,
    steering: f64,
    latitude: f64,
    longitude: f64,
    distance_km: f64,
    pressures: [f64; 4],
    temperatures: [f64; 4],
    charge: f64,
    current: f64,
    pack: f64,
    heart: f64,
    fatigue: f64,
}

/// A name for the part of the drive at this time.
pub(crate) fn part(time_s: f64) -> &'static str {
    match time_s {
        ..130.0 => "in town",
        ..265.0 => "on the motorway",
        ..335.0 => "looking for a parking space",
        _ => "parked",
    }
}

impl State {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let (latitude, longitude) = (48.1 + chance.between(0.0, 0.1), 11.5 + chance.between(0.0, 0.1));
        let pressures = [0; 4].map(|_| chance.between(232.0, 246.0));
        let distance_km = chance.between(20_000.0, 80_000.0);
        let (heading, charge) = (chance.between(0.0, 360.0), chance.between(55.0, 90.0));
        Self {
            chance,
            time_s: 0.0,
            speed_ms: 0.0,
            acceleration: 0.0,
            goal_ms: 0.0,
            goal_until_s: 4.0,
            heading,
            steering: 0.0,
            latitude,
            longitude,
            distance_km,
            pressures,
            temperatures: [19.0, 19.5, 18.5, 19.0],
            charge,
            current: 0.0,
            pack: 22.0,
            heart: 68.0,
            fatigue: 12.0,
        }
    }

    /// The next speed that the driver wants, and for how long.
    fn choose(&mut self) {
        let (low, high, shortest, longest) = match part(self.time_s) {
            "in town" if self.chance.between(0.0, 1.0) < 0.3 => (0.0, 0.0, 4.0, 9.0),
            "in town" => (7.0, 14.5, 6.0, 14.0),
            "on the motorway" => (27.0, 36.0, 12.0, 25.0),
            "looking for a parking space" => (1.5, 5.0, 5.0, 12.0),
            _ => (0.0, 0.0, 100.0, 100.0),
        };
        self.goal_ms = self.chance.between(low, high);
        self.goal_until_s = self.time_s + self.chance.between(shortest, longest);
    }

    fn step(&mut self) {
        let before = part(self.time_s);
        self.time_s += STEP_S;
        if self.time_s >= self.goal_until_s || part(self.time_s) != before {
            self.choose();
        }
        let wanted = ((self.goal_ms - self.speed_ms) * 0.6).clamp(-3.5, 2.4);
        self.acceleration += (wanted - self.acceleration) * 0.15;
        self.speed_ms = (self.speed_ms + self.acceleration * STEP_S).max(0.0);
        if self.speed_ms < 0.05 && self.goal_ms == 0.0 {
            (self.speed_ms, self.acceleration) = (0.0, 0.0);
        }
        let turn = if self.speed_ms > 20.0 { 3.0 } else { 60.0 };
        let wish = self.chance.between(-turn, turn);
        self.steering += (wish - self.steering) * 0.04;
        self.heading =
            (self.heading + self.steering * self.speed_ms * 0.008 * STEP_S * 10.0).rem_euclid(360.0);
        let metres = self.speed_ms * STEP_S;
        let (east, north) = (self.heading / 360.0 * TAU).sin_cos();
        self.latitude += metres * north / METRES_PER_DEGREE;
        self.longitude += metres * east / (METRES_PER_DEGREE * (self.latitude / 360.0 * TAU).cos());
        self.distance_km += metres / 1000.0;
        self.step_parts();
    }

    /// Tyres warm up and one loses air; the battery gives and takes; the driver reacts.
    fn step_parts(&mut self) {
        for (wheel, temperature) in self.temperatures.iter_mut().enumerate() {
            let towards = 18.0 + self.speed_ms * 0.75;
            *temperature += (towards - *temperature) * 0.0006;
            let leak = if wheel == 3 { 0.055 } else { 0.0 };
            self.pressures[wheel] -= leak * STEP_S;
        }
        let power_kw =
            self.speed_ms * (0.25 + 0.0006 * self.speed_ms.powi(2)) + self.speed_ms * self.acceleration * 1.9;
        self.current += (power_kw / 0.36 + 1.2 - self.current) * 0.2;
        self.charge = (self.charge - self.current * STEP_S / 3600.0 / 2.1).clamp(0.0, 100.0);
        self.pack += (self.current.abs() * 0.00002 - 0.0004) * STEP_S * 10.0;
        let excitement = 66.0 + self.speed_ms * 0.4 + self.acceleration.abs() * 6.0;
        self.heart += (excitement - self.heart) * 0.01 + self.chance.between(-0.3, 0.3);
        self.fatigue += 0.0011;
    }

    /// In the order of [`SIGNALS`], as they stand on the bus.
    fn values(&self) -> Vec<f64> {
        let truth = |is: bool| f64::from(u8::from(is));
        let is_over = self.time_s > 345.0;
        let [fl, fr, rl, rr] = self.pressures;
        let warm = |pressure: f64, wheel: usize| pressure * (273.0 + self.temperatures[wheel]) / 292.0;
        let [tfl, tfr, trl, trr] = self.temperatures;
        let values = [
            self.speed_ms * 3.6,
            self.acceleration,
            self.steering * 4.0,
            (self.acceleration.max(0.0) * 25.0 + self.speed_ms * 0.8).min(100.0),
            (-self.acceleration).max(0.0) * 22.0,
            self.distance_km,
            warm(fl, 0),
            tfl,
            warm(fr, 1),
            tfr,
            warm(rl, 2),
            trl,
            warm(rr, 3),
            trr,
            self.charge,
            352.0 + self.charge * 0.5 - self.current * 0.06,
            self.current,
            self.pack,
            self.latitude,
            self.longitude,
            self.heading,
            truth(is_over && self.time_s < 353.0),
            truth(!is_over),
            self.heart,
            self.fatigue,
        ];
        SIGNALS.iter().zip(values).map(|(signal, value)| signal.on_bus(value)).collect()
    }
}

/// A drive: its candump log, and what is true in it.
pub(crate) fn drive(seed: u64) -> (String, Truth) {
    let mut state = State::new(seed);
    let mut log = String::new();
    let mut truth = Truth::new(SIGNALS.iter().map(|signal| (signal.path.to_owned(), signal.unit.to_owned())));
    for step in 0..DRIVE_S * 1000 / STEP_MS {
        state.step();
        let values = state.values();
        for (number, message) in MESSAGES.iter().enumerate() {
            if !(step * STEP_MS).is_multiple_of(message.every_ms) {
                continue;
            }
            // Frames of a step follow each other by a quarter of a millisecond, as on a bus.
            let micros = (BEGIN_MS + step * STEP_MS) * 1000 + 250 * u64::try_from(number).unwrap_or(0);
            let bytes = hex::encode_upper(car::data(number, &values));
            let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
            let _ = writeln!(log, "({seconds}.{rest:06}) can0 {:03X}#{bytes}", message.id);
            for (index, signal) in SIGNALS.iter().enumerate().filter(|(_, signal)| signal.message == number) {
                debug_assert_eq!(signal.message, number);
                truth.add(i64::try_from(micros).unwrap_or(i64::MAX), index, values[index]);
            }
        }
    }
    (log, truth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_drive_and_it_looks_like_one() {
        let (log, truth) = drive(7);
        assert_eq!(log, drive(7).0);
        assert_ne!(log, drive(8).0);
        let of = |path: &str| -> Vec<f64> { truth.of(path).map(|(_, value)| value).collect() };
        let speed = of("Vehicle.Speed");
        assert!(speed.iter().any(|v| *v > 95.0) && speed.last() == Some(&0.0), "a motorway, then parked");
        let distance = of("Vehicle.TraveledDistance");
        let driven = distance[distance.len() - 1] - distance[0];
        assert!((4.0..12.0).contains(&driven), "{driven} km");
        let leaking = of("Vehicle.Chassis.Axle.Row2.Wheel.Right.Tire.Pressure");
        assert!(leaking[0] - leaking[leaking.len() - 1] > 8.0);
    }
}
