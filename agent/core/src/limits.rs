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
/// Last emissions that the gate remembers across swaps: 64 flows × 256 signals.
pub const GATE_MEMORY_ENTRIES_MAX: usize = 16_384;
/// The file of what was emitted last: a line has under 90 bytes.
pub const EMITTED_FILE_BYTES_MAX: usize = 96 * GATE_MEMORY_ENTRIES_MAX;
/// Controllers of a J1939 bus that send one signal; each has its own rate and dead band. The address has 8 bits, and
/// no signal comes from more than a few.
pub const GATE_SOURCES_MAX: usize = 32;
/// Controllers whose samples are in one batch; then it is closed.
pub const BATCH_SOURCES_MAX: usize = 32;
/// Samples that wait in the gate for the end of their bucket of time, over all flows: under 2 MiB. A signal of ten a
/// second has 9,000 in a quarter of an hour.
pub const HELD_SAMPLES_MAX: usize = 16_384;
/// An interval in a transform, 10 years: more is a mistake of units.
pub const INTERVAL_MS_MAX: i64 = 315_360_000_000;
/// Coarsest `time_bucket`: what is held back is in memory, and a day of it is enough to lose.
pub const TIME_BUCKET_S_MAX: i64 = 86_400;
/// Longest window of `aggregate`: what is gathered is in memory, and a day of it is enough to lose.
pub const AGGREGATE_WINDOW_S_MAX: i64 = 86_400;
/// Most values that `min_samples` may ask for: more do not come in a day from one signal in ten a second.
pub const AGGREGATE_SAMPLES_MAX: i64 = 1_000_000;
/// Most edges that a histogram may have: its bins are told one by one, and an owner has to follow them.
pub const HISTOGRAM_EDGES_MAX: usize = 12;
/// Longest part of a trip that `trim_ends` takes away at each end: more leaves little of any trip.
pub const TRIM_MINUTES_MAX: i64 = 120;
/// A signal that tells of trips and was silent for so long tells nothing any more: such signals come every second or
/// more often, and a bus that sleeps may have slept over the end of the trip.
pub const TRIP_SILENCE_US_MAX: i64 = 60_000_000;
/// Where the car was last seen tells for so long where it is: in that time it cannot cross the ring of cells round a
/// private place, 0.8 km, unseen.
pub const PLACE_SILENCE_US_MAX: i64 = 10_000_000;
/// Private places of one car: homes, work, family, a doctor; each is seven cells in memory.
pub const ZONES_MAX: usize = 256;
/// The file of private places: a line has 17 bytes.
pub const ZONES_FILE_BYTES_MAX: usize = 17 * ZONES_MAX;
/// Largest `budget` of samples a day: a thousand a second are fewer.
pub const BUDGET_SAMPLES_MAX: i64 = 100_000_000;
/// Days of which it is known what a signal spent: today, yesterday, and two that a wrong clock may have told of.
pub const BUDGET_DAYS_MAX: usize = 4;
/// Days of signals of which it is known what was spent: as many signals as [`GATE_MEMORY_ENTRIES_MAX`].
pub const BUDGET_ENTRIES_MAX: usize = BUDGET_DAYS_MAX * GATE_MEMORY_ENTRIES_MAX;
/// The file of what was spent: a line has under 64 bytes.
pub const SPENT_FILE_BYTES_MAX: usize = 64 * (BUDGET_ENTRIES_MAX + 2);
/// Longest `delay`, 30 days: what is older helps nobody and fills the queue.
pub const DELAY_S_MAX: i64 = 30 * 86_400;
/// Finest resolution of H3 that `geo_cell` takes: a cell of 0.015 km². Beyond that a cell is a point.
pub const GEO_CELL_DEPTH_MAX: i64 = 10;
/// Latitude and longitude that came further apart are not of one position, in microseconds: receivers send once a second.
pub const GEO_PAIR_US_MAX: u64 = 1_000_000;
/// Signals that one is derived of: the four tyres.
pub const PREDICATE_INPUTS_MAX: usize = 4;
/// So long what was last read of a signal counts for one that is derived of it, in microseconds: three times what a mapping
/// file asks for that says nothing.
pub const INPUT_COUNTS_US: i64 = 3_000_000;
/// The same of tyres, in microseconds: their sensors send once a minute.
pub const SLOW_INPUT_COUNTS_US: i64 = 90_000_000;
/// What was recorded so long before an event leaves with it: more does not explain it, and it waits in memory.
pub const EVENT_BEFORE_S_MAX: u32 = 300;
/// What is recorded so long after an event leaves with it: an hour is no event any more.
pub const EVENT_AFTER_S_MAX: u32 = 3_600;
/// Longest time between two events, 31 days.
pub const EVENT_INTERVAL_S_MAX: u32 = 31 * 86_400;
/// Samples of one flow that wait for its event, the newest: under 256 KiB. Ten signals of ten a second have 3,000 in half a
/// minute.
pub const EVENT_SAMPLES_MAX: usize = 4_096;
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

// Configuration.

/// A configuration file: a full one is under 4 KiB.
pub const CONFIG_FILE_BYTES_MAX: u64 = 256 * 1024;
/// Configuration files that are read together, drop-ins included.
pub const CONFIG_FILES_MAX: usize = 64;
/// DBC files of one bus.
pub const DBC_FILES_PER_BUS_MAX: usize = 64;
/// Groups that a car is configured into.
pub const GROUPS_MAX: usize = 64;
/// A path of a Unix socket: `sun_path` has 108 bytes with its closing zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Name of a network interface: `IFNAMSIZ` less its closing zero.
pub const INTERFACE_NAME_BYTES_MAX: usize = 15;
/// Shortest age at which a batch closes.
pub const BATCH_AGE_S_MIN: u64 = 1;
/// Longest age at which a batch closes, the same as [`BATCH_AGE_US_MAX`].
pub const BATCH_AGE_S_MAX: u64 = 3_600;
/// Age at which a batch closes if nothing is said.
pub const BATCH_AGE_S_DEFAULT: u64 = 10;
/// Smallest size at which a batch closes: below that headers and seal outweigh the samples.
pub const BATCH_SIZE_KIB_MIN: u64 = 1;
/// Largest size at which a batch closes, the same as [`BATCH_COLUMN_BYTES_MAX`]; also the default.
pub const BATCH_SIZE_KIB_MAX: u64 = 112;
/// Smallest outbox: room for some segments.
pub const OUTBOX_SIZE_MIB_MIN: u64 = 4;
/// Largest outbox: more is a mistake of units.
pub const OUTBOX_SIZE_MIB_MAX: u64 = 65_536;
/// Size of the outbox if nothing is said: days of one car's data.
pub const OUTBOX_SIZE_MIB_DEFAULT: u64 = 64;
/// What the outbox leaves free of its file system if nothing is said: enough for a log and a package.
pub const OUTBOX_FREE_MIB_DEFAULT: u64 = 64;
/// Longest wait of batches for others before they are made durable: what a power cut may cost.
pub const OUTBOX_GATHER_S_MAX: u64 = 60;
/// Batches wait so long for others if nothing is said, but no longer than their own age at which they close.
pub const OUTBOX_GATHER_S_DEFAULT: u64 = 20;
/// Slowest replay, as a factor of the recorded pace.
pub const REPLAY_SPEED_FACTOR_MIN: f64 = 0.01;
/// Fastest replay with a pace; beyond that say `max`.
pub const REPLAY_SPEED_FACTOR_MAX: f64 = 1_000.0;

const _: () = assert!(BATCH_AGE_S_MAX * 1_000_000 == BATCH_AGE_US_MAX.unsigned_abs());
const _: () = assert!(BATCH_SIZE_KIB_MAX * 1024 == BATCH_COLUMN_BYTES_MAX as u64);
const _: () = assert!(BUSES_MAX <= 256);
// Signed documents.

/// Signatures on one envelope: more would be a way to make the car compute.
pub const SIGNATURES_MAX: usize = 4;
/// A text in a document that a person reads.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;
/// A language tag (RFC 5646, section 4.4.1 recommends 35).
pub const LANGUAGE_BYTES_MAX: usize = 35;
/// Languages of one text.
pub const LANGUAGES_MAX: usize = 64;
/// Countries in a list: ISO 3166-1 has 249.
pub const COUNTRIES_MAX: usize = 256;
/// Name of a transform or of a parameter: the design's longest has 15.
pub const TRANSFORM_NAME_BYTES_MAX: usize = 32;
/// Shortest age at which what was not sent may be dropped: below that a tunnel would cost data.
pub const MAX_AGE_S_MIN: u32 = 60;
/// Entries of a catalogue: every leaf once.
pub const CATALOGUE_ENTRIES_MAX: usize = LEAVES_MAX;
/// Directives in a bundle.
pub const DIRECTIVES_MAX: usize = 4_096;
/// HPKE keys of a recipient: the one in use and those that follow it.
pub const HPKE_KEYS_PER_RECIPIENT_MAX: usize = 8;
/// Transforms of one signal: the design's table has fewer ops.
pub const TRANSFORMS_PER_SIGNAL_MAX: usize = 16;
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
pub const POLICY_STEP_VERSIONS_MAX: u64 = 1 << 32;
/// A bundle may be dated so far ahead of the car's clock: clocks differ a little.
pub const ISSUED_AHEAD_US_MAX: i64 = 3_600_000_000;

// Keys, stores, control socket.

/// A PEM file with one key has 119 bytes; comments of other tools make it a little longer.
pub const KEY_FILE_BYTES_MAX: usize = 4 * 1024;
/// Enrolled owner keys: a few phones and a fleet's signing service.
pub const OWNER_KEYS_MAX: usize = 32;
/// Enrolments of one owner's time with a car: each start verifies them all, at some 100 us each.
pub const ENROLMENTS_MAX: usize = 1_024;
/// An enrolment that is drafted may be installed so long: a fleet's signing service is not at once.
pub const ENROLMENT_US_DEFAULT: i64 = 7 * 24 * 3_600 * 1_000_000;
/// Characters of a PIN: a million choices at least, as NIST SP 800-63B asks for.
pub const PIN_BYTES_MIN: usize = 6;
/// A passphrase is a PIN too.
pub const PIN_BYTES_MAX: usize = 64;
/// Memory of one try: OWASP's least for Argon2id, 19 MiB.
pub const PIN_KIB_MIN: u32 = 19 * 1024;
/// More than that a head unit does not have to spare.
pub const PIN_KIB_MAX: u32 = 256 * 1024;
/// Passes of one try: OWASP's least for Argon2id.
pub const PIN_PASSES_MIN: u32 = 2;
/// More would keep the owner waiting for minutes.
pub const PIN_PASSES_MAX: u32 = 16;
/// Lanes of one try: they run one after the other here.
pub const PIN_LANES_MAX: u32 = 16;
/// Wrong PINs in a row without a wait: fingers slip.
pub const PIN_FREE_TRIES: u32 = 3;
/// First wait after more of them, doubled each time.
pub const PIN_WAIT_MS_MIN: u64 = 30_000;
/// Longest such wait: a child at the head unit must not lock the owner out for days.
pub const PIN_WAIT_MS_MAX: u64 = 3_600_000;
/// Wrong PINs in a row before it is blocked for good: NIST SP 800-63B allows 100. They take 91 hours.
pub const PIN_TRIES_MAX: u32 = 100;
/// sled's segments; each store keeps at least one in memory. A page over a quarter of one would never be synced.
pub const STORE_SEGMENT_BYTES: usize = 1024 * 1024;
/// sled's cache, for each of three stores; its default is 1 GiB.
pub const STORE_CACHE_BYTES: u64 = 1024 * 1024;
/// The log before the ledger, and that before the index: some hundred changes are made durable at a block each, before
/// the store is synced.
pub const WAL_BYTES: u64 = 64 * 1024;
/// A value in a store: longer documents are cut in pieces.
pub const STORE_VALUE_BYTES_MAX: usize = 8 * 1024;
/// sled splits a page that has more values than this.
pub const STORE_PAGE_VALUES_MAX: usize = 16;

const _: () = assert!((STORE_PAGE_VALUES_MAX + 1) * (STORE_VALUE_BYTES_MAX + 1024) < STORE_SEGMENT_BYTES / 4);

/// Damaged stores that are kept to be looked at, per store.
pub const STORES_SET_ASIDE_MAX: usize = 2;
/// Openings of a store that may fail to come back (a power cut, a kill) before it counts as damaged.
pub const STORE_OPENINGS_MAX: u8 = 3;
/// A store that could not write is opened again when so much is free: two of sled's segments.
pub const STORE_REOPEN_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// A flush of a store that takes longer is looked after: its write may have failed without anybody being told.
pub const STORE_FLUSH_MS: u64 = 500;
/// A clock before this is wrong: the day this release was made (2026-11-01T00:00:00Z). Moved with each release.
pub const BUILD_DATE_US: i64 = 1_793_491_200_000_000;
/// One document or reading of the clock moves the persisted mark by no more: a clock set far ahead must not poison it.
pub const MARK_STEP_US_MAX: i64 = 24 * 3_600 * 1_000_000;
/// Smaller steps of the mark are not written: flash wears out.
pub const MARK_STEP_US_MIN: i64 = 600 * 1_000_000;
/// How far the system clock may be off when the system says that it is synchronised.
pub const CLOCK_ERROR_US: i64 = 1_000_000;
/// The same when it does not: a quartz of 20 ppm runs off by this in ten weeks.
pub const CLOCK_DRIFT_US: i64 = 120_000_000;
/// A clock that is not synchronised moves the mark no more often.
pub const MARK_EVERY_US: i64 = 600 * 1_000_000;
/// And so many times as fast as time passes, so that an hour of a clock far ahead costs a day.
pub const MARK_TIMES_AS_FAST: i64 = 24;
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
// Decode and bus.

/// Notices kept of one DBC or mapping file: enough to mend by, not enough to fill a log.
pub const DBC_NOTICES_MAX: usize = 1_000;
/// An expression in a mapping file; real ones have under 40.
pub const EXPRESSION_BYTES_MAX: usize = 512;
/// Parentheses in parentheses of an expression: bounds the parser's stack.
pub const EXPRESSION_DEPTH_MAX: usize = 16;
/// Values that wait for their operation while an expression is evaluated: they lie on the stack.
pub const EXPRESSION_VALUES_MAX: usize = 32;
/// Pairs of a mapping transform: they are tried one after the other.
pub const MAPPING_PAIRS_MAX: usize = 256;
/// A text that a mapping transform gives: it travels in the descriptor as the name of a value.
pub const MAPPING_TEXT_BYTES_MAX: usize = 256;
/// Multiplexors above a signal; real databases have at most three.
pub const MULTIPLEX_DEPTH_MAX: usize = 8;
/// Bytes of a classic or FD frame.
pub const FRAME_BYTES_MAX: u32 = 64;
/// Bytes of a message of J1939: 255 packets of 7 bytes (SAE J1939-21, section 5.10).
pub const J1939_MESSAGE_BYTES_MAX: u32 = 1_785;
/// Messages of several frames that are put together at once, over all buses: 64 KiB in all. A bus of a truck has one
/// or two at a time.
pub const J1939_SESSIONS_MAX: usize = 32;
/// Between two packets of a message: T2 and T3 of SAE J1939-21, section 5.10.2.4.
pub const J1939_PACKET_GAP_US_MAX: i64 = 1_250_000;
/// A line of a log: an FD frame takes about 190 in candump's and 330 in Vector's, which may have a name of 128 in it.
pub const LOG_LINE_BYTES_MAX: usize = 1024;
/// Buses of one car: numbered in a byte.
pub const BUSES_MAX: usize = 64;
/// Filters of one CAN socket: the kernel's `CAN_RAW_FILTER_MAX`.
pub const BUS_FILTERS_MAX: usize = 512;
/// Asked of the kernel for each bus: about 5,000 frames, the quarter of a second at 20,000 a second.
pub const BUS_RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Frames of one bus that are read at once; then the next bus has its turn.
pub const BUS_READ_FRAMES: usize = 128;
/// Between two reads frames may gather so long: a thousand frames a second must not be a thousand wake-ups.
pub const BUS_GATHER_MS: u16 = 5;
/// Wall time that moves by more against the car's time line has stepped; less is the clock being disciplined.
pub const BUS_CLOCK_STEP_US: i64 = 10_000;
/// No crystal of a CAN controller is further off than this.
pub const BUS_HARDWARE_DRIFT_PPM: i64 = 200;
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
/// Brokers in the list: a round of attempts has an end.
pub const UPLINK_BROKERS_MAX: usize = 8;
/// With a rate limit so much of its time may be used at once: a batch now and then does not wait.
pub const UPLINK_BURST_MS: u64 = 1_000;
/// Slowest rate limit: 1,000 bit/s, a batch in a quarter of an hour.
pub const UPLINK_RATE_KBIT_S_MIN: u32 = 1;
/// Fastest rate limit: more is no limit.
pub const UPLINK_RATE_KBIT_S_MAX: u32 = 1_000_000;
/// Back to the first broker of the list: asking more often than every ten seconds is a load on a broker that is ill.
pub const UPLINK_RETURN_S_MIN: u32 = 10;
/// A day at the wrong broker is long enough.
pub const UPLINK_RETURN_S_MAX: u32 = 86_400;
/// Back to the first broker if nothing is said: a quarter of an hour.
pub const UPLINK_RETURN_S_DEFAULT: u32 = 900;
/// How often certificate, authority and key are looked at: a renewal is in use within this and a handshake.
pub const UPLINK_FILES_LOOK_MS: u64 = 5_000;
/// After new files were refused by the broker they are tried again: its own list of authorities may follow later.
pub const UPLINK_RENEWAL_RETRY_MS: u64 = 600_000;
/// New files are taken when a broker to which they were shown has not refused them for so long: an alert takes a
/// round trip, and 2 s are one over a satellite.
pub const UPLINK_ALERT_MS_MAX: u64 = 2_000;
/// Before we leave in order, what is in flight may be acknowledged for so long; the rest is offered again.
pub const UPLINK_DRAIN_MS_MAX: u64 = 10_000;
/// A certificate that ends within this is worth a warning a day: 30 days.
pub const CERTIFICATE_WARN_US: i64 = 30 * 24 * 3_600 * 1_000_000;
/// The broker waits so long before it publishes our last will (MQTT 5): a tunnel, or a withdrawal, tells nobody anything.
pub const UPLINK_WILL_DELAY_S: u32 = 60;
/// The name of a systemd credential: a file name.
pub const CREDENTIAL_NAME_BYTES_MAX: usize = 255;
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
/// A connection that held this long starts the back-off anew, whether it delivered or not.
pub const UPLINK_HELD_MS: u64 = 60_000;
/// A PEM file: chains of certificates have under 20 KiB.
pub const PEM_FILE_BYTES_MAX: u64 = 256 * 1024;

const _: () = assert!(UPLINK_WINDOW_MESSAGES <= UPLINK_WAITING_MESSAGES);
const _: () = assert!(UPLINK_WAITING_MESSAGES + UPLINK_WINDOW_MESSAGES <= UPLINK_EVENTS_WAITING);
const _: () = assert!(ENVELOPE_BYTES_MAX <= UPLINK_WINDOW_BYTES);

// Delivery.

/// Purposes that are given a class in the configuration: as many as there can be flows.
pub const CLASSED_PURPOSES_MAX: usize = FLOWS_MAX;
/// Interfaces that `only_when` names: a head unit has a handful.
pub const ONLY_WHEN_INTERFACES_MAX: usize = 16;
/// First wait after the broker did not take a batch of a flow: an access list or a subscriber is not mended in less.
pub const REFUSED_WAIT_S_MIN: u64 = 30;
/// Longest such wait, each twice the one before: what is mended is noticed within a quarter of an hour.
pub const REFUSED_WAIT_S_MAX: u64 = 900;
/// After so many offers to live flows of a class a backlog of that class has a turn: an eighth of a link that live flows
/// fill is left for it.
pub const LIVE_OFFERS_IN_A_ROW_MAX: u8 = 7;

const _: () = assert!(REFUSED_WAIT_S_MIN < REFUSED_WAIT_S_MAX);

// Notices.

/// A sealed notice: it has under 400 bytes.
pub const NOTICE_BYTES_MAX: usize = 1_024;
/// Notices that wait to be sent: one for each flow that there can be. Whoever withdraws beyond that is told.
pub const NOTICES_WAITING_MAX: usize = FLOWS_MAX;
/// Notices on their way at once: the rest of the uplink's window is for batches.
pub const NOTICES_IN_FLIGHT_MAX: usize = 4;
/// So long a notice waits for a network: a year. Readers know a format for a year after it has changed, and a grant lasts
/// a year by default: nobody has newer data by it then.
pub const NOTICE_AGE_US_MAX: i64 = 365 * 24 * 3_600 * 1_000_000;

// Outbox and ledger.

/// The last segments of a flow, of which a process that ended may have failed to sync some. There are fewer: what is not
/// synced is 2 MiB at most, and what an earlier attempt has left goes before the next one.
pub const SEGMENTS_DOUBTED_MAX: usize = 16;
/// Space that is reserved at once behind the end of a segment: it saves the file system a third of its own writing.
pub const SEGMENT_RESERVE_BYTES: u64 = 128 * 1024;
/// A disk with less room than this is full for a store, which may say only that it cannot write.
pub const DISK_FULL_BYTES: u64 = 256 * 1024;
/// What is read of a segment at once at start.
pub const SCAN_WINDOW_BYTES: u64 = 64 * 1024;
/// A segment that cannot be read is tried again so many times, one a second, before what is in it counts as lost: a disk
/// that was reset is back by then, and its flow has waited long enough.
pub const UNREADABLE_TRIES_MAX: u32 = 60;
/// With a small cap a segment is this part of it, so that the cap takes an eighth at a time and not all.
pub const SEGMENTS_PER_CAP_MIN: u64 = 8;
/// Envelopes between two syncs are kept in memory too, in case the sync fails.
pub const OUTBOX_UNSYNCED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Batches that wait in memory for others or for a disk that fails. So many do not wait for others any more; while the
/// disk fails, older ones of the lowest class are declared lost beyond it. 2 MiB at most.
pub const BATCHES_UNSTORED_MAX: usize = 16;
/// Bytes of batches that have waited for others long enough: beside so many, what a sync costs the flash is little, and
/// memory is dear.
pub const BYTES_GATHERED_MAX: usize = 256 * 1024;
/// Ledger entries that may wait for the next offer: two a batch, and as many batches as acknowledgements may be undone.
pub const NOTES_WAITING_MAX: usize = 2 * ACKS_UNSAVED_MAX;
/// Acknowledgements that a power cut may undo, so that these batches are sent again: each saving writes some KiB.
pub const ACKS_UNSAVED_MAX: usize = 64;
/// A stored batch is kept no longer, whatever its grant says, in microseconds: as long as a grant lasts by default.
pub const STORED_US_MAX: i64 = GRANT_US_DEFAULT;
/// Ledger entries that are kept; three a batch and 10 s batches of ten flows are 26,000 a day.
pub const LEDGER_ENTRIES_MAX: u64 = 200_000;
/// When there are too many, this many of the oldest go at once, with one sync.
pub const LEDGER_ENTRIES_TRUNCATED: u64 = 4_096;
/// Entries that wait in memory while the ledger cannot be written; beyond that, routine ones are counted and left out.
pub const LEDGER_ENTRIES_WAITING_MAX: usize = 4_096;
/// A page of the ledger that is read at once.
pub const LEDGER_PAGE_ENTRIES_MAX: usize = 1_024;

const _: () = assert!(LEDGER_ENTRIES_TRUNCATED < LEDGER_ENTRIES_MAX);
const _: () = assert!(ENVELOPE_BYTES_MAX < OUTBOX_UNSYNCED_BYTES_MAX);

/// A day's bytes that a grant allows: one sealed batch with its descriptor and a sample or two has about so many, and what
/// has no room in a whole day is dropped.
pub const DAY_BATCH_BYTES_MIN: u64 = 512;
/// And about so many more for each signal that the descriptor names.
pub const DAY_SIGNAL_BYTES_MIN: u64 = 64;

/// Transforms of one signal of a consent record: those asked for and the floor.
pub const TRANSFORMS_PER_RECORDED_SIGNAL_MAX: usize = 2 * TRANSFORMS_PER_SIGNAL_MAX;

// The folder of documents.

/// A file in the folder of documents: the largest document in base64, and its frame.
pub const DROPPED_BYTES_MAX: usize = DOCUMENT_BYTES_MAX * 2;
/// Files in it that are looked at.
pub const DROPPED_FILES_MAX: usize = 1_024;
/// A file that was not seen being written and is no document is one that somebody writes still, unless it has not changed
/// for so long.
pub const DROPPED_SETTLED_MS: u64 = 2_000;

// Session: what somebody in the car has set for a while.

/// Recipients and purposes that are stopped one by one; all of them together is one more and always possible.
pub const SESSION_HOLDS_MAX: usize = 64;
/// The shortest pause: a hand needs longer for the next touch.
pub const SESSION_SECONDS_MIN: u32 = 1;
/// The longest pause that ends by itself: a day. Longer ones are ended by somebody.
pub const SESSION_SECONDS_MAX: u32 = 86_400;
/// The file of what is set: so many lines with two names of the longest.
pub const SESSION_FILE_BYTES_MAX: usize = 32 * 1024;
