//! Certificate, key and authorities; and with `--online` what each broker says to them.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use super::{Finding, Level};
use crate::clock::{Clock, Time as _};
use crate::config::Config;
use crate::uplink::{self, Broker, Failure, Protocol};

const STAGE: &str = "uplink";

/// The stage's own words say what to do.
pub(super) fn files(config: &Config) -> Vec<Finding> {
    let findings = uplink::check_files(&config.uplink, Clock::new().now());
    if findings.is_empty() {
        let until = uplink::certificate_until(&config.uplink);
        let until = until.map_or_else(String::new, |until| format!(", the certificate until {until}"));
        let what = format!("authority, certificate and key fit together and are in date{until}");
        return vec![Finding::ok(STAGE, what)];
    }
    let finding = |found: uplink::Finding| {
        let level = if found.grave { Level::Fail } else { Level::Warn };
        Finding { level, stage: STAGE, what: found.text, mend: None }
    };
    findings.into_iter().map(finding).collect()
}

/// Connects to each broker as the agent would, under another client id, and leaves again.
pub(super) fn online(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = Private::new()?;
    let each = |broker: &Broker| runtime.block_on(ask(config, broker, &folder));
    Ok(config.uplink.brokers.iter().map(each).collect())
}

async fn ask(config: &Config, broker: &Broker, folder: &Private) -> Finding {
    let device = &config.consent.device;
    let probe = match uplink::probe(&config.uplink, broker, device, &folder.0).await {
        Ok(probe) => probe,
        Err(failure) => return refused(broker, &failure),
    };
    let uplink::Probe { address, key_exchange, protocol, .. } = &probe;
    let mut what = format!("broker {broker} ({address}): TLS 1.3 with {key_exchange}, MQTT {protocol}");
    if let Some(bytes) = probe.packet_bytes_max {
        what.push_str(&format!(", packets to {bytes} bytes"));
    }
    if let Some(messages) = probe.receive_maximum {
        what.push_str(&format!(", {messages} in flight"));
    }
    let configured = config.uplink.protocol;
    if *protocol != configured {
        return Finding::fail(
            STAGE,
            format!("{what}, and not MQTT {configured}"),
            format!("set `protocol = \"{protocol}\"` in [uplink]"),
        );
    }
    if configured == Protocol::V311 {
        let newer = uplink::Config { protocol: Protocol::V5, ..config.uplink.clone() };
        let newer = uplink::probe(&newer, broker, device, &folder.0).await;
        if newer.is_ok_and(|probe| probe.protocol == Protocol::V5) {
            let mend =
                "leave `protocol` out of [uplink]: MQTT 5 says when a batch is refused or nobody subscribes";
            return Finding::warn(STAGE, format!("{what}, and MQTT 5 as well"), mend);
        }
    }
    Finding::ok(STAGE, what)
}

/// Without a network the agent runs, and collects.
fn refused(broker: &Broker, failure: &Failure) -> Finding {
    let passing = matches!(
        failure,
        Failure::Resolve { .. }
            | Failure::Refused { .. }
            | Failure::Unreachable { .. }
            | Failure::TimedOut { .. }
            | Failure::Busy { .. }
    );
    let level = if passing { Level::Warn } else { Level::Fail };
    Finding { level, stage: STAGE, what: format!("broker {broker}: {failure}"), mend: None }
}

/// A folder that nobody else may enter, for as long as the check lasts.
struct Private(PathBuf);

impl Private {
    fn new() -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("glovebox-check-{}", std::process::id()));
        // What lies there already is not ours: then it fails.
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
