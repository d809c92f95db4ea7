//! `glovebox status`: what a running daemon says of itself.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use glovebox_core::limits::CERTIFICATE_WARN_US;
use glovebox_core::names::WallTime;

use super::out::Paint;
use super::{Common, FINDINGS};
use crate::clock::{Clock, Time as _};
use crate::config::Files;
use crate::control::{Authority as _, Consent, ControlClient, Waits};
use crate::health::{BusStatus, FlowStatus, LinkState, LinkStatus, QueueStatus, Status};

/// Shows what the running daemon does: connection, flows, queue, counters.
///
/// Exit codes: 0 it answered, 1 no daemon runs or it refused, 2 the configuration is unusable.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The daemon's own answer, one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let config = common.load(Files::NotNeeded)?;
    let socket = &config.health.control_socket;
    let Some(mut client) = ControlClient::connect(socket)? else {
        let shown = socket.display();
        writeln!(
            std::io::stderr(),
            "glovebox: no daemon listens on {shown}: start it with `glovebox run` or `systemctl start glovebox`"
        )?;
        return Ok(ExitCode::from(FINDINGS));
    };
    let answer = client.status()?;
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(stdout, "{answer}")?;
    } else {
        let status: Status = serde_json::from_value(answer)
            .context("the daemon is of another version: --json shows its answer as it is")?;
        // What is granted and waits for something else than a network has no flow.
        let granted = ControlClient::connect(socket)?.and_then(|mut client| client.list().ok());
        show(&mut stdout, (&status, &granted.unwrap_or_default()), Paint::of_stdout())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(out: &mut impl Write, (status, granted): (&Status, &[Consent]), paint: Paint) -> anyhow::Result<()> {
    writeln!(out, "glovebox {}, {}, up {}", status.version, status.device, duration(status.up_s))?;
    match (&status.policy, &status.held) {
        (None, _) => writeln!(out, "policy   {}", paint.doubtful("none yet: nothing leaves"))?,
        (Some(version), None) => writeln!(out, "policy   version {}", version.0)?,
        (Some(version), Some(held)) => {
            writeln!(out, "policy   version {}; {}", version.0, paint.doubtful(&format!("held: {held}")))?;
        }
    }
    for hold in &status.held_back {
        writeln!(out, "held     {}", paint.doubtful(&hold.to_string()))?;
    }
    if let Some(words) = places(status.private_places) {
        writeln!(out, "places   {}", paint.doubtful(&words))?;
    }
    writeln!(out, "uplink   {}", link(&status.link, paint))?;
    if let Some(until) = &status.link.certificate_until {
        writeln!(out, "         certificate {}", certificate(until, Clock::new().now(), paint))?;
    }
    for bus in &status.buses {
        writeln!(out, "bus      {} on {}: {}", bus.name, bus.interface, self::bus(bus, paint))?;
    }
    let queue = &status.queue;
    writeln!(out, "outbox   {}", outbox(queue, &status.flows))?;
    for notice in &queue.notices {
        writeln!(out, "outbox   {}", paint.doubtful(notice))?;
    }
    for notice in &status.notices {
        writeln!(out, "notice   {}", paint.doubtful(&notice.to_string()))?;
    }
    show_flows(out, (status, granted), paint)?;
    writeln!(out)?;
    let mut last = "";
    for (stage, name, number) in status.counters.iter() {
        let shown = if stage == last { "" } else { stage };
        writeln!(out, "{shown:8} {:22} {number:>12}", name.replace('_', " "))?;
        last = stage;
    }
    Ok(())
}

/// What private places withhold, if there are any.
fn places(private: Option<usize>) -> Option<String> {
    let inside = "from there nothing of places and trips leaves, nor while nobody knows where the car is";
    match private {
        Some(0) => None,
        Some(1) => Some(format!("1 is private: {inside}")),
        Some(count) => Some(format!("{count} are private: {inside}")),
        None => Some(
            "nobody knows which are private, so nothing of places and trips leaves: `glovebox zone list`"
                .to_owned(),
        ),
    }
}

/// What the flows take and the index beside them are all of it.
fn outbox(queue: &QueueStatus, flows: &[FlowStatus]) -> String {
    let (bytes, cap) = (size(queue.bytes), size(queue.cap_bytes));
    let of_flows: u64 = flows.iter().map(|flow| flow.queued_bytes).sum();
    let rest = size(queue.bytes.saturating_sub(of_flows));
    format!(
        "{} batches, {bytes} of {cap} on disk: {} of flows, {rest} of the index",
        queue.batches,
        size(of_flows)
    )
}

fn show_flows(
    out: &mut impl Write,
    (status, granted): (&Status, &[Consent]),
    paint: Paint,
) -> anyhow::Result<()> {
    let waiting: Vec<(&Consent, &Waits)> =
        granted.iter().filter_map(|consent| Some((consent, consent.waits.as_ref()?))).collect();
    for (consent, Waits { why, remedy }) in &waiting {
        let said = paint.doubtful(&format!("nothing leaves: {why}"));
        writeln!(out, "flow     {} for {}: {said}; needs: {remedy}", consent.recipient, consent.purpose)?;
    }
    if status.flows.is_empty() && waiting.is_empty() {
        let why = status.held.as_deref().unwrap_or("no live grant");
        return Ok(writeln!(out, "flows    none: {why}")?);
    }
    for flow in &status.flows {
        let state = flow
            .held
            .as_ref()
            .map_or_else(|| paint.good("flows"), |why| paint.doubtful(&format!("waits: {why}")));
        let queued = format!("{} queued, {}", flow.queued_batches, size(flow.queued_bytes));
        writeln!(out, "flow     {} for {}: {state}, {queued}", flow.recipient, flow.purpose)?;
    }
    Ok(())
}

fn bus(bus: &BusStatus, paint: Paint) -> String {
    let state = match bus.state.as_str() {
        "missing" | "down" => paint.doubtful(&bus.state),
        well => well.to_owned(),
    };
    match bus.controller.as_str() {
        "error active" => state,
        controller => format!("{state}, {}", paint.doubtful(controller)),
    }
}

fn link(link: &LinkStatus, paint: Paint) -> String {
    let state = match link.state {
        LinkState::Connected => paint.good("connected"),
        LinkState::Connecting => paint.doubtful("connecting"),
        LinkState::Waiting => paint.doubtful("waiting for the next attempt"),
        LinkState::Away => "away".to_owned(),
    };
    let error = link.last_error.as_ref().filter(|_| link.state != LinkState::Connected);
    let error = error.map_or_else(String::new, |error| format!(" ({error})"));
    let place = link.brokers.iter().position(|broker| *broker == link.broker);
    let place = match (place, link.brokers.len()) {
        (Some(place), 2..) => format!(" ({} of {})", place + 1, link.brokers.len()),
        _ => String::new(),
    };
    format!("{}{place}: {state}, MQTT {}, {} in flight{error}", link.broker, link.protocol, link.in_flight)
}

fn certificate(until: &str, now: WallTime, paint: Paint) -> String {
    let text = format!("valid until {until}");
    match WallTime::parse(until) {
        Ok(ends) if ends <= now => paint.bad(&format!("ended at {until}: renew it")),
        Ok(ends) if ends.0.saturating_sub(now.0) < CERTIFICATE_WARN_US => {
            paint.doubtful(&format!("{text}: renew it"))
        }
        _ => text,
    }
}

fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, ..) => format!("{d} d {h} h"),
    }
}

fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", tenths(1_024)),
        _ => format!("{} MiB", tenths(1_048_576)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glovebox_core::names::{PurposeId, RecipientId};

    #[test]
    fn the_broker_in_use_and_the_end_of_the_certificate_are_named() {
        let brokers = ["a:8883", "b:8883"].map(str::to_owned).to_vec();
        let mut status = LinkStatus {
            broker: "b:8883".to_owned(),
            brokers,
            protocol: "5".to_owned(),
            state: LinkState::Connected,
            last_error: None,
            certificate_until: None,
            in_flight: 3,
        };
        assert_eq!(link(&status, Paint::none()), "b:8883 (2 of 2): connected, MQTT 5, 3 in flight");
        status.brokers.remove(0);
        (status.state, status.last_error) = (LinkState::Waiting, Some("gone".to_owned()));
        let waiting = "b:8883: waiting for the next attempt, MQTT 5, 3 in flight (gone)";
        assert_eq!(link(&status, Paint::none()), waiting);
        let at = |now: &str| {
            let now = WallTime::parse(now).unwrap_or(WallTime(0));
            certificate("2027-03-01T00:00:00Z", now, Paint::none())
        };
        assert_eq!(at("2027-01-29T00:00:00Z"), "valid until 2027-03-01T00:00:00Z");
        assert_eq!(at("2027-01-31T00:00:00Z"), "valid until 2027-03-01T00:00:00Z: renew it");
        assert_eq!(at("2027-03-01T00:00:00Z"), "ended at 2027-03-01T00:00:00Z: renew it");
    }

    #[test]
    fn the_bytes_of_the_outbox_are_those_of_flows_and_index() -> anyhow::Result<()> {
        let (recipient, purpose): (RecipientId, PurposeId) = ("acme".parse()?, "tyre-care".parse()?);
        let flow = |queued_bytes| FlowStatus {
            recipient: recipient.clone(),
            purpose: purpose.clone(),
            held: None,
            queued_batches: 1,
            queued_bytes,
        };
        let queue = QueueStatus { batches: 2, bytes: 1_060_864, cap_bytes: 64 << 20, notices: Vec::new() };
        let told = outbox(&queue, &[flow(8_192), flow(4_096)]);
        assert_eq!(told, "2 batches, 1.0 MiB of 64.0 MiB on disk: 12.0 KiB of flows, 1.0 MiB of the index");
        Ok(())
    }

    #[test]
    fn sizes_and_durations_are_short() {
        assert_eq!(size(1_023), "1023 B");
        assert_eq!(size(1_536), "1.5 KiB");
        assert_eq!(size(64 * 1_048_576), "64.0 MiB");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3_725), "1 h 2 min");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
