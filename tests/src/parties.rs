//! Recipients of the recorded drive.

use crate::fleet::Party;
use serde_json::json;

/// All as it is.
#[must_use]
pub fn garage() -> Party {
    Party::plain(
        "garage",
        &[
            "CAN.can0.KINEMATICS.YAW_RATE",
            "CAN.can0.WHEEL_SPEEDS.WHEEL_SPEED_FL",
            "CAN.can0.SPEED.SPEED",
            "CAN.can0.ENGINE_RPM.RPM",
            "CAN.can0.GEAR_PACKET.GEAR",
            "CAN.can0.BRAKE_MODULE.BRAKE_PRESSED",
            "CAN.can1.TRACK_A_0.LONG_DIST",
            "CAN.can1.TRACK_A_0.LAT_DIST",
        ],
    )
}

/// Made coarse and rare, each reading by itself.
#[must_use]
pub fn insurer() -> Party {
    let signals = [
        ("CAN.can0.KINEMATICS.ACCEL_Y", json!([{ "op": "quantise", "step": 0.5, "offset": 0 }])),
        ("CAN.can0.STEER_ANGLE_SENSOR.STEER_ANGLE", json!([{ "op": "on_change", "min_delta": 3 }])),
        ("CAN.can0.STEER_ANGLE_SENSOR.STEER_RATE", json!([{ "op": "rate", "min_interval_ms": 100 }])),
        (
            "CAN.can0.WHEEL_SPEEDS.WHEEL_SPEED_FR",
            json!([
                { "op": "quantise", "step": 5, "offset": 0 },
                { "op": "rate", "min_interval_ms": 1000 },
                { "op": "on_change", "min_delta": 0 },
            ]),
        ),
        (
            "CAN.can0.GAS_PEDAL.GAS_PEDAL",
            json!([{ "op": "on_change", "min_delta": 5, "max_interval_ms": 2000 }]),
        ),
        ("CAN.can1.TRACK_A_1.LONG_DIST", json!([{ "op": "rate", "min_interval_ms": 250 }])),
        (
            "CAN.can1.TRACK_A_2.REL_SPEED",
            json!([{ "op": "quantise", "step": 0.1, "offset": 0.025 }, { "op": "rate", "min_interval_ms": 100 }]),
        ),
    ];
    let signals = signals.map(|(signal, transforms)| (signal.to_owned(), transforms)).to_vec();
    Party { id: "insurer".to_owned(), signals, microseconds: true, batch_age_s: 5, event: None }
}

/// What is told late, of a window, or only as an event. By the drive's own time: edges of time lie by the clock.
#[must_use]
pub fn researcher() -> Party {
    let signals = [
        (
            "CAN.can0.SPEED.SPEED",
            json!([
                { "op": "threshold", "when": "above", "value": 40, "hysteresis": 2 },
                { "op": "time_bucket", "granularity_s": 10 },
            ]),
        ),
        (
            "CAN.can0.ENGINE_RPM.RPM",
            json!([{ "op": "aggregate", "window_s": 5, "functions": ["mean"], "min_samples": 10 }]),
        ),
        (
            "CAN.can0.WHEEL_SPEEDS.WHEEL_SPEED_FL",
            json!([{ "op": "aggregate", "window_s": 5, "functions": ["histogram"], "edges": [10, 40, 70] }]),
        ),
        (
            "CAN.can0.WHEEL_SPEEDS.WHEEL_SPEED_RL",
            json!([{ "op": "time_bucket", "granularity_s": 1 }, { "op": "rate", "min_interval_ms": 250 }]),
        ),
        (
            "CAN.can0.WHEEL_SPEEDS.WHEEL_SPEED_RR",
            json!([
                { "op": "aggregate", "window_s": 10, "functions": ["max"] },
                { "op": "quantise", "step": 5 },
            ]),
        ),
    ];
    let signals = signals.map(|(signal, transforms)| (signal.to_owned(), transforms)).to_vec();
    Party { id: "researcher".to_owned(), signals, microseconds: true, batch_age_s: 5, event: None }
}
