//! Taking one signal out of a frame: a word is loaded, shifted to the top and down again, its sign bit flipped and
//! subtracted. Flipping the sign bit also makes signed values compare as unsigned ones, so the range costs two compares.
//!
//! ```text
//!           first bit read ─┐        ┌─ last bit read (of the window, in the signal's byte order)
//! 64-bit window:  [ above | s i g n a l | below ]   << left, >> right   ─▶  value, ^ sign, - sign
//! ```

use super::Span;
use crate::decode::layout::{ByteOrder, Layout, Window};
use crate::decode::{LeafIndex, Reading, State, ValueType};

/// What to do for one leaf.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extraction {
    /// An integer within one window of 8 bytes.
    Word(Word),
    /// A float, or an integer that spans 9 bytes: its number in the plan's list.
    Rare { leaf: LeafIndex, index: u16 },
}

const _: () = assert!(size_of::<Extraction>() == 32);

/// An integer within 8 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    /// The sign bit of the value, 0 if it has none.
    sign: u64,
    /// Lowest and highest value within the range, with the sign bit flipped.
    low: u64,
    high: u64,
    leaf: LeafIndex,
    at: u8,
    left: u8,
    right: u8,
    order: ByteOrder,
}

impl Word {
    /// `None` if the bits span 9 bytes.
    pub(super) fn new(leaf: LeafIndex, layout: Layout, sign: u64, (low, high): (u64, u64)) -> Option<Self> {
        let window = Window::new(layout);
        let (Ok(left), Ok(right)) = (u8::try_from(window.left), u8::try_from(window.right)) else {
            return None;
        };
        if window.wide {
            return None;
        }
        let at = u8::try_from(window.at).ok()?;
        Some(Self { sign, low, high, leaf, at, left, right, order: layout.order })
    }

    #[inline]
    pub(super) fn read(&self, bytes: &[u8; 64]) -> Reading {
        let value = (word(bytes, self.at, self.order) << (self.left & 63)) >> (self.right & 63);
        let ordered = value ^ self.sign;
        let within = (self.low <= ordered) & (ordered <= self.high);
        let state = if within { State::Value } else { State::OutOfRange };
        let bits = if within { ordered.wrapping_sub(self.sign) } else { 0 };
        Reading { leaf: self.leaf, state, bits }
    }

    /// How many bytes a frame must have for it.
    pub(super) fn needs(&self) -> u32 {
        let (left, right) = (u32::from(self.left), u32::from(self.right));
        let last = match self.order {
            ByteOrder::LittleEndian => 63 - left,
            ByteOrder::BigEndian => 63 - right + left,
        };
        u32::from(self.at) + last / 8 + 1
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
    pub(super) fn read(&self, leaf: LeafIndex, bytes: &[u8; 64]) -> Reading {
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
        Reading { leaf, state, bits: if state == State::Value { bits } else { 0 } }
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
