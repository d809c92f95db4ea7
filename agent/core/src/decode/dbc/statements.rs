//! DBC text cut into statements, each with its line, so that one bad statement costs no other one.
//!
//! ```text
//! KEYWORD rest of the line            BO_, SG_, BS_, VERSION: one line
//! KEYWORD rest … ;                    all others: up to the semicolon or the next keyword; strings may hold line ends
//! NS_ : and BU_ :                     go on over lines of single words
//! ```

/// A statement and where it begins (1-based).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Statement<'t> {
    pub(super) keyword: &'t str,
    pub(super) text: &'t str,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Statement<'_> {
    /// Where a semicolon should stand at the end and does not.
    pub(super) fn lacks_semicolon(&self) -> Option<(u32, u32)> {
        let one_line = matches!(self.keyword, "VERSION" | "NS_" | "BS_" | "BU_" | "BO_" | "SG_");
        // What stands behind `//` is no part of it; a string may hold these characters too.
        let code = self.text.lines().last().unwrap_or_default();
        let code = match code.rsplit_once("//") {
            Some((before, _)) if before.matches('"').count() % 2 == 0 => before.trim_end(),
            _ => code,
        };
        let breaks = u32::try_from(self.text.lines().count().saturating_sub(1)).unwrap_or(0);
        let indent = if breaks == 0 { self.column } else { 1 };
        let width = u32::try_from(code.chars().count()).unwrap_or(0);
        (!one_line && !code.ends_with(';')).then_some((self.line + breaks, indent + width))
    }
}

/// What the scanner has to say beside the statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item<'t> {
    Statement(Statement<'t>),
    /// A line that no keyword begins and no statement goes on with.
    Unknown {
        line: u32,
        column: u32,
    },
    /// A string that is never closed; what follows is read again from the next statement on, if there is one.
    OpenString {
        line: u32,
        column: u32,
        ends_file: bool,
    },
}

const KEYWORDS: [&str; 37] = [
    "VERSION",
    "NS_",
    "BS_",
    "BU_",
    "BO_",
    "SG_",
    "CM_",
    "VAL_",
    "VAL_TABLE_",
    "BA_",
    "BA_DEF_",
    "BA_DEF_DEF_",
    "BA_REL_",
    "BA_DEF_REL_",
    "BA_DEF_DEF_REL_",
    "BA_SGTYPE_",
    "BA_DEF_SGTYPE_",
    "SIG_VALTYPE_",
    "SIGTYPE_VALTYPE_",
    "SIG_TYPE_REF_",
    "SIG_GROUP_",
    "SG_MUL_VAL_",
    "SGTYPE_",
    "SGTYPE_VAL_",
    "BO_TX_BU_",
    "EV_",
    "EV_DATA_",
    "ENVVAR_DATA_",
    "CAT_DEF_",
    "CAT_",
    "FILTER",
    "NS_DESC_",
    "BU_SG_REL_",
    "BU_EV_REL_",
    "BU_BO_REL_",
    "BA_DEF_DEF_SGTYPE_",
    "SIG_VALTYPE",
];

/// A statement that has begun and not ended.
#[derive(Clone, Copy)]
struct Open<'t> {
    keyword: &'t str,
    begin: usize,
    line: u32,
    column: u32,
}

struct Scanner<'t> {
    text: &'t str,
    open: Option<Open<'t>>,
    /// Line and column of the quote that opened the string we are in.
    string: Option<(u32, u32)>,
    /// End of the last line that belongs to `open`.
    end: usize,
    items: Vec<Item<'t>>,
}

/// Cuts the text.
pub(super) fn scan(text: &str) -> Vec<Item<'_>> {
    let mut scanner = Scanner { text, open: None, string: None, end: 0, items: Vec::new() };
    let mut begin = 0;
    for (number, line) in (1u32..).zip(text.split('\n')) {
        scanner.line(number, begin, line);
        begin += line.len() + 1;
    }
    if let Some((line, column)) = scanner.string.take() {
        scanner.open = None;
        scanner.items.push(Item::OpenString { line, column, ends_file: true });
    }
    scanner.close();
    scanner.items
}

impl<'t> Scanner<'t> {
    fn line(&mut self, number: u32, begin: usize, line: &'t str) {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let keyword = leading_word(trimmed);
        let known = KEYWORDS.contains(&keyword) && trimmed.len() > keyword.len();
        if let Some((at, column)) = self.string {
            // A closing quote was forgotten: the string ended with the statement before, not here.
            if known && self.text[..self.end].ends_with(';') && is_whole_statement(keyword, trimmed) {
                self.items.push(Item::OpenString { line: at, column, ends_file: false });
                self.string = None;
                self.open = None;
            }
        }
        if self.string.is_none() {
            let column = u32::try_from(indent + 1).unwrap_or(u32::MAX);
            if trimmed.is_empty() || trimmed.starts_with("//") {
                return;
            } else if known && !self.lists_words(trimmed) {
                self.close();
                self.open = Some(Open { keyword, begin: begin + indent, line: number, column });
            } else if !self.goes_on(trimmed) {
                self.close();
                self.items.push(Item::Unknown { line: number, column });
                return;
            }
        }
        self.quotes(number, line);
        self.end = begin + line.trim_end().len();
    }

    /// Whether the open statement is a list of words (`NS_`, `BU_`) that this line goes on with.
    fn lists_words(&self, trimmed: &str) -> bool {
        self.open.is_some_and(|open| matches!(open.keyword, "NS_" | "BU_"))
            && trimmed.split_whitespace().all(|word| leading_word(word).len() == word.len())
    }

    fn goes_on(&self, trimmed: &str) -> bool {
        let Some(open) = self.open else { return false };
        match open.keyword {
            "NS_" | "BU_" => self.lists_words(trimmed),
            "BO_" | "SG_" | "BS_" | "VERSION" => false,
            _ => !self.text[..self.end].ends_with(';'),
        }
    }

    fn close(&mut self) {
        let Some(Open { keyword, begin, line, column }) = self.open.take() else { return };
        let text = self.text.get(begin..self.end).unwrap_or_default();
        self.items.push(Item::Statement(Statement { keyword, text, line, column }));
    }

    /// Follows the quotes of a line; a comment ends the line, `\"` stands for a quote in a string.
    fn quotes(&mut self, number: u32, line: &str) {
        let bytes = line.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let next = bytes.get(at + 1);
            match (byte, self.string) {
                (b'\\', Some(_)) if next == Some(&b'"') => at += 1,
                (b'"', Some(_)) => self.string = None,
                (b'"', None) => self.string = Some((number, u32::try_from(at + 1).unwrap_or(u32::MAX))),
                (b'/', None) if next == Some(&b'/') => return,
                _ => {}
            }
            at += 1;
        }
    }
}

fn leading_word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// Whether the line can only be the beginning of a statement, even where a string seems to be open.
fn is_whole_statement(keyword: &str, line: &str) -> bool {
    let mut words = line[keyword.len()..].split_whitespace();
    let first = words.next().unwrap_or_default();
    match keyword {
        "BO_" if !line.contains(':') => false,
        "BO_" | "VAL_" | "SIG_VALTYPE_" | "SG_MUL_VAL_" => first.bytes().all(|byte| byte.is_ascii_digit()),
        "SG_" => line.contains('|') && line.contains('@'),
        "CM_" => matches!(first, "BO_" | "SG_" | "BU_" | "EV_") || first.starts_with('"'),
        "BA_" | "BA_DEF_" | "BA_DEF_DEF_" => line.contains('"'),
        _ => false,
    }
}

/// The message identifier of a statement: its first whole number outside strings. The parser crate cuts
/// identifiers above 16 bits, so we read them here.
pub(super) fn message_id(text: &str) -> Option<u64> {
    text.split('"')
        .step_by(2)
        .flat_map(str::split_whitespace)
        .find(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keywords(text: &str) -> Vec<(&str, u32)> {
        scan(text)
            .iter()
            .map(|item| match item {
                Item::Statement(statement) => (statement.keyword, statement.line),
                Item::Unknown { line, .. } => ("unknown", *line),
                Item::OpenString { line, .. } => ("open", *line),
            })
            .collect()
    }

    #[test]
    fn lists_of_words_hold_keywords_without_being_statements() {
        let text = "VERSION \"\"\nNS_ :\n\tCM_\n\tBA_DEF_\nBS_:\nBU_: A\n  B C\nBO_ 1 M: 8 A\n SG_ S : 0|1@1+ (1,0) [0|0] \"\" A\n";
        assert_eq!(
            keywords(text),
            [("VERSION", 1), ("NS_", 2), ("BS_", 5), ("BU_", 6), ("BO_", 8), ("SG_", 9)]
        );
    }

    #[test]
    fn strings_may_hold_line_ends_and_keywords() {
        let text = "CM_ BO_ 1 \"first\nBO_ 2 is not here\n\";\nBO_ 3 M: 8 A";
        assert_eq!(keywords(text), [("CM_", 1), ("BO_", 4)]);
    }

    #[test]
    fn a_forgotten_quote_costs_one_statement() {
        let text = "CM_ BO_ 1 \"never closed;\nBO_ 3 M: 8 A";
        assert_eq!(keywords(text), [("open", 1), ("BO_", 2)]);
        assert_eq!(keywords("CM_ BO_ 1 \"never closed"), [("open", 1)]);
    }

    #[test]
    fn a_quote_in_a_string_does_not_end_it() {
        let text = "CM_ BO_ 1 \"an \\\" inch;\nBO_ or two\";\nBO_ 3 M: 8 A // 5\"\nBO_ 4 N: 8 A";
        assert_eq!(keywords(text), [("CM_", 1), ("BO_", 3), ("BO_", 4)]);
    }

    #[test]
    fn an_unknown_line_is_told() {
        let text = "BO_ 1 M: 8 A\nB0_ 2 N: 8 A\n SG_ S : 0|1@1+ (1,0) [0|0] \"\" A";
        assert_eq!(keywords(text), [("BO_", 1), ("unknown", 2), ("SG_", 3)]);
    }

    #[test]
    fn tables_may_go_on_over_lines() {
        let text = "VAL_ 1 S 0 \"a\"\n 1 \"b\" ;\nCM_ \"x\"\nBO_ 3 M: 8 A";
        assert_eq!(keywords(text), [("VAL_", 1), ("CM_", 3), ("BO_", 4)]);
    }

    #[test]
    fn identifiers_are_found_outside_strings() {
        assert_eq!(message_id("BA_ \"Attr 12\" SG_ 2147483999 S \"Long 3\";"), Some(2_147_483_999));
        assert_eq!(message_id("BO_ 3 M: 8 A"), Some(3));
        assert_eq!(message_id("CM_ \"5\""), None);
        assert_eq!(message_id("BO_ 99999999999999999999 M: 8 A"), None);
    }
}
