//! Domain to protobuf and back; the only file of the core that knows prost.

use crate::batch::{Batch, ClockQuality, Loss, LossReason};
pub use crate::consent::document::Verifier;
use crate::consent::effective::{FlowRules, SignalRules};
use crate::consent::transform::Told;
use crate::decode::{SourceAddress, ValueType};
use crate::names::{Digest, Epoch, FlowId, RecipientId, Sequence, VerifyingKey, WallTime};
use glovebox_proto::v1;
use prost::Message as _;

/// What stands in the clear before a sealed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// SHA-256 over suite and HPKE key.
    pub recipient_key: Digest,
    /// Alias public key; the envelope is signed by it.
    pub alias: VerifyingKey,
    /// Flow.
    pub flow: FlowId,
    /// Stream epoch.
    pub epoch: Epoch,
    /// Number in the epoch.
    pub sequence: Sequence,
    /// Batch or notice.
    pub kind: Kind,
}

/// What kind of message is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Readings.
    Batch,
    /// An act of consent.
    Notice,
}

/// What the signal numbers of a flow mean, encoded, with its digest.
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    message: v1::Descriptor,
    digest: Digest,
}

impl Descriptor {
    /// The descriptor of a flow. It follows from the grant, never from the session.
    #[must_use]
    pub fn of(rules: &FlowRules) -> Self {
        let message = v1::Descriptor {
            request_digest: rules.request_digest.0.to_vec(),
            signals: rules.signals.iter().map(signal).collect(),
        };
        let digest = Digest(glovebox_proto::envelope::descriptor_digest(&message));
        Self { message, digest }
    }

    /// SHA-256 of its encoding.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

fn signal(rules: &SignalRules) -> v1::Signal {
    let (transform, coding) = (rules.coded(), rules.coding());
    let names = rules.names.iter().filter(|_| transform.keeps_numbers());
    v1::Signal {
        path: rules.path.to_string(),
        unit: if transform.keeps_unit() { rules.unit.clone() } else { String::new() },
        r#type: value_type(coding.value_type).into(),
        scale: coding.scale,
        offset: coding.offset,
        names: names.map(|(raw, name)| v1::EnumName { raw: *raw, name: name.clone() }).collect(),
        transforms: transform.told().into_iter().map(told).collect(),
    }
}

fn value_type(value_type: ValueType) -> v1::ValueType {
    match value_type {
        ValueType::Unsigned => v1::ValueType::Unsigned,
        ValueType::Signed => v1::ValueType::Signed,
        ValueType::Float32 => v1::ValueType::Float32,
        ValueType::Float64 => v1::ValueType::Float64,
        ValueType::Boolean => v1::ValueType::Boolean,
    }
}

fn told((op, parameters): Told) -> v1::Transform {
    let parameter = |(name, value): (&str, String)| v1::Parameter { name: name.to_owned(), value };
    v1::Transform { op: op.to_owned(), parameters: parameters.into_iter().map(parameter).collect() }
}

/// The bytes of a batch, with or without its descriptor.
#[must_use]
pub fn encode_batch(batch: Batch, descriptor: &Descriptor, carried: bool, losses: &[Loss]) -> Vec<u8> {
    let unit = if batch.rules().microseconds { v1::TimeUnit::Microsecond } else { v1::TimeUnit::Millisecond };
    let (base_time_us, mapping, version) = (batch.base_us(), batch.mapping(), batch.policy_version());
    let (times, columns) = batch.into_columns();
    let column = |c: crate::batch::Column| v1::Column {
        signal: c.signal.into(),
        time: c.times,
        source_address: (c.source != SourceAddress::NONE).then_some(c.source.0.into()),
        values: c.values,
        states: c.states,
    };
    v1::Batch {
        descriptor_digest: descriptor.digest.0.to_vec(),
        descriptor: carried.then(|| descriptor.message.clone()),
        base_time_us,
        clock_quality: clock_quality(mapping.quality).into(),
        time_unit: unit.into(),
        policy_version: version.0,
        times: times.into_iter().map(|t| v1::TimeColumn { count: t.count, deltas: t.deltas }).collect(),
        columns: columns.into_iter().map(column).collect(),
        losses: losses.iter().map(loss).collect(),
    }
    .encode_to_vec()
}

/// The bytes of a notice that the owner has withdrawn and asks for erasure.
#[must_use]
pub fn encode_erasure(request_digest: Digest, at: WallTime) -> Vec<u8> {
    v1::Notice {
        kind: v1::NoticeKind::Withdrawn.into(),
        time_us: at.0,
        request_digest: request_digest.0.to_vec(),
        erasure_requested: true,
    }
    .encode_to_vec()
}

fn clock_quality(quality: ClockQuality) -> v1::ClockQuality {
    match quality {
        ClockQuality::Unknown => v1::ClockQuality::Unknown,
        ClockQuality::Rtc => v1::ClockQuality::Rtc,
        ClockQuality::Synchronised => v1::ClockQuality::Synchronised,
        ClockQuality::Replay => v1::ClockQuality::Replay,
    }
}

fn loss(loss: &Loss) -> v1::Loss {
    let reason = match loss.reason {
        LossReason::Quota => v1::LossReason::Quota,
        LossReason::Overload => v1::LossReason::Overload,
        LossReason::Narrowed => v1::LossReason::Narrowed,
        LossReason::Corrupt => v1::LossReason::Corrupt,
        LossReason::Refused => v1::LossReason::Refused,
        LossReason::Age => v1::LossReason::Age,
    };
    v1::Loss {
        reason: reason.into(),
        batches: loss.batches,
        first_sequence: loss.first_sequence,
        last_sequence: loss.last_sequence,
        samples: loss.samples,
        signals: Vec::new(),
    }
}

/// The exact bytes of a header: signed, and the additional data of the seal.
#[must_use]
pub fn encode_header(header: &Header) -> Vec<u8> {
    let kind = match header.kind {
        Kind::Batch => v1::Kind::Batch,
        Kind::Notice => v1::Kind::Notice,
    };
    v1::Header {
        format_version: glovebox_proto::envelope::FORMAT_VERSION,
        suite: glovebox_proto::envelope::SUITE.into(),
        recipient_key_id: header.recipient_key.0.to_vec(),
        alias_public_key: header.alias.0.to_vec(),
        flow: header.flow.0,
        epoch: header.epoch.counter,
        epoch_tag: header.epoch.tag,
        sequence: header.sequence.0,
        kind: kind.into(),
    }
    .encode_to_vec()
}

/// The topic on which an envelope travels to `recipient`.
#[must_use]
pub fn batch_topic(recipient: &RecipientId, header: &Header) -> String {
    let alias = glovebox_proto::envelope::alias_id(&header.alias.0);
    match header.kind {
        Kind::Batch => glovebox_proto::envelope::batch_topic(recipient.as_str(), &alias),
        Kind::Notice => glovebox_proto::envelope::notice_topic(recipient.as_str(), &alias),
    }
}

/// An envelope taken apart.
pub(crate) struct Parts {
    pub(crate) header: Header,
    pub(crate) header_bytes: Vec<u8>,
    pub(crate) encapsulated_key: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// The bytes of an envelope.
#[must_use]
pub(crate) fn encode_envelope(
    header: Vec<u8>,
    encapsulated_key: Vec<u8>,
    ciphertext: Vec<u8>,
    signature: &[u8],
) -> Vec<u8> {
    v1::Envelope { header, encapsulated_key, ciphertext, signature: signature.to_vec() }.encode_to_vec()
}

/// Takes an envelope apart; `None` if it is none of this version.
#[must_use]
pub(crate) fn decode_envelope(bytes: &[u8]) -> Option<Parts> {
    let envelope = v1::Envelope::decode(bytes).ok()?;
    let header = v1::Header::decode(envelope.header.as_slice()).ok()?;
    if header.format_version != glovebox_proto::envelope::FORMAT_VERSION
        || header.suite() != glovebox_proto::envelope::SUITE
    {
        return None;
    }
    let kind = match header.kind() {
        v1::Kind::Batch => Kind::Batch,
        v1::Kind::Notice => Kind::Notice,
        v1::Kind::Unspecified => return None,
    };
    Some(Parts {
        header: Header {
            recipient_key: Digest(header.recipient_key_id.try_into().ok()?),
            alias: VerifyingKey(header.alias_public_key.try_into().ok()?),
            flow: FlowId(header.flow),
            epoch: Epoch { counter: header.epoch, tag: header.epoch_tag },
            sequence: Sequence(header.sequence),
            kind,
        },
        header_bytes: envelope.header,
        encapsulated_key: envelope.encapsulated_key,
        ciphertext: envelope.ciphertext,
        signature: envelope.signature,
    })
}
