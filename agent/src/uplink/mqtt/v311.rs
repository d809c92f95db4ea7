//! MQTT 3.1.1 by rumqttc, for brokers that have no more. A PUBACK has no reason there: that nobody subscribes, or that
//! the car may not publish, cannot be told, and counts as delivered to the broker.

use super::{
    Client, Full, Heard, IN_FLIGHT_MAX, Loop, Message, Options, PACKET_BYTES_MAX, REQUESTS_MAX, Taken,
    document_topics,
};
use crate::uplink::config::Protocol;
use crate::uplink::failure::Failure;
use glovebox_core::names::DeviceId;
use glovebox_core::uplink::packet_bytes_max;
use rumqttc::mqttbytes::v4::{
    ConnectReturnCode, LastWill, Packet, Publish, SubAck, SubscribeFilter, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error as CodecError, QoS};
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, StateError};
use std::time::Duration;

/// The library's limit for flushing one packet, 5 s by default, would end each slow link. Ours is the pump's.
const FLUSH_S: u64 = 3_600;
/// What a broker of MQTT 5 alone answers to MQTT 3.1.1.
const UNSUPPORTED_PROTOCOL_VERSION: u8 = 0x84;

pub(super) struct V311(AsyncClient);
pub(super) struct V311Loop(EventLoop);

pub(super) fn session(ours: &Options<'_>) -> (V311, V311Loop) {
    let mut options = MqttOptions::new(ours.client_id, ours.path, 0);
    options
        .set_transport(rumqttc::Transport::unix())
        .set_keep_alive(ours.keep_alive)
        .set_manual_acks(true)
        .set_clean_session(ours.will.is_none())
        .set_inflight(IN_FLIGHT_MAX)
        // 10 KiB by default, and what is larger would fail again after each connection.
        .set_max_packet_size(PACKET_BYTES_MAX, packet_bytes_max(None));
    if let Some(topic) = &ours.will {
        options.set_last_will(LastWill::new(topic, Vec::new(), QoS::AtLeastOnce, false));
    }
    let (client, mut eventloop) = AsyncClient::new(options, REQUESTS_MAX);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(FLUSH_S);
    eventloop.set_network_options(network);
    (V311(client), V311Loop(eventloop))
}

impl Client for V311 {
    fn publish(&self, topic: String, payload: Vec<u8>) -> Result<(), Full> {
        self.0.try_publish(topic, QoS::AtLeastOnce, false, payload).map_err(|_| Full)
    }

    /// Each SUBSCRIBE brings the retained policy again: where the broker has our subscription there is none.
    fn subscribe(&self, device: &DeviceId, known: bool) -> Result<bool, Full> {
        if known {
            return Ok(false);
        }
        let filters = document_topics(device).map(|topic| SubscribeFilter::new(topic, QoS::AtLeastOnce));
        self.0.try_subscribe_many(filters).map_err(|_| Full)?;
        Ok(true)
    }

    fn acknowledge(&self, packet_id: u16) -> Result<(), Full> {
        let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new());
        publish.pkid = packet_id;
        self.0.try_ack(&publish).map_err(|_| Full)
    }

    fn disconnect(&self) -> Result<(), Full> {
        self.0.try_disconnect().map_err(|_| Full)
    }
}

impl Loop for V311Loop {
    async fn poll(&mut self) -> Result<Heard, Failure> {
        self.0.poll().await.map(heard).map_err(failure)
    }

    fn rest(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.0.state.events).into_iter().map(heard).collect()
    }

    fn forgive_ping(&mut self) {
        self.0.state.await_pingresp = false;
    }

    fn settle_keep_alive(&mut self, ours: Duration) -> Duration {
        ours
    }
}

fn heard(event: Event) -> Heard {
    match event {
        Event::Incoming(Packet::ConnAck(answer)) => Heard::Taken(Taken {
            session_present: answer.session_present,
            receive_maximum: None,
            packet_bytes_max: None,
        }),
        Event::Incoming(Packet::SubAck(answer)) => Heard::Subscribed(refusals(&answer)),
        Event::Incoming(Packet::PubAck(answer)) => Heard::Answered(answer.pkid, None),
        Event::Incoming(Packet::Publish(publish)) => Heard::Message(Message {
            topic: publish.topic.into_bytes(),
            packet_id: publish.pkid,
            payload: publish.payload.to_vec(),
        }),
        Event::Incoming(_) => Heard::Alive,
        Event::Outgoing(rumqttc::Outgoing::Publish(packet_id)) => Heard::Sent(packet_id),
        Event::Outgoing(_) => Heard::Own,
    }
}

fn refusals(answer: &SubAck) -> Vec<Option<String>> {
    let refusal = |code: &SubscribeReasonCode| match code {
        SubscribeReasonCode::Success(_) => None,
        SubscribeReasonCode::Failure => Some("Failure".to_owned()),
    };
    answer.return_codes.iter().map(refusal).collect()
}

fn failure(error: ConnectionError) -> Failure {
    match error {
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            Failure::Silent { seconds: FLUSH_S }
        }
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
            StateError::Deserialization(CodecError::InvalidConnectReturnCode(
                UNSUPPORTED_PROTOCOL_VERSION,
            )) => Failure::ProtocolVersion { ours: Protocol::V311 },
            other => Failure::Protocol { detail: other.to_string() },
        },
    }
}

fn refused(code: ConnectReturnCode) -> Failure {
    use ConnectReturnCode as Code;
    match code {
        Code::NotAuthorized | Code::BadUserNamePassword => {
            Failure::NotAuthorised { code: format!("{code:?}") }
        }
        Code::RefusedProtocolVersion => Failure::ProtocolVersion { ours: Protocol::V311 },
        Code::BadClientId => Failure::ClientId,
        Code::ServiceUnavailable => Failure::Busy { code: format!("{code:?}") },
        Code::Success => Failure::Ended { code: format!("{code:?}") },
    }
}
