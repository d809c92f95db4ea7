//! Keys on disk: the alias secret, the record key, the enrolled owners, the pinned root.
//!
//! ```text
//! <state>/keys/           0700
//!   alias                 "GBA1", owner epoch (u32 BE), alias secret (32 bytes)
//!   record.key            the agent's record key, Ed25519, PKCS#8 PEM
//!   root.pub              the pinned policy authority, Ed25519, SPKI PEM
//!   owners/<thumb>.pub    the first owner key: what makes the car provisioned; enrolments name it
//!   pin, pin.attempts     the owner key that a PIN opens, and the count of tries (pin.rs)
//! ```
//!
//! All files are 0600 and written atomically. Nothing of a secret comes into an error or a log.

pub mod pem;
pub mod pin;

use crate::store::files::{self, FileError, Privacy};
use ed25519_dalek::SigningKey;
use glovebox_core::limits::OWNER_KEYS_MAX;
use glovebox_core::names::{Digest, VerifyingKey};
use pem::PemError;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub use pem::{
    KeyKind, new_key_pair, read_signing_key, read_verifying_key, read_x25519_private, read_x25519_public,
};

const ALIAS_MAGIC: &[u8] = b"GBA1";
const ALIAS_BYTES: usize = 4 + 4 + 32;

/// Why a key is not to be had. Never holds anything of a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key file.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// No owner yet.
    #[error(
        "no owner is enrolled in {}: run `glovebox provision --authority A.pub --owner O.pub`",
        dir.display()
    )]
    NotProvisioned {
        /// The folder of the keys.
        dir: PathBuf,
    },
    /// The owner's file is written last, so the others were there.
    #[error(
        "{} is gone, though an owner is enrolled: put it back from a backup; only if there is none, run `glovebox erase` \
         and provision again",
        path.display()
    )]
    Lost {
        /// Which file.
        path: PathBuf,
    },
    /// The PIN.
    #[error(transparent)]
    Pin(#[from] pin::PinError),
    /// Enrolling the first owner works once.
    #[error(
        "this car is provisioned, nothing has changed: owner {thumb} is enrolled already in {}; enrol further keys with \
         `glovebox owner add`, and for a new owner erase the car first (`glovebox erase`)",
        dir.display()
    )]
    OwnerEnrolled {
        /// Thumbprint of the owner key, shortened.
        thumb: String,
        /// The folder of the keys.
        dir: PathBuf,
    },
    /// The key cannot stand for an owner or an authority.
    #[error("the {who} key cannot be used: it is no point of the curve or has a small order")]
    Unusable {
        /// `owner` or `authority`.
        who: &'static str,
    },
    /// One key would hold both offices.
    #[error("authority and owner are the same key: the authority must not be able to consent")]
    SameKey,
    /// Too many files in `owners/`.
    #[error("{} holds more than {OWNER_KEYS_MAX} keys", dir.display())]
    ManyOwners {
        /// The folder.
        dir: PathBuf,
    },
    /// The alias file is not one.
    #[error(
        "{} is damaged: restore it from a backup, or run `glovebox erase` and provision again",
        path.display()
    )]
    Alias {
        /// Which file.
        path: PathBuf,
    },
    /// Somebody else works with the keys.
    #[error("another glovebox command is at work in {}: try again when it has ended", dir.display())]
    Busy {
        /// The folder of the keys.
        dir: PathBuf,
    },
}

/// The secret from which all aliases of one owner epoch are derived.
pub struct AliasSecret {
    /// 32 random bytes.
    pub secret: Zeroizing<[u8; 32]>,
    /// Rises with each new owner.
    pub epoch: u32,
}

impl fmt::Debug for AliasSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AliasSecret").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// What `provision` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// Where the keys are.
    pub dir: PathBuf,
    /// Owner epoch of the fresh alias secret.
    pub epoch: u32,
    /// Public half of the agent's record key.
    pub record_key: VerifyingKey,
}

/// The folder of the car's keys.
#[derive(Debug, Clone)]
pub struct KeyStore {
    dir: PathBuf,
}

impl KeyStore {
    /// Opens `<state>/keys`; it need not exist before the car is provisioned.
    ///
    /// # Errors
    /// If others can enter the folder.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        if dir.exists() {
            files::check_folder(dir)?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Sets the authority and the first owner, and makes the alias secret and the record key of fresh randomness.
    /// The owner's file is written last: a power cut before it leaves a car that can be provisioned again.
    ///
    /// # Errors
    /// [`KeyError::OwnerEnrolled`] if there is an owner; else a key that cannot be used, or the system.
    pub fn provision(&self, authority: &VerifyingKey, owner: &VerifyingKey) -> Result<Provisioned, KeyError> {
        check_point(authority, "authority")?;
        check_point(owner, "owner")?;
        if authority == owner {
            return Err(KeyError::SameKey);
        }
        let owners = self.dir.join("owners");
        files::create_folder(&owners)?;
        files::check_folder(&self.dir)?;
        files::check_folder(&owners)?;
        let _lock = self.lock()?;
        self.no_owner_yet()?;
        let epoch = self.read_alias()?.map_or(1, |old| old.epoch.saturating_add(1));
        self.write_alias(&AliasSecret { secret: pem::random()?, epoch })?;
        let record = SigningKey::from_bytes(&*pem::random()?);
        files::write_atomically(&self.dir.join("record.key"), pem::encode_signing(&record).as_bytes())?;
        files::write_atomically(&self.dir.join("root.pub"), pem::encode_verifying(authority).as_bytes())?;
        let file = owners.join(format!("{}.pub", thumb(owner)));
        files::write_atomically(&file, pem::encode_verifying(owner).as_bytes())?;
        Ok(Provisioned {
            dir: self.dir.clone(),
            epoch,
            record_key: VerifyingKey(record.verifying_key().to_bytes()),
        })
    }

    /// Whether the car may still be provisioned.
    ///
    /// # Errors
    /// [`KeyError::OwnerEnrolled`] if it is.
    pub fn no_owner_yet(&self) -> Result<(), KeyError> {
        match self.owners()?.first() {
            Some(first) => Err(KeyError::OwnerEnrolled { thumb: thumb(first), dir: self.dir.clone() }),
            None => Ok(()),
        }
    }

    /// The alias secret.
    ///
    /// # Errors
    /// If the car is not provisioned, or the file is damaged or open to others.
    pub fn alias(&self) -> Result<AliasSecret, KeyError> {
        self.read_alias()?.ok_or_else(|| self.missing(&self.dir.join("alias")))
    }

    /// The agent's record key: signs what narrows.
    ///
    /// # Errors
    /// As [`Self::alias`].
    pub fn record_key(&self) -> Result<SigningKey, KeyError> {
        self.provisioned(pem::read_signing_key(&self.dir.join("record.key")))
    }

    /// The pinned root of the policy authority.
    ///
    /// # Errors
    /// As [`Self::alias`].
    pub fn root(&self) -> Result<VerifyingKey, KeyError> {
        self.provisioned(pem::read_verifying_key(&self.dir.join("root.pub")))
    }

    /// The first owner, with whom the car was provisioned; empty before that. Enrolments change who is one.
    ///
    /// # Errors
    /// If one of them cannot be read: a key in doubt is not passed over in silence.
    pub fn owners(&self) -> Result<Vec<VerifyingKey>, KeyError> {
        let dir = self.dir.join("owners");
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(files::io_error("list", &dir)(error).into()),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(files::io_error("list", &dir))?.path();
            if path.extension().is_some_and(|extension| extension == "pub") {
                paths.push(path);
            }
            if paths.len() > OWNER_KEYS_MAX {
                return Err(KeyError::ManyOwners { dir });
            }
        }
        paths.sort();
        paths.iter().map(|path| Ok(pem::read_verifying_key(path)?)).collect()
    }

    fn provisioned<T>(&self, key: Result<T, PemError>) -> Result<T, KeyError> {
        key.map_err(|error| match error {
            PemError::Missing { path } => self.missing(&path),
            other => other.into(),
        })
    }

    fn missing(&self, path: &Path) -> KeyError {
        match self.no_owner_yet() {
            Ok(()) => KeyError::NotProvisioned { dir: self.dir.clone() },
            Err(_) => KeyError::Lost { path: path.to_owned() },
        }
    }

    fn read_alias(&self) -> Result<Option<AliasSecret>, KeyError> {
        let path = self.dir.join("alias");
        let Some(bytes) = files::read_bounded(&path, ALIAS_BYTES, Privacy::Secret)? else {
            return Ok(None);
        };
        let bytes = Zeroizing::new(bytes);
        let parse = || {
            let (epoch, secret) = bytes.strip_prefix(ALIAS_MAGIC)?.split_first_chunk::<4>()?;
            let mut own = Zeroizing::new([0; 32]);
            own.copy_from_slice(<&[u8; 32]>::try_from(secret).ok()?);
            Some(AliasSecret { secret: own, epoch: u32::from_be_bytes(*epoch) })
        };
        parse().map(Some).ok_or(KeyError::Alias { path })
    }

    fn write_alias(&self, alias: &AliasSecret) -> Result<(), KeyError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(ALIAS_BYTES));
        bytes.extend_from_slice(ALIAS_MAGIC);
        bytes.extend_from_slice(&alias.epoch.to_be_bytes());
        bytes.extend_from_slice(alias.secret.as_slice());
        Ok(files::write_atomically(&self.dir.join("alias"), &bytes)?)
    }

    /// Two at once could enrol two first owners, or try two PINs for one count.
    fn lock(&self) -> Result<File, KeyError> {
        let folder = File::open(&self.dir).map_err(files::io_error("open", &self.dir))?;
        match folder.try_lock() {
            Ok(()) => Ok(folder),
            Err(std::fs::TryLockError::WouldBlock) => Err(KeyError::Busy { dir: self.dir.clone() }),
            Err(std::fs::TryLockError::Error(error)) => Err(files::io_error("lock", &self.dir)(error).into()),
        }
    }
}

/// The first 16 hexadecimal digits of a key's SHA-256.
#[must_use]
pub fn thumb(key: &VerifyingKey) -> String {
    Digest::of(&key.0).to_string().chars().take(16).collect()
}

/// Whether a key can stand for somebody.
///
/// # Errors
/// [`KeyError::Unusable`] if it is no point of the curve or of small order.
pub fn check_point(key: &VerifyingKey, who: &'static str) -> Result<(), KeyError> {
    match ed25519_dalek::VerifyingKey::from_bytes(&key.0) {
        Ok(point) if !point.is_weak() => Ok(()),
        _ => Err(KeyError::Unusable { who }),
    }
}

#[cfg(test)]
mod tests;
