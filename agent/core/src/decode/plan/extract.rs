//! Taking one signal out of a frame: a word is loaded, shifted down and masked, its sign bit flipped and subtracted.
//! A run of raw values within the range costs one subtraction and one compare.
//!
//! ```text
//! 8 bytes at `at`, first byte lowest (Intel) or highest (Motorola):  [ above | s i g n a l | below ]
//!                                                                >> shift, & mask, ^ sign, - sign ─▶ bits
//! ```

use crate::decode::j1939;
use crate::decode::layout::{ByteOrder, Layout, Window};
use crate::decode::{LeafIndex, Reading, SourceAddress, State, ValueType};

/// An unsigned integer within 8 bytes, any of which is a value. Flat, and twice as large as a reading, so that one counter
/// walks both: that is two instructions of thirteen.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub(super) struct Word {
    /// The reading of a frame with all bits set: its bits are the mask.
    full: Reading,
    pub(super) at: u16,
    shift: u8,
    pub(super) order: ByteOrder,
}

const _: () = assert!(size_of::<Word>() == 32);

/// An integer within 8 bytes that is signed, or not all of which are values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranged {
    word: Word,
    /// The sign bit of the value, 0 if it has none.
    sign: u64,
    /// Lowest value within the range, as the bits of a reading.
    low: u64,
    /// Highest less lowest.
    span: u64,
}

const _: () = assert!(size_of::<Ranged>() == 64);

impl Word {
    /// `None` if the bits span 9 bytes. What is within one byte is read in the order `like`.
    pub(super) fn new(leaf: LeafIndex, layout: Layout, like: ByteOrder) -> Option<Self> {
        let layout = layout.in_order(like).unwrap_or(layout);
        let window = Window::new(layout);
        let (at, shift) = (u16::try_from(window.at).ok()?, u8::try_from(window.right - window.left).ok()?);
        let mask = u64::MAX >> (64 - layout.length.clamp(1, 64));
        let full = Reading { leaf, state: State::Value, source: SourceAddress::NONE, bits: mask };
        (!window.wide).then_some(Self { full, at, shift, order: layout.order })
    }

    #[inline]
    fn reading(&self, word: u64) -> Reading {
        // Copied whole, which is one move for all but the bits.
        let mut reading = self.full;
        reading.bits &= word >> (self.shift & 63);
        reading
    }

    /// How many bytes a frame must have for it.
    pub(super) fn needs(&self) -> u32 {
        let shift = u32::from(self.shift);
        u32::from(self.at)
            + match self.order {
                ByteOrder::LittleEndian => (shift + self.full.bits.count_ones()).div_ceil(8),
                ByteOrder::BigEndian => 8 - shift / 8,
            }
    }
}

impl Ranged {
    /// Of the range with the sign bit flipped, lowest and highest. `None` if nothing is within.
    pub(super) fn new(word: Word, sign: u64, (low, high): (u64, u64)) -> Option<Self> {
        Some(Self { word, sign, low: low.wrapping_sub(sign), span: high.checked_sub(low)? })
    }

    #[inline]
    fn reading(&self, word: u64) -> Reading {
        let Reading { leaf, source, bits, .. } = self.word.reading(word);
        let bits = (bits ^ self.sign).wrapping_sub(self.sign);
        let within = bits.wrapping_sub(self.low) <= self.span;
        let (state, bits) = if within { (State::Value, bits) } else { (State::OutOfRange, 0) };
        Reading { leaf, state, source, bits }
    }

    pub(super) fn word(&self) -> &Word {
        &self.word
    }
}

/// Appends the readings of words: those of any value, and those of some.
#[inline]
pub(super) fn read(
    plain: &[Word],
    ranged: &[Ranged],
    load: impl Fn(&Word) -> u64,
    readings: &mut Vec<Reading>,
) {
    let ranged = ranged.iter().map(|ranged| ranged.reading(load(&ranged.word)));
    readings.extend(plain.iter().map(|word| word.reading(load(word))).chain(ranged));
}

/// The 8 bytes at `at`.
#[inline]
pub(super) fn word(bytes: &[u8], at: u16, order: ByteOrder) -> u64 {
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
    pub(super) ranges: Box<[(u64, u64)]>,
}

impl Select {
    pub(super) fn holds(&self, bytes: &[u8]) -> bool {
        let value = self.layout.bits(bytes);
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&value))
    }
}

/// What has no fast path: floats, integers that span 9 bytes, and those with codes of J1939.
#[derive(Debug, Clone)]
pub(super) struct Rare {
    pub(super) leaf: LeafIndex,
    pub(super) layout: Window,
    pub(super) value_type: ValueType,
    pub(super) sign: u64,
    /// Lowest and highest within the range, with the sign bit flipped; for integers.
    pub(super) bounds: (u64, u64),
    /// What is above may be one of J1939's codes.
    pub(super) codes: bool,
    /// For floats.
    pub(super) scale: f64,
    pub(super) offset: f64,
    pub(super) range: Option<(f64, f64)>,
}

impl Rare {
    pub(super) fn read(&self, bytes: &[u8]) -> Reading {
        let bits = self.layout.bits(bytes);
        let (state, bits) = match self.value_type {
            ValueType::Float32 => {
                let raw = f32::from_bits(u32::try_from(bits & 0xFFFF_FFFF).unwrap_or(0));
                (self.float_state(f64::from(raw)), bits)
            }
            ValueType::Float64 => (self.float_state(f64::from_bits(bits)), bits),
            ValueType::Unsigned | ValueType::Signed | ValueType::Boolean => {
                let ordered = bits ^ self.sign;
                let state = match self.bounds {
                    (low, high) if (low..=high).contains(&ordered) => State::Value,
                    _ if self.codes => j1939::code(bits, self.layout.ones()),
                    _ => State::OutOfRange,
                };
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
