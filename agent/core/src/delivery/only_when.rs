//! Forward only when: what must hold so that batches of some classes may be sent. What is not known does not hold.

use std::fmt;

use crate::outbox::Priority;

/// What a network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkKind {
    /// An Ethernet card.
    Wired,
    /// Wireless LAN.
    Wifi,
    /// A modem of a mobile network.
    Cellular,
    /// Anything else, also what cannot be told: loopback, tunnels, bridges, VLANs.
    Other,
}

impl NetworkKind {
    /// All.
    pub const ALL: [Self; 4] = [Self::Wired, Self::Wifi, Self::Cellular, Self::Other];

    /// As it stands in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wired => "wired",
            Self::Wifi => "wifi",
            Self::Cellular => "cellular",
            Self::Other => "other",
        }
    }
}

/// The network by which the broker is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Name of the kernel's interface.
    pub interface: String,
    /// What it is.
    pub kind: NetworkKind,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.interface, self.kind.name())
    }
}

/// Networks of these kinds or names. None at all: any will do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    /// Kinds.
    pub kinds: Vec<NetworkKind>,
    /// Interfaces; a `*` at the end stands for any rest.
    pub interfaces: Vec<String>,
}

impl Networks {
    fn any(&self) -> bool {
        self.kinds.is_empty() && self.interfaces.is_empty()
    }

    fn hold(&self, network: &Network) -> bool {
        let named = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => network.interface.starts_with(start),
            None => *pattern == network.interface,
        };
        self.any() || self.kinds.contains(&network.kind) || self.interfaces.iter().any(named)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.kinds.iter().map(|kind| kind.name());
        let names: Vec<&str> = kinds.chain(self.interfaces.iter().map(String::as_str)).collect();
        f.write_str(&names.join(" or "))
    }
}

/// Which classes wait, and for what. The default: none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OnlyWhen {
    /// The classes that wait; the others are sent at any time.
    pub classes: Vec<Priority>,
    /// The network must be one of these.
    pub networks: Networks,
    /// A signal of the car must be as it is asked for, too; the pipeline watches it.
    pub signal: bool,
}

/// What is known of that which is waited for. The default: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Situation {
    /// The network of the present connection.
    pub network: Option<Network>,
    /// Whether the signal is as it must be; `None` if it was not seen since the start, or has no value.
    pub signal: Option<bool>,
}

impl OnlyWhen {
    /// Why its classes have to wait; `None` if all holds. It tells neither the signal nor its value.
    #[must_use]
    pub fn waits(&self, situation: &Situation) -> Option<String> {
        let mut missing = Vec::new();
        if !self.networks.any() && !situation.network.as_ref().is_some_and(|now| self.networks.hold(now)) {
            let now = situation.network.as_ref().map_or("nothing known".to_owned(), Network::to_string);
            missing.push(format!("the broker is reached by {}, now {now}", self.networks));
        }
        if self.signal && situation.signal != Some(true) {
            let unknown = if situation.signal.is_none() { ", which has no value yet" } else { "" };
            missing.push(format!("the configured signal says so{unknown}"));
        }
        (!missing.is_empty()).then(|| format!("only when {}", missing.join("; and when ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(interface: &str, kind: NetworkKind, signal: Option<bool>) -> Situation {
        Situation { network: Some(Network { interface: interface.to_owned(), kind }), signal }
    }

    fn wanted(kinds: &[NetworkKind], interfaces: &[&str], signal: bool) -> OnlyWhen {
        let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
        OnlyWhen {
            classes: vec![Priority::Bulk],
            networks: Networks { kinds: kinds.to_vec(), interfaces },
            signal,
        }
    }

    #[test]
    fn what_is_not_known_does_not_hold() {
        let network = wanted(&[NetworkKind::Wifi], &[], false);
        let signal = wanted(&[], &[], true);
        let both = wanted(&[NetworkKind::Wifi], &[], true);
        for condition in [&network, &signal, &both] {
            assert!(condition.waits(&Situation::default()).is_some(), "{condition:?}");
        }
        assert_eq!(OnlyWhen::default().waits(&Situation::default()), None, "nothing is waited for");
        assert_eq!(network.waits(&on("wlan0", NetworkKind::Wifi, None)), None);
        assert_eq!(signal.waits(&Situation { network: None, signal: Some(true) }), None);
        assert!(signal.waits(&Situation { network: None, signal: Some(false) }).is_some());
        assert!(both.waits(&on("wlan0", NetworkKind::Wifi, None)).is_some());
        assert!(both.waits(&on("eth0", NetworkKind::Wired, Some(true))).is_some());
        assert_eq!(both.waits(&on("wlan0", NetworkKind::Wifi, Some(true))), None);
    }

    #[test]
    fn a_network_fits_by_its_kind_or_by_its_name() {
        let either = wanted(&[NetworkKind::Wifi], &["eth0.4", "usb*"], false);
        for (interface, kind, fits) in [
            ("wlp3s0", NetworkKind::Wifi, true),
            ("eth0.4", NetworkKind::Other, true),
            ("eth0.45", NetworkKind::Other, false),
            ("usb", NetworkKind::Wired, true),
            ("usb1", NetworkKind::Cellular, true),
            ("xusb1", NetworkKind::Cellular, false),
            ("wwan0", NetworkKind::Cellular, false),
        ] {
            assert_eq!(either.waits(&on(interface, kind, None)).is_none(), fits, "{interface}");
        }
        let text = either.waits(&on("wwan0", NetworkKind::Cellular, None));
        let said = "only when the broker is reached by wifi or eth0.4 or usb*, now wwan0 (cellular)";
        assert_eq!(text.as_deref(), Some(said));
    }
}
