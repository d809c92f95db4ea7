//! Newtypes for what is counted, named and compared, so that one cannot stand for another.

use std::fmt;
use std::sync::Arc;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or longer than the bound of its kind.
    #[error("{kind} `{name}` has {length} characters, must have 1 to {max}")]
    Length {
        /// What kind of name it was meant to be.
        kind: &'static str,
        /// The name, cut to 80 characters.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// The longest that is allowed.
        max: usize,
    },
    /// A character that does not belong there.
    #[error("{kind} `{name}` holds the character {character:?}; allowed are {allowed}")]
    Character {
        /// What kind of name it was meant to be.
        kind: &'static str,
        /// The name.
        name: String,
        /// The first character that does not belong.
        character: char,
        /// What is allowed, in words.
        allowed: &'static str,
    },
}

fn checked(
    kind: &'static str,
    name: &str,
    max: usize,
    allowed: &'static str,
    fits: fn(char) -> bool,
) -> Result<Arc<str>, NameError> {
    if name.is_empty() || name.len() > max {
        return Err(NameError::Length {
            kind,
            name: name.chars().take(80).collect(),
            length: name.len(),
            max,
        });
    }
    match name.chars().find(|c| !fits(*c)) {
        None => Ok(name.into()),
        Some(character) => Err(NameError::Character { kind, name: name.to_owned(), character, allowed }),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $max:expr, $allowed:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks the characters and the length.
            ///
            /// # Errors
            /// [`NameError`] says which character or what length.
            pub fn new(name: &str) -> Result<Self, NameError> {
                checked($kind, name, $max, $allowed, $fits).map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.as_str().to_owned()
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }
    };
}

fn slug(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
}

name!(
    /// A leaf of the VSS (`Vehicle.Speed`), or `CAN.<bus>.<Message>.<Signal>`.
    SignalPath, "signal path", 256,
    "letters, digits, `_`, `-` and `.` (each other character of a name in a DBC is written `_`)",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
);
name!(
    /// The name of a bus in the configuration; part of a signal's name.
    BusName, "bus name", 32, "letters, digits, `_` and `-`",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
);
name!(
    /// A company that gets data; part of topics, so lower case and short.
    RecipientId, "recipient id", 64, "a to z, digits, `-`, `_` and `.`", slug
);
name!(
    /// What data is for, unique within a recipient.
    PurposeId, "purpose id", 64, "a to z, digits, `-`, `_` and `.`", slug
);
name!(
    /// The name of a request, unique within a recipient.
    RequestId, "request id", 64, "a to z, digits, `-`, `_` and `.`", slug
);
name!(
    /// A driver as the head unit tells them apart: its own short name for a profile, never a person's.
    DriverId, "driver id", 64, "a to z, digits, `-`, `_` and `.`", slug
);
name!(
    /// The car, as the policy authority and the broker name it. Never a VIN.
    DeviceId, "device id", 64, "a to z, digits, `-`, `_` and `.`", slug
);

macro_rules! bytes {
    ($(#[$doc:meta])* $type:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(pub [u8; $length]);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($type))
            }
        }

        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let mut bytes = [0; $length];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| format!("not {} hexadecimal digits", $length * 2))?;
                Ok(Self(bytes))
            }
        }
    };
}

bytes!(
    /// SHA-256 (FIPS 180-4) of something; a document's is over its payload bytes. Hexadecimal as text.
    Digest, 32
);
bytes!(
    /// An Ed25519 public key (RFC 8032, section 5.1.5). Hexadecimal as text.
    VerifyingKey, 32
);
bytes!(
    /// An X25519 public key for HPKE (RFC 9180, section 7.1). Hexadecimal as text.
    HpkeKey, 32
);

impl Digest {
    /// SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

/// A flow: one recipient × one purpose, under one chain of grants. Random, so that it tells nothing;
/// also the opaque number in a header. Sixteen hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

impl FlowId {
    /// The flow that begins with the consent record `first` (later narrowed and renewed records keep it).
    #[must_use]
    pub fn from_record(first: uuid::Uuid) -> Self {
        let mut text = b"glovebox/v1/flow".to_vec();
        text.extend_from_slice(first.as_bytes());
        let digest = Digest::of(&text).0;
        let mut head = [0; 8];
        head.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(head))
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FlowId({self})")
    }
}

impl std::str::FromStr for FlowId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text.len(), u64::from_str_radix(text, 16)) {
            (16, Ok(number)) => Ok(Self(number)),
            _ => Err("not 16 hexadecimal digits".to_owned()),
        }
    }
}

/// Stream epoch of a flow: a counter that only rises and a random tag; new when sequences may be in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Epoch {
    /// Rises by one with each new epoch.
    pub counter: u32,
    /// Random, so that two epochs with one counter (a restored disk) differ.
    pub tag: u32,
}

/// Number of a batch in its flow and epoch, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Version of a policy bundle; only rises.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub struct PolicyVersion(pub u64);

/// A moment on the car's own time line, in microseconds: monotonic for a live bus, the log's stamps in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub i64);

impl Moment {
    /// `self + microseconds`, at the end of the range without wrapping.
    #[must_use]
    pub fn plus_us(self, microseconds: i64) -> Self {
        Self(self.0.saturating_add(microseconds))
    }
}

/// Wall time in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub i64);

impl WallTime {
    /// Parses RFC 3339 (`2026-11-22T10:00:00Z`).
    ///
    /// # Errors
    /// The parser's own words.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>().map(|t| Self(t.as_microsecond())).map_err(|error| error.to_string())
    }
}

/// A day by UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcDay(pub i64);

impl UtcDay {
    /// Before all.
    pub const MIN: Self = Self(i64::MIN);
    /// After all.
    pub const MAX: Self = Self(i64::MAX);

    /// The one in which `time` lies.
    #[must_use]
    pub fn of(time: WallTime) -> Self {
        Self(time.0.div_euclid(86_400_000_000))
    }

    /// When the next one begins.
    #[must_use]
    pub fn end(self) -> WallTime {
        WallTime(self.0.saturating_add(1).saturating_mul(86_400_000_000))
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "{} µs after the Unix epoch", self.0),
        }
    }
}

impl serde::Serialize for WallTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for WallTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What is known of the wall time now: it lies between the two. `None` elsewhere means doubt, and doubt denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedTime {
    /// It is not earlier than this.
    pub earliest: WallTime,
    /// It is not later than this.
    pub latest: WallTime,
}
