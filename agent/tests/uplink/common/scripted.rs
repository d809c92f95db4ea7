//! A broker that does what a script says: TLS 1.3 with the fleet's certificates, packets of MQTT as bytes.

use super::certs::{Authority, Pair, VALID};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// First byte of packets from the car.
pub(crate) const CONNECT: u8 = 0x10;
pub(crate) const PUBLISH: u8 = 0x32;
pub(crate) const SUBSCRIBE: u8 = 0x82;
pub(crate) const PINGREQ: u8 = 0xC0;
pub(crate) const DISCONNECT: u8 = 0xE0;

pub(crate) struct Scripted {
    pub(crate) authority: Authority,
    pub(crate) car: Pair,
    listener: TcpListener,
    tls: TlsAcceptor,
}

impl Scripted {
    pub(crate) async fn new(folder: &Path) -> Self {
        let authority = Authority::new(&folder.join("ca"));
        let server = authority.issue("server", "DNS:localhost", VALID);
        let car = authority.issue("car-1", "DNS:car-1", VALID);
        let chain = vec![CertificateDer::from_pem_file(&server.cert).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&server.key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { authority, car, listener, tls: TlsAcceptor::from(Arc::new(tls)) }
    }

    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.listener.local_addr().unwrap().port())
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Wire {
        let (tcp, _) = self.listener.accept().await.unwrap();
        Wire(self.tls.accept(tcp).await.unwrap())
    }

    /// The next connection, its CONNECT answered by `connack` and its SUBSCRIBE granted.
    pub(crate) async fn accept_with(&self, connack: &[u8]) -> Wire {
        let mut wire = self.accept().await;
        assert_eq!(wire.packet().await.unwrap().0, CONNECT);
        wire.send(connack).await;
        let (first, body) = wire.packet().await.unwrap();
        assert_eq!(first, SUBSCRIBE);
        wire.send(&[0x90, 5, body[0], body[1], 0, 1, 1]).await;
        wire
    }
}

/// One connection.
pub(crate) struct Wire(TlsStream<TcpStream>);

impl Wire {
    /// First byte and body of the next packet; `None` when the car has gone.
    pub(crate) async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.0.read_u8().await.ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.0.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.ok()?;
        Some((first, body))
    }

    /// The same; pings are answered on the way, and it must come within 10 s.
    pub(crate) async fn packet_beside_pings(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            match tokio::time::timeout(Duration::from_secs(10), self.packet()).await.unwrap() {
                Some((PINGREQ, _)) => self.send(&[0xD0, 0]).await,
                other => return other,
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // The car may have gone: the test sees that in what it says.
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }

    /// PUBACK of MQTT 5 for a PUBLISH with this body.
    pub(crate) async fn puback(&mut self, publish: &[u8], reason: u8) {
        let id = packet_id(publish);
        self.send(&[0x40, 3, id[0], id[1], reason]).await;
    }
}

/// Of a PUBLISH at QoS 1.
pub(crate) fn packet_id(publish: &[u8]) -> [u8; 2] {
    let topic = usize::from(u16::from_be_bytes([publish[0], publish[1]]));
    [publish[2 + topic], publish[3 + topic]]
}

/// CONNACK of MQTT 5 without properties.
pub(crate) const CONNACK_5: [u8; 5] = [0x20, 3, 0, 0, 0];
