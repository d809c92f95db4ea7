//! Private keys of a recipient: X25519 in PKCS#8 PEM (RFC 8410), in files that nobody else can read.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::agreement;
use glovebox_proto::envelope;
use rustls::crypto::hpke::HpkePrivateKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::{Zeroize as _, Zeroizing};

/// A PEM file of one key has 119 bytes; comments may stand around it.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;
const SECRET_BYTES: usize = 32;

/// PKCS#8 version 1 around an X25519 secret, as OpenSSL and `glovebox keys new` write it.
const PKCS8_V1: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x6e\x04\x22\x04\x20";
/// Version 2 has the public key behind the secret (RFC 5958).
const PKCS8_V2: [u8; 16] = *b"\x30\x51\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x6e\x04\x22\x04\x20";
const PKCS8_V2_BYTES: usize = 83;
/// The object identifier 1.3.101.112, which is Ed25519.
const ED25519: [u8; 5] = *b"\x06\x03\x2b\x65\x70";

/// Why a private key could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not to be read.
    #[error("cannot read the private key {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Others may read it.
    #[error("the private key {path} has mode {mode:04o}: others can read it; run `chmod 600 {path}`")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The other half.
    #[error("{path} holds a public key: name the private one, which lies beside it as `.key`")]
    Public {
        /// The file.
        path: PathBuf,
    },
    /// Far larger than a key.
    #[error("{path} has {bytes} bytes, too many for a private key")]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// No PEM section `PRIVATE KEY`.
    #[error("{path} holds no PEM section `PRIVATE KEY` (PKCS#8); make a key with `glovebox keys new x25519`")]
    Pem {
        /// The file.
        path: PathBuf,
    },
    /// Another kind of key.
    #[error("{path} holds {kind}, not an X25519 key; make one with `glovebox keys new x25519`")]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        kind: &'static str,
    },
}

/// An HPKE private key and the id that senders name it by.
pub struct HpkeKey {
    id: [u8; 32],
    public: [u8; 32],
    secret: HpkePrivateKey,
}

impl std::fmt::Debug for HpkeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HpkeKey({})", hex::encode(self.id))
    }
}

impl HpkeKey {
    /// From the raw secret; `None` if it is not 32 bytes.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Option<Self> {
        let private = agreement::PrivateKey::from_private_key(&agreement::X25519, secret).ok()?;
        let public = private.compute_public_key().ok()?;
        let public: [u8; 32] = public.as_ref().try_into().ok()?;
        Some(Self { id: envelope::key_id(&public), public, secret: secret.to_vec().into() })
    }

    /// From a PEM file that only its owner can read.
    ///
    /// # Errors
    /// [`KeyError`] names the file and says what to do.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let pem = read_private(path)?;
        let path = path.to_owned();
        let Ok(mut der) = PrivatePkcs8KeyDer::from_pem_slice(&pem) else {
            return Err(KeyError::Pem { path });
        };
        let key = secret_of(der.secret_pkcs8_der()).and_then(Self::from_secret);
        let kind = match der.secret_pkcs8_der().windows(ED25519.len()).any(|part| part == ED25519) {
            true => "an Ed25519 key",
            false => "another kind of key",
        };
        der.zeroize();
        key.ok_or(KeyError::Kind { path, kind })
    }

    /// SHA-256 over suite and public key.
    #[must_use]
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// The public key, which goes into the recipient's entry of a policy bundle.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    pub(crate) fn secret(&self) -> &HpkePrivateKey {
        &self.secret
    }
}

fn secret_of(der: &[u8]) -> Option<&[u8]> {
    let secret = match der.split_first_chunk::<16>()? {
        (&PKCS8_V1, rest) if rest.len() == SECRET_BYTES => rest,
        (&PKCS8_V2, rest) if der.len() == PKCS8_V2_BYTES => &rest[..SECRET_BYTES],
        _ => return None,
    };
    Some(secret)
}

/// How a public key's file begins (RFC 7468).
const PUBLIC_PEM: &[u8; 26] = b"-----BEGIN PUBLIC KEY-----";

/// Reads a private key file after a look at its mode, from the same open file.
///
/// # Errors
/// [`KeyError`] names the file and says what to do.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |cause| KeyError::Read { path: path.to_owned(), cause };
    let mut file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        // Who named the wrong file is not to change its mode.
        let mut head = [0; PUBLIC_PEM.len()];
        return Err(match file.read_exact(&mut head) {
            Ok(()) if head == *PUBLIC_PEM => KeyError::Public { path: path.to_owned() },
            _ => KeyError::Mode { path: path.to_owned(), mode },
        });
    }
    if about.len() > KEY_FILE_BYTES_MAX {
        return Err(KeyError::Size { path: path.to_owned(), bytes: about.len() });
    }
    // Room for all of it at once, so that no copy stays behind in memory that was given back.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(about.len()).unwrap_or(0)]);
    file.read_exact(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
