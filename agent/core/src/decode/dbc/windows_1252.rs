//! Windows-1252, in which most older DBC files are written (WHATWG Encoding Standard, index windows-1252).

/// What 0x80 to 0x9F stand for; five of them are the control characters of the same number.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', //
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

/// The text of `bytes`: each byte is one character, so this cannot fail.
pub(super) fn decode(bytes: &[u8]) -> String {
    let character = |byte: &u8| match byte {
        0x80..=0x9F => HIGH[usize::from(byte - 0x80)],
        _ => char::from(*byte),
    };
    bytes.iter().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_what_the_standard_says() {
        for byte in 0..=u8::MAX {
            let bytes = [byte];
            assert_eq!(Some(decode(&bytes)), can_dbc::decode_cp1252(&bytes).map(Into::into), "{byte:#04x}");
        }
    }
}
