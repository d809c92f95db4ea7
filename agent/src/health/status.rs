//! What a running daemon says of itself; what the control socket answers to `status`.

use glovebox_core::consent::session::HoldStatus;
use glovebox_core::names::{BusName, DeviceId, PolicyVersion, PurposeId, RecipientId, WallTime};
use serde::{Deserialize, Serialize};
use std::fmt;

use super::Snapshot;

/// The state of a running daemon. No signal name, value or place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running program.
    pub version: String,
    /// The car.
    pub device: DeviceId,
    /// Seconds since the start.
    pub up_s: u64,
    /// Version of the policy bundle in force; none yet: nothing leaves.
    pub policy: Option<PolicyVersion>,
    /// Why nothing may be sent by any flow right now, if so.
    pub held: Option<String>,
    /// What somebody in the car has set for a while: a pause, location off.
    #[serde(default)]
    pub held_back: Vec<HoldStatus>,
    /// How many places are private; none: nobody knows, so every place is.
    #[serde(default)]
    pub private_places: Option<usize>,
    /// The connection.
    pub link: LinkStatus,
    /// The buses, in the configuration's order.
    pub buses: Vec<BusStatus>,
    /// Live flows.
    pub flows: Vec<FlowStatus>,
    /// What waits on disk.
    pub queue: QueueStatus,
    /// Recipients that are to be asked to erase what they have, and do not know it yet.
    #[serde(default)]
    pub notices: Vec<NoticeStatus>,
    /// Everything that was counted since the start.
    pub counters: Snapshot,
}

/// The connection to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The broker in use, or that was tried last, HOST:PORT.
    pub broker: String,
    /// All of them, in the order in which they are tried.
    pub brokers: Vec<String>,
    /// Which MQTT is spoken, `5` or `3.1.1`.
    pub protocol: String,
    /// What it does.
    pub state: LinkState,
    /// Why the last connection failed or ended.
    pub last_error: Option<String>,
    /// When the car's certificate ends (RFC 3339), or the first of those that come with it.
    pub certificate_until: Option<String>,
    /// Batches that wait for their acknowledgement.
    pub in_flight: u32,
}

/// What the connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Nothing to do there.
    Away,
    /// An attempt is under way.
    Connecting,
    /// The broker has accepted it.
    Connected,
    /// It waits until the next attempt.
    Waiting,
}

/// One bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusStatus {
    /// Its name in signals.
    pub name: BusName,
    /// Interface of the log or of the kernel.
    pub interface: String,
    /// What it does: `up`, `down`, `missing`, `replaying`, `replay ended`.
    pub state: String,
    /// What its controller says: `error active` if all is well, `error warning`, `error passive`, `bus off`.
    pub controller: String,
}

/// One live flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// Who gets it.
    pub recipient: RecipientId,
    /// What for.
    pub purpose: PurposeId,
    /// Why it does not flow now, if so.
    pub held: Option<String>,
    /// Batches on disk.
    pub queued_batches: u64,
    /// Their bytes.
    pub queued_bytes: u64,
}

/// A notice that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeStatus {
    /// To whom it goes.
    pub recipient: RecipientId,
    /// When the owner asked for it.
    pub since: WallTime,
    /// When it is given up.
    pub until: WallTime,
    /// What it waits for, in words.
    pub state: String,
}

impl fmt::Display for NoticeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recipient, since, until, state } = self;
        write!(
            f,
            "{recipient} is to be asked to erase what it has, since {since}: {state}; given up at {until}"
        )
    }
}

/// What waits on disk, of all flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Batches.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The cap.
    pub cap_bytes: u64,
    /// What somebody should look at, in words: a disk that fails, a store that was set aside.
    #[serde(default)]
    pub notices: Vec<String>,
}
