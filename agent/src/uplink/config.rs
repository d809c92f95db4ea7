//! The section `[uplink]` of the configuration.

use glovebox_core::limits::CREDENTIAL_NAME_BYTES_MAX;
use std::fmt;
use std::path::{Path, PathBuf};

/// The section `[uplink]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// In the order in which they are tried, at least one; each host must be a name (or address) in its certificate.
    pub brokers: Vec<Broker>,
    /// What to speak with them.
    pub protocol: Protocol,
    /// PEM file with the authorities that sign the brokers' certificates.
    pub ca: Source,
    /// PEM file with this car's certificate, and those between it and the brokers' authority.
    pub cert: Source,
    /// PEM file with its key.
    pub key: Source,
    /// A ping after so many seconds of the connection; a link that is gone is noticed within twice that.
    pub keep_alive_s: u16,
    /// Most that is published, in 1,000 bit/s.
    pub rate_kbit_s: Option<u32>,
    /// Seconds at a later broker of the list until the first is asked again.
    pub return_s: u32,
}

/// Which MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1, for brokers that have no more.
    V311,
}

impl Protocol {
    /// Reads `5` or `3.1.1`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn new(text: &str) -> Result<Self, String> {
        match text {
            "5" => Ok(Self::V5),
            "3.1.1" => Ok(Self::V311),
            _ => Err(format!("`{}` is not \"5\" or \"3.1.1\"", text.chars().take(20).collect::<String>())),
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::V5 => Self::V311,
            Self::V311 => Self::V5,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V5 => "5",
            Self::V311 => "3.1.1",
        })
    }
}

/// Where a certificate or key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    path: PathBuf,
    /// Handed over by systemd (`LoadCredential=`), which has rights of its own for such files.
    credential: bool,
}

impl Source {
    /// A file.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        Self { path, credential: false }
    }

    /// The credential `name` in the folder that systemd made.
    #[must_use]
    pub fn credential(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(name), credential: true }
    }

    /// The file to be read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether systemd handed it over.
    #[must_use]
    pub fn is_credential(&self) -> bool {
        self.credential
    }
}

/// The name of a credential: one file name, nothing that leads elsewhere.
///
/// # Errors
/// What is wrong with it.
pub fn credential_name(name: &str) -> Result<(), String> {
    let fits = (1..=CREDENTIAL_NAME_BYTES_MAX).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':')
        && name != "."
        && name != "..";
    if fits {
        return Ok(());
    }
    let max = CREDENTIAL_NAME_BYTES_MAX;
    Err(format!("`{name}` is no name of a credential: 1 to {max} printable characters without `/` and `:`"))
}

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    fn a_credential_is_a_file_name_and_leads_nowhere_else() {
        for name in ["car.key", "a", "..."] {
            assert_eq!(credential_name(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", "a/b", "../car.key", "a:b", "a b", "a\n", &"x".repeat(256)] {
            assert!(credential_name(name).is_err(), "{name:?}");
        }
    }
}
