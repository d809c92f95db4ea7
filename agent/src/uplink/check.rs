//! What `glovebox check` says about the uplink before anybody drives off.

use super::config::{Broker, Config, Protocol};
use super::dates::{Due, Validity};
use super::failure::{Failure, FileFault};
use super::link::{self, Bridge};
use super::mqtt::{self, Heard, Taken, Who};
use super::{Setup, connection, tls};
use glovebox_core::names::{DeviceId, WallTime};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::path::Path;
use tokio::sync::mpsc;

/// Something that `glovebox check` has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// It keeps the uplink from working; otherwise it will, or may.
    pub grave: bool,
    /// What, where, and what to do.
    pub text: String,
}

/// What a probe of a broker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The address that answered.
    pub address: SocketAddr,
    /// The key exchange that was agreed on, as `X25519MLKEM768`.
    pub key_exchange: String,
    /// The MQTT that it speaks: ours if it does.
    pub protocol: Protocol,
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
    for (what, source, certificates) in
        [("authority file", &config.ca, &files.authorities), ("certificate", &config.cert, &files.chain)]
    {
        let place = format!("{what} {}", source.path().display());
        let mut found: Vec<_> =
            certificates.iter().filter_map(|one| dates(&place, one, &files.roots, now)).collect();
        // Of several authorities, one that is out of date does no harm while another is not.
        let one_is_good = found.iter().filter(|finding| finding.grave).count() < certificates.len();
        if source == &config.ca && one_is_good {
            found.iter_mut().for_each(|finding| finding.grave = false);
        }
        findings.append(&mut found);
    }
    findings.extend(files.client(config).err().map(grave));
    findings
}

/// When the car's certificate ends, by the files of `config`; `None` if they cannot be read.
#[must_use]
pub fn certificate_until(config: &Config) -> Option<WallTime> {
    tls::Files::read(config).ok().as_ref().and_then(chain_ends)
}

/// When the first certificate of our chain ends.
pub(super) fn chain_ends(files: &tls::Files) -> Option<WallTime> {
    let until = |certificate| Validity::of(certificate, &files.roots).ok()?.until;
    files.chain.iter().filter_map(until).min()
}

fn dates(
    place: &str,
    certificate: &CertificateDer<'_>,
    roots: &RootCertStore,
    now: WallTime,
) -> Option<Finding> {
    let validity = match Validity::of(certificate, roots) {
        Ok(validity) => validity,
        Err(error) => return Some(Finding { grave: true, text: format!("{place} cannot be used: {error}") }),
    };
    let (grave, text) = match validity.at(now) {
        Due::Good => return None,
        Due::Soon(ends) => (false, format!("{place} expires at {ends}: renew it")),
        Due::Expired(ended) => (
            true,
            format!("{place} expired at {ended}, and it is {now}: renew it, or set the clock if it is wrong"),
        ),
        Due::NotYet(begins) => (
            true,
            format!("{place} is valid only from {begins}, and it is {now}: set the clock if it is wrong"),
        ),
    };
    Some(Finding { grave, text })
}

/// Connects to `broker` as the agent does, under another client id so that a running agent is not disturbed, and
/// leaves again. If it does not speak the configured MQTT, the other one is tried too. `runtime` is a folder that only
/// the caller may write.
///
/// # Errors
/// [`Failure`] says what is wrong and what to do.
pub async fn probe(
    config: &Config,
    broker: &Broker,
    identity: &DeviceId,
    runtime: &Path,
) -> Result<Probe, Failure> {
    let ask = |protocol| {
        let config = Config { protocol, ..config.clone() };
        Setup { config, identity: identity.clone(), runtime: runtime.to_owned() }
    };
    match probe_once(&ask(config.protocol), broker).await {
        Err(refused @ Failure::ProtocolVersion { ours }) => {
            probe_once(&ask(ours.other()), broker).await.map_err(|_| refused)
        }
        other => other,
    }
}

async fn probe_once(setup: &Setup, broker: &Broker) -> Result<Probe, Failure> {
    let config = &setup.config;
    let client = tls::Files::read(config)?.client(config)?;
    let (link, address) = link::open(config, broker, client).await?;
    let group = link.get_ref().1.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
    let bridge = Bridge::bind(&setup.runtime)?;
    let (sink, mut events) = mpsc::channel(8);
    let who = Who { client_id: &format!("{}-check", setup.identity), passing: true };
    let session = mqtt::session(setup, &who, bridge.path(), sink);
    let client = session.client;
    let answer = async {
        while let Some(event) = events.recv().await {
            if let Heard::Taken(answer) = event {
                // Refused only by a full queue, and this is the first request.
                let _ = client.disconnect();
                return Some(answer);
            }
        }
        None
    };
    let relay = link::relay(link, bridge, config);
    let Taken { receive_maximum, packet_bytes_max, .. } =
        connection::first_answer(answer, session.pump, relay).await?;
    Ok(Probe {
        address,
        key_exchange: group.unwrap_or_default(),
        protocol: config.protocol,
        packet_bytes_max,
        receive_maximum,
    })
}
