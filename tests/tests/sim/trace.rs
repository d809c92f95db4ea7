//! What happened, a line each: the same for the same seed, byte for byte.

use std::fmt::Write as _;

use glovebox::uplink::Event;
use glovebox_core::consent::effective::Effective;
use glovebox_core::consent::transform::Rule;
use glovebox_core::names::FlowId;
use glovebox_core::outbox::BatchId;
use glovebox_proto::v1;

use super::bus;

/// Of the batch: its flow, and its place without the tag, which is drawn anew each time.
pub struct Trace {
    text: String,
    kept: bool,
    flows: Vec<FlowId>,
}

impl Trace {
    /// Without `kept` nothing is written, which is faster.
    pub fn new(kept: bool) -> Self {
        Self { text: String::new(), kept, flows: Vec::new() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if self.kept {
            self.text.push_str(&line());
            self.text.push('\n');
        }
    }

    /// A short name for a flow: its place among those that were seen.
    fn flow(&mut self, flow: FlowId) -> usize {
        self.flows.iter().position(|it| *it == flow).unwrap_or_else(|| {
            self.flows.push(flow);
            let _ = writeln!(self.text, "  flow {} is {flow}", self.flows.len() - 1);
            self.flows.len() - 1
        })
    }

    pub fn flow_line(&mut self, what: &str, flow: FlowId) {
        if self.kept {
            let flow = self.flow(flow);
            let _ = writeln!(self.text, "  {what} flow {flow}");
        }
    }

    /// What may be collected from now on.
    pub fn in_force(&mut self, effective: &Effective) {
        if !self.kept {
            return;
        }
        let _ = writeln!(self.text, "  in force: {} flows", effective.flows.len());
        for rules in &effective.flows {
            let flow = self.flow(rules.flow);
            let permitted = rules.signals.iter().filter(|it| it.permitted != Rule::Deny);
            let signals: Vec<usize> = permitted.filter_map(|it| bus::signal_of(it.path.as_str())).collect();
            let _ = writeln!(self.text, "    flow {flow} to {} {:?}", rules.recipient, signals);
        }
    }

    pub fn batch(&mut self, what: &str, batch: Option<BatchId>) {
        let Some(BatchId { flow, epoch, sequence }) = batch.filter(|_| self.kept) else { return };
        let flow = self.flow(flow);
        let _ = writeln!(self.text, "  {what} flow {flow} {}-{}", epoch.counter, sequence.0);
    }

    /// What the batch of the line before declares.
    pub fn loss(&mut self, loss: &v1::Loss) {
        let v1::Loss { batches, first_sequence, last_sequence, samples, .. } = *loss;
        let reason = loss.reason();
        self.say(|| {
            format!(
                "    lost: {reason:?} {batches} batches {first_sequence}..{last_sequence}, {samples} samples"
            )
        });
    }

    pub fn event(&mut self, event: &Event) {
        self.say(|| match event {
            Event::Connected { connection, .. } => format!("  connected {}", connection.0),
            Event::Disconnected { .. } => "  disconnected".to_owned(),
            Event::Acked { ticket } => format!("  acked {}", ticket.0),
            Event::NotTaken { ticket, reason } => format!("  not taken {}: {reason}", ticket.0),
            _ => String::new(),
        });
    }
}
