//! Body of a seal, the plaintext of HPKE:
//!
//! ```text
//! ┌───────────────┬──────────────────┬─────────────┐
//! │ n as u32 LE   │ one zstd frame,  │ zero bytes  │   total = padme(4 + n)
//! │ (4 bytes)     │ n bytes          │ (0 or more) │
//! └───────────────┴──────────────────┴─────────────┘
//! ```
//! Padmé (Nikitin and others, PETS 2019) lets a length tell O(log log n) bits for at most 12 % more bytes.

use std::io::Read as _;

/// Compression level: higher ones cost ten times the time for half a per cent.
pub const LEVEL: i32 = 1;
// A higher level would be packed by `fast` all the same in a car, and only there.
const _: () = assert!(LEVEL == 1, "a car's zstd has the strategy `fast` alone, see .cargo/config.toml");
/// A message before compression: a reader refuses to expand more than this.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// First bytes of a zstd frame (RFC 8878, section 3.1.1); a skippable frame starts otherwise.
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
const LENGTH_BYTES: usize = 4;

/// Why a message could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Larger than readers accept.
    #[error("message of {bytes} bytes, at most {MESSAGE_BYTES_MAX} can be packed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The compressor failed.
    #[error("zstd cannot compress {bytes} bytes: {cause}")]
    Zstd {
        /// Size of the message.
        bytes: usize,
        /// What zstd says.
        cause: std::io::Error,
    },
}

/// Why a body could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// No room for the length.
    #[error("body of {bytes} bytes is shorter than its 4-byte length field")]
    Short {
        /// Its size.
        bytes: usize,
    },
    /// The length field points outside.
    #[error("length field says {frame} bytes, the body has room for {room}")]
    Length {
        /// What the field says.
        frame: usize,
        /// What there is.
        room: usize,
    },
    /// The length is not what Padmé makes of it.
    #[error("body of {bytes} bytes, Padmé asks for {padme}")]
    Padme {
        /// Its size.
        bytes: usize,
        /// The size it should have.
        padme: usize,
    },
    /// A padding byte is not zero.
    #[error("padding byte at {at} is not zero")]
    Padding {
        /// Offset in the body.
        at: usize,
    },
    /// Not exactly one zstd frame.
    #[error("the {frame} bytes are not one whole zstd frame")]
    Frame {
        /// Length of the frame by its length field.
        frame: usize,
    },
    /// The frame is damaged.
    #[error("zstd cannot expand {frame} bytes: {cause}")]
    Zstd {
        /// Length of the frame.
        frame: usize,
        /// What zstd says.
        cause: std::io::Error,
    },
    /// The message is larger than a reader accepts.
    #[error("the zstd frame expands to more than {MESSAGE_BYTES_MAX} bytes")]
    Expansion,
}

/// The Padmé length of `length`: only its top bits stay, the rest rounds up.
#[must_use]
pub const fn padme(length: usize) -> usize {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1usize << (exponent - kept)) - 1;
    match length.checked_add(mask) {
        Some(sum) => sum & !mask,
        None => length,
    }
}

/// Packs messages one after another with one compressor's memory. Nothing of one message shows in the next.
pub struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    /// A packer of that zstd level; [`LEVEL`] is right for batches.
    ///
    /// # Errors
    /// If zstd does not know the level.
    pub fn new(level: i32) -> Result<Self, PackError> {
        let zstd = zstd::bulk::Compressor::new(level).map_err(|cause| PackError::Zstd { bytes: 0, cause })?;
        Ok(Self { zstd })
    }

    /// The padded body of `message`.
    ///
    /// # Errors
    /// If the message is larger than [`MESSAGE_BYTES_MAX`] or zstd fails.
    pub fn pack(&mut self, message: &[u8]) -> Result<Vec<u8>, PackError> {
        let bytes = message.len();
        if bytes > MESSAGE_BYTES_MAX {
            return Err(PackError::TooLarge { bytes });
        }
        let frame = self.zstd.compress(message).map_err(|cause| PackError::Zstd { bytes, cause })?;
        let length = u32::try_from(frame.len()).map_err(|_| PackError::TooLarge { bytes })?;
        let mut body = Vec::with_capacity(padme(LENGTH_BYTES + frame.len()));
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&frame);
        body.resize(padme(body.len()), 0);
        Ok(body)
    }
}

/// The padded body of one message.
///
/// # Errors
/// As [`Packer::pack`].
pub fn pack(message: &[u8], level: i32) -> Result<Vec<u8>, PackError> {
    Packer::new(level)?.pack(message)
}

/// The message in a body.
///
/// # Errors
/// If the length, the padding or the frame is not exactly as [`Packer::pack`] makes it, or it expands too far.
pub fn unpack(body: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let bytes = body.len();
    let (length, rest) = body.split_first_chunk::<LENGTH_BYTES>().ok_or(UnpackError::Short { bytes })?;
    let frame = u32::from_le_bytes(*length) as usize;
    let room = rest.len();
    if frame > room {
        return Err(UnpackError::Length { frame, room });
    }
    let padme = padme(LENGTH_BYTES + frame);
    if bytes != padme {
        return Err(UnpackError::Padme { bytes, padme });
    }
    let (packed, padding) = rest.split_at(frame);
    if let Some(at) = padding.iter().position(|byte| *byte != 0) {
        return Err(UnpackError::Padding { at: LENGTH_BYTES + frame + at });
    }
    expand(packed)
}

fn expand(packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let frame = packed.len();
    if !packed.starts_with(&MAGIC) || zstd::zstd_safe::find_frame_compressed_size(packed) != Ok(frame) {
        return Err(UnpackError::Frame { frame });
    }
    let failed = |cause| UnpackError::Zstd { frame, cause };
    let mut reader = zstd::stream::read::Decoder::with_buffer(packed).map_err(failed)?.single_frame();
    // The frame may ask for a window; more than the largest message is of no use.
    reader.window_log_max(MESSAGE_BYTES_MAX.ilog2()).map_err(failed)?;
    let mut message = Vec::new();
    let limit = MESSAGE_BYTES_MAX as u64 + 1;
    reader.take(limit).read_to_end(&mut message).map_err(failed)?;
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(UnpackError::Expansion);
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may fail loudly")]
    use super::*;
    use proptest::prelude::*;

    /// From the paper's definition, written another way.
    fn padme_slow(length: usize) -> usize {
        let floor_log2 = |n: usize| (0..64).rev().find(|bit| n >> bit > 0).unwrap();
        let e = floor_log2(length);
        let s = floor_log2(e) + 1;
        let unit = 1usize << (e - s);
        length.div_ceil(unit) * unit
    }

    #[test]
    fn padme_is_that_of_the_paper() {
        for length in 2..70_000 {
            assert_eq!(padme(length), padme_slow(length), "{length}");
        }
        assert_eq!([0, 1, 9, 1000, 1025, 19_000].map(padme), [0, 1, 10, 1024, 1088, 19_456]);
        assert_eq!(padme(usize::MAX), usize::MAX);
    }

    #[test]
    fn bounds_the_expansion() {
        let bomb = zstd::bulk::compress(&vec![0; MESSAGE_BYTES_MAX + 1], 1).unwrap();
        assert!(matches!(unpack(&framed(&bomb)), Err(UnpackError::Expansion)), "{} bytes", bomb.len());
        let most = pack(&vec![0; MESSAGE_BYTES_MAX], LEVEL).unwrap();
        assert_eq!(unpack(&most).unwrap().len(), MESSAGE_BYTES_MAX);
        assert!(matches!(pack(&vec![0; MESSAGE_BYTES_MAX + 1], LEVEL), Err(PackError::TooLarge { .. })));
    }

    #[test]
    fn takes_one_frame_alone() {
        let one = zstd::bulk::compress(b"one", 1).unwrap();
        assert_eq!(unpack(&framed(&one)).unwrap(), b"one");
        let refused = |packed: &[u8]| matches!(unpack(&framed(packed)), Err(UnpackError::Frame { .. }));
        assert!(refused(&[one.as_slice(), &one].concat()), "two frames");
        assert!(refused(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]), "a skippable frame");
        assert!(refused(b""), "nothing");
        assert!(refused(&one[..one.len() - 1]), "a cut frame");
    }

    #[test]
    fn refuses_other_padding() {
        let body = pack(b"some message that is long enough to need padding, perhaps", LEVEL).unwrap();
        assert!(matches!(unpack(&[body.as_slice(), &[0]].concat()), Err(UnpackError::Padme { .. })));
        let frame = u32::from_le_bytes([body[0], body[1], body[2], body[3]]) as usize;
        assert!(body.len() > 4 + frame, "this message has padding");
        let mut stained = body.clone();
        *stained.last_mut().unwrap() = 1;
        assert!(matches!(unpack(&stained), Err(UnpackError::Padding { at }) if at == body.len() - 1));
        assert!(matches!(unpack(&[1, 0, 0]), Err(UnpackError::Short { bytes: 3 })));
        assert!(matches!(unpack(&[5, 0, 0, 0, 1]), Err(UnpackError::Length { frame: 5, room: 1 })));
    }

    fn framed(packed: &[u8]) -> Vec<u8> {
        let mut body = (packed.len() as u32).to_le_bytes().to_vec();
        body.extend_from_slice(packed);
        body.resize(padme(body.len()), 0);
        body
    }

    proptest! {
        #[test]
        fn round_trip(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4000), 1..4)) {
            let mut packer = Packer::new(LEVEL).unwrap();
            for message in messages {
                let body = packer.pack(&message).unwrap();
                prop_assert_eq!(padme(body.len()), body.len(), "a Padmé length is its own");
                prop_assert_eq!(&body, &pack(&message, LEVEL).unwrap(), "no memory of the message before");
                prop_assert_eq!(unpack(&body).unwrap(), message);
            }
        }

        #[test]
        fn garbage_never_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpack(&body);
            let _ = unpack(&framed(&body));
            let _ = unpack(&framed(&[&MAGIC, body.as_slice()].concat()));
        }

        #[test]
        fn a_cut_body_is_refused(message in prop::collection::vec(any::<u8>(), 0..600), cut in 1usize..700) {
            let body = pack(&message, LEVEL).unwrap();
            prop_assert!(unpack(&body[..body.len().saturating_sub(cut)]).is_err());
        }
    }
}
