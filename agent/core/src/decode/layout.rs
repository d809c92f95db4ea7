//! Where the bits of a signal are in a frame.

use crate::limits::FRAME_BYTES_MAX;

/// Byte order of a signal in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Intel: `start` is the least significant bit.
    LittleEndian,
    /// Motorola: `start` is the most significant bit, numbered as in the DBC (bit 7 is the first of byte 0).
    BigEndian,
}

/// Where the bits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// DBC start bit.
    pub start: u16,
    /// 1 to 64 bits.
    pub length: u8,
    /// Byte order.
    pub order: ByteOrder,
}

impl Layout {
    /// The bits as a run `first..=last` when the frame is read in this byte order: Intel counts each byte from its
    /// least significant bit, Motorola from its most significant one.
    pub(crate) fn run(self) -> (u32, u32) {
        let start = u32::from(self.start);
        let first = match self.order {
            ByteOrder::LittleEndian => start,
            ByteOrder::BigEndian => (start & !7) | (7 - (start & 7)),
        };
        (first, first + u32::from(self.length.max(1)) - 1)
    }

    /// The same bits in this byte order; `None` if they are in several bytes and it is the other one.
    pub(crate) fn in_order(self, order: ByteOrder) -> Option<Self> {
        let (first, last) = self.run();
        let above = u16::from(self.length.max(1)) - 1;
        match (self.order, order) {
            (ByteOrder::LittleEndian, ByteOrder::LittleEndian)
            | (ByteOrder::BigEndian, ByteOrder::BigEndian) => Some(self),
            _ if first / 8 != last / 8 => None,
            (_, ByteOrder::BigEndian) => Some(Self { start: self.start + above, order, ..self }),
            (_, ByteOrder::LittleEndian) => Some(Self { start: self.start - above, order, ..self }),
        }
    }

    /// How many bytes a frame must have so that all bits are there.
    pub(crate) fn bytes(self) -> u32 {
        self.run().1 / 8 + 1
    }

    /// One bit per bit of a 64-byte frame; what lies behind it is cut.
    pub(crate) fn mask(self) -> [u64; 8] {
        let mut mask = [0; 8];
        let (first, last) = self.run();
        for bit in first..=last {
            let within = match self.order {
                ByteOrder::LittleEndian => bit & 7,
                ByteOrder::BigEndian => 7 - (bit & 7),
            };
            let bit = (bit & !7) | within;
            if let Some(word) = usize::try_from(bit / 64).ok().and_then(|word| mask.get_mut(word)) {
                *word |= 1 << (bit % 64);
            }
        }
        mask
    }
}

/// Where a layout's bits are in a window of 8 bytes, or 16 if they span 9.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) at: u32,
    pub(crate) left: u32,
    pub(crate) right: u32,
    pub(crate) wide: bool,
    order: ByteOrder,
    needs: u32,
}

impl Window {
    pub(crate) fn new(layout: Layout) -> Self {
        let (first, last) = layout.run();
        // Whole classic frames are one window, so that all their signals come from one load. A frame's window ends
        // with its 64 bytes; behind a longer message there is room.
        let in_frame =
            |window: u32| if last < FRAME_BYTES_MAX * 8 { FRAME_BYTES_MAX - window } else { u32::MAX };
        let narrow = if last < 64 { 0 } else { (first / 8).min(in_frame(8)) };
        let wide = last >= (narrow + 8) * 8;
        let at = if wide { (first / 8).min(in_frame(16)) } else { narrow };
        let size = if wide { 128 } else { 64 };
        let (first, last) = (first - at * 8, last - at * 8);
        let right = size - u32::from(layout.length.max(1));
        // Intel counts bits from the low end of the window, Motorola from its high end.
        let left = match layout.order {
            ByteOrder::LittleEndian => size - 1 - last,
            ByteOrder::BigEndian => first,
        };
        Self { at, left, right, wide, order: layout.order, needs: layout.bytes() }
    }

    /// All its bits set.
    pub(crate) fn ones(&self) -> u64 {
        let size = if self.wide { 128 } else { 64 };
        u64::MAX >> (64 - (size - self.right).clamp(1, 64))
    }

    /// How many bytes a frame must have for it.
    pub(crate) fn needs(&self) -> u32 {
        self.needs
    }

    /// The bits of a frame or message that is padded with zeros, not sign-extended.
    pub(crate) fn bits(&self, bytes: &[u8]) -> u64 {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        let bytes = bytes.get(at..).unwrap_or_default();
        if self.wide {
            let word = bytes.first_chunk().map_or(0, |bytes| match self.order {
                ByteOrder::LittleEndian => u128::from_le_bytes(*bytes),
                ByteOrder::BigEndian => u128::from_be_bytes(*bytes),
            });
            u64::try_from((word << self.left) >> self.right).unwrap_or(0)
        } else {
            let word = bytes.first_chunk().map_or(0, |bytes| match self.order {
                ByteOrder::LittleEndian => u64::from_le_bytes(*bytes),
                ByteOrder::BigEndian => u64::from_be_bytes(*bytes),
            });
            (word << self.left) >> self.right
        }
    }
}

/// The leaf is in a frame only while the multiplexor at `layout` holds a value in one of `ranges`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Where the multiplexor is (unsigned).
    pub layout: Layout,
    /// Inclusive ranges of its raw value.
    pub ranges: Vec<(u64, u64)>,
}
