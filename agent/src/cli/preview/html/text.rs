//! Text of documents and databases, as it may stand in a page.

use std::fmt::{Display, Formatter, Result, Write as _};

/// Escaped for text and for quoted attributes; what is not seen, or turns the reading direction, is shown as its number.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(' ')?,
                c if c.is_control() || is_hidden(c) => write!(f, "[U+{:04X}]", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Marks and overrides of direction, joiners of nothing, line separators, tags.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
        | '\u{061C}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::Text;
    use proptest::prelude::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        let hostile = "</td><script src=\"//x\">alert('1')</script>&amp;\u{202e}\u{0}\n";
        assert_eq!(
            Text(hostile).to_string(),
            "&lt;/td&gt;&lt;script src=&quot;//x&quot;&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;[U+202E][U+0000] "
        );
        assert_eq!(Text("Grüße, 東京, السيارة").to_string(), "Grüße, 東京, السيارة");
    }

    proptest! {
        /// No text ends an element, an attribute or an entity, and none is lost.
        #[test]
        fn whatever_the_text(text in any::<String>()) {
            let escaped = Text(&text).to_string();
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
            prop_assert!(escaped.split('&').skip(1).all(|rest| known.iter().any(|name| rest.starts_with(name))));
            prop_assert_eq!(text.chars().filter(|c| c.is_alphabetic()).all(|c| escaped.contains(c)), true);
        }
    }
}
