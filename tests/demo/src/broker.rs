//! The embedded broker, rumqttd, and its only user. It listens in the clear on a port of 127.0.0.1, and takes only who
//! knows a password that is drawn at each start and that only the door has; see `door`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context as _, Result};
use rumqttd::local::LinkRx;
use rumqttd::{Config, ConnectionSettings, Notification, RouterConfig, ServerSettings};

/// The user that the door comes as.
pub(crate) const USER: &str = "door";
/// The largest envelope with its topic.
const PACKET_BYTES_MAX: usize = 300 * 1024;

/// What the broker passed on: all that it can know of a message.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

/// Starts the broker on `port`. It has no way to be stopped: it ends with the process.
///
/// What comes back is a subscriber to `#` inside the broker.
pub(crate) fn start(port: u16, password: &str) -> Result<Receiver<Seen>> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut broker = rumqttd::Broker::new(config(listen, password));
    let (mut ask, answers) = broker.link("watcher").context("the broker takes no watcher")?;
    ask.subscribe("#").context("the broker takes no subscription")?;
    let (sender, seen) = channel();
    std::thread::Builder::new().name("watcher".to_owned()).spawn(move || {
        // Kept: without its other end the link is closed.
        let _ask = ask;
        watch(answers, &sender);
    })?;
    std::thread::Builder::new().name("broker".to_owned()).spawn(move || {
        // Returns only on a broken configuration; then nobody gets in, which is noticed.
        let _ended = broker.start();
    })?;
    Ok(seen)
}

fn config(listen: SocketAddr, password: &str) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: PACKET_BYTES_MAX,
        max_inflight_count: 100,
        auth: Some(HashMap::from([(USER.to_owned(), password.to_owned())])),
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "broker".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = RouterConfig {
        max_connections: 16,
        max_outgoing_packet_count: 200,
        max_segment_size: 16 * 1024 * 1024,
        max_segment_count: 8,
        ..RouterConfig::default()
    };
    Config { router, v5: Some(HashMap::from([("1".to_owned(), server)])), ..Config::default() }
}

fn watch(mut answers: LinkRx, sender: &Sender<Seen>) {
    loop {
        match answers.recv() {
            Ok(Some(Notification::Forward(forward))) => {
                let topic = String::from_utf8_lossy(&forward.publish.topic).into_owned();
                let seen = Seen { topic, payload: forward.publish.payload.to_vec() };
                if sender.send(seen).is_err() {
                    return;
                }
            }
            // The broker pauses a subscriber that is behind until it says that it is ready again.
            Ok(Some(Notification::Unschedule)) => {
                if answers.ready().is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
