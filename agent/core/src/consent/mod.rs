//! What the owner has agreed to, and the gate that lets only that through.
//!
//! ```text
//! bytes ─ document ─▶ Verified<Bundle | Request | ConsentRecord> ─ effective ─▶ Effective ─ gate ─▶ Reading to Consented
//!                                                                  session ──────▲
//! ```

pub mod atom;
pub mod category;
pub mod compare;
pub mod decimal;
pub mod document;
pub mod effective;
pub mod event;
pub mod gate;
pub mod grants;
pub mod plain;
pub mod session;
pub mod transform;
pub mod zone;

pub use crate::decode::{Predicate, SourceAddress, State, ValueType};
pub use gate::{Consented, Gate};
pub use grants::{Grant, Grants};
