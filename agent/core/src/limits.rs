//! Every bound of the agent: name, unit last, and why (invariant 9).

/// A DBC file: 17 MB take 14 s to parse, the largest real ones are under 2 MB.
pub const DBC_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A Kuksa mapping file is a whole VSS tree: 0.6 MB in VSS 6.
pub const MAPPING_FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Leaves in all databases together: about 10,000 in the largest cars.
pub const LEAVES_MAX: usize = 32_768;
/// A signed document: a bundle with 50 requests of 200 signals is under 1 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Nesting of a document's JSON; the deepest legal one has 8.
pub const DOCUMENT_DEPTH_MAX: usize = 16;
/// Recipients in a bundle.
pub const RECIPIENTS_MAX: usize = 256;
/// Requests in a bundle.
pub const REQUESTS_MAX: usize = 256;
/// Signals in a request or a consent record.
pub const SIGNALS_PER_REQUEST_MAX: usize = 2_048;
/// Live flows: one per recipient and purpose.
pub const FLOWS_MAX: usize = 256;
/// Raw column bytes of an open batch, so that the sealed one stays below the default of 128 KiB even if nothing compresses.
pub const BATCH_COLUMN_BYTES_MAX: usize = 112 * 1024;
/// A sealed envelope; also the MQTT packet limit less the topic.
pub const ENVELOPE_BYTES_MAX: usize = 256 * 1024;
/// Samples of an open batch: bounds the decoder's memory.
pub const BATCH_SAMPLES_MAX: u32 = 1_000_000;
/// A batch waits no longer than this before it is closed, whatever the request says.
pub const BATCH_AGE_US_MAX: i64 = 3_600_000_000;
/// Loss records carried by one batch; more are merged.
pub const LOSSES_PER_BATCH_MAX: usize = 64;
/// The descriptor travels again after this many batches of a flow.
pub const DESCRIPTOR_EVERY_BATCHES: u32 = 100;
/// A segment file is closed at this size and deleted whole.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024;
/// Publishes without PUBACK: also rumqttc's in-flight table and channel (its default takes 13.8 MB).
pub const UPLINK_WINDOW_MESSAGES: usize = 32;
/// First wait after a failed connection.
pub const BACKOFF_MIN_MS: u64 = 500;
/// Longest wait after failed connections.
pub const BACKOFF_MAX_MS: u64 = 300_000;

const _: () = assert!(BATCH_COLUMN_BYTES_MAX < ENVELOPE_BYTES_MAX);
const _: () = assert!(BACKOFF_MIN_MS < BACKOFF_MAX_MS);

// Signed documents.

/// Signatures on one envelope: more would be a way to make the car compute.
pub const SIGNATURES_MAX: usize = 4;
/// A text in a document that a person reads.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;
/// A language tag (RFC 5646, section 4.4.1 recommends 35).
pub const LANGUAGE_BYTES_MAX: usize = 35;
/// Languages of one text.
pub const LANGUAGES_MAX: usize = 64;
/// Entries of a catalogue: every leaf once.
pub const CATALOGUE_ENTRIES_MAX: usize = LEAVES_MAX;
/// Directives in a bundle.
pub const DIRECTIVES_MAX: usize = 4_096;
/// HPKE keys of a recipient: the one in use and those that follow it.
pub const HPKE_KEYS_PER_RECIPIENT_MAX: usize = 8;
/// Transforms of one signal: the design's table has fewer ops.
pub const TRANSFORMS_PER_SIGNAL_MAX: usize = 16;
/// Transforms of one signal of a consent record: those asked for and the floor.
pub const TRANSFORMS_PER_RECORDED_SIGNAL_MAX: usize = 2 * TRANSFORMS_PER_SIGNAL_MAX;
/// Parameters of one transform.
pub const TRANSFORM_PARAMETERS_MAX: usize = 16;
/// Items of a list that is a parameter.
pub const LIST_PARAMETER_ITEMS_MAX: usize = 256;
/// Companies to whom data is passed on.
pub const DISCLOSURES_MAX: usize = 64;
/// Events of one consent record: it begins with one and tools add few.
pub const EVENTS_PER_RECORD_MAX: usize = 64;
/// Consent records kept before widening, refusing and deferring stop; what narrows or ends a live flow is kept beyond.
pub const RECORDS_MAX: usize = 8_192;
/// Narrowed records met in one flow between two grants; then a withdrawal or a renewal is due.
pub const NARROWINGS_PER_FLOW_MAX: usize = 256;
/// A policy version rises by no more at once, so that one poisoned number cannot lock out all later bundles.
pub const POLICY_VERSION_STEP_MAX: u64 = 1 << 32;
/// A bundle may be dated so far ahead of the car's clock: clocks differ a little.
pub const ISSUED_AHEAD_US_MAX: i64 = 3_600_000_000;

// Keys, stores, control socket.

/// A PEM file with one key has 119 bytes; comments of other tools make it a little longer.
pub const KEY_FILE_BYTES_MAX: usize = 4 * 1024;
/// Enrolled owner keys: a few phones and a fleet's signing service.
pub const OWNER_KEYS_MAX: usize = 32;
/// sled's segments: below 8 MiB a power cut corrupted stores, because pages over a quarter of one are never synced.
pub const STORE_SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// sled's cache; its default is 1 GiB.
pub const STORE_CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// A value in a store: so that a page of some of them stays well below a quarter of a segment.
pub const STORE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Damaged stores that are kept to be looked at, per store.
pub const STORES_SET_ASIDE_MAX: usize = 2;
/// Openings of a store that may fail to come back (a power cut, a kill) before it counts as damaged.
pub const STORE_OPENINGS_MAX: u8 = 3;
/// A clock before this is wrong: the day this release was made (2026-11-01T00:00:00Z). Moved with each release.
pub const BUILD_DATE_US: i64 = 1_793_491_200_000_000;
/// One document or reading of the clock moves the persisted mark by no more: a clock set far ahead must not poison it.
pub const MARK_STEP_US_MAX: i64 = 24 * 3_600 * 1_000_000;
/// Smaller steps of the mark are not written: flash wears out.
pub const MARK_STEP_US_MIN: i64 = 600 * 1_000_000;
/// How far the system clock is trusted to be right when nothing speaks against it.
pub const CLOCK_ERROR_US: i64 = 1_000_000;
/// Tombstones that are read: a flow ends once, and a car does not have so many.
pub const TOMBSTONES_MAX: usize = 65_536;
/// Consent records in the store: those that are taken, and beyond them all that may narrow or end a live flow.
pub const STORED_RECORDS_MAX: usize = RECORDS_MAX + FLOWS_MAX * (NARROWINGS_PER_FLOW_MAX + 1);
/// A line on the control socket: the largest document in base64, and its frame.
pub const CONTROL_LINE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Commands that speak to the daemon at once; more are turned away.
pub const CONTROL_CLIENTS_MAX: usize = 8;
/// A client on the control socket that says nothing so long is let go.
pub const CONTROL_IDLE_MS_MAX: u64 = 10_000;
/// A command waits so long for the daemon: a withdrawal syncs several files on slow flash.
pub const CONTROL_ANSWER_MS_MAX: u64 = 30_000;
/// How long a grant lasts if the owner says nothing: a year, and never longer than its request.
pub const GRANT_US_DEFAULT: i64 = 365 * 24 * 3_600 * 1_000_000;

const _: () = assert!(DOCUMENT_BYTES_MAX / 3 * 4 + 64 * 1024 < CONTROL_LINE_BYTES_MAX);
