//! The socket to the broker and the way from it to the MQTT client.
//!
//! ```text
//!   MQTT client ── unix socket ── relay ── TLS ── TCP ── broker
//!   (rumqttc)      0700 folder,            our own socket: resets when dropped
//!                  one connection, ours
//! ```
//!
//! The TCP socket has zero linger from the end of the handshake: whoever drops it, for whatever reason, resets the
//! connection, and what is still in the kernel's send buffer is thrown away. A graceful end is one where the broker
//! closes first, after DISCONNECT.

use super::config::{Broker, Config, Protocol};
use super::failure::Failure;
use super::tls;
use glovebox_core::limits::{
    UPLINK_ADDRESSES_MAX, UPLINK_ALERT_MS_MAX, UPLINK_RESOLVE_MS_MAX, UPLINK_SEND_BUFFER_BYTES,
    UPLINK_TCP_MS_MAX, UPLINK_TLS_MS_MAX,
};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// A TLS connection to the broker.
pub(super) type Link = TlsStream<TcpStream>;

/// Opens TCP to the first address of `broker` that answers, then TLS.
pub(super) async fn open(
    config: &Config,
    broker: &Broker,
    client: Arc<rustls::ClientConfig>,
) -> Result<(Link, SocketAddr), Failure> {
    let (tcp, address) = connect(broker).await?;
    set_options(&tcp, config.keep_alive_s).map_err(|detail| Failure::Local { detail })?;
    let host = broker.host();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| Failure::Resolve { host: host.to_owned(), detail: error.to_string() })?;
    let handshake = tokio_rustls::TlsConnector::from(client).connect(name, tcp);
    let link = timeout(Duration::from_millis(UPLINK_TLS_MS_MAX), handshake)
        .await
        .map_err(|_| Failure::TimedOut {
            step: "the TLS handshake",
            ms: UPLINK_TLS_MS_MAX,
            advice: "is the port a TLS port, and the network fast enough?",
        })?
        .map_err(|error| tls::handshake_failure(&error, address, config))?;
    link.get_ref().0.set_zero_linger().map_err(|error| Failure::Local { detail: error.to_string() })?;
    Ok((link, address))
}

/// Whether `broker` takes this certificate, as far as TLS can tell: in TLS 1.3 its refusal comes as an alert after the
/// handshake. Nothing of MQTT is said; then the link is dropped.
pub(super) async fn try_out(
    config: &Config,
    broker: &Broker,
    client: Arc<rustls::ClientConfig>,
) -> Result<(), Failure> {
    let (mut link, _) = open(config, broker, client).await?;
    let mut byte = [0];
    match timeout(Duration::from_millis(UPLINK_ALERT_MS_MAX), link.read(&mut byte)).await {
        Ok(Err(error)) => Err(tls::session_error(&error, config)),
        // Still waiting for our CONNECT, or gone without a reason.
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

async fn connect(broker: &Broker) -> Result<(TcpStream, SocketAddr), Failure> {
    let host = broker.host();
    let unresolved = |detail: String| Failure::Resolve { host: host.to_owned(), detail };
    let lookup = tokio::net::lookup_host((host, broker.port()));
    let addresses: Vec<_> = timeout(Duration::from_millis(UPLINK_RESOLVE_MS_MAX), lookup)
        .await
        .map_err(|_| unresolved(format!("no answer within {UPLINK_RESOLVE_MS_MAX} ms")))?
        .map_err(|error| unresolved(error.to_string()))?
        .take(UPLINK_ADDRESSES_MAX)
        .collect();
    let mut last = unresolved("it has no address".to_owned());
    for address in addresses {
        match timeout(Duration::from_millis(UPLINK_TCP_MS_MAX), TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok((tcp, address)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = Failure::Refused { address }
            }
            Ok(Err(error)) => last = Failure::Unreachable { address, detail: error.to_string() },
            Err(_) => {
                last = Failure::TimedOut {
                    step: "the TCP connection",
                    ms: UPLINK_TCP_MS_MAX,
                    advice: "check the network, the broker's address and the firewalls between",
                }
            }
        }
    }
    Err(last)
}

/// So that a link that is gone is noticed even while nothing is sent, and that little waits in the kernel.
fn set_options(tcp: &TcpStream, keep_alive_s: u16) -> Result<(), String> {
    let explain = |what: &'static str| move |error: nix::Error| format!("socket option {what}: {error}");
    tcp.set_nodelay(true).map_err(|error| format!("socket option TCP_NODELAY: {error}"))?;
    setsockopt(tcp, sockopt::SndBuf, &UPLINK_SEND_BUFFER_BYTES).map_err(explain("SO_SNDBUF"))?;
    setsockopt(tcp, sockopt::KeepAlive, &true).map_err(explain("SO_KEEPALIVE"))?;
    setsockopt(tcp, sockopt::TcpKeepIdle, &u32::from(keep_alive_s)).map_err(explain("TCP_KEEPIDLE"))?;
    setsockopt(tcp, sockopt::TcpKeepInterval, &u32::from(keep_alive_s / 3).max(1))
        .map_err(explain("TCP_KEEPINTVL"))?;
    setsockopt(tcp, sockopt::TcpKeepCount, &3).map_err(explain("TCP_KEEPCNT"))?;
    setsockopt(tcp, sockopt::TcpUserTimeout, &(u32::from(keep_alive_s) * 2_000))
        .map_err(explain("TCP_USER_TIMEOUT"))
}

/// The door through which the MQTT client comes: a socket in a folder of its own, gone once it is through.
pub(super) struct Bridge {
    listener: UnixListener,
    folder: PathBuf,
    path: String,
}

impl Bridge {
    /// Makes the folder `uplink.bridge` under `runtime`, mode 0700, and the socket in it.
    pub(super) fn bind(runtime: &Path) -> Result<Self, Failure> {
        let folder = runtime.join("uplink.bridge");
        let socket = folder.join("s");
        let local = |error: io::Error| Failure::Local { detail: format!("{}: {error}", socket.display()) };
        remove(&folder);
        std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(local)?;
        let listener = UnixListener::bind(&socket).map_err(local)?;
        let path = socket
            .to_str()
            .ok_or_else(|| Failure::Local { detail: format!("{} is not UTF-8", socket.display()) })?
            .to_owned();
        Ok(Self { listener, folder, path })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The one connection, which must come from this process.
    pub(super) async fn accept(self) -> Result<UnixStream, Failure> {
        let local = |error: io::Error| Failure::Local { detail: error.to_string() };
        let (stream, _) = self.listener.accept().await.map_err(local)?;
        let peer = stream.peer_cred().map_err(local)?;
        if peer.pid().and_then(|pid| u32::try_from(pid).ok()) != Some(std::process::id()) {
            return Err(Failure::Local { detail: format!("another process came to {}", self.path) });
        }
        Ok(stream)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// What a killed agent left behind is removed the same way; if it cannot be, making it anew says so.
fn remove(folder: &Path) {
    let _ = std::fs::remove_file(folder.join("s"));
    let _ = std::fs::remove_dir(folder);
}

/// Waits for the MQTT client and carries bytes both ways until either side ends.
pub(super) async fn relay(link: Link, bridge: Bridge, config: &Config) -> Failure {
    let local = match bridge.accept().await {
        Ok(local) => local,
        Err(failure) => return failure,
    };
    let (mut from_broker, mut to_broker) = tokio::io::split(link);
    let (mut from_client, mut to_client) = local.into_split();
    let ours = config.protocol;
    let mut heard = false;
    let down = copy(&mut from_broker, &mut to_client, |bytes| {
        let old = !heard && ours == Protocol::V5 && bytes.starts_with(&CONNACK_OF_MQTT_3);
        heard = true;
        !old
    });
    let up = copy(&mut from_client, &mut to_broker, |_| true);
    tokio::pin!(down, up);
    let failure = |error: &io::Error| tls::session_error(error, config);
    tokio::select! {
        biased;
        end = &mut down => match end {
            Ok(()) => Failure::Closed,
            Err(Broken::Foreign) => Failure::ProtocolVersion { ours },
            Err(Broken::Reading(error)) => failure(&error),
            Err(Broken::Writing(error)) => Failure::Local { detail: error.to_string() },
        },
        end = &mut up => match end {
            Ok(()) | Err(Broken::Foreign) => Failure::Local { detail: "the MQTT client left".to_owned() },
            Err(Broken::Reading(error)) => Failure::Local { detail: error.to_string() },
            // The broker's last words, an alert perhaps, may still wait to be read.
            Err(Broken::Writing(error)) => match timeout(Duration::from_millis(200), &mut down).await {
                Ok(Err(Broken::Reading(error))) => failure(&error),
                _ => failure(&error),
            },
        },
    }
}

/// CONNACK of MQTT 3.1.1 has two bytes; that of MQTT 5 has at least three, and the client library would wait for them.
const CONNACK_OF_MQTT_3: [u8; 2] = [0x20, 0x02];

enum Broken {
    /// Not what may come here.
    Foreign,
    Reading(io::Error),
    Writing(io::Error),
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut fits: impl FnMut(&[u8]) -> bool,
) -> Result<(), Broken> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await.map_err(Broken::Reading)?;
        if count == 0 {
            return Ok(());
        }
        if !fits(&buffer[..count]) {
            return Err(Broken::Foreign);
        }
        to.write_all(&buffer[..count]).await.map_err(Broken::Writing)?;
        to.flush().await.map_err(Broken::Writing)?;
    }
}
