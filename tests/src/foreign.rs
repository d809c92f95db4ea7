//! The reader in Python, made only of public packages, beside the one in Rust.

use crate::agent::binary;
use crate::need;
use crate::process::output;
use crate::source::root;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// It prints the same lines of an envelope as the Rust one; or it is said that this was skipped.
///
/// # Errors
/// If it prints others, or none.
pub fn reads_alike(envelope: &Path, key: &Path, id: &str) -> Result<()> {
    let mut command = Command::new("sh");
    command.arg(root().join("tests/foreign/test.sh")).arg(envelope).arg(key).arg(id);
    let said = output(command.arg(binary("glovebox-recipient")?), Duration::from_secs(300))?;
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    match said.status.code() {
        Some(0) => Ok(()),
        Some(77) => need::skip("foreign", text.trim()),
        _ => bail!("the foreign reader: {text}"),
    }
}
