//! Taking one signal out of a frame: a word is loaded, shifted down and masked, its sign bit flipped and subtracted.
//! Flipping the sign bit also makes signed values compare as unsigned ones, so the range costs two compares.
//!
//! ```text
//! 8 bytes at `at`, first byte lowest (Intel) or highest (Motorola):  [ above | s i g n a l | below ]
//!                                                                >> shift, & mask, ^ sign  ─▶ compare, - sign ─▶ bits
//! ```

use super::Span;
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
    at: u8,
    shift: u8,
    order: ByteOrder,
    /// How many bytes a frame must have for it.
    needs: u8,
}

const _: () = assert!(size_of::<Word>() == 40);

impl Word {
    /// `None` if the bits span 9 bytes.
    pub(super) fn new(leaf: LeafIndex, layout: Layout, sign: u64, (low, high): (u64, u64)) -> Option<Self> {
        let window = Window::new(layout);
        let [at, shift, needs] = [window.at, window.right - window.left, window.needs()].map(u8::try_from);
        let mask = u64::MAX >> (64 - layout.length.clamp(1, 64));
        let (at, shift, needs) = (at.ok()?, shift.ok()?, needs.ok()?);
        (!window.wide).then_some(Self { mask, sign, low, high, leaf, at, shift, order: layout.order, needs })
    }

    #[inline]
    pub(super) fn read(&self, bytes: &[u8; 64]) -> Reading {
        let value = (word(bytes, self.at, self.order) >> (self.shift & 63)) & self.mask;
        let ordered = value ^ self.sign;
        let within = (self.low <= ordered) & (ordered <= self.high);
        let state = if within { State::Value } else { State::OutOfRange };
        let bits = if within { ordered.wrapping_sub(self.sign) } else { 0 };
        Reading { leaf: self.leaf, state, source: SourceAddress::NONE, bits }
    }

    pub(super) fn needs(&self) -> u32 {
        u32::from(self.needs)
    }
}

#[inline]
fn word(bytes: &[u8; 64], at: u8, order: ByteOrder) -> u64 {
    let word = bytes
        .get(usize::from(at)..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |b| u64::from_le_bytes(*b));
    match order {
        ByteOrder::LittleEndian => word,
        ByteOrder::BigEndian => word.swap_bytes(),
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
    pub(super) sign: u64,
    /// See [`Word`]; for integers.
    pub(super) bounds: (u64, u64),
    /// For floats.
    pub(super) scale: f64,
    pub(super) offset: f64,
    pub(super) range: Option<(f64, f64)>,
}

impl Rare {
    pub(super) fn read(&self, bytes: &[u8; 64]) -> Reading {
        let bits = self.layout.bits(bytes);
        let (state, bits) = match self.value_type {
            ValueType::Float32 => {
                let raw = f32::from_bits(u32::try_from(bits & 0xFFFF_FFFF).unwrap_or(0));
                (self.float_state(f64::from(raw)), bits)
            }
            ValueType::Float64 => (self.float_state(f64::from_bits(bits)), bits),
            ValueType::Unsigned | ValueType::Signed | ValueType::Boolean => {
                let ordered = bits ^ self.sign;
                let within = (self.bounds.0..=self.bounds.1).contains(&ordered);
                let state = if within { State::Value } else { State::OutOfRange };
                (state, ordered.wrapping_sub(self.sign))
            }
        };
        let bits = if state == State::Value { bits } else { 0 };
        Reading { leaf: self.leaf, state, source: SourceAddress::NONE, bits }
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
