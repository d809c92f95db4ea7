//! Signs whatever bytes as whatever document, by the `openssl` command: bad documents that the product's own tools
//! would not make.

use crate::process::succeed;
use anyhow::{Context, Result};
use base64::Engine as _;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Payload types.
pub const POLICY: &str = "application/vnd.glovebox.policy+json";
/// See [`POLICY`].
pub const REQUEST: &str = "application/vnd.glovebox.request+json";
/// See [`POLICY`].
pub const CONSENT: &str = "application/vnd.glovebox.consent+json";
/// See [`POLICY`].
pub const KEY: &str = "application/vnd.glovebox.key+json";

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A DSSE envelope around `payload`, signed by the Ed25519 key in the PEM file `key`.
///
/// # Errors
/// What `openssl` says.
pub fn envelope(payload_type: &str, payload: &[u8], key: &Path) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let (message, signature) = (folder.path().join("message"), folder.path().join("signature"));
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    std::fs::write(&message, bytes)?;
    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-sign", "-rawin", "-inkey"]).arg(key);
    succeed(command.arg("-in").arg(&message).arg("-out").arg(&signature))?;
    let signature = std::fs::read(&signature).context("openssl wrote no signature")?;
    Ok(json!({
        "payloadType": payload_type,
        "payload": base64(payload),
        "signatures": [{ "keyid": "", "sig": base64(&signature) }],
    }))
}

/// The same for a JSON document.
///
/// # Errors
/// What `openssl` says.
pub fn document(payload_type: &str, payload: &Value, key: &Path) -> Result<Value> {
    envelope(payload_type, payload.to_string().as_bytes(), key)
}
