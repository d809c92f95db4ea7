//! SAE J1939: what a 29-bit identifier says, and which messages come in several frames.
//!
//! ```text
//! identifier, 29 bits (SAE J1939-21, section 5.2):
//!   28..26 priority | 25 extended data page | 24 data page | 23..16 PDU format | 15..8 PDU specific | 7..0 source
//! PDU format below 240: to one receiver, named by PDU specific (PDU1); else PDU specific is part of the group (PDU2).
//! ```

mod transport;

pub(crate) use transport::Long;
pub use transport::Transport;

use super::{SourceAddress, State};
use crate::frame::IdPattern;

/// Parameter group number: 18 bits; in PDU1 the lowest 8 are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pgn(pub u32);

/// Groups that carry long messages: connection management and data transfer (SAE J1939-21, sections 5.10.3, 5.10.4).
pub(crate) const CONNECTION: Pgn = Pgn(0xEC00);
/// See [`CONNECTION`].
pub(crate) const DATA: Pgn = Pgn(0xEB00);

/// Diagnostic messages that grow with the number of faults, whatever length a database gives them: DM1, DM2, DM6, DM12,
/// DM23, DM28 (SAE J1939-73).
const GROWING: [Pgn; 6] = [Pgn(0xFECA), Pgn(0xFECB), Pgn(0xFECF), Pgn(0xFED4), Pgn(0xFDB5), Pgn(0xFD80)];

/// Who sends what to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// What.
    pub pgn: Pgn,
    /// Who.
    pub source: SourceAddress,
    /// The receiver; 255: everybody.
    pub destination: u8,
}

impl Address {
    /// What a 29-bit identifier says; `None` where both data page bits are set, which is ISO 15765-3.
    #[must_use]
    #[inline]
    pub fn of(id: u32) -> Option<Self> {
        let [high, format, specific, source] = id.to_be_bytes();
        let page = u32::from(high & 3);
        if page == 3 {
            return None;
        }
        let group = page << 16 | u32::from(format) << 8;
        let source = SourceAddress(source);
        Some(if format < 240 {
            Self { pgn: Pgn(group), source, destination: specific }
        } else {
            Self { pgn: Pgn(group | u32::from(specific)), source, destination: 0xFF }
        })
    }
}

impl Pgn {
    /// Every frame of the group, whatever its priority, receiver and source.
    #[must_use]
    pub fn pattern(self) -> IdPattern {
        let receiver = if self.0 >> 8 & 0xFF < 240 { 0xFF00 } else { 0 };
        IdPattern::extended(self.0 << 8, 0x1C00_00FF | receiver)
    }

    /// Whether a message of the group that has so many bytes in the database may come in several frames.
    #[must_use]
    pub fn may_be_long(self, bytes: u32) -> bool {
        bytes > 8 || GROWING.contains(&self)
    }
}

/// The codes of an unsigned parameter that are no values (SAE J1939-71, section 5.1.4, tables 1 to 3).
///
/// | bits | valid up to | error | not available |
/// |---|---|---|---|
/// | 2 to 7 and others | all ones less 2 | all ones less 1 | all ones |
/// | 8, 16, 24, 32 | `FA…` | `FE…` | `FF…`; `FB…` to `FD…` are reserved |
///
/// The largest valid code; a single bit has no others.
pub(crate) fn valid_max(bits: u8) -> u64 {
    let ones = u64::MAX >> (64 - bits.clamp(1, 64));
    match bits {
        ..=1 => ones,
        8 | 16 | 24 | 32 => ones - (5 << (bits - 8)),
        _ => ones - 2,
    }
}

/// What a code above [`valid_max`] says; `ones`: all bits of the parameter.
pub(crate) fn code(value: u64, ones: u64) -> State {
    let bits = ones.count_ones();
    let codes = match bits {
        ..=1 => return State::OutOfRange,
        // The highest byte says it.
        8 | 16 | 24 | 32 => (value >> (bits - 8), 0xFF),
        _ => (value, ones),
    };
    match codes {
        (code, all) if code == all => State::NotAvailable,
        (code, all) if code == all - 1 => State::Error,
        _ => State::OutOfRange,
    }
}
