//! Rust text as the style checks read it: comments and strings blanked, test items cut out, line numbers kept.

use std::path::{Path, PathBuf};

/// One file of the tree.
#[derive(Debug, Clone)]
pub struct Source {
    /// Path below the repository's root, with `/`.
    pub path: String,
    /// As it stands on disk.
    pub text: String,
    /// Comments, strings and characters blanked by spaces; the same lines.
    pub code: String,
    /// `code` without items under `#[cfg(test)]`; the same lines.
    pub product: String,
}

impl Source {
    /// Prepares a text.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        Self::of(path, text, path_is_test(path))
    }

    fn of(path: &str, text: &str, is_test: bool) -> Self {
        let code = blank(text);
        let product = if is_test { blank_all(&code) } else { without_tests(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, product }
    }
}

/// Whether everything in that file is test code.
#[must_use]
pub fn path_is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.contains("/benches/")
}

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// All files below the root that are kept in version control or could be, sorted: neither `target` nor `.git`.
#[must_use]
pub fn tree(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if matches!(name.to_str(), Some("target" | ".git" | "__pycache__" | "node_modules")) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// All Rust files below the root.
#[must_use]
pub fn rust_files(root: &Path) -> Vec<Source> {
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let files: Vec<Source> =
        tree(root).into_iter().filter(is_rust).filter_map(|path| read(root, &path)).collect();
    let tests: Vec<String> = files.iter().flat_map(test_modules).collect();
    let is_test = |path: &str| tests.iter().any(|test| is_module(path, test));
    files
        .into_iter()
        .map(|file| if is_test(&file.path) { Source::of(&file.path, &file.text, true) } else { file })
        .collect()
}

fn read(root: &Path, path: &Path) -> Option<Source> {
    let text = std::fs::read_to_string(path).ok()?;
    let below = path.strip_prefix(root).ok()?.to_str()?;
    Some(Source::new(below, &text))
}

/// Whether `path` is the file of the module at `module`, or below it.
fn is_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Where the modules lie that a file names under `#[cfg(test)]`: `src/store/tests` for `mod tests;` in `src/store.rs`.
#[must_use]
pub fn test_modules(file: &Source) -> Vec<String> {
    let stem = file.path.strip_suffix(".rs").unwrap_or(&file.path);
    let folder = match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder,
        _ => stem,
    };
    let cut = |at: &usize| file.product.as_bytes().get(*at) == Some(&b' ');
    let name = |at: usize| file.code[at + 3..].split(';').next().map(str::trim).unwrap_or_default();
    let outside = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    words(&file.code, "mod")
        .into_iter()
        .filter(cut)
        .map(name)
        .filter(outside)
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

/// Line of the byte `at`, from 1.
#[must_use]
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Comments, strings and character literals become spaces, byte for byte; newlines stay.
#[must_use]
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        match end {
            Some(end) => {
                cover(&mut out[at..end]);
                at = end;
            }
            None => at += 1,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Everything but newlines becomes a space.
fn blank_all(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    cover(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn cover(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// End of the comment, string or character literal that starts at `at`, if one does.
fn token_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => Some(at + find(rest, b"\n").unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(block_comment_end(bytes, at)),
        [b'"', ..] => Some(string_end(bytes, at + 1)),
        [b'r', b'"' | b'#', ..] if !after_word => raw_string_end(bytes, at + 1),
        [b'b', b'r', b'"' | b'#', ..] if !after_word => raw_string_end(bytes, at + 2),
        [b'\'', b'\\', ..] => Some(at + 3 + find(&bytes[(at + 3).min(bytes.len())..], b"'")? + 1),
        [b'\'', ..] => char_end(bytes, at),
        _ => None,
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `at` is behind the `r`. `None` for a raw identifier.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let end = find(&bytes[open + 1..], &close)?;
    Some(open + 1 + end + close.len())
}

/// `'x'`, not the lifetime `'x`.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = std::str::from_utf8(&bytes[at + 1..(at + 6).min(bytes.len())]);
    let first = match rest {
        Ok(rest) => rest.chars().next()?,
        Err(error) => {
            std::str::from_utf8(&bytes[at + 1..at + 1 + error.valid_up_to()]).ok()?.chars().next()?
        }
    };
    let close = at + 1 + first.len_utf8();
    (bytes.get(close) == Some(&b'\'')).then_some(close + 1)
}

/// Cuts what stands under `#[cfg(test)]`, with the attributes that stand right before it.
#[must_use]
pub fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = find(&out[from..], b"#[cfg(test)]") {
        let start = attributes_before(&out, from + found);
        let end = item_end(&out, from + found);
        cover(&mut out[start..end]);
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Start of the run of whole-line attributes that ends at `at`.
fn attributes_before(bytes: &[u8], at: usize) -> usize {
    let mut start = line_start(bytes, at);
    while start > 0 {
        let before = line_start(bytes, start - 1);
        let line = bytes[before..start - 1].trim_ascii();
        if !line.starts_with(b"#[") {
            break;
        }
        start = before;
    }
    start
}

fn line_start(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}

/// End of the item behind the attribute at `at`: its closing brace, or its semicolon if that comes first.
fn item_end(bytes: &[u8], at: usize) -> usize {
    let mut square = 0_i32;
    for (offset, byte) in bytes[at..].iter().enumerate() {
        match byte {
            b'[' => square += 1,
            b']' => square -= 1,
            b';' if square == 0 => return at + offset + 1,
            b'{' if square == 0 => return block_end(bytes, at + offset),
            _ => {}
        }
    }
    bytes.len()
}

/// End of the block whose brace opens at `open`, behind its closing brace.
#[must_use]
pub fn block_end(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0_i32;
    for (offset, byte) in bytes[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset + 1;
        }
    }
    bytes.len()
}

/// Every place where `word` stands as a whole identifier.
#[must_use]
pub fn words(code: &str, word: &str) -> Vec<usize> {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = code.as_bytes();
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || !is_word(bytes.get(at - 1)))
        .filter(|at| !is_word(bytes.get(at + word.len())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked_and_lines_stay() {
        let text = "a // b\n/* c /* d */ e */ f \"g\\\"\nh\" r#\"i\"j\"# 'k' '\\'' &'l str b'm' r#fn";
        let code = blank(text);
        assert_eq!(code.len(), text.len());
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "f", "&'l", "str", "b", "r#fn"]);
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn test_items_are_cut_with_their_attributes() {
        let text = "fn a() {}\n#[expect(x)]\n#[cfg(test)]\n#[expect(y)]\nmod tests { fn b() { c() } }\nfn d() {}\n#[cfg(test)]\nuse e;\nfn f() {}";
        let product = without_tests(&blank(text));
        assert_eq!(product.split_whitespace().collect::<Vec<_>>().join(" "), "fn a() {} fn d() {} fn f() {}");
    }

    #[test]
    fn modules_under_test_alone_are_known() {
        let file = Source::new(
            "a/b.rs",
            "mod c;\n#[cfg(test)]\n#[expect(x)]\npub(crate) mod d;\n#[cfg(test)]\nmod e {}\n",
        );
        assert_eq!(test_modules(&file), ["a/b/d"]);
        assert!(
            is_module("a/b/d.rs", "a/b/d")
                && is_module("a/b/d/e.rs", "a/b/d")
                && !is_module("a/b/de.rs", "a/b/d")
        );
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("prost prost_build xprost prost::a", "prost"), [0, 25]);
    }
}
