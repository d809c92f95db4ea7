//! The live interfaces: there, up, and with room in the kernel for bursts.

use glovebox_core::limits::BUS_RECEIVE_BUFFER_BYTES;

use super::Finding;
use crate::bus::live::look;
use crate::bus::{Interface, Link};
use crate::config::Config;

/// The largest buffer that a program without privileges may ask for.
const RECEIVE_BUFFER_MAX: &str = "/proc/sys/net/core/rmem_max";

pub(super) fn check(config: &Config) -> Vec<Finding> {
    if config.bus.replay.is_some() {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = config.bus.interface.iter().map(interface).collect();
    let known = std::fs::read_to_string(RECEIVE_BUFFER_MAX).ok();
    findings.extend(known.and_then(|text| text.trim().parse().ok()).and_then(room));
    findings
}

/// None of this keeps the agent from running: it waits for interfaces.
fn interface(configured: &Interface) -> Finding {
    let name = &configured.interface;
    match look(name) {
        Link::Up(_) => Finding::ok("bus", format!("interface {name} is up")),
        Link::Down(_) => Finding::warn(
            "bus",
            format!("interface {name} is down: its frames come when it is up"),
            format!("ip link set {name} up type can bitrate 500000 listen-only on"),
        ),
        _ => Finding::warn(
            "bus",
            format!("there is no interface {name}: its frames come when it appears"),
            "`ip -details link show type can` lists what is there; is the driver loaded?",
        ),
    }
}

fn room(bytes: usize) -> Option<Finding> {
    (bytes < BUS_RECEIVE_BUFFER_BYTES).then(|| {
        Finding::warn(
            "bus",
            format!(
                "the kernel gives a bus {bytes} bytes of buffer: bursts of some hundred frames may be lost"
            ),
            format!("sysctl net.core.rmem_max={BUS_RECEIVE_BUFFER_BYTES}, see systemd/glovebox.sysctl"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_buffer_is_told_with_its_mend() {
        assert_eq!(room(BUS_RECEIVE_BUFFER_BYTES), None);
        assert!(room(212_992).is_some());
    }
}
