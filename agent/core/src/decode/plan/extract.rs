//! Taking one signal out of a frame: a word is loaded, shifted down and masked, its sign bit flipped and subtracted.
//! Flipping the sign bit also makes signed values compare as unsigned ones, so the range costs two compares.
//!
//! ```text
//! 8 bytes at `at`, first byte lowest (Intel) or highest (Motorola):  [ above | s i g n a l | below ]
//!                                                                >> shift, & mask, ^ sign  ─▶ compare, - sign ─▶ bits
//! ```

use super::Span;
use crate::decode::j1939;
use crate::decode::layout::{ByteOrder, Layout, Window};
use crate::decode::{LeafIndex, Reading, SourceAddress, State, ValueType};

/// An integer within 8 bytes: what to do for one leaf. Small and flat: a frame's leaves are walked in one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    mask: u64,
    /// The sign bit of the value, 0 if it has none.
    sign: u64,
    /// Lowest and highest value within the range, with the sign bit flipped.
    low: u64,
    high: u64,
    leaf: LeafIndex,
    at: u16,
    shift: u8,
    kind: Kind,
}

/// Byte order, and whether J1939's codes for "no value" hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Intel,
    Motorola,
    IntelJ1939,
    MotorolaJ1939,
}

const _: () = assert!(size_of::<Word>() == 40);

impl Word {
    /// `None` if the bits span 9 bytes.
    pub(super) fn new(leaf: LeafIndex, layout: Layout, values: Values) -> Option<Self> {
        let window = Window::new(layout);
        if window.wide {
            return None;
        }
        let mask = u64::MAX >> (64 - layout.length.clamp(1, 64));
        let kind = match (layout.order, values.j1939) {
            (ByteOrder::LittleEndian, false) => Kind::Intel,
            (ByteOrder::LittleEndian, true) => Kind::IntelJ1939,
            (ByteOrder::BigEndian, false) => Kind::Motorola,
            (ByteOrder::BigEndian, true) => Kind::MotorolaJ1939,
        };
        let (at, shift) = (u16::try_from(window.at).ok()?, u8::try_from(window.right - window.left).ok()?);
        let Values { sign, bounds: (low, high), .. } = values;
        Some(Self { mask, sign, low, high, leaf, at, shift, kind })
    }

    /// `bytes`: the frame or message, and zeros behind it.
    #[inline]
    pub(super) fn read(&self, bytes: &[u8], source: SourceAddress) -> Reading {
        let value = (word(bytes, self.at, self.kind) >> (self.shift & 63)) & self.mask;
        let ordered = value ^ self.sign;
        let within = (self.low <= ordered) & (ordered <= self.high);
        let state = if within { State::Value } else { self.outside(value) };
        let bits = if within { ordered.wrapping_sub(self.sign) } else { 0 };
        Reading { leaf: self.leaf, state, source, bits }
    }

    #[cold]
    fn outside(&self, value: u64) -> State {
        match self.kind {
            Kind::IntelJ1939 | Kind::MotorolaJ1939 => j1939::code(value, self.mask),
            Kind::Intel | Kind::Motorola => State::OutOfRange,
        }
    }

    /// How many bytes a frame must have for it.
    pub(super) fn needs(&self) -> u32 {
        let (at, shift) = (u32::from(self.at), u32::from(self.shift));
        match self.kind {
            Kind::Intel | Kind::IntelJ1939 => at + (shift + self.mask.count_ones()).div_ceil(8),
            Kind::Motorola | Kind::MotorolaJ1939 => at + 8 - shift / 8,
        }
    }
}

/// Which raw values are ordinary ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values {
    /// The sign bit, 0 if there is none.
    pub(super) sign: u64,
    /// Lowest and highest, with the sign bit flipped.
    pub(super) bounds: (u64, u64),
    /// What is above may be one of J1939's codes.
    pub(super) j1939: bool,
}

#[inline]
fn word(bytes: &[u8], at: u16, kind: Kind) -> u64 {
    let word = bytes
        .get(usize::from(at)..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |b| u64::from_le_bytes(*b));
    match kind {
        Kind::Intel | Kind::IntelJ1939 => word,
        Kind::Motorola | Kind::MotorolaJ1939 => word.swap_bytes(),
    }
}

/// A multiplexor and the values that let its leaves through.
#[derive(Debug, Clone)]
pub(super) struct Select {
    pub(super) layout: Window,
    pub(super) ranges: Span,
}

/// What has no fast path: floats, and integers that span 9 bytes.
#[derive(Debug, Clone)]
pub(super) struct Rare {
    pub(super) leaf: LeafIndex,
    pub(super) layout: Window,
    pub(super) value_type: ValueType,
    /// For integers.
    pub(super) values: Values,
    /// For floats.
    pub(super) scale: f64,
    pub(super) offset: f64,
    pub(super) range: Option<(f64, f64)>,
}

impl Rare {
    pub(super) fn read(&self, bytes: &[u8], source: SourceAddress) -> Reading {
        let bits = self.layout.bits(bytes);
        let (state, bits) = match self.value_type {
            ValueType::Float32 => {
                let raw = f32::from_bits(u32::try_from(bits & 0xFFFF_FFFF).unwrap_or(0));
                (self.float_state(f64::from(raw)), bits)
            }
            ValueType::Float64 => (self.float_state(f64::from_bits(bits)), bits),
            ValueType::Unsigned | ValueType::Signed | ValueType::Boolean => {
                let Values { sign, bounds: (low, high), j1939 } = self.values;
                let ordered = bits ^ sign;
                let state = match ordered {
                    _ if (low..=high).contains(&ordered) => State::Value,
                    _ if j1939 => j1939::code(bits, self.layout.ones()),
                    _ => State::OutOfRange,
                };
                (state, ordered.wrapping_sub(sign))
            }
        };
        let bits = if state == State::Value { bits } else { 0 };
        Reading { leaf: self.leaf, state, source, bits }
    }

    /// A float that is no number has no value.
    fn float_state(&self, raw: f64) -> State {
        let value = raw * self.scale + self.offset;
        match self.range {
            _ if !raw.is_finite() => State::Error,
            Some((minimum, maximum)) if !(minimum..=maximum).contains(&value) => State::OutOfRange,
            _ => State::Value,
        }
    }
}
