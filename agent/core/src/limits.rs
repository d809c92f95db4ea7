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
/// Consent records that are kept: a record a day for ten years.
pub const RECORDS_MAX: u64 = 4_096;
/// Tombstones that are read: a flow ends once, and a car does not have so many.
pub const TOMBSTONES_MAX: usize = 65_536;
/// A signed document as it stands in a file: base64 takes a third more than its payload, and a statement comes along.
pub const ENVELOPE_JSON_BYTES_MAX: usize = 2 * 1024 * 1024;
