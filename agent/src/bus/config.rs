//! What the configuration holds of this stage.

pub use crate::bus::replay::Speed;
pub use crate::bus::{Config, Interface};
