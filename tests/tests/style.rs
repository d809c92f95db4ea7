//! Style is a test: who may import whom, the fences of foreign crates, sizes, heads, limits, the invariants' list.
//! Each finding says file, line and the mend; each check is proved on a bad sample.

use glovebox_tests::source::{Source, block_end, line_of, path_is_test, root, rust_files, tree, words};
use glovebox_tests::{imports, need, tables};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Lines of a file.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Direct dependencies of the core; the last ones: winnow reads the expressions of mapping files (decision 0009), h3o knows
/// the cells of places.
const CORE_DEPENDENCIES_MAX: usize = 14;
/// Direct dependencies of the agent; the last one: `preview` opens what it sealed by the recipient's own code.
const AGENT_DEPENDENCIES_MAX: usize = 31;
/// What the user fixed for the top level; entries with a dot come on top.
const TOP_LEVEL: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "CHANGELOG.md",
    "README.md",
    "agent",
    "proto",
    "systemd",
    "cross.toml",
    "tests",
];

fn report(findings: &[String]) {
    assert!(findings.is_empty(), "\n{} finding(s):\n{}\n", findings.len(), findings.join("\n"));
}

fn all(check: fn(&Source) -> Vec<String>) {
    report(&rust_files(&root()).iter().flat_map(check).collect::<Vec<_>>());
}

/// The sample must be found, with its line.
fn proved(check: fn(&Source) -> Vec<String>, path: &str, text: &str, place: &str) {
    let findings = check(&Source::new(path, text));
    assert!(findings.iter().any(|finding| finding.starts_with(place)), "{place} not in {findings:?}");
}

// --- imports and fences: the table itself is in src/imports.rs

#[test]
fn core_modules_import_only_what_the_table_allows() {
    all(imports::core);
    proved(
        imports::core,
        "agent/core/src/frame.rs",
        "//! x\nuse crate::gate::Gate;\n",
        "agent/core/src/frame.rs:2",
    );
    proved(
        imports::core,
        "agent/core/src/batch/mod.rs",
        "//! x\n\nuse crate::{names, wire::Header};\n",
        "agent/core/src/batch/mod.rs:3",
    );
    proved(
        imports::core,
        "agent/core/src/decode/plan.rs",
        "use super::super::seal;\n",
        "agent/core/src/decode/plan.rs:1",
    );
    let test_code = Source::new("agent/core/src/frame.rs", "#[cfg(test)]\nmod tests { use crate::seal; }\n");
    assert!(imports::core(&test_code).is_empty(), "tests may join stages");
}

#[test]
fn shell_modules_do_not_import_each_other() {
    all(imports::shell);
    proved(
        imports::shell,
        "agent/src/uplink.rs",
        "//! x\nuse crate::outbox::Outbox;\n",
        "agent/src/uplink.rs:2",
    );
    proved(
        imports::shell,
        "agent/src/bus/replay.rs",
        "use crate::config::Config;\n",
        "agent/src/bus/replay.rs:1",
    );
    proved(imports::shell, "agent/src/config.rs", "use crate::bus::Replay;\n", "agent/src/config.rs:1");
    proved(imports::shell, "agent/src/uplink.rs", "use crate::store::Store;\n", "agent/src/uplink.rs:1");
    for (path, text) in [
        ("agent/src/config.rs", "use crate::{bus, uplink::Config as UplinkConfig};\nfn f(_: bus::Config) {}"),
        ("agent/src/outbox.rs", "use crate::store::Store;"),
        ("agent/src/daemon.rs", "use crate::{bus, config};"),
        ("agent/src/bus/mod.rs", "use crate::bus::replay; use super::bus;"),
    ] {
        let findings = imports::shell(&Source::new(path, text));
        assert!(findings.is_empty(), "{findings:?}");
    }
}

#[test]
fn foreign_crates_stay_in_their_places() {
    all(imports::fences);
    for (path, text) in [
        ("agent/core/src/seal/mod.rs", "use prost::Message;"),
        ("agent/core/src/pipeline.rs", "fn f() { tokio::spawn(x); }"),
        ("agent/src/outbox.rs", "use sled::Db;"),
        ("agent/src/daemon.rs", "use rumqttc::v5::Event;"),
        ("agent/src/daemon.rs", "use rustls::ClientConfig;"),
        ("agent/src/sealer.rs", "use rustls::ClientConfig;"),
        ("agent/src/uplink.rs", "use rustls::crypto::aws_lc_rs::hpke::X;"),
        ("agent/core/src/batch/mod.rs", "use serde_json::Value;"),
        ("agent/src/uplink.rs", "use socketcan::CanFrame;"),
        ("agent/core/src/decode/map.rs", "use winnow::Parser;"),
    ] {
        proved(imports::fences, path, text, &format!("{path}:1"));
    }
    let fine = Source::new("agent/src/sealer.rs", "use rustls::crypto::aws_lc_rs::hpke::SUITE;");
    assert!(imports::fences(&fine).is_empty());
}

#[test]
fn invariant_12_the_core_brings_no_runtime_socket_or_random_source() -> anyhow::Result<()> {
    let banned = ["tokio", "socket2", "getrandom", "rand", "rand_core", "mio", "async-std"];
    let find = |tree: &str| -> Vec<String> {
        let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
        tree.lines().filter_map(first).filter(|name| banned.contains(&name.as_str())).collect()
    };
    assert_eq!(find("glovebox-core v0.1.0\nserde v1\ngetrandom v0.3.1\n"), ["getrandom"]);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let arguments =
        ["tree", "-p", "glovebox-core", "-e", "normal", "--prefix", "none", "--locked", "--offline"];
    let output = cargo.args(arguments).current_dir(root()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("glovebox-core"), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(find(&text), Vec::<String>::new(), "the core is pure: turn the feature off that brings it");
    Ok(())
}

/// What could put a frame on a bus. `write` is that of a descriptor or a socket; only the bell that wakes the reader
/// has one.
fn senders(file: &Source) -> Vec<String> {
    if !file.path.starts_with("agent/src/bus/") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let sending =
        ["send", "sendto", "sendmsg", "sendmmsg", "write_frame", "write_all", "writev", "Write", "IoSlice"];
    let bell = |at: usize| file.code[..at].ends_with("self.0.") && file.path.ends_with("live/mod.rs");
    let writes = words(&file.product, "write").into_iter().filter(|at| {
        !bell(*at) && file.product[..*at].ends_with('.') && !file.product[..*at].ends_with("f.")
    });
    let sends = sending.iter().flat_map(|word| words(&file.product, word));
    for at in sends.chain(writes) {
        let line = line_of(&file.product, at);
        findings.push(format!("{}:{line}: the bus stage only listens (invariant 10)", file.path));
    }
    findings
}

#[test]
fn invariant_10_nothing_in_the_bus_stage_can_send() {
    all(senders);
    let sends = "//! x\nfn a(s: &S) {\n    s.send(1);\n}\n";
    proved(senders, "agent/src/bus/live/socket.rs", sends, "agent/src/bus/live/socket.rs:3");
    let writes = "//! x\nfn a(s: &S) { s.socket.write(&[1]); }\n";
    proved(senders, "agent/src/bus/live/socket.rs", writes, "agent/src/bus/live/socket.rs:2");
    assert!(senders(&Source::new("agent/src/uplink/link.rs", sends)).is_empty(), "others may");
}

fn dependencies(manifest: &str) -> usize {
    let mut inside = false;
    let mut count = 0;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && line.contains('=') && !line.starts_with('#') {
            count += 1;
        }
    }
    count
}

#[test]
fn direct_dependencies_stay_few() -> anyhow::Result<()> {
    assert_eq!(
        dependencies("[dependencies]\na.workspace = true\n# b = 1\nc = \"1\"\n[dev-dependencies]\nd = 1"),
        2
    );
    for (manifest, most) in
        [("agent/core/Cargo.toml", CORE_DEPENDENCIES_MAX), ("agent/Cargo.toml", AGENT_DEPENDENCIES_MAX)]
    {
        let count = dependencies(&std::fs::read_to_string(root().join(manifest))?);
        assert!(count <= most, "{manifest}: {count} direct dependencies, at most {most}: do without one");
    }
    Ok(())
}

// --- heads, sizes, manners

fn head(file: &Source) -> Vec<String> {
    let fine = file.text.starts_with("//! ");
    let finding =
        format!("{}:1: start the file with one to three lines of `//!` that say what it is", file.path);
    if fine { Vec::new() } else { vec![finding] }
}

fn size(file: &Source) -> Vec<String> {
    let lines = file.text.lines().count();
    let finding = format!("{}:{lines}: {lines} lines, at most {FILE_LINES_MAX}: split it", file.path);
    if lines <= FILE_LINES_MAX { Vec::new() } else { vec![finding] }
}

fn functions(file: &Source) -> Vec<String> {
    let code = if path_is_test(&file.path) { &file.code } else { &file.product };
    let mut findings = Vec::new();
    for start in words(code, "fn") {
        let rest = &code[start..];
        let Some(open) = rest.find(['{', ';']) else { continue };
        if rest.as_bytes().get(open) == Some(&b';')
            || !rest[2..].trim_start().starts_with(|c: char| c.is_alphabetic() || c == '_')
        {
            continue;
        }
        let (first, last) =
            (line_of(code, start), line_of(code, block_end(code.as_bytes(), start + open) - 1));
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            findings.push(format!(
                "{}:{first}: a function of {lines} lines, at most {FUNCTION_LINES_MAX}: split it",
                file.path
            ));
        }
    }
    findings
}

/// No way to end by panic in the product, and nothing that quiets a lint without a reason.
fn manners(file: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let mut note = |code: &str, at: usize, mend: &str| {
        findings.push(format!("{}:{}: {mend}", file.path, line_of(code, at)));
    };
    for (word, after) in
        [("unwrap", "("), ("expect", "("), ("panic", "!"), ("todo", "!"), ("unimplemented", "!")]
    {
        for at in words(&file.product, word) {
            let behind = file.product[at + word.len()..].trim_start().starts_with(after);
            let called = word != "expect" || file.product[..at].trim_end().ends_with('.');
            let method = word != "unwrap" || file.product[..at].trim_end().ends_with('.');
            if behind && called && method {
                note(&file.product, at, &format!("no `{word}` outside tests: return an error"));
            }
        }
    }
    for lint in ["unwrap_used", "expect_used", "panic"] {
        for at in words(&file.product, lint) {
            if file.product[..at].trim_end().ends_with("clippy::") {
                note(&file.product, at, &format!("`clippy::{lint}` may be expected only in test code"));
            }
        }
    }
    for at in words(&file.code, "allow") {
        let before = file.code[..at].trim_end();
        if before.ends_with("#[") || before.ends_with("#![") {
            note(&file.code, at, "no `allow`: `#[expect(…, reason = \"…\")]`");
        }
    }
    for at in words(&file.code, "ignore") {
        if file.code[..at].trim_end().ends_with("#[") {
            note(&file.code, at, "no ignored test: mend it, or let it say in a line why it is skipped");
        }
    }
    findings
}

#[test]
fn every_file_says_what_it_is() {
    all(head);
    proved(head, "a.rs", "use b;\n", "a.rs:1");
}

#[test]
fn files_and_functions_are_short() {
    all(size);
    all(functions);
    proved(size, "a.rs", &"x\n".repeat(FILE_LINES_MAX + 1), "a.rs:601");
    let long = format!(
        "//! x\nfn a() {{}}\nfn b(x: fn(u8)) -> u8\n{{\n{}}}\n",
        "x;\n".repeat(FUNCTION_LINES_MAX - 2)
    );
    proved(functions, "a.rs", &long, "a.rs:3");
    let fits = format!("fn b()\n{{\n{}}}\n", "x;\n".repeat(FUNCTION_LINES_MAX - 3));
    assert!(functions(&Source::new("a.rs", &fits)).is_empty());
}

#[test]
fn nothing_panics_and_nothing_is_allowed_in_silence() {
    all(manners);
    for bad in [
        "fn f() { a.unwrap() }",
        "fn f() { a\n.expect(b) }",
        "fn f() { panic!(b) }",
        "#[expect(clippy::unwrap_used, reason = \"x\")] fn f() {}",
        "#[allow(dead_code)] fn f() {}",
        "#[cfg(test)] mod tests { #[allow(dead_code)] fn f() {} }",
        "#[cfg(test)] mod tests { #[test] #[ignore] fn f() {} }",
    ] {
        proved(manners, "a.rs", bad, "a.rs:");
    }
    let fine = "#[cfg(test)]\n#[expect(clippy::unwrap_used, reason = \"x\")]\nmod tests { fn f() { a.unwrap() } }\n\
                #[expect(dead_code, reason = \"x\")] fn g() { \"panic!(a)\"; b.unwrap_or(c); self.panic(); }";
    assert_eq!(manners(&Source::new("a.rs", fine)), Vec::<String>::new());
}

// --- limits

/// Name, unit last (before `MAX` or `MIN`), and one line why.
fn limits(file: &Source) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut findings = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(rest) = line.strip_prefix("pub const ") else { continue };
        let name = rest.split(':').next().unwrap_or(rest).trim();
        if !has_unit(name) {
            findings.push(format!("{}:{}: `{name}` names no unit: `…_BYTES_MAX`", file.path, number + 1));
        }
        if !number.checked_sub(1).is_some_and(|before| lines[before].starts_with("/// ")) {
            findings.push(format!("{}:{}: `{name}` lacks its line why", file.path, number + 1));
        }
    }
    findings
}

/// A unit of time or size, or what is counted, in the plural; `MAX`, `MIN` and `DEFAULT` may stand behind it.
fn has_unit(name: &str) -> bool {
    const SHORT: [&str; 14] = [
        "US", "MS", "NS", "S", "H", "DAYS", "HZ", "PPM", "PERCENT", "DEPTH", "FACTOR", "BYTES", "KIB", "MIB",
    ];
    name.split('_').any(|word| SHORT.contains(&word) || (word.len() > 3 && word.ends_with('S')))
}

#[test]
fn invariant_09_every_limit_has_a_unit_and_a_reason() {
    let check =
        |file: &Source| if file.path == "agent/core/src/limits.rs" { limits(file) } else { Vec::new() };
    report(&rust_files(&root()).iter().flat_map(check).collect::<Vec<_>>());
    proved(limits, "l.rs", "//! x\n\n/// Why.\npub const QUEUE_MAX: usize = 1;\n", "l.rs:4");
    proved(limits, "l.rs", "//! x\n\npub const QUEUE_BYTES_MAX: usize = 1;\n", "l.rs:3");
    assert!(
        limits(&Source::new("l.rs", "/// Why.\npub const SIGNALS_PER_REQUEST_MAX: usize = 1;\n")).is_empty()
    );
}

// --- the tree

#[test]
fn the_top_level_is_as_fixed() -> anyhow::Result<()> {
    let strange = |name: &str| !name.starts_with('.') && name != "target" && !TOP_LEVEL.contains(&name);
    assert!(strange("docs") && !strange(".ci") && !strange("proto"));
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(root())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if strange(&name) {
            findings.push(format!(
                "{name}:1: not among the top-level entries that are fixed: move it below one of them"
            ));
        }
    }
    report(&findings);
    Ok(())
}

/// A path of one machine: a folder that only the machine of whoever wrote it has.
fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let folders = ["work", "farm", "root", "home"];
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for folder in folders {
            let needle = format!("/{folder}/");
            let alone = |at: usize| {
                !line[..at].ends_with(|c: char| {
                    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '>' | '$')
                })
            };
            if line.match_indices(&needle).any(|(at, _)| alone(at)) {
                findings.push(format!(
                    "{path}:{}: a path of one machine: make it relative, or take it from the environment",
                    number + 1
                ));
            }
        }
    }
    findings
}

#[test]
fn no_paths_of_one_machine() {
    let bad = format!("a\nsee {}work{}x\n", '/', '/');
    assert_eq!(machine_paths("a.md", &bad).len(), 1);
    assert!(machine_paths("a.md", "agent/root/x /var/lib").is_empty());
    let root = root();
    let mut findings = Vec::new();
    for path in tree(&root) {
        let below = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        if below != "Cargo.lock"
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            findings.extend(machine_paths(&below, &text));
        }
    }
    report(&findings);
}

/// Links of a Markdown file that lead to no file of the tree. Web links are not followed.
fn dead_links(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !target.contains(':') && !exists(file) {
                findings.push(format!("{path}:{}: `{target}` leads nowhere", number + 1));
            }
        }
    }
    findings
}

#[test]
fn links_in_documents_resolve() {
    assert_eq!(
        dead_links("a.md", "x\n[b](c.md) [d](#e) [f](https://g)", &|_| false),
        ["a.md:2: `c.md` leads nowhere"]
    );
    let root = root();
    let mut findings = Vec::new();
    for path in tree(&root).into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let below = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        let folder = path.parent().unwrap_or(&root).to_path_buf();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        findings.extend(dead_links(&below, &text, &|file| folder.join(file).exists()));
    }
    report(&findings);
}

// --- the invariants' list

/// The paragraph or table row of each invariant names a test that exists, or says "not yet".
fn invariants(page: &str, tests: &[String]) -> Vec<String> {
    let mut blocks: BTreeMap<usize, (usize, String)> = BTreeMap::new();
    let mut current = 0;
    for (number, line) in page.lines().enumerate() {
        let start = line.trim_start_matches(['|', ' ', '*', '-']);
        let digits: String = start.chars().take_while(char::is_ascii_digit).collect();
        let marked = start[digits.len()..].starts_with(['.', ' ', '|', '*', ')']);
        match digits.parse() {
            Ok(found @ 1..=12) if marked => current = found,
            _ if line.trim().is_empty() || line.starts_with('#') => current = 0,
            _ => {}
        }
        if current > 0 {
            let block = blocks.entry(current).or_insert((number + 1, String::new()));
            block.1.push_str(line);
            block.1.push('\n');
        }
    }
    let named = |text: &str, n: usize| {
        let fits = |word: &str| {
            word.contains(&format!("invariant_{n:02}_")) || word.contains(&format!("invariant_{n}_"))
        };
        text.split('`')
            .skip(1)
            .step_by(2)
            .map(|word| word.rsplit("::").next().unwrap_or(word))
            .any(|word| fits(word) && tests.iter().any(|test| test == word))
    };
    (1..=12).filter_map(|n| match blocks.get(&n) {
        None => Some(format!("agent/ARCHITECTURE.md:1: invariant {n} is not listed")),
        Some((_, text)) if named(text, n) || text.to_lowercase().contains("not yet") => None,
        Some((line, _)) => Some(format!("agent/ARCHITECTURE.md:{line}: invariant {n} names no test `invariant_{n}_…` that is in the tree; name one, or say `not yet`")),
    }).collect()
}

#[test]
fn every_invariant_is_held_by_a_test_or_said_to_be_open() {
    let tests = ["invariant_1_a".to_owned(), "invariant_02_b".to_owned()];
    let page = |first: &str| {
        let open: String = (3..=12).map(|n| format!("| {n} | x | not yet |\n")).collect();
        format!("## Invariants\n| 1 | Nothing leaves | {first} |\n| 2 | Type | `a::invariant_02_b` |\n{open}")
    };
    assert_eq!(invariants(&page("`invariant_1_a`"), &tests), Vec::<String>::new());
    assert_eq!(invariants(&page("`invariant_1_gone`"), &tests).len(), 1);
    assert_eq!(invariants("1. a not yet\n", &tests).len(), 11);
    let page = std::fs::read_to_string(root().join("agent/ARCHITECTURE.md")).unwrap_or_default();
    let Some((_, text)) = page.split_once("# Invariants") else {
        let _never_fatal = need::skip("invariants", "agent/ARCHITECTURE.md has no list of invariants yet");
        return;
    };
    report(&invariants(text, &test_names(&rust_files(&root()))));
}

/// All function names of the tree, in any language that the tests are written in.
fn test_names(files: &[Source]) -> Vec<String> {
    let name =
        |rest: &str| rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    files
        .iter()
        .flat_map(|file| words(&file.code, "fn").into_iter().map(move |at| name(&file.code[at + 2..])))
        .collect()
}

/// The attacks of the design, each kind by itself.
const ATTACKS: usize = 29;
/// Law and guidance.
const LAWS: usize = 29;

#[test]
fn attacks_and_law_name_tests_that_are_there() -> Result<(), String> {
    let files = rust_files(&root());
    let mut findings = Vec::new();
    let mut named = Vec::new();
    for (file, count) in [("tests/attacks.txt", ATTACKS), ("tests/compliance.txt", LAWS)] {
        let rows = tables::parse(&std::fs::read_to_string(root().join(file)).unwrap_or_default())
            .map_err(|fault| format!("{file}: {fault}"))?;
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        if (rows.len(), names.len()) != (count, count) {
            findings.push(format!(
                "{file}: {} rows, {} of them apart; there are {count}",
                rows.len(),
                names.len()
            ));
        }
        for test in rows.iter().flat_map(|row| &row.tests) {
            if !tables::is_there(test, &files) {
                findings.push(format!("{file}: there is no test `{test}`"));
            }
            named.extend(test.rsplit("::").next().map(str::to_owned));
        }
    }
    let attacks = test_names(&files).into_iter().filter(|name| name.starts_with("attack_"));
    findings.extend(
        attacks
            .filter(|name| !named.contains(name))
            .map(|name| format!("tests/attacks.txt: `{name}` is not in it")),
    );
    report(&findings);
    Ok(())
}
