//! One envelope from a file.

use std::io::Write as _;
use std::process::ExitCode;

use crate::open::{self, Header};
use crate::{Event, Streams};
use serde_json::json;

use super::screen::Screen;
use super::{Open, Verify, read_envelope, refused};

/// Prints the samples of one envelope.
pub(super) fn open(arguments: &Open) -> anyhow::Result<ExitCode> {
    let opener = arguments.reader.opener()?;
    let payload = read_envelope(&arguments.file)?;
    let opened = opener.open(None, &payload).map_err(refused)?;
    let mut screen = Screen::new(arguments.json, false);
    // One envelope alone says nothing about what came before it.
    let mut streams = Streams::new();
    streams.set_partial(true);
    for event in streams.accept(opened) {
        match event {
            Event::Ready(ready) => screen.ready(ready)?.map_err(refused)?,
            Event::Held(_) => {
                return Err(refused(
                    "the batch's descriptor does not travel in this envelope: open one that has it \
                     (the first of its flow, and every so many), or read the flow with `subscribe --state`",
                ));
            }
            other => screen.event(&other)?,
        }
    }
    screen.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the header of one envelope whose signature is right.
pub(super) fn verify(arguments: &Verify) -> anyhow::Result<ExitCode> {
    let payload = read_envelope(&arguments.file)?;
    let header = open::verify(arguments.topic.as_deref(), &payload).map_err(refused)?;
    let mut out = std::io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{}", header_json(&header, payload.len()))?,
        false => {
            writeln!(out, "signature   right, by alias {}", header.alias_id)?;
            writeln!(out, "alias key   {}", hex::encode(header.alias))?;
            writeln!(out, "sealed to   key {}", hex::encode(header.key_id))?;
            let Header { flow, epoch, epoch_tag, sequence, .. } = header;
            writeln!(out, "flow        {flow:016x}, epoch {epoch}-{epoch_tag:08x}, sequence {sequence}")?;
            writeln!(out, "kind        {}, {} bytes", kind(&header), payload.len())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn kind(header: &Header) -> &'static str {
    match header.kind {
        glovebox_proto::v1::Kind::Notice => "notice",
        _ => "batch",
    }
}

fn header_json(header: &Header, bytes: usize) -> serde_json::Value {
    json!({
        "alias": header.alias_id,
        "alias_key": hex::encode(header.alias),
        "key_id": hex::encode(header.key_id),
        "flow": format!("{:016x}", header.flow),
        "epoch": header.epoch,
        "epoch_tag": format!("{:08x}", header.epoch_tag),
        "seq": header.sequence,
        "kind": kind(header),
        "bytes": bytes,
    })
}
