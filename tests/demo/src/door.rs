//! The way to the broker: mutual TLS 1.3 with the workspace's own rustls, and the car's network, which can be switched
//! off. rumqttd's own TLS would bring a second, outdated rustls.
//!
//! ```text
//! car ───────── road (a network with tunnels) ─┐
//!                                              ├─ TLS: whose certificate? ── CONNECT with the password ──▶ broker
//! companies ──────────────────── own port ─────┘
//! ```

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error as CodecError;
use rumqttc::v5::mqttbytes::v5::{Login, Packet};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::broker;
use glovebox_tests::certs::Identity;

/// For TLS and CONNECT, each.
const LIMIT: Duration = Duration::from_secs(10);
/// The largest CONNECT that is read.
const CONNECT_BYTES_MAX: u32 = 16 * 1024;

/// Two listening ports before the broker.
pub(crate) struct Door {
    /// Where the car comes to.
    pub(crate) road: u16,
    /// Where companies come to.
    pub(crate) companies: u16,
    network: watch::Sender<bool>,
    // Its tasks end with it.
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone)]
struct Inside {
    tls: TlsAcceptor,
    port: u16,
    password: String,
}

impl Door {
    /// Opens both ports before the broker that listens on `inner`.
    pub(crate) fn open(server: &Identity, ca: &Path, inner: u16, password: &str) -> Result<Self> {
        let tls = TlsAcceptor::from(Arc::new(tls_config(server, ca)?));
        let inside = Inside { tls, port: inner, password: password.to_owned() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (network, is_on) = watch::channel(true);
        let (_, always) = watch::channel(true);
        let listen = || async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let port = listener.local_addr()?.port();
            Ok::<_, io::Error>((listener, port))
        };
        let (road, road_port) = runtime.block_on(listen())?;
        let (companies, companies_port) = runtime.block_on(listen())?;
        runtime.spawn(accept(road, is_on, inside.clone()));
        runtime.spawn(accept(companies, always, inside));
        Ok(Self { road: road_port, companies: companies_port, network, _runtime: runtime })
    }

    /// Switches the car's network. Off, what was connected is cut, and whoever calls hears nothing.
    pub(crate) fn network(&self, on: bool) {
        self.network.send_replace(on);
    }
}

/// TLS 1.3 only, and nobody without a certificate of `ca`.
fn tls_config(server: &Identity, ca: &Path) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).context("the authority's certificate")?)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let chain = vec![CertificateDer::from_pem_file(&server.cert).context("the broker's certificate")?];
    let key = PrivateKeyDer::from_pem_file(&server.key).context("the broker's key")?;
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?)
}

async fn accept(listener: TcpListener, network: watch::Receiver<bool>, inside: Inside) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (mut on, mut off, inside) = (network.clone(), network.clone(), inside.clone());
        tokio::spawn(async move {
            // In a tunnel nothing answers. A sender that is gone means that the network stays as it is.
            drop(on.wait_for(|is_on| *is_on).await);
            tokio::select! {
                _ = serve(tcp, inside) => {}
                Ok(_) = off.wait_for(|is_on| !*is_on) => {}
            }
        });
    }
}

/// One connection from its handshake to its end.
async fn serve(tcp: TcpStream, inside: Inside) -> Result<()> {
    tcp.set_nodelay(true)?;
    let mut tls = timeout(LIMIT, inside.tls.accept(tcp)).await??;
    let mut first = BytesMut::new();
    let packet = timeout(LIMIT, async {
        loop {
            match Packet::read(&mut first, Some(CONNECT_BYTES_MAX)) {
                Ok(packet) => return Ok(packet),
                Err(CodecError::InsufficientBytes(_)) if tls.read_buf(&mut first).await? > 0 => {}
                Err(error) => return Err(anyhow::Error::from(error)),
            }
        }
    })
    .await??;
    let Packet::Connect(connect, will, _) = packet else { anyhow::bail!("not a CONNECT") };
    let login = Login::new(broker::USER, inside.password);
    let mut bytes = BytesMut::new();
    Packet::Connect(connect, will, Some(login)).write(&mut bytes, None)?;
    bytes.extend_from_slice(&first);
    let mut broker = TcpStream::connect((Ipv4Addr::LOCALHOST, inside.port)).await?;
    broker.set_nodelay(true)?;
    broker.write_all(&bytes).await?;
    copy_bidirectional(&mut tls, &mut broker).await?;
    Ok(())
}
