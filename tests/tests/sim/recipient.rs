//! The other end: the real reader of each company, and what it was told of losses.

use std::collections::{BTreeMap, BTreeSet};

use glovebox_core::names::{Epoch, FlowId, Sequence};
use glovebox_core::outbox::BatchId;
use glovebox_proto::v1;
use glovebox_recipient::open::{Message, Opened};
use glovebox_recipient::{Event, Header, Opener, Ready, Streams};

use super::model::RECIPIENTS;
use super::papers;

pub fn batch_id(header: &Header) -> BatchId {
    let epoch = Epoch { counter: header.epoch, tag: header.epoch_tag };
    BatchId { flow: FlowId(header.flow), epoch, sequence: Sequence(header.sequence) }
}

/// All companies, and what came to them.
pub struct Recipients {
    openers: Vec<Opener>,
    streams: Vec<Streams>,
    pub received: BTreeSet<BatchId>,
    /// By the batch that declared them.
    losses: BTreeMap<BatchId, Vec<v1::Loss>>,
    pub duplicates: u64,
    /// Nobody has said so far what is in them.
    held: BTreeSet<BatchId>,
}

impl Recipients {
    pub fn new() -> Self {
        let opener = |it| Opener::new(papers::recipient_id(it).as_str(), vec![papers::hpke(it)]).unwrap();
        Self {
            openers: (0..RECIPIENTS).map(opener).collect(),
            streams: (0..RECIPIENTS).map(|_| Streams::new()).collect(),
            received: BTreeSet::new(),
            losses: BTreeMap::new(),
            duplicates: 0,
            held: BTreeSet::new(),
        }
    }

    /// Which company a topic belongs to.
    pub fn of(&self, topic: &str) -> Option<usize> {
        self.openers.iter().position(|opener| topic.split('/').nth(2) == Some(opener.recipient()))
    }

    pub fn open(&self, recipient: usize, topic: &str, payload: &[u8]) -> Result<Opened, String> {
        self.openers[recipient].open(Some(topic), payload).map_err(|error| error.to_string())
    }

    /// The broker passed something on. Answers the batches that can be read now.
    pub fn deliver(&mut self, recipient: usize, opened: Opened) -> Vec<Ready> {
        let batch = batch_id(&opened.header);
        if let Message::Batch(message) = &opened.message {
            self.losses.insert(batch, message.losses.clone());
        }
        self.received.insert(batch);
        let mut ready = Vec::new();
        for event in self.streams[recipient].accept(opened) {
            match event {
                Event::Ready(it) => {
                    self.held.remove(&batch_id(&it.header));
                    ready.push(it);
                }
                Event::Held(header) => drop(self.held.insert(batch_id(&header))),
                Event::Duplicate(_) => self.duplicates += 1,
                _ => {}
            }
        }
        ready
    }

    /// What a batch that arrived declares.
    pub fn said_by(&self, batch: BatchId) -> &[v1::Loss] {
        self.losses.get(&batch).map_or(&[], Vec::as_slice)
    }

    fn losses_of(&self, flow: FlowId) -> impl Iterator<Item = (&BatchId, &v1::Loss)> {
        let of_flow = self.losses.iter().filter(move |(carrier, _)| carrier.flow == flow);
        of_flow.flat_map(|(carrier, losses)| losses.iter().map(move |loss| (carrier, loss)))
    }

    /// Why this batch is lost, if that was said.
    pub fn declared(&self, batch: BatchId) -> Option<v1::LossReason> {
        let mut of_it = self.losses_of(batch.flow).filter(|(carrier, loss)| {
            carrier.epoch == batch.epoch
                && (loss.first_sequence..=loss.last_sequence).contains(&batch.sequence.0)
        });
        of_it.next().map(|(_, loss)| loss.reason())
    }

    /// Batches that were declared lost without their sequences.
    pub fn counted(&self, flow: FlowId) -> u64 {
        self.losses_of(flow).filter(|(_, loss)| loss.first_sequence == 0).map(|(_, loss)| loss.batches).sum()
    }

    /// Samples that were declared lost before they were sealed.
    pub fn samples(&self, flow: FlowId) -> u64 {
        self.losses_of(flow).map(|(_, loss)| loss.samples).sum()
    }

    /// A loss speaks only of what was before it.
    pub fn wrong_loss(&self) -> Option<String> {
        let all =
            self.losses.iter().flat_map(|(carrier, losses)| losses.iter().map(move |loss| (carrier, loss)));
        let mut wrong = all.filter(|(carrier, loss)| {
            let span = loss.last_sequence.saturating_sub(loss.first_sequence) + 1;
            let ranged = loss.first_sequence > 0;
            loss.last_sequence >= carrier.sequence.0
                || loss.reason() == v1::LossReason::Unspecified
                || ranged && (loss.batches == 0 || loss.batches > span)
                || loss.batches == 0 && loss.samples == 0
        });
        wrong.next().map(|(carrier, loss)| {
            format!("batch {} {} declares {loss:?}", carrier.epoch.counter, carrier.sequence.0)
        })
    }

    /// Something of this flow was declared lost.
    pub fn any_loss(&self, flow: FlowId) -> bool {
        self.losses_of(flow).next().is_some()
    }

    /// Sequences that were passed over and never explained, in this flow.
    pub fn gaps(&self, flow: FlowId) -> u64 {
        let gaps = self.streams.iter().flat_map(Streams::gaps);
        gaps.filter(|(id, _, _)| id.flow == flow.0).map(|(_, first, last)| last - first + 1).sum()
    }

    /// Batches of this flow that cannot be read, since nobody said what is in them.
    pub fn held(&self, flow: FlowId) -> usize {
        self.held.iter().filter(|batch| batch.flow == flow).count()
    }
}
