//! One MQTT 5 session: a fresh client and event loop, QoS 1, acknowledged by hand after output.

use std::time::Duration;

use anyhow::Context as _;
use rumqttc::Transport;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Filter, Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::relay::{Relay, Target};
use super::{refused, say};

/// Messages that the broker may have under way to us, unacknowledged.
const RECEIVE_MAX: u16 = 64;
/// Messages that wait for their turn; the socket waits behind them.
const CHANNEL: usize = 2 * RECEIVE_MAX as usize;
/// Room for an acknowledgement of every packet id: whoever acknowledges never waits for the poller, which waits for it.
/// [`RECEIVE_MAX`] alone does not bound them: Mosquitto 2.0.11 sends a resumed session all at once (447 were seen).
const ACKNOWLEDGEMENTS: usize = 1 << 16;
/// The largest envelope, its topic and properties.
const PACKET_BYTES_MAX: u32 = 256 * 1024 + 4 * 1024;
/// How long the broker keeps what comes while we are away.
const SESSION_EXPIRY_S: u32 = 7 * 24 * 3600;

/// What a session needs to know.
pub(super) struct Settings {
    pub(super) target: Target,
    pub(super) client_id: String,
    /// What is subscribed to: batches, and notices.
    pub(super) filters: [String; 2],
    pub(super) keep_alive: Duration,
    /// The broker keeps the session while we are away.
    pub(super) is_lasting: bool,
}

/// A session that is subscribed, or about to be.
pub(super) struct Session {
    client: AsyncClient,
    messages: Receiver<Publish>,
    poller: JoinHandle<anyhow::Result<()>>,
    relay: Relay,
}

impl Session {
    /// Connects and asks for the subscriptions.
    pub(super) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let relay = Relay::open(&settings.target).await?;
        let socket = relay.socket().to_str().context("the temporary folder's name is not UTF-8")?.to_owned();
        let mut options = MqttOptions::new(&settings.client_id, socket, 0);
        options
            .set_transport(Transport::Unix)
            .set_keep_alive(settings.keep_alive)
            .set_clean_start(false)
            .set_session_expiry_interval(settings.is_lasting.then_some(SESSION_EXPIRY_S))
            .set_receive_maximum(Some(RECEIVE_MAX))
            .set_max_packet_size(Some(PACKET_BYTES_MAX))
            .set_outgoing_inflight_upper_limit(RECEIVE_MAX)
            .set_manual_acks(true);
        let (client, eventloop) = AsyncClient::new(options, ACKNOWLEDGEMENTS);
        let filter = |topic: &String| Filter::new(topic.as_str(), QoS::AtLeastOnce);
        client.subscribe_many(settings.filters.iter().map(filter)).await?;
        let (sender, messages) = mpsc::channel(CHANNEL);
        let poller = tokio::spawn(poll(eventloop, sender, settings.keep_alive, settings.filters.clone()));
        Ok(Self { client, messages, poller, relay })
    }

    /// The next messages, as many as are there, at least one; none when the session is over.
    pub(super) async fn next(&mut self) -> Vec<Publish> {
        let mut group = Vec::new();
        self.messages.recv_many(&mut group, RECEIVE_MAX.into()).await;
        group
    }

    /// Lets the broker forget a message.
    pub(super) async fn acknowledge(&self, message: &Publish) -> anyhow::Result<()> {
        self.client.ack(message).await.context("the session is over")
    }

    /// Why the session is over.
    pub(super) async fn reason(mut self) -> anyhow::Error {
        let error = match self.poller.await {
            Ok(Ok(())) => anyhow::anyhow!("the broker ended the session"),
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        };
        match self.relay.last_word().await {
            Some(word) => error.context(word.to_string()),
            None => error,
        }
    }

    /// Says goodbye behind the acknowledgements, and waits until the relay has passed both on.
    pub(super) async fn close(mut self) {
        let _ = self.client.try_disconnect();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.poller).await;
        self.relay.last_word().await;
    }
}

/// Polls until an error. Silence of two keep-alives is one: the client itself would wait for ever.
async fn poll(
    mut eventloop: EventLoop,
    sender: Sender<Publish>,
    keep_alive: Duration,
    filters: [String; 2],
) -> anyhow::Result<()> {
    let mut heard = Instant::now();
    loop {
        let event = timeout_at(heard + 2 * keep_alive, eventloop.poll()).await;
        let packet = match event.context("the broker has been silent for two keep-alives")?? {
            Event::Incoming(packet) => packet,
            Event::Outgoing(rumqttc::Outgoing::Disconnect) => return Ok(()),
            Event::Outgoing(_) => {
                let is_late = heard.elapsed() >= 2 * keep_alive;
                anyhow::ensure!(!is_late, "the broker has been silent for two keep-alives");
                continue;
            }
        };
        heard = Instant::now();
        match packet {
            Packet::ConnAck(answer) if answer.code != ConnectReturnCode::Success => {
                anyhow::bail!("the broker refused the connection: {:?}", answer.code);
            }
            Packet::SubAck(answer) => subscribed(&answer.return_codes, &filters)?,
            Packet::Disconnect(goodbye) => {
                anyhow::bail!("the broker disconnected: {:?}", goodbye.reason_code)
            }
            Packet::Publish(message) => sender.send(message).await?,
            _ => {}
        }
    }
}

fn subscribed(codes: &[SubscribeReasonCode], filters: &[String]) -> anyhow::Result<()> {
    let is_taken = |code: &SubscribeReasonCode| {
        matches!(code, SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce))
    };
    let filters = filters.join(" and ");
    if codes.len() == 2 && codes.iter().all(is_taken) {
        say(&format!("glovebox-recipient: subscribed to {filters}"));
        return Ok(());
    }
    Err(refused(format!(
        "the broker refused the subscription to {filters}: {codes:?}; its access list must let this certificate read \
         those topics at QoS 1"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_subscription_ends_the_program() {
        // Mosquitto's access list lets anybody subscribe and then delivers nothing; other brokers say no.
        let filters = ["batch", "notice"].map(|kind| format!("glovebox/v1/acme/+/{kind}"));
        let taken = SubscribeReasonCode::Success(QoS::AtLeastOnce);
        assert!(subscribed(&[taken, taken], &filters).is_ok());
        for codes in [
            [taken, SubscribeReasonCode::NotAuthorized].as_slice(),
            &[SubscribeReasonCode::Success(QoS::AtMostOnce), taken],
            &[taken],
            &[],
        ] {
            let error = subscribed(codes, &filters).err();
            let error = error.and_then(|error| error.downcast::<crate::command::Refused>().ok());
            assert!(error.is_some_and(|error| {
                error.0.contains(
                    "refused the subscription to glovebox/v1/acme/+/batch and glovebox/v1/acme/+/notice",
                )
            }));
        }
    }
}
