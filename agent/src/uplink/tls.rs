//! TLS 1.3 with our certificate, and what its errors mean. Nothing older than 1.3 is compiled in; the hybrid key
//! exchange X25519MLKEM768 is offered first, so that what is recorded today stays closed to a quantum computer.

use super::Config;
use super::config::Source;
use super::failure::{Failure, FileFault};
use glovebox_core::limits::PEM_FILE_BYTES_MAX;
use glovebox_core::names::WallTime;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, PeerIncompatible, RootCertStore};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

const CA: &str = "authority file";
const CERT: &str = "certificate";
const KEY: &str = "key";

/// What the three files hold.
pub(super) struct Files {
    pub(super) roots: RootCertStore,
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Files {
    /// Reads them, and refuses a key that others may read.
    pub(super) fn read(config: &Config) -> Result<Self, FileFault> {
        let authorities = certificates(CA, config.ca.path())?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| FileFault::Certificate {
                what: CA,
                path: config.ca.path().to_owned(),
                detail: error.to_string(),
            })?;
        }
        let chain = certificates(CERT, config.cert.path())?;
        refuse_shared(&config.key)?;
        let path = config.key.path();
        let pem = read(KEY, path)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| not_pem(KEY, path, &error))?;
        Ok(Self { roots, authorities, chain, key })
    }

    /// The TLS side of a connection. Sessions are not resumed: each connection shows the certificate again.
    pub(super) fn client(self, config: &Config) -> Result<Arc<ClientConfig>, FileFault> {
        let certificate = |detail: String| FileFault::Certificate {
            what: CERT,
            path: config.cert.path().to_owned(),
            detail,
        };
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| certificate(error.to_string()))?
            .with_root_certificates(self.roots)
            .with_client_auth_cert(self.chain, self.key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    let (key, cert) = (config.key.path().to_owned(), config.cert.path().to_owned());
                    FileFault::Mismatch { key, cert }
                }
                other => certificate(other.to_string()),
            })?;
        client.resumption = Resumption::disabled();
        Ok(Arc::new(client))
    }
}

/// The only cryptography behind TLS.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A file of ours is the agent's alone. systemd leaves a credential to root with read rights for the agent by an access
/// list, whose mask shows as the group's bits, or to the agent itself.
fn refuse_shared(key: &Source) -> Result<(), FileFault> {
    let path = key.path();
    let found = std::fs::metadata(path).map_err(|error| unreadable(KEY, path, &error))?;
    let (mode, user) = (found.permissions().mode() & 0o7777, found.uid());
    if !key.is_credential() {
        return if mode & 0o077 == 0 { Ok(()) } else { Err(FileFault::Mode { path: path.to_owned(), mode }) };
    }
    let ours = user == 0 || user == nix::unistd::geteuid().as_raw();
    let shared = mode & if user == 0 { 0o037 } else { 0o077 };
    if ours && shared == 0 {
        return Ok(());
    }
    Err(FileFault::Credential { path: path.to_owned(), mode, user })
}

fn unreadable(what: &'static str, path: &Path, error: &std::io::Error) -> FileFault {
    FileFault::Unreadable { what, path: path.to_owned(), detail: error.to_string() }
}

fn not_pem(what: &'static str, path: &Path, error: &rustls::pki_types::pem::Error) -> FileFault {
    FileFault::NotPem { what, path: path.to_owned(), detail: error.to_string() }
}

fn read(what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, FileFault> {
    let unreadable = |error: std::io::Error| unreadable(what, path, &error);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    if bytes > PEM_FILE_BYTES_MAX {
        return Err(FileFault::TooLarge { what, path: path.to_owned(), bytes, max: PEM_FILE_BYTES_MAX });
    }
    // The room is taken at once: growing would leave copies of a key behind.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(bytes).unwrap_or(0) + 1));
    file.take(PEM_FILE_BYTES_MAX).read_to_end(&mut content).map_err(unreadable)?;
    Ok(content)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let pem = read(what, path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(what, path, &error))?;
    if found.is_empty() {
        let detail = "it holds no certificate (`-----BEGIN CERTIFICATE-----`)".to_owned();
        return Err(FileFault::NotPem { what, path: path.to_owned(), detail });
    }
    Ok(found)
}

/// What an error before or during the handshake means.
pub(super) fn handshake_failure(error: &std::io::Error, address: SocketAddr, config: &Config) -> Failure {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match inner(error) {
        Some(rustls::Error::InvalidCertificate(fault)) => certificate_failure(fault, config),
        Some(rustls::Error::InvalidMessage(detail)) => {
            Failure::NotTls { address, detail: format!("its answer is not a TLS message: {detail:?}") }
        }
        Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)) => {
            Failure::TlsVersion { detail: "it answered with the alert protocol_version".to_owned() }
        }
        Some(rustls::Error::PeerIncompatible(
            reason @ (PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig),
        )) => Failure::TlsVersion { detail: format!("{reason:?}") },
        Some(other) => session_failure(other, config),
        None if matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe) => {
            Failure::NotTls {
                address,
                detail: "it closed the connection during the TLS handshake".to_owned(),
            }
        }
        None => Failure::Broken { detail: error.to_string() },
    }
}

/// What an error after the handshake means. In TLS 1.3 a refusal of our certificate comes only then.
pub(super) fn session_error(error: &std::io::Error, config: &Config) -> Failure {
    match inner(error) {
        Some(fault) => session_failure(fault, config),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => Failure::Closed,
        None => Failure::Broken { detail: error.to_string() },
    }
}

fn inner(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn session_failure(error: &rustls::Error, config: &Config) -> Failure {
    let rustls::Error::AlertReceived(alert) = error else {
        return Failure::Tls { detail: error.to_string() };
    };
    let advice = match alert {
        AlertDescription::CertificateExpired => "renew it; if it is still valid, the broker's clock is wrong",
        AlertDescription::CertificateRevoked => "ask for a new one",
        AlertDescription::UnknownCA => "it must be signed by an authority that the broker trusts",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRequired
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => {
            "it must be signed by an authority that the broker trusts, for use as a client"
        }
        other => return Failure::Tls { detail: format!("it sent the alert {other:?}") },
    };
    Failure::ClientCertificate { cert: config.cert.path().to_owned(), alert: format!("{alert:?}"), advice }
}

fn certificate_failure(fault: &CertificateError, config: &Config) -> Failure {
    match fault {
        CertificateError::ExpiredContext { time, not_after } => {
            Failure::ServerExpired { not_after: wall(*not_after), now: wall(*time) }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            Failure::ServerNotYetValid { not_before: wall(*not_before), now: wall(*time) }
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            Failure::ServerName { expected: expected.to_str().into_owned(), presented: names(presented) }
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Failure::ServerAuthority { ca: config.ca.path().to_owned() }
        }
        other => Failure::ServerCertificate { detail: other.to_string() },
    }
}

/// At most four names of at most 80 characters: they come from the other side.
fn names(presented: &[String]) -> String {
    // rustls writes `DnsName("x")`.
    let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    let short = |name: &String| {
        format!("`{}`", bare(name).chars().filter(|c| !c.is_control()).take(80).collect::<String>())
    };
    let shown: Vec<_> = presented.iter().take(4).map(short).collect();
    match presented.len() {
        0 => "no name at all".to_owned(),
        1..=4 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), more - 4),
    }
}

pub(super) fn wall(time: UnixTime) -> WallTime {
    WallTime(i64::try_from(time.as_secs()).unwrap_or(i64::MAX).saturating_mul(1_000_000))
}
