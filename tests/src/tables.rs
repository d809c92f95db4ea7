//! The tables of attacks and of law: three cells a line, the last one a test that there is, or what it waits for.

use crate::source::Source;

/// One line of a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The attack, or the source in law.
    pub name: String,
    /// The tests, as cargo-nextest names them: `BINARY-ID NAME`; none if it waits.
    pub tests: Vec<String>,
    /// What it waits for.
    pub waits_for: Option<String>,
}

/// Reads a table; `#` begins a comment.
///
/// # Errors
/// Line and what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Row>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(at, line)| row(line).ok_or(format!("line {}: must be `name | what | test`", at + 1)))
        .collect()
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [name, what, last] = cells.as_slice() else { return None };
    if name.is_empty() || what.is_empty() || last.is_empty() {
        return None;
    }
    let waits_for = last.strip_prefix("waits for ").map(str::to_owned);
    let tests = if waits_for.is_some() {
        Vec::new()
    } else {
        last.split(',').map(|it| it.trim().to_owned()).collect()
    };
    Some(Row { name: (*name).to_owned(), tests, waits_for })
}

/// Where the sources of a test binary are.
fn sources(binary: &str) -> Option<String> {
    let (package, target) =
        binary.split_once("::").map_or((binary, None), |(package, target)| (package, Some(target)));
    let folder = match package {
        "glovebox-core" => "agent/core",
        "glovebox" => "agent",
        "glovebox-recipient" => "proto/recipient",
        "glovebox-proto" => "proto",
        "glovebox-tests" => "tests",
        _ => return None,
    };
    Some(target.map_or_else(|| format!("{folder}/src/"), |target| format!("{folder}/tests/{target}")))
}

/// Whether a test of this name stands in these files: its function, in a file whose path or modules have the rest of it.
#[must_use]
pub fn is_there(test: &str, files: &[Source]) -> bool {
    let Some((binary, name)) = test.split_once(' ') else { return false };
    let Some(sources) = sources(binary) else { return false };
    let mut modules: Vec<&str> = name.split("::").collect();
    let Some(function) = modules.pop() else { return false };
    files.iter().filter(|file| file.path.starts_with(&sources)).any(|file| {
        let stem = file.path.trim_end_matches(".rs");
        let within = |module: &&str| {
            stem.split('/').any(|part| part == *module) || file.code.contains(&format!("mod {module} "))
        };
        file.code.contains(&format!("fn {function}(")) && modules.iter().all(within)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_and_what_is_not_there_is_noticed() {
        let rows = parse("# c\n\na | b | glovebox-core x::tests::y, glovebox z::w\nc | d | waits for e\n");
        let rows = rows.unwrap_or_default();
        assert_eq!(rows[0].tests, ["glovebox-core x::tests::y", "glovebox z::w"]);
        assert_eq!((rows[1].tests.len(), rows[1].waits_for.as_deref()), (0, Some("e")));
        assert_eq!(parse("a | b\n"), Err("line 1: must be `name | what | test`".to_owned()));
        assert!(parse("a | | c\n").is_err());
        let files = [Source::new("agent/core/src/x.rs", "mod tests {\n#[test]\nfn y() {}\n}\n")];
        assert!(is_there("glovebox-core x::tests::y", &files));
        for gone in
            ["glovebox-core x::tests::z", "glovebox x::tests::y", "glovebox-core w::tests::y", "x", "o y"]
        {
            assert!(!is_there(gone, &files), "{gone}");
        }
    }
}
