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

// uplink

/// Bytes of publishes without PUBACK (one message may always go): what a withdrawal may find "perhaps sent",
/// and what a PINGREQ has to queue behind on a slow link.
pub const UPLINK_WINDOW_BYTES: usize = 512 * 1024;
/// Publishes that wait for room in the window; the daemon offers no more than this.
pub const UPLINK_WAITING_MESSAGES: usize = 64;
/// Events that wait for the daemon before commands are left in their channel.
pub const UPLINK_EVENTS_WAITING: usize = 256;
/// An MQTT topic, both ways; ours have under 160 bytes.
pub const UPLINK_TOPIC_BYTES_MAX: usize = 256;
/// Documents that the broker may send before the first is acknowledged: bounds memory to 4 MiB.
pub const UPLINK_DOCUMENTS_IN_FLIGHT: u16 = 4;
/// The broker keeps our session (subscriptions, documents not yet acknowledged) this long: a month in a garage.
pub const UPLINK_SESSION_EXPIRY_S: u32 = 31 * 24 * 3600;
/// The client library refuses less, and every ping costs power.
pub const UPLINK_KEEP_ALIVE_S_MIN: u16 = 5;
/// Networks forget idle connections within this.
pub const UPLINK_KEEP_ALIVE_S_MAX: u16 = 1_200;
/// Resolving the broker's name.
pub const UPLINK_RESOLVE_MS_MAX: u64 = 10_000;
/// Addresses of the broker that are tried.
pub const UPLINK_ADDRESSES_MAX: usize = 8;
/// TCP connection to one address.
pub const UPLINK_TCP_MS_MAX: u64 = 10_000;
/// TLS handshake.
pub const UPLINK_TLS_MS_MAX: u64 = 15_000;
/// What waits in the kernel's send buffer at most (the kernel doubles it): a reset throws it away, a PINGREQ waits behind it.
pub const UPLINK_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// CONNECT to CONNACK.
pub const UPLINK_CONNACK_S_MAX: u64 = 15;
/// SUBSCRIBE to SUBACK.
pub const UPLINK_SUBACK_MS_MAX: u64 = 15_000;
/// No PUBACK at all for this long with messages in flight: 256 KiB at 20 kbit/s take 105 s.
pub const UPLINK_ACK_MS_MAX: u64 = 120_000;
/// From DISCONNECT to the broker's own close: a stop has 2 s for everything.
pub const UPLINK_DISCONNECT_MS_MAX: u64 = 1_000;
/// A connection that held this long starts the back-off anew.
pub const UPLINK_HELD_MS: u64 = 60_000;
/// A PEM file: chains of certificates have under 20 KiB.
pub const PEM_FILE_BYTES_MAX: u64 = 256 * 1024;

const _: () = assert!(UPLINK_WINDOW_MESSAGES <= UPLINK_WAITING_MESSAGES);
const _: () = assert!(UPLINK_WAITING_MESSAGES + UPLINK_WINDOW_MESSAGES <= UPLINK_EVENTS_WAITING);
const _: () = assert!(ENVELOPE_BYTES_MAX <= UPLINK_WINDOW_BYTES);
