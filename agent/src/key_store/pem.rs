//! Ed25519 and X25519 keys as PEM files: PKCS#8 and SPKI as RFC 8410 lays them out.
//!
//! ```text
//! NAME.key  -----BEGIN PRIVATE KEY-----  30 2e 02 01 00 30 05 06 03 2b 65 <alg> 04 22 04 20 <32 bytes>
//! NAME.pub  -----BEGIN PUBLIC KEY-----   30 2a 30 05 06 03 2b 65 <alg> 03 21 00 <32 bytes>
//! alg: 6e X25519 (1.3.101.110), 70 Ed25519 (1.3.101.112)
//! ```
//!
//! Both are so short and fixed that they are compared with their only DER encoding instead of being parsed. A private
//! key that carries its public half (RFC 5958, version 1) is read too.

use crate::store::files::{self, FileError, Privacy};
use aws_lc_rs::agreement;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use glovebox_core::limits::KEY_FILE_BYTES_MAX;
use glovebox_core::names::{HpkeKey, VerifyingKey};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize as _, Zeroizing};

/// Which curve a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Signs (RFC 8032).
    Ed25519,
    /// Agrees on keys: HPKE (RFC 7748).
    X25519,
}

impl KeyKind {
    fn algorithm(self) -> u8 {
        match self {
            Self::Ed25519 => 0x70,
            Self::X25519 => 0x6e,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "an Ed25519",
            Self::X25519 => "an X25519",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Private,
    Public,
}

impl Half {
    fn label(self) -> &'static str {
        match self {
            Self::Private => "PRIVATE KEY",
            Self::Public => "PUBLIC KEY",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

/// Why a key could not be read or written. Never holds anything of a key.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is none.
    #[error("{} does not exist: make one with `glovebox keys new`", path.display())]
    Missing {
        /// Where it was sought.
        path: PathBuf,
    },
    /// Some other PEM, or no PEM at all.
    #[error("{} is not {wanted} key in PEM: {found}", path.display())]
    Kind {
        /// Which file.
        path: PathBuf,
        /// What was asked for: `an Ed25519 private`.
        wanted: String,
        /// What is there instead.
        found: &'static str,
    },
    /// The right shape, but no key that may be used.
    #[error("{} holds a key of small order, with which anybody could sign: make a new one with `glovebox keys new`", path.display())]
    Weak {
        /// Which file.
        path: PathBuf,
    },
    /// The library or the system gave no randomness.
    #[error("no randomness to make a key of")]
    Random,
}

/// Reads an Ed25519 private key (PKCS#8). The file must be readable by its owner only.
///
/// # Errors
/// [`PemError`] says which file and what is wrong with it, never what is in it.
pub fn read_signing_key(path: &Path) -> Result<SigningKey, PemError> {
    let seed = read(path, KeyKind::Ed25519, Half::Private)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Reads an Ed25519 public key (SPKI).
///
/// # Errors
/// As [`read_signing_key`]; also if the key is of small order or no point at all.
pub fn read_verifying_key(path: &Path) -> Result<VerifyingKey, PemError> {
    let key = read(path, KeyKind::Ed25519, Half::Public)?;
    match ed25519_dalek::VerifyingKey::from_bytes(&key) {
        Ok(point) if !point.is_weak() => Ok(VerifyingKey(*key)),
        _ => Err(PemError::Weak { path: path.to_owned() }),
    }
}

/// Reads an X25519 public key (SPKI).
///
/// # Errors
/// As [`read_signing_key`].
pub fn read_x25519_public(path: &Path) -> Result<HpkeKey, PemError> {
    Ok(HpkeKey(*read(path, KeyKind::X25519, Half::Public)?))
}

/// Reads an X25519 private key (PKCS#8). The file must be readable by its owner only.
///
/// # Errors
/// As [`read_signing_key`].
pub fn read_x25519_private(path: &Path) -> Result<Zeroizing<[u8; 32]>, PemError> {
    read(path, KeyKind::X25519, Half::Private)
}

/// Makes a key pair of fresh randomness: `PATH.key` (0600) and `PATH.pub`, and overwrites nothing. Returns both paths.
///
/// # Errors
/// If one of the files exists, or the system refuses.
pub fn new_key_pair(kind: KeyKind, path: &Path) -> Result<(PathBuf, PathBuf), PemError> {
    let (private, public) = (files::with_suffix(path, ".key"), files::with_suffix(path, ".pub"));
    if let Some(path) = [&private, &public].into_iter().find(|path| path.exists()) {
        return Err(FileError::Exists { path: path.clone() }.into());
    }
    let secret = random()?;
    let point = match kind {
        KeyKind::Ed25519 => SigningKey::from_bytes(&secret).verifying_key().to_bytes(),
        KeyKind::X25519 => x25519_public(&secret)?,
    };
    files::write_new(&private, encode(kind, Half::Private, &secret).as_bytes(), 0o600)?;
    files::write_new(&public, encode(kind, Half::Public, &point).as_bytes(), 0o644)?;
    Ok((private, public))
}

/// 32 bytes of the system's randomness.
pub(super) fn random() -> Result<Zeroizing<[u8; 32]>, PemError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| PemError::Random)?;
    Ok(bytes)
}

/// An Ed25519 private key as a PEM text.
pub(super) fn encode_signing(key: &SigningKey) -> Zeroizing<String> {
    encode(KeyKind::Ed25519, Half::Private, key.as_bytes())
}

/// An Ed25519 public key as a PEM text.
pub(super) fn encode_verifying(key: &VerifyingKey) -> Zeroizing<String> {
    encode(KeyKind::Ed25519, Half::Public, &key.0)
}

pub(super) fn x25519_public(secret: &[u8; 32]) -> Result<[u8; 32], PemError> {
    let key =
        agreement::PrivateKey::from_private_key(&agreement::X25519, secret).map_err(|_| PemError::Random)?;
    let public = key.compute_public_key().map_err(|_| PemError::Random)?;
    public.as_ref().try_into().map_err(|_| PemError::Random)
}

/// The only DER encoding, less the 32 bytes of the key.
fn prefix(kind: KeyKind, half: Half) -> Vec<u8> {
    let algorithm = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, kind.algorithm()];
    match half {
        Half::Private => {
            [&[0x30, 0x2e, 0x02, 0x01, 0x00][..], &algorithm, &[0x04, 0x22, 0x04, 0x20]].concat()
        }
        Half::Public => [&[0x30, 0x2a][..], &algorithm, &[0x03, 0x21, 0x00]].concat(),
    }
}

fn encode(kind: KeyKind, half: Half, key: &[u8; 32]) -> Zeroizing<String> {
    let mut der = Zeroizing::new(Vec::with_capacity(48));
    der.extend_from_slice(&prefix(kind, half));
    der.extend_from_slice(key);
    // 48 and 44 bytes are 64 and 60 characters: one line (RFC 7468, section 2).
    let line = Zeroizing::new(STANDARD.encode(der.as_slice()));
    let label = half.label();
    Zeroizing::new(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", line.as_str()))
}

fn read(path: &Path, kind: KeyKind, half: Half) -> Result<Zeroizing<[u8; 32]>, PemError> {
    let privacy = if half == Half::Private { Privacy::Secret } else { Privacy::Public };
    match read_as(path, kind, half, privacy) {
        // Somebody who named the public half by mistake is not to be told to make it private.
        Err(open @ PemError::File(FileError::Open { .. })) => match read_as(path, kind, half, Privacy::Any) {
            Err(other @ PemError::Kind { .. }) => Err(other),
            _ => Err(open),
        },
        outcome => outcome,
    }
}

fn read_as(
    path: &Path,
    kind: KeyKind,
    half: Half,
    privacy: Privacy,
) -> Result<Zeroizing<[u8; 32]>, PemError> {
    let text = files::read_bounded(path, KEY_FILE_BYTES_MAX, privacy)?
        .map(Zeroizing::new)
        .ok_or_else(|| PemError::Missing { path: path.to_owned() })?;
    decode(&text, kind, half).map_err(|found| PemError::Kind {
        path: path.to_owned(),
        wanted: format!("{} {}", kind.name(), half.word()),
        found,
    })
}

/// The key in a PEM text, or what is there instead.
fn decode(text: &[u8], kind: KeyKind, half: Half) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not text")?.trim();
    let body = text
        .strip_prefix("-----BEGIN ")
        .and_then(|rest| rest.split_once("-----"))
        .ok_or("it does not begin with a PEM header")?;
    let (label, body) = body;
    if label != half.label() {
        return Err(match label {
            "PRIVATE KEY" => "it holds a private key",
            "PUBLIC KEY" => "it holds a public key",
            "CERTIFICATE" => "it holds a certificate",
            "ENCRYPTED PRIVATE KEY" => "it is encrypted",
            _ => "it holds a PEM of another kind",
        });
    }
    let line = body
        .strip_suffix("-----")
        .and_then(|body| body.strip_suffix(label))
        .and_then(|body| body.strip_suffix("-----END "))
        .ok_or("it does not end with the PEM footer of its header")?;
    let mut line = Zeroizing::new(line.to_owned());
    line.retain(|c| !c.is_ascii_whitespace());
    let der = Zeroizing::new(STANDARD.decode(line.as_bytes()).map_err(|_| "its base64 is damaged")?);
    from_der(&der, kind, half)
}

fn from_der(der: &[u8], kind: KeyKind, half: Half) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let bare = |kind: KeyKind| der.strip_prefix(prefix(kind, half).as_slice());
    let key = match (bare(kind), half) {
        (Some(key), _) => key,
        (None, Half::Private) => with_public_half(der, kind).ok_or_else(|| other(der))?,
        (None, Half::Public) => return Err(other(der)),
    };
    let mut array = Zeroizing::new([0; 32]);
    if key.len() != array.len() {
        return Err("its length is wrong");
    }
    array.copy_from_slice(key);
    Ok(array)
}

/// The private key of the longer form: 30 51 02 01 01 … 04 22 04 20 <key> 81 21 00 <public key>.
fn with_public_half(der: &[u8], kind: KeyKind) -> Option<&[u8]> {
    let mut head = prefix(kind, Half::Private);
    head[1] = 0x51;
    head[4] = 0x01;
    let (key, rest) = der.strip_prefix(head.as_slice())?.split_at_checked(32)?;
    let public = rest.strip_prefix(&[0x81, 0x21, 0x00])?;
    let mut secret: [u8; 32] = key.try_into().ok()?;
    let derived = match kind {
        KeyKind::Ed25519 => Some(SigningKey::from_bytes(&secret).verifying_key().to_bytes()),
        KeyKind::X25519 => x25519_public(&secret).ok(),
    };
    secret.zeroize();
    // A public half that does not fit would let one key sign for another.
    (derived?.as_slice() == public).then_some(key)
}

/// Names the key that is there instead, by its object identifier.
fn other(der: &[u8]) -> &'static str {
    let holds = |oid: &[u8]| der.windows(oid.len()).any(|window| window == oid);
    if holds(&[0x06, 0x03, 0x2b, 0x65, 0x6e]) {
        "it holds an X25519 key (or its encoding is damaged)"
    } else if holds(&[0x06, 0x03, 0x2b, 0x65, 0x70]) {
        "it holds an Ed25519 key (or its encoding is damaged)"
    } else if holds(&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]) {
        "it holds an elliptic-curve (ECDSA) key"
    } else if holds(&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]) {
        "it holds an RSA key"
    } else {
        "it holds a key of another kind"
    }
}
