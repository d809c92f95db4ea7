//! The MQTT client library, rumqttc, as we use it: one client and one event loop a connection, over a unix socket,
//! and what its errors mean. Why so: `agent/decisions/0004-mqtt-over-our-own-tls.md`.

use super::Setup;
use super::failure::Failure;
use glovebox_core::limits::{
    DOCUMENT_BYTES_MAX, UPLINK_CONNACK_S_MAX, UPLINK_DOCUMENTS_IN_FLIGHT, UPLINK_KEEP_ALIVE_S_MIN,
    UPLINK_SESSION_EXPIRY_S, UPLINK_TOPIC_BYTES_MAX, UPLINK_WINDOW_MESSAGES,
};
use glovebox_core::uplink::DocumentTopic;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Filter, Packet, PubAckReason, RetainForwardRule,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Requests to the client library that may wait: the window, acknowledgements, SUBSCRIBE, DISCONNECT.
const REQUESTS_MAX: usize = UPLINK_WINDOW_MESSAGES + UPLINK_DOCUMENTS_IN_FLIGHT as usize * 2 + 4;

/// Lets the broker forget a document that came down.
#[derive(Debug)]
pub struct Receipt {
    acks: Option<(mpsc::Sender<u16>, u16)>,
}

impl Receipt {
    pub(super) fn new(acks: mpsc::Sender<u16>, packet_id: u16) -> Self {
        Self { acks: (packet_id != 0).then_some((acks, packet_id)) }
    }

    /// Of a document that nobody waits to be acknowledged.
    #[must_use]
    pub fn unneeded() -> Self {
        Self { acks: None }
    }

    /// The document is stored, or refused for good. Without this, and if the connection has ended meanwhile, the
    /// broker brings it again.
    pub fn acknowledge(self) {
        if let Some((acks, packet_id)) = self.acks {
            // The connection may be gone: then the broker brings the document again, which is right.
            let _ = acks.try_send(packet_id);
        }
    }
}

/// A client whose event loop will come to the socket at `path`.
pub(super) fn client(setup: &Setup, client_id: &str, path: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(client_id, path, 0);
    options
        .set_transport(rumqttc::Transport::unix())
        .set_keep_alive(keep_alive(setup))
        .set_connection_timeout(UPLINK_CONNACK_S_MAX)
        .set_manual_acks(true)
        .set_clean_start(false)
        .set_session_expiry_interval(Some(UPLINK_SESSION_EXPIRY_S))
        .set_receive_maximum(Some(UPLINK_DOCUMENTS_IN_FLIGHT))
        .set_max_packet_size(u32::try_from(DOCUMENT_BYTES_MAX + UPLINK_TOPIC_BYTES_MAX + 1_024).ok());
    // One more than the window: a full table would stop it from reading acknowledgements among its requests.
    options.set_outgoing_inflight_upper_limit(u16::try_from(UPLINK_WINDOW_MESSAGES + 1).unwrap_or(u16::MAX));
    AsyncClient::new(options, REQUESTS_MAX)
}

/// A clean session that leaves nothing behind, for a probe.
pub(super) fn passing(eventloop: &mut EventLoop) {
    eventloop.options.set_clean_start(true).set_session_expiry_interval(Some(0));
}

fn keep_alive(setup: &Setup) -> Duration {
    Duration::from_secs(setup.config.keep_alive_s.max(UPLINK_KEEP_ALIVE_S_MIN).into())
}

/// The two topics. On the first connection after a start the retained policy is sent again even if the broker
/// knows our subscription: our own store may have been lost meanwhile.
pub(super) fn filters(setup: &Setup, first: bool) -> Vec<Filter> {
    let rule = if first { RetainForwardRule::OnEverySubscribe } else { RetainForwardRule::OnNewSubscribe };
    let filter = |topic: DocumentTopic| {
        let mut filter = Filter::new(topic.topic(&setup.identity), QoS::AtLeastOnce);
        filter.retain_forward_rule = rule.clone();
        filter
    };
    DocumentTopic::ALL.into_iter().map(filter).collect()
}

/// Polls until the connection ends. What the library had read before an error is still told.
pub(super) async fn pump(mut eventloop: EventLoop, setup: &Setup, out: mpsc::Sender<Event>) -> Failure {
    let mut watchdog = 2 * keep_alive(setup);
    loop {
        let event = match timeout(watchdog, eventloop.poll()).await {
            Err(_) => return Failure::Silent { seconds: watchdog.as_secs() },
            Ok(Ok(event)) => event,
            Ok(Err(error)) => {
                for event in std::mem::take(&mut eventloop.state.events) {
                    if out.send(event).await.is_err() {
                        break;
                    }
                }
                return failure(error, setup);
            }
        };
        if matches!(event, Event::Incoming(Packet::ConnAck(_))) {
            // The library has taken over the broker's wish: 0 would have it ping without a pause, and a longer
            // one would have us notice later that the link is gone.
            let wish = eventloop.options.keep_alive();
            watchdog = 2 * wish.max(keep_alive(setup));
            if wish.is_zero() || wish > keep_alive(setup) {
                eventloop.options.set_keep_alive(keep_alive(setup));
            }
        }
        if out.send(event).await.is_err() {
            return Failure::Told;
        }
    }
}

fn failure(error: ConnectionError, setup: &Setup) -> Failure {
    match error {
        ConnectionError::Timeout(_) => Failure::TimedOut {
            step: "the broker's answer to CONNECT",
            ms: UPLINK_CONNACK_S_MAX * 1_000,
            advice: "see the broker's log and load",
        },
        ConnectionError::Io(error) => Failure::Broken { detail: error.to_string() },
        ConnectionError::ConnectionRefused(code) => refused(code),
        ConnectionError::NotConnAck(_) => {
            Failure::Protocol { detail: "CONNECT was not answered by CONNACK".to_owned() }
        }
        ConnectionError::RequestsDone => Failure::Told,
        ConnectionError::MqttState(error) => match error {
            StateError::ConnectionAborted => Failure::Closed,
            StateError::Io(error) | StateError::Deserialization(CodecError::Io(error)) => {
                Failure::Broken { detail: error.to_string() }
            }
            StateError::AwaitPingResp => Failure::Silent { seconds: keep_alive(setup).as_secs() },
            StateError::ServerDisconnect { reason_code, .. } => disconnected(reason_code),
            other => Failure::Protocol { detail: other.to_string() },
        },
    }
}

fn refused(code: ConnectReturnCode) -> Failure {
    use ConnectReturnCode as Code;
    match code {
        Code::NotAuthorized | Code::BadUserNamePassword | Code::BadAuthenticationMethod | Code::Banned => {
            Failure::NotAuthorised { code: format!("{code:?}") }
        }
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => Failure::ProtocolVersion,
        Code::ClientIdentifierNotValid | Code::BadClientId => Failure::ClientId,
        Code::ServerUnavailable
        | Code::ServiceUnavailable
        | Code::ServerBusy
        | Code::QuotaExceeded
        | Code::ConnectionRateExceeded => Failure::Busy { code: format!("{code:?}") },
        other => Failure::Ended { code: format!("{other:?}") },
    }
}

fn disconnected(code: DisconnectReasonCode) -> Failure {
    use DisconnectReasonCode as Code;
    match code {
        Code::NotAuthorized => Failure::NotAuthorised { code: format!("{code:?}") },
        Code::SessionTakenOver => Failure::TakenOver,
        Code::ServerBusy
        | Code::ServerShuttingDown
        | Code::MessageRateTooHigh
        | Code::QuotaExceeded
        | Code::ConnectionRateExceeded => Failure::Busy { code: format!("{code:?}") },
        other => Failure::Ended { code: format!("{other:?}") },
    }
}

/// The reason code of a PUBACK (MQTT 5, table 3-4).
pub(super) fn code(reason: PubAckReason) -> u8 {
    match reason {
        PubAckReason::Success => 0x00,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    }
}
