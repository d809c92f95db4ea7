//! TLS 1.3 to the broker, handed to the MQTT client as a Unix socket in a folder that nobody else can enter.
//! The client's own TLS would bring an old certificate checker along; here it is the rustls of this workspace.
//!
//! ```text
//! rumqttc ── Unix socket (0700 folder, one connection) ── relay ── rustls ── TCP ── broker
//! ```

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::keys::read_private;
use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// For name, TCP and TLS, each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait for what the broker said last, once the MQTT side has failed.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Where the broker is.
#[derive(Clone)]
pub(super) struct Target {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Target {
    /// From `HOST:PORT` and PEM files.
    pub(super) fn new(broker: &str, ca: &Path, cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let (host, port) = broker
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
            .with_context(|| format!("--broker {broker} is not HOST:PORT, as in broker.example:8883"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host.clone())
            .with_context(|| format!("--broker {broker}: `{host}` is neither a name nor an address"))?;
        let tls = TlsConnector::from(Arc::new(client_config(ca, cert, key)?));
        Ok(Self { host, port, name, tls })
    }
}

fn client_config(ca: &Path, cert: &Path, key: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(ca)? {
        roots
            .add(authority)
            .with_context(|| format!("{} is not an authority's certificate", ca.display()))?;
    }
    let pem = read_private(key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| anyhow::anyhow!("{} holds no private key in PEM: {error}", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(cert)?, private)
        .with_context(|| format!("{} and {} do not belong together", cert.display(), key.display()))?;
    Ok(config)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| anyhow::anyhow!("{} is not PEM: {error}", path.display()))?;
    anyhow::ensure!(!all.is_empty(), "{} holds no certificate in PEM", path.display());
    Ok(all)
}

/// A folder that is gone when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("no random numbers"))?;
        let path = std::env::temp_dir().join(format!("glovebox-recipient-{}", hex::encode(random)));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One connection to the broker.
pub(super) struct Relay {
    socket: PathBuf,
    _folder: Folder,
    task: JoinHandle<io::Result<()>>,
}

impl Relay {
    /// Connects, shakes hands, and waits for the MQTT client.
    pub(super) async fn open(target: &Target) -> anyhow::Result<Self> {
        let Target { host, port, .. } = target;
        let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), *port))).await;
        let tcp = tcp
            .map_err(io::Error::from)
            .and_then(|inner| inner)
            .with_context(|| format!("cannot reach {host}:{port}"))?;
        tcp.set_nodelay(true)?;
        let tls = timeout(CONNECT_TIMEOUT, target.tls.connect(target.name.clone(), tcp)).await;
        let mut tls = tls
            .map_err(io::Error::from)
            .and_then(|inner| inner)
            .with_context(|| format!("no TLS 1.3 with {host}:{port}"))?;
        let folder = Folder::new()?;
        let socket = folder.0.join("mqtt");
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        let task = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await?;
            drop(listener);
            copy_bidirectional(&mut client, &mut tls).await.map(|_| ())
        });
        Ok(Self { socket, _folder: folder, task })
    }

    /// The socket's path.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What ended the TLS side, such as the broker's refusal of the certificate.
    pub(super) async fn last_word(&mut self) -> Option<io::Error> {
        timeout(LAST_WORD, &mut self.task).await.ok()?.ok()?.err()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
