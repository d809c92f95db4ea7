//! Opens, verifies and decodes what a Glovebox agent sent, and keeps account of duplicates, gaps and losses.
//!
//! ```text
//! MQTT payload ─ open ─▶ Opened ─ stream ─▶ Ready (batch with its descriptor), Gap, Loss, … ─ samples ─▶ Sample
//!                 │                  │                                                        lines ─▶ JSON
//!                 └ keys             └ state: seen sequences, descriptors, held envelopes on disk
//! ```
//! The format itself is in `proto/README.md`.

pub mod command;
pub mod keys;
pub mod lines;
pub mod open;
mod ranges;
pub mod samples;
mod scan;
pub mod state;
pub mod stream;

pub use keys::HpkeKey;
pub use open::{Header, OpenError, Opened, Opener};
pub use samples::{Sample, Value, What, samples};
pub use stream::{Event, Ready, Streams};
