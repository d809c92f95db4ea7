//! When certificates begin and end, as told by the verifier that connections use: its refusals name the dates.

use super::tls;
use glovebox_core::limits::CERTIFICATE_WARN_US;
use glovebox_core::names::WallTime;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// Beyond every certificate, and within what a timestamp holds.
const END_OF_TIME_S: u64 = u64::MAX / 2;

/// The time of a certificate; `None` where its end is no date of this age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Option<WallTime>,
    pub(super) until: Option<WallTime>,
}

/// What there is to say of a certificate's dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Good,
    /// Within [`CERTIFICATE_WARN_US`].
    Soon(WallTime),
    Expired(WallTime),
    NotYet(WallTime),
}

impl Validity {
    /// Of `certificate`; `roots` must not be empty, but need not have signed it. The error is the verifier's words for
    /// what it is if not a certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>, roots: &RootCertStore) -> Result<Self, String> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), tls::provider())
            .build()
            .map_err(|error| error.to_string())?;
        let refusal = |seconds: u64| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let nobody = ServerName::try_from("invalid").ok()?;
            verifier.verify_server_cert(certificate, &[], &nobody, &[], time).err()
        };
        let until = match refusal(END_OF_TIME_S) {
            Some(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => Some(tls::wall(not_after)),
            Some(error) => return Err(error.to_string()),
            None => None,
        };
        let from = match refusal(0) {
            Some(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            })) => Some(tls::wall(not_before)),
            _ => None,
        };
        Ok(Self { from, until })
    }

    /// How it stands at `now`.
    pub(super) fn at(self, now: WallTime) -> Due {
        match self {
            Self { until: Some(until), .. } if until <= now => Due::Expired(until),
            Self { from: Some(from), .. } if from > now => Due::NotYet(from),
            Self { until: Some(until), .. } if until.0.saturating_sub(now.0) < CERTIFICATE_WARN_US => {
                Due::Soon(until)
            }
            _ => Due::Good,
        }
    }
}

/// By the system's clock.
pub(super) fn now() -> WallTime {
    tls::wall(UnixTime::now())
}
