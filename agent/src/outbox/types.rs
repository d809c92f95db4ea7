//! What the outbox is told, what it answers, why it cannot.

use glovebox_core::limits::{SEGMENT_BYTES_MAX, SEGMENTS_PER_CAP_MIN};
use glovebox_core::names::FlowId;
use glovebox_core::outbox::{BatchId, LossReason, Priority};

use crate::store::StoreError;
use crate::store::files::FileError;

/// Settings of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Space on disk for all: segments, key files, index.
    pub bytes_max: u64,
    /// Space on disk for each flow.
    pub flow_bytes_max: u64,
    /// What stays free of the file system, so that others do not suffer.
    pub free_bytes_min: u64,
    /// Each flow begins a new stream epoch with its next batch: a replay does at each start.
    pub new_epoch: bool,
}

impl Config {
    pub(super) fn segment_bytes_max(self) -> u64 {
        SEGMENT_BYTES_MAX.min(self.bytes_max.min(self.flow_bytes_max) / SEGMENTS_PER_CAP_MIN)
    }
}

/// How long batches of a flow are kept, and before which others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// Its class.
    pub priority: Priority,
    /// From storing, by trusted time, in microseconds; `None`: as long as any.
    pub age_us_max: Option<i64>,
}

/// What was found at start.
#[derive(Debug, Default)]
pub struct Report {
    /// Flows taken up.
    pub flows: usize,
    /// Batches that wait to be sent.
    pub batches: usize,
    /// Withdrawn flows of which something was left, and is gone now.
    pub purged: Vec<FlowId>,
    /// Flows that could not be destroyed or taken up, and why: nothing of them is offered.
    pub failed: Vec<(FlowId, String)>,
    /// Files that ended within a record.
    pub torn: u64,
    /// Places that could not be read.
    pub damaged: u64,
    /// Batches that are lost by that, and will be declared.
    pub lost: u64,
    /// Flows whose index was lost.
    pub index_lost: u64,
}

/// Why the outbox could not be opened: only if the folder or the store cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system.
    #[error(transparent)]
    File(#[from] FileError),
    /// The index.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why something could not be stored. Nothing that was stored before is lost by it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The system; also a full disk: [`OutboxError::is_full`].
    #[error(transparent)]
    File(#[from] FileError),
    /// The index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The flow is over.
    #[error("flow {flow} was withdrawn: nothing of it is stored any more")]
    Withdrawn {
        /// Which.
        flow: FlowId,
    },
    /// Not the sequence that [`super::Outbox::next`] gave.
    #[error("batch {batch} is out of order: ask for the next sequence before sealing")]
    Disorder {
        /// Which.
        batch: BatchId,
    },
    /// No room, and nothing that would have to give way.
    #[error("flow {flow}: no room, and all that is stored is more urgent")]
    LessUrgent {
        /// Which.
        flow: FlowId,
    },
    /// No random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl OutboxError {
    /// It lies with the disk, not with the batch: try again later.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        matches!(self, Self::File(_) | Self::Store(_))
    }

    /// The disk, or the agent's share of it, is full: try again later.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::File(FileError::Io { source, .. }) => matches!(source.kind(), StorageFull | QuotaExceeded),
            _ => false,
        }
    }
}

/// Why a batch could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not stored, or not synced yet, or was dropped meanwhile.
    #[error("batch {batch} is not stored")]
    NotStored {
        /// Which.
        batch: BatchId,
    },
    /// It cannot be read back. It is lost, and will be declared.
    #[error("batch {batch} cannot be read back: {why}")]
    Corrupt {
        /// Which.
        batch: BatchId,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// A batch that was lost before it was acknowledged. Its loss is noted and will be declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Which.
    pub batch: BatchId,
    /// Why.
    pub reason: LossReason,
}

/// Figures of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Which.
    pub flow: FlowId,
    /// Batches that wait.
    pub batches: usize,
    /// Space on disk.
    pub bytes: u64,
}
