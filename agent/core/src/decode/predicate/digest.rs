//! `signal_map_digest` of a derived signal: SHA-256 over what it is worked out of and how, so that it waits for the owner
//! if one of its inputs is extracted otherwise, or a release says something else by its name.
//!
//! ```text
//! lp("glovebox/v1/derived") lp(path) lp(version as u32) then for each input lp(path) lp(its signal_map_digest)
//! ```
//!
//! All numbers big-endian, `lp(x)` = length of x as u32, then x.

use super::Predicate;
use crate::names::Digest;

pub(in super::super) fn digest<'a>(
    predicate: Predicate,
    inputs: impl Iterator<Item = (&'a str, Digest)>,
) -> Digest {
    let mut text = Vec::with_capacity(256);
    lp(&mut text, b"glovebox/v1/derived");
    lp(&mut text, predicate.path().as_bytes());
    lp(&mut text, &predicate.version().to_be_bytes());
    for (path, digest) in inputs {
        lp(&mut text, path.as_bytes());
        lp(&mut text, &digest.0);
    }
    Digest::of(&text)
}

fn lp(text: &mut Vec<u8>, part: &[u8]) {
    // A path has at most 256 characters.
    text.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    text.extend_from_slice(part);
}
