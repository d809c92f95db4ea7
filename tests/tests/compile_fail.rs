//! Consent is a type: whoever is not its module cannot make a `Consented`, a `Sealed` or a `Verified`. Each attempt must
//! fail to compile with the expected code and item; the legal twin beside it must compile.

use anyhow::{Context, Result, ensure};
use glovebox_tests::process::output;
use glovebox_tests::source::root;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A cold check of the core's dependencies on a slow machine.
const LIMIT: Duration = Duration::from_secs(900);

/// A small program, and for one that must not compile the code and the words of its error.
struct Case {
    name: &'static str,
    program: &'static str,
    error: Option<(&'static str, &'static [&'static str])>,
}

const CASES: [Case; 12] = [
    Case {
        name: "consented_literal",
        program: "use glovebox_core::consent::Consented;\n\
                  pub fn forge(other: &Consented) -> Consented { Consented { flow: other.flow(), ..*other } }",
        error: Some(("E0451", &["flow", "Consented", "private"])),
    },
    Case {
        name: "consented_changed",
        program: "use glovebox_core::consent::Consented;\n\
                  pub fn widen(consented: &mut Consented) { consented.flow = consented.flow(); }",
        error: Some(("E0616", &["flow", "Consented", "private"])),
    },
    Case {
        name: "consented_default",
        program: "use glovebox_core::consent::Consented;\npub fn forge() -> Consented { Default::default() }",
        error: Some(("E0277", &["Consented: Default"])),
    },
    Case {
        name: "consented_from_reading",
        program: "use glovebox_core::consent::Consented;\nuse glovebox_core::decode::Reading;\n\
                  pub fn forge(reading: Reading) -> Consented { reading.into() }",
        error: Some(("E0277", &["Consented", "Reading"])),
    },
    Case {
        name: "consented_legal",
        program: "use glovebox_core::consent::Consented;\nuse glovebox_core::consent::gate::FlowSlot;\n\
                  pub fn flow(consented: &Consented) -> FlowSlot { consented.flow() }",
        error: None,
    },
    Case {
        name: "sealed_literal",
        program: "use glovebox_core::seal::Sealed;\n\
                  pub fn forge(other: &Sealed, envelope: Vec<u8>) -> Sealed {\n\
                  Sealed { envelope, ..other.clone() } }",
        error: Some(("E0451", &["Sealed", "private"])),
    },
    Case {
        name: "sealed_changed",
        program: "use glovebox_core::seal::Sealed;\n\
                  pub fn replace(sealed: &mut Sealed, envelope: Vec<u8>) { sealed.envelope = envelope; }",
        error: Some(("E0616", &["envelope", "Sealed", "private"])),
    },
    Case {
        name: "sealed_from_bytes",
        program: "use glovebox_core::seal::Sealed;\npub fn forge(bytes: Vec<u8>) -> Sealed { bytes.into() }",
        error: Some(("E0277", &["Sealed", "Vec<u8>"])),
    },
    Case {
        name: "sealed_legal",
        program: "use glovebox_core::seal::{Header, Sealed};\n\
                  pub fn send(sealed: &Sealed) -> (&Header, &[u8]) { (sealed.header(), sealed.envelope()) }",
        error: None,
    },
    Case {
        name: "verified_literal",
        program: "use glovebox_core::consent::document::Verified;\n\
                  pub fn forge<T>(other: Verified<T>, payload: T) -> Verified<T> { Verified { payload, ..other } }",
        error: Some(("E0451", &["Verified", "private"])),
    },
    Case {
        name: "verified_read",
        program: "use glovebox_core::consent::document::Verified;\nuse glovebox_core::consent::document::record::ConsentRecord;\n\
                  pub fn is_read<T: for<'a> serde::Deserialize<'a>>() {}\n\
                  pub fn forge() { is_read::<Verified<ConsentRecord>>(); }",
        error: Some(("E0277", &["Verified", "Deserialize"])),
    },
    Case {
        name: "verified_legal",
        program: "use glovebox_core::consent::document::Verified;\n\
                  pub fn read<T>(verified: &Verified<T>) -> &T { verified.payload() }",
        error: None,
    },
];

/// A package of its own with a program for each case. It has the workspace's lock file, profile and target folder, so
/// that what is compiled already is not compiled again.
fn package(folder: &Path) -> Result<()> {
    let core = root().join("agent/core");
    let manifest = format!(
        "[package]\nname = \"compile-fail\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\
         [workspace]\n[dependencies]\nglovebox-core = {{ path = {:?} }}\nserde = \"1\"\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n[profile.dev.package.\"*\"]\ndebug = false\nopt-level = 1\n",
        core.display().to_string()
    );
    std::fs::create_dir_all(folder.join("src/bin"))?;
    std::fs::write(folder.join("Cargo.toml"), manifest)?;
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    for case in &CASES {
        let program = format!("//! {}\n{}\nfn main() {{}}\n", case.name, case.program);
        std::fs::write(folder.join(format!("src/bin/{}.rs", case.name)), program)?;
    }
    Ok(())
}

/// The errors of one program: code and whole text.
fn errors(folder: &Path, target: &Path, name: &str) -> Result<Vec<(String, String)>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["check", "--quiet", "--offline", "--message-format=json", "--bin", name]).current_dir(folder);
    // The variables that cargo sets for a test would say whose package it is.
    cargo.env("CARGO_TARGET_DIR", target).env_remove("CARGO_MANIFEST_DIR").env_remove("RUSTFLAGS");
    let output = output(&mut cargo, LIMIT)?;
    let mut errors = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line)?;
        let inner = &message["message"];
        let text = inner["rendered"].as_str().unwrap_or_default().to_owned();
        if inner["level"] == "error" && !text.starts_with("error: aborting") {
            errors.push((inner["code"]["code"].as_str().unwrap_or_default().to_owned(), text));
        }
    }
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() == errors.is_empty(), "{name}: cargo check failed by itself:\n{said}");
    Ok(errors)
}

fn check(case: &Case, errors: &[(String, String)]) -> Result<()> {
    let Some((code, words)) = case.error else {
        ensure!(errors.is_empty(), "{} must compile: {errors:?}", case.name);
        return Ok(());
    };
    let first = errors.first().with_context(|| format!("{} compiles, and must not", case.name))?;
    let fits = |error: &(String, String)| error.0 == code && words.iter().all(|word| error.1.contains(word));
    ensure!(fits(first), "{}: not {code} with {words:?} but {}:\n{}", case.name, first.0, first.1);
    ensure!(
        errors.len() == 1,
        "{}: more than one error, so it may fail for another reason: {errors:?}",
        case.name
    );
    Ok(())
}

#[test]
fn invariant_02_only_their_modules_make_consented_sealed_and_verified() -> Result<()> {
    let (bad, legal) = (&CASES[0], &CASES[4]);
    let other = [("E0432".to_owned(), "unresolved import".to_owned())];
    ensure!(
        check(bad, &[]).is_err() && check(bad, &other).is_err() && check(legal, &other).is_err(),
        "the check"
    );
    let folder = tempfile::tempdir()?;
    package(folder.path())?;
    let target = target()?;
    let mut wrong = Vec::new();
    for case in &CASES {
        let errors = errors(folder.path(), &target, case.name)?;
        wrong.extend(check(case, &errors).err().map(|error| format!("{error:#}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// `target`, beside `debug` and its `deps`, in which this test lies.
fn target() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    Ok(test.ancestors().nth(3).context("the test lies in target/<profile>/deps")?.to_path_buf())
}
