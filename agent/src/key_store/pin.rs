//! The owner key that a PIN opens: its private half lies here encrypted, and each try is counted before it is made.
//!
//! ```text
//! <state>/keys/pin (0600), integers big-endian:
//!   "GBPN" ‖ u32 version = 1 ‖ u32 KiB ‖ u32 passes ‖ u32 lanes ‖ 16 bytes salt ‖ 32 bytes public key
//!   ‖ 32 bytes private key under AES-256-GCM, and its 16 bytes tag ‖ 16 bytes check
//!   key = Argon2id (RFC 9106, version 0x13) of PIN and salt; nonce 0, since each salt makes another key, which seals once
//!   additional data = all before the private key; check = first 16 bytes of SHA-256 of all before it
//! ```
//!
//! Only commands open it, never the daemon: what Argon2 fills goes with the process. Who has the flash can try PINs on a
//! machine of his own, where nobody counts; a TPM or a token closes that, a longer PIN makes it dear.

pub mod attempts;
mod rules;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests;

use super::{KeyError, KeyStore, pem};
use crate::store::files::{self, FileError, Privacy};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use attempts::{Attempts, Uptime};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ed25519_dalek::SigningKey;
use glovebox_core::limits::{PIN_KIB_MAX, PIN_KIB_MIN, PIN_LANES_MAX, PIN_PASSES_MAX, PIN_PASSES_MIN};
use glovebox_core::names::{Digest, VerifyingKey};
use std::fmt;
use std::path::PathBuf;
use zeroize::{Zeroize as _, Zeroizing};

pub use rules::{Pin, PinRule};

const MAGIC: &[u8] = b"GBPN";
const VERSION: u32 = 1;
const SALT: usize = 16;
/// All that is additional data: five numbers, salt, public key.
const HEAD: usize = 5 * 4 + SALT + 32;
const BYTES: usize = HEAD + 32 + 16 + 16;

/// Why the PIN did not open its key, or cannot be set. Never holds anything of either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// None was set.
    #[error("no PIN is set on this car: `glovebox owner pin --key OWNER.key`, or `glovebox provision --pin`")]
    None,
    /// Another PIN.
    #[error("wrong PIN{}; {left} tries are left", if *wait_s == 0 { String::new() } else { format!(", and the next try is in {wait_s} s") })]
    Wrong {
        /// Seconds until the next try.
        wait_s: u64,
        /// Tries before it is blocked.
        left: u32,
    },
    /// Too early.
    #[error("not tried: too many wrong PINs, the next try is in {wait_s} s")]
    Wait {
        /// Seconds until then.
        wait_s: u64,
    },
    /// No more tries.
    #[error(
        "the PIN is blocked after too many wrong ones: another enrolled key can remove it (`glovebox owner remove`) \
         and set a new one; if there is none, erase the car (`glovebox erase`) and provision it again"
    )]
    Blocked,
    /// The file is not what was written.
    #[error(
        "{} is damaged: put it back from a backup, or remove the key with another enrolled key and set a new PIN",
        path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// Not good enough to be set.
    #[error(transparent)]
    Rule(#[from] PinRule),
    /// The library or the system.
    #[error("cannot make a key of the PIN: too little memory, or no randomness")]
    Derive,
}

/// What a try costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes; one after the other here, in parallel for an attacker with as many processors.
    pub lanes: u32,
}

impl Cost {
    /// The second recommended option of RFC 9106 (section 4), for where memory is scarce: 64 MiB, 3 passes.
    pub const CAR: Self = Self { kib: 64 * 1024, passes: 3, lanes: 4 };

    /// Bounds on what a file may say: below them a thief's work would be cheap, above them ours would not end.
    fn is_sane(self) -> bool {
        (PIN_KIB_MIN..=PIN_KIB_MAX).contains(&self.kib)
            && (PIN_PASSES_MIN..=PIN_PASSES_MAX).contains(&self.passes)
            && (1..=PIN_LANES_MAX).contains(&self.lanes)
    }
}

/// The key file, read.
struct Sealed {
    cost: Cost,
    salt: [u8; SALT],
    public: VerifyingKey,
    /// All before the private key.
    head: [u8; HEAD],
    /// Private key and tag.
    body: [u8; 48],
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Sealed {
    fn seal(key: &SigningKey, pin: &Pin, cost: Cost) -> Result<Zeroizing<Vec<u8>>, PinError> {
        let random = pem::random().map_err(|_| PinError::Derive)?;
        let mut salt = [0; SALT];
        salt.copy_from_slice(&random[..SALT]);
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES));
        bytes.extend_from_slice(MAGIC);
        [VERSION, cost.kib, cost.passes, cost.lanes].iter().for_each(|n| bytes.extend(n.to_be_bytes()));
        bytes.extend_from_slice(&salt);
        bytes.extend_from_slice(key.verifying_key().as_bytes());
        let head = bytes.clone();
        bytes.extend_from_slice(key.as_bytes());
        let tag = aead(pin, &salt, cost)?
            .seal_in_place_separate_tag(nonce(), Aad::from(head.as_slice()), &mut bytes[HEAD..])
            .map_err(|_| PinError::Derive)?;
        bytes.extend_from_slice(tag.as_ref());
        let check = Digest::of(&bytes);
        bytes.extend_from_slice(&check.0[..16]);
        Ok(bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (rest, check) = bytes.split_at_checked(BYTES - 16)?;
        if bytes.len() != BYTES || Digest::of(rest).0[..16] != *check {
            return None;
        }
        let (head, body) = rest.split_first_chunk::<HEAD>()?;
        let numbers = head.strip_prefix(MAGIC)?;
        let number = |at: usize| Some(u32::from_be_bytes(*numbers.get(at * 4..)?.first_chunk()?));
        let cost = Cost { kib: number(1)?, passes: number(2)?, lanes: number(3)? };
        let (salt, public) = numbers.get(16..)?.split_first_chunk()?;
        let sealed = Self {
            cost,
            salt: *salt,
            public: VerifyingKey(public.try_into().ok()?),
            head: *head,
            body: body.try_into().ok()?,
        };
        (number(0)? == VERSION && cost.is_sane()).then_some(sealed)
    }

    /// `None`: another PIN.
    fn open(&self, pin: &Pin) -> Result<Option<SigningKey>, PinError> {
        let key = aead(pin, &self.salt, self.cost)?;
        let mut body = Zeroizing::new(self.body);
        let Ok(secret) = key.open_in_place(nonce(), Aad::from(&self.head), body.as_mut_slice()) else {
            return Ok(None);
        };
        let secret: Zeroizing<[u8; 32]> =
            Zeroizing::new((&*secret).try_into().map_err(|_| PinError::Derive)?);
        let key = SigningKey::from_bytes(&secret);
        Ok((key.verifying_key().to_bytes() == self.public.0).then_some(key))
    }
}

/// Argon2's memory is written over before it is given back.
fn aead(pin: &Pin, salt: &[u8; SALT], cost: Cost) -> Result<LessSafeKey, PinError> {
    let failed = || PinError::Derive;
    let params = Params::new(cost.kib, cost.passes, cost.lanes, Some(32)).map_err(|_| failed())?;
    let mut blocks = Vec::new();
    blocks.try_reserve_exact(params.block_count()).map_err(|_| failed())?;
    blocks.resize(params.block_count(), Block::default());
    let mut key = Zeroizing::new([0; 32]);
    let derived = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
        pin.bytes(),
        salt,
        key.as_mut_slice(),
        &mut blocks,
    );
    blocks.iter_mut().for_each(Block::zeroize);
    derived.map_err(|_| failed())?;
    UnboundKey::new(&AES_256_GCM, key.as_slice()).map(LessSafeKey::new).map_err(|_| failed())
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

impl KeyStore {
    /// Public half of the key that the PIN opens; `None` if no PIN is set. Whether it is enrolled is another question.
    ///
    /// # Errors
    /// If the file is damaged or open to others.
    pub fn pin_key(&self) -> Result<Option<VerifyingKey>, KeyError> {
        Ok(self.sealed()?.map(|sealed| sealed.public))
    }

    /// Makes a new key pair that this PIN opens, in place of the one that is there. It widens nothing before it is
    /// enrolled. Returns its public half.
    ///
    /// # Errors
    /// If the PIN is too easily guessed, or the system refuses.
    pub fn set_pin(&self, pin: &Pin, cost: Cost) -> Result<VerifyingKey, KeyError> {
        files::create_folder(&self.dir)?;
        files::check_folder(&self.dir)?;
        let _lock = self.lock()?;
        let key = SigningKey::from_bytes(&*pem::random()?);
        self.write_pin(&key, pin, cost)?;
        Ok(VerifyingKey(key.verifying_key().to_bytes()))
    }

    /// The key, if this is its PIN. The try is counted, durably, before it is made.
    ///
    /// # Errors
    /// [`PinError`] says when the next try is.
    pub fn unlock(&self, pin: &Pin, now: &Uptime) -> Result<SigningKey, KeyError> {
        self.pin_key()?.ok_or(PinError::None)?;
        let _lock = self.lock()?;
        self.opened(pin, now)
    }

    /// The same key under another PIN. A cut of power leaves one of the two.
    ///
    /// # Errors
    /// As [`Self::unlock`], and if the new PIN is too easily guessed.
    pub fn change_pin(&self, old: &Pin, new: &Pin, now: &Uptime) -> Result<VerifyingKey, KeyError> {
        new.check().map_err(PinError::from)?;
        let cost = self.sealed()?.ok_or(PinError::None)?.cost;
        let _lock = self.lock()?;
        let key = self.opened(old, now)?;
        self.write_pin(&key, new, cost)?;
        Ok(VerifyingKey(key.verifying_key().to_bytes()))
    }

    /// Destroys the key that the PIN opens; nothing if there is none.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn forget_pin(&self) -> Result<(), KeyError> {
        let _lock = self.lock()?;
        files::destroy(&self.pin_path())?;
        Ok(files::destroy(&Attempts::path(&self.dir))?)
    }

    fn pin_path(&self) -> PathBuf {
        self.dir.join("pin")
    }

    fn sealed(&self) -> Result<Option<Sealed>, KeyError> {
        let path = self.pin_path();
        match files::read_bounded(&path, BYTES, Privacy::Secret) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => Ok(Some(Sealed::parse(&bytes).ok_or(PinError::Damaged { path })?)),
            Err(FileError::Large { path, .. }) => Err(PinError::Damaged { path }.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// The count first: the other way round a cut between the two would leave a key without one.
    fn write_pin(&self, key: &SigningKey, pin: &Pin, cost: Cost) -> Result<(), KeyError> {
        pin.check().map_err(PinError::from)?;
        let bytes = Sealed::seal(key, pin, cost)?;
        Attempts::default().write(&self.dir)?;
        Ok(files::write_atomically(&self.pin_path(), &bytes)?)
    }

    fn opened(&self, pin: &Pin, now: &Uptime) -> Result<SigningKey, KeyError> {
        let sealed = self.sealed()?.ok_or(PinError::None)?;
        let attempts = Attempts::read(&self.dir)?.after(now)?;
        attempts.write(&self.dir)?;
        match sealed.open(pin)? {
            Some(key) => {
                Attempts::default().write(&self.dir)?;
                Ok(key)
            }
            None => Err(attempts.wrong().into()),
        }
    }
}
