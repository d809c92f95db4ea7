//! Why there is no connection: each with what to do about it. Nothing here names more than hosts, addresses, files,
//! dates and codes.

use super::config::Protocol;
use glovebox_core::names::WallTime;
use glovebox_core::uplink::Disorder;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a connection could not be made, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A file of ours.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The name of the broker has no address.
    #[error(
        "cannot resolve broker name `{host}`: {detail}; check `broker` in [uplink] and the network's DNS"
    )]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's words.
        detail: String,
    },
    /// Nobody listens there.
    #[error("broker {address} refused the TCP connection: is it running, and is the port right?")]
    Refused {
        /// The last address that was tried.
        address: SocketAddr,
    },
    /// No way there.
    #[error("cannot reach broker {address}: {detail}; check the network and its firewall")]
    Unreachable {
        /// The last address that was tried.
        address: SocketAddr,
        /// The kernel's words.
        detail: String,
    },
    /// Something took longer than it may.
    #[error("{step} took longer than {ms} ms; {advice}")]
    TimedOut {
        /// What was waited for.
        step: &'static str,
        /// The limit.
        ms: u64,
        /// What to do.
        advice: &'static str,
    },
    /// What answers there is not TLS.
    #[error(
        "{address} does not speak TLS ({detail}): is it the broker's TLS port (often 8883), not the plain one (1883)?"
    )]
    NotTls {
        /// Where.
        address: SocketAddr,
        /// What was seen.
        detail: String,
    },
    /// The broker has no TLS 1.3 in common with us.
    #[error("the broker does not offer TLS 1.3 as we do ({detail}): enable TLS 1.3 there")]
    TlsVersion {
        /// What was seen.
        detail: String,
    },
    /// The certificate is for somebody else.
    #[error(
        "the broker's certificate is not for `{expected}` but for {presented}: correct `broker` in [uplink], or the certificate's subject alternative names"
    )]
    ServerName {
        /// The name in the configuration.
        expected: String,
        /// The names in the certificate.
        presented: String,
    },
    /// The certificate has expired.
    #[error(
        "the broker's certificate expired at {not_after}, and it is {now} by this clock: renew it, or set the clock if it is wrong"
    )]
    ServerExpired {
        /// Its end.
        not_after: WallTime,
        /// Our time.
        now: WallTime,
    },
    /// The certificate is not valid yet.
    #[error(
        "the broker's certificate is valid only from {not_before}, and it is {now} by this clock: set the clock if it is wrong"
    )]
    ServerNotYetValid {
        /// Its begin.
        not_before: WallTime,
        /// Our time.
        now: WallTime,
    },
    /// Not signed by a certificate authority in `ca`.
    #[error("the broker's certificate is not signed by an authority in {}: put the broker's authority into `ca` of [uplink]", ca.display())]
    ServerAuthority {
        /// The file.
        ca: PathBuf,
    },
    /// Another fault in the certificate.
    #[error("the broker's certificate is not acceptable: {detail}; renew it")]
    ServerCertificate {
        /// The verifier's words.
        detail: String,
    },
    /// The broker refused our certificate.
    #[error("the broker refused our certificate {} with the TLS alert {alert}: {advice}", cert.display())]
    ClientCertificate {
        /// Our file.
        cert: PathBuf,
        /// The alert (RFC 8446, section 6.2).
        alert: String,
        /// What to do.
        advice: &'static str,
    },
    /// Another fault in TLS.
    #[error("TLS with the broker failed: {detail}; see the broker's log")]
    Tls {
        /// rustls's words.
        detail: String,
    },
    /// CONNACK or DISCONNECT says that we may not.
    #[error(
        "the broker does not authorise this car ({code}): check its access list (also for the last will, `…/gone`) and the name in our certificate"
    )]
    NotAuthorised {
        /// The reason code in words.
        code: String,
    },
    /// The broker speaks another MQTT.
    #[error("the broker does not speak MQTT {ours}: set `protocol = \"{}\"` in [uplink], or upgrade the broker", ours.other())]
    ProtocolVersion {
        /// What we spoke.
        ours: Protocol,
    },
    /// The broker does not like our client id, which is the device id.
    #[error("the broker refused the client id (the device id): check its rules for client ids")]
    ClientId,
    /// The broker has no room now.
    #[error("the broker is busy ({code}); the next attempt is by itself")]
    Busy {
        /// The reason code in words.
        code: String,
    },
    /// Somebody else uses our client id.
    #[error(
        "another connection took over our client id: two agents with one device id, or a copied certificate?"
    )]
    TakenOver,
    /// The broker ended the connection with another reason.
    #[error("the broker ended the connection: {code}")]
    Ended {
        /// The reason code in words.
        code: String,
    },
    /// The broker closed before it answered CONNECT.
    #[error(
        "the broker closed the connection before it answered CONNECT: its log says why; often it refused the certificate or the client id"
    )]
    ClosedEarly,
    /// The broker closed without a reason.
    #[error("the broker closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {detail}")]
    Broken {
        /// The kernel's words.
        detail: String,
    },
    /// The broker does not answer any more.
    #[error("the broker has not answered for {seconds} s; the connection is given up")]
    Silent {
        /// For how long.
        seconds: u64,
    },
    /// The broker does not answer our pings.
    #[error("the broker answered no ping for a whole keep-alive; the connection is given up")]
    NoPong,
    /// The broker sent what is not MQTT, or not in order.
    #[error("the broker does not keep to MQTT: {detail}")]
    Protocol {
        /// What it did.
        detail: String,
    },
    /// The book-keeping does not fit what happened.
    #[error("connection given up, its packet ids are in disorder: {0}")]
    Disorder(#[from] Disorder),
    /// Something on this machine.
    #[error("cannot join TLS and MQTT inside this machine: {detail}")]
    Local {
        /// What.
        detail: String,
    },
    /// Cut off on command.
    #[error("cut off as told")]
    Cut,
    /// Ended on command.
    #[error("disconnected as told")]
    Told,
    /// Left in order, to come back at once.
    #[error("disconnected in order: {0}")]
    Rebuilt(Reason),
}

/// Why a connection that works is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Certificate, key or authorities have changed, and work.
    #[error("certificate, key or authorities were renewed")]
    Renewed,
    /// The first broker of the list answers again.
    #[error("the first broker of the list answers again")]
    FirstAgain,
}

impl Failure {
    /// Whether other files might help: certificate, key or authorities. A broker that goes without a word may mean them.
    #[must_use]
    pub fn blames_files(&self) -> bool {
        matches!(
            self,
            Self::File(_)
                | Self::ServerAuthority { .. }
                | Self::ServerCertificate { .. }
                | Self::ClientCertificate { .. }
                | Self::Tls { .. }
                | Self::NotAuthorised { .. }
                | Self::ClientId
                | Self::ClosedEarly
                | Self::Closed
                | Self::Broken { .. }
        )
    }
}

/// What is wrong with a file of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// Cannot be read.
    #[error("cannot read {what} {}: {detail}", path.display())]
    Unreadable {
        /// Which.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The kernel's words.
        detail: String,
    },
    /// Too large to be what it should be.
    #[error("{what} {} has {bytes} bytes, at most {max} are read: is it the right file?", path.display())]
    TooLarge {
        /// Which.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Not PEM, or without what it should hold.
    #[error("{what} {} is not usable PEM: {detail}", path.display())]
    NotPem {
        /// Which.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The certificate in it is not one that TLS can use.
    #[error("{what} {} holds a certificate that cannot be used: {detail}", path.display())]
    Certificate {
        /// Which.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The key can be read by others.
    #[error("key {} can be read by others (mode {mode:04o}): `chmod 600` it", path.display())]
    Mode {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A credential that others may read, or that others have put there.
    #[error("credential {} is not as systemd leaves it (mode {mode:04o}, user {user}): it must belong to root or to the agent's user, and nobody else may read or write it", path.display())]
    Credential {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        user: u32,
    },
    /// Renewed files that a check finds unusable, in its words.
    #[error("{0}")]
    Unfit(String),
    /// The key is another certificate's.
    #[error("key {} does not belong to certificate {}: take the key that it was requested with", key.display(), cert.display())]
    Mismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        cert: PathBuf,
    },
}
