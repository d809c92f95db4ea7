//! Somebody who has no business at the broker: comes without a certificate, or with one of another authority.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use glovebox_tests::certs::Identity;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const LIMIT: Duration = Duration::from_secs(5);
/// CONNECT of MQTT 5: clean start, keep-alive 60 s, no properties, client id `x`.
const CONNECT: [u8; 16] = [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b'x'];
/// First byte of the answer to it.
const CONNACK: u8 = 0x20;

/// Whether the broker on `port` answers this CONNECT over TLS; else, in whose words it did not.
pub(crate) fn knock(
    port: u16,
    ca: &Path,
    identity: Option<&Identity>,
) -> Result<std::result::Result<(), String>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?.with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { cert, key }) => {
            let chain = vec![CertificateDer::from_pem_file(cert)?];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
        }
    };
    let name = ServerName::try_from("localhost")?;
    let connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = StreamOwned::new(connection, connect(port)?);
    Ok(say(&mut stream))
}

/// The same without TLS.
pub(crate) fn knock_in_the_clear(port: u16) -> Result<std::result::Result<(), String>> {
    Ok(say(&mut connect(port)?))
}

fn connect(port: u16) -> Result<TcpStream> {
    let tcp = TcpStream::connect(("127.0.0.1", port))?;
    tcp.set_read_timeout(Some(LIMIT))?;
    Ok(tcp)
}

fn say(stream: &mut (impl Read + Write)) -> std::result::Result<(), String> {
    let mut answer = [0];
    let read = stream.write_all(&CONNECT).and_then(|()| stream.read(&mut answer));
    match read {
        Ok(1) if answer[0] == CONNACK => Ok(()),
        Ok(_) => Err("the connection was closed".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
