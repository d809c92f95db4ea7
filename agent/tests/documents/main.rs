//! The documents as others meet them: examples and schemas in `proto/`, and a corpus of faulty ones.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod bounds;
mod corpus;
mod drift;
mod examples;
mod made;
mod ops;
#[cfg(feature = "preview")]
mod preview;
mod schemas;
mod why;

use std::path::{Path, PathBuf};

use ed25519_dalek::Verifier as _;
use glovebox_core::consent::document::bundle::{Bundle, HpkeStatement, SigningKeyStatement};
use glovebox_core::consent::document::enrolment::OwnerEnrolment;
use glovebox_core::consent::document::record::ConsentRecord;
use glovebox_core::consent::document::request::Request;
use glovebox_core::consent::document::{DocumentError, Verifier, read};
use glovebox_core::names::VerifyingKey;

/// A kind of payload: its example in `proto/examples` has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Policy,
    Request,
    Consent,
    SigningKey,
    HpkeKey,
    Enrolment,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Policy, Self::Request, Self::Consent, Self::SigningKey, Self::HpkeKey, Self::Enrolment];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Request => "request",
            Self::Consent => "consent",
            Self::SigningKey => "signing-key",
            Self::HpkeKey => "hpke-key",
            Self::Enrolment => "enrolment",
        }
    }

    /// Reads a payload as the agent does.
    pub(crate) fn read(self, payload: &[u8]) -> Result<(), DocumentError> {
        match self {
            Self::Policy => read::<Bundle>(payload).map(drop),
            Self::Request => read::<Request>(payload).map(drop),
            Self::Consent => read::<ConsentRecord>(payload).map(drop),
            Self::SigningKey => read::<SigningKeyStatement>(payload).map(drop),
            Self::HpkeKey => read::<HpkeStatement>(payload).map(drop),
            Self::Enrolment => read::<OwnerEnrolment>(payload).map(drop),
        }
    }

    /// Its example, as JSON.
    pub(crate) fn example(self) -> serde_json::Value {
        let file = proto("examples").join(format!("{}.json", self.name()));
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }
}

pub(crate) fn proto(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto").join(below)
}

/// Whether files are written anew instead of compared: to be read before they are committed.
pub(crate) fn bless() -> bool {
    std::env::var_os("GLOVEBOX_BLESS").is_some()
}

pub(crate) struct Strict;

impl Verifier for Strict {
    fn verify(&self, key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        ed25519_dalek::VerifyingKey::from_bytes(&key.0)
            .is_ok_and(|key| key.verify(message, &signature).is_ok())
    }
}
