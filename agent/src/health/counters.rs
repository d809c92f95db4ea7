//! What each stage has counted since the start. Numbers only: no name of a signal, a recipient or a person.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($stage:literal { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ })+) => {
        /// Something that a stage counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Counter {
            $($($(#[$doc])* $variant,)+)+
        }

        impl Counter {
            /// All of them, in the order of the stages.
            pub const ALL: &[Self] = &[$($(Self::$variant,)+)+];

            /// The stage that counts it.
            #[must_use]
            pub fn stage(self) -> &'static str {
                match self { $($(Self::$variant => $stage,)+)+ }
            }

            /// Its name within the stage.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $($(Self::$variant => $name,)+)+ }
            }
        }

        const COUNT: usize = [$($($name,)+)+].len();
    };
}

counters! {
    "bus" {
        /// Frames that came from a log or an interface.
        FramesRead = "frames_read",
        /// Lines or frames that could not be understood.
        FramesFaulty = "frames_faulty",
        /// Frames that the kernel dropped: its buffer was full.
        FramesDropped = "frames_dropped",
        /// Error frames of the controllers.
        ErrorFrames = "error_frames",
        /// Times that a controller went off its bus.
        BusOff = "bus_off",
        /// Times that a controller became error passive.
        ErrorPassive = "error_passive",
        /// Times that a controller came back from bus-off.
        Restarts = "restarts",
        /// Interfaces that came up, went down, vanished or came back.
        InterfaceChanges = "interface_changes",
    }
    "decode" {
        /// Frames of which no live grant needs anything.
        FramesNotNeeded = "frames_not_needed",
        /// Frames shorter than their message.
        FramesShort = "frames_short",
        /// Messages of several frames (J1939) that were put together.
        MessagesWhole = "messages_whole",
        /// Such messages of which a frame was missing, late or refused.
        MessagesBroken = "messages_broken",
        /// Decoded values.
        Readings = "readings",
    }
    "consent" {
        /// Readings that a grant let through, once for each flow.
        Consented = "consented",
        /// Readings that were needed and then withheld by a rule.
        Withheld = "withheld",
        /// Samples that were over their budget of the day.
        OverBudget = "over_budget",
        /// Samples for which there was no room until it was known that they are not of the end of a trip.
        NoTail = "no_tail",
        /// Gates that were swapped in.
        GatesSwapped = "gates_swapped",
        /// Documents that were taken.
        DocumentsAccepted = "documents_accepted",
        /// Documents that were refused.
        DocumentsRefused = "documents_refused",
    }
    "batch" {
        /// Batches that closed, full or due.
        BatchesClosed = "batches_closed",
        /// Closed batches for which there was no room: declared as lost.
        BatchesOverloaded = "batches_overloaded",
        /// Batches that a withdrawal or a new gate dropped before they were stored, open or closed.
        BatchesDiscarded = "batches_discarded",
    }
    "seal" {
        /// Batches that were sealed.
        BatchesSealed = "batches_sealed",
        /// Bytes of the envelopes.
        BytesSealed = "bytes_sealed",
        /// Batches that could not be sealed.
        SealsFailed = "seals_failed",
    }
    "outbox" {
        /// Batches that are on disk, synced.
        BatchesStored = "batches_stored",
        /// Batches that were dropped because of the cap.
        BatchesDropped = "batches_dropped",
        /// Batches that a withdrawal or a narrowing removed.
        BatchesPurged = "batches_purged",
        /// Batches that were found damaged and set aside.
        BatchesSetAside = "batches_set_aside",
    }
    "uplink" {
        /// Connections that a broker accepted.
        Connections = "connections",
        /// Connections that failed or ended.
        ConnectionsLost = "connections_lost",
        /// Batches that were given to a connection.
        BatchesOffered = "batches_offered",
        /// Batches that the broker acknowledged.
        BatchesAcknowledged = "batches_acknowledged",
        /// Batches that the broker did not take.
        BatchesRefused = "batches_refused",
    }
    "ledger" {
        /// Entries that were written.
        EntriesWritten = "entries_written",
        /// Entries left out because the ledger could not be written for too long.
        EntriesOmitted = "entries_omitted",
    }
}

/// The counts; shared by all tasks.
#[derive(Debug)]
pub struct Counters([AtomicU64; COUNT]);

impl Default for Counters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Counters {
    /// Adds one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `number`. Whoever counts frames adds a whole block at once.
    pub fn add(&self, counter: Counter, number: u64) {
        self.0[counter as usize].fetch_add(number, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize].load(Ordering::Relaxed)
    }

    /// All counts by stage and name.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut stages = BTreeMap::new();
        for &counter in Counter::ALL {
            let stage: &mut BTreeMap<_, _> = stages.entry(counter.stage().to_owned()).or_default();
            stage.insert(counter.name().to_owned(), self.get(counter));
        }
        Snapshot(stages)
    }
}

/// Counts of a moment, as `status` shows them: stage, name, number.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Snapshot(pub BTreeMap<String, BTreeMap<String, u64>>);

impl Snapshot {
    /// Stage, name and number in the order of the stages; names of another version come last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        let position = |stage: &str, name: &str| {
            Counter::ALL.iter().position(|c| c.stage() == stage && c.name() == name).unwrap_or(COUNT)
        };
        let mut all: Vec<(&str, &str, u64)> = self
            .0
            .iter()
            .flat_map(|(stage, names)| names.iter().map(|(name, n)| (stage.as_str(), name.as_str(), *n)))
            .collect();
        all.sort_by_key(|(stage, name, _)| position(stage, name));
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_every_counter_once_and_in_order() {
        let counters = Counters::default();
        for (number, &counter) in (1..).zip(Counter::ALL) {
            counters.add(counter, number);
        }
        let snapshot = counters.snapshot();
        let expected: Vec<_> = (1..).zip(Counter::ALL).map(|(n, c)| (c.stage(), c.name(), n)).collect();
        assert_eq!(snapshot.iter().collect::<Vec<_>>(), expected);
        assert_eq!(Counter::ALL.len(), COUNT);
    }
}
