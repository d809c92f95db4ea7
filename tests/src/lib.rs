//! Test harness of Glovebox: what the tests that stand outside the product share.

pub mod imports;
pub mod source;
