//! The wire format of Glovebox: generated messages, column coding both ways, padding, and the exact
//! bytes that are sealed and signed. `proto/README.md` says the same in words.
//!
//! ```text
//! Batch ─ protobuf ─▶ bytes ─ body::pack (zstd, Padmé) ─▶ plaintext ─ HPKE ─▶ Envelope ─ protobuf ─▶ MQTT payload
//! ```

pub mod body;
pub mod column;
pub mod envelope;

/// Messages generated from `proto/glovebox/v1/*.proto`.
pub mod v1 {
    #![expect(missing_docs, reason = "generated: the words are in the .proto files")]
    include!(concat!(env!("OUT_DIR"), "/glovebox.v1.rs"));
}
