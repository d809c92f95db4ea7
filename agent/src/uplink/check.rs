//! What `glovebox check` says about the uplink before anybody drives off.

use super::connection;
use super::failure::{Failure, FileFault};
use super::link::{self, Bridge};
use super::{Config, Setup, mqtt, tls};
use glovebox_core::names::{DeviceId, WallTime};
use rumqttc::v5::Event as Mqtt;
use rumqttc::v5::mqttbytes::v5::Packet;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A certificate that ends within this is worth a warning: 30 days.
const SOON_US: i64 = 30 * 24 * 3_600 * 1_000_000;

/// Something that `glovebox check` has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// It keeps the uplink from working; otherwise it will, or may.
    pub grave: bool,
    /// What, where, and what to do.
    pub text: String,
}

/// What a probe of the broker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The address that answered.
    pub address: SocketAddr,
    /// The key exchange that was agreed on, as `X25519MLKEM768`.
    pub key_exchange: String,
    /// The largest packet that the broker takes.
    pub packet_bytes_max: Option<u32>,
    /// Publishes that it takes before the first is acknowledged.
    pub receive_maximum: Option<u16>,
}

/// Looks at the three files: readable, PEM, not shared, belonging together, in date at `now`.
#[must_use]
pub fn check_files(config: &Config, now: WallTime) -> Vec<Finding> {
    let grave = |fault: FileFault| Finding { grave: true, text: fault.to_string() };
    let files = match tls::Files::read(config) {
        Ok(files) => files,
        Err(fault) => return vec![grave(fault)],
    };
    let mut findings = Vec::new();
    for (what, path, certificates) in
        [("authority file", &config.ca, &files.authorities), ("certificate", &config.cert, &files.chain)]
    {
        for certificate in certificates {
            findings.extend(dates(what, path, certificate, &files.roots, now));
        }
    }
    findings.extend(files.client(config).err().map(grave));
    findings
}

/// Asks the verifier that connections use, at the end and at the beginning of time: its refusals name the dates.
fn dates(
    what: &'static str,
    path: &Path,
    certificate: &CertificateDer<'_>,
    roots: &RootCertStore,
    now: WallTime,
) -> Option<Finding> {
    let path = path.display();
    let verifier =
        match WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), tls::provider()).build() {
            Ok(verifier) => verifier,
            Err(error) => {
                return Some(Finding { grave: true, text: format!("{what} {path} cannot be used: {error}") });
            }
        };
    let refusal = |seconds: u64| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let nobody = ServerName::try_from("invalid").ok()?;
        verifier.verify_server_cert(certificate, &[], &nobody, &[], time).err()
    };
    let ends = match refusal(u64::MAX / 2) {
        Some(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            tls::wall(not_after)
        }
        Some(error) => {
            return Some(Finding { grave: true, text: format!("{what} {path} cannot be used: {error}") });
        }
        None => return None,
    };
    if ends <= now {
        let text = format!(
            "{what} {path} expired at {ends}, and it is {now}: renew it, or set the clock if it is wrong"
        );
        return Some(Finding { grave: true, text });
    }
    if let Some(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
        not_before, ..
    })) = refusal(0)
        && tls::wall(not_before) > now
    {
        let text = format!(
            "{what} {path} is valid only from {}, and it is {now}: set the clock if it is wrong",
            tls::wall(not_before)
        );
        return Some(Finding { grave: true, text });
    }
    let soon = ends.0.saturating_sub(now.0) < SOON_US;
    soon.then(|| Finding { grave: false, text: format!("{what} {path} expires at {ends}: renew it") })
}

/// Connects as the agent does, under another client id so that a running agent is not disturbed, and leaves again.
/// `runtime` is a folder that only the caller may write.
///
/// # Errors
/// [`Failure`] says what is wrong and what to do.
pub async fn probe(config: &Config, identity: &DeviceId, runtime: &Path) -> Result<Probe, Failure> {
    let setup = Setup { config: config.clone(), identity: identity.clone(), runtime: runtime.to_owned() };
    let client = tls::Files::read(config)?.client(config)?;
    let (link, address) = link::open(config, client).await?;
    let group = link.get_ref().1.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
    let bridge = Bridge::bind(runtime)?;
    let (client, mut eventloop) = mqtt::client(&setup, &format!("{identity}-check"), bridge.path());
    mqtt::passing(&mut eventloop);
    let (sink, mut events) = mpsc::channel(8);
    let answer = async {
        while let Some(event) = events.recv().await {
            if let Mqtt::Incoming(Packet::ConnAck(answer)) = event {
                // Refused only by a full queue, and this is the first request.
                let _ = client.try_disconnect();
                return Some(answer);
            }
        }
        None
    };
    let pump = mqtt::pump(eventloop, &setup, sink);
    let relay = link::relay(link, bridge, config);
    let connack = connection::first_answer(answer, pump, relay).await?;
    let properties = connack.properties.as_ref();
    Ok(Probe {
        address,
        key_exchange: group.unwrap_or_default(),
        packet_bytes_max: properties.and_then(|all| all.max_packet_size),
        receive_maximum: properties.and_then(|all| all.receive_max),
    })
}
