//! By what network the broker is reached: the interface that has the connection's own address, and what the kernel
//! tells of it in /sys/class/net.

use glovebox_core::delivery::{Network, NetworkKind};
use nix::ifaddrs::getifaddrs;
use std::net::IpAddr;
use std::path::Path;

/// The network of a connection from `local`. `None` if no interface has that address, or several have it.
pub(super) fn of(local: IpAddr) -> Option<Network> {
    let interface = interface_of(local.to_canonical())?;
    let kind = kind(&Path::new("/sys/class/net").join(&interface));
    Some(Network { interface, kind })
}

fn interface_of(local: IpAddr) -> Option<String> {
    let all = getifaddrs().inspect_err(|error| {
        tracing::warn!(target: "uplink", %error, "the interfaces cannot be listed: the network is not known");
    });
    let has = all.ok()?.filter(|interface| {
        let address = interface.address.as_ref();
        let own = address.and_then(|address| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
            (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
            _ => None,
        });
        own == Some(local)
    });
    let mut names: Vec<String> = has.map(|interface| interface.interface_name).collect();
    names.dedup();
    names.pop().filter(|_| names.is_empty())
}

/// Type of an interface with Ethernet's frames (`ARPHRD_ETHER` in `linux/if_arp.h`).
const ETHERNET: &str = "1";

/// What is in a folder of /sys/class/net. Only what has hardware and says nothing else counts as wired, so that a tunnel or
/// a bridge over who knows what does not.
fn kind(folder: &Path) -> NetworkKind {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let has = |name: &str| folder.join(name).exists();
    let uevent = read("uevent");
    let devtype = uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE="));
    match devtype {
        Some("wwan") => NetworkKind::Cellular,
        _ if devtype == Some("wlan") || has("wireless") || has("phy80211") => NetworkKind::Wifi,
        None if has("device") && read("type").trim() == ETHERNET => NetworkKind::Wired,
        _ => NetworkKind::Other,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// A folder as the kernel shows it: files with their text, folders without.
    fn kind_of(entries: &[(&str, Option<&str>)]) -> NetworkKind {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in entries {
            match text {
                Some(text) => std::fs::write(folder.path().join(name), text).unwrap(),
                None => std::fs::create_dir(folder.path().join(name)).unwrap(),
            }
        }
        kind(folder.path())
    }

    fn uevent(text: &str) -> (&str, Option<&str>) {
        ("uevent", Some(text))
    }

    #[test]
    fn kinds_are_read_as_the_kernel_shows_them() {
        let (ether, device) = (("type", Some("1\n")), ("device", None));
        let plain = "INTERFACE=eth0\nIFINDEX=2\n";
        assert_eq!(kind_of(&[ether, device, uevent(plain)]), NetworkKind::Wired);
        let wlan = "DEVTYPE=wlan\nINTERFACE=wlan0\nIFINDEX=3\n";
        assert_eq!(kind_of(&[ether, device, uevent(wlan)]), NetworkKind::Wifi);
        assert_eq!(kind_of(&[ether, device, uevent(plain), ("phy80211", None)]), NetworkKind::Wifi);
        assert_eq!(kind_of(&[ether, device, uevent(plain), ("wireless", None)]), NetworkKind::Wifi);
        let wwan = "DEVTYPE=wwan\nINTERFACE=wwan0\nIFINDEX=4\n";
        assert_eq!(kind_of(&[("type", Some("65534\n")), device, uevent(wwan)]), NetworkKind::Cellular);
        // veth, bridge, VLAN, tunnel, USB gadget, and what is not there.
        assert_eq!(kind_of(&[ether, uevent("INTERFACE=veth0\n")]), NetworkKind::Other);
        for devtype in ["bridge", "vlan", "gadget"] {
            let text = format!("DEVTYPE={devtype}\nINTERFACE=x\n");
            assert_eq!(kind_of(&[ether, device, uevent(&text)]), NetworkKind::Other, "{devtype}");
        }
        assert_eq!(kind_of(&[("type", Some("65534\n")), device, uevent(plain)]), NetworkKind::Other);
        assert_eq!(kind_of(&[]), NetworkKind::Other);
    }

    #[test]
    fn an_address_tells_its_interface_if_it_has_just_one() {
        let lo = Network { interface: "lo".to_owned(), kind: NetworkKind::Other };
        assert_eq!(of(Ipv4Addr::LOCALHOST.into()), Some(lo.clone()));
        assert_eq!(of(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()), Some(lo));
        // For documentation: nobody has it.
        assert_eq!(of(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()), None);
        assert_eq!(of(Ipv4Addr::UNSPECIFIED.into()), None);
    }
}
