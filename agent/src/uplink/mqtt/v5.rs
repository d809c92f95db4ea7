//! MQTT 5 by rumqttc: its options, its packets in our words, and what its errors and reason codes mean.

use super::{
    Client, Full, Heard, IN_FLIGHT_MAX, Loop, Message, Options, PACKET_BYTES_MAX, REQUESTS_MAX, Taken,
    document_topics,
};
use crate::uplink::config::Protocol;
use crate::uplink::failure::Failure;
use glovebox_core::limits::{
    UPLINK_CONNACK_S_MAX, UPLINK_DOCUMENTS_IN_FLIGHT, UPLINK_SESSION_EXPIRY_S, UPLINK_WILL_DELAY_S,
};
use glovebox_core::names::DeviceId;
use glovebox_core::uplink::NotTaken;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, DisconnectReasonCode, Filter, LastWill, LastWillProperties, Packet,
    PubAckReason, Publish, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use std::time::Duration;

pub(super) struct V5(AsyncClient);
pub(super) struct V5Loop(EventLoop);

pub(super) fn session(ours: &Options<'_>) -> (V5, V5Loop) {
    let kept = ours.will.is_some();
    let mut options = MqttOptions::new(ours.client_id, ours.path, 0);
    options
        .set_transport(rumqttc::Transport::unix())
        .set_keep_alive(ours.keep_alive)
        .set_connection_timeout(UPLINK_CONNACK_S_MAX)
        .set_manual_acks(true)
        .set_clean_start(!kept)
        .set_session_expiry_interval(Some(if kept { UPLINK_SESSION_EXPIRY_S } else { 0 }))
        .set_receive_maximum(Some(UPLINK_DOCUMENTS_IN_FLIGHT))
        .set_max_packet_size(u32::try_from(PACKET_BYTES_MAX).ok());
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX);
    if let Some(topic) = &ours.will {
        options.set_last_will(LastWill::new(topic, Vec::new(), QoS::AtLeastOnce, false, Some(delayed())));
    }
    let (client, eventloop) = AsyncClient::new(options, REQUESTS_MAX);
    (V5(client), V5Loop(eventloop))
}

/// Not before the car has had time to come back.
fn delayed() -> LastWillProperties {
    LastWillProperties {
        delay_interval: Some(UPLINK_WILL_DELAY_S),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    }
}

impl Client for V5 {
    fn publish(&self, topic: String, payload: Vec<u8>) -> Result<(), Full> {
        self.0.try_publish(topic, QoS::AtLeastOnce, false, payload).map_err(|_| Full)
    }

    /// On the first connection to a broker after a start the retained policy is sent again even if it knows our
    /// subscription: our own store may have been lost meanwhile.
    fn subscribe(&self, device: &DeviceId, known: bool) -> Result<bool, Full> {
        let rule =
            if known { RetainForwardRule::OnNewSubscribe } else { RetainForwardRule::OnEverySubscribe };
        let filters = document_topics(device).map(|topic| {
            let mut filter = Filter::new(topic, QoS::AtLeastOnce);
            filter.retain_forward_rule = rule.clone();
            filter
        });
        self.0.try_subscribe_many(filters).map_err(|_| Full)?;
        Ok(true)
    }

    fn acknowledge(&self, packet_id: u16) -> Result<(), Full> {
        let publish = Publish { pkid: packet_id, qos: QoS::AtLeastOnce, ..Publish::default() };
        self.0.try_ack(&publish).map_err(|_| Full)
    }

    fn disconnect(&self) -> Result<(), Full> {
        self.0.try_disconnect().map_err(|_| Full)
    }
}

impl Loop for V5Loop {
    async fn poll(&mut self) -> Result<Heard, Failure> {
        self.0.poll().await.map(heard).map_err(failure)
    }

    fn rest(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.0.state.events).into_iter().map(heard).collect()
    }

    fn forgive_ping(&mut self) {
        self.0.state.await_pingresp = false;
    }

    /// The library has taken over the broker's wish: 0 would have it ping without a pause, and a longer one would have
    /// us notice later that the link is gone.
    fn settle_keep_alive(&mut self, ours: Duration) -> Duration {
        let wish = self.0.options.keep_alive();
        if wish.is_zero() || wish > ours {
            self.0.options.set_keep_alive(ours);
            return ours;
        }
        wish
    }
}

fn heard(event: Event) -> Heard {
    match event {
        Event::Incoming(Packet::ConnAck(answer)) => Heard::Taken(taken(&answer)),
        Event::Incoming(Packet::SubAck(answer)) => Heard::Subscribed(refusals(&answer)),
        Event::Incoming(Packet::PubAck(answer)) => {
            Heard::Answered(answer.pkid, NotTaken::from_code(code(answer.reason)))
        }
        Event::Incoming(Packet::Publish(publish)) => Heard::Message(Message {
            topic: publish.topic.to_vec(),
            packet_id: publish.pkid,
            payload: publish.payload.to_vec(),
        }),
        Event::Incoming(_) => Heard::Alive,
        Event::Outgoing(rumqttc::Outgoing::Publish(packet_id)) => Heard::Sent(packet_id),
        Event::Outgoing(_) => Heard::Own,
    }
}

fn taken(answer: &ConnAck) -> Taken {
    let properties = answer.properties.as_ref();
    Taken {
        session_present: answer.session_present,
        receive_maximum: properties.and_then(|all| all.receive_max),
        packet_bytes_max: properties.and_then(|all| all.max_packet_size),
    }
}

fn refusals(answer: &SubAck) -> Vec<Option<String>> {
    let refusal = |code: &SubscribeReasonCode| match code {
        SubscribeReasonCode::Success(_) => None,
        other => Some(format!("{other:?}")),
    };
    answer.return_codes.iter().map(refusal).collect()
}

fn failure(error: ConnectionError) -> Failure {
    match error {
        // The pump's own limit is the same.
        ConnectionError::Timeout(_) => Failure::Silent { seconds: UPLINK_CONNACK_S_MAX },
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
            StateError::AwaitPingResp => Failure::NoPong,
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
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => {
            Failure::ProtocolVersion { ours: Protocol::V5 }
        }
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
fn code(reason: PubAckReason) -> u8 {
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
