//! Looks for planted secrets in whatever bytes: as they are, in hexadecimal, in base64 at each of its three alignments.

use base64::Engine as _;

/// What must not be found.
#[derive(Debug, Clone)]
pub struct Needle {
    /// What it is called in findings.
    pub name: String,
    /// All forms in which it is looked for.
    forms: Vec<(String, Vec<u8>)>,
}

impl Needle {
    /// A secret of at least six bytes: shorter ones would be found by chance.
    #[must_use]
    pub fn new(name: &str, secret: &[u8]) -> Self {
        assert!(secret.len() >= 6, "{name} is too short to be looked for");
        let mut forms = vec![
            ("raw".to_owned(), secret.to_vec()),
            ("hex".to_owned(), hex::encode(secret).into_bytes()),
            ("HEX".to_owned(), hex::encode_upper(secret).into_bytes()),
        ];
        for shift in 0..3 {
            forms.push((format!("base64+{shift}"), base64_inside(secret, shift)));
        }
        if let Ok(text) = std::str::from_utf8(secret) {
            forms.push(("lower case".to_owned(), text.to_lowercase().into_bytes()));
            forms.push(("upper case".to_owned(), text.to_uppercase().into_bytes()));
        }
        Self { name: name.to_owned(), forms }
    }

    /// The form in which it stands in `bytes`, if it does.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<&str> {
        let stands = |form: &[u8]| bytes.windows(form.len()).any(|window| window == form);
        self.forms.iter().find(|(_, form)| stands(form)).map(|(name, _)| name.as_str())
    }
}

/// The characters of base64 that come from `secret` alone when it begins at `shift` bytes into a group of three.
fn base64_inside(secret: &[u8], shift: usize) -> Vec<u8> {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(secret);
    let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&padded);
    let first = (shift * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    text.as_bytes()[first..last].to_vec()
}

/// One finding a line: where, what, in which form.
#[must_use]
pub fn search(place: &str, bytes: &[u8], needles: &[Needle]) -> Vec<String> {
    let found = |needle: &Needle| Some(format!("{place}: {} ({})", needle.name, needle.find(bytes)?));
    needles.iter().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_every_form_and_nothing_else_is() {
        let needle = Needle::new("vin", b"WVWZZZ1JZXW000001");
        assert_eq!(needle.find(b"a car called WVWZZZ1JZXW000001 here"), Some("raw"));
        assert_eq!(needle.find(b"a car called wvwzzz1jzxw000001 here"), Some("lower case"));
        assert_eq!(needle.find(hex::encode(b"xWVWZZZ1JZXW000001y").as_bytes()), Some("hex"));
        for before in ["", "a", "ab", "abc", "abcd"] {
            let text = base64::engine::general_purpose::STANDARD
                .encode(format!("{before}WVWZZZ1JZXW000001 and more"));
            assert!(needle.find(text.as_bytes()).is_some_and(|form| form.starts_with("base64")), "{before}");
        }
        assert_eq!(needle.find(b"WVWZZZ1JZXW000002"), None);
    }
}
