//! Who may import whom, and where each foreign crate may stand: the tables of the design, as checks.

use crate::source::{Source, line_of, words};

/// Module of the core, and what it may import besides `names` and `limits`.
const CORE: [(&str, &[&str]); 14] = [
    ("names", &[]),
    ("limits", &[]),
    ("frame", &[]),
    ("ledger", &[]),
    ("decode", &["frame"]),
    ("consent", &["decode"]),
    ("batch", &["consent"]),
    ("wire", &["decode", "consent", "batch"]),
    ("seal", &["batch", "wire"]),
    ("outbox", &["seal"]),
    ("uplink", &["outbox"]),
    ("control", &["consent"]),
    ("pipeline", &["frame", "decode", "consent", "batch"]),
    ("delivery", &["consent", "outbox", "uplink", "ledger"]),
];

/// These join the stages of the shell.
const JOINERS: [&str; 4] = ["daemon", "cli", "main", "lib"];

/// The stores: they share the one module that knows sled and how a file is written durably.
const STORES: [&str; 5] = ["outbox", "policy_store", "notice_store", "key_store", "ledger"];

/// A foreign crate (or a path in it), and the places in agent and core where it may stand.
const FENCES: [(&str, &[&str]); 14] = [
    ("prost", &["agent/core/src/wire"]),
    ("tokio", &["agent/src/"]),
    ("rumqttc", &["agent/src/uplink/mqtt/"]),
    ("tokio_rustls", &["agent/src/uplink"]),
    ("rustls", &["agent/src/uplink", "agent/src/sealer"]),
    ("hpke", &["agent/src/sealer"]),
    ("sled", &["agent/src/store"]),
    ("socketcan", &["agent/src/bus/live/socket"]),
    ("socket2", &["agent/src/bus/live/socket"]),
    ("nix::sys::inotify", &["agent/src/policy_folder"]),
    ("axum", &["agent/src/page"]),
    ("h3o", &["agent/core/src/consent/transform/geo_cell"]),
    ("winnow", &["agent/core/src/decode/math"]),
    (
        "serde_json",
        &[
            "agent/core/src/consent/document",
            "agent/core/src/decode/map",
            "agent/src/control",
            "agent/src/cli",
            "agent/src/uplink",
        ],
    ),
];

/// Names in the code of one module that lead into another: the byte, the module, and what follows it.
fn paths<'a>(code: &'a str, folder: &[&str]) -> Vec<(usize, String, &'a str)> {
    let mut found = Vec::new();
    for at in words(code, "crate") {
        if let Some(rest) = after_colons(&code[at + 5..]) {
            leaves(code, rest, at, &mut found);
        }
    }
    for at in words(code, "super") {
        if code[..at].trim_end().ends_with("super::") {
            continue;
        }
        let (mut rest, mut up) = (&code[at..], 0);
        while let Some(next) = rest.strip_prefix("super").and_then(after_colons) {
            (rest, up) = (next, up + 1);
        }
        if up >= folder.len() {
            leaves(code, rest, at, &mut found);
        }
    }
    found
}

fn after_colons(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix("::").map(str::trim_start)
}

/// The first names of a path or of each path in a group.
fn leaves<'a>(code: &'a str, rest: &'a str, at: usize, found: &mut Vec<(usize, String, &'a str)>) {
    let Some(group) = rest.strip_prefix('{') else {
        found.push((at, identifier(rest), &rest[identifier(rest).len()..]));
        return;
    };
    let start = offset(code, group);
    for (from, part) in split_group(group) {
        let name = identifier(part);
        if !name.is_empty() {
            found.push((start + from, name.clone(), &part[name.len()..]));
        }
    }
}

/// Where `part`, a slice of `whole`, begins.
fn offset(whole: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The members of a `{…}` group whose brace is already taken, with their offsets.
fn split_group(group: &str) -> Vec<(usize, &str)> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let part = &group[start..at];
                let lead = part.len() - part.trim_start().len();
                parts.push((start + lead, part.trim()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    parts
}

/// Module path of a file below `src`: `decode/plan.rs` is `[decode, plan]`, `decode/mod.rs` is `[decode]`.
fn module<'a>(path: &'a str, under: &str) -> Option<Vec<&'a str>> {
    let below = path.strip_prefix(under)?.strip_suffix(".rs")?;
    Some(below.split('/').filter(|part| *part != "mod").collect())
}

/// The core's import table.
#[must_use]
pub fn core(file: &Source) -> Vec<String> {
    let Some(folder) = module(&file.path, "agent/core/src/") else { return Vec::new() };
    let own = folder[0];
    if own == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = CORE.iter().find(|(name, _)| *name == own) else {
        return vec![format!("{}:1: module `{own}` is not in the table of who may import whom", file.path)];
    };
    let known = |name: &str| CORE.iter().any(|(module, _)| *module == name);
    let fine = |name: &str| name == own || name == "names" || name == "limits" || allowed.contains(&name);
    let mut findings = Vec::new();
    for (at, name, _) in paths(&file.product, &folder) {
        if !fine(&name) {
            let line = line_of(&file.product, at);
            let what = if known(&name) { "may not import" } else { "imports the unknown" };
            findings.push(format!(
                "{}:{line}: `{own}` {what} `{name}`; it may import names, limits and {allowed:?}",
                file.path
            ));
        }
    }
    findings
}

/// Shell modules never import each other; `config` may have each stage's `Config`.
#[must_use]
pub fn shell(file: &Source) -> Vec<String> {
    let Some(folder) = module(&file.path, "agent/src/") else { return Vec::new() };
    let own = folder[0];
    if JOINERS.contains(&own) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (at, name, rest) in paths(&file.product, &folder) {
        let fine = name == own
            || (name == "store" && STORES.contains(&own))
            || (own == "config" && is_config(&file.product, &name, rest));
        if !fine {
            let line = line_of(&file.product, at);
            let mend = "only `daemon` and `cli` join shell modules";
            findings.push(format!("{}:{line}: `{own}` may not import `{name}`: {mend}", file.path));
        }
    }
    findings
}

/// Everything that is taken from the module `name` is called `…Config`, or comes from its file `config`.
fn is_config(code: &str, name: &str, rest: &str) -> bool {
    let named = |part: &str| part.split(" as ").next().is_some_and(|part| part.trim().ends_with("Config"));
    if after_colons(rest).is_some_and(|item| identifier(item) == "config") {
        return true;
    }
    match after_colons(rest) {
        Some(group) if group.starts_with('{') => split_group(&group[1..]).iter().all(|(_, part)| named(part)),
        Some(item) => named(&identifier(item)),
        None => words(code, name)
            .iter()
            .filter_map(|at| after_colons(&code[at + name.len()..]))
            .all(|item| named(&identifier(item))),
    }
}

/// The fences of foreign crates in agent and core.
#[must_use]
pub fn fences(file: &Source) -> Vec<String> {
    if !file.path.starts_with("agent/") || file.path == "agent/src/main.rs" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (name, places) in FENCES {
        if places.iter().any(|place| file.path.starts_with(place)) && name != "rustls" {
            continue;
        }
        for at in words(&file.product, name) {
            let rest = &file.product[at + name.len()..];
            let imported = file.product[..at].trim_end().ends_with("use");
            let Some(rest) = after_colons(rest).or(imported.then_some("")) else { continue };
            if name == "rustls" && rustls_fits(&file.path, rest) {
                continue;
            }
            let line = line_of(&file.product, at);
            findings.push(format!("{}:{line}: `{name}` may stand only in {places:?}", file.path));
        }
    }
    findings
}

/// In the uplink all of rustls but its HPKE; in the sealer nothing but its cryptography.
fn rustls_fits(path: &str, rest: &str) -> bool {
    let sealer = path.starts_with("agent/src/sealer") && rest.starts_with("crypto");
    path.starts_with("agent/src/uplink") || sealer
}
