//! The section `[uplink]` of the configuration.

use glovebox_core::limits::{UPLINK_KEEP_ALIVE_S_MAX, UPLINK_KEEP_ALIVE_S_MIN};
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// The section `[uplink]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `host:port`; the host must be a name (or address) in the broker's certificate.
    pub broker: Broker,
    /// PEM file with the authorities that sign the broker's certificate.
    pub ca: PathBuf,
    /// PEM file with this car's certificate, and those between it and the broker's authority.
    pub cert: PathBuf,
    /// PEM file with its key, 0600.
    pub key: PathBuf,
    /// A ping after so many seconds of the connection; a link that is gone is noticed within twice that.
    #[serde(default = "keep_alive_default", deserialize_with = "keep_alive")]
    pub keep_alive_s: u16,
}

fn keep_alive_default() -> u16 {
    30
}

fn keep_alive<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let seconds = u16::deserialize(deserializer)?;
    if (UPLINK_KEEP_ALIVE_S_MIN..=UPLINK_KEEP_ALIVE_S_MAX).contains(&seconds) {
        return Ok(seconds);
    }
    Err(serde::de::Error::custom(format!(
        "keep_alive_s is {seconds}, must be {UPLINK_KEEP_ALIVE_S_MIN} to {UPLINK_KEEP_ALIVE_S_MAX}"
    )))
}

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Broker {
    host: String,
    port: u16,
}

/// Why a broker's address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("broker `{0}` is not `host:port` (`broker.example:8883`, `192.0.2.1:8883`, `[2001:db8::1]:8883`)")]
pub struct BrokerError(String);

impl Broker {
    /// Reads `host:port`.
    ///
    /// # Errors
    /// [`BrokerError`] with the text.
    pub fn new(text: &str) -> Result<Self, BrokerError> {
        let refuse = || BrokerError(text.chars().take(300).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(refuse)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let fits = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.contains(':') && rustls::pki_types::ServerName::try_from(host).is_ok(),
        };
        if !fits {
            return Err(refuse());
        }
        Ok(Self { host: bare.unwrap_or(host).to_owned(), port })
    }

    /// Name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl TryFrom<String> for Broker {
    type Error = BrokerError;
    fn try_from(text: String) -> Result<Self, BrokerError> {
        Self::new(&text)
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_host_and_port() {
        for text in ["broker.example:8883", "localhost:1", "192.0.2.1:8883", "[2001:db8::1]:8883"] {
            assert_eq!(Broker::new(text).unwrap().to_string(), text);
        }
        assert_eq!(Broker::new("[::1]:8883").unwrap().host(), "::1");
        for text in [
            "",
            "broker",
            "broker:",
            "broker:0",
            "broker:70000",
            ":8883",
            "::1:8883",
            "[::1",
            "[x]:1",
            "mqtts://b:1",
            "a b:1",
        ] {
            assert!(Broker::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_section_has_defaults_and_refuses_what_it_does_not_know() {
        let files = "broker = 'b:1'\nca = 'a'\ncert = 'c'\nkey = 'k'\n";
        assert_eq!(toml::from_str::<Config>(files).unwrap().keep_alive_s, 30);
        let refused =
            |more: &str| toml::from_str::<Config>(&format!("{files}{more}")).unwrap_err().to_string();
        assert!(refused("keep_alive_s = 4").contains("must be 5 to 1200"));
        assert!(refused("keepalive = 4").contains("unknown field `keepalive`"));
    }
}
