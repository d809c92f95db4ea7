//! `[uplink]`: brokers in order, certificates from files or systemd credentials, limits of the network.

use std::path::PathBuf;

use glovebox_core::limits;

use super::fault::FaultKind;
use super::reader::{Collector, Read, Reader};
use super::sections::Seen;
use super::source::{Table, Value};
use crate::uplink::config::{Broker, Config, Protocol, Source, credential_name};

/// Half a minute: a link that is gone is noticed within twice that.
const KEEP_ALIVE_S_DEFAULT: u64 = 30;
const BROKER_EXAMPLE: &str = "broker = \"broker.example:8883\"";
const CREDENTIAL: &str = "credential:";
const CREDENTIAL_EXAMPLE: &str = "\"credential:car.key\"";

pub(super) fn read(root: &Table, to: &mut Collector) -> Read<Config> {
    let reader = Reader::section(root, "uplink", to);
    let brokers = read_brokers(&reader, to);
    let protocol = reader.parsed("protocol", "protocol = \"5\"", to, Protocol::new);
    let ca = read_source(&reader, "ca", "ca = \"ca.crt\"", to);
    let cert = read_source(&reader, "cert", "cert = \"car.crt\"", to);
    let key = read_source(&reader, "key", "key = \"car.key\"", to);
    let times = u64::from(limits::UPLINK_KEEP_ALIVE_S_MIN)..=u64::from(limits::UPLINK_KEEP_ALIVE_S_MAX);
    let keep_alive_s = reader.number("keep_alive_s", times, KEEP_ALIVE_S_DEFAULT, to);
    let rate_kbit_s = read_rate(&reader, to);
    let times = u64::from(limits::UPLINK_RETURN_S_MIN)..=u64::from(limits::UPLINK_RETURN_S_MAX);
    let return_s = reader.number("return_s", times, limits::UPLINK_RETURN_S_DEFAULT.into(), to);
    Ok(Config {
        brokers: brokers?,
        protocol: protocol?.unwrap_or(Protocol::V5),
        ca: ca?,
        cert: cert?,
        key: key?,
        keep_alive_s: u16::try_from(keep_alive_s?).unwrap_or(limits::UPLINK_KEEP_ALIVE_S_MAX),
        rate_kbit_s: rate_kbit_s?,
        return_s: u32::try_from(return_s?).unwrap_or(limits::UPLINK_RETURN_S_MAX),
    })
}

/// None if nothing is said.
fn read_rate(reader: &Reader<'_>, to: &mut Collector) -> Read<Option<u32>> {
    if reader.get("rate_kbit_s").is_none() {
        return Ok(None);
    }
    let rates = u64::from(limits::UPLINK_RATE_KBIT_S_MIN)..=u64::from(limits::UPLINK_RATE_KBIT_S_MAX);
    reader.number("rate_kbit_s", rates, 0, to).map(|rate| u32::try_from(rate).ok())
}

/// One text, or a list in the order in which they are tried.
fn read_brokers(reader: &Reader<'_>, to: &mut Collector) -> Read<Vec<Broker>> {
    let Some(item) = reader.get("broker") else {
        return Err(reader.missing("broker", BROKER_EXAMPLE, to));
    };
    let texts = match &item.value {
        Value::Text(text) => vec![(text.as_str(), item.place.clone())],
        Value::List(_) => reader.texts("broker", to)?,
        _ => return Err(reader.wrong("broker", item, "a text in quotes, or a list of them", to)),
    };
    let range = 1..=limits::UPLINK_BROKERS_MAX;
    if !range.contains(&texts.len()) {
        return Err(reader.outside("broker", format!("a list of {}", texts.len()), &range, to));
    }
    let mut seen = Seen::new("remove one of them");
    let mut told = None;
    let mut brokers = Vec::new();
    for (text, place) in texts {
        let broker = broker_address(text).map_err(|why| {
            to.tell(&place, FaultKind::Malformed { key: reader.name("broker"), why, example: BROKER_EXAMPLE })
        });
        match broker.and_then(|broker| seen.once_at(reader, "broker", (text, &place), to).map(|()| broker)) {
            Ok(broker) => brokers.push(broker),
            Err(error) => told = Some(error),
        }
    }
    told.map_or(Ok(brokers), Err)
}

/// A URL is refused without being shown: it may hold a password.
fn broker_address(text: &str) -> Result<Broker, String> {
    if text.contains("://") || text.contains('@') {
        return Err("a URL is not taken here, and no user or password: mutual TLS is the login".to_owned());
    }
    Broker::new(text).map_err(|error| error.to_string())
}

/// A file, or `credential:NAME`.
fn read_source(reader: &Reader<'_>, key: &str, example: &'static str, to: &mut Collector) -> Read<Source> {
    let Some(Value::Text(text)) = reader.get(key).map(|item| &item.value) else {
        return reader.needed_file(key, example, to).map(Source::file);
    };
    let Some(name) = text.strip_prefix(CREDENTIAL) else {
        return reader.needed_file(key, example, to).map(Source::file);
    };
    if let Err(why) = credential_name(name) {
        let kind = FaultKind::Malformed { key: reader.name(key), why, example: CREDENTIAL_EXAMPLE };
        return Err(to.tell(&reader.place(key), kind));
    }
    match std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) {
        Some(folder) if folder.is_absolute() => {
            let source = Source::credential(&folder, name);
            reader.exists(key, source.path().to_owned(), &reader.place(key), to).map(|_| source)
        }
        // Whoever does not read the files, `glovebox status`, say, has no credentials either.
        _ if !to.needs_files() => Ok(Source::credential(&PathBuf::new(), name)),
        _ => {
            let kind = FaultKind::NoCredentials { key: reader.name(key), name: name.to_owned() };
            Err(to.tell(&reader.place(key), kind))
        }
    }
}
